"""What a stage has to do: one item for each variant, or run in a stream, and group of seeds.

The size of a group depends on the network alone, so the bytes do not depend on the number of
processes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from plasticity import checkpoint
from plasticity.device import resolve_device
from plasticity.learner_catalogue import LEARNERS
from plasticity.learners import StreamRun
from plasticity.sections import Params

GROUP_SIZE = {"mlp": 5, "convnet": 1}
"""Seeds computed together on a CPU. A trunk loops over seeds anyway."""
TUNING_SEED = 1000
"""The first seed of tuning; ``continual.seeds`` are at most as many, so no seed is both."""


@dataclass(frozen=True)
class Item:
    """One job of a stage: a variant (or a stream) and a group of seeds."""

    stage: str
    variant: str
    seeds: tuple[int, ...]
    run: StreamRun | None = None
    """In a stream: who learns in which."""
    lrs: tuple[float, ...] = ()
    """In a stream: the learning rate of each seed."""

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"{self.variant}-seeds-{self.seeds[0]}-{self.seeds[-1]}"

    @property
    def setting(self) -> str:
        """Return the parameter that sets how many seeds are computed together."""
        if self.run is None:
            return "train.seeds"
        return "continual.tune_seeds" if self.seeds[0] >= TUNING_SEED else "continual.seeds"

    @property
    def key(self) -> list[Any]:
        """Return what tells it from any other work of the stage."""
        own = None if self.run is None else self.run.own
        return [self.name, list(self.seeds), list(self.lrs), own]


@dataclass(frozen=True)
class Outcome:
    """What a finished item left."""

    item: Item
    final: checkpoint.Checkpoint


def stage_items(params: Params, stage: str, variants: Sequence[str], seeds: range) -> list[Item]:
    """Return the jobs of a stage: every variant for every group of seeds."""
    on_gpu = resolve_device(params.train.device, params.train.precision) == "cuda"
    size = len(seeds) if on_gpu else GROUP_SIZE[params.network.kind]
    groups = [tuple(seeds[start : start + size]) for start in range(0, len(seeds), size)]
    return [Item(stage, variant, group) for variant in variants for group in groups]


def stream_items(params: Params, runs: Iterable[StreamRun]) -> list[Item]:
    """Return the jobs of some runs in streams, for every group of the reported seeds."""
    found = list(runs)
    names = [run.name for run in found]
    by_name = dict(zip(names, found, strict=True))
    return [
        replace(item, run=one, lrs=(one.lr or params.continual.lr,) * len(item.seeds))
        for item in stage_items(params, "continual", names, range(params.continual.seeds))
        for one in [by_name[item.variant]]
    ]


def tuning_items(params: Params, runs: Iterable[StreamRun]) -> list[Item]:
    """Return the jobs that try every rate, and every value of a learner's own parameter.

    Rates lie on the seed axis. The seeds are no reported ones: they start at ``TUNING_SEED``.
    """
    settings = params.continual
    pairs = [
        (TUNING_SEED + seed, rate)
        for rate in settings.tune_rates
        for seed in range(settings.tune_seeds)
    ]
    seeds, lrs = (tuple(part) for part in zip(*pairs, strict=True))
    return [
        Item("continual", f"tune-{one.name}", seeds, one, lrs)
        for run in runs
        for one in _with_own(run)
    ]


def _with_own(run: StreamRun) -> list[StreamRun]:
    count = len(LEARNERS[run.learner].values)
    return [replace(run, own=index) for index in range(count)] or [run]

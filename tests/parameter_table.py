"""What each parameter does with each operator: found by changing it and comparing what comes out.

``python tests/parameter_table.py`` writes the whole table to ``reports/parameters.md``.

Every stage runs with what it may see of the parameters (``config.STAGE_PARAMS``) and nothing else,
so a stage that sees equal values is run once. Units are not probed but where that is what changes,
and checkpoints are not written: trained bytes depend on neither.
"""

import copy
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from sklearn.datasets import load_digits

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src")]

from plasticity import catalogue, checkpoint, config, learners, raw, recipe, remarks  # noqa: E402
from plasticity.data import Dataset  # noqa: E402
from plasticity.errors import PlasticityError  # noqa: E402
from plasticity.job import Job  # noqa: E402
from plasticity.sections import Choice, Params, Section  # noqa: E402
from plasticity.train import run  # noqa: E402
from plasticity.yaml12 import read_yaml  # noqa: E402

BASE: Mapping[str, Any] = {
    "scale": "tiny",
    "data.train_images": 50,  # with a rest of 10 in batches of 20
    "network.widths": [30, 12, 10],
    "edit.at_epoch": 2,
    "continual.widths": [24, 12, 8],
    "continual.images": 40,
    "continual.tasks": 3,
    "continual.steps": 4,
    "continual.edit_every": 2,
    "continual.edits": 6,
    "continual.streams": ["permuted_inputs"],
    "retrain.variants": ["masked_fresh"],
    "measure.enabled": False,
    "measure.probe_images": 20,
    "compactness": 0.4,
}
OTHER: Mapping[str, Any] = {
    "dataset": "mnist",
    "scale": "quick",
    "compactness": 0.7,
    "data.train_images": 40,
    "data.validation": 10,
    "data.subset": "stratified",
    "data.test_images": 10,
    "data.pixels": "unit",
    "data.folder": "photos",
    "data.image_size": 48,
    "network.kind": "convnet",
    "network.widths": [10, 8, 7],
    "network.trunk": [5],
    "network.init": "kaiming_relu",
    "network.fan_in": "alive",
    "edit.cycles": 1,
    "edit.seed_fraction": 0.3,
    "edit.continuity": "warm",
    "edit.rewind_when": "every_event",
    "edit.allocation": "erk",
    "edit.count_rule": "linear",
    "edit.cycle_index": 0,
    "edit.until": 0.4,
    "edit.static_mask": "uniform",
    "edit.layers": "all",
    "edit.maturity": 4,
    "edit.peak": 0.8,
    "edit.trough": 0.2,
    "edit.at_epoch": 1,
    "edit.turnover": "redo",
    "intervention.selection.grow": "random",
    "intervention.selection.prune": "random",
    "intervention.insertion": "zero_out",
    "intervention.gate": "linear",
    "intervention.optimizer_state": "stale",
    "intervention.trainability": "two_speed",
    "intervention.activation": "leaky_relu",
    "intervention.regularizer": "l2",
    "intervention.normalisation": "layer_norm",
    "train.device": "cuda",
    "train.workers": 1,
    "train.seeds": 2,
    "train.first_seed": 1,
    "train.epochs": 10,
    "train.batch": 25,
    "train.optimizer": "adam",
    "train.lr": 0.2,
    "train.momentum": 0.5,
    "train.weight_decay": 0.01,
    "train.schedule": "constant",
    "train.hold": 0.5,
    "train.last_batch": "drop",
    "train.precision": "bfloat16",
    "train.augment": "crop_flip",
    "measure.enabled": True,
    "measure.accuracy_on": "validation",
    "measure.probe_images": 5,
    "measure.activation_threshold": 0.5,
    "retrain.variants": ["random_fresh"],
    "retrain.epochs": 10,
    "continual.streams": ["random_labels"],
    "continual.learners": ["backprop"],
    "continual.seeds": 3,
    "continual.widths": [20, 12, 8],
    "continual.trunk": [5],
    "continual.images": 30,
    "continual.tasks": 4,
    "continual.steps": 5,
    "continual.batch": 4,
    "continual.optimizer": "sgd",
    "continual.lr": 0.01,
    "continual.edit_every": 1,
    "continual.edits": 4,
    "continual.reset_head": True,
    "continual.sweep": [6],
    "continual.tune_rates": [0.1],
    "continual.tune_seeds": 2,
    "report.title": "Another title",
}
"""Another value of every parameter."""
Changes = Mapping[str, Any]
ADAM = {"train.optimizer": "adam", "train.lr": 0.01}
PROBED = {"measure.enabled": True}
SMALL = {"compactness": 0.2}
TRUNK = {
    "dataset": "cifar10",
    "network.kind": "convnet",
    "network.trunk": [4],
    "continual.trunk": [4],
    "train.augment": "none",
}
SETTINGS: Mapping[str, Sequence[Changes]] = {
    "intervention.optimizer_state": [ADAM],
    "data.test_images": [{"train.epochs": 10}],
    "data.validation": [{"data.subset": "stratified"}],
    "data.subset": [{}, {"data.train_images": "all", "continual.images": "all"}],
    "network.trunk": [{}, TRUNK],
    "edit.until": [{"continual.edit_every": "spread"}],
    "edit.layers": [{}, TRUNK],
    "edit.rewind_when": [{"edit.continuity": "paper"}],
    "train.hold": [{}, {"train.schedule": "hold_cosine", "train.epochs": 10}],
    "train.last_batch": [{}, {"train.batch": 25}],
    "train.augment": [{}, TRUNK],
    "measure.accuracy_on": [{}, {"data.validation": 10, "data.subset": "stratified"}],
    "measure.probe_images": [{}, PROBED],
    "measure.activation_threshold": [{}, PROBED],
    "continual.trunk": [{}, TRUNK],
    "continual.tune_seeds": [{}, {"continual.tune_rates": [0.1, 0.2]}],
}
"""What is set besides, on both sides: settings in which a parameter may act, and others where it
may not. A parameter that is not here is tried with ``BASE`` alone."""
NEUTRAL: Mapping[str, str] = {
    "train.workers": "how many processes share the work never changes a result",
    "train.device": "where the work is done; it is resolved when a run starts, and kept with it",
    "report.title": "a text of the report",
    "train.seeds": "how many seeds are run, each by itself",
    "continual.seeds": "how many seeds are run, each by itself",
    "continual.tune_seeds": "how many seeds choose the rates, each by itself",
    "continual.tune_rates": "run beforehand; the stage then runs the rate that was best",
    "retrain.variants": "which tickets are trained, each by itself",
    "continual.learners": "which learners are run, each by itself",
}
"""Parameters that change no number of a seed, with the reason; their bytes must be equal."""
CHOOSES = {"retrain.variants": "retrain", "continual.learners": "continual"}
"""Stages whose tables a neutral parameter chooses among."""
OF_STREAMS: Mapping[str, str] = {
    "network.kind": "continual.trunk",
    "network.widths": "continual.widths",
    "network.trunk": "continual.trunk",
    "edit.cycles": "continual.edits and continual.edit_every",
    "train.seeds": "continual.seeds",
    "train.epochs": "continual.tasks and continual.steps",
    "train.batch": "continual.batch",
    "train.optimizer": "continual.optimizer",
    "train.lr": "continual.lr",
    "train.augment": "continual.streams: tasks show images as they are",
    "data.test_images": "continual.streams: accuracy is that of the next batch",
    "data.folder": "dataset=folder",
}
"""Parameters of training for which streams have their own, by name."""
OTHER_DATA = ("dataset", "scale")
"""Parameters that choose other presets, and so anything."""
OPTIONS: Sequence[tuple[str, Mapping[str, catalogue.Entry], str, Changes]] = [
    ("intervention.selection.grow", catalogue.GROW_SELECTION, "grow", {}),
    ("intervention.selection.prune", catalogue.PRUNE_SELECTION, "grow_then_prune", SMALL),
    ("intervention.insertion", catalogue.INSERTION, "grow", {}),
    ("intervention.gate", catalogue.GATE, "grow", {}),
    ("intervention.optimizer_state", catalogue.OPTIMIZER_STATE, "grow", ADAM),
    ("intervention.trainability", catalogue.TRAINABILITY, "grow", {}),
    ("intervention.activation", catalogue.ACTIVATION, "grow", {}),
    ("intervention.regularizer", catalogue.REGULARIZER, "grow", {}),
    ("intervention.normalisation", catalogue.NORMALISATION, "grow", {}),
    ("edit.turnover", catalogue.TURNOVER, "turnover", {}),
    ("continual.streams", catalogue.STREAMS, "grow", {}),
]
"""Families of rules, the operator with which their options are tried, and what is set besides."""
OPTIONS_TOO: Mapping[tuple[str, str], Changes] = {
    ("continual_backprop", "transfer"): {"rate": 0.05},
    ("split_classes", "replay_total"): {"replay": 5},
}
"""Other options of the rule that are set besides, so that one can act."""


@dataclass(frozen=True)
class Verdict:
    """What a change does: ``effective``, ``told``, ``refused``, ``neutral``, or a fault.

    Faults are ``silent`` (nothing differs and nobody says so) and ``wrong`` (something differs
    though a note says that nothing does, or the parameter is listed as neutral).
    """

    kind: str
    why: str
    """The first stage whose bytes differ, or the message, or the reason."""

    @property
    def fault(self) -> bool:
        """Return whether the notes, or the lists of this module, are not true."""
        return self.kind in ("silent", "wrong")


def leaves(section: type[Section] = Params, prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every parameter."""
    for name, field in section.model_fields.items():
        kind: Any = field.annotation
        inner = isinstance(kind, type) and issubclass(kind, Section) and kind is not Choice
        if inner:
            yield from leaves(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def verdict(op: str, key: str) -> Verdict:
    """Return what another value of a parameter does with an operator, in all its settings.

    Of several settings the worst is returned if it is a fault, else the first that is effective,
    else the last.
    """
    other = ("prune" if op != "prune" else "grow") if key == "op" else OTHER[key]
    if key in OTHER_DATA:
        return Verdict("effective", "presets")
    bases = [{**BASE, "op": op, **more} for more in SETTINGS.get(key, [{}])]
    found = [tried(key, base, {**base, key: other}) for base in bases]
    order = ["wrong", "silent", "effective", "neutral", "told", "refused"]
    return min(found, key=lambda one: order.index(one.kind))


def options() -> Iterator[tuple[str, str, str]]:
    """Yield family, rule and option of every option of every rule."""
    for family, table, _, _ in OPTIONS:
        yield from ((family, rule, name) for rule, entry in table.items() for name in entry.options)


def option_verdict(family: str, rule: str, name: str) -> Verdict:
    """Return what other values of a rule's option do: its smallest, its largest, or another name.

    The rule is used by an operator that comes to use it.
    """
    table, op, more = next(rest for found, *rest in OPTIONS if found == family)
    option = table[rule].options[name]
    if isinstance(option, catalogue.Name):
        others: list[Any] = [value for value in option.allowed if value != option.default]
    else:
        kind = type(option.default)
        others = [kind(end) for end in (option.low, option.high) if end != option.default]
    found: list[Verdict] = []
    for other in others:
        plain = {"rule": rule, **OPTIONS_TOO.get((rule, name), {})}
        chosen: list[Any] = [plain, plain | {name: other}]
        if family == "continual.streams":
            chosen = [[one] for one in chosen]
        base = {**BASE, "op": op, **more}
        sides = [{**base, family: one} for one in chosen]
        found.append(tried(family, *sides, streams=family == "continual.streams"))
        if found[-1].kind == "effective":
            break
    order = ["wrong", "effective", "silent", "told", "refused"]
    return min(found, key=lambda one: order.index(one.kind))


def tried(key: str, base: Changes, changed: Changes, *, streams: bool = True) -> Verdict:
    """Return what a change does; ``streams``: whether it must do so in streams too, or be told."""
    try:
        params = params_of(changed)
    except PlasticityError as error:
        return Verdict("refused", str(error).splitlines()[-1].strip())
    before = params_of(base)
    try:
        where = _differs(key, before, params, streams=streams)
    except PlasticityError as error:
        return Verdict("refused", str(error))
    if key in NEUTRAL:
        return Verdict("neutral", NEUTRAL[key]) if not where else Verdict("wrong", where[0])
    for stage in where:
        if line := _told(params, key, ("continual" if stage == "continual" else "train",)):
            return Verdict("wrong", line)
    if not where:
        line = _told(params, key, remarks.STAGES)
        return Verdict("told", line) if line else Verdict("silent", "no stage differs")
    heeded = "continual" in where or key in OF_STREAMS or not _seen("continual", key)
    if streams and not heeded:
        line = _told(params, key, ("continual",))
        return Verdict("effective", where[0]) if line else Verdict("silent", "not in streams")
    return Verdict("effective", where[0])


def _differs(key: str, before: Params, after: Params, *, streams: bool) -> list[str]:
    """Return the stages whose bytes differ, of those that must be looked at."""
    found = []
    for stage in ("prepare", "train", "retrain", "continual"):
        looked = stage != CHOOSES.get(key) and _seen(stage, key)
        if found and (stage == "retrain" or not streams):
            continue  # retraining starts from other units
        if looked and _digest_of(stage, before) != _digest_of(stage, after):
            found.append(stage)
    return found


def _seen(stage: str, key: str) -> bool:
    """Return whether a stage may see a parameter."""
    return key.partition(".")[0] in config.STAGE_PARAMS[stage]


def _told(params: Params, key: str, stages: Sequence[str]) -> str | None:
    """Return the note of one of these stages that names a parameter."""
    lines = [line for stage in stages for line in remarks.remarks(params, stage)]
    return next((one for one in lines if key in one.partition(":")[0].split(", ")), None)


_DONE: dict[str, Any] = {}


def _once(what: str, seen: object, work: Callable[[], Any]) -> Any:
    """Return what work gives, done once for all that is seen."""
    name = what + _text(seen)
    if name not in _DONE:
        _DONE[name] = work()
    return _DONE[name]


def _part(params: Params, stage: str) -> Params:
    """Return the parameters that a stage sees, as ``config.load`` has them."""
    names = config.STAGE_PARAMS[stage]
    return Params.model_construct(**{name: getattr(params, name) for name in names})


def _shown(params: Params, stage: str) -> Any:
    return params.model_dump(mode="json", include=set(config.STAGE_PARAMS[stage]))


def _digest_of(stage: str, params: Params) -> str:
    """Return the digest of all that a run of one seed leaves in a stage; may be "" for no work."""
    if stage == "prepare":
        return str(_prepared(params)[0])
    if stage == "train":
        return str(_trained(params)[0])
    part = _part(params, stage)
    digest, setting = _prepared(params)
    if stage == "retrain":
        if not part.retrain.variants:
            return ""
        first, seeds = part.retrain.variants[0], _seeds(params)
        kept = _trained(params)[1]
        job = lambda: recipe.retrain_job(part, setting, seeds, first, kept)  # noqa: E731
        return str(_once(stage, _shown(params, stage), lambda: _run(job())[0]))
    runs = list(learners.stream_runs(part).values())
    if not runs:
        return ""
    one = runs[0]
    seen = [digest, one.name, _shown(one.resolved(params), stage)]
    rate = (part.continual.lr,)
    return str(
        _once(stage, seen, lambda: _run(recipe.continual_job(part, setting, (0,), one, rate))[0])
    )


def _seeds(params: Params) -> tuple[int, ...]:
    return tuple(params.train.all_seeds[:1])


def _prepared(params: Params) -> tuple[str, recipe.Setting]:
    def work() -> tuple[str, recipe.Setting]:
        source = _noise() if params.dataset == "cifar10" else _digits()
        split = raw.split(source, params.data, params.dataset)
        arrays = {name: one for name, one in vars(split).items() if isinstance(one, np.ndarray)}
        parts = {name: torch.from_numpy(one) for name, one in arrays.items()}
        dataset = Dataset(**parts, classes=split.classes, mean=split.mean, std=split.std)
        digest = _digest([*arrays.values(), split.mean, split.std])
        return digest, recipe.Setting(dataset, torch.device("cpu"))

    found: tuple[str, recipe.Setting] = _once("prepare", _shown(params, "prepare"), work)
    return found


def _trained(params: Params) -> tuple[str, tuple[torch.Tensor, ...]]:
    part, (_, setting) = _part(params, "train"), _prepared(params)
    job = lambda: recipe.train_job(part, setting, _seeds(params))  # noqa: E731
    found: tuple[str, tuple[torch.Tensor, ...]] = _once(
        "train", _shown(params, "train"), lambda: _run(job())
    )
    return found


def _run(job: Job) -> tuple[str, tuple[torch.Tensor, ...]]:
    """Return the digest of a run's weights and of all it wrote down, and who is alive."""
    with tempfile.TemporaryDirectory() as place, patch.object(checkpoint, "save"):
        final = run(job, Path(place), lambda news: None)  # noqa: ARG005
    return _digest([*final.state.weights.tensors(), final.progress]), final.state.alive


def _digest(parts: Sequence[Any]) -> str:
    total = hashlib.sha256()
    for part in parts:
        array = part.numpy() if isinstance(part, torch.Tensor) else part
        plain = array.tobytes() if isinstance(array, np.ndarray) else _text(array).encode()
        total.update(plain)
    return total.hexdigest()


def _text(part: Any) -> str:
    return json.dumps(part, sort_keys=True, default=str)


_RESOLVED: dict[str, Params] = {}


def params_of(changes: Changes) -> Params:
    """Return the real parameters with some changed, by their dotted names."""
    name = _text(changes)
    if name not in _RESOLVED:
        tree = copy.deepcopy(_tree())
        for key, value in changes.items():
            *sections, last = key.split(".")
            part = tree
            for section in sections:
                part = part[section]
            part[last] = value
        _RESOLVED[name] = config.resolve(tree)
    return _RESOLVED[name]


@cache
def _tree() -> dict[str, Any]:
    """Return the parameter file, of its presets those of scale tiny."""
    tree = read_yaml(ROOT / "params.yaml")
    return tree | {"presets": {"tiny": tree["presets"]["tiny"]}}


@cache
def _digits() -> raw.RawDataset:
    bunch = load_digits()
    images = np.rint(bunch.images[:80, None] * 15).astype(np.uint8)
    return _split(images, bunch.target[:80].astype(np.int64))


@cache
def _noise() -> raw.RawDataset:
    """Return random images for a trunk, small and not square."""
    draw = np.random.default_rng(0)
    images = draw.integers(256, size=(80, 3, 12, 8), dtype=np.uint8)
    return _split(images, np.arange(80) % 10)


def _split(images: Any, labels: Any) -> raw.RawDataset:
    names = tuple(map(str, range(10)))
    return raw.RawDataset(images, labels, images[60:], labels[60:], names, "embedded")


def text(
    found: Mapping[str, Mapping[str, Verdict]],
    chosen: Mapping[tuple[str, str, str], Verdict],
) -> str:
    """Return the tables in Markdown."""
    everything = [one.kind for row in found.values() for one in row.values()]
    everything += [one.kind for one in chosen.values()]
    counts = ", ".join(f"{everything.count(kind)} {kind}" for kind in sorted(set(everything)))
    operators = list(next(iter(found.values())))

    def cell(one: Verdict) -> str:
        return one.why if one.kind == "effective" else f"*{one.kind}*"

    lines = [
        "# What each parameter does with each operator",
        "",
        "`python tests/parameter_table.py` changes every parameter with every operator, and every "
        "option of every rule, and compares the bytes of one seed, stage by stage. "
        f"{len(everything)} were tried: {counts}.",
        "",
        "A cell names the first stage whose results differ. *told*: a note before the run says "
        "that the value has no effect. *refused*: the combination is refused. *neutral*: the "
        "bytes are equal, for the reason below. A parameter of training that streams do not heed "
        "is told too, unless streams have their own.",
        "",
        f"| parameter | {' | '.join(operators)} |",
        f"| --- |{' --- |' * len(operators)}",
        *(
            f"| `{key}` | {' | '.join(cell(one) for one in row.values())} |"
            for key, row in found.items()
        ),
        "",
        "Neutral by name:",
        "",
        *(f"- `{key}`: {why}" for key, why in NEUTRAL.items()),
        "",
        "Streams have their own:",
        "",
        *(f"- `{key}`: {own}" for key, own in OF_STREAMS.items()),
        "",
        "| option of a rule | what differs |",
        "| --- | --- |",
        *(
            f"| `{family}: {rule}`, `{name}` | {cell(one)} |"
            for (family, rule, name), one in chosen.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the tables; end with 1 where there is a fault."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    found = {key: {op: verdict(op, key) for op in catalogue.OPERATORS} for key in leaves()}
    chosen = {one: option_verdict(*one) for one in options()}
    (ROOT / "reports" / "parameters.md").write_text(text(found, chosen))
    rows = {f"{key} {op}": one for key, row in found.items() for op, one in row.items()}
    rows |= {" ".join(names): one for names, one in chosen.items()}
    faults = [f"{name}: {one.kind}: {one.why}" for name, one in rows.items() if one.fault]
    sys.stdout.write("".join(f"{line}\n" for line in faults))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()

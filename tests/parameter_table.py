"""What each parameter does with each operator: found by changing it and comparing what comes out.

``python tests/parameter_table.py`` writes the whole table to ``reports/parameters.md``.
"""

import copy
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src")]

from plasticity import catalogue, config, learners, raw, recipe, remarks  # noqa: E402
from plasticity.data import Dataset  # noqa: E402
from plasticity.errors import PlasticityError  # noqa: E402
from plasticity.sections import Choice, Params, Section  # noqa: E402
from plasticity.train import run  # noqa: E402
from plasticity.yaml12 import read_yaml  # noqa: E402

SEED = (0,)
BASE: Mapping[str, Any] = {
    "scale": "tiny",
    "data.train_images": 50,  # with a rest of 10 in batches of 20
    "network.widths": [30, 12, 10],
    "edit.at_epoch": 2,
    "continual.widths": [9, 8, 7],
    "continual.images": 40,
    "continual.tasks": 3,
    "continual.steps": 4,
    "continual.edit_every": 2,
    "continual.edits": 4,
    "continual.streams": ["permuted_inputs"],
    "retrain.variants": ["masked_fresh"],
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
    "network.trunk": [4],
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
    "measure.enabled": False,
    "measure.accuracy_on": "validation",
    "measure.probe_images": 10,
    "measure.activation_threshold": 0.5,
    "retrain.variants": ["random_fresh"],
    "retrain.epochs": 10,
    "continual.streams": ["random_labels"],
    "continual.learners": ["backprop"],
    "continual.seeds": 3,
    "continual.widths": [8, 8, 7],
    "continual.trunk": [4],
    "continual.images": 30,
    "continual.tasks": 4,
    "continual.steps": 5,
    "continual.batch": 4,
    "continual.optimizer": "sgd",
    "continual.lr": 0.01,
    "continual.edit_every": 3,
    "continual.edits": 3,
    "continual.reset_head": True,
    "continual.sweep": [6],
    "continual.tune_rates": [0.1],
    "continual.tune_seeds": 2,
    "report.title": "Another title",
}
"""Another value of every parameter."""
WITH: Mapping[str, Mapping[str, Any]] = {
    "intervention.optimizer_state": {"train.optimizer": "adam", "train.lr": 0.01},
    "data.test_images": {"train.epochs": 10},
    "data.validation": {"data.subset": "stratified"},
    "edit.until": {"continual.edit_every": "spread"},
    "edit.rewind_when": {"edit.continuity": "paper"},
    "train.momentum": {"continual.streams": []},
    "train.hold": {"train.schedule": "hold_cosine", "train.epochs": 10},
    "measure.accuracy_on": {"data.validation": 10, "data.subset": "stratified"},
    "continual.tune_seeds": {"continual.tune_rates": [0.1, 0.2]},
}
"""What is set besides, on both sides, so that a parameter can act at all."""
NEUTRAL: Mapping[str, str] = {
    "train.workers": "how many processes share the work never changes a result",
    "train.device": "where the work is done; its name is kept with the results",
    "report.title": "a text of the report",
    "train.seeds": "how many seeds are run, each by itself",
    "train.first_seed": "which seeds are run, each by itself",
    "continual.seeds": "how many seeds are run, each by itself",
    "continual.tune_seeds": "how many seeds choose the rates, each by itself",
    "continual.tune_rates": "run beforehand; the stage then runs the rate that was best",
    "retrain.variants": "which tickets are trained, each by itself",
    "continual.learners": "which learners are run, each by itself",
}
"""Parameters that change no number of a seed, with the reason; their bytes must be equal."""


def leaves(section: type[Section] = Params, prefix: str = "") -> Iterator[str]:
    """Yield the dotted name of every parameter."""
    for name, field in section.model_fields.items():
        kind: Any = field.annotation
        inner = isinstance(kind, type) and issubclass(kind, Section) and kind is not Choice
        if inner:
            yield from leaves(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def params_of(changes: Mapping[str, Any]) -> Params:
    tree: Any = copy.deepcopy(_tree())
    for name, value in changes.items():
        *sections, key = name.split(".")
        part = tree
        for section in sections:
            part = part[section]
        part[key] = value
    return config.resolve(tree)


@cache
def _tree() -> dict[str, Any]:
    return read_yaml(ROOT / "params.yaml")


@cache
def _published() -> raw.RawDataset:
    bunch = load_digits()
    images = np.rint(bunch.images[:80, None] * 15).astype(np.uint8)
    labels = bunch.target[:80].astype(np.int64)
    return raw.RawDataset(
        images, labels, images[60:], labels[60:], tuple(map(str, range(10))), "embedded"
    )


def outcomes(params: Params) -> Iterator[tuple[str, str]]:
    """Yield stage by stage its name and the digest of all that a run of one seed leaves."""
    split = raw.split(_published(), params.data, "digits")
    arrays = {name: value for name, value in vars(split).items() if isinstance(value, np.ndarray)}
    yield "prepare", _digest([*arrays.values(), split.mean, split.std])
    parts = {name: torch.from_numpy(value) for name, value in arrays.items()}
    dataset = Dataset(**parts, classes=split.classes, mean=split.mean, std=split.std)
    setting = recipe.Setting(dataset, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as place:
        job = recipe.train_job(params, setting, SEED)
        final = run(job, Path(place) / "train", lambda news: None)  # noqa: ARG005
        yield "train", _digest([*final.state.weights.tensors(), final.progress])
        kept = final.state.alive
        for variant in params.retrain.variants[:1]:
            again = recipe.retrain_job(params, setting, SEED, variant, kept)
            end = run(again, Path(place) / "retrain", lambda news: None)  # noqa: ARG005
            yield "retrain", _digest([*end.state.weights.tensors(), end.progress])
        for one in list(learners.stream_runs(params).values())[:1]:
            stream = recipe.continual_job(params, setting, SEED, one, (params.continual.lr,))
            end = run(stream, Path(place) / "stream", lambda news: None)  # noqa: ARG005
            yield "continual", _digest([*end.state.weights.tensors(), end.progress])


def _digest(parts: list[Any]) -> str:
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            part = part.numpy()
        plain = part.tobytes() if isinstance(part, np.ndarray) else _text(part).encode()
        total.update(plain)
    return total.hexdigest()


def _text(part: Any) -> str:
    return json.dumps(part, sort_keys=True, default=str)


_BASELINES: dict[str, dict[str, str]] = {}
_CHOOSES = {
    "retrain.variants": "retrain",
    "continual.learners": "continual",
}
"""Stages whose tables a neutral parameter chooses among, or leaves out."""


def verdict(op: str, key: str) -> tuple[str, str]:
    """Return what changing a parameter does with an operator, and where or why.

    ``effective`` (the first stage whose bytes differ), ``refused``, ``told``, ``neutral`` (listed,
    and all bytes are equal), or ``silent``, which is a fault.
    """
    base = {**BASE, "op": op, **WITH.get(key, {})}
    other = ("prune" if op != "prune" else "grow") if key == "op" else OTHER[key]
    try:
        params = params_of(base | {key: other})
        where = "presets" if key in _OTHER_DATA else _difference(base, params, _CHOOSES.get(key))
    except PlasticityError as error:
        return "refused", str(error).splitlines()[-1].strip()
    if where is None:
        return ("neutral", NEUTRAL[key]) if key in NEUTRAL else _told(params, key)
    return ("silent", f"{where} differs") if key in NEUTRAL else ("effective", where)


_OTHER_DATA = ("dataset", "scale")
"""Parameters that choose other presets, and so anything."""


def _difference(base: Mapping[str, Any], params: Params, without: str | None) -> str | None:
    """Return the first stage whose bytes differ from the baseline's, or None."""
    name = _text(sorted(base.items()))
    if name not in _BASELINES:
        _BASELINES[name] = dict(outcomes(params_of(base)))
    for stage, digest in outcomes(params):
        if stage != without and digest != _BASELINES[name].get(stage):
            return stage
    return None


def _told(params: Params, key: str) -> tuple[str, str]:
    for stage in remarks.STAGES:
        for line in remarks.remarks(params, stage):
            if key in line.partition(":")[0].split(", "):
                return "told", line
    return "silent", "no stage differs"


def table(operators: list[str]) -> dict[str, dict[str, tuple[str, str]]]:
    """Return the verdict on every parameter with every operator."""
    return {key: {op: verdict(op, key) for op in operators} for key in leaves()}


def text(found: Mapping[str, Mapping[str, tuple[str, str]]]) -> str:
    """Return the table in Markdown."""
    kinds = [kind for row in found.values() for kind, _ in row.values()]
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))
    operators = list(next(iter(found.values())))
    lines = [
        "# What each parameter does with each operator",
        "",
        "`python tests/parameter_table.py` changes every parameter with every operator and "
        f"compares the bytes of one seed, stage by stage. {len(kinds)} were tried: {counts}.",
        "",
        f"| parameter | {' | '.join(operators)} |",
        f"| --- |{' --- |' * len(operators)}",
    ]
    for key, row in found.items():
        cells = [kind if kind != "effective" else where for kind, where in row.values()]
        lines.append(f"| `{key}` | {' | '.join(cells)} |")
    lines += [
        "",
        "A cell names the first stage whose results differ; *told*: a note before the run says "
        "that the value has no effect; *refused*: the combination is refused; *neutral*: equal "
        "bytes, because of this:",
        "",
        *(f"- `{key}`: {why}" for key, why in NEUTRAL.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    whole = table(list(catalogue.OPERATORS))
    (ROOT / "reports" / "parameters.md").write_text(text(whole))
    silent = [
        (key, op) for key, row in whole.items() for op, (kind, _) in row.items() if kind == "silent"
    ]
    sys.stdout.write(f"{text(whole)}\nsilent: {silent}\n")

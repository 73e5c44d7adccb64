"""How well cheap utilities stand for what they estimate: the rise of the loss without a unit."""

import math
from collections.abc import Iterator

import torch
from scipy.stats import spearmanr

from benchmarks.cases import params_of
from plasticity import catalogue, edit, probe, raw, recipe, rng, train
from plasticity.data import Dataset
from plasticity.job import Job
from plasticity.rules import selection
from plasticity.sections import Choice
from plasticity.state import scatter
from plasticity.stats import t_interval

SEEDS = tuple(range(5))
EPOCHS = 10
IMAGES = 1024
SETTING = {
    "op": "prune",
    "compactness": 1.0,
    "edit.continuity": "warm",
    "dataset": "digits",
    "scale": "quick",
    "train.epochs": EPOCHS,
    "measure.probe_images": IMAGES,
    "intervention.selection.prune": "contribution",
}
"""Ten epochs of the digits network, nothing removed, running contributions kept."""


def digits() -> Dataset:
    """Return the digits as the project splits them."""
    split = raw.split(raw.read("digits"), params_of(SETTING).data, "digits")
    arrays = (
        split.train_images, split.train_labels, split.validation_images,
        split.validation_labels, split.test_images, split.test_labels,
    )  # fmt: skip
    return Dataset(*map(torch.from_numpy, arrays), split.classes, split.mean, split.std)


def lines() -> Iterator[str]:
    """Return the rank correlation of every prune rule with the oracle, by layer."""
    params = params_of(SETTING)
    job = recipe.train_job(params, recipe.Setting(digits(), torch.device("cpu")), SEEDS)
    current = train.start(job, None)
    while current.step < job.window * EPOCHS:
        train.advance(current)
    state = scatter(current.state, current.copy)
    batch = job.context.batch_at(0)
    measured = probe.measure(state, *batch, job.activation)
    layers = range(len(job.architecture.widths))
    oracle = [probe.ablation(state, layer, *batch, job.activation) for layer in layers]
    what = f"prune rule, MLP 64-256-256-10 after {EPOCHS} epochs on digits"
    yield f"\n| {what} | rank correlation with ablation, fc1 | fc2 |"
    yield "| --- | --- | --- |"
    for rule, entry in catalogue.PRUNE_SELECTION.items():
        options = {name: option.default for name, option in entry.options.items()}
        cells = []
        for layer in layers:
            chosen = edit.Context(**(vars(job.context) | {"rules": _rules(job, rule, options)}))
            view = edit._Views(state, measured, chosen, 0).of(layer)
            draws = [rng.stream(seed, "edit", 0, layer) for seed in SEEDS]
            utility = selection.PRUNE[rule](view, draws, options)
            found = [
                float(spearmanr(utility[row], oracle[layer][row]).statistic)
                for row in range(len(SEEDS))
            ]
            cells.append(_cell(found))
        yield f"| {rule} | {' | '.join(cells)} |"


def _rules(job: Job, rule: str, options: dict[str, float | int | str]) -> edit.Rules:
    return edit.Rules(**(vars(job.context.rules) | {"prune": Choice(rule=rule, options=options)}))


def _cell(values: list[float]) -> str:
    if any(math.isnan(value) for value in values):
        return "undefined"
    interval = t_interval(values)
    return f"{interval.mean:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"

"""Self-normalized resets: how silences are counted, and who is replaced when.

The oracle below keeps the list of each unit's silences and asks which share of them lasted as long
as the present one. It shares no code with the library.
"""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_recipe import TRUNK_SETTING, digits, params_of
from test_turnover import features_of

from plasticity import recipe, train
from plasticity.job import Job, Run
from plasticity.network import forward
from plasticity.rules import silence
from plasticity.schedule import Event
from plasticity.state import FOUNDER, Units, scatter

SEEDS = (0, 2)
ETA, LONGEST, MATURITY, STEPS = 0.15, 9, 12, 200


def units_of(steps: list[str], longest: int) -> Units:
    """Return one layer of one network after some steps: F where a unit fires, - where not."""
    count = torch.zeros((1, len(steps[0])), dtype=torch.int64)
    units = Units(
        alive=count == 0,
        age=count,
        step=count,
        cohort=torch.full_like(count, FOUNDER),
        asleep=count != 0,
        utility=count.double(),
        activity=count.double(),
        silent=count.clone(),
        runs=torch.zeros((*count.shape, longest + 1), dtype=torch.int32),
    )
    for fires in steps:
        silence.count_(units, torch.tensor([[mark == "F" for mark in fires]]))
    return units


def test_a_unit_is_reset_when_its_silence_is_rare_among_its_own() -> None:
    """Farias & Jozefiak 2025, algorithm 1, with silences counted in steps, by hand.

    Unit 0 fired 9 times running and is silent for a step: 10 silences were begun (at birth and at
    each firing), 1 of them reached 1 step, so its share is 1/10. Unit 1 fired at every other step,
    4 times, and is silent for the second step: 5 were begun, 1 reached 2 steps, 1/5. Unit 2 never
    fired: 1 begun, 1 reached, a share of 1, so only the longest silence counts. Unit 3 has just
    fired and is not silent.
    """
    steps = ["F--F", "FF-F", "F--F", "FF-F", "F--F", "FF-F", "F--F", "FF-F", "F--F", "---F"]
    units = units_of(steps, longest=12)
    assert units.silent.tolist() == [[1, 2, 10, 0]]
    assert units.runs[0, :, :4].tolist() == [
        [9, 1, 0, 0],
        [4, 5, 1, 0],
        [0, 1, 1, 1],
        [10, 0, 0, 0],
    ]
    assert silence.overdue(units, 0.2).tolist() == [[True, True, False, False]]
    assert silence.overdue(units, 0.1).tolist() == [[True, False, False, False]]
    assert silence.overdue(units, 0.09).tolist() == [[False, False, False, False]]
    assert silence.overdue(units_of(steps, longest=10), 0.09)[0].tolist() == [False] * 2 + [
        True,
        False,
    ]
    later = units_of(steps + ["----"] * 5, longest=12)
    assert later.silent.tolist() == [[6, 7, 12, 5]]  # no silence counts as longer than the longest


def test_a_unit_fires_when_it_is_active_on_an_image_and_a_channel_at_a_place() -> None:
    trunk = {"network__kind": "convnet", "network__trunk": [6, 5], "dataset": "cifar10"}
    job = job_of(setting=replace(TRUNK_SETTING, dtype=torch.float64), **trunk)
    x, _ = job.batches(0)
    weights = train.start(job, None).state.weights
    found = silence.fired(forward(weights, x))
    assert [part.shape[1] for part in found] == list(job.architecture.units)
    for row in range(len(SEEDS)):
        h = x[row]
        for layer in range(2):
            filters, bias = weights.filters[layer][row], weights.filter_bias[layer][row]
            h = torch.nn.functional.conv2d(h, filters, bias, padding=1).relu()
            h = torch.nn.functional.max_pool2d(h, 2)
            assert torch.equal(found[layer][row], (h > 0).any(3).any(2).any(0))
        hidden = (h.flatten(1) @ weights.incoming[0][row].T + weights.bias[0][row]).relu()
        assert torch.equal(found[2][row], (hidden > 0).any(0))
    assert 0 < sum(int(part.sum()) for part in found) < sum(part.numel() for part in found)


SETTING = recipe.Setting(digits(), torch.device("cpu"), torch.float64)


def job_of(setting: recipe.Setting = SETTING, **changed: object) -> Job:
    rule = {"rule": "self_normalized_resets", "eta": ETA, "longest": LONGEST}
    settings = {
        "op": "turnover",
        "compactness": 1.0,
        "train__epochs": STEPS // 20,
        "train__batch": 3,
        "train__optimizer": "adam",
        "train__lr": 0.01,
        "edit__maturity": MATURITY,
        "edit__turnover": rule,
        "intervention__insertion": "zero_out",
    }
    params = params_of(**settings | changed)
    return recipe.train_job(params, setting, SEEDS)


class Oracle:
    """One unit's silences since its birth, the present one last."""

    def __init__(self) -> None:
        self.silences, self.age = [0], 0

    def step(self, fires: bool) -> bool:
        """Return whether the unit is to be replaced after a step."""
        self.age += 1
        if fires:
            self.silences.append(0)
        else:
            self.silences[-1] += 1
        now = self.silences[-1]
        share = sum(one >= now for one in self.silences) / len(self.silences)
        return now > 0 and (share <= ETA or now >= LONGEST) and self.age > MATURITY


def test_resets_are_those_of_a_list_of_every_silence() -> None:
    """Step by step, beside a network that is read anew; newborns send nothing on at first."""
    job = job_of()
    assert job.window * job.num_windows == STEPS
    current = train.start(job, None)
    planned = {event.step: event for event in job.events}
    known = [[[Oracle() for _ in range(w)] for w in job.architecture.widths] for _ in SEEDS]
    due = [[[False] * w for w in job.architecture.widths] for _ in SEEDS]
    replaced = 0
    for step in range(STEPS):
        event = train._event_at(current, planned)
        wanted = any(any(layer) for row in due for layer in row)
        assert (event is not None and event.eta is not None) == wanted
        if event is not None:
            train._edit(current, event)
        state = current.state if event is not None else scatter(current.state, current.copy)
        for row in range(len(SEEDS)):
            for layer, late in enumerate(due[row]):
                young = state.units[layer].age[row] == 0
                assert young.tolist() == ([True] * len(late) if step == 0 else late)
                for unit in [index for index, one in enumerate(late) if one]:
                    replaced += 1
                    known[row][layer][unit] = Oracle()
                    sent = state.weights.incoming[layer + 1][row][:, unit]
                    new = due[row][layer + 1] if layer + 1 < len(due[row]) else [False] * len(sent)
                    assert sent[~torch.tensor(new)].abs().sum() == 0
        x, _ = job.batches(step)
        start = scatter(current.state, current.copy)
        train.advance(current)
        for row in range(len(SEEDS)):
            for layer, h in enumerate(features_of(start, x, row)):
                fires = (h > 0).any(0).tolist()
                due[row][layer] = [
                    unit.step(now) for unit, now in zip(known[row][layer], fires, strict=True)
                ]
    assert replaced > 10


def test_a_seed_has_the_resets_that_it_has_without_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when another seed diverges, whose units stay silent and ask for no event any more."""
    job = job_of(train__epochs=5)

    def broken(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        x, labels = job.batches(step)
        return (x.index_fill(0, torch.tensor(0), math.nan) if step == 40 else x), labels

    whole = train.run(job, tmp_path / "whole", lambda news: None)  # noqa: ARG005
    edit, asked = train._edit, []

    def noted(current: Run, event: Event) -> None:
        asked.extend([event.step] if event.eta is not None else [])
        edit(current, event)

    monkeypatch.setattr(train, "_edit", noted)
    hurt = train.run(replace(job, batches=broken), tmp_path / "hurt", lambda news: None)  # noqa: ARG005
    assert hurt.state.diverged.tolist() == [40, -1]
    for clean, one in zip(whole.state.weights.tensors(), hurt.state.weights.tensors(), strict=True):
        assert torch.equal(clean[1:], one[1:])
    resets = [row for row in hurt.progress["edits"] if row["removed"]]
    assert sorted({row["step"] for row in resets}) == asked
    assert {row["seed"] for row in resets if row["step"] > 40} == {SEEDS[1]}
    assert all(row["requested"] == 2 * row["removed"] == 2 * row["added"] for row in resets)


def test_only_the_rule_that_counts_silences_carries_them() -> None:
    for job, lengths in ((job_of(), LONGEST + 1), (job_of(edit__turnover="redo"), 0)):
        assert {units.runs.shape[2] for units in train.start(job, None).state.units} == {lengths}


def test_a_unit_that_is_reset_fades_in_and_no_event_of_the_plan_says_when() -> None:
    """A gate of 8 steps starts at the reset's own step, long after the gates of step 0."""
    job = job_of(intervention__gate={"rule": "linear", "steps": 8})
    current = train.start(job, None)
    planned = {event.step: event for event in job.events}
    resets = 0
    for step in range(60):
        event = train._event_at(current, planned)
        if event is not None:
            train._edit(current, event)
        if event is not None and event.eta is not None and step not in planned:
            resets += 1
            gates = current.gates()
            assert gates is not None
            for strength, age in zip(gates, current.ages(), strict=True):
                wanted = (age.double() / 8).clamp(max=1).where(age < step, 1)
                assert torch.equal(strength, wanted)
        train.advance(current)
    assert resets > 0

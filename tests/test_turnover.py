"""Continual backprop against its published algorithm, step by step, and when it replaces.

The oracle below follows Dohare et al. 2024, algorithm 1, from what training leaves: the features of
each batch and the weights after each step. It shares no code with the library.
"""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_recipe import digits, params_of
from torch import Tensor

from plasticity import recipe, schedule, train
from plasticity.job import Job
from plasticity.state import State, scatter

STEPS, RATE, MATURITY, DECAY = 200, 0.011, 12, 0.99
SEEDS = (0, 2)
KINDS = ("contribution", "adaptable_contribution")


class Published:
    """Utilities, ages and the carry of one hidden layer of one network."""

    def __init__(self, width: int, kind: str) -> None:
        self.kind = kind
        self.utility = torch.zeros(width, dtype=torch.float64)
        self.activity = torch.zeros(width, dtype=torch.float64)
        self.age = torch.zeros(width)
        self.carry = 0.0

    def step(self, features: Tensor, incoming: Tensor, outgoing: Tensor) -> list[int]:
        """Return the units to replace after a step; features (B, H), outgoing (O, H)."""
        self.age += 1
        started = 1 - DECAY ** self.age.double()
        self.activity = DECAY * self.activity + (1 - DECAY) * features.mean(0)
        size = features
        if self.kind == "adaptable_contribution":
            size = features - self.activity / started
        now = outgoing.abs().mean(0) * size.abs().mean(0)
        if self.kind == "adaptable_contribution":
            now = now / incoming.abs().mean(1)
        self.utility = DECAY * self.utility + (1 - DECAY) * now
        eligible = (self.age > MATURITY).nonzero()[:, 0]
        self.carry += RATE * len(eligible)
        count = int(self.carry)
        self.carry -= count
        worst = (self.utility / started)[eligible].argsort()[:count]
        return sorted(eligible[worst].tolist())

    def replaced(self, units: list[int]) -> None:
        """Forget what was known of replaced units."""
        for values in (self.utility, self.activity, self.age):
            values[units] = 0


def job_of(kind: str, transfer: str) -> Job:
    params = params_of(
        op="turnover",
        compactness=1.0,
        train__epochs=100,
        train__batch=30,
        train__optimizer="adam",
        train__lr=0.003,
        edit__maturity=MATURITY,
        edit__turnover={"rule": "continual_backprop", "rate": RATE, "transfer": transfer},
        intervention__selection__prune={"rule": "contribution", "kind": kind, "decay": DECAY},
        intervention__insertion={"rule": "zero_out", "gain": "kaiming_relu"},
    )
    setting = recipe.Setting(digits(), torch.device("cpu"), torch.float64)
    return recipe.train_job(params, setting, SEEDS)


def features_of(state: State, x: Tensor, row: int) -> list[Tensor]:
    h, result = x[row], []
    for weight, bias in zip(state.weights.incoming[:-1], state.weights.bias[:-1], strict=True):
        h = (h @ weight[row].T + bias[row]).relu()
        result.append(h)
    return result


@pytest.mark.parametrize("transfer", ["off", "on"])
@pytest.mark.parametrize("kind", KINDS)
def test_two_hundred_steps_of_continual_backprop_are_the_published_ones(
    kind: str, transfer: str
) -> None:
    job = job_of(kind, transfer)
    assert job.window * job.num_windows == STEPS
    current = train.start(job, None)
    events = {event.step: event for event in job.events}
    oracle = [[Published(w, kind) for w in job.architecture.widths] for _ in SEEDS]
    due: list[list[list[int]]] = [[[], []] for _ in SEEDS]
    replacements = 0
    for step in range(STEPS):
        before = scatter(current.state, current.copy)
        event = events.get(step)
        if event is not None:
            train._edit(current, event)
        after = current.state if event is not None else before
        for row in range(len(SEEDS)):
            for layer, units in enumerate(due[row]):
                replacements += len(units)
                age = after.units[layer].age[row]
                assert (age == 0).nonzero()[:, 0].tolist() == (
                    list(range(len(age))) if step == 0 else units
                )
                check_replaced(before, after, row, layer, units, due[row], oracle, transfer)
                oracle[row][layer].replaced(units)
        x, _ = job.batches(step)
        start = scatter(current.state, current.copy)
        train.advance(current)
        now = scatter(current.state, current.copy)
        for row in range(len(SEEDS)):
            for layer, features in enumerate(features_of(start, x, row)):
                known = oracle[row][layer]
                due[row][layer] = known.step(
                    features, now.weights.incoming[layer][row], now.weights.incoming[layer + 1][row]
                )
                units = now.units[layer]
                torch.testing.assert_close(units.utility[row], known.utility, rtol=1e-9, atol=0)
                torch.testing.assert_close(units.activity[row], known.activity, rtol=1e-9, atol=0)
                assert units.age[row].tolist() == known.age.tolist()
    assert replacements > 2 * 2 * 15


def check_replaced(
    before: State,
    after: State,
    row: int,
    layer: int,
    units: list[int],
    both: list[list[int]],
    oracle: list[list[Published]],
    transfer: str,
) -> None:
    """Fresh weights within the published bound, nothing going out, no memory of the old unit."""
    if not units:
        return
    weights = after.weights
    fresh = weights.incoming[layer][row, units]
    bound = (6 / fresh.shape[1]) ** 0.5
    assert 0.5 * bound < fresh.abs().max() <= bound
    assert weights.bias[layer][row, units].abs().max() == 0
    consumers = len(weights.bias[layer + 1][row])
    new_consumers = both[layer + 1] if layer + 1 < len(both) else []
    kept = [unit for unit in range(consumers) if unit not in new_consumers]
    assert weights.incoming[layer + 1][row][kept][:, units].abs().max() == 0
    for moment in after.moments:
        assert moment.incoming[layer][row, units].abs().max() == 0
        assert moment.incoming[layer + 1][row][:, units].abs().max() == 0
        assert moment.bias[layer][row, units].abs().max() == 0
    assert after.units[layer].step[row, units].abs().max() == 0
    known = oracle[row][layer]
    mean = (known.activity / (1 - DECAY ** known.age.double()))[units]
    added = before.weights.incoming[layer + 1][row][:, units] @ mean
    moved = weights.bias[layer + 1][row] - before.weights.bias[layer + 1][row]
    expected = added if transfer == "on" else torch.zeros_like(added)
    torch.testing.assert_close(moved[kept], expected[kept], rtol=0, atol=1e-12)


def test_replacements_carry_fractions_and_wait_for_maturity() -> None:
    """Ten units, a share of 0.25 of those older than 3 steps: all ten mature at step 4, so the
    carry is 2.5, 5.0 (with 0.5 left and 8 mature: 0.5 + 2 = 2.5), ... by hand for six steps.

    Step 4: carry 2.5, replace 2, 0.5 left, 8 mature. Step 5: 0.5 + 2 = 2.5, replace 2, 6 mature.
    Step 6: 0.5 + 1.5 = 2, replace 2, 4 mature. Step 7: 1, replace 1, 3 mature. Step 8: the two of
    step 4 are mature again: 0.25 x 5 = 1.25, replace 1, 4 mature.
    """
    assert schedule.replacements(10, 0.25, 3, 9) == {4: 2, 5: 2, 6: 2, 7: 1, 8: 1}


def test_a_replacement_in_the_middle_of_training_continues_to_the_same_bytes(
    tmp_path: Path,
) -> None:
    job = job_of("contribution", "on")
    asked = iter(range(10**6))
    whole = train.run(job, tmp_path / "whole", lambda news: None)  # noqa: ARG005
    with pytest.raises(train.Interrupted):
        train.run(job, tmp_path / "cut", lambda news: None, lambda: next(asked) >= 77)  # noqa: ARG005
    cut = train.run(job, tmp_path / "cut", lambda news: None)  # noqa: ARG005
    pairs = zip(whole.state.weights.tensors(), cut.state.weights.tensors(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert all(
        torch.equal(a.utility, b.utility)
        for a, b in zip(whole.state.units, cut.state.units, strict=True)
    )


@pytest.mark.parametrize("at", [5, 40, 120])
def test_a_diverged_seed_takes_no_mature_units_from_the_others(at: int, tmp_path: Path) -> None:
    """Its ages stand still, so it soon has no unit that is old enough."""
    job = job_of("contribution", "off")

    def broken(step: int) -> tuple[Tensor, Tensor]:
        x, labels = job.batches(step)
        return (x.index_fill(0, torch.tensor(0), math.nan) if step == at else x), labels

    whole = train.run(job, tmp_path / "whole", lambda news: None)  # noqa: ARG005
    hurt = train.run(replace(job, batches=broken), tmp_path / "hurt", lambda news: None)  # noqa: ARG005
    assert hurt.state.diverged.tolist() == [at, *(-1 for _ in SEEDS[1:])]
    for clean, one in zip(whole.state.weights.tensors(), hurt.state.weights.tensors(), strict=True):
        assert torch.equal(clean[1:], one[1:])

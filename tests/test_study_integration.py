"""Time to integrate: learners of different arms paired by seed, and where grow catches up."""

import math

import pandas as pd
import pytest
from study_tables import write_study

from plasticity.report.comparison import integration
from plasticity.report.comparison.integration import Gap, crossing_text, gaps_of

LENGTHS = (100, 1000, 10_000)


def frame(curves, stream="permuted_inputs", seeds=4):
    """Return replicates whose accuracy is a learner's curve plus the seed's own level."""
    return pd.DataFrame(
        [
            {
                "stream": stream,
                "name": name,
                "task_steps": steps,
                "seed": seed,
                "taoa": value + 3.0 * seed,
            }
            for name, curve in curves.items()
            for steps, value in curve.items()
            for seed in range(seeds)
        ]
    )


GROW = dict(zip(LENGTHS, (50.0, 60.0, 72.0), strict=True))
DENSE = dict(zip(LENGTHS, (52.0, 62.0, 70.0), strict=True))


def test_differences_are_taken_within_a_seed_and_the_crossover_lies_between_lengths():
    """-2, -2, +2: half way between 1,000 and 10,000 on a logarithmic axis."""
    (gap,) = gaps_of(frame({"grow": GROW, "backprop": DENSE}), "permuted_inputs")
    assert [gap.intervals[length].mean for length in LENGTHS] == [-2, -2, 2]
    assert gap.intervals[100].half_width == pytest.approx(0)
    assert gap.crossing.at == pytest.approx(1000 * math.sqrt(10))
    assert crossing_text(gap) == "3,162 steps [3,162, 3,162]"


def test_only_lengths_that_both_learners_have_are_compared():
    short = {steps: value for steps, value in DENSE.items() if steps != 1000}
    (gap,) = gaps_of(frame({"grow": GROW, "backprop": short}), "permuted_inputs")
    assert gap.lengths == (100, 10_000)


def test_without_grow_there_is_nothing_to_catch_up():
    assert gaps_of(frame({"static": GROW, "backprop": DENSE}), "permuted_inputs") == []


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ((60.0, 70.0, 80.0), "not within 100 to 10,000 steps"),
        ((40.0, 50.0, 60.0), "at no length behind, from 100 steps on"),
    ],
)
def test_no_crossover_is_told_as_such(curve, expected):
    other = dict(zip(LENGTHS, curve, strict=True))
    (gap,) = gaps_of(frame({"grow": GROW, "backprop": other}), "permuted_inputs")
    assert crossing_text(gap) == expected


def test_an_open_end_is_named():
    (gap,) = gaps_of(frame({"grow": GROW, "backprop": DENSE}), "permuted_inputs")
    crossing = type(gap.crossing)(3162.0, None, None, 0.1, 0.1)
    opened = Gap(gap.stream, gap.other, gap.lengths, gap.intervals, crossing)
    assert crossing_text(opened) == "3,162 steps [below 100, beyond 10,000]"


def test_the_section_claims_a_crossover_only_when_its_interval_is_inside(tmp_path, monkeypatch):
    comparison = write_study(tmp_path, {"grow_50": {}})
    for dense, title in (
        (DENSE, "Grow catches up with backprop at 3,162 steps [3,162, 3,162]"),
        (GROW, "No crossover has both ends of its interval within the lengths tried"),
    ):
        seeds = frame({"grow": GROW, "backprop": dense})
        monkeypatch.setattr(integration, "learners", lambda _, seeds=seeds: seeds)
        section = integration.section(comparison)
        assert section.figures[1].title == title
        assert len(section.tables[0].rows) == 1
        assert len(section.tables[1].rows) == 2


def test_one_length_is_no_sweep(tmp_path):
    comparison = write_study(tmp_path, {"grow_50": {}, "prune_50": {"op": "prune"}})
    seeds = integration.learners(comparison)
    assert {"grow_50 operator", "prune_50 operator"} == {*seeds["name"]}
    assert integration.section(comparison) is None

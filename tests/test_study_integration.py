"""Time to integrate: learners of different arms paired by seed, and where grow catches up."""

import math
from dataclasses import replace

import pandas as pd
import pytest
from study_tables import write_study

from plasticity.crossover import Crossover
from plasticity.report.comparison import integration, replicates
from plasticity.report.comparison.integration import (
    at_several_lengths,
    crossing_text,
    gaps_of,
    interval_text,
    title,
)

LENGTHS = (100, 1000, 10_000)
PLACE = {"stream": "permuted_inputs", "dataset": "mnist", "images": "800", "updates": 10_000}


def frame(curves, arm="", **place):
    """Return replicates whose accuracy is a learner's curve plus the seed's own level."""
    return pd.DataFrame(
        [
            {**PLACE, **place, "learner": learner, "own_arm": arm, "op": "grow",
             "name": f"{arm} {learner}".strip(), "task_steps": steps, "tasks": 10_000 // steps,
             "seed": seed, "status": "ok", "taoa": value + 3.0 * seed}
            for learner, curve in curves.items()
            for steps, value in curve.items()
            for seed in range(4)
        ]
    )  # fmt: skip


def curve(*values):
    return dict(zip(LENGTHS, values, strict=True))


GROW, DENSE = curve(50.0, 60.0, 72.0), curve(52.0, 62.0, 70.0)
BOTH = frame({"grow": GROW, "backprop": DENSE})


def test_differences_are_taken_within_a_seed_and_the_crossover_lies_between_lengths():
    """-2, -2, +2: half way between 1,000 and 10,000 on a logarithmic axis."""
    (gap,) = gaps_of(BOTH)
    assert [gap.intervals[length].mean for length in LENGTHS] == [-2, -2, 2]
    assert gap.intervals[100].half_width == pytest.approx(0)
    assert gap.crossing.at == pytest.approx(1000 * math.sqrt(10))
    assert (crossing_text(gap), interval_text(gap)) == ("3,162 steps", "[3,162, 3,162]")


def test_only_lengths_that_both_learners_have_are_compared():
    short = {steps: value for steps, value in DENSE.items() if steps != 1000}
    (gap,) = gaps_of(frame({"grow": GROW, "backprop": short}))
    assert gap.lengths == (100, 10_000)


def test_one_length_in_common_is_a_difference_and_no_crossover():
    (gap,) = gaps_of(frame({"grow": GROW, "backprop": {1000: 62.0}}))
    assert gap.intervals[1000].mean == -2
    assert gap.crossing is None
    assert crossing_text(gap) == interval_text(gap) == "\u2013"


def test_a_seed_that_lacks_a_length_counts_where_it_is_and_not_in_the_crossover():
    lacking = BOTH[~((BOTH["seed"] == 3) & (BOTH["task_steps"] == 100))]
    (gap,) = gaps_of(lacking)
    assert [gap.intervals[length].n for length in LENGTHS] == [3, 4, 4]
    assert gap.seeds == 3
    assert gap.crossing.at == pytest.approx(1000 * math.sqrt(10))


@pytest.mark.parametrize(
    ("dense", "course"),
    [
        (curve(45.0, 59.0, 78.0), "+5.0 at 100, +1.0 at 1,000, -6.0 at 10,000"),
        (curve(51.0, 57.0, 73.0), "-1.0 at 100, +3.0 at 1,000, -1.0 at 10,000"),
    ],
)
def test_where_the_difference_falls_no_crossover_is_claimed(dense, course):
    """A curve that never falls would be below 0, or cross it, where grow is in truth ahead."""
    (gap,) = gaps_of(frame({"grow": GROW, "backprop": dense}))
    assert gap.falls
    assert gap.crossing is None
    assert crossing_text(gap) == f"none sought: the difference falls with longer tasks ({course})"
    assert title([gap]) == "No crossover has both ends of its interval within the lengths tried"


def test_seeds_of_one_side_alone_are_left_out():
    (gap,) = gaps_of(BOTH[~((BOTH["seed"] == 0) & (BOTH["learner"] == "grow"))])
    assert {one.n for one in gap.intervals.values()} == {3}
    assert gap.intervals[100].mean == -2


def test_learners_that_several_arms_have_are_compared_within_an_arm():
    """Arms a and b differ in a setting, so that a's grow has nothing to do with b's backprop."""
    lower = {steps: value - 10 for steps, value in DENSE.items()}
    arms = [frame({"grow": GROW, "backprop": DENSE}, "a"), frame({"grow": GROW}, "b")]
    arms += [frame({"backprop": lower}, "b"), frame({"static": DENSE})]
    found = gaps_of(pd.concat(arms, ignore_index=True))
    assert {(gap.grow, gap.other, gap.intervals[100].mean) for gap in found} == {
        ("a grow", "a backprop", -2),
        ("a grow", "static", -2),
        ("b grow", "b backprop", 8),
        ("b grow", "static", -2),
    }


def test_without_grow_there_is_nothing_to_catch_up():
    assert gaps_of(frame({"static": GROW, "backprop": DENSE})) == []


@pytest.mark.parametrize(
    ("other", "expected", "interval"),
    [
        (curve(60.0, 70.0, 80.0), "the fitted curve stays below 0", "[>10,000, >10,000]"),
        (curve(40.0, 50.0, 60.0), "the fitted curve stays above 0", "[<100, <100]"),
    ],
)
def test_no_crossover_is_told_as_such(other, expected, interval):
    (gap,) = gaps_of(frame({"grow": GROW, "backprop": other}))
    assert crossing_text(gap) == f"no crossover within 100\u201310,000 steps: {expected}"
    assert interval_text(gap) == interval


def test_an_open_end_is_marked_and_no_title_claims_its_crossover():
    (gap,) = gaps_of(BOTH)
    assert title([gap]) == "Grow catches up with backprop at 3,162 steps [3,162, 3,162]"
    opened = replace(gap, crossing=Crossover(3162.0, 900.0, math.inf, 0.0, 0.1))
    assert interval_text(opened) == "[900, >10,000]"
    assert title([opened]).startswith("No crossover")
    single = replace(gap, crossing=Crossover(3162.0, None, None, 0.0, 0.0))
    assert interval_text(single) == "\u2013"
    assert title([single]).startswith("No crossover")


def test_a_stream_counts_where_it_has_several_lengths_at_equal_updates():
    other = frame({"grow": {500: 60.0}}, updates=99_000)
    (kept,) = at_several_lengths(pd.concat([BOTH, other], ignore_index=True))
    assert kept["updates"].unique().tolist() == [10_000]
    assert at_several_lengths(other) == []
    ungraded = BOTH.assign(taoa=[None if s > 100 else 50.0 for s in BOTH["task_steps"]])
    assert at_several_lengths(ungraded) == []


def test_a_diverged_seed_counts_in_the_gap_and_is_told_of(tmp_path, monkeypatch):
    """Its accuracy has every later step wrong; the gap at 100 is -2, -2, -2 and 10 - 61."""
    broken = (BOTH["learner"] == "grow") & (BOTH["task_steps"] == 100) & (BOTH["seed"] == 3)
    lost = BOTH.assign(
        status=BOTH["status"].mask(broken, "diverged"), taoa=BOTH["taoa"].mask(broken, 10.0)
    )
    (part,) = at_several_lengths(lost)
    (gap,) = gaps_of(part)
    assert gap.intervals[100].mean == pytest.approx((-2 * 3 + 10 - 61) / 4)
    assert gap.seeds == 4
    comparison = write_study(tmp_path, {"grow_50": {}})
    monkeypatch.setattr(replicates, "read", lambda _: lost)
    for figure in integration.section(comparison).figures:
        assert "diverged: 1 counted as wrong in every step from then on" in figure.reading


def test_the_section_shows_every_difference_and_the_share_of_draws(tmp_path, monkeypatch):
    comparison = write_study(tmp_path, {"grow_50": {}})
    never = frame({"static": curve(60.0, 70.0, 80.0)})
    every = pd.concat([BOTH, never], ignore_index=True)
    monkeypatch.setattr(replicates, "read", lambda _: every)
    section = integration.section(comparison)
    assert [figure.name for figure in section.figures] == ["integration", "crossover"]
    assert section.figures[1].title.startswith("Grow catches up with backprop at 3,162 steps [3,")
    assert len(section.figures[1].data) == 6
    crossings, accuracy = section.tables
    shares = {row[0]: row[3:6] for row in crossings.rows}
    assert shares["grow less static, permuted inputs"] == ("0.0 %", "100.0 %", "4")
    assert shares["grow less backprop, permuted inputs"] == ("0.0 %", "0.0 %", "4")
    assert crossings.head[6:] == ("100 steps", "1,000 steps", "10,000 steps")
    assert [row[0] for row in accuracy.rows] == ["backprop", "grow", "static"]
    assert "10,000 draws" in section.text[0]


def test_arms_that_sweep_are_shown_with_a_crossover_of_each_pair(tmp_path):
    sweep = {"continual.sweep": [100, 1000], "continual.learners": ["grow", "static"]}
    comparison = write_study(tmp_path, {"a": {**sweep, "continual.streams": ["random_labels"]}})
    section = integration.section(comparison)
    assert section.figures[0].data["task_steps"].unique().tolist() == [100, 1000]
    assert len(section.tables[0].rows) == 1


def test_one_length_is_no_sweep(tmp_path):
    comparison = write_study(tmp_path, {"grow_50": {}, "prune_50": {"op": "prune"}})
    assert integration.section(comparison) is None


def test_learners_of_arms_that_train_unlike_are_no_pair(tmp_path):
    """Grow at one rate and dense at ten times the rate: the difference would be the rate's."""
    sweep = {"continual.sweep": [20, 40], "continual.streams": ["random_labels"]}
    one = {"continual.learners": ["grow"], **sweep}
    other = {"continual.learners": ["backprop"], **sweep}
    for more, gaps in (({}, 1), ({"continual.lr": 0.3}, 0)):
        folder = tmp_path / str(gaps)
        comparison = write_study(folder, {"a": one, "b": other | more}, stages=["continual"])
        (place,) = at_several_lengths(replicates.read(comparison))
        assert len(gaps_of(place)) == gaps
        assert ("b backprop" in set(place["name"])) == (gaps == 0)

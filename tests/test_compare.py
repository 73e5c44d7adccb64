"""A study compared: values of seeds from kept tables, the page, and what it says of gaps."""

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import python
from report_tables import ROOT
from study_tables import write_study

from plasticity import planning, study
from plasticity.claims import Reference
from plasticity.errors import DataError
from plasticity.files import STUDY_FIGURES, STUDY_HTML, metrics_path, read_json, write_json
from plasticity.measures import newborn_ratio
from plasticity.report.comparison import gather, page, planner, scorecard, values
from plasticity.report.comparison.gather import Comparison
from plasticity.tables import read_table

ARMS = {"grow_50": {}, "prune_50": {"op": "prune"}}
CLAIMS = {
    "C4": {"says": "Grow ends higher", "expects": "more", "contrasts": [["grow_50", "prune_50"]]},
    "C2": {
        "says": "Newborn units are starved",
        "metric": "newborn.grad end",
        "expects": "less",
        "contrasts": [["grow_50", 1]],
    },
}
TICKETS = {
    "C6": {
        "says": "A ticket is more than its widths",
        "expects": "more",
        "contrasts": [["grow_50 ticket.acc masked_fresh", "grow_50 ticket.acc random_fresh"]],
    },
}
README = (ROOT / "README.md").read_text()
NEWBORN = {"newborn.act": "activation_rate", "newborn.grad": "gradient"}
EVIL = "</script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return write_study(tmp_path_factory.mktemp("whole"), ARMS, CLAIMS)


def written(folder: Path, comparison: Comparison) -> str:
    page.write(comparison, folder)
    return (folder / STUDY_HTML).read_text()


def text_of(html: str) -> str:
    body = re.sub(r"<script.*?</script>|<style.*?</style>|<svg.*?</svg>", " ", html, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


# -- one number of each seed


def test_values_are_those_of_the_tables(whole: Comparison) -> None:
    arm = whole.arm("grow_50")
    seeds = read_table("train", "seeds", arm.folders[0])
    values = whole.values(Reference("grow_50", "cycle.acc"))
    assert dict(values.by_seed) == dict(zip(seeds["seed"], seeds["cycle_acc"], strict=True))
    tickets = read_table("retrain", "seeds", arm.folders[0])
    fresh = tickets[tickets["variant"] == "random_fresh"]
    values = whole.values(Reference("grow_50", "ticket.acc", ("random_fresh",)))
    assert dict(values.by_seed) == dict(zip(fresh["seed"], fresh["ticket_acc"], strict=True))


def test_costs_are_compared_by_their_logarithm(whole: Comparison) -> None:
    flops = read_table("train", "seeds", whole.arm("grow_50").folders[0])["flops"]
    values = whole.values(Reference("grow_50", "flops"))
    assert values.by_seed[0] == math.log(flops[0])


def test_a_layer_that_is_left_out_is_all_of_them(whole: Comparison) -> None:
    parts = [
        whole.values(Reference("grow_50", "newborn.grad", ("end", *layer))).by_seed[0]
        for layer in ((), ("fc1",), ("fc2",))
    ]
    assert parts[0] == pytest.approx((parts[1] + parts[2]) / 2)


def test_a_bound_in_every_layer_is_a_contrast_for_each(tmp_path: Path) -> None:
    """Between the ratios of two layers lies a bound that one keeps and the other does not."""
    sides = ["grow_50 newborn.grad birth fc1", "grow_50 newborn.grad birth fc2"]
    whole = write_study(tmp_path / "a", ARMS)
    logs = [
        [*whole.values(Reference("grow_50", "newborn.grad", ("birth", layer))).by_seed.values()]
        for layer in ("fc1", "fc2")
    ]
    bound = math.exp((np.mean(logs[0]) + np.mean(logs[1])) / 2)
    claim = {"says": "x", "expects": "more", "metric": "newborn.grad birth"}
    claims = {"every": claim | {"contrasts": [[side, bound] for side in sides]}}
    (decision,) = write_study(tmp_path / "b", ARMS, claims).decisions
    kept = [float(np.mean(part)) > math.log(bound) for part in logs]
    assert sorted(kept) == [False, True]
    told = {True: "supported", False: "contradicted"}
    assert [one.verdict for one in decision.contrasts] == [told[one] for one in kept]
    assert decision.verdict == "contradicted"


def test_a_stream_is_the_first_one_of_the_experiment_unless_it_is_named(whole: Comparison) -> None:
    rows = read_table("continual", "seeds", whole.arm("grow_50").folders[0])
    rows = rows[rows["stream"] == "random_labels"]
    named = whole.values(Reference("grow_50", "taoa", ("operator", "random_labels")))
    assert dict(named.by_seed) == dict(zip(rows["seed"], rows["taoa"], strict=True))
    unnamed = whole.values(Reference("grow_50", "taoa"))
    first = whole.values(Reference("grow_50", "taoa", ("operator", "permuted_inputs")))
    assert unnamed == first != named


def test_a_diverged_seed_counts_as_chance_in_accuracies_and_has_no_ratio(tmp_path: Path) -> None:
    comparison = write_study(tmp_path, ARMS, CLAIMS, diverged={"grow_50": (1,)})
    accuracy = comparison.values(Reference("grow_50", "cycle.acc"))
    assert accuracy.by_seed[1] == 10.0
    assert accuracy.diverged == (1,)
    ratio = comparison.values(Reference("grow_50", "newborn.grad", ("end",)))
    assert 1 not in ratio.by_seed
    assert "grow_50: seed 1 diverged, counted as chance" in text_of(written(tmp_path, comparison))


# -- the page


def test_the_scorecard_has_every_claim_with_its_verdict(whole: Comparison, tmp_path: Path) -> None:
    text = text_of(written(tmp_path, whole))
    for decision in whole.decisions:
        assert f"{decision.claim.name} {decision.claim.says}" in text
        assert decision.verdict in text
    assert "Of 2 claims: 2 supported." in text


def test_the_scorecard_is_there_as_markdown(tmp_path: Path) -> None:
    claims = {"C4": CLAIMS["C4"] | {"says": f"Grow | {EVIL}"}, "C2": CLAIMS["C2"]}
    comparison = write_study(tmp_path, ARMS, claims, missing=("prune_50",))
    written(tmp_path, comparison)
    head, rule, first, second = (tmp_path / STUDY_FIGURES / "scorecard.md").read_text().splitlines()
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in (head, rule, first, second)} == {5}
    assert EVIL not in first
    assert first.endswith("| **not run** |")
    (ratio,) = comparison.decisions[1].contrasts
    assert f"{ratio.text}: {scorecard.value(ratio)} (n 5) | **supported** |" in second


@pytest.mark.parametrize("name", re.findall(r"<!-- scorecard of (\S+) -->", README) or ["none"])
def test_the_scorecards_in_the_readme_are_those_of_the_kept_tables(name: str) -> None:
    found = gather.read(study.read(ROOT / name), ROOT).decisions
    told = re.search(rf"<!-- scorecard of {name} -->\n\n(.*?)\n<!-- end -->", README, flags=re.S)
    assert told is not None
    assert told[1] == scorecard.markdown(found)


def test_the_page_says_what_size_was_trained_and_which_margin_a_claim_has(
    whole: Comparison, tmp_path: Path
) -> None:
    text = text_of(written(tmp_path, whole))
    epochs, cycles = (whole.arms[0].params.train.epochs, whole.arms[0].params.edit.cycles)
    size = f"Trained on digits (all images), {epochs} epochs with an event every {epochs // cycles}"
    assert f"{size}. This is not the paper&#39;s size" in text
    rows = pd.read_csv(tmp_path / "reports/study/seeds.csv")
    found = pd.read_csv(tmp_path / "reports/study/contrasts.csv")
    for one in found.itertuples():
        part = rows[(rows["claim"] == one.claim) & (rows["contrast"] == one.contrast)]
        assert (part["first"] - part["second"]).mean() == pytest.approx(one.mean)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ((325, 325), "is on 5 training images in place of 32; accuracy is measured right after"),
        ((325, 320), "is in one on 5 training images in place of 32; accuracy is measured"),
        ((320, "all"), ""),
    ],
)
def test_the_page_says_where_accuracy_is_measured_right_after_a_small_step(
    tmp_path: Path, images: tuple[int | str, ...], told: str
) -> None:
    """All of the digits are 1437, of which 29 are left: more than half a batch."""
    arms = {
        name: {"data.train_images": count, "compactness": kept}
        for name, count, kept in zip(("one", "two"), images, (0.5, 0.2), strict=True)
    }
    size = page.size(write_study(tmp_path, arms))
    assert ("The last step of every epoch " in size) == bool(told)
    assert told in size


def test_the_table_of_conditions_counts_the_seeds_of_every_stage(tmp_path: Path) -> None:
    comparison = write_study(tmp_path, ARMS, diverged={"prune_50": (1, 3)}, seeds={"grow_50": 4})
    rows = {row[0]: row[1:3] for row in page.conditions(comparison).rows}
    assert rows == {"grow_50": ("done", "3, 4"), "prune_50": ("done, 2 diverged", "3, 5")}
    streams = write_study(tmp_path / "streams", ARMS)
    for arm in streams.arms:
        shutil.rmtree(arm.folders[0] / "reports/train")
        shutil.rmtree(arm.folders[0] / "reports/retrain")
    assert [row[1:3] for row in page.conditions(streams).rows] == [("done", "3")] * 2


@pytest.mark.parametrize("moment", ["birth", "end"])
@pytest.mark.parametrize(("measure", "column"), NEWBORN.items())
def test_the_newborn_ratio_of_the_metrics_is_that_of_the_report(
    measure: str, column: str, moment: str
) -> None:
    asked = study.read(ROOT / "studies/quick.yaml")
    arm = gather.read(asked, ROOT).arm("grow_20")
    cohorts = read_table("train", "cohorts", arm.folders[0]).to_dict("records")
    told = newborn_ratio(cohorts, column, moment, set(range(10)))
    found = values.of(Reference("grow_20", measure, (moment,)), arm.params, arm.folders)
    assert told is not None
    assert told.mean == pytest.approx(np.mean([*found.by_seed.values()]), rel=1e-12)


def test_every_number_of_the_scorecard_is_in_the_table_of_contrasts(
    whole: Comparison, tmp_path: Path
) -> None:
    written(tmp_path, whole)
    frame = pd.read_csv(tmp_path / STUDY_FIGURES / "contrasts.csv")
    one = whole.decisions[0].contrasts[0]
    row = frame[frame["claim"] == "C4"].iloc[0]
    assert row["mean"] == one.interval.mean
    assert row["p_sign_flip"] == one.p_sign_flip
    assert set(frame["verdict"]) == {"supported"}
    differences = sorted(a - b for a, b in zip(one.first, one.second, strict=True))
    assert row["iqm"] == pytest.approx(sum(differences[1:4]) / 3)
    assert row["iqm_low"] <= row["iqm"] <= row["iqm_high"]
    assert row["improvement"] == np.mean([a > b for a in one.first for b in one.second])
    values = pd.read_csv(tmp_path / STUDY_FIGURES / "values.csv")
    assert len(values) == 2 * 4 * 5
    assert (tmp_path / STUDY_FIGURES / "key.svg").read_text().startswith("<svg")
    assert (tmp_path / STUDY_FIGURES / "key.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_opens_no_address_and_text_cannot_break_out(tmp_path: Path) -> None:
    claims = {"C4": CLAIMS["C4"] | {"says": EVIL, "paper": EVIL}}
    arms = ARMS | {"evil": {"report.title": EVIL, "compactness": 0.3}}
    comparison = write_study(tmp_path, arms, claims, title=EVIL, failed={"evil": EVIL})
    html = written(tmp_path, comparison)
    assert EVIL not in html
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?:https?:)?//""", html)
    specs = re.search(r'id="specs">(.*?)</script>', html, flags=re.S)
    assert json.loads(specs[1])


def test_same_tables_give_the_same_bytes(whole: Comparison, tmp_path: Path) -> None:
    assert written(tmp_path / "a", whole) == written(tmp_path / "b", whole)


# -- when something is lacking


def test_an_arm_that_was_not_run_leaves_its_claims_open(tmp_path: Path) -> None:
    comparison = write_study(tmp_path, ARMS, CLAIMS, missing=("prune_50",))
    assert [one.verdict for one in comparison.decisions] == ["not run", "supported"]
    text = text_of(written(tmp_path, comparison))
    assert "prune_50 was not run" in text
    assert "Unfinished 1 of 2 conditions are missing." in text


def test_an_arm_that_failed_says_why(tmp_path: Path) -> None:
    why = "train: all 5 seeds diverged, the first at step 3"
    comparison = write_study(tmp_path, ARMS, CLAIMS, failed={"prune_50": why})
    assert comparison.decisions[0].verdict == "not run"
    assert f"prune_50 failed: {why}" in text_of(written(tmp_path, comparison))


def test_one_seed_has_no_verdict(tmp_path: Path) -> None:
    comparison = write_study(tmp_path, ARMS, CLAIMS, seeds={"grow_50": 1, "prune_50": 1})
    assert {one.verdict for one in comparison.decisions} == {"not run"}
    assert "one seed has no interval" in text_of(written(tmp_path, comparison))


def test_nothing_at_all_is_no_fault(tmp_path: Path) -> None:
    comparison = write_study(tmp_path, ARMS, CLAIMS, missing=tuple(ARMS))
    text = text_of(written(tmp_path, comparison))
    assert "Of 2 claims: 2 not run." in text
    assert "Nothing has been run." in text


def test_results_of_another_version_are_not_mixed_in(tmp_path: Path) -> None:
    comparison = write_study(tmp_path, ARMS, CLAIMS)
    path = comparison.arm("prune_50").folders[0] / "condition.json"
    write_json(path, read_json(path) | {"results_version": 0})
    again = gather.read(comparison.study, tmp_path)
    assert again.decisions[0].verdict == "not run"
    assert "prune_50 is of results version 0" in text_of(written(tmp_path, again))


def test_versions_of_the_code_that_differ_are_told(tmp_path: Path) -> None:
    comparison = write_study(tmp_path, ARMS, CLAIMS)
    path = comparison.arm("prune_50").folders[0] / "condition.json"
    record = read_json(path)
    write_json(path, record | {"code": record["code"] | {"src": "d" * 40}})
    again = gather.read(comparison.study, tmp_path)
    assert "Conditions were run with 2 versions of the code" in text_of(written(tmp_path, again))


def test_a_damaged_table_takes_away_the_verdict_and_is_named(tmp_path: Path) -> None:
    comparison = write_study(tmp_path, ARMS, CLAIMS)
    table = comparison.arm("prune_50").folders[0] / "reports/train/seeds.csv"
    table.write_text(table.read_text()[:-1])
    decision = gather.read(comparison.study, tmp_path).decisions[0]
    assert decision.verdict == "not run"
    assert "reports/train/seeds.csv" in decision.contrasts[0].notes[0]


def test_a_mean_beyond_the_picture_ends_in_an_arrow(whole: Comparison) -> None:
    (one,) = whole.decisions[0].contrasts
    assert "<circle" in scorecard.glyph(one)
    far = scorecard.glyph(type(one)(**(vars(one) | {"margin": 1e-3})))
    assert "<polygon" in far
    assert "<circle" not in far


# -- the command


def command(folder: Path, *arguments: str):
    for name in ("src", "stages", "data/published"):
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True)
    return python(folder, "-m", "stages.compare", *arguments)


def test_the_command_prints_a_verdict_for_each_claim_and_where_the_page_is(tmp_path: Path) -> None:
    write_study(tmp_path, ARMS, CLAIMS, missing=("prune_50",))
    result = command(tmp_path, "studies/two.yaml")
    assert result.returncode == 0, result.stderr
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["not", "run", "C4", "Grow", "ends", "higher"],
        ["supported", "C2", "Newborn", "units", "are", "starved"],
    ]
    assert "[compare] reports/study.html" in result.stderr
    assert (tmp_path / STUDY_HTML).exists()


def test_the_command_prints_how_many_seeds_a_difference_needs(tmp_path: Path) -> None:
    write_study(tmp_path, ARMS | {"static": {"op": "static"}}, TICKETS)
    result = command(tmp_path, "studies/two.yaml", "--difference", "0.2")
    (plan,) = planner.plans(
        gather.read(study.read(tmp_path / "studies/two.yaml", tmp_path / "params.yaml"), tmp_path),
        0.2,
    )
    line = f"{plan.to_find:>8} seeds find 0.2 points in C6: grow_50: masked_fresh less random_fresh"
    assert result.stdout.splitlines()[-1] == line
    assert command(tmp_path, "studies/two.yaml", "--difference", "-1").returncode == 2


def test_a_plan_is_that_of_the_spread_that_was_measured(tmp_path: Path) -> None:
    comparison = write_study(tmp_path, ARMS, TICKETS)
    (plan,) = planner.plans(comparison)
    differences = comparison.decisions[0].contrasts[0].differences
    assert plan.deviation == pytest.approx(float(pd.Series(differences).std()))
    assert plan.to_find == planning.seeds_for(1.0, plan.deviation)
    assert plan.to_equate == planning.seeds_for_equivalence(1.0, plan.deviation)
    assert plan.detectable == planning.detectable(5, plan.deviation)
    assert planner.plans(comparison, 1e-6)[0].to_find is None


def test_a_study_that_does_not_exist_ends_with_2(tmp_path: Path) -> None:
    result = command(tmp_path, "studies/tow.yaml")
    assert result.returncode == 2
    assert "studies/tow.yaml: is missing" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("content", ["[]", "3", "{}", '{"results_version": 1, "code": "x"}'])
def test_a_record_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    comparison = write_study(tmp_path, ARMS, CLAIMS)
    path = comparison.arm("prune_50").folders[0] / "condition.json"
    path.write_text(content)
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: is no record of a run") as error:
        gather.read(comparison.study, tmp_path)
    assert "\n" not in str(error.value)


def test_metrics_that_are_none_are_named(tmp_path: Path) -> None:
    comparison = write_study(tmp_path, ARMS, CLAIMS)
    folder = comparison.arm("prune_50").folders[0]
    (folder / metrics_path("prepare")).write_text('{"data": 3}')
    with pytest.raises(DataError, match=r"metrics\.json: is not what it should be"):
        values.chance((folder,))

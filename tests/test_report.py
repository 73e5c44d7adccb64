"""The report of one experiment, from tables that are plausible and always the same."""

import base64
import hashlib
import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from html import unescape
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from commands import run
from report_tables import CYCLE, EPOCHS, REPLACED, ROOT, TERMS, write_experiment

from plasticity import catalogue, remarks
from plasticity.files import FIGURES, REPORT_HTML, metrics_path, timing_path, write_json
from plasticity.report import (
    accounts,
    ages,
    charts,
    condition,
    contrasts,
    figures,
    findings,
    inputs,
    integration,
    lifelines,
    lines,
    mechanism,
    numbers,
    page,
    sections,
    settings,
    shocks,
    streams,
    theme,
    wordings,
)
from plasticity.stats import Interval, t_interval

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
VERDICTS = {"below", "unclear", "above", "single", "none"}
BREAKOUT = "</script><script>alert(1)</script>"
EMPTY = {"retrain.variants": [], "continual.streams": []}
CASES = {
    "grow": {"op": "grow", "changes": {"report.title": BREAKOUT}},
    "prune": {
        "op": "prune",
        "seeds": 8,
        "diverged": (2, 5),
        "changes": {"scale": "tiny", "network.widths": [256, 256]},
    },
    "dense": {"op": "dense", "seeds": 3, "changes": EMPTY},
    "static": {"op": "static", "seeds": 1},
    "turnover": {
        "op": "turnover",
        "seeds": 4,
        "changes": EMPTY | {"intervention.insertion": "zero_out"},
    },
    "unmeasured": {"op": "grow", "seeds": 2, "changes": EMPTY | {"measure.enabled": False}},
    "crelu": {"op": "grow", "seeds": 2, "changes": EMPTY | {"intervention.activation": "crelu"}},
}
BODY = "trajectory shock widths newborns {}measures retraining streams health cost seeds provenance"
NEWBORN_SECTIONS = "causes updates integration "
ANCHORS = {
    "grow": BODY.format(NEWBORN_SECTIONS),
    "prune": BODY.format("survivors "),
    "dense": BODY.format(""),
    "static": BODY.format(""),
    "turnover": BODY.format(f"{NEWBORN_SECTIONS}survivors "),
    "unmeasured": BODY.format(""),
    "crelu": BODY.format(NEWBORN_SECTIONS),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Folders of experiments, one per case, each with its report."""
    result = {}
    for name, case in CASES.items():
        folder = tmp_path_factory.mktemp(name)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            write_experiment(folder, **case)
            page.write(inputs.read())
        result[name] = folder
    return result


@pytest.fixture(scope="module")
def pages(folders: Mapping[str, Path]) -> Mapping[str, str]:
    return {name: (folder / REPORT_HTML).read_text() for name, folder in folders.items()}


def text_of(html: str) -> str:
    body = re.sub(r"<script.*?</script>|<style.*?</style>", "", html, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]*>", "", body)).split())


def heading(html: str) -> str:
    found = re.search(r"<h1>(.*?)</h1>", html, re.S)
    assert found
    return re.sub(r"<[^>]*>", "", found[1]).replace("\u2011", "-")


def specs(html: str) -> dict[str, dict]:
    found = re.search(r'<script type="application/json" id="specs">(.*?)</script>', html, re.S)
    assert found
    return json.loads(found[1])


def test_title_states_what_was_measured_with_its_interval(pages: Mapping[str, str]) -> None:
    assert re.fullmatch(
        r"Growing 26-26 to 128-128 units reached 96\.\d % \[9\d\.\d, 9\d\.\d\]; newborns still got "
        r"0\.\d\d\u00d7 the gradient of incumbents when their cycle ended",
        heading(pages["grow"]),
    )


@pytest.mark.parametrize("name", CASES)
def test_page_has_every_section_and_stays_small(name: str, pages: Mapping[str, str]) -> None:
    anchors = re.findall(r'<section id="(\w+)">', pages[name])
    assert " ".join(anchors) == ANCHORS[name]
    assert len(pages[name].encode()) < 5e6


@pytest.mark.parametrize("name", CASES)
def test_page_opens_no_address(name: str, pages: Mapping[str, str]) -> None:
    html = pages[name]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy
    assert policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy[1]
    scripts = re.findall(r"<script>(.*?)</script>", html, re.S)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy[1]
    markup = html.replace(scripts[0], "")
    assert "http" not in re.sub(r'http-equiv="Content-Security-Policy"', "", markup)


def test_title_of_the_parameters_cannot_break_out(pages: Mapping[str, str]) -> None:
    assert pages["grow"].count("<script") == 4
    assert BREAKOUT not in pages["grow"]
    assert "&lt;/script&gt;" in pages["grow"]


def test_what_was_not_run_is_said(pages: Mapping[str, str]) -> None:
    text = text_of(pages["dense"])
    assert "Nothing was retrained: retrain.variants is empty." in text
    assert "No stream was run: continual.streams is empty." in text
    assert "there are no newborns" in text
    assert "two measures, not three" in text


def test_one_seed_has_no_interval(pages: Mapping[str, str]) -> None:
    assert "in one seed, so without an interval" in heading(pages["static"])
    assert "[" not in heading(pages["static"])
    assert "n = 1 seed" in pages["static"]
    assert pages["static"].count("no interval") > 3


def test_diverged_seeds_are_named_and_outside_the_means(
    folders: Mapping[str, Path], pages: Mapping[str, str]
) -> None:
    text = text_of(pages["prune"])
    assert "2 of 8 seeds diverged: seed 2 at step 318 and seed 5 at step 318." in text
    assert "n = 6 of 8 seeds (seeds 2 and 5 diverged)" in text
    assert pages["prune"].count('<tr class="bad">') == 2
    seeds = pd.read_csv(folders["prune"] / "reports/train/seeds.csv")
    mean = seeds.loc[~seeds["seed"].isin([2, 5]), "cycle_acc"].mean()
    assert f"reached {mean:.1f} %" in heading(pages["prune"])
    lines = pd.read_csv(folders["prune"] / FIGURES / "trajectory.csv")
    assert {2, 5} <= set(lines.loc[lines["series"] == "seed", "seed"])


def test_smoke_run_looks_unfinished(pages: Mapping[str, str]) -> None:
    assert re.search(r"\.smoke figure \{[^}]*overflow: clip", pages["prune"])
    assert '<body class="smoke">' in pages["prune"]
    assert "Smoke run: not a result." in text_of(pages["prune"])
    assert "Smoke run" not in text_of(pages["grow"])
    assert "A demonstration on a small problem" in text_of(pages["grow"])


@pytest.mark.parametrize("name", CASES)
def test_every_figure_states_n_and_links_its_data(
    name: str, folders: Mapping[str, Path], pages: Mapping[str, str]
) -> None:
    found = re.findall(r'<figure id="figure-(\w+)">(.*?)</figure>', pages[name], re.S)
    assert {figure for figure, _ in found} == set(specs(pages[name]))
    for figure, content in found:
        assert re.search(r"n = \d", content), figure
        assert f'href="figures/{figure}.csv"' in content
        assert len(pd.read_csv(folders[name] / FIGURES / f"{figure}.csv")) > 0
    assert len(list((folders[name] / FIGURES).glob("*.svg"))) == 1


def test_key_figure_is_the_birth_certificate_only_where_units_are_born(
    pages: Mapping[str, str],
) -> None:
    first = {
        name: re.findall(r'<figure id="figure-(\w+)">', html)[0] for name, html in pages.items()
    }
    assert first == {
        "grow": "newborns",
        "prune": "survivors",
        "dense": "trajectory",
        "static": "trajectory",
        "turnover": "newborns",
        "unmeasured": "trajectory",
        "crelu": "newborns",
    }


def test_same_inputs_give_the_same_bytes_and_no_times_are_no_fault(
    folders: Mapping[str, Path],
    pages: Mapping[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(folders["dense"], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    for stage in ("train", "extract"):
        timing_path(stage).unlink()
    page.write(inputs.read())
    again = Path(REPORT_HTML).read_text()
    assert "No times are known" in again
    before = pages["dense"].partition('<section id="cost">')[0]
    assert again.partition('<section id="cost">')[0] == before
    once, twice = (
        {path.name: path.read_bytes() for path in (folder / FIGURES).iterdir()}
        for folder in (folders["dense"], tmp_path)
    )
    assert once == twice


def test_times_of_another_run_are_not_told(
    folders: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC restores a stage's results from its cache, and leaves the times of the last run."""
    shutil.copytree(folders["dense"], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    assert inputs.read().timing["train"]["seconds"] == 41.2
    write_json(metrics_path("train"), {"status": "ok", "cycle": {"acc": 12.3}})
    assert sorted(inputs.read().timing) == ["extract"]


def test_no_line_has_more_points_than_the_budget(pages: Mapping[str, str]) -> None:
    assert numbers.thinned(range(1, 1001))[:2] == [1, 6]
    assert len(numbers.thinned(range(1000))) == theme.POINTS_PER_LINE
    assert numbers.thinned(range(1000))[-1] == 999
    for html in pages.values():
        for spec in specs(html).values():
            assert all(len(rows) <= 5000 for rows in spec.get("datasets", {}).values())


def test_ratio_is_a_geometric_mean_without_the_first_event() -> None:
    def row(seed: int, event: int, cohort: str, gradient: float) -> dict[str, object]:
        where = {"seed": seed, "event": event, "step": 9 * event, "layer": "fc1", "age": 0}
        where["moment"] = "birth"
        return where | {"cohort": cohort, "activation_rate": 0.5, "gradient": gradient}

    values = {(0, 0): 9.0, (0, 1): 0.2, (0, 2): 0.8, (1, 1): 0.1, (1, 2): 0.0}
    rows = [row(*key, "newborn", value) for key, value in values.items()]
    rows += [row(*key, "incumbent", 1.0) for key in values]
    ratios = contrasts.newborns(pd.DataFrame(rows))
    mean = ratios.at("gradient", "birth")
    assert mean is not None
    # Seed 0: sqrt(0.2 x 0.8) = 0.4. Seed 1: 0.1, its other event has no ratio. sqrt(0.4 x 0.1).
    assert math.exp(mean.mean) == pytest.approx(0.2)
    assert mean.n == 2
    assert (ratios.pairs, ratios.undefined) == (8, 1)


def test_seeds_without_any_gradient_are_not_passed_over(folders: Mapping[str, Path]) -> None:
    results = inputs.read(folders["grow"])
    cohorts = results.cohorts.copy()
    cohorts.loc[(cohorts["cohort"] == "newborn") & (cohorts["seed"] < 2), "gradient"] = 0.0
    summary = findings.summarise(replace(results, cohorts=cohorts))
    assert findings.title(summary).endswith("in the 3 of 5 seeds where both got any")
    figure = ages.newborns(summary)
    assert "n = 3 to 5 of 5 seeds" in figure.reading
    assert "one side was exactly zero" in figure.reading


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (t_interval([-1.0, -1.1, -0.9]), "below"),
        (t_interval([-1.0, 1.0, 0.1]), "unclear"),
        (t_interval([1.0, 1.1, 0.9]), "above"),
        (t_interval([1.0]), "single"),
        (None, "none"),
        (Interval(0.0, 0.0, 4), "unclear"),
    ],
)
def test_interval_alone_chooses_the_verdict(interval: Interval | None, expected: str) -> None:
    assert numbers.verdict(interval) == expected


def test_every_finding_has_a_wording_for_every_verdict() -> None:
    prepared = [value for value in vars(wordings).values() if isinstance(value, dict)]
    found = [value for value in prepared if VERDICTS & set(value)]
    assert len(found) >= 15
    assert all(set(value) == VERDICTS for value in found)


def test_only_a_clear_interval_claims_a_direction() -> None:
    assert "lost" in wordings.DELTA["below"]
    assert "gained" in wordings.DELTA["above"]
    for wording in (wordings.DELTA["unclear"], wordings.CONTROL["unclear"]):
        assert not re.search(r"lost|gained|beat|worth", wording)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (theme.percent(Interval(97.14, 0.31, 5)), "97.1 % [96.8, 97.5]"),
        (theme.percent(Interval(97.14, None, 1)), "97.1 %"),
        (theme.size(Interval(-0.2, 0.17, 10)), "0.20 points [0.03, 0.37]"),
        (theme.points(Interval(0.2, 0.21, 10)), "+0.2 points [0.0, +0.4]"),
        (findings.ratio(Interval(-0.02, 0.018, 9)), "0.980\u00d7 [0.963, 0.998]"),
        (findings.ratio(Interval(-0.02, 0.021, 9)), "0.98\u00d7 [0.96, 1.00]"),
        (theme.percent(Interval(6.2, 15.8, 2)), "6.2 % [\u22129.6, 22.0]"),
        (theme.plain(Interval(33.0, 72.0, 3), within=(0, 100)), "33 [0, 100]"),
        (theme.points(Interval(-0.42, 0.5, 5)), "\u22120.4 points [\u22120.9, +0.1]"),
        (theme.size(Interval(-2.2, 0.3, 5)), "2.2 points [1.9, 2.5]"),
        (theme.times(0.456), "0.46\u00d7"),
        (theme.times(0.0123), "0.012\u00d7"),
        (theme.times(12.3), "12\u00d7"),
        (theme.signed(-0.04), "0.0"),
        (theme.count(85002.0), "85,002"),
        (theme.count(6.718e9), "6.72 billion"),
        (findings.ratio(Interval(math.log(0.5), math.log(2), 3)), "0.50\u00d7 [0.25, 1.00]"),
    ],
)
def test_numbers_are_written_as_people_read_them(text: str, expected: str) -> None:
    assert text == expected


def test_labels_are_moved_apart_and_keep_their_order() -> None:
    places = numbers.spread([3.0, 1.0, 1.1], 1.0)
    assert sorted(places) == [places[1], places[2], places[0]]
    assert places[2] - places[1] >= 1.0
    assert numbers.spread([], 1.0) == []


@pytest.mark.parametrize("domain", [(0.14, 1.05), (0.7, 1.05), (0.97, 1.04), (1e-3, 1.1), (0.9, 7)])
def test_ratio_axis_always_has_its_tick_at_one(domain: tuple[float, float]) -> None:
    ticks = charts.log_ticks(*domain)
    assert 1.0 in ticks
    assert 3 <= len(ticks) <= 12
    assert all(domain[0] <= tick <= domain[1] for tick in ticks)


@pytest.mark.parametrize("op", catalogue.OPERATORS)
def test_operator_has_a_colour_in_light_and_dark(op: str) -> None:
    assert op in theme.DASHES
    assert op in theme.SHAPES
    for palette in theme.PALETTES.values():
        assert re.fullmatch("#[0-9a-fA-F]{6}", palette[f"@{op}"])
        assert f"@{op}-text" in palette


def test_every_colour_of_a_chart_is_in_both_palettes(pages: Mapping[str, str]) -> None:
    for html in pages.values():
        used = set(re.findall(r'"(@[\w-]+)"', json.dumps(specs(html))))
        assert used
        assert all(used <= set(palette) for palette in theme.PALETTES.values())
    assert theme.LIGHT["@dense"] != theme.DARK["@dense"]


def test_trajectory_counts_epochs_of_events(folders: Mapping[str, Path]) -> None:
    results = inputs.read(folders["grow"])
    cycle = EPOCHS // 5
    assert numbers.event_epochs(results.history, results.edits) == [0, cycle, 2 * cycle, 3 * cycle]


def test_every_operator_has_its_own_sentences(folders: Mapping[str, Path]) -> None:
    results = inputs.read(folders["turnover"])
    summary = findings.summarise(results)
    for table in (wordings.HEADS, wordings.STRUCTURE, wordings.WIDTHS):
        assert set(table) == set(catalogue.OPERATORS)
    for op in catalogue.OPERATORS:
        own = replace(summary, op=op)
        said = [findings.title(own), *findings.lead(own, results.params)]
        said.append(findings.widths(results.edits, own))
        assert not any(mark in text for text in said for mark in "{}"), op
    assert f"{2 * REPLACED * 4} of which were replaced" in findings.lead(summary, results.params)[0]


def test_structure_that_turns_round_says_where(folders: Mapping[str, Path]) -> None:
    results = inputs.read(folders["prune"])
    down = replace(results, params=results.params.model_copy(update={"op": "prune_then_grow"}))
    edits = down.edits.copy()
    edits.loc[edits["event"] == 3, "alive_after"] = 40
    summary = findings.summarise(replace(down, edits=edits))
    assert findings.title(summary).startswith(
        "Pruning 256\u2011256 to 40\u201140 units and growing them to 128\u2011128 reached"
    )


def test_operators_of_one_hue_differ_by_dash_and_mark() -> None:
    looks = [(theme.LIGHT[f"@{op}"], theme.SHAPES[op]) for op in catalogue.OPERATORS]
    assert len(set(looks)) == len(looks)
    assert len({theme.LIGHT[f"@{op}"] for op in catalogue.OPERATORS}) == 5
    for op, hue in theme.HUE_OF.items():
        assert theme.DASHES[op] != theme.DASHES[hue]


def test_header_names_every_rule_that_is_not_the_default(
    folders: Mapping[str, Path], pages: Mapping[str, str]
) -> None:
    assert settings.changed(inputs.read(folders["grow"]).params) == []
    assert "Every rule is the default one." in text_of(pages["grow"])
    head = text_of(pages["turnover"].partition("<h1>")[0])
    assert "insertion zero_out (a new draw into the unit, zeros out of it" in head
    assert "edit.turnover fraction (a share of the units at every event; share 0.1" in head
    dense = inputs.read(folders["turnover"]).params.model_copy(update={"op": "dense"})
    assert dict(settings.changed(dense))["insertion"].endswith("which dense never uses")


def test_defaults_of_the_header_are_those_of_the_parameter_file() -> None:
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    chosen = tree["intervention"]
    chosen |= {f"selection.{name}": rule for name, rule in chosen.pop("selection").items()}
    assert chosen == {name: next(iter(table)) for name, table in remarks.FAMILIES.items()}
    for key, default in settings.PLAIN.items():
        section, name = key.split(".")
        assert tree[section][name] == default


def test_edited_trunk_is_among_the_widths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: Mapping[str, Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    params = write_experiment(tmp_path, seeds=2, changes={"dataset": "cifar10"})
    results = replace(inputs.read(folders["grow"]), params=params)
    head = {"fc1": 128, "fc2": 128, "fc3": 64}
    assert results.capacity == head
    whole = params.edit.model_copy(update={"layers": "all"})
    results = replace(results, params=params.model_copy(update={"edit": whole}))
    assert results.capacity == {"conv1": 16, "conv2": 32} | head
    results = replace(results, history=results.history.assign(units="3-5-7-11-13"))
    drawn = figures.widths(results, findings.summarise(inputs.read(folders["grow"]))).data
    assert drawn.groupby("layer")["units"].max().to_dict() == dict(
        zip(results.capacity, (3, 5, 7, 11, 13), strict=True)
    )


def cohort_rows(values: Mapping[tuple[int, int, int], tuple[float, ...]], **more: object):
    """Rows of newborns with (norm, gate, alignment) and of incumbents, all at their end."""
    rows = []
    for (seed, event, step), terms in values.items():
        where = {"seed": seed, "event": event, "step": step + 7, "age": 7, "moment": "end"}
        for cohort, (norm, gate, alignment) in (("newborn", terms), ("incumbent", (0, 0, 0))):
            logs = {"log_norm": norm - 1, "log_gate": gate - 2, "log_alignment": alignment - 3}
            total = sum(logs.values()) - 4
            rows.append(
                where
                | logs
                | {"layer": "fc1", "cohort": cohort, "units": 5, "silent": 2 * (seed == 1)}
                | {"log_gradient": total, "log_error": -4.0, "median_log_gradient": total + 0.1}
                | more
            )
    return pd.DataFrame(rows)


def test_causes_add_up_to_the_gradient_and_events_weigh_alike_within_a_seed() -> None:
    values = {(0, 1, 10): (-0.2, 0.1, -0.5), (0, 2, 20): (-0.4, 0.3, -0.7), (1, 1, 10): (0, 0, -1)}
    terms = contrasts.newborns(cohort_rows(values), contrasts.LOGS)
    means = {name: terms.at(name, "end") for name in contrasts.LOGS}
    # Seed 0: (-0.3, 0.2, -0.6), sum -0.7. Seed 1: (0, 0, -1). Then the mean of the two.
    for name, expected in (("norm", -0.15), ("gate", 0.1), ("alignment", -0.8), ("total", -0.85)):
        found = means[name]
        assert found is not None
        assert found.mean == pytest.approx(expected)
        assert found.n == 2
    assert means["median"] is not None
    assert means["median"].mean == pytest.approx(-0.85)
    assert mechanism.residual(terms) == pytest.approx(0, abs=1e-12)
    broken = cohort_rows(values)
    broken.loc[0, "log_gate"] += 0.01
    broken_terms = contrasts.newborns(broken, contrasts.LOGS)
    assert mechanism.residual(broken_terms) == pytest.approx(0.01)


def test_event_at_step_0_is_left_out_whatever_its_number() -> None:
    at_start = cohort_rows({(0, 0, 0): (-1, 0, 0), (1, 0, 0): (-1, 0, 0)})
    assert contrasts.newborns(at_start, contrasts.LOGS).rows.empty
    later = cohort_rows({(0, 0, 90): (-1, 0, 0), (1, 0, 90): (-1, 0, 0)})
    assert len(contrasts.newborns(later, contrasts.LOGS).rows) == 2 * len(contrasts.LOGS)


def test_units_without_gradient_are_counted() -> None:
    rows = cohort_rows({(0, 1, 10): (0, 0, 0), (1, 1, 10): (0, 0, 0), (1, 0, 0): (0, 0, 0)})
    assert contrasts.silent(rows, "newborn", "end", "fc1") == (2, 10)
    assert contrasts.silent(rows, "newborn", "birth", "fc1") == (0, 0)


CAUSE_CASES = {
    "norm": ([(-1.0, 0.1, -0.3), (-1.1, 0.0, -0.4)], "get less gradient in fc1 (0.35", "smaller"),
    "gate": ([(0.1, -1.0, -0.2), (0.0, -1.1, -0.1)], "get less gradient in fc1 (0.35", "open less"),
    "alignment": (
        [(0.1, 0.0, -1.0), (0.2, 0.1, -1.1)],
        "get less gradient in fc1 (0.35",
        "less al",
    ),
    "above": ([(0.1, 1.0, 0.2), (0.0, 1.1, 0.3)], "get more gradient in fc1 (2.86", "open more"),
    "tie": ([(-1.0, 0, -0.9), (-0.9, 0, -1.0)], "get less gradient in fc1 (0.15", "without one"),
    # The norm outweighs the others, but its own interval holds 1.
    "held": ([(-2.0, 0, -1.9), (0.1, 0, 0.2)], "cannot be told from the incumbents' in fc1", ""),
}


@pytest.mark.parametrize("name", CAUSE_CASES)
def test_cause_is_named_only_where_its_interval_supports_it(name: str) -> None:
    pair, start, phrase = CAUSE_CASES[name]
    values = {(seed, 1, 10): pair[seed % 2] for seed in range(8)}
    terms = contrasts.newborns(cohort_rows(values), contrasts.LOGS)
    found = mechanism.causes(terms, "end")
    text = mechanism.finding(found)
    assert start in text
    assert phrase in text
    assert found[0].dominates == (name not in ("tie", "held"))
    assert ("mainly through" in text) == found[0].dominates


def test_one_seed_and_no_decomposition_claim_no_cause() -> None:
    one = contrasts.newborns(cohort_rows({(0, 1, 10): (-1.0, 0, 0)}), contrasts.LOGS)
    text = mechanism.finding(mechanism.causes(one, "end"))
    assert text == (
        "At the end of their cycle newborns of the one seed differ most by their outgoing norm in "
        "fc1 (0.37\u00d7 of 0.37\u00d7)"
    )
    absent = cohort_rows({(0, 1, 10): (-1.0, 0, 0)}, **dict.fromkeys(contrasts.LOGS.values()))
    none = contrasts.newborns(absent.astype({"log_norm": float}), contrasts.LOGS)
    assert mechanism.finding(mechanism.causes(none, "end")) == wordings.CAUSE_NONE


def test_layers_of_one_cause_share_a_clause() -> None:
    less = t_interval([-1.0, -1.1, -0.9])
    found = [
        mechanism.Cause("fc1", less, "norm", less, dominates=True),
        mechanism.Cause("fc2", less, "gate", less, dominates=True),
        mechanism.Cause("fc3", less, "norm", less, dominates=True),
    ]
    text = mechanism.finding(found, "birth")
    assert text.startswith("At birth newborns get less gradient in fc1 (0.37")
    assert text.count("smaller outgoing weights") == 1
    assert text.index("fc3") < text.index("fc2")


def test_causes_on_the_page_are_those_of_the_tables(
    folders: Mapping[str, Path], pages: Mapping[str, str]
) -> None:
    drawn = pd.read_csv(folders["grow"] / FIGURES / "causes_by_layer.csv")
    end = drawn[drawn["moment"] == "end"].set_index(["layer", "measure"])["mean"]
    for layer, (norm, gate, alignment) in TERMS.items():
        assert end[layer, "gate"] == pytest.approx(math.exp(gate), rel=1e-5)
        assert end[layer, "alignment"] == pytest.approx(math.exp(alignment), rel=1e-5)
        assert end[layer, "norm"] == pytest.approx(math.exp(norm), rel=0.1)
        product = math.prod(end[layer, name] for name in contrasts.TERMS)
        assert end[layer, "total"] == pytest.approx(product, rel=1e-4)
    text = text_of(pages["grow"])
    assert re.search(
        r"in fc1 \(0\.41\u00d7 \[0\.41, 0\.41\] of 0\.\d\d\u00d7\) mainly through outgoing weights "
        r"less aligned with the error, in fc2 \(0\.3\d\u00d7 .* mainly through smaller",
        text,
    )
    assert "0 of 780 newborns" not in text
    # fc2 has one unit without gradient in each of 5 seeds x 3 events.
    assert "15 of 780 newborns and 15 of 780 incumbents" in text


def test_matched_cohorts_have_a_ratio_of_their_own(folders: Mapping[str, Path]) -> None:
    cohorts = inputs.read(folders["grow"]).cohorts
    plain, matched = (
        ratios.at("gradient", "birth")
        for ratios in (contrasts.newborns(cohorts), contrasts.matched(cohorts))
    )
    assert plain is not None
    assert matched is not None
    assert matched.mean - plain.mean == pytest.approx(math.log(2))


def followed(
    newborn: Mapping[tuple[int, int], list[float]], incumbent: float = 1.0, share: float = 0.2
) -> pd.DataFrame:
    """Rows of cohorts probed at ages 0, 1, 2, 5, 10 and so on; keys are seed and event."""
    rows = []
    for (seed, event), values in newborn.items():
        for age, value in zip((0, 1, 2, 5, 10, 20), values, strict=False):
            where = {"seed": seed, "event": event, "step": 100 * event + age, "age": age}
            where |= {"moment": "along", "layer": "fc1", "contribution": share}
            rows.append(where | {"cohort": "newborn", "gradient": value})
            rows.append(where | {"cohort": "incumbent", "gradient": incumbent})
    return pd.DataFrame(rows)


def test_time_to_a_level_needs_three_probes_and_keeps_who_never_gets_there() -> None:
    found = integration.times(
        followed({(0, 1): [0.6, 0.4, 0.5, 0.7, 0.95, 0.92], (1, 1): [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]})
    ).set_index(["seed", "level"])
    assert tuple(found.loc[(0, "gradient_50"), ["time", "caught"]]) == (2.0, True)
    assert tuple(found.loc[(0, "gradient_90"), ["time", "caught"]]) == (20.0, False)
    assert tuple(found.loc[(1, "gradient_50"), ["time", "caught"]]) == (20.0, False)
    assert tuple(found.loc[(1, "contribution_50"), ["time", "caught"]]) == (20.0, False)
    assert len(found) == 6


def test_no_gradient_among_incumbents_is_no_integration() -> None:
    found = integration.times(followed({(0, 1): [1.0] * 6}, incumbent=0.0, share=0.5))
    assert found.set_index("level")["caught"].to_dict() == {
        "gradient_50": False,
        "gradient_90": False,
        "contribution_50": True,
    }


def test_waiting_is_the_mean_up_to_the_horizon_and_seeds_count_alike() -> None:
    never, at_two, at_once = [0.1] * 6, [0.1, 0.1, 0.6, 0.6, 0.6, 0.6], [0.6] * 6
    short = at_once[:5]
    found = integration.times(
        followed({(0, 1): never, (0, 2): at_two, (1, 1): at_once, (1, 2): short})
    )
    assert integration.horizon(found) == 10.0
    mean, late = integration.waiting(found, "fc1", "gradient_50")
    assert mean is not None
    assert late is not None
    # Seed 0: (10 + 2) / 2; seed 1: 0.
    assert (mean.mean, mean.n) == (3.0, 2)
    assert late.mean == 0.25
    curve = integration.curves(found)
    half = curve[curve["level"] == "gradient_50"].set_index("age")["share"].to_dict()
    assert half == {0.0: 50.0, 2.0: 25.0, 10.0: 25.0}
    rows = {row[0]: row[1:] for row in integration.table(found).rows}
    assert rows["fc1: half the gradient"] == ("3 [0, 10]", "25 % [0, 100]", "1 of 4")


@pytest.mark.parametrize(
    ("caught", "text"),
    [
        ([[1, 1], [1, 1], [1, 1]], "Most newborn cohorts came to half"),
        ([[1, 0], [0, 1], [1, 0]], "cannot be told; 3 of 6 did not (50 %)"),
        ([[0, 0], [0, 0], [0, 0]], "had not come to half the incumbents' gradient"),
        ([[0, 1]], "In the one seed 1 of 2 newborn cohorts"),
    ],
)
def test_catching_up_is_worded_by_its_verdict(caught: list[list[int]], text: str) -> None:
    newborn = {
        (seed, event): [0.9 if yes else 0.1] * 6
        for seed, events in enumerate(caught)
        for event, yes in enumerate(events, start=1)
    }
    assert text in integration.finding(integration.times(followed(newborn)))


def test_updates_are_compared_where_there_was_a_step(folders: Mapping[str, Path]) -> None:
    results = inputs.read(folders["grow"])
    ratios = contrasts.newborns(results.cohorts, contrasts.UPDATES)
    assert ratios.rows["age"].min() == 1
    assert ratios.undefined == 0
    text = integration.moved(ratios)
    assert "incoming weights moved less than incumbents', relative to their size (0.2" in text
    assert "their outgoing ones moved more (1.1" in text
    sign = 1 - 2 * (ratios.rows["seed"].astype(int) % 2)
    flat = replace(ratios, rows=ratios.rows.assign(log_ratio=0.1 * sign))
    assert "neither clearly more nor clearly less" in integration.moved(flat)


def test_shock_is_after_minus_before_of_events_that_moved_units(
    folders: Mapping[str, Path], pages: Mapping[str, str]
) -> None:
    results = inputs.read(folders["prune"])
    frame = shocks.changes(results)
    # The first event is at step 0, the last moved nothing; seeds 2 and 5 diverged.
    assert sorted(frame["event"].unique()) == [1, 2, 3]
    assert sorted(frame["seed"].unique()) == [0, 1, 3, 4, 6, 7]
    expected = (results.shocks["loss_after"] - results.shocks["loss_before"])[frame.index]
    assert frame["loss"].tolist() == expected.tolist()
    text = text_of(pages["prune"])
    mean = frame.groupby("seed")["loss"].mean().mean()
    assert f"raised the probe's loss at once, by {mean:.3f} [0.3" in text
    assert "(accuracy changed by \u22124.0 points" in text
    assert wordings.REWOUND in text
    assert wordings.REWOUND not in text_of(pages["grow"])


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ([-0.3, -0.2, -0.25], "lowered the probe's loss at once, by 0.25 ["),
        ([-0.3, 0.2, 0.1], "no clear difference to the probe's loss at once (0.00 ["),
        ([0.3, 0.2, 0.25], "raised the probe's loss at once, by 0.25 ["),
        ([0.3], "In the one seed an event changed the probe's loss at once by +0.300"),
        ([0.0, 0.0], wordings.NO_SHOCK),
    ],
)
def test_shock_is_worded_by_its_verdict(changes: list[float], text: str) -> None:
    frame = pd.DataFrame({"seed": range(len(changes)), "loss": changes, "acc": changes})
    frame = frame.assign(event=1, step=9, logit_shift=frame["loss"].abs())
    assert text in shocks.finding(frame)


def test_every_life_has_its_bar_and_its_fate(folders: Mapping[str, Path]) -> None:
    results = inputs.read(folders["turnover"])
    lives = lifelines.lives(results)
    first = lives[lives["layer"] == "fc1"]
    assert first["kind"].value_counts().to_dict() == {
        "stayed": 128 - REPLACED,
        "left": REPLACED,
        "joined": REPLACED,
        "passed": 3 * REPLACED,
    }
    assert first["born_step"].is_monotonic_increasing
    assert first["gone"].max() == EPOCHS
    left = first[first["kind"] == "left"]
    assert set(left["gone"]) == {CYCLE * EPOCHS / 900}
    summary = findings.summarise(results)
    figure = lifelines.figure(results, summary)
    assert figure.title == (
        "In seed 0, 104 of 360 lives of units began after the first step and 104 were removed, 78 "
        "of the later born among them"
    )
    assert len(figure.data) == len(lives)
    assert "Drawn are" not in figure.reading


def test_lives_of_one_birth_are_in_the_order_of_their_lengths(folders: Mapping[str, Path]) -> None:
    lives = lifelines.lives(inputs.read(folders["prune"]))
    first = lives[lives["layer"] == "fc1"]
    assert set(first["born_step"]) == {0}
    assert first["gone"].is_monotonic_decreasing
    assert first["gone"].nunique() == 5


def test_lives_beyond_the_budget_are_thinned_and_it_is_said(folders: Mapping[str, Path]) -> None:
    results = inputs.read(folders["turnover"])
    one = results.lifelines.iloc[[0]]
    many = pd.concat([one.assign(slot=slot, born_step=9) for slot in range(1000)])
    results = replace(results, lifelines=pd.concat([many, results.lifelines.tail(180)]))
    figure = lifelines.figure(results, findings.summarise(results))
    counts = figure.data["layer"].value_counts()
    assert (counts["fc1"], counts["fc2"]) == (lifelines.BARS, 180)
    assert f"Drawn are {lifelines.BARS} of 1,000 lives of fc1, evenly spread" in figure.reading
    slots = figure.data.loc[figure.data["layer"] == "fc1", "slot"]
    assert (slots.min(), slots.max()) == (0, 999)


def test_lives_are_drawn_only_where_structure_changed(pages: Mapping[str, str]) -> None:
    drawn = {name for name, html in pages.items() if 'id="figure-lifelines"' in html}
    assert drawn == {"grow", "prune", "turnover", "unmeasured", "crelu"}


def test_health_compares_the_last_cycle_with_the_first_within_a_seed() -> None:
    rows = [
        {"seed": seed, "step": step, "layer": layer, "dormant_025": value}
        for (seed, step, layer), value in {
            (0, 9, "fc1"): 1.0, (0, 9, "fc2"): 3.0, (0, 18, "fc1"): 5.0, (0, 18, "fc2"): 9.0,
            (1, 9, "fc1"): 0.0, (1, 9, "fc2"): 0.0, (1, 18, "fc1"): 4.0, (1, 18, "fc2"): 5.0,
        }.items()
    ]  # fmt: skip
    moved = condition.change(pd.DataFrame(rows), "dormant_025")
    assert moved is not None
    # Seed 0: 7 - 2; seed 1: 4.5 - 0.
    assert (moved.mean, moved.n) == (4.75, 2)
    assert condition.change(pd.DataFrame(rows[:2]), "dormant_025") is None


@pytest.mark.parametrize(
    ("last", "text"),
    [
        ([8.0, 9.0, 8.5], "rose by 6.5 points [5.3, 7.7], to 8.5 %"),
        ([0.0, 5.0, 1.0], "did not clearly change"),
        ([1.0, 0.9, 1.1], "fell by 1.0 points"),
        ([5.0], "In the one seed the share of dormant units changed by +3.0 points"),
    ],
)
def test_health_is_worded_by_its_verdict(last: list[float], text: str) -> None:
    rows = [
        {"seed": seed, "step": step, "layer": "fc1", "dormant_025": value}
        for seed, end in enumerate(last)
        for step, value in ((9, 2.0), (18, end))
    ]
    assert text in condition.finding(pd.DataFrame(rows))


def test_health_lists_layers_and_the_network(folders: Mapping[str, Path]) -> None:
    frame = condition.measured(inputs.read(folders["grow"]))
    layers, network = condition._tables(frame)
    first = dict(zip(layers.head, layers.rows[0], strict=True))
    assert first[""] == "fc1, epoch 4"
    assert first["units"] == "52"
    assert first["effective rank"].startswith("15.6")
    assert [row[0] for row in network.rows] == [
        "all layers, epoch 4",
        "all layers, epoch 20",
    ]


def test_nothing_measured_is_said_and_not_drawn(pages: Mapping[str, str]) -> None:
    text = text_of(pages["unmeasured"])
    assert text.count("Units were not measured: measure.enabled is false.") == 3
    assert heading(pages["unmeasured"]).endswith("no retrained network to compare it with")


def test_units_without_a_decomposition_are_named(pages: Mapping[str, str]) -> None:
    text = text_of(pages["crelu"])
    assert "The causes of the gradient are not defined for this network" in text
    assert "not defined for fc1 and fc2: a unit of crelu has two outputs" in text
    assert 'id="figure-causes"' not in pages["crelu"]
    assert 'id="figure-integration"' in pages["crelu"]


def test_layer_names_cannot_break_out(folders: Mapping[str, Path]) -> None:
    results = inputs.read(folders["turnover"])
    evil = f"fc1'\"{BREAKOUT}"
    tables = {
        name: getattr(results, name).assign(
            layer=lambda frame: frame["layer"].replace({"fc1": evil})
        )
        for name in ("cohorts", "edits", "health", "lifelines")
    }
    results = replace(results, **tables)
    summary = findings.summarise(results)
    body = sections.every(results, summary)
    html = page.render(results, summary, body, "newborns")
    assert BREAKOUT not in html
    assert html.count("<script") == 4
    assert "&lt;/script&gt;" in html


def test_accuracy_after_an_event_needs_events_between_epochs(folders: Mapping[str, Path]) -> None:
    results = inputs.read(folders["prune"])
    assert numbers.event_costs(results.history, results.edits) is not None
    inside = results.edits.assign(step=results.edits["step"] + 1)
    assert numbers.event_costs(results.history, inside) is None


def test_rewound_weights_are_named_where_survivors_are_compared(
    folders: Mapping[str, Path],
) -> None:
    for name, rewound in (("prune", True), ("turnover", False)):
        summary = findings.summarise(inputs.read(folders[name]))
        assert (wordings.REWOUND in ages.survivors(summary).reading) is rewound
    results = inputs.read(folders["prune"])
    first = results.edits.assign(rewound=(results.edits["step"] == 0).astype(int))
    assert not findings.summarise(replace(results, edits=first)).rewound


def test_event_before_the_first_step_explains_where_widths_begin(
    folders: Mapping[str, Path], pages: Mapping[str, str]
) -> None:
    told = {name for name, html in pages.items() if "curves begin after it" in text_of(html)}
    assert told == {"grow", "prune", "unmeasured", "crelu"}
    results = inputs.read(folders["grow"])
    same = replace(results, edits=results.edits.assign(alive_before=128, alive_after=128))
    assert "begin after" not in figures.widths(same, findings.summarise(same)).reading


def test_units_that_took_part_before_their_birth_are_not_called_added(
    folders: Mapping[str, Path],
) -> None:
    results = inputs.read(folders["grow"])
    late = replace(results, params=results.params.model_copy(update={"op": "late_reveal"}))
    for own, head, said in ((results, "added", False), (late, "begin to learn", True)):
        part = next(s for s in sections.every(own, findings.summarise(own)) if s.anchor == "widths")
        assert part.tables[0].head[4] == head
        assert (wordings.LIVES_LEARN in part.figures[1].reading) is said


def test_dense_network_has_no_units_that_were_kept(folders: Mapping[str, Path]) -> None:
    summary = findings.summarise(inputs.read(folders["grow"]))
    assert "the kept units" in findings.delta(summary)
    assert "the network" in findings.delta(replace(summary, op="dense"))


def test_equal_logits_are_called_equal(folders: Mapping[str, Path]) -> None:
    results = inputs.read(folders["dense"])
    summary = findings.summarise(results)
    assert "logits differ by 3.8e-06 at most" in accounts.cost(results, summary).text[0]
    equal = replace(results, subnetworks=results.subnetworks.assign(max_difference=0.0))
    assert "logits are the same to the last bit" in accounts.cost(equal, summary).text[0]


def test_accuracy_keeps_its_frame_whether_zoomed_or_constant(
    folders: Mapping[str, Path], pages: Mapping[str, str]
) -> None:
    results = inputs.read(folders["grow"])
    constant = replace(
        results,
        history=results.history.assign(acc=10.0),
        ticket_history=results.ticket_history.assign(acc=10.0),
    )
    flat = figures.trajectory(constant, findings.summarise(constant)).spec
    assert _accuracy_domain(flat) == [(9.0, 9.0), (11.0, 11.0)]
    (near, far), top = _accuracy_domain(specs(pages["grow"])["trajectory"])
    acc = results.history["acc"]
    assert far < acc.min() < near < acc.max() < min(top)


def _accuracy_domain(spec: dict) -> list[tuple[float, float]]:
    found = re.findall(r"zoomed \? ([\d.]+) : ([\d.]+)", json.dumps(spec))
    low, high = dict.fromkeys(found)
    return [(float(low[0]), float(low[1])), (float(high[0]), float(high[1]))]


def test_whisker_below_zero_stays_in_its_frame(folders: Mapping[str, Path]) -> None:
    results = inputs.read(folders["grow"])
    wide = results.shocks.assign(logit_shift=10.0 ** results.shocks["seed"])
    for table, starts_at_zero in ((results.shocks, True), (wide, False)):
        own = replace(results, shocks=table)
        (figure,) = shocks.section(own, findings.summarise(own)).figures
        rows = figure.data[figure.data["measure"] == "logit_shift"]
        panel = figure.spec["hconcat"][2]
        domains = re.findall(r'"domain": \[([-\d.]+),', json.dumps(panel))
        assert {float(low) == 0 for low in domains} == {starts_at_zero}
        assert max(float(low) for low in domains) <= max(rows["low"].min(), 0)


def test_shares_are_cut_off_where_they_end(folders: Mapping[str, Path]) -> None:
    results = inputs.read(folders["grow"])
    extreme = (results.health["seed"] % 2).astype(float)
    own = replace(results, health=results.health.assign(dormant_025=extreme, weight_norm=extreme))
    (figure,) = condition.section(own, findings.summarise(own)).figures
    bounds = figure.data.groupby("measure")[["low", "high"]].agg(["min", "max"])
    assert bounds.loc["dormant_025", ("low", "min")] == 0
    assert bounds.loc["dormant_025", ("high", "max")] <= 100
    assert bounds.loc["weight_norm", ("low", "min")] < 0
    assert "of shares cut off at 0 and 100" in figure.reading


@pytest.mark.parametrize(("images", "rest"), [(1445, 5), (1437, 0), (1440, 0)])
def test_report_says_where_accuracy_is_measured_right_after_a_small_step(
    folders: Mapping[str, Path], images: int, rest: int
) -> None:
    """Batches of 32: 1445 = 45 x 32 + 5; 1437 leaves 29, which is more than half a batch."""
    results = inputs.read(folders["grow"])
    results.metrics["prepare"]["data"]["train_images"] = images
    text = sections.every(results, findings.summarise(results))[0].text
    small = f"The last step of every epoch is on {rest} training images in place of 32"
    assert [line.startswith(small) for line in text] == [True] * (rest > 0)


def test_many_events_are_counted_and_not_drawn(folders: Mapping[str, Path]) -> None:
    results = inputs.read(folders["prune"])
    one = results.edits.iloc[[0]]
    many = pd.concat([one.assign(step=step) for step in range(0, 900, 20)])
    results = replace(results, edits=many)
    figure = figures.trajectory(results, findings.summarise(results))
    assert "The 45 edit events are too many to be drawn." in figure.reading


def test_first_column_is_as_wide_as_it_needs_up_to_a_limit(pages: Mapping[str, str]) -> None:
    tables = re.findall(r'<table style="--first: (\d+)ch">.*?</table>', pages["grow"], re.S)
    assert "10" in tables
    assert max(map(int, tables)) == 18


def test_no_name_is_taken_for_an_interval(pages: Mapping[str, str]) -> None:
    marked = re.findall(r"<i>(.)", pages["grow"].partition('<script type="application/json"')[0])
    assert set(marked) == {"["}


def rendered(path: Path, profile: Path, *flags: str) -> CompletedProcess[str]:
    """Return what headless Chromium makes of a page, and its console."""
    return run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={profile}", *flags),
            *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=8000", "--dump-dom"),
            path.as_uri(),
        ]
    )


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="headless Chromium is not installed")
def test_narrow_page_puts_panels_below_each_other(
    folders: Mapping[str, Path], tmp_path: Path
) -> None:
    sizes = {}
    for width in (500, 1200):
        path = folders["grow"] / REPORT_HTML
        done = rendered(path, tmp_path / str(width), f"--window-size={width},900")
        found = re.findall(r'id="chart-(\w+)".*?viewBox="0 0 (\d+) (\d+)"', done.stdout, re.S)
        sizes[width] = {name: (int(wide), int(tall)) for name, wide, tall in found}
    (narrow, tall), (wide, low) = (sizes[width]["newborns"] for width in (500, 1200))
    assert narrow < 500 < wide
    assert tall > 1.8 * low
    # Its panels share the labels of the first one.
    assert sizes[500]["causes"] == sizes[1200]["causes"]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="headless Chromium is not installed")
@pytest.mark.parametrize(
    ("name", "scheme"), [("grow", 1), ("grow", 0), ("prune", 1), ("static", 1), ("turnover", 0)]
)
def test_page_draws_in_a_browser_without_a_complaint(
    name: str, scheme: int, folders: Mapping[str, Path], pages: Mapping[str, str], tmp_path: Path
) -> None:
    """Scheme 0 is dark, 1 is light. The console must stay silent, warnings included."""
    colours = f"--blink-settings=preferredColorScheme={scheme}"
    done = rendered(folders[name] / REPORT_HTML, tmp_path, colours)
    assert done.returncode == 0
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == []
    drawn = re.findall(r'id="chart-(\w+)"[^>]*data-drawn="(\w+)"', done.stdout)
    assert drawn == [(figure, "dark" if scheme == 0 else "light") for figure, _ in drawn]
    assert {figure for figure, _ in drawn} == set(specs(pages[name]))
    assert done.stdout.count("<svg") >= len(drawn)


def test_streams_say_who_is_ahead_at_which_length_and_only_where_it_is_clear() -> None:
    """Grow is 3 behind backprop at 10 steps a task in every seed, and undecided at 100."""
    rows = pd.DataFrame(
        [
            ("permuted_inputs", learner, steps, seed, "ok", 50 + seed + gap)
            for steps, gaps in ((10, (3.0, 3.1, 2.9)), (100, (2.0, -2.0, 0.1)))
            for seed in range(3)
            for learner, gap in (("grow", 0.0), ("backprop", gaps[seed]), ("redo", gaps[seed]))
        ],
        columns=["stream", "learner", "task_steps", "seed", "status", "taoa"],
    )
    text = streams.crossovers(rows, SimpleNamespace(op="grow"))
    assert text == (
        "Permuted inputs: backprop is ahead of grow at 10 steps per task; it is not clearly "
        "different from redo at any length"
    )


@pytest.mark.parametrize(("last", "ticks"), [(8, [2, 4, 6, 8]), (50, [10, 20, 30, 40, 50])])
def test_ticks_of_tasks_are_round_and_end_with_them(last: int, ticks: list[int]) -> None:
    assert lines.ticks(last) == ticks


def test_an_axis_of_ratios_that_are_all_one_has_a_width_and_ticks() -> None:
    frame = pd.DataFrame({"mean": [1.0, 1.0], "low": [1.0, None], "high": [1.0, None]})
    low, high = charts.ratio_domain(frame)
    assert low < 0.99 < 1.01 < high
    ticks = charts.log_ticks(low, high)
    assert 1.0 in ticks
    assert len(ticks) >= 3


def test_a_measure_without_any_ratio_has_no_panel(
    folders: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every copied founder is dead, nobody has a gradient to be divided by."""
    monkeypatch.chdir(folders["grow"])
    summary = findings.summarise(inputs.read())
    rows = summary.newborn.rows
    newborn = replace(summary.newborn, rows=rows[rows["measure"] == "activation"])
    drawn = ages.newborns(replace(summary, newborn=newborn))
    assert "NaN" not in json.dumps(drawn.spec)
    assert len(drawn.spec["hconcat"]) == 1

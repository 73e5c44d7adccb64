"""The report of one experiment, from tables that are plausible and always the same."""

import base64
import hashlib
import json
import math
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from report_tables import EPOCHS, write_experiment

from plasticity import catalogue
from plasticity.files import FIGURES, REPORT_HTML, timing_path
from plasticity.report import charts, figures, findings, inputs, numbers, page, theme
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
    return " ".join(re.sub(r"<[^>]*>", "", body).split())


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
    assert " ".join(anchors) == (
        "trajectory widths units measures retraining streams cost health provenance"
    )
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


def test_no_line_has_more_points_than_the_budget(pages: Mapping[str, str]) -> None:
    assert numbers.thinned(range(1, 1001))[:2] == [1, 6]
    assert len(numbers.thinned(range(1000))) == theme.POINTS_PER_LINE
    assert numbers.thinned(range(1000))[-1] == 999
    for html in pages.values():
        for spec in specs(html).values():
            assert all(len(rows) <= 5000 for rows in spec.get("datasets", {}).values())


def test_ratio_is_a_geometric_mean_without_the_first_event() -> None:
    def row(seed: int, event: int, cohort: str, gradient: float) -> dict[str, object]:
        where = {"seed": seed, "event": event, "layer": 0, "age": 0, "moment": "birth"}
        return where | {"cohort": cohort, "activation_rate": 0.5, "gradient": gradient}

    values = {(0, 0): 9.0, (0, 1): 0.2, (0, 2): 0.8, (1, 1): 0.1, (1, 2): 0.0}
    rows = [row(*key, "newborn", value) for key, value in values.items()]
    rows += [row(*key, "incumbent", 1.0) for key in values]
    ratios = numbers.newborn_ratios(pd.DataFrame(rows))
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
    figure = figures.newborns(summary)
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
    prepared = [value for value in vars(findings).values() if isinstance(value, dict)]
    wordings = [value for value in prepared if VERDICTS & set(value)]
    assert len(wordings) >= 8
    assert all(set(value) == VERDICTS for value in wordings)


def test_only_a_clear_interval_claims_a_direction() -> None:
    assert "lost" in findings.DELTA["below"]
    assert "gained" in findings.DELTA["above"]
    for wording in (findings.DELTA["unclear"], findings.CONTROL["unclear"]):
        assert not re.search(r"lost|gained|beat|worth", wording)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (theme.percent(Interval(97.14, 0.31, 5)), "97.1 % [96.8, 97.5]"),
        (theme.percent(Interval(97.14, None, 1)), "97.1 %"),
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


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="headless Chromium is not installed")
@pytest.mark.parametrize(
    ("name", "scheme"), [("grow", 1), ("grow", 0), ("prune", 1), ("static", 1)]
)
def test_page_draws_in_a_browser_without_a_complaint(
    name: str, scheme: int, folders: Mapping[str, Path], pages: Mapping[str, str], tmp_path: Path
) -> None:
    """Scheme 0 is dark, 1 is light. The console must stay silent, warnings included."""
    done = subprocess.run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={tmp_path}", f"--blink-settings=preferredColorScheme={scheme}"),
            *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=8000", "--dump-dom"),
            (folders[name] / REPORT_HTML).as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == []
    drawn = re.findall(r'id="chart-(\w+)"[^>]*data-drawn="(\w+)"', done.stdout)
    assert drawn == [(figure, "dark" if scheme == 0 else "light") for figure, _ in drawn]
    assert {figure for figure, _ in drawn} == set(specs(pages[name]))
    assert done.stdout.count("<svg") >= len(drawn)

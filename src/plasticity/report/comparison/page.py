"""The study's page and its tables: one offline file, and every number of it as CSV."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import vl_convert

from plasticity import RESULTS_VERSION
from plasticity.catalogue import RETRAIN_VARIANTS
from plasticity.escapes import frame_csv
from plasticity.files import STUDY_FIGURES, STUDY_HTML, fresh_folder, write_bytes, write_text
from plasticity.remarks import small_rest
from plasticity.report import charts, theme
from plasticity.report.charts import Figure
from plasticity.report.comparison import (
    failures,
    gather,
    published,
    scorecard,
    sections,
    values,
)
from plasticity.report.comparison.gather import Arm, Comparison
from plasticity.report.comparison.verdicts import Decision, Verdict
from plasticity.report.page import FOLDER, environment, scripts_and_hashes, svg
from plasticity.report.parts import MISSING, Section, Table
from plasticity.sections import Params

PNG_SCALE = 2.0
MOST_SIZES = 4
"""Sizes of training that the page tells in one sentence."""


def write(comparison: Comparison, root: Path = Path()) -> int:
    """Write the page, its tables and the key figure; return the bytes of the page.

    Parameters
    ----------
    comparison
        A study with what is there of it.
    root
        Of the project.
    """
    body = sections.every(comparison)
    with fresh_folder(root / STUDY_FIGURES) as folder:
        write_text(folder / "scorecard.md", scorecard.markdown(comparison.decisions))
        _write_csv(folder / "contrasts.csv", scorecard.frame(comparison.decisions))
        _write_csv(folder / "seeds.csv", scorecard.seeds_frame(comparison.decisions))
        if not (frame := values_frame(comparison)).empty:
            _write_csv(folder / "values.csv", frame)
        if not (beside := published.frame(comparison)).empty:
            _write_csv(folder / "published.csv", beside)
        for figure in _figures(body):
            _write_csv(folder / f"{figure.name}.csv", charts.rounded(figure.data))
        if key := next(iter(_figures(body)), None):
            drawn = svg(key)
            write_text(folder / "key.svg", drawn)
            write_bytes(folder / "key.png", vl_convert.svg_to_png(drawn, scale=PNG_SCALE))
    html = render(comparison, body)
    write_text(root / STUDY_HTML, html)
    return len(html.encode())


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    write_text(path, frame_csv(frame))


def _figures(body: Sequence[Section]) -> list[Figure]:
    return [figure for section in body for figure in section.figures]


def values_frame(comparison: Comparison) -> pd.DataFrame:
    """Return every seed's accuracies, one row each: what ``values.csv`` holds."""
    rows = [
        {"condition": name, "measure": measure, "seed": seed, "value": value,
         "diverged": int(seed in part.diverged)}
        for name, measures in gather.measured(comparison).items()
        for measure, part in measures.items()
        for seed, value in sorted(part.by_seed.items())
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["condition", "measure", "seed", "value", "diverged"])


def render(comparison: Comparison, body: Sequence[Section]) -> str:
    """Return the page."""
    scripts, hashes = scripts_and_hashes()
    figures = _figures(body)
    return environment().get_template("study.html.j2").render(
        study=comparison.study,
        kicker=_kicker(comparison),
        lead=lead(comparison),
        size=size(comparison),
        tally=tally(comparison),
        unfinished=unfinished(comparison),
        smoke=any(arm.params.scale == "tiny" for arm in comparison.arms),
        entries=scorecard.entries(comparison.decisions),
        sections=body,
        numbering={figure.name: place for place, figure in enumerate(figures, start=1)},
        specs={figure.name: figure.spec for figure in figures},
        conditions=conditions(comparison),
        variants=" ".join(f"{name}: {text}." for name, text in RETRAIN_VARIANTS.items()),
        code=comparison.code,
        version=RESULTS_VERSION,
        palettes=theme.PALETTES,
        light=theme.LIGHT,
        dark=theme.DARK,
        css=(FOLDER / "page.css").read_text(),
        scripts=scripts,
        hashes=hashes,
    )  # fmt: skip


def _kicker(comparison: Comparison) -> str:
    scales = sorted({arm.params.scale for arm in comparison.arms})
    sets = sorted({arm.params.dataset for arm in comparison.arms})
    every = len(comparison.parts)
    done = sum(not part.why_not for part in comparison.parts)
    return f"{', '.join(sets)}, scale {', '.join(scales)}, {done} of {every} conditions"


def unfinished(comparison: Comparison) -> str:
    """Return what is missing, or nothing."""
    lacking = sum(bool(part.why_not) for part in comparison.parts)
    return f"{lacking} of {len(comparison.parts)} conditions are missing." if lacking else ""


def tally(comparison: Comparison) -> str:
    """Return how many claims have which verdict."""
    counts = Counter(decision.verdict for decision in comparison.decisions)
    if not counts:
        return "This study states no claims."
    parts = [f"{counts[verdict]} {verdict}" for verdict in get_args(Verdict) if counts[verdict]]
    noun = "claim" if counts.total() == 1 else "claims"
    return f"Of {counts.total()} {noun}: {', '.join(parts)}."


def lead(comparison: Comparison) -> str:
    """Return the claims by verdict; in full where the verdict is against them."""
    by: dict[str, list[Decision]] = {}
    for one in comparison.decisions:
        by.setdefault(one.verdict, []).append(one)
    told = [
        f"Contradicted is {one.claim.name}: {one.claim.says[0].lower()}{one.claim.says[1:]} "
        f"({scorecard.against(one)})."
        for one in by.get("contradicted", [])
    ]
    begun = [one for one in by.get("not run", []) if any(part.seeds for part in one.contrasts)]
    rest = [one for one in by.get("not run", []) if one not in begun]
    for words, some in (
        ("Supported", by.get("supported", [])),
        ("Inconclusive", by.get("inconclusive", [])),
        ("Run in part, so without a verdict,", begun),
        ("Not run", rest),
    ):
        if names := [one.claim.name for one in some]:
            noun = "is" if len(names) == 1 else "are"
            told.append(f"{words} {noun} {theme.listed(names)}.")
    return " ".join(told)


def size(comparison: Comparison) -> str:
    """Return how much is trained, and whether that is the paper's size."""
    if not {"train", "continual"} & {*comparison.study.stages} or not comparison.arms:
        return ""
    told = dict.fromkeys(
        f"{arm.params.dataset} {_images(arm.params)}, {arm.params.train.epochs} epochs with an "
        f"event every {arm.params.train.epochs // arm.params.edit.cycles}"
        for arm in comparison.arms
    )
    trained = ""
    if "train" in comparison.study.stages and len(told) <= MOST_SIZES:
        trained = f"Trained on {'; '.join(told)}. "
    trained += _small_steps(comparison)
    if all(arm.params.scale == "paper" for arm in comparison.arms):
        return trained.rstrip()
    return (
        f"{trained}This is not the paper's size: a verdict is about the size that was run, "
        "and the paper's own words stand beside it for comparison."
    )


def _small_steps(comparison: Comparison) -> str:
    """Return where accuracy is measured right after a step on few images, or nothing."""
    if "train" not in comparison.study.stages:
        return ""
    found: dict[tuple[int, int], list[str]] = {}
    for arm in comparison.done:
        batch = arm.params.train.batch
        if rest := small_rest(arm.params, values.train_images(arm.params, arm.folders)):
            found.setdefault((rest, batch), []).append(arm.name)
    everywhere = sum(map(len, found.values())) == len(comparison.done) and len(found) == 1
    told = [
        f"{'' if everywhere else f' in {theme.listed(names)}'} on {rest} training images in place "
        f"of {batch}"
        for (rest, batch), names in found.items()
    ]
    if not told:
        return ""
    return f"The last step of every epoch is{';'.join(told)}; accuracy is measured right after it. "


def _images(params: Params) -> str:
    count = params.data.train_images
    return "(all images)" if count == "all" else f"({count:,} images)"


def conditions(comparison: Comparison) -> Table:
    """Return what each condition is, and whether it is there."""
    rows, shared = [], _shared(comparison)
    for arm in comparison.arms:
        own = {key: value for key, value in arm.settings.items() if key not in shared}
        tables = [] if arm.why_not else failures.seed_tables(arm)
        counts = {part["seed"].nunique() for _, part in tables if len(part)}
        diverged = {seed for _, part in tables for seed in part["seed"][part["status"] != "ok"]}
        state = arm.why_not or _state(arm, len(diverged))
        n = ", ".join(map(str, sorted(counts))) or MISSING
        rows.append((arm.name, state, n, _settings(own)))
    common = f" All have {_settings(shared)}." if shared else ""
    return Table(
        f"Conditions and their settings.{common}",
        ("", "state", "seeds", "settings"),
        tuple(rows),
        left=True,
    )


def _state(arm: Arm, diverged: int) -> str:
    """Return how much is there of an arm that has tables."""
    told = [f"{len(arm.folders)} of {len(arm.parts)} conditions done" if arm.lacking else "done"]
    if diverged:
        told.append(f"{diverged} diverged")
    return "; ".join([", ".join(told), *arm.lacking])


def _shared(comparison: Comparison) -> dict[str, Any]:
    """Return the settings that all conditions have, of which there is more than one."""
    first, *others = (arm.settings for arm in comparison.arms)
    if not others:
        return {}
    lacking = object()
    return {
        key: value
        for key, value in first.items()
        if all(one.get(key, lacking) == value for one in others)
    }


def _settings(given: Mapping[str, Any]) -> str:
    """Return settings in words; lists without brackets, which stand for intervals."""

    def word(value: object) -> str:
        return (
            ", ".join(map(str, value)) or "none" if isinstance(value, list | tuple) else f"{value}"
        )

    return "; ".join(f"{key} {word(value)}" for key, value in given.items())

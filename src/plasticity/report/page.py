"""The page: one file that opens offline, with every chart's data and code inside.

The only part that differs between two runs of the same experiment is its provenance.
"""

import base64
import functools
import hashlib
import json
import re
import textwrap
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from plasticity.catalogue import DATASETS
from plasticity.escapes import frame_csv
from plasticity.files import FIGURES, REPORT_HTML, fresh_folder, write_text
from plasticity.report import charts, contrasts, findings, parts, sections, settings, theme
from plasticity.report.charts import Figure
from plasticity.report.findings import Summary
from plasticity.report.inputs import Results
from plasticity.report.parts import Section
from plasticity.sections import Params

FOLDER = Path(__file__).parent
NOTES = {
    "tiny": (
        "Smoke run: not a result",
        "Scale tiny trains on a handful of images to see that every stage works. "
        "No number below means anything.",
    ),
    "quick": (
        "A demonstration on a small problem",
        "Scale quick takes minutes. It shows the effects and the method; "
        "it is not the protocol of the paper.",
    ),
    "laptop": (
        "A reduced protocol",
        "Scale laptop uses fewer images and epochs than the paper.",
    ),
}


def write(results: Results, root: Path = Path()) -> int:
    """Write the report with its figures' data, and return the bytes of the page.

    Parameters
    ----------
    results
        Of one experiment.
    root
        Of the project.
    """
    summary = findings.summarise(results)
    all_sections = sections.every(results, summary)
    anchor, key = sections.key_figure(all_sections)
    with fresh_folder(root / FIGURES) as folder:
        for section in all_sections:
            for figure in section.figures:
                table = frame_csv(charts.rounded(figure.data))
                write_text(folder / f"{figure.name}.csv", table)
        write_text(folder / f"{key.name}.svg", svg(key))
    html = render(results, summary, all_sections, anchor)
    write_text(root / REPORT_HTML, html)
    return len(html.encode())


def render(results: Results, summary: Summary, body: tuple[Section, ...], anchor: str) -> str:
    """Return the page.

    Parameters
    ----------
    results, summary
        Of one experiment.
    body
        The sections in order.
    anchor
        Of the section whose first figure stands on top.
    """
    scripts, hashes = scripts_and_hashes()
    params = results.params
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            summary=summary,
            params=params,
            dataset=DATASETS[params.dataset].label,
            heading=findings.title(summary),
            lead=findings.lead(summary, params),
            note=NOTES.get(params.scale),
            changed=settings.changed(params),
            n=findings.n(summary),
            tiles=tiles(summary),
            sections=body,
            key_section=next(part for part in body if part.anchor == anchor),
            numbering=numbering(body, anchor),
            specs={figure.name: figure.spec for part in body for figure in part.figures},
            palettes=theme.PALETTES,
            light=theme.LIGHT,
            dark=theme.DARK,
            data=images(results.metrics["prepare"]),
            provenance=provenance(results),
            parameters=flat(params),
            css=(FOLDER / "page.css").read_text(),
            scripts=scripts,
            hashes=hashes,
        )
    )


def environment() -> Environment:
    """Return where templates are found, and how their text is escaped."""
    found = Environment(
        loader=FileSystemLoader([FOLDER, FOLDER / "comparison"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["dim"] = dim
    return found


def scripts_and_hashes() -> tuple[list[str], list[str]]:
    """Return the scripts of a page, and what its policy allows.

    Vega's expressions run in its interpreter, so the policy needs no 'unsafe-eval'.
    """
    scripts = [_bundle(), (FOLDER / "page.js").read_text()]
    return scripts, [_hash(script) for script in scripts]


def svg(figure: Figure) -> str:
    """Return a figure that can stand alone: with its finding and how to read it."""
    title = {
        "text": textwrap.wrap(figure.title, 100),
        "subtitle": textwrap.wrap(f"{figure.measure}. {figure.reading}", 130),
        "subtitlePadding": 6,
        "offset": 20,
    }
    spec = theme.painted(figure.spec | {"title": title}, theme.LIGHT)
    svg = vl_convert.vegalite_to_svg(spec)
    # The renderer numbers its clips through its process; a file's own numbers start at 0.
    clips = list(dict.fromkeys(re.findall(r"\bclip\d+", svg)))
    return re.sub(r"\bclip\d+", lambda found: f"clip{clips.index(found[0])}", svg)


@functools.cache
def _bundle() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script, which takes a second to make."""
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def dim(text: str) -> Markup:
    """Return text whose intervals, in brackets, step back behind their means."""
    return Markup(re.sub(r"\[[^\[\]]*\]", r"<i>\g<0></i>", str(escape(text))))


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def numbering(body: tuple[Section, ...], anchor: str) -> dict[str, int]:
    """Return the number of each figure in the order of the page, the key figure first."""
    order = sorted(
        (figure.name for part in body for figure in part.figures),
        key=lambda name: name != next(p for p in body if p.anchor == anchor).figures[0].name,
    )
    return {name: place for place, name in enumerate(order, start=1)}


def tiles(summary: Summary) -> list[tuple[str, str, str]]:
    """Return the headline numbers: name, value, interval. What was not measured is left out."""
    percents = {
        "Cycle ACC": summary.acc,
        "Cycle TAA": summary.taa,
        "Ticket ACC": summary.ticket,
    }
    texts = [(name, theme.percent(value)) for name, value in percents.items() if value is not None]
    if summary.delta is not None:
        delta = theme.points(summary.delta).replace(" points", "")
        texts.append(("Delta, in points", delta))
    if summary.has_newborns:
        for measure in contrasts.MEASURES:
            end = summary.newborn.at(measure, "end")
            if end is not None:
                texts.append((f"Newborn {measure}, at end", findings.ratio(end)))
    split = [(name, *text.partition(" [")) for name, text in texts]
    return [(name, value, f"[{rest}" if rest else "no interval") for name, value, _, rest in split]


def images(metrics: dict[str, Any]) -> str:
    """Return how many images there are, and their fingerprint, as ``prepare`` counted them."""
    data = metrics.get("data", {})
    counts = [
        f"{data[key]:,} {name} images"
        for key, name in (
            ("train_images", "training"),
            ("validation_images", "validation"),
            ("test_images", "test"),
        )
        if data.get(key)
    ]
    mark = f"; SHA-256 {data['sha256'][:16]}" if "sha256" in data else ""
    return f"{theme.listed(counts)}{mark}"


def flat(params: Params) -> list[tuple[str, str]]:
    """Return every parameter with its effective value, by its dotted name."""
    rows: list[tuple[str, str]] = []

    def walk(prefix: str, node: Any) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                walk(f"{prefix}.{key}" if prefix else key, value)
        else:
            rows.append((prefix, node if isinstance(node, str) else json.dumps(node)))

    walk("", params.model_dump(mode="json"))
    return rows


def provenance(results: Results) -> list[tuple[str, str, str, str, str]]:
    """Return for each stage whose times are known: stage, end, seconds, device, the rest."""
    named = {"finished", "seconds", "device"}
    rows = []
    for stage, timing in results.timing.items():
        rest = [
            f"{key} {value}"
            for key, value in sorted(timing.items())
            if key not in named and isinstance(value, str | int | float)
        ]
        seconds = timing.get("seconds")
        rows.append(
            (
                stage,
                str(timing.get("finished", parts.MISSING)),
                parts.MISSING if seconds is None else f"{seconds:.1f}",
                str(timing.get("device", parts.MISSING)),
                ", ".join(rest),
            )
        )
    return rows

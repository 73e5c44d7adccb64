"""What each intervention does: its difference to the same condition without it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from plasticity import remarks
from plasticity.claims import MEASURES
from plasticity.report import charts, numbers, parts, theme
from plasticity.report.charts import Figure
from plasticity.report.comparison import marks, pairs
from plasticity.report.comparison.gather import Arm, Comparison
from plasticity.report.parts import MISSING, Section, Table
from plasticity.sections import Intervention

PANEL = 210
MOST_ROWS = 40
SELECTION, PREFIX = "selection.", "intervention."


def _plain() -> Intervention:
    """Return the section of parameters with every rule at its default."""
    rules = {name: next(iter(table)) for name, table in remarks.FAMILIES.items()}
    chosen = {
        name.removeprefix(SELECTION): rule
        for name, rule in rules.items()
        if name.startswith(SELECTION)
    }
    rest = {name: rule for name, rule in rules.items() if not name.startswith(SELECTION)}
    return Intervention.model_validate({"selection": chosen, **rest})


PLAIN = _plain()


@dataclass(frozen=True)
class Effect:
    """One condition less its reference, by each measure that both have."""

    arm: Arm
    differences: dict[str, dict[int, float]]
    """Measure -> seed -> points of accuracy."""

    def mean(self) -> float:
        """Return the mean by the first measure there is."""
        found = pairs.interval(next(iter(self.differences.values())))
        return 0.0 if found is None else found.mean


@dataclass(frozen=True)
class Group:
    """Conditions that differ only in interventions, against the one that has none."""

    reference: Arm
    effects: tuple[Effect, ...]
    """From the largest mean to the smallest."""


def section(comparison: Comparison) -> Section | None:
    """Return a forest of all interventions, or nothing where no condition has a reference."""
    found = groups(comparison)
    if not found:
        return None
    return Section(
        "interventions",
        "Interventions",
        "Which interventions help, and which measure?",
        "",
        (
            "Each row differs from its reference in the rules of the table, and in nothing else. "
            "Cycle ACC and TAA say whether the network learns better while it is edited, Ticket "
            "ACC whether what it leaves is a better network.",
        ),
        (_figure(found),),
        (_table(found),),
    )


def groups(comparison: Comparison) -> list[Group]:
    """Return every reference with the conditions that differ from it only in interventions."""
    alike: dict[str, list[Arm]] = {}
    for arm in comparison.done:
        alike.setdefault(pairs.key(arm.params, "intervention"), []).append(arm)
    result = []
    for arms in alike.values():
        reference = next((arm for arm in arms if arm.params.intervention == PLAIN), None)
        if reference is None:
            continue
        effects = [
            Effect(arm, found)
            for arm in arms
            if arm.params.intervention != PLAIN
            and (found := _differences(comparison, arm, reference))
        ]
        if effects:
            effects.sort(key=lambda one: -one.mean())
            result.append(Group(reference, tuple(effects)))
    return result


def _differences(comparison: Comparison, arm: Arm, reference: Arm) -> dict[str, dict[int, float]]:
    found = {name: pairs.differences(comparison, arm, reference, name) for name in pairs.ACCURACIES}
    return {name: by_seed for name, by_seed in found.items() if by_seed}


def named(found: Sequence[Group]) -> list[tuple[str, Effect]]:
    """Return every row with its name, and with that of its reference where there are several."""
    return [
        (one.arm.name if len(found) == 1 else f"{one.arm.name}, {group.reference.name}", one)
        for group in found
        for one in group.effects
    ]


def _measures(found: Sequence[Group]) -> list[str]:
    effects = [one for group in found for one in group.effects]
    return [name for name in pairs.ACCURACIES if any(name in one.differences for one in effects)]


def title(found: Sequence[Group]) -> str:
    """Return how many interventions raise each measure, and how many lower it."""
    effects = [one for group in found for one in group.effects]
    told = []
    for measure in _measures(found):
        more, fewer, _ = pairs.ahead(
            [pairs.interval(one.differences.get(measure, {})) for one in effects]
        )
        told.append(f"{MEASURES[measure].label} is raised by {more} and lowered by {fewer}")
    on = found[0].reference.name if len(found) == 1 else f"{len(found)} references"
    return f"Of {pairs.counted(len(effects), 'intervention')} on {on}: {', '.join(told)}"


def frame(found: Sequence[Group]) -> pd.DataFrame:
    """Return the mean difference of every row by every measure, with its interval."""
    rows = [
        {
            "name": name,
            "measure": measure,
            "mean": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "n": interval.n,
        }
        for name, one in named(found)
        for measure, by_seed in one.differences.items()
        if (interval := pairs.interval(by_seed)) is not None
    ]
    return pd.DataFrame(rows).astype({"low": float, "high": float})


def _figure(found: Sequence[Group]) -> Figure:
    table, rows = frame(found), named(found)[:MOST_ROWS]
    names = [name for name, _ in rows]
    dots = pd.DataFrame(
        [
            {"name": name, "measure": measure, "seed": seed, "value": value}
            for name, one in rows
            for measure, by_seed in one.differences.items()
            for seed, value in sorted(by_seed.items())[: theme.SEEDS_DRAWN]
        ]
    )
    ops = {group.reference.params.op for group in found}
    op = ops.pop() if len(ops) == 1 else "static"
    shown = table[table["name"].isin(names)]
    panels = [
        _panel(
            shown[shown["measure"] == name], dots[dots["measure"] == name], names, op
        ).properties(width=PANEL, height=charts.ROW * len(names), title=MEASURES[name].label)
        for name in _measures(found)
        if (shown["measure"] == name).any()
    ]
    panels = [*panels[:1], *map(marks.nameless, panels[1:])]
    chart = alt.concat(*panels, columns=len(panels), spacing=26)
    left = sum(len(group.effects) for group in found) - MOST_ROWS
    references = theme.listed([group.reference.name for group in found][:MOST_ROWS])
    return Figure(
        "interventions",
        title(found),
        f"Test accuracy less that of the reference ({references}), in points, paired by seed",
        "Large marks are means over seeds, whiskers their 95 % t-intervals, pale dots single "
        f"seeds; sorted by the first panel. {marks.UNCORRECTED}. {marks.n_of(table['n'])}; "
        "diverged seeds count as chance."
        + (f" {left} more rows are only in the table." if left > 0 else ""),
        "train/seeds.csv, retrain/seeds.csv",
        table,
        charts.spec(chart, "Difference of every intervention to its reference by measure"),
    )


def _panel(table: pd.DataFrame, dots: pd.DataFrame, names: Sequence[str], op: str) -> Any:
    values = [table["mean"], table["low"], table["high"], dots["value"], pd.Series([0.0])]
    scale = charts.linear(*values)
    zero = alt.Chart(charts.data(pd.DataFrame({"zero": [0.0]})))
    x = alt.X("mean:Q", scale=scale, title="points")
    shape = "circle" if theme.SHAPES[op] == "stroke" else theme.SHAPES[op]
    return alt.layer(
        zero.mark_rule(color="@ink", strokeWidth=1.2, strokeDash=[2, 2]).encode(
            x=alt.X("zero:Q", scale=scale)
        ),
        charts.interval_rows(table, names, x, dots, f"@{op}", shape),
    )


def _table(found: Sequence[Group]) -> Table:
    """Return what each row changed, and its differences."""
    measures, rows = _measures(found), []
    references = {one.arm.name: group.reference for group in found for one in group.effects}
    for name, one in named(found):
        intervals = [pairs.interval(one.differences.get(measure, {})) for measure in measures]
        cells = [
            f"{parts.points(part)}{' n.s.' if numbers.verdict(part) == 'unclear' else ''}"
            for part in intervals
        ]
        rows.append((name, *cells, changed(one.arm, references[one.arm.name]) or MISSING))
    return Table(
        "Difference to the reference, paired by seed [95 % t-interval]; n.s.: the interval holds "
        "0.",
        ("", *(MEASURES[name].label for name in measures), "rules"),
        tuple(rows),
    )


def changed(arm: Arm, reference: Arm) -> str:
    """Return the rules of a condition that its reference does not have, as the study has them."""
    own, other = arm.settings, reference.settings
    return ", ".join(
        f"{name.removeprefix(PREFIX)} {_rule(value)}"
        for name, value in own.items()
        if name.startswith(PREFIX) and value != other.get(name)
    )


def _rule(value: Any) -> str:
    """Return a rule with the options that it is given."""
    if not isinstance(value, dict):
        return str(value)
    options = [f"{name} {option}" for name, option in value.items() if name != "rule"]
    return " ".join([str(value.get("rule")), *options])

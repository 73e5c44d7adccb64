"""What a study's kept tables say: which conditions are there, their values, and every decision."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from plasticity import RESULTS_VERSION
from plasticity.claims import Reference
from plasticity.errors import DataError
from plasticity.report.comparison import trajectory, values, verdicts
from plasticity.report.comparison.values import Values
from plasticity.report.comparison.verdicts import Decision
from plasticity.sections import Params
from plasticity.study import Condition, Study, place, record, status

MEASURES = ("cycle.acc", "cycle.taa", "ticket.acc", "delta.acc")
"""What the overview of conditions shows, where the study's stages measure it."""


@dataclass(frozen=True)
class Part:
    """One condition of an arm with what is there of it."""

    condition: Condition
    status: str
    """``done``, ``failed`` or ``to run``."""
    folder: Path
    """Holds its ``reports`` when it is done."""
    record: Mapping[str, Any]
    """What was run, with which code; of a failure also the error. Empty when it was not run."""

    @property
    def name(self) -> str:
        """Return the condition's name."""
        return self.condition.name

    @property
    def why_not(self) -> str:
        """Return why it has no tables, or nothing."""
        if self.status == "failed":
            return f"{self.name} failed: {self.record['error']}"
        if self.status != "done":
            return f"{self.name} was not run"
        if self.record["results_version"] != RESULTS_VERSION:
            return (
                f"{self.name} is of results version {self.record['results_version']}, the code of "
                f"{RESULTS_VERSION}: run it again"
            )
        return ""


@dataclass(frozen=True)
class Arm:
    """Conditions that differ in their first seed alone, often a single one, as one.

    Its tables are those of its parts that are done, one after the other.
    """

    name: str
    parts: tuple[Part, ...]
    """At least one; the lowest seeds first."""

    @property
    def params(self) -> Params:
        """Return its parameters; the first seed is that of the first part."""
        return self.parts[0].condition.params

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return what the study sets for all of its parts."""
        first, *others = (part.condition.settings for part in self.parts)
        return {
            key: value
            for key, value in first.items()
            if all(other.get(key) == value for other in others)
        }

    @property
    def folders(self) -> tuple[Path, ...]:
        """Return what holds the ``reports`` of the parts that have tables."""
        return tuple(part.folder for part in self.parts if not part.why_not)

    @property
    def lacking(self) -> tuple[str, ...]:
        """Return why some parts have no tables."""
        return tuple(part.why_not for part in self.parts if part.why_not)

    @property
    def why_not(self) -> str:
        """Return why it has no tables at all, or nothing."""
        return "" if self.folders else "; ".join(self.lacking)


@dataclass(frozen=True)
class Comparison:
    """A study with its results."""

    study: Study
    arms: tuple[Arm, ...]

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Return the verdict on every claim."""
        return tuple(
            verdicts.decide(claim, {one: self.values(one) for one in claim.references})
            for claim in self.study.claims
        )

    @property
    def done(self) -> tuple[Arm, ...]:
        """Return the arms that have tables, if only of some of their seeds."""
        return tuple(arm for arm in self.arms if not arm.why_not)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Return every condition with what is there of it."""
        return tuple(part for arm in self.arms for part in arm.parts)

    @property
    def code(self) -> dict[str, list[str]]:
        """Return every version of the code that made tables -> the conditions that it made."""
        found: dict[str, list[str]] = {}
        for part in self.parts:
            if not part.why_not:
                code = part.record["code"]
                found.setdefault(f"{code['src'][:12]}/{code['stages'][:12]}", []).append(part.name)
        return found

    def arm(self, name: str) -> Arm:
        """Return the arm of this name."""
        return next(arm for arm in self.arms if arm.name == name)

    def values(self, one: Reference) -> Values | str:
        """Return one measure of one arm, or why there is none."""
        if one not in self._known:
            self._known[one] = self._read(one)
        return self._known[one]

    @cached_property
    def _known(self) -> dict[Reference, Values | str]:
        """Hold what was asked for: every section asks for much the same."""
        return {}

    def _read(self, one: Reference) -> Values | str:
        arm = self.arm(one.condition)
        if arm.why_not:
            return arm.why_not
        try:
            found = (
                self._at_equal_flops(one, arm)
                if one.beside
                else values.of(one, arm.params, arm.folders)
            )
            return found if isinstance(found, str) else replace(found, lacking=arm.lacking)
        except DataError as error:
            return str(error)

    def _at_equal_flops(self, one: Reference, arm: Arm) -> Values | str:
        """Return one measure of an arm at what the cheapest of its contrast had spent."""
        others = [self.arm(name) for name in one.beside]
        if lacking := [other.why_not for other in others if other.why_not]:
            return "; ".join(lacking)
        read = {other.name: trajectory.read(other.folders) for other in others}
        every = [part for part in read.values() if part is not None]
        if len(every) < len(read) or (mine := read[arm.name]) is None:
            return f"{one}: no history of {' or of '.join(one.beside)}"
        by_seed = trajectory.at_equal_flops(mine, every, one.measure)
        rows = values.table("train", "seeds", arm.folders)
        found = rows[["seed", "status"]].assign(value=rows["seed"].map(by_seed))
        return values.finished(one, found, arm.folders)


def read(study: Study, root: Path = Path()) -> Comparison:
    """Return what is there of a study.

    Parameters
    ----------
    study
        Complete and checked.
    root
        Of the project.
    """
    return Comparison(
        study,
        tuple(
            Arm(name, tuple(_part(study, one, root) for one in conditions))
            for name, conditions in study.arms.items()
        ),
    )


def _part(study: Study, condition: Condition, root: Path) -> Part:
    folder, state = root / place(study, condition), status(study, condition, root)
    return Part(condition, state, folder, record(folder))


def measured(
    comparison: Comparison, names: Iterable[str] = MEASURES
) -> dict[str, dict[str, Values]]:
    """Return condition -> measure -> values, for the conditions and measures that are there."""
    found: dict[str, dict[str, Values]] = {}
    for arm in comparison.done:
        per = {name: comparison.values(Reference(arm.name, name)) for name in names}
        found[arm.name] = {
            name: part for name, part in per.items() if isinstance(part, Values) and part.seeds
        }
    return found

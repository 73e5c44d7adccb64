"""What a study's kept tables say: which conditions are there, their values, and every decision."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from plasticity import RESULTS_VERSION
from plasticity.claims import Reference
from plasticity.errors import DataError
from plasticity.report.comparison import values, verdicts
from plasticity.report.comparison.values import Values
from plasticity.report.comparison.verdicts import Decision
from plasticity.sections import Params
from plasticity.study import Condition, Study, place, record, status

MEASURES = ("cycle.acc", "cycle.taa", "ticket.acc", "delta.acc")
"""What the overview of conditions shows, where the study's stages measure it."""


@dataclass(frozen=True)
class Arm:
    """One condition of a study with what is there of it."""

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
    def params(self) -> Params:
        """Return its parameters."""
        return self.condition.params

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
        """Return the arms that have tables."""
        return tuple(arm for arm in self.arms if not arm.why_not)

    @property
    def code(self) -> dict[str, list[str]]:
        """Return every version of the code that made tables -> the conditions that it made."""
        found: dict[str, list[str]] = {}
        for arm in self.done:
            code = arm.record["code"]
            found.setdefault(f"{code['src'][:12]}/{code['stages'][:12]}", []).append(arm.name)
        return found

    def arm(self, name: str) -> Arm:
        """Return the arm of a condition."""
        return next(arm for arm in self.arms if arm.name == name)

    def values(self, one: Reference) -> Values | str:
        """Return one measure of one condition, or why there is none."""
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
            return values.of(one, arm.params, arm.folder)
        except DataError as error:
            return str(error)


def read(study: Study, root: Path = Path()) -> Comparison:
    """Return what is there of a study.

    Parameters
    ----------
    study
        Complete and checked.
    root
        Of the project.
    """
    return Comparison(study, tuple(_arm(study, one, root) for one in study.conditions))


def _arm(study: Study, condition: Condition, root: Path) -> Arm:
    folder, state = root / place(study, condition), status(study, condition, root)
    return Arm(condition, state, folder, record(folder))


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

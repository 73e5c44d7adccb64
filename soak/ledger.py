"""What was found so far: one JSON object a line, so that a stopped soak continues."""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from soak.loops import Case, Verdict
from soak.warm import HERE

CODE = ("src/**/*.py", "stages/*.py", "soak/*.py", "params.yaml", "dvc.yaml")
"""Patterns of what decides a verdict."""


@dataclass(frozen=True)
class Row:
    """A case that was run."""

    source: str
    """``product``, or what was taken out of it."""
    loop: str
    name: str
    outcome: str
    faults: int
    wrong: str
    seconds: float


class Ledger:
    """The rows of the present code; those of other code are put aside."""

    def __init__(self, path: Path) -> None:
        """Read what is there."""
        self.path = path
        self.rows: list[Row] = []
        lines = path.read_text().splitlines() if path.exists() else []
        if lines and json.loads(lines[0]) != {"code": code_sum()}:
            path.rename(path.with_name(f"{path.stem}-{int(time.time())}{path.suffix}"))
            lines = []
        if lines:
            self.rows = [Row(**row) for row in _whole(lines[1:])]
            if not path.read_text().endswith("\n"):  # cut short by a kill
                with path.open("a") as file:
                    file.write("\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"code": code_sum()}) + "\n")
        self._done = {(row.source, row.loop, row.name) for row in self.rows}

    def has(self, source: str, case: Case) -> bool:
        """Return whether a case was run before."""
        return (source, case["loop"], case["name"]) in self._done

    def add(self, source: str, case: Case, verdict: Verdict, seconds: float) -> None:
        """Note a case, at once on disk."""
        row = Row(source, case["loop"], case["name"], **asdict(verdict), seconds=round(seconds, 3))
        self.rows.append(row)
        self._done.add((source, row.loop, row.name))
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")


def _whole(lines: list[str]) -> Iterator[dict[str, Any]]:
    """Return the rows of the lines that are whole; a kill may have cut one short."""
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue


def code_sum() -> str:
    """Return the sum of all code that decides a verdict."""
    paths = sorted(path for pattern in CODE for path in HERE.glob(pattern))
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]

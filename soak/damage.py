"""Files that are damaged, and what reads them."""

import csv
import io
import random
from pathlib import Path
from typing import Any


def checksummed(done: Path) -> list[str]:
    """Return the files whose checksum is kept: by a manifest, or in their own name."""
    found = [
        path
        for pattern in (
            "data/prepared/*",
            "data/subnetworks/*/*",
            "state/*/*/step-*.safetensors",
        )
        for path in sorted(done.glob(pattern))
        if path.name != "manifest.json"
    ]
    return [str(path.relative_to(done)) for path in found]


def others(done: Path) -> list[str]:
    """Return the files that are read and carry no checksum."""
    found = [
        path
        for pattern in (
            "data/*/manifest.json",
            "data/subnetworks/*/manifest.json",
            "data/trained/*.safetensors",
            "reports/*/*.csv",
            "params.yaml",
        )
        for path in sorted(done.glob(pattern))
    ]
    return [str(path.relative_to(done)) for path in found]


def reader(name: str) -> str:
    """Return the stage that reads a file first."""
    if name.startswith("data/subnetworks"):
        return "retrain"
    return "extract"


def flip(path: Path, numbers: random.Random) -> None:
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[numbers.randrange(len(content))] ^= numbers.randint(1, 255)
    path.write_bytes(content)


def cut(path: Path, numbers: random.Random) -> None:
    """Cut a file short."""
    content = path.read_bytes()
    path.write_bytes(content[: numbers.randrange(len(content))])


def spoil(work: Path, numbers: random.Random) -> bool:
    """Damage or remove a checkpoint, if there is one; return whether."""
    there = sorted(work.glob("state/*/*/step-*.safetensors"))
    if not there:
        return False
    path = numbers.choice(there)
    numbers.choice((flip, cut, lambda path, _: path.unlink()))(path, numbers)
    return True


def unlike(path: Path, cells: list[list[Any]]) -> str:
    """Return how cells that were read differ from what a plain reader finds in the file."""
    rows = list(csv.reader(io.StringIO(path.read_bytes().decode())))
    if len(rows) != len(cells):
        return f"{len(cells)} rows were read of {len(rows)}"
    for number, (row, found) in enumerate(zip(rows, cells, strict=True), start=1):
        for text, value in zip(row, found, strict=True):
            if not _says(text, value):
                return f"line {number}: {value!r} was read of {text!r}"
    return ""


def _says(text: str, value: Any) -> bool:
    if value is None:
        return text == ""
    if isinstance(value, str):
        return text == value
    try:
        return float(text) == float(value)
    except ValueError:
        return False

"""Small copies of the project: what a stage starts from, what it must leave, and what is amiss."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from soak.warm import HERE, Warm

COMPUTING = ("prepare", "train", "extract", "retrain", "continual")
REPORT = "report"
VARY = {"timing.json", "progress.jsonl", "report.html"}
"""Files that differ from run to run: times, dates, who is first."""
SMALL = {
    r"^scale: \w+": "scale: tiny",
    r"^dataset: \w+": "dataset: digits",
    r"^  workers: \w+": "  workers: 1",
    r"^  test_images: \s*#": "  test_images: 60  #",
    r"^  seeds:$": "  seeds: 2",
    r"^  variants: \[[^]]*\]": "  variants: [masked_fresh, physical_fresh]",
    r"^  streams: .*": "  streams: [random_labels]",
}
"""Pattern -> line of parameters, in every project here."""
SETTINGS: dict[str, dict[str, str]] = {
    "grow": {},
    "prune": {r"^op: \w+": "op: prune", r"^  optimizer:\s*#": "  optimizer: adam  #"},
    "turnover": {
        r"^op: \w+": "op: turnover",
        r"^  regularizer: \w+": "  regularizer: shrink_perturb",
    },
    "reveal": {
        r"^op: \w+": "op: late_reveal",
        r"^  normalisation: \w+": "  normalisation: layer_norm",
    },
}
"""Name -> what differs."""


Change = tuple[str, str, str]
"""Path, old text, new text."""


@dataclass(frozen=True)
class Base:
    """What a stage of a setting starts from and what it leaves when nothing goes wrong."""

    before: Path
    """Folder of the project just before the stage."""
    expected: Mapping[str, str]
    """Path -> sum of every result just after it."""
    counts: Mapping[str, int]
    """Calls that the stage makes, by kind."""
    seconds: float


def parameters(root: Path, setting: str) -> str:
    """Return the parameter file of a setting."""
    text = (root / "params.yaml").read_text()
    for pattern, line in (SMALL | SETTINGS[setting]).items():
        text, count = re.subn(pattern, line, text, flags=re.MULTILINE)
        if not count:
            raise LookupError(f"params.yaml: no line fits {pattern}")
    return text


def begun(root: Path, folder: Path, setting: str) -> Path:
    """Make a project in which no stage has run, and return its folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(parameters(root, setting))
    return folder


def undisturbed(warm: Warm, work: Path, stage: str, before: Path) -> Base:
    """Run a stage once, undisturbed, and keep what it started from in ``before``.

    Raises
    ------
    RuntimeError
        When it fails.
    """
    shutil.copytree(work, before, ignore=shutil.ignore_patterns("state"))
    ended = warm.run(work, stage)
    if ended.code:
        raise RuntimeError(f"{work}, {stage}: exit code {ended.code}\n{ended.text}")
    return Base(before, results(work), ended.told["counts"], ended.seconds)


def fresh(source: Path, target: Path) -> Path:
    """Put a copy of a project in place of what is there."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


def results(folder: Path) -> dict[str, str]:
    """Return path -> sum of every result: data, tables, metrics."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in _files(folder, "data", "reports")
        if path.name not in VARY and not _hidden(path.relative_to(folder))
    }


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _files(folder: Path, *tops: str) -> Iterator[Path]:
    for top in tops:
        yield from (path for path in sorted((folder / top).rglob("*")) if path.is_file())


def strays(folder: Path) -> list[str]:
    """Return what is neither a result nor a checkpoint: temporary files, half-made folders."""
    return sorted(
        str(path.relative_to(folder))
        for top in ("data", "reports", "state")
        for path in (folder / top).rglob(".*")
    )


def broken(folder: Path, *allowed: Mapping[str, str]) -> list[str]:
    """Return the files under a final name whose content is none of those that are allowed."""
    wrong = [
        name
        for name, found in results(folder).items()
        if found not in {one.get(name) for one in allowed}
    ]
    wrong += [name for name, whole in checkpoints(folder).items() if not whole]
    for path in _files(folder, "reports"):
        if path.name == "timing.json":
            try:
                json.loads(path.read_text())
            except ValueError:
                wrong.append(str(path.relative_to(folder)))
    return wrong


def checkpoints(folder: Path) -> dict[str, bool]:
    """Return path -> whether its name has the sum of its content, of every checkpoint."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()[:32]
        == path.stem.rpartition("-")[2]
        for path in sorted(folder.glob("state/*/*/step-*.safetensors"))
    }


def differing(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Return the results that are not as expected, or are missing, or are too many."""
    return sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))


def copy_source(target: Path, changes: Iterable[Change] = ()) -> Path:
    """Copy the code; ``changes`` are made to it.

    Raises
    ------
    LookupError
        When the text to be changed is not there exactly once.
    """
    for name in ("src", "stages"):
        shutil.copytree(HERE / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "params.yaml", target)
    for name, old, new in changes:
        text = (target / name).read_text()
        if text.count(old) != 1:
            raise LookupError(f"{name}: has {text.count(old)} of the text to change:\n{old}")
        (target / name).write_text(text.replace(old, new))
    return target

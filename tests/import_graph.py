"""What each module of the project imports, read from its source without running it."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"
FIRST_PARTY = {"plasticity": SRC, "stages": ROOT}


def module_file(name: str) -> Path | None:
    """Return the file of a first-party module or package, or None when there is no such module."""
    top, *rest = name.split(".")
    if top not in FIRST_PARTY:
        return None
    place = FIRST_PARTY[top].joinpath(top, *rest)
    candidates = (place / "__init__.py", place.with_suffix(".py"))
    return next((path for path in candidates if path.exists()), None)


def module_name(path: Path) -> str:
    """Return the dotted name of a first-party file."""
    base = SRC if path.is_relative_to(SRC) else ROOT
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imported_names(path: Path) -> frozenset[str]:
    """Return every name a file imports, inside functions too; ``from a import b`` gives a, a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            base = str(node.module)
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return frozenset(names)


def imported_files(path: Path) -> set[Path]:
    """Return the first-party files that importing a file's imports would run, at one remove."""
    found = set()
    for name in imported_names(path):
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            file = module_file(".".join(parts[:length]))
            if file is not None:
                found.add(file)
    return found - {path}


def import_closure(path: Path) -> set[Path]:
    """Return a file and all first-party files that it may load."""
    closure, waiting = set(), [path]
    while waiting:
        file = waiting.pop()
        if file not in closure:
            closure.add(file)
            waiting += imported_files(file)
    return closure


def modules(folder: Path) -> dict[str, Path]:
    """Return name -> file of every module below a folder."""
    return {module_name(path): path for path in sorted(folder.rglob("*.py"))}

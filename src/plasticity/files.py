"""The only place that spells an artifact's path, and the only place that writes one.

Writes are atomic: a file under its final name is whole, whatever killed the writer. No torch.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plasticity.errors import ConfigError, DataError, PlasticityError, StorageError
from plasticity.escapes import brief

PARAMS = Path("params.yaml")
PREPARED = Path("data/prepared")
TRAINED = Path("data/trained")
SUBNETWORKS = Path("data/subnetworks")
EXPORTED = Path("exported")
REPORTS = Path("reports")
REPORT_HTML = REPORTS / "report.html"
FIGURES = REPORTS / "figures"
STUDY_HTML = REPORTS / "study.html"
STUDY_FIGURES = REPORTS / "study"
PUBLISHED = Path("data/published")
CHECKPOINTS = re.compile(r"(train|retrain|continual)-[0-9a-f]{16}")
"""Names of folders of checkpoints: a stage, and the hash of all that could change a byte."""
MOST_JSON = 16_000_000
"""Bytes of a JSON file that is read; the largest, of a network at full size, has 100,000."""
KEEP_DAYS = 14
"""That checkpoints are kept after they were last touched."""


def table_path(stage: str, table: str) -> Path:
    """Return the path of a stage's table, such as ``reports/train/history.csv``."""
    return REPORTS / stage / f"{table}.csv"


def metrics_path(stage: str) -> Path:
    """Return the path of a stage's metrics, which ``dvc exp show`` prints."""
    return REPORTS / stage / "metrics.json"


def timing_path(stage: str) -> Path:
    """Return the path of what differs from run to run: wall time, latency, date, device."""
    return REPORTS / stage / "timing.json"


def progress_path(stage: str) -> Path:
    """Return the path of the progress log for machines, one JSON object a line."""
    return REPORTS / stage / "progress.jsonl"


def final_state_path(seed: int) -> Path:
    """Return the path of a seed's trained network at full capacity."""
    return TRAINED / f"seed-{seed}.safetensors"


def subnetwork_path(seed: int) -> Path:
    """Return the folder of a seed's extracted network."""
    return SUBNETWORKS / f"seed-{seed}"


def published_path(name: str) -> Path:
    """Return the path of a table of published numbers; unlike its neighbours Git tracks it."""
    return PUBLISHED / f"{name}.csv"


def study_path(study: str, experiment: str) -> Path:
    """Return the folder of what a study keeps of one experiment."""
    return REPORTS / "studies" / study / experiment


def study_scratch(study: str) -> Path:
    """Return the folder of a study's lock, logs and clones, where DVC and Git look for nothing."""
    return Path(".dvc/tmp/studies") / study


def _outside(path: str) -> Path:
    """Return a path that the user gave; a relative one starts at the project.

    The project is not where a stage runs when that is a copy: DVC's temporary workspace has the
    project in ``DVC_ROOT``, the clone of a study in ``PLASTICITY_PROJECT``.

    Raises
    ------
    ConfigError
        For the home folder of nobody.
    """
    project = os.environ.get("PLASTICITY_PROJECT") or os.environ.get("DVC_ROOT") or "."
    try:
        return Path(project) / Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path}: {error}; write the whole path") from error


def data_root() -> Path:
    """Return the folder of raw data sets: ``PLASTICITY_DATA``, or a cache folder of the user."""
    if chosen := os.environ.get("PLASTICITY_DATA"):
        return _outside(chosen)
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "plasticity" / "data"


def image_folder(folder: str) -> Path:
    """Return the path of ``data.folder``."""
    return _outside(folder)


def visible(folder: Path) -> list[Path]:
    """Return what is in a folder, by name; hidden entries are left out."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def count_classes(folder: str) -> int | None:
    """Return the number of classes of ``data.folder``, or None where it cannot be listed."""
    try:
        return sum(path.is_dir() for path in visible(image_folder(folder) / "train"))
    except (OSError, ValueError, ConfigError):  # not there, no path at all, no such home
        return None


def state_root() -> Path:
    """Return the folder of checkpoints: ``PLASTICITY_STATE``, or ``.checkpoints`` of the project.

    It is the same in a copy of the project, so an experiment that is killed in DVC's temporary
    workspace finds its checkpoint again.
    """
    return _outside(os.environ.get("PLASTICITY_STATE") or ".checkpoints")


def checkpoint_folders(root: Path) -> list[Path]:
    """Return the folders of checkpoints below ``root``, which may hold what is somebody else's."""
    return [path for path in root.glob("*") if CHECKPOINTS.fullmatch(path.name) and path.is_dir()]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    StorageError
        When the file cannot be written, naming it, the room left and the cause.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(
            f"{path}: could not be written ({error.strerror or error}); needed "
            f"{len(content):,} bytes, free {_free_space(path)}; make room, then run the same "
            "command again"
        ) from error


def _free_space(path: Path) -> str:
    folder = next((p for p in path.absolute().parents if p.exists()), Path("/"))
    try:
        return f"{shutil.disk_usage(folder).free:,} bytes"
    except OSError:
        return "unknown"


def write_text(path: Path, content: str) -> None:
    """Write a text file whole or not at all, in UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all; a NaN or infinity is a fault of the caller."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_text(path: Path, most: int) -> str:
    """Return a text file in UTF-8, of at most so many bytes.

    Raises
    ------
    OSError
        When it is no regular file (a named pipe would never end), is bigger, or cannot be read.
    UnicodeDecodeError
        When it is not UTF-8.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)  # a pipe is opened without a writer
    with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"has more than {most:,} bytes", str(path))
    return content.decode()


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises
    ------
    DataError
        When the file is missing, cannot be read, is too big, or is not JSON in UTF-8.
    """
    try:
        text = read_text(path, MOST_JSON)
        content = json.loads(text)
        if "\\ud" in text.lower():  # half of a surrogate pair cannot be written again
            json.dumps(content, ensure_ascii=False).encode()
    except FileNotFoundError as error:
        raise DataError(f"{path}: is missing; {remedy(path)}") from error
    except OSError as error:
        raise DataError(f"{path}: could not be read ({error.strerror}); {remedy(path)}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({brief(error, 300)}); {remedy(path)}") from error
    return content


@contextlib.contextmanager
def interpreting(path: Path) -> Iterator[None]:
    """Take whatever goes wrong in a block that reads a file's content for a fault of the file.

    For blocks that do nothing else.

    Raises
    ------
    DataError
        Naming the file, with the cause in one line.
    """
    try:
        yield
    except (PlasticityError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path}: is missing; {remedy(path)}") from error
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(f"{path}: is not what it should be ({why}); {remedy(path)}") from error


def remedy(path: Path) -> str:
    """Return what brings a file back that is missing or damaged."""
    if "/reports/studies/" in f"/{path.as_posix()}":  # kept by a study, and tracked
        return f"git checkout -- {path} restores it; else delete its folder and run the study again"
    return "delete it and run `make repro`" if path.exists() else "run `make repro` to make it"


@contextlib.contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill, and put it in place of ``path`` when the block ends well."""
    temporary, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)  # of a process killed at this very place
            path.replace(old)
        temporary.replace(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.replace(path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)

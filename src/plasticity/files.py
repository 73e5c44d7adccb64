"""The only place that spells an artifact's path, and the only place that writes one.

Writes are atomic: a file under its final name is whole, whatever killed the writer. No torch.
"""

import contextlib
import errno
import hashlib
import itertools
import json
import os
import platform
import re
import resource
import shutil
import stat
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
    """Write a file whole or not at all, with the permissions that the umask leaves.

    Raises
    ------
    StorageError
        When the file cannot be written, naming it, the cause and what to do.
    """
    with storing(path, len(content)):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_dead(path.parent)
        temporary = path.with_name(f".{path.name}.{_NODE}-{os.getpid()}-{next(_counter)}.part")
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


_NODE = re.sub(r"[^\w.]", "_", platform.node())[:64]
_PART = re.compile(rf"\..+\.{re.escape(_NODE)}-(\d+)-\d+\.part")
_counter = itertools.count()


def _clear_dead(folder: Path) -> None:
    """Remove the unfinished files of processes of this machine that are gone."""
    for path in folder.glob(".*.part"):
        found = _PART.fullmatch(path.name)
        if found and not _alive(int(found[1])):
            path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of somebody else
        return True
    return True


@contextlib.contextmanager
def storing(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turn what the system says against writing a file into a StorageError that names it.

    Parameters
    ----------
    path
        Of the file.
    needed
        Its bytes, where they are known.
    """
    try:
        yield
    except OSError as error:
        raise storage_error(path, error, needed, "written") from error


def storage_error(
    path: Path | str | None, error: OSError, needed: int | None = None, verb: str = "used"
) -> StorageError:
    """Return a fault of the disk with the remedy that fits it; a path may be unknown."""
    size = "" if needed is None else f"needed {needed:,} bytes, "
    facts = {
        errno.ENOSPC: f"{size}free {_free_space(Path(path or ''))}; ",
        errno.EFBIG: f"{size}the limit of a file here is {_file_limit()}; ",
    }
    number = error.errno or 0
    return StorageError(
        f"{path or 'a file'}: could not be {verb} ({error.strerror or error}); "
        f"{facts.get(number, '')}{REMEDIES.get(number, 'mend that')}, then run the same command "
        "again"
    )


_PERMIT = "give yourself the right to write there (ls -ld shows who has it)"
REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "your quota is used up, whatever room the disk has: delete files of yours or "
    "have it raised (quota -s shows it)",
    errno.EFBIG: "raise it (ulimit -f unlimited) or take a file system for larger files",
    errno.EROFS: "the file system takes no writes: have it mounted for writing, or work in a copy "
    "elsewhere",
    errno.EACCES: _PERMIT,
    errno.EPERM: _PERMIT,
    errno.EIO: "the disk itself failed: look into the system's log (dmesg), and save your data if "
    "that goes on",
    errno.ENOLCK: "this file system has no locks: set PLASTICITY_STATE to a folder on another one",
    errno.ENOSYS: "this file system has no locks: set PLASTICITY_STATE to a folder on another one",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""Fault of a disk -> what to do about it."""


def _file_limit() -> str:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return "that of its file system" if limit == resource.RLIM_INFINITY else f"{limit:,} bytes"


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
    with storing(path):
        temporary.mkdir(parents=True)
    try:
        yield temporary
        with storing(path):
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

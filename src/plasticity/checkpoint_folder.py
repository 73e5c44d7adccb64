"""Where a stage keeps its checkpoints: a folder named by all that could change a byte."""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import filelock
import numpy as np
import torch

from plasticity import RESULTS_VERSION, files
from plasticity.config import STAGE_PARAMS
from plasticity.data import prepared_sum
from plasticity.errors import Interrupted
from plasticity.items import Item
from plasticity.sections import Params

LOCK_SECONDS = 60
PATIENT = "PLASTICITY_PATIENT"
"""Set in the environment of a study's conditions: two that share a stage wait for each other."""


def name_of(params: Params, stage: str, device: str, work: Sequence[Item]) -> str:
    """Return the name under which this work's checkpoints are kept.

    It names parameters, code, data, seeds and their groups, device, versions: whatever could change
    a byte of the result. The number of workers cannot.
    """
    sections = params.model_dump(mode="json", include=set(STAGE_PARAMS[stage]))
    del sections["train"]["workers"]
    inputs = {
        "stage": stage,
        "params": sections,
        "items": [item.key for item in work],
        "code": _code_sum(),
        "data": prepared_sum(files.PREPARED),
        "subnetworks": _subnetwork_sums(work) if stage == "retrain" else None,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "torch": torch.__version__,
        "numpy": np.__version__,  # which draws everything that is random
        "results": RESULTS_VERSION,
    }
    text = json.dumps(inputs, sort_keys=True)
    return f"{stage}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _code_sum() -> str:
    """Return the sum of every module of the package that is loaded."""
    root = Path(__file__).parent
    paths = sorted(
        Path(str(module.__file__))
        for module in list(sys.modules.values())
        if getattr(module, "__file__", None) and root in Path(str(module.__file__)).parents
    )
    return hashlib.sha256("".join(files.sha256(path) for path in paths).encode()).hexdigest()


def _subnetwork_sums(work: Sequence[Item]) -> list[str]:
    seeds = sorted({seed for item in work for seed in item.seeds})
    return [files.sha256(files.subnetwork_path(seed) / "manifest.json") for seed in seeds]


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder for this process alone."""
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / "owner"
    lock = filelock.FileLock(folder / "lock")
    seconds = -1 if PATIENT in os.environ else LOCK_SECONDS
    limit = "" if seconds < 0 else f" up to {seconds} s"
    try:
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            told = f"waiting{limit} for process {_read(owner)}, which runs the same\n"
            sys.stderr.write(told)
            lock.acquire(timeout=seconds)
    except filelock.Timeout as error:
        raise Interrupted(
            f"{folder}: process {_read(owner)} is still running the same work; wait for it to end "
            "or stop it, then run the same command again"
        ) from error
    try:
        owner.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else "unknown"


def forget_old(current: Path) -> None:
    """Remove checkpoints that nobody has touched for ``files.KEEP_DAYS``."""
    limit = time.time() - files.KEEP_DAYS * 86400
    for folder in files.checkpoint_folders(current.parent):
        if folder != current and _touched(folder) < limit:
            shutil.rmtree(folder, ignore_errors=True)


def _touched(folder: Path) -> float:
    """Return when a folder was last written to; what changes under our eyes is written to now."""
    try:
        return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    except FileNotFoundError:
        return time.time()

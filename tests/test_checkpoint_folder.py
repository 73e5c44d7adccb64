"""Where checkpoints are kept: a changed setting never meets an old state."""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import pytest
from test_recipe import params_of

from plasticity import checkpoint_folder, files, items
from plasticity.checkpoint_folder import name_of
from plasticity.config import STAGE_PARAMS
from plasticity.device import resolve_device
from plasticity.errors import DeviceError, Interrupted
from plasticity.items import Item
from plasticity.sections import Params


def leaves(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def changed(tree: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Return a copy of a tree with one leaf changed."""
    key, *rest = path
    if rest:
        return tree | {key: changed(tree[key], tuple(rest))}
    value = tree[key]
    if isinstance(value, str):
        return tree | {key: f"{value} changed"}
    if isinstance(value, tuple):
        return tree | {key: (*value, "more")}
    return tree | {key: value + 1}


def rebuilt(params: Params, tree: dict[str, Any]) -> Params:
    """Return parameters from a tree without checking it: a key must differ even for nonsense."""
    parts = {}
    for name, value in tree.items():
        section = getattr(params, name)
        if isinstance(value, dict):
            parts[name] = section.model_copy(update=value)
        else:
            parts[name] = value
    return Params.model_construct(**parts)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_folder, "prepared_sum", lambda _: "sum")
    monkeypatch.setattr(checkpoint_folder, "_subnetwork_sums", lambda _: ["sum"])


WORK = [Item("train", "grow", (0, 1))]


@pytest.mark.usefixtures("prepared")
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("stage", ["train", "retrain", "continual"])
def test_every_parameter_but_the_number_of_workers_changes_the_key(stage: str) -> None:
    params = params_of()
    tree = params.model_dump()
    before = name_of(params, stage, "cpu", WORK)
    checked = 0
    for path in leaves({name: tree[name] for name in STAGE_PARAMS[stage]}):
        after = name_of(rebuilt(params, changed(tree, path)), stage, "cpu", WORK)
        assert (after == before) == (path == ("train", "workers")), path
        checked += 1
    assert checked > 30


@pytest.mark.usefixtures("prepared")
def test_data_code_device_and_seeds_change_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    params = params_of()
    keys = {name_of(params, "train", "cpu", WORK)}
    for name in ("one", "other"):
        monkeypatch.setattr("torch.cuda.get_device_name", lambda name=name: name)
        keys.add(name_of(params, "train", "cuda", WORK))
    keys.add(name_of(params, "train", "cpu", [Item("train", "grow", (0, 1, 2))]))
    monkeypatch.setattr(checkpoint_folder, "_code_sum", lambda: "another")
    keys.add(name_of(params, "train", "cpu", WORK))
    monkeypatch.setattr(checkpoint_folder, "prepared_sum", lambda _: "another")
    keys.add(name_of(params, "train", "cpu", WORK))
    monkeypatch.setattr("numpy.__version__", "another")
    keys.add(name_of(params, "train", "cpu", WORK))
    assert len(keys) == 7


def test_seed_groups_do_not_depend_on_the_number_of_workers() -> None:
    groups = [
        [
            item.seeds
            for item in items.stage_items(params_of(train__workers=n), "train", ["x"], range(12))
        ]
        for n in (1, 2, 4)
    ]
    assert groups[0] == [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9), (10, 11)]
    assert groups[0] == groups[1] == groups[2]


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError, match="sees no CUDA device"):
        resolve_device("cuda")
    assert resolve_device("auto") == "cpu"


def test_a_study_waits_for_another_process_and_a_user_is_told_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checkpoint_folder, "LOCK_SECONDS", 0.05)
    files.write_text(tmp_path / "owner", "123")
    taken, leave = threading.Event(), threading.Event()

    def other() -> None:
        with filelock.FileLock(tmp_path / "lock"):
            taken.set()
            leave.wait(10)

    threading.Thread(target=other).start()
    taken.wait(10)
    with pytest.raises(Interrupted, match="process 123 is still"), checkpoint_folder.held(tmp_path):
        pass
    monkeypatch.setenv(checkpoint_folder.PATIENT, "1")
    threading.Timer(0.3, leave.set).start()
    with checkpoint_folder.held(tmp_path):
        assert leave.is_set()
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" for ")[0] for line in told if line.startswith("waiting")] == [
        "waiting up to 0.05 s",
        "waiting",
    ]


def test_checkpoints_that_nobody_touched_for_long_are_forgotten_and_nothing_else(
    tmp_path: Path,
) -> None:
    current, old, new, empty = (f"train-{place:016x}" for place in range(4))
    others = ("photos", "train-1", f"{old}.bak")
    for name in (current, old, new, *others):
        files.write_text(tmp_path / name / "step", "")
    (tmp_path / empty).mkdir()  # another process has just made it
    long_ago = (time.time() - files.KEEP_DAYS * 86400 - 60,) * 2
    for name in (current, old, *others):
        os.utime(tmp_path / name / "step", long_ago)
        os.utime(tmp_path / name, long_ago)
    told: list[str] = []
    checkpoint_folder.forget_old(tmp_path / current, told.append)
    assert told == [
        f"removed 1 checkpoint folders of {tmp_path} that nobody has touched for "
        f"{files.KEEP_DAYS} days: {old}"
    ]
    assert {path.name for path in tmp_path.iterdir()} == {current, new, empty, *others}


@pytest.mark.usefixtures("prepared")
@pytest.mark.parametrize("stage", ["train", "retrain", "continual"])
def test_a_folder_of_checkpoints_is_known_by_its_name(stage: str, tmp_path: Path) -> None:
    (tmp_path / name_of(params_of(), stage, "cpu", WORK)).mkdir()
    assert len(files.checkpoint_folders(tmp_path)) == 1


def test_what_another_process_is_saving_is_neither_old_nor_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files come and go between being listed and being looked at."""
    busy = tmp_path / f"train-{1:016x}"
    files.write_text(busy / "step", "")
    monkeypatch.setattr(Path, "rglob", lambda self, _: iter([self / "gone"]))
    checkpoint_folder.forget_old(tmp_path / f"train-{2:016x}", print)
    assert busy.is_dir()


def folders(root: Path, ages: dict[str, float]) -> None:
    """Make folders of checkpoints that were touched so many days ago."""
    for name, days in ages.items():
        files.write_text(root / name / "step", "")
        when = (time.time() - days * 86400,) * 2
        os.utime(root / name / "step", when)
        os.utime(root / name, when)


@pytest.mark.parametrize("jump", [400, -400])
def test_a_clock_that_jumped_makes_nothing_old(
    jump: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    current, *others = (f"train-{place:016x}" for place in range(3))
    folders(tmp_path, dict(zip(others, (0.1, 13), strict=True)))
    now = time.time() + jump * 86400
    monkeypatch.setattr(time, "time", lambda: now)
    (tmp_path / current).mkdir()
    os.utime(tmp_path / current, (now, now))
    checkpoint_folder.forget_old(tmp_path / current, print)
    assert len(files.checkpoint_folders(tmp_path)) == 3


def test_what_is_held_is_not_removed_however_old(tmp_path: Path) -> None:
    held, old, new = (f"train-{place:016x}" for place in range(3))
    folders(tmp_path, {held: 20, old: 20, new: 0})
    with checkpoint_folder.held(tmp_path / held):
        folders(tmp_path, {held: 20})
        for name in ("lock", "owner"):
            os.utime(tmp_path / held / name, (0, 0))
        os.utime(tmp_path / held, (0, 0))
        checkpoint_folder.forget_old(tmp_path / f"train-{9:016x}", print)
    assert {path.name for path in tmp_path.iterdir()} == {held, new}


def test_who_waited_for_a_folder_that_is_removed_holds_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock of a file that is no longer there would keep nobody away."""
    folder = tmp_path / "a"
    with checkpoint_folder.held(folder):
        handle = os.open(folder / "lock", os.O_RDWR)
        (folder / "lock").unlink()
    real, once = os.open, [handle]
    monkeypatch.setattr(os, "open", lambda *given: once.pop() if once else real(*given))
    with checkpoint_folder.held(folder):
        assert (folder / "lock").exists()
        assert once == []


def test_a_worker_holds_the_lock_that_it_was_given_until_it_ends(tmp_path: Path) -> None:
    """Its parent may be killed while it writes; nobody else may write there meanwhile."""
    context = multiprocessing.get_context("spawn")
    with checkpoint_folder.held(tmp_path / "a") as lock:
        worker = context.Process(target=time.sleep, args=(60,))
        worker.lock = lock  # type: ignore[attr-defined]
        worker.start()
    assert checkpoint_folder._take(tmp_path / "a") is None
    worker.kill()
    worker.join()
    with checkpoint_folder.held(tmp_path / "a"):
        pass

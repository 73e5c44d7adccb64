import errno
import io
import os
import platform
import re
from pathlib import Path

import commands
import pytest
import torch
from test_recipe import params_of

from plasticity import checkpoint, checkpoint_folder, files, tables
from plasticity.errors import ConfigError, DataError, StorageError
from plasticity.progress import Display
from plasticity.state import new_state
from plasticity.weights import Weights

ROOT = Path(__file__).resolve().parents[1]
STATE = checkpoint.Checkpoint(
    1, new_state(Weights((), (), (), (torch.zeros(1, 2),)), (), num_moments=0), {}
)


def fail_at_call(monkeypatch, owner, name, number):
    """Make the given call of a function, counted from 1, fail as on a full disk."""
    real, calls = getattr(owner, name), []

    def failing(*arguments, **named):
        calls.append(arguments)
        if len(calls) == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, failing)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def write_all(folder, names, content):
    for name in names:
        files.write_text(folder / name, content)


STEPS_OF_A_WRITE = pytest.mark.parametrize(
    ("owner", "name"),
    [(os, "open"), (os, "fdopen"), (os, "fsync"), (Path, "replace")],
    ids=["open", "fdopen", "fsync", "replace"],
)

# -- one file


def test_a_file_is_written_with_the_folders_above_it(tmp_path):
    files.write_text(tmp_path / "a" / "b" / "c.txt", "7 é")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == b"7 \xc3\xa9"


def test_a_write_replaces_the_file_and_leaves_no_other(tmp_path):
    files.write_text(tmp_path / "a.txt", "long old content")
    files.write_text(tmp_path / "a.txt", "new")
    assert contents(tmp_path) == {"a.txt": "new"}


@STEPS_OF_A_WRITE
def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch, owner, name):
    files.write_text(tmp_path / "a.txt", "old")
    fail_at_call(monkeypatch, owner, name, 1)
    with pytest.raises(StorageError):
        files.write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"


@STEPS_OF_A_WRITE
def test_a_failing_write_leaves_no_temporary_file(tmp_path, monkeypatch, owner, name):
    fail_at_call(monkeypatch, owner, name, 1)
    with pytest.raises(StorageError):
        files.write_text(tmp_path / "a.txt", "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [1, 2, 3])
@STEPS_OF_A_WRITE
def test_of_several_writes_only_those_before_the_failing_one_happen(
    tmp_path, monkeypatch, owner, name, number
):
    names = ["a.txt", "b.txt", "c.txt"]
    write_all(tmp_path, names, "old")
    fail_at_call(monkeypatch, owner, name, number)
    with pytest.raises(StorageError, match=f"{names[number - 1]}: could not be written"):
        write_all(tmp_path, names, "new")
    after = contents(tmp_path)
    assert [after[file] for file in names] == ["new"] * (number - 1) + ["old"] * (4 - number)
    assert sorted(after) == names


def test_a_failing_write_names_the_cause_the_size_and_the_room_left(tmp_path, monkeypatch):
    fail_at_call(monkeypatch, os, "fsync", 1)
    with pytest.raises(StorageError, match=r"No space left.*needed 1,234 bytes, free [\d,]+ bytes"):
        files.write_bytes(tmp_path / "a.bin", bytes(1234))


def test_an_interrupted_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    files.write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_text(tmp_path / "a.txt", "new")
    assert contents(tmp_path) == {"a.txt": "old"}


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "a").write_text("a file, not a folder")
    with pytest.raises(StorageError, match=r"a/b\.txt: could not be written"):
        files.write_text(tmp_path / "a" / "b.txt", "new")


# -- JSON


def test_json_comes_back_as_it_was_written(tmp_path):
    content = {"a": [1, 2.5, None, True], "b": {"c": "é"}}
    files.write_json(tmp_path / "a.json", content)
    assert files.read_json(tmp_path / "a.json") == content


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_refuses_what_is_no_number_and_leaves_the_old_file(tmp_path, value):
    files.write_json(tmp_path / "a.json", {"acc": 1.5})
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "a.json", {"acc": value})
    assert files.read_json(tmp_path / "a.json") == {"acc": 1.5}


def test_missing_json_is_told_with_its_name(tmp_path):
    with pytest.raises(DataError, match=r"a\.json: is missing.*make repro"):
        files.read_json(tmp_path / "a.json")


@pytest.mark.parametrize("damage", [b"", b'{"acc": 9', b"\xff\xfe", b"acc"])
def test_damaged_json_is_told_with_its_name(tmp_path, damage):
    (tmp_path / "a.json").write_bytes(damage)
    with pytest.raises(DataError, match=r"a\.json: is not JSON"):
        files.read_json(tmp_path / "a.json")


# -- a folder of files


def fill(path, content, fault=None):
    with files.fresh_folder(path) as folder:
        files.write_text(folder / f"{content}.txt", content)
        if fault is not None:
            raise fault


def test_a_fresh_folder_is_put_in_place_whole(tmp_path):
    fill(tmp_path / "a" / "b", "new")
    assert contents(tmp_path) == {"a/b/new.txt": "new"}


def test_a_fresh_folder_keeps_nothing_of_the_one_before(tmp_path):
    fill(tmp_path / "a", "old")
    fill(tmp_path / "a", "new")
    assert contents(tmp_path) == {"a/new.txt": "new"}


def test_nothing_is_seen_under_the_final_name_while_a_folder_is_filled(tmp_path):
    fill(tmp_path / "a", "old")
    with files.fresh_folder(tmp_path / "a") as folder:
        files.write_text(folder / "new.txt", "new")
        assert contents(tmp_path / "a") == {"old.txt": "old"}


@pytest.mark.parametrize("fault", [OSError, KeyboardInterrupt, ValueError])
def test_a_folder_whose_filling_fails_is_as_it_was(tmp_path, fault):
    fill(tmp_path / "a", "old")
    with pytest.raises(fault):
        fill(tmp_path / "a", "new", fault)
    assert contents(tmp_path) == {"a/old.txt": "old"}


@pytest.mark.parametrize("number", [1, 2])
def test_a_folder_that_cannot_be_put_in_place_is_as_it_was(tmp_path, monkeypatch, number):
    fill(tmp_path / "a", "old")
    fail_at_call(monkeypatch, Path, "replace", number)  # the first puts new.txt in place
    with pytest.raises((OSError, StorageError)):
        fill(tmp_path / "a", "new")
    assert contents(tmp_path) == {"a/old.txt": "old"}


@pytest.mark.parametrize("name", [".a.new", ".a.old"])
def test_what_a_killed_process_left_of_a_folder_is_swept_away(tmp_path, name):
    fill(tmp_path / "a", "old")
    files.write_text(tmp_path / name / "half.txt", "half")
    fill(tmp_path / "a", "new")
    assert contents(tmp_path) == {"a/new.txt": "new"}


def test_a_folder_killed_while_it_was_put_in_place_outlives_another_failure(tmp_path):
    files.write_text(tmp_path / ".a.old" / "old.txt", "old")
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "a", "new", KeyboardInterrupt)
    assert contents(tmp_path) == {"a/old.txt": "old"}


# -- sums and places


def test_a_checksum_is_that_of_the_standard(tmp_path):
    # FIPS 180-2, example B.1: the sum of "abc".
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256(tmp_path / "a") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"PLASTICITY_DATA": "/d"}, "/d"),
        ({"PLASTICITY_DATA": "~/d", "DVC_ROOT": "/r"}, "/h/d"),
        ({"PLASTICITY_DATA": "../d"}, "../d"),
        ({"PLASTICITY_DATA": "../d", "DVC_ROOT": "/r"}, "/r/../d"),
        ({"PLASTICITY_DATA": "../d", "DVC_ROOT": "/r", "PLASTICITY_PROJECT": "/p"}, "/p/../d"),
        ({"XDG_CACHE_HOME": "c"}, "/h/.cache/plasticity/data"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/plasticity/data"),
        ({"XDG_CACHE_HOME": ""}, "/h/.cache/plasticity/data"),
        ({"PLASTICITY_DATA": "/d", "XDG_CACHE_HOME": "/c"}, "/d"),
        ({}, "/h/.cache/plasticity/data"),
    ],
)
def test_raw_data_lie_where_the_user_says_or_in_a_cache(monkeypatch, variables, place):
    for name in ("PLASTICITY_DATA", "PLASTICITY_PROJECT", "DVC_ROOT", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/h", **variables}.items():
        monkeypatch.setenv(name, value)
    assert files.data_root() == Path(place)


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"PLASTICITY_STATE": "/s", "DVC_ROOT": "/r"}, "/s"),
        ({"PLASTICITY_STATE": "ck"}, "ck"),
        ({"PLASTICITY_STATE": "ck", "DVC_ROOT": "/r"}, "/r/ck"),
        ({"PLASTICITY_STATE": "ck", "DVC_ROOT": "/r", "PLASTICITY_PROJECT": "/p"}, "/p/ck"),
        ({"DVC_ROOT": "/r"}, "/r/.checkpoints"),
        ({}, ".checkpoints"),
    ],
)
def test_checkpoints_lie_where_the_user_says_or_at_the_root(monkeypatch, variables, place):
    for name in ("PLASTICITY_STATE", "PLASTICITY_PROJECT", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert files.state_root() == Path(place)


def test_a_folder_of_a_home_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setenv("PLASTICITY_DATA", "~no such user/d")
    with pytest.raises(ConfigError, match=r"^~no such user/d: .*; write the whole path$"):
        files.data_root()


@pytest.mark.parametrize("error", [KeyError("a"), TypeError("b"), RuntimeError("c\nd"), OSError(5)])
def test_what_goes_wrong_with_a_file_s_content_is_told_of_the_file(tmp_path, error):
    with pytest.raises(DataError) as told, files.interpreting(tmp_path / "a.json"):
        raise error
    assert str(told.value).startswith(f"{tmp_path}/a.json: is not what it should be (")
    assert "\n" not in str(told.value)


# -- permissions, faults of the disk


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        files.write_text(tmp_path / "a.txt", "new")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == mode


def test_what_a_killed_process_left_unfinished_goes_with_the_next_write(tmp_path):
    """A process that is still there, or of another machine, may be writing."""
    node = re.sub(r"[^\w.]", "_", platform.node())[:64]
    with commands.start(tmp_path, "-c", "") as gone:
        pass
    names = [f".a.txt.{node}-{gone.pid}-0.part", f".a.txt.{node}-1-0.part", ".a.txt.far-1-0.part"]
    for name in names:
        (tmp_path / name).touch()
    files.write_text(tmp_path / "b.txt", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names[1:], "b.txt"])


FAULTS = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "your quota is used up",
    errno.EFBIG: "ulimit -f",
    errno.EROFS: "the file system takes no writes",
    errno.EACCES: "the right to write there",
    errno.EIO: "the disk itself failed",
    errno.ENOTDIR: "mend that",
}


def progress_log(_):
    with Display("train", params_of(), "cpu", "key", 1):
        pass


WRITERS = {
    "a.txt": lambda folder: files.write_text(folder / "a.txt", "new"),
    "tables": lambda folder: files.fresh_folder(folder / "tables").__enter__(),
    "reports/train/progress.jsonl": progress_log,
    "reports/train/seeds.csv": lambda _: tables.write_table("train", "seeds", []),
    "key/lock": lambda folder: checkpoint_folder.held(folder / "key").__enter__(),
    "key/owner": lambda folder: checkpoint_folder.held(folder / "key").__enter__(),
    "key/item/step-": lambda folder: checkpoint.save(folder / "key/item", STATE),
}


@pytest.mark.parametrize("number", FAULTS, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_names_its_file_the_cause_and_the_remedy(tmp_path, monkeypatch, name, number):
    real_open, real_mkdir = os.open, Path.mkdir

    def refusing(real):
        def call(path, *arguments, **options):
            if name.rpartition("/")[2] in str(path):
                raise OSError(number, os.strerror(number))
            return real(path, *arguments, **options)

        return call

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "open", refusing(real_open))
    monkeypatch.setattr(io, "open", refusing(io.open))
    monkeypatch.setattr(Path, "mkdir", refusing(real_mkdir))
    with pytest.raises(StorageError) as error:
        WRITERS[name](tmp_path)
    monkeypatch.undo()
    told = str(error.value)
    assert error.value.exit_code == 7
    assert name in told.split(": could not be written")[0]
    assert os.strerror(number) in told
    assert FAULTS[number] in told
    assert ("make room" in told) == (number == errno.ENOSPC)
    assert "\n" not in told


def test_a_log_that_cannot_be_written_any_more_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("reports/train").mkdir(parents=True)
    Path("reports/train/progress.jsonl").symlink_to("/dev/full")
    with (
        pytest.raises(StorageError, match=r"reports/train/progress\.jsonl: could not be written"),
        Display("train", params_of(), "cpu", "key", 1) as display,
    ):
        display.show({"item": "a", "told": "something"})


def test_a_limit_of_the_size_of_files_is_told_as_such_and_ends_a_command_with_7(tmp_path):
    """The signal that Linux sends for it is not what ends the process."""
    limited = (
        "import resource; from pathlib import Path; from plasticity import command, files; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); "
        "command.finish('x', lambda: files.write_bytes(Path('table.csv'), bytes(5000)))"
    )
    done = commands.python(tmp_path, "-c", limited, PYTHONPATH=str(ROOT / "src"))
    assert done.returncode == 7, done.stderr
    assert done.stderr == (
        "[x] table.csv: could not be written (File too large); needed 5,000 bytes, the limit of a "
        "file here is 4,096 bytes; raise it (ulimit -f unlimited) or take a file system for larger "
        "files, then run the same command again\n"
    )
    assert list(tmp_path.iterdir()) == []

"""Every check of the doctor fails when what it looks at is wrong, and says what mends it."""

import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import filelock
import pytest
from commands import python
from report_tables import ROOT

from plasticity import doctor, files

Version = namedtuple("Version", "major minor micro")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params.yaml", "dvc.yaml", "requirements.txt"):
        files.write_text(tmp_path / name, (ROOT / name).read_text())
    files.write_text(tmp_path / "src/code.py", "as committed\n")
    for command in ("init --quiet", "add --all", "commit --quiet --message all"):
        author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        subprocess.run(["git", *author, *command.split()], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PLASTICITY_STATE", raising=False)
    return tmp_path


def found(check: str) -> tuple[str, str]:
    (one,) = (one for one in doctor.examine() if one.check == check)
    return one.level, one.text


@pytest.mark.usefixtures("project")
def test_a_sound_project_has_nothing_wrong() -> None:
    assert {one.level for one in doctor.examine()} == {"ok"}
    assert [one.check for one in doctor.examine()] == list(doctor.CHECKS)


@pytest.mark.usefixtures("project")
def test_an_old_python_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", Version(3, 10, 4))
    assert found("python") == (
        "fail",
        "3.10.4 is older than 3.11; make PYTHON=python3.12 .venv/ready",
    )


def test_packages_that_differ_are_named(project: Path) -> None:
    files.write_text(project / "requirements.txt", "numpy==1.0\nno-such-package==2.0\n")
    level, text = found("packages")
    assert level == "fail"
    assert "(wanted 1.0), no-such-package is missing (wanted 2.0); rm -f .venv/ready" in text


def test_wrong_parameters_are_told_with_their_error(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    files.write_text(project / "params.yaml", text.replace("op: grow ", "op: grwo "))
    level, told = found("parameters")
    assert level == "fail"
    assert "did you mean 'grow'?" in told
    assert found("data")[0] == "warn"


def test_data_that_are_not_here_are_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PLASTICITY_DATA", str(tmp_path / "none"))
    text = (project / "params.yaml").read_text()
    files.write_text(project / "params.yaml", text.replace("dataset: digits ", "dataset: mnist "))
    level, told = found("data")
    assert level == "warn"
    assert "mnist: MNIST/raw/train-images-idx3-ubyte, " in told


@pytest.mark.parametrize("path", ["src/code.py", "src/new.py", "params.yaml"])
def test_what_is_not_committed_is_named(project: Path, path: str) -> None:
    with (project / path).open("a") as file:
        file.write("# changed\n")
    level, told = found("code")
    assert level == "warn"
    assert path in told


@pytest.mark.usefixtures("project")
def test_without_git_studies_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_git", lambda *_: None)
    assert found("code")[0] == "fail"


@pytest.mark.usefixtures("project")
def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage(10, 9, 10**8))
    assert found("disk") == ("fail", "0.1 GB free, 2 needed; make room")


def test_many_checkpoints_are_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_text(project / ".checkpoints/train-0123456789abcdef/state", "x" * 100)
    files.write_text(project / ".checkpoints/another/state", "x" * 10_000)
    assert found("checkpoints")[0] == "ok"
    monkeypatch.setattr(doctor, "MUCH", 200)
    assert found("checkpoints")[0] == "ok"  # what is somebody else's does not count
    monkeypatch.setattr(doctor, "MUCH", 50)
    level, said = found("checkpoints")
    assert level == "warn"
    assert "rm -r .checkpoints/{train,retrain,continual}-* forgets" in said


def test_a_killed_study_is_told_and_a_running_one_is_not(project: Path) -> None:
    scratch = project / ".dvc/tmp/studies/quick"
    files.write_text(scratch / "clones/one/file", "")
    with filelock.FileLock(scratch / "lock"):
        assert found("studies")[0] == "ok"
    level, told = found("studies")
    assert level == "warn"
    assert "python -m stages.study studies/quick.yaml continues it" in told


def test_the_command_ends_with_1_when_a_check_fails(project: Path) -> None:
    for name in ("src", "stages"):
        shutil.rmtree(project / name, ignore_errors=True)
        subprocess.run(["cp", "-r", str(ROOT / name), name], cwd=project, check=True)
    sound = python(project, "-m", "stages.doctor")
    assert sound.returncode == 0, sound.stderr
    assert len(sound.stdout.splitlines()) == len(doctor.CHECKS)
    files.write_text(project / "requirements.txt", "no-such-package==2.0\n")
    assert python(project, "-m", "stages.doctor").returncode == 1

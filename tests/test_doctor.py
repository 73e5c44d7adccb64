"""Every check of the doctor fails when what it looks at is wrong, and says what mends it."""

import shutil
import sys
from collections import namedtuple
from pathlib import Path

import filelock
import pytest
from commands import commit, python
from report_tables import ROOT

from plasticity import command, doctor, files
from plasticity.errors import ConfigError

Version = namedtuple("Version", "major minor micro")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params.yaml", "dvc.yaml", "requirements.txt"):
        files.write_text(tmp_path / name, (ROOT / name).read_text())
    for name in ("src/code.py", "stages/code.py", ".dvc/config"):
        files.write_text(tmp_path / name, "# as committed\n")
    commit(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("PLASTICITY_STATE", "PLASTICITY_PROJECT", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_COMMITTER_NAME", "test")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "test@localhost")
    return tmp_path


def found(check: str) -> tuple[str, str]:
    return doctor._checked(doctor.CHECKS[check], Path())


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
def test_without_git_studies_cannot_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert found("code") == ("fail", "git: not found; install it, or add its folder to PATH")


def test_a_project_in_no_repository_is_told(project: Path) -> None:
    shutil.rmtree(project / ".git")
    level, told = found("code")
    assert level == "fail"
    assert "not a git repository" in told
    assert told.endswith("; git init && git add -A && git commit makes one")


@pytest.mark.usefixtures("project")
def test_a_repository_of_another_owner_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    level, told = found("code")
    assert level == "fail"
    assert "dubious ownership" in told
    assert "git config --global --add safe.directory" in told
    assert "\n" not in told


@pytest.mark.usefixtures("project")
def test_a_git_that_knows_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in doctor.IDENTITY.values():
        monkeypatch.delenv(name, raising=False)
    level, told = found("identity")
    assert level == "warn"
    assert told.startswith("user.name and user.email not set, without which dvc exp run fails")
    monkeypatch.setenv("GIT_COMMITTER_NAME", "somebody")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "somebody@localhost")
    assert found("identity")[0] == "ok"


@pytest.mark.parametrize(
    ("name", "level", "text"),
    [
        ("a{b", "fail", "DVC fails where the path has '{'"),
        ("a}b\nc", "fail", "DVC fails where the path has '}' or"),
        ("é", "warn", "DVC fails with --temp and --queue"),
        ("c#1", "warn", "DVC fails with --temp and --queue"),
        ("a, b%20", "ok", "DVC takes this path"),
    ],
)
def test_a_path_that_dvc_cannot_take_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, level: str, text: str
) -> None:
    (tmp_path / name / ".dvc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / name)
    assert doctor.place(Path())[0] == level
    assert text in doctor.place(Path())[1]
    if level == "fail":  # and the commands refuse it for the same reason
        with pytest.raises(ConfigError, match="DVC fails where the path has"):
            command.check_place(Path())


def test_a_project_without_dvc_is_told(project: Path) -> None:
    shutil.rmtree(project / ".dvc")
    assert found("place")[0] == "fail"


def test_images_that_are_not_there_are_told(project: Path) -> None:
    text = (project / "params.yaml").read_text()
    text = text.replace("dataset: digits ", "dataset: folder ").replace('folder: ""', "folder: no")
    files.write_text(project / "params.yaml", text)
    level, told = found("data")
    assert level == "fail"
    assert told.startswith("data.folder: no is not there")


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("studies/one.yaml", "title: [1"),
        ("studies/one.yaml", "title: One\nconditions: {a: {op: gorw}}\n"),
        ("reports/studies/one/a-01234567/condition.json", "{"),
        ("reports/studies/one/a-01234567/failed.json", "[]"),
    ],
)
def test_a_study_or_a_record_that_cannot_be_read_is_named(
    project: Path, path: str, content: str
) -> None:
    files.write_text(project / path, content)
    level, told = found("results")
    assert level == "fail"
    assert path in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("torch", "level", "text"),
    [
        ('print("2.11.0+cpu", False)', "warn", "knows 2 CUDA devices, but torch 2.11.0+cpu can"),
        ("import nothing_of_this_name", "warn", "knows 2 CUDA devices, but torch  can use none"),
        ('print("2.11.0+cu130", True)', "ok", "2 CUDA devices"),
    ],
)
def test_a_torch_that_sees_no_device_of_the_driver_s_is_told(
    monkeypatch: pytest.MonkeyPatch, torch: str, level: str, text: str
) -> None:
    run = doctor.processes.run
    monkeypatch.setattr(doctor.leases, "devices", lambda: ("GPU-a", "GPU-b"))
    monkeypatch.setattr(
        doctor.processes, "run", lambda asked, root: run([*asked[:-1], torch], root)
    )
    told = doctor.device(Path())
    assert told[0] == level
    assert text in told[1]


@pytest.mark.usefixtures("project")
def test_a_check_that_cannot_be_made_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLASTICITY_STATE", "~no such user/x")
    assert found("checkpoints")[0] == "fail"


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
        shutil.copytree(ROOT / name, project / name)
    sound = python(project, "-m", "stages.doctor")
    assert sound.returncode == 0, sound.stderr
    assert len(sound.stdout.splitlines()) == len(doctor.CHECKS)
    files.write_text(project / "requirements.txt", "no-such-package==2.0\n")
    assert python(project, "-m", "stages.doctor").returncode == 1

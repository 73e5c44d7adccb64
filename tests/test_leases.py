"""Leases of devices: one job a device, whoever asks, and none is kept by the dead."""

import os
import signal
import time
from pathlib import Path

import pytest
from commands import start

from plasticity import leases

SOURCE = str(Path(leases.__file__).parents[1])
HOLD = """
import sys, time
from pathlib import Path
from plasticity import leases
with leases.lease(sys.argv[2].split(","), Path(sys.argv[1])) as shown:
    print(shown[leases.VISIBLE], flush=True)
    time.sleep(float(sys.argv[3]))
"""


def hold(folder, names, seconds):
    """Start a process that leases a device so long, and prints which."""
    return start(folder, "-c", HOLD, str(folder), names, str(seconds), PYTHONPATH=SOURCE)


def driver(monkeypatch, tmp_path, script):
    """Put a driver in the path that answers so."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.delenv(leases.VISIBLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


TWO = "echo 0, GPU-a; echo 1, GPU-b"


@pytest.mark.parametrize(
    ("script", "names"),
    [(TWO, ("GPU-a", "GPU-b")), ("echo No devices were found; exit 6", ())],
)
def test_the_driver_is_asked_which_devices_there_are(monkeypatch, tmp_path, script, names):
    driver(monkeypatch, tmp_path, script)
    assert leases.devices() == names


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", ("GPU-b",)),
        ("1, GPU-a", ("GPU-b", "GPU-a")),
        ("MIG-7", ("MIG-7",)),
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("0,-1,1", ("GPU-a",)),  # as CUDA reads it
    ],
)
def test_a_device_has_one_name_whatever_a_scheduler_calls_it(monkeypatch, tmp_path, visible, names):
    driver(monkeypatch, tmp_path, TWO)
    monkeypatch.setenv(leases.VISIBLE, visible)
    assert leases.devices() == names


def test_without_a_driver_there_is_no_device(monkeypatch, tmp_path):
    monkeypatch.delenv(leases.VISIBLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert leases.devices() == ()


def test_of_no_device_nothing_is_leased_and_nothing_hidden(tmp_path):
    with leases.lease((), tmp_path) as shown:
        assert shown == {}
    assert list(tmp_path.iterdir()) == []


def test_jobs_of_one_process_get_devices_of_their_own(tmp_path):
    with leases.lease(("0", "1"), tmp_path) as first, leases.lease(("0", "1"), tmp_path) as second:
        assert [first, second] == [{leases.VISIBLE: "0"}, {leases.VISIBLE: "1"}]
    with leases.lease(("0", "1"), tmp_path) as again:
        assert again == first


def test_a_job_that_fails_gives_its_device_back(tmp_path):
    with pytest.raises(ZeroDivisionError), leases.lease(("0",), tmp_path):
        raise ZeroDivisionError
    with leases.lease(("0",), tmp_path) as shown:
        assert shown == {leases.VISIBLE: "0"}


def test_processes_wait_for_each_other_and_not_for_the_dead(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "POLL_SECONDS", 0.05)
    short, dead, told = hold(tmp_path, "a", 0.5), hold(tmp_path, "b", 600), []
    assert [one.stdout.readline().strip() for one in (short, dead)] == ["a", "b"]
    started = time.monotonic()
    with leases.lease(("a", "b"), tmp_path, lambda: told.append("waits")) as shown:
        assert shown == {leases.VISIBLE: "a"}
        assert told == ["waits"]
        assert short.wait() == 0
        dead.send_signal(signal.SIGKILL)
        dead.communicate()
        with leases.lease(("a", "b"), tmp_path) as other:
            assert other == {leases.VISIBLE: "b"}
    assert time.monotonic() - started < 60
    short.communicate()

"""Processors that this process may use, by affinity and by the quotas of its cgroups."""

import os

import pytest

from plasticity import launch, machine
from plasticity.machine import processors


@pytest.fixture
def cgroups(tmp_path, monkeypatch):
    """Return a function that puts a hierarchy of cgroups in the place of this machine's."""

    def put(membership, files):
        (tmp_path / "membership").write_text(membership)
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    monkeypatch.setattr(machine, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    return put


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "1000 100000\n"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        ("0::/not/here\n", {"cpu.max": "400000 100000\n"}, 4),
        (
            "4:cpu,cpuacct:/a\n3:memory:/b\n",
            {"cpu/a/cpu.cfs_quota_us": "500000\n", "cpu/a/cpu.cfs_period_us": "100000\n"},
            5,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ("0::/\n", {"cpu.max": "nonsense"}, 8),
    ],
)
def test_the_tightest_of_affinity_and_quotas_counts(cgroups, membership, files, expected):
    cgroups(membership, files)
    assert processors() == expected


@pytest.mark.usefixtures("cgroups")
def test_without_a_cgroup_affinity_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "MEMBERSHIP", tmp_path / "missing")
    assert processors() == 8


def test_a_stage_starts_as_many_workers_as_processors_are_allowed():
    from test_recipe import params_of

    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert launch._num_workers(params_of(train__workers="all"), "cpu", 10) == 1
        assert launch._num_workers(params_of(train__workers=3), "cpu", 10) == 3
    finally:
        os.sched_setaffinity(0, before)

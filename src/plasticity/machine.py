"""How much of this machine is ours: the processors that scheduler and container allow. No torch."""

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def processors() -> int:
    """Return the processors that this process may use: by affinity, and by quota of its cgroup.

    A part of one counts as one.
    """
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        allowed = os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, _quota())))


def _quota() -> float:
    """Return the processors that the tightest quota of our cgroup and those above it gives."""
    try:
        lines = [line.split(":", 2) for line in MEMBERSHIP.read_text().splitlines()]
    except OSError:  # not on this system
        return math.inf
    places = [
        (CGROUPS / ("cpu" if controllers else ""), path)
        for _, controllers, path in lines
        if not controllers or "cpu" in controllers.split(",")
    ]
    return min(
        (_given(root / above) for root, path in places for above in _upwards(path)),
        default=math.inf,
    )


def _upwards(path: str) -> list[Path]:
    """Return a cgroup and all above it; within a container the root may be the only one there."""
    own = Path(path.strip("/"))
    return [own, *own.parents]


def _given(group: Path) -> float:
    """Return the processors that one cgroup gives, in version 2 or 1 of their files."""
    if words := _words(group / "cpu.max"):
        share, period = words[0], words[-1]
    else:
        share = "".join(_words(group / "cpu.cfs_quota_us"))
        period = "".join(_words(group / "cpu.cfs_period_us"))
    if not share.isdigit() or not period.isdigit() or int(share) * int(period) == 0:
        return math.inf  # "max", -1, or no limit at all
    return int(share) / int(period)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []

"""Copies of the project with one guard taken out: a loop that does not fail on them is no check."""

from dataclasses import dataclass

from soak.project import Change


@dataclass(frozen=True)
class Sabotage:
    """One guard less."""

    change: Change
    caught_by: tuple[str, ...]
    """Loops that must report failures."""


SABOTAGES = {
    "files are written in place": Sabotage(
        (
            "src/plasticity/files.py",
            "            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)",
            "            temporary = path\n"
            "            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)",
        ),
        ("T1", "T2", "T25"),
    ),
    "files are not synced": Sabotage(
        ("src/plasticity/files.py", "os.fsync(file.fileno())", "pass"), ("T1", "T25")
    ),
    "a write that fails is forgotten": Sabotage(
        (
            "src/plasticity/files.py",
            '        raise storage_error(path, error, needed, "written") from error',
            "        return",
        ),
        ("T2", "T2 report", "T25"),
    ),
    "a checkpoint's sum is not compared": Sabotage(
        (
            "src/plasticity/checkpoint.py",
            "hexdigest()[:32]) != name[2]:",
            'hexdigest()[:32]) == "":',
        ),
        ("T4", "T25"),
    ),
    "a manifest's sums are not compared": Sabotage(
        ("src/plasticity/data.py", "!= expected:", '== "":'), ("T4",)
    ),
    "a run that continues skips a step": Sabotage(
        (
            "src/plasticity/train.py",
            "return Run(job, found.step, found.state",
            "return Run(job, min(found.step + 1, job.window * job.num_windows), found.state",
        ),
        ("T1", "T25"),
    ),
}

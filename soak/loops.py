"""The loops: which faults there are, how each is made, and what must hold after it."""

import hashlib
import random
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from soak import damage, project
from soak.disk import ENDS, ERRORS, KINDS, Plan
from soak.project import COMPUTING, REPORT, Base
from soak.warm import Ended, Warm

SEED = 20261201
"""Of everything that is drawn at random."""
KILLS, FLIPS, PLAIN_FLIPS, RUNS = 200, 1000, 200, 1000
STORAGE = 7
TOLD = {2, 3, 4, 7}
"""Exit codes that refuse a file."""

Case = dict[str, Any]
"""Plain JSON; ``loop`` and ``name`` say which."""


@dataclass(frozen=True)
class Verdict:
    """What came of a case."""

    outcome: str
    """In a few words; cases with the same words are counted together."""
    faults: int = 1
    """Made in this case."""
    wrong: str = ""
    """Why it is a failure; empty when all is well."""


@dataclass
class Bench:
    """A loaded process, a folder, and what stages leave when nothing goes wrong."""

    warm: Warm
    root: Path
    """Of the code that is loaded."""
    scratch: Path
    _bases: dict[str, dict[str, Base]] = field(default_factory=dict)

    def bases(self, setting: str = "grow") -> dict[str, Base]:
        """Return every stage of a setting that computes, run once undisturbed."""
        if setting not in self._bases:
            folder = self.scratch / "bases" / setting
            work = project.begun(self.root, folder / "done", setting)
            self._bases[setting] = {}
            for stage in COMPUTING:
                shutil.rmtree(folder / stage, ignore_errors=True)
                base = project.undisturbed(self.warm, work, stage, folder / stage)
                self._bases[setting][stage] = base
        return self._bases[setting]

    def base(self, stage: str) -> Base:
        """Return a stage of the first setting; the report, which takes long, only when asked."""
        if stage == REPORT and REPORT not in self.bases():
            work = self.work(self.done())
            before = self.scratch / "bases" / "grow" / REPORT
            shutil.rmtree(before, ignore_errors=True)
            self.bases()[REPORT] = project.undisturbed(self.warm, work, stage, before)
        return self.bases()[stage]

    def done(self, setting: str = "grow") -> Path:
        """Return a project of which every stage that computes has ended."""
        self.bases(setting)
        return self.scratch / "bases" / setting / "done"

    def work(self, source: Path) -> Path:
        """Return a fresh copy of a project to do harm to."""
        return project.fresh(source, self.scratch / "work")


@contextmanager
def bench(root: Path, scratch: Path) -> Iterator[Bench]:
    """Load the code at ``root``, and give a place for its projects."""
    with Warm(root) as warm:
        yield Bench(warm, root, scratch)


def draw(case: Case) -> random.Random:
    """Return the random numbers of one case, whatever was run before it."""
    return random.Random(f"{SEED} {case['loop']} {case['name']}")


def ended_badly(ended: Ended) -> str:
    """Return what is wrong with how a stage told of a fault, or nothing."""
    lines = [line for line in ended.text.splitlines() if line.startswith("[")]
    if "Traceback" in ended.text or ended.code in (1, -9):
        last = ended.text.strip().splitlines()[-1:] or ["no message"]
        return f"exit code {ended.code}: {last[0]}"
    return "" if lines or ended.code == 0 else f"exit code {ended.code} without a message"


def continued(bench: Bench, work: Path, stage: str, base: Base) -> str:
    """Run the same stage again, undisturbed; return what is wrong with what it leaves."""
    ended = bench.warm.run(work, stage)
    if ended.code:
        return f"the next run ended with {ended.code}: {ended.text.strip()[-300:]}"
    if wrong := project.differing(project.results(work), base.expected):
        return f"other bytes after continuing: {', '.join(wrong[:3])}"
    if left := project.strays(work):
        return f"left behind: {', '.join(left[:3])}"
    return ""


# -- T1: kill -9


def kill_cases(bench: Bench) -> list[Case]:
    """Return kills: half at moments of the clock, half at calls, some with half a write."""
    del bench
    kinds = ("clock", "clock", "torn", "power")
    return [
        {"loop": "T1", "name": f"kill {number}", "kind": kinds[number % 4]}
        for number in range(KILLS)
    ]


def run_kill(bench: Bench, case: Case) -> Verdict:
    """Kill a stage, continue, compare every byte; a kill that came too late is made again."""
    numbers = draw(case)
    stages = bench.bases()
    for _ in range(50):
        stage = numbers.choices(COMPUTING, [stages[name].counts["any"] for name in COMPUTING])[0]
        base = stages[stage]
        work = bench.work(base.before)
        if case["kind"] == "clock":
            ended = bench.warm.run(work, stage, after=numbers.uniform(0, base.seconds))
        else:
            at = numbers.randint(1, base.counts["any"])
            ended = bench.warm.run(work, stage, Plan("any", at, case["kind"]))
        if ended.code == -9:
            break
    else:
        return Verdict("never killed", 0, "no kill came before the end")
    wrong = _whole(work, base) or continued(bench, work, stage, base)
    return Verdict(f"killed ({case['kind']}), then the same bytes", 1, wrong)


def _whole(work: Path, base: Base, spoilt: Collection[str] = ()) -> str:
    """Return which file under a final name is neither as before nor as it must become."""
    found = project.broken(work, project.results(base.before), base.expected)
    wrong = [name for name in found if name not in spoilt]
    return f"half-written under a final name: {', '.join(wrong[:3])}" if wrong else ""


# -- T2: a disk that fails


def disk_cases(bench: Bench) -> list[Case]:
    """Return every call of every stage that computes, failing in each way, once and for good."""
    return [
        _failing("T2", stage, Plan(kind, at, error, lasting))
        for stage in COMPUTING
        for kind in KINDS
        for at in range(1, bench.base(stage).counts.get(kind, 0) + 1)
        for error in ERRORS
        for lasting in (False, True)
    ]


def report_cases(bench: Bench) -> list[Case]:
    """Return every call of the report, with one error and the other in turns."""
    return [
        _failing("T2 report", REPORT, Plan(kind, at, ERRORS[at % 2], at % 4 > 1))
        for kind in KINDS
        for at in range(1, bench.base(REPORT).counts.get(kind, 0) + 1)
    ]


def _failing(loop: str, stage: str, plan: Plan) -> Case:
    lasting = "for good" if plan.lasting else "once"
    name = f"{stage} {plan.kind} {plan.at} {plan.does} {lasting}"
    return {"loop": loop, "name": name, "stage": stage, "plan": asdict(plan)}


def run_disk(bench: Bench, case: Case) -> Verdict:
    """Let a call fail; the stage must say so with exit code 7, or leave all its bytes."""
    stage, plan = case["stage"], Plan(**case["plan"])
    base = bench.base(stage)
    work = bench.work(base.before)
    ended = bench.warm.run(work, stage, plan)
    wrong = ended_badly(ended) or _whole(work, base)
    if not wrong and ended.code not in (0, STORAGE):
        wrong = f"exit code {ended.code}, expected {STORAGE}: {ended.text.strip()[-200:]}"
    if not wrong and ended.code == 0 and project.results(work) != base.expected:
        wrong = "exit code 0 with other bytes"
    if not wrong and (left := project.strays(work)):
        wrong = f"left behind: {', '.join(left[:3])}"
    outcome = "exit code 7" if ended.code else "not needed: exit code 0, the same bytes"
    return Verdict(outcome, 1, wrong or continued(bench, work, stage, base))


# -- T4: damaged files


def flip_cases(bench: Bench) -> list[Case]:
    """Return flips of checksummed files, shared among them evenly, and of the others."""
    summed = damage.checksummed(bench.done())
    plain = damage.others(bench.done())
    return [
        {"loop": "T4", "name": f"{kind} {number}", "file": names[number % len(names)]}
        for kind, names, count in (
            ("checksummed", summed, FLIPS),
            ("other", plain, PLAIN_FLIPS),
        )
        for number in range(count)
    ]


def run_flip(bench: Bench, case: Case) -> Verdict:
    """Change a byte of a file and have it read."""
    numbers = draw(case)
    name = case["file"]
    work = bench.work(bench.done())
    if name.startswith("state/"):
        return _flip_checkpoint(bench, work, name, numbers)
    damage.flip(work / name, numbers)
    if name.endswith(".csv") and name.startswith("reports/"):
        return _flip_table(bench, work, name)
    stage = damage.reader(name)
    ended = bench.warm.run(work, stage)
    changed = project.differing(project.results(work), project.results(bench.done()))
    wrong = ended_badly(ended)
    if not wrong and case["name"].startswith("checksummed"):
        if ended.code != 3:
            wrong = f"{name}: not detected, exit code {ended.code}"
        elif name not in ended.text:
            wrong = f"{name}: not named in: {ended.text.strip()[-200:]}"
        elif changed != [name]:
            wrong = f"{name}: results changed before it was detected"
    if not wrong and ended.code not in TOLD | {0}:
        wrong = f"{name}: exit code {ended.code}"
    outcome = f"refused with {ended.code}" if ended.code else "read as it is written"
    return Verdict(outcome, 1, wrong)


def _flip_checkpoint(bench: Bench, work: Path, name: str, numbers: random.Random) -> Verdict:
    """Damage a checkpoint of a stage; it must not be used, and the bytes must be the same."""
    stage = name.split("/")[1].split("-")[0]
    base = bench.bases()[stage]
    for place in (f"reports/{stage}", "data/trained" if stage == "train" else ""):
        shutil.rmtree(work / place) if place else None
    damage.flip(work / name, numbers)
    bad = hashlib.sha256((work / name).read_bytes()).hexdigest()
    ended = bench.warm.run(work, stage)
    wrong = ended_badly(ended)
    if not wrong and bad in ended.told["used"]:
        wrong = f"{name}: a damaged checkpoint was used"
    if not wrong and f"{name}: not used" not in ended.text:
        wrong = f"{name}: nobody was told"
    if not wrong and ended.code:
        wrong = f"{name}: exit code {ended.code}: {ended.text.strip()[-200:]}"
    if not wrong and (others := project.differing(_of(work, base), dict(base.expected))):
        wrong = f"{name}: other bytes: {', '.join(others[:3])}"
    return Verdict("checkpoint passed over, the same bytes", 1, wrong)


def _of(work: Path, base: Base) -> dict[str, str]:
    """Return the results that a stage and those before it leave."""
    return {name: found for name, found in project.results(work).items() if name in base.expected}


def _flip_table(bench: Bench, work: Path, name: str) -> Verdict:
    """Read a table whose byte was changed: refused, or what another reader finds."""
    _, stage, file = name.split("/")
    ended = bench.warm.run(work, f"read {stage} {file.removesuffix('.csv')}")
    wrong = ended_badly(ended)
    if not wrong and ended.code == 0:
        wrong = damage.unlike(work / name, ended.told["cells"])
    outcome = f"refused with {ended.code}" if ended.code else "read as it is written"
    return Verdict(outcome, 1, f"{name}: {wrong}" if wrong else "")


# -- T25: anything


def random_cases(bench: Bench) -> list[Case]:
    """Return runs of any stage and setting, each with faults of any kind."""
    del bench
    return [{"loop": "T25", "name": f"run {number}"} for number in range(RUNS)]


def run_random(bench: Bench, case: Case) -> Verdict:
    """Disturb a stage one to three times, then let it end; compare every byte."""
    numbers = draw(case)
    setting = numbers.choice(sorted(project.SETTINGS))
    stage = numbers.choice(COMPUTING)
    base = bench.bases(setting)[stage]
    work = bench.work(base.before)
    made, spoilt = 0, set[str]()
    for _ in range(numbers.randint(1, 3)):
        kind = numbers.choice(("clock", "stop", "end", "error", "error", "damage"))
        if kind == "damage":
            made += damage.spoil(work, numbers)
            spoilt |= {name for name, whole in project.checkpoints(work).items() if not whole}
            continue
        ended = _disturbed(bench, work, stage, base, kind, numbers)
        made += ended.code != 0
        wrong = "" if ended.code == -9 else ended_badly(ended)
        if ended.code == 0 and project.results(work) != base.expected:
            wrong = wrong or "exit code 0 with other bytes"
        if wrong := wrong or _whole(work, base, spoilt):
            return Verdict("wrong", made, f"{setting}, {stage}, {kind}: {wrong}")
    wrong = continued(bench, work, stage, base)
    told = f"{setting}, {stage}: {wrong}" if wrong else ""
    return Verdict(f"{stage}: the same bytes", made, told)


def _disturbed(
    bench: Bench, work: Path, stage: str, base: Base, kind: str, numbers: random.Random
) -> Ended:
    moment = numbers.uniform(0, base.seconds)
    if kind == "clock":
        return bench.warm.run(work, stage, after=moment)
    if kind == "stop":
        return bench.warm.run(work, stage, after=moment, send=numbers.choice((2, 15)))
    does = numbers.choice(ENDS if kind == "end" else ERRORS)
    at = numbers.randint(1, base.counts["any"])
    lasting = kind == "error" and numbers.random() < 0.5
    return bench.warm.run(work, stage, Plan("any", at, does, lasting))


@dataclass(frozen=True)
class Loop:
    """A loop of cases."""

    title: str
    cases: Callable[[Bench], list[Case]]
    run: Callable[[Bench, Case], Verdict]


LOOPS: Mapping[str, Loop] = {
    "T1": Loop("kill -9 at any moment", kill_cases, run_kill),
    "T2": Loop("every write, sync, rename and new file fails", disk_cases, run_disk),
    "T2 report": Loop("every call of the report fails", report_cases, run_disk),
    "T4": Loop("a byte of a file is changed", flip_cases, run_flip),
    "T25": Loop("random faults, one to three a run", random_cases, run_random),
}

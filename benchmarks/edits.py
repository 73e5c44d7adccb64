"""What one edit event costs, in training steps: the probe that rules read, and the edit itself."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.cases import BIG, CONVNET, Case, job_of, ratios, spread, turns
from plasticity import catalogue, probing, train
from plasticity.edit import apply_event
from plasticity.job import Job
from plasticity.probe import Measurement
from plasticity.schedule import Event
from plasticity.sections import Choice
from plasticity.state import State, gather, scatter

BEFORE, AFTER = 0.5, 0.6
"""Share of each hidden layer alive before and after the event: 256 and 307 of 512 units."""
WARM_UP = 5
SECONDS = 0.2


@dataclass(frozen=True)
class Moment:
    """A network that has trained a little and is about to grow."""

    job: Job
    state: State
    event: Event
    measurement: Measurement


def about_to_grow(case: Case) -> Moment:
    """Return a network with half of its hidden units alive, and the event that adds a tenth."""
    job = job_of(case, {"op": "grow", "edit.seed_fraction": BEFORE, "compactness": 1.0})
    current = train.start(job, None)
    for _ in range(WARM_UP):
        train.advance(current)
    depth, widths = len(job.architecture.trunk), current.widths()
    add = tuple(
        0 if layer < depth else round(AFTER * capacity) - width
        for layer, (capacity, width) in enumerate(zip(job.architecture.units, widths, strict=True))
    )
    state = scatter(current.state, current.copy)
    event = Event(0, 0, add, (0,) * len(add), rewind=False)
    return Moment(job, state, event, probing.measure(job, state, None, 0))


def default(family: dict[str, catalogue.Entry], rule: str, **changes: int) -> Choice:
    """Return a rule with the defaults of its options, but for some."""
    options = {name: option.default for name, option in family[rule].options.items()}
    return Choice(rule=rule, options=options | changes)


def steps(job: Job, state: State | None = None) -> Iterator[None]:
    """Train for ever, from a state if there is one."""
    current = train.start(job, None)
    if state is not None:
        current.state, current.copy = state, gather(state)
    while True:
        train.advance(current)
        yield


def probes(moment: Moment) -> Iterator[None]:
    """Measure all slots for ever."""
    while True:
        probing.measure(moment.job, moment.state, None, 0)
        yield


def edits(moment: Moment, rule: str) -> Iterator[None]:
    """Apply the event with an insertion rule and gather again, for ever, to the same state."""
    insertion = default(catalogue.INSERTION, rule)
    context = moment.job.context
    context = replace(context, rules=replace(context.rules, insertion=insertion))
    while True:
        after, _ = apply_event(moment.state, moment.event, moment.measurement, context)
        gather(after)
        yield


def fading(moment: Moment, rule: str) -> Iterator[None]:
    """Train for ever after the event, newborns behind a gate that hardly opens."""
    after, _ = apply_event(moment.state, moment.event, moment.measurement, moment.job.context)
    changes = {} if rule == "none" else {"steps": 10**9}
    learning = replace(moment.job.learning, gate=default(catalogue.GATE, rule, **changes))
    return steps(replace(moment.job, learning=learning, events=(moment.event,)), after)


def of_case(case: Case) -> Iterator[str]:
    """Return the table of one network: a row per insertion rule, and one per gate."""
    moment = about_to_grow(case)
    loops = {
        "small step": steps(moment.job, moment.state),
        "full step": steps(job_of(case, {})),
        "probe": probes(moment),
        **{rule: edits(moment, rule) for rule in catalogue.INSERTION},
    }
    seconds, _ = turns(loops, SECONDS, least=1)
    title = f"{case.name}, {case.seeds} seed(s), {case.optimizer}"
    yield f"\n| {title} | steps of the half alive | steps of the whole network |"
    yield "| --- | --- | --- |"
    for name in ("probe", *catalogue.INSERTION):
        small = ratios(seconds[name], seconds["small step"])
        full = ratios(seconds[name], seconds["full step"])
        label = "the probe, shared by all rules" if name == "probe" else name
        yield f"| {label} | {spread(small)} | {spread(full)} |"
    seconds, _ = turns({rule: fading(moment, rule) for rule in catalogue.GATE})
    yield f"\n| {case.name}, a step while newborns fade in | times a step without a gate |"
    yield "| --- | --- |"
    for rule in catalogue.GATE:
        if rule != "none":
            yield f"| {rule} | {spread(ratios(seconds[rule], seconds['none']))} |"


def lines() -> Iterator[str]:
    """Return the lines of the result, as they are measured."""
    yield "\n## One edit event\n"
    yield f"Every hidden layer grows from {BEFORE:.0%} to {AFTER:.0%} of its units (256 to 307 of"
    yield "512). Before an event all slots are measured on 512 images, forward and backward; every"
    yield "rule shares that. The other rows are the edit itself and gathering the alive units anew."
    for case in (BIG, CONVNET):
        yield from of_case(replace(case, augment=False))

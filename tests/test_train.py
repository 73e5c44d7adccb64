"""The whole loop against plain torch.nn + torch.optim, one seed at a time, in float64.

The oracle trains the full network with masks and autograd. A masked unit gets no gradient, so its
weights and SGD's momentum stay as they are. Adam's oracle keeps a step count of its own for every
weight, from the moment both units that it joins are alive: Adam started at birth.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from networks import (
    CONVNET,
    MLP,
    SEEDS,
    Act,
    all_alive,
    fresh_weights,
    joined,
    named_parameters,
    of_ends,
    plain_module,
    random_alive,
    random_strengths,
    state_of,
    with_history,
)
from test_recipe import SETTING, TRUNK_SETTING, params_of
from torch import Tensor, nn

from plasticity import catalogue, checkpoint, cohorts, optim, probing, recipe, train
from plasticity.edit import Context, Rules
from plasticity.errors import Interrupted
from plasticity.job import Job, Learning
from plasticity.rules.regularizer import Pull
from plasticity.schedule import Event
from plasticity.sections import Choice
from plasticity.state import State, compact, gather, scatter
from plasticity.structure import random_mask
from plasticity.train import run
from plasticity.weights import RELU, Architecture, initial_bounds

STEPS = 50
NONE = Choice(rule="none", options={})
RULES = Rules(
    grow=Choice(rule="activation_frequency", options={}),
    prune=Choice(rule="incoming_magnitude", options={"inputs": "alive"}),
    insertion=Choice(rule="late_init", options={}),
    optimizer_state=Choice(rule="zero_step", options={}),
)
SGD = optim.Optimizer("sgd")
MOMENTUM = optim.Optimizer("sgd", momentum=0.9)
ADAM = optim.Optimizer("adam")
optimizers = pytest.mark.parametrize(
    "optimizer", [SGD, MOMENTUM, ADAM], ids=["sgd", "momentum", "adam"]
)


def job_of(
    architecture: Architecture,
    optimizer: optim.Optimizer,
    events: tuple[Event, ...],
    start: tuple[int, ...],
    lr: float = 0.02,
) -> Job:
    generator = torch.Generator().manual_seed(5)
    shape = architecture.image if architecture.trunk else (architecture.sizes[0],)
    pixels = torch.randn(len(SEEDS), STEPS, 5, *shape, generator=generator, dtype=torch.float64)
    labels = torch.randint(architecture.classes, (len(SEEDS), STEPS, 5), generator=generator)
    initial = fresh_weights(architecture)
    return Job(
        seeds=SEEDS,
        architecture=architecture,
        initial=initial,
        bounds=tuple(initial_bounds(architecture, "kaiming_relu")),
        alive=tuple(
            random_mask(SEEDS, "mask", width, layer, count)
            for layer, (width, count) in enumerate(zip(architecture.units, start, strict=True))
        ),
        asleep=None,
        optimizer=optimizer,
        lr=lambda window: lr / (1 + window),
        batches=lambda step: (pixels[:, step], labels[:, step]),
        activation_at=lambda step: RELU,  # noqa: ARG005
        activation=RELU,
        learning=Learning(gate=NONE, trainability=NONE, utility=None, pull=Pull()),
        window=10,
        num_windows=STEPS // 10,
        events=events,
        context=Context(
            rules=RULES,
            initial=initial,
            seeds=SEEDS,
            optimizer=optimizer,
            activation=RELU,
            batch_at=lambda step: (pixels[:, 0], labels[:, 0]),  # noqa: ARG005
            threshold=0.05,
        ),
        through_trunk=bool(architecture.trunk),
        evaluation=None,
        probing=True,
    )


def normalised(job: Job) -> Job:
    activation = replace(RELU, normalise=True)
    context = replace(job.context, activation=activation)
    return replace(
        job,
        activation_at=lambda step: activation,  # noqa: ARG005
        activation=activation,
        context=context,
    )


def quiet(news: dict[str, object]) -> None:
    del news


class MaskedOracle:
    """One seed: plain modules with masks after each activation, trained by autograd."""

    def __init__(self, job: Job, row: int) -> None:
        self.job, self.row = job, row
        self.module = plain_module(job.initial, row, normalise=job.activation.normalise)
        self.acts = [layer for layer in self.module if isinstance(layer, Act)]
        self.parameters = named_parameters(self.module)
        if job.optimizer.rule == "sgd":
            self.torch_optimizer = torch.optim.SGD(
                self.module.parameters(), lr=1.0, momentum=job.optimizer.momentum
            )
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.count = [torch.zeros_like(p, dtype=torch.int64) for p in self.parameters]
        self.take_part(job.alive, job.asleep)

    def take_part(
        self, alive: tuple[Tensor, ...], asleep: tuple[Tensor, ...] | None = None
    ) -> None:
        """Say who does: sleepers act but the weights that join them do not learn."""
        for act, mask in zip(self.acts, alive, strict=True):
            act.factor = mask[self.row].double()
        awake = alive if asleep is None else [a & ~b for a, b in zip(alive, asleep, strict=True)]
        self.used = [both[self.row] for both in joined(self.job.architecture, awake)]

    def step(self, step: int) -> None:
        x, y = self.job.batches(step)
        lr = self.job.lr(step // self.job.window)
        self.module.zero_grad()
        nn.functional.cross_entropy(self.module(x[self.row]), y[self.row]).backward()
        for parameter, used in zip(self.parameters, self.used, strict=True):
            parameter.grad *= used
        if self.job.optimizer.rule == "sgd":
            self.torch_optimizer.param_groups[0]["lr"] = lr
            self.torch_optimizer.step()
            return
        for index, (parameter, used) in enumerate(zip(self.parameters, self.used, strict=True)):
            grad = parameter.grad
            self.count[index] += used
            t = self.count[index].clamp(min=1).double()
            m = self.first[index] = 0.9 * self.first[index] + 0.1 * grad
            v = self.second[index] = 0.999 * self.second[index] + 0.001 * grad * grad
            update = (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
            parameter.data -= lr * update * used


@optimizers
@pytest.mark.parametrize(
    ("architecture", "trunk"),
    [(MLP, False), (CONVNET, False), (CONVNET, True)],
    ids=["mlp", "convnet", "convnet-trunk"],
)
@pytest.mark.parametrize("normalise", [False, True], ids=["raw", "normalised"])
@pytest.mark.parametrize("kind", ["grow", "prune", "rewind", "reveal"])
def test_training_with_an_edit_equals_a_plain_loop_per_seed(
    kind: str,
    normalise: bool,
    architecture: Architecture,
    trunk: bool,
    optimizer: optim.Optimizer,
    tmp_path: Path,
) -> None:
    """Grow or prune at step 25, with a rewind or without, or wake some of the sleepers."""
    depth, hidden = len(architecture.trunk), len(architecture.widths)
    few = (*(1 * trunk, 2 * trunk)[:depth], *(3, 2, 1)[:hidden])
    more = (*(1 * trunk, 2 * trunk)[:depth], *(4, 3, 2)[:hidden])
    half = (*(w // 2 if trunk else w for w in architecture.trunk),)
    half += (*(w // 2 for w in architecture.widths),)
    none = (0,) * (depth + hidden)
    adds = kind in {"grow", "reveal"}
    event = Event(
        0, 25, few if adds else none, none if adds else more, kind == "rewind",
        wakes=kind == "reveal",
    )  # fmt: skip
    job = job_of(architecture, optimizer, (event,), half if adds else architecture.units)
    if normalise:
        job = normalised(job)
    if kind == "reveal":
        asleep = tuple(~founders for founders in job.alive)
        job = replace(job, alive=all_alive(architecture), asleep=asleep)
    final = run(job, tmp_path, quiet).state
    sleepers = tuple(units.asleep for units in final.units)
    assert any(mask.any() for mask in sleepers) == (kind == "reveal")
    for row in range(len(SEEDS)):
        oracle = MaskedOracle(job, row)
        for step in range(STEPS):
            if step == event.step:
                if event.rewind:
                    oracle = MaskedOracle(job, row)
                oracle.take_part(final.alive, sleepers)
            oracle.step(step)
        for ours, theirs, start, used in zip(
            final.weights.tensors(),
            oracle.parameters,
            job.initial.tensors(),
            oracle.used,
            strict=True,
        ):
            torch.testing.assert_close(ours[row][used], theirs.data[used], rtol=0, atol=1e-9)
            assert torch.equal(ours[row][~used], start[row][~used])


def test_adam_with_one_count_equals_torch_adam(tmp_path: Path) -> None:
    job = job_of(MLP, ADAM, (), MLP.widths)
    final = run(job, tmp_path, quiet).state
    for row in range(len(SEEDS)):
        module = plain_module(job.initial, row)
        theirs = torch.optim.Adam(module.parameters(), lr=1.0)
        for step in range(STEPS):
            x, y = job.batches(step)
            theirs.param_groups[0]["lr"] = job.lr(step // job.window)
            theirs.zero_grad()
            nn.functional.cross_entropy(module(x[row]), y[row]).backward()
            theirs.step()
        for a, b in zip(final.weights.tensors(), named_parameters(module), strict=True):
            torch.testing.assert_close(a[row], b.data, rtol=0, atol=1e-9)


def test_weights_of_one_age_take_the_quick_way_and_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other way makes a matrix of corrections for every weight, at every step."""
    slow: list[object] = []
    real = optim._unit_adam_
    monkeypatch.setattr(
        optim, "_unit_adam_", lambda *given: (slow.append(given[2]), real(*given))[1]
    )
    run(job_of(MLP, ADAM, (), MLP.widths), tmp_path / "one age", quiet)
    assert slow == []
    grows = Event(0, 10, (2, 2), (0, 0), rewind=False)
    run(job_of(MLP, ADAM, (grows,), (5, 5)), tmp_path / "two ages", quiet)
    assert len(slow) == STEPS - 10


def owners_factors(architecture: Architecture, gains: optim.Gains, row: int) -> list[Tensor]:
    """Return the factor of every entry of every parameter of one seed.

    That of the unit it enters if that is newborn, else of the unit it leaves if that is, else of
    the unit it enters; a class has the shared factor.
    """
    factors = []
    for new, incoming, outgoing in zip(
        of_ends(architecture, [m[row] for m in gains.newborn], pixel=False, classes=False),
        of_ends(architecture, [f[row] for f in gains.incoming], pixel=0, classes=gains.shared),
        of_ends(architecture, [f[row] for f in gains.outgoing], pixel=0, classes=0),
        strict=True,
    ):
        leaves_newborn = new[0] if new[1] is None else new[1] & ~new[0]
        other = incoming[0] if outgoing[1] is None else outgoing[1]
        factors.append(torch.where(leaves_newborn, other, incoming[0]))
    return factors


def younger_counts(architecture: Architecture, state: State, row: int) -> list[Tensor]:
    """Return the step count of the younger of the two units that each entry joins."""
    steps, shared = [units.step[row] for units in state.units], int(state.shared_step[row])
    ends = of_ends(architecture, steps, pixel=10**9, classes=shared)
    return [end if left is None else torch.minimum(end, left) for end, left in ends]


def update_of(optimizer: optim.Optimizer, g: Tensor, moments: list[Tensor], t: Tensor) -> Tensor:
    """Return the update by the formula of the rule, moments changed in place."""
    if optimizer.rule == "adam":
        m, v = moments
        m.copy_(0.9 * m + 0.1 * g)
        v.copy_(0.999 * v + 0.001 * g * g)
        return m / (1 - 0.9**t) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return moments[0].copy_(0.9 * moments[0] + g) if moments else g


@optimizers
@pytest.mark.parametrize("on", ["gradient", "update"])
@pytest.mark.parametrize("old", [False, True], ids=["one-count", "own-counts"])
@pytest.mark.parametrize(
    "architecture",
    [MLP, CONVNET, replace(CONVNET, copies=2)],
    ids=["mlp", "convnet", "two-copies"],
)
def test_gains_multiply_each_weight_by_its_owners_factor(
    architecture: Architecture, old: bool, on: str, optimizer: optim.Optimizer
) -> None:
    """Three steps against the formula of each rule with a matrix of factors; weight decay takes
    no factor on the gradient, and the same as everything on the update."""
    optimizer = replace(optimizer, weight_decay=0.01)
    generator = torch.Generator().manual_seed(6)
    alive = all_alive(architecture)
    state = state_of(architecture, alive, optimizer.num_moments)
    state = with_history(state, generator) if old else state
    newborn = random_alive(architecture, [w // 2 for w in architecture.units], generator)
    incoming, outgoing = (random_strengths(alive, generator) for _ in range(2))
    gains = optim.Gains(on, newborn, incoming, outgoing, shared=0.7)
    copy, rates = gather(state), (0.3, 0.2)
    expected = gather(state)
    for taken in (1, 2, 3):
        for ours, theirs in zip(copy.grads.tensors(), expected.grads.tensors(), strict=True):
            ours.copy_(torch.randn(ours.shape, generator=generator, dtype=ours.dtype))
            theirs.copy_(ours)
        optim.step_(copy, optimizer, rates, gains)
        for row, lr in enumerate(rates):
            factors = owners_factors(architecture, gains, row)
            counts = younger_counts(architecture, state, row)
            for index, w in enumerate(expected.weights.tensors()):
                before, after = (factors[index], 1) if on == "gradient" else (1, factors[index])
                g = expected.grads.tensors()[index][row] * before + 0.01 * w[row]
                moments = [moment.tensors()[index][row] for moment in expected.moments]
                t = (counts[index] + taken).double()
                w[row] -= lr * after * update_of(optimizer, g, moments, t)
    for ours, theirs in zip(copy.weights.tensors(), expected.weights.tensors(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def same_weights(a: checkpoint.Checkpoint, b: checkpoint.Checkpoint) -> bool:
    return all(
        torch.equal(x, y)
        for x, y in zip(a.state.weights.tensors(), b.state.weights.tensors(), strict=True)
    )


@optimizers
def test_growing_to_all_units_at_step_0_equals_dense(
    optimizer: optim.Optimizer, tmp_path: Path
) -> None:
    everything = Event(0, 0, (10, 8), (0, 0), rewind=False)
    nothing = Event(0, 0, (0, 0), (0, 0), rewind=False)
    grown = run(job_of(MLP, optimizer, (everything,), (1, 1)), tmp_path / "grow", quiet)
    dense = run(job_of(MLP, optimizer, (nothing,), MLP.widths), tmp_path / "dense", quiet)
    assert same_weights(grown, dense)


def test_probes_do_not_change_training(tmp_path: Path) -> None:
    measured = job_of(MLP, ADAM, (Event(0, 0, (0, 0), (0, 0), rewind=False),), MLP.widths)
    bare = replace(measured, events=(), probing=False)
    a = run(measured, tmp_path / "a", quiet)
    assert a.progress["cohorts"]
    assert same_weights(a, run(bare, tmp_path / "b", quiet))


def interrupted_after(number: int) -> Callable[[], bool]:
    asked = iter(range(10**6))
    return lambda: next(asked) >= number


@pytest.mark.parametrize("stop_at", [0, 1, 9, 10, 23, 24, 25, 26, 37, 48])
@pytest.mark.parametrize("optimizer", [MOMENTUM, ADAM], ids=["momentum", "adam"])
def test_an_interrupted_run_continues_to_the_same_bytes(
    optimizer: optim.Optimizer, stop_at: int, tmp_path: Path
) -> None:
    events = (
        Event(0, 0, (2, 2), (0, 0), rewind=False),
        Event(1, 25, (3, 2), (0, 0), rewind=False),
    )
    job = job_of(MLP, optimizer, events, (3, 3))
    whole = run(job, tmp_path / "whole", quiet)
    with pytest.raises(Interrupted):
        run(job, tmp_path / "cut", quiet, interrupted_after(stop_at))
    continued = run(job, tmp_path / "cut", quiet)
    assert checkpoint.pack(continued.state, {}) == checkpoint.pack(whole.state, {})
    assert continued.progress == whole.progress


@pytest.mark.parametrize("optimizer", [SGD, MOMENTUM, ADAM], ids=["sgd", "momentum", "adam"])
@pytest.mark.parametrize("at", [11, 31], ids=["before the edit", "after it"])
def test_a_diverging_seed_is_marked_and_leaves_the_others_as_they_were(
    optimizer: optim.Optimizer, at: int, tmp_path: Path
) -> None:
    job = job_of(MLP, optimizer, (Event(0, 25, (3, 2), (0, 0), rewind=False),), (5, 4))

    def poisoned(step: int) -> tuple[Tensor, Tensor]:
        x, y = job.batches(step)
        if step == at:
            x = x.clone()
            x[0] = torch.nan
        return x, y

    clean = run(job, tmp_path / "clean", quiet)
    hurt = run(replace(job, batches=poisoned), tmp_path / "hurt", quiet)
    assert hurt.state.diverged.tolist() == [at, -1]
    for a, b in zip(clean.state.weights.tensors(), hurt.state.weights.tensors(), strict=True):
        assert torch.equal(a[1], b[1])
        assert torch.isfinite(b[0]).all()
    assert hurt.state.units[0].age[0].max() == at


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    job = job_of(MLP, SGD, (Event(0, 0, (2, 2), (0, 0), rewind=False),), (3, 3))
    whole = run(job, tmp_path / "whole", quiet)
    for _ in range(2):
        with pytest.raises(Interrupted):
            run(job, tmp_path / "a", quiet, interrupted_after(20))
    newest = sorted((tmp_path / "a").glob("step-*"))[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(bytes(content))
    told: list[str] = []
    loaded = checkpoint.load(tmp_path / "a", torch.device("cpu"), told.append)
    assert loaded is not None
    step = int(newest.name.split("-")[1])
    assert loaded.step < step
    (line,) = told
    assert line.startswith(f"{newest}: not used (it is damaged: the hash of its content is ")
    assert line.endswith(
        f"); {step - loaded.step} steps are computed again, from step {loaded.step} on"
    )
    assert same_weights(run(job, tmp_path / "a", quiet), whole)


def begun(job: Job, folder: Path, steps: int) -> Path:
    """Run some steps of a job, and return the checkpoint that they leave."""
    with pytest.raises(Interrupted):
        run(job, folder, quiet, interrupted_after(steps - 1))
    return max(folder.glob("step-*"))


def signed(folder: Path, step: int, content: bytes) -> Path:
    """Write bytes under the name that fits them."""
    digest = hashlib.sha256(content).hexdigest()[:32]
    path = folder / f"step-{step:012d}-{digest}.safetensors"
    path.write_bytes(content)
    return path


def narrow(folder: Path) -> bytes:
    """Return the checkpoint of a smaller network, whose owner it says to be this folder's."""
    small = run(job_of(replace(MLP, widths=(9, 8)), SGD, (), (2, 2)), folder.parent / "b", quiet)
    owner = {"key": folder.parent.name, "item": folder.name, "step": "40"}
    return checkpoint.pack(small.state, owner, b"{}")


def header(**tensors: object) -> bytes:
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text


HOSTILE: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "no header": ("it holds no state", lambda _: b""),
    "a header without end": ("it holds no state", lambda _: b"\xff" * 64),
    "no tensors": ("it holds no state", lambda _: header()),
    "a tensor outside": (
        "it holds no state",
        lambda _: header(diverged={"dtype": "I64", "shape": [9**9], "data_offsets": [0, 9**9]}),
    ),
    "other shapes": ("expected float64 (2, 11)", narrow),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_checkpoint_whose_name_fits_but_not_its_content_is_passed_over_in_one_line(
    kind: str, tmp_path: Path
) -> None:
    why, content = HOSTILE[kind]
    job, folder = job_of(MLP, SGD, (), (3, 3)), tmp_path / "key" / "item"
    whole = run(job, tmp_path / "whole", quiet)
    begun(job, folder, 20)
    hostile, news = signed(folder, 40, content(folder)), []
    continued = run(job, folder, news.append)
    told = [one["told"] for one in news if "told" in one]
    assert len(told) == 2
    assert told[0].startswith(f"{hostile}: not used (")
    assert why in told[0]
    assert told[0].endswith("; 20 steps are computed again, from step 20 on")
    assert "\n" not in told[0]
    assert told[1] == f"continuing at step 20 of {whole.step}"
    assert same_weights(continued, whole)


def test_a_checkpoint_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    job, folder, news = job_of(MLP, SGD, (), (3, 3)), tmp_path / "key" / "item", []
    whole = run(job, tmp_path / "whole", quiet)
    unreadable = folder / f"step-{40:012d}-{'0' * 32}.safetensors"
    unreadable.mkdir(parents=True)
    assert same_weights(run(job, folder, news.append), whole)
    assert news[0]["told"] == (
        f"{unreadable}: not used ([Errno 21] Is a directory: '{unreadable}'); 40 steps are "
        "computed again, from the beginning on"
    )


@pytest.mark.parametrize("place", ["another key/item", "key/another item"])
def test_a_checkpoint_of_another_run_is_passed_over_and_pushes_out_none(
    place: str, tmp_path: Path
) -> None:
    """All of its steps are later than ours, so its files are the newest."""
    job, folder = job_of(MLP, SGD, (), (3, 3)), tmp_path / "key" / "item"
    other = job_of(MLP, replace(SGD, weight_decay=0.1), (), (3, 3))
    whole = run(job, tmp_path / "whole", quiet)
    for steps in (30, 10):
        begun(other, tmp_path / place, steps)
    shutil.copytree(tmp_path / place, folder)
    for steps in (10, 5):
        begun(job, folder, steps)
    news: list[dict[str, object]] = []
    continued = run(job, folder, news.append)
    assert same_weights(continued, whole)
    told = [str(one["told"]) for one in news if "told" in one]
    assert told[-1] == f"continuing at step 15 of {whole.step}"
    expected = place.split("/")
    assert any(
        f"it is of another run: key {expected[0]}, expected key; item {expected[1]}, expected item"
        in line
        for line in told
    )


def test_a_finished_run_tells_that_it_is_done(tmp_path: Path) -> None:
    """So that a stage that continues counts it."""
    job, first, again = job_of(MLP, SGD, (), (3, 3)), [], []
    run(job, tmp_path, first.append)
    run(job, tmp_path, again.append)
    assert again == first[-1:]
    assert again[0]["step"] == again[0]["steps"]


def test_what_a_run_wrote_down_may_be_long(tmp_path: Path) -> None:
    """A safetensors header holds less than 100 MB; the records of a long run are more."""
    final = run(job_of(MLP, SGD, (), (3, 3)), tmp_path, quiet)
    content = checkpoint.pack(final.state, {"step": "1"}, b"x" * 101_000_000)
    state, metadata, progress = checkpoint.unpack(content, torch.device("cpu"))
    assert checkpoint.pack(state, {}) == checkpoint.pack(final.state, {})
    assert (metadata, len(progress)) == ({"step": "1"}, 101_000_000)


# -- whole runs, as parameters make them

TRUNK = {"dataset": "cifar10", "edit__layers": "all"}
CONVNET = {"dataset": "cifar10"}
ADAM_OF = {"train__optimizer": "adam", "train__lr": 0.01}
OPTIONS = {"steps": 8, "slots": "other", "rate": 0.03, "transfer": "on", "tau": 0.5, "batches": 3}
"""A number of steps after which nothing is over at the next event; all rules at work."""


def chosen(rule: str, entry: catalogue.Entry) -> dict[str, object]:
    return {"rule": rule} | {name: OPTIONS[name] for name in entry.options if name in OPTIONS}


def rules_of(key: str, table: dict[str, catalogue.Entry], **more: object):
    return {
        f"{key.rpartition('_')[2]}-{rule}": {key: chosen(rule, entry)} | more
        for rule, entry in table.items()
    }


def on_both(key: str, table: dict[str, catalogue.Entry], **more: object):
    """Return a run of every rule on an MLP and, channels edited where it is defined, on a trunk."""
    trunk = {
        f"trunk-{name}": changes | (TRUNK if table[name.rpartition("-")[2]].trunk else CONVNET)
        for name, changes in rules_of(key, table, **more).items()
    }
    return rules_of(key, table, **more) | trunk


OPERATORS = {op: {"op": op, "edit__at_epoch": 2} for op in catalogue.OPERATORS}
CONTRIBUTION = {"rule": "contribution", "kind": "adaptable_contribution"}
RUNS: dict[str, dict[str, object]] = {
    **OPERATORS,
    **{f"trunk-{name}": changes | TRUNK for name, changes in OPERATORS.items()},
    **rules_of(
        "edit__turnover",
        catalogue.TURNOVER,
        op="turnover",
        edit__maturity=3,
        intervention__selection__prune=CONTRIBUTION,
    ),
    **{
        f"{name}-resets": {
            "op": "turnover",
            "edit__turnover": {"rule": "self_normalized_resets", "eta": 0.4, "longest": 4},
            "intervention__insertion": "zero_out",
            "intervention__gate": {"rule": "linear", "steps": 3},
        }
        | more
        for name, more in (("mlp", {}), ("trunk", TRUNK))
    },
    "convnet-redo": CONVNET | {"op": "turnover", "edit__turnover": "redo"},
    **on_both("intervention__selection__grow", catalogue.GROW_SELECTION),
    **on_both("intervention__selection__prune", catalogue.PRUNE_SELECTION, op="prune"),
    **on_both("intervention__insertion", catalogue.INSERTION),
    **rules_of("intervention__gate", catalogue.GATE),
    **rules_of("intervention__optimizer_state", catalogue.OPTIMIZER_STATE, op="turnover"),
    **rules_of("intervention__trainability", catalogue.TRAINABILITY),
    **rules_of("intervention__activation", catalogue.ACTIVATION),
    **on_both("intervention__normalisation", catalogue.NORMALISATION),
}


def whole_job(**changes: object) -> Job:
    """Return a run of 30 steps with an event every 6."""
    params = params_of(**{"op": "grow", "train__epochs": 10} | ADAM_OF | changes)
    setting = TRUNK_SETTING if params.network.trunk else SETTING
    return recipe.train_job(params, setting, SEEDS)


@pytest.mark.parametrize("changes", RUNS.values(), ids=list(RUNS))
def test_any_run_interrupted_three_times_ends_with_the_same_bytes(
    changes: dict[str, object], tmp_path: Path
) -> None:
    """Cut just before an event, one step after it, and in the middle; a new job each time."""
    whole = run(whole_job(**changes), tmp_path / "whole", quiet)
    for steps in (6, 1, 15):
        with pytest.raises(Interrupted):
            run(whole_job(**changes), tmp_path / "cut", quiet, interrupted_after(steps - 1))
    continued = run(whole_job(**changes), tmp_path / "cut", quiet)
    assert checkpoint.pack(continued.state, {}) == checkpoint.pack(whole.state, {})
    assert continued.progress == whole.progress
    assert whole.step == 30


@pytest.mark.parametrize("more", [{}, TRUNK], ids=["mlp", "trunk"])
@pytest.mark.parametrize("op", catalogue.OPERATORS)
def test_probes_switched_off_leave_every_trained_weight_as_it_is(
    op: str, more: dict[str, object], tmp_path: Path
) -> None:
    looking = run(whole_job(**OPERATORS[op], **more), tmp_path / "a", quiet)
    blind = run(whole_job(**OPERATORS[op], **more, measure__enabled=False), tmp_path / "b", quiet)
    assert checkpoint.pack(blind.state, {}) == checkpoint.pack(looking.state, {})
    for name in ("cohorts", "shocks", "health"):
        assert looking.progress[name]
        assert not blind.progress[name]
    for name in ("windows", "edits", "units"):
        assert blind.progress[name] == looking.progress[name]


WAYS: dict[str, dict[str, object]] = {
    "full": {},
    "gated": {"intervention__gate": {"rule": "linear", "steps": 8}},
    "normalised": {"intervention__normalisation": "layer_norm"},
}
MEASURED = [
    pytest.param(op, more, id=f"{op}-{name}")
    for op in ("grow", "late_reveal", "turnover")
    for name, more in WAYS.items()
    if (op, name) != ("late_reveal", "gated")
]


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu"])
@pytest.mark.parametrize(("op", "more"), MEASURED)
def test_the_parts_of_every_gradient_in_a_whole_run_add_up(
    op: str, activation: str, more: dict[str, object], tmp_path: Path
) -> None:
    """In the mean over any cohort at any moment; and of one unit that feels a gradient, which has
    no other to be averaged with, the logarithm is that of the gradient itself."""
    job = whole_job(op=op, intervention__activation=activation, **more)
    rows = run(job, tmp_path, quiet).progress["cohorts"]
    parts = ("log_norm", "log_gate", "log_error", "log_alignment")
    felt = [row for row in rows if row["log_gradient"] is not None]
    for row in felt:
        assert abs(row["log_gradient"] - sum(row[part] for part in parts)) <= 1e-6, row
    assert all(row["silent"] == row["units"] for row in rows if row not in felt)
    assert {row["moment"] for row in felt} == {"before", "birth", "along", "end"}
    assert {row["layer"] for row in felt} == {"fc1", "fc2"}
    assert {"newborn", "incumbent"} <= {row["cohort"] for row in felt}
    alone = [row for row in felt if row["units"] == 1 and not row["cohort"].startswith("matched")]
    assert alone
    for row in alone:
        assert math.exp(row["log_gradient"]) == pytest.approx(row["gradient"], rel=1e-4), row


@pytest.mark.parametrize("gate", ["none", {"rule": "linear", "steps": 8}], ids=["full", "gated"])
@pytest.mark.parametrize("more", [{}, TRUNK], ids=["mlp", "trunk"])
def test_alive_units_measure_the_same_alone_and_among_masked_slots(
    more: dict[str, object], gate: object
) -> None:
    setting = replace(TRUNK_SETTING if more else SETTING, dtype=torch.float64)
    params = params_of(op="grow", train__epochs=10, **ADAM_OF, **more, intervention__gate=gate)
    current = train.start(recipe.train_job(params, setting, SEEDS), None)
    events = {event.step: event for event in current.job.events}
    for step in range(9):
        if step in events:
            train._edit(current, events[step])
        train.advance(current)
    job, names = current.job, current.job.architecture.layer_names
    copy, truth = compact(current.copy), scatter(current.state, current.copy)
    found = []
    for state, gates in ((copy, current.gates()), (truth, current.full_gates())):
        measured = probing.measure(job, state, gates, 9)
        members = cohorts.after(state, 1, "end")
        found.append(
            cohorts.rows(state, measured, members, 0.05, SEEDS, names, {}, gates, matched=True)
        )
    assert len(found[0]) == len(found[1]) > 4
    for alone, among in zip(*found, strict=True):
        assert alone == {k: v if isinstance(v, str) else pytest.approx(v) for k, v in among.items()}


def test_founders_of_a_late_reveal_are_those_that_learn_from_the_start(tmp_path: Path) -> None:
    progress = run(whole_job(op="late_reveal"), tmp_path, quiet).progress
    first = {
        (row["layer"], row["seed"]): 0 for row in progress["units"] if row["change"] == "founder"
    }
    for row in progress["units"]:
        if row["change"] == "founder":
            first[row["layer"], row["seed"]] += 1
    founders = [row for row in progress["cohorts"] if row["cohort"] == "founder"]
    assert founders
    assert all(row["units"] == first[row["layer"], row["seed"]] for row in founders)

"""The whole loop against plain torch.nn + torch.optim, one seed at a time, in float64.

The oracle trains the full network with masks and autograd. A masked unit gets no gradient, so its
weights and SGD's momentum stay as they are. Adam's oracle keeps a step count of its own for every
weight, from the moment both units that it joins are alive: Adam started at birth.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from networks import CONVNET, MLP, SEEDS, fresh_weights, named_parameters, plain_module
from torch import Tensor, nn

from plasticity import checkpoint, optim
from plasticity.edit import Rules, random_mask
from plasticity.errors import Interrupted
from plasticity.network import Architecture
from plasticity.schedule import Event
from plasticity.train import Job, Probe, run

STEPS = 50
RULES = Rules(grow="activation_frequency", prune="incoming_magnitude", insertion="late_init")
SGD = optim.Optimizer("sgd")
MOMENTUM = optim.Optimizer("sgd", momentum=0.9)
ADAM = optim.Optimizer("adam")


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
    return Job(
        seeds=SEEDS,
        architecture=architecture,
        initial=fresh_weights(architecture),
        alive=tuple(
            random_mask(SEEDS, "mask", width, layer, count)
            for layer, (width, count) in enumerate(zip(architecture.widths, start, strict=True))
        ),
        optimizer=optimizer,
        lr=lambda window: lr / (1 + window),
        batches=lambda step: (pixels[:, step], labels[:, step]),
        window=10,
        num_windows=STEPS // 10,
        events=events,
        rules=RULES,
        evaluation=None,
        probe=Probe((pixels[:, 0], labels[:, 0]), 0.05),
    )


def quiet(news: dict[str, object]) -> None:
    del news


class MaskedOracle:
    """One seed: plain modules with masks after each hidden activation, trained by autograd."""

    def __init__(self, job: Job, row: int) -> None:
        self.job, self.row = job, row
        self.module = plain_module(job.initial, row)
        self.masks = [alive[row].clone() for alive in job.alive]
        self.parameters = named_parameters(self.module)
        if job.optimizer.rule == "sgd":
            self.torch_optimizer = torch.optim.SGD(
                self.module.parameters(), lr=1.0, momentum=job.optimizer.momentum
            )
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.count = [torch.zeros_like(p, dtype=torch.int64) for p in self.parameters]

    def forward(self, x: Tensor) -> Tensor:
        hidden = 0
        for layer in self.module:
            x = layer(x)
            if isinstance(layer, nn.ReLU) and x.dim() == 2:
                x = x * self.masks[hidden]
                hidden += 1
        return x

    def step(self, step: int) -> None:
        x, y = self.job.batches(step)
        lr = self.job.lr(step // self.job.window)
        self.module.zero_grad()
        nn.functional.cross_entropy(self.forward(x[self.row]), y[self.row]).backward()
        if self.job.optimizer.rule == "sgd":
            self.torch_optimizer.param_groups[0]["lr"] = lr
            self.torch_optimizer.step()
            return
        for index, (parameter, used) in enumerate(zip(self.parameters, self.used(), strict=True)):
            grad = parameter.grad
            self.count[index] += used
            t = self.count[index].clamp(min=1).double()
            m = self.first[index] = 0.9 * self.first[index] + 0.1 * grad
            v = self.second[index] = 0.999 * self.second[index] + 0.001 * grad * grad
            update = (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
            parameter.data -= lr * update * used

    def used(self) -> list[Tensor]:
        """Return, for each parameter, which of its weights join alive units."""
        trunk = 2 * len(self.job.architecture.trunk)
        rows = [*self.masks, torch.ones(self.job.architecture.classes, dtype=torch.bool)]
        columns = [torch.ones(self.job.architecture.sizes[0], dtype=torch.bool), *self.masks]
        result = [torch.ones_like(p, dtype=torch.bool) for p in self.parameters[:trunk]]
        result += [row[:, None] & column for row, column in zip(rows, columns, strict=True)]
        return result + rows


@pytest.mark.parametrize("optimizer", [SGD, MOMENTUM, ADAM], ids=["sgd", "momentum", "adam"])
@pytest.mark.parametrize("architecture", [MLP, CONVNET], ids=["mlp", "convnet"])
@pytest.mark.parametrize("kind", ["grow", "prune", "rewind"])
def test_training_with_an_edit_equals_a_plain_loop_per_seed(
    kind: str, architecture: Architecture, optimizer: optim.Optimizer, tmp_path: Path
) -> None:
    layers = len(architecture.widths)
    add = (3, 2, 1)[:layers] if kind == "grow" else (0,) * layers
    remove = (0,) * layers if kind == "grow" else (4, 3, 2)[:layers]
    event = Event(0, 25, add, remove, rewind=kind == "rewind")
    start = tuple(w // 2 for w in architecture.widths) if kind == "grow" else architecture.widths
    job = job_of(architecture, optimizer, (event,), start)
    final = run(job, tmp_path, quiet).state
    for row in range(len(SEEDS)):
        oracle = MaskedOracle(job, row)
        for step in range(STEPS):
            if step == event.step:
                if event.rewind:
                    oracle = MaskedOracle(job, row)
                oracle.masks = [alive[row] for alive in final.alive]
            oracle.step(step)
        for ours, theirs in zip(final.weights.tensors(), oracle.parameters, strict=True):
            torch.testing.assert_close(
                ours[row], _as_truth(theirs, ours[row], oracle), rtol=0, atol=1e-9
            )


def _as_truth(theirs: Tensor, ours: Tensor, oracle: MaskedOracle) -> Tensor:
    """Return the oracle's tensor; pruned units go on under momentum there, ours are frozen."""
    index = next(i for i, p in enumerate(oracle.parameters) if p is theirs)
    return torch.where(oracle.used()[index], theirs.data, ours)


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


def same_weights(a: checkpoint.Checkpoint, b: checkpoint.Checkpoint) -> bool:
    return all(
        torch.equal(x, y)
        for x, y in zip(a.state.weights.tensors(), b.state.weights.tensors(), strict=True)
    )


@pytest.mark.parametrize("optimizer", [SGD, MOMENTUM, ADAM], ids=["sgd", "momentum", "adam"])
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
    bare = replace(measured, events=(), probe=None)
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


def test_a_diverging_seed_is_marked_and_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    job = job_of(MLP, SGD, (Event(0, 25, (3, 2), (0, 0), rewind=False),), (5, 4))

    def poisoned(step: int) -> tuple[Tensor, Tensor]:
        x, y = job.batches(step)
        if step == 31:
            x = x.clone()
            x[0] = torch.nan
        return x, y

    clean = run(job, tmp_path / "clean", quiet)
    hurt = run(replace(job, batches=poisoned), tmp_path / "hurt", quiet)
    assert hurt.state.diverged.tolist() == [31, -1]
    for a, b in zip(clean.state.weights.tensors(), hurt.state.weights.tensors(), strict=True):
        assert torch.equal(a[1], b[1])
        assert torch.isfinite(b[0]).all()
    assert hurt.state.age[0][0].max() == 31


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
    loaded = checkpoint.load(tmp_path / "a", torch.device("cpu"))
    assert loaded is not None
    assert loaded.step < int(newest.name.split("-")[1])
    assert same_weights(run(job, tmp_path / "a", quiet), whole)

"""Measure the engine: ``make bench``.

Every ratio compares two loops of one run that took turns on one thread; the figure is the median
over rounds, with the smallest and the largest beside it. Rates are per second of processor time.
The matrix-product rate is that of 1024 x 1024 float32 products between the rounds.
"""

import argparse
import itertools
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks import naive
from plasticity import checkpoint, measures, optim, train
from plasticity.data import Dataset, Images, epoch_batches, padded, resident
from plasticity.edit import Rules, random_mask
from plasticity.launch import prepare_process
from plasticity.network import Architecture, backward, cross_entropy, forward, initial_weights
from plasticity.probe import unit_statistics
from plasticity.state import gather, new_state

ROUNDS = 7
SECONDS_PER_TURN = 0.6
BIG = Architecture((1, 28, 28), (), (512, 512), 10)
SMALL = Architecture((1, 8, 8), (), (256, 256), 10)
CONVNET = Architecture((3, 32, 32), (32, 64), (512, 512, 256), 10)


@dataclass(frozen=True)
class Case:
    """A network, its batch and its optimizer."""

    name: str
    architecture: Architecture
    batch: int
    seeds: int
    optimizer: str
    augment: bool = False


CASES = (
    Case("MLP 784-512-512-10", BIG, 128, 10, "adam"),
    Case("MLP 64-256-256-10", SMALL, 64, 10, "adam"),
    Case("ConvNet 32-64, 512-512-256", CONVNET, 128, 1, "sgd", augment=True),
)


def pixels(architecture: Architecture, count: int = 4096) -> np.ndarray:
    """Return random images (N, H, W) or (N, H, W, C), uint8."""
    channels, height, width = architecture.image
    shape = (count, height, width) if channels == 1 else (count, height, width, channels)
    return np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)


def images_of(case: Case, device: str = "cpu") -> Images:
    """Return the same images as the engine holds them."""
    array = torch.from_numpy(pixels(case.architecture))
    array = array[:, None] if array.dim() == 3 else array.movedim(-1, 1)
    labels = torch.from_numpy(
        np.random.default_rng(0).integers(case.architecture.classes, size=len(array))
    )
    half = (0.5,) * array.shape[1]
    data = Dataset(array, labels, array, labels, array, labels, (), half, half)
    trunk = bool(case.architecture.trunk)
    images = resident(array, labels, data, trunk=trunk, device=torch.device(device))
    return padded(images) if case.augment else images


def batches_of(case: Case, device: str = "cpu") -> Callable[[int], tuple]:
    """Return the engine's batches."""
    augment = "augment" if case.augment else None
    return epoch_batches(images_of(case, device), range(case.seeds), case.batch, "order", augment)


def engine(
    case: Case,
    *,
    share: float = 1.0,
    masked: bool = False,
    diagnostics: bool = False,
    device: str = "cpu",
) -> Iterator[None]:
    """Train all seeds for ever with the engine, one step at a time.

    ``share`` of the units are alive; ``masked`` computes them at full capacity, with masks.
    """
    widths = [round(share * width) for width in case.architecture.widths]
    weights = initial_weights(case.architecture, range(case.seeds), "torch_default")
    alive = tuple(
        random_mask(range(case.seeds), "mask", capacity, layer, width).to(device)
        for layer, (capacity, width) in enumerate(
            zip(case.architecture.widths, widths, strict=True)
        )
    )
    rule = optim.Optimizer(case.optimizer)
    state = new_state(
        weights.map(lambda t: t.to(device)),
        tuple(torch.ones_like(a) for a in alive) if masked else alive,
        rule.num_moments,
    )
    copy, masks = gather(state), alive if masked else None
    batches = batches_of(case, device)
    for step in itertools.count():
        x, labels = batches(step)
        trace = forward(copy.weights, x, masks)
        _, grad_logits = cross_entropy(trace.logits, labels)
        deltas = backward(copy.weights, trace, grad_logits, copy.grads, masks)
        if diagnostics:
            unit_statistics(trace.hidden, deltas, 0.05)
        optim.step_(copy, rule, [1e-3] * case.seeds)
        yield


def whole_loop(case: Case) -> Iterator[None]:
    """Run the project's own loop: the engine's step with its records, one step at a time."""
    seeds = tuple(range(case.seeds))
    weights = initial_weights(case.architecture, seeds, "torch_default")
    alive = tuple(torch.ones((case.seeds, w), dtype=torch.bool) for w in case.architecture.widths)
    job = train.Job(
        seeds=seeds,
        architecture=case.architecture,
        initial=weights,
        alive=alive,
        optimizer=optim.Optimizer(case.optimizer),
        lr=lambda window: 1e-3,  # noqa: ARG005
        batches=batches_of(case),
        window=400,
        num_windows=10**6,
        events=(),
        rules=Rules("random", "random", "late_init"),
        evaluation=None,
        probe=None,
    )
    current = train.start(job, None)
    while True:
        train.advance(current)
        yield


def turns(loops: dict[str, Iterator[None]]) -> tuple[dict[str, list[float]], list[float]]:
    """Let loops take turns; return seconds per step of each round, and matrix-product rates."""
    steps = {}
    for name, loop in loops.items():
        for _ in range(3):
            next(loop)
        started = time.process_time()
        next(loop)
        steps[name] = max(3, round(SECONDS_PER_TURN / (time.process_time() - started)))
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    roof = []
    for _ in range(ROUNDS):
        roof.append(matrix_rate())
        for name, loop in loops.items():
            started = time.process_time()
            for _ in range(steps[name]):
                next(loop)
            seconds[name].append((time.process_time() - started) / steps[name])
    return seconds, roof


def matrix_rate() -> float:
    """Return FLOPs per second of 1024 x 1024 float32 matrix products."""
    a = torch.randn(1024, 1024)
    started = time.process_time()
    for _ in range(8):
        a @ a
    return 8 * 2 * 1024**3 / (time.process_time() - started)


def spread(values: list[float], form: str = "{:.2f}") -> str:
    """Return median (smallest - largest)."""
    text = [form.format(value) for value in (median(values), min(values), max(values))]
    return f"{text[0]} ({text[1]} to {text[2]})"


def against_naive(case: Case) -> str:
    """Return the row of one network: rate, ratio to the naive loop, share of the matrix rate."""
    loops = {
        "ours": whole_loop(case),
        "naive": naive.training(
            case.architecture,
            case.batch,
            case.optimizer,
            pixels(case.architecture),
            augment=case.augment,
        ),
    }
    seconds, roof = turns(loops)
    per_step = case.seeds * case.batch
    rate = [per_step / value for value in seconds["ours"]]
    plain = [case.batch / value for value in seconds["naive"]]
    flops = measures.training_flops(case.architecture)
    ratio = [a / b for a, b in zip(rate, plain, strict=True)]
    share = [100 * a * flops / b for a, b in zip(rate, roof, strict=True)]
    return (
        f"| {case.name}, {case.seeds} seed(s), batch {case.batch}, {case.optimizer} "
        f"| {median(rate):,.0f} | {median(plain):,.0f} | {spread(ratio)} "
        f"| {spread(share, '{:.0f}')} |"
    )


def compact_against_masked(case: Case, share: float) -> str:
    """Return how much faster the compact copy is than masks."""
    seconds, _ = turns(
        {"compact": engine(case, share=share), "masked": engine(case, share=share, masked=True)}
    )
    ratio = [a / b for a, b in zip(seconds["masked"], seconds["compact"], strict=True)]
    return f"| {case.name}, {share:.0%} alive | {spread(ratio)} |"


def overhead(case: Case, name: str, loop: Iterator[None]) -> str:
    """Return what a loop costs beyond the bare engine, in percent."""
    seconds, _ = turns({"bare": engine(case), "more": loop})
    extra = [100 * (a / b - 1) for a, b in zip(seconds["more"], seconds["bare"], strict=True)]
    return f"| {name}, {case.name} | {spread(extra, '{:.1f}')} |"


def checkpoint_cost(case: Case) -> str:
    """Return the time of a checkpoint in percent of the 30 s between two."""
    weights = initial_weights(case.architecture, range(case.seeds), "torch_default")
    alive = tuple(torch.ones((case.seeds, w), dtype=torch.bool) for w in case.architecture.widths)
    state = new_state(weights, alive, optim.Optimizer(case.optimizer).num_moments)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for step in range(ROUNDS):
            started = time.perf_counter()
            gather(state)
            checkpoint.save(Path(folder), checkpoint.Checkpoint(step, state, {}))
            seconds.append(100 * (time.perf_counter() - started) / train.CHECKPOINT_SECONDS)
    return f"| checkpoint every 30 s, {case.name} | {spread(seconds, '{:.1f}')} |"


def on_cuda() -> Iterator[str]:
    """Return samples per second on a CUDA device, eager, for growing numbers of seeds."""
    yield f"\n## {torch.cuda.get_device_name()}, eager\n\n| network | seeds | samples/s |"
    yield "| --- | --- | --- |"
    for case, seeds in itertools.product(CASES, (1, 5, 10, 20)):
        loop = engine(replace(case, seeds=seeds), device="cuda")
        for _ in range(10):
            next(loop)
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(50):
            next(loop)
        torch.cuda.synchronize()
        rate = 50 * seeds * case.batch / (time.perf_counter() - started)
        yield f"| {case.name} | {seeds} | {rate:,.0f} |"


def cpu_name() -> str:
    """Return the processor's name, where the system says it."""
    info = Path("/proc/cpuinfo")
    names = info.read_text().splitlines() if info.exists() else []
    found = [line.split(": ")[1] for line in names if line.startswith("model name")]
    return found[0] if found else platform.processor()


def lines() -> Iterator[str]:
    """Return the lines of the result, as they are measured."""
    yield "# The engine, measured\n"
    yield f"One thread of {cpu_name()}, float32, torch {torch.__version__};"
    yield "median (smallest to largest) of"
    yield f"{ROUNDS} rounds in which the compared loops took turns. Written by `make bench`.\n"
    yield "The naive loop is one network: torchvision-style samples and transforms, a DataLoader, a"
    yield "module, the default optimizer. Both sides augment alike and record loss and accuracy."
    yield "The last column is the engine's model FLOPs against 1024 x 1024 matrix products.\n"
    yield "| network | samples/s | naive loop | ratio | % of the matrix-product rate |"
    yield "| --- | --- | --- | --- | --- |"
    for case in CASES:
        yield against_naive(case)
    yield "\n| compact against masked | times faster |\n| --- | --- |"
    for case, share in itertools.product(CASES[:2], (0.5, 0.25)):
        yield compact_against_masked(case, share)
    yield "\n| overhead | % of training time |\n| --- | --- |"
    for case in CASES:
        yield overhead(case, "unit diagnostics every step", engine(case, diagnostics=True))
    for case in CASES:
        yield overhead(case, "records of every step", whole_loop(case))
    for case in CASES:
        yield checkpoint_cost(case)
    if torch.cuda.is_available():
        yield from on_cuda()


def main() -> None:
    """Print the result and write it beside this file."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    prepare_process()
    written = []
    for line in lines():
        print(line, flush=True)
        written.append(line)
    (Path(__file__).parent / "RESULTS.md").write_text("\n".join(written) + "\n")


if __name__ == "__main__":
    main()

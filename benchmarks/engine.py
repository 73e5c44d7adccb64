"""The engine's speed against a plain PyTorch loop, against masks, and what its records cost."""

import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import naive
from benchmarks.cases import (
    CASES,
    ROUNDS,
    Case,
    job_of,
    pixels,
    random_dataset,
    ratios,
    spread,
    turns,
)
from plasticity import checkpoint, measures, optim, train
from plasticity.data import epoch_batches, padded, resident
from plasticity.network import backward, cross_entropy, forward
from plasticity.state import gather, new_state
from plasticity.structure import random_mask
from plasticity.weights import initial_weights


def engine(
    case: Case, *, share: float = 1.0, masked: bool = False, device: str = "cpu"
) -> Iterator[None]:
    """Train all seeds for ever with the bare engine, one step at a time.

    ``share`` of the units are alive; ``masked`` computes them at full capacity, with masks.
    """
    network, seeds = case.architecture, range(case.seeds)
    weights = initial_weights(network, seeds, "torch_default")
    alive = tuple(
        random_mask(seeds, "mask", capacity, layer, round(share * capacity)).to(device)
        for layer, capacity in enumerate(network.units)
    )
    rule = optim.Optimizer(case.optimizer)
    state = new_state(
        weights.map(lambda t: t.to(device)),
        tuple(torch.ones_like(a) for a in alive) if masked else alive,
        rule.num_moments,
    )
    copy, masks = gather(state), tuple(a.float() for a in alive) if masked else None
    data = random_dataset(network.image)
    images = resident(
        data.train_images,
        data.train_labels,
        data,
        trunk=bool(network.trunk),
        device=torch.device(device),
    )
    if case.augment:
        batches = epoch_batches(padded(images), seeds, case.batch, "order", "augment")
    else:
        batches = epoch_batches(images, seeds, case.batch, "order")
    for step in itertools.count():
        x, labels = batches(step)
        trace = forward(copy.weights, x, scale=masks)
        _, grad_logits = cross_entropy(trace.logits, labels)
        backward(copy.weights, trace, grad_logits, copy.grads, scale=masks)
        optim.step_(copy, rule, [1e-3] * case.seeds)
        yield


def whole_loop(case: Case, changes: Mapping[str, object] | None = None) -> Iterator[None]:
    """Run the project's own loop: the engine's step with its records, one step at a time."""
    current = train.start(job_of(case, changes or {}), None)
    while True:
        train.advance(current)
        yield


def against_naive(case: Case) -> str:
    """Return the row of one network: rate, ratio to the naive loop, share of the matrix rate."""
    loops = {
        "ours": whole_loop(case),
        "naive": naive.training(
            case.architecture,
            case.batch,
            case.optimizer,
            pixels(case.architecture.image),
            augment=case.augment,
        ),
    }
    seconds, roofs = turns(loops)
    rate = [case.seeds * case.batch / value for value in seconds["ours"]]
    plain = [case.batch / value for value in seconds["naive"]]
    flops = measures.training_flops(case.architecture)
    share = [100 * flops * value for value in ratios(rate, roofs)]
    return (
        f"| {case.name}, {case.seeds} seed(s), batch {case.batch}, {case.optimizer} "
        f"| {sorted(rate)[ROUNDS // 2]:,.0f} | {sorted(plain)[ROUNDS // 2]:,.0f} "
        f"| {spread(ratios(rate, plain))} | {spread(share, '{:.0f}')} |"
    )


def compact_against_masked(case: Case, share: float) -> str:
    """Return how much faster the compact copy is than masks."""
    seconds, _ = turns(
        {"compact": engine(case, share=share), "masked": engine(case, share=share, masked=True)}
    )
    ratio = ratios(seconds["masked"], seconds["compact"])
    return f"| {case.name}, {share:.0%} alive | {spread(ratio)} |"


def records_cost(case: Case) -> str:
    """Return what the loop's records cost beyond the bare engine, in percent."""
    seconds, _ = turns({"bare": engine(case), "more": whole_loop(case)})
    extra = [100 * (ratio - 1) for ratio in ratios(seconds["more"], seconds["bare"])]
    return f"| records of every step, {case.name} | {spread(extra, '{:.1f}')} |"


def checkpoint_cost(case: Case) -> str:
    """Return the time of a checkpoint in percent of the 30 s between two."""
    current = train.start(job_of(case, {}), None)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for step in range(ROUNDS):
            started = time.perf_counter()
            current.settle()
            checkpoint.save(Path(folder), checkpoint.Checkpoint(step, current.state, {}))
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


def lines() -> Iterator[str]:
    """Return the lines of the result, as they are measured."""
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
        yield records_cost(case)
    for case in CASES:
        yield checkpoint_cost(case)
    if torch.cuda.is_available():
        yield from on_cuda()

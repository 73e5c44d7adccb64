"""Training with products in bfloat16 against float32, beside the rate of products alone."""

import platform
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import torch

from benchmarks.cases import CONVNET, Case, ratios, spread, turns
from benchmarks.engine import whole_loop
from plasticity.weights import Architecture

LAPTOP_MLP = Case(
    "MLP 784-256-256-10", "mnist", Architecture((1, 28, 28), (), (256, 256), 10), 64, 5, "sgd"
)
FIFTH = Architecture((3, 32, 32), (32, 64), (103, 103, 52), 10)
CASES = (
    (LAPTOP_MLP, "laptop.mnist"),
    (Case("ConvNet 32-64, 512-512-256", "cifar10", CONVNET.architecture, 128, 1, "sgd"),
     "laptop.cifar10"),
    (CONVNET, "paper.cifar10"),
    (Case("ConvNet 32-64, 103-103-52", "cifar10", FIFTH, 128, 1, "sgd", augment=True),
     "paper.cifar10 at compactness 0.2"),
)  # fmt: skip
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
INSTRUCTIONS = ("avx512f", "avx512_bf16", "amx_bf16")


def cpu_name() -> str:
    """Return the processor's name, where the system says it."""
    info = Path("/proc/cpuinfo")
    names = info.read_text().splitlines() if info.exists() else []
    found = [line.split(": ")[1] for line in names if line.startswith("model name")]
    return found[0] if found else platform.processor()


def instructions() -> str:
    """Return which of the instructions that products use this processor has, where it says so."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text().split() if info.exists() else []
    return ", ".join(name for name in INSTRUCTIONS if name in flags) or "none known"


def products(precision: torch.dtype) -> Iterator[None]:
    """Multiply 1024 x 1024 matrices for ever."""
    a = torch.randn(1024, 1024).to(precision)
    while True:
        a @ a
        yield


def row(case: Case, preset: str) -> str:
    """Return the rates of one network in both precisions, and of products, in the same rounds."""
    loops = {name: whole_loop(case, {"train.precision": name}) for name in PRECISIONS}
    roofs = {f"@ {name}": products(precision) for name, precision in PRECISIONS.items()}
    seconds, _ = turns({**loops, **roofs})
    rates = [f"{case.seeds * case.batch / median(seconds[name]):,.0f}" for name in PRECISIONS]
    faster = ratios(seconds["float32"], seconds["bfloat16"])
    flops = [f"{2 * 1024**3 / median(seconds[f'@ {name}']) / 1e9:,.0f}" for name in PRECISIONS]
    roof = ratios(seconds["@ float32"], seconds["@ bfloat16"])
    return (
        f"| {preset}: {case.name}, {case.seeds} seed(s), batch {case.batch} | {rates[0]} "
        f"| {rates[1]} | {spread(faster)} | {flops[0]} and {flops[1]}, {spread(roof)} |"
    )


def lines() -> Iterator[str]:
    """Return the lines of the result, as they are measured."""
    yield "\n## Products in bfloat16\n"
    yield f"One thread of {cpu_name()} with {instructions()}:"
    yield "the project's loop with `train.precision: bfloat16` against float32, and 1024 x 1024"
    yield "matrix products, in the same rounds.\n"
    yield "| network | samples/s, float32 | bfloat16 | times | products, GFLOP/s, and times |"
    yield "| --- | --- | --- | --- | --- |"
    for case, preset in CASES:
        yield row(case, preset)

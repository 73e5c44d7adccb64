"""The networks that are measured, their jobs, and loops that take turns."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from plasticity import config, recipe
from plasticity.data import Dataset
from plasticity.job import Job
from plasticity.sections import Params
from plasticity.weights import Architecture
from plasticity.yaml12 import read_yaml

ROUNDS = 7
SECONDS_PER_TURN = 0.6
PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"


@dataclass(frozen=True)
class Case:
    """A network, its batch and its optimizer."""

    name: str
    dataset: str
    """Whose image size it reads; the images are random."""
    architecture: Architecture
    batch: int
    seeds: int
    optimizer: str
    augment: bool = False


BIG = Case(
    "MLP 784-512-512-10", "mnist", Architecture((1, 28, 28), (), (512, 512), 10), 128, 10, "adam"
)
SMALL = Case(
    "MLP 64-256-256-10", "digits", Architecture((1, 8, 8), (), (256, 256), 10), 64, 10, "adam"
)
CONVNET = Case(
    "ConvNet 32-64, 512-512-256",
    "cifar10",
    Architecture((3, 32, 32), (32, 64), (512, 512, 256), 10),
    128,
    1,
    "sgd",
    augment=True,
)
CASES = (BIG, SMALL, CONVNET)


def pixels(image: tuple[int, int, int], count: int = 4096) -> np.ndarray:
    """Return random images (N, H, W) or (N, H, W, C), uint8."""
    channels, height, width = image
    shape = (count, height, width) if channels == 1 else (count, height, width, channels)
    return np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)


def random_dataset(image: tuple[int, int, int], count: int = 4096, tests: int = 500) -> Dataset:
    """Return random images with random labels of ten classes; the tests are the first of them."""
    array = torch.from_numpy(pixels(image, count))
    array = array[:, None] if array.dim() == 3 else array.movedim(-1, 1)
    labels = torch.from_numpy(np.random.default_rng(0).integers(10, size=count))
    half = (0.5,) * image[0]
    return Dataset(
        array, labels, array[:0], labels[:0], array[:tests], labels[:tests],
        tuple("0123456789"), half, half,
    )  # fmt: skip


def params_of(changes: Mapping[str, object]) -> Params:
    """Return the project's parameters with some changed, each by its path (``train.batch``)."""
    tree = read_yaml(PARAMS)
    for path, value in changes.items():
        *sections, key = path.split(".")
        part = tree
        for section in sections:
            part = part[section]
        part[key] = value
    return config.resolve(tree)


def job_of(case: Case, changes: Mapping[str, object]) -> Job:
    """Return a run of a case on random images, by default of the dense operator."""
    network = case.architecture
    params = params_of(
        {
            "op": "dense",
            "dataset": case.dataset,
            "scale": "quick",
            "network.kind": "convnet" if network.trunk else "mlp",
            "network.trunk": list(network.trunk),
            "network.widths": list(network.widths),
            "train.batch": case.batch,
            "train.optimizer": case.optimizer,
            "train.lr": 1e-3,
            "train.augment": "crop_flip" if case.augment else "none",
            "data.train_images": "all",
            **changes,
        }
    )
    setting = recipe.Setting(random_dataset(network.image), torch.device("cpu"))
    return recipe.train_job(params, setting, tuple(range(case.seeds)))


def turns(
    loops: Mapping[str, Iterator[None]], seconds: float = SECONDS_PER_TURN, least: int = 3
) -> tuple[dict[str, list[float]], list[float]]:
    """Let loops take turns of some seconds; return seconds per step of each round, and roofs.

    A turn has at least ``least`` steps. A roof is the rate of matrix products before a round.
    """
    steps = {}
    for name, loop in loops.items():
        for _ in range(least):
            next(loop)
        started = time.process_time()
        next(loop)
        steps[name] = max(least, round(seconds / (time.process_time() - started)))
    result: dict[str, list[float]] = {name: [] for name in loops}
    roofs = []
    for _ in range(ROUNDS):
        roofs.append(matrix_rate())
        for name, loop in loops.items():
            started = time.process_time()
            for _ in range(steps[name]):
                next(loop)
            result[name].append((time.process_time() - started) / steps[name])
    return result, roofs


def matrix_rate() -> float:
    """Return FLOPs per second of 1024 x 1024 float32 matrix products."""
    a = torch.randn(1024, 1024)
    started = time.process_time()
    for _ in range(8):
        a @ a
    return 8 * 2 * 1024**3 / (time.process_time() - started)


def ratios(above: list[float], below: list[float]) -> list[float]:
    """Return the ratio of every round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def spread(values: list[float], form: str = "{:.2f}") -> str:
    """Return median (smallest to largest)."""
    text = [form.format(value) for value in (median(values), min(values), max(values))]
    return f"{text[0]} ({text[1]} to {text[2]})"

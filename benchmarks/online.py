"""A stream of single examples: ten seeds side by side against a plain loop for one of them."""

from collections.abc import Iterator
from itertools import pairwise

import torch

from benchmarks.cases import params_of, random_dataset, ratios, spread, turns
from plasticity import learners, recipe, train

SEEDS = 10
STREAM = {
    "dataset": "mnist",
    "scale": "quick",
    "data.train_images": "all",
    "continual.streams": ["permuted_inputs"],
    "continual.learners": ["backprop"],
    "continual.widths": [100, 100, 100],
    "continual.images": 2000,
    "continual.batch": 1,
    "continual.optimizer": "sgd",
    "continual.steps": 10_000,
    "continual.tasks": 1_000,
    "continual.edits": 1,
    "measure.enabled": False,
}
"""The small network of Dohare et al. 2024: three hidden layers of 100, single examples, SGD."""


def ours() -> Iterator[None]:
    """Take one step with every seed, recording loss and accuracy."""
    params = params_of(STREAM)
    run = next(iter(learners.stream_runs(params).values()))
    setting = recipe.Setting(random_dataset((1, 28, 28)), torch.device("cpu"))
    job = recipe.continual_job(params, setting, tuple(range(SEEDS)), run, [0.003] * SEEDS)
    current = train.start(job, None)
    while True:
        train.advance(current)
        yield


def plain() -> Iterator[None]:
    """Take one step of one network as anybody would write it, recording loss and accuracy."""
    data = random_dataset((1, 28, 28))
    images, labels = data.train_images.flatten(1).float() / 255, data.train_labels
    sizes = (784, 100, 100, 100, 10)
    layers: list[torch.nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.003)
    total, right, step = 0.0, 0, 0
    while True:
        x, y = images[step % 2000][None], labels[step % 2000][None]
        logits = net(x)
        loss = torch.nn.functional.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total, right = total + loss.item(), right + int(logits.argmax(1).item() == y.item())
        step += 1
        yield


def lines() -> Iterator[str]:
    """Return the lines of this part."""
    seconds, _ = turns({"plain": plain(), "ours": ours()})
    faster = [SEEDS * value for value in ratios(seconds["plain"], seconds["ours"])]
    yield "\n| stream of single examples, MLP 784-100-100-100-10, SGD | times a plain loop |"
    yield "| --- | --- |"
    yield f"| {SEEDS} seeds side by side, per seed | {spread(faster)} |"

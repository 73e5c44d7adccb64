"""The loop that most people would write: a module, a DataLoader, per-sample transforms."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from plasticity.network import Architecture


class ImageFolderInMemory(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's data sets hold them: an array, turned to PIL per sample."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index])
        return self.transform(image), int(self.labels[index])


def module(architecture: Architecture) -> nn.Sequential:
    """Return the network as plain layers."""
    channels = (architecture.image[0], *architecture.trunk)
    layers: list[nn.Module] = []
    for a, b in pairwise(channels):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers.append(nn.Flatten())
    for a, b in pairwise(architecture.sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def training(
    architecture: Architecture, batch: int, optimizer: str, images: np.ndarray, *, augment: bool
) -> Iterator[None]:
    """Train one network for ever, one step at a time."""
    steps: list[Callable] = []
    if augment:
        steps += [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    mean = (0.5,) * architecture.image[0]
    steps += [transforms.ToTensor(), transforms.Normalize(mean, mean)]
    labels = np.random.default_rng(0).integers(architecture.classes, size=len(images))
    data = ImageFolderInMemory(images, labels, transforms.Compose(steps))
    loader = DataLoader(data, batch_size=batch, shuffle=True, drop_last=True)
    net = module(architecture)
    chosen: torch.optim.Optimizer
    if optimizer == "adam":
        chosen = torch.optim.Adam(net.parameters(), lr=1e-3)
    else:
        chosen = torch.optim.SGD(net.parameters(), lr=1e-2)
    loss_of = nn.CrossEntropyLoss()
    while True:
        for x, y in loader:
            chosen.zero_grad()
            loss_of(net(x), y).backward()
            chosen.step()
            yield

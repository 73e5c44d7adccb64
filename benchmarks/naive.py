"""The loop that most people would write: a module, a DataLoader, per-sample transforms."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from plasticity.weights import Architecture


class ImageFolderInMemory(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's data sets hold and return them.

    MNIST holds a tensor, CIFAR an array; both are turned to a PIL image per sample.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable) -> None:
        self.images = torch.from_numpy(images) if images.ndim == 3 else images
        self.labels, self.transform = labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        array = image if isinstance(image, np.ndarray) else image.numpy()
        return self.transform(Image.fromarray(array)), int(self.labels[index])


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
    """Train one network for ever, one step at a time, with the mean loss and accuracy."""
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
    running_loss, correct = 0.0, 0
    while True:
        for x, y in loader:
            chosen.zero_grad()
            logits = net(x)
            loss = loss_of(logits, y)
            loss.backward()
            chosen.step()
            running_loss += loss.item()
            correct += int((logits.argmax(1) == y).sum())
            yield

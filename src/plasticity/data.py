"""Prepared images -> batches on the device: a pure function of (seed, epoch, step).

Images stay in memory as uint8; a batch is an index, a gather and a standardisation. There is no
loader, so there is no loader state to save.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from plasticity import files, rng
from plasticity.errors import DataError
from plasticity.escapes import quoted

Batch = tuple[Tensor, Tensor]
"""Images (S, B, I) or (S, B, C, H, W), standardised, and labels (S, B)."""

CROP_PADDING = 4
FILES = ("images.safetensors", "meta.json")
"""Of a prepared data set: what its manifest has sums of."""


@dataclass(frozen=True)
class Dataset:
    """A data set with its fixed split."""

    train_images: Tensor
    """uint8 (N, C, H, W)."""
    train_labels: Tensor
    """int64 (N,)."""
    validation_images: Tensor
    validation_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    """Per channel of the training images in [0, 1]."""
    std: tuple[float, ...]


_TENSORS = (
    "train_images",
    "train_labels",
    "validation_images",
    "validation_labels",
    "test_images",
    "test_labels",
)


def save_prepared(folder: Path, dataset: Dataset) -> str:
    """Write a data set with a manifest of SHA-256 sums; return the sum of its content."""
    with files.fresh_folder(folder) as new:
        tensors = {name: getattr(dataset, name).contiguous() for name in _TENSORS}
        files.write_bytes(new / "images.safetensors", safetensors.torch.save(tensors))
        meta = {"classes": dataset.classes, "mean": dataset.mean, "std": dataset.std}
        files.write_json(new / "meta.json", meta)
        sums = {name: files.sha256(new / name) for name in FILES}
        files.write_json(new / "manifest.json", sums)
        return files.sha256(new / "manifest.json")


def load_prepared(folder: Path) -> Dataset:
    """Return the data set of a folder, checked against its manifest.

    Raises
    ------
    DataError
        When a file is missing or is not what the manifest says.
    """
    check_manifest(folder, FILES)
    tensors = safetensors.torch.load((folder / "images.safetensors").read_bytes())
    meta = files.read_json(folder / "meta.json")
    return Dataset(
        **{name: tensors[name] for name in _TENSORS},
        classes=tuple(meta["classes"]),
        mean=tuple(meta["mean"]),
        std=tuple(meta["std"]),
    )


def check_manifest(folder: Path, names: Sequence[str]) -> None:
    """Check every file of these names against its sum in the folder's ``manifest.json``.

    Raises
    ------
    DataError
        Naming the file, what was found and what was expected.
    """
    sums = files.read_json(folder / "manifest.json")
    if not isinstance(sums, dict) or {*sums} != {*names}:
        raise DataError(
            f"{folder / 'manifest.json'}: got {quoted(sums)}, expected the SHA-256 of "
            f"{' and '.join(names)}; delete {folder} and run `make repro`"
        )
    for name, expected in sums.items():
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path}: is missing; run `make repro` to make it again")
        if (found := files.sha256(path)) != expected:
            raise DataError(
                f"{path}: is damaged: SHA-256 is {found}, the manifest says {quoted(expected)}; "
                f"delete {folder} and run `make repro`"
            )


@dataclass(frozen=True)
class Images:
    """Images resident on a device in the layout that the network reads.

    ``pixels`` is uint8: (N, I) for an mlp; (N, H, W, C) for a trunk, with a border of zeros of
    ``CROP_PADDING`` pixels when batches are to be cropped.
    """

    pixels: Tensor
    labels: Tensor
    scale: Tensor
    """Per pixel or per channel: standardised = pixel x scale + shift."""
    shift: Tensor

    def __len__(self) -> int:
        return self.pixels.shape[0]

    def standardise(self, pixels: Tensor) -> Tensor:
        """Return pixels (..., I) or (..., H, W, C) as the network reads them."""
        x = pixels.to(self.scale.dtype).mul_(self.scale).add_(self.shift)
        return x.movedim(-1, -3) if self.pixels.dim() == 4 else x


def resident(
    images: Tensor,
    labels: Tensor,
    dataset: Dataset,
    *,
    trunk: bool,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Images:
    """Put images (N, C, H, W) on a device, in the layout of an mlp or of a trunk.

    Padding is with the pixel value 0, as torchvision's RandomCrop has it.
    """
    mean = torch.tensor(dataset.mean, dtype=torch.float64)
    std = torch.tensor(dataset.std, dtype=torch.float64)
    scale, shift = 1 / (255 * std), -mean / std
    if trunk:
        pixels = images.movedim(1, -1).contiguous()
    else:
        pixels = images.flatten(1).contiguous()
        scale, shift = (part.repeat_interleave(prod(images.shape[2:])) for part in (scale, shift))
    return Images(
        pixels.to(device), labels.to(device), scale.to(device, dtype), shift.to(device, dtype)
    )


def padded(images: Images) -> Images:
    """Return images for a trunk with the border that crops may show."""
    margin = CROP_PADDING
    pixels = torch.nn.functional.pad(images.pixels, (0, 0, margin, margin, margin, margin))
    return Images(pixels, images.labels, images.scale, images.shift)


def batches_per_epoch(count: int, batch: int, *, drop_last: bool) -> int:
    """Return the batches that ``count`` images give; a partial last one is used or dropped."""
    return count // batch if drop_last else -(-count // batch)


def epoch_batches(
    images: Images,
    seeds: Sequence[int],
    batch: int,
    purpose: str,
    augment_purpose: str | None = None,
    *,
    drop_last: bool = False,
) -> Callable[[int], Batch]:
    """Return the function step -> batch of training on shuffled epochs.

    Every seed has its own order.

    Parameters
    ----------
    images
        The training set; with a border when ``augment_purpose`` is given.
    seeds
        The S replicates.
    batch
        Images per batch.
    purpose
        Stream of the order, indexed by epoch.
    augment_purpose
        Stream of the random crops and mirrorings, or None for none.
    drop_last
        As in ``batches_per_epoch``.
    """
    count = len(images)
    per_epoch = batches_per_epoch(count, batch, drop_last=drop_last)
    cached: dict[int, tuple[Tensor, list[Tensor] | None]] = {}

    def epoch_draws(epoch: int) -> tuple[Tensor, list[Tensor] | None]:
        if epoch not in cached:
            cached.clear()
            order = np.stack([rng.stream(s, purpose, epoch).permutation(count) for s in seeds])
            shifts = (
                None
                if augment_purpose is None
                else _crop_draws(seeds, augment_purpose, epoch, count, images.pixels.device)
            )
            cached[epoch] = torch.from_numpy(order).to(images.pixels.device), shifts
        return cached[epoch]

    def batch_at(step: int) -> Batch:
        epoch, position = divmod(step, per_epoch)
        order, crops = epoch_draws(epoch)
        part = slice(position * batch, (position + 1) * batch)
        index = order[:, part]  # (S, B)
        if crops is None:
            pixels = torch.stack([images.pixels.index_select(0, row) for row in index])
        else:
            pixels = _cropped(images.pixels, index, [draw[:, part] for draw in crops])
        return images.standardise(pixels), images.labels[index]

    return batch_at


def _crop_draws(
    seeds: Sequence[int], purpose: str, epoch: int, count: int, device: torch.device
) -> list[Tensor]:
    """Return for each seed and position: the crop's top, its left, and whether it is mirrored."""
    choices = 2 * CROP_PADDING + 1
    draws = []
    for seed in seeds:
        draw = rng.stream(seed, purpose, epoch)
        draws.append(
            np.stack(
                [
                    draw.integers(choices, size=count),
                    draw.integers(choices, size=count),
                    draw.integers(2, size=count),
                ]
            )
        )
    return list(torch.from_numpy(np.stack(draws, 1)).to(device))  # 3 x (S, N)


def _cropped(pixels: Tensor, index: Tensor, crops: Sequence[Tensor]) -> Tensor:
    """Return random crops (S, B, H, W, C) of images that have a border."""
    height, width = (size - 2 * CROP_PADDING for size in pixels.shape[1:3])
    top, left, mirrored = crops
    rows = top[..., None] + torch.arange(height, device=pixels.device)  # (S, B, H)
    steps = torch.arange(width, device=pixels.device)
    columns = torch.where(mirrored[..., None].bool(), width - 1 - steps, steps)
    columns = left[..., None] + columns  # (S, B, W)
    return pixels[index[..., None, None], rows[..., None], columns[..., None, :]]


def prepared_sum(folder: Path) -> str:
    """Return the sum that identifies prepared data in checkpoint keys."""
    return str(json.loads((folder / "manifest.json").read_text())["images.safetensors"])

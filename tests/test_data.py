"""Batches: a pure function of (seed, epoch, step); crops and task maps by their definitions."""

import pytest
import torch

from plasticity.data import (
    CROP_PADDING,
    Dataset,
    epoch_batches,
    load_prepared,
    padded,
    resident,
    save_prepared,
)
from plasticity.errors import DataError

SEEDS = (0, 4)
COUNT, BATCH = 23, 5


def dataset(channels=2, side=6) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (COUNT, channels, side, side), generator=generator).to(torch.uint8)
    labels = torch.arange(COUNT) % 3
    return Dataset(
        images, labels, images[:0], labels[:0], images[:4].clone(), labels[:4].clone(),
        ("a", "b", "c"), (0.4, 0.5), (0.2, 0.3),
    )  # fmt: skip


def images_of(data, *, trunk):
    return resident(
        data.train_images,
        data.train_labels,
        data,
        trunk=trunk,
        device=torch.device("cpu"),
        dtype=torch.float64,
    )


def test_an_epoch_shows_every_image_once_and_uses_the_partial_last_batch():
    batches = epoch_batches(images_of(dataset(), trunk=False), SEEDS, BATCH, "order")
    sizes, seen = [], []
    for step in range(5):
        x, _ = batches(step)
        sizes.append(x.shape[1])
        seen.append(x)
    assert sizes == [5, 5, 5, 5, 3]
    whole = torch.cat(seen, 1)
    expected = images_of(dataset(), trunk=False)
    everything = expected.standardise(expected.pixels)
    for row in whole:
        assert torch.equal(row.sort(0).values, everything.sort(0).values)


def test_a_batch_depends_on_the_step_alone():
    images = images_of(dataset(), trunk=False)
    forwards = epoch_batches(images, SEEDS, BATCH, "order")
    in_order = [forwards(step)[0] for step in range(12)]
    backwards = epoch_batches(images, SEEDS, BATCH, "order")
    for step in reversed(range(12)):
        assert torch.equal(backwards(step)[0], in_order[step])
    assert not torch.equal(in_order[0], in_order[5])


def test_a_seed_has_its_own_order_whoever_runs_beside_it():
    images = images_of(dataset(), trunk=False)
    both = epoch_batches(images, SEEDS, BATCH, "order")(3)[0]
    alone = epoch_batches(images, SEEDS[1:], BATCH, "order")(3)[0]
    assert torch.equal(both[1:], alone)
    assert not torch.equal(both[0], both[1])


def test_pixels_are_standardised_per_channel():
    data = dataset()
    expected = data.train_images.double() / 255 - torch.tensor([0.4, 0.5]).double()[:, None, None]
    expected = expected / torch.tensor([0.2, 0.3]).double()[:, None, None]
    flat = images_of(data, trunk=False)
    torch.testing.assert_close(flat.standardise(flat.pixels), expected.flatten(1))
    grid = images_of(data, trunk=True)
    torch.testing.assert_close(grid.standardise(grid.pixels), expected)


def test_crops_are_windows_of_the_padded_image_or_of_its_mirror_image():
    data = dataset()
    batches = epoch_batches(padded(images_of(data, trunk=True)), SEEDS, BATCH, "order", "augment")
    plain = epoch_batches(images_of(data, trunk=True), SEEDS, BATCH, "order")
    grid = images_of(data, trunk=True)
    border = torch.nn.functional.pad(data.train_images, (CROP_PADDING,) * 4)
    all_images = grid.standardise(grid.pixels)
    found = set()
    for step in range(10):
        (x, y), (originals, labels) = batches(step), plain(step)
        assert torch.equal(y, labels)
        for crop, original in zip(x[0], originals[0], strict=True):
            number = int((all_images == original).flatten(1).all(1).nonzero()[0])
            wide = grid.standardise(border[number].movedim(0, -1))
            windows = {
                (top, left, mirrored): window.flip(-1) if mirrored else window
                for top in range(9)
                for left in range(9)
                for mirrored in (False, True)
                for window in [wide[:, top : top + 6, left : left + 6]]
            }
            match = [key for key, window in windows.items() if torch.equal(window, crop)]
            assert match
            found.add(match[0])
    assert len({key[0] for key in found}) == 9
    assert {key[2] for key in found} == {False, True}


def test_prepared_data_come_back_as_they_were_and_damage_is_told(tmp_path):
    data = dataset()
    save_prepared(tmp_path / "prepared", data)
    loaded = load_prepared(tmp_path / "prepared")
    assert torch.equal(loaded.train_images, data.train_images)
    assert (loaded.classes, loaded.mean, loaded.std) == (data.classes, data.mean, data.std)
    path = tmp_path / "prepared" / "images.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="is damaged"):
        load_prepared(tmp_path / "prepared")

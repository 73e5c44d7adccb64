"""The composition root: parameters -> jobs that are ready to run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from plasticity import catalogue, optim, schedule
from plasticity.config import Continual, Params, Train
from plasticity.data import (
    Dataset,
    Images,
    epoch_batches,
    padded,
    resident,
    task_batches,
)
from plasticity.edit import Rules, even_mask, random_mask
from plasticity.network import Architecture, Weights, initial_weights
from plasticity.rng import stream as rng_stream
from plasticity.schedule import Event
from plasticity.train import Evaluation, Job, Probe

Masks = tuple[Tensor, ...]


@dataclass(frozen=True)
class Setting:
    """Where and on what a job runs."""

    dataset: Dataset
    device: torch.device
    dtype: torch.dtype = torch.float32


def architecture(params: Params, dataset: Dataset) -> Architecture:
    """Return the backbone at full capacity."""
    channels, height, width = dataset.train_images.shape[1:]
    return Architecture(
        image=(channels, height, width),
        trunk=params.network.trunk,
        widths=params.network.widths,
        classes=len(dataset.classes),
    )


def targets(params: Params, backbone: Architecture) -> tuple[int, ...]:
    """Return the units of each hidden layer at the end of editing."""
    if params.op == "dense":
        return backbone.widths
    bias = None
    if params.edit.allocation != "neutral":
        bias = catalogue.ALLOCATIONS[params.edit.allocation]
    allocated = schedule.unit_targets(backbone.sizes[:-1], params.compactness, bias)
    if params.op == "static" and params.edit.static_mask == "uniform":
        return schedule.uniform_targets(backbone.widths, sum(allocated))
    return allocated


def starting_counts(params: Params, backbone: Architecture) -> tuple[int, ...]:
    """Return the units of each hidden layer at step 0.

    Grow starts from ``edit.seed_fraction`` of every layer; a layer whose target is below that
    starts at its target, since growing removes nothing. (The paper's allocations have such cells
    and do not say what was done.)
    """
    end = targets(params, backbone)
    if params.op == "static":
        return end
    if params.op == "grow":
        seeds = schedule.seed_counts(backbone.widths, params.edit.seed_fraction)
        return tuple(min(seed, target) for seed, target in zip(seeds, end, strict=True))
    return backbone.widths


def starting_masks(params: Params, backbone: Architecture, seeds: Sequence[int]) -> Masks:
    """Return which units are alive at step 0, (S, H) for each hidden layer."""
    counts = starting_counts(params, backbone)
    if params.op == "static" and params.edit.static_mask == "uniform":
        return tuple(
            even_mask(len(seeds), width, count)
            for width, count in zip(backbone.widths, counts, strict=True)
        )
    return random_masks(backbone, counts, seeds, "mask")


def random_masks(
    backbone: Architecture, counts: Sequence[int], seeds: Sequence[int], purpose: str
) -> Masks:
    """Return masks with ``counts`` units of each hidden layer, drawn for each seed."""
    return tuple(
        random_mask(seeds, purpose, width, layer, count)
        for layer, (width, count) in enumerate(zip(backbone.widths, counts, strict=True))
    )


def events(params: Params, backbone: Architecture, every: int) -> tuple[Event, ...]:
    """Return the edit events, one every ``every`` steps from step 0.

    Every operator has them, so that all are measured at the same steps; those of dense and static
    move nothing.
    """
    edit, cycles = params.edit, params.edit.cycles
    start, end = starting_counts(params, backbone), targets(params, backbone)
    per_layer = [
        schedule.moves(a, b, cycles, edit.cycle_index, edit.count_rule)
        for a, b in zip(start, end, strict=True)
    ]
    nothing = (0,) * len(per_layer)
    result = []
    for index in range(cycles):
        moved = tuple(counts[index] for counts in per_layer)
        rewind = params.rewinds and (edit.rewind_when == "every_event" or any(moved))
        add, remove = (moved, nothing) if params.op == "grow" else (nothing, moved)
        result.append(Event(index, index * every, add, remove, rewind))
    return tuple(result)


def train_job(params: Params, setting: Setting, seeds: tuple[int, ...]) -> Job:
    """Return the editing run of some seeds."""
    backbone = architecture(params, setting.dataset)
    images = _training_images(params, setting)
    per_epoch = -(-len(images) // params.train.batch)
    return Job(
        seeds=seeds,
        architecture=backbone,
        initial=_weights(params, backbone, setting, seeds, "init"),
        alive=_to(starting_masks(params, backbone, seeds), setting),
        optimizer=_optimizer(params.train),
        lr=_epoch_rate(params, params.train.epochs),
        batches=_batches(params, images, seeds, "order", "augment"),
        window=per_epoch,
        num_windows=params.train.epochs,
        events=events(params, backbone, per_epoch * (params.train.epochs // params.edit.cycles)),
        rules=_rules(params),
        evaluation=_evaluation(params, setting, params.train.epochs),
        probe=_probe(params, setting, seeds),
    )


def retrain_job(
    params: Params, setting: Setting, seeds: tuple[int, ...], variant: str, kept: Masks
) -> Job:
    """Return the run that trains one variant of the extracted networks from scratch.

    Parameters
    ----------
    params, setting, seeds
        Of the experiment.
    variant
        A name of ``catalogue.RETRAIN_VARIANTS``: which units, and where weights come from.
    kept
        (S, H) for each hidden layer: the units that editing left alive.

    Notes
    -----
    ``masked_*`` and ``random_*`` draw weights for the full network, ``physical_fresh`` for the
    small one, whose smaller fan-in gives larger weights.
    """
    backbone = architecture(params, setting.dataset)
    which, weights = variant.split("_")
    counts = tuple(int(mask[0].sum()) for mask in kept)
    if which == "random":
        kept = random_masks(backbone, counts, seeds, "ticket_mask")
    if which == "physical":
        backbone = replace(backbone, widths=counts)
        kept = tuple(torch.ones((len(seeds), count), dtype=torch.bool) for count in counts)
    purpose = "init" if weights == "original" else "ticket_init"
    images = _training_images(params, setting)
    return Job(
        seeds=seeds,
        architecture=backbone,
        initial=_weights(params, backbone, setting, seeds, purpose),
        alive=_to(kept, setting),
        optimizer=_optimizer(params.train),
        lr=_epoch_rate(params, params.retrain.epochs),
        batches=_batches(params, images, seeds, "ticket_order", "ticket_augment"),
        window=-(-len(images) // params.train.batch),
        num_windows=params.retrain.epochs,
        events=(),
        rules=_rules(params),
        evaluation=_evaluation(params, setting, params.retrain.epochs),
        probe=None,
    )


def continual_job(params: Params, setting: Setting, seeds: tuple[int, ...], stream: str) -> Job:
    """Return the run of one stream, the operator editing on the stream's own clock."""
    backbone = architecture(params, setting.dataset)
    settings: Continual = params.continual
    images = _resident(params, setting, setting.dataset.train_images, setting.dataset.train_labels)
    num_images = len(images) if settings.images == "all" else min(settings.images, len(images))
    return Job(
        seeds=seeds,
        architecture=backbone,
        initial=_weights(params, backbone, setting, seeds, "init"),
        alive=_to(starting_masks(params, backbone, seeds), setting),
        optimizer=optim.Optimizer(settings.optimizer),
        lr=lambda window: settings.lr,  # noqa: ARG005 (a constant rate)
        batches=task_batches(
            images,
            seeds,
            stream,
            num_images,
            settings.steps,
            settings.batch,
            backbone.classes,
        ),
        window=settings.steps,
        num_windows=settings.tasks,
        events=events(params, backbone, settings.edit_every),
        rules=_rules(params),
        evaluation=None,
        probe=_probe(params, setting, seeds),
    )


def _weights(
    params: Params, backbone: Architecture, setting: Setting, seeds: Sequence[int], purpose: str
) -> Weights:
    weights = initial_weights(
        backbone, seeds, params.network.init, purpose=purpose, dtype=setting.dtype
    )
    return weights.map(lambda tensor: tensor.to(setting.device))


def _to(masks: Masks, setting: Setting) -> Masks:
    return tuple(mask.to(setting.device) for mask in masks)


def _optimizer(train: Train) -> optim.Optimizer:
    return optim.Optimizer(train.optimizer, train.momentum, train.weight_decay)


def _rules(params: Params) -> Rules:
    chosen = params.intervention
    return Rules(chosen.selection.grow, chosen.selection.prune, chosen.insertion)


def _resident(params: Params, setting: Setting, pixels: Tensor, labels: Tensor) -> Images:
    return resident(
        pixels,
        labels,
        setting.dataset,
        trunk=params.network.kind == "convnet",
        device=setting.device,
        dtype=setting.dtype,
    )


def _training_images(params: Params, setting: Setting) -> Images:
    data = setting.dataset
    return _resident(params, setting, data.train_images, data.train_labels)


def _batches(
    params: Params, images: Images, seeds: Sequence[int], order: str, augment: str
) -> Callable[[int], tuple[Tensor, Tensor]]:
    if params.train.augment == "none":
        return epoch_batches(images, seeds, params.train.batch, order)
    return epoch_batches(padded(images), seeds, params.train.batch, order, augment)


def _epoch_rate(params: Params, epochs: int) -> Callable[[int], float]:
    train, cycles = params.train, params.edit.cycles
    return lambda epoch: schedule.learning_rate(train.schedule, train.lr, epoch, epochs, cycles)


def _evaluation(params: Params, setting: Setting, epochs: int) -> Evaluation:
    data = setting.dataset
    images = _resident(params, setting, data.test_images, data.test_labels)
    wanted = params.data.test_images
    count = len(images) if wanted == "all" else min(wanted, len(images))
    cycle = epochs // params.edit.cycles
    return Evaluation(
        images=images,
        subset=torch.arange(count),
        full_at=frozenset(range(cycle, epochs + 1, cycle)),
    )


def _probe(params: Params, setting: Setting, seeds: Sequence[int]) -> Probe:
    """Return each seed's fixed probe images, taken from the training set, never augmented."""
    images = _training_images(params, setting)
    count = min(params.measure.probe_images, len(images))
    index = torch.stack(
        [
            torch.from_numpy(rng_stream(seed, "probe").permutation(len(images))[:count])
            for seed in seeds
        ]
    ).to(setting.device)
    x = images.standardise(images.pixels[index])
    return Probe((x, images.labels[index]), params.measure.activation_threshold)

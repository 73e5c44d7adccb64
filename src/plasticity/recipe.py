"""The composition root: parameters -> jobs that are ready to run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from plasticity import optim, schedule, streams
from plasticity.catalogue import REMOVING
from plasticity.combinations import most_tasks
from plasticity.data import (
    Batch,
    Dataset,
    Images,
    batches_per_epoch,
    epoch_batches,
    padded,
    resident,
)
from plasticity.edit import Context, Rules
from plasticity.errors import ConfigError
from plasticity.job import Evaluation, Job, Learning, Watch
from plasticity.learners import StreamRun
from plasticity.network import squared_error
from plasticity.precision import PRODUCTS
from plasticity.regression import BITS, RegressionStream
from plasticity.rng import stream as rng_stream
from plasticity.rules import activation, regularizer
from plasticity.sections import Params, Train
from plasticity.structure import (
    Clock,
    Masks,
    events,
    founding_counts,
    random_masks,
    sleeping_masks,
    starting_masks,
)
from plasticity.tasks import TaskStream
from plasticity.weights import (
    Activation,
    Architecture,
    Weights,
    initial_bounds,
    initial_weights,
)


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
        copies=activation_of(params).copies,
    )


def activation_of(params: Params) -> Activation:
    """Return the activation function, as in evaluation, with the normalisation before it."""
    chosen = params.intervention
    function = activation.TABLE[chosen.activation.rule](chosen.activation.options)
    return replace(function, normalise=chosen.normalisation.rule == "layer_norm")


def train_job(params: Params, setting: Setting, seeds: tuple[int, ...]) -> Job:
    """Return the editing run of some seeds."""
    backbone = architecture(params, setting.dataset)
    images = _training_images(params, setting)
    per_epoch = steps_per_epoch(params, len(images))
    total = per_epoch * params.train.epochs
    planned = events(
        params,
        backbone,
        Clock(
            steps=schedule.event_steps(
                params.edit.cycles,
                per_epoch * (params.train.epochs // params.edit.cycles),
                _last_event(params, total),
            ),
            epoch=per_epoch,
            total=total,
        ),
    )
    start = _start(params, backbone, founding_counts(params, backbone, planned))
    initial = _weights(start, setting, seeds, "init")
    return Job(
        seeds=seeds,
        architecture=backbone,
        initial=initial,
        bounds=start.bounds,
        alive=_to(starting_masks(params, backbone, seeds), setting),
        asleep=_asleep_on(params, backbone, setting, seeds),
        optimizer=_optimizer(params.train),
        lr=_epoch_rate(params, params.train.epochs),
        batches=_batches(params, images, seeds, "order", "augment"),
        window=per_epoch,
        num_windows=params.train.epochs,
        events=planned,
        context=_context(params, setting, seeds, start, initial),
        evaluation=_evaluation(params, setting, params.train.epochs),
        probing=params.measure.enabled,
        **_shared(params, backbone, setting, seeds, "slope"),
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
    small one, whose smaller fan-in gives larger weights. With ``network.fan_in: alive`` all are
    drawn for the small one; ``*_original`` are then the draws that training started from, on the
    scale of the units that are kept.
    """
    backbone = architecture(params, setting.dataset)
    which, weights = variant.split("_")
    counts = tuple(int(mask[0].sum()) for mask in kept)
    if which == "random":
        kept = random_masks(backbone, counts, seeds, "ticket_mask")
    if which == "physical":
        backbone = backbone.with_units(counts)
        kept = tuple(torch.ones((len(seeds), count), dtype=torch.bool) for count in counts)
    purpose = "init" if weights == "original" else "ticket_init"
    images = _training_images(params, setting)
    start = _start(params, backbone, tuple(int(mask[0].sum()) for mask in kept))
    initial = _weights(start, setting, seeds, purpose)
    return Job(
        seeds=seeds,
        architecture=backbone,
        initial=initial,
        bounds=start.bounds,
        alive=_to(kept, setting),
        asleep=None,
        optimizer=_optimizer(params.train),
        lr=_epoch_rate(params, params.retrain.epochs),
        batches=_batches(params, images, seeds, "ticket_order", "ticket_augment"),
        window=steps_per_epoch(params, len(images)),
        num_windows=params.retrain.epochs,
        events=(),
        context=_context(params, setting, seeds, start, initial),
        evaluation=_evaluation(params, setting, params.retrain.epochs),
        probing=False,
        **_shared(params, backbone, setting, seeds, "ticket_slope"),
    )


def continual_job(
    params: Params, setting: Setting, seeds: tuple[int, ...], run: StreamRun, lrs: Sequence[float]
) -> Job:
    """Return the run of one learner in one stream.

    Parameters
    ----------
    params, setting, seeds
        Of the experiment; a replicate may be there more than once, with other rates.
    run
        Which learner, in which stream, with how many steps per task.
    lrs
        One learning rate for each of ``seeds``.
    """
    params = run.resolved(params)
    settings = params.continual
    backbone = _stream_architecture(params, setting.dataset, run)
    total = run.steps * run.tasks
    every = settings.every(run.steps, total)
    planned = events(
        params,
        backbone,
        Clock(
            steps=schedule.event_steps(
                settings.num_edits(every, total), every, _last_event(params, total)
            ),
            epoch=run.steps,
            total=total,
        ),
    )
    start = _start(params, backbone, founding_counts(params, backbone, planned))
    initial = _weights(start, setting, seeds, "init")
    health, probed = params.measure.enabled, params.measure.probe_images
    stream: TaskStream | RegressionStream
    if run.stream.rule == "slowly_changing_regression":
        stream = RegressionStream(seeds, run.steps, settings.batch, setting.dtype, setting.device)
        watch = Watch(lambda _: True, None, health, graded=False)
    else:
        stream = _task_stream(params, setting, seeds, run)
        watch = Watch(stream.scored, _tests(params, setting, stream, run), health)
    context = _context(
        params, setting, seeds, start, initial, lambda step: stream.probe_at(step, probed)
    )
    if run.stream.rule == "slowly_changing_regression":
        context = replace(context, loss_of=squared_error)
    return Job(
        seeds=seeds,
        architecture=backbone,
        initial=initial,
        bounds=start.bounds,
        alive=_to(starting_masks(params, backbone, seeds), setting),
        asleep=_asleep_on(params, backbone, setting, seeds),
        optimizer=_optimizer(params.train),
        lr=lambda window: 1.0,  # noqa: ARG005 (rates are the seeds' own and do not change)
        rates=tuple(lrs),
        batches=stream.batch_at,
        window=run.steps,
        num_windows=run.tasks,
        events=tuple(
            replace(event, new_head=settings.reset_head and event.step > 0) for event in planned
        ),
        context=context,
        evaluation=None,
        probing=False,
        watch=watch,
        **_shared(params, backbone, setting, seeds, "stream_slope"),
    )


def _stream_architecture(params: Params, dataset: Dataset, run: StreamRun) -> Architecture:
    backbone = architecture(params, dataset)
    classes = streams.num_outputs(run.stream.rule, len(dataset.classes))
    if run.stream.rule == "slowly_changing_regression":
        return replace(backbone, image=(1, BITS, 1), trunk=(), classes=classes)
    return replace(backbone, classes=classes)


def _task_stream(
    params: Params, setting: Setting, seeds: tuple[int, ...], run: StreamRun
) -> TaskStream:
    images = _training_images(params, setting)
    source = _source(params, setting.dataset)
    _refuse_stream(params, source, seeds, run)
    return TaskStream(images, source, seeds, run.stream, run.steps, params.continual.batch)


def refuse_stream(params: Params, dataset: Dataset, seeds: Sequence[int], run: StreamRun) -> None:
    """Refuse a run in a stream that the data set cannot give, as ``continual_job`` would.

    Parameters
    ----------
    params, dataset, seeds
        Of the experiment.
    run
        Which learner, in which stream.

    Raises
    ------
    ConfigError
        Where a task would lack images of one of its classes, or there are fewer tasks than asked
        for.
    """
    if run.stream.rule != "slowly_changing_regression":
        own = run.resolved(params)
        _refuse_stream(own, _source(own, dataset), seeds, run)


def _refuse_stream(
    params: Params, source: streams.Source, seeds: Sequence[int], run: StreamRun
) -> None:
    streams.refuse_lost_classes(source, run.stream.rule, seeds, params.dataset)
    most = most_tasks(run.stream, source.num_classes)
    if most is not None and run.tasks > most:
        raise ConfigError(
            f"continual.streams: '{run.stream_name}' on {params.dataset}: {run.tasks} tasks, but "
            f"its {source.num_classes} classes are enough for {most}; set continual.tasks lower"
        )


def _source(params: Params, dataset: Dataset) -> streams.Source:
    settings = params.continual
    height, width = dataset.train_images.shape[2:]
    flat = params.network.kind == "mlp"
    return streams.Source(
        labels=dataset.train_labels.numpy(),
        positions=height * width * (dataset.train_images.shape[1] if flat else 1),
        num_classes=len(dataset.classes),
        num_images=None if settings.images == "all" else settings.images,
        subset=params.data.subset,
    )


def _tests(
    params: Params, setting: Setting, stream: TaskStream, run: StreamRun
) -> tuple[Images, Tensor] | None:
    if run.stream.rule != "split_classes":
        return None
    images = _resident(params, setting, setting.dataset.test_images, setting.dataset.test_labels)
    return images, stream.test_groups(images.labels, run.tasks)


@dataclass(frozen=True)
class _Start:
    """The distribution that a run's weights are drawn from, and go back to."""

    rule: str
    full: Architecture
    scaled_for: Architecture
    """Whose inputs set the bounds."""
    rescales: bool
    """Whether weights that start over later are on the scale of the inputs alive then."""

    @property
    def bounds(self) -> tuple[float, ...]:
        """Return the bound of each tensor of the weights."""
        return tuple(initial_bounds(self.scaled_for, self.rule))

    def rescale(self, alive: Sequence[int]) -> list[float]:
        """Return the factor of each tensor's bound with other numbers of units alive."""
        now = initial_bounds(self.full.with_units(alive), self.rule)
        return [new / old for new, old in zip(now, self.bounds, strict=True)]


def _start(params: Params, backbone: Architecture, alive: Sequence[int]) -> _Start:
    """Return how a network is drawn in which some units of each layer take part."""
    by_alive = params.network.fan_in == "alive"
    scaled_for = backbone.with_units(alive) if by_alive else backbone
    return _Start(params.network.init, backbone, scaled_for, by_alive)


def _weights(start: _Start, setting: Setting, seeds: Sequence[int], purpose: str) -> Weights:
    weights = initial_weights(
        start.full,
        seeds,
        start.rule,
        purpose=purpose,
        dtype=setting.dtype,
        scaled_for=start.scaled_for,
    )
    return weights.map(lambda tensor: tensor.to(setting.device))


def steps_per_epoch(params: Params, images: int) -> int:
    """Return the optimizer steps of an epoch on so many training images.

    Raises
    ------
    ConfigError
        When the images fill no batch and a partial one is dropped.
    """
    drop = params.train.last_batch == "drop"
    steps = batches_per_epoch(images, params.train.batch, drop_last=drop)
    if steps == 0:
        raise ConfigError(
            f"train.last_batch: got drop, but {images} training images fill no batch of "
            f"{params.train.batch}; use keep, or a smaller train.batch"
        )
    return steps


def _last_event(params: Params, total: int) -> float | None:
    """Return the step near which the last event of a run lies, or None for its cycle's start."""
    return None if params.edit.until == "last_cycle" else params.edit.until * total


def _to(masks: Masks, setting: Setting) -> Masks:
    return tuple(mask.to(setting.device) for mask in masks)


def _optimizer(train: Train) -> optim.Optimizer:
    return optim.Optimizer(train.optimizer, train.momentum, train.weight_decay)


def _asleep_on(
    params: Params, backbone: Architecture, setting: Setting, seeds: Sequence[int]
) -> Masks | None:
    masks = sleeping_masks(params, backbone, seeds)
    return None if masks is None else _to(masks, setting)


def _rules(params: Params) -> Rules:
    chosen, turnover = params.intervention, params.edit.turnover
    return Rules(
        chosen.selection.grow,
        chosen.selection.prune,
        chosen.insertion,
        chosen.optimizer_state,
        params.edit.maturity,
        transfer=params.op == "turnover" and turnover.options.get("transfer") == "on",
    )


def _shared(
    params: Params, backbone: Architecture, setting: Setting, seeds: Sequence[int], purpose: str
) -> dict[str, Any]:
    """Return what every job has from the interventions between events."""
    chosen = params.intervention
    fixed = activation_of(params)
    drawn = activation.slopes(
        chosen.activation.rule,
        chosen.activation.options,
        seeds,
        len(backbone.units),
        purpose,
    )

    def at(step: int) -> Activation:
        if drawn is None:
            return fixed
        slopes = torch.from_numpy(drawn(step)).to(setting.device, setting.dtype)
        return replace(fixed, slopes=slopes)

    keeps = params.op in REMOVING and chosen.selection.prune.rule == "contribution"
    utility = chosen.selection.prune if keeps else None
    turnover = params.edit.turnover
    resets = params.op == "turnover" and turnover.rule == "self_normalized_resets"
    pull = regularizer.TABLE[chosen.regularizer.rule](chosen.regularizer.options)
    return {
        "activation_at": at,
        "activation": fixed,
        "learning": Learning(
            chosen.gate, chosen.trainability, utility, pull, turnover if resets else None
        ),
        "through_trunk": params.edit.layers == "all",
        "products": _products(params, setting),
    }


def _products(params: Params, setting: Setting) -> torch.dtype | None:
    """Return the type of training's products, or None for that of the weights.

    Raises
    ------
    ConfigError
        For another type than that of the weights where these are no float32.
    """
    products = PRODUCTS[params.train.precision]
    if products is not None and setting.dtype != torch.float32:
        raise ConfigError(
            f"train.precision: got {params.train.precision}, but weights are {setting.dtype}; it "
            "is defined for float32 weights"
        )
    return products


def _context(
    params: Params,
    setting: Setting,
    seeds: tuple[int, ...],
    start: _Start,
    initial: Weights,
    batch_at: Callable[[int], Batch] | None = None,
) -> Context:
    """Return what events need; the probe is fixed unless a stream has one for every task."""
    if batch_at is None:
        fixed = _probe_batch(params, setting, seeds)
        batch_at = lambda step: fixed  # noqa: E731, ARG005
    return Context(
        rules=_rules(params),
        initial=initial,
        seeds=seeds,
        optimizer=_optimizer(params.train),
        activation=activation_of(params),
        batch_at=batch_at,
        threshold=params.measure.activation_threshold,
        rescale=start.rescale if start.rescales else None,
    )


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
    batch, drop = params.train.batch, params.train.last_batch == "drop"
    if params.train.augment == "none":
        return epoch_batches(images, seeds, batch, order, drop_last=drop)
    return epoch_batches(padded(images), seeds, batch, order, augment, drop_last=drop)


def _epoch_rate(params: Params, epochs: int) -> Callable[[int], float]:
    train, cycles = params.train, params.edit.cycles
    return lambda epoch: schedule.learning_rate(
        train.schedule, train.lr, epoch, epochs, cycles, train.hold
    )


def _evaluation(params: Params, setting: Setting, epochs: int) -> Evaluation:
    data = setting.dataset
    if params.measure.accuracy_on == "test":
        images = _resident(params, setting, data.test_images, data.test_labels)
    else:
        images = _resident(params, setting, data.validation_images, data.validation_labels)
    wanted = params.data.test_images
    count = len(images) if wanted == "all" else min(wanted, len(images))
    cycle = epochs // params.edit.cycles
    return Evaluation(
        images=images,
        subset=torch.arange(count),
        full_at=frozenset(range(cycle, epochs + 1, cycle)),
    )


def _probe_batch(params: Params, setting: Setting, seeds: Sequence[int]) -> Batch:
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
    return x, images.labels[index]

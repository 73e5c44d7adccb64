"""Values that are each allowed but make no sense together, with the reason and the way out."""

import math

from plasticity import catalogue, files
from plasticity.catalogue import ADDING, REMOVING
from plasticity.escapes import quoted
from plasticity.learners import StreamRun, stream_runs
from plasticity.sections import Choice, Params

EQUAL_COUNTS = ("gradmax", "tiny", "net2wider", "paired_cancel", "orthogonal")
"""Insertion rules that take newborns together."""
COMPENSATING = ("net2wider", "zero_in", "gradmax", "variance_transfer")
"""Insertion rules that change others so as to make up for newborns at full strength."""
ONE_SIDED = ("zero_out", "zero_in", "gradmax")
"""Insertion rules that give a newborn zeros on one side."""
AS_MANY_AS_ARE = {"redo": "dormant", "self_normalized_resets": "silent"}
"""Turnover rules that replace another number of units in every seed, and which units."""
AT_ANY_STEP = ("continual_backprop", "self_normalized_resets")
"""Turnover rules that replace units all the time."""
WHOLE = ("contribution", "hessian")
"""Prune rules that see newborns at full strength."""
HOLD = 0.6
"""Of ``params.yaml``, where nothing is held."""
SHOWING_ALL = ("permuted_inputs", "random_labels", "shuffled_labels")
"""Streams whose tasks show images of all classes."""
TURNING = ("grow_then_prune", "prune_then_grow")
"""Operators that change their direction."""


def impossible(params: Params) -> list[str]:
    """Return what is wrong with values that are each allowed but make no sense together."""
    edit, network, train = params.edit, params.network, params.train
    rules: list[tuple[bool, str]] = [
        (
            params.dataset == "folder" and not params.data.folder,
            "data.folder: is empty, but dataset is folder; name the folder that holds train and "
            "test",
        ),
        (
            params.dataset != "folder" and bool(params.data.folder),
            f"data.folder: got {quoted(params.data.folder)}, but dataset is {params.dataset}; set "
            "dataset=folder, or leave it empty",
        ),
        (
            network.kind == "mlp" and bool(network.trunk),
            f"network.trunk: got {list(network.trunk)}, but an mlp has no trunk; expected []",
        ),
        (
            network.kind == "convnet" and not network.trunk,
            "network.trunk: got [], but a convnet needs the channels of at least one layer",
        ),
        (
            network.kind == "convnet" and params.dataset == "digits",
            "network.kind: a convnet needs images of at least 28 x 28; digits has 8 x 8",
        ),
        (
            edit.allocation not in ("neutral", "erk") and len(network.widths) != 3,
            f"edit.allocation: '{edit.allocation}' is defined for three hidden layers, "
            f"network.widths has {len(network.widths)}; use neutral or erk",
        ),
        (
            train.epochs % edit.cycles != 0,
            f"train.epochs: got {train.epochs}, expected a multiple of edit.cycles ({edit.cycles})",
        ),
        (
            params.retrain.epochs % edit.cycles != 0,
            f"retrain.epochs: got {params.retrain.epochs}, expected a multiple of edit.cycles "
            f"({edit.cycles})",
        ),
        (
            params.op == "grow" and params.compactness < edit.seed_fraction,
            f"compactness: got {params.compactness}, but grow starts from edit.seed_fraction "
            f"({edit.seed_fraction}) and cannot end below it",
        ),
        (
            train.precision == "bfloat16" and train.device == "cuda",
            "train.device: got cuda, but train.precision is bfloat16, which is for the cpu and "
            "untried on cuda; use train.device: cpu, or train.precision: float32",
        ),
        (
            train.optimizer == "adam" and train.momentum != 0,
            f"train.momentum: got {train.momentum}, but adam has its own moments; use 0.0",
        ),
        (
            train.augment == "crop_flip"
            and params.dataset not in {"cifar10", "cifar100", "folder"},
            f"train.augment: crop_flip mirrors images, which changes what {params.dataset} "
            "shows; use none",
        ),
        (
            params.op in TURNING and edit.cycles < 2,
            f"edit.cycles: got {edit.cycles}, but {params.op} goes one way and then the other; "
            "expected at least 2",
        ),
        (
            train.schedule != "hold_cosine" and train.hold != HOLD,
            f"train.hold: got {train.hold:g}, but train.schedule is {train.schedule}, which holds "
            f"nothing; use hold_cosine, or leave train.hold at {HOLD:g}",
        ),
        (
            params.measure.accuracy_on == "validation" and params.data.validation == 0,
            "measure.accuracy_on: got validation, but data.validation puts no image aside; set it "
            "to some, or use test",
        ),
        *_impossible_windows(params),
        *_impossible_rewinds(params),
        *_impossible_rules(params),
    ]
    found = [message for wrong, message in rules if wrong]
    return found or _impossible_streams(params)


def _impossible_windows(params: Params) -> list[tuple[bool, str]]:
    """Return what is wrong with ending the events before the last cycle."""
    edit, op = params.edit, params.op
    chosen = edit.until != "last_cycle"
    got = f"edit.until: got {edit.until}, but"
    always = op == "turnover" and edit.turnover.rule in AT_ANY_STEP
    return [
        (
            chosen and params.train.schedule == "cosine_per_cycle",
            f"{got} train.schedule cosine_per_cycle starts over at the start of every cycle, where "
            "no event would be; use another schedule, or edit.until: last_cycle",
        ),
        (
            chosen and op == "single_event",
            f"{got} edit.at_epoch says when op=single_event grows; use edit.until: last_cycle",
        ),
        (
            chosen and always,
            f"{got} {edit.turnover.rule} replaces units all the time; use edit.until: last_cycle",
        ),
        (
            chosen and edit.cycles == 1,
            f"{got} edit.cycles is 1 and the only event is at step 0; use edit.until: last_cycle",
        ),
        (
            chosen and bool(params.continual.streams) and params.continual.edit_every != "spread",
            f"{got} continual.edit_every ({params.continual.edit_every}) says when the events of "
            "streams happen; use continual.edit_every: spread, or continual.streams: []",
        ),
    ]


def _impossible_rewinds(params: Params) -> list[tuple[bool, str]]:
    """Return what is wrong with starting over at events."""
    edit, op, insertion = params.edit, params.op, params.intervention.insertion.rule
    rewinds = edit.continuity == "rewind"
    grows = op in ("grow", "grow_then_prune", "prune_then_grow")
    return [
        (
            rewinds and op in ("turnover", "single_event"),
            f"edit.continuity: got rewind, but '{op}' never rewinds; use warm or paper",
        ),
        (
            rewinds
            and op in ("dense", "static", "grow", "late_reveal")
            and edit.rewind_when == "removed",
            f"edit.rewind_when: '{op}' removes no unit, so it would never rewind; use every_event",
        ),
        (
            rewinds and grows and edit.rewind_when == "every_event" and insertion != "late_init",
            f"intervention.insertion: got '{insertion}', but {op} goes back to the initial weights "
            "at every event, newborns too; use late_init, or edit.continuity: warm",
        ),
    ]


def _impossible_gates(params: Params) -> list[tuple[bool, str]]:
    """Return what is wrong with newborns that fade in."""
    chosen = params.intervention
    gate, insertion = chosen.gate.rule, chosen.insertion.rule
    fades = gate != "none" and params.op in ADDING
    prune = chosen.selection.prune.rule
    return [
        (
            fades and insertion in COMPENSATING,
            f"intervention.gate: got '{gate}', but '{insertion}' makes up for newborns at full "
            "strength at once, while they fade in; use gate: none, or another insertion",
        ),
        (
            fades and params.op == "late_reveal",
            f"intervention.gate: got '{gate}', but the units of op=late_reveal take part in full "
            "before they wake, and would fall to 0 then; use none",
        ),
        (
            fades and chosen.optimizer_state.rule == "warm_probe",
            f"intervention.gate: got '{gate}', but 'warm_probe' takes gradients of newborns at "
            "full strength, while they fade in; use gate: none, or another optimizer_state",
        ),
        (
            fades and params.op in REMOVING and prune in WHOLE,
            f"intervention.gate: got '{gate}', but '{prune}' judges units at full strength, while "
            "newborns fade in; use gate: none, or another rule of selection.prune",
        ),
        (
            fades
            and params.op == "turnover"
            and params.edit.turnover.options.get("transfer") == "on",
            f"intervention.gate: got '{gate}', but transfer takes the mean of units at full "
            "strength, while newborns fade in; use gate: none, or transfer: off",
        ),
    ]


def _impossible_replacements(params: Params) -> list[tuple[bool, str]]:
    """Return what is wrong with how many units events remove and replace."""
    op, edit, rule = params.op, params.edit, params.edit.turnover
    share = float(rule.options.get("share", 0.0))
    layers = _replaced(params, share) if op == "turnover" and rule.rule == "fraction" else []
    chosen = {
        "insertion": params.intervention.insertion.rule,
        "optimizer_state": params.intervention.optimizer_state.rule,
    }
    moves_means = op == "turnover" and rule.options.get("transfer") == "on"
    removes = (op == "prune" and params.compactness < 1) or (
        op == "prune_then_grow" and edit.trough < 1
    )
    return [
        (
            removes and edit.maturity > 0,
            f"edit.maturity: got {edit.maturity}, but op={op} removes units at step 0, when nobody "
            "is that old; use 0",
        ),
        (
            rule.options.get("slots") == "other"
            and any(masked < moved for masked, _, moved in layers),
            f"edit.turnover: got share {share:g} of other slots, but with compactness "
            f"{params.compactness:g} a layer has fewer masked slots than units to replace; use "
            "slots: same, or a lower compactness",
        ),
        (
            moves_means and params.intervention.activation.rule == "crelu",
            "edit.turnover: got transfer: on, but with crelu a unit feeds others by two weights "
            "each, and no bias takes its mean over; use transfer: off, or another activation",
        ),
        (
            moves_means and edit.layers == "all",
            "edit.turnover: got transfer: on, but a channel feeds others by many weights each, and "
            "no bias takes its mean over; use transfer: off, or edit.layers: head",
        ),
        *(
            (
                name in catalogue.MATCHING[family]
                and any(kept <= moved for _, kept, moved in layers),
                f"intervention.{family}: '{name}' matches newborns to the units that stay, but "
                f"edit.turnover with share {share:g} replaces all units of a layer; use a lower "
                "share, or another rule",
            )
            for family, name in chosen.items()
        ),
    ]


def _replaced(params: Params, share: float) -> list[tuple[int, int, int]]:
    """Return masked slots, units and units that an event replaces, for each layer in question.

    Allocations but neutral are known only with the data's size; then a full network alone is
    looked at, and whether everybody goes.
    """
    network, kept = params.network, params.compactness
    widths = (*network.widths, *(network.trunk if params.edit.layers == "all" else ()))
    if params.edit.allocation != "neutral" and kept < 1:
        return [(1, 1, 1)] if share == 1 else []
    units = [max(1, round(kept * width)) for width in widths]
    return [
        (width - count, count, max(1, round(share * count)))
        for width, count in zip(widths, units, strict=True)
    ]


def _impossible_moments(params: Params) -> list[tuple[bool, str]]:
    """Return what is wrong with moments that newborns are given."""
    rule = params.intervention.optimizer_state
    batches, limits = (
        int(rule.options.get("batches", 0)),
        {
            "measure.probe_images": params.measure.probe_images,
            "data.train_images": params.data.train_images,
            "continual.images": params.continual.images if params.continual.streams else "all",
        },
    )
    return [
        (
            params.train.optimizer == "sgd" and rule.options.get("moments") == "second",
            "intervention.optimizer_state: 'donor' with moments: second needs adam's second "
            "moment, but sgd has none; use both or first, or train.optimizer: adam",
        ),
        *(
            (
                rule.rule == "warm_probe" and limit != "all" and batches > limit,
                f"intervention.optimizer_state: 'warm_probe' got {batches} batches, but {name} is "
                f"{limit}, less than an image for each; use at most {limit}",
            )
            for name, limit in limits.items()
        ),
    ]


def _impossible_streams(params: Params) -> list[str]:
    """Return what is wrong with the runs of the continual stage."""
    settings = params.continual
    total = settings.tasks * settings.steps
    found = [
        f"continual.sweep: {steps} steps per task are more than the stream's "
        f"{settings.tasks} x {settings.steps}"
        for steps in settings.sweep
        if steps > total
    ]
    for run in stream_runs(params).values():
        own = run.resolved(params)
        found += [message for wrong, message in _impossible_clock(run, own) if wrong]
        found += [
            f"continual.learners: '{run.learner}' in {run.stream_name}: {message}"
            for wrong, message in [*_impossible_rules(own), *_impossible_on(run, own)]
            if wrong
        ]
    return found


def _impossible_clock(run: StreamRun, own: Params) -> list[tuple[bool, str]]:
    """Return what is wrong with when the events of a stream happen."""
    op, edit, length = own.op, own.edit, run.tasks * run.steps
    every = own.continual.every(run.steps, length)
    edits = own.continual.num_edits(every, length)
    who = f"'{run.learner}' in {run.stream_name}"
    return [
        (
            op != "single_event" and own.continual.edits != "all" and edits * every > length,
            f"continual.edit_every: {edits} events every {every} steps do not fit in "
            f"{run.tasks} tasks of {run.steps} steps ({length})",
        ),
        (
            op == "single_event" and edit.at_epoch >= run.tasks,
            f"edit.at_epoch: got {edit.at_epoch}, but {who} has {run.tasks} tasks and would never "
            "grow; expected less than that, or continual.streams: []",
        ),
        (
            op in TURNING and edits < 2,
            f"continual.edits: got {edits} for {who}, but {op} goes one way and then the other; "
            "expected at least 2",
        ),
        (
            op == "turnover"
            and edit.turnover.rule == "fraction"
            and edits > 1
            and 0 < edit.maturity >= every,
            f"edit.maturity: got {edit.maturity}, but the first units of {who} are replaced after "
            f"{every} steps, when nobody is older than that; expected less than {every}",
        ),
    ]


def most_tasks(stream: Choice, classes: int) -> int | None:
    """Return how many tasks a stream has, or None where there is always one more."""
    match stream.rule:
        case "class_pairs":
            return classes * (classes - 1) // 2
        case "five_plus_one":
            return 2 * (classes // 6)
        case "split_classes":
            return classes // int(stream.options["classes"])
    return None


def _num_classes(params: Params) -> int | None:
    """Return the classes of the data set; None for a folder that is not here, as after a pull."""
    known = catalogue.DATASETS[params.dataset].classes
    return files.count_classes(params.data.folder) if known is None else known


def _impossible_on(run: StreamRun, own: Params) -> list[tuple[bool, str]]:
    """Return what is wrong with a stream on this data set."""
    stream, classes = run.stream, _num_classes(own)
    limit = None if classes is None else most_tasks(stream, classes)
    rules = own.intervention.optimizer_state.rule, own.intervention.selection.prune.rule
    return [
        (
            limit is not None and run.tasks > limit,
            f"{run.tasks} tasks, but {own.dataset} has {classes} classes, enough for {limit}; set "
            "continual.tasks lower",
        ),
        (
            classes is not None
            and own.continual.images != "all"
            and own.continual.images < classes
            and stream.rule in SHOWING_ALL,
            f"continual.images: got {own.continual.images}, but every task shows all {classes} "
            f"classes of {own.dataset}; use at least {classes}, or all",
        ),
        (
            stream.rule == "slowly_changing_regression"
            and ("warm_probe" in rules or "hessian" in rules),
            "warm_probe and hessian are defined for classes alone",
        ),
        (
            own.continual.batch == 1 and int(stream.options.get("replay", 0)) > 0,
            "replay fills half of every batch, but continual.batch is 1, of which no image is left "
            "for it; use at least 2, or replay: 0",
        ),
        (
            bool(own.continual.trunk) and own.dataset == "digits",
            "continual.trunk: a trunk needs images of at least 28 x 28; digits has 8 x 8",
        ),
    ]


def _impossible_rules(params: Params) -> list[tuple[bool, str]]:
    """Return what is wrong with rules that do not go together."""
    edit, chosen, train = params.edit, params.intervention, params.train
    stateless = train.optimizer == "sgd" and train.momentum == 0
    state, trunk = chosen.optimizer_state.rule, edit.layers == "all"
    used = (
        ("selection.grow", catalogue.GROW_SELECTION, chosen.selection.grow),
        ("selection.prune", catalogue.PRUNE_SELECTION, chosen.selection.prune),
        ("insertion", catalogue.INSERTION, chosen.insertion),
    )
    return [
        (
            stateless and state != "zero_step",
            f"intervention.optimizer_state: '{state}' handles moments, but sgd without momentum "
            "has none; use adam, or zero_step, or train.momentum, which streams do not have",
        ),
        (
            train.optimizer == "sgd" and state == "rms_only",
            "intervention.optimizer_state: 'rms_only' needs adam's second moment",
        ),
        (
            trunk and params.network.kind == "mlp",
            "edit.layers: 'all' adds the trunk's channels, but an mlp has no trunk; use head",
        ),
        (
            trunk and edit.allocation != "neutral",
            f"edit.allocation: '{edit.allocation}' is defined for hidden layers alone; use neutral "
            "with edit.layers: all",
        ),
        *(
            (
                trunk and not table[choice.rule].trunk,
                f"intervention.{name}: '{choice.rule}' is not defined for channels of a "
                "convolution; use another or edit.layers: head",
            )
            for name, table, choice in used
        ),
        *(
            (
                chosen.activation.rule == "crelu" and not table[choice.rule].trunk,
                f"intervention.{name}: '{choice.rule}' needs one outgoing weight per pair of "
                "units; crelu has two",
            )
            for name, table, choice in used
        ),
        (
            chosen.normalisation.rule != "none" and chosen.gate.rule != "none",
            f"intervention.normalisation: '{chosen.normalisation.rule}' counts every alive unit in "
            f"full, also one that fades in by '{chosen.gate.rule}'; use none for one of the two",
        ),
        *_impossible_gates(params),
        *_impossible_replacements(params),
        *_impossible_moments(params),
        (
            chosen.regularizer.rule == "shrink_perturb" and params.op == "late_reveal",
            "intervention.regularizer: 'shrink_perturb' moves all units at every step, but those "
            "of op=late_reveal stand still until they wake; use none, l2 or l2_init",
        ),
        (
            chosen.regularizer.rule == "shrink_perturb"
            and chosen.trainability.rule == "freeze_incumbents"
            and params.op in ADDING,
            "intervention.regularizer: 'shrink_perturb' moves all units at every step, but "
            "'freeze_incumbents' holds some still; use another rule for one of the two",
        ),
        (
            float(chosen.activation.options.get("lower", 0.0))
            > float(chosen.activation.options.get("upper", math.inf)),
            f"intervention.activation: '{chosen.activation.rule}' draws slopes between lower "
            f"({chosen.activation.options.get('lower')}) and upper "
            f"({chosen.activation.options.get('upper')}); expected lower to be the smaller",
        ),
        (
            params.op == "turnover" and chosen.insertion.rule == "gradient_matched",
            "intervention.insertion: 'gradient_matched' needs the gradient of the new weights, but "
            "op=turnover measures the replaced unit's; use norm_matched",
        ),
        (
            params.op == "turnover"
            and edit.turnover.rule in AS_MANY_AS_ARE
            and chosen.insertion.rule in EQUAL_COUNTS,
            f"intervention.insertion: '{chosen.insertion.rule}' makes the same number of newborns "
            f"in every seed, but {edit.turnover.rule} replaces as many as are "
            f"{AS_MANY_AS_ARE.get(edit.turnover.rule)}; use zero_out or another",
        ),
        (
            params.op == "turnover"
            and edit.turnover.rule == "self_normalized_resets"
            and chosen.activation.rule == "crelu",
            "edit.turnover: 'self_normalized_resets' replaces units that are silent, but with "
            "crelu one of a unit's two outputs is always active; use another activation",
        ),
        (
            params.op == "late_reveal" and chosen.trainability.rule != "none",
            "intervention.trainability: op=late_reveal decides itself who learns; use none",
        ),
        (
            chosen.trainability.rule == "cohort_rates"
            and params.op in ADDING
            and chosen.insertion.rule in ONE_SIDED,
            "intervention.trainability: 'cohort_rates' sets a rate by the norm of weights, but "
            f"'{chosen.insertion.rule}' starts one side of a newborn at 0, which would hardly "
            "leave it; use another rule for one of the two",
        ),
        (
            params.op == "late_reveal" and chosen.insertion.rule != "late_init",
            "intervention.insertion: op=late_reveal has its units from the start; use late_init",
        ),
        (
            params.op in ("late_reveal", "single_event", "grow_then_prune", "prune_then_grow")
            and params.compactness < edit.seed_fraction,
            f"compactness: got {params.compactness}, but {params.op} starts from "
            f"edit.seed_fraction ({edit.seed_fraction}) and cannot end below it",
        ),
        (
            params.op == "grow_then_prune" and edit.peak < params.compactness,
            f"edit.peak: got {edit.peak}, expected at least compactness ({params.compactness})",
        ),
        (
            params.op == "prune_then_grow" and edit.trough > params.compactness,
            f"edit.trough: got {edit.trough}, expected at most compactness ({params.compactness})",
        ),
        (
            params.op == "single_event" and edit.at_epoch >= train.epochs,
            f"edit.at_epoch: got {edit.at_epoch}, expected less than train.epochs ({train.epochs})",
        ),
        (
            chosen.selection.prune.rule == "contribution"
            and params.op in REMOVING
            and chosen.activation.rule == "crelu",
            "intervention.selection.prune: 'contribution' is not defined for crelu",
        ),
    ]

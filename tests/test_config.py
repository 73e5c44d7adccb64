import copy
import itertools
import shutil
import time
from pathlib import Path

import pytest
import yaml
from commands import python
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plasticity import catalogue, config, sections
from plasticity.errors import ConfigError
from plasticity.yaml12 import read_yaml

ROOT = Path(__file__).resolve().parents[1]
REAL = (ROOT / "params.yaml").read_text()
TREE = yaml.safe_load(REAL)
TREE["presets"] = {  # those used below, so that a file is read in a tenth of a second
    "quick": {name: TREE["presets"]["quick"][name] for name in ("digits", "fashion_mnist")},
    "laptop": {"cifar10": TREE["presets"]["laptop"]["cifar10"]},
}
SECTIONS = tuple(sections.Params.model_fields)
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("[!_]*.py"))
BESIDE = ["compare", "doctor", "export", "study"]
"""Modules of ``stages`` that the pipeline does not run."""
REMOVED = None
CIFAR_LAPTOP = {"dataset": "cifar10", "scale": "laptop"}

WRONG = {
    # name: (changes of params.yaml as YAML text, or the whole file; what the message must say)
    # -- misspelt or unknown keys
    "unknown key at the top": ({"compactnes": "0.5"}, ["compactnes:", "'compactness'"]),
    "unknown key in a section": ({"train.epoch": "5"}, ["train.epoch:", "'epochs'"]),
    "unknown key two deep": (
        {"intervention.selection.grwo": "random"},
        ["intervention.selection.grwo:", "'grow'"],
    ),
    "unknown section": ({"trian": "{seeds: 3}"}, ["trian:", "'train'"]),
    "unknown key that is a number": ({"train.7": "3"}, ["train.7: unknown key"]),
    "unknown key that is null": (
        {"train.epoch": "null"},
        ["train.epoch: unknown key", "'epochs'"],
    ),
    "unknown key named like a type": ({"train.int": "3"}, ["train.int: unknown key"]),
    "unknown top key named like a type": ({"int": "3"}, ["int: unknown key"]),
    "unknown key in the preset": (
        {"presets.quick.digits.retrain": "{epochs: 50, seedz: 3}"},
        ["presets.quick.digits.retrain.seedz: unknown key"],
    ),
    "unknown section in the preset": (
        {"presets.quick.digits.trian": "{seeds: 3}"},
        ["presets.quick.digits.trian: no section 'trian'"],
    ),
    # -- misspelt or unknown names
    "operator misspelt": ({"op": "grwo"}, ["op:", "'grwo'", "'grow'", "dense, grow, prune"]),
    "operator no": ({"op": "no"}, ["op:", "'no'", "dense, grow, prune, static"]),
    "data set misspelt": ({"dataset": "fashion"}, ["dataset:", "'fashion_mnist'"]),
    "scale misspelt": ({"scale": "tinny"}, ["scale:", "'tiny'", "laptop"]),
    "device unknown": ({"train.device": "gpu"}, ["train.device:", "'gpu'", "'cpu'"]),
    "optimizer misspelt": ({"train.optimizer": "adm"}, ["train.optimizer:", "'adam'"]),
    "optimizer misspelt in the preset": (
        {"presets.quick.digits.continual.optimizer": "adma"},
        ["presets.quick.digits.continual.optimizer:", "'adam'"],
    ),
    "selection misspelt": (
        {"intervention.selection.prune": "incoming_magnitud"},
        ["intervention.selection.prune:", "'incoming_magnitud'", "'incoming_magnitude'"],
    ),
    "births that differ between seeds": (
        {
            "op": "turnover",
            "edit.turnover": "redo",
            "intervention.insertion": "net2wider",
        },
        ["intervention.insertion:", "'net2wider'", "redo replaces as many as are dormant"],
    ),
    "resets that differ between seeds": (
        {
            "op": "turnover",
            "edit.turnover": "self_normalized_resets",
            "intervention.insertion": "paired_cancel",
        },
        ["intervention.insertion:", "'paired_cancel'", "replaces as many as are silent"],
    ),
    "silence of what is never silent": (
        {
            "op": "turnover",
            "edit.turnover": "self_normalized_resets",
            "intervention.activation": "crelu",
        },
        ["edit.turnover:", "'self_normalized_resets'", "crelu", "another activation"],
    ),
    "insertion unknown": (
        {"intervention.insertion": "net2widr"},
        ["intervention.insertion:", "'net2widr'", "did you mean 'net2wider'", "late_init"],
    ),
    "allocation misspelt": (
        {"edit.allocation": "fc1protect"},
        ["edit.allocation:", "'fc1_protect'"],
    ),
    "stream misspelt": (
        {"continual.streams": "[random_labels, permuted_input]"},
        ["continual.streams.1:", "'permuted_inputs'"],
    ),
    "stream named twice": (
        {"continual.streams": "[random_labels, random_labels]"},
        ["continual.streams:", "twice"],
    ),
    "variant unknown": (
        {"retrain.variants": "[physical_original]"},
        ["retrain.variants.0:", "'physical_fresh'"],
    ),
    # -- wrong types
    "true for an integer": ({"train.seeds": "true"}, ["train.seeds:", "True", "integer"]),
    "true for one of two numbers": ({"edit.cycle_index": "true"}, ["edit.cycle_index:", "True"]),
    "true for a fraction": ({"compactness": "true"}, ["compactness:", "True", "number"]),
    "true for a number or all": ({"train.workers": "true"}, ["train.workers:", "'all'"]),
    "true inside a list": ({"network.widths": "[9, true]"}, ["network.widths.1:", "True"]),
    "yes for a name": ({"op": "yes"}, ["op:", "'yes'"]),
    "text for an integer": ({"train.epochs": '"50"'}, ["train.epochs:", "'50'", "integer"]),
    "text for a float": ({"train.lr": "0,1"}, ["train.lr:", "'0,1'", "number"]),
    "thousands with underscores": ({"measure.probe_images": "1_000"}, ["measure.probe_images:"]),
    "float for an integer": ({"train.batch": "32.0"}, ["train.batch:", "32.0", "integer"]),
    "number for a name": ({"op": "3"}, ["op:", "3", "string"]),
    "list for a name": ({"op": "[grow]"}, ["op:", "['grow']"]),
    "list for the data set": ({"dataset": "[digits]"}, ["dataset:", "['digits']"]),
    "mapping for the data set": ({"dataset": "{name: digits}"}, ["dataset:"]),
    "list for the scale": ({"scale": "[quick]"}, ["scale:", "['quick']"]),
    "number for a list": ({"network.widths": "256"}, ["network.widths:", "256"]),
    "name for a list": ({"continual.streams": "random_labels"}, ["continual.streams:"]),
    "list for a section": ({"measure": "[1, 2]"}, ["measure:", "[1, 2]"]),
    "name for a section": ({"intervention.selection": "random"}, ["intervention.selection:"]),
    "date for a title": ({"report.title": "2026-01-01"}, ["report.title:", "string"]),
    "all where all makes no sense": ({"train.seeds": "all"}, ["train.seeds:", "'all'"]),
    # -- wrong numbers
    "not a number": ({"train.lr": ".nan"}, ["train.lr:", "nan", "finite"]),
    "infinite": ({"train.lr": ".inf"}, ["train.lr:", "inf", "finite"]),
    "minus infinite": ({"train.weight_decay": "-.inf"}, ["train.weight_decay:", "-inf"]),
    "infinite without an upper bound": (
        {"measure.activation_threshold": ".inf"},
        ["measure.activation_threshold:", "inf", "finite"],
    ),
    "too large for a float": ({"train.lr": "1e999"}, ["train.lr:", "inf", "finite"]),
    "negative fraction": ({"compactness": "-0.5"}, ["compactness:", "-0.5", "greater than 0"]),
    "fraction above one": ({"compactness": "1.5"}, ["compactness:", "1.5", "1"]),
    "zero fraction": ({"edit.seed_fraction": "0"}, ["edit.seed_fraction:", "greater than 0"]),
    "zero seeds": ({"continual.seeds": "0"}, ["continual.seeds:", "0"]),
    "zero cycles": ({"edit.cycles": "0"}, ["edit.cycles:", "0"]),
    "zero units": ({"network.widths": "[9, 0]"}, ["network.widths.1:", "0"]),
    "negative validation": ({"data.validation": "-1"}, ["data.validation:", "-1"]),
    "momentum of one": ({"train.momentum": "1"}, ["train.momentum:", "less than 1"]),
    "first seed below 0": ({"train.first_seed": "-1"}, ["train.first_seed: got -1", "0"]),
    "first seed that is a list": ({"train.first_seed": "[0, 1]"}, ["train.first_seed", "integer"]),
    "huge number of seeds": ({"train.seeds": "1001"}, ["train.seeds:", "1001", "1000"]),
    "huge learning rate": ({"train.lr": "1e9"}, ["train.lr:", "100"]),
    "number of five thousand digits": ({"train.seeds": "9" * 5000}, ["digits"]),
    "no layer": ({"network.widths": "[]"}, ["network.widths:", "[]"]),
    "nine layers": ({"network.widths": "[9, 9, 9, 9, 9, 9, 9, 9, 9]"}, ["network.widths:", "8"]),
    # -- nothing where something must be
    "null without a preset value": ({"edit.cycles": "null"}, ["edit.cycles: is null"]),
    "null choice without a preset value": (
        {"edit.continuity": "null"},
        ["edit.continuity: is null"],
    ),
    "null operator": ({"op": "null"}, ["op: is null"]),
    "null data set": ({"dataset": "null"}, ["1 error in", "dataset: is null"]),
    "null scale": ({"scale": "null"}, ["1 error in", "scale: is null"]),
    "null operator beside an unknown data set": (
        {"op": "null", "dataset": "elephant"},
        ["2 errors in", "op: is null", "dataset: unknown 'elephant'"],
    ),
    "unknown key that is null beside an unknown scale": (
        {"train.epoch": "null", "scale": "elephant"},
        ["train.epoch: unknown key", "scale: unknown 'elephant'"],
    ),
    "null in the preset too": (
        {"presets.quick.digits.train.seeds": "null"},
        ["train.seeds: is null"],
    ),
    "missing section": ({"measure": REMOVED}, ["measure: is missing"]),
    "missing section with a preset": ({"train": REMOVED}, ["train: is missing"]),
    "missing key": ({"edit.cycles": REMOVED}, ["edit.cycles: is missing"]),
    "missing presets": ({"presets": REMOVED}, ["presets.quick.digits:"]),
    "missing preset of the pair": (
        {"presets.quick.digits": REMOVED},
        ["presets.quick.digits:"],
    ),
    "preset that is a list": ({"presets.quick.digits": "[1, 2]"}, ["presets.quick.digits:"]),
    "preset section that is a number": (
        {"presets.quick.digits.retrain": "50"},
        ["presets.quick.digits.retrain: got 50"],
    ),
    # -- no parameters at all
    "empty file": ("", ["got NoneType", "mapping"]),
    "comments only": ("# nothing\n", ["got NoneType", "mapping"]),
    "list instead of a mapping": ("- op\n- grow\n", ["got list", "mapping"]),
    "text instead of a mapping": ("grow\n", ["got str", "mapping"]),
    "unclosed bracket": ("op: [grow\n", ["line 2"]),
    "tab for a space": ("op:\tgrow\n\tdataset: digits\n", ["line 1", "'\\t'"]),
    "two documents": ("op: grow\n---\nop: prune\n", ["single document", "line 2"]),
    "duplicate key": (f"{REAL}\nop: prune\n", ["'op' stands twice"]),
    "duplicate key in a section": (
        REAL.replace("  momentum: 0.0", "  momentum: 0.0\n  momentum: 0.9"),
        ["'momentum' stands twice"],
    ),
    "list for a key": ("? [a, b]\n: 1\n", ["line 1", "no name"]),
    "Python object": ("op: !!python/name:os.system\n", ["line 1", "python/name"]),
    "value against its tag": ("op: !!bool maybe\n", ["params.yaml:"]),
    "date against its tag": ("op: !!timestamp soon\n", ["params.yaml:"]),
    "nested without end": ("op: " + "[" * 3000, ["params.yaml:"]),
    "not text": (b"op: \xff\xfe\n", ["utf-8"]),
    # -- impossible pairs
    "grow that ends below its seed": (
        {"op": "grow", "compactness": "0.05"},
        ["compactness:", "0.05", "seed_fraction", "0.1"],
    ),
    "bfloat16 on cuda": (
        {"train.precision": "bfloat16", "train.device": "cuda"},
        ["train.device:", "cuda", "bfloat16", "train.device: cpu"],
    ),
    "allocation for another depth": (
        {"edit.allocation": "ends_skewed"},
        ["edit.allocation:", "three", "2"],
    ),
    "allocation with an edited trunk": (
        {**CIFAR_LAPTOP, "edit.layers": "all", "edit.allocation": "erk"},
        ["edit.allocation:", "'erk'", "hidden layers alone"],
    ),
    "epochs between cycles": ({"train.epochs": "52"}, ["train.epochs:", "52", "multiple"]),
    "retraining epochs between cycles": ({"retrain.epochs": "7"}, ["retrain.epochs:", "7"]),
    "convnet on small images": (
        {"network.kind": "convnet", "network.trunk": "[4]"},
        ["network.kind:", "digits"],
    ),
    "mlp with a trunk": ({"network.trunk": "[16]"}, ["network.trunk:", "[16]", "mlp"]),
    "convnet without a trunk": (
        {**CIFAR_LAPTOP, "network.trunk": "[]"},
        ["network.trunk:", "convnet"],
    ),
    "dense that would never rewind": (
        {"op": "dense", "edit.continuity": "rewind"},
        ["edit.rewind_when:", "dense", "every_event"],
    ),
    "static that would never rewind": (
        {"op": "static", "edit.continuity": "rewind"},
        ["edit.rewind_when:", "static", "every_event"],
    ),
    "grow that would never rewind": (
        {"op": "grow", "edit.continuity": "rewind"},
        ["edit.rewind_when:", "grow", "every_event"],
    ),
    "sleepers that would never rewind": (
        {"op": "late_reveal", "edit.continuity": "rewind"},
        ["edit.rewind_when:", "late_reveal", "every_event"],
    ),
    "turnover does not rewind": (
        {"op": "turnover", "edit.continuity": "rewind"},
        ["edit.continuity:", "'turnover' never rewinds", "warm"],
    ),
    "a single event does not rewind": (
        {"op": "single_event", "edit.continuity": "rewind", "edit.rewind_when": "every_event"},
        ["edit.continuity:", "'single_event' never rewinds"],
    ),
    "a rewind over the newborns' weights": (
        {
            "op": "grow",
            "edit.continuity": "rewind",
            "edit.rewind_when": "every_event",
            "intervention.insertion": "zero_out",
        },
        ["intervention.insertion:", "'zero_out'", "use late_init"],
    ),
    "adam with momentum": (
        {"train.optimizer": "adam", "train.momentum": "0.9"},
        ["train.momentum:", "0.9", "adam"],
    ),
    "a hold that nothing uses": (
        {"train.hold": "0.5"},
        ["train.hold: got 0.5", "cosine", "use hold_cosine"],
    ),
    "a hold of everything": (
        {"train.schedule": "hold_cosine", "train.hold": "1.0"},
        ["train.hold:", "less than 1"],
    ),
    **{
        f"cohort rates of what {rule} starts at 0": (
            {"intervention.trainability": "cohort_rates", "intervention.insertion": rule},
            ["intervention.trainability: 'cohort_rates'", f"'{rule}'", "another rule"],
        )
        for rule in ("zero_out", "zero_in", "gradmax")
    },
    "accuracy on no images": (
        {"measure.accuracy_on": "validation"},
        ["measure.accuracy_on:", "data.validation"],
    ),
    "events up to no share": ({"edit.until": "half"}, ["edit.until:", "'half'", "'last_cycle'"]),
    "events up to the very end": ({"edit.until": "1.0"}, ["edit.until:", "between 0 and 1"]),
    "a window with rates that start over": (
        {"edit.until": "0.4", "train.schedule": "cosine_per_cycle"},
        ["edit.until: got 0.4", "cosine_per_cycle"],
    ),
    "a window for one event": (
        {"edit.until": "0.4", "op": "single_event"},
        ["edit.until: got 0.4", "edit.at_epoch"],
    ),
    **{
        f"a window for {rule}, which happens all the time": (
            {"edit.until": "0.4", "op": "turnover", "edit.turnover": rule},
            ["edit.until: got 0.4", rule],
        )
        for rule in ("continual_backprop", "self_normalized_resets")
    },
    "a window for the event at step 0": (
        {"edit.until": "0.4", "edit.cycles": "1"},
        ["edit.until: got 0.4", "edit.cycles is 1"],
    ),
    "a window in a stream with a clock of its own": (
        {"edit.until": "0.4"},
        ["edit.until: got 0.4", "continual.edit_every (500)", "spread"],
    ),
    "fewer images of a task than classes": (
        {"continual.images": "9"},
        ["continual.images: got 9", "all 10 classes"],
    ),
    "mirrored digits": ({"train.augment": "crop_flip"}, ["train.augment:", "digits", "none"]),
    "mirrored clothes": (
        {"dataset": "fashion_mnist", "train.augment": "crop_flip"},
        ["train.augment:", "fashion_mnist"],
    ),
    "normalised units that fade in": (
        {"intervention.normalisation": "layer_norm", "intervention.gate": "linear"},
        ["intervention.normalisation:", "'layer_norm'", "'linear'", "use none for one"],
    ),
    **{
        f"fading in what {rule} makes up for": (
            {"intervention.insertion": rule, "intervention.gate": "cosine"},
            ["intervention.gate:", "'cosine'", f"'{rule}'", "gate: none"],
        )
        for rule in ("net2wider", "zero_in", "gradmax", "variance_transfer")
    },
    "sleepers that fade in": (
        {"op": "late_reveal", "intervention.gate": "linear"},
        ["intervention.gate:", "'linear'", "late_reveal", "use none"],
    ),
    "gradients of what fades in": (
        {
            "intervention.optimizer_state": "warm_probe",
            "intervention.gate": "linear",
            "train.optimizer": "adam",
        },
        ["intervention.gate:", "'linear'", "'warm_probe'", "gate: none"],
    ),
    **{
        f"{rule} of what fades in": (
            {
                "op": "turnover",
                "edit.turnover": "fraction",
                "intervention.gate": "linear",
                "intervention.selection.prune": rule,
            },
            ["intervention.gate:", "'linear'", f"'{rule}'", "gate: none"],
        )
        for rule in ("contribution", "hessian")
    },
    "means of what fades in": (
        {
            "op": "turnover",
            "edit.turnover": "{rule: continual_backprop, transfer: on}",
            "intervention.gate": "linear",
        },
        ["intervention.gate:", "'linear'", "transfer", "gate: none"],
    ),
    "sleepers that are moved": (
        {"op": "late_reveal", "intervention.regularizer": "shrink_perturb"},
        ["intervention.regularizer:", "'shrink_perturb'", "late_reveal", "l2_init"],
    ),
    "frozen units that are moved": (
        {
            "intervention.regularizer": "shrink_perturb",
            "intervention.trainability": "freeze_incumbents",
        },
        ["intervention.regularizer:", "'shrink_perturb'", "'freeze_incumbents'"],
    ),
    "normalisation misspelt": (
        {"intervention.normalisation": "layernorm"},
        ["intervention.normalisation:", "'layernorm'", "'layer_norm'"],
    ),
    "null normalisation": ({"intervention.normalisation": "null"}, ["normalisation:", "null"]),
    # -- events that would fail, or do nothing
    "a first event before anybody is mature": (
        {"op": "prune", "edit.maturity": "1"},
        ["edit.maturity: got 1", "op=prune", "step 0", "use 0"],
    ),
    "a turn before anybody is mature": (
        {"op": "prune_then_grow", "edit.maturity": "9"},
        ["edit.maturity: got 9", "op=prune_then_grow"],
    ),
    "a replacement before anybody is mature": (
        {"op": "turnover", "edit.maturity": "500"},
        ["edit.maturity: got 500", "'operator' in permuted_inputs", "less than 500"],
    ),
    "two directions in one cycle": (
        {"op": "grow_then_prune", "edit.cycles": "1"},
        ["edit.cycles: got 1", "grow_then_prune", "at least 2"],
    ),
    "two directions in one event of a stream": (
        {"op": "prune_then_grow", "continual.edits": "1"},
        ["continual.edits: got 1", "'operator' in permuted_inputs", "at least 2"],
    ),
    "other slots of a full network": (
        {"op": "turnover", "compactness": "1.0", "edit.turnover": "{rule: fraction, slots: other}"},
        ["edit.turnover: got share 0.1", "compactness 1", "slots: same"],
    ),
    "more other slots than there are": (
        {
            "op": "turnover",
            "compactness": "0.8",
            "edit.turnover": "{rule: fraction, share: 0.5, slots: other}",
        },
        ["edit.turnover: got share 0.5", "compactness 0.8"],
    ),
    "everybody replaced by what matches those that stay": (
        {
            "op": "turnover",
            "edit.turnover": "{rule: fraction, share: 1.0}",
            "intervention.insertion": "norm_matched",
        },
        ["intervention.insertion: 'norm_matched'", "share 1", "lower share"],
    ),
    "everybody replaced by what has the moments of those that stay": (
        {
            "op": "turnover",
            "edit.turnover": "{rule: fraction, share: 1.0}",
            "intervention.optimizer_state": "donor",
            "train.optimizer": "adam",
        },
        ["intervention.optimizer_state: 'donor'", "share 1"],
    ),
    "a turnover of nobody": (
        {"op": "turnover", "edit.turnover": "{rule: fraction, share: 0.0}"},
        ["edit.turnover: fraction: share: got 0.0", "from 1e-06 to 1"],
    ),
    "a mean that two weights pass on": (
        {
            "op": "turnover",
            "edit.turnover": "{rule: continual_backprop, transfer: on}",
            "intervention.activation": "crelu",
        },
        ["edit.turnover: got transfer: on", "crelu", "transfer: off"],
    ),
    "a mean that many weights pass on": (
        {
            **CIFAR_LAPTOP,
            "op": "turnover",
            "edit.layers": "all",
            "edit.turnover": "{rule: continual_backprop, transfer: on}",
        },
        ["edit.turnover: got transfer: on", "channel", "edit.layers: head"],
    ),
    "growth after the end of a stream": (
        {"op": "single_event", "edit.at_epoch": "10"},
        ["edit.at_epoch: got 10", "10 tasks", "continual.streams: []"],
    ),
    "a second moment that sgd does not have": (
        {
            "train.momentum": "0.9",
            "intervention.optimizer_state": "{rule: donor, moments: second}",
        },
        ["intervention.optimizer_state:", "'donor'", "second", "both or first"],
    ),
    "more batches than images of a probe": (
        {
            "train.optimizer": "adam",
            "intervention.optimizer_state": "{rule: warm_probe, batches: 513}",
        },
        ["intervention.optimizer_state:", "513 batches", "measure.probe_images is 512"],
    ),
    "replay in batches of one": (
        {
            "continual.streams": "[{rule: split_classes, replay: 5}]",
            "continual.batch": "1",
            "continual.tasks": "5",
        },
        ["continual.learners:", "replay", "continual.batch is 1"],
    ),
    "edits that do not fit in the stream": (
        {"continual.edit_every": "1001"},
        ["continual.edit_every:", "5 events", "1001", "5000"],
    ),
}


def written(changes: dict[str, str | None] | str | bytes) -> bytes:
    """Return a whole file: the real one with changes, given as YAML text by dotted key."""
    if isinstance(changes, bytes):
        return changes
    if isinstance(changes, str):
        return changes.encode()
    tree = copy.deepcopy(TREE)
    for number, (dotted, text) in enumerate(changes.items()):
        *parents, last = dotted.split(".")
        node = tree
        for parent in parents:
            node = node[parent]
        if text is REMOVED:
            del node[last]
        else:
            node[last] = f"placeholder{number}end"
    result = yaml.safe_dump(tree, sort_keys=False)
    for number, text in enumerate(changes.values()):
        result = result.replace(f"placeholder{number}end", str(text))
    return result.encode()


@pytest.fixture
def load(tmp_path):
    """Return a function that loads the real file with changes, as the last stage sees it."""

    def run(changes, stage="report"):
        path = tmp_path / "params.yaml"
        path.write_bytes(written(changes))
        return config.load(stage, path)

    return run


@pytest.fixture
def project(tmp_path):
    for name in ("src", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.fixture(scope="module")
def real_tree():
    return read_yaml(ROOT / "params.yaml")


# -- what is accepted


@pytest.mark.parametrize("op", catalogue.OPERATORS)
@pytest.mark.parametrize(
    ("scale", "dataset"), list(itertools.product(sections.SCALES, catalogue.DATASETS))
)
def test_every_pair_of_scale_and_data_set_resolves(real_tree, scale, dataset, op):
    data = real_tree["data"] | {"folder": "images" if dataset == "folder" else ""}
    tree = real_tree | {"scale": scale, "dataset": dataset, "op": op, "data": data}
    params = config.resolve(tree)
    assert params.train.seeds == real_tree["presets"][scale][dataset]["train"]["seeds"]


def test_there_are_presets_for_every_pair_and_no_other(real_tree):
    pairs = {(scale, name) for scale, sets in real_tree["presets"].items() for name in sets}
    assert pairs == set(itertools.product(sections.SCALES, catalogue.DATASETS))


def test_a_value_of_a_section_wins_over_the_preset(load):
    assert load({"train.seeds": "7"}).train.seeds == 7


def test_null_takes_the_value_of_the_preset(load):
    changes = {"network.widths": "null", "presets.quick.digits.network.widths": "[9, 7]"}
    assert load(changes).network.widths == (9, 7)


def test_null_takes_the_value_of_the_pair_that_is_chosen(load):
    assert load(CIFAR_LAPTOP).network.trunk == (32, 64)


@pytest.mark.parametrize(
    ("spelling", "value"),
    [
        ("1e-05", 1e-5),
        ("1E-05", 1e-5),
        ("1.0E-3", 1e-3),
        (".5", 0.5),
        ("+.5", 0.5),
        ("5.", 5.0),
        ("1", 1.0),
        ("100", 100.0),
        ("1e+1", 10.0),
    ],
)
def test_a_float_may_be_spelt_as_yaml_1_2_allows(load, spelling, value):
    assert load({"train.lr": spelling}).train.lr == value


def test_an_integer_for_a_float_becomes_a_float(load):
    assert type(load({"compactness": "1"}).compactness) is float


@pytest.mark.parametrize("spelling", ["12", "+12", "012"])
def test_an_integer_may_be_spelt_as_yaml_1_2_allows(load, spelling):
    assert load({"train.seeds": spelling}).train.seeds == 12


@pytest.mark.parametrize("title", ["no", "off", "yes", "12:30:45", "12:30.5", "1_000", "1_000.5"])
def test_a_text_that_yaml_1_1_would_convert_stays_a_text(load, title):
    assert load({"report.title": title}).report.title == title


@pytest.mark.parametrize("key", ["continual.streams", "retrain.variants"])
def test_a_list_of_runs_may_be_empty(load, key):
    section, name = key.split(".")
    assert getattr(getattr(load({key: "[]"}), section), name) == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"op": "prune", "edit.maturity": "9", "compactness": "1.0"},
        {"op": "turnover", "edit.maturity": "499"},
        {"op": "turnover", "edit.turnover": "{rule: fraction, share: 1.0, slots: other}"},
        {"op": "grow", "edit.turnover": "{rule: fraction, slots: other}", "compactness": "1.0"},
        {"op": "single_event", "edit.at_epoch": "9"},
        {"op": "single_event", "edit.at_epoch": "49", "continual.streams": "[]"},
    ],
)
def test_events_that_can_happen_are_accepted(load, changes):
    assert load(changes).op == changes["op"]


def test_edits_that_just_fit_in_the_stream_are_accepted(load):
    assert load({"continual.edit_every": "1000"}).continual.edit_every == 1000


def test_edits_need_not_fit_where_there_is_no_stream(load):
    assert load({"continual.edit_every": "1001", "continual.streams": "[]"}).continual.streams == ()


@pytest.mark.parametrize("activation", catalogue.ACTIVATION)
@pytest.mark.parametrize("changes", [{}, {**CIFAR_LAPTOP, "edit.layers": "all"}])
def test_any_activation_may_be_normalised_with_or_without_an_edited_trunk(
    load, activation, changes
):
    chosen = {"intervention.normalisation": "layer_norm", "intervention.activation": activation}
    assert load(changes | chosen).intervention.normalisation.rule == "layer_norm"


def test_grow_may_end_where_it_starts(load):
    assert load({"compactness": "0.1"}).compactness == 0.1


@pytest.mark.parametrize(
    ("op", "continuity", "rewinds"),
    [
        ("prune", "paper", True),
        ("grow", "paper", False),
        ("dense", "paper", False),
        ("static", "paper", False),
        ("prune", "warm", False),
        ("grow", "warm", False),
        ("prune", "rewind", True),
        ("grow", "rewind", True),
        ("dense", "rewind", True),
    ],
)
def test_whether_an_operator_rewinds_follows_from_its_continuity(load, op, continuity, rewinds):
    changes = {"op": op, "edit.continuity": continuity, "edit.rewind_when": "every_event"}
    assert load(changes).rewinds is rewinds


@pytest.mark.parametrize("stage", config.STAGE_PARAMS)
def test_a_stage_sees_its_sections(load, stage):
    params = load({}, stage)
    assert all(hasattr(params, section) for section in config.STAGE_PARAMS[stage])


@pytest.mark.parametrize(
    ("stage", "section"),
    [
        (stage, section)
        for stage, seen in config.STAGE_PARAMS.items()
        for section in SECTIONS
        if section not in seen
    ],
)
def test_a_stage_cannot_see_a_section_that_is_not_its_own(load, stage, section):
    params = load({}, stage)
    with pytest.raises(AttributeError):
        getattr(params, section)


def test_parameters_cannot_be_changed(load):
    with pytest.raises(ValueError, match="frozen"):
        load({}).train.lr = 0.5


# -- what is refused


@pytest.mark.parametrize(("changes", "parts"), WRONG.values(), ids=list(WRONG))
def test_a_wrong_file_is_refused_in_words_that_name_the_key(load, changes, parts):
    with pytest.raises(ConfigError) as caught:
        load(changes)
    text = str(caught.value)
    assert [part for part in parts if part not in text] == [], text


@pytest.mark.parametrize("name", ["dataset", "scale"])
def test_a_misspelt_scale_or_data_set_is_told_alone(load, name):
    with pytest.raises(ConfigError) as caught:
        load({name: "elephant"})
    assert str(caught.value).startswith("1 error in"), caught.value


def test_a_wrong_value_of_the_preset_is_told_at_the_preset(load):
    with pytest.raises(ConfigError, match=r"presets\.quick\.digits\.network\.widths\.1: got -1"):
        load({"presets.quick.digits.network.widths": "[9, -1]"})


def test_a_message_names_the_file(load, tmp_path):
    with pytest.raises(ConfigError) as caught:
        load({"op": "grwo"})
    assert f"{tmp_path / 'params.yaml'}: op:" in str(caught.value)


def test_a_missing_file_is_told_with_its_name(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: is missing"):
        config.load("train", tmp_path / "absent.yaml")


def test_a_section_of_another_stage_is_checked_too(load):
    with pytest.raises(ConfigError, match=r"continual\.tasks"):
        load({"continual.tasks": "0"}, "prepare")


MANY = {
    "op": "grwo",
    "compactness": "2",
    "trian": "{seeds: 3}",
    "train.lr": "fast",
    "train.seeds": "true",
    "edit.cycles": "-5",
    "measure": REMOVED,
    "network.widths": "[9, 0]",
    "continual.streams": "[permuted_input]",
}
MANY_KEYS = (
    "op:",
    "compactness:",
    "trian:",
    "train.lr:",
    "train.seeds:",
    "edit.cycles:",
    "measure:",
    "network.widths.1:",
    "continual.streams.0:",
)


def test_all_errors_are_told_at_once(load):
    with pytest.raises(ConfigError) as caught:
        load(MANY)
    lines = str(caught.value).splitlines()
    assert lines[0] == "9 errors in the parameters"
    assert all(sum(f"yaml: {key}" in line for line in lines) == 1 for key in MANY_KEYS)


def test_all_impossible_pairs_are_told_at_once(load):
    with pytest.raises(ConfigError) as caught:
        load({"edit.cycles": "3", "network.trunk": "[5]", "train.augment": "crop_flip"})
    text = str(caught.value)
    keys = ("train.epochs:", "retrain.epochs:", "network.trunk:", "train.augment:")
    assert [key for key in keys if key not in text] == []


NAMES = st.sampled_from(
    [*SECTIONS, "presets", "seeds", "selection", "quick", "digits", "int", "str", "float", "tuple["]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_subnormal=False)
    | st.text(max_size=5)
    | st.sampled_from(["all", "grow", "digits", "quick", "mlp", "sgd", "none"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES | st.text(max_size=4) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


def refuses_only_with_config_error(tree):
    try:
        config.resolve(tree)
    except ConfigError as error:
        count, *lines = str(error).splitlines()
        assert 0 < int(count.split()[0]) <= len(lines)


@given(tree=st.dictionaries(NAMES | st.text(max_size=4), VALUES, max_size=6))
@settings(max_examples=150)
def test_an_arbitrary_tree_raises_nothing_but_config_errors(tree):
    refuses_only_with_config_error(tree)


@given(data=st.data(), value=VALUES)
@settings(max_examples=150)
def test_the_real_tree_with_a_value_replaced_raises_nothing_but_config_errors(data, value):
    tree = copy.deepcopy(TREE)
    node, depth = tree, data.draw(st.integers(0, 3))
    for _ in range(depth):
        inner = sorted(key for key in node if isinstance(node[key], dict))
        if not inner:
            break
        node = node[data.draw(st.sampled_from(inner))]
    node[data.draw(st.sampled_from(sorted(node)) | NAMES)] = value
    refuses_only_with_config_error(tree)


@given(
    text=st.lists(
        st.sampled_from(["op", "grow", "? ", ": ", "- ", "[", "]", "{", "}", "\n", "  ", "'", '"'])
        | st.sampled_from(["!!bool ", "!!int ", "!!set ", "&a ", "*a", "|", "<<", "1e5", "#", "%"])
        | st.text(max_size=3),
        max_size=12,
    ).map("".join)
)
@example(text="!!bool x: 1")
@settings(max_examples=300)
def test_an_arbitrary_text_raises_nothing_but_config_errors(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "arbitrary.yaml"
    path.write_text(text, errors="surrogatepass")
    try:
        read_yaml(path)
    except ConfigError as error:
        assert str(path) in str(error)  # noqa: PT017 (accepting is as good as refusing)


# -- from the command line, before torch


def test_a_stage_refuses_a_wrong_file_at_once_and_without_traceback(project):
    (project / "params.yaml").write_bytes(written(MANY))
    started = time.monotonic()
    result = python(project, "-m", "stages.train")
    seconds = time.monotonic() - started
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert [key for key in MANY_KEYS if f"params.yaml: {key}" not in result.stderr] == []
    assert seconds < 5


def test_a_wrong_file_leaves_nothing_behind(project):
    (project / "params.yaml").write_bytes(written(MANY))
    python(project, "-B", "-m", "stages.train")
    assert sorted(path.name for path in project.iterdir()) == ["params.yaml", "src", "stages"]


def test_parameters_are_read_without_torch():
    code = (
        "import sys; sys.path.insert(0, 'src'); from plasticity import config; "
        "config.load('report'); print(sorted({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    assert python(ROOT, "-c", code).stdout.split() == ["[]"]


@pytest.mark.parametrize("stage", STAGES)
def test_help_is_given_without_torch(stage):
    result = python(ROOT, "-X", "importtime", "-m", f"stages.{stage}", "--help")
    imported = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()}
    assert result.returncode == 0
    assert f"usage: python -m stages.{stage}" in result.stdout
    assert "75 interrupted" in " ".join(result.stdout.split())
    assert "plasticity.command" in imported
    assert "torch" not in imported


def test_every_stage_has_a_list_of_what_it_may_see():
    assert sorted([*config.STAGE_PARAMS, *BESIDE]) == STAGES

"""No setting is without effect in silence."""

import parameter_table
import pytest
from parameter_table import NEUTRAL, OTHER, leaves, verdict
from test_recipe import params_of

from plasticity import catalogue, learners, remarks
from plasticity.remarks import SETTINGS, value_of

EDITED = ("compactness", "network.fan_in", "edit.", "intervention.")
"""Parameters that are tried with every operator; the others with two of them."""


@pytest.mark.parametrize("op", catalogue.OPERATORS)
def test_every_parameter_acts_or_is_told_or_refused_or_listed_as_neutral(op: str) -> None:
    keys = [key for key in leaves() if op in ("grow", "dense") or key.startswith(EDITED)]
    silent = {key: why for key in keys for kind, why in [verdict(op, key)] if kind == "silent"}
    assert silent == {}


def test_every_parameter_has_another_value_to_try() -> None:
    assert {*leaves()} - {"op"} == {*OTHER}
    assert {*NEUTRAL} <= {*OTHER}


def test_defaults_are_those_of_the_parameter_file() -> None:
    tree = parameter_table._tree()
    for setting in SETTINGS:
        value = tree
        for part in setting.key.split("."):
            value = value[part]
        assert value == setting.default


def test_what_is_set_in_vain_is_told_with_the_reason() -> None:
    params = params_of(op="dense", compactness=0.3, intervention__insertion="small")
    assert remarks.remarks(params, "train") == [
        "compactness: got 0.3, which has no effect: op=dense keeps all units",
        "intervention.insertion: got small, which has no effect: op=dense inserts no unit",
    ]
    assert remarks.remarks(params_of(), "train") == []
    assert remarks.remarks(params_of(), "continual") == []


@pytest.mark.parametrize(
    ("images", "batch", "rest"),
    [(200, 64, 8), (200, 20, 0), (200, 48, 8), (200, 30, 0), (20, 64, 0)],
)
def test_a_small_last_batch_is_told_before_the_run(images: int, batch: int, rest: int) -> None:
    """200 = 3 x 64 + 8 = 4 x 48 + 8; 6 x 30 + 20 leaves more than half a batch."""
    params = params_of(data__train_images=images, train__batch=batch)
    lines = remarks.remarks(params, "train")
    assert len(lines) == (rest > 0)
    if rest:
        assert f"a step on {rest} images in place of {batch}" in lines[0]
        assert f"data.train_images={images - rest}" in lines[0]
    assert remarks.remarks(params_of(train__batch=64, train__last_batch="drop"), "train") == []


def test_streams_use_the_allocation_that_is_defined_for_them_and_tell_of_another() -> None:
    small = params_of(edit__allocation="erk")
    (run,) = {one.learner: one for one in learners.stream_runs(small).values()}.values()
    assert run.resolved(small).edit.allocation == "erk"
    three = params_of(
        edit__allocation="fc1_protect", network__widths=[9, 8, 7], continual__widths=[9, 8, 7]
    )
    assert run.resolved(three).edit.allocation == "fc1_protect"
    two = params_of(edit__allocation="fc1_protect", network__widths=[9, 8, 7])
    assert run.resolved(two).edit.allocation == "neutral"
    (line,) = remarks.remarks(two, "continual")
    assert line.startswith("edit.allocation: got fc1_protect")
    assert "has 2, and neutral is used there" in line


def test_value_of_a_rule_is_its_name() -> None:
    assert value_of(params_of(), "intervention.selection.grow") == "activation_frequency"

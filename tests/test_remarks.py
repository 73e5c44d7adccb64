"""No setting is without effect in silence."""

import re

import parameter_table
import pytest
from parameter_table import (
    NEUTRAL,
    OPTIONS,
    OTHER,
    leaves,
    option_verdict,
    options,
    tried,
    verdict,
)
from test_recipe import params_of

from plasticity import catalogue, learners, remarks
from plasticity.errors import ConfigError
from plasticity.remarks import SETTINGS, value_of

BY_OPERATOR = ("op", "edit.until", "edit.cycles", "continual.edits", "continual.edit_every")
"""Parameters that act by operator, besides those of ``remarks.SETTINGS``."""


@pytest.mark.parametrize("op", catalogue.OPERATORS)
def test_every_parameter_acts_or_is_told_or_refused_or_listed_as_neutral(op: str) -> None:
    """Every parameter with grow; with the others those that act by operator. The kept table has
    all."""
    some = {*BY_OPERATOR, *(setting.key for setting in SETTINGS)}
    keys = [key for key in leaves() if op == "grow" or key in some]
    faults = {key: one for key in keys if (one := verdict(op, key)).fault}
    assert faults == {}


@pytest.mark.parametrize("family", [family for family, *_ in OPTIONS])
def test_every_option_of_every_rule_acts(family: str) -> None:
    found = {one: option_verdict(*one) for one in options() if one[0] == family}
    assert {one: made for one, made in found.items() if made.kind != "effective"} == {}


RANDOM = {"intervention.selection.grow": "random", "intervention.selection.prune": "random"}
FEW = {"redo": {"tau": 0.5}, "warm_probe": {"batches": 3}}
"""Options with which five probe images are enough for a rule to act."""
USED = {
    "intervention.selection.grow": "grow",
    "intervention.selection.prune": "grow_then_prune",
    "intervention.insertion": "grow",
    "intervention.optimizer_state": "grow",
    "edit.turnover": "turnover",
}


@pytest.mark.parametrize("family", USED)
def test_without_probes_their_images_act_where_a_rule_looks_at_them_and_else_are_told(
    family: str,
) -> None:
    base = {**parameter_table.BASE, **parameter_table.ADAM, **RANDOM, "op": USED[family]}
    for rule in remarks.RULES[family]:
        chosen = {**base, family: {"rule": rule, **FEW.get(rule, {})}}
        looks = rule in remarks.LOOKING[family.rpartition(".")[2]]
        other = {**chosen, "measure.probe_images": 5}
        made = tried("measure.probe_images", chosen, other, streams=False)
        assert made.kind == ("effective" if looks else "told"), rule


def test_the_kept_table_is_of_these_parameters_and_operators() -> None:
    kept = (parameter_table.ROOT / "reports" / "parameters.md").read_text()
    rows = dict(re.findall(r"(?m)^\| `([a-z_.]+)` \| (.+) \|$", kept))
    assert [*rows] == [*leaves()]
    assert {len(row.split(" | ")) for row in rows.values()} == {len(catalogue.OPERATORS)}
    for family, rule, name in options():
        assert f"| `{family}: {rule}`, `{name}` |" in kept
    assert "*silent*" not in kept
    assert "*wrong*" not in kept


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
    assert "network has 2, and neutral is used there" in line


def test_value_of_a_rule_is_its_name_with_what_is_not_its_default() -> None:
    assert value_of(params_of(), "intervention.selection.grow") == "activation_frequency"
    share = params_of(edit__turnover={"rule": "fraction", "share": 0.3})
    assert value_of(share, "edit.turnover") == "fraction-share=0.3"
    assert remarks.remarks(share, "train") == [
        "edit.turnover: got fraction-share=0.3, which has no effect: only op=turnover has it"
    ]


def notes_of_streams(**changes: object) -> list[str]:
    """Return the parameters that the notes of the continual stage name."""
    lines = remarks.remarks(params_of(**changes), "continual")
    return [line.partition(":")[0] for line in lines]


def test_streams_tell_of_what_their_learners_do_not_heed() -> None:
    clock = "continual.edit_every, continual.edits, edit.until"
    assert notes_of_streams(op="dense") == [clock]
    assert notes_of_streams(op="single_event", edit__at_epoch=1) == [clock]
    assert notes_of_streams(continual__learners=["dense_rewind"]) == []
    assert notes_of_streams(op="dense", continual__reset_head=True) == []
    others = {"continual__learners": ["prune_warm"]}
    assert notes_of_streams(edit__maturity=4, **others) == ["edit.maturity"]
    both = {"continual__learners": ["prune_warm", "operator"], "op": "turnover"}
    assert notes_of_streams(edit__maturity=4, **both) == []
    limit = {"rule": "local_schedule", "limit": 5.0}
    assert notes_of_streams(intervention__trainability=limit) == ["intervention.trainability"]
    assert notes_of_streams(train__weight_decay=0.1) == ["train.weight_decay"]
    assert notes_of_streams(continual__tune_seeds=5) == ["continual.tune_seeds"]
    assert notes_of_streams(continual__tune_seeds=5, continual__tune_rates=[0.1]) == []
    assert notes_of_streams(continual__streams=[], continual__edits=3) == ["continual.edits"]


def test_slopes_drawn_between_bounds_in_the_wrong_order_are_refused() -> None:
    wrong = {"rule": "random_smooth_leaky", "lower": 0.5, "upper": 0.4}
    with pytest.raises(ConfigError, match=r"between lower \(0\.5\) and upper \(0\.4\)"):
        params_of(intervention__activation=wrong)

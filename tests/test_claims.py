"""Claims: checked with all their errors before a study runs."""

import math
import re
from pathlib import Path

import pytest
import yaml

from plasticity import files, study
from plasticity.claims import Reference
from plasticity.errors import ConfigError
from plasticity.yaml12 import read_yaml

ROOT = Path(__file__).resolve().parents[1]
TREE = read_yaml(ROOT / "params.yaml")
TREE["presets"] = {"tiny": {"digits": TREE["presets"]["tiny"]["digits"]}}  # read in no time
STUDY = {
    "title": "Two",
    "settings": {"scale": "tiny", "dataset": "digits"},
    "conditions": {
        "grow_20": {"op": "grow"},
        "prune_20": {"op": "prune"},
        "other_first": {"op": "prune", "retrain.variants": ["physical_fresh", "masked_fresh"]},
        "alone": {"op": "prune", "retrain.variants": ["physical_fresh"]},
    },
}
FIRST_STUDIES = {
    "growth_events",
    "integration",
    "interventions",
    "laptop",
    "mechanism",
    "paper_allocation",
    "paper_cifar10",
    "paper_cifar100",
    "paper_mlp",
    "paper_selection",
    "paper_streams",
    "quick",
    "streams",
    "tickets",
}
NUMBERED = re.compile(r"[A-Z]\d+[a-z]?")
SLUG = re.compile(r"[a-z]+(-[a-z0-9]+)+")
CLAIM = {
    "says": "Grow is better",
    "expects": "more",
    "contrasts": [["grow_20", "prune_20"]],
}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    files.write_text(tmp_path / "params.yaml", yaml.safe_dump(TREE))
    monkeypatch.chdir(tmp_path)


def read(claim, **more):
    files.write_text(
        Path("two.yaml"), yaml.safe_dump(STUDY | more | {"claims": {"C1": CLAIM | claim}})
    )
    (found,) = study.read(Path("two.yaml")).claims
    return found


def test_a_condition_alone_stands_for_the_metric_of_the_claim():
    claim = read({"metric": "ticket.acc"})
    assert claim.contrasts == (
        (Reference("grow_20", "ticket.acc"), Reference("prune_20", "ticket.acc")),
    )
    assert read({}).contrasts[0][0] == Reference("grow_20", "cycle.acc")


def test_a_side_may_name_another_measure_with_its_arguments_or_be_a_pair_or_a_number():
    claim = read({"contrasts": [["grow_20 ticket.acc random_fresh", 3], [["grow_20", 1], 2]]})
    assert claim.contrasts == (
        (Reference("grow_20", "ticket.acc", ("random_fresh",)), 3.0),
        ((Reference("grow_20", "cycle.acc"), 1.0), 2.0),
    )
    assert [str(one) for one in claim.references] == [
        "grow_20 ticket.acc random_fresh",
        "grow_20 cycle.acc",
    ]


def test_sides_that_say_which_variant_may_be_of_different_ones():
    said = ["grow_20 ticket.acc masked_fresh", "other_first ticket.acc physical_fresh"]
    assert read({"contrasts": [said]}).contrasts
    alone = ["grow_20 ticket.acc masked_fresh", "alone ticket.acc"]
    assert read({"contrasts": [alone]}).contrasts  # its only one, so nothing is guessed


def test_a_measure_at_equal_flops_knows_the_conditions_of_its_contrast():
    claim = read({"metric": "equal_flops.acc", "contrasts": [["grow_20", "prune_20"]]})
    both = ("grow_20", "prune_20")
    assert claim.contrasts == (
        tuple(Reference(name, "equal_flops.acc", beside=both) for name in both),
    )


def test_a_correlation_has_two_measures_of_each_condition():
    claim = read(
        {"metric": ["newborn.grad birth", "cycle.taa"], "across": ["grow_20"], "contrasts": []}
    )
    assert claim.across == (
        (Reference("grow_20", "newborn.grad", ("birth",)), Reference("grow_20", "cycle.taa")),
    )


def test_the_margin_is_the_claims_or_the_studys_and_a_factor_where_it_is_about_a_ratio():
    assert read({}, margin=0.7).margin == 0.7
    assert read({"margin": 0.2}, margin=0.7).margin == 0.2
    ratio = {"metric": "newborn.act birth", "contrasts": [["grow_20", 1]]}
    assert read(ratio, margin=0.7).margin == 0
    assert read(ratio | {"expects": "not_less", "margin": 1.1}).margin == math.log(1.1)


def test_a_claim_of_a_later_study_has_a_name_that_no_other_claim_has():
    """Letter and number are the paper's claims and the questions of the first studies."""
    named = {
        path.stem: list(read_yaml(path).get("claims", {}))
        for path in sorted((ROOT / "studies").glob("*.yaml"))
    }
    numbered = {name for name, ids in named.items() if any(map(NUMBERED.fullmatch, ids))}
    assert numbered <= FIRST_STUDIES
    slugs = [one for ids in named.values() for one in ids if not NUMBERED.fullmatch(one)]
    assert [one for one in slugs if not SLUG.fullmatch(one)] == []
    assert [one for one in set(slugs) if slugs.count(one) > 1] == []
    assert slugs


WRONG = {
    # name: (the claim, what the message must say)
    "unknown key": ({"say": "x"}, ["claims.C1.say: unknown key"]),
    "unknown expectation": ({"expects": "mor"}, ["claims.C1.expects: got 'mor', expected 'more'"]),
    "unknown condition": (
        {"contrasts": [["grow_2", "prune_20"]]},
        ["claims.C1: 'grow_2': unknown condition 'grow_2'; did you mean 'grow_20'?"],
    ),
    "unknown metric": (
        {"metric": "cycle.ac"},
        ["unknown metric 'cycle.ac'; did you mean 'cycle.acc'?"],
    ),
    "metric without its argument": (
        {"metric": "newborn.grad", "contrasts": [["grow_20", 1]]},
        ["'newborn.grad' needs its moment: birth, end"],
    ),
    "argument that is unknown": (
        {"metric": "ticket.acc masked_frech"},
        ["'ticket.acc' knows no 'masked_frech'; did you mean 'masked_fresh'?"],
    ),
    "argument of a measure that has none": (
        {"metric": "cycle.acc end"},
        ["'cycle.acc' knows no 'end'"],
    ),
    "pair that is none": (
        {"contrasts": ["grow_20"]},
        ["claims.C1.contrasts: got grow_20 cycle.acc, expected a pair: this, less that"],
    ),
    "side that is none": (
        {"contrasts": [["grow_20", True]]},
        ["claims.C1: got True, expected a condition, a number or a pair"],
    ),
    "two units": (
        {"contrasts": [["grow_20", "grow_20 newborn.grad end"]]},
        ["claims.C1.contrasts: got 2 units (points, ratio), expected one"],
    ),
    "two units in two contrasts": (
        {"contrasts": [["grow_20", "prune_20"], ["grow_20 flops", 2]]},
        ["claims.C1.contrasts: got 2 units (points, ratio), expected one"],
    ),
    "equal FLOPs of one condition": (
        {"metric": "equal_flops.taa", "contrasts": [["grow_20", 50]]},
        ["[grow_20 equal_flops.taa, 50.0]: 'equal_flops.taa' needs at least two conditions"],
    ),
    "equal FLOPs on one side": (
        {"metric": "equal_flops.acc", "contrasts": [["grow_20", "prune_20 cycle.acc"]]},
        ["'equal_flops.acc' needs at least two conditions, all of them with this measure"],
    ),
    "equal FLOPs of a correlation": (
        {
            "metric": ["equal_flops.acc", "cycle.acc"],
            "across": ["grow_20", "prune_20"],
            "contrasts": [],
        },
        ["claims.C1.metric: 'equal_flops.acc' is of a contrast"],
    ),
    "numbers alone": ({"contrasts": [[1, 2]]}, ["claims.C1.contrasts: [1.0, 2.0] names no"]),
    "a side and itself": (
        {"contrasts": [["grow_20", "grow_20 cycle.acc"]]},
        ["compares a side with itself"],
    ),
    "factor of nothing": (
        {"metric": "flops", "contrasts": [["grow_20", 0]]},
        ["[grow_20 flops, 0.0]: a ratio is compared with a factor"],
    ),
    "no margin at all": ({"margin": 0.0}, ["claims.C1.margin: got 0.0, expected"]),
    "defaults that differ": (
        {"metric": "ticket.acc", "contrasts": [["grow_20", "other_first"]]},
        ["would compare the variants masked_fresh and physical_fresh, the first of each side"],
    ),
    "ratio without a margin": (
        {"metric": "newborn.act end", "expects": "same", "contrasts": [["grow_20", 1]]},
        ["claims.C1.margin: got None, expected more than 1"],
    ),
    "nothing to stand on": ({"contrasts": []}, ["claims.C1"]),
    "correlation without two measures": (
        {"across": ["grow_20"]},
        ["claims.C1: give either contrasts of one metric, or two metrics"],
    ),
    "correlation of a measure of its own": (
        {
            "metric": ["newborn.grad birth", "cycle.taa"],
            "across": ["grow_20 cycle.acc", "grow_50", "grow_50"],
            "contrasts": [],
        },
        [
            "claims.C1.across: got 'grow_20 cycle.acc', expected a condition alone",
            "claims.C1.across: 'grow_50' is there 2 times",
        ],
    ),
    "correlation that is the same": (
        {
            "metric": ["cycle.acc", "cycle.taa"],
            "across": ["grow_20"],
            "contrasts": [],
            "expects": "same",
        },
        ["claims.C1.expects: got 'same'; a correlation is 'more' or 'less'"],
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_claim_is_refused_with_what_is_wrong(name):
    claim, expected = WRONG[name]
    with pytest.raises(ConfigError) as error:
        read(claim)
    for text in expected:
        assert text in str(error.value)


def test_a_measure_of_a_stage_that_does_not_run_is_refused():
    with pytest.raises(ConfigError, match=r"'ticket\.acc' needs the stage 'retrain'"):
        read({"metric": "ticket.acc"}, stages=["train"])


def test_a_measure_that_the_condition_does_not_make_is_refused():
    ticket = {"metric": "ticket.acc"}
    with pytest.raises(ConfigError, match=r"needs retrain\.variants, which are empty there"):
        read(ticket, settings=STUDY["settings"] | {"retrain.variants": []})
    with pytest.raises(ConfigError, match=r"needs continual\.streams, which are empty there"):
        read({"metric": "taoa"}, settings=STUDY["settings"] | {"continual.streams": []})


def test_all_errors_of_all_claims_are_told_at_once():
    claims = {"C1": CLAIM | {"metric": "a"}, "C2": CLAIM | {"contrasts": [["b", "c"]]}}
    files.write_text(Path("two.yaml"), yaml.safe_dump(STUDY | {"claims": claims}))
    with pytest.raises(ConfigError) as error:
        study.read(Path("two.yaml"))
    assert str(error.value).startswith("4 errors")

"""How long a study will take: scaled from what is there, and nothing where nothing was timed."""

from pathlib import Path

import pytest
from study_tables import write_study

from plasticity import study_plan
from plasticity.files import read_json, write_json
from plasticity.study import DONE, place
from plasticity.study_plan import plan, work

ARMS = {"short": {}, "long": {"train.epochs": 40}, "wide": {"train.seeds": 20}}


def timed(folder: Path, seconds: dict[str, int], missing: tuple[str, ...]):
    """Return a study some of whose conditions know how long they took."""
    comparison = write_study(folder, ARMS, stages=["train"], missing=missing)
    for name, value in seconds.items():
        path = folder / place(comparison.study, comparison.arm(name).parts[0].condition) / DONE
        write_json(path, read_json(path) | {"seconds": value})
    return comparison.study


def test_the_estimate_is_the_time_of_what_is_there_scaled_by_work(tmp_path: Path) -> None:
    """Twice the epochs and twice the seeds are twice the work each: 2 x 30 + 2 x 30 seconds."""
    asked = timed(tmp_path, {"short": 30}, ("long", "wide"))
    found = plan(asked, asked.conditions, root=tmp_path)
    assert found.to_run == 2
    assert found.seconds == pytest.approx(120)
    assert "2 to run, about 0:02:00 at the pace so far, one at a time" in found.text()
    assert [line.split("-")[0] for line in found.lines] == [
        "done    short",
        "to run  long",
        "to run  wide",
    ]


def test_where_nothing_was_timed_there_is_no_estimate(tmp_path: Path) -> None:
    asked = timed(tmp_path, {}, ("long",))
    found = plan(asked, asked.conditions, root=tmp_path)
    assert found.seconds is None
    assert "no estimate yet" in found.text()


def test_work_follows_the_stages_and_the_network(tmp_path: Path) -> None:
    asked = timed(tmp_path, {}, tuple(ARMS))
    params = asked.conditions[0].params
    train = work(params, ("train",))
    assert train == 20 * 1437 * 10 * (64 * 256 + 256 * 256 + 256 * 10)
    assert work(params, ("train", "retrain")) == pytest.approx(
        train * (1 + len(params.retrain.variants))
    )
    assert work(params, ("extract",)) == 0
    assert work(params, ("continual",)) == 2 * 10 * 500 * 16 * 5 * (64 * 100 + 100 * 100 + 1000)


def test_a_trunk_costs_its_places(tmp_path: Path) -> None:
    asked = timed(tmp_path, {}, tuple(ARMS))
    params = asked.conditions[0].params.model_copy(update={"dataset": "cifar10"})
    expected = 9 * 3 * 32 * 32 * 32 + 9 * 32 * 64 * 16 * 16 + 4096 * 10 + 10 * 10
    assert study_plan._multiplications(params, (10,), (32, 64)) == expected

"""Studies: checked before anything runs, each condition run once, its tables whole or not there."""

import copy
import json
import os
import shutil
import signal
import socket
import sys
import time
import types
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import filelock
import pytest
import yaml
from commands import commit, git, python, start

from plasticity import config, files, study, study_clone, study_run, tables
from plasticity.errors import (
    ConfigError,
    DataError,
    DeviceError,
    Interrupted,
    PlasticityError,
    StorageError,
)
from plasticity.yaml12 import read_yaml

Usage = namedtuple("Usage", "total used free")
ROOT = Path(__file__).resolve().parents[1]
TREE = read_yaml(ROOT / "params.yaml")
TREE["presets"] = {  # those used below, read in no time
    "tiny": {name: TREE["presets"]["tiny"][name] for name in ("digits", "folder")}
}
TWO = {
    "title": "Two",
    "settings": {"scale": "tiny", "dataset": "digits", "train.lr": 0.1},
    "stages": ["train"],
    "conditions": {"grow": {"op": "grow"}, "prune": {"op": "prune", "train.lr": 0.2}},
}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """Work in a committed project that has all a study looks at, but nothing to run.

    It is a part of a bigger repository, at a path that is hard to quote.
    """
    folder = tmp_path / "bigger" / "it's, é %20 #1"
    for name in ("src/code.py", "stages/code.py", "dvc.yaml", "README.md"):
        files.write_text(folder / name, "as committed\n")
    files.write_text(folder / "params.yaml", yaml.safe_dump(TREE))
    commit(folder.parent)
    monkeypatch.chdir(folder)
    return folder


def read(content, name="two"):
    """Return the study of a tree, or of a text, in a file of this name."""
    text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
    files.write_text(Path(f"{name}.yaml"), text)
    return study.read(Path(f"{name}.yaml"))


def with_conditions(**conditions):
    return TWO | {"conditions": conditions}


def experiments(content):
    return [condition.experiment for condition in read(content).conditions]


def hash_with(name="grow", **settings):
    """Return the experiment of one condition with these settings ('__' for '.')."""
    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    return experiments(with_conditions(**{name: {"op": "grow"} | dotted}))[0]


# -- reading


def test_a_condition_takes_the_settings_of_the_study_and_then_its_own():
    grow, prune = read(TWO).conditions
    assert (grow.params.op, grow.params.train.lr, grow.params.train.seeds) == ("grow", 0.1, 3)
    assert (prune.params.op, prune.params.train.lr) == ("prune", 0.2)


def test_a_study_that_names_no_stages_asks_for_all():
    assert read({key: TWO[key] for key in TWO if key != "stages"}).stages == tuple(
        config.STAGE_PARAMS
    )


def test_stages_are_in_the_order_of_the_pipeline():
    assert read(TWO | {"stages": ["retrain", "train"]}).stages == ("train", "retrain")


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_study_of_the_project_can_be_run(path):
    assert study.read(path, ROOT / "params.yaml").conditions


WRONG = {
    # name: (the study, what the message must say)
    "unknown key": (TWO | {"conditons": {}}, ["conditons: unknown key; did you mean 'conditions'"]),
    "no title": ({"conditions": TWO["conditions"]}, ["title: is missing"]),
    "no condition": (with_conditions(), ["conditions: is empty"]),
    "condition that is no mapping": (with_conditions(a="grow"), ["conditions.a: got 'grow'"]),
    "settings that are no mapping": (TWO | {"settings": 3}, ["settings: got 3", "mapping"]),
    "unknown stage": (TWO | {"stages": ["trian"]}, ["stages.0: unknown 'trian'", "'train'"]),
    "no stage": (TWO | {"stages": []}, ["stages: is empty"]),
    "name that is no folder": (
        with_conditions(**{"a/b": {}, "A": {}}),
        ["conditions.a/b: got 'a/b', expected lower-case letters", "conditions.A: got 'A'"],
    ),
    "unknown parameter": (
        with_conditions(a={"compactnes": 0.2}, b={}),
        ["conditions.a: compactnes: unknown key; did you mean 'compactness'?"],
    ),
    "unknown parameter of a section": (
        with_conditions(a={"train.epoch": 2}),
        ["conditions.a: train.epoch: unknown key; did you mean 'epochs'?"],
    ),
    "unknown section": (with_conditions(a={"trian.lr": 0.1}), ["conditions.a: trian:", "'train'"]),
    "part of a value": (with_conditions(a={"op.rule": 1}), ["a: op.rule: 'op' is no section"]),
    "part of a part": (with_conditions(a={"op.a.b": 1}), ["a: op.a.b: 'op.a' is no section"]),
    "preset": (
        with_conditions(a={"presets.tiny.digits.train.lr": 1}),
        ["a: presets.tiny.digits.train.lr: not for a study"],
    ),
    "all presets": (with_conditions(a={"presets": {}}), ["a: presets: not for a study"]),
    "unknown name": (
        with_conditions(a={"op": "grwo"}),
        ["conditions.a: op: unknown 'grwo'; did you mean 'grow'?"],
    ),
    "values that do not fit together": (
        with_conditions(a={"train.epochs": 7}, b={}),
        ["conditions.a: train.epochs: got 7, expected a multiple of edit.cycles"],
    ),
    "equal conditions": (
        with_conditions(a={}, b={"train.lr": 0.2}, c={"train.lr": 0.1}),
        ["conditions.c: the same settings as 'a'"],
    ),
    "a seed of an arm twice": (
        with_conditions(a_s0={}, a_s2={"train.first_seed": 2}),
        ["conditions.a_s2: trains seed 2, as 'a_s0' does, and nothing else tells them apart"],
    ),
    "an arm of streams": (
        with_conditions(a_s0={}, a_s3={"train.first_seed": 3}) | {"stages": ["continual"]},
        ["conditions.a_s3: differs from 'a_s0' in train.first_seed alone, which streams do not"],
    ),
    "two arms of one name": (
        with_conditions(a={}, a_s0={"train.lr": 0.2}),
        ["conditions.a_s0: its arm would be 'a', as that of 'a', from which it differs in more"],
    ),
    "claim about a part of an arm": (
        with_conditions(dense_s0={}, dense_s3={"train.first_seed": 3})
        | {"claims": {"c": {"says": "x", "expects": "more", "contrasts": [["dense_s3", 50]]}}},
        ["unknown condition 'dense_s3'; did you mean 'dense'?"],
    ),
    "no mapping": ("[1]", ["expected a mapping"]),
    "key that stands twice": ("title: a\ntitle: b\n", ["'title' stands twice"]),
}


@pytest.mark.parametrize(("content", "told"), WRONG.values(), ids=WRONG)
def test_a_wrong_study_is_refused_with_the_key_and_the_value(content, told):
    with pytest.raises(ConfigError) as refused:
        read(content)
    assert "two.yaml" in str(refused.value)
    assert [text for text in told if text not in str(refused.value)] == []


def test_all_errors_are_told_at_once():
    with pytest.raises(ConfigError) as refused:
        read(
            with_conditions(a={"op": "grwo", "train.lr": -1.0}, b={"train.epoch": 2})
            | {"titel": "x", "stages": ["trian"]},
            name="Wrong",
        )
    lines = [line.removeprefix("  Wrong.yaml: ") for line in str(refused.value).splitlines()]
    assert lines[0] == "6 errors in the study"
    assert sorted(line.split(":")[0] for line in lines[1:]) == [
        "conditions.a",
        "conditions.a",
        "conditions.b",
        "stages.0",
        "the name of the file",
        "titel",
    ]


def test_an_error_of_all_conditions_is_told_once():
    with pytest.raises(ConfigError) as refused:
        read(TWO | {"settings": TWO["settings"] | {"compactness": 2.0}})
    assert str(refused.value).count("compactness") == 1
    assert "two.yaml: every condition: compactness: got 2.0" in str(refused.value)


def test_conditions_that_differ_in_their_first_seed_alone_are_one_arm():
    found = read(
        with_conditions(
            late_s3={"train.first_seed": 3},
            early={},
            other_s3={"train.first_seed": 3, "train.lr": 0.2},
            latest={"train.first_seed": 6},
        )
    )
    assert {name: [one.name for one in some] for name, some in found.arms.items()} == {
        "late": ["early", "late_s3", "latest"],  # the first that is written names it
        "other": ["other_s3"],
    }


# -- the hash of the settings


def test_the_hash_does_not_depend_on_what_cannot_change_a_table():
    same = hash_with()
    assert same.startswith("grow-")
    assert hash_with(compactness=0.5, train__lr=0.1) == same
    assert hash_with(train__workers=2, report__title="Other") == same
    assert hash_with(retrain__epochs=10, continual__steps=20) == same  # stages that do not run
    assert hash_with(train__seeds=3, train__epochs=None) == same  # what the preset gives
    assert hash_with(data__image_size=64) == same  # a folder's images alone have it
    assert hash_with(name="other").rpartition("-")[2] == same.rpartition("-")[2]


@pytest.mark.parametrize(
    "settings",
    [
        {"op": "prune"},
        {"compactness": 0.4},
        {"train__lr": 0.1000001},
        {"train__seeds": 4},
        {"train__device": "cpu"},
        {"data__train_images": 100},
        {"network__widths": [10, 12]},
        {"intervention__selection__grow": "random"},
    ],
    ids=str,
)
def test_the_hash_depends_on_every_parameter_that_the_stages_see(settings):
    assert hash_with(**settings) != hash_with()


def test_the_hash_depends_on_a_folder_of_images_and_their_size():
    def hash_of(folder, size):
        return hash_with(dataset="folder", data__folder=folder, data__image_size=size)

    assert len({hash_of("one", 32), hash_of("two", 32), hash_of("one", 64)}) == 3


def test_the_hash_depends_on_the_stages_and_the_version_of_the_results(monkeypatch):
    once = experiments(TWO)
    both = experiments(TWO | {"stages": ["train", "retrain"]})
    monkeypatch.setattr(study, "RESULTS_VERSION", study.RESULTS_VERSION + 1)
    later = experiments(TWO)
    assert len({*once, *both, *later}) == 6


@pytest.mark.parametrize("name", sorted(study.LATER))
def test_a_parameter_that_came_later_changes_no_hash_where_it_says_what_was_before(
    name, monkeypatch
):
    """The hash is that of parameters that do not have it."""
    (condition, _) = read(TWO).conditions
    tree = condition.params.model_dump(mode="json")
    *path, last = name.split(".")
    place = tree
    for part in path:  # the name of a rule stands for its options
        place = place["options"] if place.get("rule") == part else place[part]
    assert place.pop(last) == study.LATER[name]
    with_it = study._digest(condition.params, ("train",))

    def dumped(params, mode, include):  # noqa: ARG001 (as pydantic calls it)
        return {part: copy.deepcopy(tree[part]) for part in include}

    monkeypatch.setattr(type(condition.params), "model_dump", dumped)
    assert study._digest(condition.params, ("train",)) == with_it


def test_an_option_that_came_later_is_left_out_with_its_old_meaning_of_its_own_rule_alone(
    monkeypatch,
):
    name = "intervention__selection__prune"
    alive = {"rule": "incoming_magnitude", "inputs": "alive"}
    assert hash_with(**{name: alive}) == hash_with()
    assert hash_with(**{name: alive | {"inputs": "all"}}) != hash_with()
    other = {"rule": "contribution", "kind": "contribution"}
    once = hash_with(**{name: other})
    later = {"intervention.selection.prune.incoming_magnitude.kind": "contribution"}
    monkeypatch.setattr(study, "LATER", study.LATER | later)
    assert hash_with(**{name: other}) == once


def test_all_results_that_are_kept_are_found():
    """A folder that is no condition's is dead weight: settings were moved, or the hash changed."""
    for path in sorted((ROOT / "studies").glob("*.yaml")):
        asked = study.read(path, ROOT / "params.yaml")
        known = {condition.experiment for condition in asked.conditions}
        kept = {
            folder.name for folder in (ROOT / files.study_path(asked.name, "x")).parent.glob("*")
        }
        assert kept <= known


# -- running, with a function in the place of DVC


def test_a_relative_folder_starts_at_the_project_and_not_at_the_clone(project, monkeypatch):
    given = {}

    def look(command, folder, log, environment):  # noqa: ARG001 (as it is called)
        given.update(environment)
        return CompletedProcess(command, 0)

    job = study_clone.Job(read(TWO), read(TWO).conditions[0], study_clone.committed(project))
    job.log.parent.mkdir(parents=True)
    monkeypatch.setenv("PLASTICITY_DATA", "../data")
    monkeypatch.setenv("PLASTICITY_STATE", "ck")
    monkeypatch.setattr(study_clone.processes, "run", look)
    study_clone._dvc(job, project / "clone", "repro")
    monkeypatch.chdir(project.parent)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert files.image_folder("images") == project / "images"
    assert files.data_root() == project / "../data"
    assert files.state_root() == project / "ck"


class Runner:
    """Leaves a table, and fails for some conditions; knows what it was asked for."""

    def __init__(self, *failing):
        self.failing = failing
        self.asked = []

    def __call__(self, job, clone):
        self.asked.append(job.condition.name)
        files.write_text(job.log, f"line of {job.condition.name}\n" * 100)
        there = clone / job.source.within
        files.write_text(there / "reports/train/seeds.csv", f"table of {job.condition.name}\n")
        files.write_text(there / "reports/train/timing.json", "{}")
        files.write_text(there / "reports/extract/metrics.json", "{}")
        if job.condition.name in self.failing:
            raise PlasticityError("no luck")


def run(asked, runner, only=()):
    study_run.run(asked, study.select(asked, only), runner=runner)


def kept(asked):
    """Return condition -> the files in its place."""
    return {
        condition.name: sorted(
            str(path.relative_to(study.place(asked, condition)))
            for path in study.place(asked, condition).rglob("*")
            if path.is_file()
        )
        for condition in asked.conditions
    }


WHOLE = ["condition.json", "reports/extract/metrics.json", "reports/train/seeds.csv"]


def test_tables_are_kept_with_what_was_run(project):
    asked = read(TWO)
    run(asked, Runner())
    prune = asked.conditions[1]
    place = Path("reports/studies/two") / prune.experiment
    record = files.read_json(place / "condition.json")
    trees = git(project, "rev-parse", "HEAD", "HEAD:./src").split()
    assert kept(asked) == {"grow": WHOLE, "prune": WHOLE}
    assert (place / "reports/train/seeds.csv").read_text() == "table of prune\n"
    assert record["condition"] == "prune"
    assert record["settings"] == TWO["settings"] | TWO["conditions"]["prune"]
    assert record["params"] == json.loads(json.dumps(prune.params.model_dump(mode="json")))
    assert [record["code"]["commit"], record["code"]["src"]] == trees
    assert list((project / ".dvc/tmp/studies/two/clones").iterdir()) == []


def test_what_is_there_is_not_run_again():
    run(read(TWO), Runner())
    third = with_conditions(**TWO["conditions"], static={"op": "static"})
    again = Runner()
    run(read(third), again)
    assert again.asked == ["static"]


def test_other_settings_are_run_and_the_old_tables_stay():
    old = read(TWO)
    run(old, Runner())
    new = read(with_conditions(grow={"op": "grow", "compactness": 0.4}))
    run(new, Runner())
    assert kept(old)["grow"] == kept(new)["grow"] == WHOLE


def test_a_condition_that_fails_is_recorded_and_stops_no_other():
    asked, runner = read(TWO), Runner("grow")
    with pytest.raises(PlasticityError, match="1 of 2 conditions failed: grow") as failed:
        run(asked, runner)
    record = files.read_json(study.place(asked, asked.conditions[0]) / "failed.json")
    assert failed.value.exit_code == 1
    assert runner.asked == ["grow", "prune"]
    assert kept(asked) == {"grow": ["failed.json"], "prune": WHOLE}
    assert record["error"] == "no luck"
    assert record["log"] == ["line of grow"] * study_run.LOG_LINES
    assert [study.status(asked, one) for one in asked.conditions] == ["failed", "done"]


@pytest.mark.parametrize("error", [OSError(28, "No space left"), StorageError("no space left")])
def test_a_failure_that_cannot_be_recorded_stops_no_other(monkeypatch, capsys, error):
    def full(*_, **__):
        raise error

    asked, runner = read(TWO), Runner("grow")
    monkeypatch.setattr(study_run.files, "write_json", full)
    with pytest.raises(PlasticityError, match="2 of 2 conditions failed"):
        run(asked, runner)
    assert runner.asked == ["grow", "prune"]
    assert "grow: its failure cannot be recorded" in capsys.readouterr().err


def test_a_disk_without_room_for_a_clone_is_a_failure_of_the_condition(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left")

    asked, runner = read(TWO), Runner()
    monkeypatch.setattr(study_run.tempfile, "mkdtemp", full)
    with pytest.raises(PlasticityError, match="2 of 2 conditions failed"):
        run(asked, runner)
    assert runner.asked == []
    assert kept(asked) == {"grow": ["failed.json"], "prune": ["failed.json"]}


def test_conditions_of_other_code_are_told_when_more_are_run(capsys):
    run(read(TWO), Runner())
    third = read(with_conditions(**TWO["conditions"], static={"op": "static"}))
    path = study.place(third, third.conditions[0]) / "condition.json"
    record = files.read_json(path)
    files.write_json(path, record | {"code": record["code"] | {"src": "other"}})
    capsys.readouterr()
    run(third, Runner())
    assert "[study] grow: run with other code than this" in capsys.readouterr().err


def test_a_new_file_of_code_is_refused_too():
    Path("src/new.py").write_text("")
    with pytest.raises(ConfigError, match=r"src/new\.py: not as committed"):
        run(read(TWO), Runner())


def test_a_condition_that_failed_is_tried_again():
    asked, again = read(TWO), Runner()
    with pytest.raises(PlasticityError):
        run(asked, Runner("grow"))
    run(asked, again)
    assert again.asked == ["grow"]
    assert kept(asked) == {"grow": WHOLE, "prune": WHOLE}


class Recovers(Runner):
    """Fails so many times, then does not."""

    def __init__(self, times):
        super().__init__("grow")
        self.times = times

    def __call__(self, job, clone):
        if len(self.asked) == self.times:
            self.failing = ()
        super().__call__(job, clone)


def test_a_condition_that_fails_is_tried_again_as_often_as_asked(capsys):
    asked, runner = read(with_conditions(grow={}, prune={"op": "prune"})), Recovers(2)
    study_run.run(asked, asked.conditions, engine=study_run.Engine(retries=2), runner=runner)
    record = files.read_json(study.place(asked, asked.conditions[0]) / "condition.json")
    assert runner.asked == ["grow", "grow", "grow", "prune"]
    assert kept(asked) == {"grow": WHOLE, "prune": WHOLE}  # and no record of a failure
    assert record["earlier_errors"] == ["no luck", "no luck"]
    assert capsys.readouterr().err.count("grow: failed (no luck); tried again") == 2


def test_a_condition_that_goes_on_failing_is_given_up():
    asked, runner = read(with_conditions(grow={})), Recovers(9)
    with pytest.raises(PlasticityError, match="1 of 1 conditions failed: grow"):
        study_run.run(asked, asked.conditions, engine=study_run.Engine(retries=2), runner=runner)
    record = files.read_json(study.place(asked, asked.conditions[0]) / "failed.json")
    assert runner.asked == ["grow"] * 3
    assert record["error"] == "no luck"
    assert record["earlier_errors"] == ["no luck", "no luck"]


@pytest.mark.parametrize("error", [PlasticityError("no remote"), OSError(28, "No space left")])
def test_what_fails_when_tables_are_kept_is_a_warning(capsys, error):
    class Shares(Runner):
        def __call__(self, job, clone):
            super().__call__(job, clone)
            return self.fail

        def fail(self):
            raise error

    asked, runner = read(TWO), Shares()
    study_run.run(asked, asked.conditions, engine=study_run.Engine(retries=2), runner=runner)
    assert runner.asked == ["grow", "prune"]
    assert kept(asked) == {"grow": WHOLE, "prune": WHOLE}
    told = capsys.readouterr().err
    assert f"grow: its tables are kept, but its experiment is not ({error})" in told


BROKEN = {
    "no JSON": "{",
    "a list": "[]",
    "a number": "3",
    "no code": "{}",
    "another type": '{"results_version": "1", "code": {"src": "a", "stages": "b"}}',
    "no number of seconds": '{"results_version": 1, "code": {"src": "a", "stages": "b"}, '
    '"seconds": "long"}',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_record_that_is_none_is_named(content):
    asked = read(with_conditions(**TWO["conditions"], static={"op": "static"}))
    path = study.place(asked, asked.conditions[0]) / "condition.json"
    files.write_text(path, content)
    with pytest.raises(DataError, match=str(path)) as error:
        run(asked, Runner())
    assert "\n" not in str(error.value)
    assert "git checkout -- reports/studies/two/grow-" in str(error.value)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"spent": "long", "since": 1}'])
def test_a_note_that_is_none_costs_only_the_time(capsys, content):
    asked = read(TWO)
    job = study_clone.Job(asked, asked.conditions[0], study_clone.committed(Path()))
    files.write_text(job.note, content)
    run(asked, Runner())
    assert kept(asked) == {"grow": WHOLE, "prune": WHOLE}
    assert "grow: the time that earlier calls spent is not known" in capsys.readouterr().err


def test_a_fault_of_the_program_is_not_taken_for_a_failed_condition():
    def wrong(*_):
        raise ZeroDivisionError

    asked = read(TWO)
    with pytest.raises(ZeroDivisionError):
        run(asked, wrong)
    assert kept(asked) == {"grow": [], "prune": []}


@pytest.mark.parametrize("number", range(len(WHOLE)))
def test_killed_while_tables_are_put_in_place_none_is_there_and_the_next_run_has_all(
    monkeypatch, number
):
    asked, write, writes = read(with_conditions(grow={})), files.write_bytes, []

    def write_or_die(path, content):
        writes.extend([path] * ("reports/studies" in str(path)))
        if len(writes) > number:
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_bytes", write_or_die)
        with pytest.raises(KeyboardInterrupt):
            run(asked, Runner())
    assert len(writes) == number + 1
    assert kept(asked) == {"grow": []}
    run(asked, Runner())
    assert kept(asked) == {"grow": WHOLE}


def test_what_a_killed_run_left_is_cleared_away(project):
    left = project / ".dvc/tmp/studies/two/clones/left"
    files.write_text(left / "file", "")
    run(read(TWO), Runner())
    assert not left.exists()


def test_a_second_process_does_not_run_the_same_study():
    asked, runner = read(TWO), Runner()
    scratch = files.study_scratch("two")
    scratch.mkdir(parents=True)
    with filelock.FileLock(scratch / "lock"), pytest.raises(Interrupted, match="another process"):
        run(asked, runner)
    assert runner.asked == []


@pytest.mark.parametrize("path", ["src/code.py", "stages/code.py", "params.yaml", "dvc.yaml"])
def test_a_change_that_is_not_committed_is_refused_by_name(path):
    asked, runner = read(TWO), Runner()
    Path(path).write_text(f"{Path(path).read_text()}# changed\n")
    with pytest.raises(ConfigError, match=f"{path}: not as committed"):
        run(asked, runner)
    assert runner.asked == []


def test_a_full_disk_is_told_before_anything_starts(monkeypatch):
    asked, runner = read(TWO), Runner()
    monkeypatch.setattr(study_run.study_plan.shutil, "disk_usage", lambda _: Usage(10, 9, 10**9))
    with pytest.raises(
        StorageError, match=r"1\.0 GB are free, and 1 conditions at a time may need 2"
    ):
        run(asked, runner)
    assert runner.asked == []


@pytest.mark.parametrize(("engine", "package"), [("dask", "dask[distributed]"), ("ray", "ray")])
def test_an_engine_that_is_not_installed_is_named_with_what_to_install(
    monkeypatch, engine, package
):
    for name in ("distributed", "ray"):
        monkeypatch.setitem(sys.modules, name, None)
    asked, runner = read(TWO), Runner()
    with pytest.raises(ConfigError) as error:
        study_run.run(asked, asked.conditions, runner=runner, engine=study_run.Engine(engine))
    assert f"--engine {engine}" in str(error.value)
    assert f"pip install '{package}'" in str(error.value)
    assert runner.asked == []


@pytest.mark.parametrize(
    ("engine", "variable", "address"),
    [
        ("dask", "DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:{}"),
        ("ray", "RAY_ADDRESS", "127.0.0.1:{}"),
    ],
)
def test_a_cluster_that_its_own_variable_names_and_that_does_not_answer_is_told_in_one_line(
    monkeypatch, engine, variable, address
):
    """The engine itself is not reached: it would wait for minutes."""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        monkeypatch.setenv(variable, address.format(unheard.getsockname()[1]))
        stand_in_for_the_engines(monkeypatch, [])
        asked, runner = read(TWO), Runner()
        with pytest.raises(DeviceError) as error:
            study_run.run(asked, asked.conditions, runner=runner, engine=study_run.Engine(engine))
    assert error.value.exit_code == 6
    assert f"no cluster answers at {os.environ[variable]}" in str(error.value)
    assert f"unset {variable}" in str(error.value)
    assert "\n" not in str(error.value)
    assert runner.asked == []


def stand_in_for_the_engines(monkeypatch, calls):
    """Put modules in the place of dask and ray that note how a cluster is asked for, and fail."""

    def asked(*arguments, **options):
        calls.append((arguments, options))
        raise ConnectionError("no more than asked")

    ray, of_joblib = types.ModuleType("ray"), types.ModuleType("ray.util.joblib")
    ray.init = asked
    of_joblib.register_ray = lambda: None
    distributed = types.ModuleType("distributed")
    distributed.Client = asked
    util = types.ModuleType("ray.util")
    for module in (ray, util, of_joblib, distributed):
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.parametrize(
    ("engine", "variable", "address", "first", "options"),
    [
        ("dask", "DASK_SCHEDULER_ADDRESS", "tcp://127.0.0.1:{}", "tcp://127.0.0.1:{}", set()),
        ("dask", "DASK_SCHEDULER_ADDRESS", "", None, {"n_workers", "threads_per_worker"}),
        ("ray", "RAY_ADDRESS", "127.0.0.1:{}", "127.0.0.1:{}", {"runtime_env"}),
        ("ray", "RAY_ADDRESS", "", "local", {"runtime_env", "num_cpus"}),
        ("ray", "RAY_ADDRESS", "local", "local", {"runtime_env", "num_cpus"}),
    ],
)
def test_a_running_cluster_is_used_as_it_is_and_only_a_local_one_is_given_a_size(
    monkeypatch, engine, variable, address, first, options
):
    """Both engines refuse the size of a cluster that runs already."""
    calls = []
    stand_in_for_the_engines(monkeypatch, calls)
    with socket.socket() as heard:
        heard.bind(("127.0.0.1", 0))
        heard.listen()
        port = heard.getsockname()[1]
        monkeypatch.setenv(variable, address.format(port))
        asked = read(TWO)
        with pytest.raises(DeviceError, match="no more than asked"):
            study_run.run(asked, asked.conditions, runner=Runner(), engine=study_run.Engine(engine))
    ((positional, named),) = calls
    place = named.pop("address", None) or (positional[0] if positional else None)
    assert place == (first and first.format(port))
    assert set(named) == options


def dies(job, clone):
    """Leave a table, but be killed before the last condition has one."""
    if job.condition.name == "prune" and not (job.source.root / "once").exists():
        (job.source.root / "once").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    there = clone / job.source.within
    files.write_text(there / "reports/train/seeds.csv", f"table of {job.condition.name}\n")
    with (job.source.root / "asked").open("a") as file:
        file.write(f"{job.condition.name}\n")


def test_a_killed_worker_loses_nothing_and_nothing_is_run_twice(project):
    asked = read(with_conditions(grow={}, prune={"op": "prune"}, dense={"op": "dense"}))
    two = study_run.Engine(jobs=2)
    with pytest.raises(Interrupted, match="a worker was killed"):
        study_run.run(asked, asked.conditions, engine=two, runner=dies)
    study_run.run(asked, asked.conditions, engine=two, runner=dies)
    assert {*kept(asked)} == {"grow", "prune", "dense"}
    assert all("reports/train/seeds.csv" in there for there in kept(asked).values())
    done_twice = (project / "asked").read_text().split()
    assert done_twice.count("prune") == 1


def test_two_studies_at_once_both_complete():
    first, second = read(TWO, name="one"), read(TWO, name="other")
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run, asked, Runner()) for asked in (first, second)]
    for done in runs:
        done.result()
    assert kept(first) == kept(second) == {"grow": WHOLE, "prune": WHOLE}


def test_a_condition_knows_how_long_it_took():
    asked = read(TWO)
    run(asked, Runner())
    record = files.read_json(study.place(asked, asked.conditions[0]) / "condition.json")
    assert record["seconds"] == 0
    assert record["cores"] == os.cpu_count()


def killed_after(seconds):
    """Return a runner that is killed after its log's last line, which is so late."""

    def runner(job, clone):  # noqa: ARG001 (every runner's form)
        files.write_text(job.log, "a line")
        last = time.time() + seconds
        os.utime(job.log, (last, last))
        raise KeyboardInterrupt

    return runner


def test_a_condition_that_was_killed_twice_counts_the_time_of_all_three_calls():
    asked = read(TWO)
    for seconds in (100, 20):
        with pytest.raises(KeyboardInterrupt):
            run(asked, killed_after(seconds))
    run(asked, Runner())
    first, second = (
        files.read_json(study.place(asked, one) / "condition.json") for one in asked.conditions
    )
    assert first["seconds"] == pytest.approx(120, abs=2)
    assert second["seconds"] == 0
    shutil.rmtree(study.place(asked, asked.conditions[0]))
    run(asked, Runner())  # anew, so from nothing
    record = files.read_json(study.place(asked, asked.conditions[0]) / "condition.json")
    assert record["seconds"] == 0


def test_other_changes_do_not_matter():
    asked, runner = read(TWO), Runner()
    Path("README.md").write_text("changed\n")
    run(asked, runner)
    assert runner.asked == ["grow", "prune"]


def test_only_some_conditions_are_run():
    asked, runner = read(TWO), Runner()
    run(asked, runner, only=["prune"])
    assert runner.asked == ["prune"]
    with pytest.raises(ConfigError, match="unknown 'prun'; did you mean 'prune'"):
        run(asked, runner, only=["prun"])


def test_progress_goes_to_stderr_a_line_for_each_start_and_end(capsys):
    with pytest.raises(PlasticityError):
        run(read(TWO), Runner("prune"))
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "[study] two: 0 of 2 conditions are there"
    assert lines[1].startswith("[study] 2 to run, no estimate yet")
    assert lines[2].startswith("[study] grow: starts; log in .dvc/tmp/studies/two/grow-")
    assert lines[3] == "[study] grow: done in 0:00:00 · 1/2 · elapsed 0:00:00 · eta 0:00:00"
    assert lines[5].startswith("[study] prune: failed (no luck) in 0:00:00 · 2/2 ·")


def test_the_last_line_of_a_log_is_told_once_while_a_condition_runs(project, monkeypatch, capsys):
    job = study_clone.Job(read(TWO), read(TWO).conditions[0], study_clone.committed(project))
    monkeypatch.setattr(study_clone, "FIRST_NEWS", 0.01)
    monkeypatch.setattr(study_clone, "LONGEST_SILENCE", 0.01)
    with study_clone._news(job):
        time.sleep(0.05)  # no log yet
        for line in ("Running stage 'train':", "[train]  50% · 3 seeds · eta 2s\n"):
            files.write_text(job.log, f"an earlier line\n{line}\n")
            time.sleep(0.2)
    assert capsys.readouterr().err.splitlines() == [
        "[study] grow: Running stage 'train':",
        "[study] grow: [train]  50% · 3 seeds · eta 2s",
    ]


PATHS = (
    *("/a, b", "/c#1", "/50 % of it", "/Gr\u00f6\u00dfe \u65e5\u672c", "/a'b", '/a"b', "/a = b"),
    *("/[core]", """/a'b" #, c""", "/ends with a space ", "/x ; y", "/$HOME", "/a\nb"),
)


@pytest.mark.parametrize("path", PATHS)
def test_dvc_reads_the_settings_of_a_clone_as_they_were_meant(tmp_path, path):
    from dvc.config import Config

    written = tmp_path / "config.local"
    study_clone._write_config(written, path, f"{path}/site")
    read = Config.load_file(str(written))
    assert read["cache"] == {"dir": path}
    assert read["core"] == {"site_cache_dir": f"{path}/site"}


@pytest.mark.parametrize("path", ["/a %(b)s", "/%(dir)s"])
def test_a_path_that_dvc_cannot_have_is_refused_in_one_line(tmp_path, path):
    with pytest.raises(ConfigError, match="DVC cannot have its cache in this path") as told:
        study_clone._write_config(tmp_path / "config.local", path, "/site")
    assert len(str(told.value).splitlines()) == 1


def test_a_mapping_takes_the_place_of_a_mapping():
    tree = {"a": {"rule": "x", "old": 1}, "b": "name"}
    assert study.put_all(tree, {"a": {"rule": "y"}, "b": {"rule": "z"}}) == []
    assert tree == {"a": {"rule": "y"}, "b": {"rule": "z"}}


# -- the command


def command(folder, *arguments):
    return python(folder, "-m", "stages.study", *arguments)


def test_a_dry_run_prints_the_plan_and_starts_nothing(project):
    read(TWO)
    for name in ("src", "stages"):
        shutil.copytree(ROOT / name, project / name, dirs_exist_ok=True)
    result = command(project, "two.yaml", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert [line.split("-")[0] for line in result.stdout.splitlines()] == [
        "to run  grow",
        "to run  prune",
    ]
    assert not (project / "reports").exists()
    assert not (project / ".dvc").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["absent.yaml"], "absent.yaml: is missing"),
        (["two.yaml", "--only", "gorw"], "did you mean 'grow'?"),
        (["two.yaml", "--jobs", "0"], "--jobs: got 0, expected at least 1"),
        (["two.yaml", "--retries", "-1"], "--retries: got -1, expected at least 0"),
    ],
)
def test_a_wrong_command_ends_with_2(project, arguments, told):
    read(TWO)
    for name in ("src", "stages"):
        shutil.copytree(ROOT / name, project / name, dirs_exist_ok=True)
    result = command(project, *arguments)
    assert result.returncode == 2
    assert told in result.stderr
    assert "Traceback" not in result.stderr


REAL = {
    "title": "Real",
    "settings": {"scale": "tiny", "dataset": "digits", "train.epochs": 400, "train.workers": 1},
    "stages": ["train"],
    "conditions": {"grow": {"op": "grow"}, "prune": {"op": "prune", "train.lr": 1e-05}},
}


@pytest.mark.slow
def test_a_study_that_is_killed_continues_and_keeps_the_tables_of_each_condition(project):
    """With DVC, two at a time; the launcher alone is killed, so what it started must end too."""
    for name in ("src", "stages"):
        shutil.rmtree(project / name)
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "dvc.yaml", ".gitignore", ".dvc/config", ".dvc/.gitignore"):
        files.write_bytes(project / name, (ROOT / name).read_bytes())
    files.write_text(project / "reports/extract/seeds.csv", "of another experiment\n")
    asked = read(REAL, name="real")
    commit(project.parent)
    first = start(project, "-m", "stages.study", "real.yaml", "--jobs", "2")
    while not list((project / ".checkpoints").glob("train-*/*/step-*")):
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    result = command(project, "real.yaml", "--jobs", "2")
    assert result.returncode == 0, result.stderr
    assert [study.status(asked, one) for one in asked.conditions] == ["done", "done"]
    logs = [path.read_text() for path in (project / ".dvc/tmp/studies/real").glob("*.log")]
    assert any(": continuing at step " in log for log in logs)
    for condition in asked.conditions:
        place = study.place(asked, condition)
        assert len(tables.read_table("train", "seeds", root=place)) == 3
        assert (place / "reports/prepare/metrics.json").exists()
        assert not (place / "reports/extract").exists()
    grow, prune = (study.place(asked, one) / "reports/train/edits.csv" for one in asked.conditions)
    assert grow.read_bytes() != prune.read_bytes()
    named = git(project, "for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps/*/*/real-*")
    assert named.split() == [f"real-{one.experiment}" for one in asked.conditions]
    changed = git(project, "status", "--short", "--untracked-files=normal")
    assert changed == "?? reports/studies/\n"
    assert list((project / ".dvc/tmp/studies/real/clones").iterdir()) == []
    assert "2 of 2 conditions are there" in command(project, "real.yaml").stderr

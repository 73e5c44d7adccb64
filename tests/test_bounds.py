"""Nothing that is read makes work, memory or messages without bound."""

import contextlib
import copy
import os
import signal
from pathlib import Path

import pytest
import yaml

from plasticity import config, files, published, study, tables, yaml12
from plasticity.errors import ConfigError, DataError
from plasticity.yaml12 import read_yaml

ROOT = Path(__file__).resolve().parents[1]
PARAMS = ROOT / "params.yaml"
LONGEST_LINE = 3000
"""Characters; some lines list all rules of a family."""


@pytest.fixture
def soon():
    """Fail what takes longer than 20 s of wall time, instead of waiting for it."""

    def fail(*_):
        pytest.fail("takes too long")  # no Exception, so that nothing takes it for its own

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# -- YAML


def nested(levels, open_="[", close="]"):
    """Return YAML of ten aliases at each of some levels, each of them the level below."""
    lines = ["a0: &a0 [1, 1]"]
    for level in range(1, levels):
        inner = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} {open_}{inner}{close}")
    return "\n".join(lines)


BOMBS = {
    "lists": nested(9),
    "merged mappings": "a0: &a0 {b: 1}\n"
    + "\n".join(
        f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 10)}]}}"
        for level in range(1, 9)
    ),
    "mappings": "a0: &a0 {b: 1}\n"
    + "\n".join(
        f"a{level}: &a{level} {{{', '.join(f'k{key}: *a{level - 1}' for key in range(10))}}}"
        for level in range(1, 9)
    ),
    "in the place of a text": f"{nested(9)}\nreport: {{title: *a8}}",
    "itself": "a: &a [*a]",
    "itself deeper": "a: &a {b: [1, {c: *a}]}",
    "many values": f"a: [{'1,' * 400_000}]",
    "deep": f"a: {'[' * 3000}{']' * 3000}",
    "a long text": f"a: {'x' * 1_100_000}",
    "long comments": f"a: 1\n{'# comment' * 200_000}",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
@pytest.mark.usefixtures("soon")
def test_yaml_that_would_grow_is_refused_at_once_in_one_line(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_yaml(path)
    assert len(str(refused.value).splitlines()) == 1
    assert len(str(refused.value)) < 1000


def test_a_few_aliases_are_written_out(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: &a [1, 2]\nb: [*a, *a]")
    assert read_yaml(path) == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


def test_the_files_of_the_project_are_far_from_the_bounds():
    for path in (PARAMS, *ROOT.glob("studies/*.yaml")):
        loader = yaml12._Loader(path.read_text())
        assert yaml12._count(loader.get_single_node(), {}) < yaml12.MOST_NODES / 5
        assert path.stat().st_size < yaml12.MOST_BYTES / 5


# -- files that are none


@contextlib.contextmanager
def special(tmp_path, kind):
    """Give the path of something that can be opened and is no regular file."""
    path = tmp_path / "thing"
    if kind == "named pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/null")
    elif kind == "link to itself":
        path.symlink_to(path)
    yield path


READERS = {
    "parameters": (read_yaml, ConfigError),
    "study": (lambda path: study.read(path, PARAMS), ConfigError),
    "JSON": (files.read_json, DataError),
}


@pytest.mark.parametrize("kind", ["named pipe", "folder", "device", "link to itself"])
@pytest.mark.parametrize(("reader", "fault"), READERS.values(), ids=READERS)
@pytest.mark.usefixtures("soon")
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, kind, reader, fault):
    with special(tmp_path, kind) as path, pytest.raises(fault, match="could not be read") as told:
        reader(path)
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.usefixtures("soon")
def test_tables_that_are_pipes_are_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (tables.table_path("train", "seeds"), files.published_path("mlp")):
        path.parent.mkdir(parents=True)
        os.mkfifo(path)
    with pytest.raises(DataError, match=r"seeds\.csv: could not be read"):
        tables.read_table("train", "seeds")
    with pytest.raises(DataError, match=r"mlp\.csv: could not be read"):
        published.read()


def test_a_file_that_is_too_big_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_JSON", 10)
    path = tmp_path / "a.json"
    path.write_text('{"a": 123456789}')
    with pytest.raises(DataError, match="has more than 10 bytes"):
        files.read_json(path)
    path.write_text('{"a": 123}')
    assert files.read_json(path) == {"a": 123}


@pytest.mark.parametrize("text", ["[" * 100_000, '"\\ud800"', "1" * 5000, '{"a": "\\udfff x"}'])
def test_json_that_python_cannot_hold_or_write_again_is_refused(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"a\.json: is not JSON") as told:
        files.read_json(path)
    assert len(str(told.value)) < 1000


def test_json_with_pairs_of_surrogates_is_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('"\\ud83d\\ude00"')
    assert files.read_json(path) == "\U0001f600"


# -- messages


def places(tree, prefix=()):
    """Return the place of every value of a tree, but for presets that are not chosen."""
    for key, value in tree.items():
        if key != "presets":
            yield (*prefix, key)
            if isinstance(value, dict):
                yield from places(value, (*prefix, key))


TREE = read_yaml(PARAMS)
TREE["presets"] = {"quick": {"digits": TREE["presets"]["quick"]["digits"]}}
LONG = "x" * 50_000
HUGE = (LONG, [[1, 2, [3] * 1000]] * 1000, {"rule": LONG}, {"rule": "grow", LONG: LONG}, 10**4000)


def put(tree, place, value):
    """Return a tree with another value in a place."""
    changed = copy.deepcopy(tree)
    node = changed
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    return changed


def bounded(call, *arguments):
    """Assert that a call is refused in short lines."""
    with pytest.raises(ConfigError) as refused:
        call(*arguments)
    assert max(map(len, str(refused.value).splitlines())) < LONGEST_LINE
    assert len(str(refused.value)) < 100_000


@pytest.mark.parametrize("value", HUGE, ids=["text", "list", "rule", "option", "integer"])
def test_no_message_quotes_more_than_a_part_of_a_value(value):
    """One place after another: every parameter, every section, a preset's value."""
    every = [*places(TREE), ("presets", "quick", "digits"), ("presets", "quick", "digits", "train")]
    for place in every:
        if isinstance(value, str) and place[-1] == "rule":
            continue
        bounded(config.resolve, put(TREE, place, value))


@pytest.mark.parametrize("place", [(), ("train",), ("presets", "quick", "digits"),
                                   ("presets", "quick", "digits", "train")])  # fmt: skip
def test_no_message_quotes_more_than_a_part_of_a_name(place):
    bounded(config.resolve, put(TREE, (*place, LONG), {"a": 1}))


def test_of_many_wrong_names_the_first_are_told():
    bounded(config.resolve, TREE | {f"name{number}": 1 for number in range(5000)})


CONDITIONS = {"a": {"op": "grow"}, "b": {"op": "prune"}}
CLAIM = {"says": "x", "expects": "more", "contrasts": [["a", "b"]]}
STUDY = {"title": "t", "conditions": CONDITIONS, "claims": {"C1": CLAIM}}
WRONG = {
    "title": STUDY | {"title": LONG},
    "key": STUDY | {LONG: 1},
    "settings": STUDY | {"settings": LONG},
    "setting": STUDY | {"settings": {LONG: 1}},
    "setting of a section": STUDY | {"settings": {f"train.{LONG}": 1, f"op.{LONG}.a": 1}},
    "preset": STUDY | {"settings": {f"presets.{LONG}": 1}},
    "value": STUDY | {"settings": {"op": LONG, "train.lr": LONG}},
    "stage": STUDY | {"stages": [LONG]},
    "condition's name": STUDY | {"conditions": {LONG: {"op": LONG}}},
    "condition": STUDY | {"conditions": {"a": LONG}},
    "conditions": {
        "title": "t",
        "conditions": {f"a{n}": {"train.seeds": n + 1} for n in range(501)},
    },
    "claim's name": STUDY | {"claims": {LONG: CLAIM}},
    "claim": STUDY | {"claims": {"C1": LONG}},
    "words": STUDY | {"claims": {"C1": CLAIM | {"says": LONG, "paper": LONG, "expects": LONG}}},
    "side": STUDY | {"claims": {"C1": CLAIM | {"contrasts": [[LONG, "b"]]}}},
    "argument": STUDY | {"claims": {"C1": CLAIM | {"contrasts": [[f"a cycle.acc {LONG}", "b"]]}}},
    "no pair": STUDY | {"claims": {"C1": CLAIM | {"contrasts": [LONG]}}},
    "no side": STUDY | {"claims": {"C1": CLAIM | {"contrasts": [[["a"] * 5000, "b"]]}}},
    "metric": STUDY | {"claims": {"C1": CLAIM | {"metric": LONG}}},
    "across": STUDY
    | {"claims": {"C1": CLAIM | {"metric": ["flops", LONG], "across": [f"{LONG} b", LONG, LONG]}}},
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
@pytest.mark.usefixtures("soon")
def test_no_message_of_a_study_quotes_more_than_a_part(tmp_path, content):
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump(content))
    bounded(study.read, path, PARAMS)


def test_no_message_about_conditions_that_are_asked_for_quotes_more_than_a_part(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump({"title": "t", "conditions": CONDITIONS}))
    bounded(study.select, study.read(path, PARAMS), [LONG])


# -- texts and names that pages and figures cannot show


@pytest.mark.parametrize("sign", ["\x1b[31m", "\0", "\r", "\x85", "\u2028"])
@pytest.mark.parametrize("key", ["report.title", "data.folder"])
def test_a_parameter_with_a_control_character_is_refused(key, sign):
    tree = put(TREE, tuple(key.split(".")), f"a{sign}b")
    with pytest.raises(ConfigError, match=rf"{key}: holds the character '\\"):
        config.resolve(tree)


@pytest.mark.parametrize("sign", ["\\e", "\\0", "\\r", "\\ud800"])
@pytest.mark.parametrize("place", ["title", "says", "paper"])
def test_words_of_a_study_with_a_control_character_are_refused(tmp_path, place, sign):
    claim = "claims: {C1: {says: x, expects: more, contrasts: [[a, b]], paper: x}}"
    text = f"title: x\nconditions: {{a: {{op: grow}}, b: {{op: prune}}}}\n{claim}\n"
    path = tmp_path / "two.yaml"
    path.write_text(text.replace(f"{place}: x", f'{place}: "a{sign}b"'))
    with pytest.raises(ConfigError, match=rf"{place}: holds the character '\\"):
        study.read(path, PARAMS)


@pytest.mark.parametrize("name", ["<img src=x> | a", "=1+1", "C 1", "1C", "", "C" * 41, "C\n", "é"])
def test_a_claim_whose_name_is_no_name_is_refused(tmp_path, name):
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump(STUDY | {"claims": {name: CLAIM}}))
    with pytest.raises(ConfigError, match="expected letters, digits, '_' and '-', a letter first"):
        study.read(path, PARAMS)

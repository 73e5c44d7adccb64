"""Exported networks, run by a Python that cannot import this project: the same bits."""

import ast
import contextlib
import copy
import json
import math
import shutil
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from commands import python
from networks import ACTIVATIONS, CONVNET, MLP, architecture_for
from test_image_folder import make_folder
from test_recipe import SETTING, TRUNK_SETTING, params_of
from test_subnetwork import dataset_of, extracted, extracted_as_it_is

from plasticity import description, export, files, subnetwork, tables
from plasticity.errors import CheckError, ConfigError, DataError

PLAIN = """
import importlib.util, json, sys, torch
torch.set_num_threads(1)
torch.set_flush_denormal(True)
answer = {}
for folder in sys.argv[1:]:
    sys.path.insert(0, folder)
    import network
    images = torch.load(f"{folder}/images.pt", weights_only=True)
    net = network.load()
    with torch.no_grad():
        answer[folder] = [net(images).tolist(), net(images / 255).tolist(), network.CLASSES]
    del sys.modules["network"], sys.path[0]
assert importlib.util.find_spec("plasticity") is None
json.dump(answer, sys.stdout)
"""
"""Prints the logits of images as bytes and as numbers, and the classes."""


def answers(place, *folders):
    """Return what a plain script says of exported networks; it stands in an empty folder."""
    (place / "empty").mkdir(exist_ok=True)
    done = python(place / "empty", "-c", PLAIN, *map(str, folders))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_same_logits(answer, net, images):
    """Compare with the library's own module, bit by bit (float32; both with one thread)."""
    with torch.no_grad():
        expected = net.module(net.standardise(images)).tolist()
    of_bytes, of_numbers, classes = answer
    assert of_bytes == expected
    assert of_numbers == expected
    assert tuple(classes) == net.classes
    assert all(math.isfinite(value) for row in expected for value in row)


def put_results(folder, status="ok"):
    """Write the table of two trained seeds, the second of them with a status."""
    rows = [
        {column: kind() for column, kind in tables.SCHEMAS["train", "seeds"].items()}
        | {"seed": seed, "status": ("ok", status)[seed]}
        for seed in range(2)
    ]
    tables.write_table("train", "seeds", rows)
    return folder


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return put_results(tmp_path)


CASES = [
    (kind, case, normalise)
    for kind in ("mlp", "convnet")
    for case in ACTIVATIONS
    for normalise in (False, True)
]


def test_a_plain_script_gives_the_same_logits_for_every_kind_of_network(workspace):
    """Two backbones x seven activations x with and without layer normalisation."""
    nets = {}
    for number, (kind, case, normalise) in enumerate(CASES):
        backbone = architecture_for(case, MLP if kind == "mlp" else CONVNET)
        path = files.subnetwork_path(0)
        _, net = extracted(backbone, number, path, case, normalise, least=3)
        folder = workspace / f"{kind}-{case}-{normalise}"
        export.export(0, folder)
        images = dataset_of(backbone).test_images
        torch.save(images, folder / "images.pt")
        nets[str(folder)] = net, images
    found = answers(workspace, *nets)
    for folder, (net, images) in nets.items():
        assert_same_logits(found[folder], net, images)


@pytest.mark.parametrize("trunk", [False, True], ids=["mlp", "trunk"])
@pytest.mark.parametrize("case", ["relu", "random_smooth_leaky"])
def test_a_trained_network_with_units_that_still_fade_in_is_exported(workspace, trunk, case):
    """Trained at scale tiny, grown; 15 steps of 40 of their gate are gone."""
    gate = {"rule": "linear", "steps": 40}
    extracted_as_it_is("grow", trunk, case, workspace, 40, intervention__gate=gate)
    files.SUBNETWORKS.mkdir(parents=True)
    (workspace / "net").rename(files.subnetwork_path(0))
    export.export(0, workspace / "out")
    images = (TRUNK_SETTING if trunk else SETTING).dataset.test_images
    torch.save(images, workspace / "out" / "images.pt")
    net = subnetwork.load_subnetwork(files.subnetwork_path(0))
    found = answers(workspace, workspace / "out")
    assert_same_logits(found[str(workspace / "out")], net, images)


# -- the files


def test_the_file_holds_tensors_under_the_names_of_a_sequential(workspace):
    extracted(CONVNET, 1, files.subnetwork_path(0))
    export.export(0, workspace / "out")
    named = torch.load(workspace / "out" / "network.pt", weights_only=True)
    assert type(named) is dict
    assert list(named)[:3] == ["conv1.weight", "conv1.bias", "conv2.weight"]


def test_the_module_imports_nothing_but_torch_and_python(workspace):
    extracted(architecture_for("crelu", CONVNET), 1, files.subnetwork_path(0), "crelu", True, 3)
    export.export(0, workspace / "out")
    tree = ast.parse((workspace / "out" / "network.py").read_text())
    tops = {str(node.module).split(".")[0] for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)} | {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }  # fmt: skip
    assert tops <= {*sys.stdlib_module_names, "torch"}
    assert "SmoothLeaky" not in ast.dump(tree)


def test_every_kind_of_layer_has_a_text():
    assert sorted(export._TEXT) == sorted(subnetwork._MODULES)


def test_names_of_classes_are_text_and_nothing_else(workspace):
    """Whatever a folder is called."""
    strange = ('"""', "a'b\\", "{seed}", "Löwe")
    extracted(CONVNET, 1, files.subnetwork_path(0))
    path = files.subnetwork_path(0) / "arch.json"
    files.write_json(path, files.read_json(path) | {"classes": strange})
    sums = {name: files.sha256(path.parent / name) for name in ("weights.safetensors", "arch.json")}
    files.write_json(path.parent / "manifest.json", sums)
    export.export(0, workspace / "out")
    torch.save(dataset_of(CONVNET).test_images, workspace / "out" / "images.pt")
    (answer,) = answers(workspace, workspace / "out").values()
    assert tuple(answer[2]) == strange


def test_a_file_of_the_users_is_left_alone_but_an_older_model_is_not(workspace, monkeypatch):
    monkeypatch.setattr(export, "ONNX_PACKAGES", ("onnx", "no_such_package"))
    extracted(MLP, 1, files.subnetwork_path(0))
    files.write_text(workspace / "out" / "mine.txt", "")
    files.write_text(workspace / "out" / "network.onnx", "old")
    said = export.export(0, workspace / "out")
    assert sorted(p.name for p in (workspace / "out").iterdir()) == [
        "mine.txt",
        "network.pt",
        "network.py",
    ]
    assert said.endswith("no_such_package")
    assert "no network.onnx, for which pip install" in said


def test_onnx_gives_the_same_logits(workspace):
    """Where the packages are; onnx computes in another order: 1e-5 of the largest logit."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    for case in ACTIVATIONS:
        backbone = architecture_for(case, CONVNET)
        shutil.rmtree(files.subnetwork_path(0), ignore_errors=True)
        _, net = extracted(backbone, 3, files.subnetwork_path(0), case, True, 3)
        assert export.export(0, workspace / "out").endswith("network.onnx")
        images = dataset_of(backbone).test_images
        session = runtime.InferenceSession(workspace / "out" / "network.onnx")
        (found,) = session.run(None, {"images": images.numpy()})
        with torch.no_grad():
            expected = net.module(net.standardise(images)).numpy()
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_seed_that_is_not_there_or_diverged_is_refused(workspace):
    with pytest.raises(ConfigError, match="--seed: got 7, but the experiment has seeds 0 to 1"):
        export.export(7, workspace / "out")
    put_results(workspace, "diverged")
    with pytest.raises(CheckError, match=r"seed 1 is 'diverged', no result; take one of \[0\]"):
        export.export(1, workspace / "out")
    assert not (workspace / "out").exists()


# -- descriptions that somebody else wrote


def places(node, prefix=()):
    """Return the place of every part of JSON."""
    for key in node if isinstance(node, dict) else range(len(node)):
        yield (*prefix, key)
        if isinstance(node[key], dict | list):
            yield from places(node[key], (*prefix, key))


def signed(folder, **contents):
    """Write files of a network's folder, and a manifest that is true of them."""
    for name, content in contents.items():
        (folder / name.replace("__", ".")).write_bytes(content)
    sums = {name: files.sha256(folder / name) for name in subnetwork.FILES}
    files.write_json(folder / "manifest.json", sums)


ATTACK = "0.1); __import__('pathlib').Path('attacked').touch()  #"
HOSTILE = (ATTACK, [ATTACK], {"kind": ATTACK}, None, True, -1, 10**12, float("nan"), float("inf"))


def refusal(content):
    """Return why a description is refused, or nothing."""
    try:
        description.read(content, "arch.json")
    except DataError as error:
        return str(error)
    return ""


def replaced(content, place, value):
    """Return JSON with another value in a place."""
    changed = copy.deepcopy(content)
    node = changed
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    return changed


@pytest.mark.parametrize("case", ["smooth_leaky", "leaky_relu", "crelu"])
def test_a_description_that_is_no_networks_is_refused_in_one_line(tmp_path, case):
    """Every value of ``arch.json``, one after another, by what is no such value."""
    extracted(architecture_for(case, MLP), 1, tmp_path / "net", case, case == "leaky_relu", 3)
    content = files.read_json(tmp_path / "net" / "arch.json")
    for place in places(content):
        for value in HOSTILE:
            if place[0] == "classes" and len(place) == 2 and isinstance(value, str):
                continue  # a name, whatever it is
            if place[0] in {"mean", "std"} and len(place) == 2 and value == 10**12:
                continue  # a number
            if place[0] == "mean" and value == -1:
                continue
            told = refusal(replaced(content, place, value))
            assert told.startswith("arch.json: "), f"{place} may be {value}"
            assert len(told.splitlines()) == 1
            assert len(told) < 1000


@pytest.mark.parametrize("case", ["smooth_leaky", "leaky_relu", "crelu"])
def test_nothing_is_written_of_a_description_that_is_refused(workspace, case):
    folder = files.subnetwork_path(0)
    extracted(architecture_for(case, CONVNET), 1, folder, case, False, 3)
    content = files.read_json(folder / "arch.json")
    chosen = [place for place in places(content) if place[0] == "layers" and len(place) == 3]
    for place in [*chosen, ("image", 0), ("mean", 0), ("copies",), ("slots", 0, 0)]:
        signed(folder, arch__json=json.dumps(replaced(content, place, ATTACK)).encode())
        with pytest.raises(DataError, match=r"arch\.json: "):
            export.export(0, workspace / "out")
    assert not (workspace / "out").exists()


def test_a_layer_that_is_not_the_networks_is_refused(workspace):
    folder = files.subnetwork_path(0)
    extracted(MLP, 1, folder)
    content = files.read_json(folder / "arch.json")
    kept = content["layers"]
    swapped = [*kept[:1], *kept[1:][::-1]]
    for layers in (kept[:-1], [*kept, kept[-1]], [{**kept[0], "x": 1}, *kept[1:]], [], swapped):
        signed(folder, arch__json=json.dumps(content | {"layers": layers}).encode())
        with pytest.raises(DataError, match=r"arch\.json: .*layer|fc1_act"):
            export.export(0, workspace / "out")
    assert not (workspace / "out").exists()


@pytest.mark.parametrize("kind", ["other type", "other shape", "one more", "one less", "none"])
def test_weights_that_are_not_the_described_ones_are_refused(workspace, kind):
    folder = files.subnetwork_path(0)
    extracted(MLP, 1, folder)
    named = safetensors.torch.load_file(folder / "weights.safetensors")
    first = next(iter(named))
    changed = {
        "other type": named | {first: named[first].double()},
        "other shape": named | {first: named[first][:-1].contiguous()},
        "one more": named | {ATTACK: named[first].clone()},
        "one less": {name: tensor for name, tensor in named.items() if name != first},
        "none": {},
    }[kind]
    signed(folder, weights__safetensors=safetensors.torch.save(changed))
    with pytest.raises(DataError, match=r"weights\.safetensors: .*arch\.json says"):
        export.export(0, workspace / "out")
    signed(folder, weights__safetensors=b"\xff" * 100)
    with pytest.raises(DataError, match=r"weights\.safetensors: cannot be read"):
        export.export(0, workspace / "out")
    assert not (workspace / "out").exists()


@pytest.mark.parametrize("content", [[], {}, {"arch.json": "0"}, {"../../x": "0"}, 3])
def test_a_manifest_of_other_files_is_refused(workspace, content):
    folder = files.subnetwork_path(0)
    extracted(MLP, 1, folder)
    files.write_json(folder / "manifest.json", content)
    with pytest.raises(DataError, match=r"manifest\.json: got .*, expected the SHA-256 of"):
        export.export(0, workspace / "out")


@pytest.mark.parametrize("kind", export._TEXT)
def test_no_value_becomes_code_even_where_it_was_not_checked(kind):
    layer = dict.fromkeys(("inputs", "outputs", "width", "eps", "slope", "rate"), ATTACK)
    with contextlib.suppress(ValueError):  # of an escape; a kind without values needs none
        assert ATTACK not in export._TEXT[kind](layer)


# -- from images to an exported network


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["convnet", "mlp"])
def test_a_folder_of_images_becomes_a_network_of_its_own(tmp_path, kind):
    from test_pipeline import ROOT, run_together

    make_folder(tmp_path / "images", train=8, test=4)
    for name in ("src", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "params.yaml").read_text()
    for old, new in (
        ("dataset: digits", "dataset: folder"),
        ("scale: quick", "scale: tiny"),
        ('folder: ""', "folder: images"),
        ("image_size: 32", "image_size: 16"),
        *[("  kind:  ", "  kind: mlp  "), ("  trunk:  ", "  trunk: []  ")] * (kind == "mlp"),
    ):
        assert old in text, old
        text = text.replace(old, new, 1)
    (tmp_path / "params.yaml").write_text(text)
    stages = ("prepare", "train", "extract", "retrain", "continual")
    run_together(tmp_path, dict.fromkeys(stages, 1))
    done = python(tmp_path, "-m", "stages.report")
    assert done.returncode == 0, done.stderr
    assert "a folder of images" in (tmp_path / "reports" / "report.html").read_text()
    done = python(tmp_path, "-m", "stages.export", "--seed", "2")
    assert done.returncode == 0, done.stderr
    assert "[export] exported/seed-2: network.pt, network.py" in done.stderr
    folder = tmp_path / "exported" / "seed-2"
    net = subnetwork.load_subnetwork(tmp_path / files.subnetwork_path(2))
    images = torch.randint(256, (5, 3, 16, 16)).to(torch.uint8)
    torch.save(images, folder / "images.pt")
    assert_same_logits(answers(tmp_path, folder)[str(folder)], net, images)
    assert net.classes == ("cat", "dog", "eel")
    assert params_of().dataset == "digits"  # the file is a copy


def test_the_command_tells_what_cannot_be_had(tmp_path):
    from test_pipeline import ROOT

    shown = " ".join(python(ROOT, "-m", "stages.export", "--help").stdout.split())
    assert "Tickets cannot be had: retrain keeps their results, not their weights" in shown
    for name in ("src", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    done = python(tmp_path, "-m", "stages.export")
    assert done.returncode == 3
    assert done.stderr.startswith("[export] reports/train/seeds.csv: is missing; run `make repro`")

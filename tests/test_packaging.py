"""What is imported is what ``pyproject.toml`` lists, and what it lists is pinned."""

import re
import sys
import tomllib
from importlib import metadata

import pytest
from import_graph import FIRST_PARTY, ROOT, imported_names

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = {
    re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower()
    for line in (ROOT / "requirements.txt").read_text().splitlines()
    if "==" in line
}
EXTRAS = {"dask": {"distributed"}, "ray": {"ray"}, "onnx": {"onnx", "onnxscript"}}
"""What only some need, and no pin holds."""
OTHERWISE = {"ruamel": "ruamel.yaml", "distributed": "distributed", "ray": "ray"}
"""Imported names whose distribution cannot be asked for where it is not installed, or shares its
name with others."""
NOT_IMPORTED = {"onnx", "onnxscript"}
"""Needed by torch.onnx."""
TOOLS = {"mypy", "pandas-stubs", "ruff", "types-pyyaml"}
"""Run, not imported."""


def name_of(requirement):
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", requirement)[0]).lower()


def listed(*extras):
    chosen = [PROJECT["optional-dependencies"][extra] for extra in extras]
    return {name_of(one) for part in (PROJECT["dependencies"], *chosen) for one in part}


def imported(*folders):
    """Return the distributions that the modules of some folders import, inside functions too."""
    by_name = metadata.packages_distributions()
    own = {*FIRST_PARTY, "benchmarks", "soak", *(path.stem for path in ROOT.glob("tests/*.py"))}
    tops = {
        name.split(".")[0]
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        for name in imported_names(path)
    }
    return {
        name_of(OTHERWISE.get(top) or by_name.get(top, [top])[0])
        for top in tops - own - {*sys.stdlib_module_names}
    }


def test_what_is_imported_is_listed_and_what_is_listed_is_imported():
    found = imported("src", "stages", "benchmarks")
    assert found | NOT_IMPORTED == (listed(*EXTRAS) - {"dvc"})  # dvc is run as a command


def test_what_only_tests_import_is_their_extra():
    assert listed("test") - listed() == (imported("tests") - listed()) | TOOLS


@pytest.mark.parametrize("extra", EXTRAS)
def test_what_only_some_need_is_an_extra_and_no_dependency(extra):
    assert {name_of(one) for one in PROJECT["optional-dependencies"][extra]} == EXTRAS[extra]
    assert EXTRAS[extra].isdisjoint(listed())


def test_what_is_listed_is_pinned():
    assert listed("test") <= PINNED

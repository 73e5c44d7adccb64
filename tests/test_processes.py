"""Programs that we start work on the repository of their folder, whatever Git was told before."""

import os
from pathlib import Path

import pytest
from commands import commit, git, python

from plasticity import files, processes, study_clone
from plasticity.errors import ConfigError, PlasticityError
from plasticity.study import Condition, Study

ROOT = Path(__file__).resolve().parents[1]
PATHS = ["project", "a, b #1", "p%20 é ü", "x:y", "-d", "q'\"$(e)`[f]", "..{j}\\"]
EXPERIMENT = "refs/exps/12/3456/s-one-00000000"
HOSTILE = """
[user]
    useConfigOnly = true
[clone]
    defaultRemoteName = upstream
    rejectShallow = true
[status]
    showUntrackedFiles = no
[commit]
    gpgSign = true
[core]
    hooksPath = {hooks}
    attributesFile = {hooks}/attributes
    autocrlf = true
    quotePath = true
[init]
    templateDir = {hooks}/template
    defaultBranch = trunk
[protocol]
    allow = never
[fetch]
    prune = true
"""


def project_at(folder: Path) -> Path:
    for name in ("src/code.py", "stages/code.py", "dvc.yaml", "params.yaml"):
        files.write_text(folder / name, "as committed\n")
    return folder


def cloned(root: Path) -> Path:
    """Return a clone of a project, made as for a condition, that has given an experiment back."""
    condition = Condition("one", {}, None, "one-00000000", "one")  # type: ignore[arg-type]
    study = Study("s", "S", ("train",), (condition,))
    job = study_clone.Job(study, condition, study_clone.committed(root))
    clone = root / ".dvc/tmp/studies/s/clones/one"
    clone.mkdir(parents=True)
    project = study_clone._cloned(job, clone)
    files.write_text(project / "params.yaml", "of a condition\n")
    commit(clone)
    git(clone, "update-ref", EXPERIMENT, "HEAD")
    study_clone._give(clone, root, "s-one-00000000")
    assert git(root, "show", f"{EXPERIMENT}:./params.yaml") == "of a condition\n"
    return project


def state(folder: Path) -> tuple[str, ...]:
    """Return all that a program could have changed of a repository."""
    asked = ("rev-parse --symbolic-full-name HEAD", "for-each-ref refs/heads", "status --porcelain")
    return *(git(folder, *one.split()) for one in asked), git(folder, "config", "--local", "--list")


def test_no_variable_that_names_a_repository_is_handed_on(monkeypatch, tmp_path):
    listed = git(tmp_path, "rev-parse", "--local-env-vars").split()
    assert "GIT_DIR" in listed
    for name in (*listed, *processes.OF_DVC, "GIT_NAMESPACE", "GIT_AUTHOR_DATE"):
        monkeypatch.setenv(name, "x")
    kept = {name for name in processes.environment() if name.startswith(("GIT_", "DVC_"))}
    assert {name for name in kept & {*listed} if not name.startswith("GIT_CONFIG")} == set()
    assert kept.isdisjoint({*processes.OF_DVC, "GIT_NAMESPACE", "GIT_AUTHOR_DATE"})
    assert "GIT_CONFIG_PARAMETERS" in kept  # what a user sets for one command is no repository


@pytest.fixture
def worktree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a linked worktree with a project; the environment is that of a hook run there."""
    commit(project_at(tmp_path / "main"))
    git(tmp_path / "main", "worktree", "add", "--quiet", "-b", "feature", str(tmp_path / "wt"))
    inside = git(tmp_path / "wt", "rev-parse", "--absolute-git-dir").strip()
    monkeypatch.setenv("GIT_DIR", inside)
    monkeypatch.setenv("GIT_INDEX_FILE", f"{inside}/index")
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "wt"))
    return tmp_path / "wt"


def test_a_hook_in_a_linked_worktree_touches_no_other_repository(worktree, tmp_path):
    before = state(worktree), state(tmp_path / "main")
    commit(project_at(tmp_path / "another"))
    assert git(tmp_path / "another", "rev-list", "--count", "HEAD") == "1\n"
    assert (state(worktree), state(tmp_path / "main")) == before


def test_a_study_in_a_linked_worktree_leaves_it_as_it_is(worktree):
    before = state(worktree)
    assert (cloned(worktree) / "src/code.py").is_file()
    assert git(worktree, "symbolic-ref", "--short", "HEAD") == "feature\n"
    after = state(worktree)
    assert (after[:2], after[3]) == (before[:2], before[3])


@pytest.mark.usefixtures("worktree")
def test_python_is_told_of_no_repository_either(tmp_path):
    """The helper of other tests has the mechanism of the product."""
    shown = python(tmp_path, "-c", "import os; print('GIT_DIR' in os.environ)")
    assert (shown.stdout, "GIT_DIR" in os.environ) == ("False\n", True)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("within", ["", "sub folder"])
def test_any_path_can_be_cloned_and_takes_experiments(tmp_path, name, within):
    root = project_at(tmp_path / name / within)
    commit(tmp_path / name)
    assert study_clone.uncommitted(root) == []
    files.write_text(root / 'src/ä "new".py', "")
    assert study_clone.uncommitted(root) == ['src/ä "new".py']
    (root / 'src/ä "new".py').unlink()
    assert (cloned(root) / "src/code.py").read_text() == "as committed\n"


def test_a_shallow_clone_can_be_cloned_and_takes_experiments(tmp_path):
    whole = project_at(tmp_path / "whole")
    commit(whole)
    files.write_text(whole / "more", "")
    commit(whole)
    git(tmp_path, "clone", "--quiet", "--depth=1", whole.as_uri(), "shallow")
    assert git(tmp_path / "shallow", "rev-list", "--count", "HEAD") == "1\n"
    cloned(tmp_path / "shallow")


def test_settings_of_the_user_change_no_answer(tmp_path, monkeypatch):
    hooks = tmp_path / "hooks"
    for name in (
        "post-checkout",
        "pre-commit",
        "reference-transaction",
        "template/hooks/pre-commit",
    ):
        files.write_text(hooks / name, '#!/bin/sh\ntouch "$0.ran"; exit 1\n')
        (hooks / name).chmod(0o755)
    files.write_text(hooks / "attributes", "* text eol=crlf\n")
    files.write_text(tmp_path / "config", HOSTILE.format(hooks=hooks))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    root = project_at(tmp_path / "project")
    commit(root)
    files.write_text(root / "src/new.py", "")
    assert study_clone.uncommitted(root) == ["src/new.py"]
    (root / "src/new.py").unlink()
    project = cloned(root)
    assert git(project, "remote") == "origin\n"
    assert (project / "src/code.py").read_bytes() == b"as committed\n"
    assert list(tmp_path.rglob("*.ran")) == []


def test_a_project_that_its_repository_does_not_know_is_refused(tmp_path):
    files.write_text(tmp_path / ".gitignore", "sub\n")
    commit(tmp_path)
    root = project_at(tmp_path / "sub")
    with pytest.raises(ConfigError, match="no part of what its repository at") as refused:
        study_clone.committed(root)
    assert "\n" not in str(refused.value)


def test_a_program_that_fails_is_told_in_one_line(tmp_path):
    with pytest.raises(PlasticityError, match=r"^git rev-parse: fatal: not a git repo") as error:
        git(tmp_path, "rev-parse", "HEAD")
    assert "\n" not in str(error.value)


def test_without_git_the_reason_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlasticityError, match=r"^git: not found; install it"):
        git(tmp_path, "status")

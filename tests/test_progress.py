"""What the terminal is told while a stage runs."""

from pathlib import Path

import pytest
from test_recipe import params_of

from plasticity.progress import Display


def test_a_seed_that_diverges_is_told_once_for_each_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    news = {"step": 5, "steps": 10, "acc": [], "loss": [], "units": "4-4"}
    with Display("continual", params_of(), "cpu", "train-1", 2) as display:
        for item in ("grow-seeds-0-1", "grow-seeds-0-1", "leaky-seeds-0-1"):
            display.show(news | {"item": item, "diverged": {0: 3}})
    told = [line for line in capsys.readouterr().err.splitlines() if "diverged" in line]
    assert told == [
        f"[continual] {item}: seed 0 diverged at step 3; the others go on"
        for item in ("grow-seeds-0-1", "leaky-seeds-0-1")
    ]

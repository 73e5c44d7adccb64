"""Thirty float64 steps of every operator against stored values.

A change here means that results of the project change. If that is meant: raise RESULTS_VERSION,
run ``make golden``, and say in the commit why.
"""

import json
import tempfile
from pathlib import Path

import pytest
import torch
from test_recipe import digits, params_of

from plasticity import catalogue, recipe
from plasticity.train import run

STORED = Path(__file__).parent / "golden.json"
SETTING = recipe.Setting(digits(), torch.device("cpu"), torch.float64)


def summary(op: str) -> dict[str, object]:
    """Return what a run of 30 steps (2 batches x 15 epochs, 5 events) leaves, in short."""
    params = params_of(op=op, train__epochs=15, train__batch=30, train__optimizer="adam",
                       train__lr=0.01)  # fmt: skip
    job = recipe.train_job(params, SETTING, (0, 2))
    with tempfile.TemporaryDirectory() as folder:
        final = run(job, Path(folder), lambda news: None)  # noqa: ARG005
    assert final.step == 30
    return {
        "squares": [float(t.square().sum()) for t in final.state.weights.tensors()],
        "losses": [row["loss"] for row in final.progress["windows"]],
        "alive": [alive.nonzero().tolist() for alive in final.state.alive],
    }


@pytest.mark.parametrize("op", sorted(catalogue.OPERATORS))
def test_the_run_is_the_stored_one(op: str) -> None:
    stored = json.loads(STORED.read_text())[op]
    found = summary(op)
    assert found["alive"] == stored["alive"]
    assert found["squares"] == pytest.approx(stored["squares"], rel=1e-9)
    assert found["losses"] == pytest.approx(stored["losses"], rel=1e-9)


def write() -> None:
    """Store today's values; only ``make golden`` calls this."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    values = {op: summary(op) for op in sorted(catalogue.OPERATORS)}
    STORED.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    write()

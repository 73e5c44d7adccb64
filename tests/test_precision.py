"""Training with products in bfloat16: against autograd with every operand rounded, and its limits.

bfloat16 keeps 8 bits: a rounded number is off by at most 1/256 of itself.
"""

from dataclasses import replace

import pytest
import torch
from networks import (
    ACTIVATIONS,
    CONVNET,
    MLP,
    SEEDS,
    architecture_for,
    engine_activation,
    fresh_weights,
    named_parameters,
    plain_module,
    random_slopes,
)
from test_recipe import SETTING, TRUNK_SETTING, params_of
from torch import Tensor, nn
from torch.nn import functional

from plasticity import recipe
from plasticity.checkpoint import Checkpoint
from plasticity.checkpoint_folder import name_of
from plasticity.device import resolve_device
from plasticity.errors import ConfigError, DeviceError
from plasticity.items import Item
from plasticity.network import backward, cross_entropy, forward
from plasticity.precision import twin
from plasticity.train import run
from plasticity.weights import RELU, Activation, Weights

WIDE = {
    "mlp": replace(MLP, image=(1, 40, 1), widths=(64, 48), classes=5),
    "convnet": replace(CONVNET, trunk=(16, 24), widths=(48, 32, 24)),
}
"""Wide enough for the kernels that a real network meets."""
BATCH = 32


class Rounded(torch.autograd.Function):
    """A number as bfloat16 keeps it, and its gradient likewise."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # noqa: ARG004
        return x.bfloat16().to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # noqa: ARG004
        return grad.bfloat16().to(grad.dtype)


def rounded_gradients(module: nn.Sequential, x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return logits and gradients in float64; products round operands and results, but for the
    classifier's, which is the last layer."""
    h = x
    for layer in module[:-1]:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weight = Rounded.apply(layer.weight)
            bias = layer.bias + (layer.bias.bfloat16().double() - layer.bias).detach()
            if isinstance(layer, nn.Conv2d):
                z = functional.conv2d(Rounded.apply(h), weight, bias, padding=1)
            else:
                z = functional.linear(Rounded.apply(h), weight, bias)
            h = Rounded.apply(z)
        else:
            h = layer(h)
    logits = module[-1](h)
    functional.cross_entropy(logits, y).backward()
    return logits.detach(), [part.grad for part in named_parameters(module)]


def engine_gradients(
    weights: Weights, x: Tensor, y: Tensor, products: torch.dtype | None, activation: Activation
) -> tuple[Tensor, Weights]:
    grads = weights.map(torch.empty_like)
    computed = twin(weights, grads, products)
    computed.refresh()
    trace = forward(computed.weights, x, activation)
    _, error = cross_entropy(trace.logits, y)
    backward(computed.weights, trace, error, computed.grads, activation)
    computed.collect()
    return trace.logits, grads


def batch(architecture) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = architecture.image if architecture.trunk else (architecture.sizes[0],)
    x = torch.randn(len(SEEDS), BATCH, *shape, generator=generator, dtype=torch.float64)
    return x, torch.randint(architecture.classes, (len(SEEDS), BATCH), generator=generator)


def distance(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.double() - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("kind", WIDE)
def test_a_step_is_that_of_autograd_with_rounded_operands(kind):
    """Filters and matrices to the last bit or nearly, of which float32 is far; biases, whose sums
    are rounded elsewhere, to a bit of bfloat16."""
    architecture = WIDE[kind]
    weights, (x, y) = fresh_weights(architecture), batch(architecture)
    single = weights.map(lambda tensor: tensor.float())
    logits, low = engine_gradients(single, x.float(), y, torch.bfloat16, RELU)
    exact_logits, exact = engine_gradients(single, x.float(), y, None, RELU)
    for row in range(len(SEEDS)):
        module = plain_module(single.map(lambda tensor: tensor.double()), row)
        expected_logits, expected = rounded_gradients(module, x[row], y[row])
        ours = [logits[row], *(part[row] for part in low.tensors())]
        float32 = [exact_logits[row], *(part[row] for part in exact.tensors())]
        for mine, full, theirs in zip(ours, float32, [expected_logits, *expected], strict=True):
            assert distance(mine, theirs) < 1 / 256
            if mine.dim() > 1:  # logits too
                assert distance(mine, theirs) < 0.2 * distance(full, theirs)


@pytest.mark.parametrize("normalise", [False, True], ids=["raw", "normalised"])
@pytest.mark.parametrize("case", ACTIVATIONS)
@pytest.mark.parametrize("kind", WIDE)
def test_gradients_point_where_those_of_float32_point(kind, case, normalise):
    architecture = architecture_for(case, WIDE[kind])
    weights = fresh_weights(architecture, dtype=torch.float32)
    slopes = random_slopes(case, architecture, torch.Generator().manual_seed(0))
    activation = engine_activation(
        case, None if slopes is None else slopes.float(), normalise=normalise
    )
    x, y = batch(architecture)
    _, low = engine_gradients(weights, x.float(), y, torch.bfloat16, activation)
    _, full = engine_gradients(weights, x.float(), y, None, activation)
    for ours, exact in zip(low.tensors(), full.tensors(), strict=True):
        assert ours.dtype == torch.float32
        assert not torch.equal(ours, exact)
        cosine = functional.cosine_similarity(ours.flatten(1), exact.flatten(1))
        assert (cosine > 0.98).all(), cosine  # pooled maxima may tie, which turns some of them


def test_without_a_type_of_products_the_engine_computes_on_the_weights_themselves():
    weights = fresh_weights(CONVNET, dtype=torch.float32)
    grads = weights.map(torch.empty_like)
    same = twin(weights, grads, None)
    assert same.weights is weights
    assert same.grads is grads
    assert recipe.train_job(params_of(), SETTING, SEEDS).products is None


# -- whole runs

RUNS = {
    "grow, convnet": {"op": "grow", "network__kind": "convnet", "network__trunk": [4, 6]},
    "prune, adam": {
        "op": "prune",
        "intervention__selection__prune": "contribution",
        "edit__continuity": "warm",
        "train__optimizer": "adam",
        "train__lr": 0.01,
    },
    "grow, faded in": {"op": "grow", "intervention__gate": {"rule": "linear", "steps": 10}},
}


def trained(folder, **changes: object) -> Checkpoint:
    setting = TRUNK_SETTING if "network__trunk" in changes else SETTING
    if "network__trunk" in changes:
        changes |= {"dataset": "cifar10", "train__augment": "none"}
    job = recipe.train_job(params_of(**changes), setting, SEEDS)
    return run(job, folder, lambda news: None)  # noqa: ARG005


@pytest.mark.parametrize("name", RUNS)
def test_a_run_rounds_products_and_nothing_else(tmp_path, name):
    """Weights and moments stay float32, losses stay close, and the run can be repeated."""
    low, again, full = (
        trained(tmp_path / folder, train__precision=precision, **RUNS[name])
        for folder, precision in (("a", "bfloat16"), ("b", "bfloat16"), ("c", "float32"))
    )
    parts = (low.state.weights, *low.state.moments)
    assert {tensor.dtype for part in parts for tensor in part.tensors()} == {torch.float32}
    pairs = list(zip(low.state.weights.tensors(), again.state.weights.tensors(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert low.progress["windows"] == again.progress["windows"]
    assert not torch.equal(low.state.weights.bias[-1], full.state.weights.bias[-1])
    for ours, exact in zip(low.progress["windows"], full.progress["windows"], strict=True):
        assert ours["loss"] == pytest.approx(exact["loss"], abs=0.03)


def test_what_is_measured_before_the_first_step_is_that_of_float32(tmp_path):
    """Probes, edits and the first event are in float32."""
    ran = [
        trained(tmp_path / precision, op="grow", train__precision=precision).progress
        for precision in ("bfloat16", "float32")
    ]
    for name in ("edits", "cohorts", "shocks", "units"):
        first = [[row for row in progress[name] if row["step"] == 0] for progress in ran]
        assert first[0] == first[1]
    assert ran[0]["edits"]


# -- limits


def test_bfloat16_is_for_the_cpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with pytest.raises(DeviceError, match=r"auto found cuda, but train\.precision is bf"):
        resolve_device("auto", "bfloat16")
    assert resolve_device("cpu", "bfloat16") == "cpu"
    assert resolve_device("auto", "float32") == "cuda"


def test_bfloat16_is_for_float32_weights():
    double = replace(SETTING, dtype=torch.float64)
    with pytest.raises(ConfigError, match=r"precision: got bfloat16, but weights are torch\.fl"):
        recipe.train_job(params_of(train__precision="bfloat16"), double, SEEDS)


def test_checkpoints_of_one_precision_are_not_found_by_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("plasticity.checkpoint_folder.prepared_sum", lambda _: "data")
    work = [Item("train", "", SEEDS)]
    names = {
        name_of(params_of(train__precision=precision), "train", "cpu", work)
        for precision in ("float32", "bfloat16")
    }
    assert len(names) == 2

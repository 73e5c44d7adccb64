"""The rows of newborn units: N of them, seed by seed, by slot. Draws, sizes, and how they go in.

Draws are made for every slot, so they do not depend on which slots are born.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod, sqrt

import numpy as np
import torch
from torch import Tensor

from plasticity.rules.view import Draws, LayerView, Options, Slots, norms_of

Fill = Callable[[np.random.Generator, tuple[int, ...], np.ndarray], np.ndarray]
"""A generator, the shape (H, ...) of a layer's draws and who is born -> the newborns' rows."""


def uniform_draws(view: LayerView, born: Tensor, draws: Draws) -> tuple[Tensor, Tensor, Tensor]:
    """Return draws from U(-1, 1) for the newborns' incoming weights, biases, outgoing weights."""
    incoming, bias, outgoing = (
        drawn_rows(part, born, draws, uniform_rows)
        for part in (view.incoming, view.bias, view.outgoing)
    )
    return incoming, bias, outgoing


def drawn_rows(part: Tensor, born: Tensor, draws: Draws, fill: Fill) -> Tensor:
    """Return the newborns' rows (N, ...) of draws made for every slot of a tensor (S, H, ...)."""
    chosen = zip(draws, born.cpu().numpy(), strict=True)
    rows = [fill(draw, tuple(part.shape[1:]), new) for draw, new in chosen]
    return torch.from_numpy(np.concatenate(rows)).to(part.device)


def uniform_rows(draw: np.random.Generator, shape: tuple[int, ...], new: np.ndarray) -> np.ndarray:
    """Skip the draws of slots that are not born: a uniform double is one step of PCG64."""
    rows, place, width = np.empty((int(new.sum()), *shape[1:])), 0, prod(shape[1:])
    for row, slot in enumerate(np.flatnonzero(new)):
        draw.bit_generator.advance((int(slot) - place) * width)  # type: ignore[attr-defined]
        rows[row] = draw.uniform(-1.0, 1.0, shape[1:])
        place = int(slot) + 1
    draw.bit_generator.advance((shape[0] - place) * width)  # type: ignore[attr-defined]
    return rows


def normal_rows(draw: np.random.Generator, shape: tuple[int, ...], new: np.ndarray) -> np.ndarray:
    """Draw for every slot: a normal number takes now more steps, now fewer."""
    rows: np.ndarray = draw.standard_normal(shape)[new]
    return rows


def stacked(values: Sequence[np.ndarray], view: LayerView) -> Tensor:
    """Return one row of draws per seed, where the layer is."""
    return torch.from_numpy(np.stack(values)).to(view.alive.device)


def num_newborns(born: Tensor) -> int:
    """Return K, of a mask (S, H) with as many in every seed."""
    return int(born[0].sum())


def parts_of(slots: Slots) -> tuple[Tensor, Tensor, Tensor]:
    """Return incoming weights, bias and outgoing weights."""
    return slots.incoming, slots.bias, slots.outgoing


def rows_of(part: Tensor, born: Tensor) -> Tensor:
    """Return the newborns' rows (N, ...) of a tensor (S, H or 1, ...): seed by seed, by slot."""
    return part.expand(*born.shape, *part.shape[2:])[born]


def newborn_weights(slots: Slots, born: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the newborns' incoming weights (N, F), biases (N,) and outgoing weights (N, G)."""
    incoming, bias, outgoing = (rows_of(part, born) for part in parts_of(slots))
    return incoming, bias, outgoing


def taken(tensor: Tensor, slots: Tensor) -> Tensor:
    """Return the rows (S, K, ...) of the given slots (S, K)."""
    return tensor[torch.arange(len(slots), device=slots.device)[:, None], slots]


def inserted(
    view: LayerView, current: Slots, born: Tensor, made: tuple[Tensor, Tensor, Tensor]
) -> Slots:
    """Return the weights with newborns' incoming weights, biases and outgoing weights as made.

    What is made is of the newborns alone, N rows: seed by seed, by slot.
    """
    seed = born.nonzero()[:, 0]
    used = (
        view.input_alive[seed],
        torch.ones_like(seed, dtype=torch.bool),
        view.output_alive[seed],
    )
    incoming, bias, outgoing = (
        _with_rows(old, born, torch.where(mask, new.to(old.dtype), rows_of(old, born)))
        for old, new, mask in zip(parts_of(current), made, used, strict=True)
    )
    return replace(current, incoming=incoming, bias=bias, outgoing=outgoing)


def _with_rows(part: Tensor, born: Tensor, rows: Tensor) -> Tensor:
    """Return a tensor (S, H, ...) with the newborns' rows replaced."""
    result = part.clone()
    result[born] = rows
    return result


def with_outgoing(view: LayerView, current: Slots, units: Tensor, outgoing: Tensor) -> Slots:
    """Return the weights with the outgoing ones of some units (S, H) replaced."""
    used = units[..., None] & view.output_alive[:, None]
    return replace(current, outgoing=torch.where(used, outgoing, current.outgoing))


def gain_of(options: Options) -> float:
    """Return the factor of a uniform draw's bound, by the option ``gain``."""
    return {"torch_default": 1.0, "kaiming_relu": sqrt(6)}[str(options["gain"])]


def bound_of(alive: Tensor, options: Options) -> Tensor:
    """Return (S, 1): 1 / sqrt(fan-in), from all slots or from the alive ones."""
    return num_alive(alive if options["fan_in"] == "active" else torch.ones_like(alive)).rsqrt()


def num_alive(alive: Tensor) -> Tensor:
    """Return (S, 1): how many are alive, in float64 because an integer's root is a float32."""
    return alive.sum(1, keepdim=True).double()


def mean_of(values: Tensor, alive: Tensor) -> Tensor:
    """Return (S, 1): mean over the incumbents."""
    return torch.where(alive, values, 0).sum(1, keepdim=True) / alive.sum(1, keepdim=True)


def mean_norm(weights: Tensor, used: Tensor, alive: Tensor) -> Tensor:
    """Return (S, 1): the incumbents' mean L2 norm over the weights in use."""
    return mean_of(norms_of(weights, used), alive)


def rms_of(weights: Tensor, alive: Tensor, used: Tensor) -> Tensor:
    """Return (S, 1): root mean square of the incumbents' weights in use."""
    squares = norms_of(weights, used).square()
    return (mean_of(squares, alive) / used.sum(1, keepdim=True)).sqrt()


def ratio_of(wanted: Tensor, got: Tensor) -> Tensor:
    """Return the factor that makes one of the other; 1 where there is none."""
    return torch.where(got > 0, wanted / got, 1.0)


def norm_ratio(weights: Tensor, used: Tensor, alive: Tensor) -> Tensor:
    """Return (S, H): the factor that gives a slot the incumbents' mean norm."""
    norms = norms_of(weights, used)
    return ratio_of(mean_of(norms, alive), norms)

"""A layer of a small real network as rules see it: pairwise different sizes, so that no swapped
axis can pass; every statistic follows from the weights."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from plasticity.rules.view import LayerView, Slots

S, N, F, H, G = 2, 13, 7, 11, 5
DTYPE = torch.float64


def view_of(
    incoming: Tensor,
    bias: Tensor,
    outgoing: Tensor,
    inputs: Tensor,
    error: Tensor,
    alive: Tensor,
    input_alive: Tensor | None = None,
    output_alive: Tensor | None = None,
    *,
    threshold: float = 0.05,
) -> LayerView:
    """Return the view of a ReLU layer; masked inputs and masked consumers must be 0 already."""
    z = torch.einsum("snf,shf->snh", inputs, incoming) + bias[:, None]
    hidden = z.relu()
    derivative = (z > 0).to(z.dtype)
    flow = torch.einsum("sng,shg->snh", error, outgoing)
    delta = flow * derivative
    seeds, images, fan_in = inputs.shape
    return LayerView(
        incoming=incoming,
        bias=bias,
        outgoing=outgoing,
        alive=alive,
        input_alive=torch.ones(seeds, fan_in, dtype=torch.bool)
        if input_alive is None
        else input_alive,
        output_alive=torch.ones(seeds, outgoing.shape[2], dtype=torch.bool)
        if output_alive is None
        else output_alive,
        utility=torch.zeros_like(bias),
        hidden=hidden,
        derivative=derivative,
        flow=flow,
        inputs=inputs,
        error=error,
        incoming_gradient=torch.einsum("snh,snf->shf", delta, inputs) / images,
        outgoing_gradient=torch.einsum("snh,sng->shg", hidden, error) / images,
        curvature=bias.square() + 0.1,
        num_images=images,
        threshold=threshold,
        value_at=torch.relu,
    )


def random_view(number: int = 0, alive_units: int = 6) -> LayerView:
    """Return a random layer, some units, inputs and consumers of each seed masked."""
    generator = torch.Generator().manual_seed(number)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=DTYPE)

    def some(size: int, count: int) -> Tensor:
        mask = torch.zeros(S, size, dtype=torch.bool)
        for row in range(S):
            mask[row, torch.randperm(size, generator=generator)[:count]] = True
        return mask

    alive, input_alive, output_alive = some(H, alive_units), some(F, 5), some(G, 4)
    inputs = draw(S, N, F) * input_alive[:, None]
    error = draw(S, N, G) * output_alive[:, None]
    view = view_of(
        draw(S, H, F), draw(S, H), draw(S, H, G), inputs, error, alive, input_alive, output_alive
    )
    return replace(view, utility=draw(S, H).abs())


def slots_of(view: LayerView, number: int = 1) -> Slots:
    """Return initial weights unlike the view's."""
    generator = torch.Generator().manual_seed(number)
    return Slots(
        torch.randn(view.incoming.shape, generator=generator, dtype=DTYPE),
        torch.randn(view.bias.shape, generator=generator, dtype=DTYPE),
        torch.randn(view.outgoing.shape, generator=generator, dtype=DTYPE),
        torch.randn(S, G, generator=generator, dtype=DTYPE),
    )


class Permuted:
    """Generators whose draws over units come permuted, as the units are."""

    def __init__(self, generator: np.random.Generator, order: np.ndarray) -> None:
        self._generator, self._order = generator, order
        self._table: np.ndarray | None = None
        self._place = 0
        self.bit_generator = self

    def advance(self, count: int) -> None:
        """Skip uniform draws; at the end of a table of all units the next one begins."""
        self._place += count
        if self._table is not None and self._place == self._table.size:
            self._table, self._place = None, 0

    def uniform(self, low: float, high: float, shape: tuple[int, ...]) -> np.ndarray:
        """Return a unit's draws, those that it has where units are in their own order."""
        width = int(np.prod(shape))
        if self._table is None:
            self._table = self._generator.uniform(low, high, (len(self._order), width))
        row = self._table[self._order[self._place // width]].reshape(shape)
        self.advance(width)
        return row

    def __getattr__(self, name: str):
        def draw(*args: object, **kwargs: object) -> np.ndarray:
            values = np.asarray(getattr(self._generator, name)(*args, **kwargs))
            return values[self._order] if values.shape[:1] == (len(self._order),) else values

        return draw

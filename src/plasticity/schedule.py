"""When an edit happens and how many units it moves, and the learning rate. Pure arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One edit: counts are per layer of units and the same in every seed."""

    index: int
    step: int
    """Optimizer step before which it happens."""
    add: tuple[int, ...]
    remove: tuple[int, ...]
    rewind: bool
    """Whether weights, moments and step counts go back to their initial values afterwards."""
    same_slots: bool = False
    """Whether newborns take the places of the units removed."""
    wakes: bool = False
    """Whether ``add`` counts sleepers that begin to learn, not masked units."""
    tau: float | None = None
    """Remove the units that are dormant at this level, however many they are, instead of counts;
    newborns take their places."""
    eta: float | None = None
    """Remove the units that have been silent for too long at this level, likewise."""
    measured: bool = True
    """Whether its newborns are followed by probes."""
    new_head: bool = False
    """Whether the classifier starts over too, without a rewind of anything else."""

    @property
    def counted(self) -> bool:
        """Return whether it moves counts, and not as many units as are in some state."""
        return self.tau is None and self.eta is None


def unit_targets(
    sizes: Sequence[int],
    compactness: float,
    bias: Sequence[float] | None = None,
    copies: int = 1,
) -> tuple[int, ...]:
    """Return the final number of units of each hidden layer.

    The weight budget, ``compactness`` x all weights of the hidden layers, is split in proportion to
    bias x weight mass, and each share divided by the weights of one unit. A share beyond a layer's
    capacity is redistributed over the others in the same proportion.

    Parameters
    ----------
    sizes
        Inputs of the first hidden layer, then the capacity of each hidden layer.
    compactness
        Fraction of the weights to keep, in (0, 1].
    bias
        One factor per hidden layer; None is neutral.
    copies
        Outputs of a unit.

    Notes
    -----
    Source: Lillo & Cheney 2026, section 3; tables 8 and 9. The weights of a unit are counted at
    full fan-in, as the published counts require.
    """
    capacity = list(sizes[1:])
    fan_in = [sizes[0], *(copies * width for width in sizes[1:-1])]
    mass = [width * inputs for width, inputs in zip(capacity, fan_in, strict=True)]
    factor = list(bias) if bias is not None else [1.0] * len(capacity)
    budget = compactness * sum(mass)
    targets: dict[int, float] = {}
    open_layers = list(range(len(capacity)))
    while open_layers:
        total = sum(factor[layer] * mass[layer] for layer in open_layers)
        share = {
            layer: factor[layer] * mass[layer] / total * budget / fan_in[layer]
            for layer in open_layers
        }
        full = [layer for layer in open_layers if share[layer] >= capacity[layer]]
        if not full:
            targets |= share
            break
        for layer in full:
            targets[layer] = float(capacity[layer])
            budget -= mass[layer]
            open_layers.remove(layer)
    return tuple(
        min(max(round(targets[layer]), 1), capacity[layer]) for layer in range(len(capacity))
    )


def erdos_renyi_bias(sizes: Sequence[int], copies: int = 1) -> tuple[float, ...]:
    """Return the bias of each hidden layer that gives it a density like that of a random graph.

    A layer of n units with m inputs has m n weights and the bias (m + n) / (m n): what it keeps is
    in proportion to m + n, so small layers keep a larger share.

    Parameters
    ----------
    sizes, copies
        As in ``unit_targets``.

    Source: Mocanu et al. 2018 (SET); Evci et al. 2020 (RigL), without kernels, as
    hidden layers have none. Deviation: whole units stay in place of single weights.
    """
    fan_in = [sizes[0], *(copies * width for width in sizes[1:-1])]
    pairs = zip(fan_in, sizes[1:], strict=True)
    return tuple((inputs + width) / (inputs * width) for inputs, width in pairs)


def seed_counts(capacity: Sequence[int], fraction: float) -> tuple[int, ...]:
    """Return the number of units that grow starts from in each hidden layer, at least one."""
    return tuple(max(1, round(fraction * width)) for width in capacity)


def uniform_targets(capacity: Sequence[int], total: int) -> tuple[int, ...]:
    """Return ``total`` units spread so that every layer keeps the same share of its capacity.

    Remainders go to the layers with the largest fractional part, the first of equals first.
    """
    exact = [total * width / sum(capacity) for width in capacity]
    counts = [max(1, math.floor(value)) for value in exact]
    order = sorted(range(len(exact)), key=lambda layer: math.floor(exact[layer]) - exact[layer])
    for layer in order[: max(0, total - sum(counts))]:
        counts[layer] += 1
    while sum(counts) > max(total, len(counts)):  # layers that were due less than one unit
        counts[counts.index(max(counts))] -= 1
    return tuple(counts)


def moves(start: int, target: int, cycles: int, cycle_index: int, rule: str) -> tuple[int, ...]:
    """Return how many units of a layer each of ``cycles`` events moves.

    Parameters
    ----------
    start, target
        Units before the first event and after the last, in either order.
    cycles
        Number of events T.
    cycle_index
        Whether ``ceil_remaining`` counts its cycle t from 0 or from 1; the paper does not say.
        From 1, the last event moves nothing. ``linear`` has no such index.
    rule
        ``ceil_remaining``: with q units left to move, ceil(q / max(1, T - t)) (Lillo & Cheney 2026,
        section 3; growth mirrors it). ``linear``: equal steps, rounded.
    """
    left, result = abs(target - start), []
    for cycle in range(cycles):
        if rule == "ceil_remaining":
            move = math.ceil(left / max(1, cycles - cycle - cycle_index))
        else:
            goal = round(abs(target - start) * (cycle + 1) / cycles)
            move = goal - (abs(target - start) - left)
        result.append(move)
        left -= move
    assert left == 0
    return tuple(result)


def event_steps(edits: int, every: int, last: float | None = None) -> tuple[int, ...]:
    """Return the optimizer step before which each of ``edits`` events happens, the first at 0.

    Parameters
    ----------
    edits, every
        How many events, and the steps between two of them.
    last
        Step of the last event, between which and step 0 the events then lie evenly; None leaves
        ``every``. Halves are rounded up.
    """
    if last is None or edits == 1:
        return tuple(index * every for index in range(edits))
    return tuple(math.floor(index * last / (edits - 1) + 0.5) for index in range(edits))


def replacements(width: int, rate: float, maturity: int, total: int) -> dict[int, int]:
    """Return step -> units of a layer that continual backprop replaces before that step.

    After every optimizer step a share ``rate`` of the units older than ``maturity`` is added to a
    carry, and its whole part is replaced. Ages do not depend on the seed, so neither do the counts.

    Parameters
    ----------
    width
        Alive units.
    rate, maturity
        Of the published algorithm.
    total
        Optimizer steps of the run.

    Source: Dohare et al. 2024, algorithm 1, with the carry of their code.
    """
    result: dict[int, int] = {}
    carry, ages = 0.0, {0: width}  # step of birth -> units born then that are still there
    mature = 0
    for step in range(1, total):
        mature += ages.pop(step - maturity - 1, 0)
        carry += rate * mature
        count = min(int(carry), mature)
        if count:
            carry -= count
            mature -= count
            ages[step] = count
            result[step] = count
    return result


def learning_rate(
    rule: str, lr: float, epoch: int, epochs: int, cycles: int, hold: float = 0.0
) -> float:
    """Return the learning rate of an epoch (from 0).

    Parameters
    ----------
    rule
        ``cosine`` falls to 0 over all epochs (the paper's), ``cosine_per_cycle`` over each cycle
        anew, ``constant`` not at all. ``hold_cosine`` is constant for a share of training, then
        falls to 0 over the rest.
    lr
        The first epoch's.
    epoch, epochs
        Which epoch, and of how many.
    cycles
        Of training, for ``cosine_per_cycle``.
    hold
        Share of training at the full rate, for ``hold_cosine``.
    """
    match rule:
        case "constant":
            return lr
        case "hold_cosine":
            held = hold * epochs
            passed, span = max(0.0, epoch - held), epochs - held
        case "cosine_per_cycle":
            passed, span = epoch % (epochs // cycles), epochs // cycles
        case _:
            passed, span = epoch, epochs
    return 0.5 * lr * (1 + math.cos(math.pi * passed / span))

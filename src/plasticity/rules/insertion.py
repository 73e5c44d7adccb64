"""The weights of newborn units: one layer's slots, as they are after the event.

A rule reads the layer before the event (a view), the current weights, the newborn slots (born: bool
(S, H), K in every seed, all masked in the view), the weights at step 0, one generator per seed and
its own options. It chooses the weights between newborns and the units that take part: inputs alive
after the event and consumers alive before and after it. Weights from masked inputs, to masked
consumers and to newborn consumers are neither read nor changed. Incumbents change only in
``net2wider`` and ``variance_transfer``, biases of the next layer only in ``zero_in`` and
``gradmax``. A draw is made for every slot, so it does not depend on which slots are born, and the
rules that draw uniform weights share their draws: comparisons are paired. All else is computed for
the newborns alone, as N rows: seed by seed, by slot.

Incumbents are the units alive before the event. The norms and standard deviations to which
newborns are matched are measured after the previous layer's insertion, the batch statistics before
it. Directions are computed in float64.
"""
# ruff: noqa: ARG001
# Every rule takes the same six arguments, whether or not it needs them.

from collections.abc import Callable
from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor

from plasticity.rules.directions import batch_of, filled_up, residual, rounding, span
from plasticity.rules.newborns import (
    bound_of,
    drawn_rows,
    gain_of,
    inserted,
    mean_norm,
    mean_of,
    newborn_weights,
    norm_ratio,
    normal_rows,
    num_alive,
    num_newborns,
    parts_of,
    ratio_of,
    rms_of,
    rows_of,
    stacked,
    taken,
    uniform_draws,
    uniform_rows,
    with_outgoing,
)
from plasticity.rules.view import Draws, LayerView, Options, Slots, norms_of

Rule = Callable[[LayerView, Slots, Tensor, Slots, Draws, Options], Slots]


def late_init(
    view: LayerView, current: Slots, born: Tensor, initial: Slots, draws: Draws, options: Options
) -> Slots:
    """Return the weights unchanged: a masked slot has kept its initial weights exactly.

    So a newborn is an initial unit revealed late. Source: Lillo & Cheney 2026, section 3.
    """
    return current


def small(
    view: LayerView, current: Slots, born: Tensor, initial: Slots, draws: Draws, options: Options
) -> Slots:
    """Return newborns with their slots' initial weights and biases, times ``scale``."""
    scale = float(options["scale"])
    incoming, bias, outgoing = newborn_weights(initial, born)
    made = (incoming * scale, bias * scale, outgoing * scale)
    return inserted(view, current, born, made)


def fresh(
    view: LayerView, current: Slots, born: Tensor, initial: Slots, draws: Draws, options: Options
) -> Slots:
    """Return newborns drawn as a whole network is drawn, with a fan-in of choice.

    Incoming weights U(+-gain / sqrt(F)), bias U(+-1 / sqrt(F)), outgoing weights
    U(+-gain / sqrt(H)), gain 1 (``torch_default``) or sqrt(6) (``kaiming_relu``). ``active`` takes
    the inputs and units alive after the event in place of F and H: with a tenth of them alive,
    weights are sqrt(10) times larger.

    Source: He et al. 2015, section 2.2; torch.nn.Linear. The bound of the outgoing weights holds
    for consumers with one weight from each unit; a map's places would divide it further.
    """
    incoming, bias, outgoing = uniform_draws(view, born, draws)
    gain, bound = gain_of(options), bound_of(view.input_alive, options)
    consumer = gain * bound_of(view.alive | born, options)
    factor = rows_of(bound, born)
    made = (
        incoming * rows_of(gain * bound, born)[:, None],
        bias * factor,
        outgoing * rows_of(consumer, born)[:, None],
    )
    return inserted(view, current, born, made)


def zero_out(
    view: LayerView, current: Slots, born: Tensor, initial: Slots, draws: Draws, options: Options
) -> Slots:
    """Return newborns with the incoming weights of ``fresh``, bias 0 and outgoing weights 0.

    The function stays, and the gradient into a newborn is exactly 0 until its outgoing weights have
    moved.

    Source: Dohare et al. 2024, algorithm 1; Sokar et al. 2023, section 4.
    """
    bound = gain_of(options) * bound_of(view.input_alive, options)
    incoming = drawn_rows(view.incoming, born, draws, uniform_rows) * rows_of(bound, born)[:, None]
    _, bias, outgoing = newborn_weights(current, born)
    made = (incoming, torch.zeros_like(bias), torch.zeros_like(outgoing))
    return inserted(view, current, born, made)


def zero_in(
    view: LayerView, current: Slots, born: Tensor, initial: Slots, draws: Draws, options: Options
) -> Slots:
    """Return newborns with incoming weights 0 and their slots' current outgoing weights.

    A newborn's output is a constant, which the next biases take back: the function stays.

    Source: Evci et al. 2022, section 3, with the slot's outgoing weights in place of theirs.
    Deviation: they set the derivative at 0 to 1; here the ``bias`` is a little above 0, because
    torch's relu has the derivative 0 at 0 and such a unit would never learn.

    Raises
    ------
    ValueError
        If consumers have more than one weight from each unit, so no bias can take a constant back.
    """
    return _silent(view, current, born, current.outgoing, options)


def gradmax(
    view: LayerView, current: Slots, born: Tensor, initial: Slots, draws: Draws, options: Options
) -> Slots:
    """Return newborns as in ``zero_in``, out of which go the directions of largest gradient.

    Outgoing weights are the first K left singular vectors of B = mean over images of -dL/dz x input
    (G x F, z of the next layer), each of norm ``scale`` times the incumbents' mean. The gradient of
    the incoming weights then has the squared norm (scale * norm * act'(bias))^2 times the sum of
    the first K squared singular values of B, the most that K vectors of this norm can have when
    they are orthogonal. The largest entry of each vector is positive, as singular vectors have no
    sign of their own; slots get them in order of their singular values.

    B has at most as many directions as there are consumers alive, less one for a softmax. Newborns
    beyond them go out along random unit mixtures of them (``filled_up``): two alike would be twins.

    Source: Evci et al. 2022 (GradMax), equation 11. Deviations: bias and next bias as in
    ``zero_in``; newborns beyond the rank.

    Raises
    ------
    ValueError
        If the layer or the next is not fully connected.
    """
    inputs, error = batch_of(view)
    count, rows = num_newborns(born), []
    for row, (entering, wrong) in enumerate(zip(inputs, error, strict=True)):
        # B's left singular vectors are those of R', where B' = Q R: a small matrix, B is long.
        triangle = torch.linalg.qr(entering.mT @ wrong / len(wrong), mode="r").R
        vectors, values, _ = torch.linalg.svd(triangle.mT, full_matrices=False)
        rank = int((values > rounding(current) * values[0]).sum())
        (filled,) = filled_up((vectors.mT[:rank],), (view.output_alive[row],), count, draws[row])
        rows.append(filled)
    unit = torch.stack(rows)  # (S, K, G)
    unit = unit * unit.gather(2, unit.abs().argmax(2, keepdim=True)).sign()
    norm = float(options["scale"]) * mean_norm(current.outgoing, view.output_alive, view.alive)
    outgoing = unit.new_zeros(current.outgoing.shape)
    outgoing[born] = (unit * norm[..., None]).flatten(0, 1)
    return _silent(view, current, born, outgoing, options)


def tiny(
    view: LayerView, current: Slots, born: Tensor, initial: Slots, draws: Draws, options: Options
) -> Slots:
    """Return newborns along the directions that lower the loss most at first order; biases 0.

    With X the inputs, S = <X'X> and N = <X'R>, the singular vectors u, v of S^(-1/2) N give the
    incoming weights S^(-1/2) u and the outgoing weights v. R is -dL/dz of the next layer, or, with
    ``projection`` residual, what of it the incumbents and the next bias cannot express. S is
    inverted on its eigenvalues above ``threshold`` times the largest, so weights from inputs that
    were silent on the probe are 0.

    Source: Verbockhaven et al. 2024 (TINY), proposition 3.2. Deviations: norms are matched in place
    of a line search (incoming: the incumbents' mean; outgoing: ``scale`` times it), so pairs are
    not weighted by their singular values; where there are fewer pairs than newborns, random
    mixtures of them fill up. The proposition
    takes the activation function as linear, where (u, v) and (-u, -v) are one unit; here they are
    two, and the better one is taken. As act(z) - act(-z) = c z, where c is 1 for ReLU and GELU and
    1 + slope for the leaky functions, it lowers the loss along R, and so is never born dead.

    Newborns beyond the rank of N are random unit mixtures (``filled_up``), as in ``gradmax``.

    Raises
    ------
    ValueError
        If the layer or the next is not fully connected.
    """
    inputs, error = batch_of(view)
    threshold, count, wanted, pairs = float(options["threshold"]), num_newborns(born), [], []
    for row, (x, wrong) in enumerate(zip(inputs, error, strict=True)):
        hidden, alive = view.hidden[row], view.alive[row]
        target = -wrong
        if options["projection"] == "residual":
            target = residual(target, hidden[:, alive].double(), threshold)
        wanted.append(target)
        basis, squares = span(x, threshold)
        left, values, right = torch.linalg.svd(basis.mT @ target, full_matrices=False)
        rank = int((values > rounding(current) * torch.linalg.matrix_norm(wrong)).sum())
        made = ((left / squares[:, None]).mT @ basis.mT @ x)[:rank], right[:rank]
        ends = view.input_alive[row], view.output_alive[row]
        pairs.append(filled_up(made, ends, count, draws[row]))
    into = torch.stack([pair[0] for pair in pairs])
    out = torch.stack([pair[1] for pair in pairs])
    into = into * mean_norm(current.incoming, view.input_alive, view.alive)[..., None]
    norm = float(options["scale"]) * mean_norm(current.outgoing, view.output_alive, view.alive)
    z, push = inputs @ into.mT, torch.stack(wanted) @ out.mT  # (S, N, K)
    better = (view.value_at(z) * push).sum(1) >= (view.value_at(-z) * -push).sum(1)
    sign = torch.where(better, 1.0, -1.0)[..., None]
    bias = torch.zeros_like(rows_of(current.bias, born))
    incoming, outgoing = (into * sign).flatten(0, 1), (out * sign * norm[..., None]).flatten(0, 1)
    return inserted(view, current, born, (incoming, bias, outgoing))


def net2wider(
    view: LayerView, current: Slots, born: Tensor, initial: Slots, draws: Draws, options: Options
) -> Slots:
    """Return newborns as copies of incumbents; a donor and its r copies get v / (r + 1) each.

    Donors are drawn with replacement, or are the ``most_active`` ones in turn, newborns in slot
    order. Incoming weights get N(0, (``noise`` * their root mean square)^2): without noise the
    function stays, and copies stay copies.

    Source: Chen et al. 2016 (Net2Net), section 2.1. Deviation: noise in proportion to the weights.
    """
    count, width = num_newborns(born), view.alive.sum(1, keepdim=True)
    chance = stacked([draw.random(view.alive.shape[1]) for draw in draws], view)
    order_by = stacked([draw.random(view.alive.shape[1]) for draw in draws], view)
    noise = drawn_rows(view.incoming, born, draws, normal_rows)
    rank = (chance[born].view(len(born), count) * width).long()
    if options["donor"] == "most_active":
        order_by = -view.activation_rate
        rank = torch.arange(count, device=born.device) % width
    incumbents = torch.where(view.alive, order_by, torch.inf).argsort(dim=1, stable=True)
    donor = incumbents.gather(1, rank)  # (S, K)
    copies = torch.zeros_like(born, dtype=torch.int64).scatter_add(1, donor, torch.ones_like(donor))
    shared = with_outgoing(view, current, view.alive, current.outgoing / (1 + copies)[..., None])
    rms = norms_of(current.incoming, view.input_alive) * num_alive(view.input_alive).rsqrt()
    spread = float(options["noise"]) * rms.gather(1, donor).flatten()[:, None] * noise
    incoming, bias, outgoing = (taken(part, donor).flatten(0, 1) for part in parts_of(shared))
    return inserted(view, shared, born, (incoming + spread, bias, outgoing))


def paired_cancel(
    view: LayerView, current: Slots, born: Tensor, initial: Slots, draws: Draws, options: Options
) -> Slots:
    """Return newborns in equal pairs with opposite outgoing weights, in slot order.

    Both have the current weights of the first one's slot, so the function stays and both sides have
    a gradient from the first step on. An odd count ends in three units with v, -v/2 and -v/2; a
    single newborn has nobody to cancel it, so its outgoing weights are 0.

    Source: Yuan et al. 2023, section 3.1. Deviation: odd counts.
    """
    count = num_newborns(born)
    place = torch.arange(count, device=born.device)
    first, factor = place - place % 2, 1.0 - 2.0 * (place % 2)
    if count == 1:
        factor[0] = 0.0
    elif count % 2:
        first[-1], factor[-2:] = count - 3, -0.5
    model = born.nonzero()[:, 1].view(len(born), count)[:, first]  # (S, K)
    incoming, bias, outgoing = (taken(part, model).flatten(0, 1) for part in parts_of(current))
    signs = factor.repeat(len(born))[:, None]
    return inserted(view, current, born, (incoming, bias, outgoing * signs))


def variance_transfer(
    view: LayerView, current: Slots, born: Tensor, initial: Slots, draws: Draws, options: Options
) -> Slots:
    """Return incumbents' outgoing weights times sqrt(width before / after), newborns alike.

    Newborns are uniform, around 0, with the root mean square of the incumbents' incoming weights
    (incoming and bias) and of their rescaled outgoing weights.

    Source: Yuan et al. 2023, section 3.2. Deviations: variances are measured, theirs are the ones
    of the initial draw; newborns are not paired (``paired_cancel`` is that part) and no learning
    rate is adapted. The function moves.
    """
    factor = (num_alive(view.alive) / num_alive(view.alive | born)).sqrt()
    shrunk = (current.outgoing * factor[..., None]).to(current.outgoing.dtype)
    scaled = with_outgoing(view, current, view.alive, shrunk)
    spread = rms_of(current.incoming, view.alive, view.input_alive)
    return _matched(view, scaled, born, draws, spread)


def statistics_matched(
    view: LayerView, current: Slots, born: Tensor, initial: Slots, draws: Draws, options: Options
) -> Slots:
    """Return newborns uniform with the root mean square of the incumbents' weights.

    U(+-sqrt(3) * rms), each for incoming weights, bias and outgoing weights.

    Source: gromo (copy_uniform). Deviation: the standard deviation is about 0, because newborns'
    mean is 0: so squared norms agree in the mean, and one lonely incumbent has a spread.
    """
    everywhere = torch.ones_like(born[:, :1])
    spread = rms_of(current.bias[..., None], view.alive, everywhere)
    return _matched(view, current, born, draws, spread)


def norm_matched(
    view: LayerView, current: Slots, born: Tensor, initial: Slots, draws: Draws, options: Options
) -> Slots:
    """Return newborns with their slots' current weights at the incumbents' mean L2 norms.

    ``sides`` chooses the incoming weights, the outgoing ones or both. The bias is scaled with the
    incoming weights, so that a ReLU opens on the same images. Weights that are all 0 stay.
    """
    sides = options["sides"]
    into = norm_ratio(current.incoming, view.input_alive, view.alive)
    out = norm_ratio(current.outgoing, view.output_alive, view.alive)
    into = torch.ones_like(into) if sides == "out" else into
    out = torch.ones_like(out) if sides == "in" else out
    into, out = rows_of(into, born), rows_of(out, born)
    incoming, bias, outgoing = newborn_weights(current, born)
    made = (incoming * into[:, None], bias * into, outgoing * out[:, None])
    return inserted(view, current, born, made)


def gradient_matched(
    view: LayerView, current: Slots, born: Tensor, initial: Slots, draws: Draws, options: Options
) -> Slots:
    """Return newborns with their slots' weights, outgoing ones scaled to the incumbents' gradient.

    |dL/dz| is linear in the unit's outgoing weights, so one factor makes its mean over the probe
    equal to the incumbents' mean. The prediction is for the network before the event. A newborn
    without any gradient on the probe keeps its weights: no factor would give it one.
    """
    gradient = view.gradient.double()
    ratio = rows_of(ratio_of(mean_of(gradient, view.alive), gradient), born)
    incoming, bias, outgoing = newborn_weights(current, born)
    made = (incoming, bias, outgoing * ratio[:, None])
    return inserted(view, current, born, made)


def orthogonal(
    view: LayerView, current: Slots, born: Tensor, initial: Slots, draws: Draws, options: Options
) -> Slots:
    """Return newborns with incoming weights orthogonal to the incumbents' and to each other.

    They are the orthonormal set nearest to random draws from which the incumbents' directions are
    taken out, so no newborn comes first. Incoming and outgoing norms are the incumbents' means;
    outgoing directions and the bias stay those of the slot.

    Source: after Maile et al. 2022 (NORTH). Deviation: weights are orthogonal, theirs are chosen
    for activations that are.

    Raises
    ------
    ValueError
        If incumbents and newborns are more than the inputs alive.
    """
    count, rows = num_newborns(born), []
    normal = drawn_rows(view.incoming, born, draws, normal_rows)
    for row, alive, used, drawn in zip(
        current.incoming,
        view.alive,
        view.input_alive,
        torch.unflatten(normal, 0, (len(born), count)),
        strict=True,
    ):
        known = torch.nan_to_num(row[alive][:, used].double())  # of a diverged seed
        reason = f"{known.shape[1]} inputs are alive, {known.shape[0]} units take a direction each"
        _refuse_above(max(known.shape[1] - known.shape[0], 0), count, "orthogonal", reason)
        basis, rest = torch.linalg.qr(known.mT).Q, drawn[:, used]
        for _ in range(2):  # once leaves rounding in proportion to what is taken out
            rest = rest - rest @ basis @ basis.mT
        left, _, right = torch.linalg.svd(rest, full_matrices=False)
        full = torch.zeros_like(drawn)
        full[:, used] = left @ right
        rows.append(full)
    norm = mean_norm(current.incoming, view.input_alive, view.alive)
    incoming = (torch.stack(rows) * norm[..., None]).flatten(0, 1)
    out = rows_of(norm_ratio(current.outgoing, view.output_alive, view.alive), born)
    _, bias, outgoing = newborn_weights(current, born)
    return inserted(view, current, born, (incoming, bias, outgoing * out[:, None]))


TABLE: dict[str, Rule] = {
    "late_init": late_init,
    "fresh": fresh,
    "small": small,
    "zero_out": zero_out,
    "zero_in": zero_in,
    "gradmax": gradmax,
    "tiny": tiny,
    "net2wider": net2wider,
    "paired_cancel": paired_cancel,
    "variance_transfer": variance_transfer,
    "statistics_matched": statistics_matched,
    "norm_matched": norm_matched,
    "gradient_matched": gradient_matched,
    "orthogonal": orthogonal,
}


def _refuse_above(limit: int, count: int, rule: str, reason: str) -> None:
    if count > limit:
        raise ValueError(
            f"{rule}: {count} newborns asked for, at most {limit} possible ({reason}); "
            "insert fewer units per event or choose another rule"
        )


def _silent(
    view: LayerView, current: Slots, born: Tensor, outgoing: Tensor, options: Options
) -> Slots:
    """Return newborns with a constant output, taken out of the next bias; see ``zero_in``."""
    if current.next_bias is None:
        raise ValueError(
            "a newborn without incoming weights has a constant output, which only the biases of a "
            "fully connected layer with one weight from each unit can take back; choose another "
            "rule for this layer"
        )
    outgoing, bias = outgoing.to(current.outgoing.dtype), float(options["bias"])
    level = torch.full_like(current.bias, bias)
    used = born[..., None] & view.output_alive[:, None]
    constant = torch.where(used, view.value_at(level)[..., None] * outgoing, 0).sum(1)  # (S, G)
    incoming, old, _ = newborn_weights(current, born)
    made = (torch.zeros_like(incoming), torch.full_like(old, bias), rows_of(outgoing, born))
    return replace(inserted(view, current, born, made), next_bias=current.next_bias - constant)


def _matched(
    view: LayerView, current: Slots, born: Tensor, draws: Draws, bias_spread: Tensor
) -> Slots:
    """Return newborns uniform with the incumbents' root mean squares; the bias's is given."""
    incoming, bias, outgoing = (sqrt(3) * drawn for drawn in uniform_draws(view, born, draws))
    into = rms_of(current.incoming, view.alive, view.input_alive)
    out = rms_of(current.outgoing, view.alive, view.output_alive)
    made = (
        incoming * rows_of(into, born)[:, None],
        bias * rows_of(bias_spread, born),
        outgoing * rows_of(out, born)[:, None],
    )
    return inserted(view, current, born, made)

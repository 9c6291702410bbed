"""Gradients of a Gaussian-smoothed objective from its values alone, for each member of a batch."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.core import Tensors, Tree, batch_shape, leaves, paths, split_floating
from bilevel.hypergradient._connection import all_zero
from bilevel.hypergradient._estimator import Estimate
from games.core import require


@dataclass(frozen=True)
class SampledEstimate(Estimate):
    """An estimate that knows how far it may be off."""

    standard_error: Tree
    """The standard error of each entry of `gradient`, in its form; NaN where there is one draw only. The
    estimate lies within 1.96 of it in 95 % of all draws, once these are many."""


def require_sampling(samples: int, sigma: float, *, antithetic: bool) -> None:
    """Raise ValueError unless so many samples of this width make an estimate.

    >>> require_sampling(5, 0.1, antithetic=True)
    Traceback (most recent call last):
    ValueError: samples must be even with antithetic=True, as they come in pairs, not 5.
    """
    require(samples >= 2, f"samples must be at least 2, not {samples}.")
    require(
        not antithetic or samples % 2 == 0,
        f"samples must be even with antithetic=True, as they come in pairs, not {samples}.",
    )
    require(math.isfinite(sigma) and sigma > 0, f"sigma must be a number above 0, not {sigma}.")


def count_members(members: bool, theta: Tree, phi: Tree) -> int:
    """Count the members: the length of the first axis of every leaf of theta and phi; 1 without such an axis.

    Raises:
        ValueError: there should be members, but the leaves do not share their first axis.

    >>> count_members(True, {"w": torch.zeros(3, 4)}, torch.zeros(3))
    3
    """
    if not members:
        return 1
    shapes = sorted({tuple(leaf.shape[:1]) for leaf in leaves((theta, phi))})
    require(
        len(shapes) == 1 and len(shapes[0]) == 1,
        "With members=True all leaves of theta and phi must share their first axis, but they begin with "
        f"{' and '.join(map(str, shapes))}.",
    )
    return batch_shape((theta, phi), 1)[0]


def draw_noise(phi: Tree, count: int, seed: int, *also: Tree, members: int | None = None) -> Tensors:
    """Draw standard normal noise for every leaf of phi: [draw, *leaf] each.

    The stream is named by `seed` and by the bits of phi and of `also`. So draws are fresh whenever any of
    these has moved, nothing has to be remembered between calls, and a resumed run draws what it would have
    drawn. Each member has a stream of its own, named by its own bits: it draws what it would draw
    alone, but for members that are equal to the bit, whose draws differ.

    Args:
        phi: what is to be perturbed.
        count: how many draws.
        seed: one stream among many for the same phi.
        also: what else names the stream; single numbers name it for every member.
        members: the length of the first axis of every leaf, if it counts members; None: it does not.

    >>> phi = torch.zeros(2)
    >>> torch.equal(draw_noise(phi, 4, 0)[0], draw_noise(phi, 4, 0)[0])
    True
    >>> torch.equal(draw_noise(phi, 4, 0)[0], draw_noise(phi, 4, 1)[0])
    False
    """
    named = [leaf.detach().cpu() for leaf in split_floating((phi, *also))[0]]
    flat = split_floating(phi)[0]
    if members is None:
        return _normals(flat, count, _name(seed, named))
    twins: Counter[int] = Counter()
    of_each = []
    for member in range(members):
        name = _name(seed, [leaf[member] if leaf.ndim else leaf for leaf in named])
        of_each.append(_normals([leaf[member] for leaf in flat], count, name, twins[name]))
        twins[name] += 1
    return tuple(torch.stack(draws, 1) for draws in zip(*of_each, strict=True))


def _name(seed: int, leaves: Sequence[Tensor]) -> int:
    """A number of 64 bits that names these bits."""
    name = hashlib.blake2b(repr(seed).encode(), digest_size=8)
    for leaf in leaves:
        name.update(leaf.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return int.from_bytes(name.digest())


def _normals(flat: Sequence[Tensor], count: int, name: int, twin: int = 0) -> Tensors:
    from games.core import stream  # noqa: PLC0415  # it loads the games, and no other estimator does

    generator = stream(name, twin, device=flat[0].device)
    return tuple(
        torch.randn(count, *leaf.shape, generator=generator, dtype=leaf.dtype, device=leaf.device)
        for leaf in flat
    )


def perturb(phi: Tree, noise: Tensors, sigma: float, *, antithetic: bool) -> Tensors:
    """Move phi along each draw, and with `antithetic` then against each: [sample, *leaf] for every leaf."""
    flat = split_floating(phi)[0]
    ahead = tuple(leaf.detach() + sigma * draw for leaf, draw in zip(flat, noise, strict=True))
    if not antithetic:
        return ahead
    behind = (leaf.detach() - sigma * draw for leaf, draw in zip(flat, noise, strict=True))
    return tuple(torch.cat(pair) for pair in zip(ahead, behind, strict=True))


def total_losses(losses: Tensor, *, several: bool, members: int | None) -> Tensor:
    """Sum every sample's loss for each objective and each member.

    Args:
        losses: [sample, ...], with several objectives [sample, objective, ...]; then, where there are
            members, [.., member, ...].
        several: whether there are several objectives.
        members: how many members; None: the loss has no such axis.

    Returns:
        [sample, objective, member], the last two of length 1 where there is no such axis.

    Raises:
        ValueError: the loss lacks one of these axes.
    """
    require(
        not several or losses.ndim >= 2,
        "With several=True the outer loss must have shape [objective, ...], but it is a single number.",
    )
    losses = losses if several else losses.unsqueeze(1)
    if members is None:
        return losses.flatten(2).sum(-1, keepdim=True) if losses.ndim > 2 else losses.unsqueeze(-1)
    require(
        losses.ndim >= 3 and losses.shape[2] == members,
        f"With members=True the outer loss must have a value for each of the {members} members, in its "
        f"{'second' if several else 'first'} axis, but its shape is "
        f"{tuple(losses.shape[1 if several else 2 :])}.",
    )
    return losses.flatten(3).sum(-1) if losses.ndim > 3 else losses


def centered_ranks(values: Tensor) -> Tensor:
    """Replace values along the first axis by their ranks, from -1/2 (least) to 1/2; equal values share one.

    Where one value is NaN all ranks are.

    >>> centered_ranks(torch.tensor([3.0, -70.0, 3.0, 4.0, 5.0]))
    tensor([-0.1250, -0.5000, -0.1250,  0.2500,  0.5000])
    """
    lines = values.movedim(0, -1).contiguous()
    ordered = lines.sort(-1).values
    below = torch.searchsorted(ordered, lines)
    not_above = torch.searchsorted(ordered, lines, right=True)
    ranks = (below + not_above - 1).to(values.dtype) / (2 * (values.shape[0] - 1)) - 0.5
    missing = lines.isnan().any(-1, keepdim=True)
    return ranks.masked_fill(missing, torch.nan).movedim(-1, 0)


def slopes(values: Tensor, sigma: float, *, antithetic: bool) -> Tensor:
    """How steeply the values rise along each draw.

    Pairs: (F(phi + sigma e) - F(phi - sigma e)) / (2 sigma). Else (F(phi + sigma e) - the mean of all
    other samples) / sigma, a baseline that is independent of e and so adds no bias.

    Args:
        values: [sample, ...]; pairs as `perturb` orders them.
        sigma: the width of the perturbations.
        antithetic: whether they come in pairs.

    Returns:
        [draw, ...].
    """
    count = values.shape[0]
    if antithetic:
        return (values[: count // 2] - values[count // 2 :]) / (2 * sigma)
    return (values - values.mean(0)) * (count / (count - 1)) / sigma


def require_changes(ends: Tensors, values: Tensor, phi: Tree) -> None:
    """Refuse if all samples ended alike: a derivative of zero may be right, no dependence at all is not.

    Args:
        ends: the floating leaves of every sample's inner state at the end, [sample, *leaf].
        values: their outer losses, [sample, ...].
        phi: the outer variables, to be named.
    """
    alike = all_zero([end - end[:1] for end in (values, *ends)])
    require(
        not alike,
        f"No perturbation of phi ({', '.join(paths(phi))}) changed the inner variables or the outer loss: "
        "use phi in the step, or choose a larger sigma.",
    )


def mean_along(steepness: Tensor, noise: Tensors, phi: Tree, *, several: bool) -> tuple[Tree, Tree]:
    """Average slope times draw: the gradient, and its standard error, both in the form of phi.

    Args:
        steepness: from `slopes`, [draw, objective, member].
        noise: the draws, [draw, *leaf] for each leaf of phi, whose first axis counts members if there are
            several of these.
        phi: the outer variables.
        several: whether the results have an axis of objectives in front.
    """
    flat, rebuild = split_floating(phi)
    draws, objectives, members = steepness.shape
    means, errors = [], []
    for leaf, draw in zip(flat, noise, strict=True):
        weights, along = steepness.to(leaf.dtype), draw.reshape(draws, members, -1)
        mean = torch.einsum("dom,dmp->omp", weights, along) / draws
        square = torch.einsum("dom,dmp->omp", weights**2, along**2) / draws
        variance = (square - mean**2).clamp(min=0) / (draws - 1 if draws > 1 else torch.nan)
        shape = (objectives, *leaf.shape) if several else leaf.shape
        means.append(mean.reshape(shape))
        errors.append(variance.sqrt().reshape(shape))
    return rebuild(means), rebuild(errors)

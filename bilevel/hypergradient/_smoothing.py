"""Gradients of a Gaussian-smoothed objective from its values alone: draws, perturbed learning, averages."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.core import Step, Tensors, Tree, leaves, paths, split_floating
from bilevel.hypergradient._derivatives import outer_gradients
from bilevel.hypergradient._estimator import BilevelProblem, Estimate
from bilevel.hypergradient._kernels import make_kernels
from bilevel.hypergradient._rollout import Rollout
from bilevel.hypergradient._validation import all_zero
from games.core import require


@dataclass(frozen=True)
class SampledEstimate(Estimate):
    """An estimate with its standard error."""

    standard_error: Tree
    """The standard error of each entry of `gradient`, in its form; NaN where there is one draw only. The
    estimate lies within 1.96 of it in 95 % of all draws, once these are many."""


def require_sampling(samples: int, sigma: float, *, antithetic: bool) -> None:
    """Require the settings of a sampling estimator to be in range.

    Args:
        samples: number of perturbed runs, at least 2.
        sigma: standard deviation of the perturbations, above 0.
        antithetic: perturb in pairs, of which there must be a whole number.

    Raises:
        ValueError: a setting is out of range.

    >>> require_sampling(65, 0.05, antithetic=True)
    Traceback (most recent call last):
    ValueError: samples must be even with antithetic=True, as they come in pairs, not 65.
    """
    require(samples >= 2, f"samples must be at least 2, not {samples}.")
    require(
        not antithetic or samples % 2 == 0,
        f"samples must be even with antithetic=True, as they come in pairs, not {samples}.",
    )
    require(math.isfinite(sigma) and sigma > 0, f"sigma must be a number above 0, not {sigma}.")


def count_members(members: bool, theta: Tree, phi: Tree) -> int | None:
    """The length of the first axis of every leaf, if it counts members, else None."""
    if not members:
        return None
    shapes = sorted({tuple(leaf.shape[:1]) for leaf in leaves((theta, phi))})
    require(
        len(shapes) == 1 and len(shapes[0]) == 1,
        "With members=True all leaves of theta and phi must share their first axis, but they begin with "
        f"{' and '.join(map(str, shapes))}.",
    )
    return len(leaves(phi)[0])


def draw_noise(phi: Tree, count: int, seed: int, *also: Tree, members: int | None = None) -> Tensors:
    """Draw standard normal noise for every leaf of phi: [draw, *leaf] each.

    The stream is named by `seed` and by the bits of phi and of `also`: draws are fresh whenever any of these
    has moved, no generator is kept between calls, and a resumed run draws the same. Each member has a stream
    of its own, named by its own bits and by the 0-dim tensors, so that it draws as it would alone; members
    that are equal bit for bit draw differently.
    """
    named = [leaf.detach().cpu() for leaf in split_floating((phi, *also))[0]]
    flat = split_floating(phi)[0]
    if members is None:
        return _normals(flat, count, _name(seed, named))
    repeats: Counter[int] = Counter()
    draws_of = []
    for member in range(members):
        name = _name(seed, [leaf[member] if leaf.ndim else leaf for leaf in named])
        draws_of.append(_normals([leaf[member] for leaf in flat], count, name, repeats[name]))
        repeats[name] += 1
    return tuple(torch.stack(draws, 1) for draws in zip(*draws_of, strict=True))


def _name(seed: int, leaves: Sequence[Tensor]) -> int:
    name = hashlib.blake2b(repr(seed).encode(), digest_size=8)
    for leaf in leaves:
        name.update(leaf.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return int.from_bytes(name.digest())


def _normals(flat: Sequence[Tensor], count: int, name: int, repeat: int = 0) -> Tensors:
    from games.core import stream  # noqa: PLC0415  # it loads the games, and no other estimator does

    generator = stream(name, repeat, device=flat[0].device)
    return tuple(
        torch.randn(count, *leaf.shape, generator=generator, dtype=leaf.dtype, device=leaf.device)
        for leaf in flat
    )


def perturb(phi: Tree, noise: Tensors, sigma: float, *, antithetic: bool) -> Tensors:
    """Move phi along each draw, and with `antithetic` then against each: [sample, *leaf] for every leaf."""
    pairs = list(zip(split_floating(phi)[0], noise, strict=True))
    ahead = tuple(leaf.detach() + sigma * draw for leaf, draw in pairs)
    if not antithetic:
        return ahead
    behind = (leaf.detach() - sigma * draw for leaf, draw in pairs)
    return tuple(torch.cat(pair) for pair in zip(ahead, behind, strict=True))


def learn_samples(
    problem: BilevelProblem,
    states: tuple[Tree, Tree],
    phi: Tree,
    samples: tuple[Tensors | None, Tensors],
    inner_data: tuple[Tree, ...],
    outer_data: Tree,
) -> tuple[Tensors, Tensor]:
    """Take the same K steps on the same data for many outer variables in one batch (`torch.vmap`).

    `samples` are the floating leaves of each sample's (theta, opt_state), None if all start at `states`, and
    of its phi, all [sample, *leaf]; so are the final states in the result, beside the outer losses.
    Operations that torch cannot batch run one sample after the other, and torch warns of the lost speed: of
    TorchOpt's optimizers this concerns those with second moments (adam, rmsprop), of ours none.
    """
    flat, rebuild_state = split_floating(states)
    rebuild_phi = split_floating(phi)[1]
    own, perturbed = samples
    many = dataclasses.replace(problem, step=BatchedStep(problem.step))
    with torch.no_grad():
        kernels = make_kernels(many, rebuild_phi(perturbed))
        state = kernels.start(*rebuild_state(own or repeated(flat, len(perturbed[0]))))
        for data in inner_data:
            state = kernels.advance(state, data)
        ends = split_floating(kernels.trees(state))[0]

        def outer(flat: Tensors, flat_phi: Tensors) -> Tensor:
            return problem.outer_loss(rebuild_state(flat)[0], rebuild_phi(flat_phi), outer_data)

        losses: Tensor = torch.vmap(outer)(ends, perturbed)
    return ends, losses


@dataclass(frozen=True)
class BatchedStep:
    """A step of many samples, counted by the first axis of floating leaves, on the same data."""

    step: Step

    def __call__(self, theta: Tree, opt_state: Tree, phi: Tree, data: Tree) -> tuple[Tree, Tree]:
        flat, rebuild_state = split_floating((theta, opt_state))
        flat_phi, rebuild_phi = split_floating(phi)
        rebuild_after: list[Callable[[Tensors], Tree]] = []

        def one(flat: Tensors, flat_phi: Tensors) -> Tensors:
            theta, opt_state = rebuild_state(flat)
            floating, rebuild = split_floating(self.step(theta, opt_state, rebuild_phi(flat_phi), data))
            rebuild_after.append(rebuild)
            return floating

        results = torch.vmap(one)(flat, flat_phi)
        after: tuple[Tree, Tree] = rebuild_after[0](results)
        return after


def require_value(center: Rollout, ends: Tensors) -> None:
    """Raise ValueError if on fixed data the outer loss's derivative depends on theta, and its value does not.

    So it is with a surrogate of sampled returns (DiCE): an estimator by values would miss inner learning.
    `center` is the unperturbed run, `ends` the final states of all samples.
    """
    problem, phi = center.kernels.problem, center.kernels.phi
    end, data = center.end, center.outer_data
    moved = split_floating(end)[1]([leaf[0] for leaf in ends])[0]
    if all(map(torch.equal, leaves(end[0]), leaves(moved))):
        return
    with torch.no_grad():
        loss, slope, _ = outer_gradients(problem, (end[0], None), phi, data)
        require(
            all_zero(slope) or not torch.equal(problem.outer_loss(moved, phi, data), loss),
            "On data drawn once the outer loss has a derivative by theta, but its value does not change "
            "with theta, as with a surrogate of sampled returns: let every sample draw its own data "
            "(Evolution(members=True, fresh_data=True)).",
        )


def repeated(flat: Tensors, count: int) -> Tensors:
    """Expand each leaf along a new first axis."""
    # Sharing it in `torch.vmap` would not do for optimizers that add to a scaled copy in place (TorchOpt's).
    return tuple(leaf.expand(count, *leaf.shape) for leaf in flat)


def total_losses(losses: Tensor, *, per_agent_objective: bool, members: int | None) -> Tensor:
    """Sum every sample's loss [sample, ...] to [sample, objective, member], either 1 if there are no such."""
    require(
        not per_agent_objective or losses.ndim >= 2,
        "With per_agent_objective=True the outer loss must have shape [objective, ...], "
        "but it is a single number.",
    )
    losses = losses if per_agent_objective else losses.unsqueeze(1)
    if members is None:
        return losses.flatten(2).sum(-1, keepdim=True) if losses.ndim > 2 else losses.unsqueeze(-1)
    require(
        losses.ndim >= 3 and losses.shape[2] == members,
        f"With members=True the outer loss must have a value for each of the {members} members, in its "
        f"{'second' if per_agent_objective else 'first'} axis, but its shape is "
        f"{tuple(losses.shape[1 if per_agent_objective else 2 :])}.",
    )
    return losses.flatten(3).sum(-1) if losses.ndim > 3 else losses


def centered_ranks(values: Tensor) -> Tensor:
    """Replace values along the first axis by their ranks, -1/2 to 1/2; equal ones share one; NaN spreads."""
    lines = values.movedim(0, -1).contiguous()
    ordered = lines.sort(-1).values
    below = torch.searchsorted(ordered, lines)
    not_above = torch.searchsorted(ordered, lines, right=True)
    ranks = (below + not_above - 1).to(values.dtype) / (2 * (values.shape[0] - 1)) - 0.5
    missing = lines.isnan().any(-1, keepdim=True)
    return ranks.masked_fill(missing, torch.nan).movedim(-1, 0)


def slopes(values: Tensor, sigma: float, *, antithetic: bool) -> Tensor:
    """Slopes of values [sample, ...] along each draw, [draw, ...].

    Pairs: (F(phi + sigma e) - F(phi - sigma e)) / (2 sigma). Else (F(phi + sigma e) - the mean of all
    other samples) / sigma, a baseline that is independent of e and so adds no bias.
    """
    count = values.shape[0]
    if antithetic:
        return (values[: count // 2] - values[count // 2 :]) / (2 * sigma)
    return (values - values.mean(0)) * (count / (count - 1)) / sigma


def smoothed_gradient(
    center: Rollout,
    ends: Tensors,
    losses: Tensor,
    noise: Tensors,
    sigma: float,
    *,
    members: int | None,
    antithetic: bool = True,
    rank_shaping: bool = False,
) -> SampledEstimate:
    """The estimate from all samples; ValueError if their final states and losses are all equal."""
    problem, phi = center.kernels.problem, center.kernels.phi
    values = total_losses(losses, per_agent_objective=problem.per_agent_objective, members=members)
    require(
        not all_zero([end - end[:1] for end in (values, *ends)]),
        f"No perturbation of phi ({', '.join(paths(phi))}) changed the inner variables or the outer loss: "
        "use phi in the step, or choose a larger sigma.",
    )
    if rank_shaping:
        values = centered_ranks(values)
    steepness = slopes(values, sigma, antithetic=antithetic)
    gradient, error = mean_along(steepness, noise, phi, per_agent_objective=problem.per_agent_objective)
    with torch.no_grad():
        loss = problem.outer_loss(center.end[0], phi, center.outer_data)
    return SampledEstimate(*center.end, loss, gradient, center.inner_data, center.outer_data, error)


def mean_along(
    steepness: Tensor, noise: Tensors, phi: Tree, *, per_agent_objective: bool
) -> tuple[Tree, Tree]:
    """The mean of slope [draw, objective, member] times draw, and its standard error, shaped like phi."""
    flat, rebuild = split_floating(phi)
    draws, objectives, members = steepness.shape
    means, errors = [], []
    for leaf, draw in zip(flat, noise, strict=True):
        weights, along = steepness.to(leaf.dtype), draw.reshape(draws, members, -1)
        mean = torch.einsum("dom,dmp->omp", weights, along) / draws
        square = torch.einsum("dom,dmp->omp", weights**2, along**2) / draws
        variance = (square - mean**2).clamp(min=0) / (draws - 1 if draws > 1 else torch.nan)
        shape = (objectives, *leaf.shape) if per_agent_objective else leaf.shape
        means.append(mean.reshape(shape))
        errors.append(variance.sqrt().reshape(shape))
    return rebuild(means), rebuild(errors)

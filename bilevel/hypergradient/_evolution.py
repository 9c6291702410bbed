"""Evolution strategies: the hypergradient from the outer losses of perturbed outer variables."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.core import Tensors, Tree, leaves, paths, split_floating, tree_map
from bilevel.hypergradient._estimator import BilevelProblem, StatelessEstimator
from bilevel.hypergradient._rollout import roll_out
from bilevel.hypergradient._smoothing import (
    SampledEstimate,
    count_members,
    draw_noise,
    learn_samples,
    perturb,
    require_sampling,
    require_value,
    smoothed_gradient,
)
from games.core import require


@dataclass(frozen=True, kw_only=True, repr=False)
class Evolution(StatelessEstimator):
    """Evolution strategies: Gaussian perturbations of phi, trained in one batch, without derivatives.

    With e ~ N(0, I), it estimates the gradient of the smoothed objective E F(phi + sigma e), which is
    E[F(phi + sigma e) e] / sigma. Over pairs (antithetic):

        gradient = mean over e of e (F(phi + sigma e) - F(phi - sigma e)) / (2 sigma).

    Bias: that of smoothing, of order sigma^2 times F's third derivatives: none if F is quadratic. Ranks
    (`rank_shaping`) give only a direction, without magnitude. Estimates on shared data ignore that the data
    depend on theta and phi; those with `fresh_data` do not. Variance: for pairs, if F is nearly linear in the
    P entries of phi, 2 (P + 1) |gradient|^2 / samples over all entries together; unpaired samples half of
    that, plus the variance of F's even part over sigma^2, which dominates under curvature or noise.
    `standard_error` of the result measures it. Cost: (samples + 1) K steps, no backward pass; the unperturbed
    run among them ends at the estimate's theta. Memory: samples times (theta and the optimizer's state),
    whatever K is, and the data of each step. Several objectives share the samples. Draws depend on `seed` and
    on the bits of phi and theta alone.

    Raises:
        ValueError: a setting is out of range.

    Source:
        Salimans et al., Evolution strategies as a scalable alternative to reinforcement learning, arXiv
        1703.03864; Metz et al., Understanding and correcting pathologies in the training of learned
        optimizers, arXiv 1810.10180.

    >>> from bilevel.hypergradient import BilevelProblem
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> estimate = Evolution(samples=1000)(problem, zero, None, one, steps=2)
    >>> bool((estimate.gradient - 0.75).abs() < 3 * estimate.standard_error)  # 1 - (1 - 0.5)^2
    True
    """

    samples: int = 64
    """Number of perturbed runs, at least 2; even if they come in pairs."""
    sigma: float = 0.05
    """Standard deviation of the perturbations, above 0, in units of phi."""
    antithetic: bool = True
    """Perturb in pairs of opposite sign, which removes the even part of F from the noise."""
    rank_shaping: bool = False
    """Replace losses by their ranks from -1/2 to 1/2, so that an outlier counts by its rank only; the norm of
    the gradient then has no meaning."""
    members: bool = False
    """The first axis of every leaf of theta and phi counts members that learn independently (seeds), each
    with its own outer loss: each then has its own estimate, without the noise of other members."""
    fresh_data: bool = False
    """Draw data for every sample, as needed for sampled episodes, whose distribution depends on the policy;
    otherwise all samples share the data of the unperturbed run (common random numbers, less noise). Needs
    members=True: samples become further members, of which `inner_data` and `outer_data` see samples x
    members, sample by sample."""
    seed: int = 0
    """Name of the random stream, any integer."""

    def __post_init__(self) -> None:
        require_sampling(self.samples, self.sigma, antithetic=self.antithetic)
        require(
            self.members or not self.fresh_data,
            "fresh_data=True needs members=True: samples can draw data of their own only as further members "
            "of a batch.",
        )

    def _estimate(
        self, problem: BilevelProblem, start: tuple[Tree, Tree], phi: Tree, steps: int
    ) -> SampledEstimate:
        center = roll_out(problem, *start, phi, steps, keep=1)
        center.require_pure()
        members = count_members(self.members, start[0], phi)
        draws = self.samples // 2 if self.antithetic else self.samples
        noise = draw_noise(phi, draws, self.seed, start[0], members=members)
        perturbed = perturb(phi, noise, self.sigma, antithetic=self.antithetic)
        data = center.inner_data, center.outer_data
        if self.fresh_data:
            ends, losses = self._fold(problem, start, phi, perturbed, steps)
        elif self.members and all(leaf.ndim == 0 for leaf in leaves(data)):
            # Samples are then further members of the batch, and need no transform.
            ends, losses = self._fold(problem.replay(*data), start, phi, perturbed, steps)
        else:
            ends, losses = learn_samples(problem, start, phi, (None, perturbed), *data)
        if not self.fresh_data:
            require_value(center, ends)
        return smoothed_gradient(
            center,
            ends,
            losses,
            noise,
            self.sigma,
            members=members,
            antithetic=self.antithetic,
            rank_shaping=self.rank_shaping,
        )

    def _fold(
        self, problem: BilevelProblem, start: tuple[Tree, Tree], phi: Tree, perturbed: Tensors, steps: int
    ) -> tuple[Tensors, Tensor]:
        """Learn with samples as further members: leaves [member, ...] become [sample * member, ...]."""
        shape = perturbed[0].shape[:2]
        theta, opt_state = (_repeat(tree, *shape) for tree in start)
        folded = split_floating(phi)[1]([leaf.flatten(0, 1) for leaf in perturbed])
        run = roll_out(problem, theta, opt_state, folded, steps, keep=1)
        with torch.no_grad():
            losses = problem.outer_loss(run.end[0], folded, run.outer_data)
        axis, batch = int(problem.per_agent_objective), shape.numel()
        require(
            losses.ndim > axis and losses.shape[axis] == batch,
            f"With fresh_data=True the outer loss must have a value for each of {batch} members (samples x "
            f"members) in axis {axis}, but its shape is {tuple(losses.shape)}.",
        )
        by_sample = losses.unflatten(axis, shape).movedim(axis, 0)
        ends = split_floating(run.end)[0]
        return tuple(leaf.unflatten(0, shape) for leaf in ends if leaf.ndim), by_sample


def _repeat(tree: Tree, samples: int, members: int) -> Tree:
    """Repeat the members of each leaf, sample by sample; single numbers (counters) serve all."""
    for path, leaf in zip(paths(tree), leaves(tree), strict=True):
        shape = tuple(leaf.shape) if isinstance(leaf, Tensor) else ()
        require(
            shape[:1] in ((), (members,)),
            f"With fresh_data=True every tensor of the optimizer's state must be a single number or have "
            f"{members} members in its first axis, but leaf {path} has shape {shape}.",
        )
    return tree_map(
        lambda leaf: leaf.repeat(samples, *[1] * (leaf.ndim - 1)) if getattr(leaf, "ndim", 0) else leaf, tree
    )

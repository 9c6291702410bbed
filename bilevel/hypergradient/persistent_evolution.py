"""Evolution strategies whose particles live on from one window of inner learning to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.hypergradient.base import BilevelProblem
from bilevel.hypergradient.purity import require_pure
from bilevel.hypergradient.rollout import roll_out
from bilevel.hypergradient.samples import learn_samples, repeated, require_value
from bilevel.hypergradient.smoothing import (
    SampledEstimate,
    count_members,
    draw_noise,
    mean_along,
    perturb,
    require_changes,
    require_sampling,
    slopes,
    total_losses,
)
from bilevel.tree import Tensors, Tree, detach, split_floating


class Particles(NamedTuple):
    """The state of inner learning under persistent evolution: unperturbed, and of every particle."""

    theta: Tree
    """The unperturbed inner variables."""
    opt_state: Tree
    """Their optimiser's state; its integer leaves (counters) are those of all particles."""
    samples: Tensors
    """The floating leaves of (theta, opt_state) of every particle, [sample, *leaf], pairs as in `perturb`."""
    noise: Tensors
    """The sum of each pair's draws since the start, [pair, *leaf] for each leaf of phi, in units of sigma."""
    windows: Tensor
    """Windows since the start, int64."""


@dataclass(frozen=True, kw_only=True)
class PersistentEvolution:
    """Gradient of the sum of the losses after each of many short windows, from their values alone.

    Each pair of particles keeps its inner state from window to window, and the sum of the perturbations that
    made it: in window w, with draws e_1, ..., e_w ~ N(0, I), it learns with phi +- sigma e_w, and

        gradient_w = mean over pairs of (e_1 + ... + e_w) (F_w(+) - F_w(-)) / (2 sigma).

    `Evolution` in windows takes e_w alone, and misses what phi did in the windows before.

    It is no `Hypergradient`: what it remembers is in `Particles`, which `init` makes and every call takes and
    gives back. Begin anew, with `init`, whenever inner learning does.

    Bias: that of smoothing only (none where the losses are quadratic in all draws), however short the
    windows, as long as phi stands still; one that moves in between is a little behind, as in all online
    learning.
    Variance: as of `Evolution`, growing with the number of windows since `init`.
    Cost: (samples + 1) K steps a window of K, no backward pass.
    Memory: samples times (theta, the optimiser's state) plus samples / 2 times phi, all kept between windows;
    the data of each step of one window, drawn along the unperturbed run and shared by all particles.

    Raises:
        ValueError: a setting is out of range.

    Source:
        Vicol et al., Unbiased gradient estimation in unrolled computation graphs with persistent evolution
        strategies, arXiv 2112.13835.

    >>> from bilevel.optimisers import sgd
    >>> from bilevel.step import inner_step
    >>> inner = sgd(0.25)
    >>> problem = BilevelProblem(
    ...     step=inner_step(lambda theta, phi, data: (theta - phi) ** 2, inner),
    ...     outer_loss=lambda theta, phi, data: theta,
    ... )
    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> persistent = PersistentEvolution(samples=2000)
    >>> particles = persistent.init(zero, inner.init(zero), one)
    >>> for _ in range(2):
    ...     estimate, particles = persistent(problem, particles, one, steps=1)
    >>> bool((estimate.gradient - 0.75).abs() < 3 * estimate.standard_error)  # 1 - (1 - 0.5)^2
    True
    """

    samples: int = 64
    """Particles, an even number of at least 2."""
    sigma: float = 0.05
    """Standard deviation of each window's perturbations, above 0, in units of phi."""
    members: bool = False
    """Whether the first axis of every leaf of theta and phi counts members that learn independently (seeds),
    each with its own outer loss: each then has its own estimate, without the noise of the others."""
    seed: int = 0
    """Which stream of draws, any whole number."""

    def __post_init__(self) -> None:
        require_sampling(self.samples, self.sigma, antithetic=True)

    def init(self, theta: Tree, opt_state: Tree, phi: Tree) -> Particles:
        """Let every particle start from the same inner state, with no perturbation behind it.

        Args:
            theta: the inner variables at the start.
            opt_state: the optimiser's state at the start.
            phi: the outer variables.

        Raises:
            ValueError: theta and phi have no common axis of members, where there should be one.
        """
        theta, opt_state = detach(theta), detach(opt_state)
        count_members(self.members, theta, phi)
        flat, flat_phi = split_floating((theta, opt_state))[0], split_floating(phi)[0]
        return Particles(
            theta,
            opt_state,
            repeated(flat, self.samples),
            tuple(leaf.new_zeros(self.samples // 2, *leaf.shape) for leaf in flat_phi),
            torch.zeros((), dtype=torch.int64),
        )

    def __call__(
        self, problem: BilevelProblem, particles: Particles, phi: Tree, *, steps: int
    ) -> tuple[SampledEstimate, Particles]:
        """Learn for one window of K steps.

        Args:
            problem: as for `Hypergradient`, like the rest; `outer_loss` is this window's.
            particles: from `init`, or from the window before.
            phi: the outer variables.
            steps: K, at least 1.

        Returns:
            the estimate of this window's part of the gradient, and the particles to go on with.

        Raises:
            ValueError: as for `Hypergradient`; no perturbation changed anything; theta, phi or the outer
                loss has no axis of members, where there should be one; the step is not pure; or the outer
                loss is a surrogate whose value is blind to theta on shared data.
        """
        phi = detach(phi)
        start = particles.theta, particles.opt_state
        centre = roll_out(problem, *start, phi, steps, keep=1)
        end = centre.end
        require_pure(problem.step, centre.states[-2], phi, centre.inner_data[-1])
        members = count_members(self.members, particles.theta, phi)
        noise = draw_noise(phi, self.samples // 2, self.seed, particles.theta, particles.windows.double())
        samples = particles.samples, perturb(phi, noise, self.sigma, antithetic=True)
        ends, losses = learn_samples(
            problem, start, phi, samples, centre.inner_data, outer_data=centre.outer_data
        )
        values = total_losses(losses, several=problem.several, members=members if self.members else None)
        require_value(problem, centre, ends, phi)
        require_changes(ends, values, phi)
        steepness = slopes(values, self.sigma, antithetic=True)
        total = tuple(torch.add(*pair) for pair in zip(particles.noise, noise, strict=True))
        gradient, error = mean_along(steepness, total, phi, several=problem.several)
        with torch.no_grad():
            loss = problem.outer_loss(end[0], phi, centre.outer_data)
        estimate = SampledEstimate(*end, loss, gradient, centre.inner_data, centre.outer_data, error)
        return estimate, Particles(*end, ends, total, particles.windows + 1)

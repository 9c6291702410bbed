"""Persistent evolution strategies: particles that keep their inner state between outer steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.core import Tensors, Tree, detach, split_floating
from bilevel.hypergradient._estimator import BilevelProblem, Estimator, copied, require_leads_to
from bilevel.hypergradient._rollout import roll_out
from bilevel.hypergradient._smoothing import (
    SampledEstimate,
    count_members,
    draw_noise,
    learn_samples,
    perturb,
    repeated,
    require_sampling,
    require_value,
    smoothed_gradient,
)
from games.core import require


class Particles(NamedTuple):
    """The state of inner learning under persistent evolution: unperturbed, and of every particle."""

    theta: Tree
    """The unperturbed inner variables."""
    opt_state: Tree
    """Their optimizer's state; its integer leaves (counters) are those of all particles."""
    samples: Tensors
    """The floating leaves of (theta, opt_state) of every particle, [sample, *leaf], pairs as in `perturb`."""
    noise: Tensors
    """The sum of each pair's draws since the start, [pair, *leaf] for each leaf of phi, in units of sigma."""
    outer_steps: Tensor
    """Outer steps since the start, int64."""


@dataclass(frozen=True, kw_only=True, repr=False)
class PersistentEvolution(Estimator):
    """Persistent evolution strategies: the gradient of summed online losses, without derivatives.

    Each pair of particles keeps its inner state from one outer step to the next, and the sum of the
    perturbations that made it: in outer step t, with draws e_1, ..., e_t ~ N(0, I), it learns with
    phi +- sigma e_t, and

        gradient_t = mean over pairs of (e_1 + ... + e_t) (F_t(+) - F_t(-)) / (2 sigma).

    `Evolution`, which is the first estimate, takes e_t alone, and misses the effect of phi in earlier outer
    steps. The particles are the estimator's state.

    Bias: that of smoothing only (none if the losses are quadratic in all draws), for any K, as long as phi is
    constant; if phi changes, the estimate lags behind, as in all online learning. Variance: as for
    `Evolution`, growing with the number of outer steps since the start. Cost: (samples + 1) K steps, no
    backward pass. Memory: samples times (theta, the optimizer's state) plus samples / 2 times phi, all kept
    between outer steps; the data of each of K steps, drawn along the unperturbed run and shared by all
    particles.

    Raises:
        ValueError: a setting is out of range.

    Source:
        Vicol et al., Unbiased gradient estimation in unrolled computation graphs with persistent evolution
        strategies, arXiv 2112.13835.

    >>> from bilevel.hypergradient import BilevelProblem
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> persistent = PersistentEvolution(samples=2000)
    >>> first, state = persistent.estimate(problem, zero, None, one, steps=1)
    >>> second, state = persistent.estimate(problem, first.theta, first.opt_state, one, state, steps=1)
    >>> bool((second.gradient - 0.75).abs() < 3 * second.standard_error)  # 1 - (1 - 0.5)^2
    True
    """

    samples: int = 64
    """Particles, an even number of at least 2."""
    sigma: float = 0.05
    """Standard deviation of each outer step's perturbations, above 0, in units of phi."""
    members: bool = False
    """The first axis of every leaf of theta and phi counts members that learn independently (seeds), each
    with its own outer loss: each then has its own estimate, without the noise of the others."""
    seed: int = 0
    """Name of the random stream, any integer."""

    def __post_init__(self) -> None:
        require_sampling(self.samples, self.sigma, antithetic=True)

    @property
    def stateful(self) -> bool:
        return True

    def init(
        self, problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree, *, steps: int
    ) -> Particles:
        theta, opt_state = copied(theta), copied(opt_state)
        count_members(self.members, theta, phi)
        flat, flat_phi = split_floating((theta, opt_state))[0], split_floating(phi)[0]
        return Particles(
            theta,
            opt_state,
            repeated(flat, self.samples),
            tuple(leaf.new_zeros(self.samples // 2, *leaf.shape) for leaf in flat_phi),
            torch.zeros((), dtype=torch.int64),
        )

    def estimate(
        self,
        problem: BilevelProblem,
        theta: Tree,
        opt_state: Tree,
        phi: Tree,
        state: Particles | None = None,
        *,
        steps: int,
    ) -> tuple[SampledEstimate, Particles]:
        start, phi = (detach(theta), detach(opt_state)), detach(phi)
        past = self.init(problem, *start, phi, steps=steps) if state is None else state
        self._require_fits(past, phi)
        require_leads_to((past.theta, past.opt_state), start)
        center = roll_out(problem, *start, phi, steps, keep=1)
        center.require_pure()
        members = count_members(self.members, theta, phi)
        named = start[0], past.outer_steps.double()
        noise = draw_noise(phi, self.samples // 2, self.seed, *named, members=members)
        samples = past.samples, perturb(phi, noise, self.sigma, antithetic=True)
        ends, losses = learn_samples(problem, start, phi, samples, center.inner_data, center.outer_data)
        require_value(center, ends)
        total = tuple(map(torch.add, past.noise, noise))
        estimate = smoothed_gradient(center, ends, losses, total, self.sigma, members=members)
        end, end_state = copied(center.end)
        return estimate, Particles(end, end_state, ends, total, past.outer_steps + 1)

    def _require_fits(self, past: Particles, phi: Tree) -> None:
        require(
            isinstance(past, Particles),
            f"The state of PersistentEvolution are Particles, not {type(past).__name__}.",
        )
        expected = [(self.samples // 2, *leaf.shape) for leaf in split_floating(phi)[0]]
        found = [tuple(leaf.shape) for leaf in past.noise]
        require(
            found == expected,
            f"The state holds draws of shape {found}, but {self.samples} samples of this phi have "
            f"{expected}: samples and the form of phi must stay what they were.",
        )

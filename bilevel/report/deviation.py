"""How far sampled meta-gradients are off: each surrogate against the exact meta-gradient of the same game."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.errors import require
from bilevel.methods import OuterLearner, Placement, ToS
from games.finite_repeated import FiniteRepeatedGame

MOST_STEPS_AT_ONCE = 400_000
"""Steps of episodes that are in memory together: about half a gigabyte."""


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """How one kind of sampled meta-gradient differs from the exact one.

    Measured along the exact one, in units of its length: a bias of 0.3 is 30 % too long.
    """

    surrogate: str
    """How the policies' gradient was estimated."""
    inner_steps: int
    """Policy updates that the meta-gradient goes through."""
    episodes: int
    """Episodes that each policy update, and the outer loss, drew."""
    samples: int
    """How many meta-gradients were drawn."""
    bias: float
    """Mean of the sampled meta-gradients minus the exact one."""
    deviation: float
    """Standard deviation of a single sampled meta-gradient."""
    exact: float
    """Length of the exact meta-gradient, in units of value per logit."""

    @property
    def margin(self) -> float:
        """Half the 95 % interval of the bias: 1.96 standard errors."""
        return 1.96 * self.deviation / math.sqrt(self.samples)


def measure_deviation(
    method: ToS, game: FiniteRepeatedGame, *, logit: float, samples: int, seed: int = 0
) -> Deviation:
    """Draw many meta-gradients at the same policies, and compare them with the exact one.

    Both are taken through `method.inner_steps` steps from policies that cooperate with probability
    sigmoid(logit) whatever they see, by the estimator that the method uses. The exact one knows the horizon
    of the episodes: nothing of what is found is due to their length.

    Two biases add up. The surrogate's stays however many episodes there are. The other falls as 1 / episodes
    and is every surrogate's: noisy steps lead elsewhere than exact ones, and what follows is not linear.

    Args:
        method: settings of both; `exact` is set here.
        game: what is played.
        logit: log-odds of cooperating at the start.
        samples: meta-gradients to draw, 2 or more.
        seed: of the draws, 0 or more.

    Raises:
        ValueError: fewer than 2 samples, or the exact meta-gradient is 0, which leaves nothing to compare.

    >>> game = FiniteRepeatedGame(horizon=3)
    >>> found = measure_deviation(ToS(own_share=0.95, episodes=64), game, logit=-1.5, samples=100)
    >>> abs(found.bias) < 2 * found.margin  # one small inner step: REINFORCE is enough
    True
    """
    require(samples >= 2, f"A deviation needs 2 samples or more, not {samples}.")
    (exact,) = _meta_gradients(dataclasses.replace(method, exact=True), game, logit, 1, seed)
    length = float(exact.norm())
    require(length > 0, "The exact meta-gradient is 0 here: start from other policies.")
    sampled = dataclasses.replace(method, exact=False)
    along = _meta_gradients(sampled, game, logit, samples, seed) @ exact / length**2
    return Deviation(
        surrogate=method.surrogate,
        inner_steps=method.inner_steps,
        episodes=method.episodes,
        samples=samples,
        bias=float(along.mean()) - 1,
        deviation=float(along.std()),
        exact=length,
    )


def _meta_gradients(method: ToS, game: FiniteRepeatedGame, logit: float, samples: int, seed: int) -> Tensor:
    """Draw meta-gradients of the sharing logits, float64 [sample, giver * receiver]."""
    at_once = max(1, MOST_STEPS_AT_ONCE // (game.horizon * method.episodes))
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for count in (min(at_once, samples - done) for done in range(0, samples, at_once)):
        learner = method.build(game, Placement(seeds=count))
        assert isinstance(learner, OuterLearner)
        state = learner.init(seed)
        theta = torch.full_like(state["theta"], logit)
        estimate = learner.hypergradient(
            learner.problem(generator, torch.zeros((), dtype=theta.dtype)),
            theta,
            learner.optimiser.init(theta),
            state["phi"],
            steps=method.inner_steps,
        )
        parts.append(learner.objective.own_gradient(estimate.gradient).flatten(1))
    return torch.cat(parts)

"""`d3c`: each agent learns whose losses to feel, by a bound on the local price of anarchy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from bilevel.core import Range
from bilevel.hypergradient import require_sampling
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._d3c_bound import Mixing
from bilevel.methods._d3c_learner import D3CLearner
from bilevel.methods._method import PolicyMethod
from games.core import Game, require


@dataclass(frozen=True, kw_only=True)
class D3C(PolicyMethod):
    """Learned mixing of losses: each agent shifts what it feels as long as the others' learning harms it.

    Inside, agent i descends f_i^A = sum_j A_ij f_j, with losses f_j = bound - value_j above 0 and rows of A
    that sum to 1. Outside, its row descends

        rho_i + nu KL(e_i || A_i),  rho_i = 1 + relu(d/dt log f_i^A + |grad_i f_i^A|^2 / f_i^A),

    whose first part bounds the local price of anarchy; all rows move at once, each by its own bound alone.
    With exact values the derivative by A_i is analytic (`anarchy_bound`), taken at the policies that the
    inner steps led to, and moves log A_i (mirror descent, with a floor). With episodes it is estimated by
    evolution strategies: the inner steps are taken with perturbed log-weights, and rho_i is the relu of how
    much log f_i^A rose over them; log-weights descend the estimate.

    Win, stay; lose, shift: where nobody loses by what the others learn, nothing moves, so the rule stops
    short of the optimum where an unequal outcome harms nobody on the way.

    Needs: the others' rewards; with exact values, the gradients of everybody's loss by everybody's policy.
    Conserves nothing: a reward can be felt by all, or by nobody. The metric `imbalance` says by how much the
    columns of A miss 1, which would conserve the total. Nothing changes hands, and welfare is that of the
    game's own rewards.

    Raises:
        ValueError: a setting is out of range; at build, nobody knows a bound of the values (see
            `loss_bound`).

    Source:
        Gemp et al., D3C: Reducing the Price of Anarchy in Multi-Agent Learning, arXiv 2010.00575. Checked in
        its abstract: agents mix their losses with the others' by following the gradient of a differentiable
        upper bound on a price of anarchy, which resembles win-stay, lose-shift; evolution strategies where
        incentives are not differentiable; Braess's network and a prisoner's dilemma. Recalled, not checked:
        the equations above and the floor. Ours: all defaults, bounds of values, and that the estimate from
        episodes leaves |grad_i f_i^A|^2 out, the square of a gradient that is mostly noise.

    >>> import games
    >>> learner = D3C().build(games.make("prisoners-dilemma"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["share_0_0"]  # the weights under which the policies learned
    tensor([0.9900, 0.9900], dtype=torch.float64)
    >>> bool((learner.transfer(state["phi"]).weights[:, 0, 1] > 0.01).all())  # defection harms: shift
    True
    """

    loss_bound: Annotated[float | None, Range()] = None
    """What no agent's value comes up to, in the game's units of value: losses are this less the value. None:
    the game's own, where its payoffs are laid out in a table (0 where all are below 0)."""
    own_weight: float = 0.99
    """The weight of one's own loss at the start, above 0 and below 1; the neighbours' are equal."""
    mixing_learning_rate: Annotated[float | None, Range(above=0)] = None
    """Learning rate of the log-weights, above 0, per unit of rho; None: 30 with exact values, 1 with
    episodes."""
    identity_weight: Annotated[float, Range(least=0)] = 1e-6
    """nu: the weight of the divergence from feeling one's own loss alone, 0 or more, in rho per nat."""
    least_log_weight: float = -8.0
    """The floor of log-weights, finite and below -1, in nats."""
    samples: int = 8
    """With episodes: perturbed runs of the inner steps in each outer step, an even number of 2 or more."""
    sigma: float = 0.5
    """With episodes: standard deviation of the perturbations of log-weights, above 0, in nats."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.own_weight < 1, f"own_weight must be above 0 and below 1, not {self.own_weight:g}.")
        low = self.least_log_weight
        require(
            math.isfinite(low) and low < -1,
            f"least_log_weight must be a finite number below -1, not {low:g}.",
        )
        require_sampling(self.samples, self.sigma, antithetic=True)

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        return D3CLearner(self, game, placement, Mixing(game.neighbours, self.own_weight))

"""`pola`: proximal steps in policy space through imagined proximal steps of the other agents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from bilevel.core import Range, Tree
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._inner_settings import PolicyGradient
from bilevel.methods._learner import StepInputs
from bilevel.methods._method import PolicyMethod
from bilevel.methods._settings import SettingsGroup, Whole
from bilevel.methods._shaping_learner import LookAheadSettings, ShapingLearner, require_joint_surrogate
from games.core import Game

Coefficient = Annotated[float, Range(min=0)]


@dataclass(frozen=True, kw_only=True)
class ProximalLookAhead(LookAheadSettings, part="look_ahead"):
    """Imagined learning steps of the other agents, toward the proximal point of their own losses."""

    kl_coef: Coefficient = 0.0
    """Coefficient of KL(policy before || imagined policy) in their losses, in reward units per nat, 0 or
    more: beta_in of the paper."""


@dataclass(frozen=True, kw_only=True)
class ProximalSettings(SettingsGroup, part="proximal"):
    """The proximal problem that an agent's update solves approximately."""

    steps: Whole = 10
    """Gradient steps of an update, by the optimizer and learning rate of `inner`, 1 or more."""
    kl_coef: Coefficient = 0.5
    """Coefficient of KL(policy before || policy) in an agent's loss, in reward units per nat, 0 or more:
    beta_out of the paper. The larger it is, the smaller is an update."""


@dataclass(frozen=True, kw_only=True)
class POLA(PolicyMethod):
    """POLA: LOLA whose updates are proximal points in policy space, so that parametrizations matter little.

    Agent i's update minimizes, by gradient steps on its policy theta_i',

        -V_i(theta_i', imagined theta_j for all j != i) + beta_out KL(policy_i before || policy_i).

    As in `lola-dice`, it imagines in each step that all other agents take K gradient steps on their own
    losses, from their policies before the update, and differentiates through these; with beta_in > 0 they,
    too, descend their loss plus beta_in KL(policy_j before || policy_j). The exact minimizer depends on
    policies as functions alone, while LOLA's update depends on their parameters: networks with the same
    behavior get different updates. With beta_out = 0 and one step the direction is that of `lola-dice`. KL
    divergences are means over the steps of the sampled episodes or, with exact values, over all
    observations, in nats. The optimizer starts afresh in each update.

    Needs: the other agents' policies, rewards and learning rates, and a simulator in which to play against
    imagined policies. Conserves the total: no reward is transferred. An update takes agents x (K + 1) x
    `proximal.steps` x `inner.episodes` episodes.

    Departures: a fixed number of steps, where the source's exact experiments iterate until the policy no
    longer changes; there, divergences are summed over the five memory-one states, so that its beta of 0.1
    is 0.5 here. The source's sampled policies are recurrent and have a learned critic; here the baseline
    is the mean return of the other episodes. Opponent modeling (POLA-OM) and the implicit differentiation
    of the inner proximal point are missing. The source has two agents, and here there can be any number.

    Raises:
        ValueError: a setting is out of range, or the surrogate is reinforce, which has no derivative by the
            other agents' policies; at build, the game has one agent, or agents share parameters.

    Source:
        Zhao, Lu, Grosse and Foerster, Proximal Learning with Opponent-Learning Awareness, NeurIPS 2022,
        arXiv 2210.10125; compared with the code of Silent-Zebra/POLA.

    >>> import games
    >>> from bilevel.methods import Placement, PolicyGradient
    >>> exact = POLA(inner=PolicyGradient(exact=True, surrogate="dice", learning_rate=0.3))
    >>> learner = exact.build(games.make("repeated-prisoners-dilemma"), Placement(seeds=2))
    >>> state = learner.init(seed=0)
    >>> for _ in range(5):
    ...     state, metrics = learner.update(state)
    >>> bool((metrics["welfare"] > -2.3).all())  # -4 if both defect, -2 if both cooperate
    True
    """

    inner: PolicyGradient = PolicyGradient(exact=False, surrogate="loaded-dice")
    """Gradient steps within an update: optimizer, learning rate, episodes, surrogate."""
    look_ahead: ProximalLookAhead = ProximalLookAhead()
    """Imagined learning steps of the other agents."""
    proximal: ProximalSettings = ProximalSettings()
    """Proximal problem of each update."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_joint_surrogate(self.inner)

    def build(self, game: Game, placement: Placement) -> Learner:
        return ProximalLearner(self, game, placement)


class ProximalLearner(ShapingLearner):
    """Learner of policies by proximal steps through imagined learning steps of the other agents."""

    def __init__(self, method: POLA, game: Game, placement: Placement) -> None:
        self.proximal = method.proximal
        super().__init__(
            method,
            game,
            placement,
            method.look_ahead,
            imagined_kl_coef=method.look_ahead.kl_coef,
            own_kl_coef=method.proximal.kl_coef,
        )

    def _learn(
        self,
        steps: int,
        theta: Tensor,
        opt_state: Tree,
        phi: Tensor,
        generator: torch.Generator,
        inputs: StepInputs,
    ) -> tuple[Tensor, Tree]:
        for _ in range(steps):
            origin, descent = theta, self.optimizer.init(theta)  # each update is a new minimization
            for _ in range(self.proximal.steps):
                gradient = self.direction(theta, phi, generator, inputs, origin)
                theta, descent = self._descend(theta, descent, gradient, inputs)
        return theta, opt_state

"""`mediator`: agents learn to commit to a mediator, which cooperates for them if all commit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.agents import ExactPlay, Measured, Play
from bilevel.methods._contract import Learner, Metrics, Placement
from bilevel.methods._fixed_sharing import policy_learner
from bilevel.methods._learner import PolicyLearner
from bilevel.methods._method import LossWeightMethod
from bilevel.sharing import Report, Trajectory, Transfer
from games.core import ExactGame, Game
from games.wrappers import MediatedExactGame, MediatedGame


@dataclass(frozen=True, eq=False)
class Commitments(Transfer):
    """Own rewards in a mediated game, as an outer variable without parameters and its transfer."""

    game: MediatedGame
    exact = True

    @property
    def agents(self) -> int:
        return self.game.num_agents

    def initial(self, seed: int, seeds: int) -> Tensor:
        return torch.zeros(seeds, 0, dtype=torch.float64)

    def transfer(self, phi: Tensor) -> Commitments:
        return self

    def rewards(self, trajectory: Trajectory) -> Tensor:
        return trajectory.rewards

    def report(self, trajectory: Trajectory | None) -> Report:
        """Report the share of the agents' steps in which they commit."""
        if trajectory is None:
            return {}
        commits, acting = trajectory.actions == self.game.game.num_actions, trajectory.acting
        weights = acting.expand_as(commits)
        return {"committed": (commits * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3))}


@dataclass(frozen=True)
class ExactMediatedPlay(ExactPlay):
    """Exact values of a mediated game: every agent learns from its own."""

    game: MediatedExactGame

    def learner_values(self, policies: Tensor, transfer: Transfer) -> Tensor:
        return self.game.values(policies).diagonal(dim1=-2, dim2=-1)


@dataclass(frozen=True, kw_only=True)
class Mediator(LossWeightMethod):
    """Mediator: an agent may commit, that is, let a mediator act for it in this step.

    The mediator cooperates for all agents if all commit; otherwise it defects for those that commit. There is
    no outer loop: agents learn to commit as they learn to act, each on its own reward r~ = r, with one more
    action. In a prisoner's dilemma committing is weakly dominant (`games.mechanism_thresholds` tests it in
    other games): it differs from defection only if all commit, and then pays R instead of P.

    Departures from the source: there the mediator learns a policy for every set of committed agents, by
    reinforcement learning on their welfare, under constraints that committing pays; here its policy is fixed,
    that of the theory, and its actions are those of the game's script (`Game.scripted`).

    Needs: a party that acts for agents; a game with a script. Conserves the total: no reward is transferred.
    With many agents all rarely commit at first, and learning is slow; and an agent to which the script gives
    a costly role, such as pulling the lever in Escape Room, does not gain by committing.

    Values are exact in one-shot games; other games are sampled. Tabular policies have a logit for every
    action, so gradient steps treat all actions alike.

    Raises:
        ValueError: a setting is out of range; at build, the game has one agent, actions that are not
            Discrete, or no script.

    Source:
        Ivanov et al., Mediated Multi-Agent Reinforcement Learning, arXiv 2306.08419;
        Monderer and Tennenholtz, Strong mediated equilibrium, Artificial Intelligence 173, 2009.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = Mediator().build(games.make("prisoners-dilemma"), Placement(seeds=2))
    >>> state = learner.init(seed=0)
    >>> for _ in range(100):
    ...     state, metrics = learner.update(state)
    >>> bool((metrics["committed"] > 0.9).all()), bool((metrics["cooperation"] > 0.8).all())
    (True, True)
    """

    def training_game(self, game: Game) -> MediatedGame:
        one_shot = isinstance(game, ExactGame) and game.horizon == 1 and game.num_observations == 1
        if self.exact and one_shot:
            assert isinstance(game, ExactGame)
            return MediatedExactGame(game=game)
        return MediatedGame(game=game)

    def play(self, game: Game) -> Play:
        play = super().play(game)
        if not isinstance(play, ExactPlay):
            return play
        assert isinstance(play.game, MediatedExactGame)
        return ExactMediatedPlay(play.game, play.policy)

    def build(self, game: Game, placement: Placement) -> Learner:
        variable = Commitments(self.training_game(game))
        if self.loss_weights is not None:  # these need episodes, whose commitments are reported anyway
            return policy_learner(self, game, placement, variable)
        return MediatedLearner(self, game, placement, variable)


class MediatedLearner(PolicyLearner):
    """Learner of policies that may commit, which also reports exact rates of committing."""

    def _metrics(self, theta: Tensor, transfer: Transfer, measured: Measured, report: Report) -> Metrics:
        metrics = super()._metrics(theta, transfer, measured, report)
        if isinstance(self.play, ExactMediatedPlay):
            metrics["committed"] = self.play.policy.probabilities(theta)[..., -1].mean((-2, -1)).detach()
        return metrics

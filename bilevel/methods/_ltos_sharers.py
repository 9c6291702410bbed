"""Acting of `ltos`: sharing networks, and greedy actions on values of incoming shares."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.agents import Acted, QNetwork, StepObservation, epsilon_greedy, observe_step
from bilevel.methods._ltos_transitions import OrnsteinUhlenbeck, incoming
from bilevel.sharing import MatrixSequence, Report, Reporting, SharingNetwork, Trajectory, Transfer
from games.core import Game, State


@dataclass(frozen=True)
class Exploration:
    """Exploration settings of a round."""

    epsilon: float = 0.0
    """Probability of a random action."""
    noise: OrnsteinUhlenbeck | None = None
    """Noise on the sharing networks' outputs, times epsilon; None: no noise."""


GREEDY = Exploration()
"""No exploration."""


class Sharers:
    """Agents that act in whole episodes, a batch at a time, and record the shares of each step.

    Every `interval` steps each giver's network (and its noise) is evaluated. In between, its output is fixed,
    and masked in each step by that step's graph. Each agent observes the incoming shares (w_in), and takes
    the action of the highest value. An instance is used for one batch of episodes.
    """

    def __init__(
        self,
        variable: SharingNetwork,
        network: QNetwork,
        theta: Tensor,
        phi: Tensor,
        exploration: Exploration,
        generator: torch.Generator,
    ) -> None:
        self.variable, self.network, self.theta, self.phi = variable, network, theta, phi
        self.exploration, self.generator = exploration, generator
        self.shares: list[Tensor] = []
        """Shares of each step since `transfer` was last called, [seed, giver, receiver, episode]."""
        self._steps = 0
        self._logits = self._noise = self._mean = theta.new_zeros(())

    def act(self, observation: StepObservation) -> Tensor:
        """Choose the actions of a step: integer [seed, agent, episode]."""
        features = self.variable.encoder.encode(observation.observed, self.theta)
        if self._steps % self.variable.interval == 0:
            self._logits = self._explored(self.variable.logits(self.phi, features))
        self._steps += 1
        graph = None if observation.neighbors is None else observation.neighbors.movedim(-1, 1)
        present = None if observation.present is None else observation.present.movedim(-1, 1)
        shares = self.variable.matrices(self._logits, graph, present)
        self.shares.append(shares.movedim(1, -1))
        values = self.network(self.theta, features, incoming(shares))
        return epsilon_greedy(values, observation.legal, self.exploration.epsilon, self.generator)

    def give(
        self,
        observation: StepObservation,
        actions: Tensor,
        rewards: Tensor,
        mask: Tensor,
        cooperated: Tensor | None = None,
    ) -> Tensor:
        """Gifts of the last step, [seed * episode, giver, receiver]."""
        return (self.shares[-1] * rewards.unsqueeze(2)).movedim(-1, 1).flatten(0, 1)

    def transfer(self) -> MatrixSequence:
        shares, self.shares = self.shares, []
        return MatrixSequence(torch.stack(shares, -2))

    def _explored(self, logits: Tensor) -> Tensor:
        """Add noise, if any, to the networks' outputs."""
        noise = self.exploration.noise
        if noise is None:
            return logits
        if self._steps == 0:
            self._mean = self._noise = noise.start(logits, self.generator)
        self._noise = noise.step(self._noise, self._mean, self.generator)
        return logits + self.exploration.epsilon * self._noise


class SharingActor(Transfer):
    """Actor of one repetition's `Sharers` in successive episodes, and the transfer of its last step."""

    reporting = Reporting("steps")

    def __init__(
        self, game: Game, variable: SharingNetwork, network: QNetwork, theta: Tensor, phi: Tensor
    ) -> None:
        self.game, self._parts = game, (variable, network, theta[None], phi[None])
        self._sharers: Sharers | None = None

    def __call__(self, state: State, generator: torch.Generator, hidden_state: Tensor | None = None) -> Acted:
        """Choose the actions of a step; the hidden state returned only signals that the episode continues."""
        if hidden_state is None or self._sharers is None:
            self._sharers = Sharers(*self._parts, GREEDY, generator)
        with torch.no_grad():
            actions = self._sharers.act(observe_step(self.game, state))
        return actions[0].T, self._sharers.shares[-1]

    def gifts(self, trajectory: Trajectory) -> Tensor:
        return self._last().gifts(trajectory)

    def rewards(self, trajectory: Trajectory) -> Tensor:
        return self._last().rewards(trajectory)

    def report(self, trajectory: Trajectory | None) -> Report:
        return self._last().report(trajectory)

    def _last(self) -> MatrixSequence:
        assert self._sharers is not None
        return MatrixSequence(self._sharers.shares[-1].unsqueeze(-2))

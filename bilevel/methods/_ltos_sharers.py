"""Play of agents that share by networks, and act by values of incoming shares."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.agents import Acted, QNetwork, StepObservation, epsilon_greedy, observe_step
from bilevel.methods._ltos_transitions import OrnsteinUhlenbeck, incoming
from bilevel.sharing import GivenShares, Report, Reporting, SharingNetwork, Trajectory, Transfer
from games.core import Game, State


@dataclass(frozen=True)
class Exploration:
    """Exploration of a round."""

    epsilon: float = 0.0
    """Probability of a random action."""
    noise: OrnsteinUhlenbeck | None = None
    """Noise on the sharing networks' outputs, times epsilon; None: there is none."""


GREEDY = Exploration()
"""No exploration."""


class Sharers:
    """Agents that play whole episodes side by side, and record the shares of each step.

    Every `hold` steps each giver's network (and its noise) is evaluated; its output is held, and spread in
    each step over the neighbours of that step. Each agent observes the incoming shares (w_in), and takes the
    action of the highest value. One of these plays once.
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
        """Of each step since `transfer` was last called, [seed, giver, receiver, episode]."""
        self._steps = 0
        self._logits = self._noise = self._mean = theta.new_zeros(())

    def act(self, seen: StepObservation) -> Tensor:
        """Choose the actions of a step: integer [seed, agent, episode]."""
        features = self.variable.encoder.encode(seen.observed, self.theta)
        if self._steps % self.variable.hold == 0:
            self._logits = self._explored(self.variable.logits(self.phi, features))
        self._steps += 1
        graph = None if seen.neighbours is None else seen.neighbours.movedim(-1, 1)
        present = None if seen.present is None else seen.present.movedim(-1, 1)
        shares = self.variable.matrices(self._logits, graph, present)
        self.shares.append(shares.movedim(1, -1))
        values = self.network(self.theta, features, incoming(shares))
        return epsilon_greedy(values, seen.legal, self.exploration.epsilon, self.generator)

    def give(self, seen: StepObservation, actions: Tensor, own: Tensor, mask: Tensor) -> Tensor:
        """The gifts of the last step, [seed * episode, giver, receiver]."""
        return (self.shares[-1] * own.unsqueeze(2)).movedim(-1, 1).flatten(0, 1)

    def transfer(self) -> GivenShares:
        shares, self.shares = self.shares, []
        return GivenShares(torch.stack(shares, -2))

    def _explored(self, logits: Tensor) -> Tensor:
        """The networks' outputs, with noise if there is any."""
        noise = self.exploration.noise
        if noise is None:
            return logits
        if self._steps == 0:
            self._mean = self._noise = noise.start(logits, self.generator)
        self._noise = noise.step(self._noise, self._mean, self.generator)
        return logits + self.exploration.epsilon * self._noise


class SharingActor(Transfer):
    """One repetition's `Sharers` as an actor of successive episodes, and the transfer of its last step."""

    reporting = Reporting("steps")

    def __init__(
        self, game: Game, variable: SharingNetwork, network: QNetwork, theta: Tensor, phi: Tensor
    ) -> None:
        self.game, self._parts = game, (variable, network, theta[None], phi[None])
        self._playing: Sharers | None = None

    def __call__(self, state: State, generator: torch.Generator, memory: Tensor | None = None) -> Acted:
        """Take a step; the memory that it returns only signals that the episode goes on."""
        if memory is None or self._playing is None:
            self._playing = Sharers(*self._parts, GREEDY, generator)
        with torch.no_grad():
            actions = self._playing.act(observe_step(self.game, state))
        return actions[0].T, self._playing.shares[-1]

    def gifts(self, trajectory: Trajectory) -> Tensor:
        return self._last().gifts(trajectory)

    def rewards(self, trajectory: Trajectory) -> Tensor:
        return self._last().rewards(trajectory)

    def report(self, trajectory: Trajectory | None) -> Report:
        return self._last().report(trajectory)

    def _last(self) -> GivenShares:
        assert self._playing is not None
        return GivenShares(self._playing.shares[-1].unsqueeze(-2))

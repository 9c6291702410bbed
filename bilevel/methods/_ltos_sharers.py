"""Agents who share by networks, and act by values that know what they are given a part of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.agents import QNetwork, StepObservation, epsilon_greedy
from bilevel.methods._ltos_transitions import OrnsteinUhlenbeck, incoming
from bilevel.sharing import GivenShares, Report, Reporting, SharingNetwork, TrajectoryLike
from games.core import Game, State


@dataclass(frozen=True)
class Exploration:
    """How agents try what does not seem best, in a round."""

    epsilon: float = 0.0
    """With which probability they take any action."""
    noise: OrnsteinUhlenbeck | None = None
    """On what the networks say of shares, times epsilon; None: there is none."""


GREEDY = Exploration()
"""They do not."""


class Sharers:
    """Plays whole episodes side by side, and remembers who gave which share in each step.

    Every `hold` steps each giver's network says how to share from then on (its noise steps as often); what it
    says is held, and spread in each step over those who are neighbours then. Each agent is told the shares
    that come in (w_in), and takes the action of the highest value. One of these plays once.

    Args:
        variable: the networks that share.
        network: the values.
        theta: their parameters, [seed, agent, parameter].
        phi: those of the sharing networks, [seed, agent, parameter].
        exploration: what else they try.
        generator: the source of their draws, on theta's device.
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
        self._said = self._noise = self._mean = theta.new_zeros(())

    def act(self, seen: StepObservation) -> Tensor:
        """Take a step: integer [seed, agent, episode]; see `bilevel.agents._rollout.Act`."""
        features = self.variable.encoder.numbers(seen.observed, self.theta)
        if self._steps % self.variable.hold == 0:
            self._said = self._explored(self.variable.logits(self.phi, features))
        self._steps += 1
        graph = None if seen.neighbours is None else seen.neighbours.movedim(-1, 1)
        present = None if seen.present is None else seen.present.movedim(-1, 1)
        shares = self.variable.matrices(self._said, graph, present)
        self.shares.append(shares.movedim(1, -1))
        values = self.network(self.theta, features, incoming(shares))
        return epsilon_greedy(values, seen.legal, self.exploration.epsilon, self.generator)

    def give(self, seen: StepObservation, actions: Tensor, own: Tensor, mask: Tensor) -> Tensor:
        """What was given in the step that was taken last; see `bilevel.agents._rollout.Give`."""
        return (self.shares[-1] * own.unsqueeze(2)).movedim(-1, 1).flatten(0, 1)

    def transfer(self) -> GivenShares:
        """The shares of all steps since this was last called."""
        shares, self.shares = self.shares, []
        return GivenShares(torch.stack(shares, -2))

    def _explored(self, logits: Tensor) -> Tensor:
        """What the networks say, with noise if there is any."""
        noise = self.exploration.noise
        if noise is None:
            return logits
        if self._steps == 0:
            self._mean = self._noise = noise.start(logits, self.generator)
        self._noise = noise.step(self._noise, self._mean, self.generator)
        return logits + self.exploration.epsilon * self._noise


class SharingActor:
    """One repetition's `Sharers` as an actor, one episode after another, and the transfer by which they give.

    Args:
        game: what is played.
        variable: the networks that share.
        network: the values.
        theta: their parameters, [agent, parameter].
        phi: those of the sharing networks, [agent, parameter].
    """

    def __init__(
        self, game: Game, variable: SharingNetwork, network: QNetwork, theta: Tensor, phi: Tensor
    ) -> None:
        self.game, self._parts = game, (variable, network, theta[None], phi[None])
        self._playing: Sharers | None = None

    def __call__(
        self, state: State, generator: torch.Generator, memory: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Take a step; see `bilevel.agents.Actor`.

        What it gives back as memory is no more than a sign that the episode goes on.
        """
        if memory is None or self._playing is None:
            self._playing = Sharers(*self._parts, GREEDY, generator)
        shown, graph = self.game.observe(state), self.game.neighbours_now(state)
        legal, present = self.game.action_mask(state), self.game.present(state)
        seen = StepObservation(
            shown.movedim(0, 1)[None],
            None if legal is None else legal.movedim(0, 1)[None],
            None if graph is None else graph.movedim(0, -1)[None],
            None if present is None else present.T[None],
        )
        with torch.no_grad():
            actions = self._playing.act(seen)
        return actions[0].T, self._playing.shares[-1]

    @property
    def matrix(self) -> None:
        """There is not one for all steps."""

    def gifts(self, trajectory: TrajectoryLike) -> Tensor:
        """What was given in the step that was taken last, [1, giver, receiver, 1, copy]."""
        return self._last().gifts(trajectory)

    def rewards(self, trajectory: TrajectoryLike) -> Tensor:
        """The rewards of that step that learners would see, [1, agent, 1, copy]."""
        return self._last().rewards(trajectory)

    def report(self, trajectory: TrajectoryLike | None) -> Report:
        """What to say of the shares of that step."""
        return self._last().report(trajectory)

    @property
    def reporting(self) -> Reporting:
        """Shares are means over steps."""
        return Reporting("steps")

    def _last(self) -> GivenShares:
        assert self._playing is not None
        return GivenShares(self._playing.shares[-1].unsqueeze(-2))

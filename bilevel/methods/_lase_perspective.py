"""Perspective taking: an agent models the other agents by its own policy in their places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn.functional import one_hot

from bilevel.nn import ActivationName, Perceptron
from bilevel.sharing import ObservationEncoder, TrajectoryLike
from games.wrappers import both_present


class Acts(Protocol):
    """What is needed of a policy."""

    def unroll(self, theta: Tensor, observations: Tensor) -> Tensor:
        """Logits of whole episodes; see `bilevel.agents.Policy.unroll`."""


class Perspective(Protocol):
    """How agents guess what the others would do."""

    @property
    def num_parameters(self) -> int:
        """What one agent learns for it; 0: nothing."""

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """First parameters, float64 [*batch, parameter]."""

    def policies(self, theta: Tensor, minds: Tensor, trajectory: TrajectoryLike) -> Tensor:
        """What i takes j's policy to be, probabilities [seed, time, episode, agent, other, action].

        Args:
            theta: of what is learned for it, [seed, agent, parameter].
            minds: the agents' policies, [seed, agent, parameter].
            trajectory: whole episodes.
        """


class _LearnsNothing:
    """A perspective that needs no network."""

    @property
    def num_parameters(self) -> int:
        """None."""
        return 0

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Nothing."""
        return torch.zeros(*batch, 0, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class TruePolicy(_LearnsNothing):
    """The others' own policies of what they see: what theory assumes, and nobody can know."""

    policy: Acts

    def policies(self, theta: Tensor, minds: Tensor, trajectory: TrajectoryLike) -> Tensor:
        """See `Perspective.policies`."""
        own = self.policy.unroll(minds, trajectory.observations).softmax(-1).permute(0, 2, 3, 1, 4)
        return own.unsqueeze(3).expand(-1, -1, -1, minds.shape[1], -1, -1)


@dataclass(frozen=True, eq=False)
class TrueObservation(_LearnsNothing):
    """One's own policy of what the others really see."""

    policy: Acts

    def policies(self, theta: Tensor, minds: Tensor, trajectory: TrajectoryLike) -> Tensor:
        """See `Perspective.policies`."""
        seen = trajectory.observations.movedim(1, 2).unsqueeze(1)
        return _in_their_places(self.policy, minds, seen.expand(-1, minds.shape[1], *seen.shape[2:]))


@dataclass(frozen=True, eq=False)
class Imagined:
    """One's own policy of what one imagines the others see: a network of one's observation and who it is.

    Where observations are numbers the network says how likely each of them is, and the policy is the mean
    over them; elsewhere it says the observation.

    Source:
        LASE, arXiv 2410.07863: its perspective taking.

    >>> encoder = ObservationEncoder(spaces.Box(0.0, 1.0, (7,)), agents=3, actions=2)
    >>> Imagined(None, encoder, hidden=(8,)).num_parameters  # (7 + 3 + 1) * 8 + (8 + 1) * 7
    151
    """

    policy: Acts
    """The agents' own."""
    encoder: ObservationEncoder
    """What they look at."""
    hidden: tuple[int, ...] = (32,)
    """Units of each hidden layer."""
    activation: ActivationName = "tanh"
    """Between layers."""

    def __post_init__(self) -> None:
        self.num_parameters  # noqa: B018 - refuses bad layers

    @property
    def network(self) -> Perceptron:
        """The network that each agent has: its observation, whom it thinks of -> what that one sees."""
        features = self.encoder.features
        return Perceptron((features + self.encoder.agents, *self.hidden, features), self.activation)

    @property
    def num_parameters(self) -> int:
        """Weights and biases of all layers."""
        return self.network.num_parameters

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Normal weights, the last layer's a tenth as large."""
        return self.network.initial(generator, *batch, last_layer_scale=0.1)

    def imagined(self, theta: Tensor, seen: Tensor) -> Tensor:
        """What j sees, as i imagines.

        Args:
            theta: of the networks, [seed, agent, parameter].
            seen: what i sees, as numbers, [seed, agent, sample, feature].

        Returns:
            [seed, agent, sample, other, feature]; where observations are numbers, a feature is the
            probability of one of them.
        """
        agents, shape = self.encoder.agents, seen.shape
        inputs = seen.unsqueeze(3).expand(-1, -1, -1, agents, -1)
        who = torch.eye(agents, dtype=theta.dtype, device=theta.device).expand(*inputs.shape[:-1], agents)
        out = self.network(theta, torch.cat((inputs, who), -1).flatten(2, 3))
        out = out.reshape(*shape[:3], agents, shape[3])
        return out.softmax(-1) if self._numbers else out

    def policies(self, theta: Tensor, minds: Tensor, trajectory: TrajectoryLike) -> Tensor:
        """See `Perspective.policies`."""
        return self._guess(theta, minds, trajectory)[0]

    def losses(
        self, theta: Tensor, minds: Tensor, trajectory: TrajectoryLike, neighbours: Tensor, closeness: float
    ) -> Tensor:
        """What each agent's network minimizes: guess what the neighbours do, from a view close to one's own.

        The mean, over steps and neighbours j, of (1 - closeness) times the cross-entropy, in nats, of what i
        takes j's policy to be against what j did, and closeness times the L1 distance, the sum over
        features, of what i imagines from what i sees.

        Args:
            theta: of the networks, [seed, agent, parameter].
            minds: the agents' policies, [seed, agent, parameter].
            trajectory: whole episodes.
            neighbours: whom each thinks of, boolean [agent, other], where that does not change.
            closeness: from 0 to 1.

        Returns:
            [seed, agent].
        """
        guessed, distance = self._guess(theta, minds, trajectory)
        acted = one_hot(trajectory.actions, self.encoder.actions).permute(0, 2, 3, 1, 4).unsqueeze(3)
        likely = (guessed * acted).sum(-1)
        surprise = -likely.clamp(min=torch.finfo(likely.dtype).tiny).log()
        loss = (1 - closeness) * surprise + closeness * distance  # seed, time, episode, agent, other
        if trajectory.neighbours is not None:
            neighbours = trajectory.neighbours.permute(0, 3, 4, 1, 2)
        oneself = torch.eye(neighbours.shape[-1], dtype=torch.bool, device=theta.device)
        graph = (neighbours.to(theta.device) & ~oneself).to(theta.dtype)
        weight = trajectory.mask.squeeze(1)[..., None, None] * graph
        if trajectory.present is not None:
            weight = weight * both_present(trajectory.present.permute(0, 2, 3, 1))
        total: Tensor = (loss * weight).sum((1, 2, 4))
        return total / weight.sum((1, 2, 4)).clamp(min=1)

    @property
    def _numbers(self) -> bool:
        return isinstance(self.encoder.space, spaces.Discrete)

    def _guess(self, theta: Tensor, minds: Tensor, trajectory: TrajectoryLike) -> tuple[Tensor, Tensor]:
        """What i takes j's policy to be, and how far the view behind it lies from i's own (L1).

        Returns:
            probabilities [seed, time, episode, agent, other, action]; [seed, time, episode, agent, other].
        """
        if self._numbers:
            return self._guess_of_numbers(theta, minds, trajectory)
        seen = self.encoder.seen(trajectory, theta)
        imagined = self.imagined(theta, seen.flatten(2, 3)).unflatten(2, seen.shape[2:4])
        distance = (imagined - seen.unsqueeze(4)).abs().sum(-1).permute(0, 2, 3, 1, 4)
        shaped = imagined.movedim(4, 3).unflatten(-1, self.encoder.space.shape)
        return _in_their_places(self.policy, minds, shaped), distance

    def _guess_of_numbers(
        self, theta: Tensor, minds: Tensor, trajectory: TrajectoryLike
    ) -> tuple[Tensor, Tensor]:
        """As `_guess`, by a table of all that one can see: there are few."""
        count, device = self.encoder.features, theta.device
        every = torch.eye(count, dtype=theta.dtype, device=device).expand(*theta.shape[:2], -1, -1)
        numbers = torch.arange(count, device=device).expand(*minds.shape[:2], 1, -1)
        own = self.policy.unroll(minds, numbers).squeeze(2).softmax(-1)  # seed, agent, observation, action
        imagined = self.imagined(theta, every)
        policies = imagined @ own.unsqueeze(2)  # seed, agent, observation, other, action
        distance = (imagined - every.unsqueeze(3)).abs().sum(-1)
        rows = trajectory.observations.flatten(2)
        seeds, agents = (torch.arange(size, device=device) for size in rows.shape[:2])
        places = seeds[:, None, None], agents[:, None], rows
        shape = trajectory.observations.shape[2:]
        found = (table[places].unflatten(2, shape) for table in (policies, distance))
        first, second = (table.movedim(1, 3) for table in found)
        return first, second


def _in_their_places(policy: Acts, minds: Tensor, observations: Tensor) -> Tensor:
    """One's own policy of others' observations.

    Args:
        policy: the agents'.
        minds: its parameters, [seed, agent, parameter].
        observations: what others see, or are thought to, [seed, agent, time, other, episode, *shape].

    Returns:
        probabilities [seed, time, episode, agent, other, action].
    """
    others, episodes = observations.shape[3:5]
    logits = policy.unroll(minds, observations.flatten(3, 4))
    places: Tensor = logits.unflatten(3, (others, episodes))
    return places.softmax(-1).permute(0, 2, 4, 1, 3, 5)

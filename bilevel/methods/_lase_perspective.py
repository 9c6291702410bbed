"""Perspectives: each agent's model of the other agents' policies."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn.functional import one_hot

from bilevel.agents import Policy
from bilevel.nn import ActivationName, Perceptron
from bilevel.sharing import ObservationEncoder, Trajectory
from games.wrappers import both_present


class Perspective(abc.ABC):
    """Agents' models of the other agents' policies; by default without parameters."""

    @property
    def num_parameters(self) -> int:
        """Number of learned parameters of one agent."""
        return 0

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        """Draw parameters, float64 [*batch, parameter]."""
        return torch.zeros(*batch, 0, dtype=torch.float64)

    @abc.abstractmethod
    def policies(self, theta: Tensor, agent_policies: Tensor, trajectory: Trajectory) -> Tensor:
        """Agent i's model of j's policy, probabilities [seed, time, episode, agent, other, action].

        `theta` has the perspectives' parameters, `agent_policies` the policies', both [seed, agent,
        parameter].
        """


@dataclass(frozen=True, eq=False)
class TruePolicy(Perspective):
    """True policies of the other agents on their observations, as the theory assumes."""

    policy: Policy

    def policies(self, theta: Tensor, agent_policies: Tensor, trajectory: Trajectory) -> Tensor:
        own = self.policy.unroll(agent_policies, trajectory.observations).softmax(-1).permute(0, 2, 3, 1, 4)
        return own.unsqueeze(3).expand(-1, -1, -1, agent_policies.shape[1], -1, -1)


@dataclass(frozen=True, eq=False)
class TrueObservation(Perspective):
    """Own policy applied to the other agents' true observations."""

    policy: Policy

    def policies(self, theta: Tensor, agent_policies: Tensor, trajectory: Trajectory) -> Tensor:
        observations = trajectory.observations.movedim(1, 2).unsqueeze(1)
        return _apply_to_others(
            self.policy,
            agent_policies,
            observations.expand(-1, agent_policies.shape[1], *observations.shape[2:]),
        )


@dataclass(frozen=True, eq=False)
class Imagined(Perspective):
    """Own policy applied to predicted observations, by a network of own observation and other agent's index.

    For Discrete observations the network predicts probabilities, and the policy is the mean over them; else
    it predicts the observation. Source: LASE, arXiv 2410.07863.
    """

    policy: Policy
    """Policy of the agents."""
    encoder: ObservationEncoder
    """Encoder of the network's inputs."""
    hidden: tuple[int, ...] = (32,)
    activation: ActivationName = "tanh"

    def __post_init__(self) -> None:
        self.num_parameters  # noqa: B018 - refuses bad layers

    @property
    def network(self) -> Perceptron:
        features = self.encoder.features
        return Perceptron((features + self.encoder.agents, *self.hidden, features), self.activation)

    @property
    def num_parameters(self) -> int:
        return self.network.num_parameters

    def initial(self, generator: torch.Generator, *batch: int) -> Tensor:
        return self.network.initial(generator, *batch, last_layer_scale=0.1)

    def imagined(self, theta: Tensor, features: Tensor) -> Tensor:
        """Predict the other agents' observations from own ones, [seed, agent, sample, feature].

        Returns [seed, agent, sample, other, feature]; for Discrete observations, probabilities.
        """
        agents, shape = self.encoder.agents, features.shape
        inputs = features.unsqueeze(3).expand(-1, -1, -1, agents, -1)
        index = torch.eye(agents, dtype=theta.dtype, device=theta.device).expand(*inputs.shape[:-1], agents)
        out = self.network(theta, torch.cat((inputs, index), -1).flatten(2, 3))
        out = out.reshape(*shape[:3], agents, shape[3])
        return out.softmax(-1) if self._discrete else out

    def policies(self, theta: Tensor, agent_policies: Tensor, trajectory: Trajectory) -> Tensor:
        return self._predict(theta, agent_policies, trajectory)[0]

    def losses(
        self,
        theta: Tensor,
        agent_policies: Tensor,
        trajectory: Trajectory,
        neighbors: Tensor,
        closeness: float,
    ) -> Tensor:
        """Loss of each agent's network, [seed, agent].

        The mean, over steps and neighbors j, of (1 - closeness) times the cross-entropy, in nats, of j's
        actions under i's model of j's policy, plus closeness times the L1 distance, summed over features, of
        the predicted observation from i's own.
        """
        predicted, distance = self._predict(theta, agent_policies, trajectory)
        acted = one_hot(trajectory.actions, self.encoder.actions).permute(0, 2, 3, 1, 4).unsqueeze(3)
        probability = (predicted * acted).sum(-1)
        cross_entropy = -probability.clamp(min=torch.finfo(probability.dtype).tiny).log()
        loss = (1 - closeness) * cross_entropy + closeness * distance  # seed, time, episode, agent, other
        if trajectory.neighbors is not None:
            neighbors = trajectory.neighbors.permute(0, 3, 4, 1, 2)
        oneself = torch.eye(neighbors.shape[-1], dtype=torch.bool, device=theta.device)
        graph = (neighbors.to(theta.device) & ~oneself).to(theta.dtype)
        weight = trajectory.mask.squeeze(1)[..., None, None] * graph
        if trajectory.present is not None:
            weight = weight * both_present(trajectory.present.permute(0, 2, 3, 1))
        total: Tensor = (loss * weight).sum((1, 2, 4))
        return total / weight.sum((1, 2, 4)).clamp(min=1)

    @property
    def _discrete(self) -> bool:
        return isinstance(self.encoder.space, spaces.Discrete)

    def _predict(
        self, theta: Tensor, agent_policies: Tensor, trajectory: Trajectory
    ) -> tuple[Tensor, Tensor]:
        """Agent i's model of j's policy, [seed, time, episode, agent, other, action].

        And the L1 distance of the predicted observation from i's own, [seed, time, episode, agent, other].
        """
        if self._discrete:
            return self._predict_discrete(theta, agent_policies, trajectory)
        features = self.encoder.encode_observations(trajectory, theta)
        imagined = self.imagined(theta, features.flatten(2, 3)).unflatten(2, features.shape[2:4])
        distance = (imagined - features.unsqueeze(4)).abs().sum(-1).permute(0, 2, 3, 1, 4)
        shaped = imagined.movedim(4, 3).unflatten(-1, self.encoder.space.shape)
        return _apply_to_others(self.policy, agent_policies, shaped), distance

    def _predict_discrete(
        self, theta: Tensor, agent_policies: Tensor, trajectory: Trajectory
    ) -> tuple[Tensor, Tensor]:
        """`_predict` for Discrete observations, by look-up in a table."""
        count, device = self.encoder.features, theta.device
        every = torch.eye(count, dtype=theta.dtype, device=device).expand(*theta.shape[:2], -1, -1)
        numbers = torch.arange(count, device=device).expand(*agent_policies.shape[:2], 1, -1)
        own = (
            self.policy.unroll(agent_policies, numbers).squeeze(2).softmax(-1)
        )  # seed, agent, observation, action
        imagined = self.imagined(theta, every)
        policies = imagined @ own.unsqueeze(2)  # seed, agent, observation, other, action
        distance = (imagined - every.unsqueeze(3)).abs().sum(-1)
        rows = trajectory.observations.flatten(2)
        seeds, agents = (torch.arange(size, device=device) for size in rows.shape[:2])
        places = seeds[:, None, None], agents[:, None], rows
        shape = trajectory.observations.shape[2:]
        looked_up = (table[places].unflatten(2, shape) for table in (policies, distance))
        predicted, distances = (table.movedim(1, 3) for table in looked_up)
        return predicted, distances


def _apply_to_others(policy: Policy, agent_policies: Tensor, observations: Tensor) -> Tensor:
    """Apply own policies to observations [seed, agent, time, other, episode, ...]; see `Perspective`."""
    others, episodes = observations.shape[3:5]
    logits = policy.unroll(agent_policies, observations.flatten(3, 4))
    places: Tensor = logits.unflatten(3, (others, episodes))
    return places.softmax(-1).permute(0, 2, 4, 1, 3, 5)

"""State-dependent sharing: encoded observations, shares that vary over time, a network for each giver."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass

import torch
from gymnasium import spaces
from torch import Tensor
from torch.nn.functional import one_hot

from bilevel.core import Purpose, first_draws
from bilevel.nn import ActivationName, Perceptron, as_vectors
from bilevel.sharing._sharing import Sharing
from bilevel.sharing._trajectory import Trajectory, per_step
from bilevel.sharing._transfer import Report, Reporting, Transfer, among_present, matrix_report
from games.core import require
from games.wrappers import share_among_present


@dataclass(frozen=True, eq=False)
class ObservationEncoder:
    """Encoder of observations and actions as inputs of stacked networks, one network per agent.

    >>> from gymnasium import spaces
    >>> ObservationEncoder(spaces.Box(0, 1, (4, 3)), agents=3, actions=2).features
    12
    """

    space: spaces.Box | spaces.Discrete
    """Observation space of one agent."""
    agents: int
    """Number of agents."""
    actions: int
    """Number of actions of each agent."""

    @property
    def features(self) -> int:
        """Number of features of one agent's observation."""
        return int(self.space.n) if isinstance(self.space, spaces.Discrete) else math.prod(self.space.shape)

    @property
    def other_action_features(self) -> int:
        """Number of features that encode the actions of all other agents."""
        return (self.agents - 1) * self.actions

    def encode_observations(self, trajectory: Trajectory, like: Tensor) -> Tensor:
        """Encode a trajectory's observations as [seed, agent, time, episode, feature] of `like`'s dtype."""
        return self.encode(trajectory.observations, like)

    def encode_decisions(self, trajectory: Trajectory, like: Tensor, interval: int) -> Tensor:
        """Encode observations, repeating those at the start of each decision interval within it."""
        features = self.encode_observations(trajectory, like)
        if interval == 1:
            return features
        time = torch.arange(features.shape[2], device=features.device)
        return features[:, :, time // interval * interval]

    def encode(self, observations: Tensor, like: Tensor) -> Tensor:
        """Flatten or one-hot encode observations: [..., *shape] -> [..., feature], in the dtype of `like`."""
        discrete = isinstance(self.space, spaces.Discrete)
        axes = len(self.space.shape or ())
        return as_vectors(observations, like, one_hot=self.features if discrete else 0, axes=axes)

    def encode_other_actions(self, trajectory: Trajectory, like: Tensor) -> Tensor:
        """One-hot actions of the other agents, in order: [seed, agent, time, episode, other * action]."""
        return self._of_others(self.encode_actions(trajectory, like))

    def encode_other_cooperation(self, trajectory: Trajectory, like: Tensor) -> Tensor:
        """1 for each other agent whose action cooperates, in order: [seed, agent, time, episode, other]."""
        assert trajectory.cooperated is not None  # checked when a learner is built
        cooperated = trajectory.cooperated.to(like.dtype).unsqueeze(-1)
        if trajectory.present is not None:
            cooperated = cooperated * trajectory.present.unsqueeze(-1)
        return self._of_others(cooperated)

    def _of_others(self, features: Tensor) -> Tensor:
        """Features of the other agents, joined: [seed, agent, time, episode, other * feature]."""
        index = torch.arange(self.agents, device=features.device)
        others = index[:-1] + (index[:-1] >= index[:, None])  # row i: 0 .. N-1 without i
        return features[:, others].movedim(2, -2).flatten(-2)

    def encode_actions(self, trajectory: Trajectory, like: Tensor) -> Tensor:
        """One-hot actions, zeros once an agent has left: [seed, agent, time, episode, action]."""
        encoded = one_hot(trajectory.actions, self.actions).to(like.dtype)
        return encoded if trajectory.present is None else encoded * trajectory.present.unsqueeze(-1)


def first_parameters(network: Perceptron, seed: int, seeds: int, agents: int) -> Tensor:
    """Draw initial parameters such that the networks' outputs are near 0.

    Args:
        network: architecture of all networks.
        seed: random seed of the first repetition; parameters of repetition i depend on `seed` + i alone.
        seeds: number of repetitions.
        agents: number of networks of each repetition.
    Returns:
        Parameters, float64 [seed, agent, parameter].

    >>> from bilevel.nn import Perceptron
    >>> both, second = (first_parameters(Perceptron((4, 2)), seed, 2, agents=3) for seed in (0, 1))
    >>> both.shape, bool((both[1] == second[0]).all())
    (torch.Size([2, 3, 10]), True)
    """
    return first_draws(
        lambda generator: network.initial(generator, agents, last_layer_scale=0.1),
        range(seed, seed + seeds),
        Purpose.OUTER_VARIABLES,
    )


class VaryingShares(Transfer, abc.ABC):
    """A transfer by a sharing matrix per step: r~_j = sum_i T_ij r_i; rows of T sum to 1.

    The total of each step is conserved, whatever the shares depend on.

    >>> from bilevel.sharing import Trajectory
    >>> class KeepAtFirst(VaryingShares):
    ...     def unmasked_shares(self, trajectory):  # all for oneself in step 0, equal shares from then on
    ...         shares = torch.full((1, 2, 2, 2, 1), 0.5)  # seed, giver, receiver, time, episode
    ...         shares[..., 0, 0] = torch.eye(2)
    ...         return shares
    >>> rewards = torch.tensor([[[[1.0], [1.0]], [[0.0], [0.0]]]])  # seed, agent, time, episode
    >>> played = Trajectory(rewards, rewards, rewards, mask=torch.ones(1, 1, 2, 1), cooperated=None)
    >>> KeepAtFirst().rewards(played)[0, :, :, 0]  # agent, time
    tensor([[1.0000, 0.5000],
            [0.0000, 0.5000]])
    """

    @property
    def reporting(self) -> Reporting:
        return Reporting("steps")

    @abc.abstractmethod
    def unmasked_shares(self, trajectory: Trajectory) -> Tensor:
        """Shares of every step as if no agent had left, [seed, giver, receiver, time, episode]."""

    def shares(self, trajectory: Trajectory) -> Tensor:
        """T of every step, masked by the agents present in it: [seed, giver, receiver, time, episode]."""
        return among_present(self.unmasked_shares(trajectory), trajectory)

    def own_shares(self, trajectory: Trajectory) -> Tensor:
        """The share that each agent keeps in each step, [seed, agent, time, episode]."""
        return self.shares(trajectory).diagonal(dim1=1, dim2=2).movedim(-1, 1)

    def rewards(self, trajectory: Trajectory) -> Tensor:
        return self.gifts(trajectory).sum(1)

    def gifts(self, trajectory: Trajectory) -> Tensor:
        return self.shares(trajectory) * trajectory.rewards.unsqueeze(2)

    def report(self, trajectory: Trajectory | None) -> Report:
        assert trajectory is not None
        return matrix_report(per_step(self.shares(trajectory), trajectory))


@dataclass(frozen=True, eq=False)
class MatrixSequence(VaryingShares):
    """Sharing by a given matrix for each step of each episode.

    >>> matrices = torch.full((1, 2, 2, 3, 4), 0.5)  # seed, giver, receiver, time, episode
    >>> MatrixSequence(matrices).matrix is None
    True
    """

    matrices: Tensor
    """[seed, giver, receiver, time, episode]; a giver's shares sum to 1."""

    def unmasked_shares(self, trajectory: Trajectory) -> Tensor:
        return self.matrices


@dataclass(frozen=True, eq=False)
class SharingNetwork:
    """State-dependent sharing: each giver's row is the softmax of a network of its own observation.

    Rows sum to 1 in every step, whatever the networks' outputs, and shares for agents that are not neighbors
    are exactly 0. If the graph changes from step to step (`Game.neighbors_now`), the softmax is over the
    neighbors in that step.

    Raises:
        ValueError: the graph or the own share is invalid (see `Sharing`), a layer has no units, or `interval`
            is below 1.

    Source:
        Yi et al., Learning to Share in Networked MARL, NeurIPS 2022, arXiv 2112.08702: the weights of the
        high-level policy, fixed for several decisions of the low-level policies; here trained end to end.

    >>> from gymnasium import spaces
    >>> from bilevel.sharing import Sharing
    >>> network = SharingNetwork(Sharing(torch.ones(2, 2, dtype=torch.bool)), spaces.Discrete(5))
    >>> network.initial(seed=0, seeds=3).shape  # seed, giver, parameter
    torch.Size([3, 2, 258])
    """

    sharing: Sharing
    """The graph, and the initial own share, on average over networks."""
    space: spaces.Box | spaces.Discrete
    """One agent's observations."""
    hidden: tuple[int, ...] = (32,)
    """Units of each hidden layer."""
    activation: ActivationName = "tanh"
    """Activation between layers."""
    interval: int = 1
    """Steps for which the networks' outputs stay fixed, 1 or more; the graph is that of each step."""
    exact = False

    def __post_init__(self) -> None:
        require(self.interval >= 1, f"interval must be 1 step or more, not {self.interval}.")
        self.network.num_parameters  # noqa: B018 - refuses bad layers

    @property
    def agents(self) -> int:
        return len(self.sharing.neighbors)

    @property
    def encoder(self) -> ObservationEncoder:
        """The networks' inputs."""
        return ObservationEncoder(self.space, self.agents, actions=1)

    @property
    def network(self) -> Perceptron:
        """Each giver's network: its observation -> a logit for each receiver."""
        return Perceptron((self.encoder.features, *self.hidden, self.agents), self.activation)

    def initial(self, seed: int, seeds: int) -> Tensor:
        """Draw initial parameters, float64 [seed, giver, parameter]: own shares nearly as configured."""
        return first_parameters(self.network, seed, seeds, self.agents)

    def logits(self, phi: Tensor, features: Tensor) -> Tensor:
        """Outputs of the networks, [seed, sample, giver, receiver], of [seed, giver, sample, feature]."""
        return self.network(phi, features).movedim(1, 2)

    def matrices(self, logits: Tensor, graph: Tensor | None = None, present: Tensor | None = None) -> Tensor:
        """Sharing matrices of the networks' outputs plus the initial logits, [..., giver, receiver].

        The graph is boolean, of the same shape; None: the fixed one. `present` is [..., agent]; None: all.
        """
        start = self.sharing.initial() if graph is None else self.sharing.start(graph)
        return share_among_present(self.sharing.matrix(logits + start.to(logits), graph), present)

    def transfer(self, phi: Tensor) -> SharedByNetwork:
        return SharedByNetwork(self, phi)


@dataclass(frozen=True, eq=False)
class SharedByNetwork(VaryingShares):
    """Sharing by networks with fixed parameters: r~_j = sum_i T_ij(o_i) r_i; conserves the total."""

    variable: SharingNetwork
    phi: Tensor
    """[seed, giver, parameter]."""

    @property
    def reporting(self) -> Reporting:
        return Reporting("steps", self.variable.interval)

    def unmasked_shares(self, trajectory: Trajectory) -> Tensor:
        inputs = self.variable.encoder.encode_decisions(trajectory, self.phi, self.variable.interval)
        graph = trajectory.neighbors
        logits = self.variable.logits(self.phi, inputs.flatten(2, 3)).unflatten(1, inputs.shape[2:4])
        graph_by_step = None if graph is None else graph.permute(0, 3, 4, 1, 2)
        return self.variable.matrices(logits, graph_by_step).permute(0, 3, 4, 1, 2)

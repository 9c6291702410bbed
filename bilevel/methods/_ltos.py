"""`ltos`: learned sharing through action values of incoming shares, as in LToS's released code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gymnasium import spaces

from bilevel.agents import QNetwork
from bilevel.core import Range, Scheduled
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._ltos_learner import LToSLearner
from bilevel.methods._method import Method
from bilevel.methods._settings import OptimizerName, SettingsGroup, Whole
from bilevel.nn import ActivationName
from bilevel.sharing import Sharing, SharingNetwork, check_own_share
from games.core import Game, require

UNIT = Range(min=0, max=1)
Fraction = Annotated[float, Range(above=0, max=1)]


@dataclass(frozen=True, kw_only=True)
class QLearning(SettingsGroup, part="inner", variant="q-learning"):
    """Q-learning with a replay buffer and target networks.

    Raises:
        ValueError: as for `SettingsGroup`; or a batch does not fit into the buffer.

    Source:
        Mnih et al., Human-level control through deep reinforcement learning, Nature 2015.

    >>> from bilevel.methods import LToS
    >>> LToS(inner=QLearning(exploration=0.5, exploration_decay=0.5)).exploration_at(2)
    0.125
    >>> QLearning(batch_size=100, buffer_size=50)
    Traceback (most recent call last):
    ValueError: A batch is drawn from the buffer: batch_size must be 50 or less, not 100.
    """

    optimizer: OptimizerName = "rmsprop"
    """Optimizer of the action values."""
    learning_rate: Annotated[Scheduled, Range(above=0)] = 0.001
    """Learning rate of the action values, above 0, or a schedule of it in rounds; decayed in either case."""
    steps: Whole = 100
    """Batches for the action values in a round, 1 or more (in the released code, up to 3500)."""
    episodes: Annotated[int, Range(min=2)] = 4
    """Episodes per seed that a round samples for learning, and again for evaluation, 2 or more."""
    hidden_size: tuple[int, ...] = (32, 32)
    """Units of each hidden layer of an agent's Q-network."""
    activation: ActivationName = "relu"
    """Activation between the layers of an agent's Q-network."""
    discount: Annotated[float | None, UNIT] = None
    """Discount of the action values per step, from 0 to 1; None: the game's. The released code has 0.8."""
    batch_size: Whole = 20
    """Samples of a batch, 1 or more."""
    buffer_size: Whole = 10_000
    """Capacity of each seed's replay buffer in steps; a batch and a round's episodes must fit."""
    tau: Fraction = 0.1
    """Rate of the target networks' soft updates in a round, above 0 and at most 1."""
    exploration: Annotated[Scheduled, UNIT] = 0.4
    """Probability of a random action in the first round, from 0 to 1; or a schedule of it in rounds; decayed
    by exploration_decay in either case."""
    exploration_decay: Fraction = 0.9
    """Factor on this probability from one round to the next, above 0 and at most 1."""
    exploration_min: Annotated[float, UNIT] = 0.05
    """Minimum of this probability, from 0 to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.batch_size <= self.buffer_size,
            f"A batch is drawn from the buffer: batch_size must be {self.buffer_size} or less, not "
            f"{self.batch_size}.",
        )


@dataclass(frozen=True, kw_only=True)
class SharingAscent(SettingsGroup, part="outer"):
    """Gradient ascent of the sharing networks on the action values.

    >>> import games
    >>> from bilevel.methods import LToS, Placement, QLearning
    >>> method = LToS(inner=QLearning(episodes=2, steps=1), outer=SharingAscent(every=2, updates=1))
    >>> learner = method.build(games.make("escape-room"), Placement())
    >>> states = [learner.init(seed=0)]
    >>> for _ in range(3):
    ...     states.append(learner.update(states[-1])[0])
    >>> [bool((after["phi"] != before["phi"]).any()) for before, after in zip(states, states[1:])]
    [False, True, False]
    """

    optimizer: OptimizerName = "adam"
    """Optimizer of the sharing networks."""
    learning_rate: Annotated[Scheduled, Range(above=0)] = 0.001
    """Learning rate of the sharing networks, above 0; or a schedule of it in rounds."""
    every: Whole = 5
    """Rounds from one update of the sharing networks to the next, 1 or more."""
    updates: Whole = 50
    """Batches for the sharing networks in such a round, 1 or more (in the released code, 250)."""


@dataclass(frozen=True, kw_only=True)
class LToS(Method):
    """Hierarchical learned sharing: Q-learning on shared rewards; sharing networks ascend the Q-values.

    High level: each agent j has a network from its observation to its row of the sharing matrix T on the
    neighbor graph, fixed for `interval` steps. Low level: each agent i learns, by Q-learning with a replay
    buffer and a target network, the values Q_i(o_i, w_in_i, a) of the shared rewards r~_i = sum_j T[j, i]
    r_j, with the incoming shares w_in_i = T[:, i], and acts greedily on them. In every `outer.every`-th round
    the sharing networks ascend sum_i V_i, V_i = max_a Q_i: each receiver passes d V_i / d w_in back to its
    givers, who backpropagate it through their softmax into their networks. First order, alternating.

    Needs: the neighbors' rewards, shares, and gradients; no central party. Conserves the total, whatever T
    is.

    A round (an outer step): play `inner.episodes` episodes, learn from the buffer in `inner.steps` batches,
    update the sharing networks in `outer.updates` batches in every `outer.every`-th round, update both target
    networks by `inner.tau`, and play as many episodes again without exploration, for evaluation. Defaults are
    those of the released code for traffic. Differences: each agent has its own networks, rather than one
    graph attention network for all; a batch is drawn for each step (the released code draws 1000 samples a
    round, fixes their targets, and passes over them up to 100 times for values and 5 times for sharing);
    values are not divided by 20, nor penalized if positive; updates of sharing networks start from the online
    rather than the target networks; an episode's end is terminal.

    Raises:
        ValueError: a setting is out of range; at build, actions are not Discrete, the game has one agent, or
            the replay buffer is too small for a round.

    Source:
        Yi et al., Learning to Share in Networked Multi-Agent Reinforcement Learning, NeurIPS 2022, arXiv
        2112.08702; their code for traffic signals (in RoadnetSZ).

    >>> import games
    >>> from bilevel.methods import Placement, QLearning
    >>> method = LToS(inner=QLearning(episodes=2, steps=2))
    >>> learner = method.build(games.make("escape-room"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["share_0_1"].shape
    torch.Size([2])
    """

    inner: QLearning = QLearning()
    """Learner of the action values."""
    outer: SharingAscent = SharingAscent()
    """Learner of the sharing networks."""
    learning_rate_decay: Fraction = 0.95
    """Factor on both learning rates from one round to the next, above 0 and at most 1."""
    sharing_hidden_size: tuple[int, ...] = (32, 32)
    """Units of each hidden layer of a giver's network."""
    sharing_activation: ActivationName = "relu"
    """Activation between the layers of a giver's network."""
    own_share: float | None = 0.8
    """Initial own share, above 0 and below 1; None: equal shares for all neighbors."""
    interval: Whole = 15
    """Decision interval: the steps for which the sharing networks' outputs stay fixed, 1 or more."""
    noise: Annotated[Scheduled, Range(min=0)] = 0.25
    """Sigma of the noise on the sharing networks' outputs, times the probability of a random action; 0 or
    more, or a schedule of it in rounds."""
    noise_always: bool = False
    """Add this noise in every round, not only in those that update the sharing networks."""
    smoothing: Annotated[float, Range(min=0)] = 0.1
    """Standard deviation of the noise on the target networks' shares, 0 or more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_own_share(self.own_share)

    def exploration_at(self, count: int) -> float:
        """Probability of a random action in a round, counted from 0.

        >>> from bilevel.methods import QLearning
        >>> q = QLearning(exploration_decay=0.5, exploration_min=0.15)
        >>> [LToS(inner=q).exploration_at(count) for count in (0, 1, 2)]
        [0.4, 0.2, 0.15]
        """
        epsilon = self.schedule.value("inner.exploration", count) * self.inner.exploration_decay**count
        return max(epsilon, self.inner.exploration_min)

    def build(self, game: Game, placement: Placement) -> Learner:
        name = type(game).__name__
        require(
            isinstance(game.action_space, spaces.Discrete),
            f"ltos learns the value of each action, so actions must be numbers, and {name}'s are "
            f"{game.action_space}.",
        )
        require(game.num_agents >= 2, f"Sharing takes 2 agents or more, and {name} has {game.num_agents}.")
        samples = self.inner.episodes * game.horizon
        require(
            samples <= self.inner.buffer_size,
            f"The replay buffer must hold the steps of a round, {self.inner.episodes} episodes of "
            f"{game.horizon} steps: inner.buffer_size must be {samples} or more, not "
            f"{self.inner.buffer_size}.",
        )
        sharing = SharingNetwork(
            Sharing(game.neighbors, self.own_share),
            game.observation_space,
            self.sharing_hidden_size,
            self.sharing_activation,
            self.interval,
        )
        network = QNetwork(
            sharing.encoder.features,
            game.num_agents,
            game.num_actions,
            self.inner.hidden_size,
            self.inner.activation,
        )
        return LToSLearner(self, game, placement, sharing, network)

"""`ltos`: learn to share through action values of incoming shares, as LToS was released."""

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

UNIT = Range(least=0, most=1)
Part = Annotated[float, Range(above=0, most=1)]


@dataclass(frozen=True, kw_only=True)
class QLearning(SettingsGroup, part="inner", variant="q-learning"):
    """Q-learning with a replay buffer and target networks.

    Raises:
        ValueError: as `SettingsGroup`; or a batch does not fit into the buffer.
    """

    optimizer: OptimizerName = "rmsprop"
    """Optimizer of the values."""
    learning_rate: Annotated[Scheduled, Range(above=0)] = 0.001
    """Learning rate of the values, above 0; or a schedule of it in rounds; both are decayed."""
    steps: Whole = 100
    """Batches of the values in a round, 1 or more (the release: up to 3500)."""
    episodes: Annotated[int, Range(least=2)] = 4
    """Episodes per seed that a round plays for learning, and again for evaluation, 2 or more."""
    hidden_size: tuple[int, ...] = (32, 32)
    """Units of each hidden layer of an agent's values."""
    activation: ActivationName = "relu"
    """Activation between the layers of an agent's values."""
    discount: Annotated[float | None, UNIT] = None
    """Of values, per step, from 0 to 1; None: the game's. The release has .8."""
    batch_size: Whole = 20
    """Samples of a batch, 1 or more."""
    buffer_size: Whole = 10_000
    """Steps in the replay buffer of each seed; a batch and a round of play must fit."""
    tau: Part = 0.1
    """Rate of the target networks' soft updates in a round, above 0 and at most 1."""
    exploration: Annotated[Scheduled, UNIT] = 0.4
    """Probability of a random action in the first round, from 0 to 1; or a schedule of it in rounds; both are
    decayed by exploration_decay."""
    exploration_decay: Part = 0.9
    """Factor on that probability from one round to the next, above 0 and at most 1."""
    exploration_min: Annotated[float, UNIT] = 0.05
    """The least value of that probability, from 0 to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.batch_size <= self.buffer_size,
            f"A batch comes from the buffer: batch_size must be {self.buffer_size} or less, not "
            f"{self.batch_size}.",
        )


@dataclass(frozen=True, kw_only=True)
class SharingAscent(SettingsGroup, part="outer"):
    """Ascent of the sharing networks, through the values."""

    optimizer: OptimizerName = "adam"
    """Optimizer of the sharing networks."""
    learning_rate: Annotated[Scheduled, Range(above=0)] = 0.001
    """Learning rate of the sharing networks, above 0; or a schedule of it, as that of the values."""
    every: Whole = 5
    """Rounds from one move of the sharing networks to the next, 1 or more."""
    updates: Whole = 50
    """Batches of the sharing networks in such a round, 1 or more (the release: 250)."""


@dataclass(frozen=True, kw_only=True)
class LToS(Method):
    """Learned sharing by a hierarchy: action values of incoming shares, and sharing that ascends them.

    High level: each agent j has a network from its observation to its row of the sharing matrix T on the
    neighbour graph, held for `hold` steps. Low level: each agent i learns, by Q-learning with a replay buffer
    and a target network, the values Q_i(o_i, w_in_i, a) of the shared rewards r~_i = sum_j T[j, i] r_j, with
    the incoming shares w_in_i = T[:, i], and acts by them. In every `outer.every`-th round the sharing
    networks ascend sum_i V_i, V_i = max_a Q_i: each receiver passes d V_i / d w_in back to its givers, who
    backpropagate it through their softmax into their networks. First order, alternating.

    Needs: the neighbours' rewards, shares, and gradients; no central party. Conserves the total, whatever T
    is.

    A round (an outer step): play `inner.episodes` episodes, learn from the buffer in `inner.steps` batches,
    move the sharing networks in `outer.updates` batches if it is their turn, move both target networks by
    `inner.tau`, and play as many episodes again without exploration, for evaluation. Defaults are those of
    the released code for traffic. Differences: each agent has its own networks, rather than one graph
    attention for all; a batch is drawn anew for each step (the release draws 1000 samples a round, fixes
    their targets, and goes over them up to 100 times for values and 5 times for sharing); values are not
    divided by 20, nor punished where positive; sharing networks start from themselves rather than from their
    targets; an episode's end is terminal.

    Source:
        Yi et al., Learning to Share in Networked Multi-Agent Reinforcement Learning, NeurIPS 2022, arXiv
        2112.08702; their code for traffic signals (in RoadnetSZ).

    >>> import games
    >>> method = LToS(inner=QLearning(episodes=2, steps=2))
    >>> learner = method.build(games.make("escape-room"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["share_0_1"].shape
    torch.Size([2])
    """

    inner: QLearning = QLearning()
    """The values' learner."""
    outer: SharingAscent = SharingAscent()
    """The sharing networks' learner."""
    learning_rate_decay: Part = 0.95
    """Factor on both learning rates from one round to the next, above 0 and at most 1."""
    sharing_hidden_size: tuple[int, ...] = (32, 32)
    """Units of each hidden layer of a giver's network."""
    sharing_activation: ActivationName = "relu"
    """Activation between the layers of a giver's network."""
    own_share: float | None = 0.8
    """The share kept at the start, above 0 and below 1; None: equal shares for all neighbours."""
    hold: Whole = 15
    """Steps for which the sharing networks' outputs are held, 1 or more."""
    noise: Annotated[Scheduled, Range(least=0)] = 0.25
    """Sigma of the noise on the sharing networks' outputs, times the probability of a random action; 0 or
    more, or a schedule of it in rounds."""
    noise_always: bool = False
    """Whether there is noise in every round, rather than only in those in which sharing networks move."""
    smoothing: Annotated[float, Range(least=0)] = 0.1
    """Standard deviation of the noise on the target networks' shares, 0 or more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_own_share(self.own_share)

    def exploration_at(self, count: int) -> float:
        """The probability of a random action in a round, counted from 0.

        >>> q = QLearning(exploration_decay=0.5, exploration_min=0.15)
        >>> [LToS(inner=q).exploration_at(count) for count in (0, 1, 2)]
        [0.4, 0.2, 0.15]
        """
        left = self.schedule.value("inner.exploration", count) * self.inner.exploration_decay**count
        return max(left, self.inner.exploration_min)

    def build(self, game: Game, placement: Placement) -> Learner:
        name = type(game).__name__
        require(
            isinstance(game.action_space, spaces.Discrete),
            f"ltos learns the value of each action, so actions must be numbers, and {name}'s are "
            f"{game.action_space}.",
        )
        require(game.num_agents >= 2, f"Sharing takes 2 agents or more, and {name} has {game.num_agents}.")
        played = self.inner.episodes * game.horizon
        require(
            played <= self.inner.buffer_size,
            f"The replay buffer must take what a round plays, {self.inner.episodes} episodes of "
            f"{game.horizon} steps: inner.buffer_size must be {played} or more, not "
            f"{self.inner.buffer_size}.",
        )
        sharing = SharingNetwork(
            Sharing(game.neighbours, self.own_share),
            game.observation_space,
            self.sharing_hidden_size,
            self.sharing_activation,
            self.hold,
        )
        network = QNetwork(
            sharing.encoder.features,
            game.num_agents,
            game.num_actions,
            self.inner.hidden_size,
            self.inner.activation,
        )
        return LToSLearner(self, game, placement, sharing, network)

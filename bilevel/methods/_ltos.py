"""`ltos`: learn to share through a critic of what comes in, as LToS was released."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from gymnasium import spaces

from bilevel.agents import QNetwork
from bilevel.core import Range, Scheduled, require_number
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._ltos_learner import LToSLearner
from bilevel.methods._method import Method, OptimiserName
from bilevel.nn import ActivationName
from bilevel.optimizers import OPTIMIZERS
from bilevel.sharing import Sharing, SharingNetwork, check_own_share
from games.core import Game, require, require_name

UNUSED: dict[str, Any] = {
    "entropy": 0.0,
    "entropy_end": 0.0,
    "entropy_steps": 0,
    "inner_learner": "policy-gradient",
    "surrogate": "reinforce",
    "share_parameters": False,
    "exact": False,
}
"""Settings of policies that learn by their gradient, which values have no use for -> what they stay at."""
WHOLE = {"hold": 1, "outer_every": 1, "outer_updates": 1, "batch_size": 1, "buffer": 1}
"""Whole numbers -> the least they can be."""
PARTS = ("learning_rate_decay", "exploration_decay", "target_rate")
"""Settings above 0 and at most 1."""


@dataclass(frozen=True, kw_only=True)
class LToS(Method):
    """Learned sharing by a hierarchy: values that know the incoming shares, and sharing that ascends them.

    Above, each agent j has a network from what it sees to its row of the sharing matrix T on the neighbour
    graph, held for `hold` steps. Below, each agent i learns, by Q-learning with a replay buffer and a target
    network, the values Q_i(o_i, w_in_i, a) of the shared rewards r~_i = sum_j T[j, i] r_j, where
    w_in_i = T[:, i] is what comes in, and acts by them. In every `outer_every`-th round the sharing networks
    ascend sum_i V_i, V_i = max_a Q_i: each receiver hands d V_i / d w_in back to its givers, and so it goes
    on through their softmax into their networks. First order, alternating.

    Needs: the neighbours' rewards, what they share, and what they hand back; no central party. Conserves the
    total, whatever T is.

    A round (an outer step): play `episodes` episodes, learn from the buffer in `inner_steps` batches, perhaps
    move the sharing networks in `outer_updates` batches, move both target networks by `target_rate`, and play
    as many episodes again without exploring, to measure. What the released code does for traffic is the
    default; what is otherwise here: networks of each agent's own rather than one graph attention for all; a
    batch is drawn anew for each step (the release draws 1000 samples a round, fixes their targets, and goes
    over them up to 100 times for values and 5 times for sharing); values are not divided by 20, nor
    punished where positive; sharing networks go on from themselves rather than from their targets; an
    episode's end is an end.

    Raises:
        ValueError: a setting is out of range, a name is unknown, or a setting is given that values have no
            use for.

    Source:
        Yi et al., Learning to Share in Networked Multi-Agent Reinforcement Learning, NeurIPS 2022, arXiv
        2112.08702; their code for traffic signals (in RoadnetSZ).

    >>> import games
    >>> learner = LToS(episodes=2, inner_steps=2).build(games.make("escape-room"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["share_0_1"].shape
    torch.Size([2])
    """

    no_loss_weights: ClassVar[str] = (
        "learns values by Q-learning, and has no actor-critic inside whose losses could be weighed"
    )
    ranges: ClassVar[Mapping[str, Range]] = {
        **Method.ranges,
        "outer_learning_rate": Range(above=0),
        "exploration": Range(least=0, most=1),
        "noise": Range(least=0),
    }

    exact: bool = False
    """Values are learned from episodes: exact ones are refused."""
    hidden: tuple[int, ...] = (32, 32)
    """Units of each hidden layer of an agent's values."""
    activation: ActivationName = "relu"
    """Between the layers of an agent's values."""
    inner_optimizer: OptimiserName = "rmsprop"
    """How values descend their errors."""
    inner_learning_rate: Scheduled = 0.001
    """Step size of the values, above 0; or a schedule of it in rounds, times what the decay leaves."""
    inner_steps: int = 100
    """Batches that values learn from in a round, 1 or more (the release: up to 3500)."""
    episodes: int = 4
    """Episodes per seed that a round plays to learn from, and again to measure, 2 or more."""
    discount: float | None = None
    """Of values, per step, from 0 to 1; None: the game's. The release has .8."""
    batch_size: int = 20
    """Samples of a batch, 1 or more."""
    buffer: int = 10_000
    """Steps that the replay buffer holds of each seed; a batch and a round of play must fit."""
    target_rate: float = 0.1
    """By which part target networks move towards the others in a round, above 0 and at most 1."""
    learning_rate_decay: float = 0.95
    """What both step sizes keep from one round to the next, above 0 and at most 1."""
    exploration: Scheduled = 0.4
    """In the first round, with which probability agents take any action, from 0 to 1; or a schedule of it in
    rounds, times what exploration_decay leaves."""
    exploration_decay: float = 0.9
    """What is kept of that probability from one round to the next, above 0 and at most 1."""
    exploration_least: float = 0.05
    """What that probability does not fall below, from 0 to 1."""
    sharing_hidden: tuple[int, ...] = (32, 32)
    """Units of each hidden layer of a giver's network."""
    sharing_activation: ActivationName = "relu"
    """Between the layers of a giver's network."""
    own_share: float | None = 0.8
    """The share kept at the start, above 0 and below 1; None: equal shares for all neighbours."""
    hold: int = 15
    """For how many steps what the sharing networks say is held, 1 or more."""
    outer_optimizer: OptimiserName = "adam"
    """How the sharing networks ascend the values."""
    outer_learning_rate: Scheduled = 0.001
    """Step size of the sharing networks, above 0; or a schedule of it, as that of the values."""
    outer_every: int = 5
    """Sharing networks move in each so-many-th round, 1 or more."""
    outer_updates: int = 50
    """Batches that they learn from in such a round, 1 or more (the release: 250)."""
    noise: Scheduled = 0.25
    """Sigma of the noise on what the sharing networks say, times the probability of exploring; 0 or more, or
    a schedule of it in rounds."""
    noise_always: bool = False
    """Whether there is noise in every round, rather than only in those in which sharing networks move."""
    smoothing: float = 0.1
    """Standard deviation of what is added to the target networks' say of shares, 0 or more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in UNUSED.items():
            require(
                getattr(self, name) == value,
                f"ltos learns values by Q-learning from episodes, and has no use for {name}: leave it at "
                f"{value}, not {getattr(self, name)}.",
            )
        require(
            self.policy in ("auto", "mlp"),
            f"The networks of ltos are perceptrons: leave policy at auto, or say mlp, not {self.policy}.",
        )
        require_name(self.outer_optimizer, OPTIMIZERS, "outer_optimizer")
        for name, least in WHOLE.items():
            value = getattr(self, name)
            whole = isinstance(value, int) and value >= least
            require(whole, f"{name} must be a whole number, {least} or more, not {value}.")
        for name in PARTS:
            value = getattr(self, name)
            require(0 < value <= 1, f"{name} is above 0 and at most 1, not {value}.")
        floor = self.exploration_least
        require(0 <= floor <= 1, f"exploration_least is a probability from 0 to 1, not {floor}.")
        require_number("smoothing", self.smoothing, least=0)
        require(
            self.discount is None or 0 <= self.discount <= 1,
            f"discount is from 0 to 1 (None: the game's), not {self.discount}.",
        )
        require(
            self.batch_size <= self.buffer,
            f"A batch comes from the buffer: batch_size must be {self.buffer} or less, as that is what the "
            f"buffer holds, not {self.batch_size}.",
        )
        check_own_share(self.own_share)

    def exploration_at(self, count: int) -> float:
        """The probability of taking any action in a round, counted from 0.

        >>> [LToS(exploration_decay=0.5, exploration_least=0.15).exploration_at(count) for count in (0, 1, 2)]
        [0.4, 0.2, 0.15]
        """
        left = self.course.value("exploration", count) * self.exploration_decay**count
        return max(left, self.exploration_least)

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        name = type(game).__name__
        require(
            isinstance(game.action_space, spaces.Discrete),
            f"ltos learns the value of each action, so actions must be numbers, and {name}'s are "
            f"{game.action_space}.",
        )
        require(game.num_agents >= 2, f"Sharing takes 2 agents or more, and {name} has {game.num_agents}.")
        played = self.episodes * game.horizon
        require(
            played <= self.buffer,
            f"The replay buffer must take what a round plays, {self.episodes} episodes of {game.horizon} "
            f"steps: buffer must be {played} or more, not {self.buffer}.",
        )
        sharing = SharingNetwork(
            Sharing(game.neighbours, self.own_share),
            game.observation_space,
            self.sharing_hidden,
            self.sharing_activation,
            self.hold,
        )
        network = QNetwork(
            sharing.sight.features,
            game.num_agents,
            game.num_actions,
            self.hidden,
            self.activation,
        )
        return LToSLearner(self, game, placement, sharing, network)

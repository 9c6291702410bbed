"""The contract of games: batched tensors in, batched tensors out."""

from __future__ import annotations

import abc
import operator
from typing import Any

import numpy as np
import optree
import torch
from gymnasium import spaces
from torch import Tensor

from games.core._errors import require
from games.core._streams import uniform

State = Any
"""A NamedTuple of tensors whose first axis is the batch."""
Step = tuple[State, Tensor, Tensor]
"""The next state; rewards, float [batch, agent]; done, boolean [batch]."""


computed: Any = property
"""`property` for a lambda: states one of the facts below in one line, `computed(lambda self: ...)`."""


def alias(path: str) -> Any:
    """Make a property that reads another attribute by its path.

    Args:
        path: attribute names joined by dots, for instance "stage.horizon".
    Returns:
        A property.

    >>> class Doubled:
    ...     game = range(3)
    ...     last = alias("game.stop")
    >>> Doubled().last
    3
    """
    return property(operator.attrgetter(path))


class Game(abc.ABC):
    """A game of N agents that act simultaneously, played in many copies at once.

    A game is a frozen dataclass: its fields are its settings, checked in `__post_init__` (ValueError, one
    sentence). It holds no tensor and no state; all randomness comes from the generator passed in, and every
    tensor lives on that generator's device. What is drawn from it has the batch as its first axis, so that
    each seed of a batch has a stream of its own: `games.uniform((batch, ...), generator)`, or torch's own
    functions, such as `torch.randint(3, (batch,), generator=generator)`.

    Shapes: `batch` counts copies, `agent` runs from 0 to `num_agents - 1`.

    >>> from games import make
    >>> game, generator = make("escape-room"), torch.Generator().manual_seed(0)
    >>> state = game.reset(2, generator)  # two copies
    >>> game.observe(state).shape, game.action_names
    (torch.Size([2, 2, 7]), ('lever', 'start', 'door'))
    >>> state, rewards, done = game.step(state, torch.tensor([[0, 2], [1, 1]]), generator)
    >>> rewards.tolist(), done.tolist()
    ([[-1.0, 10.0], [0.0, 0.0]], [True, False])
    """

    @property
    @abc.abstractmethod
    def num_agents(self) -> int:
        """Number of agents."""

    @property
    @abc.abstractmethod
    def horizon(self) -> int:
        """Maximum number of steps of an episode."""

    @property
    @abc.abstractmethod
    def action_space(self) -> spaces.Discrete | spaces.Box:
        """One agent's actions, the same for all: Discrete, or a Box of one axis with finite bounds.

        In a Box actions are floats [batch, agent, number], there is no mask, and no action cooperates.
        """

    @property
    def num_actions(self) -> int:
        """Number of Discrete actions; ValueError where actions are continuous."""
        return numbered_actions(self, "num_actions")

    @property
    @abc.abstractmethod
    def observation_space(self) -> spaces.Box | spaces.Discrete:
        """One agent's observation: a Box of floats or bytes, or Discrete."""

    @property
    def discount(self) -> float:
        """The discount per step that the game's source uses; 1 where it names none."""
        return 1.0

    @property
    def effective_horizon(self) -> float:
        """Factor from `episode_value` to the discounted sum: 1, or 1 / (1 - discount) of values per step."""
        return 1.0

    @property
    def episode_weight(self) -> float:
        """Ratio of a sampled episode's value to the exact value at the same reward in every step.

        1, or less where a sampled episode ends and the exact game does not.
        """
        return 1.0

    @property
    def value_unit(self) -> str:
        """The unit of `episode_value`, for axes and tables."""
        return "reward per episode"

    @property
    def symmetric(self) -> bool:
        """True if all agents have the same role; False unless a game says so.

        True promises that any agent can be moved to the place of any other by a permutation of agents that
        leaves the game unchanged. Then one policy can act for all, and means over agents hide nothing.
        """
        return False

    @property
    def fully_symmetric(self) -> bool:
        """True if every permutation of agents leaves the game and its `neighbors` unchanged.

        Then only the roles that agents learn tell them apart, and roles may differ from seed to seed. By
        default True of two agents in a `symmetric` game, False of more.
        """
        return self.symmetric and self.num_agents == 2

    @property
    def neighbors(self) -> Tensor:
        """The sharing graph: boolean [giver, receiver], True on the diagonal; complete by default."""
        if self.edges is None:
            return torch.ones(self.num_agents, self.num_agents, dtype=torch.bool)
        graph = torch.zeros(self.num_agents, self.num_agents, dtype=torch.bool)
        graph[tuple(self.edges)] = True
        return graph

    @property
    def edges(self) -> Tensor | None:
        """The sharing graph as a list of edges, if it is sparse: int64 [2, edge], givers and receivers.

        Sorted by giver, with an edge from each agent to itself; the same in all states. The memory and time
        of sharing then grow with the number of edges. None: `neighbors` is the graph.
        """
        return None

    @property
    def influence(self) -> Tensor | None:
        """The influence graph: int64 [2, edge], sources and targets; None if the game does not define it.

        An edge means that the source's actions affect the target's rewards in the same step; source and
        target are different agents. `bilevel.sharing.edge_recovery` compares learned sharing with it; agents
        do not observe it.
        """
        return None

    @property
    def useful_influence(self) -> Tensor | None:
        """The edges of `influence` whose source should act for the target in the welfare optimum.

        By default all of them. A game whose influence can be wasteful, at a cost above its worth to others,
        leaves such edges out. Form and order as in `influence`; None if the game does not define that.
        """
        return self.influence

    def neighbors_now(self, state: State) -> Tensor | None:
        """The sharing graph in this state, boolean [batch, giver, receiver]; None: always `neighbors`.

        Every edge is one of `neighbors`, too, and every agent is its own neighbor.
        """
        return None

    def present(self, state: State) -> Tensor | None:
        """Mask of the agents that still take part, boolean [batch, agent]; None where all always do.

        An agent that has left stays away until its copy restarts: its rewards are 0 and its actions are
        ignored. The share of a reward that would go to it stays with the giver (see
        `games.wrappers.share_among_present`).
        """
        return None

    @property
    def truncates(self) -> bool:
        """True if an episode that does not end by the rules (`ended`) is truncated, and would go on.

        Critics then bootstrap from the last state. In most games the horizon is one of the rules.
        """
        return False

    @property
    def draws_by_rows(self) -> bool:
        """True if all draws, if any, are made with `games.uniform`: faster with many seeds.

        Other games may draw with torch's functions from the generator that they are passed, always with the
        batch as the first axis.
        """
        return False

    @property
    def pure(self) -> bool:
        """True if all methods are functions of their arguments and the generator's draws, and may be cached.

        False of a game that calls a network in training, or another program.
        """
        return False

    @property
    def takes_gifts(self) -> bool:
        """True if the game uses the agents' gifts (`give`)."""
        return type(self).give is not Game.give

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names of the actions, in order; in a Box, of the components of an action."""
        space = self.action_space
        return tuple(map(str, range(int(space.n) if isinstance(space, spaces.Discrete) else space.shape[0])))

    @property
    def best_welfare(self) -> float | None:
        """Maximum sum of all agents' `episode_value` (the welfare optimum); None if unknown."""
        return None

    @property
    def best_cooperation(self) -> float | None:
        """Share of cooperating actions at the welfare optimum; None if unknown or not unique."""
        return None

    @property
    def defection_welfare(self) -> float | None:
        """Sum of all agents' `episode_value` under mutual defection; None if undefined.

        It is the zero of the normalized score: (welfare - defection) / (best - defection).
        """
        return None

    @abc.abstractmethod
    def reset(self, batch: int, generator: torch.Generator) -> State:
        """Start `batch` copies."""

    @abc.abstractmethod
    def observe(self, state: State) -> Tensor:
        """Observations: [batch, agent, *shape] in the Box's dtype, or integer [batch, agent]."""

    def action_mask(self, state: State) -> Tensor | None:
        """Mask of legal actions, boolean [batch, agent, action]; None where all of them always are.

        Every agent has a legal action, and `step` refuses illegal ones.
        """
        return None

    @abc.abstractmethod
    def step(self, state: State, actions: Tensor, generator: torch.Generator) -> Step:
        """Play one step of every copy.

        Args:
            state: from `reset`, `step` or `restart`; not changed in place.
            actions: integer [batch, agent]; in a Box, float [batch, agent, number].
            generator: the source of every draw.
        Returns:
            the next state; rewards, float [batch, agent], in the game's units; done, boolean [batch], True in
            the step in which a copy ended, by the game's rules or at the horizon. Results for a copy after
            its end, before `restart`, have no meaning.
        """

    @property
    def can_render(self) -> bool:
        """True if the game can be drawn: `render` is optional."""
        return type(self).render is not Game.render

    def render(self, state: State, index: int = 0, scale: float = 1.0) -> np.ndarray:
        """Draw copy `index`, `scale` times as large as usual: one frame, uint8 [height, width, 3].

        Raises:
            ValueError: the game has no `render` of its own.
        """
        raise ValueError(
            f"{type(self).__name__} cannot be drawn: it has no method render(state, index, scale) that "
            "gives a frame."
        )

    def ended(self, state: State) -> Tensor:
        """Mask of the copies that ended by the rules, rather than at the horizon: boolean [batch]."""
        first = optree.tree_leaves(state)[0]
        return torch.zeros(first.shape[0], dtype=torch.bool, device=first.device)

    def cooperates(self, state: State, actions: Tensor) -> Tensor | None:
        """Mask of cooperating actions: boolean [batch, agent]; None where cooperation is not defined."""
        return None

    def scripted(self, state: State, cooperative: Tensor) -> Tensor | None:
        """Actions of scripted cooperators and defectors, integer [batch, agent]; None without a script.

        `cooperative`, boolean [batch, agent], marks the cooperators.
        """
        return None

    def difference_rewards(self, actions: Tensor, default: int) -> Tensor:
        """Difference rewards: welfare of a step, minus its welfare if the agent had taken the default action.

        Only games whose welfare of a step is a function of its joint action implement them.

        Args:
            actions: integer [..., agent].
            default: number of the default action.
        Returns:
            G(z) - G(z_-i, default), floating [..., agent], in the game's units.
        Raises:
            ValueError: the game does not implement them.
        Source:
            Wolpert and Tumer, Optimal payoff functions for members of collectives, Advances in Complex
            Systems 4(2-3), 2001.
        """
        raise ValueError(
            f"{type(self).__name__} cannot compute the welfare of other actions, which difference rewards "
            "need: choose a game that implements difference_rewards, such as aid or public-goods, or another "
            "method."
        )

    def measures(self, state: State) -> dict[str, Tensor]:
        """Further measures of each agent's last step, by name: [batch, agent]; the state is from `step`."""
        return {}

    def give(self, state: State, gifts: Tensor) -> State:
        """Record the gifts of the last step, [batch, giver, receiver], in reward units, in the state.

        Most games do not show gifts to the agents and return the state unchanged.
        """
        return state

    def episode_value(self, rewards: Tensor) -> Tensor:
        """Each agent's return as papers on the game report it, here the undiscounted sum: [..., agent].

        Rewards, [time, ..., agent], are zero after the end of the episode.
        """
        return rewards.sum(0)

    def restart(self, state: State, done: Tensor, generator: torch.Generator) -> State:
        """Replace the copies that are done, boolean [batch], by new episodes, so that a batch never waits."""
        fresh = self.reset(done.shape[0], generator)

        def choose(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(done.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        return optree.tree_map(choose, fresh, state)


class ExactGame(Game):
    """A game whose expected values can be computed, and differentiated, without sampling.

    Its observations are Discrete(`num_observations`), so a policy is a table of probabilities.

    >>> from games import make
    >>> always = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])  # agent, observation, action
    >>> policies = always.requires_grad_()  # agent 0 cooperates, agent 1 defects
    >>> values = make("prisoners-dilemma").values(policies)
    >>> values
    tensor([-3.,  0.], grad_fn=<...>)
    >>> torch.autograd.grad(values[0], policies)[0][0]
    tensor([[-3., -2.]])
    """

    @property
    @abc.abstractmethod
    def num_observations(self) -> int:
        """Number of observations that an agent can tell apart."""

    @abc.abstractmethod
    def values(self, policies: Tensor) -> Tensor:
        """Each agent's expected `episode_value`, [..., agent], differentiable in the policies.

        Policies are probabilities [..., agent, observation, action], whose rows sum to 1 (not checked: this
        is a hot path).
        """

    @abc.abstractmethod
    def cooperation(self, policies: Tensor) -> Tensor | None:
        """Each agent's expected share of cooperating actions, [..., agent]; None where not defined."""

    def values_and_cooperation(self, policies: Tensor) -> tuple[Tensor, Tensor | None]:
        """`values` and `cooperation` of the same policies, for games that can share the computation."""
        return self.values(policies), self.cooperation(policies)


def numbered_actions(game: Game, whose: str) -> int:
    """Number of Discrete actions of a game.

    Args:
        game: any game.
        whose: subject of the error sentence, which "needs Discrete actions".
    Returns:
        The number of one agent's actions.
    Raises:
        ValueError: actions are continuous.

    >>> from games import make
    >>> numbered_actions(make("rock-paper-scissors"), "This table")
    3
    """
    space = game.action_space
    require(
        isinstance(space, spaces.Discrete),
        f"{whose} needs Discrete actions, but {type(game).__name__}'s are {space}.",
    )
    assert isinstance(space, spaces.Discrete)
    return int(space.n)


def two_action_policies(cooperate: Tensor) -> Tensor:
    """Turn probabilities of cooperating into policies of two actions.

    Args:
        cooperate: probabilities of action 0, [..., observation].
    Returns:
        Policies, [..., observation, 2].

    >>> two_action_policies(torch.tensor([0.25, 1.0]))
    tensor([[0.2500, 0.7500],
            [1.0000, 0.0000]])
    """
    return torch.stack((cooperate, 1 - cooperate), -1)


class DrawnGame(Game):
    """A game that declares its number of random draws per step, and is a pure function of them.

    Row b of the draws is all the randomness of copy b, so that a batch equals its members bit for bit.

    >>> from games import make
    >>> from games.core import uniform
    >>> game = make("coin-game")
    >>> game.start_draws, game.step_draws
    (5, 1)
    >>> draws = uniform((2, game.start_draws), torch.Generator())
    >>> both, alone = game.begin(draws), game.begin(draws[1:])
    >>> bool((game.observe(both)[1] == game.observe(alone)[0]).all())
    True
    """

    draws_by_rows = True
    pure = True

    @property
    @abc.abstractmethod
    def action_names(self) -> tuple[str, ...]:
        """Names of the actions, in order."""

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(len(self.action_names))

    @property
    @abc.abstractmethod
    def start_draws(self) -> int:
        """Number of uniform draws at the start of a copy."""

    @property
    @abc.abstractmethod
    def step_draws(self) -> int:
        """Number of uniform draws in a step of a copy."""

    @abc.abstractmethod
    def begin(self, draws: Tensor) -> State:
        """Start copies from draws that are uniform in [0, 1), float32 [batch, start_draws]."""

    @abc.abstractmethod
    def advance(self, state: State, actions: Tensor, draws: Tensor) -> Step:
        """Play one step like `step`, from uniform draws in [0, 1), float32 [batch, step_draws]."""

    def reset(self, batch: int, generator: torch.Generator) -> State:
        return self.begin(uniform((batch, self.start_draws), generator))

    def step(self, state: State, actions: Tensor, generator: torch.Generator) -> Step:
        return self.advance(state, actions, uniform((len(actions), self.step_draws), generator))

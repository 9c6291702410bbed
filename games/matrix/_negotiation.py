"""The negotiation game: two agents propose how much they take of each item, which they value differently."""

from __future__ import annotations

import abc
import itertools
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.core import DrawnGame, Step, cached_constants, computed, constant, require
from games.matrix._matrix import require_finite, require_two_or_more
from games.render import draw_table

MAX_ACTIONS = 4096
WIDEST = "88.88"  # the widest number of a frame, with usual settings


class NegotiationState(NamedTuple):
    """Items on the table, their values, and the last proposals.

    >>> from games import make
    >>> game = make("negotiation")
    >>> state = game.reset(1, torch.Generator().manual_seed(0))
    >>> state.values.sum(1)  # what is worth 5 to one agent is worth 1 to the other
    tensor([[6., 6., 6.]])
    """

    time: Tensor
    """Steps played, int64 [batch]."""
    values: Tensor
    """Value of a unit of each item to each agent, [batch, agent, item]."""
    units: Tensor
    """Units of each item, [batch, item]."""
    proposals: Tensor
    """Proposals of the last step, [batch, agent, item]; 0 before the first."""


@dataclass(frozen=True, kw_only=True)
class Negotiator(DrawnGame, abc.ABC):
    """Two agents who divide items in proportion to their proposals."""

    items: int = 3
    """Number of items, from 1 to 12."""
    max_value: int = 5
    """Largest value of a unit of an item; 2 or more."""
    max_proposal: float = 5.0
    """Largest proposal for an item; above 0."""
    sampling: Literal["contrast", "uniform"] = "contrast"
    """Contrast: one unit of each item, worth `max_value` to one agent and 1 to the other; uniform: whole
    quantities and values of each agent, from 1 to `max_value`."""
    split: Literal["above", "proportion"] = "above"
    """Above: divide an item in proportion to proposals if they sum to more than `max_proposal`; otherwise
    each agent gets its proposal as a fraction of `max_proposal`, and the rest is lost. Proportion: always
    divide in proportion to proposals."""
    horizon: int = 50
    """Steps of an episode, each with new items; at least 1."""

    num_agents = 2
    symmetric = True
    discount = 0.96
    # of contrast, which agent values the item more; of uniform, a quantity and two values
    start_draws = computed(lambda self: self.items * (1 if self.sampling == "contrast" else 3))
    step_draws = computed(lambda self: self.start_draws)
    # items, own values, own proposals, the other's values and proposals, each as fractions of the largest
    observation_space = computed(lambda self: spaces.Box(0.0, 1.0, (5 * self.items,), dtype=np.float32))

    def __post_init__(self) -> None:
        require(
            isinstance(self.items, int) and 1 <= self.items <= 12,
            f"items must be a whole number from 1 to 12; it is {self.items}.",
        )
        require_two_or_more(max_value=self.max_value)
        require_finite(max_proposal=self.max_proposal)
        require(self.max_proposal > 0, f"max_proposal must be above 0, not {self.max_proposal}.")
        for name, known in (("sampling", ("contrast", "uniform")), ("split", ("above", "proportion"))):
            value = getattr(self, name)
            require(value in known, f"{name} must be {known[0]} or {known[1]}, not {value!r}.")
        require(self.horizon >= 1, f"An episode needs at least 1 step; horizon is {self.horizon}.")

    @property
    def best_welfare(self) -> float:
        """Expected total if each item goes to the agent that values it more."""
        top = self.max_value
        if self.sampling == "contrast":
            return float(self.horizon)
        values = np.arange(1, top + 1)
        greater = (values * (2 * values - 1)).sum() / top**2  # mean of the greater of two values
        return self.horizon * float((top + 1) / 2 * greater / top)

    @property
    def defection_welfare(self) -> float:
        """Expected total if both agents always propose the most for every item."""
        top = self.max_value
        mean = (top + 1) / 2
        return self.horizon * float(mean / top if self.sampling == "contrast" else mean**2 / top)

    @abc.abstractmethod
    def proposals(self, actions: Tensor) -> Tensor:
        """Proposals of actions, [batch, agent, item]."""

    def begin(self, draws: Tensor) -> NegotiationState:
        values, quantities = self._drawn(draws)
        time = torch.zeros(len(draws), dtype=torch.int64, device=draws.device)
        return NegotiationState(time, values, quantities, torch.zeros_like(values))

    def advance(self, state: NegotiationState, actions: Tensor, draws: Tensor) -> Step:
        proposals = self.proposals(actions).to(state.values)
        total = proposals.sum(1, keepdim=True)
        whole = total.clamp(min=self.max_proposal) if self.split == "above" else total.clamp(min=1e-8)
        gains = proposals / whole * state.units.unsqueeze(1) * state.values
        values, quantities = self._drawn(draws)
        after = NegotiationState(state.time + 1, values, quantities, proposals)
        return after, gains.sum(-1) / (self.max_value * self.items), after.time >= self.horizon

    def observe(self, state: NegotiationState) -> Tensor:
        largest = self.max_value if self.sampling == "uniform" else 1
        pool = (state.units / largest).unsqueeze(1).expand_as(state.values)
        values, proposals = state.values / self.max_value, state.proposals / self.max_proposal
        return torch.cat((pool, values, proposals, values.flip(1), proposals.flip(1)), -1).float()

    def render(self, state: NegotiationState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        columns = torch.cat((state.units[index, None], state.values[index], state.proposals[index]))
        rows = [
            [str(item), *(f"{round(number, 2):g}" for number in numbers)]
            for item, numbers in enumerate(columns.T.tolist())
        ]
        more = state.values[index].argmax(0).tolist()
        table = [["item", "units", "value to 0", "to 1", "last proposal of 0", "of 1"], *rows]
        marked = {(item + 1, 2 + agent) for item, agent in enumerate(more)}
        title, key = f"step {int(state.time[index])}", "value to the agent that values the item more"
        return draw_table(title, table, marked, [["", *[WIDEST] * 5]], key=key, scale=scale)

    def _drawn(self, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Values [batch, agent, item] and quantities [batch, item], from uniform draws."""
        if self.sampling == "contrast":
            first = torch.where(draws < 0.5, self.max_value, 1)
            return torch.stack((first, self.max_value + 1 - first), 1).float(), torch.ones_like(draws)
        numbers = (1 + (draws * self.max_value).floor()).unflatten(1, (3, self.items))
        return numbers[:, :2].contiguous(), numbers[:, 2].contiguous()


@dataclass(frozen=True, kw_only=True)
class Negotiation(Negotiator):
    """The negotiation game: two agents propose how much they take of each item, which they value differently.

    In each step there are `items` on the table, new ones every time, and each agent sees both agents' values.
    Agents propose simultaneously, from 0 to `max_proposal` for each item. Of an item with proposals p and q
    the first agent gets p / max(p + q, max_proposal), so that what nobody proposes is lost. A reward is the
    value of what the agent gets, divided by `max_value` * `items`.

    Proposing the most for every item is dominant. Both gain if each proposes nothing for the items that the
    other values more: with contrast 1/2 each on average, against 0.3 if both propose everything, and 0.55
    against 0.25 if one does. So the script of cooperators proposes the most for the items that the agent
    values at least as much as the other, and nothing for the others; that of defectors proposes the most for
    all. An action cooperates if it proposes nothing for the items that the other values more.

    Proposals are `levels` numbers at equal distances for each item, so that there are levels^items actions:
    the digits of an action's number, the most significant first, are the levels for the items.

    An observation has the units of each item, the agent's values and last proposals, and the other's values
    and last proposals, all as fractions of the largest.

    Raises:
        ValueError: a number is out of range, there are too many actions, or a setting is none of those
            listed.
    Source:
        Duque et al., Advantage Alignment Algorithms, arXiv 2406.14662, after the negotiation game of Cao et
        al., Emergent communication through negotiation, arXiv 1804.03980. Rules and defaults are those of the
        environment in the history of its released code; there the discretized game has levels=6, and the
        scripts flip a coin where values are equal.

    >>> game = Negotiation()
    >>> game.action_names
    ('0 0 0', '0 0 5', '0 5 0', '0 5 5', '5 0 0', '5 0 5', '5 5 0', '5 5 5')
    >>> state = game.reset(1, torch.Generator().manual_seed(0))
    >>> state.values[0]
    tensor([[5., 1., 5.],
            [1., 5., 1.]])
    >>> _, rewards, _ = game.step(state, torch.tensor([[5, 7]]), torch.Generator())
    >>> rewards  # (2.5 + 2.5) / 15 and (0.5 + 5 + 0.5) / 15
    tensor([[0.3333, 0.4000]])
    """

    levels: int = 2
    """Number of proposals for each item, 2 or more; at most 4096 actions."""

    @property
    def action_names(self) -> tuple[str, ...]:
        amounts = [f"{self.max_proposal * level / (self.levels - 1):g}" for level in range(self.levels)]
        return tuple(map(" ".join, itertools.product(amounts, repeat=self.items)))

    @property
    def action_space(self) -> spaces.Discrete:
        return spaces.Discrete(self.levels**self.items)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_two_or_more(levels=self.levels)
        actions = self.levels**self.items
        require(
            actions <= MAX_ACTIONS,
            f"There may be {MAX_ACTIONS} actions; {self.levels} levels of {self.items} items are {actions}: "
            "choose fewer, or negotiation-continuous.",
        )

    def proposals(self, actions: Tensor) -> Tensor:
        digits = actions.long().unsqueeze(-1) // _units(self.levels, self.items, actions.device) % self.levels
        return digits * (self.max_proposal / (self.levels - 1))

    def cooperates(self, state: NegotiationState, actions: Tensor) -> Tensor:
        concedes = state.values < state.values.flip(1)
        return ~(concedes & (self.proposals(actions) > 0)).any(-1)

    def scripted(self, state: NegotiationState, cooperative: Tensor) -> Tensor:
        """Propose the most for the items that the agent values at least as much as the other, or for all."""
        wants = (state.values >= state.values.flip(1)) | ~cooperative.unsqueeze(-1)
        units = _units(self.levels, self.items, wants.device)
        return (wants * (self.levels - 1) * units).sum(-1)


@dataclass(frozen=True, kw_only=True)
class ContinuousNegotiation(Negotiator):
    """The negotiation game with continuous proposals: a Box from 0 to `max_proposal` for each item.

    The rules are those of `Negotiation`.

    Raises:
        ValueError: a number is out of range, or a setting is none of those listed.
    Source:
        Duque et al., Advantage Alignment Algorithms, arXiv 2406.14662; rules and defaults are those of the
        environment in the history of its released code.

    >>> game = ContinuousNegotiation(items=1)
    >>> state = game.begin(torch.tensor([[0.3]]))
    >>> game.advance(state, torch.tensor([[[2.0], [1.0]]]), torch.tensor([[0.3]]))[1]  # 2/5 of 5; 1/5 of 1
    tensor([[0.4000, 0.0400]])
    """

    action_names = computed(lambda self: tuple(f"proposal for item {item}" for item in range(self.items)))

    @property
    def action_space(self) -> spaces.Box:  # type: ignore[override]
        return spaces.Box(0.0, self.max_proposal, (self.items,), dtype=np.float32)

    def proposals(self, actions: Tensor) -> Tensor:
        return actions


@cached_constants
def _units(levels: int, items: int, device: torch.device) -> Tensor:
    """Value of each digit of an action's number, the most significant first: int64 [item]."""
    return constant(levels ** np.arange(items - 1, -1, -1), torch.int64, device)

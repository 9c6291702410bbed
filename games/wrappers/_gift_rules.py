"""What it means to choose a gift: how large it is, who gets it, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from games.core import Game, constant, kept, require, require_name
from games.matrix import require_finite
from games.wrappers._sharing_matrix import both_present


class Budget(NamedTuple):
    """Where gifts come from."""

    pays: bool
    """Whether the giver's reward pays for them."""
    limited: bool
    """Whether they come out of a purse that may be empty."""
    earns: bool
    """Whether what the game pays its agent fills that purse."""


BUDGETS: dict[str, Budget] = {
    "zero-sum": Budget(pays=True, limited=False, earns=False),
    "fixed": Budget(pays=False, limited=True, earns=False),
    "replenishable": Budget(pays=False, limited=True, earns=True),
}


@dataclass(frozen=True, kw_only=True)
class GiftRules:
    """The settings of gifts as actions.

    A gift is split equally among its receivers; an agent without receivers gives nothing. The part of a
    receiver that has left stays with the giver, in its reward or its purse. Out of a purse
    that holds less than a whole gift, what is left is given. Gifts that are received fill no purse.

    Raises:
        ValueError: the amount is not above 0, or the purse does not go with the kind of budget.

    >>> GiftRules(amount=2.0, budget="fixed")
    Traceback (most recent call last):
    ValueError: A fixed budget needs something to give: purse must be above 0, but it is 0.0.
    """

    amount: float
    """What a whole gift is worth, in reward units; above 0."""
    budget: Literal["zero-sum", "fixed", "replenishable"] = "zero-sum"
    """Where gifts come from: the giver's reward; a purse per episode that is free to give; or a purse that
    what the game pays (if positive) fills after each step."""
    purse: float = 0.0
    """What is in each agent's purse at the start of an episode, in reward units; 0 or more."""
    receivers: Literal["neighbours", "everybody"] = "neighbours"
    """Among whom a gift is split: the giver's neighbours, or everybody, the giver never among them."""

    def __post_init__(self) -> None:
        """Check the settings."""
        require_name(self.budget, BUDGETS, "budget")
        require_name(self.receivers, ("neighbours", "everybody"), "kind of receivers")
        require_finite(amount=self.amount, purse=self.purse)
        require(self.amount > 0, f"A gift is worth something: amount must be above 0, not {self.amount}.")
        require(self.purse >= 0, f"A purse cannot hold less than nothing: purse is {self.purse}.")
        require(
            self.budget != "fixed" or self.purse > 0,
            f"A fixed budget needs something to give: purse must be above 0, but it is {self.purse}.",
        )
        require(
            self.source.limited or self.purse == 0,
            f"Zero-sum gifts come out of the giver's reward, so there is no purse; purse is {self.purse}.",
        )

    @property
    def source(self) -> Budget:
        """Where gifts come from."""
        return BUDGETS[self.budget]

    def check_fits(self, game: Game) -> None:
        """Raise ValueError if in this game nothing could ever be given.

        >>> from games.matrix._two_agent import SymmetricTwoAgentGame
        >>> GiftRules(amount=1.0, budget="replenishable").check_fits(SymmetricTwoAgentGame())
        Traceback (most recent call last):
        ValueError: In a game of one step a purse is never filled: give it a purse above 0 to start with.
        """
        require(
            not self.source.limited or self.purse > 0 or game.horizon > 1,
            "In a game of one step a purse is never filled: give it a purse above 0 to start with.",
        )

    def split(self, game: Game, dtype: torch.dtype, device: torch.device) -> Tensor:
        """The part of a giver's gift that goes to each receiver: [giver, receiver], rows summing to 1 or 0.

        >>> from games.matrix._families import PublicGoods
        >>> GiftRules(amount=1.0).split(PublicGoods(agents=3), torch.float32, torch.device("cpu"))[0]
        tensor([0.0000, 0.5000, 0.5000])
        """
        return _split(game, self.receivers, dtype, device)

    def split_now(self, split: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor | float]:
        """The same among the agents present, and the part of a gift that is given to them.

        Args:
            split: among everybody, [giver, receiver].
            present: which agents take part, boolean [..., agent]; None: all of them.

        Returns:
            [..., giver, receiver], rows summing to 1 or 0; and, from 0 to 1, [..., giver].

        >>> everybody = torch.tensor([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
        >>> GiftRules(amount=1.0).split_now(everybody, torch.tensor([True, True, False]))
        (tensor([[0., 1., 0.],
                [1., 0., 0.],
                [0., 0., 0.]]), tensor([0.5000, 0.5000, 0.0000]))
        """
        if present is None:
            return split, 1.0
        there = (split > 0) & both_present(present)
        count = there.sum(-1).to(split.dtype)
        part = count / (split > 0).sum(-1).clamp(min=1)
        return there / count.clamp(min=1).unsqueeze(-1), part

    def given(self, wanted: Tensor, purse: Tensor, split: Tensor) -> Tensor:
        """What each agent gives: [..., agent], of who wants to (boolean) and what the purses hold."""
        whole = self.amount * (wanted & (split.sum(-1) > 0)).to(purse.dtype)
        return torch.minimum(whole, purse) if self.source.limited else whole

    def left(self, purse: Tensor, given: Tensor, extrinsic: Tensor) -> Tensor:
        """What is in the purses after a step, [..., agent], of what was given and what the game paid."""
        if not self.source.limited:
            return purse
        return purse - given + extrinsic.clamp_min(0) if self.source.earns else purse - given

    def paid(self, extrinsic: Tensor, given: Tensor, split: Tensor) -> Tensor:
        """What each agent gets, [..., agent], of what the game paid and what everybody gave."""
        received = (given.unsqueeze(-1) * split).sum(-2)
        return extrinsic + received - given if self.source.pays else extrinsic + received


@kept
def _split(game: Game, receivers: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    agents = game.num_agents
    others = (
        np.ones((agents, agents)) if receivers == "everybody" else np.array(game.neighbours.tolist(), float)
    )
    np.fill_diagonal(others, 0)
    return constant(others / others.sum(-1, keepdims=True).clip(min=1), dtype, device)

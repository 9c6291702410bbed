"""Games: social dilemmas as batched tensor programs, exact where they can be.

>>> import torch
>>> game = make("repeated-prisoners-dilemma", discount=0.9)
>>> game.values(torch.full((2, 5, 2), 0.5))
tensor([-1.5000, -1.5000])
"""

from games.base import ExactGame, Game, two_action_policies
from games.catalogue import Entry, entry, make, names, register
from games.dilemma import DilemmaReport, SchellingData, dilemma_test, schelling
from games.escape_room import EscapeRoom
from games.families import (
    Circular,
    ContributionGame,
    Cyclical,
    PublicGoods,
    SymmetricalChicken,
    SymmetricalPrisonersDilemma,
    SymmetricalStagHunt,
    Tycoon,
)
from games.finite_repeated import FiniteRepeatedGame
from games.matrix import MatrixGame, MatrixState, NormalForm
from games.repeated import RepeatedGame
from games.two_agent import SymmetricTwoAgentGame

__all__ = [
    "Circular",
    "ContributionGame",
    "Cyclical",
    "DilemmaReport",
    "Entry",
    "EscapeRoom",
    "ExactGame",
    "FiniteRepeatedGame",
    "Game",
    "MatrixGame",
    "MatrixState",
    "NormalForm",
    "PublicGoods",
    "RepeatedGame",
    "SchellingData",
    "SymmetricTwoAgentGame",
    "SymmetricalChicken",
    "SymmetricalPrisonersDilemma",
    "SymmetricalStagHunt",
    "Tycoon",
    "dilemma_test",
    "entry",
    "make",
    "names",
    "register",
    "schelling",
    "two_action_policies",
]

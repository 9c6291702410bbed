"""Games: social dilemmas as batched tensor programs, exact where they can be.

The names below load when they are first used. A module that has the name of one of them is called `_name`,
or it would stand in that name's place as soon as it is imported.

>>> import games, torch
>>> game = games.make("repeated-prisoners-dilemma", discount=0.9)
>>> game.values(torch.full((2, 5, 2), 0.5))
tensor([-1.5000, -1.5000])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from games.lazy import lazy_names

if TYPE_CHECKING:
    from games._from_gymnasium import from_gymnasium
    from games._from_pettingzoo import from_pettingzoo
    from games._gift_actions import gift_actions
    from games._minimal_transfer import MinimalTransfer, minimal_transfer
    from games._zero_sum import zero_sum
    from games.anarchy import Anarchy, Price, price_of_selfishness, pure_equilibria
    from games.base import ExactGame, Game, two_action_policies
    from games.catalogue import Entry, entry, make, names, register
    from games.cleanup import Cleanup
    from games.coin_game import CoinGame
    from games.congestion import Braess, CongestionGame, Pigou
    from games.differentiable import DifferentiableGame
    from games.dilemma import DilemmaReport, SchellingData, dilemma_test, schelling
    from games.drawn import DrawnGame
    from games.equilibrium import exploitability, nash_conv, zero_sum_equilibrium
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
    from games.foreign.game import ForeignGame
    from games.harvest import Harvest
    from games.jungle import Jungle
    from games.lase_cleanup import LaseCleanup
    from games.matrix import MatrixGame, MatrixState, NormalForm
    from games.openspiel import from_openspiel
    from games.prisoner_corridor import PrisonerCorridor
    from games.profiles import welfare_optima
    from games.random_games import random_general_sum, random_zero_sum
    from games.repeated import RepeatedGame
    from games.snowdrift import Snowdrift
    from games.soccer import Soccer
    from games.stag_hunt_grid import StagHuntGrid
    from games.streams import uniform
    from games.two_agent import SymmetricTwoAgentGame
    from games.vector_view import vector_env

__all__ = [
    "Anarchy",
    "Braess",
    "Circular",
    "Cleanup",
    "CoinGame",
    "CongestionGame",
    "ContributionGame",
    "Cyclical",
    "DifferentiableGame",
    "DilemmaReport",
    "DrawnGame",
    "Entry",
    "EscapeRoom",
    "ExactGame",
    "FiniteRepeatedGame",
    "ForeignGame",
    "Game",
    "Harvest",
    "Jungle",
    "LaseCleanup",
    "MatrixGame",
    "MatrixState",
    "MinimalTransfer",
    "NormalForm",
    "Pigou",
    "Price",
    "PrisonerCorridor",
    "PublicGoods",
    "RepeatedGame",
    "SchellingData",
    "Snowdrift",
    "Soccer",
    "StagHuntGrid",
    "SymmetricTwoAgentGame",
    "SymmetricalChicken",
    "SymmetricalPrisonersDilemma",
    "SymmetricalStagHunt",
    "Tycoon",
    "dilemma_test",
    "entry",
    "exploitability",
    "from_gymnasium",
    "from_openspiel",
    "from_pettingzoo",
    "gift_actions",
    "make",
    "minimal_transfer",
    "names",
    "nash_conv",
    "price_of_selfishness",
    "pure_equilibria",
    "random_general_sum",
    "random_zero_sum",
    "register",
    "schelling",
    "two_action_policies",
    "uniform",
    "vector_env",
    "welfare_optima",
    "zero_sum",
    "zero_sum_equilibrium",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "games._from_gymnasium": ("from_gymnasium",),
        "games._from_pettingzoo": ("from_pettingzoo",),
        "games._gift_actions": ("gift_actions",),
        "games._minimal_transfer": (
            "MinimalTransfer",
            "minimal_transfer",
        ),
        "games._zero_sum": ("zero_sum",),
        "games.anarchy": (
            "Anarchy",
            "Price",
            "price_of_selfishness",
            "pure_equilibria",
        ),
        "games.base": (
            "ExactGame",
            "Game",
            "two_action_policies",
        ),
        "games.catalogue": (
            "Entry",
            "entry",
            "make",
            "names",
            "register",
        ),
        "games.cleanup": ("Cleanup",),
        "games.coin_game": ("CoinGame",),
        "games.congestion": (
            "Braess",
            "CongestionGame",
            "Pigou",
        ),
        "games.differentiable": ("DifferentiableGame",),
        "games.dilemma": (
            "DilemmaReport",
            "SchellingData",
            "dilemma_test",
            "schelling",
        ),
        "games.drawn": ("DrawnGame",),
        "games.equilibrium": (
            "exploitability",
            "nash_conv",
            "zero_sum_equilibrium",
        ),
        "games.escape_room": ("EscapeRoom",),
        "games.families": (
            "Circular",
            "ContributionGame",
            "Cyclical",
            "PublicGoods",
            "SymmetricalChicken",
            "SymmetricalPrisonersDilemma",
            "SymmetricalStagHunt",
            "Tycoon",
        ),
        "games.finite_repeated": ("FiniteRepeatedGame",),
        "games.foreign.game": ("ForeignGame",),
        "games.harvest": ("Harvest",),
        "games.jungle": ("Jungle",),
        "games.lase_cleanup": ("LaseCleanup",),
        "games.matrix": (
            "MatrixGame",
            "MatrixState",
            "NormalForm",
        ),
        "games.openspiel": ("from_openspiel",),
        "games.prisoner_corridor": ("PrisonerCorridor",),
        "games.profiles": ("welfare_optima",),
        "games.random_games": (
            "random_general_sum",
            "random_zero_sum",
        ),
        "games.repeated": ("RepeatedGame",),
        "games.snowdrift": ("Snowdrift",),
        "games.soccer": ("Soccer",),
        "games.stag_hunt_grid": ("StagHuntGrid",),
        "games.streams": ("uniform",),
        "games.two_agent": ("SymmetricTwoAgentGame",),
        "games.vector_view": ("vector_env",),
    },
)

"""Games: social dilemmas as batched tensor programs, exact where they can be.

>>> import torch
>>> game = make("repeated-prisoners-dilemma", discount=0.9)
>>> game.values(torch.full((2, 5, 2), 0.5))
tensor([-1.5000, -1.5000])
"""

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
from games.from_gymnasium import from_gymnasium
from games.from_pettingzoo import from_pettingzoo
from games.gift_actions import gift_actions
from games.harvest import Harvest
from games.jungle import Jungle
from games.lase_cleanup import LaseCleanup
from games.matrix import MatrixGame, MatrixState, NormalForm
from games.minimal_transfer import MinimalTransfer, minimal_transfer
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
from games.zero_sum import zero_sum

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
    "welfare_optima",
    "zero_sum",
    "zero_sum_equilibrium",
]

"""The catalogue of games by name, with the settings of their sources."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from games import core, grid, matrix, networked
from games.core import Registry, require_name

if TYPE_CHECKING:
    from games.core import Game

LOLA = "Foerster et al., Learning with Opponent-Learning Awareness, arXiv 1709.04326"
M_FOS = "Lu et al., Model-Free Opponent Shaping, arXiv 2205.01447"
AXELROD = "Axelrod, The Evolution of Cooperation, 1984"
LASE = "LASE, arXiv 2410.07863"
MELTING_POT = "Leibo et al., Scalable Evaluation with Melting Pot, arXiv 2107.06857"
GIFTING = "Wang et al., Emergent Prosociality in Multi-Agent Games Through Gifting, arXiv 2105.06593"
WILLIS = "Willis et al., Resolving social dilemmas with minimal reward transfer, arXiv 2310.12928"
FEHR_GAECHTER = "Fehr and Gaechter, Cooperation and Punishment in Public Goods Experiments, AER 90(4), 2000"
LIO = "Yang et al., Learning to Incentivize Other Learning Agents, arXiv 2006.06051"
LOLA_DICE = "Foerster et al., DiCE: The Infinitely Differentiable Monte-Carlo Estimator, arXiv 1802.05098"
LERER = "Lerer and Peysakhovich, Maintaining cooperation in complex social dilemmas, arXiv 1707.01068"
HUGHES = (
    "Hughes et al., Inequity aversion improves cooperation in intertemporal social dilemmas, arXiv 1803.08884"
)
LTOS = (
    "Yi et al., Learning to Share in Networked Multi-Agent Reinforcement Learning, NeurIPS 2022, "
    "arXiv 2112.08702"
)
LITTMAN = "Littman, Markov Games as a Framework for Multi-Agent Reinforcement Learning, ICML 1994"
BRAESS = "Braess, Ueber ein Paradoxon aus der Verkehrsplanung, Unternehmensforschung 12, 1968"
PIGOU = "Pigou, The Economics of Welfare, 1920"
OWN = "made for this toolkit, after Choi and Bowles on parochial altruism, Science 318, 2007"
AID = (
    "made for this toolkit, after the donation game of Ohtsuki et al., A simple rule for the evolution of "
    "cooperation on graphs and social networks, Nature 441, 2006"
)
VARAIYA = (
    "model after Varaiya, Max pressure control of a network of signalized intersections, Transportation "
    "Research Part C 36, 2013"
)
IRRIGATION = (
    "made for this toolkit, after Ostrom and Gardner, Coping with Asymmetries in the Commons, Journal of "
    "Economic Perspectives 7(4), 1993"
)
INOCULATION = (
    "Aspnes et al., Inoculation strategies for victims of viruses and the sum-of-squares partition problem, "
    "Journal of Computer and System Sciences 72(6), 2006"
)
COURNOT = (
    "Cournot, Recherches sur les principes mathematiques de la theorie des richesses, 1838; numbers as in "
    "the code of Pax (Willi et al., 2022)"
)
FISHERY = (
    "Perman et al., Natural Resource and Environmental Economics, 3rd edition, 2003; numbers as in the code "
    "of Pax (Willi et al., 2022)"
)
PUNISHMENT = "Fehr and Gaechter, Altruistic punishment in humans, Nature 415, 2002"
MAGNETIC = (
    "Sokota et al., A Unified Approach to Reinforcement Learning, Quantal Response Equilibria, and "
    "Two-Player Zero-Sum Games, arXiv 2206.05825"
)
STORM = f"{MELTING_POT}; grid of STORM (Khan et al., arXiv 2312.12568), as in the code of JaxMARL"
NEGOTIATION = "Duque et al., Advantage Alignment Algorithms, arXiv 2406.14662"
HIDDEN_GIFTS = (
    "Malenfant and Richards, The challenge of hidden gifts in multi-agent reinforcement learning, "
    "arXiv 2505.20579"
)
STANDARD = "standard textbook form"

LIO_RULES: dict[str, Any] = {
    "agents": 2,
    "horizon": 50,
    "turning": False,
    "fining": False,
    "random_spawn": False,
}
MELTING_POT_RULES: dict[str, Any] = {
    "agents": 7,
    "view": (9, 5, 1, 5),
    "fine": 0.0,
    "fine_cost": 0.0,
    "radius": 4,
    "under_agents": True,
}


class GameEntry:
    """A game of the catalogue with its summary and its source; made on first use.

    Args:
        make: makes the game with its preset settings.
        summary: one line on the game.
        source: reference for its rules and numbers.

    >>> from games import entry
    >>> found = entry("pigou")
    >>> found.summary, found.game.num_agents
    ('a road that all take in the worst equilibrium, half in the optimum', 4)
    """

    def __init__(self, make: Callable[[], Game], summary: str, source: str) -> None:
        self._make, self.summary, self.source = make, summary, source

    @functools.cached_property
    def game(self) -> Game:
        """The game with its preset settings."""
        return self._make()


def _two(payoffs: tuple[float, float, float, float], summary: str, source: str, *names: str) -> GameEntry:
    """Entry of a symmetric two-agent game of two actions with payoffs R, S, T and P."""
    fields = ("reward", "sucker", "temptation", "punishment")
    settings: dict[str, Any] = dict(zip(fields, payoffs, strict=True)) | ({"names": names} if names else {})
    return GameEntry(lambda: matrix.SymmetricTwoAgentGame(**settings), summary, source)


def _table(table: tuple[Any, ...], summary: str, *names: str, source: str = STANDARD) -> GameEntry:
    return GameEntry(lambda: matrix.NormalForm(table=table, names=names), summary, source)


def _coordination(
    first: tuple[float, float], second: tuple[float, float], summary: str, *names: str
) -> GameEntry:
    return _table(((first, (0, 0)), ((0, 0), second)), summary, *names)


def _zero_sum(
    own: tuple[tuple[float, ...], ...], summary: str, *names: str, source: str = STANDARD
) -> GameEntry:
    return _table(tuple(tuple((x, -x) for x in row) for row in own), summary, *names, source=source)


SYMMETRIC = {
    "prisoners-dilemma": _two(
        (-1, -3, 0, -2), "prisoner's dilemma of the opponent-shaping literature: years in prison", LOLA
    ),
    "prisoners-dilemma-axelrod": _two(
        (3, 0, 5, 1), "prisoner's dilemma with positive payoffs, as in Axelrod's tournament", AXELROD
    ),
    "prisoners-dilemma-lase": _two(
        (4, 0, 5, 1), "prisoner's dilemma in which cooperation pays nearly as much as defection", LASE
    ),
    "chicken": _two(
        (0, -1, 1, -10), "two cars race at each other: greed, no fear", STANDARD, "swerve", "straight"
    ),
    "chicken-100": _two((0, -1, 1, -100), "chicken with a deadlier crash", M_FOS, "swerve", "straight"),
    "stag-hunt": _two((3, 0, 2, 1), "hunt the stag together or a hare alone", STANDARD, "stag", "hare"),
    "stag-hunt-melting-pot": _two(
        (4, 0, 2, 2),
        "stag hunt in which a hare is worth the same whatever the other agent hunts",
        MELTING_POT,
        "stag",
        "hare",
    ),
    "stag-hunt-gifting": _two(
        (2, -2, 1, 1), "risky stag hunt; the paper also sets sucker to -6 and -10", GIFTING, "hunt", "forage"
    ),
    "assurance": _two((2, 0, 0, 1), "two conventions, one of them better for both", STANDARD),
}

ZERO_SUM = {
    "matching-pennies": _zero_sum(
        ((1, -1), (-1, 1)), "agent 0 wins when the pennies match: zero-sum", "heads", "tails"
    ),
    "rock-paper-scissors": _zero_sum(
        ((0, -1, 1), (1, 0, -1), (-1, 1, 0)),
        "each action beats one and loses to one: zero-sum",
        *("rock", "paper", "scissors"),
    ),
    "perturbed-rock-paper-scissors": _zero_sum(
        ((0, -3, 3), (3, 0, -1), (-3, 1, 0)),
        "rock-paper-scissors with unequal stakes; rock is played once in seven times: zero-sum",
        *("rock", "paper", "scissors"),
        source=MAGNETIC,
    ),
}

GENERAL = {
    "battle-of-the-sexes": _coordination(
        (2, 1), (1, 2), "two agents want to meet, each at its own favorite place", "opera", "football"
    ),
    "battle-of-the-sexes-3-2": _coordination(
        (3, 2), (2, 3), "battle of the sexes with milder stakes", "opera", "football"
    ),
    "pure-coordination": _coordination((1, 1), (1, 1), "two conventions, equally good", "left", "right"),
    **ZERO_SUM,
    "shapley": _table(
        (((1, 0), (0, 1), (0, 0)), ((0, 0), (1, 0), (0, 1)), ((0, 1), (0, 0), (1, 0))),
        "agent 0 wants to match, agent 1 to be one ahead: fictitious play never settles",
        source="Shapley, Some topics in two-person games, Advances in Game Theory, 1964",
    ),
    "asymmetric-prisoners-dilemma": GameEntry(
        lambda: matrix.NormalForm(table=(((6, 3), (0, 4)), ((8, 0), (2, 1))), cooperative=True),
        "prisoner's dilemma in which agent 0 gains twice as much",
        WILLIS,
    ),
}

FAMILIES = {
    "symmetrical-prisoners-dilemma": GameEntry(
        lambda: matrix.SymmetricalPrisonersDilemma(),
        "N-agent prisoner's dilemma, everybody against everybody",
        WILLIS,
    ),
    "symmetrical-chicken": GameEntry(
        lambda: matrix.SymmetricalChicken(), "N-agent chicken, everybody against everybody", WILLIS
    ),
    "symmetrical-stag-hunt": GameEntry(
        lambda: matrix.SymmetricalStagHunt(), "N-agent stag hunt, everybody against everybody", WILLIS
    ),
    "cyclical-prisoners-dilemma": GameEntry(
        lambda: matrix.Cyclical(), "prisoner's dilemma of each agent against the next agent on a ring", WILLIS
    ),
    "tycoon-prisoners-dilemma": GameEntry(
        lambda: matrix.Tycoon(), "prisoner's dilemma of agent 0 against each other agent", WILLIS
    ),
    "circular-prisoners-dilemma": GameEntry(
        lambda: matrix.Circular(), "prisoner's dilemma weighted by nearness on a ring", WILLIS
    ),
    "public-goods": GameEntry(
        lambda: matrix.PublicGoods(), "keep a unit or put it into a pot that is multiplied", WILLIS
    ),
    "contribution": GameEntry(
        lambda: matrix.ContributionGame(agents=4), "linear public goods game without endowment", FEHR_GAECHTER
    ),
}

CONGESTION = {
    "braess": GameEntry(lambda: matrix.Braess(), "a shortcut that makes every driver slower", BRAESS),
    "pigou": GameEntry(
        lambda: matrix.Pigou(), "a road that all take in the worst equilibrium, half in the optimum", PIGOU
    ),
}

SEQUENTIAL = {
    "escape-room": GameEntry(
        lambda: matrix.EscapeRoom(),
        "some must hold the lever so that the others can leave through the door",
        LIO,
    ),
    "public-goods-punishment": GameEntry(
        lambda: matrix.PublicGoodsWithPunishment(),
        "contribute to a pot, then pay for reducing the payoffs of those who did not",
        PUNISHMENT,
    ),
    "negotiation": GameEntry(
        lambda: matrix.Negotiation(),
        "two agents divide items that they value differently, in proportion to their proposals",
        NEGOTIATION,
    ),
    "negotiation-continuous": GameEntry(
        lambda: matrix.ContinuousNegotiation(), "the negotiation game with continuous proposals", NEGOTIATION
    ),
    "clans": GameEntry(
        lambda: matrix.Clans(), "help for the partner, which in a feud is a raid on the other clan", OWN
    ),
}

MARKETS = {
    "cournot": GameEntry(
        lambda: matrix.Cournot(), "firms sell more than is best for them, which lowers the price", COURNOT
    ),
    "cournot-continuous": GameEntry(
        lambda: matrix.ContinuousCournot(), "Cournot competition with continuous quantities", COURNOT
    ),
    "fishery": GameEntry(
        lambda: matrix.Fishery(), "boats fish from a common stock, which grows while they rest", FISHERY
    ),
    "fishery-continuous": GameEntry(
        lambda: matrix.ContinuousFishery(), "the fishery with continuous efforts", FISHERY
    ),
}

SINGLE = {
    "chain": GameEntry(
        lambda: matrix.Chain(),
        "one agent: forward to a large reward at the end, or back for a small one",
        "Strens, A Bayesian Framework for Reinforcement Learning, ICML 2000",
    ),
}

GRIDS = {
    "coin-game": GameEntry(
        lambda: grid.CoinGame(),
        "pick up coins; taking a coin of the other agent's color costs that agent 2",
        f"{LERER}; rules as in the code released with {LOLA_DICE}",
    ),
    "coin-game-two-coins": GameEntry(
        lambda: grid.CoinGame(coins=2, anywhere=True, pay_last=False, horizon=16),
        "the coin game with a coin of each color at all times",
        M_FOS,
    ),
    "coin-game-lase": GameEntry(
        lambda: grid.CoinGame(size=5, color="random", tie="random", horizon=100, view=2),
        "the coin game on 5x5 cells, coins of random colors, seen through a window",
        LASE,
    ),
    "cleanup": GameEntry(lambda: grid.Cleanup(), "apples grow only while somebody cleans the river", HUGHES),
    "cleanup-more-waste": GameEntry(
        lambda: grid.Cleanup(map=grid.FOULER),
        "cleanup on a map with more waste: 23 cells must be cleaned before the first apple, not 9",
        f"{HUGHES}; map of pull request 203 to sequential_social_dilemma_games, which was not merged",
    ),
    "cleanup-lio-10x10": GameEntry(
        lambda: grid.Cleanup(map=grid.LIO_10X10, **LIO_RULES, view=(7, 7, 7, 7), apple_probability=0.3),
        "cleanup for two on a small map, without turning or fining",
        LIO,
    ),
    "cleanup-lio-7x7": GameEntry(
        lambda: grid.Cleanup(
            map=grid.LIO_7X7, **LIO_RULES, view=(4, 4, 4, 4), depletion=0.6, apple_probability=0.5
        ),
        "cleanup for two on a tiny map, without turning or fining",
        LIO,
    ),
    "cleanup-lase": GameEntry(
        lambda: grid.LaseCleanup(), "cleanup for four on 8x8 open cells, without beams", LASE
    ),
    "harvest": GameEntry(
        lambda: grid.Harvest(),
        "apples grow beside apples; firing the fining beam costs 1, being hit 50",
        HUGHES,
    ),
    "harvest-open": GameEntry(
        lambda: grid.Harvest(
            map=grid.OPEN,
            **MELTING_POT_RULES,
            regrowth=(0.0, 0.0025, 0.005, 0.025),
            beam_length=3,
            cooldown=3,
            time_out=4,
        ),
        "harvest in one open field; agents that are hit by a beam are away for a while",
        MELTING_POT,
    ),
    "harvest-closed": GameEntry(
        lambda: grid.Harvest(
            map=grid.CLOSED,
            **MELTING_POT_RULES,
            regrowth=(0.0, 0.001, 0.005, 0.025),
            beam_length=4,
            cooldown=2,
            time_out=100,
        ),
        "harvest with two enclosures that can be defended; agents that are hit are away for long",
        MELTING_POT,
    ),
    "stag-hunt-grid": GameEntry(
        lambda: grid.StagHuntGrid(),
        "a stag takes two agents on one cell; a hare takes one and is worth less",
        LASE,
    ),
    "snowdrift": GameEntry(
        lambda: grid.Snowdrift(), "clearing a drift costs one agent and benefits all", LASE
    ),
    "prisoner-corridor": GameEntry(
        lambda: grid.PrisonerCorridor(), "the near goal for one, or the far goals for both", LTOS
    ),
    "jungle": GameEntry(
        lambda: grid.Jungle(), "there is food for everybody, but attacking a neighbor pays more", LTOS
    ),
    "manitokan": GameEntry(
        lambda: grid.Manitokan(),
        "one key for all doors: dropping it is a gift that nobody sees",
        HIDDEN_GIFTS,
    ),
    "soccer": GameEntry(lambda: grid.Soccer(), "two agents and a ball on 4 x 5 cells: zero-sum", LITTMAN),
}


IN_THE_MATRIX = {
    "prisoners-dilemma-in-the-matrix": GameEntry(
        lambda: grid.InTheMatrix(),
        "collect items to cooperate or to defect, then meet: a prisoner's dilemma of mixed strategies",
        STORM,
    ),
    "chicken-in-the-matrix": GameEntry(
        lambda: grid.InTheMatrix(matrix=((3, 2), (5, 0)), names=("dove", "hawk")),
        "collect items of dove or hawk, then meet: chicken of mixed strategies",
        STORM,
    ),
    "stag-hunt-in-the-matrix": GameEntry(
        lambda: grid.InTheMatrix(matrix=((4, 0), (2, 2)), names=("stag", "hare")),
        "collect items of stag or hare, then meet: a stag hunt of mixed strategies",
        STORM,
    ),
    "running-with-scissors": GameEntry(
        lambda: _scissors(),
        "collect rock, paper or scissors, then meet: zero-sum",
        STORM,
    ),
    "running-with-scissors-one-shot": GameEntry(
        lambda: _scissors(one_shot=True),
        "running with scissors until the first interaction",
        STORM,
    ),
}

NETWORKED = {
    "aid": GameEntry(lambda: networked.Aid(), "costly help for the next agent on a ring", AID),
    "aid-hidden": GameEntry(
        lambda: networked.Aid(observe_graph=False),
        "aid on a ring that agents do not observe: all may share with all",
        AID,
    ),
    "aid-rewired": GameEntry(
        lambda: networked.Aid(
            agents=16, graph=networked.Ring(reach=2, directed=False), rewiring=0.2, horizon=10
        ),
        "aid on a graph whose edges change from step to step",
        AID,
    ),
    "routing": GameEntry(lambda: networked.Routing(), "packets choose links of limited capacity", LTOS),
    "traffic": GameEntry(
        lambda: networked.Traffic(),
        "signals on a grid of roads, where queues spill back",
        f"{LTOS}; {VARAIYA}",
    ),
    "irrigation": GameEntry(
        lambda: networked.Irrigation(), "agents further up a canal take water first", IRRIGATION
    ),
    "inoculation": GameEntry(
        lambda: networked.Inoculation(),
        "protection is costly to one agent and stops an infection for many",
        INOCULATION,
    ),
}


def _scissors(*, one_shot: bool = False) -> Game:
    return grid.InTheMatrix(
        matrix=((0, -10, 10), (10, 0, -10), (-10, 10, 0)),
        names=("rock", "paper", "scissors"),
        cooperative=False,
        map=grid.THREE_STRATEGIES,
        one_shot=one_shot,
    )


def _repeated(entry: GameEntry, source: str = "", **settings: Any) -> GameEntry:
    def make() -> Game:
        assert isinstance(entry.game, matrix.MatrixGame)
        return matrix.RepeatedGame(stage=entry.game, **settings)

    changed = "".join(f", {name} {value:g}" for name, value in settings.items())
    return GameEntry(make, f"repeated with memory one{changed}: {entry.summary}", source or entry.source)


REPEATED = {
    f"repeated-{name}": _repeated(entry) for name, entry in (SYMMETRIC | FAMILIES | ZERO_SUM).items()
} | {"repeated-matching-pennies-lola": _repeated(ZERO_SUM["matching-pennies"], LOLA, discount=0.9)}

CATALOGUE: Registry[GameEntry] = Registry(
    "game",
    SYMMETRIC
    | GENERAL
    | FAMILIES
    | REPEATED
    | CONGESTION
    | MARKETS
    | SINGLE
    | SEQUENTIAL
    | GRIDS
    | IN_THE_MATRIX
    | NETWORKED,
    listed_by="bilevel games",
)


def names() -> tuple[str, ...]:
    """Names of all games in the catalogue.

    >>> "stag-hunt" in names()
    True
    """
    return tuple(CATALOGUE)


def entry(name: str) -> GameEntry:
    """Look up a game with its summary and its source.

    Args:
        name: one of `names()`.
    Raises:
        ValueError: there is no such game (suggests the nearest).

    >>> entry("chicken").summary
    'two cars race at each other: greed, no fear'
    """
    return CATALOGUE.find(name)


def register(name: str, game: Game, *, summary: str = "", source: str = "", replace: bool = False) -> None:
    """Add a game to the catalogue, for the rest of the process.

    Args:
        name: in lower case, words joined by hyphens.
        game: the game with its preset settings.
        summary: one line; by default the first line of its class's docstring.
        source: reference for its rules and numbers.
        replace: let it replace a game of the same name.
    Raises:
        ValueError: the name is taken or malformed; or `game` is no game (as an environment is before
            `from_pettingzoo`, `from_gymnasium` or `from_openspiel`).

    >>> from games import make
    >>> register("tame-chicken", make("chicken", punishment=-2), summary="chicken without much to fear")
    >>> make("tame-chicken").punishment
    -2
    """
    is_game: bool = isinstance(game, core.Game)  # the annotation does not guarantee it
    core.require(
        is_game and dataclasses.is_dataclass(game),
        f"A game is a dataclass derived from games.Game, and {game!r} is none: an environment of others "
        "becomes one by from_pettingzoo, from_gymnasium or from_openspiel.",
    )
    documented = (inspect.getdoc(type(game)) or name).partition("\n")[0].rstrip(".")
    CATALOGUE.register(name, GameEntry(lambda: game, summary or documented, source), replace=replace)


def make(name: str, **settings: Any) -> Game:
    """Make a game by its name, changing some of its preset settings.

    Args:
        name: one of `names()`.
        settings: fields of the game's dataclass, with their new values.
    Returns:
        The game.
    Raises:
        ValueError: there is no such game or setting (suggests the nearest), or the game refuses a value.

    >>> make("public-goods", agents=5).num_agents
    5
    >>> make("public-goods", agnts=5)
    Traceback (most recent call last):
    ValueError: There is no setting of public-goods 'agnts'. Did you mean 'agents'? Known: agents, k.
    """
    game: Any = entry(name).game
    known = [field.name for field in dataclasses.fields(game)]
    for setting in settings:
        require_name(setting, known, f"setting of {name}")
    changed: Game = dataclasses.replace(game, **settings)
    return changed

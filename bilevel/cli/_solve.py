"""`bilevel solve`: learning rules on a zero-sum game, NashConv over time and strategies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import tyro
from rich.console import Console
from torch import Tensor

import games
from bilevel import report
from bilevel.cli._output import FAILED, Stopped
from bilevel.cli._settings import graph_rules, read_settings, require_once, split_leading
from bilevel.core import counted
from bilevel.experiments import LARGEST_SEED
from bilevel.report import Column, ResultsTable, Solution, broken, nash_conv_table, number
from bilevel.zero_sum import (
    RULES,
    SEQUENTIAL_RULES,
    Iterates,
    Rule,
    RuleState,
    learn,
    learn_sequential,
    make_rule,
    make_sequential_rule,
    sequential_game,
)
from games.core import Game, require
from games.theory import Strategies, nash_conv, payoff_table, zero_sum_equilibrium, zero_sum_matrix

DEFAULT_GAME = "matching-pennies"
OPENSPIEL = "openspiel:"
"""Prefix of the names of OpenSpiel's games."""
MAX_STEPS = 10**9
MAX_SEEDS = 1000
FIGURES = (".png", ".pdf", ".svg")
"""Formats of figures."""
MAX_ACTIONS = 8
"""Maximum number of actions, or columns, of a table of strategies."""
MAX_STATES = 24
"""Maximum number of information states, or rows, of a table of strategies."""

Rules = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME[(SETTING=VALUE,...)] ...", aliases=["--rule"])]


@dataclass(frozen=True, kw_only=True)
class SolveSettings:
    """Learning rules on a two-agent zero-sum game."""

    game_name: Annotated[str, tyro.conf.arg(name="game", metavar="NAME")]
    """Name of a one-shot game of `bilevel games`; or openspiel: and the name of one of OpenSpiel's sequential
    games."""
    game: Game
    """The game's settings."""
    rules: Rules = ("regret-matching-plus",)
    """Learning rules; settings go in parentheses, as in r-nad(temperature=0.5)."""
    steps: int = 1000
    """Number of steps, from 1 to 10^9."""
    seeds: int = 1
    """Number of random starts, from 1 to 1000; with several, the table shows the median of NashConv."""
    seed: int | None = 0
    """Random seed of the first start, a nonnegative integer; later ones have the next seeds. None: the rule's
    default start: uniform strategies or action 0."""

    def __post_init__(self) -> None:
        _require_steps(self.steps)
        require(1 <= self.seeds <= MAX_SEEDS, f"seeds must be from 1 to {MAX_SEEDS}, not {self.seeds}.")
        largest = LARGEST_SEED - self.seeds
        require(
            self.seed is None or 0 <= self.seed <= largest,
            f"seed must be from 0 to {largest}, not {self.seed}.",
        )
        require(self.seed is not None or self.seeds == 1, "Several starts need a seed, an integer.")
        _require_rules(self.rules, RULES)
        for text in self.rules:
            make_rule(text)
        try:
            _ = self.matrix
        except ValueError as error:
            raise ValueError(f"{self.game_name} cannot be solved: {error}") from error

    @property
    def matrix(self) -> Tensor:
        """The row agent's payoffs."""
        return zero_sum_matrix(torch.from_numpy(payoff_table(self.game).copy()))


@dataclass(frozen=True, kw_only=True)
class SequentialSettings:
    """Learning rules on a sequential two-agent zero-sum game of OpenSpiel's."""

    rules: Rules = ("cfr-plus",)
    """Learning rules of sequential games; settings go in parentheses, as in
    magnetic-mirror-descent(temperature=0.5)."""
    steps: int = 1000
    """Number of steps, from 1 to 10^9."""

    def __post_init__(self) -> None:
        _require_steps(self.steps)
        _require_rules(self.rules, SEQUENTIAL_RULES)
        for text in self.rules:
            make_sequential_rule(text)


def solve_command(arguments: list[str]) -> None:
    """Run the rules, print NashConv and strategies, and draw the figure if asked to."""
    chosen, rest = split_leading("bilevel solve", arguments, names=("game",), paths=("figure",))
    require_once([re.sub(r"^--rule(?=$|=)", "--rules", word) for word in rest], "rules")
    name = chosen.game or DEFAULT_GAME
    if chosen.figure is not None:
        require(
            chosen.figure.suffix in FIGURES,
            f"The name of a figure ends in {', '.join(FIGURES)}; {chosen.figure} does not.",
        )
        chosen.figure.parent.mkdir(parents=True, exist_ok=True)  # fails before the work, not after it
    console = Console(highlight=False, markup=False, emoji=False)
    try:
        solve = _solve_sequential if name.startswith(OPENSPIEL) else _solve
        title, solutions = solve(name, rest, console)
    except ModuleNotFoundError as missing:
        if missing.name is not None:
            raise
        raise Stopped(str(missing), FAILED) from None  # OpenSpiel's, which says how to install it
    except ArithmeticError as error:
        raise Stopped(f"{error} Payoffs of very different sizes can do that.", FAILED) from None
    if chosen.figure is not None:
        print(f"\nWritten: {report.write_nash_conv(solutions, chosen.figure, title)}")


def _solve(name: str, arguments: list[str], console: Console) -> tuple[str, dict[str, Solution]]:
    settings = parse_solve(name, arguments)
    matrix = settings.matrix
    solutions, finals = {}, {}
    for text in settings.rules:
        solutions[text], finals[text] = _learned(matrix, make_rule(text), settings)
    exact = zero_sum_equilibrium(matrix)
    console.print(f"{name}: value {number(exact.value)} for agent 0, by linear programming\n")
    console.print(nash_conv_table(solutions).to_rich())
    actions = settings.game.action_names
    if len(actions) <= MAX_ACTIONS:
        console.print()
        console.print(_strategies(actions, (exact.row, exact.column), finals, settings.seeds).to_rich())
    starts = "" if settings.seed is None else f", {counted(settings.seeds, 'random start')}"
    starts += ": medians and quartiles" if settings.seeds > 1 else ""
    return f"{name}, {counted(settings.steps, 'step')}{starts}", solutions


def _learned(matrix: Tensor, rule: Rule, settings: SolveSettings) -> tuple[Solution, RuleState]:
    """NashConv of all starts, and the final state, of the first start where the rule takes them singly."""
    seeds = [] if settings.seed is None else range(settings.seed, settings.seed + settings.seeds)
    starts = [_random_start(matrix, seed) for seed in seeds]
    batch: list[Strategies | None] = [None]
    if starts:
        together = tuple(torch.stack(one) for one in zip(*starts, strict=True))
        batch = [together] if rule.batched else [*starts]
    histories = [learn(matrix, rule, settings.steps, start=start) for start in batch]

    def of_all(curve: Callable[[Iterates], Tensor]) -> Tensor:
        curves = torch.stack([curve(history) for history in histories], -1)
        return curves.flatten(1)  # [record, start]

    def value(history: Iterates) -> Tensor:
        row, column = history.average
        return ((row @ matrix) * column).sum(-1)

    last = of_all(lambda history: nash_conv(matrix, history.last))
    average = of_all(lambda history: nash_conv(matrix, history.average))
    return Solution(histories[0].steps, last, average, of_all(value)), histories[0].state


def _solve_sequential(name: str, arguments: list[str], console: Console) -> tuple[str, dict[str, Solution]]:
    game = sequential_game(name.removeprefix(OPENSPIEL))
    settings = parse_sequential(name, arguments)
    solutions, policies = {}, {}
    for text in settings.rules:
        history = learn_sequential(game, make_sequential_rule(text), settings.steps)
        solutions[text] = Solution(history.steps, history.last, history.average, history.values)
        policies[text] = history.policy
    states = list(next(iter(policies.values())))
    console.print(f"{name}: {counted(len(states), 'information state')}\n")
    console.print(nash_conv_table(solutions).to_rich())
    if len(states) <= MAX_STATES:
        rows = [
            [state, *(" ".join(map(number, policy[state].values())) for policy in policies.values())]
            for state in sorted(states)
        ]
        columns = [Column(heading="information state"), *(Column(heading=broken(text)) for text in policies)]
        note = "Average policies: probabilities of the legal actions, in OpenSpiel's order."
        console.print()
        console.print(ResultsTable(columns=columns, rows=rows, notes=[note]).to_rich())
    return f"{name}, {counted(settings.steps, 'step')}", solutions


def parse_solve(game_name: str, arguments: list[str]) -> SolveSettings:
    game = games.make(game_name)
    return read_settings(
        SolveSettings,
        arguments,
        prog="bilevel solve",
        description=(
            f"Solve {game_name} by learning rules: print its value, and NashConv and the strategies of each "
            "rule's last and average iterates. NashConv is the sum of both agents' gains by best responses, "
            f"0 only in equilibrium.\n\nRules: {', '.join(RULES)}.\n\n--game NAME chooses another game "
            "(bilevel games), or one of OpenSpiel's sequential games, such as openspiel:kuhn_poker, with the "
            "rules "
            f"{', '.join(SEQUENTIAL_RULES)}. --figure FILE draws NashConv over time. --load FILE.py runs "
            "your own file, which registers a game. docs/how-to/zero-sum-games.md explains the rules."
        ),
        default=SolveSettings(game_name=game_name, game=game),
        rules=graph_rules(),
    )


def parse_sequential(name: str, arguments: list[str]) -> SequentialSettings:
    return read_settings(
        SequentialSettings,
        arguments,
        prog="bilevel solve",
        description=(
            f"Let learning rules solve {name}: NashConv of their last and average policies over time.\n\n"
            f"Rules of sequential games: {', '.join(SEQUENTIAL_RULES)}. --figure FILE draws NashConv."
        ),
    )


def _require_rules(rules: Sequence[str], known: Iterable[str]) -> None:
    require(len(rules) > 0, f"Name at least one learning rule: {', '.join(known)}.")
    twice = [rule for rule in rules if rules.count(rule) > 1]
    require(not twice, f"{', '.join(dict.fromkeys(twice))} is named twice: name every rule once.")


def _require_steps(steps: int) -> None:
    require(1 <= steps <= MAX_STEPS, f"steps must be from 1 to {MAX_STEPS}, not {steps}.")


def _random_start(matrix: Tensor, seed: int) -> Strategies:
    """Random initial strategies: softmax of standard normal logits."""
    generator = torch.Generator().manual_seed(seed)
    draws = (torch.randn(count, generator=generator, dtype=matrix.dtype) for count in matrix.shape)
    return tuple(draw.softmax(-1) for draw in draws)


def _strategies(
    actions: Sequence[str], exact: Strategies, finals: dict[str, RuleState], seeds: int
) -> ResultsTable:
    """Strategies of both agents: an equilibrium, and the last and average iterates of each rule."""
    rows = [("linear program", "equilibrium", agent, *own.tolist()) for agent, own in enumerate(exact)]
    for name, state in finals.items():
        label = broken(name)
        for iterate, strategies in (("last", state.strategies), ("average", state.average)):
            for agent, own in enumerate(strategies):
                first = own.reshape(-1, own.shape[-1])[0]
                rows.append((label, iterate, agent, *first.tolist()))
                label = ""
    columns = [Column(heading="strategies of"), Column(heading="iterate"), Column(heading="agent", form=str)]
    columns += [Column(heading=name, form=number) for name in actions]
    notes = ["Strategies are those of the first start."] if seeds > 1 else []
    return ResultsTable(columns=columns, rows=rows, notes=notes)

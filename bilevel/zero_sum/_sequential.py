"""Counterfactual regret minimization in sequential games, by OpenSpiel's solvers."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from bilevel.core import counted
from bilevel.zero_sum._rule import log_spaced
from games.adapters import load_openspiel
from games.core import require

MAX_HISTORIES = 400_000
"""Maximum number of histories of a sequential game."""


class Solver(Protocol):
    """A solver of a sequential game, with the methods of OpenSpiel's."""

    def evaluate_and_update_policy(self) -> None:
        """Take a step."""

    def current_policy(self) -> Any:
        """The last iterate, a `pyspiel.Policy`."""

    def average_policy(self) -> Any:
        """The average iterate, a `pyspiel.Policy`."""


class SequentialRule(ABC):
    """A learning rule of sequential games with hidden information.

    >>> from bilevel.zero_sum import CounterfactualRegretMinimization
    >>> isinstance(CounterfactualRegretMinimization(), SequentialRule)
    True
    """

    @abstractmethod
    def solver(self, game: Any) -> Solver:
        """Create the solver of a `pyspiel.Game`, before its first step."""


@dataclass(frozen=True)
class CounterfactualRegretMinimization(SequentialRule):
    """Counterfactual regret minimization (CFR): regret matching in every information state.

    Agents update in turn, and the plain average policy converges in two-agent zero-sum games. The solver is
    OpenSpiel's `pyspiel.CFRSolver`.

    Source:
        Zinkevich et al., Regret minimization in games with incomplete information, NeurIPS 2007.

    >>> from bilevel.zero_sum import learn_sequential
    >>> learn_sequential("kuhn_poker", CounterfactualRegretMinimization(), 100, record=[10, 100]).average
    tensor([0.1374, 0.0165], dtype=torch.float64)
    """

    def solver(self, game: Any) -> Solver:
        import pyspiel  # noqa: PLC0415  # an extra

        created: Solver = pyspiel.CFRSolver(game)
        return created


@dataclass(frozen=True)
class CounterfactualRegretMinimizationPlus(SequentialRule):
    """CFR+: regret matching+ in every information state, alternating updates, linear averaging.

    The solver is OpenSpiel's `pyspiel.CFRPlusSolver`.

    Source:
        Tammelin, Solving Large Imperfect Information Games Using CFR+, arXiv 1407.5042.

    >>> from bilevel.zero_sum import learn_sequential
    >>> learn_sequential("kuhn_poker", CounterfactualRegretMinimizationPlus(), 100, record=[10, 100]).average
    tensor([0.0654, 0.0024], dtype=torch.float64)
    """

    def solver(self, game: Any) -> Solver:
        import pyspiel  # noqa: PLC0415  # an extra

        created: Solver = pyspiel.CFRPlusSolver(game)
        return created


class SequentialHistory(NamedTuple):
    """NashConv of a rule's iterates in a sequential game, at recorded steps; see `learn_sequential`.

    >>> from bilevel.zero_sum import CounterfactualRegretMinimization, learn_sequential
    >>> history = learn_sequential("kuhn_poker", CounterfactualRegretMinimization(), 1000)
    >>> f"{history.values[-1]:.3f}"  # -1 / 18
    '-0.056'
    """

    steps: tuple[int, ...]
    """Recorded steps."""
    last: Tensor
    """NashConv of the last iterate, float64 [record], in the game's units."""
    average: Tensor
    """NashConv of the average iterate, float64 [record], in the game's units."""
    values: Tensor
    """The first agent's expected return under the average iterate, float64 [record], in the game's units."""
    policy: dict[str, dict[int, float]]
    """Average policy after the last step: information state -> action -> probability."""


def learn_sequential(
    game: str | Any, rule: SequentialRule, steps: int, *, record: Iterable[int] | None = None
) -> SequentialHistory:
    """Let a rule learn in a sequential two-agent zero-sum game of OpenSpiel's.

    Simultaneous moves are taken in turn, hidden from the other agent.

    Args:
        game: a name with OpenSpiel's syntax for parameters, or a `pyspiel.Game`.
        rule: the learning rule of both agents.
        steps: number of steps, 1 or more.
        record: steps to record, from 1 to `steps`; None: about ten per power of ten.

    Returns:
        NashConv and values over time, and the final average policy.

    Raises:
        ModuleNotFoundError: OpenSpiel is not installed.
        ValueError: as for `sequential_game`; there is no step, or one to record is out of range.
        FloatingPointError: the policies are no longer finite numbers.

    >>> from bilevel.zero_sum import CounterfactualRegretMinimizationPlus
    >>> history = learn_sequential("kuhn_poker", CounterfactualRegretMinimizationPlus(), 1000)
    >>> f"{history.average[-1]:.6f}"
    '0.000175'
    """
    loaded = sequential_game(game)
    import pyspiel  # noqa: PLC0415  # an extra

    require(steps >= 1, f"The number of steps must be 1 or more, not {steps}.")
    chosen = sorted(set(log_spaced(steps) if record is None else record))
    outside = [step for step in chosen if not 1 <= step <= steps]
    require(not outside, f"Recorded steps are from 1 to {steps}, not {outside[:1]}.")
    wanted, root = frozenset(chosen), loaded.new_initial_state()
    solver = rule.solver(loaded)
    last, average, values = [], [], []
    for step in range(1, steps + 1):
        solver.evaluate_and_update_policy()
        if step in wanted:
            policy = solver.average_policy()
            last.append(pyspiel.nash_conv(loaded, solver.current_policy()))
            average.append(pyspiel.nash_conv(loaded, policy))
            values.append(pyspiel.expected_returns(root, policy, -1, True)[0])
    return SequentialHistory(
        steps=tuple(chosen),
        last=torch.tensor(last, dtype=torch.float64),
        average=torch.tensor(average, dtype=torch.float64),
        values=torch.tensor(values, dtype=torch.float64),
        policy=_table(loaded, solver.average_policy()),
    )


def sequential_game(game: str | Any) -> Any:
    """Load a sequential two-agent zero-sum game of OpenSpiel's; simultaneous moves are taken in turn.

    Args:
        game: a name with OpenSpiel's syntax for parameters, or a `pyspiel.Game`.
    Returns:
        The `pyspiel.Game`.
    Raises:
        ModuleNotFoundError: OpenSpiel is not installed.
        ValueError: there is no such game; it is not a two-agent zero-sum game with information states and
            known probabilities of chance events; or it has more than 400 000 histories.

    >>> sequential_game("leduc_poker").num_players()
    2
    """
    loaded = load_openspiel(game)
    kind = loaded.get_type()
    name, agents = kind.short_name, loaded.num_players()
    utility = kind.utility.name.lower().replace("_", "-")
    require(
        agents == 2 and utility == "zero-sum",
        f"Only zero-sum games of two agents can be solved; {name} is {utility} and has "
        f"{counted(agents, 'agent')}.",
    )
    require(
        kind.chance_mode.name != "SAMPLED_STOCHASTIC"
        and kind.dynamics.name in ("SEQUENTIAL", "SIMULTANEOUS")
        and kind.provides_information_state_string,
        f"{name} has no tree with information states and known probabilities of chance events.",
    )
    if kind.dynamics.name == "SIMULTANEOUS":
        import pyspiel  # noqa: PLC0415  # an extra

        loaded = pyspiel.convert_to_turn_based(loaded)
    some = sum(1 for _ in itertools.islice(_histories(loaded), MAX_HISTORIES + 1))
    require(
        some <= MAX_HISTORIES,
        f"{name} has more than {MAX_HISTORIES} histories, and every step goes through all of them: choose "
        "parameters that make it smaller.",
    )
    return loaded


def _histories(game: Any) -> Iterator[Any]:
    """All states of a game's tree."""
    stack = [game.new_initial_state()]
    while stack:
        state = stack.pop()
        yield state
        if not state.is_terminal():
            stack += [state.child(action) for action in reversed(state.legal_actions())]


def _table(game: Any, policy: Any) -> dict[str, dict[int, float]]:
    """A policy's probabilities in all information states."""
    table: dict[str, dict[int, float]] = {}
    for state in _histories(game):
        if not (state.is_terminal() or state.is_chance_node()):
            key = state.information_state_string()
            if key not in table:
                table[key] = {int(action): float(chance) for action, chance in policy.get_state_policy(key)}
    return table

"""Nash equilibria of one-shot games: zero-sum solutions, NashConv, pure equilibria, prices of anarchy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, overload

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from games.core import ExactGame, Game, require
from games.matrix import CountedFamily
from games.theory._profiles import Outcome, outcomes, payoff_table, rounding, welfare_optima
from games.theory._strategies import action_payoffs, require_strategies

TOLERANCE = 1e-7
"""Largest duality gap, as a share of the payoffs' range, of a solved program: the solver's own tolerance."""


class ZeroSumEquilibrium(NamedTuple):
    """An equilibrium of a two-agent zero-sum game."""

    value: float  # the row agent's expected payoff, which the column agent pays, in the game's units
    row: Tensor  # the row agent's probabilities, float64 [row]
    column: Tensor  # the column agent's probabilities, float64 [column]
    gap: float  # sum of both agents' gains by deviating, in the game's units: 0 up to rounding


def zero_sum_equilibrium(payoffs: Tensor) -> ZeroSumEquilibrium:
    """Solve a two-agent zero-sum game by linear programming, for one of its equilibria.

    The row agent secures max_x min_b (x' A)_b, the column agent concedes at most min_y max_a (A y)_a. Each
    strategy is solved for separately; equal values (the minimax theorem) prove both optimal.

    Args:
        payoffs: the row agent's payoffs A, [row, column]; the column agent gets -A.
    Returns:
        The value of the game, and both agents' mixed strategies.
    Raises:
        ValueError: the payoffs are not a matrix of finite numbers.
        ArithmeticError: the linear program was not solved, or left a gap.
    Source:
        von Neumann, Zur Theorie der Gesellschaftsspiele, Mathematische Annalen 100, 1928.

    >>> pennies = zero_sum_equilibrium(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
    >>> pennies.value, pennies.row
    (0.0, tensor([0.5000, 0.5000], dtype=torch.float64))
    """
    shape = " x ".join(map(str, payoffs.shape)) or "one number"
    require(
        payoffs.ndim == 2 and payoffs.numel() > 0,
        f"Payoffs of a zero-sum game need one row and one column for each action; their shape is {shape}.",
    )
    require(bool(payoffs.isfinite().all()), "Every payoff must be finite; the matrix holds one that is not.")
    matrix = payoffs.detach().to("cpu", torch.float64).numpy()
    row, column = _maximin(matrix), _maximin(-matrix.T)
    secured, conceded = (row @ matrix).min(), (matrix @ column).max()
    gap = float(conceded - secured)
    if gap > TOLERANCE * (float(np.ptp(matrix)) or 1.0):
        raise ArithmeticError(f"The linear program left a gap of {gap:g} between the two agents' values.")
    return ZeroSumEquilibrium(
        float(secured + conceded) / 2,
        torch.as_tensor(row, device=payoffs.device),
        torch.as_tensor(column, device=payoffs.device),
        gap,
    )


def action_values(game: ExactGame, policies: Tensor) -> Tensor:
    """Values of each agent's actions, [..., agent, action], against the others' policies.

    Raises ValueError where the game has more than one step or observation.
    """
    require(
        game.horizon == 1 and game.num_observations == 1,
        f"Best responses are found action by action in one-shot games; {type(game).__name__} has "
        f"{game.horizon} steps and {game.num_observations} observations.",
    )
    if isinstance(game, CountedFamily):
        return game.action_values(policies)
    agents, actions = policies.shape[-3], policies.shape[-1]
    deviator = torch.eye(agents, dtype=torch.bool, device=policies.device)[:, None, :, None, None]
    pure = torch.eye(actions, dtype=policies.dtype, device=policies.device)[:, None, None, :]
    profiles = torch.where(deviator, pure, policies[..., None, None, :, :, :])
    return game.values(profiles).diagonal(dim1=-3, dim2=-1).mT  # of [..., deviator, action, agent]


@overload
def nash_conv(game: ExactGame, policies: Tensor) -> Tensor: ...
@overload
def nash_conv(game: Tensor, policies: Sequence[Tensor]) -> Tensor: ...
def nash_conv(game: ExactGame | Tensor, policies: Tensor | Sequence[Tensor]) -> Tensor:
    """Compute NashConv: the sum of all agents' gains by unilateral best responses, 0 only in equilibrium.

    Args:
        game: a one-shot game, of any number of agents; or payoffs, as for `action_counts`.
        policies: probabilities [..., agent, 1, action]; with payoffs, each agent's strategy [..., action].
    Returns:
        The sum, [...], in the game's units.
    Raises:
        ValueError: the game has more than one step or observation, or the strategies do not fit the payoffs.
    Source:
        Lanctot et al., A Unified Game-Theoretic Approach to Multiagent Reinforcement Learning, arXiv
        1711.00832.

    >>> from games import make
    >>> nash_conv(make("prisoners-dilemma"), torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))  # one cooperates
    tensor(1.)
    >>> nash_conv(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.5, 0.5]]).unbind())
    tensor(1.)
    """
    if isinstance(game, ExactGame):
        assert isinstance(policies, Tensor)
        values = action_values(game, policies)
        return _gains(values, policies.squeeze(-2)).sum(-1)
    strategies = tuple(policies)
    require_strategies(game, strategies)
    gains = [_gains(action_payoffs(game, strategies, agent), own) for agent, own in enumerate(strategies)]
    return torch.stack(gains).sum(0)


def _gains(values: Tensor, strategies: Tensor) -> Tensor:
    """Gains by best responses, [...], of action values and probabilities [..., action]."""
    return values.amax(-1) - (values * strategies).sum(-1)


@overload
def exploitability(game: ExactGame, policies: Tensor) -> Tensor: ...
@overload
def exploitability(game: Tensor, policies: Sequence[Tensor]) -> Tensor: ...
def exploitability(game: ExactGame | Tensor, policies: Tensor | Sequence[Tensor]) -> Tensor:
    """NashConv / N: the mean gain of an agent by a unilateral best response.

    Args:
        game: as for `nash_conv`.
        policies: as for `nash_conv`.
    Returns:
        The mean gain, [...], in the game's units.
    Raises:
        ValueError: as for `nash_conv`.
    Source:
        Lanctot et al., OpenSpiel: A Framework for Reinforcement Learning in Games, arXiv 1908.09453.

    >>> from games import make
    >>> exploitability(make("prisoners-dilemma"), torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
    tensor(0.5000)
    """
    if isinstance(game, ExactGame):
        assert isinstance(policies, Tensor)
        return nash_conv(game, policies) / game.num_agents
    return nash_conv(game, tuple(policies)) / len(policies)


def _maximin(payoffs: NDArray[np.float64]) -> NDArray[np.float64]:
    """The maximin mixture of rows: max v such that x' A >= v in every column, sum(x) = 1, x >= 0."""
    rows, columns = payoffs.shape
    scaled = (payoffs - payoffs.min()) / (np.ptp(payoffs) or 1.0)  # the solver's tolerances are absolute
    answer: Any = scipy.optimize.linprog(
        c=[0.0] * rows + [-1.0],
        A_ub=np.hstack((-scaled.T, np.ones((columns, 1)))),
        b_ub=np.zeros(columns),
        A_eq=[[1.0] * rows + [0.0]],
        b_eq=[1.0],
        bounds=[(0, None)] * rows + [(None, None)],
    )
    if answer.status != 0:
        raise ArithmeticError(f"The linear program was not solved: {answer.message}")
    weights = np.maximum(answer.x[:-1], 0)
    strategy: NDArray[np.float64] = weights / weights.sum()
    return strategy


class Price(NamedTuple):
    """A price of anarchy or of stability, or the reason why it is undefined.

    >>> from games import make
    >>> from games.theory import price_of_selfishness
    >>> price_of_selfishness(make("matching-pennies")).price_of_anarchy
    Price(value=None, reason='There is no pure equilibrium.')
    """

    value: float | None
    """The ratio, 1 or more; None if undefined."""
    reason: str
    """One sentence: the totals compared, or the reason why the ratio is undefined."""


class Anarchy(NamedTuple):
    """The welfare optima and pure equilibria of a one-shot game, with the prices of anarchy and stability.

    >>> from games import make
    >>> from games.theory import price_of_selfishness
    >>> found = price_of_selfishness(make("stag-hunt"))
    >>> found.price_of_anarchy.value, found.price_of_stability.value
    (3.0, 1.0)
    """

    optima: tuple[Outcome, ...]
    """Profiles with maximum welfare, ordered by their actions."""
    equilibria: tuple[Outcome, ...]
    """Pure Nash equilibria, ordered by their actions; mixed equilibria are not enumerated."""
    price_of_anarchy: Price
    """Ratio of the optimum and the worst pure equilibrium."""
    price_of_stability: Price
    """Ratio of the optimum and the best pure equilibrium."""


def pure_equilibria(game: Game) -> tuple[Outcome, ...]:
    """All pure Nash equilibria of a one-shot game, by exhaustive search.

    Args:
        game: a one-shot game with exact values.
    Returns:
        The equilibria in the order of their actions, agent 0's first.
    Raises:
        ValueError: as for `payoff_table`.
    Source:
        Nash, Equilibrium points in n-person games, PNAS 36(1), 1950.

    >>> from games import make
    >>> pure_equilibria(make("stag-hunt"))
    (Outcome(profile=(0, 0), welfare=6.0), Outcome(profile=(1, 1), welfare=2.0))
    """
    table = payoff_table(game)
    stays = np.ones(table.shape[:-1], dtype=bool)
    for agent in range(game.num_agents):
        own = table[..., agent]
        stays &= own >= own.max(agent, keepdims=True) - rounding(table)
    return outcomes(table, stays)


def price_of_selfishness(game: Game) -> Anarchy:
    """Compare the pure equilibria of a one-shot game with exact values with its optimum.

    If no profile's welfare is below 0, welfare is a payoff, and a price is the best welfare over the
    equilibrium's. If none is above 0, minus welfare is a cost, and a price is the equilibrium's cost over the
    least. If both signs occur, a ratio would depend on the choice of zero, and is undefined; so is a ratio
    over 0.

    Args:
        game: a one-shot game with exact values, of any number of agents.
    Returns:
        Optima, pure equilibria, and the prices of anarchy and of stability.
    Raises:
        ValueError: as for `payoff_table`.
    Source:
        Koutsoupias and Papadimitriou, Worst-case equilibria, STACS 1999; stability: Anshelevich et al., The
        price of stability for network design with fair cost allocation, FOCS 2004.

    >>> from games import make
    >>> price_of_selfishness(make("braess")).price_of_anarchy.value == 320 / 260
    True
    """
    table = payoff_table(game)
    welfare, equal = table.sum(-1), game.num_agents * rounding(table)
    optima, equilibria = welfare_optima(game), pure_equilibria(game)
    least, most = float(welfare.min()), float(welfare.max())
    reason = ""
    if not equilibria:
        reason = "There is no pure equilibrium."
    elif least < -equal and most > equal:
        reason = f"Welfare runs from {least:.4g} to {most:.4g}: a ratio would depend on where zero was put."
    elif abs(most) <= equal:
        reason = "The best welfare is 0: there is nothing to divide, or to divide by."
    if reason:
        return Anarchy(optima, equilibria, Price(None, reason), Price(None, reason))
    by_welfare = sorted(equilibria, key=lambda outcome: outcome.welfare)
    anarchy, stability = (_price(most, by_welfare[place].welfare, equal) for place in (0, -1))
    return Anarchy(optima, equilibria, anarchy, stability)


def _price(best: float, equilibrium: float, equal: float) -> Price:
    """An equilibrium's price; welfare of at most `equal` counts as 0."""
    if best < 0:
        return Price(
            equilibrium / best,
            f"Cost of the equilibrium over the minimum cost: {-equilibrium:.4g} / {-best:.4g}.",
        )
    if equilibrium <= equal:
        return Price(None, f"The equilibrium's welfare is 0 and the best is {best:.4g}: no ratio is finite.")
    return Price(
        best / equilibrium, f"The best welfare over the equilibrium's: {best:.4g} / {equilibrium:.4g}."
    )

"""Nash equilibria of one-shot games: solve the zero-sum ones, measure how far any policies are from one."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor

from games.base import ExactGame
from games.counted import CountedFamily
from games.errors import require

TOLERANCE = 1e-7
"""The largest duality gap, as a share of the payoffs' range, that counts as solved: the solver's own."""


class ZeroSumEquilibrium(NamedTuple):
    """A solved zero-sum game."""

    value: float
    """What the row agent gets in expectation, and the column agent pays, in the game's units."""
    row: Tensor
    """The row agent's strategy, probabilities, float64 [row]."""
    column: Tensor
    """The column agent's strategy, probabilities, float64 [column]."""
    gap: float
    """What the two could gain by deviating, added up, in the game's units: 0 up to rounding."""


def zero_sum_equilibrium(payoffs: Tensor) -> ZeroSumEquilibrium:
    """Solve a two-agent zero-sum game by linear programming.

    The row agent secures max_x min_b (x' A)_b, the column agent holds it to min_y max_a (A y)_a; each
    strategy is solved for on its own, and that the two values meet (the minimax theorem) proves both right.
    Where equilibria are many, this is one of them.

    Args:
        payoffs: A, the row agent's, [row, column]; the column agent gets -A.

    Raises:
        ValueError: the payoffs are no matrix of finite numbers.
        ArithmeticError: the linear programme's answer leaves a gap.

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
    secured, held = (row @ matrix).min(), (matrix @ column).max()
    gap = float(held - secured)
    if gap > TOLERANCE * (float(np.ptp(matrix)) or 1.0):
        raise ArithmeticError(f"The linear programme left a gap of {gap:g} between the two agents' values.")
    return ZeroSumEquilibrium(
        float(secured + held) / 2,
        torch.as_tensor(row, device=payoffs.device),
        torch.as_tensor(column, device=payoffs.device),
        gap,
    )


def action_values(game: ExactGame, policies: Tensor) -> Tensor:
    """What each action of each agent is worth when the others keep to their policies.

    Args:
        game: a one-shot game, of any number of agents.
        policies: probabilities [..., agent, 1, action].

    Returns:
        [..., agent, action], in the game's units.

    Raises:
        ValueError: the game lasts longer than one step, or has something to see.

    >>> from games.two_agent import SymmetricTwoAgentGame
    >>> action_values(SymmetricTwoAgentGame(), torch.full((2, 1, 2), 0.5))
    tensor([[-2., -1.],
            [-2., -1.]])
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


def best_response(game: ExactGame, policies: Tensor) -> Tensor:
    """The best action of each agent against the others' policies, the lowest of several.

    Args:
        game: a one-shot game, of any number of agents.
        policies: probabilities [..., agent, 1, action].

    Returns:
        int64 [..., agent].

    Raises:
        ValueError: as for `action_values`.

    >>> from games.two_agent import SymmetricTwoAgentGame
    >>> best_response(SymmetricTwoAgentGame(), torch.full((2, 1, 2), 0.5))
    tensor([1, 1])
    """
    return action_values(game, policies).argmax(-1)


def nash_conv(game: ExactGame, policies: Tensor) -> Tensor:
    """What the agents would gain by best responses, each on its own, added up; 0 in an equilibrium.

    Args:
        game: a one-shot game, of any number of agents.
        policies: probabilities [..., agent, 1, action].

    Returns:
        [...], in the game's units, 0 or more.

    Raises:
        ValueError: as for `action_values`.

    Source:
        Lanctot et al., A Unified Game-Theoretic Approach to Multiagent Reinforcement Learning, arXiv
        1711.00832.

    >>> from games.two_agent import SymmetricTwoAgentGame
    >>> nash_conv(SymmetricTwoAgentGame(), torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))  # one cooperates
    tensor(1.)
    """
    values = action_values(game, policies)
    return (values.amax(-1) - (values * policies.squeeze(-2)).sum(-1)).sum(-1)


def exploitability(game: ExactGame, policies: Tensor) -> Tensor:
    """NashConv / N: the mean gain of a best response.

    Args:
        game: a one-shot game, of any number of agents.
        policies: probabilities [..., agent, 1, action].

    Returns:
        [...], in the game's units, 0 or more.

    Raises:
        ValueError: as for `action_values`.

    Source:
        Lanctot et al., OpenSpiel: A Framework for Reinforcement Learning in Games, arXiv 1908.09453.

    >>> from games.two_agent import SymmetricTwoAgentGame
    >>> exploitability(SymmetricTwoAgentGame(), torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
    tensor(0.5000)
    """
    return nash_conv(game, policies) / game.num_agents


def _maximin(payoffs: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rows' mixture that secures most: max v such that x' A >= v in every column, sum(x) = 1, x >= 0."""
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
        raise ArithmeticError(f"The linear programme was not solved: {answer.message}")
    weights = np.maximum(answer.x[:-1], 0)
    strategy: NDArray[np.float64] = weights / weights.sum()
    return strategy

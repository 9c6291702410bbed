"""Mixed strategies on payoff tables: expected payoffs of actions, in games of any number of actions each."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from games.core import require

Strategies = tuple[Tensor, ...]
"""A mixed strategy of every agent: probabilities [..., action], one tensor per agent, with equal leading
axes (seeds, say). Agents may have different numbers of actions."""

TOLERANCE = 1e-9
"""Largest sum of the payoffs of an outcome, as a share of the largest payoff, that counts as 0."""


def action_counts(payoffs: Tensor) -> tuple[int, ...]:
    """The number of actions of every agent.

    Args:
        payoffs: of a two-agent zero-sum game, the row agent's [row, column]; of any other game, a table
            [A_0, ..., A_(N-1), agent] with one axis for each agent's actions, as `payoff_table` has it.
    Raises:
        ValueError: the payoffs have neither shape, or are not floating or not finite.

    >>> import torch
    >>> action_counts(torch.zeros(2, 3)), action_counts(torch.zeros(2, 2, 2, 3))
    ((2, 3), (2, 2, 2))
    """
    shape = " x ".join(map(str, payoffs.shape)) or "one number"
    matrix = payoffs.ndim == 2
    require(
        payoffs.numel() > 0 and (matrix or (payoffs.ndim > 2 and payoffs.shape[-1] == payoffs.ndim - 1)),
        "Payoffs are a matrix of the row agent's (the column agent gets minus them), or a table with one "
        f"axis for each agent's actions and a last one for the agents; their shape is {shape}.",
    )
    require(
        payoffs.is_floating_point() and bool(payoffs.isfinite().all()),
        "Every payoff must be a finite floating number; the payoffs hold one that is not.",
    )
    return tuple(payoffs.shape) if matrix else tuple(payoffs.shape[:-1])


def action_payoffs(payoffs: Tensor, strategies: Sequence[Tensor], agent: int) -> Tensor:
    """Expected payoffs of an agent's actions against the other agents' strategies.

    The strategies need not sum to 1: the result is linear in each, so that counts of actions give sums of
    payoffs. Shapes are not checked.

    Args:
        payoffs: as for `action_counts`.
        strategies: of every agent, [..., action] each.
        agent: index of the agent; its own strategy does not matter.
    Returns:
        Expected payoffs, [..., action of the agent], in the game's units.

    >>> import torch
    >>> pennies = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    >>> action_payoffs(pennies, (torch.tensor([1.0, 0.0]), torch.tensor([0.25, 0.75])), agent=0)
    tensor([-0.5000,  0.5000])
    """
    if payoffs.ndim == 2:
        return strategies[1] @ payoffs.mT if agent == 0 else -(strategies[0] @ payoffs)
    own = payoffs[..., agent].movedim(agent, 0)
    others = [strategy for index, strategy in enumerate(strategies) if index != agent]
    for place in range(len(others), 0, -1):
        strategy = others[place - 1]
        own = (own * strategy.reshape(*strategy.shape[:-1], *[1] * place, strategy.shape[-1])).sum(-1)
    return own


def require_strategies(payoffs: Tensor, strategies: Sequence[Tensor]) -> None:
    """Raise ValueError unless there is a strategy of every agent, each over its own actions.

    >>> import torch
    >>> require_strategies(torch.zeros(2, 3), (torch.ones(2) / 2, torch.ones(2) / 2))
    Traceback (most recent call last):
    ValueError: The agents of these payoffs have 2, 3 actions; the strategies are over 2, 2.
    """
    actions = action_counts(payoffs)
    given = tuple(strategy.shape[-1] if strategy.ndim else 0 for strategy in strategies)
    require(
        given == actions,
        f"The agents of these payoffs have {', '.join(map(str, actions))} actions; the strategies are over "
        f"{', '.join(map(str, given)) or 'none'}.",
    )


def zero_sum_matrix(payoffs: Tensor) -> Tensor:
    """The row agent's payoffs in a two-agent zero-sum game.

    Args:
        payoffs: as for `action_counts`.
    Returns:
        The matrix [row, column]; the column agent gets minus it.
    Raises:
        ValueError: there are more than two agents, or the payoffs of some outcome do not sum to 0.

    >>> from games import make
    >>> zero_sum_matrix(make("matching-pennies").payoffs())
    tensor([[ 1., -1.],
            [-1.,  1.]], dtype=torch.float64)
    """
    agents = len(action_counts(payoffs))
    require(agents == 2, f"The game has {agents} agents; only zero-sum games of two agents can be solved.")
    if payoffs.ndim == 2:
        return payoffs
    sums = payoffs.sum(-1).flatten()
    largest = float(sums[sums.abs().argmax()])
    require(
        abs(largest) <= TOLERANCE * float(payoffs.abs().max()),
        f"The game is general-sum, not zero-sum: the payoffs of one outcome sum to {largest:g}, not 0.",
    )
    return payoffs[..., 0]

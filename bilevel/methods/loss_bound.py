"""Rewards as losses above 0: what no value comes up to, and refusals where one does."""

from __future__ import annotations

from torch import Tensor

from bilevel.errors import require
from games.base import Game
from games.counted import CountedFamily, count_array
from games.matrix import MatrixGame, payoff_array
from games.repeated import RepeatedGame


def loss_bound(game: Game, asked: float | None) -> float:
    """What an agent's loss is counted from: loss = bound - value, in the game's units of value.

    Where payoffs are laid out in a table and nothing is asked, it is 0 if they are all below 0, so that costs
    are losses as they are, and else the greatest payoff plus the range of payoffs.

    Args:
        game: what is played.
        asked: the bound that was asked for; None: the game's own.

    Raises:
        ValueError: nothing was asked and the payoffs are in no table, or a payoff comes up to what was asked.

    >>> import games
    >>> [loss_bound(games.make(name), None) for name in ("braess", "repeated-prisoners-dilemma")]
    [0.0, 3.0]
    """
    stage = game.stage if isinstance(game, RepeatedGame) else game
    if not isinstance(stage, MatrixGame):
        require(
            asked is not None,
            f"Losses are bound - value and must stay above 0, and nobody knows what value an agent can reach "
            f"in {type(game).__name__}: say a number above it, --method.loss-bound (in compare: --set "
            "d3c.loss-bound=NUMBER).",
        )
        assert asked is not None
        return asked
    payoffs = count_array(stage) if isinstance(stage, CountedFamily) else payoff_array(stage)
    greatest, least = float(payoffs.max()), float(payoffs.min())
    require(
        asked is None or asked > greatest,
        f"Losses are loss_bound - value and must stay above 0, but an agent of {type(game).__name__} can get "
        f"{greatest:g}, and loss_bound is {asked}: choose one above that, or none for the game's own.",
    )
    if asked is not None:
        return asked
    return 0.0 if greatest < 0 else greatest + (greatest - least or 1.0)


def positive_losses(values: Tensor, bound: float) -> Tensor:
    """Turn values into losses.

    Args:
        values: [seed, agent], in the game's units.
        bound: from `loss_bound`.

    Returns:
        [seed, agent], all above 0.

    Raises:
        FloatingPointError: a value comes up to the bound (names the first seed and agent).
    """
    losses = bound - values
    bad = ~(losses > 0)
    if bad.any():
        seed, agent = bad.nonzero()[0].tolist()
        raise FloatingPointError(
            f"Losses are loss_bound - value and must stay above 0, but agent {agent} of seed {seed} got "
            f"{float(values[seed, agent]):g}, and loss_bound is {bound:g}: choose one above every value, "
            "--method.loss-bound."
        )
    return losses

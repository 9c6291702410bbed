"""Learners of methods in which what passes between agents is given, not learned."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from bilevel.methods.base import Method
from bilevel.methods.contract import Placement
from bilevel.methods.learner import PolicyLearner
from bilevel.methods.outer_learner import OuterLearner
from bilevel.outer.variables import OuterVariable
from games.base import Game


def policy_learner(
    method: Method,
    game: Game,
    placement: Placement,
    variable: OuterVariable,
    *,
    schedule: Callable[[int], Tensor] | None = None,
) -> PolicyLearner:
    """Build policies that learn under what is given, and above them, if asked, the weights of their losses.

    Args:
        method: the settings.
        game: what is played.
        placement: seeds, precision, device.
        variable: what passes between the agents.
        schedule: as of `PolicyLearner`.

    Raises:
        ValueError: as `PolicyLearner`.

    >>> import games
    >>> from bilevel.methods import Selfish
    >>> method = Selfish(inner_learner="actor-critic", learn_loss_weights=True)
    >>> learner = method.build(games.make("escape-room"), Placement(seeds=3))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["value_weight_0"]  # under which agent 0 learned
    tensor([0.5000, 0.5000, 0.5000], dtype=torch.float64)
    """
    if method.learn_loss_weights:
        return OuterLearner(method, game, placement, variable, objective=None, schedule=schedule)
    return PolicyLearner(method, game, placement, variable, schedule=schedule)

"""`inequity-aversion`: agents that feel envy and guilt."""

from __future__ import annotations

from dataclasses import dataclass

from bilevel.methods.base import Method
from bilevel.methods.contract import Learner, Placement
from bilevel.methods.held import policy_learner
from bilevel.outer.shaping import Felt, InequityAversion
from games.base import Game


@dataclass(frozen=True, kw_only=True)
class InequityAverse(Method):
    """Envy and guilt: agents learn from their reward less what inequity costs them (`InequityAversion`).

    Needs: everybody's rewards. Conserves nothing, and nothing changes hands: welfare is still that of the
    game's own rewards.

    Raises:
        ValueError: a setting is out of range.

    Source:
        Hughes et al., arXiv 1803.08884. The defaults of envy, guilt and trace are SocialJax's; the discount
        is the game's.

    >>> import games
    >>> learner = InequityAverse().build(games.make("escape-room"), Placement(seeds=2))
    >>> learner.update(learner.init(seed=0))[1]["welfare"].shape
    torch.Size([2])
    """

    exact: bool = False
    """Feelings depend on the rewards of each step, so episodes are played: exact values are refused."""
    envy: float = 5.0
    """Weight of having less, 0 or more."""
    guilt: float = 0.05
    """Weight of having more, 0 or more."""
    trace: float = 0.95
    """How long rewards are remembered, from 0 to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._feeling(discount=1.0)

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        return policy_learner(self, game, placement, Felt(self._feeling(game.discount), game.num_agents))

    def _feeling(self, discount: float) -> InequityAversion:
        return InequityAversion(self.envy, self.guilt, self.trace, discount)

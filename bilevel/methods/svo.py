"""`svo`: agents that keep to an angle between their own reward and the others'."""

from __future__ import annotations

from dataclasses import dataclass

from bilevel.methods.base import Method
from bilevel.methods.contract import Learner, Placement
from bilevel.methods.held import policy_learner
from bilevel.outer.shaping import Felt, SocialValueOrientation
from games.base import Game


@dataclass(frozen=True, kw_only=True)
class SVO(Method):
    """Social value orientation: agents keep to an angle between their own reward and the others'.

    Needs: everybody's rewards. Conserves nothing, and nothing changes hands: welfare is still that of the
    game's own rewards.

    Raises:
        ValueError: a setting is out of range.

    Source:
        McKee et al., Social diversity and social preferences in mixed-motive reinforcement learning, arXiv
        2002.02325.

    >>> import games
    >>> learner = SVO(target=90.0).build(games.make("escape-room"), Placement(seeds=2))
    >>> learner.update(learner.init(seed=0))[1]["welfare"].shape
    torch.Size([2])
    """

    exact: bool = False
    """Angles depend on the rewards of each step, so episodes are played: exact values are refused."""
    weight: float = 0.2
    """Of the distance from the target, 0 or more, in reward units per radian."""
    target: float = 45.0
    """The angle to keep to, from -180 to 180 degrees: 0 is selfish, 45 prosocial, 90 altruistic."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._feeling()

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        return policy_learner(self, game, placement, Felt(self._feeling(), game.num_agents))

    def _feeling(self) -> SocialValueOrientation:
        return SocialValueOrientation(self.weight, self.target)

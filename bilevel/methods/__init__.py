"""Methods: one file each, a few dozen lines over the same parts.

>>> import games
>>> game = games.make("repeated-prisoners-dilemma")
>>> learner = METHODS["tos"](inner_steps=1).build(game, Placement(seeds=4))
>>> state, metrics = learner.update(learner.init(seed=0))
>>> metrics["welfare"].shape
torch.Size([4])
"""

from __future__ import annotations

from bilevel.methods.base import Method, Placement
from bilevel.methods.fixed import Fixed
from bilevel.methods.learner import Learner, SharingLearner
from bilevel.methods.prosocial import Prosocial
from bilevel.methods.selfish import Selfish
from bilevel.methods.tos import ToS

__all__ = [
    "METHODS",
    "Fixed",
    "Learner",
    "Method",
    "Placement",
    "Prosocial",
    "Selfish",
    "SharingLearner",
    "ToS",
]

METHODS: dict[str, type[Method]] = {
    "selfish": Selfish,
    "prosocial": Prosocial,
    "fixed": Fixed,
    "tos": ToS,
}

"""Methods: settings that build learners from shared components; `METHODS` is their registry.

>>> import games
>>> game = games.make("repeated-prisoners-dilemma")
>>> learner = METHODS["tos"]().build(game, Placement(seeds=4))
>>> state, metrics = learner.update(learner.init(seed=0))
>>> metrics["welfare"].shape
torch.Size([4])
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

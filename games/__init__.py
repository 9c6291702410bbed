"""Games: social dilemmas as batched tensor programs, exact where they can be.

The names of `__init__.pyi` load when they are first used.

>>> import games, torch
>>> game = games.make("repeated-prisoners-dilemma", discount=0.9)
>>> game.values(torch.full((2, 5, 2), 0.5))
tensor([-1.5000, -1.5000])
"""

import os

import lazy_loader

# MKL reads this at its first call, of whatever kind: products of a batch's members then round alike, however
# many members there are and wherever in memory they lie.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

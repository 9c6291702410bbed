"""Games: social dilemmas as batched tensor programs, exact where they can be.

The names below load when they are first used. A module that has the name of one of them is called `_name`,
or it would stand in that name's place as soon as it is imported.

>>> import games, torch
>>> game = games.make("repeated-prisoners-dilemma", discount=0.9)
>>> game.values(torch.full((2, 5, 2), 0.5))
tensor([-1.5000, -1.5000])
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

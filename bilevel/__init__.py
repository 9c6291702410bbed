"""Bilevel optimization for social dilemmas and loss weights.

The names below load when they are first used, so that `import bilevel` answers at once and the command
line can be interrupted while the rest loads.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Grid games, and the engine that they share: maps, moves, views and frames."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""The contract of games, random streams, constants and how bad input is refused."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Matrix games: normal forms, families for N agents, repeated games, congestion, and Escape Room."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Matrix games, repeated games, and other games without a map: congestion, markets, goods, negotiation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Game theory: equilibria, price of anarchy, minimal transfers, dilemma tests and social metrics."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

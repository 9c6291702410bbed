"""Learning rules and meta-solvers of zero-sum games, and NashConv of their last and average iterates."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

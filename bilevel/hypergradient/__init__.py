"""Estimators of hypergradients through inner learning; this package knows nothing of games or agents."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Wrappers: games with shared rewards, gifts as actions, and zero-sum forms."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

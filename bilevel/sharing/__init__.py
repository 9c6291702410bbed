"""Outer variables of social dilemmas: sharing matrices, sharing networks, transfers and outer objectives."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

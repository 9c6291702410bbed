"""Mixture of experts: graph attention, a router and experts, with dense, sparse and annealed gates."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Compilation: the steps of a problem as packages of machine code, built once and cached."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""Foundations: inner steps, trees of tensors, schedules, random streams, settings and their text."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

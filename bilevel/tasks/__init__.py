"""Tasks: problems with several losses whose weights are learned, each with data, model and measures."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

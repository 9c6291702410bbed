"""Update rules of simultaneous learners: opponent shaping and game optimization, for any number of agents."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

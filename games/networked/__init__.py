"""Games on graphs: a graph says which agents affect which others, and by how much."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

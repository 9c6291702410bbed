"""World model: learn to act from pixels, by autoencoder, recurrent dynamics and controller."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

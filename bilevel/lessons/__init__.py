"""Support of the lessons: style and sliders of figures, and the automatic grading of exercises."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

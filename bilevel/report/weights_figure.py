"""The figure of learned weights: what they were over training, and what they were learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bilevel.errors import require
from bilevel.report.style import BLACK, looks, save, style
from bilevel.tuning.history import History

_HEIGHTS: dict[bool, dict[str, Any]] = {True: {"height_ratios": (2, 1)}, False: {}}


def write_weights_figure(history: History, path: Path) -> Path:
    """Draw the learned values, and below them the validation loss if there is one, against training steps.

    Args:
        history: a tuner's.
        path: of the file; its ending is the format.

    Raises:
        ValueError: there was no outer step yet.
    """
    require(len(history.steps) > 0, "There is nothing to draw yet: no outer step was taken.")
    with style():
        learned_from = any(loss is not None for loss in history.validation_loss)
        figure = Figure(figsize=(8, 6 if learned_from else 4))
        rows = figure.subplots(
            1 + learned_from, 1, sharex=True, squeeze=False, gridspec_kw=_HEIGHTS[learned_from]
        )
        above, below = rows[0, 0], rows[-1, 0]
        for name, look in looks(list(history.values)).items():
            above.plot(history.steps, history.values[name], label=name, **look)
        above.set_ylabel("learned value")
        above.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        if learned_from:
            below.plot(history.steps, np.array(history.validation_loss, dtype=float), color=BLACK)
            below.set_ylabel("validation loss\nafter the look ahead")
        below.set_xlabel("step of training")
    return save(figure, path)

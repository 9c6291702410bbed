"""Bilevel optimisation for social dilemmas and loss weights.

The names below load when they are first used, so that `import bilevel` answers at once and the command
line can be interrupted while the rest loads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bilevel._version import __version__
from games.lazy import lazy_names

if TYPE_CHECKING:
    from bilevel.experiment.config import RunConfig, default_config
    from bilevel.experiment.joining import join_results
    from bilevel.experiment.run import Results, RunFolder, create_run, extend_run, load_results, train
    from bilevel.hypergradient import BilevelProblem, Estimate, Unrolled, check_hypergradient
    from bilevel.methods import METHODS, Method, Placement
    from bilevel.outer.sharing import Sharing, share
    from bilevel.step import inner_step, inner_step_per_agent

__all__ = [
    "METHODS",
    "BilevelProblem",
    "Estimate",
    "Method",
    "Placement",
    "Results",
    "RunConfig",
    "RunFolder",
    "Sharing",
    "Unrolled",
    "__version__",
    "check_hypergradient",
    "create_run",
    "default_config",
    "extend_run",
    "inner_step",
    "inner_step_per_agent",
    "join_results",
    "load_results",
    "share",
    "train",
]


__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "bilevel._version": ("__version__",),
        "bilevel.experiment.config": ("RunConfig", "default_config"),
        "bilevel.experiment.joining": ("join_results",),
        "bilevel.experiment.run": (
            "Results",
            "RunFolder",
            "create_run",
            "extend_run",
            "load_results",
            "train",
        ),
        "bilevel.hypergradient": ("BilevelProblem", "Estimate", "Unrolled", "check_hypergradient"),
        "bilevel.methods": ("METHODS", "Method", "Placement"),
        "bilevel.outer.sharing": ("Sharing", "share"),
        "bilevel.step": ("inner_step", "inner_step_per_agent"),
    },
)

"""Bilevel optimisation for social dilemmas and loss weights.

The names below load when they are first used, so that `import bilevel` answers at once and the command
line can be interrupted while the rest loads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bilevel._version import __version__

if TYPE_CHECKING:
    from bilevel.experiment.config import RunConfig, default_config
    from bilevel.experiment.run import Results, RunFolder, create_run, load_results, train
    from bilevel.hypergradient import BilevelProblem, Estimate, Unrolled, check_hypergradient
    from bilevel.methods import METHODS, Method, Placement
    from bilevel.outer.sharing import Sharing, share
    from bilevel.step import inner_step, inner_step_per_agent

_ROOMS = {
    "bilevel.experiment.config": ("RunConfig", "default_config"),
    "bilevel.experiment.run": ("Results", "RunFolder", "create_run", "load_results", "train"),
    "bilevel.hypergradient": ("BilevelProblem", "Estimate", "Unrolled", "check_hypergradient"),
    "bilevel.methods": ("METHODS", "Method", "Placement"),
    "bilevel.outer.sharing": ("Sharing", "share"),
    "bilevel.step": ("inner_step", "inner_step_per_agent"),
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names}

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
    "inner_step",
    "inner_step_per_agent",
    "load_results",
    "share",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'bilevel' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""The problems by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.benchmarks.case import Case
from tests.benchmarks.problems import dilemma, network, policies
from tests.benchmarks.problems.setting import Modules, Setting

SETTINGS: dict[str, Callable[..., Setting]] = {
    "dilemma": dilemma.setting,
    "damped dilemma": lambda case, **options: dilemma.setting(case, damping=dilemma.DAMPING, **options),
    "policies": policies.setting,
    "network": network.setting,
    "network, momentum": lambda case, **options: network.setting(case, optimizer="momentum", **options),
}
MODULES: dict[str, Callable[..., Modules]] = {
    "dilemma": dilemma.modules,
    "policies": policies.modules,
    "policies, stacked": policies.stacked_modules,
    "network": network.modules,
    "network, momentum": lambda case, **options: network.modules(case, optimizer="momentum", **options),
}


def make_setting(case: Case, **options: Any) -> Setting:
    """Build a case's problem as functions of tensors."""
    return SETTINGS[case.problem](case, **options)


def make_modules(case: Case, *, stacked: bool = False, **options: Any) -> Modules:
    """Build a case's problem as modules."""
    return MODULES[case.problem + ", stacked" * stacked](case, **options)

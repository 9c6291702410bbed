"""`bilevel methods` and `bilevel hypergradients`."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from bilevel.cli.rows import print_rows
from bilevel.errors import require
from bilevel.hypergradient import ESTIMATORS
from bilevel.methods import METHODS


def list_methods(arguments: list[str]) -> None:
    """Print every method with one line, and which may learn the weights of their losses, too."""
    _require_none(arguments, "methods")
    print_rows({name: _first_line(method) for name, method in METHODS.items()})
    *most, last = [name for name, method in METHODS.items() if method.no_loss_weights]
    print(
        f"\nWith a critic inside (--method.inner-learner actor-critic or ppo) each of them but "
        f"{', '.join(most)} and {last} may also learn the weights of its agents' losses: "
        "--method.learn-loss-weights."
    )


def list_hypergradients(arguments: list[str]) -> None:
    """Print every estimator of the meta-gradient with one line, which ends with its settings."""
    _require_none(arguments, "hypergradients")
    print_rows({name: f"{_first_line(kind)} {_settings(kind)}" for name, kind in ESTIMATORS.items()})


def _first_line(described: type) -> str:
    return (inspect.getdoc(described) or "").partition("\n")[0]


def _settings(kind: Any) -> str:
    """A dataclass's settings with their defaults, as its text form has them: its own, then those shared."""
    own = inspect.get_annotations(kind)
    fields = sorted(dataclasses.fields(kind), key=lambda field: field.name not in own)
    return f"({', '.join(_setting(field) for field in fields)})" if fields else "(no settings)"


def _setting(field: dataclasses.Field[Any]) -> str:
    return field.name if field.default is dataclasses.MISSING else f"{field.name}={field.default}"


def _require_none(arguments: list[str], command: str) -> None:
    require(
        arguments in ([], ["-h"], ["--help"]),
        f"bilevel {command} takes no options, but was given: {' '.join(arguments)}",
    )

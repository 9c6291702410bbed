"""What the settings of all estimators have in common."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from bilevel.errors import require

Compile = Literal["auto"] | bool
"""True: compile; False: do not; auto: once a problem has taken so many steps that it is won back."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings:
    """A frozen dataclass whose text shows what is no default.

    >>> Compilable(compile=True)
    Compilable(compile=True)
    >>> Compilable()
    Compilable()
    """

    def __post_init__(self) -> None:
        """Check the settings; subclasses check theirs and call this."""

    def __repr__(self) -> str:
        """The settings that are no defaults, those without one first."""
        fields = sorted(dataclasses.fields(self), key=lambda field: field.default is not dataclasses.MISSING)
        values = {field.name: (getattr(self, field.name), field.default) for field in fields}
        told = [f"{name}={value!r}" for name, (value, default) in values.items() if value != default]
        return f"{type(self).__name__}({', '.join(told)})"


@dataclass(frozen=True, kw_only=True, repr=False)
class Compilable(Settings):
    """Settings of an estimator whose steps can be compiled.

    Raises:
        ValueError: a setting is none of those that there are.
    """

    compile: Compile = "auto"
    """Whether the step and its derivatives are compiled, about a minute once for each problem, and kept on
    disk: True, False, or auto (when a problem has taken so many steps that it is worth it). Results are the
    same up to rounding. What cannot be compiled runs eagerly, with one warning that says why."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.compile == "auto" or isinstance(self.compile, bool),
            f"compile must be True, False or auto, not {self.compile!r}.",
        )

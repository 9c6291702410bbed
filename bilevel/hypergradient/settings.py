"""What the settings of all estimators have in common."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings:
    """A frozen dataclass whose text shows what is no default.

    >>> from bilevel.hypergradient import Implicit
    >>> Implicit(solver="cg"), Implicit()
    (Implicit(solver='cg'), Implicit())
    """

    def __post_init__(self) -> None:
        """Check the settings; subclasses check theirs and call this."""

    def __repr__(self) -> str:
        """The settings that are no defaults, those without one first."""
        fields = sorted(dataclasses.fields(self), key=lambda field: field.default is not dataclasses.MISSING)
        values = {field.name: (getattr(self, field.name), field.default) for field in fields}
        told = [f"{name}={value!r}" for name, (value, default) in values.items() if value != default]
        return f"{type(self).__name__}({', '.join(told)})"

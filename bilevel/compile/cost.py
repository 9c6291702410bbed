"""What compiling costs, known beforehand: for deciding whether it is won back."""

from __future__ import annotations

from bilevel.compile.forms import Form

FIXED: dict[Form, float] = {"rows": 0.2, "plain": 8.0}
"""Seconds of CPU for a function of no operations: the C compiler's start; AOTInductor's, with its headers."""
EACH: dict[Form, float] = {"rows": 0.001, "plain": 0.010}
"""Seconds of CPU for each operation."""
SAVED: dict[Form, float] = {"rows": 0.8, "plain": 0.1}
"""The share of an estimate's time that compiled steps save; measured: 0.8 to 0.9 written out as C, 0.1 to 0.4
as plain tensors."""


def expected_seconds(operations: int, form: Form) -> float:
    """Expect the CPU time of tracing and compiling a function for the first time.

    Fitted to the repeated dilemma's step, outer loss and pull-back (340 to 1 600 operations); other graphs
    and machines are within a factor of about 3.

    Args:
        operations: of the function, as `operations_digest` counts them.
        form: "rows" if its tensors have a few entries for each member, and it can be written out as C; else
            "plain".

    >>> expected_seconds(1_000, "rows")
    1.2
    """
    return FIXED[form] + EACH[form] * operations

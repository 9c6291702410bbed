"""What compiling costs, known beforehand: for deciding whether it is won back."""

from __future__ import annotations

from bilevel.compile.forms import Form

FIXED: dict[Form, float] = {"rows": 0.3, "plain": 20.0}
"""Seconds of CPU for a function of no operations: AOTInductor's are its headers, in C++."""
EACH: dict[Form, float] = {"rows": 0.003, "plain": 0.010}
"""Seconds of CPU for each operation."""
SAVED: dict[Form, float] = {"rows": 0.8, "plain": 0.1}
"""The share of an estimate's time that compiled steps save; measured: 0.8 to 0.9 written out as C, 0.1 to 0.4
as plain tensors."""


def expected_seconds(operations: int, form: Form) -> float:
    """Expect the CPU time of tracing, compiling and verifying a function for the first time.

    Fitted to the solves of nine exact games, `bilevel cache --build GAME` (243 to 442 operations: 0.5 to 1.9
    seconds), and to the three functions of Escape Room, 73 seconds together; other graphs and machines are
    within a factor of about 3.

    Args:
        operations: of the function, as `operations_digest` counts them; of a whole solve, those of two steps.
        form: "rows" if its tensors have a few entries for each member, and it can be written out as C; else
            "plain".

    >>> expected_seconds(1_000, "rows")
    3.3
    """
    return FIXED[form] + EACH[form] * operations

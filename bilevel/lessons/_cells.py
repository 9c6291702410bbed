"""The cells of the running notebook: which ones Python could not read, and which names are missing."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any

from bilevel.lessons._grading import UNREAD, WRONG

DEFINED = re.compile(r"^(?:def\s+(\w+)|(\w+)\s*=[^=])", re.MULTILINE)
"""Functions and variables that a cell defines at its top level."""
CHECK = re.compile(r"^check_(\d+)\(", re.MULTILINE)


def watch_cells() -> None:
    """Follow the cells that run in this notebook; outside a notebook, do nothing.

    A check then knows if the latest version of an answer could not be read. A name that a check misses gets a
    sentence instead of a traceback.
    """
    from IPython import get_ipython  # noqa: PLC0415 - readers outside of notebooks need none

    shell = get_ipython()
    if getattr(shell, "kernel", None) is None or getattr(shell, "_bilevel_watched", False):
        return
    shell._bilevel_watched = True
    shell.events.register("post_run_cell", remember)
    shell.set_custom_exc((NameError,), explain)


def remember(result: Any) -> None:
    """Keep the names that a cell was to define if Python could not read it, and forget those that it defines.

    Args:
        result: IPython's result of the cell.
    """
    names = defined_in(result.info.raw_cell)
    if result.error_before_exec is None:
        for name in names:
            UNREAD.pop(name, None)
    else:
        error = result.error_before_exec
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        UNREAD.update(dict.fromkeys(names, f"{type(error).__name__}{line}"))


def defined_in(source: str) -> list[str]:
    """Names that the source of a cell defines at its top level, also if Python cannot read it.

    >>> defined_in("def kept(N):\\n    half = 1 / 2\\n    return (half\\n\\nscale = 3")
    ['kept', 'scale']
    """
    return [function or variable for function, variable in DEFINED.findall(source)]


def explain(
    shell: Any, kind: type[BaseException], error: NameError, trace: TracebackType, tb_offset: Any = None
) -> Any:
    """Print a sentence if a check asks for a name that is not there; show any other NameError as usual."""
    found = CHECK.search(shell.user_ns["In"][-1])
    if found is None:
        return shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
    reason = f" (Python could not read its cell: {UNREAD[error.name]})" if error.name in UNREAD else ""
    print(
        f"{WRONG} Exercise {found[1]}: not yet. Nothing here is called {error.name}{reason}: give your "
        "answer the name that it had, and run its cell."
    )
    return None

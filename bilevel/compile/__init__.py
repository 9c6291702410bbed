"""Compiled kernels: packages of machine code that take a problem's steps; nothing else knows how.

`expressions`, `rules` and `scalars` write small graphs out entry by entry; `functions` makes flat functions
of a problem; `operations` names a graph, `plans` traces it, `packages` builds and loads, `verify` compares,
`cache` keeps; `program` does all of that once for each problem; `kernels` puts it behind the contract of
`bilevel.hypergradient.kernels`, `solve` takes all steps in one call, and `compiled` wraps an
estimator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from games.lazy import lazy_names

if TYPE_CHECKING:
    from bilevel.compile.compiled import Compiled
    from bilevel.compile.compiled_function import CompiledFunction
    from bilevel.compile.kernels import CompileWarning

__all__ = ["CompileWarning", "Compiled", "CompiledFunction"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "bilevel.compile.compiled": ("Compiled",),
        "bilevel.compile.compiled_function": ("CompiledFunction",),
        "bilevel.compile.kernels": ("CompileWarning",),
    },
)

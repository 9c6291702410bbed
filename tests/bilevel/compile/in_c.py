"""Functions compiled through C, for tests of what they compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bilevel.compile._c_compiler import CFunction, compile_source, open_library
from bilevel.compile._c_source import make_source
from bilevel.compile._functions import Inputs, Members, eagerly


def library(folder: Path, function: Callable[..., Any], leaves: Sequence[Tensor]) -> Callable[..., Any]:
    """Compile a function of leaves whose first axis counts members.

    Returns:
        the same function of any number of members (two or more, if there are two or more in `leaves`).
    """
    inputs = Inputs(tuple(leaves), (0,) * len(leaves), Members.of(leaves))
    source = make_source(function, inputs, eagerly(function)(leaves), 0)
    path = folder / f"{len(list(folder.iterdir()))}.so"
    compile_source(source.text, path)
    opened = open_library(path)

    def compiled(*leaves: Tensor, threads: int = 1) -> list[Tensor]:
        with torch.no_grad():
            kinds = [(result.shape, result.dtype) for result in function(*leaves)]
        members = Members.of(leaves).count or 1
        return CFunction(opened, kinds, members, threads)([leaf.contiguous() for leaf in leaves])

    return compiled

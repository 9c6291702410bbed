"""Graphs of plain tensors without the C++ compiler, which takes seconds for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from bilevel.compile import _aoti as aoti
from bilevel.compile import _cache as cache
from bilevel.compile._functions import Run


def run_graphs_as_they_are(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let graphs that would be compiled in C++ be run by torch; return the growing list of what is built."""
    graphs: dict[str, fx.GraphModule] = {}
    names: list[str] = []
    keep = cache.keep

    def recorded(key: str, build: Callable[[Path], None], about: Any) -> None:
        keep(key, build, about)
        names.append(key)

    def compile_graph(plan: aoti.Plan, path: Path) -> None:
        path.write_text("a package")
        graphs[path.name] = plan.graph

    def open_graph(path: Path, folder: Path) -> Run:
        graph = graphs[path.name]

        def run(leaves: list[Tensor]) -> list[Tensor]:
            assert all(leaf.is_contiguous() for leaf in leaves)
            with torch.no_grad():
                return list(graph(*leaves))

        return run

    monkeypatch.setattr(cache, "keep", recorded)
    monkeypatch.setattr(aoti, "compile_graph", compile_graph)
    monkeypatch.setattr(aoti, "open_graph", open_graph)
    return names

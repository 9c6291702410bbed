"""Kinds of graphs in text form, `ring(reach=2)`, for the command line and config.json."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, get_type_hints

from bilevel.core import fits, read_settings, spelled, write_settings
from games.core import require, require_name
from games.networked import GRAPHS, Graph

EXAMPLE = "small-world(degree=4, rewiring=0.2)"


def read_graph(text: str) -> Graph:
    """Build a kind of graph from its text form, without evaluating code.

    Raises:
        ValueError: the text cannot be read, there is no such graph or setting, or one is out of range.

    >>> read_graph("ring(reach=2)")
    Ring(reach=2, directed=True)
    """
    found = re.fullmatch(r"\s*([\w-]+)\s*(\(.*\))?\s*", text, re.DOTALL)
    if found is None:
        raise ValueError(
            f"{text!r} is not a graph: write its name, or its name with settings, as in {EXAMPLE}."
        )
    settings = read_settings(found[2] or "()", of="a graph", within=text, example=EXAMPLE)
    kind = GRAPHS.find(found[1])
    hints = get_type_hints(kind)
    for name, value in settings.items():
        require_name(name, [field.name for field in dataclasses.fields(kind)], f"setting of {found[1]}")
        require(
            fits(value, hints[name]),
            f"The setting {name} of {found[1]} must be of the type {spelled(hints[name])}, but it is "
            f"{value!r}.",
        )
    return kind(**settings)


def write_graph(graph: Graph) -> str:
    """Write a kind of graph in the text form from which `read_graph` builds an equal one.

    Raises:
        ValueError: its class is not in `games.networked.GRAPHS`.

    >>> from games.networked import Ring
    >>> write_graph(Ring(reach=2))
    'ring(reach=2)'
    """
    names = [name for name, kind in GRAPHS.items() if kind is type(graph)]
    require(
        len(names) > 0,
        f"{type(graph).__name__} has no name: games.networked.GRAPHS.register(NAME, CLASS) gives it one.",
    )
    values: dict[str, Any] = {
        field.name: getattr(graph, field.name)
        for field in dataclasses.fields(graph)
        if getattr(graph, field.name) != field.default
    }
    return names[0] + write_settings(values)

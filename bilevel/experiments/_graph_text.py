"""Kinds of graphs in text form, `ring(reach=2)`, for the command line and config.json."""

from __future__ import annotations

from bilevel.core import build_object, object_text, split_object_text
from games.networked import GRAPHS, Graph

EXAMPLE = "small-world(degree=4, rewiring=0.2)"


def read_graph(text: str) -> Graph:
    """Build a kind of graph from its text form, without evaluating code.

    Raises:
        ValueError: the text cannot be read, there is no such graph or setting, or one is out of range.

    >>> read_graph("ring(reach=2)")
    Ring(reach=2, directed=True)
    """
    name, settings = split_object_text(text, GRAPHS, EXAMPLE)
    return build_object(name, GRAPHS, settings)


def write_graph(graph: Graph) -> str:
    """Write a kind of graph in the text form from which `read_graph` builds an equal one.

    Raises:
        ValueError: its class is not in `games.networked.GRAPHS`.

    >>> from games.networked import Ring
    >>> write_graph(Ring(reach=2))
    'ring(reach=2)'
    """
    registration = f"games.networked.GRAPHS.register(NAME, {type(graph).__name__})"
    return object_text(graph, GRAPHS, registration)

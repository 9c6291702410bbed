"""The straight-line form of a small graph: every entry of every tensor becomes a value of its own.

A tiny exact kernel (a repeated game between two agents, say) is hundreds of operations on tensors of a few
entries. Written out entry by entry, each a vector over the members of the batch, it fuses to one loop without
memory traffic; the zeros and ones of its masks fold away; and no shape is left in it, so that one graph
serves any number of members.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from bilevel.compile.expressions import (
    Constant,
    Entry,
    Expressions,
    NotScalarError,
    Operation,
    Ref,
)
from bilevel.compile.rules import Numbers, constants, rewrite

aten = torch.ops.aten


def write_out(traced: fx.GraphModule, examples: Sequence[Tensor], *, most: int) -> fx.GraphModule:
    """Write a graph out entry by entry.

    Args:
        traced: aten operations, traced on `examples`.
        examples: inputs of ONE member, whose axis of length 1 is anywhere in their shape; 0-dim inputs are
            shared by all members. That members are independent of each other is for the caller to verify.
        most: how many operations there may be.

    Returns:
        the same function of inputs [entry, member] (0-dim where shared), with results [entry, member], or
        0-dim where they were.

    Raises:
        NotScalarError: an operation has no such form, or there would be too many.
    """
    known = Expressions(most)
    values: dict[fx.Node, Any] = {}
    leaves = iter(enumerate(examples))
    if sum(example.numel() for example in examples) > most:
        raise NotScalarError(f"written out it would be more than {most} operations")

    def argument(node: fx.Node) -> Any:
        return values[node]

    for node in traced.graph.nodes:
        args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), argument)
        if node.op == "placeholder":
            values[node] = _entries(known, *next(leaves))
        elif node.op == "get_attr":
            values[node] = constants(known, getattr(traced, str(node.target)))
        elif node.op == "output":
            outputs = [result.ids for result in args[0]]
        elif node.target is operator.getitem:
            values[node] = args[0][args[1]]
        else:
            values[node] = rewrite(known, node.target, args, kwargs)
    return fx.GraphModule(torch.nn.Module(), _emit(known, outputs, examples))


def _entries(known: Expressions, leaf: int, example: Tensor) -> Numbers:
    shared = example.ndim == 0
    numbers = [known.entry(leaf, place, example.dtype, shared=shared) for place in range(example.numel())]
    return Numbers(torch.tensor(numbers, dtype=torch.int64).reshape(example.shape))


def _emit(known: Expressions, outputs: Sequence[Tensor], examples: Sequence[Tensor]) -> fx.Graph:
    """Write what the outputs rest on as a graph."""
    graph = fx.Graph()
    inputs = [graph.placeholder(f"leaf_{place}") for place in range(len(examples))]
    rows: dict[int, fx.Node] = {}
    nodes: dict[int, fx.Node] = {}

    def row(leaf: int, place: int) -> fx.Node:
        if examples[leaf].ndim == 0:
            return inputs[leaf]
        if leaf not in rows:
            rows[leaf] = graph.call_function(aten.unbind.int, (inputs[leaf], 0))
        return graph.call_function(operator.getitem, (rows[leaf], place))

    numbers = [number for ids in outputs for number in ids.flatten().tolist()]
    for number in known.used(numbers):
        match known.meanings[number]:
            case Constant(value):
                nodes[number] = graph.call_function(
                    aten.full.default, ([], value), {"dtype": known.dtypes[number]}
                )
            case Entry(leaf, place):
                nodes[number] = row(leaf, place)
            case Operation(target, args, kwargs):
                plain = tuple(nodes[arg.number] if isinstance(arg, Ref) else arg for arg in args)
                nodes[number] = graph.call_function(target, plain, dict(kwargs))

    like = next((place for place, example in enumerate(examples) if example.ndim), None)

    def over_members(number: int) -> fx.Node:
        if not known.shared[number] or like is None:
            return nodes[number]
        first = graph.call_function(aten.select.int, (inputs[like], 0, 0))
        zeros = graph.call_function(aten.zeros_like.default, (first,), {"dtype": known.dtypes[number]})
        return graph.call_function(aten.add.Tensor, (zeros, nodes[number]))

    def result(ids: Tensor) -> fx.Node:
        if ids.ndim:
            parts = [over_members(number) for number in ids.flatten().tolist()]
            return graph.call_function(aten.stack.default, (parts, 0))
        number = int(ids)
        # A single number that depends on members: their sum, as in a total loss or a gradient they share.
        return (
            nodes[number] if known.shared[number] else graph.call_function(aten.sum.default, (nodes[number],))
        )

    graph.output(tuple(map(result, outputs)))
    return graph

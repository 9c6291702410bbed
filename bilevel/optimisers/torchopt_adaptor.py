"""TorchOpt's functional interface, the only place that imports it.

A transformation is a pair of pure functions: `init(params) -> state` and `update(updates, state, *,
params=None, inplace=True) -> (updates, state)`. Any of TorchOpt's own can be used as an inner optimiser
too. What to know of them (0.7.3): Adam's bias correction is computed in the default dtype, so float64
parameters lose eight digits unless `torch.set_default_dtype(torch.float64)`; Adam at a zero second moment
has a meta-gradient of NaN; momentum with dampening remembers its first call outside its state, so it is no
function of its arguments and is refused by `Unrolled`; radam and adamax count in Python numbers;
clip_grad_norm takes its norm without a gradient, so that its meta-gradient is wrong (`check_hypergradient`
shows it), and over all members at once; adam with use_accelerated_op cannot be differentiated here. The ones
of this package have none of this.
"""

from __future__ import annotations

from collections.abc import Callable

from torchopt.base import EmptyState, GradientTransformation
from torchopt.combine import chain

from bilevel.tree import Tree

__all__ = ["EmptyState", "GradientTransformation", "chain", "stateless"]


def stateless(function: Callable[[Tree, Tree], Tree]) -> GradientTransformation:
    """Make a transformation of a function (updates, params) -> updates that needs no state.

    >>> from bilevel.tree import tree_map
    >>> halve = stateless(lambda updates, params: tree_map(lambda g: g / 2, updates))
    >>> halve.update({"w": 4.0}, halve.init({"w": 1.0}))
    ({'w': 2.0}, EmptyState())
    """

    def init(params: Tree) -> Tree:
        return EmptyState()

    def update(updates: Tree, state: Tree, *, params: Tree = None, inplace: bool = True) -> tuple[Tree, Tree]:
        return function(updates, params), state

    return GradientTransformation(init, update)

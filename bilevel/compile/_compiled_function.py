"""A pure function of trees of tensors, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from bilevel.compile._functions import Members, NotCompilableError, TreeForm, plain_leaves
from bilevel.compile._plans import LOG, Inputs
from bilevel.compile._program import Package, Program, Wanted
from bilevel.core import Tensors, Tree, detach


class CompiledFunction:
    """A pure function that is written in C at its first call, if it can be; otherwise it runs eagerly.

    The results are the same but for rounding. A package is kept for each form of the inputs (tree, shapes,
    dtypes). What cannot be written in C is named in the log `bilevel.compiled`.

    Args:
        function: trees of tensors -> a tree of tensors, by its arguments alone.
        name: what it is called where packages are listed.

    >>> both = CompiledFunction(lambda pair: (2 * pair[0], pair[0] + pair[1]), "example")
    >>> both((torch.ones(2), torch.zeros(2)))
    (tensor([2., 2.]), tensor([1., 1.]))
    """

    def __init__(self, function: Callable[..., Tree], name: str) -> None:
        self.function, self.name = function, name
        self.failed = False
        """Whether it runs eagerly for want of a compiler or of a cache, so that elsewhere it might not."""
        self._found: dict[Any, tuple[Package, TreeForm] | None] = {}

    def __call__(self, *trees: Tree) -> Tree:
        """Compute the result, without a graph.

        Raises:
            NotCompilableError: a leaf is no tensor.
        """
        leaves, form = plain_leaves(trees, f"the inputs of the {self.name}")
        kinds = tuple([(leaf.shape, leaf.dtype, leaf.device) for leaf in leaves])
        key = form, kinds, torch.get_num_threads()
        if key not in self._found:
            self._found[key] = self._find(leaves, form)
        found = self._found[key]
        if found is None:
            with torch.no_grad():
                return self.function(*trees)
        package, results = found
        return results.join(package.run(leaves))

    def _find(self, leaves: Tensors, form: TreeForm) -> tuple[Package, TreeForm] | None:
        if any(leaf.device.type != "cpu" for leaf in leaves):
            return None
        with torch.no_grad():
            results = TreeForm.split(detach(self.function(*form.join(leaves))), f"what the {self.name} gives")

        def flat(*given: torch.Tensor) -> Tensors:
            return TreeForm.split(self.function(*form.join(given)), self.name)[0]

        inputs = Inputs(leaves, (0,) * len(leaves), Members.of(leaves))
        program = Program(getattr(self.function, "__qualname__", repr(self.function)), inputs.members)
        try:
            return program.package(Wanted(self.name, flat, inputs, 0, ("rows",))), results[1]
        except (NotCompilableError, OSError) as reason:
            LOG.debug("The %s runs eagerly: %s.", self.name, reason)
            self.failed = isinstance(reason, OSError)
            return None

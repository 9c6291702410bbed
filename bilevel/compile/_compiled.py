"""Estimators and functions whose steps are compiled to machine code.

The pipeline, each stage in the file that is named:

1. `_functions`: a problem's step, its vector-Jacobian product, and the outer loss with its gradients, as
   functions of flat tensors; `Members` finds the axis that counts independent members (seeds).
2. `_operations`: a digest of each function's graph of operations and constants names its package.
3. `_cache`: a package that was built before is found under that name in the user's cache folder.
4. `_scalars`, `_rules`, `_expressions`: otherwise a small function is written out for one member, entry by
   entry, as numbered expressions, which simple algebra makes few.
5. `_c_operations`, `_c_source`, `_c_compiler`: these become C, a loop over vectors of members, and a library.
6. `_aoti`: a larger function becomes a graph of tensors, compiled by AOTInductor, in a minute or more.
7. `_program`: each package is loaded and compared with the function itself on two inputs before it is used.
8. `_kernels`: estimators call packages step by step; what cannot be compiled runs eagerly, with one warning.
9. `_solve`: with known data all K steps and the reverse sweep are one call of one library.

`_forecast` estimates beforehand whether that pays off.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from bilevel.compile._functions import LOG, Inputs, Members, NotCompilableError, Run, TreeForm, plain_leaves
from bilevel.compile._program import PackageRequest, Program
from bilevel.core import Tensors, Tree, detach, split_floating
from bilevel.hypergradient import BilevelProblem, Estimate, Estimator, Forward, OneStep, Truncated, Unrolled


@dataclass(frozen=True, repr=False)
class Compiled(Estimator):
    """An estimator whose steps and derivatives run as compiled machine code.

    The packages are found on disk, or built at the first call: in a second or two where the problem can be
    written out in C, in a minute or more otherwise. The estimate is the same but for rounding. What cannot be
    compiled runs eagerly, with one `CompileWarning` that says why; a leaf of the state or of the outer
    variables that is not a tensor is refused with a ValueError.

    >>> from bilevel.hypergradient import BilevelProblem, Unrolled
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> Compiled(Unrolled())(problem, torch.zeros(1), None, torch.ones(1), steps=2).gradient
    tensor([0.7500])
    """

    estimator: Estimator
    """Any of `bilevel.hypergradient`; of `PersistentEvolution` the particles' steps are compiled."""

    @property
    def stateful(self) -> bool:
        return self.estimator.stateful

    def init(self, problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree, *, steps: int) -> Tree:
        return self.estimator.init(problem, theta, opt_state, phi, steps=steps)

    def estimate(
        self,
        problem: BilevelProblem,
        theta: Tree,
        opt_state: Tree,
        phi: Tree,
        state: Any = None,
        *,
        steps: int,
    ) -> tuple[Estimate, Tree]:
        # Loaded where something is compiled: learners import this module, and most runs compile nothing.
        from bilevel.compile._kernels import CompiledKernels
        from bilevel.compile._solve import solve

        try:
            TreeForm.split((detach(theta), detach(opt_state)), "theta and the optimizer's state")
            TreeForm.split(phi, "the outer variables")
        except NotCompilableError as reason:
            raise ValueError(f"This problem cannot be compiled: {reason}, or leave it uncompiled.") from None
        last = differentiated_steps(self.estimator, phi, steps)
        found = None if last is None else solve(problem, theta, opt_state, phi, steps, last)
        if found is not None:
            return found, None
        compiled = dataclasses.replace(problem, kernels=CompiledKernels)
        return self.estimator.estimate(compiled, theta, opt_state, phi, state, steps=steps)


def differentiated_steps(estimator: Estimator, phi: Tree, steps: int) -> int | None:
    """Count the last steps that an estimator differentiates, if it does nothing else.

    Forward mode gives the same derivative as reverse mode, which costs less here.

    Args:
        estimator: the estimator.
        phi: the outer variables, a nest of floating tensors.
        steps: K, the steps of inner learning.

    Returns:
        The number of steps, up to K; None for all other estimators, which take their steps one by one.

    >>> from bilevel.hypergradient import Evolution, Truncated, Unrolled
    >>> estimators = Unrolled(), Truncated(steps=2), Evolution()
    >>> [differentiated_steps(each, torch.ones(1), steps=9) for each in estimators]
    [9, 2, None]
    """
    if type(estimator) is Unrolled and estimator.keeps_states:
        return steps
    if type(estimator) is Truncated and estimator.keeps_states and not estimator.window:
        return min(estimator.steps, steps)
    if type(estimator) is OneStep:
        return 1
    if type(estimator) is Forward:
        leaves = [leaf[(0,) * estimator.batch_dims] for leaf in split_floating(phi)[0]]
        entries = sum(leaf.numel() for leaf in leaves)
        return steps if estimator.max_entries is None or entries <= estimator.max_entries else None
    return None


class CompiledFunction:
    """A pure function that is written in C at its first call, if it can be; otherwise it runs eagerly.

    The results are the same but for rounding. A package is kept for each form of the inputs (tree, shapes,
    dtypes). The log `bilevel.compiled` says what cannot be written in C.

    Args:
        function: trees of tensors -> a tree of tensors, by its arguments alone.
        name: its name in the list of packages.

    >>> both = CompiledFunction(lambda pair: (2 * pair[0], pair[0] + pair[1]), "example")
    >>> both((torch.ones(2), torch.zeros(2)))
    (tensor([2., 2.]), tensor([1., 1.]))
    """

    def __init__(self, function: Callable[..., Tree], name: str) -> None:
        self.function, self.name = function, name
        self.failed = False
        """True if it runs eagerly for want of a compiler or of a cache, so that elsewhere it might not."""
        self._found: dict[Any, tuple[Run, TreeForm] | None] = {}

    def __call__(self, *trees: Tree) -> Tree:
        """Compute the result, without a graph; NotCompilableError if a leaf is not a tensor."""
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
        return results.join(package(leaves))

    def _find(self, leaves: Tensors, form: TreeForm) -> tuple[Run, TreeForm] | None:
        with torch.no_grad():
            results = TreeForm.split(detach(self.function(*form.join(leaves))), f"what the {self.name} gives")

        def flat(*given: torch.Tensor) -> Tensors:
            return TreeForm.split(self.function(*form.join(given)), self.name)[0]

        inputs = Inputs(leaves, (0,) * len(leaves), Members.of(leaves))
        program = Program(getattr(self.function, "__qualname__", repr(self.function)), inputs.members)
        try:
            return program.package(PackageRequest(self.name, flat, inputs, 0, ("c",))), results[1]
        except (NotCompilableError, OSError) as reason:
            LOG.debug("The %s runs eagerly: %s.", self.name, reason)
            self.failed = isinstance(reason, OSError)
            return None

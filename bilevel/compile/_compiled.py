"""An estimator whose steps are compiled."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from bilevel.compile._functions import NotCompilableError, TreeForm
from bilevel.core import Tree, detach, split_floating
from bilevel.hypergradient import (
    BilevelProblem,
    Estimate,
    Estimator,
    Forward,
    OneStep,
    Truncated,
    Unrolled,
)


@dataclass(frozen=True, repr=False)
class Compiled(Estimator):
    """An estimator that takes its steps, and their derivatives, as packages of machine code.

    The packages are found on disk, or built at the first call: in a second or two where the problem can be
    written out in C, in a minute or more otherwise. The estimate is the same but for rounding. What cannot be
    compiled runs eagerly, with one `CompileWarning` that says why.

    >>> from bilevel.hypergradient import Unrolled
    >>> Compiled(Unrolled())
    Compiled(estimator=Unrolled())
    """

    estimator: Estimator
    """Any of `bilevel.hypergradient`; `persistent-evolution` too, whose particles are then compiled."""

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
        """Learn for K steps, and estimate the gradient after them; see `Estimator.estimate`.

        Raises:
            ValueError: as the estimator; or a leaf of the state or of the outer variables is no tensor.
        """
        # Loaded where something is compiled: learners import this module, and most runs compile nothing.
        from bilevel.compile._kernels import CompiledKernels
        from bilevel.compile._solve import solve

        try:
            TreeForm.split((detach(theta), detach(opt_state)), "theta and the optimizer's state")
            TreeForm.split(phi, "the outer variables")
        except NotCompilableError as reason:
            raise ValueError(f"This problem cannot be compiled: {reason}, or leave it uncompiled.") from None
        pulled = differentiated_steps(self.estimator, phi, steps)
        found = None if pulled is None else solve(problem, theta, opt_state, phi, steps, pulled)
        if found is not None:
            return found, None
        compiled = dataclasses.replace(problem, kernels=CompiledKernels)
        return self.estimator.estimate(compiled, theta, opt_state, phi, state, steps=steps)

    @property
    def stateful(self) -> bool:
        """As the estimator."""
        return self.estimator.stateful

    def init(self, problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree, *, steps: int) -> Tree:
        """Create the estimator's state."""
        return self.estimator.init(problem, theta, opt_state, phi, steps=steps)


def differentiated_steps(estimator: Estimator, phi: Tree, steps: int) -> int | None:
    """Through how many of the last steps an estimator differentiates; None: it does something else, too.

    Forward mode gives the same derivative as reverse mode, which costs less here.
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
        return steps if estimator.limit is None or entries <= estimator.limit else None
    return None

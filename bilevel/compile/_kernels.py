"""The kernels of a problem as compiled packages."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bilevel.compile._functions import (
    Forms,
    Inputs,
    Members,
    Run,
    TreeForm,
    contiguous,
    flat_function,
    plain_leaves,
)
from bilevel.compile._program import PackageRequest, Program, find_program
from bilevel.core import Tensors, Tree, split_floating
from bilevel.hypergradient import (
    BilevelProblem,
    ImpureStepError,
    Kernels,
    Linearization,
    StepVjp,
    require_pure,
)


class CompileWarning(UserWarning):
    """Warning that a function runs eagerly, with the reason why it was not compiled.

    >>> import os, warnings
    >>> from unittest.mock import patch
    >>> from bilevel.compile import Compiled
    >>> from bilevel.hypergradient import BilevelProblem, Unrolled
    >>> step = lambda theta, opt_state, phi, data: ((theta + 3 * phi) / 4, opt_state)
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> with patch.dict(os.environ, CC="no-compiler"), warnings.catch_warnings(action="error"):
    ...     Compiled(Unrolled())(problem, torch.zeros(1), None, torch.ones(1), steps=2)
    Traceback (most recent call last):
    bilevel.compile...CompileWarning: The solve of <lambda> runs eagerly, not compiled: there is no C compiler
    on this machine (no-compiler, which CC names, is not to be found).
    """


class CompiledKernels(Kernels):
    """Kernels of compiled packages; what cannot be compiled runs eagerly, with one warning that says why.

    A state is the tuple of its leaves.
    """

    def __init__(self, problem: BilevelProblem, phi: Tree) -> None:
        super().__init__(problem, phi)
        self.eager = Kernels(problem, phi)
        self._phi, self._phi_form = plain_leaves(phi, "the outer variables")
        self._data: tuple[Tree, Tensors, TreeForm] = (None, *plain_leaves(None, ""))

    def start(self, theta: Tree, opt_state: Tree) -> Tensors:
        state, self._state_form = plain_leaves((theta, opt_state), "theta and the optimizer's state")
        self.program = find_program(self.problem, (state, self._state_form), (self._phi, self._phi_form))
        return state

    def trees(self, state: Tensors) -> tuple[Tree, Tree]:
        theta, opt_state = self._state_form.join(state)
        return theta, opt_state

    def advance(self, state: Tensors, data: Tree) -> Tensors:
        package = self._package("step", state, data)
        if package is None:
            return plain_leaves(self.eager.advance(self.trees(state), data), "the state")[0]
        return tuple(package())

    def vjp(self, state: Tensors, data: Tree) -> tuple[Tensors, StepVjp]:
        """Take the step; its product takes it again, which costs less than to keep its graph."""
        after = self.advance(state, data)

        def product(cotangent: Tensors, gradient: Tensors, *, first: bool = False) -> tuple[Tensors, Tensors]:
            return self.recompute_vjp(state, data, cotangent, gradient, after)

        return after, product

    def vjp_bytes(self, state: Tensors, data: Tree) -> int:
        return 0  # no graph is kept

    def recompute_vjp(
        self,
        state: Tensors,
        data: Tree,
        cotangent: Tensors,
        gradient: Tensors,
        after: Tensors | None = None,
        *,
        first: bool = False,
    ) -> tuple[Tensors, Tensors]:
        package = self._package("vjp", state, data, (*cotangent, *gradient))
        if package is None:
            end = None if after is None else self.trees(after)
            return self.eager.recompute_vjp(self.trees(state), data, cotangent, gradient, end)
        results = tuple(package(*cotangent, *gradient))
        return results[: len(cotangent)], results[len(cotangent) :]

    def outer(self, state: Tensors, data: Tree) -> tuple[Tensor, Tensors, Tensors]:
        package = self._package("outer loss", state, data)
        if package is None:
            loss, cotangent, gradient = self.eager.outer(self.trees(state), data)
            return loss, contiguous(cotangent), contiguous(gradient)
        count = sum(self._state_form.floating)
        loss, *rest = package()
        return loss, tuple(rest[:count]), tuple(rest[count:])

    def jvp(self, state: Tensors, data: Tree, tangents: Tensors, directions: Tensors) -> Tensors:
        """Push one direction after the other: a graph of all of them would be long."""
        vectors = _unstacked((*tangents, *directions))
        package = self._package("jvp", state, data, vectors[0])
        if package is None:
            return self.eager.jvp(self.trees(state), data, tangents, directions)
        return _mapped(package, vectors)

    def linearize(self, state: Tensors, data: Tree) -> Linearization:
        """Packages for J' v and J v, one vector after the other."""
        example = tuple(torch.ones_like(leaf) for leaf in split_floating(self.trees(state)[0])[0])
        jvp = self._package("linearized jvp", state, data, example)
        vjp = self._package("linearized vjp", state, data, example)
        if vjp is None or jvp is None:
            return self.eager.linearize(self.trees(state), data)
        after = split_floating(self.trees(self.advance(state, data))[0])[0]

        def vjp_all(v: Tensors) -> tuple[Tensors, Tensors]:
            results = _mapped(vjp, _unstacked(v))
            return results[: len(example)], results[len(example) :]

        return Linearization(after, vjp_all, lambda v: _mapped(jvp, _unstacked(v)))

    def _split(self, data: Tree) -> tuple[Tensors, TreeForm]:
        if data is not self._data[0]:
            self._data = (data, *plain_leaves(data, "the data"))
        return self._data[1], self._data[2]

    def _package(
        self, kind: str, state: Tensors, data: Tree, more: Tensors = ()
    ) -> Callable[..., list[Tensor]] | None:
        """The package at (state, phi, data) as a function of further inputs, such as `more`.

        None if there is none, of which it warns once.
        """
        found: dict[Any, Run | None] = self.program.found
        key: Any = kind
        try:
            leaves, form = self._split(data)
            key = (kind, form, *((leaf.shape, leaf.dtype) for leaf in leaves))
            if key not in found:
                if kind == "step":
                    require_pure(self.problem.step, self.trees(state), self.phi, data)
                found[key] = self.program.package(self._request(kind, state, more))
            run, known = found[key], (*state, *self._phi, *leaves)
            return None if run is None else lambda *further: run([*known, *further])
        except ImpureStepError:
            raise
        except Exception as error:  # noqa: BLE001 - torch's compiler raises what it likes; eager needs none of it
            found[key] = None
            warn_once(self.program, kind, error)
            return None

    def _request(self, kind: str, state: Tensors, more: Tensors) -> PackageRequest:
        """The function to compile; `more` are its inputs besides state, phi and data."""
        _, leaves, form = self._data
        plain = (*state, *self._phi, *leaves)
        axis = int(self.problem.per_agent_objective) if kind in ("vjp", "outer loss") else 0
        members = self.program.members
        if Members.of(plain) != members:  # no axis in common: all of it is one member
            members = Members(None)
        function = flat_function(kind, self.problem, Forms(self._state_form, self._phi_form, form))
        inputs = Inputs((*plain, *more), (0,) * len(plain) + (axis,) * len(more), members)
        return PackageRequest(kind, function, inputs, axis)


def _unstacked(stacked: Tensors) -> list[Tensors]:
    """Split tensors [vector, *leaf.shape] into vectors."""
    return [contiguous(vector) for vector in zip(*(leaf.unbind() for leaf in stacked), strict=True)]


def _mapped(package: Callable[..., list[Tensor]], vectors: list[Tensors]) -> Tensors:
    """Call a package on one vector after the other, and stack the results."""
    results = [package(*vector) for vector in vectors]
    return tuple(torch.stack(leaves) for leaves in zip(*results, strict=True))


def warn_once(program: Program, kind: str, reason: Exception) -> None:
    """Warn that something runs eagerly, once for each problem."""
    if program.warned:
        return
    program.warned = True
    text = str(reason).strip().partition("\n")[0] or type(reason).__name__
    warnings.warn(
        f"The {kind} of {program.name} runs eagerly, not compiled: {text.rstrip('.')}.",
        CompileWarning,
        stacklevel=2,
    )

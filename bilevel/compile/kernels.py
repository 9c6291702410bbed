"""The kernels of a problem as compiled packages."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bilevel.compile import registry
from bilevel.compile.forms import Form, Members, Packed
from bilevel.compile.functions import (
    FlatFunction,
    Forms,
    NotCompilableError,
    TreeForm,
    advance_function,
    held_functions,
    outer_function,
    pull_function,
    push_function,
)
from bilevel.compile.plans import Inputs
from bilevel.compile.program import Package, Program, Wanted
from bilevel.hypergradient.base import BilevelProblem
from bilevel.hypergradient.kernels import EagerKernels, Held, PullBack
from bilevel.hypergradient.purity import ImpureStepError, require_pure
from bilevel.tree import Tensors, Tree, split_floating

Shapes = tuple[torch.Size, ...]


class CompileWarning(UserWarning):
    """Something that was to be compiled runs eagerly instead; says why."""


class CompiledKernels:
    """See `Kernels`: what can be compiled is, the rest runs eagerly, with one warning that says why."""

    def __init__(self, problem: BilevelProblem, phi: Tree) -> None:
        self.problem, self.eager = problem, EagerKernels(problem, phi)
        self._phi, self._phi_form = _take_apart(phi, "the outer variables")
        self._phi_in: dict[Form, Packed] = {"plain": self._phi}
        self._several_shapes: tuple[Shapes, Shapes] = ((), ())
        self._directions: Tensors | None = None
        self._along_in: dict[Form, list[Packed]] = {}
        self._data: tuple[Tree, Tensors, TreeForm] = (None, (), TreeForm.split(None, "")[1])

    def start(self, theta: Tree, opt_state: Tree) -> Packed:
        """Take the state apart, and find what is known of this problem."""
        state, self._state_form = _take_apart((theta, opt_state), "theta and the optimiser's state")
        self._shapes = _shapes(state)
        self.program = registry.find(self.problem, (state, self._state_form), (self._phi, self._phi_form))
        return state

    def trees(self, state: Packed) -> tuple[Tree, Tree]:
        """Put (theta, opt_state) together again."""
        theta, opt_state = self._state_form.join(self._in_form(state, "plain", 0, self._shapes))
        return theta, opt_state

    def advance(self, state: Packed, data: Tree) -> Packed:
        """Take one step."""
        package = self._package("step", state, data)
        if package is None:
            return _take_apart(self.eager.advance(self.trees(state), data), "the state")[0]
        return Packed(package.run(self._inputs(package.form, state, data)), package.form)

    def vjp(self, state: Packed, data: Tree) -> tuple[Packed, PullBack]:
        """Take the step; its product takes it again, which costs less than to keep what it needs."""
        after = self.advance(state, data)

        def pull(cotangent: Tensors, gradient: Tensors, *, first: bool = False) -> tuple[Tensors, Tensors]:
            return self.pull(state, data, cotangent, gradient, after)

        return after, pull

    def vjp_bytes(self, state: Packed, data: Tree) -> int:
        """No graph is kept."""
        return 0

    def pull(
        self,
        state: Packed,
        data: Tree,
        cotangent: Tensors,
        gradient: Tensors,
        after: Packed | None = None,
        *,
        first: bool = False,
    ) -> tuple[Tensors, Tensors]:
        """Pull back through one step; both tuples are `Packed`, `gradient_leaves` unpacks the second."""
        assert isinstance(cotangent, Packed)
        assert isinstance(gradient, Packed)
        package = self._package("pull", state, data, (cotangent, gradient))
        if package is None:
            cotangent, gradient = self._several_in_form("plain", cotangent, gradient)
            # As tuples of no subclass, which torch.func would take for a single leaf.
            found = self.eager.pull(
                self.trees(state),
                data,
                tuple(cotangent),
                tuple(gradient),
                None if after is None else self.trees(after),
            )
            return Packed(found[0], "plain"), Packed(found[1], "plain")
        form, count = package.form, len(cotangent)
        cotangent, gradient = self._several_in_form(form, cotangent, gradient)
        results = package.run([*self._inputs(form, state, data), *cotangent, *gradient])
        return Packed(results[:count], form), Packed(results[count:], form)

    def outer(self, state: Packed, data: Tree) -> tuple[Tensor, Tensors, Tensors]:
        """Compute the outer loss and its derivatives."""
        package = self._package("outer loss", state, data)
        count = sum(self._state_form.floating)
        if package is None:
            loss, cotangent, gradient = self.eager.outer(self.trees(state), data)
            self._several_shapes = _shapes(cotangent), _shapes(gradient)
            return loss, Packed(cotangent, "plain"), Packed(gradient, "plain")
        self._several_shapes = package.shapes[1 : 1 + count], package.shapes[1 + count :]
        loss, *rest = package.run(self._inputs(package.form, state, data))
        if package.form == "rows":
            loss = self.program.members.plain(loss, package.shapes[0], self._axis)
        return loss, Packed(rest[:count], package.form), Packed(rest[count:], package.form)

    def gradient_leaves(self, gradient: Tensors) -> Tensors:
        """Leaves like those of phi."""
        assert isinstance(gradient, Packed)
        return self._in_form(gradient, "plain", self._axis, self._several_shapes[1])

    def tangents(self, stacked: Tensors) -> list[Packed]:
        """One `Packed` for each direction."""
        return [Packed(leaves, "plain") for leaves in zip(*(leaf.unbind() for leaf in stacked), strict=True)]

    def push(self, state: Packed, data: Tree, tangents: list[Packed], directions: Tensors) -> list[Packed]:
        """Push one direction after the other: a graph of all of them would be long."""
        along = self._along(directions)
        package = self._package("push", state, data, (tangents[0], along[0]))
        if package is None:
            stacked = self.eager.push(self.trees(state), data, self.tangent_leaves(tangents), directions)
            return self.tangents(stacked)
        form, floating = package.form, self._state_form.only_floating(self._shapes)
        inputs = self._inputs(form, state, data)
        if form not in self._along_in:
            self._along_in[form] = [self._in_form(direction, form, 0, ()) for direction in along]
        return [
            Packed(package.run([*inputs, *self._in_form(tangent, form, 0, floating), *direction]), form)
            for tangent, direction in zip(tangents, self._along_in[form], strict=True)
        ]

    def tangent_leaves(self, tangents: list[Packed]) -> Tensors:
        """Stack them, plain."""
        floating = self._state_form.only_floating(self._shapes)
        plain = [self._in_form(tangent, "plain", 0, floating) for tangent in tangents]
        return tuple(torch.stack(leaves) for leaves in zip(*plain, strict=True))

    def hold(self, state: Packed, data: Tree) -> Held:
        """Packages for J' v and J v, one vector after the other."""
        example = self._like_theta(state)
        push = self._package("held push", state, data, (example,))
        pull = self._package("held pull", state, data, (example,))
        if pull is None or push is None:
            return self.eager.hold(self.trees(state), data)
        after = split_floating(self.trees(self.advance(state, data))[0])[0]
        count = len(example)

        def mapped(package: Package, v: Tensors) -> Tensors:
            inputs = self._inputs(package.form, state, data)
            found = []
            for vector in zip(*(leaf.unbind() for leaf in v), strict=True):
                packed = Packed((leaf.contiguous() for leaf in vector), "plain")
                results = package.run([*inputs, *self._in_form(packed, package.form, 0, ())])
                found.append(self._in_form(Packed(results, package.form), "plain", 0, package.shapes))
            return tuple(torch.stack(leaves) for leaves in zip(*found, strict=True))

        def pull_all(v: Tensors) -> tuple[Tensors, Tensors]:
            results = mapped(pull, v)
            return results[:count], results[count:]

        return Held(after, pull_all, lambda v: mapped(push, v))

    def at(self, phi: Tree) -> CompiledKernels:
        """The same problem with another phi, once its outer loss was computed."""
        there = CompiledKernels(self.problem, phi)
        there._state_form, there._shapes, there.program = self._state_form, self._shapes, self.program
        there._several_shapes = self._several_shapes
        return there

    @property
    def _axis(self) -> int:
        """Which axis of what several objectives have each counts members."""
        return int(self.problem.several)

    def _in_form(self, packed: Packed, form: Form, axis: int, shapes: Shapes) -> Packed:
        return self.program.members.in_form(packed, form, axis, shapes)

    def _several_in_form(self, form: Form, cotangent: Packed, gradient: Packed) -> tuple[Packed, Packed]:
        first, second = self._several_shapes
        axis = self._axis
        return self._in_form(cotangent, form, axis, first), self._in_form(gradient, form, axis, second)

    def _inputs(self, form: Form, state: Packed, data: Tree) -> list[Tensor]:
        phi = self._phi_in.get(form)
        if phi is None:
            phi = self._phi_in[form] = self._in_form(self._phi, form, 0, ())
        leaves = self._split(data)[0]
        if form == "rows" and leaves:
            leaves = tuple(self.program.members.rows(leaf, 0) for leaf in leaves)
        return [*self._in_form(state, form, 0, self._shapes), *phi, *leaves]

    def _split(self, data: Tree) -> tuple[Tensors, TreeForm]:
        if data is not self._data[0]:
            self._data = (data, *_take_apart(data, "the data"))
        return self._data[1], self._data[2]

    def _package(self, kind: str, state: Packed, data: Tree, more: tuple[Packed, ...] = ()) -> Package | None:
        """The package for these inputs, or None if there is none, of which it warns once."""
        try:
            leaves, form = self._split(data)
        except NotCompilableError as reason:
            warn_once(self.program, kind, reason)
            return None
        key = asked(kind, leaves, form)
        if key not in self.program.found:
            self.program.found[key] = self._find(kind, state, (leaves, form), more)
        return self.program.found[key]

    def _find(
        self, kind: str, state: Packed, data: tuple[Tensors, TreeForm], more: tuple[Packed, ...]
    ) -> Package | None:
        try:
            return self.program.package(self.wanted(kind, state, data, more))
        except ImpureStepError:
            raise
        except Exception as error:  # noqa: BLE001 - torch's compiler raises what it likes; eager needs none of it
            warn_once(self.program, kind, error)
            return None

    def wanted(
        self, kind: str, state: Packed, data: tuple[Tensors, TreeForm], more: tuple[Packed, ...]
    ) -> Wanted:
        """Say what a function's package is to compute."""
        plain = (*self._in_form(state, "plain", 0, self._shapes), *self._phi, *data[0])
        extras = tuple(leaf for part in self._plain_extras(kind, more) for leaf in part)
        axis = self._axis if kind in ("pull", "outer loss") else 0
        members = self.program.members
        if Members.of(plain) != members:  # no axis in common: all of it is one member
            members = Members(None)
        axes = (*(0 for _ in plain), *(axis for _ in extras))
        function = self._function(kind, Forms(self._state_form, self._phi_form, data[1]))
        inputs = Inputs((*plain, *extras), axes, members)

        def prepare() -> None:
            if kind == "step":
                require_pure(self.problem.step, self.trees(state), self.eager.phi, data[1].join(data[0]))

        return Wanted(kind, function, inputs, axis, ("rows", "plain"), prepare)

    def _like_theta(self, state: Packed) -> Packed:
        """An example of a vector that a held step is multiplied by."""
        theta, _ = self.trees(state)
        return Packed((torch.ones_like(leaf) for leaf in split_floating(theta)[0]), "plain")

    def _plain_extras(self, kind: str, more: tuple[Packed, ...]) -> tuple[Packed, ...]:
        """What a function takes besides state, phi and data, plain."""
        if kind == "pull":
            return self._several_in_form("plain", *more)
        floating = self._state_form.only_floating(self._shapes)
        return tuple(self._in_form(part, "plain", 0, floating) for part in more)

    def _along(self, directions: Tensors) -> list[Packed]:
        if directions is not self._directions:
            self._directions, self._along_in = directions, {"plain": self.tangents(directions)}
        return self._along_in["plain"]

    def _function(self, kind: str, forms: Forms) -> FlatFunction:
        """A function of the problem by its name."""
        step, several = self.problem.step, self.problem.several
        makers: dict[str, Callable[[], FlatFunction]] = {
            "step": lambda: advance_function(step, forms),
            "pull": lambda: pull_function(step, forms, several),
            "push": lambda: push_function(step, forms),
            "held pull": lambda: held_functions(step, forms)[0],
            "held push": lambda: held_functions(step, forms)[1],
            "outer loss": lambda: outer_function(self.problem.outer_loss, forms, several),
        }
        return makers[kind]()


def asked(kind: str, leaves: Tensors, form: TreeForm) -> Any:
    """What tells one function's packages of a program apart: the data's form."""
    return (kind, form, *((leaf.shape, leaf.dtype) for leaf in leaves))


def warn_once(program: Program, kind: str, reason: Exception) -> None:
    """Warn that something runs eagerly, unless the user knows that of this problem."""
    if program.warned:
        return
    program.warned = True
    text = str(reason).strip().partition("\n")[0] or type(reason).__name__
    warnings.warn(
        f"The {kind} of {program.name} runs eagerly, not compiled: {text.rstrip('.')}.",
        CompileWarning,
        stacklevel=2,
    )


def _take_apart(tree: Tree, name: str) -> tuple[Packed, TreeForm]:
    leaves, form = TreeForm.split(tree, name)
    return Packed((leaf.detach().contiguous() for leaf in leaves), "plain"), form


def _shapes(leaves: Tensors) -> Shapes:
    return tuple(leaf.shape for leaf in leaves)

"""K steps and the reverse sweep as one call of machine code, for problems that can be written out in C.

The states of a block's K steps lie in one buffer that stays in the processor's cache.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.compile._c_source import (
    Function,
    Leaf,
    LibrarySource,
    declare,
    driver,
    load,
    make_function,
    make_library,
    store,
)
from bilevel.compile._expressions import NotScalarError
from bilevel.compile._functions import (
    LOG,
    FlatFunction,
    Forms,
    Inputs,
    Members,
    NotCompilableError,
    Run,
    TreeForm,
    eagerly,
    flat_function,
    plain_leaves,
    whole_function,
)
from bilevel.compile._kernels import warn_once
from bilevel.compile._operations import operations_digest
from bilevel.compile._program import PackageRequest, Program, find_program
from bilevel.core import Tensors, Tree
from bilevel.hypergradient import (
    BilevelProblem,
    Estimate,
    FixedData,
    RecordedData,
    all_zero,
    require_outer_path,
    require_pure,
)


def solve_source(step: Function, outer: Function, vjp: Function, phi: int, data: int) -> str:
    """Write a library's function (state, phi, outer data, data of steps) -> outer loss, last state, gradient.

    It is composed of a problem's functions (see `FUNCTIONS`), of which `vjp` has no gradient among its inputs
    and adds to it. `phi` and `data` are numbers of leaves; data come once for all steps or once for each.
    """
    state, (loss, *derivatives) = step.results, outer.results
    count, cotangent = len(state), derivatives[:-phi]
    # Each member has its part of the gradient of what all share, to the end.
    gradient = [dataclasses.replace(leaf, summed=leaf.shared) for leaf in derivatives[-phi:]]
    outer = dataclasses.replace(outer, results=(loss, *cotangent, *gradient))
    added = range(len(cotangent), len(derivatives))
    vjp = dataclasses.replace(vjp, results=(*cotangent, *gradient), added=added)

    arrays = {
        "phi": step.inputs[count : count + phi],
        "data": step.inputs[count + phi :],
        "outer_data": outer.inputs[count + phi :],
        "loss": [loss],
        "cotangent": cotangent,
        "earlier": cotangent,
        "gradient": gradient,
    }

    def named(*names: str) -> list[tuple[str, Leaf]]:
        """Arrays with their names in C; of a state, its members."""
        found: list[tuple[str, Leaf]] = []
        for name in names:
            if name in arrays:
                found += [(f"{name}{n}", leaf) for n, leaf in enumerate(arrays[name])]
            else:
                found += [(f"{name}.s{n}", leaf) for n, leaf in enumerate(state)]
        return found

    def call(function: Function, *names: str) -> str:
        return f"  {function.name}({', '.join(name for name, _ in named(*names))});"

    first_data = count + phi + len(arrays["outer_data"])
    load_data = [
        load(leaf, f"in[{first_data} + (batches > 1 ? k : 0) * {data} + {n}]", name)
        for n, (name, leaf) in enumerate(named("data"))
    ]
    starts = named("states[0]", "phi", "outer_data")
    ends = named("loss", "states[steps]", "gradient")
    body = [
        *(declare(leaf, name) for name, leaf in named(*arrays)),
        *(load(leaf, f"in[{n}]", name) for n, (name, leaf) in enumerate(starts)),
        "for (int64 k = 0; k < steps; k++) {",
        *(["  if (batches > 1 || k == 0) {", *load_data, "  }"] if data else []),
        call(step, "states[k]", "phi", "data", "states[k + 1]"),
        "}",
        call(outer, "states[steps]", "phi", "outer_data", "loss", "cotangent", "gradient"),
        "for (int64 k = steps - 1; k >= steps - differentiated; k--) {",
        *(["  if (batches > 1) {", *load_data, "  }"] if data else []),
        call(vjp, "states[k]", "phi", "data", "cotangent", "earlier", "gradient"),
        *(
            f"  __builtin_memcpy(cotangent{n}, {name}, sizeof {name});"
            for n, (name, _) in enumerate(named("earlier"))
        ),
        "}",
        *(store(leaf, name, f"out[{n}]") for n, (name, leaf) in enumerate(ends)),
    ]
    before = ["State *states = aligned_alloc(64, (steps + 1) * sizeof(State));", "if (!states) return 1;"]
    run = driver(body, [leaf for _, leaf in ends], before, ["free(states);"])
    struct = ["typedef struct {", *(declare(leaf, f"s{n}") for n, leaf in enumerate(state)), "} State;"]
    return "\n".join([*struct, step.source(), outer.source(), vjp.source(), run])


MAX_WHOLE = 4_000
"""Operations that a graph of all steps and the reverse sweep may have: one package then in place of three,
1.4 to 1.7 times faster (small networks, five steps)."""
VERIFIED = 2
"""Steps of the solve that is compared with eager mode: enough for a cotangent to pass from one to another."""


class SolveInputs(NamedTuple):
    """The inputs of a solve as flat tensors."""

    problem: BilevelProblem
    forms: Forms
    outer_form: TreeForm
    """The form of the outer loss's data."""
    state: Tensors
    phi: Tensors
    outer_data: Tensors
    batches: list[Tensors]
    """The data of steps: one batch for all of them, or one for each."""

    @property
    def program(self) -> Program:
        return find_program(self.problem, (self.state, self.forms.state), (self.phi, self.forms.phi))

    def function(self, steps: int) -> FlatFunction:
        return whole_function(self.problem, self.forms, self.outer_form, steps)

    def leaves(self, batches: int | None = None) -> Tensors:
        """All leaves: of the state, phi, the outer data, and the first batches of data (or all of them)."""
        return tuple(itertools.chain(self.state, self.phi, self.outer_data, *self.batches[:batches]))


def solve(
    problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree, steps: int, last: int | None = None
) -> Estimate | None:
    """The estimate of `Unrolled` (or `Truncated`), up to rounding, by one call of machine code.

    Arguments as for `Estimator.estimate`; `last` is the number of last steps that are differentiated, or None
    for all of them. None where data are drawn as learning goes on, the problem cannot be written out in C, or
    the gradient is zero throughout (the estimator then says why). A missing C compiler or cache folder is
    reported in one warning. ValueError if the step is not a pure function, or the outer loss does not depend
    on theta.
    """
    inputs = flatten_inputs(problem, theta, opt_state, phi, steps)
    if inputs is None:
        return None
    program, last, leaves = inputs.program, steps if last is None else last, list(inputs.leaves())
    package = _package(program, inputs)
    if package is not None:
        loss, *rest = package(leaves, steps, len(inputs.batches), last)
    else:
        package = _graph(program, inputs, steps) if last == steps and not program.warned else None
        if package is None:
            return None
        loss, *rest = package(leaves)
    end, gradient = rest[: len(inputs.state)], rest[len(inputs.state) :]
    if all_zero(tuple(gradient)):
        return None
    end_theta, end_state = inputs.forms.state.join(end)
    inner_data = tuple(problem.inner_data(None, None, k) for k in range(steps))
    outer_data = problem.outer_data(None, None)
    return Estimate(end_theta, end_state, loss, inputs.forms.phi.join(gradient), inner_data, outer_data)


def build_solve(problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree) -> bool:
    """Build the library of a problem's solve, K steps and the reverse sweep in C, and nothing else.

    Args:
        problem, theta, opt_state, phi: as for `Estimator.estimate`; the problem's data must be known.

    Returns:
        True if there is one.

    Raises:
        ValueError: the step is not a pure function, or the outer loss does not depend on theta.

    >>> from bilevel.hypergradient import BilevelProblem
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> build_solve(problem, torch.zeros(1), None, torch.ones(1))
    True
    """
    inputs = flatten_inputs(problem, theta, opt_state, phi, 1)
    return inputs is not None and _package(inputs.program, inputs) is not None


def flatten_inputs(
    problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree, steps: int
) -> SolveInputs | None:
    """Flatten the inputs; None where data are drawn as learning goes on, or a leaf is not a tensor."""
    inner, outer = problem.inner_data, problem.outer_data
    if steps < 1 or not (isinstance(inner, FixedData | RecordedData) and isinstance(outer, FixedData)):
        return None
    trees = (inner.data,) if isinstance(inner, FixedData) else inner.data[:steps]
    if isinstance(inner, RecordedData) and len(trees) < steps:
        return None
    try:
        state, state_form = plain_leaves((theta, opt_state), "the inputs")
        phi_leaves, phi_form = plain_leaves(phi, "the inputs")
        outer_data, outer_form = plain_leaves(outer.data, "the inputs")
        batches, data_forms = zip(*(plain_leaves(tree, "the inputs") for tree in trees), strict=True)
    except NotCompilableError:
        return None
    if len({(form, *_kinds(batch)) for form, batch in zip(data_forms, batches, strict=True)}) > 1:
        return None
    forms = Forms(state_form, phi_form, data_forms[0])
    return SolveInputs(problem, forms, outer_form, state, phi_leaves, outer_data, list(batches))


def _kinds(leaves: Tensors) -> list[tuple[torch.Size, torch.dtype]]:
    return [(leaf.shape, leaf.dtype) for leaf in leaves]


def _package(program: Program, inputs: SolveInputs) -> Run | None:
    forms, many_batches = inputs.forms, len(inputs.batches) > 1
    kinds = *_kinds(inputs.batches[0]), *_kinds(inputs.outer_data)
    key = ("solve", many_batches, forms.data, inputs.outer_form, *kinds)
    if key not in program.found:
        program.found[key] = _find(program, inputs)
    return program.found[key]


def _graph(program: Program, inputs: SolveInputs, steps: int) -> Run | None:
    """The package of so many steps as one graph of tensors; None where that would be too large."""
    key = ("whole", steps, len(inputs.batches), *_kinds(inputs.batches[0]), *_kinds(inputs.outer_data))
    if key not in program.found:
        leaves, whole = (
            inputs.leaves(),
            whole_function(inputs.problem, inputs.forms, inputs.outer_form, steps),
        )
        example = Inputs(leaves, (0,) * len(leaves), program.members)
        try:
            operations_digest(whole, leaves, max_operations=MAX_WHOLE)
            request = PackageRequest(f"solve of {steps} steps", whole, example, 0, ("graph",))
            program.found[key] = program.package(request)
        except Exception as error:  # noqa: BLE001 - step by step, each of its functions says what it cannot
            LOG.debug("Not compiled as a whole: %s: %s.", type(error).__name__, error)
            program.found[key] = None
    return program.found[key]


def _find(program: Program, inputs: SolveInputs) -> Run | None:
    problem, forms = inputs.problem, inputs.forms
    start, phi = forms.state.join(inputs.state), forms.phi.join(inputs.phi)
    require_pure(problem.step, start, phi, forms.data.join(inputs.batches[0]))
    require_outer_path(problem, start[0], phi, inputs.outer_form.join(inputs.outer_data))
    for request in solve_requests(inputs, program.members):
        try:
            return program.package(request)
        except NotCompilableError as reason:
            LOG.debug("Not solved as a whole in C: %s.", reason)
        except OSError as error:
            warn_once(program, "solve", error)
            return None
    return None


def solve_requests(inputs: SolveInputs, members: Members) -> list[PackageRequest]:
    """The forms of a solve's package to try, in this order.

    Where members have no axis in common, or meet each other, all of it is one member.
    """
    batches, alone, leaves = len(inputs.batches[:VERIFIED]), Members(None), inputs.leaves(VERIFIED)
    shared_axis = Members.of(leaves) == members and members != alone
    return [
        PackageRequest(
            "solve",
            inputs.function(VERIFIED),
            Inputs(leaves, (0,) * len(leaves), found),
            0,
            ("c",),
            write=partial(_source, inputs, found),
            sizes=(VERIFIED, batches, VERIFIED),
        )
        for found in ((members, alone) if shared_axis else (alone,))
    ]


def _source(inputs: SolveInputs, members: Members, results: Sequence[Tensor]) -> LibrarySource:
    """Write the step, the outer loss, the vector-Jacobian product and their driver."""
    problem, forms, axis = inputs.problem, inputs.forms, int(inputs.problem.per_agent_objective)
    if any(leaf.ndim == 0 and leaf.is_floating_point() for leaf in inputs.state) and members.count:
        raise NotScalarError("all members share a number that is learned")
    first = (*inputs.state, *inputs.phi, *inputs.batches[0])
    last = (*inputs.state, *inputs.phi, *inputs.outer_data)
    outer = flat_function("outer loss", problem, Forms(forms.state, forms.phi, inputs.outer_form))
    vjp = flat_function("vjp", problem, forms)
    _, *derivatives = eagerly(outer)(last)
    count = sum(forms.state.floating)
    cotangent, gradient = derivatives[:count], derivatives[count:]

    def vjp_alone(*flat: Tensor) -> Tensors:
        """The product without the gradient so far, to which C adds."""
        phi = forms.split(flat)[1]
        if problem.per_agent_objective:
            phi = tuple(leaf.unsqueeze(0).expand(len(gradient[0]), *leaf.shape) for leaf in phi)
        return vjp(*flat, *map(torch.zeros_like, phi))

    def written(name: str, function: FlatFunction, example: Inputs, out_axis: int) -> Function:
        return make_function(name, function, example, eagerly(function)(example.leaves), out_axis)

    of_step = Inputs(first, (0,) * len(first), members)
    of_outer = Inputs(last, (0,) * len(last), members)
    of_vjp = Inputs((*first, *cotangent), (*of_step.axes, *[axis] * count), members)
    functions = (
        written("step", flat_function("step", problem, forms), of_step, 0),
        written("outer", outer, of_outer, axis),
        written("vjp", vjp_alone, of_vjp, axis),
    )
    text = solve_source(*functions, len(inputs.phi), len(inputs.batches[0]))
    return make_library(text, functions, many=members.many)

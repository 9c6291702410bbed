"""All steps of a problem and the way back with nothing between the calls: once every package is there."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from torch import Tensor

from bilevel.hypergradient.base import Always, BilevelProblem, Estimate
from bilevel.hypergradient.compiled import cache, registry
from bilevel.hypergradient.compiled.fingerprint import fingerprint
from bilevel.hypergradient.compiled.functions import Forms, NotCompilableError, TreeForm, whole_function
from bilevel.hypergradient.compiled.kernels import asked
from bilevel.hypergradient.compiled.packages import environment
from bilevel.hypergradient.compiled.program import LOG, Inputs, Package, Program
from bilevel.hypergradient.connection import all_zero
from bilevel.tree import Tensors, Tree

MOST_WHOLE = 4_000
"""Operations that all steps and the way back may have together to be tried as one package."""

Run = Callable[[], tuple[Tensor, list[Tensor], list[Tensor]]]
"""-> the outer loss, the state's leaves at the end, the gradient's leaves, all plain."""


def tight_walk(
    problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree, steps: int
) -> Estimate | None:
    """Give what `Unrolled` gives, bit for bit as through `CompiledKernels`, or up to rounding as one package.

    Returns:
        the estimate; None where data are drawn, a package is missing, or the gradient is zero throughout (the
        long way then says why).
    """
    inner, outer = problem.inner_data, problem.outer_data
    if steps < 1 or not (isinstance(inner, Always) and isinstance(outer, Always)):
        return None
    try:
        parts = [TreeForm.split(tree, "") for tree in ((theta, opt_state), phi, inner.data, outer.data)]
    except NotCompilableError:
        return None
    (state, state_form), (flat_phi, phi_form), (data, _), (last, _) = parts
    program = registry.find(problem, parts[0], parts[1])
    found = [
        program.found.get(asked(kind, *part))
        for kind, part in (("step", parts[2]), ("pull", parts[2]), ("outer loss", parts[3]))
    ]
    if any(package is None or package.form != found[0].form for package in found if found[0]) or not found[0]:
        return None
    walk = _Walk(program, found, (state, flat_phi, data, last), int(problem.several), steps)
    run = _choose(program, problem, parts, walk, steps) if found[0].form == "plain" else walk
    loss, end, gradient = run()
    if all_zero(tuple(gradient)):
        return None
    end_theta, end_state = state_form.join(end)
    return Estimate(end_theta, end_state, loss, phi_form.join(gradient), (inner.data,) * steps, outer.data)


class _Walk:
    """K steps forward and back on one set of inputs."""

    def __init__(
        self,
        program: Program,
        found: list[Any],
        inputs: tuple[Tensors, Tensors, Tensors, Tensors],
        axis: int,
        steps: int,
    ) -> None:
        self.members, self.axis, self.steps = program.members, axis, steps
        self.found, self.inputs = found, inputs

    def __call__(self) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        step, pull, outer = self.found
        state, phi, data, last = (self._bring(leaves) for leaves in self.inputs)
        advance, back = step.run, pull.run
        fixed = [*phi, *data]
        states = [state]
        for _ in range(self.steps):
            state = advance(state + fixed)
            states.append(state)
        loss, *pulled = outer.run([*state, *phi, *last])
        states.pop()
        while states:
            pulled = back(states.pop() + fixed + pulled)
        if step.form == "plain":
            return loss, state, pulled[-len(phi) :]
        plain, count = self.members.plain, len(phi)
        end = [plain(leaf, like.shape, 0) for leaf, like in zip(state, self.inputs[0], strict=True)]
        shapes = outer.shapes[-count:]
        gradient = [
            plain(leaf, shape, self.axis) for leaf, shape in zip(pulled[-count:], shapes, strict=True)
        ]
        return plain(loss, outer.shapes[0], self.axis), end, gradient

    def _bring(self, leaves: Tensors) -> list[Tensor]:
        if self.found[0].form == "plain":
            return [leaf.detach().contiguous() for leaf in leaves]
        rows = self.members.rows
        return [rows(leaf.detach(), 0) for leaf in leaves]


def _choose(
    program: Program,
    problem: BilevelProblem,
    parts: list[tuple[Tensors, TreeForm]],
    walk: _Walk,
    steps: int,
) -> Run:
    """The walk, or all of it as one package if that is small and was found faster."""
    key = (steps, asked("whole", *parts[2]), asked("whole", *parts[3]))
    if key not in program.whole:
        program.whole[key] = _find_whole(program, problem, parts, walk, steps)
    package = program.whole[key]
    return walk if package is None else _as_run(package, parts)


def _as_run(package: Package, parts: list[tuple[Tensors, TreeForm]]) -> Run:
    count = len(parts[0][0])
    leaves = [leaf.detach().contiguous() for flat, _ in parts for leaf in flat]

    def run() -> tuple[Tensor, list[Tensor], list[Tensor]]:
        loss, *rest = package.run(leaves)
        return loss, rest[:count], rest[count:]

    return run


def _find_whole(
    program: Program,
    problem: BilevelProblem,
    parts: list[tuple[Tensors, TreeForm]],
    walk: _Walk,
    steps: int,
) -> Package | None:
    """Build all steps as one package, if they are few operations, and keep it if it is faster."""
    operations = cache.about(walk.found[1].key).get("operations")
    if not isinstance(operations, int) or operations * steps > MOST_WHOLE:
        return None
    inputs = Inputs(
        tuple(leaf for flat, _ in parts for leaf in flat),
        tuple(0 for flat, _ in parts for _ in flat),
        program.members,
    )
    name = fingerprint("whole", steps, program.made_of, inputs.kind, program.members.count, environment())
    if cache.recall_choice(name) is False:
        return None
    forms = Forms(parts[0][1], parts[1][1], parts[2][1])
    function = whole_function(problem.step, problem.outer_loss, forms, parts[3][1], problem.several, steps)
    try:
        package = program.package(f"whole of {steps} steps", function, inputs, 0, ("plain",))
    except Exception as error:  # noqa: BLE001 - the walk does the same, one step at a time
        LOG.info("Not compiled as a whole: %s.", error)
        return None
    if cache.recall_choice(name) is None:
        cache.remember_choice(name, _seconds(_as_run(package, parts)) < _seconds(walk))
    return package if cache.recall_choice(name) else None


def _seconds(run: Run) -> float:
    times = []
    for _ in range(9):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times)

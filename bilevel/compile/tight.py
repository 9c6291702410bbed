"""All steps of a problem and the way back with nothing between the calls: once every package is there."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from bilevel.compile import cache, registry
from bilevel.compile.functions import Forms, NotCompilableError, TreeForm, whole_function
from bilevel.compile.kernels import asked
from bilevel.compile.plans import LOG, Inputs
from bilevel.compile.program import Package, Program, Wanted, package_key
from bilevel.hypergradient.base import Always, BilevelProblem, Estimate, Recorded
from bilevel.hypergradient.connection import all_zero
from bilevel.tree import Tensors, Tree

MOST_WHOLE = 4_000
"""Operations that all steps and the way back may have together to be tried as one package."""

Run = Callable[[], tuple[Tensor, list[Tensor], list[Tensor]]]
"""-> the outer loss, the state's leaves at the end, the gradient's leaves, all plain."""


class _Taken(NamedTuple):
    """What a call was given, taken apart."""

    state: tuple[Tensors, TreeForm]
    phi: tuple[Tensors, TreeForm]
    lots: list[tuple[Tensors, TreeForm]]
    """The data of all steps: one lot for all of them, or one for each."""
    last: tuple[Tensors, TreeForm]
    """The outer loss's data."""
    steps: int

    @property
    def leaves(self) -> Tensors:
        """All of it, one after the other."""
        parts = (self.state, self.phi, *self.lots, self.last)
        return tuple(leaf.detach().contiguous() for flat, _ in parts for leaf in flat)


def tight_walk(
    problem: BilevelProblem,
    theta: Tree,
    opt_state: Tree,
    phi: Tree,
    steps: int,
    *,
    recall: bool = False,
    whole_only: bool = False,
) -> Estimate | None:
    """Give what `Unrolled` gives: bit for bit as through `CompiledKernels`, or up to rounding as one package.

    Args:
        problem: as for `Hypergradient`, like the next four.
        theta: the inner variables at the start.
        opt_state: the optimiser's state at the start.
        phi: the outer variables.
        steps: K.
        recall: whether a package of all steps that another process found fastest may be loaded.
        whole_only: whether only one package for all steps will do.

    Returns:
        the estimate; None where data are drawn as learning goes on, a package is missing, or the gradient is
        zero throughout (the long way then says why).
    """
    if not recall and not registry.any_known():
        return None
    inner, outer = problem.inner_data, problem.outer_data
    if steps < 1 or not (isinstance(inner, Always | Recorded) and isinstance(outer, Always)):
        return None
    data = (inner.data,) * steps if isinstance(inner, Always) else inner.data[:steps]
    lots = data[:1] if isinstance(inner, Always) else data
    split = TreeForm.split
    try:
        state, taken_phi = split((theta, opt_state), ""), split(phi, "")
        seen = [split(lot, "") for lot in lots]
        taken = _Taken(state, taken_phi, seen, split(outer.data, ""), steps)
    except NotCompilableError:
        return None
    if len(data) < steps:
        return None
    run = _find_run(problem, taken, recall=recall)
    if run is None or (whole_only and isinstance(run, _Walk)):
        return None
    loss, end, gradient = run()
    if all_zero(tuple(gradient)):
        return None
    end_theta, end_state = taken.state[1].join(end)
    return Estimate(end_theta, end_state, loss, taken.phi[1].join(gradient), data, outer.data)


def _find_run(problem: BilevelProblem, taken: _Taken, *, recall: bool) -> Run | None:
    """What gives the results fastest, of what is there."""
    look = registry.find if recall else registry.known
    program = look(problem, taken.state, taken.phi)
    if program is None:
        return None
    found = _packages(program, taken)
    if found is None:
        package = _recall_whole(program, problem, taken) if recall else None
        return None if package is None else _as_run(package, taken)
    walk = _Walk(program, found, taken, int(problem.several))
    return _choose(program, problem, taken, walk) if walk.step.key.endswith(".pt2") else walk


def _packages(program: Program, taken: _Taken) -> tuple[Package, Package, Package] | None:
    """The packages of step, pull and outer loss; None if one is missing or they differ in form."""
    key = asked("step", *taken.lots[0])
    if any(asked("step", *lot) != key for lot in taken.lots[1:]):
        return None
    step = program.found.get(key)
    pull = program.found.get(asked("pull", *taken.lots[0]))
    outer = program.found.get(asked("outer loss", *taken.last))
    if step is None or pull is None or outer is None or not step.form == pull.form == outer.form:
        return None
    return step, pull, outer


class _Walk:
    """K steps forward and back on one set of inputs."""

    def __init__(
        self, program: Program, found: tuple[Package, Package, Package], taken: _Taken, axis: int
    ) -> None:
        self.members, self.axis, self.taken = program.members, axis, taken
        self.step, self.pull, self.outer = found
        self.form = self.step.form

    def __call__(self) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        taken, bring = self.taken, self._bring
        state, phi, last = bring(taken.state), bring(taken.phi), bring(taken.last)
        fixed = [phi + bring(lot) for lot in taken.lots]
        seen = fixed * taken.steps if len(fixed) == 1 else fixed
        advance, back = self.step.run, self.pull.run
        states = []
        for given in seen:
            states.append(state)
            state = advance(state + given)
        loss, *pulled = self.outer.run(state + phi + last)
        for given in reversed(seen):
            pulled = back(states.pop() + given + pulled)
        return self._plain(loss, state, pulled[-len(phi) :])

    def _bring(self, part: tuple[Tensors, TreeForm]) -> list[Tensor]:
        if self.form == "plain":
            return [leaf.detach().contiguous() for leaf in part[0]]
        rows = self.members.rows
        return [rows(leaf.detach(), 0) for leaf in part[0]]

    def _plain(
        self, loss: Tensor, state: list[Tensor], gradient: list[Tensor]
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        if self.form == "plain":
            return loss, state, gradient
        plain, shapes = self.members.plain, self.outer.shapes
        end = [plain(leaf, like.shape, 0) for leaf, like in zip(state, self.taken.state[0], strict=True)]
        by_phi = zip(gradient, shapes[-len(gradient) :], strict=True)
        return (
            plain(loss, shapes[0], self.axis),
            end,
            [plain(leaf, shape, self.axis) for leaf, shape in by_phi],
        )


def _choose(program: Program, problem: BilevelProblem, taken: _Taken, walk: _Walk) -> Run:
    """The walk, or all of it as one package if that is small and was found faster."""
    key = _whole_key(taken)
    if key not in program.whole:
        program.whole[key] = _find_whole(program, problem, taken, walk)
    package = program.whole[key]
    return walk if package is None else _as_run(package, taken)


def _recall_whole(program: Program, problem: BilevelProblem, taken: _Taken) -> Package | None:
    """The package of all steps, if it was found faster before."""
    key = _whole_key(taken)
    fresh = not program.found  # later, what is missing could not be built: the disk knows nothing new
    if fresh and program.whole.get(key) is None:
        wanted = _wanted_whole(problem, program, taken)
        try:
            name = package_key("plain", wanted, max_operations=MOST_WHOLE)
            if name is not None and cache.recall_choice(name):
                program.whole[key] = program.package(wanted)
        except Exception as error:  # noqa: BLE001 - the long way tells
            LOG.debug("Not taken as a whole: %s: %s.", type(error).__name__, error)
    return program.whole.get(key)


def _whole_key(taken: _Taken) -> Any:
    return (taken.steps, len(taken.lots), asked("whole", *taken.lots[0]), asked("whole", *taken.last))


def _inputs(program: Program, taken: _Taken) -> Inputs:
    return Inputs(taken.leaves, (0,) * len(taken.leaves), program.members)


def _wanted_whole(problem: BilevelProblem, program: Program, taken: _Taken) -> Wanted:
    forms = Forms(taken.state[1], taken.phi[1], taken.lots[0][1])
    function = whole_function(
        problem.step, problem.outer_loss, forms, taken.last[1], problem.several, taken.steps
    )
    return Wanted(f"whole of {taken.steps} steps", function, _inputs(program, taken), 0, ("plain",))


def _as_run(package: Package, taken: _Taken) -> Run:
    count = len(taken.state[0])

    def run() -> tuple[Tensor, list[Tensor], list[Tensor]]:
        loss, *rest = package.run(list(taken.leaves))
        return loss, rest[:count], rest[count:]

    return run


def _find_whole(program: Program, problem: BilevelProblem, taken: _Taken, walk: _Walk) -> Package | None:
    """Build all steps as one package, if they are few operations, and keep it if it is faster."""
    operations = cache.about(walk.pull.key).get("operations")
    if not isinstance(operations, int) or operations * taken.steps > MOST_WHOLE:
        return None
    wanted = _wanted_whole(problem, program, taken)
    try:
        name = package_key("plain", wanted)
        if name is None or cache.recall_choice(name) is False:
            return None
        package = program.package(wanted)
        if cache.recall_choice(package.key) is None:
            cache.remember_choice(package.key, _faster(_as_run(package, taken), walk))
    except Exception as error:  # noqa: BLE001 - the walk does the same, one step at a time
        LOG.info("Not compiled as a whole: %s.", error)
        return None
    return package if cache.recall_choice(package.key) else None


def _faster(one: Run, other: Run) -> bool:
    """Whether the first takes less time, by medians of calls in turn, after some that are not counted."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(18):
        for run, spent in zip((one, other), times, strict=True):
            began = time.perf_counter()
            run()
            if turn >= 3:
                spent.append(time.perf_counter() - began)
    return statistics.median(times[0]) < statistics.median(times[1])

"""Rollouts: K steps of inner learning, with what the reverse sweep needs of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bilevel.core import Tensors, Tree, detach, is_floating, leaves, paths, split_floating, structure
from bilevel.hypergradient._checkpointing import STATES, Checkpointing, CheckpointSchedule, max_states
from bilevel.hypergradient._estimator import BilevelProblem, Estimate, FixedData, FromState, RecordedData
from bilevel.hypergradient._kernels import Kernels, State, StepVjp, make_kernels
from bilevel.hypergradient._storage import Storage
from bilevel.hypergradient._validation import (
    all_zero,
    once,
    require_inner_path,
    require_outer_path,
    require_pure,
)
from games.core import require

GRAPH_BYTES = 1 << 30
"""Bound of the graph of all steps with recompute="auto": 1 GiB."""


@dataclass(frozen=True)
class Rollout:
    """K steps of inner learning."""

    states: list[State]
    """(theta_k, opt_state_k) at the starts of `schedule`, as `storage` keeps them, then that at the end, in
    the form of `kernels`. With nothing rounded or offloaded all are in that form."""
    inner_data: tuple[Tree, ...]
    """The data of each step."""
    outer_data: Tree
    """The data of the outer loss."""
    kernels: Kernels
    schedule: CheckpointSchedule
    """Of the last steps, those that can be differentiated."""
    storage: Storage
    vjps: list[StepVjp] | None = None
    """The vector-Jacobian products of the steps of `schedule`, where their graph is kept."""

    @property
    def first(self) -> int:
        """The first step that can be differentiated."""
        return len(self.inner_data) - self.schedule.length

    @property
    def begin(self) -> tuple[Tree, Tree]:
        """(theta_k, opt_state_k) before that step."""
        return self.kernels.trees(self.storage.take(self.states[0]))

    @property
    def end(self) -> tuple[Tree, Tree]:
        """(theta_K, opt_state_K)."""
        return self.kernels.trees(self.states[-1])

    def require_pure(self) -> None:
        """Raise ImpureStepError unless the first step that can be differentiated is pure."""
        require_pure(self.kernels.problem.step, self.begin, self.kernels.phi, self.inner_data[self.first])

    def require_outer_path(self, cotangent: Tensors) -> None:
        """Raise ValueError if the cotangent of the end is zero for want of a path from theta to the loss."""
        if all_zero(cotangent):
            require_outer_path(self.kernels.problem, self.end[0], self.kernels.phi, self.outer_data)

    def estimate(self, loss: Tensor, gradient: Tensors) -> Estimate:
        """Build the estimate; ValueError if the gradient is zero for want of a path from phi."""
        if all_zero(gradient):
            require_inner_path(self)
        rebuilt = split_floating(self.kernels.phi)[1](gradient)
        return Estimate(*self.end, loss, rebuilt, self.inner_data, self.outer_data)


def roll_out(
    problem: BilevelProblem,
    theta: Tree,
    opt_state: Tree,
    phi: Tree,
    steps: int,
    *,
    keep: int | None = None,
    before_step: Callable[[State, Tree], None] | None = None,
    kernels: Kernels | None = None,
    checkpointing: Checkpointing = STATES,
) -> Rollout:
    """Run K inner steps, and store what the reverse sweep needs.

    Args:
        problem, theta, opt_state, phi, steps: as for `Estimator.estimate`.
        keep: number of last steps that can be differentiated, at least 1; all of them if None or above K.
        before_step: called with each (theta_k, opt_state_k), in the form of the kernels, and the step's data.
        kernels: None: those of the problem.
        checkpointing: keeps the graph of the last steps, or some of their states.

    Returns:
        The rollout: `end`, (theta_K, opt_state_K); `begin`, the state before the first step that can be
        differentiated; `inner_data` of each step and `outer_data`; `kernels`; and the states that were kept.

    Raises:
        ValueError: `steps` is below 1, theta or phi is empty or not floating, the step is not a pure function
            or does not return theta and state in the form it got them, or `checkpointing` has too little
            memory.

    >>> from bilevel.hypergradient import BilevelProblem
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> run = roll_out(problem, torch.tensor(0.0), None, torch.tensor(1.0), steps=3, keep=1)
    >>> run.begin, run.end
    ((tensor(0.7500), None), (tensor(0.8750), None))
    """
    require(steps >= 1, f"steps must be at least 1, not {steps}.")
    require_floating(theta, "theta")
    require_floating(phi, "phi")
    phi = detach(phi)
    kernels = make_kernels(problem, phi) if kernels is None else kernels
    start = detach(theta), detach(opt_state)
    storage = Storage(kernels, start, checkpointing.keep_dtype, offload=checkpointing.offload)
    schedule = checkpointing.schedule(steps if keep is None else min(keep, steps), storage.state_bytes)
    if len(schedule.starts) < schedule.length:
        storage.reserve(max_states(schedule) - 1)
    first = steps - schedule.length
    kept = {first + begin for begin in schedule.starts}
    state, states, inner_data = kernels.start(*start), [], []
    vjps: list[StepVjp] | None = None  # until the graph of the steps is kept
    draw, draw_outer = problem.inner_data, problem.outer_data
    known = isinstance(draw, FixedData | RecordedData)
    with torch.no_grad():
        for k in range(steps):
            if k in kept:
                states.append(storage.put(state))
            data = draw(None if known else kernels.trees(state)[0], phi, k)
            inner_data.append(data)
            if before_step is not None:
                before_step(state, data)
            if k == first and _keeps_graph(kernels, state, data, schedule.length, checkpointing):
                vjps = []
            if vjps is None:
                state = kernels.advance(state, data)
            else:
                state, product = kernels.vjp(state, data)
                vjps.append(product)
            if k == 0 and vjps is None:
                check = partial(_require_same_forms, start, kernels.trees(state))
                once("forms", problem.step, (start, phi, data), check)
        states.append(state)
        if isinstance(draw_outer, FromState):
            outer_data = draw_outer.draw(*kernels.trees(state), phi)
        else:
            end = None if isinstance(draw_outer, FixedData) else kernels.trees(state)[0]
            outer_data = draw_outer(end, phi)
    return Rollout(states, tuple(inner_data), outer_data, kernels, schedule, storage, vjps)


def _keeps_graph(
    kernels: Kernels, state: State, data: Tree, length: int, checkpointing: Checkpointing
) -> bool:
    """Check the step, and choose between keeping the graph of the next `length` steps and their states."""
    if checkpointing.recompute is True or not checkpointing.keeps_states:
        return False
    step, start, phi = kernels.problem.step, kernels.trees(state), kernels.phi
    require_pure(step, start, phi, data, lambda after: _require_same_forms(start, after))
    if checkpointing.recompute is False or length == 1:
        return True
    step_bytes = once("bytes", step, (start, phi, data), lambda: kernels.vjp_bytes(state, data))
    return length * step_bytes <= GRAPH_BYTES


def require_floating(tree: Tree, name: str) -> None:
    """Raise ValueError unless a tree, called `name`, holds a leaf or more, all of them floating tensors."""
    require(bool(leaves(tree)), f"{name} must hold at least one tensor, but it is empty.")
    for place, leaf in enumerate(leaves(tree)):
        if not is_floating(leaf):
            kind = getattr(leaf, "dtype", type(leaf).__name__)
            raise ValueError(
                f"{name} must hold floating tensors only, but leaf {paths(tree)[place]} is {kind}."
            )


def _require_same_forms(start: tuple[Tree, Tree], after: tuple[Tree, Tree]) -> None:
    for name, before, now in zip(("theta", "opt_state"), start, after, strict=True):
        found, expected = structure(now), structure(before)
        if found != expected:
            raise ValueError(f"step must give {name} back in the form it got it: {expected}, not {found}.")
        for path, old, new in zip(paths(before), leaves(before), leaves(now), strict=True):
            if is_floating(old) and _form(old) != _form(new):
                raise ValueError(
                    f"step must give {name} back in the form it got it, but leaf {path} went "
                    f"from {_form(old)} to {_form(new)}."
                )


def _form(leaf: object) -> str:
    if not isinstance(leaf, torch.Tensor):
        return type(leaf).__name__
    return f"{str(leaf.dtype).removeprefix('torch.')}{list(leaf.shape)}"

"""Inner learning for K steps, with the states kept that a walk back will need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from bilevel.core import Step, Tree, detach, is_floating, leaves, paths, structure
from bilevel.hypergradient._checkpoint_schedule import Plan
from bilevel.hypergradient._estimator import BilevelProblem, FixedData, RecordedData, no_data
from bilevel.hypergradient._kernels import Kernels, PullBack, State, make_kernels
from bilevel.hypergradient._purity import once, require_pure
from bilevel.hypergradient._recomputation import STATES, Checkpointing
from bilevel.hypergradient._storage import Storage
from games.core import require


@dataclass(frozen=True)
class Rollout:
    """K steps of inner learning."""

    states: list[State]
    """(theta_k, opt_state_k) before the steps that `plan` starts at, as `storage` keeps them, then that at
    the end, in the form of `kernels`. With nothing rounded or offloaded all are in that form."""
    inner_data: tuple[Tree, ...]
    """The data of each step: K of them."""
    outer_data: Tree
    """The data of the outer loss."""
    kernels: Kernels
    """What took the steps."""
    plan: Plan
    """Which of the last steps' states are kept."""
    storage: Storage
    """What keeps them."""
    pulls: tuple[PullBack, ...] | None = None
    """The vector-Jacobian products of the steps of `plan`, where their graph is kept."""

    @property
    def first(self) -> int:
        """The step that starts from the first state kept."""
        return len(self.inner_data) - self.plan.length

    @property
    def begin(self) -> tuple[Tree, Tree]:
        """The first (theta_k, opt_state_k) that is kept."""
        return self.kernels.trees(self.storage.take(self.states[0]))

    @property
    def end(self) -> tuple[Tree, Tree]:
        """(theta_K, opt_state_K)."""
        return self.kernels.trees(self.states[-1])


def roll_out(
    problem: BilevelProblem,
    theta: Tree,
    opt_state: Tree,
    phi: Tree,
    steps: int,
    *,
    keep: int | None = None,
    before_step: Callable[[State, Tree], None] = no_data,
    kernels: Kernels | None = None,
    bounds: Checkpointing = STATES,
) -> Rollout:
    """Take K steps, and keep of them what `bounds` say.

    Memory: K + 1 times (theta and the optimizer's state), or `keep` + 1 times, or what `bounds` say of so
    many steps; and the data of each step.

    Args:
        problem: the step, and where data come from.
        theta: as for `Estimator`, like the rest.
        opt_state: the optimizer's state at the start.
        phi: the outer variables.
        steps: K, at least 1.
        keep: how many of the last steps can be walked back, at least 1; all of them if None or above K.
        before_step: told the (theta_k, opt_state_k), in the form of the kernels, and the data of each step,
            before it is taken.
        kernels: what takes the steps; None: those that the problem names.
        bounds: whether their graph is kept, or which of their states, and in what form.

    Raises:
        ValueError: `steps` is below 1, theta or phi is empty or not floating, the step is no pure function or
            does not give theta and state back in the form it got them, or `bounds` are too narrow.
    """
    require(steps >= 1, f"steps must be at least 1, not {steps}.")
    require_floating(theta, "theta")
    require_floating(phi, "phi")
    phi = detach(phi)
    kernels = make_kernels(problem, phi) if kernels is None else kernels
    start = detach(theta), detach(opt_state)
    storage = Storage(kernels, start, bounds.keep_dtype, offload=bounds.offload)
    plan = bounds.plan(steps if keep is None else min(keep, steps), storage.state_bytes)
    storage.make_room(plan)
    kept = {steps - plan.length + begin for begin in plan.starts}
    state, states, inner_data = kernels.start(*start), [], []
    pulls: list[PullBack] | None = None
    with torch.no_grad():
        for k in range(steps):
            if k in kept:
                states.append(storage.put(state))
            draw = problem.inner_data
            known = isinstance(draw, FixedData | RecordedData)
            data = draw(None if known else kernels.trees(state)[0], phi, k)
            inner_data.append(data)
            before_step(state, data)
            if k == steps - plan.length and _keeps_graph(problem, kernels, state, (phi, data), plan, bounds):
                pulls = []
            if pulls is None:
                state = kernels.advance(state, data)
            else:
                state, pull = kernels.vjp(state, data)
                pulls.append(pull)
            if k == 0 and pulls is None:
                _require_forms_once(problem.step, (start, phi, data), kernels.trees(state))
        states.append(state)
        draw_outer = problem.outer_data
        known = isinstance(draw_outer, FixedData)
        outer_data = draw_outer(None if known else kernels.trees(state)[0], phi)
    kept_pulls = None if pulls is None else tuple(pulls)
    return Rollout(states, tuple(inner_data), outer_data, kernels, plan, storage, kept_pulls)


def _keeps_graph(
    problem: BilevelProblem,
    kernels: Kernels,
    state: State,
    inputs: tuple[Tree, Tree],
    plan: Plan,
    bounds: Checkpointing,
) -> bool:
    """Whether the graph of the steps from this one on is kept; where it is, no second call tells purity."""
    if not bounds.may_keep_graph:
        return False
    (phi, data), step, trees = inputs, problem.step, kernels.trees(state)
    require_pure(step, trees, phi, data, lambda after: _require_same_forms(trees, after))
    return bounds.keeps_graph(
        plan.length, lambda: once("bytes", step, (trees, phi, data), lambda: kernels.vjp_bytes(state, data))
    )


def require_floating(tree: Tree, name: str) -> None:
    """Raise ValueError unless a tree holds at least one leaf, and floating tensors only.

    Args:
        tree: what is looked at.
        name: what to call it.
    """
    require(bool(leaves(tree)), f"{name} must hold at least one tensor, but it is empty.")
    for place, leaf in enumerate(leaves(tree)):
        if not is_floating(leaf):
            kind = getattr(leaf, "dtype", type(leaf).__name__)
            raise ValueError(
                f"{name} must hold floating tensors only, but leaf {paths(tree)[place]} is {kind}."
            )


def _require_forms_once(
    step: Step, inputs: tuple[tuple[Tree, Tree], Tree, Tree], after: tuple[Tree, Tree]
) -> None:
    once("forms", step, inputs, lambda: _require_same_forms(inputs[0], after))


def _require_same_forms(start: tuple[Tree, Tree], after: tuple[Tree, Tree]) -> None:
    for name, before, now in zip(("theta", "opt_state"), start, after, strict=True):
        _require_same_form(before, now, name)


def _require_same_form(before: Tree, after: Tree, name: str) -> None:
    found, expected = structure(after), structure(before)
    if found != expected:
        raise ValueError(f"step must give {name} back in the form it got it: {expected}, not {found}.")
    for place, (old, new) in enumerate(zip(leaves(before), leaves(after), strict=True)):
        if not is_floating(old) or (is_floating(new) and new.shape == old.shape and new.dtype == old.dtype):
            continue
        raise ValueError(
            f"step must give {name} back in the form it got it, but leaf {paths(before)[place]} went from "
            f"{_form(old)} to {_form(new)}."
        )


def _form(leaf: object) -> str:
    if not isinstance(leaf, torch.Tensor):
        return type(leaf).__name__
    return f"{str(leaf.dtype).removeprefix('torch.')}{list(leaf.shape)}"

"""Inner learning for K steps, every state kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch

from bilevel.errors import require
from bilevel.hypergradient.base import BilevelProblem, no_data
from bilevel.hypergradient.kernels import EagerKernels, Kernels, State
from bilevel.tree import Tree, detach, is_floating, leaves, paths, structure


@dataclass(frozen=True)
class Rollout:
    """K steps of inner learning."""

    states: list[State]
    """(theta_k, opt_state_k) for k = `first` to K, in the form of `kernels`."""
    inner_data: tuple[Tree, ...]
    """The data of each step: K of them."""
    outer_data: Tree
    """The data of the outer loss."""
    kernels: Kernels
    """What took the steps."""
    first: int = 0
    """The step that starts from the first state kept."""

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
) -> Rollout:
    """Take K steps without gradients.

    Memory: K + 1 times (theta and the optimiser's state), or `keep` + 1 times; and the data of each step.

    Args:
        problem: the step, and where data come from.
        theta: as for `Hypergradient`, like the rest.
        opt_state: the optimiser's state at the start.
        phi: the outer variables.
        steps: K, at least 1.
        keep: how many of the last steps can be walked back, at least 1; all of them if None or above K.
        before_step: told the (theta_k, opt_state_k), in the form of the kernels, and the data of each step,
            before it is taken.
        kernels: what takes the steps; None: the problem's functions as they are.

    Raises:
        ValueError: `steps` is below 1, theta or phi is empty or not floating, or the step does not give theta
            and state back in the form it got them.
    """
    require(steps >= 1, f"steps must be at least 1, not {steps}.")
    require_floating(theta, "theta")
    require_floating(phi, "phi")
    phi = detach(phi)
    kernels = EagerKernels(problem, phi) if kernels is None else kernels
    start = detach(theta), detach(opt_state)
    state = kernels.start(*start)
    states = deque([state], maxlen=None if keep is None else keep + 1)
    inner_data = []
    with torch.no_grad():
        for k in range(steps):
            drawn = problem.inner_data is not no_data
            data = problem.inner_data(kernels.trees(state)[0], phi, k) if drawn else None
            inner_data.append(data)
            before_step(state, data)
            state = kernels.advance(state, data)
            states.append(state)
            if k == 0:
                for name, before, after in zip(
                    ("theta", "opt_state"), start, kernels.trees(state), strict=True
                ):
                    _require_same_form(before, after, name)
        drawn = problem.outer_data is not no_data
        outer_data = problem.outer_data(kernels.trees(state)[0], phi) if drawn else None
    return Rollout(list(states), tuple(inner_data), outer_data, kernels, first=steps + 1 - len(states))


def require_floating(tree: Tree, name: str) -> None:
    """Raise ValueError unless a tree holds at least one leaf, and floating tensors only.

    Args:
        tree: what is looked at.
        name: what to call it.
    """
    require(bool(leaves(tree)), f"{name} must hold at least one tensor, but it is empty.")
    for path, leaf in zip(paths(tree), leaves(tree), strict=True):
        kind = getattr(leaf, "dtype", type(leaf).__name__)
        require(is_floating(leaf), f"{name} must hold floating tensors only, but leaf {path} is {kind}.")


def _require_same_form(before: Tree, after: Tree, name: str) -> None:
    require(
        structure(before) == structure(after),
        f"step must give {name} back in the form it got it: {structure(before)}, not {structure(after)}.",
    )
    for path, old, new in zip(paths(before), leaves(before), leaves(after), strict=True):
        if not is_floating(old):
            continue
        require(
            is_floating(new) and new.shape == old.shape and new.dtype == old.dtype,
            f"step must give {name} back in the form it got it, but leaf {path} went from {_form(old)} to "
            f"{_form(new)}.",
        )


def _form(leaf: object) -> str:
    if not isinstance(leaf, torch.Tensor):
        return type(leaf).__name__
    return f"{str(leaf.dtype).removeprefix('torch.')}{list(leaf.shape)}"

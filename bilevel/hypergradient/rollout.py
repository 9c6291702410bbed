"""Inner learning for K steps, every state kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bilevel.errors import require
from bilevel.hypergradient.base import BilevelProblem
from bilevel.tree import Tree, detach, is_floating, leaves, paths, structure


@dataclass(frozen=True)
class Rollout:
    """K steps of inner learning."""

    states: list[tuple[Tree, Tree]]
    """(theta_k, opt_state_k) for k = 0 to K: K + 1 of them."""
    inner_data: tuple[Tree, ...]
    """The data of each step: K of them."""
    outer_data: Tree
    """The data of the outer loss."""


def roll_out(problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree, steps: int) -> Rollout:
    """Take K steps without gradients.

    Memory: K + 1 times (theta and the optimiser's state), and the data of each step.

    Args:
        problem: the step, and where data come from.
        theta: as for `Hypergradient`, like the rest.
        opt_state: the optimiser's state at the start.
        phi: the outer variables.
        steps: K, at least 1.

    Raises:
        ValueError: `steps` is below 1, theta or phi is empty or not floating, or the step does not give theta
            and state back in the form it got them.
    """
    require(steps >= 1, f"steps must be at least 1, not {steps}.")
    _require_floating(theta, "theta")
    _require_floating(phi, "phi")
    states = [(detach(theta), detach(opt_state))]
    phi = detach(phi)
    inner_data = []
    with torch.no_grad():
        for k in range(steps):
            inner_data.append(problem.inner_data(states[k][0], phi, k))
            states.append(problem.step(*states[k], phi, inner_data[k]))
            if k == 0:
                _require_same_form(states[0][0], states[1][0], "theta")
                _require_same_form(states[0][1], states[1][1], "opt_state")
        outer_data = problem.outer_data(states[-1][0], phi)
    return Rollout(states, tuple(inner_data), outer_data)


def _require_floating(tree: Tree, name: str) -> None:
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

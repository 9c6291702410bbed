"""What is kept of the steps before an outer step, so that the next ones can walk back through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.errors import require
from bilevel.hypergradient.kernels import Kernels
from bilevel.hypergradient.online import require_leads_to
from bilevel.tree import Tensors, Tree, leaves, paths, tree_map


class Moment(NamedTuple):
    """One step of inner learning: all that it depended on."""

    theta: Tree
    """The inner variables before it."""
    opt_state: Tree
    """The optimiser's state before it."""
    phi: Tree
    """The outer variables that it was taken with."""
    data: Tree
    """What it saw."""


class Window(NamedTuple):
    """The last steps that were taken: a nest of tensors of a form that never changes."""

    moments: tuple[Moment, ...]
    """Those steps, the oldest first; where learning has only begun, zeros stand before them."""
    filled: Tensor
    """How many of them were taken, int64."""


def empty_window(length: int, moment: Moment) -> Window:
    """Make a window into which no step has come.

    Args:
        length: how many steps it is to hold, at least 0.
        moment: a step, for its form.

    Raises:
        ValueError: not all leaves of the step are tensors.
    """
    for name, tree in moment._asdict().items():
        for path, leaf in zip(paths(tree), leaves(tree), strict=True):
            require(
                isinstance(leaf, Tensor),
                f"A window holds tensors only, but leaf {path} of {name} is {type(leaf).__name__}.",
            )
    blank = Moment(*(tree_map(torch.zeros_like, tree) for tree in moment))
    return Window((blank,) * length, torch.zeros((), dtype=torch.int64))


def slide(window: Window, moments: Sequence[Moment]) -> Window:
    """Let new steps in, and as many of the oldest out.

    >>> moments = [Moment(torch.tensor(float(k)), None, None, None) for k in range(3)]
    >>> window = slide(empty_window(2, moments[0]), moments)
    >>> [int(moment.theta) for moment in window.moments], int(window.filled)
    ([1, 2], 2)
    """
    length = len(window.moments)
    joined = (*window.moments, *moments)
    return Window(joined[len(joined) - length :], (window.filled + len(moments)).clamp(max=length))


def pull_window(
    kernels: Kernels, window: Window, end: tuple[Tree, Tree], cotangent: Tensors, gradient: Tensors
) -> Tensors:
    """Add up what phi did in the steps of a window, from the last one on.

    Args:
        kernels: of the problem at the present phi.
        window: the steps.
        end: (theta, opt_state) after them.
        cotangent: of the end, as `Kernels` has it, like the next.
        gradient: of phi, collected so far.

    Returns:
        the gradient with the parts of these steps, each taken at the phi of its time.

    Raises:
        ValueError: the window's steps do not lead to `end`.
    """
    taken = window.moments[len(window.moments) - int(window.filled) :]
    for k, moment in reversed(list(enumerate(taken))):
        then = kernels.at(moment.phi)
        state = then.start(moment.theta, moment.opt_state)
        if k == len(taken) - 1:
            require_leads_to(then.trees(then.advance(state, moment.data)), end)
        cotangent, gradient = then.pull(state, moment.data, cotangent, gradient)
    return gradient

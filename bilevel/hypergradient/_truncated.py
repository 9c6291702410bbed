"""Truncated reverse mode: the hypergradient of the last k steps, of one rollout or of online learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.core import Tensors, Tree, detach, leaves, paths, tree_map
from bilevel.hypergradient._checkpointing import GRAPH, Checkpointing
from bilevel.hypergradient._estimator import (
    BilevelProblem,
    Estimate,
    Estimator,
    StatelessEstimator,
    copied,
    require_leads_to,
)
from bilevel.hypergradient._kernels import make_kernels
from bilevel.hypergradient._rollout import roll_out
from bilevel.hypergradient._unrolled import reverse_sweep
from games.core import require


@dataclass(frozen=True, kw_only=True, repr=False)
class OneStep(StatelessEstimator):
    """Differentiate the last step only: the zeroth-order term of the Neumann series.

        dF/dphi ~ (partial F/partial phi) + (d step/d phi)' dF/dtheta_K.

    Bias: everything but the first term of the series. Where a step contracts by a factor q, that is at most q
    / (1 - q) times the first term: small for a fast inner learner (Newton's method), while with gradient
    descent the estimate is about (learning rate x curvature) times the gradient: the direction rather than
    the magnitude. Effects through the optimizer's state (momentum) count only as far as they move theta in
    this step. Cost: about K + 2 steps. Memory: twice (theta and the optimizer's state), each step's data, and
    the graph of one step.

    Source:
        Luketina et al., Scalable gradient-based tuning of continuous regularization hyperparameters (T1-T2),
        arXiv 1511.06727; Bolte et al., One-step differentiation of iterative algorithms, arXiv 2305.13768.

    >>> from bilevel.hypergradient import BilevelProblem
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> zero = torch.tensor(0.0)
    >>> OneStep()(problem, zero, None, torch.tensor(1.0), steps=9).gradient
    tensor(0.5000)
    """

    def _estimate(self, problem: BilevelProblem, start: tuple[Tree, Tree], phi: Tree, steps: int) -> Estimate:
        return reverse_sweep(roll_out(problem, *start, phi, steps, keep=1, checkpointing=GRAPH))


class WindowStep(NamedTuple):
    """One step of inner learning: its initial state, outer variables and data."""

    theta: Tree
    opt_state: Tree
    phi: Tree
    data: Tree


class StepWindow(NamedTuple):
    """The last steps of online learning: a nest of tensors of a form that never changes."""

    steps: tuple[WindowStep, ...]
    """The steps, the oldest first, padded with zeros at the beginning of learning."""
    filled: Tensor
    """Number of steps that were taken, int64."""


def empty_window(length: int, step: WindowStep) -> StepWindow:
    """Create a window without steps, for steps of this form; ValueError unless they consist of tensors."""
    for name, tree in step._asdict().items():
        for path, leaf in zip(paths(tree), leaves(tree), strict=True):
            require(
                isinstance(leaf, Tensor),
                f"A window holds tensors only, but leaf {path} of {name} is {type(leaf).__name__}.",
            )
    blank = WindowStep(*(tree_map(torch.zeros_like, tree) for tree in step))
    return StepWindow((blank,) * length, torch.zeros((), dtype=torch.int64))


def sweep_window(
    problem: BilevelProblem, window: StepWindow, end: tuple[Tree, Tree], cotangent: Tensors, gradient: Tensors
) -> Tensors:
    """Continue a reverse sweep through a window, each step at the phi of its time: -> phi's gradient.

    Raises:
        ValueError: the window does not lead to `end`, up to rounding, or a step is not a pure function.
    """
    taken = window.steps[len(window.steps) - int(window.filled) :]
    for k, step in reversed(list(enumerate(taken))):
        then = make_kernels(problem, step.phi)
        state = then.start(step.theta, step.opt_state)
        if k == len(taken) - 1:
            require_leads_to(then.trees(then.advance(state, step.data)), end)
        cotangent, gradient = then.recompute_vjp(state, step.data, cotangent, gradient)
    return gradient


@dataclass(frozen=True, kw_only=True, repr=False)
class Truncated(Checkpointing, Estimator):
    """Reverse mode through the last k of K steps; the state before them is constant.

    With a_K and S as in `Unrolled`:

        dF/dphi ~ (partial F/partial phi) + sum_{k' > K - k} (dS/dphi)' a_k'.

    Bias: the effect of phi before the last k steps. Where a step contracts by a factor q, it is at most of
    order q^k; at a fixed point the estimate is exactly k terms of `Implicit(solver="neumann")`. Where steps
    do not contract (in a social dilemma, say), about k / K of the gradient is left.
    Cost: about K + k steps where the graph of the last k is kept, K + 2 k where they are computed again.
    Memory: the graph of k steps, or k + 1 times (theta and the optimizer's state), each step's data, and the
    graph of one step; less with the settings of `Checkpointing`, for more steps.

    With `window`, learning is online: theta and the optimizer's state are carried from one outer step to the
    next, and each outer step of K < k steps differentiates its own K and the k - K before them, each with the
    phi, the data and the state with which it was taken (truncated back-propagation through time, with h = k
    and h' = K):

        dF/dphi ~ (partial F/partial phi) + sum_{k' > K - k} (dS/dphi at phi_k')' a_k'

    This is the derivative with respect to a common shift of all these phis, used as the derivative with
    respect to the current phi; its bias grows with the distance that phi moved in k steps. Cost with
    `window`: about K + 2 k + 1 steps. Memory with `window`: k + 1 times (theta and the optimizer's state),
    and the data of k steps.

    Raises:
        ValueError: a setting is out of range.

    Source:
        Shaban et al., Truncated back-propagation for bilevel optimization, arXiv 1810.10667; Williams and
        Peng, An efficient gradient-based algorithm for on-line training of recurrent network trajectories,
        Neural Computation 2, 1990 (the window).

    >>> from bilevel.hypergradient import BilevelProblem
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> Truncated(steps=2)(problem, zero, None, one, steps=9).gradient  # 1 - (1 - 0.5)^2
    tensor(0.7500)
    >>> online = Truncated(steps=2, window=True)
    >>> first, state = online.estimate(problem, zero, None, one, steps=1)
    >>> online.estimate(problem, first.theta, first.opt_state, 2 * one, state, steps=1)[0].gradient
    tensor(0.7500)
    """

    steps: int
    """k, the number of differentiated steps, at least 1; all steps if there are fewer."""
    window: bool = False
    """Differentiate steps of earlier outer steps, too: the inner state and the estimator's state must then be
    carried from one outer step to the next (see `Estimator`)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.steps >= 1, f"Truncated needs steps of at least 1, not {self.steps}.")
        require(
            self.keeps_states or not self.window,
            "A window keeps every state of its steps as it is, so window=True excludes segments, levels, "
            "memory_budget, keep_dtype and offload.",
        )

    def estimate(
        self,
        problem: BilevelProblem,
        theta: Tree,
        opt_state: Tree,
        phi: Tree,
        state: StepWindow | None = None,
        *,
        steps: int,
    ) -> tuple[Estimate, StepWindow | None]:
        if self.window:
            return self._slide(problem, (theta, opt_state), phi, steps, state)
        require(state is None, "Truncated has a state with window=True alone.")
        phi = detach(phi)
        run = roll_out(problem, theta, opt_state, phi, steps, keep=self.steps, checkpointing=self)
        return reverse_sweep(run), None

    @property
    def stateful(self) -> bool:
        return self.window

    def init(
        self, problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree, *, steps: int
    ) -> StepWindow | None:
        if not self.window:
            return None
        with torch.no_grad():  # one step's data are drawn for their form
            data = problem.inner_data(detach(theta), detach(phi), 0)
        return empty_window(max(self.steps - steps, 0), WindowStep(theta, opt_state, phi, data))

    def _slide(
        self,
        problem: BilevelProblem,
        start: tuple[Tree, Tree],
        phi: Tree,
        steps: int,
        past: StepWindow | None,
    ) -> tuple[Estimate, StepWindow]:
        length = max(self.steps - steps, 0)
        require(
            past is None or isinstance(past, StepWindow),
            f"The state of Truncated is a StepWindow, not {type(past).__name__}.",
        )
        require(
            past is None or len(past.steps) == length,
            f"With K = {steps} a window of {self.steps} steps reaches {length} steps into the past, but the "
            "one handed in has another length: K and steps must stay what they were.",
        )
        start, phi = copied(start), copied(phi)
        run = roll_out(problem, *start, phi, steps, keep=self.steps, checkpointing=self)
        data = run.inner_data[run.first :]
        own = [
            WindowStep(*run.kernels.trees(state), phi, seen)
            for state, seen in zip(run.states[:-1], data, strict=True)
        ]
        window = empty_window(length, own[0]) if past is None else past

        def earlier(cotangent: Tensors, gradient: Tensors) -> Tensors:
            return sweep_window(problem, window, start, cotangent, gradient)

        filled = (window.filled + len(own)).clamp(max=length)
        return reverse_sweep(run, earlier), StepWindow((*window.steps, *own)[len(own) :], filled)

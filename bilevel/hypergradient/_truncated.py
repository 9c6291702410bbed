"""The gradient of the last k steps alone.

The gradient of the last step alone.

What is kept of the steps before an outer step, so that the next ones can walk back through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.core import Tensors, Tree, detach, leaves, paths, tree_map
from bilevel.hypergradient._estimator import BilevelProblem, Estimate, Estimator, copied, require_leads_to
from bilevel.hypergradient._kernels import Kernels
from bilevel.hypergradient._recomputation import GRAPH, Checkpointing
from bilevel.hypergradient._rollout import roll_out
from bilevel.hypergradient._unrolled import walk_back
from games.core import require


@dataclass(frozen=True, kw_only=True, repr=False)
class OneStep(Estimator):
    """Differentiate the last step and nothing before it: the first-order end of the Neumann series.

        dF/dphi ~ (partial F/partial phi) + (d step/d phi)' dF/dtheta_K.

    Bias: everything but the first term of the series. Where a step contracts by a factor q, the rest is at
    most q / (1 - q) times what is kept: small for a fast inner learner (Newton's method), while for gradient
    descent with a small rate the estimate is about (rate x curvature) times the gradient: a direction more
    than a size. A variable that acts through the optimizer's state (momentum) counts only as far as it moves
    theta in this same step.
    Cost: K steps, and about two more.
    Memory: twice (theta and the optimizer's state), each step's data, and the graph of one step.

    Source:
        Luketina et al., Scalable gradient-based tuning of continuous regularization hyperparameters (T1-T2),
        arXiv 1511.06727; Bolte et al., One-step differentiation of iterative algorithms, arXiv 2305.13768.

    >>> from bilevel.optimizers import sgd
    >>> from bilevel.core._step import inner_step
    >>> inner = sgd(0.25)
    >>> problem = BilevelProblem(
    ...     step=inner_step(lambda theta, phi, data: (theta - phi) ** 2, inner),
    ...     outer_loss=lambda theta, phi, data: theta,
    ... )
    >>> zero = torch.tensor(0.0)
    >>> OneStep()(problem, zero, inner.init(zero), torch.tensor(1.0), steps=9).gradient
    tensor(0.5000)
    """

    def estimate(
        self,
        problem: BilevelProblem,
        theta: Tree,
        opt_state: Tree,
        phi: Tree,
        state: None = None,
        *,
        steps: int,
    ) -> tuple[Estimate, None]:
        """Learn for K steps and walk back the last; see `Estimator.estimate` for arguments and errors.

        Raises:
            ValueError: also if a step, taken again, gives another result: it is then no pure function.
        """
        phi = detach(phi)
        run = roll_out(problem, theta, opt_state, phi, steps, keep=1, bounds=GRAPH)
        return walk_back(problem, run, phi), None


class Moment(NamedTuple):
    """One step of inner learning: all that it depended on."""

    theta: Tree
    """The inner variables before it."""
    opt_state: Tree
    """The optimizer's state before it."""
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


@dataclass(frozen=True, kw_only=True, repr=False)
class Truncated(Checkpointing, Estimator):
    """Reverse mode through the last k of K steps; the state before them is taken as given.

    With a_K and S as in `Unrolled`:

        dF/dphi ~ (partial F/partial phi) + sum_{k' > K - k} (dS/dphi)' a_k'.

    Bias: what phi did before the last k steps. Where a step contracts by a factor q, it is at most of order
    q^k; at a fixed point the estimate is exactly k terms of `Implicit(solver="neumann")`. Steps that do not
    contract (a dilemma's drift, say) forget nothing, and about k / K of the gradient is left.
    Cost: about K + k steps where the graph of the last k is kept, K + 2 k where they are computed again.
    Memory: the graph of k steps, or k + 1 times (theta and the optimizer's state), each step's data, and the
    graph of one step; with the settings of `Checkpointing` less, for more steps.

    With `window`, learning is online: the inner state is carried on from one outer step to the next, and a
    window of k steps slides over all of it. An outer step that comes every K < k steps walks back through its
    own K and the k - K before them, each with the phi, the data and the state it was taken with
    (truncated back-propagation through time, with h = k and h' = K). Those phis were not all the same:

        dF/dphi ~ (partial F/partial phi) + sum_{k' > K - k} (dS/dphi at phi_k')' a_k'

    is the derivative along a shift of all of them at once, given to the present phi as if it had stood still.
    The bias is then also how far phi moved in k steps.
    Cost with `window`: about K + 2 k steps, and one.
    Memory with `window`: k + 1 times (theta and the optimizer's state), and the data of k steps.

    Source:
        Shaban et al., Truncated back-propagation for bilevel optimization, arXiv 1810.10667; Williams and
        Peng, An efficient gradient-based algorithm for on-line training of recurrent network trajectories,
        Neural Computation 2, 1990 (the window).

    >>> from bilevel.optimizers import sgd
    >>> from bilevel.core._step import inner_step
    >>> inner = sgd(0.25)
    >>> problem = BilevelProblem(
    ...     step=inner_step(lambda theta, phi, data: (theta - phi) ** 2, inner),
    ...     outer_loss=lambda theta, phi, data: theta,
    ... )
    >>> zero, one = torch.tensor(0.0), torch.tensor(1.0)
    >>> Truncated(steps=2)(problem, zero, inner.init(zero), one, steps=9).gradient  # 1 - (1 - 0.5)^2
    tensor(0.7500)
    >>> online = Truncated(steps=2, window=True)
    >>> first, state = online.estimate(problem, zero, inner.init(zero), one, steps=1)
    >>> online.estimate(problem, first.theta, first.opt_state, 2 * one, state, steps=1)[0].gradient
    tensor(0.7500)
    """

    steps: int
    """k, how many of the last steps are walked back, at least 1; where there are fewer, all of them."""
    window: bool = False
    """Whether steps before this outer step are among them: the inner state must then be carried on from one
    outer step to the next, and the estimator's state with it (see `Estimator`)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.steps >= 1, f"Truncated needs steps of at least 1, not {self.steps}.")
        require(
            self.keeps_states or not self.window,
            "A window keeps every state of its steps as it is: segments, levels, memory, keep_dtype and "
            "offload do not go with window=True.",
        )

    def estimate(
        self,
        problem: BilevelProblem,
        theta: Tree,
        opt_state: Tree,
        phi: Tree,
        state: Window | None = None,
        *,
        steps: int,
    ) -> tuple[Estimate, Window | None]:
        """Learn for K steps and differentiate the last k; see `Estimator.estimate` for arguments and errors.

        Raises:
            ValueError: also if a step, taken again, gives another result (it is then no pure function), if
                the states do not fit in `memory`, or if the window has another length.
        """
        if self.window:
            return self._slide(problem, (theta, opt_state), phi, steps, state)
        require(state is None, "Truncated has a state with window=True alone.")
        phi = detach(phi)
        run = roll_out(problem, theta, opt_state, phi, steps, keep=self.steps, bounds=self)
        return walk_back(problem, run, phi), None

    @property
    def stateful(self) -> bool:
        """Whether there is a window."""
        return self.window

    def init(
        self, problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree, *, steps: int
    ) -> Window | None:
        """Create an empty window; the data of one step are drawn for their form.

        Raises:
            ValueError: something that a step depends on is no tensor.
        """
        if not self.window:
            return None
        with torch.no_grad():
            data = problem.inner_data(detach(theta), detach(phi), 0)
        return empty_window(max(self.steps - steps, 0), Moment(theta, opt_state, phi, data))

    def _slide(
        self, problem: BilevelProblem, start: tuple[Tree, Tree], phi: Tree, steps: int, past: Window | None
    ) -> tuple[Estimate, Window]:
        length = max(self.steps - steps, 0)
        require(
            past is None or isinstance(past, Window),
            f"The state of Truncated is a Window, not {type(past).__name__}.",
        )
        require(
            past is None or len(past.moments) == length,
            f"With K = {steps} a window of {self.steps} steps reaches {length} steps into the past, but the "
            "one handed in has another length: K and steps must stay what they were.",
        )
        start, phi = copied(start), copied(phi)
        run = roll_out(problem, *start, phi, steps, keep=self.steps, bounds=self)
        data = run.inner_data[run.first :]
        own = [
            Moment(*run.kernels.trees(state), phi, seen)
            for state, seen in zip(run.states[:-1], data, strict=True)
        ]
        window = empty_window(length, own[0]) if past is None else past

        def beyond(cotangent: Tensors, gradient: Tensors) -> Tensors:
            return pull_window(run.kernels, window, start, cotangent, gradient)

        return walk_back(problem, run, phi, beyond), slide(window, own)

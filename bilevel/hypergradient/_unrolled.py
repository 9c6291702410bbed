"""The exact hypergradient of K steps, by reverse mode.

The walk back through the steps of a roll-out, one vector-Jacobian product at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from bilevel.core import Tensors, Tree, detach, split_floating
from bilevel.hypergradient._checkpoint_schedule import Plan
from bilevel.hypergradient._connection import all_zero, require_inner_path, require_outer_path
from bilevel.hypergradient._estimator import BilevelProblem, Estimate, Estimator
from bilevel.hypergradient._purity import require_pure
from bilevel.hypergradient._recomputation import Checkpointing
from bilevel.hypergradient._rollout import Rollout, roll_out

Beyond = Callable[[Tensors, Tensors], Tensors]
"""The reverse sweep before the first state kept: (its cotangent, the gradient so far) -> the gradient."""


def walk_back(problem: BilevelProblem, rollout: Rollout, phi: Tree, beyond: Beyond | None = None) -> Estimate:
    """Add up what phi did in each step that can be walked back, from the last one on.

    Args:
        problem: the step and the outer loss.
        rollout: the steps that were taken; the walk ends at the first state it kept. It is used up: its
            states are let go as the walk passes them.
        phi: the outer variables, detached.
        beyond: goes on from there; without it, what came before is taken as given.

    Raises:
        ValueError: as for `Estimator.estimate`; or a step, taken again, gives another result: it is then
            no pure function.
    """
    end, outer_data = rollout.end, rollout.outer_data
    with torch.no_grad():
        loss, cotangent, gradient = rollout.kernels.outer(rollout.states[-1], outer_data)
        if all_zero(cotangent):
            require_outer_path(problem, end[0], phi, outer_data)
        if not rollout.storage.exact:  # rounded states cannot tell
            require_pure(problem.step, rollout.storage.start, phi, rollout.inner_data[0])
        if rollout.pulls is None:
            begin = rollout.first if beyond is None else None
            pulled = _pull(rollout, rollout.plan, rollout.first, rollout.states, (cotangent, gradient), begin)
        else:
            pulled = cotangent, gradient
            for k in reversed(range(len(rollout.pulls))):
                pulled = rollout.pulls[k](*pulled, first=k == 0 and beyond is None)
        gradient = pulled[1] if beyond is None else beyond(*pulled)
    if all_zero(gradient):
        require_inner_path(problem, rollout, phi)
    _, rebuild = split_floating(phi)
    return Estimate(*end, loss, rebuild(gradient), rollout.inner_data, outer_data)


def _pull(
    rollout: Rollout,
    plan: Plan,
    first: int,
    kept: list[Any],
    pulled: tuple[Tensors, Tensors],
    begin: int | None,
) -> tuple[Tensors, Tensors]:
    """Pull (cotangent, gradient) back through the steps of a plan, of which `first` is the first.

    `kept` are the states at its starts; all but those around the first step of all are let go. Before step
    `begin` nothing is differentiated.
    """
    kernels, storage = rollout.kernels, rollout.storage
    for place in reversed(range(len(plan.starts))):
        step, segment = first + plan.starts[place], plan.inside(place)
        if segment.length > 1:
            again = _run_again(rollout, segment, step, kept[place])
            pulled = _pull(rollout, segment, step, again, pulled, begin)
        else:
            after = kept[1] if step == rollout.first and storage.exact else None
            state = storage.take(kept[place])
            pulled = kernels.pull(state, rollout.inner_data[step], *pulled, after, first=step == begin)
        if step > rollout.first + 1:
            if place > 0:  # the first one is also the caller's
                storage.release(kept[place])
            del kept[place]
    return pulled


def _run_again(rollout: Rollout, plan: Plan, first: int, start: Any) -> list[Any]:
    """Take the steps of a plan again, up to the last one that it starts at, and keep the states there."""
    kernels, storage = rollout.kernels, rollout.storage
    kept, starts = [start], set(plan.starts)
    state = storage.take(start)
    for k in range(1, plan.starts[-1] + 1):
        state = kernels.advance(state, rollout.inner_data[first + k - 1])
        if k in starts:
            kept.append(storage.put(state))
    return kept


@dataclass(frozen=True, kw_only=True, repr=False)
class Unrolled(Checkpointing, Estimator):
    """Reverse mode through all K steps.

    With z_k = (theta_k, floating state_k), z_k+1 = S(z_k, phi):

        a_K = dF/dz_K,   a_k = (dS/dz_k)' a_k+1,   dF/dphi = (partial F/partial phi) + sum_k (dS/dphi)' a_k+1.

    Bias: none, for the objective after K steps with the data that were drawn (whether drawing itself
    depends on theta or phi is a matter of the loss).
    Cost: about 2 K steps where their graph is kept, 3 K where steps are computed again.
    Memory: the graph of K steps, while it is at most 1 GiB; beyond that K + 1 times (theta and the
    optimizer's state), each step's data, and the graph of one step. The settings of `Checkpointing` make it
    less for more steps: about 2 sqrt(K) times for K more with segments="sqrt". Rounded states (keep_dtype)
    are the only ones that change the gradient.
    Several objectives share one reverse sweep, batched over their cotangents.

    Source:
        Maclaurin et al., Gradient-based hyperparameter optimization through reversible learning, arXiv
        1502.03492; Franceschi et al., Forward and reverse gradient-based hyperparameter optimization, arXiv
        1703.01785.

    >>> from bilevel.optimizers import sgd
    >>> from bilevel.core._step import inner_step
    >>> inner = sgd(0.25)
    >>> problem = BilevelProblem(
    ...     step=inner_step(lambda theta, phi, data: (theta - phi) ** 2, inner),
    ...     outer_loss=lambda theta, phi, data: theta,
    ... )
    >>> zero = torch.tensor(0.0)
    >>> Unrolled()(problem, zero, inner.init(zero), torch.tensor(1.0), steps=2).gradient  # 1 - (1 - 0.5)^2
    tensor(0.7500)
    >>> Unrolled(segments="sqrt")(problem, zero, inner.init(zero), torch.tensor(1.0), steps=2).gradient
    tensor(0.7500)
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
        """Learn for K steps and differentiate them; see `Estimator.estimate` for arguments and errors.

        Raises:
            ValueError: also if a step, taken again, gives another result (it is then no pure function), or if
                the states do not fit in `memory`.
        """
        phi = detach(phi)
        run = roll_out(problem, theta, opt_state, phi, steps, bounds=self)
        return walk_back(problem, run, phi), None

"""The exact hypergradient of K steps by reverse mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from bilevel.core import Tensors, Tree
from bilevel.hypergradient._checkpointing import Checkpointing, CheckpointSchedule
from bilevel.hypergradient._estimator import BilevelProblem, Estimate, StatelessEstimator
from bilevel.hypergradient._rollout import Rollout, roll_out
from bilevel.hypergradient._validation import require_pure

Earlier = Callable[[Tensors, Tensors], Tensors]
"""The reverse sweep through steps before a rollout: (cotangent of its start, gradient so far) -> gradient."""


def reverse_sweep(rollout: Rollout, earlier: Earlier | None = None) -> Estimate:
    """Accumulate the gradient of a rollout from its last step to the first that can be differentiated.

    Args:
        rollout: the steps. It is used up: its states are released as the sweep passes them.
        earlier: continues the sweep from there; None: the state there is a constant.

    Raises:
        ValueError: as for `Estimator.estimate`; or a step, taken again, gives another result, so that it is
            no pure function.
    """
    kernels, storage = rollout.kernels, rollout.storage
    with torch.no_grad():
        loss, cotangent, gradient = kernels.outer(rollout.states[-1], rollout.outer_data)
        rollout.require_outer_path(cotangent)
        if not storage.exact:  # rounded states cannot tell
            require_pure(kernels.problem.step, storage.start, kernels.phi, rollout.inner_data[0])
        carried = cotangent, gradient
        if rollout.vjps is None:
            begin = rollout.first if earlier is None else None
            carried = _sweep(rollout, rollout.schedule, rollout.first, rollout.states, carried, begin)
        else:
            for k in reversed(range(len(rollout.vjps))):
                carried = rollout.vjps[k](*carried, first=k == 0 and earlier is None)
        gradient = carried[1] if earlier is None else earlier(*carried)
    return rollout.estimate(loss, gradient)


def _sweep(
    rollout: Rollout,
    schedule: CheckpointSchedule,
    first: int,
    kept: list[Any],
    carried: tuple[Tensors, Tensors],
    begin: int | None,
) -> tuple[Tensors, Tensors]:
    """Carry (cotangent, gradient) back through the steps of a schedule, the first of which is `first`.

    `kept`, the states at its starts, are released, but for those around the rollout's first step. `begin` is
    the step before which nothing is differentiated.
    """
    kernels, storage = rollout.kernels, rollout.storage
    for place in reversed(range(len(schedule.starts))):
        step, segment = first + schedule.starts[place], schedule.segment(place)
        if segment.length > 1:
            again = _recompute_states(rollout, segment, step, kept[place])
            carried = _sweep(rollout, segment, step, again, carried, begin)
        else:
            after = kept[1] if step == rollout.first and storage.exact else None
            state = storage.take(kept[place])
            data = rollout.inner_data[step]
            carried = kernels.recompute_vjp(state, data, *carried, after, first=step == begin)
        if step > rollout.first + 1:
            if place > 0:  # the first one is also the caller's
                storage.release(kept[place])
            del kept[place]
    return carried


def _recompute_states(rollout: Rollout, schedule: CheckpointSchedule, first: int, start: Any) -> list[Any]:
    """Take the steps of a schedule again, up to its last start, and keep the states at the starts."""
    kernels, storage = rollout.kernels, rollout.storage
    kept, starts = [start], set(schedule.starts)
    state = storage.take(start)
    for k in range(1, schedule.starts[-1] + 1):
        state = kernels.advance(state, rollout.inner_data[first + k - 1])
        if k in starts:
            kept.append(storage.put(state))
    return kept


@dataclass(frozen=True, kw_only=True, repr=False)
class Unrolled(Checkpointing, StatelessEstimator):
    """Reverse mode through all K steps.

    With z_k = (theta_k, floating state_k), z_k+1 = S(z_k, phi):

        a_K = dF/dz_K,   a_k = (dS/dz_k)' a_k+1,   dF/dphi = (partial F/partial phi) + sum_k (dS/dphi)' a_k+1.

    Bias: none, for the objective after K steps on the drawn data (a loss such as a surrogate has to account
    for the dependence of the data on theta or phi). Cost: about 2 K steps where their graph is kept, 3 K
    where steps are computed again. Memory: the graph of K steps, while it is at most 1 GiB; beyond that K + 1
    times (theta and the optimizer's state), each step's data, and the graph of one step. The settings of
    `Checkpointing` reduce memory at the cost of more steps, such as segments="sqrt": about 2 sqrt(K) states
    for K more steps. Of these settings only keep_dtype, which rounds states, changes the gradient. Several
    objectives share one reverse sweep, batched over their cotangents.

    Raises:
        ValueError: a setting is out of range.

    Source:
        Maclaurin et al., Gradient-based hyperparameter optimization through reversible learning, arXiv
        1502.03492; Franceschi et al., Forward and reverse gradient-based hyperparameter optimization, arXiv
        1703.01785.

    >>> from bilevel.hypergradient import BilevelProblem
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # halfway to phi
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta)
    >>> zero = torch.tensor(0.0)
    >>> Unrolled()(problem, zero, None, torch.tensor(1.0), steps=2).gradient  # 1 - (1 - 0.5)^2
    tensor(0.7500)
    >>> Unrolled(segments="sqrt")(problem, zero, None, torch.tensor(1.0), steps=2).gradient
    tensor(0.7500)
    """

    def _estimate(self, problem: BilevelProblem, start: tuple[Tree, Tree], phi: Tree, steps: int) -> Estimate:
        return reverse_sweep(roll_out(problem, *start, phi, steps, checkpointing=self))

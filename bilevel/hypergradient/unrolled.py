"""The exact hypergradient of K steps, by reverse mode."""

from __future__ import annotations

from dataclasses import dataclass

from bilevel.hypergradient.base import BilevelProblem, Estimate
from bilevel.hypergradient.bounds import Bounds
from bilevel.hypergradient.rollout import roll_out
from bilevel.hypergradient.walk_back import walk_back
from bilevel.tree import Tree, detach


@dataclass(frozen=True, kw_only=True, repr=False)
class Unrolled(Bounds):
    """Reverse mode through all K steps.

    With z_k = (theta_k, floating state_k), z_k+1 = S(z_k, phi):

        a_K = dF/dz_K,   a_k = (dS/dz_k)' a_k+1,   dF/dphi = (partial F/partial phi) + sum_k (dS/dphi)' a_k+1.

    Bias: none, for the objective after K steps with the data that were drawn (whether drawing itself
    depends on theta or phi is a matter of the loss).
    Cost: about 2 K steps where their graph is kept, 3 K where steps are computed again.
    Memory: the graph of K steps, while it is at most 1 GiB; beyond that K + 1 times (theta and the
    optimizer's state), each step's data, and the graph of one step. The settings, those of `Bounds`, make it
    less for more steps: about 2 sqrt(K) times for K more with segments="sqrt". Rounded states (keep_dtype)
    are the only ones that change the gradient.
    Several objectives share one reverse sweep, batched over their cotangents.

    Source:
        Maclaurin et al., Gradient-based hyperparameter optimization through reversible learning, arXiv
        1502.03492; Franceschi et al., Forward and reverse gradient-based hyperparameter optimization, arXiv
        1703.01785.

    >>> from bilevel.optimisers import sgd
    >>> from bilevel.step import inner_step
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

    def __call__(
        self, problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree, *, steps: int
    ) -> Estimate:
        """Learn for K steps and differentiate them; see `Hypergradient` for arguments and errors.

        Raises:
            ValueError: also if a step, taken again, gives another result (it is then no pure function), or if
                the states do not fit in `memory`.
        """
        phi = detach(phi)
        run = roll_out(problem, theta, opt_state, phi, steps, bounds=self)
        return walk_back(problem, run, phi)

"""The exact gradient of K steps, walked back one step at a time."""

from __future__ import annotations

from dataclasses import dataclass

from bilevel.compile.policy import make_kernels
from bilevel.compile.tight import tight_walk
from bilevel.hypergradient.base import BilevelProblem, Estimate
from bilevel.hypergradient.bounds import Bounds
from bilevel.hypergradient.rollout import roll_out
from bilevel.hypergradient.settings import Compilable
from bilevel.hypergradient.walk_back import walk_back
from bilevel.tree import Tree, detach


@dataclass(frozen=True, kw_only=True, repr=False)
class Unrolled(Bounds, Compilable):
    """Reverse mode through all K steps, with each step computed again on the way back.

    With z_k = (theta_k, floating state_k), z_k+1 = S(z_k, phi):

        a_K = dF/dz_K,   a_k = (dS/dz_k)' a_k+1,   dF/dphi = (partial F/partial phi) + sum_k (dS/dphi)' a_k+1.

    Bias: none, for the objective after K steps with the data that were drawn (whether drawing itself
    depends on theta or phi is a matter of the loss).
    Cost: about 3 K steps: K forward, K again with their vector-Jacobian products.
    Memory: K + 1 times (theta and the optimiser's state), each step's data, and the graph of one step. The
    settings, those of `Bounds`, make it less for more steps: about 2 sqrt(K) times for K more with
    segments="sqrt". Rounded states (keep_dtype) are the only ones that change the gradient.
    Several objectives share one walk back, batched over their cotangents.

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
        """Learn for K steps and walk back; see `Hypergradient` for arguments and errors.

        Raises:
            ValueError: also if a step, taken again, gives another result (it is then no pure function), or if
                the states do not fit in `memory`.
        """
        tight = self.keeps_everything and self.compile is not False
        recall = self.compile is True
        estimate = tight_walk(problem, theta, opt_state, phi, steps, recall=recall) if tight else None
        if estimate is not None:
            return estimate
        phi = detach(phi)
        kernels = make_kernels(problem, (theta, opt_state), phi, self.compile, steps)
        run = roll_out(problem, theta, opt_state, phi, steps, kernels=kernels, bounds=self)
        estimate = walk_back(problem, run, phi)
        # Now that every package is there: the first call is to give the same bits as the next.
        whole = tight_walk(problem, theta, opt_state, phi, steps, whole_only=True) if tight else None
        return whole or estimate

"""The gradient of the last k steps alone."""

from __future__ import annotations

from dataclasses import dataclass

from bilevel.errors import require
from bilevel.hypergradient.base import BilevelProblem, Estimate
from bilevel.hypergradient.rollout import roll_out
from bilevel.hypergradient.walk_back import walk_back
from bilevel.tree import Tree, detach


@dataclass(frozen=True, kw_only=True)
class Truncated:
    """Reverse mode through the last k of K steps; the state before them is taken as given.

    With a_K and S as in `Unrolled`:

        dF/dphi ~ (partial F/partial phi) + sum_{k' > K - k} (dS/dphi)' a_k'.

    Bias: what phi did before the last k steps. Where a step contracts by a factor q, it is at most of order
    q^k; at a fixed point the estimate is exactly k terms of `Implicit(solver="neumann")`. Steps that do not
    contract (a dilemma's drift, say) forget nothing, and about k / K of the gradient is left.
    Online, with the inner state carried on from one outer step to the next, it is a window of k steps that
    slides over all of learning.
    Cost: about K + 2 k steps.
    Memory: k + 1 times (theta and the optimiser's state), each step's data, and the graph of one step.

    Source:
        Shaban et al., Truncated back-propagation for bilevel optimization, arXiv 1810.10667.

    >>> from bilevel.optimisers import sgd
    >>> from bilevel.step import inner_step
    >>> inner = sgd(0.25)
    >>> problem = BilevelProblem(
    ...     step=inner_step(lambda theta, phi, data: (theta - phi) ** 2, inner),
    ...     outer_loss=lambda theta, phi, data: theta,
    ... )
    >>> zero = torch.tensor(0.0)
    >>> Truncated(steps=2)(problem, zero, inner.init(zero), torch.tensor(1.0), steps=9).gradient
    tensor(0.7500)
    """

    steps: int
    """k, how many of the last steps are walked back, at least 1; where there are fewer, all of them."""

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"Truncated needs steps of at least 1, not {self.steps}.")

    def __call__(
        self, problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree, *, steps: int
    ) -> Estimate:
        """Learn for K steps and walk back the last k; see `Hypergradient` for arguments and errors.

        Raises:
            ValueError: also if a step, taken again, gives another result: it is then no pure function.
        """
        phi = detach(phi)
        return walk_back(problem, roll_out(problem, theta, opt_state, phi, steps, keep=self.steps), phi)

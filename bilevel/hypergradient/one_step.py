"""The gradient of the last step alone."""

from __future__ import annotations

from dataclasses import dataclass

from bilevel.hypergradient.base import BilevelProblem, Estimate
from bilevel.hypergradient.bounds import GRAPH
from bilevel.hypergradient.rollout import roll_out
from bilevel.hypergradient.settings import Settings
from bilevel.hypergradient.walk_back import walk_back
from bilevel.tree import Tree, detach


@dataclass(frozen=True, kw_only=True, repr=False)
class OneStep(Settings):
    """Differentiate the last step and nothing before it: the first-order end of the Neumann series.

        dF/dphi ~ (partial F/partial phi) + (d step/d phi)' dF/dtheta_K.

    Bias: everything but the first term of the series. Where a step contracts by a factor q, the rest is at
    most q / (1 - q) times what is kept: small for a fast inner learner (Newton's method), while for gradient
    descent with a small rate the estimate is about (rate x curvature) times the gradient: a direction more
    than a size. A variable that acts through the optimiser's state (momentum) counts only as far as it moves
    theta in this same step.
    Cost: K steps, and about two more.
    Memory: twice (theta and the optimiser's state), each step's data, and the graph of one step.

    Source:
        Luketina et al., Scalable gradient-based tuning of continuous regularization hyperparameters (T1-T2),
        arXiv 1511.06727; Bolte et al., One-step differentiation of iterative algorithms, arXiv 2305.13768.

    >>> from bilevel.optimisers import sgd
    >>> from bilevel.step import inner_step
    >>> inner = sgd(0.25)
    >>> problem = BilevelProblem(
    ...     step=inner_step(lambda theta, phi, data: (theta - phi) ** 2, inner),
    ...     outer_loss=lambda theta, phi, data: theta,
    ... )
    >>> zero = torch.tensor(0.0)
    >>> OneStep()(problem, zero, inner.init(zero), torch.tensor(1.0), steps=9).gradient
    tensor(0.5000)
    """

    def __call__(
        self, problem: BilevelProblem, theta: Tree, opt_state: Tree, phi: Tree, *, steps: int
    ) -> Estimate:
        """Learn for K steps and walk back the last; see `Hypergradient` for arguments and errors.

        Raises:
            ValueError: also if a step, taken again, gives another result: it is then no pure function.
        """
        phi = detach(phi)
        run = roll_out(problem, theta, opt_state, phi, steps, keep=1, bounds=GRAPH)
        return walk_back(problem, run, phi)

"""`aga`: altruistic gradient adjustment, which aligns the collective gradient with the individual ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from bilevel.core import Range, Tree, gradient_at
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._inner_settings import PolicyGradient
from bilevel.methods._learner import PolicyLearner, StepInputs
from bilevel.methods._method import PolicyMethod
from bilevel.sharing import FixedMatrix, OuterVariable, identity_sharing
from games.core import Game, require


def gradient_and_curvature(point: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Compute the gradient g of a scalar by one tensor, and H' g, the gradient of |g|^2 / 2.

    Args:
        point: floating tensor at which they are taken.
        loss: tensor like `point` -> scalar, twice differentiable.
    Returns:
        Gradient and Hessian-vector product, both like `point`; they carry no graph.

    >>> gradient_and_curvature(torch.tensor([1.0, 2.0]), lambda x: x[0] ** 2 + 3 * x[0] * x[1])
    (tensor([8., 3.]), tensor([25., 24.]))
    """
    with torch.enable_grad():
        at = point.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(at), at, create_graph=True)
        if not gradient.requires_grad:  # of a linear loss
            return gradient, torch.zeros_like(gradient)
        (curvature,) = torch.autograd.grad((gradient * gradient.detach()).sum(), at)
    return gradient.detach(), curvature


def adjusted_gradient(
    individual: Tensor, collective: Tensor, curvature: Tensor, weight: float, *, align: bool = True
) -> Tensor:
    """Adjust the collective gradient: g_col + lambda (g_ind + H_col' g_col), per seed.

    lambda is the weight with the sign of <g_col, h> (<g_ind, h> + |h|^2), h = H_col' g_col, the gradient of
    |g_col|^2 / 2. So the direction's component along h grows in size and keeps its sign: where the
    collective loss is convex along g_col the step is drawn to the fixed point, elsewhere repelled from it.

    Args:
        individual: g_ind, each agent's gradient of its own loss, [..., agent, parameter].
        collective: g_col, the gradient of the sum of all losses, of the same shape.
        curvature: H_col' g_col, of the same shape.
        weight: absolute value of lambda, 0 or more.
        align: choose the sign; otherwise lambda is the weight.
    Returns:
        The direction to descend, of the same shape.
    Source:
        Li et al., Aligning Individual and Collective Objectives in Multi-Agent Cooperation, arXiv 2402.12416.

    >>> individual, collective = torch.tensor([[1.0], [0.0]]), torch.tensor([[1.0], [1.0]])
    >>> adjusted_gradient(individual, collective, 2 * collective, 0.5).flatten()
    tensor([2.5000, 2.0000])
    >>> adjusted_gradient(individual, collective, -2 * collective, 0.5).flatten()  # concave: repelled
    tensor([1.5000, 2.0000])
    """

    def dot(left: Tensor, right: Tensor) -> Tensor:
        return (left * right).sum((-2, -1), keepdim=True)

    signed: Tensor | float = weight
    if align:
        alignment = dot(collective, curvature) * (dot(individual, curvature) + dot(curvature, curvature))
        signed = weight * (1 - 2 * (alignment < 0).to(collective))
    return collective + signed * (individual + curvature)


@dataclass(frozen=True, kw_only=True)
class AgA(PolicyMethod):
    """Altruistic gradient adjustment (AgA): descend the common loss, adjusted by each agent's own gradient.

    With L_i agent i's loss on its own reward and L_col = sum_i L_i, an inner step descends

        g_col + lambda (g_ind + H_col' g_col),

    g_ind being each agent's gradient of L_i by its own parameters, g_col the gradient of L_col by all
    parameters, and H_col its Hessian. lambda has the sign of <g_col, h> (<g_ind, h> + |h|^2), h = H_col'
    g_col, with inner products over all agents' parameters (`adjusted_gradient`). There is no outer loop, and
    no reward is transferred: gradients are mixed, not rewards.

    On sampled episodes g_ind is by the surrogate, g_col and H_col by DiCE. Both are from the same episodes,
    so the product H_col' g_col, and the sign, have a bias of order 1 / episodes. The second derivative of
    sampled returns has a high variance.

    Needs: all agents' rewards and policies; a central party that takes the step. Conserves the total.

    The sign rule is from memory, in the form of symplectic gradient adjustment (arXiv 1905.04926); it was not
    compared with the source's code. The source takes PPO's losses in large games; here only policy gradients
    are adjusted.

    Raises:
        ValueError: a setting is out of range; at build, agents share parameters.

    Source:
        Li et al., Aligning Individual and Collective Objectives in Multi-Agent Cooperation, arXiv 2402.12416.
        In its Cleanup and Harvest lambda is 0.1, 1, 100 or 1000; the default was chosen here.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = AgA().build(games.make("prisoners-dilemma"), Placement(seeds=2))
    >>> state = learner.init(seed=0)
    >>> for _ in range(100):
    ...     state, metrics = learner.update(state)
    >>> bool((metrics["cooperation"] > 0.9).all())
    True
    """

    inner: PolicyGradient = PolicyGradient()
    """The policies' learner: policy gradients alone, of exact values or of episodes."""
    alignment_weight: Annotated[float, Range(min=0)] = 0.1
    """Absolute value of lambda, 0 or more; with 0 agents descend the collective loss."""
    align: bool = True
    """Choose the sign of lambda by the alignment; off: lambda is positive."""

    def build(self, game: Game, placement: Placement) -> Learner:
        require(
            not self.policy.shared,
            "The adjustment is of every agent's own parameters: leave share_parameters off.",
        )
        return AlignedLearner(self, game, placement, FixedMatrix(identity_sharing(game.num_agents)))


class AlignedLearner(PolicyLearner):
    """Learner of policies by adjusted gradients."""

    def __init__(self, method: AgA, game: Game, placement: Placement, variable: OuterVariable) -> None:
        super().__init__(method, game, placement, variable)
        self.settings = method
        self.step = self._adjusted_step

    def direction(self, theta: Tensor, phi: Tree, data: StepInputs) -> Tensor:
        """Direction of an inner step at these policies, [seed, agent, parameter]."""
        others = theta.detach()
        individual = gradient_at(theta, lambda own: self._inner_losses(own, others, phi, data).sum())
        collective, curvature = gradient_and_curvature(
            theta, lambda joint: self._collective_loss(joint, phi, data)
        )
        settings = self.settings
        return adjusted_gradient(
            individual, collective, curvature, settings.alignment_weight, align=settings.align
        )

    def _adjusted_step(
        self, theta: Tensor, opt_state: Tree, phi: Tree, data: StepInputs
    ) -> tuple[Tensor, Tree]:
        return self._descend(theta, opt_state, self.direction(theta, phi, data), data)

    def _collective_loss(self, joint: Tensor, phi: Tree, data: StepInputs) -> Tensor:
        """Minus the sum of all values and entropies of all seeds, which are independent: a scalar."""
        values = self.play.values(joint, data.batch) * self.game.effective_horizon
        if data.entropy_coef is None:
            return -values.sum()
        terms = self.play.terms(joint, joint, self.transfer(phi), data.batch)
        assert terms.entropy is not None
        return -values.sum() - data.entropy_coef * terms.entropy.sum()

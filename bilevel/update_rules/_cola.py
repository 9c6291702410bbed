"""COLA: update functions that are consistent with each other, fitted by networks."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from bilevel.core import Losses, Tree, UpdateRule, gradient
from bilevel.nn import Perceptron
from bilevel.optimizers import adam
from games.core import require

Update = Callable[[Tensor], Tensor]


def consistency_error(losses: Losses, update: Update, theta: Tensor, rate: float) -> Tensor:
    """Squared consistency error of update functions, for each agent.

    |Delta_i + rate grad_i L_i(theta_i, theta_j + Delta_j(theta) for all j != i)|^2, where the gradient
    includes the effect of theta_i on the others' updates Delta_j. It is 0 where each update is LOLA's answer
    to the others' updates.

    Args:
        losses: (own, others) -> [..., agent]; see `bilevel.core.Losses`.
        update: theta -> Delta, like theta; differentiable.
        theta: parameters of all agents, [..., agent, parameter].
        rate: learning rate of the updates.
    Returns:
        [..., agent], in squared units of theta.
    Source:
        Willi et al., COLA: Consistent learning with opponent-learning awareness, arXiv 2203.04098.

    >>> def losses(own, others):  # zero-sum: agent 0 minimizes x y, agent 1 maximizes it
    ...     return (own * others.flip(-2)).squeeze(-1) * torch.tensor([1.0, -1.0])
    >>> consistency_error(losses, torch.zeros_like, torch.tensor([[1.0], [2.0]]), 0.5)
    tensor([1.0000, 0.2500])
    """
    agents = theta.shape[-2]

    def loss_ahead(own: Tensor) -> Tensor:
        total = []
        for agent in range(agents):
            mask = torch.arange(agents, device=theta.device).unsqueeze(-1) == agent
            point = torch.where(mask, own, theta)
            total.append(losses(point, point + update(point))[..., agent].sum())
        return torch.stack(total).sum()

    missed: Tensor = update(theta) + rate * gradient(loss_ahead, theta)
    return missed.square().sum(-1)


def fit_cola(
    losses: Losses,
    draw: Callable[[torch.Generator], Tensor],
    *,
    rate: float,
    hidden_size: tuple[int, ...] = (32,),
    steps: int = 2000,
    learning_rate: float = 0.01,
    seed: int = 0,
) -> tuple[UpdateRule, Tensor]:
    """Fit update functions by descent of their consistency error, one network of all parameters per agent.

    The networks are fitted before learning, on parameters from a distribution that must cover those that
    learning will visit, so it suits games of few parameters. Second derivatives of the losses suffice, where
    `hola` needs one more for each order. Consistent updates need not keep stable fixed points. Needs: the
    others' losses.

    Args:
        losses: (own, others) -> [..., agent], twice differentiable; see `bilevel.core.Losses`.
        draw: generator -> a batch of parameters, [batch, agent, parameter].
        rate: learning rate of the updates, above 0.
        hidden_size: widths of the networks' hidden layers.
        steps: steps of Adam.
        learning_rate: learning rate of Adam, multiplied by 0.01 in the last fifth of the steps.
        seed: random seed of the networks and of the draws.
    Returns:
        The rule, whose direction is -Delta / rate, for losses of this game; and the final consistency error,
        mean over a fresh batch and the agents, scalar.
    Raises:
        ValueError: the rate is not above 0; or the rule is used with parameters of another shape.
    Source:
        Willi et al., COLA: Consistent learning with opponent-learning awareness, arXiv 2203.04098. There the
        last fifth has no lower learning rate.

    >>> def tandem(own, others):
    ...     total = (own + others.flip(-2)).squeeze(-1)
    ...     return total**2 - 2 * own.squeeze(-1)
    >>> def draw(generator):
    ...     return 2 * torch.rand(64, 2, 1, generator=generator, dtype=torch.float64) - 1
    >>> cola, error = fit_cola(tandem, draw, rate=0.1, hidden_size=(8,), steps=300)
    >>> cola(tandem, torch.zeros(2, 1, dtype=torch.float64)).shape, bool(error < 1e-3)
    (torch.Size([2, 1]), True)
    """
    require(rate > 0, f"The rate of fit_cola must be above 0, not {rate}.")
    generator = torch.Generator().manual_seed(seed)
    agents, size = draw(torch.Generator().manual_seed(seed)).shape[-2:]
    network = Perceptron((agents * size, *hidden_size, size))
    weights = network.initial(generator, agents)

    def update(weights: Tensor) -> Update:
        def of(theta: Tensor) -> Tensor:
            require(
                theta.shape[-2:] == (agents, size),
                f"These update functions were fitted to parameters of the shape [..., {agents}, {size}], and "
                f"{tuple(theta.shape)} is another.",
            )
            seen = theta.flatten(-2).reshape(-1, agents * size)
            outputs = network(weights.to(theta), seen.expand(agents, *seen.shape))
            return outputs.movedim(0, -2).reshape(theta.shape)

        return of

    def error_at(weights: Tensor, theta: Tensor) -> Tensor:
        return consistency_error(losses, update(weights), theta, rate).mean()

    optimizer = adam(lambda step: torch.where(step < 0.8 * steps, learning_rate, 0.01 * learning_rate))
    state = optimizer.init(weights)
    for _ in range(steps):
        slope = gradient(functools.partial(error_at, theta=draw(generator)), weights).detach()
        with torch.no_grad():
            moved, state = optimizer.update(slope, state, params=weights, inplace=False)
            weights = weights + moved

    def rule(losses: Losses, theta: Tree) -> Tree:
        return update(weights)(theta) / -rate

    return rule, error_at(weights, draw(generator)).detach()

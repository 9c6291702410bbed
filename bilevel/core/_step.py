"""Inner steps as pure functions: gradient descent on one loss, or of every agent on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Union

import torch
from torch import Tensor

from bilevel.core._tree import Tensors, Tree, split_floating, tree_map
from games.core import require

if TYPE_CHECKING:
    from bilevel.optimizers import GradientTransformation


Step = Callable[[Tree, Tree, Tree, Tree], tuple[Tree, Tree]]
"""(theta, opt_state, phi, data) -> (theta', opt_state').

theta: the inner variables; phi: the outer variables; data: the step's data, sampled beforehand. A step is
pure: it changes nothing in place, draws nothing, and has no hidden state.
"""

Losses = Callable[[Tree, Tree], Tensor]
"""(own, others) -> [..., agent], the loss of each agent. Entry i uses `own` for agent i alone and `others`
for everybody else. Both are nests of tensors [..., agent, *]."""

UpdateRule = Callable[[Losses, Tree], Tree]
"""(losses, theta) -> the direction that all agents descend at once, like theta: a rule of
`bilevel.update_rules`, or your own."""

Optimizer = Union["GradientTransformation", Callable[[Tree], "GradientTransformation"]]
"""One of `bilevel.optimizers`, or any functional transformation of TorchOpt's; or a function of the step's
data that returns one, whose state must not depend on them: so a learning rate among the data may change from
step to step, while the step stays one pure function, compiled once."""


def inner_step(loss: Callable[[Tree, Tree, Tree], Tensor], optimizer: Optimizer) -> Step:
    """Create a step of descent on one loss.

    Args:
        loss: (theta, phi, data) -> tensor of any shape; it is summed, so members of a batch (seeds) that do
            not share parameters learn independently.
        optimizer: one of `bilevel.optimizers`, or any functional transformation of TorchOpt's; or a function
            of the step's data that returns one, for instance if the learning rate is among the data.

    Returns:
        The step, (theta, opt_state, phi, data) -> (theta', opt_state').

    >>> from bilevel.optimizers import sgd
    >>> step = inner_step(lambda theta, phi, data: phi * (theta - data) ** 2, sgd(0.5))
    >>> theta, state = torch.tensor([0.0]), sgd(0.5).init(torch.tensor([0.0]))
    >>> step(theta, state, torch.tensor([0.1]), torch.tensor([10.0]))[0]
    tensor([1.])
    """

    return _descent(lambda own, others, phi, data: loss(own, phi, data), optimizer, simultaneous_gradient)


def simultaneous_gradient(losses: Losses, theta: Tree) -> Tree:
    """Gradient of each agent's loss by its own parameters, xi_i = grad_i L_i: naive learning.

    With total(own, others) = sum_i L_i(own_i, others), the gradient by `own`, taken at own = others = theta,
    is exactly that for every i, and the hypergradient keeps the cross terms. (With own = theta alone every
    agent would descend the sum of losses; detached others would keep the step and spoil the hypergradient.)

    Args:
        losses: (own, others) -> [..., agent]; see `Losses`.
        theta: the parameters of all agents, a nest of tensors [..., agent, *].

    Returns:
        The gradient, like theta; it can be differentiated again.

    Source:
        Foerster et al., Learning with opponent-learning awareness, arXiv 1709.04326, section 3.

    >>> def losses(own, others):  # zero-sum: agent 0 minimizes x y, agent 1 maximizes it
    ...     return torch.stack((own[0] * others[1], -others[0] * own[1]))
    >>> simultaneous_gradient(losses, torch.tensor([1.0, 2.0]))
    tensor([ 2., -1.])
    """
    return gradient(lambda own: losses(own, theta).sum(), theta)


def inner_step_per_agent(
    loss: Callable[[Tree, Tree, Tree, Tree], Tensor],
    optimizer: Optimizer,
    rule: UpdateRule = simultaneous_gradient,
) -> Step:
    """Create a step of all agents at once, each on its own loss.

    Args:
        loss: (own, others, phi, data) -> [..., agent], the loss of each agent. Entry i must use `own` for
            agent i alone and `others` for everybody else. Both have the shapes of theta.
        optimizer: as in `inner_step`; one that mixes its inputs (clipping by norm) needs its batch axes set.
        rule: turns the losses into a direction; by default, agent i follows grad of L_i by its own
            parameters, and `bilevel.update_rules` has rules that shape the other agents' learning.

    Returns:
        A step whose theta is a nest of tensors [..., agent, *].

    Raises:
        ValueError: in the step, the loss has no agent axis.

    >>> from bilevel.optimizers import sgd
    >>> def loss(own, others, phi, data):  # zero-sum: agent 0 minimizes x y, agent 1 maximizes it
    ...     return torch.stack((own[0] * others[1], -others[0] * own[1]))
    >>> theta = torch.tensor([1.0, 2.0])
    >>> inner_step_per_agent(loss, sgd(0.1))(theta, sgd(0.1).init(theta), None, None)[0]
    tensor([0.8000, 2.1000])
    """

    def losses(own: Tree, others: Tree, phi: Tree, data: Tree) -> Tensor:
        found = loss(own, others, phi, data)
        require(found.ndim >= 1, "A loss per agent must have shape [..., agent], but it is a single number.")
        return found

    return _descent(losses, optimizer, rule)


def _descent(
    loss: Callable[[Tree, Tree, Tree, Tree], Tensor], optimizer: Optimizer, rule: UpdateRule
) -> Step:
    """A step along a rule's direction, at own = others = theta."""

    def step(theta: Tree, opt_state: Tree, phi: Tree, data: Tree) -> tuple[Tree, Tree]:
        direction = rule(lambda own, others: loss(own, others, phi, data), theta)
        chosen = optimizer(data) if callable(optimizer) else optimizer
        updates, opt_state = chosen.update(direction, opt_state, params=theta, inplace=False)
        return tree_map(torch.add, theta, updates), opt_state

    return step


def gradient(total: Callable[[Tree], Tensor], point: Tree) -> Tree:
    """Compute the gradient of a scalar by a pytree, which can be differentiated again.

    Args:
        total: tree like `point` -> scalar.
        point: the tree at which it is taken; leaves that are not floating tensors stay as they are.

    Returns:
        The gradient, like `point`; zeros for leaves that `total` does not depend on.

    >>> gradient(lambda tree: tree["x"] ** 2, {"x": torch.tensor(3.0), "y": torch.tensor(1.0)})
    {'x': tensor(6.), 'y': tensor(0.)}
    """
    flat, rebuild = split_floating(point)
    return rebuild(gradient_of(lambda own: total(rebuild(own)), flat))


def gradient_of(total: Callable[[Tensors], Tensor], flat: Tensors) -> Tensors:
    """The gradient of a scalar, which can be differentiated again.

    By `torch.func.grad` inside a transform of `torch.func`, or where a graph is traced; elsewhere by
    `torch.autograd.grad`, which gives the same with less to do for each small operation. It is zeros for the
    tensors that `total` does not depend on.
    """
    again = torch.is_grad_enabled()
    # With inputs that carry no gradient, nobody knows here whether the result should: torch.func does.
    if under_transform() or (again and not all(leaf.requires_grad for leaf in flat)):
        gradient: Tensors = torch.func.grad(total)(flat)
        return gradient
    with torch.enable_grad():
        # Aliases, so that what `total` sees of the same tensors in other places stays apart.
        inputs = tuple(leaf.view_as(leaf) if again else leaf.detach().requires_grad_() for leaf in flat)
        value = total(inputs)
        if not value.requires_grad:
            return tuple(torch.zeros_like(leaf) for leaf in flat)
        return torch.autograd.grad(
            value, inputs, create_graph=again, allow_unused=True, materialize_grads=True
        )


def gradient_at(point: Tensor, total: Callable[[Tensor], Tensor]) -> Tensor:
    """Compute the gradient of a scalar with respect to one tensor, without a graph.

    Args:
        point: floating tensor at which it is taken.
        total: tensor like `point` -> scalar.

    Returns:
        The gradient, like `point`; zeros if `total` does not depend on it.

    >>> gradient_at(torch.tensor([3.0]), lambda x: (x**2).sum())
    tensor([6.])
    """
    with torch.no_grad():
        (gradient,) = gradient_of(lambda flat: total(flat[0]), (point,))
    return gradient


def under_transform() -> bool:
    """True inside a transform of `torch.func`, and where a graph is traced (`make_fx`).

    >>> inside = []
    >>> _ = torch.vmap(lambda x: inside.append(under_transform()) or x)(torch.zeros(2))
    >>> inside, under_transform()
    ([True], False)
    """
    return (
        torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.PROXY) is not None
    )


def over_minibatches(step: Step, minibatches: Callable[[Tree, Tree, Tree], Iterable[Tree]]) -> Step:
    """Join the gradient steps on several minibatches, or epochs, into one step.

    Estimators differentiate through all of it, `minibatches` included; they keep the states between such
    steps, not those within.

    Args:
        step: the gradient step on one minibatch.
        minibatches: (theta before them, phi, data of the whole step) -> the data of each minibatch.

    Returns:
        The step that goes through all minibatches in order.

    >>> from bilevel.core import inner_step
    >>> from bilevel.optimizers import sgd
    >>> step = inner_step(lambda theta, phi, data: (theta - data) ** 2, sgd(0.25))
    >>> twice = over_minibatches(step, lambda theta, phi, data: (data, data))
    >>> twice(torch.tensor([0.0]), sgd(0.25).init(None), None, torch.tensor([4.0]))[0]
    tensor([3.])
    """

    def whole(theta: Tree, opt_state: Tree, phi: Tree, data: Tree) -> tuple[Tree, Tree]:
        for batch in minibatches(theta, phi, data):
            theta, opt_state = step(theta, opt_state, phi, batch)
        return theta, opt_state

    return whole

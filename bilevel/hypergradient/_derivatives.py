"""Derivatives of one step and of the outer loss: vector-Jacobian and Jacobian-vector products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from bilevel.core import Step, Tensors, Tree, split_floating, under_transform
from bilevel.hypergradient._estimator import BilevelProblem
from games.core import require


class Vjp(Protocol):
    """A vector-Jacobian product; with several objectives, they are the first axis of all cotangents."""

    def __call__(self, cotangents: Tensors, skip: int = 0) -> Tensors:
        """Map cotangents of the results to those of the inputs, but for the first `skip` of them."""
        ...


def vjp(
    function: Callable[[Tensors], Tensors],
    inputs: Tensors,
    *,
    is_grads_batched: bool = False,
    num_aux: int = 0,
) -> tuple[Tensors, Vjp]:
    """Call a function and create its vector-Jacobian product, to be taken once.

    By `torch.autograd`, which keeps the graph until the product is taken; inside a transform of `torch.func`,
    or where a graph is traced, by `torch.func.vjp`. Both give the same.

    Args:
        function: tensors -> tensors.
        inputs: floating tensors.
        is_grads_batched: cotangents have an additional first axis, as in `torch.autograd.grad`.
        num_aux: number of results, the last ones, that are not differentiated and get no cotangents.

    Returns:
        The function's results, detached, and the product: (cotangents of the results, number of first inputs
        to skip) -> cotangents of the other inputs.

    >>> results, product = vjp(lambda flat: (flat[0] * flat[1],), (torch.tensor(2.0), torch.tensor(3.0)))
    >>> results, product((torch.tensor(1.0),), 0)
    ((tensor(6.),), (tensor(3.), tensor(2.)))
    """
    if under_transform():

        def separated(*flat: Tensor) -> tuple[Tensors, Tensors]:
            found = function(flat)
            return found[: len(found) - num_aux], found[len(found) - num_aux :]

        traced: Any = torch.func.vjp(separated, *inputs, has_aux=True)
        results, product, rest = traced
        batched = torch.vmap(product) if is_grads_batched else product
        return (*results, *rest), lambda cotangents, skip=0: batched(cotangents)[skip:]
    with torch.enable_grad():
        variables = tuple(leaf.detach().requires_grad_() for leaf in inputs)
        outputs = function(variables)
    differentiated = outputs[: len(outputs) - num_aux]
    places = [place for place, output in enumerate(differentiated) if output.requires_grad]
    reached = [outputs[place] for place in places]

    def backward(cotangents: Tensors, skip: int = 0) -> Tensors:
        wanted = variables[skip:]
        found: Sequence[Tensor | None] = [None] * len(wanted)
        chosen = tuple(cotangents[place] for place in places)
        if reached and is_grads_batched:
            found = torch.autograd.grad(reached, wanted, chosen, allow_unused=True, is_grads_batched=True)
        elif reached:
            found = _run_backward(reached, chosen, wanted)
        count = (len(cotangents[0]),) if is_grads_batched else ()
        return tuple(
            leaf.new_zeros((*count, *leaf.shape)) if gradient is None else gradient
            for leaf, gradient in zip(wanted, found, strict=True)
        )

    return tuple(output.detach() for output in outputs), backward


def _run_backward(
    outputs: Sequence[Tensor], cotangents: Tensors, inputs: Tensors
) -> tuple[Tensor | None, ...]:
    """Call the engine behind `torch.autograd.grad`, without its check of the cotangents' shapes.

    That check takes as long as some operations of a small game, and its first use loads SymPy: 0.6 s of every
    run. The engine itself refuses a cotangent of another shape.
    """
    engine: Any = torch.autograd.Variable._execution_engine
    found: tuple[Tensor | None, ...] = engine.run_backward(
        tuple(outputs), cotangents, False, False, inputs, allow_unreachable=True, accumulate_grad=False
    )
    return found


def step_vjp(
    step: Step, state: tuple[Tree, Tree], phi: Tree, data: Tree, *, is_grads_batched: bool = False
) -> tuple[tuple[Tree, Tree], Callable[[Tensors, bool], tuple[Tensors, Tensors]]]:
    """Take one step from (theta, opt_state) and create its vector-Jacobian product.

    Args:
        step: the step, a pure function.
        state: (theta, opt_state).
        phi: the outer variables.
        data: the step's data.
        is_grads_batched: cotangents have the objectives as their first axis.

    Returns:
        (theta', opt_state'), detached; and the product, to be taken once: (cotangents of their floating
        leaves, True for phi's alone) -> cotangents of the floating leaves of (theta, opt_state), and of phi.

    >>> step = lambda theta, opt_state, phi, data: ((theta + 3 * phi) / 4, opt_state)
    >>> after, product = step_vjp(step, (torch.tensor(0.0), None), torch.tensor(1.0), data=None)
    >>> after, product((torch.tensor(1.0),), False)
    ((tensor(0.7500), None), ((tensor(0.2500),), (tensor(0.7500),)))
    """
    flat, rebuild = split_floating(state)
    flat_phi, rebuild_phi = split_floating(phi)
    count = len(flat)
    rebuild_after: list[Callable[[Tensors], Tree]] = []

    def advance(inputs: Tensors) -> Tensors:
        theta, opt_state = rebuild(inputs[:count])
        floating, rebuilt = split_floating(step(theta, opt_state, rebuild_phi(inputs[count:]), data))
        rebuild_after.append(rebuilt)
        return floating

    result, product = vjp(advance, (*flat, *flat_phi), is_grads_batched=is_grads_batched)
    after: tuple[Tree, Tree] = rebuild_after.pop()(result)

    def product_of_step(cotangent: Tensors, phi_only: bool) -> tuple[Tensors, Tensors]:
        found = product(cotangent, count if phi_only else 0)
        return ((), found) if phi_only else (found[:count], found[count:])

    return after, product_of_step


def outer_gradients(
    problem: BilevelProblem, state: tuple[Tree, Tree], phi: Tree, data: Tree
) -> tuple[Tensor, Tensors, Tensors]:
    """Compute the outer loss and its gradients, at (theta_K, opt_state_K) and constant data.

    Args:
        problem: the problem, for its outer loss.
        state: (theta_K, opt_state_K).
        phi: the outer variables.
        data: the outer data.

    Returns:
        The loss; its gradients with respect to the floating leaves of the state (zero for the optimizer's
        state, which does not enter the loss); and with respect to phi at a fixed state. With several
        objectives, both have an axis of objectives first.

    Raises:
        ValueError: several objectives are declared, but the loss has no axis of objectives.

    >>> from bilevel.hypergradient import BilevelProblem
    >>> step = lambda theta, opt_state, phi, data: ((theta + phi) / 2, opt_state)  # not taken here
    >>> problem = BilevelProblem(step=step, outer_loss=lambda theta, phi, data: theta**2 + 5 * phi)
    >>> outer_gradients(problem, (torch.tensor(3.0), None), torch.tensor(1.0), data=None)
    (tensor(14.), (tensor(6.),), (tensor(5.),))
    """
    flat, rebuild = split_floating(state)
    flat_phi, rebuild_phi = split_floating(phi)
    count = len(flat)

    def outer(inputs: Tensors) -> Tensors:
        return (problem.outer_loss(rebuild(inputs[:count])[0], rebuild_phi(inputs[count:]), data),)

    (loss,), product = vjp(outer, (*flat, *flat_phi), is_grads_batched=problem.per_agent_objective)
    require_objectives(loss, problem.per_agent_objective)
    found = product((sum_cotangent(loss, problem.per_agent_objective),), 0)
    return loss, found[:count], found[count:]


def require_objectives(loss: Tensor, per_agent_objective: bool) -> None:
    """Raise ValueError if several objectives are declared, but the loss has no axis of objectives."""
    require(
        not per_agent_objective or loss.ndim >= 1,
        "With per_agent_objective=True the outer loss must have shape [objective, ...], "
        "but it is a single number.",
    )


def sum_cotangent(loss: Tensor, per_agent_objective: bool) -> Tensor:
    """Create the cotangent of the sum of an outer loss.

    Args:
        loss: the loss; with `per_agent_objective` [objective, ...].
        per_agent_objective: as in `BilevelProblem`.

    Returns:
        Ones like the loss; with several objectives, one cotangent for each objective's sum,
        [objective, *loss.shape].

    >>> sum_cotangent(torch.tensor([5.0, 7.0]), per_agent_objective=True)
    tensor([[1., 0.],
            [0., 1.]])
    """
    if not per_agent_objective:
        return torch.ones_like(loss)
    count = loss.shape[0]
    chosen = torch.eye(count, dtype=loss.dtype, device=loss.device)
    return chosen.reshape(count, count, *[1] * (loss.ndim - 1)).expand(count, *loss.shape)


def step_jvp(
    step: Step, state: tuple[Tree, Tree], phi: Tree, data: Tree, tangents: tuple[Tensors, Tensors]
) -> Tensors:
    """Push tangents of the floating leaves of state and phi through one step.

    torch may give float32 states float64 tangents; they are rounded back.

    Args:
        step: the step, a pure function.
        state: (theta, opt_state).
        phi: the outer variables.
        data: the step's data.
        tangents: tangents of the floating leaves of the state, and of those of phi.

    Returns:
        The tangents of the floating leaves of (theta', opt_state').

    >>> step = lambda theta, opt_state, phi, data: ((theta + 3 * phi) / 4, opt_state)
    >>> tangents = (torch.tensor(0.0),), (torch.tensor(1.0),)  # along phi
    >>> step_jvp(step, (torch.tensor(0.0), None), torch.tensor(1.0), None, tangents)
    (tensor(0.7500),)
    """
    flat, rebuild = split_floating(state)
    flat_phi, rebuild_phi = split_floating(phi)

    def advance(flat: Tensors, flat_phi: Tensors) -> Tensors:
        theta, opt_state = rebuild(flat)
        return split_floating(step(theta, opt_state, rebuild_phi(flat_phi), data))[0]

    pushed: Tensors = torch.func.jvp(advance, (flat, flat_phi), tangents)[1]
    return tuple(tangent.to(leaf) for tangent, leaf in zip(pushed, flat, strict=True))


class Linearization(NamedTuple):
    """A step theta -> theta' at a fixed state of the optimizer, with J = d theta'/d theta.

    >>> from bilevel.hypergradient import linearize_step
    >>> matrix, along = torch.tensor([[0.0, 1.0], [2.0, 0.0]]), (torch.tensor([1.0, 0.0]),)
    >>> step = lambda theta, opt_state, phi, data: (matrix @ theta + phi, opt_state)
    >>> linear = linearize_step(step, (torch.tensor([3.0, 4.0]), None), torch.zeros(2), data=None)
    >>> linear.result, linear.jvp(along), linear.vjp(along)[0]
    ((tensor([4., 6.]),), (tensor([0., 2.]),), (tensor([0., 1.]),))
    """

    result: Tensors
    """The leaves of theta'."""
    vjp: Callable[[Tensors], tuple[Tensors, Tensors]]
    """v -> J' v and (d theta'/d phi)' v."""
    jvp: Callable[[Tensors], Tensors]
    """v -> J v."""


def linearize_step(step: Step, state: tuple[Tree, Tree], phi: Tree, data: Tree) -> Linearization:
    """Linearize a step at (theta, opt_state) in theta and phi, for single vectors, by `torch.func`.

    Args:
        step: the step, a pure function.
        state: (theta, opt_state).
        phi: the outer variables.
        data: the step's data.

    Returns:
        theta', and the products with the Jacobian and its transpose.

    >>> step = lambda theta, opt_state, phi, data: ((theta + 3 * phi) / 4, opt_state)
    >>> linear = linearize_step(step, (torch.tensor(0.0), None), torch.tensor(1.0), data=None)
    >>> linear.jvp((torch.tensor(1.0),)), linear.vjp((torch.tensor(1.0),))
    ((tensor(0.2500),), ((tensor(0.2500),), (tensor(0.7500),)))
    """
    flat, rebuild = split_floating(state[0])
    flat_phi, rebuild_phi = split_floating(phi)

    def advance(flat: Tensors, flat_phi: Tensors) -> Tensors:
        return split_floating(step(rebuild(flat), state[1], rebuild_phi(flat_phi), data)[0])[0]

    result, product = torch.func.vjp(advance, flat, flat_phi)[:2]
    # J v is the transpose of the transpose: it needs no forward mode, which loses float32 in places.
    transpose = torch.func.vjp(lambda v: product(v)[0], tuple(map(torch.zeros_like, result)))[1]
    return Linearization(result, product, lambda v: transpose(v)[0])

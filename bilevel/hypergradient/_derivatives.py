"""Products with the derivatives of one step and of the outer loss: what every estimator is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from bilevel.core import Step, Tensors, Tree, split_floating, under_transform
from bilevel.hypergradient._estimator import BilevelProblem
from games.core import require


class Pull(Protocol):
    """A vector-Jacobian product; with several objectives, they are a first axis of all."""

    def __call__(self, cotangents: Tensors, skip: int = 0) -> Tensors:
        """Take it: cotangents of the results -> those of the inputs, but for the first `skip` of them."""
        ...


def vjp(
    function: Callable[[Tensors], Tensors],
    inputs: Tensors,
    *,
    several: bool = False,
    again: bool = False,
    beside: int = 0,
) -> tuple[Tensors, Pull]:
    """Call a function, and make its vector-Jacobian product.

    By `torch.autograd`, which keeps the graph until the product is taken; inside a transform of `torch.func`,
    or where a graph is traced, by `torch.func.vjp`. Both give the same.

    Args:
        function: tensors -> tensors.
        inputs: floating tensors.
        several: whether cotangents have a further first axis.
        again: whether the product is taken more than once.
        beside: how many of the last results have no cotangents: they are given, and not differentiated.

    Returns:
        the function's results, detached, and the product.

    >>> results, pull = vjp(lambda flat: (flat[0] * flat[1],), (torch.tensor(2.0), torch.tensor(3.0)))
    >>> results, pull((torch.tensor(1.0),), 0)
    ((tensor(6.),), (tensor(3.), tensor(2.)))
    """
    if under_transform():

        def parted(*flat: Tensor) -> tuple[Tensors, Tensors]:
            found = function(flat)
            return found[: len(found) - beside], found[len(found) - beside :]

        pulled: Any = torch.func.vjp(parted, *inputs, has_aux=True)
        results, taken, rest = pulled
        batched = torch.vmap(taken) if several else taken
        return (*results, *rest), lambda cotangents, skip=0: batched(cotangents)[skip:]
    with torch.enable_grad():
        variables = tuple(leaf.detach().requires_grad_() for leaf in inputs)
        outputs = function(variables)
    differentiated = outputs[: len(outputs) - beside]
    places = [place for place, output in enumerate(differentiated) if output.requires_grad]
    reached = [outputs[place] for place in places]

    def pull_back(cotangents: Tensors, skip: int = 0) -> Tensors:
        wanted = variables[skip:]
        found: Sequence[Tensor | None] = [None] * len(wanted)
        chosen = tuple(cotangents[place] for place in places)
        if reached and several:
            found = torch.autograd.grad(
                reached, wanted, chosen, retain_graph=again, allow_unused=True, is_grads_batched=True
            )
        elif reached:
            found = _run_backward(reached, chosen, wanted, keep=again)
        count = (len(cotangents[0]),) if several else ()
        return tuple(
            leaf.new_zeros((*count, *leaf.shape)) if gradient is None else gradient
            for leaf, gradient in zip(wanted, found, strict=True)
        )

    return tuple(output.detach() for output in outputs), pull_back


def _run_backward(
    outputs: Sequence[Tensor], cotangents: Tensors, inputs: Tensors, *, keep: bool
) -> tuple[Tensor | None, ...]:
    """Call what `torch.autograd.grad` calls, without its check of the cotangents' shapes.

    That check takes as long as some operations of a small game, and its first use loads SymPy: 0.6 s of every
    run. The engine itself refuses a cotangent of another shape.
    """
    engine: Any = torch.autograd.Variable._execution_engine
    found: tuple[Tensor | None, ...] = engine.run_backward(
        tuple(outputs), cotangents, keep, False, inputs, allow_unreachable=True, accumulate_grad=False
    )
    return found


def step_vjp(
    step: Step, state: tuple[Tree, Tree], phi: Tree, data: Tree, *, several: bool = False
) -> tuple[tuple[Tree, Tree], Callable[[Tensors, bool], tuple[Tensors, Tensors]]]:
    """Take one step, and make its vector-Jacobian product.

    Args:
        step: the step.
        state: (theta, opt_state); integer leaves of the optimizer's state are constants.
        phi: the outer variables.
        data: what the step uses; a constant.
        several: whether cotangents have an axis of objectives in front.

    Returns:
        (theta', opt_state'), detached; and (cotangents of their floating leaves, whether only phi's are asked
        for) -> those of the floating leaves of (theta, opt_state), none where they are not asked for, and of
        phi. It is taken once: then the graph is gone.
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

    result, pull = vjp(advance, (*flat, *flat_phi), several=several)
    after: tuple[Tree, Tree] = rebuild_after.pop()(result)

    def pull_step(cotangent: Tensors, first: bool) -> tuple[Tensors, Tensors]:
        found = pull(cotangent, count if first else 0)
        return ((), found) if first else (found[:count], found[count:])

    return after, pull_step


def outer_gradients(
    problem: BilevelProblem, state: tuple[Tree, Tree], phi: Tree, data: Tree
) -> tuple[Tensor, Tensors, Tensors]:
    """Compute the outer loss and its gradients.

    Args:
        problem: whose outer loss.
        state: (theta_K, opt_state_K); the second has no part in the loss, so its gradients are zero.
        phi: the outer variables.
        data: what the outer loss uses; a constant.

    Returns:
        the loss; the gradients by the floating leaves of the state; those by phi with the state held. With
        several objectives both have them as first axis.

    Raises:
        ValueError: there should be several objectives, but the loss has no axis to count them.
    """
    flat, rebuild = split_floating(state)
    flat_phi, rebuild_phi = split_floating(phi)
    count = len(flat)

    def outer(inputs: Tensors) -> Tensors:
        return (problem.outer_loss(rebuild(inputs[:count])[0], rebuild_phi(inputs[count:]), data),)

    (loss,), pull = vjp(outer, (*flat, *flat_phi), several=problem.several)
    require_objectives(loss, problem.several)
    found = pull((sum_cotangent(loss, problem.several),), 0)
    return loss, found[:count], found[count:]


def require_objectives(loss: Tensor, several: bool) -> None:
    """Raise ValueError if there should be several objectives, but the loss has no axis to count them."""
    require(
        not several or loss.ndim >= 1,
        "With several=True the outer loss must have shape [objective, ...], but it is a single number.",
    )


def sum_cotangent(loss: Tensor, several: bool) -> Tensor:
    """Give the cotangent of a sum; with several objectives, one of each sum: [objective, *loss.shape]."""
    if not several:
        return torch.ones_like(loss)
    count = loss.shape[0]
    chosen = torch.eye(count, dtype=loss.dtype, device=loss.device)
    return chosen.reshape(count, count, *[1] * (loss.ndim - 1)).expand(count, *loss.shape)


def push_step(
    step: Step, state: tuple[Tree, Tree], phi: Tree, data: Tree, tangents: tuple[Tensors, Tensors]
) -> Tensors:
    """Push tangents of (state, phi), [direction, *leaf.shape], through a step: those of its result.

    torch may give float32 states float64 tangents; they are rounded back.
    """
    flat, rebuild = split_floating(state)
    flat_phi, rebuild_phi = split_floating(phi)

    def advance(flat: Tensors, flat_phi: Tensors) -> Tensors:
        theta, opt_state = rebuild(flat)
        return split_floating(step(theta, opt_state, rebuild_phi(flat_phi), data))[0]

    def push(*tangents: Tensors) -> Tensors:
        pushed: Tensors = torch.func.jvp(advance, (flat, flat_phi), tangents)[1]
        return tuple(tangent.to(leaf) for tangent, leaf in zip(pushed, flat, strict=True))

    carried: Tensors = torch.vmap(push)(*tangents)
    return carried


def held_pullback(
    step: Step, state: tuple[Tree, Tree], phi: Tree, data: Tree
) -> tuple[Tensors, Callable[[Tensors], tuple[Tensors, Tensors]], Callable[[Tensors], Tensors]]:
    """Take one step of theta with the optimizer's state held, and its derivatives, by `torch.func`.

    Args:
        step: the step.
        state: (theta, opt_state); the second is a constant.
        phi: the outer variables.
        data: what the step uses; a constant.

    Returns:
        the leaves of theta'; v -> (J' v, (d theta'/d phi)' v); and v -> J v, with J = d theta'/d theta.
    """
    flat, rebuild = split_floating(state[0])
    flat_phi, rebuild_phi = split_floating(phi)

    def advance(flat: Tensors, flat_phi: Tensors) -> Tensors:
        return split_floating(step(rebuild(flat), state[1], rebuild_phi(flat_phi), data)[0])[0]

    result, pull = torch.func.vjp(advance, flat, flat_phi)[:2]
    # J v is the transpose of the transpose: it needs no forward mode, which loses float32 in places.
    push = torch.func.vjp(lambda v: pull(v)[0], tuple(map(torch.zeros_like, result)))[1]
    return result, pull, lambda v: push(v)[0]

"""Gates of experts, and the losses and biases that balance their loads."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from games.core import require

BISECTIONS = 30
"""Halvings of the interval of tau, which Newton's steps then refine."""
NEWTON_STEPS = 2
"""Differentiated Newton steps at the root: one for each order of derivatives that is exact."""


class ExpertRouting(NamedTuple):
    """Gates of a batch of states, and the shares that count in the balance of loads.

    >>> routing = top_k(torch.tensor([[2.0, 0.0, 1.0]]), active=1)
    >>> routing.gates.nonzero().tolist(), routing.chosen.tolist()
    ([[0, 0]], [[1.0, 0.0, 0.0]])
    """

    gates: Tensor
    """Weights of the experts' outputs, 0 or more, [state, expert]."""
    probabilities: Tensor
    """The router's probabilities of experts, which sum to 1, [state, expert]."""
    chosen: Tensor
    """Share of each expert among those that a state selects, [state, expert]; no gradient passes."""


def entmax(scores: Tensor, alpha: float | Tensor) -> Tensor:
    """Probabilities between softmax (alpha = 1) and sparsemax (alpha = 2): alpha-entmax.

    p = [(alpha - 1) z - tau]_+^(1 / (alpha - 1)), with tau such that the sum is 1. The entmax package finds
    tau; derivatives of first and second order, also with respect to alpha, come from Newton steps at tau,
    because those of the package are of first order only.

    Args:
        scores: z, [..., expert].
        alpha: from 1 to 2; a number, or a scalar tensor for a derivative with respect to it.

    Returns:
        Probabilities, [..., expert]; zeros for low scores if alpha is above 1.

    Raises:
        ValueError: alpha is out of range.
        ModuleNotFoundError: the package entmax is missing, and alpha is above 1.

    Source:
        Peters et al., Sparse sequence-to-sequence models, arXiv 1905.05702; Martins and Astudillo, From
        softmax to sparsemax, arXiv 1602.02068.

    >>> scores = torch.tensor([1.0, 0.5, -1.0, 0.2])
    >>> entmax(scores, 1.0)
    tensor([0.4564, 0.2768, 0.0618, 0.2051])
    >>> entmax(scores, 1.5)
    tensor([0.5928, 0.2703, 0.0000, 0.1369])
    >>> entmax(scores, 2.0)
    tensor([0.7500, 0.2500, 0.0000, 0.0000])
    """
    value = float(alpha.detach()) if isinstance(alpha, Tensor) else alpha
    require(1 <= value <= 2, f"The alpha of entmax must be from 1 (softmax) to 2 (sparsemax), not {value:g}.")
    if value == 1:
        return scores.softmax(-1)
    package: Any = import_module("entmax")  # optional
    if value == 2 and not isinstance(alpha, Tensor):
        sparse: Tensor = package.sparsemax(scores, dim=-1)
        return sparse
    power = 1 / (alpha - 1)
    with torch.no_grad():
        values = package.entmax_bisect(scores.detach(), alpha=value, dim=-1, n_iter=BISECTIONS)
        largest = scores.argmax(-1, keepdim=True)
        tau = ((value - 1) * scores - values ** (value - 1)).gather(-1, largest)
        support = values > 0
    for _ in range(NEWTON_STEPS):
        base = torch.where(support, (alpha - 1) * scores - tau, 1.0).clamp(min=torch.finfo(scores.dtype).tiny)
        excess = (base**power * support).sum(-1, keepdim=True) - 1
        slope = -power * (base ** (power - 1) * support).sum(-1, keepdim=True)
        tau = tau - excess / slope
    base = torch.where(support, (alpha - 1) * scores - tau, 1.0).clamp(min=torch.finfo(scores.dtype).tiny)
    probabilities: Tensor = base**power * support
    return probabilities


def dense(probabilities: Tensor) -> ExpertRouting:
    """Routing with the router's probabilities as gates; the selected expert is the one with the largest."""
    experts = probabilities.shape[-1]
    return ExpertRouting(
        probabilities, probabilities, one_hot(probabilities.argmax(-1), experts).to(probabilities)
    )


def top_k(scores: Tensor, active: int, bias: Tensor | None = None) -> ExpertRouting:
    """Select the experts with the `active` largest scores.

    With one active expert its gate is its softmax probability, as in Switch; with several, their
    probabilities are scaled to sum to 1.

    Args:
        scores: [state, expert].
        active: experts per state, from 1 to the number of experts.
        bias: [expert], added to the scores for the selection alone.

    Raises:
        ValueError: `active` is out of range.

    Source:
        Fedus et al., Switch Transformers, arXiv 2101.03961; Shazeer et al., arXiv 1701.06538.

    >>> top_k(torch.tensor([[2.0, 0.0, 1.0]]), active=2).gates
    tensor([[0.7311, 0.0000, 0.2689]])
    >>> top_k(torch.tensor([[2.0, 0.0, 1.0]]), 1, bias=torch.tensor([0.0, 3.0, 0.0])).chosen
    tensor([[0., 1., 0.]])
    """
    experts = scores.shape[-1]
    require(
        1 <= active <= experts,
        f"A router selects from 1 to all {experts} experts, not {active}: choose fewer active experts, or "
        "more experts.",
    )
    probabilities = scores.softmax(-1)
    ranked = scores.detach() if bias is None else scores.detach() + bias
    selected = one_hot(ranked.topk(active, -1).indices, experts).sum(-2).to(scores)
    gates = probabilities * selected
    if active > 1:
        gates = gates / gates.sum(-1, keepdim=True)
    return ExpertRouting(gates, probabilities, selected / active)


def switch_loss(routing: ExpertRouting) -> Tensor:
    """Balance loss of Switch Transformers: N sum_e f_e P_e, 1 if loads are equal, N if one expert has all.

    f_e is the share of states that select expert e, and P_e its mean probability.

    Returns:
        A scalar, differentiable with respect to the probabilities.

    Source:
        Fedus et al., Switch Transformers, arXiv 2101.03961.

    >>> switch_loss(dense(torch.eye(4))).item(), switch_loss(dense(torch.eye(4)[[0, 0]])).item()
    (1.0, 4.0)
    """
    experts = routing.gates.shape[-1]
    return experts * (routing.chosen.mean(0) * routing.probabilities.mean(0)).sum()


def importance_loss(routing: ExpertRouting) -> Tensor:
    """Squared coefficient of variation of the experts' total gates: 0 if equal, N - 1 if one has all.

    Returns:
        A scalar, differentiable with respect to the gates.

    Source:
        Shazeer et al., Outrageously large neural networks, arXiv 1701.06538.

    >>> importance_loss(dense(torch.eye(4))).item(), importance_loss(dense(torch.eye(4)[[0, 0]])).item()
    (0.0, 3.0)
    """
    totals = routing.gates.sum(0)
    return totals.var(correction=0) / totals.mean().square()


def update_bias(bias: Tensor, routing: ExpertRouting, rate: float) -> Tensor:
    """Loss-free balance: raise the selection bias of experts with less than the mean load, lower the others'.

    Args:
        bias: [expert].
        routing: of a batch.
        rate: size of the change, 0 or more, in units of scores.

    Source:
        Wang et al., Auxiliary-loss-free load balancing, arXiv 2408.15664.

    >>> update_bias(torch.zeros(3), top_k(torch.tensor([[2.0, 0.0, 1.0]]), active=1), rate=0.1)
    tensor([-0.1000,  0.1000,  0.1000])
    """
    load = routing.chosen.mean(0)
    return bias + rate * (load.mean() - load).sign()

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
LEAST_ALPHA = 1.0005
"""Tensors of alpha below it are softmax."""
NEWTON_STEPS = 2
"""Differentiated Newton steps at the root: one for each order of derivatives that is exact."""


class ExpertRouting(NamedTuple):
    """Gates of experts for each sample, and the shares that count in the balance of loads.

    >>> routing = top_k_routing(torch.tensor([[2.0, 0.0, 1.0]]), active=1)
    >>> routing.gates.nonzero().tolist(), routing.chosen.tolist()
    ([[0, 0]], [[1.0, 0.0, 0.0]])
    """

    gates: Tensor
    """Weights of the experts' outputs, 0 or more, [..., sample, expert]."""
    probabilities: Tensor
    """The router's probabilities of experts, which sum to 1, [..., sample, expert]."""
    chosen: Tensor
    """Share of each expert among those that a sample selects, [..., sample, expert]; no gradient passes."""


def entmax(scores: Tensor, alpha: float | Tensor) -> Tensor:
    """Probabilities between softmax (alpha = 1) and sparsemax (alpha = 2): alpha-entmax.

    p = [(alpha - 1) z - tau]_+^(1 / (alpha - 1)), with tau such that the sum is 1. The entmax package finds
    tau; derivatives of first and second order, also with respect to alpha, come from Newton steps at tau,
    because those of the package are of first order only.

    Args:
        scores: z, [..., expert].
        alpha: from 1 to 2; a number, or a tensor that broadcasts to [..., 1], for derivatives with respect to
            it and for transformations of torch.func. Values of a tensor are not checked; below 1.0005 they
            are softmax.

    Returns:
        Probabilities, [..., expert]; zeros for low scores if alpha is above 1.

    Raises:
        ValueError: alpha is a number out of range.
        ModuleNotFoundError: the package entmax is missing, and alpha is not the number 1.

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
    if isinstance(alpha, Tensor):
        sparse = _entmax(scores, alpha.clamp(min=LEAST_ALPHA))
        return torch.where(alpha < LEAST_ALPHA, scores.softmax(-1), sparse)
    require(1 <= alpha <= 2, f"The alpha of entmax must be from 1 (softmax) to 2 (sparsemax), not {alpha:g}.")
    if alpha == 1:
        return scores.softmax(-1)
    if alpha == 2:
        package: Any = import_module("entmax")  # optional
        probabilities: Tensor = package.sparsemax(scores, dim=-1)
        return probabilities
    return _entmax(scores, alpha)


def _entmax(scores: Tensor, alpha: float | Tensor) -> Tensor:
    power = 1 / (alpha - 1)
    with torch.no_grad():
        fixed = alpha.detach() if isinstance(alpha, Tensor) else alpha
        values: Tensor = _Values.apply(scores.detach(), fixed)  # type: ignore[no-untyped-call]
        largest = scores.argmax(-1, keepdim=True)
        tau = ((fixed - 1) * scores - values ** (fixed - 1)).gather(-1, largest)
        support = values > 0
    for _ in range(NEWTON_STEPS):
        base = torch.where(support, (alpha - 1) * scores - tau, 1.0).clamp(min=torch.finfo(scores.dtype).tiny)
        excess = (base**power * support).sum(-1, keepdim=True) - 1
        slope = -power * (base ** (power - 1) * support).sum(-1, keepdim=True)
        tau = tau - excess / slope
    base = torch.where(support, (alpha - 1) * scores - tau, 1.0).clamp(min=torch.finfo(scores.dtype).tiny)
    probabilities: Tensor = base**power * support
    return probabilities


class _Values(torch.autograd.Function):
    """Probabilities by the entmax package, as constants; unlike its own function, also inside torch.vmap."""

    @staticmethod
    def forward(scores: Tensor, alpha: float | Tensor) -> Tensor:
        package: Any = import_module("entmax")  # optional
        values: Tensor
        if isinstance(alpha, Tensor) and bool((alpha == 2).all()):
            values = package.sparsemax(scores, dim=-1)  # by sorting, much faster
        elif isinstance(alpha, Tensor) and bool((alpha == LEAST_ALPHA).all()):
            values = scores.softmax(-1)  # of no consequence: `entmax` takes softmax
        else:
            values = package.entmax_bisect(scores, alpha=alpha, dim=-1, n_iter=BISECTIONS)
        return values

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: Any, scores: Tensor, alpha: float | Tensor) -> tuple[Tensor, int]:
        """Let the mapped axis come first, in both."""
        if in_dims[0] is None:
            scores = scores.expand(info.batch_size, *scores.shape)
        else:
            scores = scores.movedim(in_dims[0], 0)
        if in_dims[1] is not None:
            assert isinstance(alpha, Tensor)
            alpha = alpha.movedim(in_dims[1], 0)
            alpha = alpha.reshape(len(alpha), *[1] * (scores.dim() - alpha.dim()), *alpha.shape[1:])
        mapped: Tensor = _Values.apply(scores, alpha)  # type: ignore[no-untyped-call]
        return mapped, 0


def dense_routing(probabilities: Tensor) -> ExpertRouting:
    """Routing with the router's probabilities as gates; the selected expert is the one with the largest.

    Args:
        probabilities: [..., sample, expert].

    >>> dense_routing(torch.tensor([[0.75, 0.25]])).chosen
    tensor([[1., 0.]])
    """
    experts = probabilities.shape[-1]
    return ExpertRouting(
        probabilities, probabilities, one_hot(probabilities.argmax(-1), experts).to(probabilities)
    )


def top_k_routing(scores: Tensor, active: int, bias: Tensor | None = None) -> ExpertRouting:
    """Select the experts with the `active` largest scores.

    With one active expert its gate is its softmax probability, as in Switch; with several, their
    probabilities are scaled to sum to 1.

    Args:
        scores: [..., sample, expert].
        active: experts per sample, from 1 to the number of experts.
        bias: [expert], added to the scores for the selection alone.

    Raises:
        ValueError: `active` is out of range.

    Source:
        Fedus et al., Switch Transformers, arXiv 2101.03961; Shazeer et al., arXiv 1701.06538.

    >>> top_k_routing(torch.tensor([[2.0, 0.0, 1.0]]), active=2).gates
    tensor([[0.7311, 0.0000, 0.2689]])
    >>> top_k_routing(torch.tensor([[2.0, 0.0, 1.0]]), 1, bias=torch.tensor([0.0, 3.0, 0.0])).chosen
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

    f_e is the share of samples that select expert e, and P_e its mean probability.

    Args:
        routing: of a batch, [sample, expert].

    Returns:
        A scalar, differentiable with respect to the probabilities.

    Source:
        Fedus et al., Switch Transformers, arXiv 2101.03961.

    >>> equal, collapsed = torch.eye(4), torch.eye(4)[[0, 0]]
    >>> switch_loss(dense_routing(equal)).item(), switch_loss(dense_routing(collapsed)).item()
    (1.0, 4.0)
    """
    experts = routing.gates.shape[-1]
    return experts * (routing.chosen.mean(0) * routing.probabilities.mean(0)).sum()


def importance_loss(routing: ExpertRouting) -> Tensor:
    """Squared coefficient of variation of the experts' total gates: 0 if equal, N - 1 if one has all.

    Args:
        routing: of a batch, [sample, expert].

    Returns:
        A scalar, differentiable with respect to the gates.

    Source:
        Shazeer et al., Outrageously large neural networks, arXiv 1701.06538.

    >>> equal, collapsed = torch.eye(4), torch.eye(4)[[0, 0]]
    >>> importance_loss(dense_routing(equal)).item(), importance_loss(dense_routing(collapsed)).item()
    (0.0, 3.0)
    """
    totals = routing.gates.sum(0)
    return totals.var(correction=0) / totals.mean().square()


def update_bias(bias: Tensor, routing: ExpertRouting, rate: float) -> Tensor:
    """Loss-free balance: raise the selection bias of experts with less than the mean load, lower the others'.

    Args:
        bias: [expert].
        routing: of a batch, [sample, expert].
        rate: size of the change, 0 or more, in units of scores.

    Source:
        Wang et al., Auxiliary-loss-free load balancing, arXiv 2408.15664.

    >>> update_bias(torch.zeros(3), top_k_routing(torch.tensor([[2.0, 0.0, 1.0]]), active=1), rate=0.1)
    tensor([-0.1000,  0.1000,  0.1000])
    """
    load = routing.chosen.mean(0)
    return bias + rate * (load.mean() - load).sign()

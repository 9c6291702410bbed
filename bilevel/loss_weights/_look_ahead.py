"""Virtual training steps, and the hypergradient of the validation loss after them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils import get_total_norm

from bilevel.core import Tensors, Tree, split_floating
from bilevel.loss_weights._lifted import LiftedOptimizer, Params, accumulated
from bilevel.loss_weights._module_state import Attributes, RandomState, fork_random_state
from bilevel.loss_weights._purity import require_attributes_unread
from bilevel.loss_weights._stateless_model import Buffers, ModelSnapshot, StatelessModel
from bilevel.loss_weights._torch_patches import composite_kernels, lacks_derivative, require_second_derivative
from games.core import require

Result = TypeVar("Result")
ScalarLoss = Callable[[], Tensor]  # computes a loss of the model: one number
TrainLosses = Callable[[], Tree]  # computes the training losses of the model: what the weights take
OuterGradient = list[Tensor | None]
"""Like the outer parameters; None where the validation loss does not depend on one."""


class SharedForward(NamedTuple):
    """Training losses of the model's own next step, which are also those of the first virtual step."""

    losses: list[Tree]  # by minibatch, functions of the model's own parameters
    random_state: RandomState  # before these losses
    reads_outer: bool = False  # these losses depend on the outer parameters, too


class FirstStep(NamedTuple):
    """Weighted training loss of the first virtual step, and its gradient before clipping; both detached."""

    loss: Tensor
    gradient: list[Tensor | None]


class LookAheadResult(NamedTuple):
    """Hypergradient, detached validation loss after the virtual steps, and the first step if kept."""

    gradient: OuterGradient
    validation_loss: Tensor
    first_step: FirstStep | None = None


LoopEstimator = Callable[["VirtualSteps"], LookAheadResult]


@dataclass(frozen=True, eq=False)
class VirtualSteps:
    """Virtual steps, and the validation loss after them; the model itself is unchanged."""

    model: StatelessModel
    lift: Callable[[], LiftedOptimizer]
    losses: list[list[TrainLosses]]  # training losses of each step, by minibatch; their mean is descended
    weigh: Callable[[Tree], Tensor]  # from training losses to one number
    validation: ScalarLoss
    outer: Sequence[Tensor]  # the outer parameters
    learned: nn.Module  # the modules of the outer parameters
    groups: Callable[[], list[dict[str, Any]]]
    """The optimizer's parameter groups with the learned learning rate."""
    before: ModelSnapshot  # the model's changing state before the first step
    shared: SharedForward | None = None
    inspect: bool = False  # search graphs differentiated twice for silently missing derivatives

    @functools.cached_property
    def optimizer(self) -> LiftedOptimizer:
        """The optimizer of the virtual steps."""
        return self.lift()

    def start(self) -> Params:
        """The model's own parameters or copies, to differentiate but not to change."""
        if self.shared is not None:
            return list(self.model.trained)
        return [p.detach().clone().requires_grad_(p.requires_grad) for p in self.model.trained]

    def training(self, step: int, params: Params, buffers: Buffers) -> list[Tree]:
        """The training losses of a step, by minibatch, with these parameters and buffers."""
        is_own = all(one is other for one, other in zip(params, self.model.trained, strict=True))
        if step == 0 and self.shared is not None and is_own:
            self.model.use_own(buffers)
            return self.shared.losses
        if step == 0:
            self.rewind(buffers)
        return [self.model.call(each, params, buffers) for each in self.losses[step]]

    def rewind(self, buffers: Buffers | None = None) -> None:
        """Restore plain attributes, and copies of buffers, to their values before the first step."""
        self.before.attributes.restore()
        if buffers is not None and self.shared is not None:
            buffers[:] = self.model.copy_buffers(self.before)

    def weighted(self, losses: Sequence[Tree]) -> list[Tensor]:
        """Weighted loss of each minibatch, divided by their number."""
        totals = [self.weigh(each) for each in losses]
        return totals if len(totals) == 1 else [total / len(totals) for total in totals]

    def total(self, step: int, params: Params, buffers: Buffers) -> Tensor:
        """Weighted training loss of a step with these parameters and buffers."""
        return _sum(self.weighted(self.training(step, params, buffers)))

    def outcome(self, params: Params, buffers: Buffers) -> Tensor:
        """The validation loss; raises ValueError unless it is one number and depends on the model."""
        loss = require_number(self.model.call(self.validation, params, buffers))
        require(
            loss.requires_grad,
            "The validation loss does not reach the model's parameters, so no weight can change it: it is "
            "detached, or computed under torch.no_grad().",
        )
        return loss


def require_number(loss: Any) -> Tensor:
    """Raise ValueError unless a validation loss is one number."""
    if not isinstance(loss, Tensor) or loss.ndim > 0:
        raise ValueError("The validation loss must be one number, a tensor without axes: take its mean.")
    return loss


def unrolled(ahead: VirtualSteps) -> LookAheadResult:
    """Exact hypergradient for any number of steps, by differentiating through their graph."""
    params, buffers = ahead.start(), ahead.model.copy_buffers()
    first: FirstStep | None = None
    for step in range(len(ahead.losses)):
        attributes = Attributes(ahead.model.all_modules) if step == 1 else None
        values = attributes.now() if attributes else {}
        parts = ahead.weighted(ahead.training(step, params, buffers))
        total = _sum(parts)
        if attributes:
            require_attributes_unread(
                ahead.model,
                attributes,
                values,
                params,
                lambda: [each() for each in ahead.losses[1]],
                ahead.validation,
            )
        if ahead.inspect:
            require_second_derivative(total)
        params = ahead.optimizer(parts, params)
        first = first or _first_step(total, ahead.optimizer.gradient)
    loss = ahead.outcome(params, buffers)
    return LookAheadResult(_gradients(loss, ahead.outer), loss.detach(), first)


def directional(ahead: VirtualSteps) -> LookAheadResult:
    """Exact hypergradient for one step, without a second derivative of the model by reverse mode.

    With u = d(validation loss)/d(gradient), it is d/d(outer) of the training loss's derivative in direction
    u, by forward mode at the cost of about two forward passes.
    """

    def derivatives(back: _PullBack) -> Sequence[Tensor]:
        tangents = _by_forward_mode(ahead, back)
        terms = back.weighted(tangents)
        error = _ratio(terms.sum() - back.slope, terms.abs().sum())
        require(
            error <= 0.05,
            f"Forward and reverse mode differ by {error:.0%} in the derivative of the training losses, so "
            "that one of them is not their derivative (it has a backward pass of its own, say, or a buffer "
            "is written to without a gradient): use unrolled.",
        )
        return tangents

    return _along_direction(ahead, derivatives)


def finite_difference(ahead: VirtualSteps) -> LookAheadResult:
    """Hypergradient for one step, like `directional`, with central differences of the losses along u.

    Parameters move by eps^(1/3) of their norm, with eps the precision of their dtype, at which rounding and
    the third derivative contribute about equally to the error. The differences, weighted, must add up to the
    weighted loss's derivative along u, which is known. If they do not, because a ReLU network moves to
    another linear piece or losses are flat at their precision, forward mode is used, or, if torch does not
    support it, other lengths.

    Raises:
        ValueError: the parameters have fewer digits than float32; or torch has no forward mode of these
            losses, and the estimated error is above 5 % at every length.

    Source:
        Liu et al., DARTS, arXiv 1806.09055, for plain gradient steps; here for every lifted optimizer.
    """
    return _along_direction(ahead, functools.partial(_differentiate, ahead))


def _differentiate(ahead: VirtualSteps, back: _PullBack) -> Sequence[Tensor]:
    """Derivatives along u by differences, by forward mode where these fail, or at other lengths."""
    pairs = [(p, u) for p, u in zip(back.params, back.direction, strict=True) if u is not None]
    precision = max((torch.finfo(p.dtype) for p, _ in pairs), key=lambda each: each.eps)
    require(
        precision.eps < 1e-4,
        f"The estimator finite-difference takes differences of losses, for which torch.{precision.dtype} has "
        "too few digits: use directional or unrolled.",
    )
    size, norm = (get_total_norm(list(of)) for of in zip(*pairs, strict=True))
    length = precision.eps ** (1 / 3) * torch.where(size > 0, size, 1) / norm.clamp(min=precision.tiny**0.5)
    first = _by_differences(ahead, back, length)
    if first.error <= 10 * precision.eps**0.5:
        return first.derivatives
    try:
        with composite_kernels():
            return _by_forward_mode(ahead, back)
    except RuntimeError as error:
        if not lacks_derivative(error):
            raise
    attempts = [first, *(_by_differences(ahead, back, factor * length) for factor in (1 / 8, 8.0, 1 / 64))]

    def uncertain(each: _Differences) -> float:
        """The estimated error, or the distance to the nearest other one if larger."""
        distances = [(each.terms - other.terms).norm() for other in attempts if other is not each]
        return max(each.error, min(_ratio(distance, each.terms.norm()) for distance in distances))

    best = min(attempts, key=uncertain)
    require(
        uncertain(best) <= 0.05,
        "The differences of the training losses are off by an estimated "
        f"{uncertain(best):.0%} at every length tried (losses with jumps, or too flat for "
        f"torch.{precision.dtype}), and torch has no forward mode of them: use unrolled, or float64.",
    )
    return best.derivatives


ESTIMATORS: dict[str, LoopEstimator] = {
    "unrolled": unrolled,
    "directional": directional,
    "finite-difference": finite_difference,
}
"""Estimators that can reuse the losses of the model's own step, and keep its gradient."""
ONE_STEP = ("directional", "finite-difference")  # estimators for one virtual step only


class _PullBack(NamedTuple):
    """One step, and the validation loss's gradient pulled back through the optimizer's arithmetic."""

    params: Params  # before the step, detached
    direction: list[Tensor | None]
    """d(validation loss)/d(gradient of the step); None where a parameter has no gradient."""
    direct: OuterGradient  # effect of the outer parameters on the validation loss other than by the gradient
    loss: Tensor  # validation loss after the step, detached
    random_state: RandomState  # before the step
    first_step: FirstStep
    factors: Sequence[Tensor | None]
    """d(weighted training loss)/d(training loss), functions of the outer parameters."""
    slope: Tensor  # derivative of the weighted training loss along the direction, detached

    def weighted(self, derivatives: Sequence[Tensor]) -> Tensor:
        """Derivatives of the losses times their factors: flat, detached."""
        pairs = zip(self.factors, derivatives, strict=True)
        return torch.cat([(s * each).detach().flatten() for s, each in pairs if s is not None])


def _pull_back(ahead: VirtualSteps) -> _PullBack:
    params, buffers = ahead.start(), ahead.model.copy_buffers()
    random_state = ahead.model.random_state() if ahead.shared is None else ahead.shared.random_state
    parts = ahead.training(0, params, buffers)
    weighted, gradients = ahead.weighted(parts), []
    factors: list[Tensor | None] = []
    free = [index for index, p in enumerate(params) if p.requires_grad]
    for part, total in zip(parts, weighted, strict=True):
        losses = split_floating(part)[0]
        own = torch.autograd.grad(total, losses, create_graph=True, allow_unused=True)
        factors += own
        used = [(loss, factor) for loss, factor in zip(losses, own, strict=True) if factor is not None]
        outputs, slopes = [loss for loss, _ in used], [factor.detach() for _, factor in used]
        inputs = [params[index] for index in free]
        gradients.append(torch.autograd.grad(outputs, inputs, slopes, allow_unused=True, retain_graph=True))
    summed = accumulated(gradients)
    # optimizers leave a parameter without a gradient alone, whatever its decay or momentum
    leaves = {i: g.detach().requires_grad_() for i, g in zip(free, summed, strict=True) if g is not None}
    start = [p.detach() for p in params]
    loss = ahead.outcome(ahead.optimizer.along([leaves.get(i) for i in range(len(params))], start), buffers)
    pulled = torch.autograd.grad(loss, [*leaves.values(), *ahead.outer], allow_unused=True)
    direction = dict(zip(leaves, pulled, strict=False))
    products = [(leaves[i].detach() * u).sum() for i, u in direction.items() if u is not None]
    return _PullBack(
        params=start,
        direction=[direction.get(index) for index in range(len(params))],
        direct=list(pulled[len(leaves) :]),
        loss=loss.detach(),
        random_state=random_state,
        first_step=_first_step(_sum(weighted), ahead.optimizer.gradient),
        factors=factors,
        slope=torch.stack(products).sum() if products else torch.zeros_like(loss.detach()),
    )


def _by_forward_mode(ahead: VirtualSteps, back: _PullBack) -> list[Tensor]:
    """Derivatives of the training losses along u."""

    def along(params: Params) -> list[Tensor]:
        with forward_ad.dual_level():
            duals = [
                p if u is None else forward_ad.make_dual(p, u)
                for p, u in zip(params, back.direction, strict=True)
            ]
            found = ahead.training(0, duals, ahead.model.copy_buffers())
            return [forward_ad.unpack_dual(loss).tangent for loss in split_floating(found)[0]]

    return _called_again(ahead, back, along)


class _Differences(NamedTuple):
    """Derivatives of the training losses along u, these times their factors, and the estimated error."""

    derivatives: list[Tensor]
    terms: Tensor
    error: float


def _by_differences(ahead: VirtualSteps, back: _PullBack, length: Tensor) -> _Differences:
    """The same by central differences over the length times u; weights may read a loss, so not weighted."""

    def shifted(params: Params, sign: int) -> Tensors:
        found = [
            p if u is None else torch.addcmul(p, u, length.to(u), value=sign)
            for p, u in zip(params, back.direction, strict=True)
        ]
        losses = split_floating(ahead.training(0, found, ahead.model.copy_buffers()))[0]
        # Losses that do not read the outer parameters need no graph here.
        reads = ahead.shared is None or ahead.shared.reads_outer
        return losses if reads else tuple(loss.detach() for loss in losses)

    high, low = (_called_again(ahead, back, functools.partial(shifted, sign=sign)) for sign in (1, -1))
    derivatives = [(one - other) / (2 * length.to(one)) for one, other in zip(high, low, strict=True)]
    terms = back.weighted(derivatives)
    return _Differences(derivatives, terms, _ratio(terms.sum() - back.slope, terms.norm()))


def _called_again(ahead: VirtualSteps, back: _PullBack, function: Callable[[Params], Result]) -> Result:
    """Call a function of the parameters before the step, without a graph unless it needs one itself."""
    with fork_random_state(back.random_state):
        try:
            return function(back.params)
        except RuntimeError:
            if not any(ahead.model.requires_grad):
                raise
    both = zip(back.params, ahead.model.requires_grad, strict=True)
    with fork_random_state(back.random_state):
        return function([p.detach().requires_grad_(free) for p, free in both])


def _along_direction(
    ahead: VirtualSteps, derivatives: Callable[[_PullBack], Sequence[Tensor]]
) -> LookAheadResult:
    """Hypergradient from the training losses' derivatives along u, plus the direct effect."""
    back = _pull_back(ahead)
    gradient = back.direct
    if any(u is not None for u in back.direction):
        pairs = zip(back.factors, derivatives(back), strict=True)
        slope = _sum([(factor * each).sum() for factor, each in pairs if factor is not None])
        if slope.requires_grad:
            gradient = accumulated([_gradients(slope, ahead.outer), back.direct])
    return LookAheadResult(gradient, back.loss, back.first_step)


def _first_step(loss: Tensor, gradient: Sequence[Tensor | None]) -> FirstStep:
    return FirstStep(loss.detach(), [None if g is None else g.detach() for g in gradient])


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part.abs() / whole.clamp(min=torch.finfo(whole.dtype).tiny))


def _sum(losses: Sequence[Tensor]) -> Tensor:
    return losses[0] if len(losses) == 1 else torch.stack(list(losses)).sum()


def _gradients(loss: Tensor, outer: Sequence[Tensor]) -> OuterGradient:
    return list(torch.autograd.grad(loss, list(outer), allow_unused=True))

"""Virtual steps of training, and the gradient of the validation loss after them in the loss weights."""

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
from bilevel.loss_weights._module_state import Attributes, RandomState, differing, fork_random_state
from bilevel.loss_weights._purity import require_attributes_unread, require_pure
from bilevel.loss_weights._stateless_model import Buffers, ModelSnapshot, StatelessModel
from bilevel.loss_weights._torch_patches import composite_kernels, lacks_derivative, require_second_derivative
from games.core import require

Result = TypeVar("Result")
ScalarLoss = Callable[[], Tensor]
"""A loss of the model as it is: one number."""
TrainLosses = Callable[[], Tree]
"""The training losses of the model as it is: what the weights take."""
OuterGradient = list[Tensor | None]
"""Like the outer parameters; None where the validation loss does not depend on one."""


class SharedForward(NamedTuple):
    """The training losses of the model's own next step, which are those of the first virtual step, too."""

    losses: list[Tree]
    """Of the minibatches, functions of the model's own parameters."""
    random_state: RandomState
    """Before that."""
    reads_outer: bool = False
    """Whether these losses are functions of the outer parameters, too."""


class FirstStep(NamedTuple):
    """The first virtual step, for a model that takes it for its own."""

    loss: Tensor
    """The weighted training loss: a number, detached."""
    gradient: list[Tensor | None]
    """In the parameters, before clipping, detached; None where the loss does not depend on one."""


class LookAheadResult(NamedTuple):
    """The hypergradient, and what else was found on the way."""

    gradient: OuterGradient
    validation_loss: Tensor
    """After the virtual steps: a number, detached."""
    first_step: FirstStep | None = None
    """None where the estimator does not keep it."""


LoopEstimator = Callable[["LookAhead"], LookAheadResult]


@dataclass(frozen=True, eq=False)
class LookAhead:
    """Virtual steps, and the validation loss after them; the model itself stays as it is."""

    model: StatelessModel
    optimizer: LiftedOptimizer
    """Of the virtual steps."""
    losses: Sequence[Sequence[TrainLosses]]
    """For each step, those of its minibatches, whose mean is descended."""
    weigh: Callable[[Tree], Tensor]
    """Turns training losses into one number."""
    validation: ScalarLoss
    outer: Sequence[Tensor]
    """The outer parameters."""
    learned: nn.Module
    """The modules of the outer parameters."""
    groups: Callable[[], list[dict[str, Any]]]
    """Gives the optimizer's parameter groups, with the learning rate that is learned."""
    before: ModelSnapshot
    """Of what calling the model changes, before the first step."""
    shared: SharedForward | None = None
    """Losses of the first step that are computed already; None: they are not."""
    inspect: bool = False
    """Search graphs that are to be differentiated twice for what torch does not report."""

    def start(self) -> Params:
        """The model's own parameters or copies, to start from: to be differentiated, not to be changed."""
        if self.shared is not None:
            return list(self.model.trained)
        return [p.detach().clone().requires_grad_(p.requires_grad) for p in self.model.trained]

    def training(self, step: int, params: Params, buffers: Buffers) -> list[Tree]:
        """The training losses of a step, by minibatch, with these parameters and buffers."""
        own = all(one is other for one, other in zip(params, self.model.trained, strict=True))
        if step == 0 and self.shared is not None and own:
            self.model.use_own(buffers)
            return self.shared.losses
        if step == 0:
            self.rewind(buffers)
        return [self.model.call(each, params, buffers) for each in self.losses[step]]

    def differentiated_by(self, estimator: LoopEstimator) -> LookAheadResult:
        """Take the hypergradient.

        Raises:
            ValueError: something that is saved for the backward pass is written to before it; or the
                estimator refuses.
        """
        try:
            return estimator(self)
        except RuntimeError as error:
            if "modified by an inplace operation" not in str(error):
                raise
            raise ValueError(
                "A tensor that the gradient needs is written to in place before the gradient is taken: take "
                "one virtual step, if those are running statistics in a checkpoint; or have the module that "
                "writes to it make a new tensor."
            ) from error

    def rewind(self, buffers: Buffers | None = None) -> None:
        """Bring plain attributes, and copies of buffers, back to where they were before the first step."""
        self.before.attributes.restore()
        if buffers is not None and self.shared is not None:
            buffers[:] = self.model.copy_buffers(self.before)

    def require_own_unread(self) -> None:
        """Raise ValueError if the model's own losses write to a buffer without a gradient, and read it."""
        if self.shared is not None:
            self.model.require_own_unread(self.before, lambda: [each() for each in self.losses[0]])

    def require_pure(self, params: Params) -> None:
        """Raise ValueError if training losses leave in plain attributes what a call then reads."""
        attributes = self.before.attributes
        left = attributes.now()
        attributes.restore()
        if not self.model.harmless.issuperset(differing(attributes.now(), left)):
            training = [each for minibatches in self.losses for each in minibatches]
            require_pure(self.model, attributes, params, training, self.validation)

    def weighted(self, losses: Sequence[Tree]) -> list[Tensor]:
        """The weighted loss of each minibatch, divided by their number."""
        totals = [self.weigh(each) for each in losses]
        return totals if len(totals) == 1 else [total / len(totals) for total in totals]

    def total(self, step: int, params: Params, buffers: Buffers) -> Tensor:
        """The weighted training loss of a step, with these parameters and buffers."""
        return _sum(self.weighted(self.training(step, params, buffers)))

    def outcome(self, params: Params, buffers: Buffers) -> Tensor:
        """The validation loss.

        Raises:
            ValueError: it is not one number, or does not depend on the model.
        """
        loss = require_number(self.model.call(self.validation, params, buffers))
        require(
            loss.requires_grad,
            "The validation loss does not reach the model's parameters, so no weight can change it: it is "
            "detached, or computed under torch.no_grad().",
        )
        return loss


def require_number(loss: Any) -> Tensor:
    """Raise ValueError unless a validation loss is one number."""
    require(
        isinstance(loss, Tensor) and loss.ndim == 0,
        "The validation loss must be one number, a tensor without axes: take its mean.",
    )
    number: Tensor = loss
    return number


def unrolled(ahead: LookAhead) -> LookAheadResult:
    """Exact, for any number of steps: the graph of all steps is kept, and differentiated a second time."""
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


def directional(ahead: LookAhead) -> LookAheadResult:
    """Exact, for one step, without a second derivative of the model by reverse mode.

    With u = d(validation loss)/d(gradient), the hypergradient is d/d(outer) of the training loss's derivative
    in the direction u, which forward mode gives in one pass; it costs about two passes forward.
    """
    back = _pull_back(ahead)
    if not back.matters:
        return LookAheadResult(back.direct, back.loss, back.first_step)
    derivatives = _by_forward_mode(ahead, back)
    terms = back.weighted(derivatives)
    off = _ratio(terms.sum() - back.slope, terms.abs().sum())
    require(
        off <= 0.05,
        f"Forward and reverse mode differ by {off:.0%} in the derivative of the training losses, so that "
        "one of them is not their derivative (it has a backward pass of its own, say, or a buffer is "
        "written to without a gradient): use unrolled.",
    )
    return _joined(derivatives, back, ahead)


def finite_difference(ahead: LookAhead) -> LookAheadResult:
    """As `directional`, the derivative in the direction u by central differences of the training losses.

    The parameters move by eps^(1/3) of their norm, eps being the precision of their dtype: there rounding and
    the third derivative weigh about the same. The error is estimated at no cost: the differences, weighted,
    must add up to the weighted loss's derivative along u, which its gradient gives exactly. Where they do
    not, as a ReLU network changes pieces, or losses are flat for their precision, forward mode is asked, and
    where torch has none other lengths are tried.

    Raises:
        ValueError: the parameters have fewer digits than float32; or torch has no forward mode of these
            losses, and the estimated error is above 5 % at every length.

    Source:
        Liu et al., DARTS, arXiv 1806.09055, for plain gradient steps; here for every lifted optimizer.
    """
    back = _pull_back(ahead)
    if not back.matters:
        return LookAheadResult(back.direct, back.loss, back.first_step)
    moved = [(p, u) for p, u in zip(back.params, back.direction, strict=True) if u is not None]
    precision = max((torch.finfo(p.dtype) for p, _ in moved), key=lambda each: each.eps)
    require(
        precision.eps < 1e-4,
        f"The estimator finite-difference takes differences of losses, for which torch.{precision.dtype} has "
        "too few digits: use directional or unrolled.",
    )
    size, norm = (get_total_norm(list(of)) for of in zip(*moved, strict=True))
    length = precision.eps ** (1 / 3) * torch.where(size > 0, size, 1) / norm.clamp(min=precision.tiny**0.5)
    first = _by_differences(ahead, back, length)
    if first.error <= 10 * precision.eps**0.5:
        return _joined(first.derivatives, back, ahead)
    try:
        with composite_kernels():
            return _joined(_by_forward_mode(ahead, back), back, ahead)
    except RuntimeError as error:
        if not lacks_derivative(error):
            raise
    tried = [first, *(_by_differences(ahead, back, factor * length) for factor in (1 / 8, 8.0, 1 / 64))]

    def uncertain(each: _Differences) -> float:
        """The estimated error, or the distance to the nearest of the others, if that is more."""
        apart = [(each.terms - other.terms).norm() for other in tried if other is not each]
        return max(each.error, min(_ratio(distance, each.terms.norm()) for distance in apart))

    best = min(tried, key=uncertain)
    require(
        uncertain(best) <= 0.05,
        "The differences of the training losses are off by an estimated "
        f"{uncertain(best):.0%} at every length tried (losses with jumps, or too flat for "
        f"torch.{precision.dtype}), and torch has no forward mode of them: use unrolled, or float64.",
    )
    return _joined(best.derivatives, back, ahead)


ESTIMATORS: dict[str, LoopEstimator] = {
    "unrolled": unrolled,
    "directional": directional,
    "finite-difference": finite_difference,
}
"""All of them can start from what the model computed for its own step, and keep its gradient."""
ONE_STEP = ("directional", "finite-difference")
"""Estimators for one virtual step only."""


class _PullBack(NamedTuple):
    """One step, and the validation loss's gradient pulled back through the optimizer's arithmetic."""

    params: Params
    """Before the step, detached."""
    direction: list[Tensor | None]
    """d(validation loss)/d(gradient of the step); None where a parameter has no gradient."""
    direct: OuterGradient
    """The effect of the outer parameters on the validation loss other than by the gradient."""
    loss: Tensor
    """The validation loss after the step, detached."""
    random_state: RandomState
    """Before the step."""
    first_step: FirstStep
    factors: Sequence[Tensor | None]
    """d(weighted training loss)/d(training loss), functions of the outer parameters."""
    slope: Tensor
    """The derivative of the weighted training loss in that direction: a number, detached."""

    @property
    def matters(self) -> bool:
        """Whether the validation loss depends on the step's gradient at all."""
        return any(u is not None for u in self.direction)

    def weighted(self, derivatives: Sequence[Tensor]) -> Tensor:
        """The losses' derivatives, each times its factor: flat, detached."""
        pairs = zip(self.factors, derivatives, strict=True)
        return torch.cat([(s * each).detach().flatten() for s, each in pairs if s is not None])


def _pull_back(ahead: LookAhead) -> _PullBack:
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
        used = [
            (loss, factor.detach()) for loss, factor in zip(losses, own, strict=True) if factor is not None
        ]
        gradients.append(
            torch.autograd.grad(
                [loss for loss, _ in used],
                [params[index] for index in free],
                [slope for _, slope in used],
                allow_unused=True,
                retain_graph=True,
            )
        )
    found = accumulated(gradients)
    # Optimizers leave a parameter without a gradient alone, whatever its decay or momentum: so it stays out.
    leaves = {i: g.detach().requires_grad_() for i, g in zip(free, found, strict=True) if g is not None}
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


def _by_forward_mode(ahead: LookAhead, back: _PullBack) -> list[Tensor]:
    """The derivatives of the training losses in the direction u."""

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
    derivatives: list[Tensor]
    """Of the training losses in a direction, by differences."""
    terms: Tensor
    """These, each times its factor: flat, detached."""
    error: float
    """Of these, relative to their norm, as estimated."""


def _by_differences(ahead: LookAhead, back: _PullBack, length: Tensor) -> _Differences:
    """The same by central differences, over the length times u to each side.

    Of losses, not of their weighted sum: weights may read a loss without being its function.
    """

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


def _called_again(ahead: LookAhead, back: _PullBack, function: Callable[[Params], Result]) -> Result:
    """Call a function of the parameters before the step, from the same random state.

    They require no gradient, so that no graph is kept; unless losses differentiate in them themselves.
    """
    with fork_random_state(back.random_state):
        try:
            return function(back.params)
        except RuntimeError:
            if not any(ahead.model.requires_grad):
                raise
    both = zip(back.params, ahead.model.requires_grad, strict=True)
    with fork_random_state(back.random_state):
        return function([p.detach().requires_grad_(free) for p, free in both])


def _joined(derivatives: Sequence[Tensor], back: _PullBack, ahead: LookAhead) -> LookAheadResult:
    """The hypergradient: how the weighted loss's slope, with these derivatives, depends on the outer ones."""
    pairs = zip(back.factors, derivatives, strict=True)
    slope = _sum([(factor * each).sum() for factor, each in pairs if factor is not None])
    none: OuterGradient = [None] * len(ahead.outer)
    through = _gradients(slope, ahead.outer) if slope.requires_grad else none
    return LookAheadResult(accumulated([through, back.direct]), back.loss, back.first_step)


def _first_step(loss: Tensor, gradient: Sequence[Tensor | None]) -> FirstStep:
    return FirstStep(loss.detach(), [None if g is None else g.detach() for g in gradient])


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part.abs() / whole.clamp(min=torch.finfo(whole.dtype).tiny))


def _sum(losses: Sequence[Tensor]) -> Tensor:
    return losses[0] if len(losses) == 1 else torch.stack(list(losses)).sum()


def _gradients(loss: Tensor, outer: Sequence[Tensor]) -> OuterGradient:
    return list(torch.autograd.grad(loss, list(outer), allow_unused=True))

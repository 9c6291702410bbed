"""How the validation loss after some virtual steps depends on what weighs the losses of these steps."""

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
from bilevel.loss_weights._module_state import differing, require_attributes_unread, require_pure
from bilevel.loss_weights._random_streams import Draws, drawing_from
from bilevel.loss_weights._torch_kernels import composite_kernels, lacks_derivative, require_second_derivative
from bilevel.loss_weights._world import Buffers, Moment, World
from games.core import require

Result = TypeVar("Result")
Loss = Callable[[], Tensor]
"""A loss of the model as it is: one number."""

TrainLosses = Callable[[], Tree]
"""The training losses of the model as it is: what the weights take."""


class Own(NamedTuple):
    """What the model itself computed for the step that it is about to take: the first virtual step's, too."""

    losses: list[Tree]
    """Of the parts of the batch, functions of the model's own parameters."""
    draws: Draws
    """Where the random streams were before that."""
    reads: bool = False
    """Whether these losses are functions of what is learned, too."""


class Descended(NamedTuple):
    """What the first virtual step went down."""

    loss: Tensor
    """The weighted training loss: a number, detached."""
    gradient: list[Tensor | None]
    """In the parameters, before clipping, detached; None where the loss does not depend on one."""


@dataclass(frozen=True, eq=False)
class LookAhead:
    """Virtual steps, and the loss that counts after them; the model itself stays as it is."""

    world: World
    """The model."""
    optimizer: LiftedOptimizer
    """Of the virtual steps."""
    losses: Sequence[Sequence[TrainLosses]]
    """For each step, those of the parts of its batch, whose mean is descended."""
    weigh: Callable[[Tree], Tensor]
    """Turns training losses into one number."""
    validation: Loss
    """To be low after the steps."""
    outer: Sequence[Tensor]
    """What the meta-gradient is taken in."""
    own: Own | None = None
    """What is there already of the first step; None: nothing."""
    learned: nn.Module | None = None
    """The modules whose parameters `outer` are."""
    groups: Callable[[], list[dict[str, Any]]] = list
    """Gives the optimizer's parameter groups, with the learning rate that is learned."""
    inspect: bool = False
    """Whether graphs that are to be differentiated twice are looked through for what torch does not say."""
    before: Moment | None = None
    """What calling the model changes, as it was before the first step; None: as it is."""

    def start(self) -> Params:
        """The model's own parameters or copies, to start from: to be differentiated, not to be changed."""
        if self.own is not None:
            return list(self.world.trained)
        return [p.detach().clone().requires_grad_(p.requires_grad) for p in self.world.trained]

    def training(self, step: int, params: Params, buffers: Buffers) -> list[Tree]:
        """The training losses of a step, part by part, with these parameters and buffers."""
        if step == 0 and self.own is not None and _are(params, self.world.trained):
            self.world.stay(buffers)
            return self.own.losses
        if step == 0:
            self.rewind(buffers)
        return [self.world.run(part, params, buffers) for part in self.losses[step]]

    def differentiated_by(self, estimator: Callable[[LookAhead], MetaGradient]) -> MetaGradient:
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
        if self.before is not None:
            self.before.attributes.restore()
            if buffers is not None and self.own is not None:
                buffers[:] = self.world.buffers_at(self.before)

    def require_own_unread(self) -> None:
        """Raise ValueError if the model's own losses write to a buffer without a gradient, and read it."""
        if self.own is not None and self.before is not None:
            self.world.require_own_unread(self.before, lambda: [part() for part in self.losses[0]])

    def require_pure(self, params: Params) -> None:
        """Raise ValueError if training losses leave in plain attributes what a call then reads."""
        if self.before is None:
            return
        attributes = self.before.attributes
        left = attributes.now()
        attributes.restore()
        if not self.world.harmless.issuperset(differing(attributes.now(), left)):
            parts = [part for each in self.losses for part in each]
            require_pure(self.world, attributes, params, parts, self.validation)

    def weighed(self, parts: Sequence[Tree]) -> list[Tensor]:
        """The weighted loss of each part, divided by the number of parts."""
        losses = [self.weigh(each) for each in parts]
        return losses if len(losses) == 1 else [loss / len(losses) for loss in losses]

    def total(self, step: int, params: Params, buffers: Buffers) -> Tensor:
        """The weighted training loss of a step, with these parameters and buffers."""
        return _sum(self.weighed(self.training(step, params, buffers)))

    def outcome(self, params: Params, buffers: Buffers) -> Tensor:
        """The validation loss.

        Raises:
            ValueError: it is not one number, or does not depend on the model.
        """
        loss = self.number(self.world.run(self.validation, params, buffers))
        require(
            loss.requires_grad,
            "The validation loss does not reach the model's parameters, so no weight can change it: it is "
            "detached, or computed under torch.no_grad().",
        )
        return loss

    @staticmethod
    def number(loss: Any) -> Tensor:
        """The validation loss.

        Raises:
            ValueError: it is not one number.
        """
        require(
            isinstance(loss, Tensor) and loss.ndim == 0,
            "The validation loss must be one number, a tensor without axes: take its mean.",
        )
        number: Tensor = loss
        return number


class MetaGradient(NamedTuple):
    """What looking ahead found."""

    gradient: list[Tensor | None]
    """Of the validation loss, like the outer parameters; None where it does not depend on one."""
    validation_loss: Tensor
    """After the virtual steps: a number, detached."""
    descended: Descended | None = None
    """In the first virtual step; None where the estimator does not keep it."""


def unrolled(ahead: LookAhead) -> MetaGradient:
    """Exact, for any number of steps: the graph of all steps is kept, and differentiated a second time."""
    params, buffers = ahead.start(), ahead.world.buffers_now()
    first: Descended | None = None
    for step in range(len(ahead.losses)):
        start = ahead.world.attributes_now() if step == 1 else None
        values = start.now() if start else {}
        parts = ahead.weighed(ahead.training(step, params, buffers))
        total = _sum(parts)
        if start:
            training = functools.partial(_all, ahead.losses[1])
            require_attributes_unread(ahead.world, start, values, params, training, ahead.validation)
        if ahead.inspect:
            require_second_derivative(total)
        params = ahead.optimizer(parts, params)
        first = first or _descended(total, ahead.optimizer.descended)
    loss = ahead.outcome(params, buffers)
    return MetaGradient(_gradients(loss, ahead.outer), loss.detach(), first)


def _all(parts: Sequence[TrainLosses]) -> list[Tree]:
    return [part() for part in parts]


def directional(ahead: LookAhead) -> MetaGradient:
    """Exact, for one step, without a second derivative of the model by reverse mode.

    With u = d(validation loss)/d(gradient), the meta-gradient is d/d(outer) of the training loss's derivative
    in the direction u, which forward mode gives in one pass; it costs about two passes forward.
    """
    pulled = _pull_back(ahead)
    if not pulled.counts:
        return MetaGradient(pulled.direct, pulled.loss, pulled.descended)
    rises = _tangents(ahead, pulled)
    pairs = zip(pulled.steepness, rises, strict=True)
    slopes = torch.cat([(s * rise).detach().flatten() for s, rise in pairs if s is not None])
    off = _ratio(slopes.sum() - pulled.slope, slopes.abs().sum())
    require(
        off <= 0.05,
        f"Forward and reverse mode differ by {off:.0%} in the derivative of the training losses, so that "
        "one of them is not their derivative (it has a backward pass of its own, say, or a buffer is "
        "written to without a gradient): use unrolled.",
    )
    return _joined(rises, pulled, ahead)


def finite_difference(ahead: LookAhead) -> MetaGradient:
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
    pulled = _pull_back(ahead)
    if not pulled.counts:
        return MetaGradient(pulled.direct, pulled.loss, pulled.descended)
    moved = [(p, u) for p, u in zip(pulled.params, pulled.direction, strict=True) if u is not None]
    precision = max((torch.finfo(p.dtype) for p, _ in moved), key=lambda each: each.eps)
    require(
        precision.eps < 1e-4,
        f"The estimator finite-difference takes differences of losses, for which torch.{precision.dtype} has "
        "too few digits: use directional or unrolled.",
    )
    size, norm = (get_total_norm(list(of)) for of in zip(*moved, strict=True))
    length = precision.eps ** (1 / 3) * torch.where(size > 0, size, 1) / norm.clamp(min=precision.tiny**0.5)
    first = _differences(ahead, pulled, length)
    if first.error <= 10 * precision.eps**0.5:
        return _joined(first.rises, pulled, ahead)
    try:
        with composite_kernels():
            return _joined(_tangents(ahead, pulled), pulled, ahead)
    except RuntimeError as error:
        if not lacks_derivative(error):
            raise
    tried = [first, *(_differences(ahead, pulled, factor * length) for factor in (1 / 8, 8.0, 1 / 64))]

    def uncertain(each: _Differences) -> float:
        """The estimated error, or how far the nearest of the others is, if that is more."""
        return max(each.error, min(each.apart(other) for other in tried if other is not each))

    best = min(tried, key=uncertain)
    require(
        uncertain(best) <= 0.05,
        "The differences of the training losses are off by an estimated "
        f"{uncertain(best):.0%} at every length tried (losses with jumps, or too flat for "
        f"torch.{precision.dtype}), and torch has no forward mode of them: use unrolled, or float64.",
    )
    return _joined(best.rises, pulled, ahead)


class _Differences(NamedTuple):
    rises: list[Tensor]
    """The derivatives of the training losses in a direction, by differences."""
    weighted: Tensor
    """These, each times its weight: flat, detached."""
    error: float
    """Of these, relative to their norm, as estimated."""

    def apart(self, other: _Differences) -> float:
        """How far other differences are, relative to the norm."""
        return _ratio((self.weighted - other.weighted).norm(), self.weighted.norm())


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part.abs() / whole.clamp(min=torch.finfo(whole.dtype).tiny))


def _tangents(ahead: LookAhead, pulled: _PulledBack) -> list[Tensor]:
    """The derivatives of the training losses in the direction u, by forward mode."""

    def along(params: Params) -> list[Tensor]:
        with forward_ad.dual_level():
            duals = [
                p if u is None else forward_ad.make_dual(p, u)
                for p, u in zip(params, pulled.direction, strict=True)
            ]
            found = ahead.training(0, duals, ahead.world.buffers_now())
            return [forward_ad.unpack_dual(loss).tangent for loss in split_floating(found)[0]]

    return _called_again(ahead, pulled, along)


def _differences(ahead: LookAhead, pulled: _PulledBack, length: Tensor) -> _Differences:
    """The same by central differences, over the length times u to each side.

    Of losses, not of what is weighed: weights may read a loss without being its function.
    """

    def shifted(params: Params, sign: int) -> Tensors:
        found = [
            p if u is None else torch.addcmul(p, u, length.to(u), value=sign)
            for p, u in zip(params, pulled.direction, strict=True)
        ]
        losses = split_floating(ahead.training(0, found, ahead.world.buffers_now()))[0]
        # Losses that do not read what is learned need no graph here.
        reads = ahead.own is None or ahead.own.reads
        return losses if reads else tuple(loss.detach() for loss in losses)

    on, back = (_called_again(ahead, pulled, functools.partial(shifted, sign=sign)) for sign in (1, -1))
    rises = [(one - other) / (2 * length.to(one)) for one, other in zip(on, back, strict=True)]
    pairs = zip(pulled.steepness, rises, strict=True)
    weighted = torch.cat([(s * rise).detach().flatten() for s, rise in pairs if s is not None])
    return _Differences(rises, weighted, _ratio(weighted.sum() - pulled.slope, weighted.norm()))


def _called_again(ahead: LookAhead, pulled: _PulledBack, function: Callable[[Params], Result]) -> Result:
    """Call a function of the parameters before the step, with the step's draws.

    They require no gradient, so that no graph is kept; unless losses differentiate in them themselves.
    """
    with drawing_from(pulled.draws):
        try:
            return function(pulled.params)
        except RuntimeError:
            if not any(ahead.world.free):
                raise
    both = zip(pulled.params, ahead.world.free, strict=True)
    with drawing_from(pulled.draws):
        return function([p.detach().requires_grad_(free) for p, free in both])


ESTIMATORS: dict[str, Callable[[LookAhead], MetaGradient]] = {
    "unrolled": unrolled,
    "directional": directional,
    "finite-difference": finite_difference,
}
ONE_STEP = ("directional", "finite-difference")
"""Those that look through one virtual step only."""
SHARING = tuple(ESTIMATORS)
"""Those that can start from what the model itself computed for its own step, and keep its gradient."""
CALLS_ONCE = ("unrolled", "implicit")
"""Those that then call each loss once in a step."""


class _PulledBack(NamedTuple):
    params: Params
    """Before the step, detached."""
    direction: list[Tensor | None]
    """d(validation loss)/d(gradient of the step); None where a parameter has no gradient."""
    direct: list[Tensor | None]
    """What the outer parameters do to the validation loss other than by the gradient."""
    loss: Tensor
    """After the step, detached."""
    draws: Draws
    """Where the random streams were before the step."""
    descended: Descended
    """In the step."""
    steepness: Sequence[Tensor | None]
    """d(weighted training loss)/d(training loss), a function of what is learned, one for each of these."""
    slope: Tensor
    """The derivative of the weighted training loss in that direction: a number, detached."""

    @property
    def counts(self) -> bool:
        """Whether the validation loss depends on the step's gradient at all."""
        return any(u is not None for u in self.direction)


def _pull_back(ahead: LookAhead) -> _PulledBack:
    """Take the step, and pull the validation loss's gradient back through the optimizer's arithmetic."""
    params, buffers = ahead.start(), ahead.world.buffers_now()
    draws = ahead.world.draws_now() if ahead.own is None else ahead.own.draws
    parts = ahead.training(0, params, buffers)
    weighted, gradients = ahead.weighed(parts), []
    steepness: list[Tensor | None] = []
    free = [index for index, p in enumerate(params) if p.requires_grad]
    for part, total in zip(parts, weighted, strict=True):
        losses = split_floating(part)[0]
        steep = torch.autograd.grad(total, losses, create_graph=True, allow_unused=True)
        weighed = [(loss, s.detach()) for loss, s in zip(losses, steep, strict=True) if s is not None]
        steepness += steep
        gradients.append(
            torch.autograd.grad(
                [loss for loss, _ in weighed],
                [params[index] for index in free],
                [s for _, s in weighed],
                allow_unused=True,
                retain_graph=True,
            )
        )
    found = accumulated(gradients)
    # Who has no gradient is left alone by optimizers, whatever its decay or its momentum: so it stays out.
    leaves = {i: g.detach().requires_grad_() for i, g in zip(free, found, strict=True) if g is not None}
    start = [p.detach() for p in params]
    loss = ahead.outcome(ahead.optimizer.along([leaves.get(i) for i in range(len(params))], start), buffers)
    pulled = torch.autograd.grad(loss, [*leaves.values(), *ahead.outer], allow_unused=True)
    direction = dict(zip(leaves, pulled, strict=False))
    products = [(leaves[i].detach() * u).sum() for i, u in direction.items() if u is not None]
    return _PulledBack(
        params=start,
        direction=[direction.get(index) for index in range(len(params))],
        direct=list(pulled[len(leaves) :]),
        loss=loss.detach(),
        draws=draws,
        descended=_descended(_sum(weighted), ahead.optimizer.descended),
        steepness=steepness,
        slope=torch.stack(products).sum() if products else torch.zeros_like(loss.detach()),
    )


def _joined(rises: Sequence[Tensor], pulled: _PulledBack, ahead: LookAhead) -> MetaGradient:
    """The derivative of how steeply the weighted loss rises, with these rises of the losses themselves."""
    pairs = zip(pulled.steepness, rises, strict=True)
    products = [(s * rise).sum() for s, rise in pairs if s is not None]
    slope = products[0] if len(products) == 1 else torch.stack(products).sum()
    none: list[Tensor | None] = [None] * len(ahead.outer)
    through = _gradients(slope, ahead.outer) if slope.requires_grad else none
    both = zip(through, pulled.direct, strict=True)
    total = [a if b is None else b if a is None else a + b for a, b in both]
    return MetaGradient(total, pulled.loss, pulled.descended)


def _descended(loss: Tensor, gradient: Sequence[Tensor | None]) -> Descended:
    return Descended(loss.detach(), [None if g is None else g.detach() for g in gradient])


def _sum(losses: Sequence[Tensor]) -> Tensor:
    return losses[0] if len(losses) == 1 else torch.stack(list(losses)).sum()


def _are(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return all(one is other for one, other in zip(some, others, strict=True))


def _gradients(loss: Tensor, outer: Sequence[Tensor]) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, list(outer), allow_unused=True))

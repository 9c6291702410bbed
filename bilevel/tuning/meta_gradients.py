"""How the validation loss after some virtual steps depends on what weighs the losses of these steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from bilevel.errors import require
from bilevel.tree import Tensors, Tree, split_floating
from bilevel.tuning.draws import Draws, drawing_from
from bilevel.tuning.lifted import LiftedOptimiser, Params
from bilevel.tuning.world import World

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
    optimiser: LiftedOptimiser
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
    """Gives the optimiser's parameter groups, with the learning rate that is learned."""

    def start(self) -> Params:
        """The model's own parameters or copies, to start from: to be differentiated, not to be changed."""
        if self.own is not None:
            return list(self.world.trained)
        return [p.detach().clone().requires_grad_(p.requires_grad) for p in self.world.trained]

    def training(self, step: int, params: Params, buffers: dict[str, Tensor]) -> list[Tree]:
        """The training losses of a step, part by part, with these parameters and buffers."""
        if step == 0 and self.own is not None and _are(params, self.world.trained):
            return self.own.losses
        return [self.world.run(part, params, buffers) for part in self.losses[step]]

    def weighed(self, parts: Sequence[Tree]) -> Tensor:
        """The mean of the parts' weighted losses."""
        losses = [self.weigh(each) for each in parts]
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()

    def total(self, step: int, params: Params, buffers: dict[str, Tensor]) -> Tensor:
        """The weighted training loss of a step, with these parameters and buffers."""
        return self.weighed(self.training(step, params, buffers))

    def outcome(self, params: Params, buffers: dict[str, Tensor]) -> Tensor:
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
        total = ahead.total(step, params, buffers)
        params = ahead.optimiser(total, params)
        first = first or _descended(total, ahead.optimiser.descended)
    loss = ahead.outcome(params, buffers)
    return MetaGradient(_gradients(loss, ahead.outer), loss.detach(), first)


def directional(ahead: LookAhead) -> MetaGradient:
    """Exact, for one step, without a second derivative of the model by reverse mode.

    With u = d(validation loss)/d(gradient), the meta-gradient is d/d(outer) of the training loss's derivative
    in the direction u, which forward mode gives in one pass; it costs about two passes forward.
    """
    pulled = _pull_back(ahead)
    if not pulled.counts:
        return MetaGradient(pulled.direct, pulled.loss, pulled.descended)
    with drawing_from(pulled.draws), forward_ad.dual_level():
        duals = [
            p if u is None else forward_ad.make_dual(p, u)
            for p, u in zip(pulled.params, pulled.direction, strict=True)
        ]
        found = ahead.training(0, duals, ahead.world.buffers_now())
        rises = [forward_ad.unpack_dual(loss).tangent for loss in split_floating(found)[0]]
    return _joined(rises, pulled, ahead)


def finite_difference(ahead: LookAhead) -> MetaGradient:
    """As `directional`, the derivative in the direction u by a central difference of length 0.01 / |u|.

    No derivative of the training loss in the model but the step's own is needed. Its error shrinks with the
    square of that length, and with float32's rounding grows as it shrinks.

    Source:
        Liu et al., DARTS, arXiv 1806.09055, for plain gradient steps; here for every lifted optimiser.
    """
    pulled = _pull_back(ahead)
    if not pulled.counts:
        return MetaGradient(pulled.direct, pulled.loss, pulled.descended)
    norm = torch.stack([u.square().sum() for u in pulled.direction if u is not None]).sum().sqrt()
    length = 0.01 / norm.clamp(min=torch.finfo(norm.dtype).tiny ** 0.5)

    def shifted(sign: int) -> Tensors:
        """The losses of all parts, a little way on, or back."""
        params = [
            p if u is None else torch.addcmul(p, u, length, value=sign)
            for p, u in zip(pulled.params, pulled.direction, strict=True)
        ]
        # Losses that do not read what is learned need no graph here.
        graph = torch.set_grad_enabled(ahead.own is None or ahead.own.reads)
        with drawing_from(pulled.draws), graph:
            return split_floating(ahead.training(0, params, ahead.world.buffers_now()))[0]

    # Differences of losses, not of what is weighed: weights may read a loss without being its function.
    rises = [(on - back) / (2 * length) for on, back in zip(shifted(1), shifted(-1), strict=True)]
    return _joined(rises, pulled, ahead)


ESTIMATORS: dict[str, Callable[[LookAhead], MetaGradient]] = {
    "unrolled": unrolled,
    "directional": directional,
    "finite-difference": finite_difference,
}
ONE_STEP = ("directional", "finite-difference")
"""Those that look through one virtual step only."""
SHARING = tuple(ESTIMATORS)
"""Those that can start from what the model itself computed for its own step."""


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

    @property
    def counts(self) -> bool:
        """Whether the validation loss depends on the step's gradient at all."""
        return any(u is not None for u in self.direction)


def _pull_back(ahead: LookAhead) -> _PulledBack:
    """Take the step, and pull the validation loss's gradient back through the optimiser's arithmetic."""
    params, buffers = ahead.start(), ahead.world.buffers_now()
    draws = ahead.world.draws_now() if ahead.own is None else ahead.own.draws
    parts = ahead.training(0, params, buffers)
    losses = split_floating(parts)[0]
    weighted = ahead.weighed(parts)
    steepness = torch.autograd.grad(weighted, losses, create_graph=True, allow_unused=True)
    weighed = [(loss, s.detach()) for loss, s in zip(losses, steepness, strict=True) if s is not None]
    free = [index for index, p in enumerate(params) if p.requires_grad]
    found = torch.autograd.grad(
        [loss for loss, _ in weighed],
        [params[index] for index in free],
        [s for _, s in weighed],
        allow_unused=True,
        retain_graph=True,
    )
    # Who has no gradient is left alone by optimisers, whatever its decay or its momentum: so it stays out.
    leaves = {i: g.detach().requires_grad_() for i, g in zip(free, found, strict=True) if g is not None}
    start = [p.detach() for p in params]
    loss = ahead.outcome(ahead.optimiser.along([leaves.get(i) for i in range(len(params))], start), buffers)
    pulled = torch.autograd.grad(loss, [*leaves.values(), *ahead.outer], allow_unused=True)
    direction = dict(zip(leaves, pulled, strict=False))
    return _PulledBack(
        params=start,
        direction=[direction.get(index) for index in range(len(params))],
        direct=list(pulled[len(leaves) :]),
        loss=loss.detach(),
        draws=draws,
        descended=_descended(weighted, ahead.optimiser.descended),
        steepness=steepness,
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


def _are(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return all(one is other for one, other in zip(some, others, strict=True))


def _gradients(loss: Tensor, outer: Sequence[Tensor]) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, list(outer), allow_unused=True))

"""What trainers ask of losses, of optimizers, and of their own settings.

Losses that are called several times a step must give the same values again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from bilevel.core import split_floating
from bilevel.hypergradient import agree
from bilevel.loss_weights._hypergradients import ONE_STEP, SHARING
from bilevel.loss_weights._lifted import parameters_of
from bilevel.loss_weights._random_streams import Draws, drawing_from
from bilevel.loss_weights._world import World
from games.core import require

FIRST = ("weights", "model")
"""What may move first in an outer step."""


def require_learnable(losses: Any, *, differentiated: bool = True) -> None:
    """Raise ValueError unless the model can learn from each loss.

    Args:
        losses: name -> loss, or one tensor of losses.
        differentiated: whether they are to be differentiated in the model's parameters by reverse mode; if
            not, they need only be tensors.

    >>> require_learnable({"label": 3.0})
    Traceback (most recent call last):
    ValueError: The loss 'label' does not depend on the model's parameters: it is detached, or computed under
    torch.no_grad().
    """
    for name, loss in losses.items() if isinstance(losses, Mapping) else [("training", losses)]:
        require(
            isinstance(loss, Tensor) and (loss.requires_grad or not differentiated),
            f"The loss {name!r} does not depend on the model's parameters: it is detached, or computed "
            "under torch.no_grad().",
        )


def require_function(name: str, given: object) -> None:
    """Raise ValueError unless losses come as a function, which can be called on other parameters.

    Args:
        name: of the argument.
        given: what was passed.

    >>> require_function("validation_loss", torch.tensor(1.0))
    Traceback (most recent call last):
    ValueError: validation_loss must be a function of no arguments, because it is called on other parameters
    too, and this is a Tensor: wrap what computes it in `lambda:`.
    """
    require(
        callable(given),
        f"{name} must be a function of no arguments, because it is called on other parameters too, and this "
        f"is a {type(given).__name__}: wrap what computes it in `lambda:`.",
    )


def require_differentiable_mode() -> None:
    """Raise ValueError under torch.inference_mode(), whose tensors no gradient can be taken of.

    >>> with torch.inference_mode():
    ...     require_differentiable_mode()
    Traceback (most recent call last):
    ValueError: A training step cannot be taken under torch.inference_mode(): call step outside it.
    """
    require(
        not torch.is_inference_mode_enabled(),
        "A training step cannot be taken under torch.inference_mode(): call step outside it.",
    )


def require_fitting(
    estimator: str, *, implicit: bool, virtual_steps: int, learns_rate: bool, also: bool, model_first: bool
) -> None:
    """Raise ValueError unless an estimator can do what is asked of it.

    Args:
        estimator: its name.
        implicit: whether it takes no virtual step.
        virtual_steps: how many it is to look through.
        learns_rate: whether the learning rate is learned.
        also: whether losses read hyper-parameters that are learned.
        model_first: whether the model is to take the first virtual step.

    >>> require_fitting(
    ...     "directional", implicit=False, virtual_steps=2, learns_rate=False, also=False, model_first=False
    ... )
    Traceback (most recent call last):
    ValueError: The estimator directional looks through one virtual step, not 2: use unrolled.
    """
    require(
        not implicit or (virtual_steps == 1 and not learns_rate),
        "The estimator implicit takes no virtual step, so that virtual_steps is 1; and where training "
        "comes to rest depends on no learning rate, so that it learns none: use unrolled.",
    )
    require(
        estimator not in ONE_STEP or virtual_steps == 1,
        f"The estimator {estimator} looks through one virtual step, not {virtual_steps}: use unrolled.",
    )
    require(
        not also or estimator != "directional",
        "The estimator directional cannot look through hyper-parameters that losses read (`also`), as "
        "torch cannot differentiate its forward mode of some losses (of cross-entropy, say): use "
        "unrolled, or finite-difference.",
    )
    require(
        not model_first or estimator in SHARING,
        "The model can move first where the gradient of the first virtual step is kept, which "
        f"{', '.join(SHARING[:-1])} and {SHARING[-1]} do, and {estimator} does not: use one of them, or "
        'first="weights".',
    )


def require_counts(**settings: object) -> None:
    """Raise ValueError, naming the setting, unless each is a whole number from 1.

    >>> require_counts(virtual_steps=0)
    Traceback (most recent call last):
    ValueError: virtual_steps must be a whole number, 1 or more, not 0.
    """
    for name, value in settings.items():
        require(
            isinstance(value, int) and value >= 1, f"{name} must be a whole number, 1 or more, not {value}."
        )


def require_moved(outer_optimizer: torch.optim.Optimizer, learned: Iterable[Tensor], owners: str) -> None:
    """Raise ValueError unless an outer optimizer moves what is learned, all of it and nothing else.

    Args:
        outer_optimizer: any of torch's.
        learned: the parameters.
        owners: whose they are, in words.

    >>> one, other = torch.zeros(2, requires_grad=True), torch.zeros(3, requires_grad=True)
    >>> require_moved(torch.optim.SGD([one, other], lr=0.1), [one], "the weights")
    Traceback (most recent call last):
    ValueError: The outer optimizer moves 2 parameters, and 1 are learned: give it those of the weights, and
    no others.
    """
    moved, own = {id(p) for p in parameters_of(outer_optimizer)}, {id(p) for p in learned}
    require(
        moved == own,
        f"The outer optimizer moves {len(moved)} parameters, and {len(own)} are learned: give it those of "
        f"{owners}, and no others.",
    )


def require_repeatable(
    functions: Iterable[Callable[[], Any]], world: World, draws: Draws, estimator: str, name: str
) -> None:
    """Raise ValueError if losses differ when they are called again at the same parameters and draws.

    So they do where they take the next batch from an iterator, or draw by a generator of their own: an
    estimator that calls them twice a step compares losses of two batches, and half of the batches are lost.

    Args:
        functions: of no arguments.
        world: of the model; each call begins with its buffers and plain attributes as they are.
        draws: where the global random streams begin at each call.
        estimator: name, for the sentence.
        name: of the losses, for the sentence.
    """
    for function in functions:
        first, again = (_values(function, world, draws) for _ in range(2))
        same_form = [v.shape for v in first] == [v.shape for v in again]
        require(
            same_form and agree(first, again),
            f"The {name} differs when it is called again at the same parameters, and {estimator} calls it "
            "several times a step: it takes the next batch or draws by itself, so draw before the step, as "
            "in `batch = next(batches)`, and pass it in, as in `lambda: losses(batch)`.",
        )


def require_no_autocast(function: Callable[[], Any], world: World, draws: Draws) -> None:
    """Raise ValueError if losses are computed under autocast, whose digits are too few for differences."""
    with _AutocastSpy() as spy:
        _values(function, world, draws)
    require(
        spy.dtype is None,
        f"The estimator finite-difference takes differences of losses, for which {spy.dtype}, in which "
        "autocast computes them, has too few digits: use directional or unrolled, or leave autocast out.",
    )


def _values(function: Callable[[], Any], world: World, draws: Draws) -> tuple[torch.Tensor, ...]:
    attributes = world.attributes_now()
    try:
        with drawing_from(draws):
            found = world.run(function, world.trained, world.buffers_now())
    finally:
        attributes.restore()
    return tuple(value.detach() for value in split_floating(found)[0])


class _AutocastSpy(TorchFunctionMode):
    """Notes in which dtype autocast computes, if any operation is under it."""

    def __init__(self) -> None:
        super().__init__()
        self.dtype: torch.dtype | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for argument in args:
            if isinstance(argument, torch.Tensor) and torch.is_autocast_enabled(argument.device.type):
                self.dtype = torch.get_autocast_dtype(argument.device.type)
        return func(*args, **(kwargs or {}))

"""Detection, by repeated calls, of losses that read state written by an earlier call without a gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

from bilevel.core import leaves, split_floating
from bilevel.hypergradient import agree
from bilevel.loss_weights._module_state import (
    Attributes,
    AttributeValues,
    Place,
    RandomState,
    differing,
    fork_random_state,
    same,
)
from games.core import require

if TYPE_CHECKING:
    from bilevel.loss_weights._stateless_model import Buffers, StatelessModel

Function = Callable[[], Any]


def written_without_gradient(
    places: Sequence[Place], before: Sequence[tuple[Tensor | None, int]], after: Buffers
) -> list[int]:
    """Indices of the floating buffers written to without a gradient since `before`, with versions.

    Running statistics of batch and instance norm are left out: train mode does not read them, and over
    several virtual steps they have a gradient.
    """
    return [
        index
        for index, ((module, _), (buffer, version), now) in enumerate(zip(places, before, after, strict=True))
        if now is not None
        and now.is_floating_point()
        and not now.requires_grad
        and (now is not buffer or now._version != version)
        and not isinstance(module, _NormBase)
    ]


def require_buffer_unread(
    model: StatelessModel, index: int, function: Function, params: Sequence[Tensor]
) -> None:
    """Raise ValueError if a buffer depends on the parameters, and the function's result on the buffer."""
    module, key = model.buffer_places[index]
    plain = [_primal(p) for p in params]
    result, buffers = _call(model, function, plain)
    _, with_others = _call(model, function, _perturbed(plain))
    if same(buffers[index], with_others[index]):
        return
    start = model.copy_buffers()
    start[index] = _perturbed([start[index]])[0]
    other, _ = _call(model, function, plain, start)
    require(
        same(leaves(result), leaves(other)),
        f"{model.describe(module)} changes its buffer {key!r} without a gradient when it is called, by its "
        "parameters, and reads it, so that the hypergradient would be wrong: put it into eval mode in the "
        "validation loss, take one virtual step with unrolled, or update the buffer after the step.",
    )


def require_attributes_unread(
    model: StatelessModel,
    start: Attributes,
    before: AttributeValues,
    params: Sequence[Tensor],
    training: Function,
    validation: Function,
) -> None:
    """Raise ValueError if a plain attribute that depends on the parameters affects the next call."""
    after, changed_state = start.now(), Attributes(model.all_modules)
    changed = [place for place in differing(before, after) if place not in model.harmless]
    if not changed:
        return
    plain = [_primal(p) for p in params]
    start.restore()
    _call(model, training, _perturbed(plain), keep=True)
    dependent = set(differing(after, start.now()))
    suspects = [place for place in changed if place in dependent]
    for function in (training, validation) if suspects else ():
        results = []
        for state in (start, changed_state):
            state.restore()
            results.append(leaves(_call(model, function, plain)[0]))
        module, name = suspects[0]
        require(
            same(*results),
            f"{model.describe(module)} keeps {name!r} from one call to the next, without a gradient, and "
            "reads it, so that the hypergradient through several virtual steps would be wrong: take one "
            "virtual step, or reset it in each loss.",
        )
    changed_state.restore()
    model.harmless.update(changed)


def require_pure(
    model: StatelessModel,
    start: Attributes,
    params: Sequence[Tensor],
    training: Sequence[Function],
    validation: Function,
) -> None:
    """Raise ValueError if a training loss changes a plain attribute that one of the functions reads."""
    functions = [*training, validation]
    start.restore()
    before, plain = start.now(), [_primal(p) for p in params]
    expected = [_call(model, function, plain)[0] for function in functions]
    for function in training:
        _call(model, function, plain, keep=True)
        changed = [place for place in differing(before, start.now()) if place not in model.harmless]
        changed_state = Attributes(model.all_modules)
        for again, result in zip(functions, expected, strict=True) if changed else ():
            changed_state.restore()
            result_after = _call(model, again, plain)[0]
            module, name = changed[0]
            require(
                same(leaves(result_after), leaves(result)),
                f"{model.describe(module)} keeps {name!r} from one call to the next and reads it, and this "
                "estimator takes the model as a pure function: use unrolled with one virtual step, or reset "
                "it in each loss.",
            )
        start.restore()
        model.harmless.update(changed)


def require_repeatable(
    functions: Iterable[Function], model: StatelessModel, start: RandomState, estimator: str, name: str
) -> None:
    """Raise ValueError if losses differ when called again at the same parameters and random state."""
    for function in functions:
        first, again = (_values(function, model, start) for _ in range(2))
        require(
            [v.shape for v in first] == [v.shape for v in again] and agree(first, again),
            f"The {name} differs when it is called again at the same parameters, and {estimator} calls it "
            "several times a step: it takes the next batch or draws by itself, so draw before the step, as "
            "in `batch = next(batches)`, and pass it in, as in `lambda: losses(batch)`.",
        )


def require_no_autocast(function: Function, model: StatelessModel, start: RandomState) -> None:
    """Raise ValueError if losses are computed under autocast, too coarse for differences."""
    with _AutocastSpy() as spy:
        _values(function, model, start)
    require(
        spy.dtype is None,
        f"The estimator finite-difference takes differences of losses, for which {spy.dtype}, in which "
        "autocast computes them, has too few digits: use directional or unrolled, or leave autocast out.",
    )


class _AutocastSpy(TorchFunctionMode):
    """Records the dtype of autocast if any operation runs under it."""

    dtype: torch.dtype | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for argument in args:
            if isinstance(argument, Tensor) and torch.is_autocast_enabled(argument.device.type):
                self.dtype = torch.get_autocast_dtype(argument.device.type)
        return func(*args, **(kwargs or {}))


def _values(function: Function, model: StatelessModel, start: RandomState) -> tuple[Tensor, ...]:
    attributes = Attributes(model.all_modules)
    try:
        with fork_random_state(start):
            found = model.call(function, model.trained, model.copy_buffers())
    finally:
        attributes.restore()
    return tuple(value.detach() for value in split_floating(found)[0])


def _call(
    model: StatelessModel,
    function: Function,
    params: Sequence[Tensor],
    buffers: Buffers | None = None,
    *,
    keep: bool = False,
) -> tuple[Any, Buffers]:
    """Call without side effects on random streams and (unless `keep`) attributes: result and buffers."""
    attributes = Attributes(model.all_modules)
    buffers = model.copy_buffers() if buffers is None else buffers
    with fork_random_state(model.random_state()), model.isolated():
        result = model.call(function, params, buffers)
    if not keep:
        attributes.restore()
    return result, buffers


def _primal(parameter: Tensor) -> Tensor:
    value: Tensor = forward_ad.unpack_dual(parameter).primal
    return value.detach().clone().requires_grad_(parameter.requires_grad)


def _perturbed(values: Sequence[Any]) -> list[Any]:
    return [
        v if v is None else (1.001 * v.detach() + 1e-3).to(v.dtype).requires_grad_(v.requires_grad)
        for v in values
    ]

"""State that a model carries from one call to the next without a gradient, and reads: refused by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.batchnorm import _NormBase

from bilevel.errors import require
from bilevel.tree import leaves
from bilevel.tuning.attributes import Attributes, differing
from bilevel.tuning.draws import drawing_from

if TYPE_CHECKING:
    from bilevel.tuning.world import Buffers, World

Places = list[tuple[nn.Module, str]]
Values = dict[tuple[nn.Module, str], Any]
"""Attributes, comparable."""
Versions = list[tuple[Tensor | None, int]]


def versions_of(buffers: Buffers) -> Versions:
    """What tells whether a buffer is another afterwards."""
    return [(buffer, -1 if buffer is None else buffer._version) for buffer in buffers]


def written_without_gradient(places: Places, before: Versions, after: Buffers) -> list[int]:
    """Numbers of the floating buffers that were written to, and of which autograd knows nothing.

    Running statistics of batch and instance norm are left out: in train mode they are not read, and where
    several steps are looked through they have a gradient (`bilevel.tuning.exact_norms`).
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


def require_unread(
    world: World, places: Places, index: int, function: Callable[[], Any], params: Sequence[Tensor]
) -> None:
    """Raise ValueError if a buffer follows from the parameters, and what is computed from the buffer.

    The function is called three more times, once in a tuner's life for each buffer: does the buffer come out
    otherwise with other parameters, and is the result another if the buffer is another before?
    """
    module, key = places[index]
    plain = [_primal(p) for p in params]
    result, buffers = _called(world, function, plain, world.buffers_now())
    _, with_others = _called(world, function, _moved(plain), world.buffers_now())
    if _equal(buffers[index], with_others[index]):
        return
    start = world.buffers_now()
    start[index] = _moved([start[index]])[0]
    other, _ = _called(world, function, plain, start)
    require(
        all(map(_equal, leaves(result), leaves(other))),
        f"{world.owner(module)} changes its buffer {key!r} without a gradient when it is called, by its "
        "parameters, and reads it, so that the hypergradient would be wrong: put it into eval mode in the "
        "validation loss, take one virtual step with unrolled, or update the buffer after the step.",
    )


def require_attributes_unread(
    world: World,
    start: Attributes,
    before: Values,
    params: Sequence[Tensor],
    training: Callable[[], Any],
    validation: Callable[[], Any],
) -> None:
    """Raise ValueError if a plain attribute carries what follows from the parameters to the next call.

    Losses are called again only where an attribute has changed, once in a tuner's life for each.

    Args:
        world: of the model.
        start: the attributes before a step that is not the first.
        before: their values.
        params: of that step.
        training: its losses, which have been called.
        validation: what comes after it.
    """
    after, left = start.now(), Attributes(world.modules_now)
    changed = [place for place in differing(before, after) if place not in world.harmless]
    if not changed:
        return
    plain = [_primal(p) for p in params]
    start.restore()
    _called(world, training, _moved(plain), world.buffers_now(), keep=True)
    dependent = set(differing(after, start.now()))
    suspects = [place for place in changed if place in dependent]
    for function in (training, validation) if suspects else ():
        results = []
        for state in (start, left):
            state.restore()
            results.append(_called(world, function, plain, world.buffers_now())[0])
        module, name = suspects[0]
        require(
            all(map(_equal, *map(leaves, results))),
            f"{world.owner(module)} keeps {name!r} from one call to the next, without a gradient, and "
            "reads it, so that the hypergradient through several virtual steps would be wrong: take one "
            "virtual step, or reset it in each loss.",
        )
    left.restore()
    world.harmless.update(changed)


def require_pure(
    world: World,
    start: Attributes,
    params: Sequence[Tensor],
    training: Sequence[Callable[[], Any]],
    validation: Callable[[], Any],
) -> None:
    """Raise ValueError if training losses change a plain attribute, and one of the functions reads it.

    Args:
        world: of the model.
        start: the attributes to start from.
        params: to call the functions with.
        training: the losses of all steps.
        validation: what comes after them.
    """
    functions = [*training, validation]
    start.restore()
    before, plain = start.now(), [_primal(p) for p in params]
    found = [_called(world, function, plain, world.buffers_now())[0] for function in functions]
    for function in training:
        _called(world, function, plain, world.buffers_now(), keep=True)
        changed = [place for place in differing(before, start.now()) if place not in world.harmless]
        left = Attributes(world.modules_now)
        for again, expected in zip(functions, found, strict=True) if changed else ():
            left.restore()
            result = _called(world, again, plain, world.buffers_now())[0]
            module, name = changed[0]
            require(
                all(map(_equal, leaves(result), leaves(expected))),
                f"{world.owner(module)} keeps {name!r} from one call to the next and reads it, and this "
                "estimator takes the model as a pure function: use unrolled with one virtual step, or reset "
                "it in each loss.",
            )
        start.restore()
        world.harmless.update(changed)


def _called(
    world: World,
    function: Callable[[], Any],
    params: Sequence[Tensor],
    buffers: Buffers,
    *,
    keep: bool = False,
) -> tuple[Any, Buffers]:
    """The result and the buffers after a call, which leaves draws, and attributes unless they are kept."""
    attributes = Attributes(world.modules_now)
    with drawing_from(world.draws_now()), world.apart():
        result = world.run(function, params, buffers)
    if not keep:
        attributes.restore()
    return result, buffers


def _primal(parameter: Tensor) -> Tensor:
    value: Tensor = forward_ad.unpack_dual(parameter).primal
    return value.detach().clone().requires_grad_(parameter.requires_grad)


def _moved(values: Sequence[Any]) -> list[Any]:
    return [
        v if v is None else (1.001 * v.detach() + 1e-3).to(v.dtype).requires_grad_(v.requires_grad)
        for v in values
    ]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one.detach(), other.detach())
    return bool(one == other)

"""State that modules keep in plain attributes: hidden states, counters, lists, and train or eval mode.

State that a model carries from one call to the next without a gradient, and reads: refused by name.
"""

from __future__ import annotations

import functools
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.batchnorm import _NormBase

from bilevel.core import leaves
from bilevel.loss_weights._random_streams import drawing_from
from games.core import require

if TYPE_CHECKING:
    from bilevel.loss_weights._world import Buffers, World


LARGEST = 2**20
"""Tensors and containers with more entries than this are remembered by reference alone."""

_TORCHS = frozenset(vars(nn.Module()))
"""Attributes of every module; parameters and buffers are seen to elsewhere."""

Restore = Callable[[], None]


class Attributes:
    """The plain attributes of modules, as they were.

    Tensors, numbers, strings, arrays, and lists, dictionaries, sets and deques of these are remembered by
    value, generators of random numbers by their state, and whatever else an attribute may be by reference.
    Of torch's own modules, which keep no such state, the mode is remembered, and what recurrent ones list.

    Args:
        modules: each once.

    >>> layer = nn.Identity()
    >>> kept = Attributes([layer])
    >>> _ = layer.eval()
    >>> kept.restore()
    >>> layer.training
    True
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._modes: list[tuple[nn.Module, bool]] = []
        self._plain: list[tuple[nn.Module, dict[str, Any], dict[str, Restore]]] = []
        for module in modules:
            self._modes.append((module, module.training))
            if keeps_attributes(module):
                kept = {name: value for name, value in vars(module).items() if name not in _TORCHS}
                inside = {
                    name: found for name, value in kept.items() if (found := _inside(value)) is not None
                }
                self._plain.append((module, kept, inside))

    def restore(self) -> None:
        """Bring them back; this can be called again."""
        for module, mode in self._modes:
            if module.training is not mode:
                module.training = mode
        for module, kept, inside in self._plain:
            held = vars(module)
            for name in [name for name in held if name not in kept and name not in _TORCHS]:
                del held[name]
            held.update(kept)
            for each in inside.values():
                each()

    def now(self) -> dict[tuple[nn.Module, str], Any]:
        """Copies of all that the modules' attributes are now, as far as they can be compared."""
        found: dict[tuple[nn.Module, str], Any] = {
            (module, "training"): module.training for module, _ in self._modes
        }
        for module, *_ in self._plain:
            for name, value in vars(module).items():
                if name not in _TORCHS:
                    found[module, name] = _copied(value)
        return found


def differing(
    one: dict[tuple[nn.Module, str], Any], other: dict[tuple[nn.Module, str], Any]
) -> list[tuple[nn.Module, str]]:
    """The attributes whose values differ."""
    return [place for place in {**one, **other} if not _same(one.get(place), other.get(place))]


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return None if value.numel() > LARGEST else value.detach().clone()
    if isinstance(value, dict) and len(value) <= LARGEST:
        return {key: _copied(each) for key, each in value.items()}
    if isinstance(value, list | tuple | deque) and len(value) <= LARGEST:
        return [_copied(each) for each in value]
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy()) if value.dtype.kind in "fiub" else None
    return value if isinstance(value, bool | int | float | str | bytes | set) else None


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)


def outer_now(optimizer: torch.optim.Optimizer) -> Restore:
    """Remember an optimizer's parameters and its state; the function that is returned brings them back.

    >>> p = nn.Parameter(torch.ones(1))
    >>> adam = torch.optim.Adam([p])
    >>> restore = outer_now(adam)
    >>> p.grad = torch.ones(1)
    >>> adam.step()
    >>> restore()
    >>> p.item(), len(adam.state)
    (1.0, 0)
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    values = [p.detach().clone() for p in parameters]
    states = [dict(optimizer.state[p]) if p in optimizer.state else None for p in parameters]
    for state in states:
        for name, each in (state or {}).items():
            if isinstance(each, Tensor):
                state[name] = each.clone()  # type: ignore[index]

    def restore() -> None:
        with torch.no_grad():
            for p, value, state in zip(parameters, values, states, strict=True):
                p.copy_(value)
                p.grad = None
                if state is None:
                    optimizer.state.pop(p, None)
                else:
                    optimizer.state[p] = state

    return restore


def keeps_attributes(module: nn.Module) -> bool:
    """Whether a module may keep state of its own: it is not one of torch's, or it is a recurrent one."""
    return (
        not type(module).__module__.startswith("torch.nn.")
        or isinstance(module, nn.RNNBase)
        or bool(module._forward_pre_hooks)
    )


def _inside(value: Any) -> Restore | None:
    """How to bring back what an object holds; None: it cannot change, or nothing is known of it."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return None
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, list | dict | set | deque) and len(value) <= LARGEST:
        return _container(value)
    if isinstance(value, tuple):
        return _all(_found(value))
    if isinstance(value, torch.Generator):
        return functools.partial(_set_state, value, value.get_state())
    if isinstance(value, np.random.Generator):
        bits, where = value.bit_generator, value.bit_generator.state
        return lambda: setattr(bits, "state", where)
    if isinstance(value, random.Random):
        drawn = value.getstate()
        return lambda: value.setstate(drawn)
    return None


def _set_state(generator: torch.Generator, state: Tensor) -> None:
    generator.set_state(state)


def _tensor(value: Tensor) -> Restore | None:
    if value.numel() > LARGEST or value.is_inference() or isinstance(value, nn.Parameter):
        return None
    version, copied = value._version, value.detach().clone()

    def restore() -> None:
        if value._version != version:
            with torch.no_grad():
                value.copy_(copied)

    return restore


def _array(value: np.ndarray) -> Restore | None:
    if value.size > LARGEST:
        return None
    copied = value.copy()
    return lambda: np.copyto(value, copied)


def _container(value: Any) -> Restore:
    copied = value.copy()
    inside = _found(copied.values() if isinstance(copied, dict) else copied)

    def restore() -> None:
        value.clear()
        if isinstance(value, dict | set):
            value.update(copied)
        else:
            value.extend(copied)
        for each in inside:
            each()

    return restore


def _found(values: Iterable[Any]) -> list[Restore]:
    return [found for value in values if (found := _inside(value)) is not None]


def _all(inside: list[Restore]) -> Restore | None:
    def restore() -> None:
        for each in inside:
            each()

    return restore if inside else None


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
    several steps are looked through they have a gradient (`bilevel.loss_weights._torch_gaps`).
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

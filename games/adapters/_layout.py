"""Observations and actions of every kind, laid out alike for all agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from games.adapters._copy import suitable

MASK = "action_mask"
"""The key under which PettingZoo's environments say which actions are legal."""

BYTE = 255.0

Encode = Callable[[Any], NDArray[Any]]


@dataclass(frozen=True)
class View:
    """One agent's observations: where they lie, and how to bring them there."""

    space: spaces.Box | spaces.Discrete
    encode: Encode


@dataclass(frozen=True)
class Acting:
    """One agent's actions: the space that all agents share, and how to turn one into the environment's."""

    space: spaces.Discrete | spaces.Box
    count: int
    """How many of the Discrete actions the agent has; 1 in a Box."""
    decode: Callable[[Any], Any]
    """From an action of the common space to what the environment takes from this agent."""


def lay_out(
    observed: Mapping[Any, spaces.Space[Any]], name: str, flat: bool, channels_last: bool
) -> list[View]:
    """Find one space in which every agent's observations fit.

    * Discrete stays Discrete, counted from 0; agents with fewer observations never show the last ones.
    * Box becomes float32. With three axes it is an image: [row, column, channel] turns into planes [channel,
      row, column], bytes into fractions of 255.
    * Anything else (Dict, Tuple, MultiDiscrete, ...) is flattened as Gymnasium does. In a Dict the entry
      "action_mask" is left out; if one other entry is left, it stands for itself.
    * Vectors of different lengths are filled up with zeros.

    Args:
        observed: each agent's observation space.
        name: the environment's, for refusals.
        flat: whether all Boxes become vectors, images included.
        channels_last: whether images come as [row, column, channel] rather than as planes.

    Returns:
        a view for each agent, in order; all have equal spaces.

    Raises:
        UnsuitableEnvironmentError: a space cannot be flattened, or images differ in shape.

    >>> short, long = spaces.Box(0, 1, (2,)), spaces.Box(0, 1, (3,))
    >>> views = lay_out({"a": short, "b": long}, "my_env_v0", flat=False, channels_last=True)
    >>> views[0].encode([0.5, 1.0])
    array([0.5, 1. , 0. ], dtype=float32)
    """
    views = [_view(space, name, channels_last) for space in observed.values()]
    discrete = [view.space for view in views if isinstance(view.space, spaces.Discrete)]
    if len(discrete) == len(views):
        most = spaces.Discrete(max(int(space.n) for space in discrete))
        return [View(most, view.encode) for view in views]
    boxes = [_one_hot(view) for view in views]
    if flat:
        boxes = [_mapped(view, lambda array: array.reshape(-1)) for view in boxes]
    shapes = sorted({view.space.shape or () for view in boxes})
    suitable(
        len(shapes) == 1 or all(len(shape) == 1 for shape in shapes),
        f"The agents of {name} see arrays of different shapes ({', '.join(map(str, shapes))}), which do not "
        "fit side by side: pass flat=True to make them vectors, filled up with zeros.",
    )
    if len(shapes) > 1:
        longest = max(length for (length,) in shapes)
        boxes = [_mapped(view, lambda vector: np.pad(vector, (0, longest - len(vector)))) for view in boxes]
    bounds = [view.space for view in boxes if isinstance(view.space, spaces.Box)]
    low = np.minimum.reduce([space.low for space in bounds])
    high = np.maximum.reduce([space.high for space in bounds])
    common = spaces.Box(low, high, dtype=np.float32)
    return [View(common, view.encode) for view in boxes]


def lay_out_actions(acting: Mapping[Any, spaces.Space[Any]], name: str, waits: bool = False) -> list[Acting]:
    """Find one space in which every agent's actions fit.

    * Discrete stays Discrete, counted from 0, with as many actions as the agent with the most.
    * Box becomes a vector. Where agents' Boxes are equal, it has their bounds. Where they differ, it is as
      long as the longest, each number from -1 to 1: an agent's own numbers come first, are stretched to its
      own bounds, and the others do nothing.

    Args:
        acting: each agent's action space.
        name: the environment's, for refusals.
        waits: whether agents with Discrete actions have one more, the last: to wait for their turn.

    Returns:
        the actions of each agent, in order; all have equal spaces.

    Raises:
        UnsuitableEnvironmentError: actions are neither all Discrete nor all Boxes of finite bounds and
            floating type (says whose).

    >>> short, long = spaces.Box(0, 10, (1,)), spaces.Box(-1, 1, (2,))
    >>> actions = lay_out_actions({"a": short, "b": long}, "my_env_v0")
    >>> actions[0].decode([0.5, 1.0]), actions[1].decode([0.5, 1.0])
    (array([7.5], dtype=float32), array([0.5, 1. ], dtype=float32))
    """
    for agent, space in acting.items():
        suitable(
            isinstance(space, spaces.Discrete | spaces.Box),
            f"{name} cannot be played here: the actions of {agent} are {space}, but they must be Discrete or "
            "a Box.",
        )
    discrete = [space for space in acting.values() if isinstance(space, spaces.Discrete)]
    if len(discrete) == len(acting):
        most = spaces.Discrete(max(int(space.n) for space in discrete) + waits)
        return [Acting(most, int(space.n), _numbered(int(space.start))) for space in discrete]
    suitable(
        not discrete,
        f"{name} cannot be played here: some of its agents have Discrete actions and some a Box "
        f"({', '.join(f'{agent}: {space}' for agent, space in acting.items())}).",
    )
    for agent, space in acting.items():
        floating = np.issubdtype(space.dtype, np.floating)
        bounded = isinstance(space, spaces.Box) and space.is_bounded()
        suitable(
            bool(floating and bounded),
            f"{name} cannot be played here: the actions of {agent} are {space}, but a Box needs finite "
            "bounds and a floating type: wrap the environment in one that has them.",
        )
    boxes = [space for space in acting.values() if isinstance(space, spaces.Box)]
    length = max(int(np.prod(space.shape)) for space in boxes)
    if all(space == boxes[0] for space in boxes):
        low, high = (bound.reshape(length).astype(np.float32) for bound in (boxes[0].low, boxes[0].high))
        return [Acting(spaces.Box(low, high, dtype=np.float32), 1, _clipped(box)) for box in boxes]
    unit = spaces.Box(-1.0, 1.0, (length,), dtype=np.float32)
    return [Acting(unit, 1, _stretched(box)) for box in boxes]


def _numbered(first: int) -> Callable[[Any], Any]:
    return lambda action: int(action) + first


def _clipped(box: spaces.Box) -> Callable[[Any], Any]:
    """Numbers in a Box as it wants them; rounding may have put them just outside."""

    def decode(action: Any) -> NDArray[Any]:
        given: NDArray[Any] = np.asarray(action, dtype=box.dtype).reshape(box.shape)
        return given.clip(box.low, box.high)

    return decode


def _stretched(box: spaces.Box) -> Callable[[Any], Any]:
    """The first numbers, from -1 to 1, stretched to the Box's bounds."""
    clip, size = _clipped(box), int(np.prod(box.shape))

    def decode(action: Any) -> NDArray[Any]:
        share = (np.asarray(action[:size], dtype=np.float64).reshape(box.shape) + 1) / 2
        stretched: NDArray[Any] = clip(box.low + share * (box.high.astype(np.float64) - box.low))
        return stretched

    return decode


def legal_actions(observation: Any, info: Any, actions: int, width: int) -> NDArray[np.bool_]:
    """Read an agent's action mask, from its observation or its info; without one every action is legal.

    Args:
        observation: as the environment gives it.
        info: likewise.
        actions: how many the agent has.
        width: how many the mask must tell apart; those that the agent does not have are never legal.

    >>> legal_actions([0.2, 0.1], {"action_mask": [1, 0]}, actions=2, width=3)
    array([ True, False, False])
    """
    legal = np.zeros(width, dtype=np.bool_)
    legal[:actions] = True
    for place in (observation, info):
        if isinstance(place, Mapping) and MASK in place:
            legal[:actions] = np.asarray(place[MASK], dtype=np.bool_)
    return legal


def _view(space: spaces.Space[Any], name: str, channels_last: bool) -> View:
    """Lay out one agent's space by itself."""
    if isinstance(space, spaces.Discrete):
        first = int(space.start)
        return View(spaces.Discrete(int(space.n)), lambda seen: np.asarray(int(seen) - first))
    if isinstance(space, spaces.Box):
        return _image(space, channels_last) if len(space.shape) == 3 else _floats(space)
    if isinstance(space, spaces.Dict) and MASK in space.spaces:
        return _without_mask(space, name, channels_last)
    suitable(
        bool(space.is_np_flattenable),
        f"{name} cannot be played here: its observations are {space}, which cannot be laid out as a vector.",
    )
    flat = _floats(spaces.flatten_space(space))
    return View(flat.space, lambda seen: flat.encode(spaces.flatten(space, seen)))


def _without_mask(space: spaces.Dict, name: str, channels_last: bool) -> View:
    rest = {key: part for key, part in space.spaces.items() if key != MASK}
    suitable(bool(rest), f"{name} cannot be played here: its observations are action masks and nothing else.")
    if len(rest) == 1:
        ((key, part),) = rest.items()
        inner = _view(part, name, channels_last)
        return View(inner.space, lambda seen: inner.encode(seen[key]))
    inner = _view(spaces.Dict(rest), name, channels_last)
    return View(inner.space, lambda seen: inner.encode({key: seen[key] for key in rest}))


def _floats(space: Any) -> View:
    """A Box as float32, with one axis at least."""
    shape = space.shape or (1,)
    with np.errstate(over="ignore"):  # a bound beyond float32 is none
        low, high = (bound.astype(np.float32).reshape(shape) for bound in (space.low, space.high))
    return View(
        # A copy: some environments show the same array again and again, with other numbers in it.
        spaces.Box(low, high, dtype=np.float32),
        lambda seen: np.array(seen, dtype=np.float32).reshape(shape),
    )


def _image(space: spaces.Box, channels_last: bool) -> View:
    order = (2, 0, 1) if channels_last else (0, 1, 2)
    unit = np.float32(BYTE if space.dtype == np.uint8 else 1.0)
    return _mapped(_floats(space), lambda image: image.transpose(order) / unit)


def _one_hot(view: View) -> View:
    if isinstance(view.space, spaces.Box):
        return view
    rows = np.eye(int(view.space.n), dtype=np.float32)
    return View(spaces.Box(0.0, 1.0, rows.shape[1:], dtype=np.float32), lambda seen: rows[view.encode(seen)])


def _mapped(view: View, change: Callable[[NDArray[Any]], NDArray[Any]]) -> View:
    """Change observations, and the bounds with them; the change must keep the order of numbers."""
    assert isinstance(view.space, spaces.Box)
    bounds = change(view.space.low), change(view.space.high)
    return View(spaces.Box(*bounds, dtype=np.float32), lambda seen: change(view.encode(seen)))

"""Observation and action spaces of every kind, mapped to one space for all agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from games.adapters._copies import require_suitable

MASK = "action_mask"  # PettingZoo's key of the mask of legal actions


@dataclass(frozen=True)
class ObservationLayout:
    """The common space, and the function that maps one agent's observations to it."""

    space: spaces.Box | spaces.Discrete
    encode: Callable[[Any], NDArray[Any]]


@dataclass(frozen=True)
class ActionLayout:
    """The common space, and the function that maps its actions to one agent's own."""

    space: spaces.Discrete | spaces.Box
    count: int  # number of the agent's own Discrete actions; 1 in a Box
    decode: Callable[[Any], Any]


def observation_layouts(
    observed: Mapping[Any, spaces.Space[Any]], name: str, flat: bool, channels_last: bool
) -> list[ObservationLayout]:
    """Layouts of all agents' observations in one common space; `name` is the environment's, for errors.

    * Discrete stays Discrete, counted from 0; agents with fewer observations never have the last ones.
    * Box becomes float32. With three axes it is an image: [row, column, channel] (or, without
      `channels_last`, planes already) turns into planes, bytes into fractions of 255; `flat` makes it a
      vector.
    * Anything else (Dict, Tuple, MultiDiscrete, ...) is flattened as Gymnasium does. In a Dict the entry
      "action_mask" is left out; a single remaining entry replaces the Dict.
    * Vectors of different lengths are padded with zeros.

    Raises UnsuitableEnvironmentError if a space cannot be flattened, or images differ in shape.

    >>> short, long = spaces.Box(0, 1, (2,)), spaces.Box(0, 1, (3,))
    >>> layouts = observation_layouts({"a": short, "b": long}, "my_env_v0", flat=False, channels_last=True)
    >>> layouts[0].encode([0.5, 1.0])
    array([0.5, 1. , 0. ], dtype=float32)
    """
    layouts = [_observation_layout(space, name, channels_last) for space in observed.values()]
    discrete = [layout.space for layout in layouts if isinstance(layout.space, spaces.Discrete)]
    if len(discrete) == len(layouts):
        largest = spaces.Discrete(max(int(space.n) for space in discrete))
        return [ObservationLayout(largest, layout.encode) for layout in layouts]
    boxes = [_one_hot(layout) for layout in layouts]
    if flat:
        boxes = [_mapped(layout, lambda array: array.reshape(-1)) for layout in boxes]
    shapes = sorted({layout.space.shape or () for layout in boxes})
    require_suitable(
        len(shapes) == 1 or all(len(shape) == 1 for shape in shapes),
        f"The agents of {name} see arrays of different shapes ({', '.join(map(str, shapes))}), which do not "
        "fit side by side: pass flat=True to make them vectors, filled up with zeros.",
    )
    if len(shapes) > 1:
        longest = max(length for (length,) in shapes)
        boxes = [
            _mapped(layout, lambda vector: np.pad(vector, (0, longest - len(vector)))) for layout in boxes
        ]
    bounds = [layout.space for layout in boxes if isinstance(layout.space, spaces.Box)]
    low = np.minimum.reduce([space.low for space in bounds])
    high = np.maximum.reduce([space.high for space in bounds])
    common = spaces.Box(low, high, dtype=np.float32)
    return [ObservationLayout(common, layout.encode) for layout in boxes]


def action_layouts(
    acting: Mapping[Any, spaces.Space[Any]], name: str, waits: bool = False
) -> list[ActionLayout]:
    """Layouts of all agents' actions in one common space; `name` is the environment's, for errors.

    * Discrete stays Discrete, counted from 0, with as many actions as the agent with the most; with `waits`
      there is one more, the last: to wait for one's turn.
    * Box becomes a vector. Equal Boxes keep their bounds. Different ones become as long as the longest, each
      number from -1 to 1: an agent's own numbers come first, stretched to its bounds; the others are ignored.

    Raises UnsuitableEnvironmentError unless all agents' actions are Discrete, or all are Boxes of floating
    type with finite bounds.

    >>> short, long = spaces.Box(0, 10, (1,)), spaces.Box(-1, 1, (2,))
    >>> actions = action_layouts({"a": short, "b": long}, "my_env_v0")
    >>> actions[0].decode([0.5, 1.0]), actions[1].decode([0.5, 1.0])
    (array([7.5], dtype=float32), array([0.5, 1. ], dtype=float32))
    """
    for agent, space in acting.items():
        require_suitable(
            isinstance(space, spaces.Discrete | spaces.Box),
            f"{name} cannot be played here: the actions of {agent} are {space}, but they must be Discrete or "
            "a Box.",
        )
    discrete = [space for space in acting.values() if isinstance(space, spaces.Discrete)]
    if len(discrete) == len(acting):
        largest = spaces.Discrete(max(int(space.n) for space in discrete) + waits)
        return [ActionLayout(largest, int(space.n), _counted_from(int(space.start))) for space in discrete]
    require_suitable(
        not discrete,
        f"{name} cannot be played here: some of its agents have Discrete actions and some a Box "
        f"({', '.join(f'{agent}: {space}' for agent, space in acting.items())}).",
    )
    for agent, space in acting.items():
        floating = np.issubdtype(space.dtype, np.floating)
        bounded = isinstance(space, spaces.Box) and space.is_bounded()
        require_suitable(
            bool(floating and bounded),
            f"{name} cannot be played here: the actions of {agent} are {space}, but a Box needs finite "
            "bounds and a floating type: wrap the environment in one that has them.",
        )
    boxes = [space for space in acting.values() if isinstance(space, spaces.Box)]
    length = max(int(np.prod(space.shape)) for space in boxes)
    if all(space == boxes[0] for space in boxes):
        low, high = (bound.reshape(length).astype(np.float32) for bound in (boxes[0].low, boxes[0].high))
        return [ActionLayout(spaces.Box(low, high, dtype=np.float32), 1, _clipped(box)) for box in boxes]
    unit = spaces.Box(-1.0, 1.0, (length,), dtype=np.float32)
    return [ActionLayout(unit, 1, _stretched(box)) for box in boxes]


def legal_actions(observation: Any, info: Any, actions: int, width: int) -> NDArray[np.bool_]:
    """Read an agent's action mask, boolean [width], from its observation or info; default: all its actions.

    >>> legal_actions([0.2, 0.1], {"action_mask": [1, 0]}, actions=2, width=3)
    array([ True, False, False])
    """
    legal = np.zeros(width, dtype=np.bool_)
    legal[:actions] = True
    for source in (observation, info):
        if isinstance(source, Mapping) and MASK in source:
            legal[:actions] = np.asarray(source[MASK], dtype=np.bool_)
    return legal


def _counted_from(first: int) -> Callable[[Any], Any]:
    return lambda action: int(action) + first


def _clipped(box: spaces.Box) -> Callable[[Any], Any]:
    """Decode numbers to a Box's dtype, clipped to its bounds, which rounding may have crossed."""
    return lambda action: np.asarray(action, dtype=box.dtype).reshape(box.shape).clip(box.low, box.high)


def _stretched(box: spaces.Box) -> Callable[[Any], Any]:
    """Decode the first numbers, from -1 to 1, stretched to the Box's bounds."""
    clip, size = _clipped(box), int(np.prod(box.shape))

    def decode(action: Any) -> Any:
        share = (np.asarray(action[:size], dtype=np.float64).reshape(box.shape) + 1) / 2
        return clip(box.low + share * (box.high.astype(np.float64) - box.low))

    return decode


def _observation_layout(space: spaces.Space[Any], name: str, channels_last: bool) -> ObservationLayout:
    """Lay out a single agent's space."""
    if isinstance(space, spaces.Discrete):
        first = int(space.start)
        return ObservationLayout(spaces.Discrete(int(space.n)), lambda seen: np.asarray(int(seen) - first))
    if isinstance(space, spaces.Box):
        if len(space.shape) != 3:
            return _floats(space)
        order = (2, 0, 1) if channels_last else (0, 1, 2)
        unit = np.float32(255.0 if space.dtype == np.uint8 else 1.0)
        return _mapped(_floats(space), lambda image: image.transpose(order) / unit)
    if isinstance(space, spaces.Dict) and MASK in space.spaces:
        return _without_mask(space, name, channels_last)
    require_suitable(
        bool(space.is_np_flattenable),
        f"{name} cannot be played here: its observations are {space}, which cannot be laid out as a vector.",
    )
    flat = _floats(spaces.flatten_space(space))
    return ObservationLayout(flat.space, lambda seen: flat.encode(spaces.flatten(space, seen)))


def _without_mask(space: spaces.Dict, name: str, channels_last: bool) -> ObservationLayout:
    rest = {key: part for key, part in space.spaces.items() if key != MASK}
    require_suitable(
        bool(rest), f"{name} cannot be played here: its observations are action masks and nothing else."
    )
    if len(rest) == 1:
        ((key, part),) = rest.items()
        single = _observation_layout(part, name, channels_last)
        return ObservationLayout(single.space, lambda seen: single.encode(seen[key]))
    inner = _observation_layout(spaces.Dict(rest), name, channels_last)
    return ObservationLayout(inner.space, lambda seen: inner.encode({key: seen[key] for key in rest}))


def _floats(space: Any) -> ObservationLayout:
    """A Box as float32, with one axis at least."""
    shape = space.shape or (1,)
    with np.errstate(over="ignore"):  # a bound beyond float32 becomes infinite
        low, high = (bound.astype(np.float32).reshape(shape) for bound in (space.low, space.high))
    # A copy, as some environments return the same array again with other numbers.
    box = spaces.Box(low, high, dtype=np.float32)
    return ObservationLayout(box, lambda seen: np.array(seen, dtype=np.float32).reshape(shape))


def _one_hot(layout: ObservationLayout) -> ObservationLayout:
    """A Discrete layout as one-hot vectors; a Box as it is."""
    if isinstance(layout.space, spaces.Box):
        return layout
    rows = np.eye(int(layout.space.n), dtype=np.float32)
    box = spaces.Box(0.0, 1.0, rows.shape[1:], dtype=np.float32)
    return ObservationLayout(box, lambda seen: rows[layout.encode(seen)])


def _mapped(layout: ObservationLayout, change: Callable[[NDArray[Any]], NDArray[Any]]) -> ObservationLayout:
    """Transform observations and bounds; the transformation must be monotonic."""
    assert isinstance(layout.space, spaces.Box)
    bounds = change(layout.space.low), change(layout.space.high)
    return ObservationLayout(spaces.Box(*bounds, dtype=np.float32), lambda seen: change(layout.encode(seen)))

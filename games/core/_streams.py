"""Named random streams, one per seed of a batch: no seed's draws depend on the others."""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from games.core._errors import require

if TYPE_CHECKING:
    from games.core._game import Game

AHEAD = 1024
"""Minimal number of draws per call of a generator: a call costs about as much as so many draws."""
WORDS = slice(24, 24 + 8 * 624)
"""Bytes of torch's state of a CPU generator that hold the Mersenne Twister's 624 words, eight bytes each."""
STEPS = np.arange(1, 625, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
"""States of SplitMix64 after each of so many steps from 0."""
MIXING = tuple(
    (np.uint64(shift), np.uint64(factor))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
)
"""Shifts and multipliers of SplitMix64."""

Name = tuple[int, ...]
"""Integers, for instance (random seed, purpose, outer step)."""


def generators(names: Sequence[Name], device: str | torch.device = "cpu") -> list[torch.Generator]:
    """Make random generators, each determined by a name.

    On a CPU torch keeps 32 bits of a seed only, so that one in some thousands of streams would equal another;
    the whole state is therefore filled by SplitMix64 from 64 bits of the name.

    Args:
        names: integers, for instance (random seed, purpose, outer step), for each generator.
        device: device of the draws.
    Returns:
        A generator for each name, in this order.

    >>> first, second, first_again = generators([(0, 1), (0, 2), (0, 1)])
    >>> torch.rand(1, generator=first) == torch.rand(1, generator=first_again)
    tensor([True])
    """
    texts = [repr(tuple(map(int, name))).encode() for name in names]
    keys = [int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) for text in texts]
    result = [torch.Generator(device) for _ in keys]
    if torch.device(device).type != "cpu":
        return [each.manual_seed(key >> 1) for each, key in zip(result, keys, strict=True)]
    states = np.tile(_fresh_state(), (len(keys), 1))
    mixed = np.array(keys, np.uint64)[:, None] + STEPS
    for shift, factor in MIXING:
        mixed = (mixed ^ (mixed >> shift)) * factor
    states[:, WORDS] = (mixed >> np.uint64(32)).view(np.uint8)
    states[:, :8] = np.array(keys, np.uint64)[:, None].view(np.uint8)  # returned by initial_seed
    for each, state in zip(result, states, strict=True):
        each.set_state(torch.from_numpy(state))  # torch ignores where in its storage a tensor begins
    return result


def stream(*numbers: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Make the random generator that a tuple of integers names.

    Args:
        numbers: integers that name the stream, for instance a random seed, a purpose and an outer step.
        device: device of the draws.
    Returns:
        A generator that depends on these numbers alone.

    >>> bool(torch.equal(torch.rand(2, generator=stream(0, 1)), torch.rand(2, generator=stream(0, 1))))
    True
    """
    return generators([numbers], device)[0]


def uniform(shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw uniform numbers in [0, 1), on the generator's device.

    With `Streams` the first axis is the batch, seed by seed, and each seed's rows come from its own stream.

    Args:
        shape: shape of the draws.
        generator: `Streams`, or a generator of torch's.
        dtype: a floating-point type.
    Returns:
        Numbers of this shape, uniform in [0, 1).
    Raises:
        ValueError: with `Streams`, the first axis is not a multiple of the number of members.

    >>> from games.core import stream
    >>> uniform((2, 3), stream(0)).shape
    torch.Size([2, 3])
    """
    if isinstance(generator, Streams):
        return generator.draw(Tensor.uniform_, shape, dtype)
    return torch.rand(tuple(shape), generator=generator, dtype=dtype, device=generator.device)


def normal(shape: Sequence[int], generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw standard normal numbers, on the generator's device; with `Streams` as `uniform`.

    Args:
        shape: shape of the draws.
        generator: `Streams`, or a generator of torch's.
        dtype: a floating-point type.
    Returns:
        Numbers of this shape, of mean 0 and variance 1.
    Raises:
        ValueError: as for `uniform`.

    >>> from games.core import stream
    >>> normal((2, 3), stream(0), torch.float64).dtype
    torch.float64
    """
    if isinstance(generator, Streams):
        return generator.draw(Tensor.normal_, shape, dtype)
    return torch.randn(tuple(shape), generator=generator, dtype=dtype, device=generator.device)


def for_members(generator: torch.Generator, members: int) -> torch.Generator:
    """Streams for a batch that repeats all seeds; any other generator as it is.

    Args:
        generator: `Streams`, or a generator of torch's.
        members: size of the batch: a multiple of the number of seeds, sample by sample.
    Returns:
        A generator for a batch of this size.
    Raises:
        ValueError: with `Streams`, `members` is not a multiple of the number of seeds.

    >>> from games.core import Streams, uniform
    >>> two_seeds = Streams([(0,), (1,)])
    >>> uniform((6, 5), for_members(two_seeds, 6)).shape  # three samples of both seeds
    torch.Size([6, 5])
    """
    return generator.for_members(members) if isinstance(generator, Streams) else generator


def separated(game: Game, generator: torch.Generator, batch: int) -> AbstractContextManager[None]:
    """Context in which a game may draw with torch's own functions, such as `torch.randint`.

    Each seed's rows then come from its own stream (`Streams.separated`). Nothing changes for a game that
    draws by rows, and for other generators.

    Args:
        game: the game that will draw.
        generator: `Streams`, or a generator of torch's.
        batch: number of copies, the first axis of everything that is drawn.
    Returns:
        A context manager.

    >>> from games import from_gymnasium
    >>> from games.core import Streams
    >>> game = from_gymnasium("CartPole-v1")  # draws a seed for each copy
    >>> both, alone = Streams([(0,), (1,)]), Streams([(1,)])
    >>> with separated(game, both, 2):
    ...     two = game.reset(2, both).observations
    >>> with separated(game, alone, 1):
    ...     bool((game.reset(1, alone).observations == two[1]).all())
    True
    """
    if game.draws_by_rows or not isinstance(generator, Streams):
        return nullcontext()
    return generator.separated(batch)


def require_separated(game: Game, generator: torch.Generator) -> None:
    """Raise RuntimeError if a game drew from `Streams` as if they were one generator.

    Args:
        game: the game that has drawn.
        generator: `Streams`, or a generator of torch's, for which nothing is checked.
    Raises:
        RuntimeError: `Game.draws_by_rows` is True, and yet the game drew with torch's own functions.

    >>> from games import make
    >>> from games.core import Streams
    >>> streams = Streams([(0,), (1,)])
    >>> _ = torch.rand(2, generator=streams)
    >>> require_separated(make("coin-game"), streams)
    Traceback (most recent call last):
    RuntimeError: CoinGame says that it draws by rows, but it draws with torch's own functions, ...
    """
    if game.draws_by_rows and isinstance(generator, Streams):
        generator.require_untouched(type(game).__name__)


class Streams(torch.Generator):
    """The streams of all seeds of a batch, as one generator: a seed's draws depend on its name alone.

    Rows of a drawn batch are ordered by seed, the same number for each, so that a member of a batch draws
    what it would draw alone, bit for bit. Draw with `uniform` and `normal`; `separated` lets torch's own
    functions draw from it, too.

    Args:
        names: the name of each seed's stream.
        device: device of the draws.
    Raises:
        ValueError: there is no name; from `draw`, the first axis is not a multiple of the number of members.

    >>> from games.core import uniform
    >>> both, alone = Streams([(0,), (1,)]), Streams([(1,)])
    >>> bool(torch.equal(uniform((6, 5), both)[3:], uniform((3, 5), alone)))
    True
    """

    _source: StreamSource
    _tiles: int

    def __new__(cls, names: Sequence[Name], device: str | torch.device = "cpu") -> Streams:
        """Make a generator whose own state is never used: all draws come from the streams."""
        return cls._of(StreamSource(names, torch.device(device)), 1)

    @classmethod
    def _of(cls, source: StreamSource, tiles: int) -> Streams:
        result = super().__new__(cls, source.device)  # type: ignore[call-arg]
        result._source, result._tiles = source, tiles
        return result

    def for_members(self, members: int) -> Streams:
        """The same streams for several samples of all seeds, sample by sample; or ValueError."""
        seeds = len(self._source.names)
        require(
            members % seeds == 0,
            f"{seeds} seeds have a random stream each, which cannot serve {members} members: let members be "
            "the seeds, once or several times, sample by sample.",
        )
        return self if members == seeds * self._tiles else Streams._of(self._source, members // seeds)

    def draw(self, fill: Callable[..., Tensor], shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Draw numbers, batch first, by `Tensor.uniform_` or `Tensor.normal_`."""
        rows = self._rows(shape)
        seeds, inner = len(self._source.names), tuple(shape[1:])
        drawn = self._source.take(fill, dtype, self._tiles * rows * math.prod(inner))
        if self._tiles > 1:
            drawn = drawn.reshape(seeds, self._tiles, -1).movedim(1, 0)
        return drawn.reshape(shape[0], *inner)

    @contextmanager
    def separated(self, batch: int | None = None) -> Iterator[None]:
        """Let torch's own functions, such as `torch.randint`, draw each seed's rows from its own stream.

        The first axis of what they draw must be the batch (None: any multiple of the number of members), or
        ValueError is raised inside; a single seed may draw anything.
        """
        with _Separated(self, batch):
            yield

    def require_untouched(self, culprit: str) -> None:
        """Raise RuntimeError if torch's own functions drew from this generator outside of `separated`."""
        fresh = torch.Generator(self.device)
        if not torch.equal(fresh.get_state(), super().get_state()):
            raise RuntimeError(
                f"{culprit} says that it draws by rows, but it draws with torch's own functions, which know "
                "nothing of the seeds' streams: draw with games.uniform, or let draws_by_rows be False."
            )

    def apply(
        self,
        function: Callable[..., Tensor],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        batch: int | None,
    ) -> Tensor:
        """Call one of torch's random functions for each seed's rows; see `separated`."""
        sources = self._source.generators
        if len(sources) * self._tiles == 1:
            return function(*args, **kwargs, generator=sources[0])
        members, name = len(sources) * self._tiles, function.__name__
        shape, resized = _shape_of(name, args, kwargs)
        known = shape is not None and len(shape) > 0 and shape[0] % (batch or members) == 0
        require(
            known and (batch or members) % members == 0,
            f"torch.{name} was asked for {'something' if shape is None else list(shape)}, but with several "
            "seeds everything that is drawn needs the batch as its first axis, as in torch.rand(batch, ..., "
            "generator=generator): so each seed has draws of its own.",
        )
        assert shape is not None
        rows = shape[0] // members
        owners = itertools.cycle(sources)
        if resized is not None:
            args, kwargs = resized((rows, *shape[1:]))
            return torch.cat([function(*args, **kwargs, generator=next(owners)) for _ in range(members)])

        def part(value: Any, member: int) -> Any:
            has_rows = isinstance(value, Tensor) and value.ndim > 0 and value.shape[0] == shape[0]
            return value[member * rows : (member + 1) * rows] if has_rows else value

        parts = []
        for member, source in zip(range(members), owners, strict=False):
            member_args = tuple(part(value, member) for value in args)
            member_kwargs = {key: part(value, member) for key, value in kwargs.items()}
            parts.append(function(*member_args, **member_kwargs, generator=source))
        if name.endswith("_"):  # in place, on slices
            changed: Tensor = args[0]
            return changed
        return torch.cat(parts)

    def _rows(self, shape: Sequence[int]) -> int:
        members = len(self._source.names) * self._tiles
        require(
            len(shape) > 0 and shape[0] % members == 0,
            f"Draws of shape {list(shape)} cannot be shared out to {members} members: the first axis is the "
            "batch, with as many rows for each.",
        )
        return shape[0] // members

    def _refuse(self, *_: Any) -> NoReturn:
        raise TypeError(
            "The streams of several seeds have no state or number of their own: draw from the generator, as "
            "in torch.randint(2**62, (batch,), generator=generator)."
        )

    initial_seed = seed = manual_seed = get_state = set_state = _refuse  # type: ignore[assignment]


class StreamSource:
    """The generators of all seeds, and buffers of draws made ahead: the base of other kinds of streams.

    Args:
        names: the name of each seed's stream.
        device: device of the draws.
    Raises:
        ValueError: there is no name.

    >>> source = StreamSource([(0,), (1,)], torch.device("cpu"))
    >>> source.take(torch.Tensor.uniform_, torch.float32, 4).shape  # seed, number
    torch.Size([2, 4])
    """

    def __init__(self, names: Sequence[Name], device: torch.device) -> None:
        require(len(names) > 0, "Streams need a name each, and there is none.")
        self.names, self.device = tuple(names), device
        self._generators: list[torch.Generator] = []
        self._ahead: dict[tuple[Any, torch.dtype], Tensor] = {}

    @property
    def generators(self) -> list[torch.Generator]:
        """One for each seed."""
        if not self._generators:
            self._generators = generators(self.names, self.device)
        return self._generators

    def take(self, fill: Callable[..., Tensor], dtype: torch.dtype, count: int) -> Tensor:
        """The next numbers of every seed, [seed, count].

        The number of draws made ahead depends on the requests, not on the number of seeds.
        """
        ahead = self._ahead.get((fill, dtype))
        if ahead is None:
            ahead = torch.empty(len(self.names), 0, dtype=dtype, device=self.device)
        left = ahead.shape[1]
        if left < count or (fill, dtype) not in self._ahead:
            ahead = torch.cat((ahead, ahead.new_empty(len(self.names), max(count - left, AHEAD))), 1)
            for row, generator in zip(ahead[:, left:].unbind(0), self.generators, strict=True):
                fill(row, generator=generator)
        self._ahead[fill, dtype] = ahead[:, count:]
        return ahead[:, :count]


class _Separated(TorchFunctionMode):
    """Mode that redirects torch functions called with `Streams` as their generator to `Streams.apply`."""

    def __init__(self, streams: Streams, batch: int | None) -> None:
        super().__init__()
        self._streams, self._batch = streams, batch

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not isinstance(kwargs.get("generator"), Streams):
            return func(*args, **kwargs)
        rest = {key: value for key, value in kwargs.items() if key != "generator"}
        return self._streams.apply(func, args, rest, self._batch)


Resized = Callable[[tuple[int, ...]], tuple[tuple[Any, ...], dict[str, Any]]]
"""From a shape to the arguments of a random function that draws it."""


def _shape_of(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[int, ...] | None, Resized | None]:
    """Shape drawn by a random function, if known, and, unless a tensor sets it, a function to change it."""
    if "size" in kwargs:
        return tuple(kwargs["size"]), lambda shape: (args, {**kwargs, "size": shape})
    if name in ("rand", "randn") and args and isinstance(args[0], int):
        return tuple(args), lambda shape: ((shape,), kwargs)
    if name in ("rand", "randn", "randint", "normal") and args and isinstance(args[-1], tuple | list):
        return tuple(args[-1]), lambda shape: ((*args[:-1], shape), kwargs)
    tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.ndim > 0]
    return (tuple(tensors[0].shape) if tensors else None), None


@functools.cache
def _fresh_state() -> np.ndarray:
    state: np.ndarray = torch.Generator().get_state().numpy()
    return state

"""Random streams of the copies of a game, each seeded and advanced separately."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from games.core import AHEAD, Streams, StreamSource


class CopyStreams(Streams):
    """A stream for each copy of a batch, which advances only when that copy draws.

    Copy i draws what the game would draw alone from `torch.Generator().manual_seed(seeds[i])`, bit for bit;
    with `ahead` only if all that it draws are uniform float32 numbers (`games.uniform`).

    >>> from games import uniform
    >>> streams = CopyStreams(2)
    >>> streams.seed_copies([5, 6])
    >>> with streams.only(torch.tensor([True, False])):  # the other copy's numbers are meaningless
    ...     first = uniform((2, 3), streams)
    >>> bool(torch.equal(uniform((2, 3), streams)[1], torch.rand(3, generator=torch.manual_seed(6))))
    True
    """

    _source: _CopySource

    def __new__(cls, copies: int, ahead: bool = True) -> CopyStreams:
        """Make streams seeded from fresh entropy; with `ahead` draws are streams in blocks."""
        streams = cls._of(_CopySource(copies, ahead), 1)
        assert isinstance(streams, cls)
        return streams

    def seed_copies(self, seeds: Sequence[int | None]) -> None:
        """Reseed the streams of copies; with None a copy's stream continues."""
        self._source.seed_copies(seeds)

    @contextmanager
    def only(self, copies: Tensor) -> Iterator[None]:
        """Advance the streams of these copies only, boolean [copy]; the others' draws are meaningless."""
        self._source.active = copies
        try:
            yield
        finally:
            self._source.active = None


class _CopySource(StreamSource):
    """The generators of all copies, buffers of draws made ahead, and each copy's position in them."""

    def __init__(self, copies: int, ahead: bool) -> None:
        super().__init__([(copy,) for copy in range(copies)], torch.device("cpu"))
        self.active: Tensor | None = None
        self._generators = [torch.Generator() for _ in range(copies)]
        self._idle = torch.Generator()
        self._draws_ahead, self._positions = ahead, dict[object, Tensor]()
        for generator in self._generators:
            generator.seed()

    @property
    def generators(self) -> list[torch.Generator]:
        if self.active is None:
            return self._generators
        pairs = zip(self._generators, self.active.tolist(), strict=True)
        return [own if moves else self._idle for own, moves in pairs]

    def seed_copies(self, seeds: Sequence[int | None]) -> None:
        """See `CopyStreams.seed_copies`."""
        for copy, (generator, seed) in enumerate(zip(self._generators, seeds, strict=True)):
            if seed is not None:
                generator.manual_seed(seed)
                for key, position in self._positions.items():
                    position[copy] = self._ahead[key].shape[1]  # type: ignore[index]

    def take(self, fill: Callable[..., Tensor], dtype: torch.dtype, count: int) -> Tensor:
        key, copies = (fill, dtype), len(self.names)
        if count == 0 or not self._draws_ahead:
            drawn = torch.empty(copies, count, dtype=dtype)
            for row, generator in zip(drawn if count else (), self.generators, strict=bool(count)):
                fill(row, generator=generator)
            return drawn
        ahead = self._ahead.setdefault(key, torch.empty(copies, 0, dtype=dtype))
        position = self._positions.setdefault(key, torch.zeros(copies, dtype=torch.int64))
        short = position + count > ahead.shape[1]
        if self.active is not None and ahead.shape[1] >= count:
            short &= self.active
        if short.any():
            ahead = self._ahead[key] = self._refilled(fill, ahead, position, short, max(count, AHEAD))
        places = (position[:, None] + torch.arange(count)).clamp_max_(ahead.shape[1] - 1)
        position += count if self.active is None else count * self.active
        return ahead.gather(1, places)

    def _refilled(
        self, fill: Callable[..., Tensor], ahead: Tensor, position: Tensor, short: Tensor, width: int
    ) -> Tensor:
        """The buffer with its unread draws moved to the front, refilled for the copies that are short."""
        before = ahead.shape[1]
        if width > before:
            ahead, short = torch.cat((ahead, ahead.new_empty(len(ahead), width - before)), 1), short | True
        width = ahead.shape[1]
        for copy in short.nonzero().flatten().tolist():
            row, left = ahead[copy], before - int(position[copy])
            row[:left] = row[before - left : before].clone()
            fill(row[left:width], generator=self._generators[copy])
            position[copy] = 0
        return ahead

"""Random streams of the copies of a game, each started and stopped by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from games.core import AHEAD, Streams, StreamSource


class CopyStreams(Streams):
    """A stream for each copy of a batch, which goes on only when that copy draws.

    Copy i draws what the game would draw alone from `torch.Generator().manual_seed(seeds[i])`, bit for bit;
    with `ahead` only if all that it draws are uniform float32 numbers (`games.uniform`).

    >>> from games import uniform
    >>> streams = CopyStreams(2)
    >>> streams.seed_copies([5, 6])
    >>> with streams.only(torch.tensor([True, False])):  # the other copy's numbers mean nothing
    ...     first = uniform((2, 3), streams)
    >>> bool(torch.equal(uniform((2, 3), streams)[1], torch.rand(3, generator=torch.manual_seed(6))))
    True
    """

    _source: _CopySource

    def __new__(cls, copies: int, ahead: bool = True) -> CopyStreams:
        """Make streams that start from fresh entropy; with `ahead` many numbers are drawn at a time."""
        made = cls._of(_CopySource(copies, ahead), 1)
        assert isinstance(made, cls)
        return made

    def seed_copies(self, seeds: Sequence[int | None]) -> None:
        """Start the streams of copies anew; None lets a copy's stream go on."""
        self._source.seed_copies(seeds)

    @contextmanager
    def only(self, which: Tensor) -> Iterator[None]:
        """Let the streams of these copies, boolean [copy], alone go on; the others' draws mean nothing."""
        self._source.moving = which
        try:
            yield
        finally:
            self._source.moving = None


class _CopySource(StreamSource):
    """The generators of all copies, what was drawn ahead, and how far each copy has come in it."""

    def __init__(self, copies: int, ahead: bool) -> None:
        super().__init__([(copy,) for copy in range(copies)], torch.device("cpu"))
        self.moving: Tensor | None = None
        self._generators = [torch.Generator() for _ in range(copies)]
        self._idle = torch.Generator()
        self._draws_ahead, self._at = ahead, dict[object, Tensor]()
        for generator in self._generators:
            generator.seed()

    @property
    def generators(self) -> list[torch.Generator]:
        if self.moving is None:
            return self._generators
        pairs = zip(self._generators, self.moving.tolist(), strict=True)
        return [own if moves else self._idle for own, moves in pairs]

    def seed_copies(self, seeds: Sequence[int | None]) -> None:
        """See `CopyStreams.seed_copies`."""
        for copy, (generator, seed) in enumerate(zip(self._generators, seeds, strict=True)):
            if seed is not None:
                generator.manual_seed(seed)
                for key, at in self._at.items():
                    at[copy] = self._ahead[key].shape[1]  # type: ignore[index]

    def take(self, fill: Callable[..., Tensor], dtype: torch.dtype, count: int) -> Tensor:
        key, copies = (fill, dtype), len(self.names)
        if count == 0 or not self._draws_ahead:
            drawn = torch.empty(copies, count, dtype=dtype)
            for row, generator in zip(drawn if count else (), self.generators, strict=bool(count)):
                fill(row, generator=generator)
            return drawn
        ahead = self._ahead.setdefault(key, torch.empty(copies, 0, dtype=dtype))
        at = self._at.setdefault(key, torch.zeros(copies, dtype=torch.int64))
        short = at + count > ahead.shape[1]
        if self.moving is not None and ahead.shape[1] >= count:
            short &= self.moving
        if short.any():
            ahead = self._ahead[key] = self._refilled(fill, ahead, at, short, max(count, AHEAD))
        places = (at[:, None] + torch.arange(count)).clamp_max_(ahead.shape[1] - 1)
        at += count if self.moving is None else count * self.moving
        return ahead.gather(1, places)

    def _refilled(
        self, fill: Callable[..., Tensor], ahead: Tensor, at: Tensor, short: Tensor, width: int
    ) -> Tensor:
        """Draws ahead, with more behind them for the copies that are short of them."""
        before = ahead.shape[1]
        if width > before:
            ahead, short = torch.cat((ahead, ahead.new_empty(len(ahead), width - before)), 1), short | True
        width = ahead.shape[1]
        for copy in short.nonzero().flatten().tolist():
            row, left = ahead[copy], before - int(at[copy])
            row[:left] = row[before - left : before].clone()
            fill(row[left:width], generator=self._generators[copy])
            at[copy] = 0
        return ahead

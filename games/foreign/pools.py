"""Where copies live: in this process, or in worker processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from games.errors import CopyError
from games.foreign.contract import (
    Copy,
    Description,
    MakeCopy,
    Seen,
    UnsuitableEnvironmentError,
    at_rest,
    stacked,
)

Made = TypeVar("Made")


class Pool(Protocol):
    """Several copies, numbered from 0."""

    def describe(self) -> list[Description]:
        """What each copy says of itself."""

    def start(self, seeds: Sequence[int | None]) -> Seen:
        """Start an episode in each copy that has a seed; the others stay where they are."""

    def play(self, actions: NDArray[Any]) -> Seen:
        """Step each copy that is not over; actions are [copy, agent] or, in a Box, [copy, agent, number]."""

    def close(self) -> None:
        """Close every copy; a second time does nothing."""


class LocalCopies:
    """Copies in this process, stepped one after the other.

    Args:
        make_copy: makes one.
        numbers: what each copy is called in error messages.
        watch: is told the number of a copy before anything is asked of it.

    Raises:
        UnsuitableEnvironmentError: a copy refuses its environment.
        CopyError: the environment's code raised something.
    """

    def __init__(
        self, make_copy: MakeCopy, numbers: Iterable[int], watch: Callable[[int], None] = lambda number: None
    ) -> None:
        self._numbers = list(numbers)
        self._watch = watch
        self._copies: list[Copy] = []
        self._seen: dict[int, Seen] = {}
        with contextlib.ExitStack() as unless_all_open:
            unless_all_open.callback(self.close)
            for number in self._numbers:
                self._copies.append(self._guarded(number, make_copy))
            unless_all_open.pop_all()

    def describe(self) -> list[Description]:
        """What each copy says of itself."""
        return [copy.description for copy in self._copies]

    def start(self, seeds: Sequence[int | None]) -> Seen:
        """Start an episode in each copy that has a seed; see `Pool`."""
        for number, copy, seed in zip(self._numbers, self._copies, seeds, strict=True):
            if seed is None:
                self._seen[number] = at_rest(self._seen[number])
            else:
                self._seen[number] = self._guarded(number, copy.start, seed)
        return self._all_seen()

    def play(self, actions: NDArray[Any]) -> Seen:
        """Step each copy that is not over; see `Pool`."""
        for number, copy, chosen in zip(self._numbers, self._copies, actions.tolist(), strict=True):
            last = self._seen[number]
            running = bool(last.present.any())
            self._seen[number] = self._guarded(number, copy.play, chosen) if running else at_rest(last)
        return self._all_seen()

    def close(self) -> None:
        """Close every copy; a second time does nothing."""
        while self._copies:
            self._copies.pop().close()

    def _all_seen(self) -> Seen:
        return stacked([self._seen[number] for number in self._numbers])

    def _guarded(self, number: int, work: Callable[..., Made], *arguments: Any) -> Made:
        """Do the work, and say which copy it was if that fails."""
        self._watch(number)
        try:
            return work(*arguments)
        except UnsuitableEnvironmentError:
            raise
        except Exception as error:
            raise CopyError(f"Copy {number} failed: {type(error).__name__}: {error}") from error

"""Where copies live: in this process, or in worker processes.

Copies that run: their latest state, and what it takes to draw one of them.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from games.adapters._copy import (
    Copy,
    Description,
    MakeCopy,
    Seen,
    UnsuitableEnvironmentError,
    at_rest,
    stacked,
)
from games.core import CopyError

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


MOMENTS = itertools.count()
"""Numbers for states: no two of this process have the same."""

NOTHING = -1
"""The moment of copies that have no state, because they have not been started or failed in a step."""


class RunningCopies:
    """A pool of copies with the moment they are in.

    Drawing is done by one more copy, which is opened when it is first wanted, and plays the same episode from
    its seed: the copies that learn need not carry what it takes to draw.

    Args:
        pool: of the copies.
        make_drawing: opens the copy that draws.
    """

    def __init__(self, pool: Pool, make_drawing: Callable[[], Copy]) -> None:
        self.pool = pool
        self.moment = NOTHING
        self._make_drawing = make_drawing
        self._drawing: Copy | None = None
        self._drawn: tuple[int, int, int] | None = None  # copy, the episode's number, steps drawn
        self._seeds: list[int] = []
        self._began: list[int] = []
        self._steps: list[NDArray[Any]] = []
        self._episodes: list[int] = []

    def start(self, seeds: list[int | None]) -> Seen:
        """Start an episode in each copy that has a seed; the others stay where they are."""
        self.moment = NOTHING
        seen = self.pool.start(seeds)
        if not self._seeds or all(seed is not None for seed in seeds):
            self._seeds, self._began = [0] * len(seeds), [0] * len(seeds)
            self._episodes, self._steps = [0] * len(seeds), []
            self._drawn = None
        for copy, seed in enumerate(seeds):
            if seed is not None:
                self._seeds[copy], self._began[copy] = seed, len(self._steps)
                self._episodes[copy] += 1
        unused = min(self._began)
        del self._steps[:unused]
        self._began = [began - unused for began in self._began]
        self.moment = next(MOMENTS)
        return seen

    def play(self, actions: NDArray[Any]) -> Seen:
        """Step each copy that is not over; actions are [copy, agent] or [copy, agent, number]."""
        self.moment = NOTHING  # if the environment fails, there is no latest state any more
        seen = self.pool.play(actions)
        self._steps.append(actions)
        self.moment = next(MOMENTS)
        return seen

    def picture(self, copy: int) -> NDArray[np.uint8] | str:
        """Draw a copy: what it looks like now."""
        if self._drawing is None:
            self._drawing = self._make_drawing()
        steps = self._steps[self._began[copy] :]
        done = 0
        if self._drawn is not None and self._drawn[:2] == (copy, self._episodes[copy]):
            done = self._drawn[2]
        else:
            self._last = self._drawing.start(self._seeds[copy])
        for actions in steps[done:]:
            if self._last.present.any():
                self._last = self._drawing.play(actions[copy].tolist())
        self._drawn = copy, self._episodes[copy], len(steps)
        try:
            return self._drawing.picture()
        except (UnsuitableEnvironmentError, CopyError):
            raise
        except NotImplementedError as error:
            name = self._drawing.description.name
            raise UnsuitableEnvironmentError(f"{name} draws nothing that can be shown here.") from error
        except Exception as error:
            raise CopyError(f"Copy {copy} could not be drawn: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Close every copy; a second time does nothing."""
        self.moment = NOTHING
        self.pool.close()
        if self._drawing is not None:
            self._drawing.close()
            self._drawing = None
            self._drawn = None

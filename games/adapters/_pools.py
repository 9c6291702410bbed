"""Batches of copies in this process, and the replayed copy that draws them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from games.adapters import _copy as contract
from games.core import CopyError

Made = TypeVar("Made")


class Pool(Protocol):
    """Several copies, numbered from 0; results are stacked."""

    def describe(self) -> list[contract.Description]:
        """The description of each copy."""

    def reset(self, seeds: Sequence[int | None]) -> contract.CopyResult:
        """Start an episode in each copy that has a seed; the others are not stepped."""

    def step(self, actions: NDArray[Any]) -> contract.CopyResult:
        """Step each copy that is not over; actions are [copy, agent] or, in a Box, [copy, agent, number]."""

    def close(self) -> None:
        """Close every copy; a second time does nothing."""


class LocalPool:
    """Copies in this process, stepped one after the other.

    They have numbers in error messages; `watch` is called with a copy's number before its code runs.
    UnsuitableEnvironmentError says that a copy refuses its environment, CopyError that its code failed.
    """

    def __init__(
        self,
        make_copy: contract.MakeCopy,
        numbers: Iterable[int],
        watch: Callable[[int], None] = lambda number: None,
    ) -> None:
        self._numbers = list(numbers)
        self._watch = watch
        self._copies: list[contract.Copy] = []
        self._results: dict[int, contract.CopyResult] = {}
        with contextlib.ExitStack() as unless_all_open:
            unless_all_open.callback(self.close)
            for number in self._numbers:
                self._copies.append(self._guarded(number, make_copy))
            unless_all_open.pop_all()

    def describe(self) -> list[contract.Description]:
        return [copy.description for copy in self._copies]

    def reset(self, seeds: Sequence[int | None]) -> contract.CopyResult:
        for number, copy, seed in zip(self._numbers, self._copies, seeds, strict=True):
            if seed is None:
                self._results[number] = contract.without_rewards(self._results[number])
            else:
                self._results[number] = self._guarded(number, copy.reset, seed)
        return self._stacked()

    def step(self, actions: NDArray[Any]) -> contract.CopyResult:
        for number, copy, chosen in zip(self._numbers, self._copies, actions.tolist(), strict=True):
            last = self._results[number]
            if last.present.any():
                self._results[number] = self._guarded(number, copy.step, chosen)
            else:
                self._results[number] = contract.without_rewards(last)
        return self._stacked()

    def close(self) -> None:
        while self._copies:
            self._copies.pop().close()

    def _stacked(self) -> contract.CopyResult:
        return contract.stack([self._results[number] for number in self._numbers])

    def _guarded(self, number: int, work: Callable[..., Made], *arguments: Any) -> Made:
        """Call a copy's code, and say which copy it was if that fails."""
        self._watch(number)
        try:
            return work(*arguments)
        except contract.UnsuitableEnvironmentError:
            raise
        except Exception as error:
            raise CopyError(f"Copy {number} failed: {contract.one_line(error)}") from error


VERSIONS = itertools.count()  # numbers for states: no two of this process have the same
NO_STATE = -1  # the version of copies that have not been started, or have failed in a step


class Episode(NamedTuple):
    """One copy's episode, as far as it has come."""

    seed: int
    actions: list[NDArray[Any]]


class RunningCopies:
    """A pool of copies, the version of their state, and one more copy that draws them.

    The copy that draws is opened when it is first needed, and replays an episode from its seed: the copies
    that learn need not carry what it takes to draw.
    """

    def __init__(self, pool: Pool, make_drawable: contract.MakeCopy) -> None:
        self.pool = pool
        self.version = NO_STATE
        self._make_drawable = make_drawable
        self._drawable: contract.Copy | None = None
        self._drawn: tuple[Episode, int, contract.CopyResult] | None = (
            None  # with the number of steps replayed
        )
        self._episodes: list[Episode] = []

    def reset(self, seeds: list[int | None]) -> contract.CopyResult:
        self.version = NO_STATE
        result = self.pool.reset(seeds)
        self._episodes = [
            self._episodes[copy] if seed is None else Episode(seed, []) for copy, seed in enumerate(seeds)
        ]
        self.version = next(VERSIONS)
        return result

    def step(self, actions: NDArray[Any]) -> contract.CopyResult:
        self.version = NO_STATE  # if the environment fails, there is no latest state any more
        result = self.pool.step(actions)
        for episode, chosen in zip(self._episodes, actions, strict=True):
            episode.actions.append(chosen)
        self.version = next(VERSIONS)
        return result

    def render(self, copy: int) -> NDArray[np.uint8] | str:
        """Draw a copy's present state."""
        if self._drawable is None:
            self._drawable = self._make_drawable()
        episode, replayed = self._episodes[copy], 0
        if self._drawn is not None and self._drawn[0] is episode:
            _, replayed, last = self._drawn
        else:
            last = self._drawable.reset(episode.seed)
        self._drawn = None  # until all is replayed
        for chosen in episode.actions[replayed:]:
            if last.present.any():
                last = self._drawable.step(chosen.tolist())
        self._drawn = episode, len(episode.actions), last
        try:
            return self._drawable.render()
        except (contract.UnsuitableEnvironmentError, CopyError):
            raise
        except NotImplementedError as error:
            name = self._drawable.description.name
            raise contract.UnsuitableEnvironmentError(
                f"{name} draws nothing that can be shown here."
            ) from error
        except Exception as error:
            raise CopyError(f"Copy {copy} could not be drawn: {contract.one_line(error)}") from error

    def close(self) -> None:
        self.version = NO_STATE
        self.pool.close()
        if self._drawable is not None:
            self._drawable.close()
            self._drawable = self._drawn = None

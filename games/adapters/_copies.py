"""Copies of a foreign environment: a single one, a pool of them, and one for rendering."""

from __future__ import annotations

import abc
import contextlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from games.core import CopyError

Result = TypeVar("Result")


class UnsuitableEnvironmentError(ValueError):
    """The environment cannot be a game of this toolkit; the message names it and says why."""


def require_suitable(condition: bool, sentence: str) -> None:
    """Raise UnsuitableEnvironmentError with this sentence unless the condition holds."""
    if not condition:
        raise UnsuitableEnvironmentError(sentence)


@dataclass(frozen=True)
class Description:
    """Properties of an environment that are the same for all copies, episodes and agents."""

    name: str
    agents: tuple[str, ...]
    observation_space: spaces.Box | spaces.Discrete  # a Box is float32
    action_space: spaces.Discrete | spaces.Box  # actions of any agent; a Box is float32 and has one axis
    horizon: int | None  # maximum number of steps of an episode; None where the environment does not say
    render_modes: tuple[str, ...] = ()


class CopyResult(NamedTuple):
    """Result of a reset or step of one copy; stacked, the first axis counts copies."""

    observations: NDArray[Any]  # [agent, *shape], float32 or int64; of an agent that has left, the last one
    legal: NDArray[np.bool_]  # action mask, [agent, action]; in a Box, and after leaving, without meaning
    rewards: NDArray[np.float64]  # [agent]; 0 for an agent that had left before the step
    present: NDArray[np.bool_]  # agents that take part, [agent]; none when the episode is over
    ended: NDArray[np.bool_]  # the episode was terminated rather than truncated; no axis


class Copy(abc.ABC):
    """One environment with a state of its own, whose exceptions are reported with the copy's number."""

    description: Description

    @abc.abstractmethod
    def reset(self, seed: int) -> CopyResult:
        """Start an episode with all draws determined by the seed; rewards are 0."""

    @abc.abstractmethod
    def step(self, actions: Sequence[Any]) -> CopyResult:
        """Play one step of an episode that is not over.

        Args:
            actions: one for each agent, legal, integers or (in a Box) lists of numbers; those of agents that
                have left are ignored.
        """

    @abc.abstractmethod
    def render(self) -> NDArray[np.uint8] | str:
        """Draw the current state: [height, width, 3], or lines of text."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release the environment's resources."""


MakeCopy = Callable[[], Copy]


class FreshCopy(Copy):
    """A copy that constructs an environment for each episode, so that no state leaks into the next.

    The previous one is dropped without being closed: environments that draw by pygame would close it for all.
    """

    def __init__(self, make_copy: MakeCopy) -> None:
        self._make_copy, self._copy, self._used = make_copy, make_copy(), False
        self.description = self._copy.description

    def reset(self, seed: int) -> CopyResult:
        if self._used:
            self._copy = self._make_copy()
        self._used = True
        return self._copy.reset(seed)

    def step(self, actions: Sequence[Any]) -> CopyResult:
        return self._copy.step(actions)

    def render(self) -> NDArray[np.uint8] | str:
        return self._copy.render()

    def close(self) -> None:
        self._copy.close()


def stack(results: Sequence[CopyResult]) -> CopyResult:
    """Stack the results of several copies."""
    return CopyResult(*(np.stack(part) for part in zip(*results, strict=True)))


def without_rewards(result: CopyResult) -> CopyResult:
    """Result of a copy that was not stepped: the last one, with rewards 0."""
    return result._replace(rewards=np.zeros_like(result.rewards))


def rendered(frame: Any, name: str, mode: str | None) -> NDArray[np.uint8] | str:
    """An environment's frame or text; UnsuitableEnvironmentError if it was made without such a mode."""
    require_suitable(
        isinstance(frame, str | np.ndarray),
        f"{name} was made with render_mode {mode!r}, which draws nothing that can be shown here: make it "
        "with rgb_array or ansi.",
    )
    return frame if isinstance(frame, str) else np.ascontiguousarray(frame, dtype=np.uint8)


def one_line(error: BaseException) -> str:
    """An exception's type and message on one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message}" if message else f"{type(error).__name__}."


class Pool(Protocol):
    """Several copies, numbered from 0; results are stacked."""

    def describe(self) -> list[Description]:
        """The description of each copy."""

    def reset(self, seeds: Sequence[int | None]) -> CopyResult:
        """Start an episode in each copy that has a seed; the others are not stepped."""

    def step(self, actions: NDArray[Any]) -> CopyResult:
        """Step each copy that is not over; actions are [copy, agent] or, in a Box, [copy, agent, number]."""

    def close(self) -> None:
        """Close every copy; a second time does nothing."""


class LocalPool:
    """Copies in this process, stepped one after the other.

    Error messages name copies by their numbers; `watch` is called with a copy's number before its code runs.
    UnsuitableEnvironmentError: a copy refuses its environment. CopyError: the environment's code failed.
    """

    def __init__(
        self,
        make_copy: MakeCopy,
        numbers: Iterable[int],
        watch: Callable[[int], None] = lambda number: None,
    ) -> None:
        self._numbers = list(numbers)
        self._watch = watch
        self._copies: list[Copy] = []
        self._results: dict[int, CopyResult] = {}
        with contextlib.ExitStack() as unless_all_open:
            unless_all_open.callback(self.close)
            for number in self._numbers:
                self._copies.append(self._attempt(number, make_copy))
            unless_all_open.pop_all()

    def describe(self) -> list[Description]:
        return [copy.description for copy in self._copies]

    def reset(self, seeds: Sequence[int | None]) -> CopyResult:
        for number, copy, seed in zip(self._numbers, self._copies, seeds, strict=True):
            if seed is None:
                self._results[number] = without_rewards(self._results[number])
            else:
                self._results[number] = self._attempt(number, copy.reset, seed)
        return self._stacked()

    def step(self, actions: NDArray[Any]) -> CopyResult:
        for number, copy, chosen in zip(self._numbers, self._copies, actions.tolist(), strict=True):
            last = self._results[number]
            if last.present.any():
                self._results[number] = self._attempt(number, copy.step, chosen)
            else:
                self._results[number] = without_rewards(last)
        return self._stacked()

    def close(self) -> None:
        while self._copies:
            self._copies.pop().close()

    def _stacked(self) -> CopyResult:
        return stack([self._results[number] for number in self._numbers])

    def _attempt(self, number: int, work: Callable[..., Result], *arguments: Any) -> Result:
        """Call a copy's code; CopyError with the copy's number if it fails."""
        self._watch(number)
        try:
            return work(*arguments)
        except UnsuitableEnvironmentError:
            raise
        except Exception as error:
            raise CopyError(f"Copy {number} failed: {one_line(error)}") from error


VERSIONS = itertools.count()  # version numbers of states, unique in this process
NO_STATE = -1  # the version of copies that were not started, or failed in a step


class Episode(NamedTuple):
    """One copy's episode so far."""

    seed: int
    actions: list[NDArray[Any]]


class RunningCopies:
    """A pool of copies, the version of their state, and one more copy for rendering.

    The rendering copy is opened on first use, and replays an episode from its seed, so that the copies in the
    pool need no render mode.
    """

    def __init__(self, pool: Pool, make_drawable: MakeCopy) -> None:
        self.pool = pool
        self.version = NO_STATE
        self._make_drawable = make_drawable
        self._drawable: Copy | None = None
        self._drawn: tuple[Episode, int, CopyResult] | None = None  # with the number of steps replayed
        self._episodes: list[Episode] = []

    def reset(self, seeds: list[int | None]) -> CopyResult:
        self.version = NO_STATE
        result = self.pool.reset(seeds)
        self._episodes = [
            self._episodes[copy] if seed is None else Episode(seed, []) for copy, seed in enumerate(seeds)
        ]
        self.version = next(VERSIONS)
        return result

    def step(self, actions: NDArray[Any]) -> CopyResult:
        self.version = NO_STATE  # if the environment fails, there is no current state
        result = self.pool.step(actions)
        for episode, chosen in zip(self._episodes, actions, strict=True):
            episode.actions.append(chosen)
        self.version = next(VERSIONS)
        return result

    def render(self, copy: int) -> NDArray[np.uint8] | str:
        """Draw a copy's current state."""
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
        except (UnsuitableEnvironmentError, CopyError):
            raise
        except NotImplementedError as error:
            name = self._drawable.description.name
            raise UnsuitableEnvironmentError(f"{name} draws nothing that can be shown here.") from error
        except Exception as error:
            raise CopyError(f"Copy {copy} could not be drawn: {one_line(error)}") from error

    def close(self) -> None:
        self.version = NO_STATE
        self.pool.close()
        if self._drawable is not None:
            self._drawable.close()
            self._drawable = self._drawn = None

"""One environment from outside as one copy of a game: the contract of the adapters."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


class UnsuitableEnvironmentError(ValueError):
    """The environment cannot be a game here; the sentence names it and says why."""


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
    horizon: int | None  # maximal number of steps of an episode; None where the environment does not say
    render_modes: tuple[str, ...] = ()


class CopyResult(NamedTuple):
    """Result of a reset or step of one copy; stacked, the first axis counts copies."""

    observations: NDArray[Any]  # [agent, *shape], float32 or int64; of an agent that has left, the last one
    legal: NDArray[np.bool_]  # action mask, [agent, action]; in a Box, and after leaving, without meaning
    rewards: NDArray[np.float64]  # [agent]; 0 for an agent that had left before the step
    present: NDArray[np.bool_]  # which agents still play, [agent]; none of them when the episode is over
    ended: NDArray[np.bool_]  # whether the episode was terminated rather than truncated; no axis


class Copy(abc.ABC):
    """One environment with a state of its own.

    Its exceptions are reported with the copy's number; an `UnsuitableEnvironmentError` as it is.
    """

    description: Description

    @abc.abstractmethod
    def reset(self, seed: int) -> CopyResult:
        """Start an episode whose every draw follows from the seed; rewards are 0."""

    @abc.abstractmethod
    def step(self, actions: Sequence[Any]) -> CopyResult:
        """Play one step of an episode that is not over.

        Args:
            actions: one for each agent, legal, integers or (in a Box) lists of numbers; those of agents that
                have left are ignored.
        """

    @abc.abstractmethod
    def render(self) -> NDArray[np.uint8] | str:
        """Draw the present state: [height, width, 3], or lines of text."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release the environment's resources."""


MakeCopy = Callable[[], Copy]


class FreshCopy(Copy):
    """A copy that constructs an environment for each episode, so that none leaves traces in the next.

    The previous one is dropped without being closed: those that draw by pygame would close it for all others.
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
    """The result of a copy that was not stepped: the last one, with rewards 0."""
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

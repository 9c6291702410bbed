"""What one copy of an environment from outside must answer, whoever wrote it."""

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


def suitable(condition: bool, sentence: str) -> None:
    """Raise UnsuitableEnvironmentError with this sentence unless the condition holds.

    >>> suitable(False, "my_env_v0 takes actions of two kinds.")
    Traceback (most recent call last):
    games.adapters._copy.UnsuitableEnvironmentError: my_env_v0 takes actions of two kinds.
    """
    if not condition:
        raise UnsuitableEnvironmentError(sentence)


@dataclass(frozen=True)
class Description:
    """What does not change from episode to episode, and is the same for all copies."""

    name: str
    """What the environment calls itself."""
    agents: tuple[str, ...]
    """Names, in the order of the agent axis."""
    observation_space: spaces.Box | spaces.Discrete
    """One agent's observation, float32 where it is a Box; the same for all."""
    action_space: spaces.Discrete | spaces.Box
    """One agent's actions, those that only some agents have included; a Box has one axis and is float32."""
    horizon: int | None
    """The most steps of an episode; None where the environment does not say."""
    render_modes: tuple[str, ...] = ()
    """How it can draw itself, if it is constructed to."""


class Seen(NamedTuple):
    """What one copy shows after a step; what several show has one more axis, the copies, in front."""

    observations: NDArray[Any]
    """[agent, *shape], float32 or int64; of an agent that has left, the last one."""
    legal: NDArray[np.bool_]
    """Which actions may be chosen now, [agent, action]; meaningless for agents that have left. Where actions
    are continuous it has one entry an agent and means nothing."""
    rewards: NDArray[np.float64]
    """[agent]; 0 for an agent that had left before the step."""
    present: NDArray[np.bool_]
    """Who still plays, [agent]; the episode is over when nobody does."""
    ended: NDArray[np.bool_]
    """Whether the episode is over by the rules, rather than cut off; no axis."""


class Copy(abc.ABC):
    """One copy of an environment, with a state of its own.

    Whatever it raises is reported with the copy's number; an `UnsuitableEnvironmentError` as it is.
    """

    @property
    @abc.abstractmethod
    def description(self) -> Description:
        """What it is a copy of."""

    @abc.abstractmethod
    def start(self, seed: int) -> Seen:
        """Start an episode whose every draw follows from the seed; rewards are 0."""

    @abc.abstractmethod
    def play(self, actions: Sequence[Any]) -> Seen:
        """Play one step of an episode that is not over.

        Args:
            actions: one for each agent, legal as last seen, whole numbers or (in a Box) lists of numbers;
                those of agents that have left do not count.
        """

    @abc.abstractmethod
    def picture(self) -> NDArray[np.uint8] | str:
        """What it looks like now: [height, width, 3], or lines of text."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give back what the environment holds."""


MakeCopy = Callable[[], Copy]


def stacked(seen: Sequence[Seen]) -> Seen:
    """Put what several copies show side by side."""
    return Seen(*(np.stack(part) for part in zip(*seen, strict=True)))


def joined(seen: Sequence[Seen]) -> Seen:
    """Put groups of copies that are stacked already behind one another."""
    return Seen(*(np.concatenate(part) for part in zip(*seen, strict=True)))


def at_rest(seen: Seen) -> Seen:
    """What a copy shows when it was not stepped: the same, without rewards."""
    return seen._replace(rewards=np.zeros_like(seen.rewards))

"""Where a foreign game's environments come from: a constructor, and how each is opened as a copy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from games.adapters._constructors import RENDER_MODE, Parameters, parameters_of
from games.adapters._copy import Copy, Description, Seen, UnsuitableEnvironmentError
from games.adapters._pools import LocalCopies, Pool
from games.adapters._workers import WorkerCopies
from games.core import CopyError, require

PROBED = 3
"""Steps by which it is tried whether an episode follows from its seed."""

DRAWN = ("rgb_array", "ansi")
"""Render modes that can be shown, the better one first."""


@dataclass(frozen=True)
class Opened:
    """How a copy with these settings is made; picklable if the constructor is."""

    make_env: Callable[..., Any]
    settings: Mapping[str, Any]
    copy_of: Callable[[Any], Copy]
    """Takes the environment."""
    reuse: bool
    """Whether its episodes are played in one environment, one after the other."""

    def __call__(self) -> Copy:
        """Construct the environment and wrap it."""
        return self.fresh() if self.reuse else FreshCopy(self.fresh)

    def fresh(self) -> Copy:
        """A copy of one environment."""
        return self.copy_of(self.make_env(**self.settings))


class FreshCopy(Copy):
    """A copy that constructs an environment for each episode, so that none can leave traces in the next.

    The one before is dropped without being closed: those which draw by pygame would close it for all others.

    Args:
        make_copy: constructs an environment.
    """

    def __init__(self, make_copy: Callable[[], Copy]) -> None:
        self._make_copy, self._copy, self._used = make_copy, make_copy(), False

    @property
    def description(self) -> Description:
        """What it is a copy of."""
        return self._copy.description

    def start(self, seed: int) -> Seen:
        """Start an episode in an environment that has had none."""
        if self._used:
            self._copy = self._make_copy()
        self._used = True
        return self._copy.start(seed)

    def play(self, actions: Sequence[Any]) -> Seen:
        """Play one step."""
        return self._copy.play(actions)

    def picture(self) -> NDArray[np.uint8] | str:
        """What it looks like now."""
        return self._copy.picture()

    def close(self) -> None:
        """Close the environment of the last episode."""
        self._copy.close()


@dataclass(frozen=True)
class Source:
    """What all games of one registered constructor have in common.

    Raises:
        ValueError: a number is out of range.
    """

    make_env: Callable[..., Any]
    """Makes one environment; takes settings by keyword."""
    copy_of: Callable[[Any], Copy]
    """Turns an environment into a copy."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Settings of every game made of it, which no command line changes."""
    lists: frozenset[str] = frozenset()
    """Settings that are tuples in the game, and lists to the constructor."""
    drawable: bool = False
    """Whether the constructor takes a render mode."""
    reuse: bool = False
    """Whether a copy's episodes are played in one environment, whose reset then has to clear everything."""
    workers: int = 0
    """How many processes step the copies; 0: this one does."""
    parameters: Callable[[Callable[..., Any], Any], Parameters] = parameters_of
    """Reads what the constructor takes, from itself and from what it made."""
    horizon: int | None = None
    """The most steps of an episode; None: what the environment says."""
    discount: float = 1.0
    """Per step."""

    def __post_init__(self) -> None:
        require(self.workers >= 0, f"workers must be 0 or more, not {self.workers}.")
        require(
            self.horizon is None or self.horizon >= 1,
            f"An episode needs at least 1 step; horizon is {self.horizon}.",
        )
        require(0 <= self.discount <= 1, f"discount must be from 0 to 1, not {self.discount}.")

    def told(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What the constructor is told, with settings of the game in addition to those which are fixed."""
        lists = {name: list(value) for name, value in settings.items() if name in self.lists}
        return {**self.fixed, **settings, **lists}

    def opened(self, settings: Mapping[str, Any], *, render_mode: str | None = None) -> Opened:
        """How a copy with these settings is made.

        Args:
            settings: of the game, in addition to those which are fixed.
            render_mode: what to draw with, if the constructor takes one; None: its own default.
        """
        mode = {RENDER_MODE: render_mode} if self.drawable and render_mode else {}
        return Opened(self.make_env, {**self.told(settings), **mode}, self.copy_of, self.reuse)

    def pool(self, settings: Mapping[str, Any], copies: int) -> Pool:
        """Open so many copies.

        Raises:
            UnsuitableEnvironmentError: they cannot be copies of one game.
            CopyError: the environment's own code failed.
        """
        make, workers = self.opened(settings), min(self.workers, copies)
        pool: Pool = WorkerCopies(make, copies, workers) if workers else LocalCopies(make, range(copies))
        first, *others = pool.describe()
        if any(other != first for other in others):
            pool.close()
            raise UnsuitableEnvironmentError(
                f"The copies of {first.name} differ in agents, spaces or horizon: its constructor must make "
                "the same environment each time."
            )
        return pool

    def environment(self, settings: Mapping[str, Any], name: str, usual: Mapping[str, Any]) -> Any:
        """Construct one environment.

        Args:
            settings: of the game, in addition to those which are fixed.
            name: what to call the environment in a refusal.
            usual: what the settings are where nobody changes them.

        Raises:
            ValueError: the constructor refuses these settings (says what it says).
        """
        try:
            return self.make_env(**self.told(settings))
        except Exception as error:
            told = [f"{key}={value!r}" for key, value in settings.items() if usual.get(key, ...) != value]
            how = f"with {', '.join(told)}" if told else "as it is"
            raise ValueError(f"{name} cannot be opened {how}: {sentence(error)}") from error

    def describe(self, env: Any, settings: Mapping[str, Any]) -> Description:
        """Look at an environment, try it, and close it.

        Args:
            env: the environment.
            settings: of it, in addition to those which are fixed.

        Raises:
            UnsuitableEnvironmentError: it cannot be a game here, or its episodes do not follow from their
                seeds.
            CopyError: its own code failed.
        """
        copies = [self.copy_of(env)]
        name = copies[0].description.name
        try:
            first = _few_steps(copies[0])
            if not self.reuse:
                copies.append(self.opened(settings).fresh())
            _require_same(first, _few_steps(copies[-1]), name)
        except UnsuitableEnvironmentError:
            raise
        except Exception as error:
            raise CopyError(f"{name} failed when it was tried: {sentence(error)}") from error
        finally:
            for copy in copies:
                copy.close()
        return copies[0].description

    def drawing(self, settings: Mapping[str, Any], modes: tuple[str, ...]) -> Copy:
        """Open a copy that can draw itself, where the constructor takes one of these render modes."""
        mode = next((mode for mode in DRAWN if mode in modes), None)
        try:
            return self.opened(settings, render_mode=mode)()
        except UnsuitableEnvironmentError:
            raise
        except Exception as error:
            raise CopyError(f"The copy to be drawn failed: {sentence(error)}") from error


def sentence(error: BaseException) -> str:
    """What a stranger's error says, on one line."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else f"{type(error).__name__}."


def _require_same(first: list[Seen], second: list[Seen], name: str) -> None:
    """Raise UnsuitableEnvironmentError unless two episodes of the same seed and actions are the same.

    A run that is resumed depends on it.
    """
    same = len(first) == len(second) and all(
        np.array_equal(one, other, equal_nan=np.issubdtype(one.dtype, np.floating))
        for before, after in zip(first, second, strict=True)
        for one, other in zip(before, after, strict=True)
    )
    if not same:
        raise UnsuitableEnvironmentError(
            f"{name} cannot be played here: two episodes with the same seed and actions differ, so no run "
            "could be resumed; reset(seed=...) has to seed all draws, and a constructor that takes **kwargs "
            "has to pass them on."
        )


def _few_steps(copy: Copy) -> list[Seen]:
    draws = np.random.default_rng(0)
    seen = [copy.start(0)]
    for _ in range(PROBED):
        if not seen[-1].present.any():
            break
        space = copy.description.action_space
        if hasattr(space, "n"):
            actions: list[Any] = [
                int(draws.choice(np.flatnonzero(legal))) if legal.any() else 0 for legal in seen[-1].legal
            ]
        else:
            actions = [draws.uniform(space.low, space.high).tolist() for _ in seen[-1].legal]
        seen.append(copy.play(actions))
    return seen

"""Constructors of foreign environments, and the opening of copies."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from games.adapters import _copies as contract
from games.adapters._constructors import RENDER_MODE, Parameters, parameters_of
from games.adapters._copies import LocalPool, Pool
from games.adapters._workers import WorkerPool
from games.core import CopyError, require

TRIAL_STEPS = 3  # steps of the test that an episode is determined by its seed
IMAGE_MODES = ("rgb_array", "ansi")  # render modes that can be shown, the better one first


@dataclass(frozen=True)
class CopyMaker:
    """A function that opens a copy; picklable if the constructor is."""

    make_env: Callable[..., Any]
    settings: Mapping[str, Any]
    copy_of: Callable[[Any], contract.Copy]
    reuse: bool

    def __call__(self) -> contract.Copy:
        return self.single() if self.reuse else contract.FreshCopy(self.single)

    def single(self) -> contract.Copy:
        """Open a copy that plays all its episodes in one environment."""
        return self.copy_of(self.make_env(**self.settings))


@dataclass(frozen=True)
class EnvironmentSource:
    """The constructor shared by all games of one registration, and its options."""

    make_env: Callable[..., Any]  # the constructor; takes settings by keyword
    copy_of: Callable[[Any], contract.Copy]  # turns an environment into a copy
    fixed: Mapping[str, Any] = field(default_factory=dict)  # settings that are not fields of the game
    lists: frozenset[str] = frozenset()  # settings that are tuples in the game, and lists to the constructor
    drawable: bool = False  # the constructor takes a render mode
    reuse: bool = False  # a copy keeps its environment, whose reset must clear everything
    workers: int = 0  # number of processes that step the copies; 0: this process
    parameters: Callable[[Callable[..., Any], Any], Parameters] = parameters_of  # of the constructor
    horizon: int | None = None  # maximum number of steps of an episode; None: from the environment
    discount: float = 1.0

    def __post_init__(self) -> None:
        require(self.workers >= 0, f"workers must be 0 or more, not {self.workers}.")
        require(
            self.horizon is None or self.horizon >= 1,
            f"An episode needs at least 1 step; horizon is {self.horizon}.",
        )
        require(0 <= self.discount <= 1, f"discount must be from 0 to 1, not {self.discount}.")

    def arguments(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The constructor's arguments for a game's settings."""
        lists = {name: list(value) for name, value in settings.items() if name in self.lists}
        return {**self.fixed, **settings, **lists}

    def maker(self, settings: Mapping[str, Any], *, render_mode: str | None = None) -> CopyMaker:
        """A function that opens a copy with these settings of the game."""
        mode = {RENDER_MODE: render_mode} if self.drawable and render_mode else {}
        return CopyMaker(self.make_env, {**self.arguments(settings), **mode}, self.copy_of, self.reuse)

    def pool(self, settings: Mapping[str, Any], copies: int) -> Pool:
        """Open this many copies; UnsuitableEnvironmentError if they differ, CopyError if their code fails."""
        make, workers = self.maker(settings), min(self.workers, copies)
        pool: Pool = WorkerPool(make, copies, workers) if workers else LocalPool(make, range(copies))
        first, *others = pool.describe()
        if any(other != first for other in others):
            pool.close()
            raise contract.UnsuitableEnvironmentError(
                f"The copies of {first.name} differ in agents, spaces or horizon: its constructor must make "
                "the same environment each time."
            )
        return pool

    def environment(self, settings: Mapping[str, Any], name: str, defaults: Mapping[str, Any]) -> Any:
        """Construct one environment; ValueError, with the settings that are not defaults, if that fails."""
        try:
            return self.make_env(**self.arguments(settings))
        except Exception as error:
            changed = [
                f"{key}={value!r}" for key, value in settings.items() if defaults.get(key, ...) != value
            ]
            condition = f"with {', '.join(changed)}" if changed else "as it is"
            raise ValueError(f"{name} cannot be opened {condition}: {contract.one_line(error)}") from error

    def describe(self, env: Any, settings: Mapping[str, Any]) -> contract.Description:
        """Describe an environment, test that seeds determine its episodes, and close it."""
        copies = [self.copy_of(env)]
        description = copies[0].description
        name = description.name
        try:
            first = _trial(copies[0])
            if not self.reuse:
                copies.append(self.maker(settings).single())
            _require_same(first, _trial(copies[-1]), name)
        except contract.UnsuitableEnvironmentError:
            raise
        except Exception as error:
            raise ValueError(f"{name} failed when it was tried: {contract.one_line(error)}") from error
        finally:
            for copy in copies:
                copy.close()
        require(
            (self.horizon or description.horizon) is not None,
            f"{name} does not say how long an episode may be: pass horizon, the most steps of one.",
        )
        return description

    def drawable_copy(self, settings: Mapping[str, Any], modes: tuple[str, ...]) -> contract.Copy:
        """Open a copy that can draw itself, where the constructor takes one of these render modes."""
        mode = next((mode for mode in IMAGE_MODES if mode in modes), None)
        try:
            return self.maker(settings, render_mode=mode)()
        except contract.UnsuitableEnvironmentError:
            raise
        except Exception as error:
            raise CopyError(f"The copy to be drawn failed: {contract.one_line(error)}") from error


def _require_same(first: list[contract.CopyResult], second: list[contract.CopyResult], name: str) -> None:
    """Require that episodes with the same seed and actions are equal, as resuming a run depends on it."""
    pairs = zip(itertools.chain(*first), itertools.chain(*second), strict=False)
    contract.require_suitable(
        len(first) == len(second)
        and all(np.array_equal(one, two, equal_nan=one.dtype.kind == "f") for one, two in pairs),
        f"{name} cannot be played here: two episodes with the same seed and actions differ, so no run could "
        "be resumed; reset(seed=...) has to seed all draws, and a constructor that takes **kwargs has to "
        "pass them on.",
    )


def _trial(copy: contract.Copy) -> list[contract.CopyResult]:
    """The results of a few steps of random legal actions."""
    draws, space = np.random.default_rng(0), copy.description.action_space

    def action(legal: NDArray[np.bool_]) -> Any:
        if isinstance(space, spaces.Box):
            return draws.uniform(space.low, space.high).tolist()
        return int(draws.choice(np.flatnonzero(legal))) if legal.any() else 0

    results = [copy.reset(0)]
    for _ in range(TRIAL_STEPS):
        if not results[-1].present.any():
            break
        actions = [action(legal) for legal in results[-1].legal]
        results.append(copy.step(actions))
    return results

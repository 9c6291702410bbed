"""Gymnasium environments, single or vectorized, as games of one agent."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import iterate
from numpy.typing import NDArray

from games.adapters import _copies as contract
from games.adapters._constructors import Parameters, parameters_of
from games.adapters._copies import Pool
from games.adapters._foreign_game import ForeignGame, foreign_game
from games.adapters._layout import MASK, action_layouts, legal_actions, observation_layouts
from games.adapters._source import EnvironmentSource
from games.core import require

AGENT = "agent_0"  # the name of the one agent


class _Layout:
    """The spaces of an environment, or of one environment of a vector, mapped to those of a game."""

    def __init__(
        self, env: Any, observed: spaces.Space[Any], acting: spaces.Space[Any], **options: bool
    ) -> None:
        spec = getattr(env, "spec", None)
        name = str(spec.id if spec is not None else type(getattr(env, "unwrapped", env)).__name__)
        self.action = action_layouts({AGENT: acting}, name)[0]
        self.observation = observation_layouts({AGENT: observed}, name, **options)[0]
        space = self.action.space
        self._width = int(space.n) if isinstance(space, spaces.Discrete) else 1
        self.description = contract.Description(
            name=name,
            agents=(AGENT,),
            observation_space=self.observation.space,
            action_space=space,
            horizon=getattr(spec, "max_episode_steps", None),
            render_modes=tuple((getattr(env, "metadata", None) or {}).get("render_modes", ())),
        )

    def result(
        self, observation: Any, info: Any, reward: float, over: bool, ended: bool
    ) -> contract.CopyResult:
        """Convert what an environment returns."""
        return contract.CopyResult(
            observations=self.observation.encode(observation)[None],
            legal=legal_actions(observation, info, self.action.count, self._width)[None],
            rewards=np.array([float(reward)]),
            present=np.array([not over]),
            ended=np.array(ended),
        )


class GymnasiumCopy(contract.Copy):
    """One Gymnasium environment."""

    def __init__(self, env: gymnasium.Env[Any, Any], **options: bool) -> None:
        self.env = env
        self._layout = _Layout(env, env.observation_space, env.action_space, **options)
        self.description = self._layout.description

    def reset(self, seed: int) -> contract.CopyResult:
        observation, info = self.env.reset(seed=seed)
        return self._layout.result(observation, info, 0.0, over=False, ended=False)

    def step(self, actions: Sequence[Any]) -> contract.CopyResult:
        action = self._layout.action.decode(actions[0])
        observation, reward, terminated, truncated, info = self.env.step(action)
        over, ended = bool(terminated or truncated), bool(terminated)
        return self._layout.result(observation, info, float(reward), over, ended)

    def render(self) -> NDArray[np.uint8] | str:
        return contract.rendered(
            self.env.render(), self.description.name, getattr(self.env, "render_mode", None)
        )

    def close(self) -> None:
        self.env.close()


class VectorPool:
    """A vector of Gymnasium environments as a pool of copies, with its automatic resets hidden.

    A copy whose episode is over keeps its result until it is reset. `make_env` opens another vector when all
    copies are reset together; None: this one is used again.
    """

    def __init__(
        self, env: VectorEnv, make_env: Callable[[], VectorEnv] | None, options: Mapping[str, bool]
    ) -> None:
        self.env, self._make_env = env, make_env
        self._layout = _Layout(env, env.single_observation_space, env.single_action_space, **options)
        self._results: list[contract.CopyResult] = []

    def describe(self) -> list[contract.Description]:
        return [self._layout.description] * self.env.num_envs

    def reset(self, seeds: Sequence[int | None]) -> contract.CopyResult:
        """See `Pool.reset`; UnsuitableEnvironmentError if the vector takes no list of seeds."""
        mask = np.array([seed is not None for seed in seeds])
        if mask.all() and self._results and self._make_env is not None:
            self.env = self._make_env()
        fresh = self._fresh(seeds, mask) if mask.any() else self._results
        self._results = [
            new if start else contract.without_rewards(old)
            for new, old, start in zip(fresh, self._results or fresh, mask, strict=True)
        ]
        return contract.stack(self._results)

    def _fresh(self, seeds: Sequence[int | None], mask: NDArray[np.bool_]) -> list[contract.CopyResult]:
        """Reset the masked copies: results of all copies."""
        options = None if mask.all() else {"reset_mask": mask}
        try:
            observations, infos = self.env.reset(seed=list(seeds), options=options)  # type: ignore[arg-type]
        except (gymnasium.error.Error, TypeError) as error:
            contract.require_suitable(
                "seed" not in str(error).lower(),
                f"{self._layout.description.name} cannot be played here: its vector draws for all copies "
                "from one seed, and each needs its own: register the single environment.",
            )
            raise
        return self._convert(observations, infos, np.zeros(len(seeds)), mask & False, mask & False)

    def step(self, actions: NDArray[Any]) -> contract.CopyResult:
        decode = self._layout.action.decode
        chosen = np.stack([np.asarray(decode(action[0])) for action in actions])
        observations, rewards, terminations, truncations, infos = self.env.step(chosen)
        final = None
        if self.env.metadata.get("autoreset_mode") == AutoresetMode.SAME_STEP and "final_obs" in infos:
            final = infos["final_obs"], infos["_final_obs"]
        new = self._convert(observations, infos, rewards, terminations | truncations, terminations, final)
        self._results = [
            after if before.present.any() else contract.without_rewards(before)
            for before, after in zip(self._results, new, strict=True)
        ]
        return contract.stack(self._results)

    def close(self) -> None:
        self.env.close()

    def _convert(
        self,
        observations: Any,
        infos: Mapping[str, Any],
        rewards: NDArray[Any],
        over: NDArray[np.bool_],
        ended: NDArray[np.bool_],
        final: tuple[Sequence[Any], Sequence[bool]] | None = None,
    ) -> list[contract.CopyResult]:
        """Convert what the vector returns, with the final observations of copies that it has reset."""
        observed = list(iterate(self.env.observation_space, observations))
        if final is not None:
            observed = [
                last if is_final else now for now, last, is_final in zip(observed, *final, strict=True)
            ]
        masks = [None] * len(observed) if MASK not in infos else [{MASK: mask} for mask in infos[MASK]]
        rows = zip(observed, masks, np.asarray(rewards).tolist(), over.tolist(), ended.tolist(), strict=True)
        return [self._layout.result(*row) for row in rows]


class OneOfVector(contract.Copy):
    """The only environment of a vector."""

    def __init__(self, env: VectorEnv, **options: bool) -> None:
        self._pool = VectorPool(env, None, options)
        self.description = self._pool.describe()[0]

    def reset(self, seed: int) -> contract.CopyResult:
        return contract.CopyResult(*(part[0] for part in self._pool.reset([seed])))

    def step(self, actions: Sequence[Any]) -> contract.CopyResult:
        return contract.CopyResult(*(part[0] for part in self._pool.step(np.asarray([actions]))))

    def render(self) -> NDArray[np.uint8] | str:
        env = self._pool.env
        frames = env.render()
        frame = None if frames is None else frames[0]
        return contract.rendered(frame, self.description.name, getattr(env, "render_mode", None))

    def close(self) -> None:
        self._pool.close()


NUM_ENVS = "num_envs"  # the number of environments, an argument of constructors of vectors
NO_SETTINGS = (NUM_ENVS, "disable_env_checker", "vectorization_mode", "vector_kwargs", "wrappers")
"""Arguments of constructors that are not settings of a game."""


@dataclass(frozen=True)
class VectorSource(EnvironmentSource):
    """A constructor of vectors: a pool is one vector with an environment for each copy."""

    make_vector: Callable[..., VectorEnv] = gymnasium.make_vec
    layout: Mapping[str, bool] = field(default_factory=dict)

    def pool(self, settings: Mapping[str, Any], copies: int) -> Pool:
        """Open a vector of this many environments."""
        make = functools.partial(self.make_vector, **self.arguments(settings), num_envs=copies)
        return VectorPool(make(), None if self.reuse else make, self.layout)


def from_gymnasium(
    make_env: str | Callable[..., Any],
    *,
    horizon: int | None = None,
    discount: float = 1.0,
    workers: int = 0,
    reuse: bool = False,
    flat: bool = False,
    channels_last: bool = True,
    **settings: Any,
) -> ForeignGame:
    """Turn a Gymnasium environment's constructor into a game of one agent, with the constructor's settings.

    A learner opens an environment for each parallel episode: single ones or, where the constructor makes a
    vector (`gymnasium.vector.VectorEnv`), one vector, whose automatic resets are hidden. Each copy has its
    own seed, so vectors that draw for all copies from one seed are refused.

    Args:
        make_env: an id for `gymnasium.make`; a class, or a function, that makes one environment; or one that
            takes `num_envs` and makes a vector, such as `functools.partial(gymnasium.make_vec,
            "CartPole-v1")`.
        horizon: maximum number of steps of an episode; by default the `max_episode_steps` of its spec.
        discount: per step, from 0 to 1.
        workers: number of processes that step single environments; 0: this process.
        reuse: see `from_pettingzoo`.
        flat: flatten observations of any shape to vectors.
        channels_last: read observations with three axes as [row, column, channel] rather than planes.
        settings: arguments of the constructor; others keep their defaults.
    Returns:
        A game whose settings are those of the constructor.
    Raises:
        ValueError: as for `from_pettingzoo`; or `workers` is set for a constructor of vectors.
    Source:
        Towers et al., Gymnasium, arXiv 2407.17032.

    >>> import torch
    >>> game = from_gymnasium("FrozenLake-v1", is_slippery=False)
    >>> state = game.reset(2, torch.Generator().manual_seed(0))
    >>> game.is_slippery, game.observation_space, game.observe(state).tolist()
    (False, Discrete(16), [[0], [0]])
    """
    layout: dict[str, Any] = {"flat": flat, "channels_last": channels_last}
    options: dict[str, Any] = {"horizon": horizon, "discount": discount, "workers": workers, "reuse": reuse}
    name = make_env if isinstance(make_env, str) else None
    make: Callable[..., Any] = make_env if callable(make_env) else functools.partial(gymnasium.make, make_env)
    if NUM_ENVS not in parameters_of(make).defaults:
        copy_of = functools.partial(GymnasiumCopy, **layout)
        source = EnvironmentSource(make_env=make, copy_of=copy_of, parameters=_parameters, **options)
        return foreign_game(source, settings, name)
    require(workers == 0, "A vector steps its environments by itself: leave workers at 0.")
    source = VectorSource(
        make_env=functools.partial(make, num_envs=1),
        copy_of=functools.partial(OneOfVector, **layout),
        parameters=_parameters,
        make_vector=make,
        layout=layout,
        **options,
    )
    return foreign_game(source, settings, name)


def _parameters(make: Callable[..., Any], env: Any) -> Parameters:
    """The constructor's parameters that are settings of a game."""
    (single, *_) = getattr(env, "envs", None) or (env,)  # for a vector, its first environment
    known = parameters_of(make, single)
    settings = {name: default for name, default in known.defaults.items() if name not in NO_SETTINGS}
    return known._replace(defaults=settings)

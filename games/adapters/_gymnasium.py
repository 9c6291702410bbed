"""Gymnasium's environments, alone or in vectors, as games of this toolkit with one agent.

Gymnasium's environments, one by one or in vectors, as copies of a game with one agent.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import iterate
from numpy.typing import NDArray

from games.adapters._constructors import Parameters, parameters_of
from games.adapters._copy import Copy, Description, Seen, at_rest, stacked, suitable
from games.adapters._foreign_game import ForeignGame, foreign_game
from games.adapters._layout import MASK, lay_out, lay_out_actions, legal_actions
from games.adapters._pools import Pool
from games.adapters._source import Source
from games.core import require

AGENT = "agent_0"
"""What the one agent is called."""


class GymnasiumLayout:
    """How one Gymnasium environment is shown to its agent.

    Args:
        env: it, or a vector of it.
        observed: its observation space.
        acting: its action space.
        flat: see `lay_out`.
        channels_last: see `lay_out`.
    """

    def __init__(
        self,
        env: Any,
        observed: spaces.Space[Any],
        acting: spaces.Space[Any],
        *,
        flat: bool,
        channels_last: bool,
    ) -> None:
        spec = getattr(env, "spec", None)
        name = str(spec.id if spec is not None else type(getattr(env, "unwrapped", env)).__name__)
        self.action = lay_out_actions({AGENT: acting}, name)[0]
        self.view = lay_out({AGENT: observed}, name, flat, channels_last)[0]
        space = self.action.space
        self._width = int(space.n) if isinstance(space, spaces.Discrete) else 1
        self.description = Description(
            name=name,
            agents=(AGENT,),
            observation_space=self.view.space,
            action_space=space,
            horizon=getattr(spec, "max_episode_steps", None),
            render_modes=tuple((getattr(env, "metadata", None) or {}).get("render_modes", ())),
        )

    def seen(self, observation: Any, info: Any, reward: float, over: bool, ended: bool) -> Seen:
        """Lay out what an environment says after a step."""
        return Seen(
            observations=self.view.encode(observation)[None],
            legal=legal_actions(observation, info, self.action.count, self._width)[None],
            rewards=np.array([float(reward)]),
            present=np.array([not over]),
            ended=np.array(ended),
        )


class GymnasiumCopy(Copy):
    """One Gymnasium environment."""

    def __init__(self, env: gymnasium.Env[Any, Any], *, flat: bool, channels_last: bool) -> None:
        self.env = env
        self._layout = GymnasiumLayout(
            env, env.observation_space, env.action_space, flat=flat, channels_last=channels_last
        )

    @property
    def description(self) -> Description:
        """What it is a copy of."""
        return self._layout.description

    def start(self, seed: int) -> Seen:
        """Reset the environment with this seed."""
        observation, info = self.env.reset(seed=seed)
        return self._layout.seen(observation, info, 0.0, over=False, ended=False)

    def play(self, actions: Sequence[Any]) -> Seen:
        """Let the agent act."""
        action = self._layout.action.decode(actions[0])
        observation, reward, terminated, truncated, info = self.env.step(action)
        over, ended = bool(terminated or truncated), bool(terminated)
        return self._layout.seen(observation, info, float(reward), over, ended)

    def picture(self) -> NDArray[np.uint8] | str:
        """What the environment draws."""
        return drawn(self.env, self.env.render(), self.description.name)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


class VectorCopies:
    """A vector of Gymnasium environments as a pool of copies; see `Pool`.

    What a vector resets by itself is not shown: a copy whose episode is over stands still until it is
    started.

    Args:
        env: the vector.
        make_env: opens another one, when all copies start together; None: this one is used again.
        flat: see `lay_out`.
        channels_last: see `lay_out`.
    """

    def __init__(
        self, env: VectorEnv, make_env: Callable[[], VectorEnv] | None, *, flat: bool, channels_last: bool
    ) -> None:
        self.env, self._make_env = env, make_env
        self._layout = GymnasiumLayout(
            env, env.single_observation_space, env.single_action_space, flat=flat, channels_last=channels_last
        )
        self._seen: list[Seen] = []

    def describe(self) -> list[Description]:
        """The same of each copy."""
        return [self._layout.description] * self.env.num_envs

    def start(self, seeds: Sequence[int | None]) -> Seen:
        """Start an episode in each copy that has a seed; see `Pool`.

        Raises:
            UnsuitableEnvironmentError: the vector takes no list of seeds.
        """
        everywhere = all(seed is not None for seed in seeds)
        if everywhere and self._seen and self._make_env is not None:
            self.env = self._make_env()
        mask = np.array([seed is not None for seed in seeds])
        if mask.any():
            options = None if everywhere else {"reset_mask": mask}
            try:
                observations, infos = self.env.reset(seed=list(seeds), options=options)  # type: ignore[arg-type]
            except (gymnasium.error.Error, TypeError) as error:
                suitable(
                    "seed" not in str(error).lower(),
                    f"{self._layout.description.name} cannot be played here: its vector draws for all copies "
                    "from one seed, and each needs its own: register the single environment.",
                )
                raise
            shown = list(iterate(self.env.observation_space, observations))
            fresh = self._lay_out(shown, infos, np.zeros(len(seeds)), mask & False, mask & False)
            old = self._seen or fresh
            self._seen = [
                new if start else at_rest(o) for new, o, start in zip(fresh, old, mask, strict=True)
            ]
        else:
            self._seen = [at_rest(seen) for seen in self._seen]
        return stacked(self._seen)

    def play(self, actions: NDArray[Any]) -> Seen:
        """Step all copies; those that are over show nothing new."""
        decode = self._layout.action.decode
        chosen = np.stack([np.asarray(decode(action[0])) for action in actions])
        observations, rewards, terminations, truncations, infos = self.env.step(chosen)
        shown = list(iterate(self.env.observation_space, observations))
        if self.env.metadata.get("autoreset_mode") == AutoresetMode.SAME_STEP and "final_obs" in infos:
            last = zip(shown, infos["final_obs"], infos["_final_obs"], strict=True)
            shown = [final if over else now for now, final, over in last]
        new = self._lay_out(shown, infos, rewards, terminations | truncations, terminations)
        self._seen = [
            after if before.present.any() else at_rest(before)
            for before, after in zip(self._seen, new, strict=True)
        ]
        return stacked(self._seen)

    def close(self) -> None:
        """Close the vector."""
        self.env.close()

    def _lay_out(
        self,
        shown: Sequence[Any],
        infos: Mapping[str, Any],
        rewards: NDArray[Any],
        over: NDArray[np.bool_],
        ended: NDArray[np.bool_],
    ) -> list[Seen]:
        masks = infos.get(MASK)
        return [
            self._layout.seen(
                observation,
                None if masks is None else {MASK: masks[i]},
                float(rewards[i]),
                bool(over[i]),
                bool(ended[i]),
            )
            for i, observation in enumerate(shown)
        ]


class OneOfVector(Copy):
    """The only environment of a vector."""

    def __init__(self, env: VectorEnv, *, flat: bool, channels_last: bool) -> None:
        self._copies = VectorCopies(env, None, flat=flat, channels_last=channels_last)

    @property
    def description(self) -> Description:
        """What it is a copy of."""
        return self._copies.describe()[0]

    def start(self, seed: int) -> Seen:
        """Reset the vector with this seed."""
        return _only(self._copies.start([seed]))

    def play(self, actions: Sequence[Any]) -> Seen:
        """Let the agent act."""
        return _only(self._copies.play(np.asarray([actions])))

    def picture(self) -> NDArray[np.uint8] | str:
        """What the environment draws."""
        frames = self._copies.env.render()
        return drawn(self._copies.env, None if frames is None else frames[0], self.description.name)

    def close(self) -> None:
        """Close the vector."""
        self._copies.close()


def _only(seen: Seen) -> Seen:
    return Seen(*(part[0] for part in seen))


def drawn(env: Any, frame: Any, name: str) -> NDArray[np.uint8] | str:
    """What an environment drew, if it did.

    Raises:
        UnsuitableEnvironmentError: it was made without a way to draw itself.
    """
    suitable(
        isinstance(frame, str | np.ndarray),
        f"{name} was made with render_mode {getattr(env, 'render_mode', None)!r}, which draws nothing that "
        "can be shown here: make it with rgb_array or ansi.",
    )
    return frame if isinstance(frame, str) else np.ascontiguousarray(frame, dtype=np.uint8)


NUM_ENVS = "num_envs"
"""How constructors of vectors are told how many environments to hold."""

DECIDED = (NUM_ENVS, "disable_env_checker", "vectorization_mode", "vector_kwargs", "wrappers")
"""What constructors take that is no setting of a game."""


@dataclass(frozen=True)
class VectorSource(Source):
    """A constructor of vectors: a pool is one vector of as many environments as there are copies."""

    make_vector: Callable[..., VectorEnv] = gymnasium.make_vec
    """Takes `num_envs`."""
    flat: bool = False
    channels_last: bool = True

    def pool(self, settings: Mapping[str, Any], copies: int) -> Pool:
        """Open a vector of so many environments."""
        make = functools.partial(self.make_vector, **self.told(settings), num_envs=copies)
        again = None if self.reuse else make
        return VectorCopies(make(), again, flat=self.flat, channels_last=self.channels_last)


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
    """Turn a Gymnasium environment's constructor into a game of one agent.

    The constructor's settings are the game's. As many environments are open as a learner plays episodes at
    once: one by one, or, where the constructor makes a vector (`gymnasium.vector.VectorEnv`), as one vector
    of so many, whose automatic resets are not seen. Each copy has a seed of its own, so vectors that draw for
    all copies from one seed are refused.

    Args:
        make_env: an id for `gymnasium.make`; a class, or a function, that makes one environment; or one that
            takes `num_envs` and makes a vector, as `functools.partial(gymnasium.make_vec, "CartPole-v1")`.
        horizon: the most steps of an episode; by default the `max_episode_steps` of its spec.
        discount: per step, from 0 to 1.
        workers: how many processes step single environments; 0: this one does.
        reuse: see `from_pettingzoo`.
        flat: whether observations are laid out as vectors, whatever their shape.
        channels_last: whether observations with three axes are [row, column, channel] rather than planes.
        settings: of the constructor, with other values than its own.

    Raises:
        ValueError: as `from_pettingzoo`; or a vector is to have worker processes of ours.

    Source:
        Towers et al., Gymnasium, arXiv 2407.17032.

    >>> import torch
    >>> game = from_gymnasium("FrozenLake-v1", is_slippery=False)
    >>> state = game.reset(2, torch.Generator().manual_seed(0))
    >>> game.is_slippery, game.observation_space, game.observe(state).tolist()
    (False, Discrete(16), [[0], [0]])
    """
    how: dict[str, Any] = {"flat": flat, "channels_last": channels_last}
    options: dict[str, Any] = {"horizon": horizon, "discount": discount, "workers": workers, "reuse": reuse}
    name = make_env if isinstance(make_env, str) else None
    make: Callable[..., Any] = make_env if callable(make_env) else functools.partial(gymnasium.make, make_env)
    if NUM_ENVS not in parameters_of(make).defaults:
        copy_of = functools.partial(GymnasiumCopy, **how)
        source = Source(make_env=make, copy_of=copy_of, parameters=_parameters, **options)
        return foreign_game(source, settings, name)
    require(workers == 0, "A vector steps its environments by itself: leave workers at 0.")
    source = VectorSource(
        make_env=functools.partial(make, num_envs=1),
        copy_of=functools.partial(OneOfVector, **how),
        parameters=_parameters,
        make_vector=make,
        **how,
        **options,
    )
    return foreign_game(source, settings, name)


def _parameters(make: Callable[..., Any], env: Any) -> Parameters:
    """What a constructor takes, but for what is decided here."""
    (single, *_) = getattr(env, "envs", None) or (env,)  # of a vector, one that it holds
    known = parameters_of(make, single)
    kept = {name: default for name, default in known.defaults.items() if name not in DECIDED}
    return known._replace(defaults=kept)

"""Copies of a game as one Gymnasium vector environment, with a row for each agent of each copy."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optree
import torch
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from games.adapters._copy_streams import CopyStreams
from games.adapters._parallel_env import MASK, flat_space, flatten, made_game
from games.core import Game, State, numbered_actions, require, require_separated, separated

RENDER_MODES = ("rgb_array",)
Infos = dict[str, Any]
"""By name an array with an entry for each row, and under "_" + name the mask of valid rows, as in Gymnasium.

After `reset` and `step`: "action_mask", int8 [row, action], if the game masks actions; "present", True where
the row's agent takes part, if agents may leave before the others. After `step` also "cooperated", if
cooperation is defined in the game, and the game's measures (`Game.measures`), of the step just played, also
in rows whose episode it ended. With same-step autoreset "final_obs" and "final_info" hold the last
observations and infos of ended episodes."""


class VectorView(VectorEnv[NDArray[Any], ArrayLike, NDArray[Any]]):
    """Copies of a game, on the CPU, as one Gymnasium vector environment; see `vector_env`.

    Row c N + i is agent i of copy c, N being the number of agents; all rows have the same spaces.
    SuperSuit (`pettingzoo_env_to_vec_env_v1`, then `concat_vec_envs_v1`) has the same layout for single-agent
    learners, but here all copies are one batch of tensors.

    Copy c is `ParallelView`, bit for bit: seeded with `reset(seed=s)` it draws what `ParallelView` draws when
    seeded with s + c (see `CopyStreams`), whatever the other copies do. All rows of a copy end together:
    terminated when the game's rules end the episode (`Game.ended`), truncated when only the horizon does. The
    row of an agent that left before the others (`Game.present`) has observations and rewards of zero until
    then, and is terminated in either case; its actions are ignored. Observations share memory with the game's
    tensors, which are new in each step.

    Args:
        game: a game with Discrete actions.
        copies: as in `vector_env`.
        seed: as in `vector_env`.
        autoreset_mode: as in `vector_env`.
        flat: as in `vector_env`.
        render_mode: as in `vector_env`.
        name: the environment's name in its metadata; the game's class by default.
    Raises:
        ValueError: as for `vector_env`.

    >>> from games import make
    >>> envs = VectorView(make("chicken"), copies=2)
    >>> _ = envs.reset(seed=0)
    >>> envs.step([0, 1, 1, 1])[1]  # rewards of both agents of copy 0, then of copy 1
    array([ -1.,   1., -10., -10.], dtype=float32)
    """

    def __init__(
        self,
        game: Game,
        copies: int,
        *,
        seed: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        flat: bool = False,
        render_mode: str | None = None,
        name: str | None = None,
    ) -> None:
        modes = [mode.value for mode in AutoresetMode]
        require(copies >= 1, f"A vector environment needs at least 1 copy of the game; copies is {copies}.")
        require(
            autoreset_mode in (*AutoresetMode, *modes),
            f"There is no autoreset mode {autoreset_mode!r}; there are {', '.join(modes)}.",
        )
        require(
            render_mode is None or render_mode in RENDER_MODES,
            f"A vector environment has no render mode {render_mode!r}; there is rgb_array, and None.",
        )
        self.game, self.copies = game, copies
        self.num_agents = game.num_agents
        self.num_envs = copies * self.num_agents
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.render_mode = render_mode
        self.metadata = {"name": name or type(game).__name__, "autoreset_mode": self.autoreset_mode}
        self.metadata |= {"render_modes": list(RENDER_MODES), "render_fps": 4}
        self._flat, self._game_space = flat, game.observation_space
        self._num_actions = numbered_actions(game, "A vector environment")
        self.single_observation_space = flat_space(self._game_space) if flat else self._game_space
        self.single_action_space: spaces.Discrete = spaces.Discrete(self._num_actions)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._streams = CopyStreams(copies, ahead=game.draws_by_rows)
        self._first_seed = seed
        self._state: State | None = None
        self._ended = torch.zeros(copies, dtype=torch.bool)

    @functools.cached_property
    def observation_space(self) -> spaces.Space[Any]:  # type: ignore[override]
        """The batched space; made on first use, as it is several times as large as the observations."""
        return batch_space(self.single_observation_space, self.num_envs)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[Any], Infos]:
        """Start an episode in every copy, or in some.

        Args:
            seed: reseeds the copies' random streams: seed + c for copy c, or one for each copy (None: its
                stream continues). Without a seed all streams continue.
            options: "reset_mask", boolean [row], the same for all rows of a copy: the copies to start.
        Raises:
            ValueError: there are not as many seeds as copies, or the mask does not fit.
        """
        options = options or {}
        which = self._copies_of(options["reset_mask"]) if "reset_mask" in options else None
        if seed is None and self._state is None:
            seed = self._first_seed
        if isinstance(seed, int | np.integer):
            super().reset(seed=int(seed))
            seed = [int(seed) + copy for copy in range(self.copies)]
        if seed is not None:
            require(
                len(seed) == self.copies,
                f"reset() takes a number, or a seed for each of the {self.copies} copies, not {len(seed)}.",
            )
            self._streams.seed_copies(seed)
        if which is None:
            with separated(self.game, self._streams, self.copies):
                self._state = self.game.reset(self.copies, self._streams)
            self._ended = torch.zeros(self.copies, dtype=torch.bool)
            require_separated(self.game, self._streams)
        else:
            self._state = self._restarted(self._started(), which)
            self._ended = self._ended & ~which
        return self._observed(self._state, self.game.present(self._state)), self._infos(self._state)

    def step(
        self, actions: ArrayLike
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], Infos]:
        """Play one step of every copy, with an integer action for each row.

        Raises:
            ResetNeeded: no episode has begun; or one has ended, and autoreset is disabled.
            ValueError: there is not one action for each row, or one is not legal.
        """
        before, resting = self._started(), self._ended
        if self.autoreset_mode is AutoresetMode.DISABLED and resting.any():
            raise ResetNeeded(
                f"The episode of copy {int(resting.int().argmax())} has ended, and autoreset is disabled: "
                "call reset(options={'reset_mask': ...}) before step()."
            )
        present = self.game.present(before)
        joint = self._joint(actions, before, present)
        with self._streams.only(~resting), separated(self.game, self._streams, self.copies):
            after, rewards, done = self.game.step(before, joint, self._streams)
        done = done & ~resting
        terminations, truncations = self._ends(after, done)
        measured = dict(self.game.measures(after))
        cooperated = self.game.cooperates(before, joint)
        if cooperated is not None:
            measured = {"cooperated": cooperated, **measured}
        rewards_paid = rewards.to(torch.float32).masked_fill(resting[:, None], 0)
        after = self._restarted(after, resting)
        visible = None if present is None else present | resting[:, None]
        observations, infos = self._observed(after, visible), self._infos(after, measured, ~resting)
        if self.autoreset_mode is AutoresetMode.SAME_STEP and done.any():
            final, last = observations, self._rows(done)
            after = self._restarted(after, done)
            visible = None if visible is None else visible | done[:, None]
            observations = self._observed(after, visible)
            final_info = {key: value & last if key[0] == "_" else value for key, value in infos.items()}
            infos |= self._infos(after)
            infos |= {"final_obs": _of_rows(final, last), "_final_obs": last}
            infos |= {"final_info": final_info, "_final_info": last.copy()}
            done = torch.zeros_like(done)
        self._state, self._ended = after, done
        return observations, rewards_paid.reshape(-1).numpy(), terminations, truncations, infos

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Draw every copy: a frame each, uint8 [height, width, 3]; ValueError without a render mode."""
        state = self._started()
        require(self.render_mode is not None, 'render() needs a mode: take render_mode="rgb_array".')
        return tuple(self.game.render(state, copy) for copy in range(self.copies))

    def _started(self) -> State:
        if self._state is None:
            raise ResetNeeded("No episode has begun: call reset() first.")
        return self._state

    def _restarted(self, state: State, which: Tensor) -> State:
        """Restart these copies, boolean [copy]: the new state; only their streams advance."""
        if not which.any():
            return state
        with self._streams.only(which), separated(self.game, self._streams, self.copies):
            return self.game.restart(state, which, self._streams)

    def _copies_of(self, mask: Any) -> Tensor:
        """The mask of copies, boolean [copy], from a mask of rows."""
        rows = np.asarray(mask)
        require(
            rows.dtype == np.bool_ and rows.shape == (self.num_envs,),
            f"reset_mask must be boolean, an entry for each of {self.num_envs} rows; it is {rows.dtype} "
            f"{rows.shape}.",
        )
        copies = rows.reshape(self.copies, self.num_agents)
        require(
            bool((copies.any(-1) == copies.all(-1)).all()),
            f"Agents of a copy start together: reset_mask must be the same in each {self.num_agents} rows.",
        )
        return torch.from_numpy(copies[:, 0].copy())

    def _joint(self, actions: ArrayLike, before: State, present: Tensor | None) -> Tensor:
        """The joint actions, integer [copy, agent], with legal ones where they are ignored."""
        chosen = torch.as_tensor(actions)
        whole = not (chosen.is_floating_point() or chosen.is_complex() or chosen.dtype == torch.bool)
        require(
            whole and chosen.shape == (self.num_envs,),
            f"step() needs an integer for each of {self.num_envs} rows ({self.copies} copies of "
            f"{self.num_agents} agents), not {chosen.dtype} {tuple(chosen.shape)}.",
        )
        low, high = (int(bound) for bound in chosen.aminmax())
        require(
            low >= 0 and high < self._num_actions,
            f"Actions must be integers from 0 to {self._num_actions - 1}, not {low if low < 0 else high}.",
        )
        joint = chosen.long().reshape(self.copies, self.num_agents)
        legal = self.game.action_mask(before)
        if present is not None or self._ended.any():
            idle = self._ended[:, None] if present is None else self._ended[:, None] | ~present
            joint = torch.where(idle, 0 if legal is None else legal.int().argmax(-1), joint)
        if legal is not None:
            allowed = legal.gather(-1, joint[..., None])[..., 0]
            if not allowed.all():
                row = int((~allowed).flatten().int().argmax())
                raise ValueError(
                    f"Row {row} (agent {row % self.num_agents} of copy {row // self.num_agents}) may not "
                    f"choose action {int(joint.flatten()[row])} now: see infos['action_mask']."
                )
        return joint

    def _ends(self, after: State, done: Tensor) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Terminations and truncations, [row]; see the class."""
        over = done & self.game.ended(after)
        cut = done & ~over
        present = self.game.present(after)
        if present is None:
            return self._rows(over), self._rows(cut)
        left = over[:, None] | (cut[:, None] & ~present)
        return left.reshape(-1).numpy(), (cut[:, None] & present).reshape(-1).numpy()

    def _rows(self, copies_mask: Tensor) -> NDArray[np.bool_]:
        """The mask of rows from a mask of copies: boolean [copy] -> [row]."""
        return np.repeat(copies_mask.numpy(), self.num_agents)

    def _observed(self, state: State, present: Tensor | None) -> NDArray[Any]:
        """Observations, [row, ...], in memory of their own; zeros for agents that have left."""
        observations = _unshared(self.game.observe(state), state)
        if present is not None:
            mask = present.reshape(*present.shape, *[1] * (observations.ndim - 2))
            observations = torch.where(mask, observations, torch.zeros_like(observations))
        rows = observations.flatten(0, 1).numpy().astype(self._game_space.dtype, copy=False)
        return flatten(rows, self._game_space) if self._flat else rows

    def _infos(
        self, state: State, measured: Mapping[str, Tensor] = {}, played: Tensor | None = None
    ) -> Infos:
        """The infos of all rows, and measures of the step for rows of stepped copies; see `Infos`."""
        infos: Infos = {}
        now = {MASK: self.game.action_mask(state), "present": self.game.present(state)}
        for name, values in {**now, **measured}.items():
            if values is not None:
                rows = _unshared(values, state).flatten(0, 1).numpy()
                infos[name] = rows.astype(np.int8) if name == MASK else rows
                everybody = np.ones(self.num_envs, dtype=np.bool_)
                infos[f"_{name}"] = everybody if played is None or name in now else self._rows(played)
        return infos


def vector_env(
    game: str | Game,
    copies: int,
    *,
    seed: int | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    flat: bool = False,
    render_mode: str | None = None,
    **settings: Any,
) -> VectorView:
    """Make many copies of a game as one Gymnasium vector environment, for parameter sharing.

    Args:
        game: name in the catalogue, or a game, possibly wrapped with sharing or gifts.
        copies: number of copies; the environment has a row for each agent of each copy.
        seed: seed of the first `reset` without a seed.
        autoreset_mode: restart of copies whose episode ended: `AutoresetMode.SAME_STEP`, in that step;
            `NEXT_STEP`, in the next one, which ignores their actions and gives rewards of 0; `DISABLED`, by
            `reset(options={"reset_mask": ...})`. Or the mode's value, such as "SameStep".
        flat: flatten observations to float32 vectors; see `games.adapters.parallel_env`.
        render_mode: "rgb_array" for frames, None if `render` is never called.
        settings: the game's settings, if it is named.
    Returns:
        A Gymnasium vector environment with a row for each agent of each copy.
    Raises:
        ValueError: there is no such game, setting or mode; settings come with a game already made; there is
            no copy; or actions are continuous.
    Source:
        Gymnasium's vector API, https://gymnasium.farama.org/api/vector/ and its page on autoreset modes.

    >>> envs = vector_env("escape-room", copies=2)
    >>> observations, infos = envs.reset(seed=0)
    >>> observations, rewards, terminations, truncations, infos = envs.step([0, 2, 1, 1])
    >>> rewards, terminations
    (array([-1., 10.,  0.,  0.], dtype=float32), array([ True,  True, False, False]))
    >>> infos["cooperated"]
    array([ True, False, False, False])
    """
    made, name = made_game(game, settings)
    return VectorView(
        made, copies, seed=seed, autoreset_mode=autoreset_mode, flat=flat, render_mode=render_mode, name=name
    )


def _unshared(values: Tensor, state: State) -> Tensor:
    """The same values, in memory not shared with the state."""
    memory = values.untyped_storage().data_ptr()
    shared = any(leaf.untyped_storage().data_ptr() == memory for leaf in optree.tree_leaves(state))
    return values.clone() if shared else values


def _of_rows(values: NDArray[Any], which: NDArray[np.bool_]) -> NDArray[Any]:
    """An object for each row, as in Gymnasium: the values of these rows, None for the others."""
    objects = np.full(len(values), None, dtype=object)
    objects[which] = np.fromiter(values[which], dtype=object)
    return objects

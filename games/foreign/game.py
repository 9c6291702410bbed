"""Copies of an environment from outside, behind the contract of this toolkit's games."""

from __future__ import annotations

import itertools
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.base import Game
from games.errors import require
from games.foreign.contract import Description, MakeCopy, Seen
from games.foreign.pools import LocalCopies, Pool
from games.foreign.workers import WorkerCopies
from games.pen import resized
from games.table_frame import draw_table

SEEDS = 2**31 - 1
"""Copies are started with a seed from 0 to here, exclusive: every environment takes these."""

MOMENTS = itertools.count()
"""Numbers for states: no two of this process have the same."""


class ForeignState(NamedTuple):
    """What the copies show; their own states lie with them, out of reach."""

    observations: Tensor
    """Float32 [batch, agent, *shape], or int64 [batch, agent]."""
    action_mask: Tensor
    """Which actions are legal now, boolean [batch, agent, action]; all of them for agents that have left."""
    present: Tensor
    """Who still plays, boolean [batch, agent]; a copy is over when nobody does."""
    over_by_rules: Tensor
    """Which copies are over by the rules, rather than cut off: boolean [batch]."""
    time: Tensor
    """Steps played, integer [batch]."""
    moment: Tensor
    """Which state of the copies this is, the same number for all: integer [batch]."""


class ForeignGame(Game):
    """Copies of an environment that others wrote, played as one game.

    Unlike the games written here it is not a pure function: the copies move on when they are stepped. So only
    the latest state can be stepped, restarted or drawn, and the batch is always all copies. What the
    environment draws follows from seeds that `reset` and `restart` take from their generator, one per copy:
    the same seeds and actions give the same episodes, whatever the number of workers.

    An agent that leaves before the others gets no reward from then on, keeps its last observation, and may
    choose any action, as none counts. Copies that are over stand still. Rewards are of torch's default type.

    Args:
        make_copy: makes one copy.
        copies: how many, at least 1.
        workers: how many processes step them; 0: this one does. At most as many as copies.
        horizon: the most steps of an episode; by default what the environment says.

    Raises:
        ValueError: a number is out of range, the copies differ from each other, or the environment cannot be
            a game here (says why).
        CopyError: the environment's own code failed (says in which copy).
    """

    def __init__(
        self, make_copy: MakeCopy, *, copies: int, workers: int = 0, horizon: int | None = None
    ) -> None:
        require(copies >= 1, f"There must be at least 1 copy; copies is {copies}.")
        require(
            0 <= workers <= copies,
            f"workers must be from 0 to the number of copies, {copies}; it is {workers}.",
        )
        require(horizon is None or horizon >= 1, f"An episode needs at least 1 step; horizon is {horizon}.")
        self._settings = (make_copy, copies, workers, horizon)
        self._latest = -1
        self._closed = False
        self._pool: Pool = (
            WorkerCopies(make_copy, copies, workers) if workers else LocalCopies(make_copy, range(copies))
        )
        descriptions = self._pool.describe()
        self._description: Description = descriptions[0]
        known = horizon or self._description.horizon
        try:
            require(
                all(other == self._description for other in descriptions),
                f"The copies of {self.name} differ in agents, spaces or horizon: make_env must make the same "
                "environment each time.",
            )
            require(
                known is not None,
                f"{self.name} does not say how long an episode may be: pass horizon, the most steps of one.",
            )
        except ValueError:
            self.close()
            raise
        assert known is not None
        self._horizon: int = known

    def __repr__(self) -> str:
        _, copies, workers, _ = self._settings
        return f"ForeignGame({self.name}, copies={copies}, workers={workers}, horizon={self.horizon})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what it was made from: a copy of the game has environments of its own."""
        return _reopen, self._settings

    def __enter__(self) -> ForeignGame:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """What the environment calls itself."""
        return self._description.name

    @property
    def agent_names(self) -> tuple[str, ...]:
        """What the environment calls its agents, in the order of the agent axis."""
        return self._description.agents

    @property
    def copies(self) -> int:
        """How many there are: the only batch."""
        return self._settings[1]

    @property
    def num_agents(self) -> int:
        """How many agents play."""
        return len(self._description.agents)

    @property
    def horizon(self) -> int:
        """The most steps one episode can take."""
        return self._horizon

    @property
    def action_space(self) -> spaces.Discrete:
        """One agent's actions, those that only some agents have included; `action_mask` tells."""
        return spaces.Discrete(self._description.num_actions)

    @property
    def observation_space(self) -> spaces.Box | spaces.Discrete:
        """One agent's observation."""
        return self._description.observation_space

    def reset(self, batch: int, generator: torch.Generator) -> ForeignState:
        """Start an episode in every copy.

        Raises:
            ValueError: the batch is not the number of copies, or the game is closed.
        """
        self._require_open()
        require(
            batch == self.copies,
            f"{self.name} was opened with copies={self.copies}, so the batch must be that; it is {batch}.",
        )
        self._latest = -1
        seen = self._pool.start(self._seeds(generator))
        return self._state(seen, torch.zeros(batch, dtype=torch.int64, device=generator.device))

    def observe(self, state: ForeignState) -> Tensor:
        """What each agent sees: float32 [batch, agent, *shape] or int64 [batch, agent]."""
        return state.observations

    def action_mask(self, state: ForeignState) -> Tensor:
        """Which actions are legal, boolean [batch, agent, action]; `step` refuses the others."""
        return state.action_mask

    def present(self, state: ForeignState) -> Tensor:
        """Which agents still take part, boolean [batch, agent]."""
        return state.present

    def ended(self, state: ForeignState) -> Tensor:
        """Which copies are over by the environment's rules, rather than cut off: boolean [batch]."""
        return state.over_by_rules

    def step(
        self, state: ForeignState, actions: Tensor, generator: torch.Generator
    ) -> tuple[ForeignState, Tensor, Tensor]:
        """Step every copy that is not over; see `Game.step` for the shapes. The generator is not used.

        Raises:
            ValueError: the state is not the latest, or an action is not legal (says whose, and what is).
            CopyError: the environment's own code failed (says in which copy).
        """
        self._require_latest(state)
        self._require_legal(state, actions)
        self._latest = -1  # if the environment fails, there is no latest state any more
        seen = self._pool.play(actions.detach().cpu().numpy().astype(np.int64))
        after = self._state(seen, state.time + 1)
        rewards = torch.from_numpy(seen.rewards).to(after.time.device, torch.get_default_dtype())
        return after, rewards, ~after.present.any(-1) | (after.time >= self.horizon)

    def restart(self, state: ForeignState, done: Tensor, generator: torch.Generator) -> ForeignState:
        """Start a new episode in the copies that are done, and only there; see `Game.restart`."""
        self._require_latest(state)
        require(
            tuple(done.shape) == (self.copies,),
            f"done must be boolean [batch] = ({self.copies},), not {tuple(done.shape)}.",
        )
        self._latest = -1
        seeds = self._seeds(generator)
        chosen = [seed if over else None for seed, over in zip(seeds, done.tolist(), strict=True)]
        return self._state(self._pool.start(chosen), state.time.masked_fill(done, 0))

    def render(self, state: ForeignState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        """Draw copy `index`: the environment's own frame, or its text as a picture.

        Raises:
            ValueError: the state is not the latest, there is no such copy, or the environment was made
                without a way to draw itself.
        """
        self._require_latest(state)
        require(
            0 <= index < self.copies, f"Copies count from 0 to {self.copies - 1}; there is no copy {index}."
        )
        picture = self._pool.picture(index)
        if isinstance(picture, str):
            lines = picture.splitlines() or [""]
            return draw_table(self.name, [[line] for line in lines], scale=scale)
        return resized(picture, scale)

    def close(self) -> None:
        """Close the environments and end the worker processes; a second time does nothing."""
        self._closed = True
        self._pool.close()

    def _seeds(self, generator: torch.Generator) -> list[int]:
        seeds: list[int] = torch.randint(
            SEEDS, (self.copies,), generator=generator, device=generator.device
        ).tolist()
        return seeds

    def _state(self, seen: Seen, time: Tensor) -> ForeignState:
        self._latest = next(MOMENTS)
        legal = seen.legal | ~seen.present[..., None]
        return ForeignState(
            observations=torch.from_numpy(seen.observations).to(time.device),
            action_mask=torch.from_numpy(legal).to(time.device),
            present=torch.from_numpy(seen.present).to(time.device),
            over_by_rules=torch.from_numpy(seen.ended).to(time.device),
            time=time,
            moment=torch.full_like(time, self._latest),
        )

    def _require_open(self) -> None:
        require(not self._closed, f"{self.name} is closed: make the game again.")

    def _require_latest(self, state: ForeignState) -> None:
        self._require_open()
        moments = set(state.moment.tolist())
        require(
            moments == {self._latest} and len(state.moment) == self.copies,
            f"This is not the latest state of {self.name}: its environments have moved on, or were never "
            "there, and cannot go back.",
        )

    def _require_legal(self, state: ForeignState, actions: Tensor) -> None:
        expected = tuple(state.present.shape)
        require(
            tuple(actions.shape) == expected and not actions.is_floating_point(),
            f"Actions must be integers [batch, agent] = {expected}, not {actions.dtype} "
            f"{tuple(actions.shape)}.",
        )
        width = state.action_mask.shape[-1]
        index = actions.long().clamp(0, width - 1)
        legal = state.action_mask.gather(-1, index.unsqueeze(-1)).squeeze(-1) & (index == actions)
        if legal.all():
            return
        copy, agent = (~legal).nonzero()[0].tolist()
        choices = state.action_mask[copy, agent].nonzero().flatten().tolist()
        raise ValueError(
            f"In copy {copy} of {self.name}, {self.agent_names[agent]} may not choose action "
            f"{int(actions[copy, agent])}; it may choose {', '.join(map(str, choices)) or 'nothing'}."
        )


def _reopen(make_copy: MakeCopy, copies: int, workers: int, horizon: int | None) -> ForeignGame:
    return ForeignGame(make_copy, copies=copies, workers=workers, horizon=horizon)

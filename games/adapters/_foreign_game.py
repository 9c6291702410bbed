"""Foreign environments as games."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from games.adapters._constructors import RENDER_MODE
from games.adapters._copies import CopyResult, Description, RunningCopies
from games.adapters._source import IMAGE_MODES, EnvironmentSource
from games.core import Game, Step, alias, computed, require
from games.render import draw_table, resized

SEEDS = 2**31 - 1  # copies are started with a seed from 0 to here, exclusive: every environment takes these


class ForeignState(NamedTuple):
    """Observations and masks of all copies; their own states stay in the environments."""

    observations: Tensor  # float32 [batch, agent, *shape], or int64 [batch, agent]
    action_mask: Tensor  # legal actions, boolean [batch, agent, action]; all for agents that have left
    present: Tensor  # agents that take part, boolean [batch, agent]; a copy is over when none does
    terminated: Tensor  # copies that are over by the rules, rather than truncated: boolean [batch]
    time: Tensor  # steps played, integer [batch]
    version: Tensor  # version of this state, the same for all copies: integer [batch]


@dataclass(frozen=True, kw_only=True)
class ForeignGame(Game):
    """A foreign environment as a game.

    `from_pettingzoo`, `from_gymnasium` and `from_openspiel` make a subclass for each constructor, whose
    fields are the constructor's settings.

    The batch of `reset` is the number of open environments: for a learner, its seeds times its episodes. A
    copy constructs a new one for each episode, unless the game was registered with reuse. Unlike
    the toolkit's own games they are not pure functions: only the latest state of a batch can be stepped,
    restarted or drawn. All draws of an environment follow from a seed for each copy, which `reset` and
    `restart` take from their generator: the same seeds and actions give the same episodes, whatever the
    number of workers.

    An agent that leaves before the others gets no reward from then on, keeps its last observation, and may
    choose any action, which is ignored. Copies that are over are not stepped. Rewards have torch's default
    dtype.

    Raises:
        ValueError: the constructor refuses its settings, or the environment cannot be a game of this
            toolkit (says why).

    >>> from games.adapters import from_gymnasium
    >>> with from_gymnasium("CartPole-v1") as game:  # closes the environments at the end
    ...     state = game.reset(3, torch.Generator().manual_seed(0))  # opens three
    ...     isinstance(game, ForeignGame), state.observations.shape
    (True, torch.Size([3, 1, 4]))
    """

    source: ClassVar[EnvironmentSource]
    label: ClassVar[str]
    """The environment's name in error messages."""
    described: ClassVar[dict[tuple[Any, ...], Description]]
    """Settings -> the description of environments that have them."""

    name = alias("description.name")
    agent_names = alias("description.agents")  # the environment's names, in the order of the agent axis
    num_agents = computed(lambda self: len(self.description.agents))
    horizon = computed(lambda self: self.source.horizon or self.description.horizon)
    discount = alias("source.discount")
    truncates = True
    action_space = alias("description.action_space")
    observation_space = alias("description.observation_space")
    can_render = computed(lambda self: any(mode in IMAGE_MODES for mode in self.description.render_modes))

    def __post_init__(self) -> None:
        _ = self.description  # raises if the environment is unsuitable

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the constructor and settings: a copy of the game opens its own environments."""
        return foreign_game, (self.source, self.settings, self.label)

    def __enter__(self) -> ForeignGame:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's settings."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @functools.cached_property
    def description(self) -> Description:
        """The environment's description."""
        key = tuple(self.settings.values())
        if key not in self.described:
            defaults = {field.name: field.default for field in dataclasses.fields(self)}
            env = self.source.environment(self.settings, self.label, defaults)
            self.described[key] = self.source.describe(env, self.settings)
        return self.described[key]

    @functools.cached_property
    def _copies(self) -> dict[int, RunningCopies]:
        return {}  # by batch

    def reset(self, batch: int, generator: torch.Generator) -> ForeignState:
        """Start an episode in each of this many copies, opening them if necessary.

        Raises:
            ValueError: the batch is empty.
            CopyError: the environment's own code failed (says in which copy).
        """
        require(batch >= 1, f"There must be at least 1 copy; batch is {batch}.")
        running = self._copies.get(batch)
        if running is None:
            source, settings, modes = self.source, self.settings, self.description.render_modes
            make_drawable = functools.partial(source.drawable_copy, settings, modes)
            running = self._copies[batch] = RunningCopies(source.pool(settings, batch), make_drawable)
        result = running.reset(list(_seeds(batch, generator)))
        return _state(running, result, torch.zeros(batch, dtype=torch.int64, device=generator.device))

    def observe(self, state: ForeignState) -> Tensor:
        return state.observations

    def action_mask(self, state: ForeignState) -> Tensor | None:
        return state.action_mask if isinstance(self.action_space, spaces.Discrete) else None

    def present(self, state: ForeignState) -> Tensor:
        return state.present

    def ended(self, state: ForeignState) -> Tensor:
        return state.terminated

    def step(self, state: ForeignState, actions: Tensor, generator: torch.Generator) -> Step:
        """Step every copy that is not over; see `Game.step` for the shapes. The generator is not used.

        Raises:
            ValueError: the state is not the latest, or an action is not legal (says whose, and what is).
            CopyError: the environment's own code failed (says in which copy).
        """
        running = self._latest(state)
        if isinstance(self.action_space, spaces.Box):
            self._require_within(state, actions, self.action_space)
        else:
            self._require_legal(state, actions)
        result = running.step(actions.detach().cpu().numpy())
        after = _state(running, result, state.time + 1)
        rewards = torch.from_numpy(result.rewards).to(after.time.device, torch.get_default_dtype())
        return after, rewards, ~after.present.any(-1) | (after.time >= self.horizon)

    def restart(self, state: ForeignState, done: Tensor, generator: torch.Generator) -> ForeignState:
        running = self._latest(state)
        require(
            tuple(done.shape) == (len(state.time),),
            f"done must be boolean [batch] = ({len(state.time)},), not {tuple(done.shape)}.",
        )
        seeds = _seeds(len(state.time), generator)
        chosen = [seed if over else None for seed, over in zip(seeds, done.tolist(), strict=True)]
        return _state(running, running.reset(chosen), state.time.masked_fill(done, 0))

    def render(self, state: ForeignState, index: int = 0, scale: float = 1.0) -> np.ndarray:
        """Draw copy `index`: the environment's own frame, or its text as a picture.

        Raises:
            ValueError: the state is not the latest, there is no such copy, or the environment was made
                without a way to draw itself.
        """
        running = self._latest(state)
        copies = len(state.time)
        require(0 <= index < copies, f"Copies count from 0 to {copies - 1}; there is no copy {index}.")
        frame = running.render(index)
        if isinstance(frame, str):
            lines = frame.splitlines() or [""]
            return draw_table(self.name, [[line] for line in lines], scale=scale)
        return resized(frame, scale)

    def close(self) -> None:
        """Close the environments and end the worker processes; `reset` opens new ones."""
        while self._copies:
            self._copies.popitem()[1].close()

    def _latest(self, state: ForeignState) -> RunningCopies:
        """The copies of this state."""
        running = self._copies.get(len(state.version))
        require(
            running is not None and set(state.version.tolist()) == {running.version},
            f"This is not the latest state of {self.name}: its environments have moved on, or were never "
            "there, and cannot go back.",
        )
        assert running is not None
        return running

    def _require_within(self, state: ForeignState, actions: Tensor, box: spaces.Box) -> None:
        expected = (*state.present.shape, *box.shape)
        require(
            tuple(actions.shape) == expected and actions.is_floating_point(),
            f"Actions must be floats [batch, agent, number] = {expected}, not {actions.dtype} "
            f"{tuple(actions.shape)}.",
        )
        low, high = (torch.as_tensor(bound).to(actions) for bound in (box.low, box.high))
        outside = ~((actions >= low) & (actions <= high))
        if outside.any():
            copy, agent, number = outside.nonzero()[0].tolist()
            raise ValueError(
                f"In copy {copy} of {self.name}, number {number} of {self.agent_names[agent]}'s action is "
                f"{float(actions[copy, agent, number])}; it must be from {box.low[number]:g} to "
                f"{box.high[number]:g}."
            )

    def _require_legal(self, state: ForeignState, actions: Tensor) -> None:
        expected = tuple(state.present.shape)
        require(
            tuple(actions.shape) == expected and not actions.is_floating_point(),
            f"Actions must be integers [batch, agent] = {expected}, not {actions.dtype} "
            f"{tuple(actions.shape)}.",
        )
        index = actions.long().clamp(0, state.action_mask.shape[-1] - 1)
        legal = state.action_mask.gather(-1, index.unsqueeze(-1)).squeeze(-1) & (index == actions)
        if legal.all():
            return
        copy, agent = (~legal).nonzero()[0].tolist()
        choices = state.action_mask[copy, agent].nonzero().flatten().tolist()
        raise ValueError(
            f"In copy {copy} of {self.name}, {self.agent_names[agent]} may not choose action "
            f"{int(actions[copy, agent])}; it may choose {', '.join(map(str, choices)) or 'nothing'}."
        )


def _seeds(batch: int, generator: torch.Generator) -> list[int]:
    """A seed for each copy, by the copy's own row of draws."""
    seeds: list[int] = torch.randint(SEEDS, (batch,), generator=generator, device=generator.device).tolist()
    return seeds


def _state(running: RunningCopies, result: CopyResult, time: Tensor) -> ForeignState:
    legal = result.legal | ~result.present[..., None]
    arrays = (result.observations, legal, result.present, result.ended)
    tensors = (torch.from_numpy(array).to(time.device) for array in arrays)
    return ForeignState._make((*tensors, time, torch.full_like(time, running.version)))


RESERVED = frozenset(dir(ForeignGame))
"""Names that an environment's settings cannot have, as they are attributes of a game."""


def foreign_game(
    source: EnvironmentSource, settings: Mapping[str, Any], name: str | None = None
) -> ForeignGame:
    """Make the game class of a constructor, and its game with these settings.

    Settings that a command line can represent become fields of the game; the rest are fixed. `name` stands
    for the environment in errors until its own name is known.
    """
    source.parameters(source.make_env, None).require(settings, name or "the environment")
    env = source.environment(settings, name or "The environment", {})
    known = source.parameters(source.make_env, env)
    options = known.options(settings, RESERVED)
    fixed = {key: value for key, value in settings.items() if key not in options}
    lists = (key for key in options if isinstance((known.defaults | dict(settings))[key], list))
    source = dataclasses.replace(
        source,
        fixed={**source.fixed, **fixed},
        lists=frozenset(lists),
        drawable=RENDER_MODE in known.defaults and RENDER_MODE not in fixed,
    )
    defaults = {key: option.default for key, option in options.items()}
    description = source.describe(env, defaults)
    kind = dataclasses.make_dataclass(
        re.sub(r"\W", "_", description.name),
        [(key, option.hint, dataclasses.field(default=option.default)) for key, option in options.items()],
        bases=(ForeignGame,),
        frozen=True,
        kw_only=True,
        namespace={
            "source": source,
            "label": description.name,
            "described": {tuple(defaults.values()): description},
            "__module__": __name__,
            "__doc__": f"{description.name}: an environment from outside.",
        },
    )
    game: ForeignGame = kind()
    return game

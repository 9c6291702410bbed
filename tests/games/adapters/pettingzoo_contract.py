"""What a game's PettingZoo view must keep to, where PettingZoo's own tests are lenient; and the games asked.

`check_contract(make)` takes a function that makes a fresh environment.
"""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from games import make, names
from games.adapters import ParallelView
from games.core import Game
from games.matrix import EscapeRoom

Make = Callable[[], ParallelView]

INFOS = {"cooperated": bool, "extrinsic_reward": float, "given": float, "received": float}
INFOS |= {"cleaned": int, "delivered": int, "passed": float}  # measures of single games

LONGEST = 10
"""Steps that say as much about an environment as a thousand."""


def shortened(game: Game) -> Game:
    """The same with episodes that are not too long to be played many times over."""
    if not any(field.name == "horizon" for field in dataclasses.fields(game)):
        return game
    return dataclasses.replace(game, horizon=min(game.horizon, LONGEST))


GAMES: dict[str, Game] = {name: shortened(make(name)) for name in names()} | {
    "escape-room (random start)": EscapeRoom(agents=3, levers=2, random_start=True),
    "escape-room (gifts hidden)": EscapeRoom(agents=4, observe_gifts=False),
}

every_game = pytest.mark.parametrize("game", GAMES.values(), ids=GAMES.keys())


def check_contract(make: Make) -> None:
    """Run every check below."""
    for check in (
        check_spaces,
        check_types_and_keys,
        check_seeds,
        check_pickling,
        check_equals_the_game,
        check_equals_the_batch,
        check_truncation,
        check_refusals,
        check_frames,
        check_close,
    ):
        check(make)


def random_actions(view: ParallelView, draws: np.random.Generator) -> dict[str, Any]:
    """A legal action for each agent present."""
    return {agent: random_action(view.action_space(agent), draws) for agent in view.agents}


def random_action(space: spaces.Discrete | spaces.Box, draws: np.random.Generator) -> Any:
    if isinstance(space, spaces.Discrete):
        return int(draws.integers(space.n))
    return draws.uniform(space.low, space.high).astype(space.dtype)


def no_actions(game: Game, batch: int) -> torch.Tensor:
    """Zeros in the shape and type of a batch of joint actions."""
    if isinstance(game.action_space, spaces.Box):
        return torch.zeros(batch, game.num_agents, *game.action_space.shape)
    return torch.zeros(batch, game.num_agents, dtype=torch.int64)


def play(view: ParallelView, seeds: list[int | None], actions_seed: int = 7) -> Iterator[tuple[Any, ...]]:
    """Everything that comes out of one episode for each seed."""
    draws = np.random.default_rng(actions_seed)
    for seed in seeds:
        yield view.reset(seed=seed)
        while view.agents:
            yield *view.step(random_actions(view, draws)), view.state()


def same(one: Any, other: Any) -> bool:
    """Equality of nested tuples and dicts, to the last bit and the last type."""
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and np.array_equal(one, other)


def assert_same(one: Iterator[tuple[Any, ...]], other: Iterator[tuple[Any, ...]]) -> None:
    for mine, theirs in zip(one, other, strict=True):
        assert same(mine, theirs), f"{mine} differs from {theirs}"


def check_spaces(make: Make) -> None:
    """The same objects at each call, but not shared between agents, whose sampling would get entangled."""
    view = make()
    assert view.max_num_agents == len(set(view.possible_agents)) == view.game.num_agents
    for space_of in (view.observation_space, view.action_space):
        spaces = [space_of(agent) for agent in view.possible_agents]
        assert all(
            space_of(agent) is space for agent, space in zip(view.possible_agents, spaces, strict=True)
        )
        assert len({id(space) for space in spaces}) == len(spaces)
    assert view.state_space is view.state_space


def check_types_and_keys(make: Make, episodes: int = 3) -> None:
    """Observations inside their spaces, float rewards, Python bools, exactly the agents who were there."""
    view, draws = make(), np.random.default_rng(3)
    for _ in range(episodes):
        observations, infos = view.reset()
        everybody = view.possible_agents
        assert view.agents == list(observations) == list(infos) == everybody
        assert all(view.observation_space(agent).contains(observations[agent]) for agent in everybody)
        while view.agents:
            acting = view.agents
            observations, rewards, terminations, truncations, infos = view.step(random_actions(view, draws))
            for answer in (observations, rewards, terminations, truncations, infos):
                assert type(answer) is dict
                assert list(answer) == acting
            for agent in acting:
                assert view.observation_space(agent).contains(observations[agent])
                assert type(rewards[agent]) is float
                assert np.isfinite(rewards[agent])
                assert type(terminations[agent]) is bool
                assert type(truncations[agent]) is bool
                assert not (terminations[agent] and truncations[agent])
                assert type(infos[agent]) is dict
                assert all(type(value) is INFOS[key] for key, value in infos[agent].items())
            assert view.state_space.contains(view.state())
            left = [agent for agent in acting if terminations[agent] or truncations[agent]]
            assert view.agents == [agent for agent in acting if agent not in left]
            assert leaves_one_by_one(view.game) or left in ([], everybody)


def check_seeds(make: Make) -> None:
    """A seed fixes its own episode and the unseeded ones that follow, in any environment made alike."""
    seeds: list[int | None] = [11, None, None, 5, None]
    assert_same(play(make(), seeds), play(make(), seeds))
    used = make()
    list(play(used, [99, None]))
    assert_same(play(used, seeds), play(make(), seeds))


def check_pickling(make: Make) -> None:
    """A copy goes on as the original does: never seeded, or amid a seeded episode."""
    view = make()
    assert_same(play(pickle.loads(pickle.dumps(view)), [None, None]), play(view, [None, None]))
    view.reset(seed=1)
    copy = pickle.loads(pickle.dumps(view))
    actions = random_actions(view, np.random.default_rng(0))
    assert same(view.step(actions), copy.step(actions))
    assert_same(play(copy, [None]), play(view, [None]))


def stack(values: dict[str, Any]) -> np.ndarray:
    return np.stack([np.asarray(value) for value in values.values()])


def seen(game: Game, state: Any, agents: list[int]) -> np.ndarray:
    shown: np.ndarray = game.observe(state)[0, agents].numpy()
    return shown


def leaves_one_by_one(game: Game) -> bool:
    """Whether agents may leave before the others."""
    generator = torch.Generator().manual_seed(0)
    return game.present(game.reset(1, generator)) is not None


def check_equals_the_game(make: Make) -> None:
    """Bit for bit what the tensor game gives from the same seed, over several episodes."""
    view, draws = make(), np.random.default_rng(1)
    game, generator = view.game, torch.Generator().manual_seed(42)
    for seed in (42, None, None):
        observations, _ = view.reset(seed=seed)
        state, done = game.reset(1, generator), torch.zeros(1, dtype=torch.bool)
        while not done:
            acting = [view.possible_agents.index(agent) for agent in view.agents]
            assert np.array_equal(
                stack({i: observations[f"agent_{i}"] for i in acting}), seen(game, state, acting)
            )
            actions = random_actions(view, draws)
            joint = no_actions(game, 1)
            joint[0, acting] = torch.tensor(np.array(list(actions.values())))
            cooperates = game.cooperates(state, joint)
            state, expected, done = game.step(state, joint, generator)
            observations, rewards, terminations, truncations, infos = view.step(actions)
            assert list(rewards.values()) == expected[0, acting].tolist()
            present = game.present(state)
            stays = torch.ones(len(acting), dtype=torch.bool) if present is None else present[0, acting]
            over = bool(game.ended(state))
            assert list(terminations.values()) == [over or not here for here in stays.tolist()]
            assert list(truncations.values()) == [bool(done) and not over and here for here in stays.tolist()]
            told = [info.get("cooperated") for info in infos.values()]
            assert told == ([None] * len(acting) if cooperates is None else cooperates[0, acting].tolist())
        assert np.array_equal(stack(observations), seen(game, state, acting))


def draws_nothing(game: Game) -> bool:
    """Whether `reset` and `step` leave the generator alone, so that copies do not depend on each other."""
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    game.step(game.reset(2, generator), no_actions(game, 2), generator)
    return torch.equal(before, generator.get_state())


def check_equals_the_batch(make: Make, batch: int = 4) -> None:
    """As many views as copies, side by side; only where nothing is drawn, as a batch shares one stream."""
    views, draws = [make() for _ in range(batch)], np.random.default_rng(2)
    game, generator = views[0].game, torch.Generator()
    if not draws_nothing(game) or leaves_one_by_one(game):
        return
    state = game.reset(batch, generator)
    for view in views:
        view.reset()
    while all(view.agents for view in views):
        actions = [random_actions(view, draws) for view in views]
        joint = torch.tensor(np.array([list(each.values()) for each in actions]))
        state, rewards, done = game.step(state, joint, generator)
        seen = game.observe(state)
        for i, (view, each) in enumerate(zip(views, actions, strict=True)):
            observations, own, *_ = view.step(each)
            assert np.array_equal(stack(observations), seen[i].numpy())
            assert list(own.values()) == rewards[i].tolist()
            assert (not view.agents) == bool(done[i])


def check_truncation(make: Make) -> None:
    """`max_cycles` can be written: below the horizon it cuts the episode off, above it changes nothing."""
    view = make()
    horizon = view.game.horizon
    assert view.max_cycles == horizon
    for cycles in {1, max(1, horizon // 2), horizon, horizon + 1000}:
        view.max_cycles = cycles
        steps = list(play(view, [0]))[1:]
        *_, terminations, truncations, _, _ = steps[-1]
        assert len(steps) <= min(cycles, horizon)
        assert all(truncations[agent] != terminations[agent] for agent in truncations)
        assert all(terminations.values()) or len(steps) == min(cycles, horizon)


def refused(call: Callable[[], Any], *words: str) -> None:
    """Assert that the call raises a ValueError that says all these words."""
    with pytest.raises(ValueError) as refusal:  # noqa: PT011  # several words, in any order
        call()
    assert all(word in str(refusal.value) for word in words), refusal.value


def check_refusals(make: Make) -> None:
    """Wrong actions are refused by name, and leave the episode as it was."""
    view = make()
    view.reset(seed=0)
    before = view.state()
    legal, last = random_actions(view, np.random.default_rng(0)), view.agents[-1]
    space = view.action_space(last)
    mistakes: tuple[Any, ...]
    if isinstance(space, spaces.Discrete):
        legal = dict.fromkeys(view.agents, 0)
        top = int(space.n) - 1
        mistakes, right = (top + 1, -1, 0.5, None, "0"), f"0 to {top}"
    else:
        mistakes = (space.high + 1, space.low - 1, space.low * np.nan, np.append(space.low, 0), None, "much")
        right = f"{space.low.tolist()} to {space.high.tolist()}"
    for wrong in mistakes:
        refused(lambda wrong=wrong: view.step({**legal, last: wrong}), last, repr(wrong), right)
    refused(lambda: view.step({}), "one action for each", "nobody")
    refused(lambda: view.step({**legal, "agent_x": 0}), "agent_x")
    refused(lambda: setattr(view, "max_cycles", 0), "max_cycles is 0")
    assert np.array_equal(view.state(), before)
    view.step(legal)


def check_frames(make: Make, steps: int = 8) -> None:
    """Frames of one size, so that an episode can be filmed; drawing them changes nothing."""
    game = make().game
    view, draws = ParallelView(game, render_mode="rgb_array"), np.random.default_rng(5)
    sizes = set()
    for _ in range(2):
        view.reset()
        for _ in range(steps):
            before = view.state()
            frame = view.render()
            assert frame.dtype == np.uint8
            assert frame.ndim == 3
            assert frame.shape[2] == 3
            assert np.array_equal(view.state(), before)
            sizes.add(frame.shape)
            if not view.agents:
                break
            view.step(random_actions(view, draws))
    assert len(sizes) == 1


def check_close(make: Make) -> None:
    """Closing is allowed before the first episode, and twice."""
    view = make()
    view.close()
    view.reset()
    view.close()
    view.close()

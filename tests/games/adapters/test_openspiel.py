"""The bridge, on stand-ins that keep to OpenSpiel's documented interface, and on the real one if there."""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from games.adapters import ForeignGame, from_openspiel, load_openspiel
from tests.games.adapters.foreign_environments import random_actions


def kind(**changes: Any) -> SimpleNamespace:
    """What `game.get_type()` gives."""
    given = {
        "short_name": "stand_in",
        "dynamics": "SEQUENTIAL",
        "chance_mode": "EXPLICIT_STOCHASTIC",
    } | changes
    tensors = given.pop("tensors", ("observation",))
    return SimpleNamespace(
        short_name="stand_in",
        dynamics=SimpleNamespace(name=given["dynamics"]),
        chance_mode=SimpleNamespace(name=given["chance_mode"]),
        provides_information_state_tensor="information_state" in tensors,
        provides_observation_tensor="observation" in tensors,
    )


class DiceGame:
    """Two agents in turn: before each turn chance rolls a die; the mover takes it, or gives it to the other.

    Passing is legal only from 2 up. Three turns. Returns add up over the game.
    """

    turns = 3
    type = kind()

    def get_type(self):
        return self.type

    def get_parameters(self):
        return {"turns": self.turns}

    def num_players(self):
        return 2

    def num_distinct_actions(self):
        return 2

    def max_game_length(self):
        return self.turns

    def observation_tensor_shape(self):
        return [2]

    def information_state_tensor_shape(self):
        return [1, 1, 2]

    def new_initial_state(self):
        return DiceState(self)


class DiceState:
    def __init__(self, game):
        self.game, self.turn, self.die, self.totals = game, 0, None, [0.0, 0.0]

    def current_player(self):
        if self.is_terminal():
            return -4
        return -1 if self.die is None else self.turn % 2

    def is_terminal(self):
        return self.turn == self.game.turns

    def is_chance_node(self):
        return self.current_player() == -1

    def is_simultaneous_node(self):
        return False

    def chance_outcomes(self):
        return [(0, 0.0), (1, 0.5), (2, 0.25), (3, 0.25)]

    def legal_actions(self, agent):
        if agent != self.current_player():
            return []
        return [0, 1] if self.die >= 2 else [0]

    def apply_action(self, action):
        if self.is_chance_node():
            self.die = action
            return
        assert action in self.legal_actions(self.current_player())
        self.totals[self.current_player() ^ action] += self.die
        self.turn, self.die = self.turn + 1, None

    def returns(self):
        return list(self.totals)

    def observation_tensor(self, agent):
        return [float(self.turn), float(self.die or 0)]

    def information_state_tensor(self, agent):
        return [float(agent), float(self.turn)]

    def __str__(self):
        return f"turn {self.turn}\ndie {self.die}"


class JointGame(DiceGame):
    """Three agents at once, of whom the last has nothing to choose; paid by the sum of actions, once."""

    type = kind(dynamics="SIMULTANEOUS", chance_mode="DETERMINISTIC")
    turns = 1

    def num_players(self):
        return 3

    def new_initial_state(self):
        return JointState(self)


class JointState(DiceState):
    joint: tuple[int, ...] = (0, 0, 0)

    def current_player(self):
        return -4 if self.is_terminal() else -2

    def is_simultaneous_node(self):
        return not self.is_terminal()

    def legal_actions(self, agent):
        return [] if self.is_terminal() or agent == 2 else [0, 1]

    def apply_actions(self, actions):
        assert actions[2] == 0, "OpenSpiel wants 0 from whoever has nothing to choose"
        self.joint, self.turn = tuple(actions), 1

    def returns(self):
        return [float(sum(self.joint))] * 3


def started(
    game: Any, copies: int = 1, seed: int = 0, **how: Any
) -> tuple[ForeignGame, Any, torch.Generator]:
    opened = from_openspiel(game, **how)
    generator = torch.Generator().manual_seed(seed)
    return opened, opened.reset(copies, generator), generator


def check_returns(
    game: ForeignGame, state: Any, generator: torch.Generator, actions_seed: int = 0
) -> torch.Tensor:
    """Play at random to the end: what was paid is what OpenSpiel says; gives it, [batch, agent]."""
    draws, totals = torch.Generator().manual_seed(actions_seed), torch.zeros(len(state.time), game.num_agents)
    done = torch.zeros(len(state.time), dtype=torch.bool)
    steps = 0
    while not done.all():
        state, rewards, done = game.step(state, random_actions(game, state, draws), generator)
        totals, steps = totals + rewards, steps + 1
        assert steps <= game.horizon
    assert game.ended(state).all()
    said = [copy._state.returns() for copy in game._copies[len(done)].pool._copies]
    torch.testing.assert_close(totals, torch.tensor(said, dtype=torch.float32), atol=1e-5, rtol=0)
    return totals


def test_in_turn_based_games_the_others_wait() -> None:
    game, state, generator = started(DiceGame(), copies=32)
    assert (int(game.action_space.n), game.horizon, game.agent_names) == (3, 3, ("agent_0", "agent_1"))
    dice = state.observations[:, 0, 1]
    assert torch.equal(state.action_mask[:, 0, 1], dice >= 2)
    assert state.action_mask[:, 0, 0].all()
    assert not state.action_mask[:, 0, 2].any()
    assert state.action_mask[:, 1].tolist() == [[False, False, True]] * 32
    with pytest.raises(ValueError, match=r"stand_in, agent_1 may not choose action 0; it may choose 2\."):
        game.step(state, torch.zeros(32, 2, dtype=torch.int64), generator)
    state, rewards, done = game.step(state, torch.tensor([[0, 2]] * 32), generator)
    assert torch.equal(rewards, torch.stack((dice, torch.zeros(32)), -1))
    assert not done.any()
    assert state.action_mask[:, 0].tolist() == [[False, False, True]] * 32


def test_chance_follows_its_probabilities_and_the_generator() -> None:
    _, state, _ = started(DiceGame(), copies=2000)
    rolled = state.observations[:, 0, 1]
    shares = torch.tensor([(rolled == face).double().mean() for face in range(4)])
    # three standard errors of 2000 rolls
    assert ((shares - torch.tensor([0.0, 0.5, 0.25, 0.25])).abs() < 3 * 0.5 / 2000**0.5).all()
    assert shares[0] == 0
    _, again, _ = started(DiceGame(), copies=2000)
    _, other, _ = started(DiceGame(), copies=2000, seed=1)
    assert torch.equal(state.observations, again.observations)
    assert not torch.equal(state.observations, other.observations)


def test_rewards_add_up_to_the_returns() -> None:
    totals = check_returns(*started(DiceGame(), copies=16))
    assert totals.min() >= 0
    assert (totals.sum(-1) >= 3).all()


def test_joint_actions_and_who_has_nothing_to_choose() -> None:
    game, state, generator = started(JointGame(), copies=2)
    assert int(game.action_space.n) == 2  # nobody waits
    assert state.action_mask.all()
    state, rewards, done = game.step(state, torch.tensor([[1, 1, 1], [0, 1, 0]]), generator)
    assert rewards.tolist() == [[2, 2, 2], [1, 1, 1]]
    assert done.all()
    state = game.restart(state, torch.tensor([True, False]), generator)
    state, rewards, done = game.step(state, torch.tensor([[0, 0, 1], [1, 1, 1]]), generator)
    assert rewards.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_what_agents_see_can_be_chosen() -> None:
    both = DiceGame()
    both.type = kind(tensors=("information_state", "observation"))
    for observe, shape, second in (
        ("auto", (1, 1, 2), [1, 0]),
        ("information_state", (1, 1, 2), [1, 0]),
        ("observation", (2,), None),
    ):
        game, state, _ = started(both, observe=observe)
        assert game.observation_space.shape == shape
        assert second is None or state.observations[0, 1].flatten().tolist() == second
    assert from_openspiel(both, flat=True).observation_space.shape == (2,)
    with pytest.raises(ValueError, match="its information_state tensor, but it offers observation"):
        from_openspiel(DiceGame(), observe="information_state")
    both.type = kind(tensors=())
    with pytest.raises(ValueError, match=r"stand_in cannot be played here.* but it offers none"):
        from_openspiel(both)


def test_the_state_is_drawn_as_text() -> None:
    game, state, _ = started(DiceGame())
    frame = game.render(state)
    assert (frame.dtype, frame.ndim) == (np.uint8, 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dynamics": "MEAN_FIELD"}, "mean-field"),
        ({"chance_mode": "SAMPLED_STOCHASTIC"}, "draws its chance events"),
    ],
)
def test_games_that_cannot_be_seeded_or_stepped_are_refused(changes: dict[str, str], words: str) -> None:
    game = DiceGame()
    game.type = kind(**changes)
    with pytest.raises(ValueError, match=f"stand_in cannot be played here: it .*{words}"):
        from_openspiel(game)


def test_a_missing_extra_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    with pytest.raises(ModuleNotFoundError, match=r"OpenSpiel is not installed: pip install open_spiel$"):
        from_openspiel("matrix_rps")
    with pytest.raises(ModuleNotFoundError, match=r"OpenSpiel is not installed: pip install open_spiel$"):
        load_openspiel("matrix_rps")


def test_names_and_parameters_go_to_openspiel(monkeypatch: pytest.MonkeyPatch) -> None:
    class SpielError(Exception):
        pass

    def load_game(name, parameters=None):
        if parameters == {"turns": 0}:
            raise SpielError("No turns")
        game = DiceGame()
        game.turns = (parameters or {"turns": 3})["turns"]
        return game

    stand_in = SimpleNamespace(registered_names=lambda: ["dice"], load_game=load_game, SpielError=SpielError)
    monkeypatch.setitem(sys.modules, "pyspiel", stand_in)
    assert from_openspiel("dice").horizon == 3
    assert from_openspiel("dice", turns=5).horizon == 5
    assert from_openspiel("dice(turns=3)").horizon == 3
    with pytest.raises(ValueError, match=r"no OpenSpiel game 'dise'; did you mean 'dice'"):
        from_openspiel("dise")
    with pytest.raises(ValueError, match=r"no setting of dice 'bad'\. Known: turns"):
        from_openspiel("dice", bad=1)
    with pytest.raises(ValueError, match="dice cannot be opened with turns=0: SpielError: No turns"):
        from_openspiel("dice", turns=0)
    with pytest.raises(ValueError, match=r"Parameters \(turns\) need a game's name"):
        from_openspiel(DiceGame(), turns=5)


# The real thing.


def real() -> Any:
    return pytest.importorskip("pyspiel", reason="OpenSpiel is an extra: pip install open_spiel")


def test_openspiel_games_by_name() -> None:
    real()
    game = load_openspiel("kuhn_poker(players=3)")
    assert game.num_players() == 3
    assert load_openspiel(game) is game
    for name, message in (
        ("kuhn_pokr", "There is no OpenSpiel game 'kuhn_pokr'; did you mean 'kuhn_poker'"),
        ("kuhn_poker(players=99)", r"OpenSpiel refuses the game kuhn_poker\(players=99\): .*max_num_players"),
    ):
        with pytest.raises(ValueError, match=message):
            load_openspiel(name)


def test_rock_paper_scissors() -> None:
    real()
    game, state, generator = started("matrix_rps", copies=3)
    assert (int(game.action_space.n), game.horizon) == (3, 1)
    state, rewards, done = game.step(state, torch.tensor([[0, 0], [0, 1], [0, 2]]), generator)
    assert rewards.tolist() == [[0, 0], [-1, 1], [1, -1]]
    assert done.all()


def test_a_game_object_is_used_as_it_is() -> None:
    pyspiel = real()
    made = pyspiel.create_matrix_game([[3.0, 0.0], [5.0, 1.0]], [[3.0, 5.0], [0.0, 1.0]])
    game, state, generator = started(made, copies=2)
    _, rewards, _ = game.step(state, torch.tensor([[0, 1], [1, 1]]), generator)
    assert rewards.tolist() == [[0, 5], [1, 1]]


@pytest.mark.parametrize(
    "name",
    [
        "matrix_pd",
        "kuhn_poker",
        "kuhn_poker(players=3)",
        "leduc_poker",
        "tic_tac_toe",
        "connect_four",
        "goofspiel(num_cards=4,imp_info=true)",
        "oshi_zumo(coins=6,horizon=8)",
        "blotto",
        "pig",
        "repeated_game(stage_game=matrix_pd(),num_repetitions=5)",
        "turn_based_simultaneous_game(game=goofspiel(num_cards=3))",
        "markov_soccer(horizon=20)",
    ],
)
def test_returns_are_openspiels(name: str) -> None:
    real()
    for seed in range(3):
        check_returns(*started(name, copies=4, seed=seed), actions_seed=seed)


def test_parameters_are_kept() -> None:
    pyspiel = real()
    named = from_openspiel("goofspiel", num_cards=5, players=3)
    loaded = from_openspiel(pyspiel.load_game("goofspiel(num_cards=5,players=3)"))
    for game in (named, loaded):
        assert (game.num_agents, int(game.action_space.n), game.horizon) == (3, 5, 5)
    with pytest.raises(ValueError, match=r"no setting of goofspiel 'cards'\. Did you mean 'num_cards'"):
        from_openspiel("goofspiel", cards=5)
    with pytest.raises(ValueError, match=r"no OpenSpiel game 'gofspiel'; did you mean 'goofspiel'"):
        from_openspiel("gofspiel")


def test_cards_are_dealt_by_the_generator() -> None:
    real()
    _, state, _ = started("kuhn_poker", copies=50)
    _, again, _ = started("kuhn_poker", copies=50)
    assert torch.equal(state.observations, again.observations)
    assert len(state.observations.flatten(1).unique(dim=0)) == 6  # three cards, two agents


def test_games_that_draw_for_themselves_are_refused() -> None:
    pyspiel = real()
    drawing = [
        game.short_name
        for game in pyspiel.registered_games()
        if game.chance_mode == pyspiel.GameType.ChanceMode.SAMPLED_STOCHASTIC and game.default_loadable
    ]
    assert drawing
    with pytest.raises(ValueError, match="draws its chance events itself"):
        from_openspiel(drawing[0])

"""Tournaments: matches against closed forms and against training alone, pools, folders, bad input."""

import dataclasses

import numpy as np
import pytest
import torch

from bilevel.experiments import Tournament, cross_play, default_config
from games.matrix import FiniteRepeatedGame, memory_one_strategy

NAIVE = dataclasses.replace(
    default_config("repeated-prisoners-dilemma", "selfish"), seeds=4, outer_steps=30, seed=7
)


def with_rule(name, **settings):
    rule = {"rule": name} | {f"rule.{key}": value for key, value in settings.items()}
    return dataclasses.replace(NAIVE, method=NAIVE.method.with_settings(rule))


def strategies(*names):
    return {name: memory_one_strategy(name) for name in names}


def test_a_match_of_a_learner_with_itself_is_its_own_training():
    """Two naive learners in two seats are what one learner of both agents trains, bit-for-bit."""
    match = Tournament(learners={"naive": NAIVE, "lola": with_rule("lola")}).play("naive", "naive")
    learner = NAIVE.method.build(NAIVE.game, NAIVE.placement)
    state = learner.init(NAIVE.seed)
    for _ in range(NAIVE.outer_steps):
        state, metrics = learner.update(state)
    np.testing.assert_array_equal(match.returns[0], metrics["return_0"].numpy())
    np.testing.assert_array_equal(match.returns[1], metrics["return_1"].numpy())


def test_fixed_strategies_have_the_returns_of_their_closed_forms():
    """Tit-for-tat loses the first round to defection: -3 + 2 gamma ... normalized, and then both get -2."""
    tournament = Tournament(learners={"naive": NAIVE}, strategies=strategies("tit-for-tat", "always-defect"))
    gamma = NAIVE.game.discount
    match = tournament.play("tit-for-tat", "always-defect")
    assert match.returns[:, 0] == pytest.approx([-3 * (1 - gamma) - 2 * gamma, -2 * gamma], abs=1e-9)
    assert match.cooperation[0] == pytest.approx((1 - gamma) / 2, abs=1e-9)


def test_a_fixed_strategy_stays_what_it_is_and_a_learner_answers_it():
    tournament = Tournament(
        learners={"naive": dataclasses.replace(NAIVE, outer_steps=200)},
        strategies=strategies("always-cooperate", "always-defect"),
    )
    exploiting = tournament.play("naive", "always-cooperate")
    assert exploiting.returns[0].min() > -0.1
    assert exploiting.returns[1].max() < -2.9
    assert tournament.play("always-defect", "naive").returns[1].max() < -1.9


def test_seats_learn_by_their_own_rule():
    """The first step of each seat is that of its own method from the joint policies."""
    tournament = Tournament(
        learners={
            "naive": dataclasses.replace(NAIVE, outer_steps=1),
            "lola": dataclasses.replace(with_rule("lola"), outer_steps=1),
        }
    )
    found = tournament.play("naive", "lola").returns
    thetas = []
    for config in (NAIVE, with_rule("lola")):
        learner = config.method.build(config.game, config.placement)
        thetas.append(learner.update(learner.init(NAIVE.seed))[0]["theta"])
    joint = torch.stack((thetas[0][:, 0], thetas[1][:, 1]), 1)
    expected = learner.play.measure(joint, ()).values
    np.testing.assert_allclose(found.T, expected.numpy(), rtol=1e-12)


def test_learners_with_critics_meet_learners_without():
    sampled = {
        name: dataclasses.replace(
            default_config("prisoners-dilemma", "selfish"),
            seeds=3,
            outer_steps=3,
            evaluation_episodes=16,
            method=NAIVE.method.with_settings({"inner": inner, "inner.episodes": 8, **more}),
        )
        for name, inner, more in (
            ("ppo", "ppo", {"policy": "tabular"}),
            ("reinforce", "policy-gradient", {"policy": "tabular", "inner.exact": False}),
        )
    }
    matches = [Tournament(learners=sampled).play(*pair) for pair in (("ppo", "reinforce"), ("ppo", "ppo"))]
    assert all(np.isfinite(match.returns).all() for match in matches)


def test_cooperation_in_a_pool_with_tit_for_tat():
    tournament = Tournament(
        learners={
            "naive": dataclasses.replace(NAIVE, outer_steps=150),
            "lola": dataclasses.replace(with_rule("lola"), outer_steps=150),
        },
        strategies=strategies("tit-for-tat"),
    )
    found = cross_play(tournament.play_pool())
    assert found.labels == ["naive", "lola", "tit-for-tat"]
    assert found.cooperation[0, 0] > 0.8  # two naive learners, which defect where they learn as a pair
    pair = tournament.play("naive", "naive")
    assert pair.cooperation.max() < 0.1


def test_summary_averages_both_seats():
    tournament = Tournament(learners={"naive": NAIVE}, strategies=strategies("tit-for-tat", "always-defect"))
    matches = [tournament.play(*pair) for pair in tournament.pairs]
    found = cross_play(matches)
    by_pair = {(match.first, match.second): match for match in matches}
    row, column = found.labels.index("tit-for-tat"), found.labels.index("always-defect")
    both = (
        by_pair["tit-for-tat", "always-defect"].returns[0],
        by_pair["always-defect", "tit-for-tat"].returns[1],
    )
    assert found.returns.estimate[row, column] == pytest.approx(np.mean(both))
    assert found.mean.estimate[row] == pytest.approx(found.returns.estimate[row].mean())


@pytest.mark.parametrize("pool", [False, True])
def test_a_folder_keeps_its_matches_and_refuses_other_settings(tmp_path, pool):
    tournament = Tournament(learners={"naive": NAIVE}, strategies=strategies("tit-for-tat"))
    folder = tournament.open_folder(tmp_path / "out")
    first = tournament.run(folder, pool=pool)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "matches").iterdir()}
    path = folder.match_path("naive", "tit-for-tat", pool=pool)
    expected = path.read_text()
    path.unlink()
    assert tournament.missing(folder, pool=pool) == 1
    seen = []
    again = tournament.run(
        tournament.open_folder(tmp_path / "out"), pool=pool, show=lambda *each: seen.append(each)
    )
    assert path.read_text() == expected
    assert all(np.array_equal(one.returns, other.returns) for one, other in zip(first, again, strict=True))
    assert seen[-1][1] == 1.0
    assert [part for _, part in seen].count(1.0) == 1
    if not pool:
        assert all(other.stat().st_mtime_ns == before[other] for other in before if other != path)
    changed = Tournament(
        learners={"naive": dataclasses.replace(NAIVE, seeds=5)}, strategies=tournament.strategies
    )
    with pytest.raises(ValueError, match="holds matches with other settings"):
        changed.open_folder(tmp_path / "out")
    path.write_text("{")
    with pytest.raises(ValueError, match="is damaged: delete it, and the match is played again"):
        tournament.run(folder, pool=pool)


def ltos_config(**settings):
    config = default_config("repeated-prisoners-dilemma", "ltos")
    method = config.method.with_settings(
        {"interval": 1, "inner.episodes": 4, "inner.steps": 20, "inner.batch_size": 16, **settings}
    )
    game = dataclasses.replace(config.game, horizon=20)
    common = {"seeds": 3, "seed": 7, "outer_steps": 20, "evaluation_episodes": 2}
    return dataclasses.replace(config, game=game, method=method, **common)


def test_action_values_as_a_table_play_like_their_agents():
    """Greedy agents draw nothing, so one episode of theirs has the exact value of the finite game."""
    config = ltos_config()
    learner = config.method.build(config.game, config.placement)
    state = learner.init(seed=0)
    drawn = torch.Generator().manual_seed(0)  # values that differ more than initial networks'
    state["theta"] = torch.randn(state["theta"].shape, generator=drawn)
    expected = learner.evaluate(state, episodes=2)
    table = learner.action_table(state, exploring=False).double()
    game = FiniteRepeatedGame(
        stage=config.game.stage, discount=config.game.discount, horizon=config.game.horizon
    )
    values = game.values(table)
    assert values.unique().numel() > 1
    for agent in range(2):
        np.testing.assert_allclose(values[:, agent], expected[f"return_{agent}"], atol=1e-5)
    explored = learner.action_table(state, exploring=True)
    epsilon = config.method.exploration_at(0)
    np.testing.assert_allclose(explored, (1 - epsilon) * table + epsilon / 2, atol=1e-6)


def test_other_agents_act_by_their_tables_in_rounds_of_action_values():
    """Against tit-for-tat the buffer's partner repeats the last action of the agent that learns."""
    config = ltos_config()
    tournament = Tournament(learners={"ltos": config}, strategies=strategies("tit-for-tat"))
    learner = config.method.build(config.game, config.placement)
    odds = torch.tensor([30.0, 30.0, -30.0, 30.0, -30.0]).expand(3, 2, 5)
    state, _ = learner.update_against(learner.init(seed=0), 1, tournament.policy, odds)
    count = config.method.inner.episodes * config.game.horizon
    actions = state["replay"].items.actions[:, :count].unflatten(1, (config.game.horizon, -1))
    assert (actions[:, 0, :, 0] == 0).all()
    assert (actions[:, 1:, :, 0] == actions[:, :-1, :, 1]).all()
    assert actions[..., 1].float().mean() > 0.05


def test_action_values_answer_strategies_and_policies():
    fixed = strategies("tit-for-tat", "always-cooperate")
    tournament = Tournament(learners={"ltos": ltos_config()}, strategies=fixed)
    assert tournament.exact
    assert tournament.play("ltos", "always-cooperate").returns[0].min() > -0.01
    assert tournament.play("tit-for-tat", "ltos").returns[1].min() > -1.1
    config = ltos_config()
    naive = dataclasses.replace(config, method_name="selfish", method=NAIVE.method)
    match = Tournament(learners={"naive": naive, "ltos": config}).play("naive", "ltos")
    assert match.cooperation.max() < 0.1


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="has other files, and no tournament"):
        Tournament(learners={"naive": NAIVE}, strategies=strategies("grim")).open_folder(tmp_path)


def config_of(game, method="selfish"):
    return dataclasses.replace(default_config(game, method), seeds=3)


@pytest.mark.parametrize(
    ("learners", "fixed", "message"),
    [
        ({}, ("grim",), "needs a learner"),
        ({"naive": NAIVE}, (), "needs two entrants or more, and naive is the only one: add learners"),
        ({"a": config_of("public-goods")}, (), "pairs two agents, and public-goods has 3"),
        ({"grim": NAIVE}, ("grim",), "grim is a learner and a strategy"),
        ({"naive": dataclasses.replace(NAIVE, seeds=2)}, ("grim",), "needs 3 seeds or more"),
        ({"a": config_of("escape-room")}, ("grim",), "Fixed strategies are for repeated games"),
        ({"a": config_of("aid"), "b": config_of("aid")}, (), "pairs two agents, and aid has"),
        (
            {"a": config_of("repeated-chicken"), "b": config_of("repeated-chicken", "ltos")},
            (),
            "b cannot meet others on repeated-chicken: Its sharing networks decide every 15 steps",
        ),
        (
            {"a": config_of("coin-game"), "b": config_of("coin-game", "ltos")},
            (),
            "b learns values of actions, and meets tabular policies alone",
        ),
        (
            {"a": config_of("escape-room", "ltos"), "b": config_of("escape-room", "ltos")},
            (),
            "A tabular policy needs observations that are numbers",
        ),
        (
            {"a": config_of("prisoners-dilemma"), "b": config_of("prisoners-dilemma", "gifting")},
            (),
            "b and a have policies of different forms",
        ),
        ({"a": NAIVE, "b": config_of("coin-game")}, (), "b cannot be compared with a"),
        (
            {"a": NAIVE, "b": dataclasses.replace(NAIVE, outer_steps=3)},
            (),
            "All learners take as many outer steps as the first, 30, but b has 3",
        ),
    ],
)  # fmt: skip
def test_bad_entrants_get_one_sentence(learners, fixed, message):
    with pytest.raises(ValueError, match=message):
        Tournament(learners=learners, strategies=strategies(*fixed))

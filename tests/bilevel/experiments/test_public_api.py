"""The calls that users make first: train, load, compare, evaluate, and policies in loops of their own."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bilevel
import games
from bilevel.agents import Softmax, Tabular

SMALL = {"seeds": 3, "outer_steps": 2, "evaluation_episodes": 4, "compile": "never"}


@pytest.fixture(autouse=True)
def _folder_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> bilevel.Run:
    return bilevel.train("chicken", "tos", out="runs/first", **SMALL)


def refusal(call: Any, *arguments: Any, **settings: Any) -> str:
    with pytest.raises(ValueError, match=r"\w") as error:
        call(*arguments, **settings)
    return str(error.value)


def test_one_call_is_the_configured_form(run: bilevel.Run) -> None:
    config = bilevel.default_config("chicken", "tos")
    for again in (
        bilevel.train(config, out="runs/second", **SMALL),
        bilevel.train(games.make("chicken"), config.method, out=Path("runs/third"), **SMALL),
        bilevel.train(bilevel.RunFolder("runs/first")),
        bilevel.load_run("runs/first"),
    ):
        assert again.config == run.config
        for name, values in run.curves.items():
            np.testing.assert_array_equal(again.curves[name], values)


def test_settings_of_the_game_have_dotted_names() -> None:
    run = bilevel.train("escape-room", "selfish", **SMALL, **{"game.horizon": 3})
    assert run.config.game.horizon == 3
    assert run.path is not None
    assert run.path.parent == Path("runs")


@pytest.mark.parametrize(
    ("arguments", "settings", "sentence"),
    [
        (("chiken", "tos"), {}, "There is no game 'chiken'; did you mean 'chicken'"),
        (("chicken", "tox"), {}, "There is no method 'tox'; did you mean 'tos'"),
        (("chicken",), {}, "Say which method trains"),
        (("chicken", "tos"), {"seedz": 3}, "There is no setting of a run 'seedz'. Did you mean 'seed'"),
        (("escape-room", "tos"), {"game.horizonn": 3}, "There is no setting of escape-room 'horizonn'."),
        (("chicken", "tos"), {"out": "."}, ". exists, and a run never overwrites"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    arguments: tuple[str, ...], settings: dict[str, Any], sentence: str
) -> None:
    Path("something").touch()
    assert refusal(bilevel.train, *arguments, **settings).startswith(sentence)


def test_a_run_says_what_it_is(run: bilevel.Run) -> None:
    assert repr(run).startswith("Run(tos on chicken: 3 seeds, 2 outer steps, welfare ")
    assert repr(run).endswith(f", in {Path('runs/first')})")


def test_metrics_as_data_frames(run: bilevel.Run) -> None:
    curves, final = run.to_pandas(), run.to_pandas("final")
    assert list(curves.columns[:3]) == ["outer_step", "seed", "welfare"]
    np.testing.assert_array_equal(curves.pivot_table("welfare", "outer_step", "seed"), run.curves["welfare"])
    assert list(final["seed"]) == [0, 1, 2]
    np.testing.assert_array_equal(final["welfare"], run.final["welfare"])
    assert refusal(run.to_pandas, "all") == "part must be curves or final, not 'all'."


def test_evaluation_is_that_of_the_run(run: bilevel.Run) -> None:
    for name, values in bilevel.evaluate("runs/first").items():
        np.testing.assert_array_equal(values, run.final[name])


def test_methods_compared_in_one_call(run: bilevel.Run) -> None:
    found = bilevel.compare("chicken", ["selfish", "tos"], out="runs/both", **SMALL)
    assert list(found.runs) == ["selfish", "tos"]
    np.testing.assert_array_equal(found.runs["tos"].final["welfare"], run.final["welfare"])
    frame = found.to_pandas()
    np.testing.assert_array_equal(frame[frame["method"] == "tos"]["welfare"], run.final["welfare"])
    assert repr(found).startswith("ComparedRuns(chicken, welfare with 95 % intervals: selfish ")


@pytest.mark.parametrize(
    ("game", "settings"),
    [("chicken", {}), ("escape-room", {}), ("coin-game-lase", {"game.horizon": 4}), ("clans", {})],
)
def test_policies_act_in_a_pettingzoo_loop(game: str, settings: dict[str, Any]) -> None:
    run = bilevel.train(game, "selfish", **SMALL, **settings)
    env = games.parallel_env(run.config.game)
    policies = {name: run.policy(agent) for agent, name in enumerate(env.possible_agents)}
    observations, _ = env.reset(seed=0)
    while env.agents:
        actions = {name: policies[name].act(observations[name]) for name in env.agents}
        assert all(env.action_space(name).contains(np.int64(action)) for name, action in actions.items())
        observations, *_ = env.step(actions)


def test_a_policy_acts_as_often_as_its_probabilities_say(run: bilevel.Run) -> None:
    policy = run.policy(1, repetition=2)
    policy.reset(seed=1)
    learner, state = run.learner()
    table, theta = learner.policies(state, 2)
    wanted = table.probabilities(theta)[1, 0]
    drawn = np.bincount([policy.act(0) for _ in range(4000)], minlength=2) / 4000
    np.testing.assert_allclose(drawn, wanted, atol=4 * (0.25 / 4000) ** 0.5)


def test_agents_draw_independently() -> None:
    """With the same policy, and the same seed: two fair coins agree half of the time."""
    theta = torch.zeros(2, 1)
    table, softmax = Tabular(num_observations=1, num_actions=2), Softmax(2)
    first, second = (bilevel.AgentPolicy(table, softmax, theta, agent) for agent in (0, 1))
    for seed in (None, 7):
        first.reset(seed)
        second.reset(seed)
        agree = np.mean([first.act(0) == second.act(0) for _ in range(400)])
        assert abs(agree - 0.5) < 4 * (0.25 / 400) ** 0.5


def test_an_exported_policy_acts_alike(run: bilevel.Run) -> None:
    run.export("policies.pt", repetition=1)
    own, loaded = run.policy(1, repetition=1), bilevel.load_policy("policies.pt", agent=1)
    assert [own.act(0) for _ in range(50)] == [loaded.act(0) for _ in range(50)]
    assert refusal(bilevel.load_policy, "policies.pt", agent=2) == "agent must be from 0 to 1, not 2."


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize("content", [b"", b"no file of policies", pickle.dumps(Bomb())])
def test_a_file_that_holds_no_policies_is_refused_and_nothing_is_executed(content: bytes) -> None:
    Path("bad.pt").write_bytes(content)
    assert refusal(bilevel.load_policy, "bad.pt") == (
        "bad.pt is no file of policies, or it is damaged; nothing in it was executed."
    )
    torch.save({"format": "bilevel-policy/1", "policy": {"kind": "Path"}}, "bad.pt")
    assert "nothing in it was executed" in refusal(bilevel.load_policy, "bad.pt")
    assert not Path("executed").exists()
    assert refusal(bilevel.load_policy, "none.pt").startswith("There is no file of policies none.pt")


def test_policies_that_are_not_there_are_refused(run: bilevel.Run) -> None:
    assert refusal(run.policy, 2) == "agent must be from 0 to 1, not 2."
    assert refusal(run.policy, 0, repetition=3).startswith("The run has 3 repetitions, 0 to 2")
    other = bilevel.train("chicken", "tos", seed=3, **SMALL)
    assert refusal(bilevel.join_runs([run, other]).policy, 0).startswith("Joined runs have no folder")
    ltos = bilevel.train("escape-room", "ltos", **SMALL)
    assert refusal(ltos.policy, 0).startswith("Agents of ltos do not act by their own observations alone")

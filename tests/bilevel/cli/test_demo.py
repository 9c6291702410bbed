"""`bilevel demo`: from end to end, again, and interrupted."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bilevel import report as figures
from bilevel.cli._demo import GAMES, METHODS, demo_config, gains_sentence, sentence
from bilevel.experiments import Run, default_config
from bilevel.methods import PolicyLearner

Call = Callable[..., Any]
SMALL = ("--seeds", 3, "--outer-steps", 2, "--out", "demo")


def made_up(method: str, welfare: float) -> Run:
    final = {"welfare": np.full(3, welfare), "given_away": np.full(3, 0.25)}
    config = dataclasses.replace(default_config("prisoners-dilemma", method), seeds=3)
    return Run(config, {}, final, 0.0)


def test_interrupted_then_whole_then_reused(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(figures, "write_overview", stop)
        said = call("demo", *SMALL)
    assert said.code == 130
    timed = r"outer step 2 of 2: welfare \S+ \(\d+:\d\d:\d\d, \S+ steps per second, 0:00:00 left\)"
    assert len(re.findall(timed, said.err)) == len(GAMES) * len(METHODS)
    assert said.err.splitlines()[-1] == "Stopped. Run the same command again: what is done is kept."

    monkeypatch.setattr(PolicyLearner, "update", lambda *_: pytest.fail("trained again"))
    said = call("demo", *SMALL)
    assert said.code == 0
    assert said.err.count("is finished already") == said.err.count("\n") == len(GAMES) * len(METHODS)
    assert Path("demo/overview.png").exists()
    assert len(list(Path("demo").glob("*/figures/welfare.png"))) == len(GAMES) * len(METHODS)
    for dilemma in GAMES.values():
        assert f"\n{dilemma.title}: between mutual defection (0 %)" in said.out
    assert said.out.count("The agent that gains least from sharing") == 1

    said = call("demo", *SMALL, "--seed", 1)
    assert said.code == 2
    assert "holds a run with other settings (seed 0 there, 1 here): nothing is overwritten" in said.sentence()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seeds", "2"], "The demo's intervals need 3 seeds or more, not 2."),
        (["--outer-steps", "0"], "outer_steps must be 1 or more, not 0."),
        (["--seed", "-1"], "seed must be from 0"),
        (["--out", "/dev/null"], "/dev/null"),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], says: str, call: Call) -> None:
    said = call("demo", *words)
    assert said.code == 2
    assert says in said.sentence()
    assert not list(Path().iterdir())


def test_help(call: Call) -> None:
    said = call("demo", "--help")
    assert said.code == 0
    for option in ("--seeds", "--outer-steps", "--seed", "--out"):
        assert option in said.out


def test_the_sentence_is_true_of_good_results() -> None:
    # the prisoner's dilemma: everybody defecting -4, the optimum -2
    assert sentence("PD", {"selfish": made_up("selfish", -3.9), "tos": made_up("tos", -2.0)}) == (
        "PD: between mutual defection (0 %) and the welfare optimum (100 %), selfish agents score 5.0 %; "
        "agents that learn how much to share score 100.0 % and give away 25.0 % of their rewards."
    )


def test_the_sentence_is_true_of_bad_results() -> None:
    text = sentence("PD", {"selfish": made_up("selfish", -4.5), "tos": made_up("tos", -4.0)})
    assert "selfish agents score -25.0 %; " in text
    assert "agents that learn how much to share score 0.0 % and give away" in text


def on_the_canal(method: str, returns: list[float], shares: np.ndarray | None = None) -> Run:
    final = {f"return_{agent}": np.full(3, value) for agent, value in enumerate(returns)}
    if shares is not None:
        final |= {f"share_{i}_{j}": np.full(3, share) for (i, j), share in np.ndenumerate(shares)}
    return Run(dataclasses.replace(default_config("irrigation", method), seeds=3), {}, final, 0.0)


def test_the_sentence_about_gains_names_the_agent_that_gains_least() -> None:
    kept = np.eye(4)
    kept[3, 2:] = 0.75, 0.25
    runs = {
        "selfish": on_the_canal("selfish", [2, 0, 0, 0]),
        "prosocial": on_the_canal("prosocial", [1, 1, 1, 1]),
        "tos": on_the_canal("tos", [2.5, 0.5, 0.5, 1], kept),
    }
    assert gains_sentence(runs) == (
        "The agent that gains least from sharing, over its return among selfish agents, gains with prosocial "
        "-1.00 [-1.00, -1.00] (agent 0; all agents gain in 0 of 3 seeds), and with tos +0.25 [+0.25, +0.25] "
        "(agent 3; all agents gain in 3 of 3 seeds)."
    )


def test_on_the_canal_each_agent_learns_its_shares_for_its_own_return() -> None:
    size = {"seeds": 3, "seed": 0, "outer_steps": 2}
    assert demo_config("irrigation", "tos", **size).method.objective == "own-return"
    for game in GAMES:
        for method in METHODS:
            if (game, method) != ("irrigation", "tos"):
                assert demo_config(game, method, **size) == dataclasses.replace(
                    default_config(game, method), **size
                )

"""`bilevel theory`: what it says of known games, what it refuses, and what the document shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import scipy

import games
from bilevel.report import stage_of
from games.matrix import MatrixGame, RepeatedGame

Call = Callable[..., Any]
DOCUMENT = Path(__file__).parents[3] / "docs" / "explanation" / "theory.md"


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_prisoners_dilemma(call: Call) -> None:
    said = call("theory", "--game", "prisoners-dilemma")
    assert said.code == 0
    assert said.err == ""
    text = words(said.out)
    assert text.startswith("prisoners-dilemma: 2 agents; actions cooperate, defect")
    for sentence in (
        "optimum all cooperate -2",
        "pure equilibrium all defect -4",
        "mixed equilibria are not enumerated",
        "Price of anarchy: 2. Cost of the equilibrium over the minimum cost: 4 / 2.",
        "Price of stability: 2.",
        "T_ii >= 1/N is not required",
        "s* = 0.6667 (the same share for all agents, the rest split equally among the other agents)",
        "0 0.6667 0.3333 1 0.3333 0.6667",
        "Verified: under this matrix no deviation is profitable",
        'Agents cannot all keep more: otherwise agent 0 would deviate from "all cooperate" to defect.',
        "g* = 0.6667 (any sharing matrix): equal to s*, so the matrix above attains it.",
    ):
        assert sentence in text, sentence


def test_settings_of_the_game_count(call: Call) -> None:
    text = words(call("theory", "--game", "public-goods", "--game.agents", 4, "--game.k", 3).out)
    assert "public-goods: 4 agents" in text
    assert "s* = 0.75 (" in text
    assert "g* = 0.75 (" in text
    assert "Price of anarchy: 3. The best welfare over the equilibrium's: 12 / 4." in text


def test_braess(call: Call) -> None:
    text = words(call("theory", "--game", "braess").out)
    assert "Price of anarchy: 1.231. Cost of the equilibrium over the minimum cost: 320 / 260." in text
    assert "6 optima tie; the analysis below is of one (--optimum selects it)." in text
    assert "the rest split equally among the other agents): impossible." in text
    assert "g* (any sharing matrix): impossible." in text


def test_an_equal_part_can_be_demanded(call: Call) -> None:
    free = words(call("theory", "--game", "stag-hunt-melting-pot").out)
    assert "s* = 0 (the same share for all agents" in free
    assert 'Agents can keep nothing: otherwise agent 0 would deviate from "stag, hare" to hare.' in free
    text = words(call("theory", "--game", "stag-hunt-melting-pot", "--at-least-equal").out)
    assert "T_ii >= 0.5 is required" in text
    assert text.count("impossible. Proof: under every such matrix") == 2
    assert "at least 1, so at least one deviation pays. weight agent deviates from to" in text


def test_transfers_along_the_graph(call: Call) -> None:
    said = call("theory", "--game", "cyclical-prisoners-dilemma", "--game.agents", 4, "--along-graph")
    text = words(said.out)
    assert "s* = 0.6 (the same share for all agents, the rest split equally among its neighbors)" in text
    assert "g* = 0.75 (any sharing matrix along the graph). Share" in text


def test_thresholds_of_mechanisms(call: Call) -> None:
    payoffs = {"reward": 3, "sucker": 0, "temptation": 5, "punishment": 1}
    options = [word for name, value in payoffs.items() for word in (f"--game.{name}", value)]
    text = words(call("theory", "--game", "prisoners-dilemma", *options).out)
    for sentence in (
        "reward sharing: share of its reward that each agent gives 0.4",
        'contract: payment for "defect", split among the others 2',
        'Pigovian tax on "defect": its externality 3 to 4',
        'incentive: reward added for "cooperate" 2',
        "mediator: committing dominant",
        'Taxes with m = 0, 1, ... of the other agents at "cooperate": 4, 3.',
    ):
        assert sentence in text, sentence


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rock-paper-scissors", "Mechanisms are compared in games of two actions"),
        ("cyclical-prisoners-dilemma", "Mechanisms are compared in symmetric games"),
        ("braess", "not all agents take the same action."),
    ],
)
def test_where_mechanisms_have_no_thresholds(name: str, reason: str, call: Call) -> None:
    text = words(call("theory", "--game", name).out)
    assert "No thresholds of mechanisms: " in text
    assert reason in text


def test_another_optimum(call: Call) -> None:
    text = words(call("theory", "--game", "chicken", "--optimum", 0, 1).out)
    assert 'such that "swerve, straight" is dominant' in text
    assert "the rest split equally among the other agents): impossible." in text
    assert "g* = 0 (any sharing matrix)" in text


def test_what_needs_no_transfer(call: Call) -> None:
    text = words(call("theory", "--game", "public-goods", "--game.k", 4).out)
    assert "s* = 1 (" in text
    assert "every deviation loses at least 0.3333. Agents can keep everything: no transfer is needed." in text


@pytest.mark.parametrize("name", ["matching-pennies", "repeated-matching-pennies"])
def test_a_zero_sum_game_is_solved(name: str, call: Call) -> None:
    text = words(call("theory", "--game", name).out)
    assert ("the stage game, played once" in text) == name.startswith("repeated")
    assert "pure equilibrium none" in text
    assert "Price of anarchy: undefined. There is no pure equilibrium." in text
    assert "agent 0 plays its actions with probabilities (0.5, 0.5), agent 1 with (0.5, 0.5)" in text
    assert "the value for agent 0 is 0." in text


def test_long_lists_are_cut_and_counted(call: Call) -> None:
    assert "optimum and 3 more" in words(call("theory", "--game", "rock-paper-scissors").out)


ALL = [name for name in games.names() if isinstance(games.make(name), MatrixGame | RepeatedGame)]


@pytest.mark.parametrize("name", ALL)
def test_everything_with_a_table_has_a_theory(name: str, call: Call) -> None:
    said = call("theory", "--game", name)
    assert (said.code, said.err) == (0, "")
    for title in ("Price of anarchy: ", "Price of stability: ", "s* ", "g* "):
        assert title in said.out


def test_a_game_of_ones_own(call: Call) -> None:
    Path("mine.py").write_text(
        'import games\ngames.register("mild", games.make("prisoners-dilemma", temptation=-0.5), summary="")\n'
    )
    text = words(call("theory", "--load", "mine.py", "--game", "mild").out)
    assert "s* = 0.6 (" in text  # (T - P) / (T - S) = 1.5 / 2.5


def test_without_a_name_it_is_the_dilemma_of_the_document(call: Call) -> None:
    assert call("theory").out == call("theory", "--game", "prisoners-dilemma").out


def test_help(call: Call) -> None:
    said = call("theory", "--game", "braess", "--help")
    assert said.code == 0
    for option in ("--game.shortcut", "--at-least-equal", "--along-graph", "--optimum"):
        assert option in said.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--game", "prisoners-dilema"), "There is no game 'prisoners-dilema'; did you mean"),
        (("--game", "chicken", "--optimum", 1, 1), "must be one of 0 0; 0 1; 1 0 (an action's number"),
        (("--game", "braess", "--game.agents", 10), "10 agents with 3 actions have 393660"),
        (("--game", "braess", "--game.slope", -1), "no slope may be negative"),
        (("--game", "stag-hunt", "--game.reward", "nan"), "reward must be a finite number; it is nan"),
    ],
)
def test_bad_input_is_one_sentence(arguments: tuple[object, ...], sentence: str, call: Call) -> None:
    said = call("theory", *arguments)
    assert said.code == 2
    assert sentence in said.sentence()
    assert said.out == ""


def test_games_on_graphs_of_a_few_agents_have_a_theory(call: Call) -> None:
    """Helping pays an agent if the next one gives it a third of what the agent keeps."""
    said = call("theory", "--game", "aid-hidden", "--game.agents", 4)
    assert said.code == 0
    assert "s* = 0.5 (" in words(said.out)
    assert "32 agents with 2 actions have 32 x 2^32" in call("theory", "--game", "aid-hidden").sentence()


@pytest.mark.parametrize("name", [name for name in games.names() if stage_of(games.make(name)) is None])
def test_sampled_games_are_refused_with_those_that_work(name: str, call: Call) -> None:
    said = call("theory", "--game", name)
    assert said.code == 2
    assert f"Theory is worked out for one-shot games with exact values, and {name} is none" in said.sentence()
    for known in games.names():
        itself = stage_of(games.make(known)) == games.make(known)
        assert (f" {known}," in said.err or f" {known};" in said.err) == itself


def test_an_answer_that_fails_its_check_is_one_sentence(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = SimpleNamespace(status=4, message="numerical trouble.")
    monkeypatch.setattr(scipy.optimize, "linprog", lambda *_: failed)
    said = call("theory")
    assert said.code == 1
    assert "not solved: numerical trouble. Payoffs of very different sizes" in said.sentence()


def test_an_unknown_option_is_refused(call: Call) -> None:
    said = call("theory", "--game", "braess", "--game.bridges", 2)
    assert said.code == 2
    assert "--game.bridges" in said.err
    assert "Traceback" not in said.err


def test_the_document_shows_what_is_printed(call: Call) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    shown = re.findall(r"^```sh\nbilevel theory ([^\n]*)\n```\n\n```text\n(.*?)^```", text, re.DOTALL | re.M)
    assert len(shown) >= 2
    for command, output in shown:
        lines = [line.rstrip() for line in call("theory", *command.split()).out.splitlines()]
        assert output.splitlines() == lines, command

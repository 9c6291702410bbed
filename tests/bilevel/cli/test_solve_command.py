"""`bilevel solve`: tables of known games, rules with settings, the figure, and what it refuses."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bilevel.zero_sum import RULES

Call = Callable[..., Any]


def words(text: str) -> str:
    return " ".join(text.split())


def test_fictitious_play_on_rock_paper_scissors(call: Call) -> None:
    line = "solve --game rock-paper-scissors --rule fictitious-play --steps 2000 --seed None"
    said = call(*line.split())
    assert said.code == 0
    assert said.err == ""
    text = words(said.out)
    assert text.startswith("rock-paper-scissors: value 0.000 for agent 0, by linear programming")
    assert "fictitious-play 1 2 2 0 10 2 0.4 0 100 2 0.14 0 1000 2 0.042 0 2000 2" in text
    assert "linear program equilibrium 0 0.333 0.333 0.333" in text


def test_several_rules_with_settings_and_a_figure(call: Call, tmp_path: Path) -> None:
    rules = ("regret-matching-plus", "magnetic-mirror-descent(temperature=1.0, magnet_rate=0.05)")
    said = call("solve", "--rules", *rules, "--steps", 50, "--figure", "figures/solved.png")
    assert said.code == 0
    text = words(said.out)
    assert text.startswith("matching-pennies: value 0.000")
    assert "regret-matching-plus 1 " in text
    assert "magnetic-mirror-descent( 1 " in text
    assert "Written: figures/solved.png" in text
    assert (tmp_path / "figures" / "solved.png").exists()


def test_all_rules(call: Call) -> None:
    said = call("solve", "--rules", *RULES, "--steps", 5)
    assert said.code == 0
    assert all(name in said.out for name in RULES)


def test_a_seed_gives_the_same_start(call: Call) -> None:
    line = "solve", "--rule", "multiplicative-weights", "--steps", 3, "--seed"
    assert call(*line, 1).out == call(*line, 1).out != call(*line, 2).out


def test_several_starts(call: Call) -> None:
    line = "solve --game rock-paper-scissors --rules fictitious-play psro --steps 20 --seeds 3"
    text = words(call(*line.split()).out)
    assert "NashConv and values are medians over 3 starts. strategies of" in text
    assert text.endswith("Strategies are those of the first start.")
    singles = [call(*line.replace("--seeds 3", f"--seed {seed}").split()).out for seed in range(3)]
    found = sorted(float(re.findall(r"20 +\S+ +(\S+)", said)[0]) for said in singles)
    assert float(re.findall(r"20 +\S+ +(\S+)", text)[0]) == found[1]


def test_kuhn_poker(call: Call) -> None:
    pytest.importorskip("pyspiel")
    said = call("solve", "--game", "openspiel:kuhn_poker", "--rules", "cfr", "cfr-plus")
    assert said.code == 0
    text = words(said.out)
    assert text.startswith("openspiel:kuhn_poker: 12 information states")
    assert "100 0.2383 0.01645 -0.05615 1000 0.1039 0.001875 -0.05563 cfr-plus" in text
    assert "1000 0.03886 0.0001747 -0.05556" in text
    assert "0pb 1.000 0.000 1.000 0.000" in text


def test_an_own_game(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import games\n"
        "from games.matrix import NormalForm\n"
        "table = tuple(tuple((a, -a) for a in row) for row in ((3, -1), (-2, 1)))\n"
        "games.register('biased', NormalForm(table=table), summary='a biased game', source='mine')\n"
    )
    text = words(call("solve", "--load", "mine.py", "--game", "biased", "--rule", "psro").out)
    assert text.startswith("biased: value 0.143 for agent 0")
    assert "linear program equilibrium 0 0.429 0.571 linear program equilibrium 1 0.286 0.714" in text


def test_help(call: Call) -> None:
    said = call("solve", "--game", "rock-paper-scissors", "--help")
    assert said.code == 0
    assert "regret-matching-plus" in said.out
    assert "openspiel:kuhn_poker" in said.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--game", "prisoners-dilemma"), "prisoners-dilemma cannot be solved: The game is general-sum"),
        (
            ("--game", "public-goods"),
            "public-goods cannot be solved: The game has 3 agents; only zero-sum",
        ),
        (("--game", "escape-room"), "escape-room cannot be solved: A payoff table needs exact values"),
        (
            ("--game", "repeated-matching-pennies"),
            "repeated-matching-pennies cannot be solved: Only one-shot games have a payoff table",
        ),
        (("--game", "rock-paper-siccors"), "There is no game 'rock-paper-siccors'"),
        (("--rule", "regret-maching"), "There is no learning rule 'regret-maching'. Did you mean"),
        (("--rule", "cfr"), "There is no learning rule 'cfr'"),
        (("--rules",), "Name at least one learning rule"),
        (("--rules", "psro", "psro"), "psro is named twice: name every rule once."),
        (("--rules", "psro", "--rule", "r-nad"), "--rules is there 2 times"),
        (("--rule", "r-nad(temperature=0)"), "temperature must be above 0"),
        (("--steps", 0), "steps must be from 1 to 1000000000, not 0."),
        (("--seed", -1), "seed must be from 0 to"),
        (("--seeds", 0), "seeds must be from 1 to 1000, not 0."),
        (("--seeds", 2, "--seed", "None"), "Several starts need a seed, an integer."),
        (("--figure", "solved.txt"), "The name of a figure ends in .png, .pdf, .svg; solved.txt does not."),
    ],
)
def test_bad_input_is_one_sentence(arguments: tuple[object, ...], sentence: str, call: Call) -> None:
    said = call("solve", *arguments)
    assert said.code == 2
    assert said.sentence().startswith(sentence)


def test_a_learning_rate_that_is_too_large_is_one_sentence(call: Call) -> None:
    rule = "multiplicative-weights(learning_rate=1e308)"
    said = call("solve", "--game", "perturbed-rock-paper-scissors", "--rule", rule)
    assert said.code == 1
    assert said.sentence().startswith("The strategies are not finite after ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("openspiel:kuhn_pokr",), "There is no OpenSpiel game 'kuhn_pokr'"),
        (("openspiel:matrix_pd",), "Only zero-sum games of two agents can be solved; matrix_pd"),
        (("openspiel:kuhn_poker", "--rule", "psro"), "There is no learning rule of sequential games 'psro'"),
        (("openspiel:kuhn_poker", "--steps", 0), "steps must be from 1 to 1000000000, not 0."),
    ],
)
def test_bad_sequential_games(arguments: tuple[object, ...], sentence: str, call: Call) -> None:
    pytest.importorskip("pyspiel")
    said = call("solve", "--game", *arguments)
    assert said.code == 2
    assert said.sentence().startswith(sentence)


def test_openspiel_is_optional(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspiel", None)
    said = call("solve", "--game", "openspiel:kuhn_poker")
    assert said.code == 1
    assert said.sentence() == "OpenSpiel is not installed: pip install open_spiel"

"""LOLA-DiCE, POLA, M-FOS and COALA-PG from end to end: trained, watched, tuned, refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
METHODS: dict[str, tuple[Any, ...]] = {
    "lola-dice": (),
    "pola": ("--proximal.steps", 2, "--look-ahead.kl-coef", 1.0),
}
"""Name -> settings of small runs."""
SMALL = ("--seeds", 3, "--inner.episodes", 4, "--evaluation-episodes", 4, "--game.horizon", 4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("game", ["repeated-prisoners-dilemma", "coin-game"])
def test_a_run_is_continued_and_watched(game: str, method: str, call: Call) -> None:
    words = ("train", "--game", game, "--method", method, *SMALL, *METHODS[method])
    assert call(*words, "--outer-steps", 4, "--out", "whole").code == 0
    assert call(*words, "--outer-steps", 2, "--out", "parts").code == 0
    assert call("train", "--resume", "parts", "--outer-steps", 4).code == 0
    for name in ("metrics.csv", "evaluation.csv"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()
    assert call("play", "--policy", "whole", "--max-steps", 3, "--out", "clip.gif").code == 0


def test_it_is_compared_and_tuned(call: Call) -> None:
    small = ("--seeds", 3, "--outer-steps", 2, "--evaluation-episodes", 4, "--game.horizon", 4)
    methods = ("--methods", "selfish", *METHODS, "--set", "selfish.inner.exact=False", "inner.episodes=4")
    words = ("--game", "repeated-prisoners-dilemma", *small, *methods, "--tune", 2, "--out", "compared")
    assert call("compare", *words).code == 0


@pytest.mark.parametrize(
    ("method", "arguments", "sentence"),
    [
        ("lola-dice", ("--inner.surrogate", "reinforce"), "choose dice or loaded-dice"),
        ("lola-dice", ("--look-ahead.steps", 0), "look_ahead.steps must be a whole number, 1 or more"),
        ("lola-dice", ("--policy", "mlp", "--policy.share-parameters"), "leave share_parameters off"),
        ("pola", ("--inner.surrogate", "reinforce"), "choose dice or loaded-dice"),
        ("pola", ("--proximal.steps", 0), "proximal.steps must be a whole number, 1 or more"),
        ("pola", ("--proximal.kl-coef", -1), "proximal.kl_coef must be a finite number of 0 or more"),
        ("pola", ("--policy", "mlp", "--policy.share-parameters"), "leave share_parameters off"),
    ],
)
def test_bad_input_is_one_sentence(
    method: str, arguments: tuple[Any, ...], sentence: str, call: Call
) -> None:
    said = call("train", "--game", "repeated-prisoners-dilemma", "--method", method, *arguments)
    assert said.code == 2
    assert sentence in said.sentence()


SMALL_META = ("--meta.steps", 3, "--meta.episodes", 4, "--meta.hidden-size", 4)


@pytest.mark.parametrize(
    "method",
    [
        ("m-fos", "--training", "ppo"),
        ("m-fos", "--training", "evolution"),
        ("coala-pg", "--inner.episodes", 3, "--meta.recurrent-size", 4),
    ],
    ids=["ppo", "evolution", "coala-pg"],
)
def test_meta_policies_are_trained_continued_evaluated_and_watched(
    method: tuple[Any, ...], call: Call
) -> None:
    game = ("--game", "repeated-prisoners-dilemma", "--game.horizon", 4, "--seeds", 3)
    words = ("train", *game, "--method", *method, "--shapers", "both", *SMALL_META)
    assert call(*words, "--outer-steps", 4, "--out", "whole").code == 0
    assert call(*words, "--outer-steps", 2, "--out", "parts").code == 0
    assert call("train", "--resume", "parts", "--outer-steps", 4).code == 0
    for name in ("metrics.csv", "evaluation.csv"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()
    assert "meta_return_1" in Path("whole", "evaluation.csv").read_text(encoding="utf-8")
    assert call("evaluate", "whole", "--episodes", 4).code == 0
    assert call("play", "--policy", "whole", "--max-steps", 3, "--out", "clip.gif").code == 0


def test_meta_policies_are_compared_and_tuned(call: Call) -> None:
    game = ("--game", "repeated-chicken", "--game.horizon", 4, "--seeds", 3, "--outer-steps", 2)
    names = ("m-fos", "coala-pg")
    settings = "meta.steps=3", "meta.episodes=4", "meta.hidden-size=4"
    few = ("--set", *(f"{name}.{each}" for name in names for each in settings))
    words = ("--methods", "selfish", *names, *few, "--tune", 2, "--out", "compared")
    assert call("compare", *game, *words).code == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("train", "--game", "coin-game", "--method", "m-fos"), "leave policy at auto"),
        (("train", "--game", "chicken", "--method", "m-fos", "--policy", "mlp"), "leave policy at auto"),
        (("train", "--game", "coin-game", "--method", "coala-pg"), "leave policy at auto"),
        (("train", "--game", "chicken", "--method", "coala-pg", "--inner.exact"), "leave inner.exact off"),
        (
            ("tournament", "--game", "repeated-chicken", "--learners", "selfish", "coala-pg"),
            "learns on meta-episodes from fresh policies: leave it out",
        ),
        (("train", "--game", "aid", "--method", "m-fos"), "choose a game with two"),
        (
            ("train", "--game", "chicken", "--method", "m-fos", "--training.samples", 4),
            "choose training first",
        ),
        (
            ("tournament", "--game", "repeated-chicken", "--learners", "selfish", "m-fos"),
            "learns on meta-episodes from fresh policies: leave it out",
        ),
    ],
)
def test_meta_policies_are_refused_in_one_sentence(words: tuple[Any, ...], sentence: str, call: Call) -> None:
    said = call(*words)
    assert said.code == 2
    assert sentence in said.sentence()

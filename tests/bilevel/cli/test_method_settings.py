"""Methods and their settings on the command line of a comparison."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from bilevel.cli._method_settings import labeled_methods, methods_with_settings
from bilevel.experiments import preset
from bilevel.methods import Selfish, ToS, register_method

NAMES = {"selfish": "selfish", "mine": "tos"}


def test_labels_are_the_names_unless_given() -> None:
    assert labeled_methods(["tos", "kl=tos", "fixed"]) == {"tos": "tos", "kl": "tos", "fixed": "fixed"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["tos", "tos"], "tos is there twice: give one of them a label of its own, as in other=tos."),
        (["tos", "tso"], "There is no method 'tso'. Did you mean 'tos'"),
        (["a=b=tos", "a=b=fixed"], "a=b is there twice"),
        (["mine="], "There is no method ''"),
    ],
)
def test_methods_that_cannot_be(words: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        labeled_methods(words)


def test_without_settings_the_presets_apply() -> None:
    methods = methods_with_settings("escape-room", NAMES, [])
    assert methods == {label: preset("escape-room", name)[1] for label, name in NAMES.items()}


def test_settings_of_one_and_of_all() -> None:
    texts = [
        "mine.own-share=0.9",
        "mine.hypergradient=evolution(samples=8, sigma=0.2)",
        "exact=False",
        "hidden=8,4",
        "mine.inner_steps=3",
        "mine.reset=each-outer-step",
    ]
    selfish, mine = methods_with_settings("chicken", NAMES, texts).values()
    assert isinstance(mine, ToS)
    assert (mine.own_share, mine.hypergradient, mine.reset) == (
        0.9,
        "evolution(samples=8, sigma=0.2)",
        "each-outer-step",
    )
    assert [(method.exact, method.hidden) for method in (selfish, mine)] == [(False, (8, 4))] * 2
    assert (selfish.inner_steps, mine.inner_steps) == (1, 3)
    assert selfish.inner_learning_rate == 1.0  # the preset of exact games


def test_a_method_of_ones_own_has_its_settings() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Loud(Selfish):
        volume: int = 3

    register_method("loud", Loud)
    (method,) = methods_with_settings("chicken", {"loud": "loud"}, ["loud.volume=11"]).values()
    assert method == Loud(inner_learning_rate=1.0, volume=11)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mine.own-share", r"takes \[LABEL.\]SETTING=VALUE, as tos.own-share=0.8, not 'mine.own-share'"),
        ("=3", r"takes \[LABEL.\]SETTING=VALUE"),
        ("tos.own-share=1", "There is no method of this comparison 'tos'. Known: selfish, mine."),
        ("mine.own-shaer=1", "There is no setting of mine 'own-shaer'. Did you mean 'own-share'"),
        ("own-share=0.8", "There is no setting of selfish 'own-share'"),
        ("mine.own-share=1", "own_share"),
        ("inner-learning-rate=-1", "inner_learning_rate must be a finite number above 0, not -1"),
    ],
)
def test_settings_that_cannot_be(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        methods_with_settings("chicken", NAMES, [text])


@pytest.mark.parametrize("text", ["mine.inner-steps=many", "mine.exact=perhaps", "mine.own-share="])
def test_values_that_cannot_be_read_leave_with_a_box(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        methods_with_settings("chicken", NAMES, [text])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert text.partition(".")[2].partition("=")[0] in said
    assert "settings of mine" in said

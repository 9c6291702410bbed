"""Methods and their settings on the command line of a comparison."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from bilevel.cli._method_settings import labeled_methods, methods_with_settings
from bilevel.cli._train import train_command
from bilevel.experiments import preset
from bilevel.hypergradient import Evolution
from bilevel.methods import PPO, Alternating, MLPPolicy, PolicyGradient, Selfish, ToS, register_method

NAMES = {"selfish": "selfish", "mine": "tos"}


def test_labels_are_the_names_unless_given() -> None:
    assert labeled_methods(["tos", "kl=tos", "fixed"]) == {"tos": "tos", "kl": "tos", "fixed": "fixed"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["tos", "tos"], "tos is there twice: give one of them a label of its own, as in other=tos."),
        (["tos", "tso"], "There is no method 'tso'; did you mean 'tos'"),
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
        "mine.outer.hypergradient=evolution(samples=8, sigma=0.2)",
        "inner.exact=False",
        "policy=mlp",
        "policy.hidden-size=8,4",
        "mine.inner.steps=3",
        "mine.outer.reset=each-outer-step",
    ]
    selfish, mine = methods_with_settings("chicken", NAMES, texts).values()
    assert isinstance(mine, ToS)
    assert isinstance(selfish, Selfish)
    assert mine.own_share == 0.9
    assert mine.outer.hypergradient == Evolution(samples=8, sigma=0.2)
    assert mine.outer.reset == "each-outer-step"
    assert selfish.policy == mine.policy == MLPPolicy(hidden_size=(8, 4))
    assert (selfish.inner.steps, mine.inner.steps) == (1, 3)
    assert selfish.inner == PolicyGradient(exact=False, learning_rate=1.0)  # the preset of exact games


def test_variants_are_chosen_in_a_comparison() -> None:
    texts = [
        "mine.inner=ppo",
        "mine.inner.clip-coef=0.1",
        "mine.training=alternating",
        "mine.training.rounds=2",
    ]
    _, mine = methods_with_settings("escape-room", NAMES, texts).values()
    assert isinstance(mine, ToS)
    assert isinstance(mine.inner, PPO)
    assert (mine.inner.clip_coef, mine.inner.learning_rate) == (0.1, 0.3)
    assert mine.training == Alternating(rounds=2)


@pytest.mark.parametrize("method", ["selfish", "tos"])
def test_a_method_has_few_settings(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train_command(["--game", "escape-room", "--method", method, "--help"])
    text = capsys.readouterr().out
    options = set(re.findall(r"--((?:policy|inner|outer|training|loss-weights|method)[\w.-]*)", text))
    assert 5 < len({option.replace(".no-", ".") for option in options}) <= 25


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--method.inner-learning-rate", "1"], "--method.inner-learning-rate is now --inner.learning-rate."),
        (["--method.no-exact"], "--method.no-exact is now --inner.no-exact."),
        (["--method.trace=0.9"], "--method.trace is now --inner.gae-lambda (method.trace-decay of"),
        (["--method.policy", "mlp"], "--method.policy is now --policy."),
        (["--method.hold", "3"], "--method.hold is now --sharing.interval (method.interval of ltos)."),
        (["--policy", "MLP"], "There is no policy 'MLP'. Did you mean 'mlp'"),
        (["--inner.gae-lambda", "0.9"], "setting of inner actor-critic or ppo, and inner is policy-gradient"),
        (["--inner.clip-coef", "0.9"], "inner.clip_coef is a setting of inner ppo"),
        (
            ["--outer.optimizer", "sgd"],
            "Selfish has no outer: its parts are policy, inner, rule, loss_weights.",
        ),
    ],
)
def test_options_of_other_parts_are_refused_in_one_sentence(words: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        train_command(["--game", "escape-room", "--method", "selfish", *words])


@pytest.mark.parametrize(
    ("method", "words", "says"),
    [
        ("tos", ["--method.sharing", "static"], "--method.sharing is now --sharing."),
        (
            "tos",
            ["--method.sharing-hidden-size", "8"],
            "--method.sharing-hidden-size is now --sharing.hidden-size.",
        ),
        ("tos", ["--sharing.hold", "3"], "--sharing.hold is now --sharing.interval."),
        (
            "d3c",
            ["--method.least-log-weight=-8"],
            "--method.least-log-weight is now --method.min-log-weight.",
        ),
        (
            "tos",
            ["--sharing.interval", "3"],
            "setting of sharing state-dependent or edge-network, and sharing is static",
        ),
        ("lio", ["--method.cost-weight", "1"], "--method.cost-weight is now --cost.weight."),
        ("lio", ["--method.model-steps", "1"], "--method.model-steps is now --opponents.steps."),
        ("lio", ["--cost.weight", "1"], "setting of cost objective, and cost is separate"),
        ("lio", ["--opponents.steps", "1"], "setting of opponents modeled, and opponents is known"),
    ],
)
def test_settings_that_a_variant_would_ignore_are_refused(method: str, words: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        train_command(["--game", "escape-room", "--method", method, *words])


def test_a_method_of_ones_own_has_its_settings() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Loud(Selfish):
        volume: int = 3

    register_method("loud", Loud)
    (method,) = methods_with_settings("chicken", {"loud": "loud"}, ["loud.volume=11"]).values()
    assert method == Loud(inner=PolicyGradient(learning_rate=1.0), volume=11)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mine.own-share", r"takes \[LABEL.\]SETTING=VALUE, such as tos.own-share=0.8, not 'mine.own-share'"),
        ("=3", r"takes \[LABEL.\]SETTING=VALUE"),
        ("tos.own-share=1", "There is no method or label 'tos'. Known: selfish, mine."),
        ("mine.own-shaer=1", "no setting of ToS 'own_shaer'. Did you mean 'own_share'"),
        ("own-share=0.8", "no setting of Selfish 'own_share'"),
        ("mine.own-share=1", "own_share"),
        ("inner.learning-rate=-1", "inner.learning_rate must be a finite number above 0, not -1"),
    ],
)
def test_settings_that_cannot_be(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        methods_with_settings("chicken", NAMES, [text])


@pytest.mark.parametrize("text", ["mine.inner.steps=many", "mine.inner.exact=perhaps", "mine.own-share="])
def test_values_that_cannot_be_read_leave_with_a_box(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        methods_with_settings("chicken", NAMES, [text])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert text.partition(".")[2].partition("=")[0] in said
    assert "settings of mine" in said


@pytest.mark.parametrize("method", ["ltos", "lola-dice", "aga"])
@pytest.mark.parametrize("words", [["--rule", "lola"], ["--rule.rate", "0.1"]])
def test_a_method_without_update_rules_says_so(method: str, words: list[str]) -> None:
    with pytest.raises(ValueError, match="has no rule: its parts are"):
        train_command(["--game", "prisoners-dilemma", "--method", method, *words])

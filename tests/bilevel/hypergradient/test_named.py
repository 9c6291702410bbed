"""Estimators as text: what is read, what is refused and with which sentence, and that it comes back."""

from __future__ import annotations

import builtins
import dataclasses
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from bilevel.hypergradient import (
    ESTIMATORS,
    Estimator,
    Evolution,
    FiniteDifference,
    Forward,
    Implicit,
    OneStep,
    PersistentEvolution,
    Truncated,
    Unrolled,
    format_hypergradient,
    make_hypergradient,
    register_hypergradient,
)

WRITTEN: list[tuple[Estimator, str]] = [
    (Unrolled(), "unrolled"),
    (Truncated(steps=5), "truncated(steps=5)"),
    (Forward(), "forward"),
    (Forward(max_entries=None, batch_dims=1), "forward(max_entries=None, batch_dims=1)"),
    (Implicit(), "implicit"),
    (Implicit(solver="normal-cg", tolerance=1e-8), "implicit(solver=normal-cg, tolerance=1e-08)"),
    (Implicit(max_distance=math.inf, iterations=7), "implicit(iterations=7, max_distance=inf)"),
    (OneStep(), "one-step"),
    (FiniteDifference(epsilon=0.25, members=True), "finite-difference(epsilon=0.25, members=True)"),
    (Evolution(sigma=0.1 + 0.2, seed=-3), "evolution(sigma=0.30000000000000004, seed=-3)"),
    (PersistentEvolution(samples=8), "persistent-evolution(samples=8)"),
]


@dataclass(frozen=True)
class Mine(Estimator):
    """An estimator of one's own, with settings of every type."""

    words: tuple[str, ...] = ()
    rate: float | None = 0.5
    word: str = "plain"
    on: bool = False
    layers: list[int] = dataclasses.field(default_factory=list)

    def estimate(
        self, problem: Any, theta: Any, opt_state: Any, phi: Any, state: Any = None, *, steps: int
    ) -> Any:
        raise NotImplementedError


@dataclass
class Thawed:
    """No frozen dataclass."""


def test_every_estimator_is_written_in_the_table() -> None:
    assert {type(estimator) for estimator, _ in WRITTEN} == set(ESTIMATORS.values())


@pytest.mark.parametrize(("estimator", "text"), WRITTEN, ids=[text for _, text in WRITTEN])
def test_text_and_back(estimator: Estimator, text: str) -> None:
    assert format_hypergradient(estimator) == text
    assert make_hypergradient(text) == estimator
    assert format_hypergradient(text) == text


@given(
    samples=some.integers(1, 10**6).map(lambda half: 2 * half),
    sigma=some.floats(min_value=0, exclude_min=True, allow_infinity=False),
    flags=some.tuples(*[some.booleans()] * 2),
    seed=some.integers(),
)
def test_numbers_come_back_exactly(samples: int, sigma: float, flags: tuple[bool, bool], seed: int) -> None:
    estimator = Evolution(samples=samples, sigma=sigma, antithetic=flags[0], members=flags[1], seed=seed)
    back: Any = make_hypergradient(format_hypergradient(estimator))
    assert back == estimator
    assert repr(back) == repr(estimator)  # 2 and 2.0 are equal, but not the same


@given(
    words=some.lists(some.one_of(some.text(), some.sampled_from(["a-b", "inf", "nan", "None", "is", "é"]))),
    rate=some.one_of(some.none(), some.floats(allow_nan=False)),
    word=some.text(),
    on=some.booleans(),
)
def test_any_string_comes_back(words: list[str], rate: float | None, word: str, on: bool) -> None:
    ESTIMATORS.setdefault("mine", Mine)
    estimator = Mine(words=tuple(words), rate=rate, word=word, on=on)
    assert repr(make_hypergradient(format_hypergradient(estimator))) == repr(estimator)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("implicit(solver='gmres')", Implicit(solver="gmres")),
        ('implicit(solver="cg")', Implicit(solver="cg")),
        ("implicit(solver=cg)", Implicit(solver="cg")),
        ("  truncated ( steps = 5 , ) ", Truncated(steps=5)),
        ("truncated(\nsteps=5\n)", Truncated(steps=5)),
        ("one-step()", OneStep()),
        ("implicit(max_distance=1)", Implicit(max_distance=1)),
    ],
)
def test_what_can_be_read(text: str, expected: Estimator) -> None:
    assert make_hypergradient(text) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "'' is not a hypergradient: write its name, or its name with settings, as in truncated"),
        ("unrolled(", "'unrolled(' is not a hypergradient: write its name"),
        ("unrolled()()", "The settings in 'unrolled()()' cannot be read"),
        ("unrolled)+(", "is not a hypergradient"),
        ("truncated(steps=)", "The settings in 'truncated(steps=)' cannot be read: write them as in"),
        ("unrolled(memory_budget=512MB)", "cannot be read: .* strings that are more than words in quotes."),
        ("implicit(solver=a\0b)", "cannot be read"),
        (f"evolution(seed={'-' * 100_000}1)", "cannot be read"),
        (f"evolution(seed={'(' * 1000}1{')' * 1000})", "cannot be read"),
        (f"evolution(seed={'9' * 5000})", "cannot be read"),
        ("trunc(steps=1)", "There is no hypergradient 'trunc'. Did you mean 'truncated'? Known: unrolled,"),
        ("Forward", "There is no hypergradient 'Forward'. Did you mean 'forward'"),
        ("persistent", "There is no hypergradient 'persistent'."),
        ("truncated", "The hypergradient 'truncated' needs the setting 'steps'."),
        ("truncated(step=1)", "There is no setting of truncated 'step'. Did you mean 'steps'"),
        ("truncated(5)", "have names, as in truncated(steps=5), but 'truncated(5)' has 5 without one."),
        ("truncated(**a)", "has **a without one."),
        ("truncated(*a)", "has *a without one."),
        ("truncated(steps=1, steps=2)", "steps is given twice in 'truncated(steps=1, steps=2)'."),
        ("truncated(steps=0)", "Truncated needs steps of at least 1, not 0."),
        (
            "truncated(steps=five)",
            "The setting steps of truncated must be of the type int, but it is 'five'.",
        ),
        ("truncated(steps=5.0)", "of the type int, but it is 5.0."),
        ("truncated(steps=True)", "of the type int, but it is True."),
        ("truncated(steps=2+3)", "The setting steps must be a literal (a number, a word, a quoted string,"),
        ("truncated(steps=-True)", "The setting steps must be a literal"),
        ("truncated(steps=[5])", "must be a literal .* not [5]."),
        ("implicit(solver=a.b)", "must be a literal .* not a.b."),
        ("implicit(solver=b'cg')", "must be a literal .* not b'cg'."),
        ("implicit(solver=cg-2)", "must be a literal .* not cg-2."),
        ("implicit(solver=adm)", "There is no solver 'adm'."),
        ("forward(limit=3)", "The setting limit of forward is now called max_entries."),
        ("implicit(max_distance=-inf)", "max_distance must be above 0, not -inf."),
        ("implicit(tolerance=nan)", "tolerance must be above 0, not nan."),
    ],
)
def test_what_cannot_be_read_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=_pattern(sentence)) as refused:
        make_hypergradient(text)
    assert "\n" not in str(refused.value)


def _pattern(sentence: str) -> str:
    return ".*".join(map(re.escape, sentence.split(" .* ")))


def test_nothing_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("eval", "exec", "__import__"):
        monkeypatch.setattr(builtins, name, lambda *_, **__: pytest.fail("evaluated"))
    for call in ("__import__('os')", "eval('1')", "(lambda: 1)()", "[x for x in (1,)]", "f'{1}'"):
        with pytest.raises(ValueError, match="must be a literal"):
            make_hypergradient(f"implicit(solver={call})")


def test_settings_in_the_text_and_beside_it() -> None:
    assert make_hypergradient("evolution(samples=8)", seed=3) == Evolution(samples=8, seed=3)
    with pytest.raises(ValueError, match=r"steps is given twice, in 'truncated\(steps=5\)' and beside it"):
        make_hypergradient("truncated(steps=5)", steps=5)
    with pytest.raises(ValueError, match="steps of truncated must be of the type int, but it is 'five'"):
        make_hypergradient("truncated", steps="five")


def test_an_estimator_of_ones_own_has_a_name_once_it_is_registered() -> None:
    with pytest.raises(ValueError, match=r"register_hypergradient\(name, Mine\) gives it one"):
        format_hypergradient(Mine())
    register_hypergradient("mine", Mine)
    text = "mine(words=(a, 'b c', 'inf'), rate=-inf, word='')"
    estimator = Mine(words=("a", "b c", "inf"), rate=-math.inf, word="")
    assert format_hypergradient(estimator) == text
    assert make_hypergradient(text) == estimator
    assert format_hypergradient(Mine(words=("a",))) == "mine(words=(a,))"


def test_what_a_test_registers_is_forgotten() -> None:
    assert "mine" not in ESTIMATORS


def test_a_setting_that_is_no_literal_has_no_text() -> None:
    register_hypergradient("mine", Mine)
    with pytest.raises(ValueError, match=r"The setting layers is \[1\], which text cannot hold"):
        format_hypergradient(Mine(layers=[1]))


@pytest.mark.parametrize(
    ("register", "sentence"),
    [
        (lambda: register_hypergradient("unrolled", Mine), "The hypergradient 'unrolled' exists already"),
        (lambda: register_hypergradient("My Own", Mine), "words joined by hyphens; 'My Own' is not."),
        (lambda: register_hypergradient("thawed", Thawed), "frozen dataclass, and .*Thawed.* is not."),
        (lambda: register_hypergradient("object", Mine()), "frozen dataclass, and Mine(.* is not."),
        (lambda: register_hypergradient("int", int), "frozen dataclass, and .*int.* is not."),
    ],
)
def test_what_cannot_be_registered(register: Callable[[], None], sentence: str) -> None:
    before = dict(ESTIMATORS)
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(")):
        register()
    assert before == ESTIMATORS

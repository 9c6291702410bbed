"""Values of settings in a sweep: lists, ranges, their text forms and draws."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bilevel.sweeps import Between, Choices, read_axis, read_literal
from bilevel.sweeps._axis import axis_of

UNIFORM = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("0.01,0.1", Choices((0.01, 0.1))),
        ("5", Choices((5,))),
        ("ppo, actor-critic", Choices(("ppo", "actor-critic"))),
        ("true,false,none", Choices((True, False, None))),
        ("0:0.1,100:0;0.05", Choices(("0:0.1,100:0", 0.05))),
        ("1..8", Between(1, 8)),
        ("1e-3..1.0:log", Between(0.001, 1.0, log=True)),
        ("-1..1", Between(-1, 1)),
    ],
)
def test_text_forms(text: str, axis: Choices | Between) -> None:
    assert read_axis(text) == axis


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "A value is missing in ''"),
        ("0.1,,0.2", "A value is missing in '0.1,,0.2'"),
        ("0.1,0.1", "The value 0.1 is there twice"),
        ("1..1", "A range rises, and 1..1 does not"),
        ("0..1:log", "A log-uniform range is above 0, and 0..1 is not"),
        ("1..2:linear", "The scale of a range is :log or absent, not :linear"),
    ],
)
def test_refused_texts(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        read_axis(text)


def test_axes_of_files() -> None:
    assert axis_of([1, 2]) == Choices((1, 2))
    assert axis_of(0.5) == Choices((0.5,))
    assert axis_of({"low": 1, "high": 4}) == Between(1, 4)
    assert axis_of(Between(1, 4)) == Between(1, 4)
    with pytest.raises(ValueError, match=r"A range is \{low = \.\.\., high = .*\}, not \{'low': 1\}"):
        axis_of({"low": 1})


@given(st.floats(1e-6, 1e3), st.floats(1.01, 100), UNIFORM)
def test_draws_lie_within_a_range(low: float, factor: float, uniform: float) -> None:
    high = low * factor
    for log in (False, True):
        drawn = Between(low, high, log=log).draw(uniform)
        assert low * 0.99 <= drawn <= high * 1.01  # rounded to three digits


@given(st.integers(1, 50), st.integers(1, 50), UNIFORM)
def test_integer_draws_include_both_bounds(low: int, size: int, uniform: float) -> None:
    for log in (False, True):
        axis = Between(low, low + size, log=log)
        assert isinstance(axis.draw(uniform), int)
        assert axis.draw(0.0) == low
        assert axis.draw(math.nextafter(1, 0)) == low + size
        assert low <= axis.draw(uniform) <= low + size


def test_a_log_uniform_draw_halves_the_range_of_exponents() -> None:
    assert Between(0.01, 1.0, log=True).draw(0.5) == 0.1
    assert Between(0.0, 1.0).draw(0.25) == 0.25


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("-0.5", -0.5), ("1e-3", 0.001), ("None", None), ("adam", "adam")]
)
def test_literals(text: str, value: object) -> None:
    assert read_literal(text) == value
    assert type(read_literal(text)) is type(value)

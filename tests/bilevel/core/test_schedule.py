"""Schedules: right at knots and between them, the same in text, and every way they are refused."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bilevel.core import Range, Schedule

NUMBERS = st.floats(-1e6, 1e6)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Knots in order, some of them jumps."""
    times = sorted(draw(st.lists(st.integers(0, 60), min_size=1, max_size=6, unique=True)))
    twice = draw(st.lists(st.booleans(), min_size=len(times), max_size=len(times)))
    all_times = [time for time, jump in zip(times, twice, strict=True) for _ in range(1 + jump)]
    return Schedule(tuple((time, draw(NUMBERS)) for time in all_times))


@given(schedules())
def test_text_comes_back_as_the_same_schedule(schedule: Schedule) -> None:
    again = Schedule.read(str(schedule))
    assert [again(step) for step in range(70)] == [schedule(step) for step in range(70)]
    assert again.knots == schedule.knots
    assert str(again) == str(schedule)


@given(schedules())
def test_at_a_knot_it_is_the_knots_value_and_the_last_one_after_a_jump(schedule: Schedule) -> None:
    for time, value in dict(schedule.knots).items():  # of two knots at a step the later one is kept
        assert schedule(time) == value
    first, last = schedule.knots[0], schedule.knots[-1]
    assert schedule(last[0] + 100) == last[1]
    if first[0]:
        assert schedule(0) == first[1]


@given(schedules())
def test_between_knots_it_goes_one_way_in_a_straight_line(schedule: Schedule) -> None:
    for (begin, start), (end, goal) in itertools.pairwise(schedule.knots):
        values = [start, *(schedule(step) for step in range(begin + 1, end)), goal]
        assert values in (sorted(values), sorted(values, reverse=True))
        for place, value in enumerate(values if end > begin else []):
            part = place / (end - begin)
            assert value == pytest.approx((1 - part) * start + part * goal, rel=1e-12, abs=1e-6)


@given(NUMBERS, NUMBERS, st.integers(0, 50))
def test_a_line_is_what_it_says(start: float, end: float, steps: int) -> None:
    line = Schedule.line(start, end, steps)
    for step in range(steps):
        assert line(step) == pytest.approx(start + (end - start) * step / steps, rel=1e-12, abs=1e-9)
    assert line(steps) == line(steps + 9) == end
    assert line.constant is (start == end or not steps)


@given(NUMBERS)
def test_a_number_is_a_constant(value: float) -> None:
    schedule = Schedule.read(value)
    assert schedule == Schedule.read(repr(value))
    assert schedule.constant
    assert {schedule(step) for step in (0, 1, 1000)} == {value}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" 0 : 1 ,4:0", [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]),
        ("2:1, 4:3", [1.0, 1.0, 1.0, 2.0, 3.0, 3.0]),
        ("0:1, 2:1, 2:5e-1", [1.0, 1.0, 0.5, 0.5, 0.5, 0.5]),
        ("0:-1, 2:1, 2:0, 4:4", [-1.0, 0.0, 0.0, 2.0, 4.0, 4.0]),
    ],
)
def test_what_text_means(text: str, expected: list[float]) -> None:
    assert [Schedule.read(text)(step) for step in range(6)] == expected


@pytest.mark.parametrize(
    "text", ["", "fast", "0:1,", ",0:1", "0:1 5:2", "0:1, 5", "1.5:2", "-1:2", "0:1:2", "0:", ":1", "0:one"]
)
def test_text_that_cannot_be_read_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a schedule: write a number, or .*, as in 0:0\.3, 200:0\.1"):
        Schedule.read(text)


@pytest.mark.parametrize(
    ("knots", "says"),
    [
        ((), "A schedule has 1 knot or more"),
        (((5, 1.0), (3, 2.0)), "knots are in order, but outer step 3 follows 5"),
        (((5, 1.0), (5, 2.0), (5, 3.0)), "2 knots at most at outer step 5"),
        (((-1, 1.0),), "in whole numbers from 0, and -1 is none"),
        (((0.5, 1.0),), "in whole numbers from 0, and 0.5 is none"),
        (((0, math.nan),), "values are finite numbers, and nan is none"),
        (((0, 1.0), (9, math.inf)), "values are finite numbers, and inf is none"),
    ],
)
def test_knots_that_make_no_sense_are_refused(knots: tuple[tuple[int, float], ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Schedule(knots)


def test_a_range_looks_at_every_knot() -> None:
    within = Range(min=0, max=1)
    falls, stays = Schedule.read("0:1,9:0"), Schedule.read("5:.5, 9:.5")
    assert within.require_schedule("share", falls) == falls
    assert within.require_schedule("share", stays) == 0.5
    with pytest.raises(ValueError, match=r"share.*from 0 to 1, not 1\.5"):
        within.require_schedule("share", Schedule.read("0:1, 9:1.5"))

"""Schedules of checkpoints: what they keep, what they take again, and that no schedule is cheaper."""

import math
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bilevel.hypergradient._checkpointing import (
    PASSES,
    BinomialSchedule,
    cut,
    fewest_states,
    fit,
    max_states,
)

LENGTHS = st.integers(1, 120)


def steps_again(plan):
    """Count the steps that a reverse sweep by this schedule takes forward again."""
    segments = [plan.segment(place) for place in range(len(plan.starts))]
    return sum(part.starts[-1] + steps_again(part) for part in segments if part.length > 1)


@st.composite
def plans(draw):
    length = draw(LENGTHS)
    kind = draw(st.sampled_from(["all", "cut", "root", "fit"]))
    if kind == "all":
        return cut(length, length)
    if kind == "cut":
        return cut(length, draw(st.integers(1, 130)), draw(st.integers(1, 4)))
    if kind == "root":
        return cut(length, None, draw(st.integers(1, 4)))
    return fit(length, draw(st.integers(fewest_states(length), length + 5)))


class Walker:
    """Does what a walk back does, and counts."""

    def __init__(self):
        self.order, self.again, self.passes, self.most, self.now = [], 0, {}, 0, 1

    def keep(self, count):
        self.now += count
        self.most = max(self.most, self.now)

    def walk(self, plan, first):
        for place in reversed(range(len(plan.starts))):
            step, segment = first + plan.starts[place], plan.segment(place)
            if segment.length == 1:
                self.order.append(step)
            else:
                for k in range(step, step + segment.starts[-1]):
                    self.again += 1
                    self.passes[k] = self.passes.get(k, 1) + 1
                self.keep(len(segment.starts) - 1)
                self.walk(segment, step)
                self.now += 1  # the start of the segment was this list's too
            self.now -= 1


def walked(plan):
    walker = Walker()
    walker.keep(len(plan.starts))
    walker.walk(plan, 0)
    return walker


@given(plan=plans())
@settings(max_examples=200)
def test_every_step_is_pulled_once_from_the_last_one_back(plan):
    walker = walked(plan)
    assert walker.order == list(reversed(range(plan.length)))
    assert walker.again == steps_again(plan)
    assert walker.most == max_states(plan)


@given(length=LENGTHS)
def test_what_is_kept_whole_is_never_taken_again(length):
    assert (max_states(cut(length, length)), steps_again(cut(length, length))) == (length + 1, 0)


@given(length=LENGTHS, count=st.integers(1, 130), levels=st.integers(1, 4))
@settings(max_examples=200)
@example(length=10, count=4, levels=1)
def test_the_laws_of_cutting(length, count, levels):
    """Each level keeps `count` states or fewer and takes each step again at most once."""
    plan = cut(length, count, levels)
    leaf = length
    for _ in range(levels):
        leaf = math.ceil(leaf / count)
    assert len(plan.starts) <= count
    assert max_states(plan) <= levels * count + leaf + 1
    assert steps_again(plan) <= levels * length


@pytest.mark.parametrize(
    ("length", "levels"), [(100, 1), (101, 1), (1000, 2), (999, 2), (1, 1), (2, 3), (81, 3)]
)
def test_the_root_is_the_balance(length, levels):
    count = next(n for n in range(1, length + 1) if n ** (levels + 1) >= length)
    assert cut(length, None, levels) == cut(length, count, levels)
    assert max_states(cut(length, None, levels)) <= (levels + 1) * count + 1


def test_one_level_in_numbers():
    """K = 100 in ten segments: 9 of 10 steps of each are taken again; 10 starts, 9 states inside, the end."""
    assert list(cut(100, None).starts) == list(range(0, 100, 10))
    assert (max_states(cut(100, None)), steps_again(cut(100, None))) == (20, 90)


@cache
def fewest_steps(length, slots):
    """Steps forward to come to each of `length` steps, the last one first, by trying every cut (derived)."""
    if length == 1:
        return 0
    if slots == 1:
        return length * (length - 1) // 2
    parts = range(1, length)
    return min(m + fewest_steps(length - m, slots - 1) + fewest_steps(m, slots) for m in parts)


@given(length=st.integers(2, 40), slots=st.integers(1, 39))
@settings(max_examples=150)
def test_no_schedule_of_so_many_states_is_cheaper(length, slots):
    slots = min(slots, length - 1)
    plan = BinomialSchedule(length, slots)
    assert steps_again(plan) + length - 1 == fewest_steps(length, slots)
    assert max_states(plan) <= slots + 2


@given(length=LENGTHS, more=st.integers(0, 130))
@settings(max_examples=150)
def test_fitted_plans_fit(length, more):
    states = fewest_states(length) + more
    walker = walked(fit(length, states))
    assert walker.most <= states
    assert max(walker.passes.values(), default=1) <= PASSES
    if states >= length + 1:
        assert walker.again == 0


def test_more_states_never_cost_more():
    costs = [steps_again(fit(200, states)) for states in range(fewest_states(200), 202)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == 0 < costs[-2]


def test_the_fewest_states():
    needed = fewest_states(1000)
    assert math.comb(needed - 2 + PASSES, PASSES) >= 1000 > math.comb(needed - 3 + PASSES, PASSES)

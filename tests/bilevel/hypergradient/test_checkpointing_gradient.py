"""Walking back in segments: the same gradient bit for bit, and the steps and refusals that were promised."""

import pickle

import pytest
import torch
import torchopt

from bilevel import optimizers
from bilevel.core import inner_step, leaves, tree_map
from bilevel.hypergradient import (
    BilevelProblem,
    Truncated,
    Unrolled,
    format_hypergradient,
    make_hypergradient,
)
from bilevel.hypergradient._checkpointing import cut
from bilevel.optimizers import sgd
from tests.bilevel.hypergradient.test_checkpoint_schedules import steps_again

BOUNDS = {
    "one segment": {"segments": 1},
    "three": {"segments": 3},
    "as many as steps": {"segments": 7},
    "more than steps": {"segments": 99},
    "sqrt": {"segments": "sqrt"},
    "two levels": {"segments": "sqrt", "levels": 2},
    "three levels of two": {"segments": 2, "levels": 3},
    "memory": {"memory_budget": "3KB"},
    "offload": {"offload": True},
    "offload in segments": {"segments": 3, "offload": True},
}

OPTIMIZERS = {
    "sgd": lambda: sgd(0.1, weight_decay=0.1),
    "momentum": lambda: optimizers.momentum(0.1, nesterov=True),
    "adam": lambda: optimizers.adam(0.05),
    "rmsprop": lambda: optimizers.rmsprop(0.02, centered=True, momentum=0.5),
    "clip": lambda: optimizers.chain(optimizers.clip_by_norm(0.5), optimizers.momentum(0.1)),
    "torchopt adam": lambda: torchopt.adam(0.05),
}


def learn(estimator, setting, optimizer, steps=7, **more):
    state = optimizer.init(setting.theta)
    return estimator(setting.problem(optimizer, **more), setting.theta, state, setting.phi, steps=steps)


def require_same_bits(estimate, expected):
    fields = ("theta", "opt_state", "outer_loss", "gradient", "inner_data", "outer_data")
    for name in fields:
        tree_map(
            lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0),
            getattr(estimate, name),
            getattr(expected, name),
        )


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("bounds", BOUNDS.values(), ids=BOUNDS)
def test_the_same_bits(setting, make, bounds):
    expected = learn(Unrolled(), setting, make())
    assert all(bool(leaf.any()) for leaf in leaves(expected.gradient))
    require_same_bits(learn(Unrolled(**bounds), setting, make()), expected)


def test_the_same_bits_in_float32(sharing):
    single = sharing.to(torch.float32)
    expected = learn(Unrolled(), single, optimizers.adam(0.05))
    for bounds in ({"segments": "sqrt"}, {"keep_dtype": "float32"}):
        require_same_bits(learn(Unrolled(**bounds), single, optimizers.adam(0.05)), expected)


@pytest.mark.parametrize("bounds", BOUNDS.values(), ids=BOUNDS)
@pytest.mark.parametrize("kept", [1, 4, 6, 9])
def test_the_same_bits_truncated(network, bounds, kept):
    optimizer = optimizers.adam(0.05)
    expected = learn(Truncated(steps=kept), network, optimizer)
    require_same_bits(learn(Truncated(steps=kept, **bounds), network, optimizer), expected)


@pytest.mark.parametrize("bounds", BOUNDS.values(), ids=BOUNDS)
def test_the_same_bits_for_several_objectives(sharing, bounds):
    reference = sharing.outer_loss

    def objectives(theta, phi, data):
        return torch.stack((reference(theta, phi, data), theta["level"].square().sum(-1)))

    setting = sharing._replace(outer_loss=objectives)
    expected = learn(Unrolled(), setting, optimizers.adam(0.05), per_agent_objective=True)
    assert expected.gradient.shape == (2, *sharing.phi.shape)
    require_same_bits(
        learn(Unrolled(**bounds), setting, optimizers.adam(0.05), per_agent_objective=True), expected
    )


class Counted:
    """A step that counts how often it is taken."""

    def __init__(self, size=1):
        self.calls, self.inner, self.theta = 0, sgd(0.1), torch.ones(size)
        taken = inner_step(lambda theta, phi, data: (theta - phi * data).square().sum(), self.inner)

        def step(*arguments):
            self.calls += 1
            return taken(*arguments)

        self.drawn = []

        def draw(theta, phi, k):
            self.drawn.append(k)
            return torch.tensor(1.0 + k)

        self.problem = BilevelProblem(
            step=step, outer_loss=lambda theta, phi, data: theta.square().sum(), inner_data=draw
        )

    def run(self, estimator, steps):
        phi = torch.tensor(3.0)
        estimator(self.problem, self.theta, self.inner.init(self.theta), phi, steps=steps)
        return self.calls


@pytest.mark.parametrize("steps", [1, 2, 10, 37])
def test_the_steps_that_were_promised(steps):
    """K forward, K again, and what the plan takes again: K - (number of segments) with one level."""
    assert Counted().run(Unrolled(recompute=True), steps) == 2 * steps
    plan = cut(steps, None)
    assert steps_again(plan) == (steps - len(plan.starts) if steps > 2 else 0)
    assert Counted().run(Unrolled(segments="sqrt"), steps) == 2 * steps + steps_again(plan)
    two = cut(steps, None, levels=2)
    assert Counted().run(Unrolled(segments="sqrt", levels=2), steps) == 2 * steps + steps_again(two)
    assert Counted().run(Truncated(steps=5, segments=2), steps) == (
        steps + min(5, steps) + steps_again(cut(min(5, steps), 2))
    )


@pytest.mark.parametrize("steps", [1, 2, 37])
def test_a_graph_that_is_kept_takes_every_step_once(steps):
    """Besides two that tell whether the step is pure, and one whose graph is measured: once for each form."""
    counted = Counted()
    assert counted.run(Unrolled(), steps) == steps + 2 + (steps > 1)
    assert counted.run(Unrolled(), steps) == 2 * steps + 2 + (steps > 1)
    assert counted.run(Truncated(steps=1), steps) == 3 * steps + 2 + (steps > 1)


def test_data_are_drawn_once_all_the_same():
    counted = Counted()
    counted.run(Unrolled(segments="sqrt", levels=2), 20)
    assert counted.drawn == list(range(20))


def test_memory_chooses_the_cheapest_that_fits():
    """A state of 1000 floats: 21 of them keep everything, 20 take a step again, and 7 take most of them."""
    costs = {
        states: Counted(1000).run(Unrolled(memory_budget=f"{4 * states}KB"), 20) for states in (21, 20, 7)
    }
    assert costs[21] == 40 < costs[20] < costs[7] < 80


def test_memory_that_cannot_do():
    sentence = (
        r"memory_budget='15KB' holds 3 states of 4KB, but 20 steps need 4: "
        r"give at least memory_budget='16KB'\."
    )
    with pytest.raises(ValueError, match=sentence):
        Counted(1000).run(Unrolled(memory_budget="15KB"), 20)
    assert Counted(1000).run(Unrolled(memory_budget="16KB"), 20) > 60


@pytest.mark.parametrize("bounds", [{}, *BOUNDS.values(), {"keep_dtype": "bfloat16"}])
def test_a_step_that_remembers_is_refused(bounds):
    calls = []

    def loss(theta, phi, data):
        calls.append(None)
        return (theta - phi / len(calls)).square().sum()

    problem = BilevelProblem(step=inner_step(loss, sgd(0.1)), outer_loss=lambda t, p, d: t.sum())
    theta = torch.ones(2)
    for steps in (1, 2, 7):
        calls.clear()
        with pytest.raises(ValueError, match="not a pure function"):
            Unrolled(**bounds)(problem, theta, sgd(0.1).init(theta), torch.ones(2), steps=steps)


@pytest.mark.parametrize("bounds", [*BOUNDS.values(), {"keep_dtype": "bfloat16"}])
def test_a_missing_path_is_refused(bounds):
    step = inner_step(lambda theta, phi, data: theta.square().sum(), sgd(0.1))
    problem = BilevelProblem(step=step, outer_loss=lambda t, p, d: t.sum())
    theta = torch.ones(2)
    with pytest.raises(ValueError, match="no path from phi"):
        Unrolled(**bounds)(problem, theta, sgd(0.1).init(theta), torch.ones(2), steps=5)


@pytest.mark.parametrize(
    "text",
    [
        "unrolled",
        "unrolled(segments=sqrt, levels=2, keep_dtype=bfloat16, offload=True)",
        "unrolled(segments=4)",
        "unrolled(memory_budget='1.5GiB')",
    ],
)
def test_settings_are_written_as_text(text):
    estimator = make_hypergradient(text)
    assert format_hypergradient(estimator) == text
    assert pickle.loads(pickle.dumps(estimator)) == estimator
    assert eval(repr(estimator), {"Unrolled": Unrolled}) == estimator


def test_only_what_was_chosen_is_shown():
    assert repr(Unrolled()) == "Unrolled()"
    assert repr(Truncated(segments="sqrt", steps=5)) == "Truncated(steps=5, segments='sqrt')"


REFUSED = {
    "none": ({"segments": 0}, "segments must be at least 1, sqrt or None, not 0"),
    "word": ({"segments": "sqr"}, "There is no choice of segments 'sqr'. Did you mean 'sqrt'"),
    "levels": ({"segments": 2, "levels": 0}, "levels must be at least 1, not 0"),
    "levels alone": ({"levels": 2}, "levels=2 says how often segments are cut: give segments as well"),
    "both": (
        {"segments": 2, "memory_budget": "1MB"},
        "segments and memory_budget both determine which states",
    ),
    "levels of memory": ({"levels": 2, "memory_budget": "1MB"}, "give segments as well"),
    "size": ({"memory_budget": "lots"}, "a number above 0 and a unit, such as 512MB or 1.5GiB, not 'lots'"),
    "dtype": ({"keep_dtype": "float8"}, "There is no keep_dtype 'float8'. Did you mean"),
}


@pytest.mark.parametrize(("settings", "sentence"), REFUSED.values(), ids=REFUSED)
def test_bad_settings_are_refused_in_a_sentence(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        Unrolled(**settings)
    with pytest.raises(ValueError, match=sentence):
        Truncated(steps=5, **settings)

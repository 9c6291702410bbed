"""Search spaces of methods: ranges, draws as functions of seed, method and trial, and batches."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest

from bilevel.core import Schedule
from bilevel.experiments import SearchRange, SearchSpace, configured, default_config, search_table, step_costs
from bilevel.experiments._comparison import applicable_methods
from bilevel.experiments._search_space import BATCH, INSTEAD_OF_ZERO, MISSING, OF_ALL, OF_METHOD, setting_of
from bilevel.methods import METHODS, Staged

TRIALS = 40
EXACT = ("m-fos", "meva")
"""Methods of exact values that do not apply to the Escape Room."""
OF_TABLES = ("coala-pg", *EXACT)
"""Methods of tables of two agents, which do not apply to it."""


def space(method: str, game: str = "escape-room", **settings: Any) -> SearchSpace:
    return SearchSpace(configured(default_config(game, method), {"evaluation_episodes": 8} | settings))


def drawn(of: SearchSpace, setting: str) -> list[Any]:
    return [of.settings(trial, seed=0)[setting] for trial in range(1, TRIALS)]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_its_settings(name: str) -> None:
    of = space(name, "chicken" if name in OF_TABLES else "escape-room")
    expected = {setting for setting in OF_ALL if setting_of(of.config.method, setting) is not MISSING}
    expected -= {BATCH} if name in ("ltos", *EXACT) else set()
    expected -= {"inner.entropy_coef"} if name == "meva" else set()  # takes no entropy bonus
    expected |= OF_METHOD.get(name, {}).keys()
    assert of.ranges.keys() == expected - ({"cost.weight"} if name == "lio" else set())
    assert "inner.learning_rate" in of.ranges
    assert all(setting_of(of.config.method, setting) is not MISSING for setting in of.ranges)
    for trial in range(6):
        of.trial_config(trial, seed=0).require_applicable()


def test_the_first_trial_is_the_default() -> None:
    for game, name in (("escape-room", "tos"), ("prisoners-dilemma", "fixed")):
        of = space(name, game)
        assert of.settings(0, seed=5) == {}
        assert of.trial_config(0, seed=5) == of.config


def test_draws_depend_on_seed_method_trial_and_setting_alone() -> None:
    of, other = space("tos"), space("fixed")
    assert of.settings(3, seed=0) == space("tos", seeds=9, outer_steps=7).settings(3, seed=0)
    fewer = SearchSpace(of.config, pinned={"inner.learning_rate"})
    assert "inner.learning_rate" not in fewer.settings(3, seed=0)
    assert fewer.settings(3, seed=0).items() <= of.settings(3, seed=0).items()
    settings = [
        of.settings(3, seed=0)["inner.learning_rate"],
        of.settings(3, seed=1)["inner.learning_rate"],
        of.settings(4, seed=0)["inner.learning_rate"],
        other.settings(3, seed=0)["inner.learning_rate"],
    ]
    assert len(set(settings)) == 4


def test_log_uniform_multiples_of_the_default() -> None:
    rates = drawn(space("tos", **{"inner.learning_rate": 0.2}), "inner.learning_rate")
    assert 0.02 <= min(rates) < 0.05
    assert 0.8 < max(rates) <= 2
    assert 10 < sum(rate < 0.2 for rate in rates) < 30
    for bonus in drawn(space("tos"), "inner.entropy_coef"):
        (begin, high), (end, low) = bonus.knots
        assert 0.03 <= high <= 3
        assert (begin, end, low) == (0, 200, 0)


def test_an_entropy_coefficient_of_zero_has_a_range_of_its_own() -> None:
    of = space("fixed", "prisoners-dilemma")
    assert of.ranges["inner.entropy_coef"] == INSTEAD_OF_ZERO["inner.entropy_coef"]
    assert all(0.001 <= value <= 0.1 for value in drawn(of, "inner.entropy_coef"))


def test_uniform_ranges() -> None:
    shares = drawn(space("fixed"), "self_interest")
    assert 0 <= min(shares) < 0.1
    assert 0.9 < max(shares) <= 1
    assert SearchRange(-1, 3, "uniform", relative=False).value(0.5, default=9.0) == 1


def test_exact_values_have_no_batch() -> None:
    assert BATCH not in space("selfish", "prisoners-dilemma").ranges
    assert BATCH in space("selfish", "prisoners-dilemma", **{"inner.exact": False}).ranges


def test_phases_keep_the_batch() -> None:
    of = space("tos")
    staged = dataclasses.replace(of.config.method, training=Staged(outer_steps=3))
    assert BATCH not in SearchSpace(dataclasses.replace(of.config, method=staged)).ranges


@pytest.mark.parametrize("name", ["selfish", "tos", "lio", "d3c"])
def test_batches_have_equal_environment_steps(name: str) -> None:
    """Trials take the environment steps of the default run, but for less than an outer step."""
    of = space(name, outer_steps=60)
    total = step_costs(of.config).total(60)
    seen = set()
    for trial in range(TRIALS):
        config = of.trial_config(trial, seed=0)
        costs = step_costs(config)
        seen.add(setting_of(config.method, BATCH) / 64)
        assert total - costs.total(1) < costs.total(config.outer_steps) <= total
    assert seen == {0.25, 0.5, 1, 2, 4}


def test_schedules_end_at_the_same_fraction_of_training() -> None:
    of = space("tos", outer_steps=400, **{"outer.learning_rate": Schedule.read("0:0.1, 100:0.1, 100:0.01")})
    for config in (of.trial_config(trial, seed=0) for trial in range(TRIALS)):
        factor = 64 / setting_of(config.method, BATCH)
        assert config.outer_steps == 400 * factor
        assert [time for time, _ in config.method.inner.entropy_coef.knots] == [0, 200 * factor]
        times = [time for time, _ in config.method.outer.learning_rate.knots]
        assert times == [0, 100 * factor, 100 * factor]


def test_knots_that_fall_on_one_outer_step_stay_a_schedule() -> None:
    knots = ", ".join(f"{time}:{time + 1}" for time in range(9))
    of = space("selfish", outer_steps=8, **{"inner.learning_rate": knots})
    configs = [of.trial_config(trial, seed=0) for trial in range(TRIALS)]
    assert min(config.outer_steps for config in configs) == 2


def test_a_batch_that_leaves_no_outer_step_is_the_default() -> None:
    of = space("selfish", outer_steps=1)
    for trial in range(TRIALS):
        config = of.trial_config(trial, seed=0)
        assert setting_of(config.method, BATCH) <= 64
        assert config.outer_steps == 64 // setting_of(config.method, BATCH)


def test_minibatches_have_episodes() -> None:
    ppo = {"inner": "ppo", "inner.episodes": 4, "inner.num_minibatches": 3}
    of = space("selfish", **ppo)
    assert {setting_of(of.trial_config(trial, seed=0).method, BATCH) for trial in range(TRIALS)} == {
        3,
        4,
        8,
        16,
    }


def test_environment_steps_are_those_of_the_rollouts() -> None:
    for name in applicable_methods("prisoners-dilemma", default_config("prisoners-dilemma", "tos").game):
        config = default_config("prisoners-dilemma", name)
        if not config.exact:
            costs = step_costs(config)
            assert all(
                costs.outer_steps(within=costs.total(steps) + extra) == steps
                for steps, extra in itertools.product((1, 2, 7), (0, costs.total(1) - 1))
            )
    with pytest.raises(ValueError, match="takes no environment steps that can be counted"):
        step_costs(default_config("prisoners-dilemma", "selfish"))


def test_the_guide_lists_the_ranges() -> None:
    guide = (Path(__file__).parents[3] / "docs/how-to/compare-methods.md").read_text(encoding="utf-8")
    for methods, setting, within in search_table():
        named = methods if methods == "all" else f"`{methods}`"
        assert f"| {named} | `{setting}` | {within} |" in guide

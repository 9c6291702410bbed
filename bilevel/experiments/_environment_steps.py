"""Environment steps of training, and the number of outer steps that they allow."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch

from bilevel.agents import count_environment_steps
from bilevel.experiments._config import RunConfig
from games.core import require


class StepCosts(NamedTuple):
    """Environment steps of outer steps, per seed, each episode counted to the game's horizon.

    >>> costs = StepCosts(((0, 30), (1, 20)))  # the first outer step takes 30, each later one 20
    >>> costs.total(outer_steps=4), costs.outer_steps(within=95)
    (90, 4)
    """

    segments: tuple[tuple[int, int], ...]
    """(first outer step, environment steps of each outer step from it on), in order."""

    def total(self, outer_steps: int) -> int:
        """Count the environment steps of the first outer steps."""
        ends = [begin for begin, _ in self.segments[1:]] + [outer_steps]
        return sum(
            cost * max(min(end, outer_steps) - begin, 0)
            for (begin, cost), end in zip(self.segments, ends, strict=True)
        )

    def outer_steps(self, within: int) -> int:
        """Find the largest number of outer steps that take at most this many environment steps."""
        last_begin, last_cost = self.segments[-1]
        left = within - self.total(last_begin)
        if left >= 0:
            return last_begin + left // last_cost
        return next(steps for steps in range(last_begin, -1, -1) if self.total(steps) <= within)


def step_costs(config: RunConfig) -> StepCosts:
    """Measure the environment steps of a run's outer steps, by taking a few outer steps with one seed.

    Every episode counts to the game's horizon, because its end may depend on chance. So the costs are upper
    bounds, and equal costs mean equal numbers of episodes. Episodes for outer losses and metrics are
    included.

    Raises:
        ValueError: agents learn from exact values, or play episodes that the toolkit does not count.

    >>> from bilevel.experiments import configured, default_config
    >>> config = configured(default_config("escape-room", "tos"), {"inner.episodes": 4})
    >>> step_costs(config).total(outer_steps=10)  # 2 rollouts of 4 episodes in each, of 5 steps
    400
    """
    learner = config.method.build(config.game, dataclasses.replace(config.placement, seeds=1, compile=False))
    segments: list[tuple[int, int]] = []
    for phase in config.method.schedule.phases:
        state = {**learner.init(config.seed), "outer_step": torch.tensor(phase.begin)}
        for step in (phase.begin, phase.begin + 1):  # a first step may differ, as that of new policies
            with count_environment_steps(1, to_horizon=True) as count:
                state, _ = learner.update(state)
            segments.append((step, int(count)))
    require(
        all(cost > 0 for _, cost in segments),
        f"{config.method_name} on {config.game_name} takes no environment steps that can be counted: compare "
        "by outer steps.",
    )
    return StepCosts(tuple(segments))


def within_environment_steps(config: RunConfig, environment_steps: int) -> RunConfig:
    """Set the number of outer steps of a run to the largest that an amount of environment steps per seed
    allows.

    Args:
        config: the run; if agents learn from exact values, it stays as it is.
        environment_steps: upper bound, with every episode of training counted to the game's horizon, also
            those for outer losses and metrics; the final evaluation does not count.

    Raises:
        ValueError: they do not suffice for one outer step; or as `step_costs`, or as `RunConfig`.

    >>> from bilevel.experiments import configured, default_config
    >>> config = configured(default_config("escape-room", "tos"), {"inner.episodes": 4})
    >>> within_environment_steps(config, 1000).outer_steps
    25
    """
    require(
        type(environment_steps) is int and environment_steps >= 1,
        f"environment_steps must be a whole number, 1 or more, not {environment_steps!r}.",
    )
    if config.exact:
        return config
    costs = step_costs(config)
    steps = costs.outer_steps(within=environment_steps)
    require(
        steps >= 1,
        f"{environment_steps} environment steps are too few for an outer step of {config.method_name} on "
        f"{config.game_name}, which takes {costs.total(1)}.",
    )
    return dataclasses.replace(config, outer_steps=steps)

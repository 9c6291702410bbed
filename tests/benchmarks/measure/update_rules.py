"""Time updates of all seeds in one batch against a loop over seeds in plain autograd, rule by rule."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

import games
from bilevel.methods import Placement, Selfish
from docs.studies.cooperating_seeds import ascent_by_hand
from tests.benchmarks.measure.worker import Worker

RULES = ("naive", "look-ahead", "lola", "sos")
SEEDS = 1024
ROUNDS = 5
"""Turns of the batch and of the loop, one after the other, so that both see the same load."""

Say = Callable[[str], None]


def measure_update_rules(say: Say, *, short: bool) -> dict[str, list[Any]]:
    """Measure every rule in a process of its own, on one core.

    Returns:
        "update rules": rows with the rule, the number of seeds, and seconds of an update of all of them in
        one batch, and of one seed by hand.
    """
    rows = []
    for rule in RULES:
        say(f"update rules: {rule}")
        with Worker(1) as worker:
            found = worker.call(
                "tests.benchmarks.measure.update_rules:time_rule",
                rule,
                16 if short else SEEDS,
                0.02 if short else 1.0,
            )
        rows.append({"rule": rule, **found})
    return {"update rules": rows}


def time_rule(rule: str, seeds: int, seconds: float) -> dict[str, float]:
    """Time both forms in turns.

    Args:
        rule: name of the update rule.
        seeds: seeds of the batch.
        seconds: of each turn; three updates at least.

    Returns:
        "seeds"; medians over all turns: "batch", seconds of an update of all seeds, metrics included, and
        "by_hand", of one seed.
    """
    game = games.make("repeated-prisoners-dilemma", discount=0.96)
    learner = Selfish().with_settings({"rule": rule}).build(game, Placement(seeds=seeds))
    state, _ = learner.update(learner.init(seed=0))
    policies, seed = state["theta"].clone(), 0

    def update_batch() -> None:
        nonlocal state
        state, _ = learner.update(state)

    def update_by_hand() -> None:
        nonlocal seed
        ascent = ascent_by_hand(policies[seed], rule, 1.0, game.discount)
        policies[seed] = (policies[seed] + ascent).detach()
        seed = (seed + 1) % seeds

    update_by_hand()
    turns: dict[str, list[float]] = {"batch": [], "by_hand": []}
    for _ in range(ROUNDS):
        for name, update in (("batch", update_batch), ("by_hand", update_by_hand)):
            turns[name] += _durations(update, seconds)
    return {"seeds": seeds, **{name: float(np.median(found)) for name, found in turns.items()}}


def _durations(update: Callable[[], None], seconds: float) -> list[float]:
    found: list[float] = []
    began = time.perf_counter()
    while len(found) < 3 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        update()
        found.append(time.perf_counter() - start)
    return found

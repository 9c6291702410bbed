"""What the shipped settings end at."""

import dataclasses

import numpy as np

import bilevel


def final_welfare(
    game: str, method: str, *, seeds: int, inner_learner: str = "policy-gradient", **settings
) -> np.ndarray:
    """Welfare of each seed after 300 outer steps of `bilevel.default_config`, on 1024 fresh episodes."""
    config = bilevel.default_config(game, method)
    learns = config.method.with_settings({"inner": inner_learner})
    config = dataclasses.replace(config, method=learns)
    assert config.outer_steps == 300
    assert config.evaluation_episodes == 1024
    config = dataclasses.replace(config, seeds=seeds, game=dataclasses.replace(config.game, **settings))
    learner = config.method.build(config.game, config.placement)
    state = learner.init(config.seed)
    for _ in range(config.outer_steps):
        state, _ = learner.update(state)
    measured = learner.evaluate(state, episodes=config.evaluation_episodes)
    return measured["welfare"].double().numpy()

"""Learners that others have written train on our games: Stable-Baselines3's PPO, through SuperSuit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pettingzoo.utils.env import ParallelEnv

from games.adapters import ParallelView, parallel_env
from games.grid import CoinGame
from games.wrappers import shared

MISSING = "Training with other people's learners needs the extra learners: pip install 'bilevel[learners]'"

pytestmark = pytest.mark.slow


def train(env: ParallelEnv, steps: int, discount: float) -> Any:
    """One policy for all agents, learned by PPO in eight copies of the environment."""
    supersuit = pytest.importorskip("supersuit", reason=MISSING)
    baselines = pytest.importorskip("stable_baselines3", reason=MISSING)
    baselines.common.utils.set_random_seed(0)
    copies = supersuit.concat_vec_envs_v1(
        supersuit.pettingzoo_env_to_vec_env_v1(env), 8, num_cpus=0, base_class="stable_baselines3"
    )
    copies.venv.reset(seed=0)  # SuperSuit's copies share their stream of random numbers until they get seeds
    learner = baselines.PPO(
        "MlpPolicy", copies, n_steps=64, batch_size=256, learning_rate=2e-3, gamma=discount, device="cpu"
    )
    return learner.learn(steps)


def play(env: ParallelEnv, act: Callable[[Any], int], episodes: int) -> Iterator[tuple[dict, dict]]:
    """Rewards and infos of every step."""
    for episode in range(episodes):
        observations, _ = env.reset(seed=episode)
        while env.agents:
            actions = {agent: act(observations[agent]) for agent in env.agents}
            observations, rewards, _, _, infos = env.step(actions)
            yield rewards, infos


@pytest.mark.parametrize(("keep", "cooperation"), [(1.0, 0.0), (0.5, 1.0)])
def test_sharing_turns_ppo_from_defecting_to_cooperating(keep: float, cooperation: float) -> None:
    """In the prisoner's dilemma -1, -3, 0, -2 cooperating pays iff more than a third is given (derived)."""
    env = shared(parallel_env("prisoners-dilemma"), [[keep, 1 - keep], [1 - keep, keep]])
    learner = train(env, 6_000, discount=0.9)
    steps = list(play(env, lambda seen: int(learner.predict(seen)[0]), episodes=100))
    cooperated = [info["cooperated"] for _, infos in steps for info in infos.values()]
    assert np.mean(cooperated) == pytest.approx(cooperation, abs=0.1)
    extrinsic = [info["extrinsic_reward"] for _, infos in steps for info in infos.values()]
    assert np.mean(extrinsic) == pytest.approx(-2 + cooperation, abs=0.1)


def test_ppo_learns_to_pick_up_coins() -> None:
    env, draws = ParallelView(CoinGame(horizon=30)), np.random.default_rng(0)

    def coins(act: Callable[[Any], int]) -> float:
        """Per episode."""
        return sum(1.0 in rewards.values() for rewards, _ in play(env, act, episodes=40)) / 40

    by_chance = coins(lambda seen: int(draws.integers(4)))
    learner = train(env, 20_000, discount=0.9)
    assert coins(lambda seen: int(learner.predict(seen)[0])) > 1.5 * by_chance

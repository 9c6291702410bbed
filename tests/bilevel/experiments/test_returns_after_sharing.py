"""Returns after sharing: by hand, on matrices and on edges; and the runs for which they are not defined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bilevel
from bilevel.experiments import Run, agent_metric, final_shares, returns_after_sharing

SHARING: dict[str, tuple[str, dict[str, Any]]] = {
    "selfish": ("selfish", {}),
    "prosocial": ("prosocial", {}),
    "fixed": ("fixed", {"self_interest": 0.3}),
    "tos": ("tos", {}),
    "tos, own-return": ("tos", {"objective": "own-return"}),
}


def trained(game: str, method: str, **settings: Any) -> Run:
    return bilevel.train(game, method, seeds=3, outer_steps=2, evaluation_episodes=8, **settings)


def own_returns(run: Run) -> np.ndarray:
    own = agent_metric(run.final, "return", run.config.game.num_agents)
    assert own is not None
    return own


@pytest.mark.parametrize("game", ["public-goods", "irrigation", "escape-room"])
@pytest.mark.parametrize("label", SHARING)
def test_sharing_moves_rewards_and_loses_none(game: str, label: str) -> None:
    method, settings = SHARING[label]
    run = trained(game, method, **settings)
    after = returns_after_sharing(run)
    assert after.shape == own_returns(run).shape
    np.testing.assert_allclose(after.sum(-1), run.final["welfare"])


def test_by_hand() -> None:
    """Each of two keeps 60 % of its return, and gets 40 % of the other's."""
    run = trained("chicken", "fixed", self_interest=0.6)
    own = own_returns(run)
    np.testing.assert_allclose(returns_after_sharing(run), 0.6 * own + 0.4 * own[:, ::-1])


def test_the_giver_is_the_row() -> None:
    run = trained("chicken", "tos")
    run.final.update({"return_0": np.ones(3), "return_1": np.zeros(3)})
    run.final.update({f"share_0_{j}": np.full(3, share) for j, share in enumerate((0.7, 0.3))})
    np.testing.assert_allclose(returns_after_sharing(run), [[0.7, 0.3]] * 3)


def test_selfish_agents_have_their_own_returns() -> None:
    run = trained("chicken", "selfish")
    np.testing.assert_array_equal(returns_after_sharing(run), own_returns(run))


def test_the_common_reward_is_the_mean() -> None:
    run = trained("irrigation", "prosocial")
    after = returns_after_sharing(run)
    np.testing.assert_allclose(after, run.final["welfare"][:, None] / 4 * np.ones(4))


def test_shares_on_edges_move_rewards_as_the_matrix_of_these_edges() -> None:
    run = trained("irrigation", "fixed", self_interest=0.6, **{"game.agents": 70})
    shares = final_shares(run)
    assert shares is not None
    assert shares.ndim == 2
    own = own_returns(run)
    matrix = np.zeros((70, 70))  # a line: 0.4 to the only neighbor at an end, 0.2 to each of two between
    for agent in range(70):
        near = [other for other in (agent - 1, agent + 1) if 0 <= other < 70]
        matrix[agent, agent], matrix[agent, near] = 0.6, 0.4 / len(near)
    np.testing.assert_allclose(returns_after_sharing(run), own @ matrix)


@pytest.mark.parametrize(
    ("game", "method", "settings", "says"),
    [
        ("escape-room", "tos", {"sharing": "state-dependent"}, "choose static sharing"),
        ("escape-room", "tos", {"sharing": "edge-network"}, "choose static sharing"),
        ("chicken", "prosocial", {"common_reward": "sum"}, "mean, not sum, .*: choose common_reward mean"),
        ("chicken", "planner", {}, "planner transfers rewards in another way"),
        ("escape-room", "lio", {}, "lio transfers rewards in another way"),
        ("escape-room", "gifting", {}, "gifting transfers rewards in another way"),
        ("chicken", "contract", {}, "contract transfers rewards in another way"),
    ],
)
def test_other_transfers_are_refused(game: str, method: str, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        returns_after_sharing(trained(game, method, **settings))


def test_games_that_agents_leave_are_refused() -> None:
    with pytest.raises(ValueError, match="Agents may leave stag-hunt-grid early"):
        returns_after_sharing(trained("stag-hunt-grid", "selfish", **{"inner.episodes": 2}))

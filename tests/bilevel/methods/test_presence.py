"""Every method keeps to the agents present, in a game that agents leave one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bilevel.agents import Trajectory, measure_episodes, random_actor
from bilevel.methods import METHODS, LToS, Placement, StateDependentSharing, ToS
from bilevel.methods._ltos_sharers import Exploration
from bilevel.report import film
from games.grid import StagHuntGrid
from games.grid._stag_hunt import HUNT
from tests.bilevel.methods.configured import configured

GAME = StagHuntGrid(agents=3, stags=1, hares=3, size=2, horizon=6, view=0)
CREATES = {"lio", "planner", "d3c", "inequity-aversion", "svo", "spatial-discount"}
"""By default these do not conserve what agents earn."""
SETTINGS: dict[str, dict[str, Any]] = {
    "ltos": {"inner.batch_size": 4, "outer.every": 1, "inner.episodes": 5, "inner.steps": 1},
    "d3c": {"loss_bound": 12.0, "samples": 2},
}
STATE_DEPENDENT = "tos of networks"


def built(name: str) -> Any:
    if name == STATE_DEPENDENT:
        method: Any = ToS(sharing=StateDependentSharing()).with_settings(
            {"inner.episodes": 5, "inner.steps": 1}
        )
    else:
        method = configured(
            METHODS[name], **{"inner.episodes": 5, "inner.steps": 1, **SETTINGS.get(name, {})}
        )
    return method.build(method.training_game(GAME), Placement(seeds=2, dtype=torch.float64))


def played(learner: Any, state: Any) -> tuple[Trajectory, torch.Tensor]:
    """What was played by the state's policies, and the rewards that its learners see."""
    generator = torch.Generator().manual_seed(1)
    if isinstance(learner.method, LToS):
        episodes, transfer = learner._play(state["theta"], state["phi"], Exploration(1.0), 5, generator)
    else:
        transfer = learner.transfer(state["phi"])
        episodes = learner.play.sample(state["theta"], transfer, generator)
    return episodes, transfer.rewards(episodes)


@pytest.mark.parametrize(
    "name", [*(name for name in METHODS if name not in ("coala-pg", "m-fos", "meva")), STATE_DEPENDENT]
)
def test_learners_see_no_reward_once_they_have_left(name: str) -> None:
    learner = built(name)
    first = learner.init(0)
    _, metrics = learner.update(first)
    assert all(values.isfinite().all() for values in metrics.values())
    episodes, seen = played(learner, first)
    present = episodes.present
    assert present is not None
    assert not present[:, :, -1].all()
    assert (seen[~present] == 0).all()
    if name not in CREATES:
        torch.testing.assert_close(seen.sum(1), episodes.rewards.sum(1), rtol=0, atol=1e-9)


def test_actions_of_agents_that_left_count_for_nothing() -> None:
    """No loss, entropy or value changes with what agents do, or might do, after they have left."""
    learner = built("tos")
    state = learner.init(0)
    play, theta = learner.play, state["theta"]
    transfer = learner.transfer(state["phi"])
    episodes = play.sample(theta, transfer, torch.Generator().manual_seed(0))
    present = episodes.present
    assert present is not None
    otherwise = episodes._replace(
        actions=torch.where(present, episodes.actions, (episodes.actions + 1) % HUNT)
    )
    assert not torch.equal(otherwise.actions, episodes.actions)
    bonus = torch.tensor(0.1, dtype=torch.float64)

    def gradients(data: Trajectory) -> list[torch.Tensor]:
        losses = torch.func.grad(lambda own: play.losses(own, theta, transfer, data, bonus).sum())(theta)
        values = torch.func.grad(lambda theta: play.values(theta, data).sum())(theta)
        return [losses, values]

    for before, after in zip(gradients(episodes), gradients(otherwise), strict=True):
        torch.testing.assert_close(before, after, rtol=0, atol=1e-12)


def test_cooperation_is_counted_while_an_agent_is_present() -> None:
    """Agent 0 hunts a stag at once and leaves: it cooperated in all of its steps, not in one of four."""
    shape = (1, 2, 4, 1)
    present = torch.ones(shape, dtype=torch.bool)
    present[0, 0, 1:] = False
    cooperated = torch.zeros(shape)
    cooperated[0, 0, 0] = cooperated[0, 1, :2] = 1
    still, one = torch.zeros(shape), torch.ones(1, 1, 4, 1)
    episodes = Trajectory(still.long(), still.long(), still, one, cooperated, present=present)
    measured = measure_episodes(StagHuntGrid(agents=2), episodes).cooperation
    assert measured is not None
    assert measured.tolist() == [[1.0, 0.5]]


def test_films_tell_the_game_of_gifts_among_those_present() -> None:
    """LIO's gifts, step by step, while hunters leave: no frame is missing, no shape is wrong."""
    learner = built("lio")
    transfer = learner.transfer(learner.init(0)["phi"][:1].float())
    frames = film(GAME, random_actor(GAME), torch.Generator().manual_seed(0), transfer=transfer, scale=0.2)
    assert len(list(frames)) >= 2

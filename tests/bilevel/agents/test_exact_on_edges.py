"""Exact values of many agents along the edges of a sparse graph: equal to those of each learner's profile."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bilevel.agents import ExactPlay, Tabular, _play
from bilevel.experiments import train
from bilevel.sharing import SharedOnEdges, edges_of
from games.networked import Aid, EdgeList, Grid, RandomGeometric, Ring, ScaleFree, SmallWorld

GAMES = (
    Aid(agents=5),
    Aid(agents=9, graph=Grid(), horizon=3),
    Aid(agents=8, graph=Ring(directed=False, reach=2), split=False),
    Aid(agents=8, graph=ScaleFree(), benefit=5.0),
    Aid(agents=7, graph=RandomGeometric(radius=0.4), split=False, horizon=2),
    Aid(agents=4, graph=EdgeList(edges=((0, 1, 2.0), (0, 2, 1.0), (1, 2, 0.25), (1, 2, 0.5))), split=False),
)


@pytest.mark.parametrize("game", GAMES, ids=lambda game: type(game.graph).__name__)
@given(seed=st.integers(0, 10_000))
def test_values_and_derivatives_are_those_of_profiles(game: Aid, seed: int) -> None:
    """Losses, their gradients in the learners' policies, and derivatives of these in policies and shares."""
    generator = torch.Generator().manual_seed(seed)
    edges = edges_of(game)
    play = ExactPlay(game, Tabular(game.num_observations, game.num_actions))
    theta = torch.randn(2, game.agents, game.num_observations, generator=generator, dtype=torch.float64)
    logits = torch.randn(2, edges.pairs.shape[1], generator=generator, dtype=torch.float64)
    direction = torch.randn(theta.shape, generator=generator, dtype=torch.float64)

    def measured() -> list[torch.Tensor]:
        own, others, phi = (each.clone().requires_grad_() for each in (theta, theta, logits))
        losses = play.losses(own, others, SharedOnEdges(edges, edges.softmax(phi)), (), None)
        (gradient,) = torch.autograd.grad(losses.sum(), own, create_graph=True)
        further = torch.autograd.grad(
            (gradient * direction).sum(), (own, others, phi), allow_unused=True, materialize_grads=True
        )
        return [losses, gradient, *further]

    by_profiles = measured()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_play, "MAX_PROFILES", 1)
        along_edges = measured()
    for one, other in zip(along_edges, by_profiles, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_ten_thousand_agents_learn_by_exact_values(tmp_path: Path) -> None:
    """A profile for each learner would take 64 GB for each seed."""
    settings = {"game.agents": 10_000, "game.graph": SmallWorld(), "seeds": 2, "outer_steps": 2}
    run = train("aid", "tos", out=tmp_path / "run", **settings)
    assert run.final["return"].shape == (2, 10_000)
    assert (run.curves["welfare"][1] > run.curves["welfare"][0]).all()

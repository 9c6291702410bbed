"""The shipped settings on roads and in the corridor: selfish agents fail, sharing ones solve the game."""

import numpy as np
import pytest

import bilevel
from bilevel.experiments import interquartile_mean
from games.matrix import CongestionGame, social_optimum, worst_equilibrium
from tests.bilevel.methods.final_welfare import final_welfare

pytestmark = pytest.mark.slow


def test_selfish_drivers_end_at_the_equilibrium_and_sharing_ones_at_the_optimum() -> None:
    """Braess's network with four drivers: 80 each at the only pure equilibrium, 65 at the optimum."""
    game = bilevel.default_config("braess", "selfish").game
    assert isinstance(game, CongestionGame)
    anarchy, best = (
        -game.agents * traffic.mean_cost
        for traffic in (
            worst_equilibrium(game.network, game.agents),
            social_optimum(game.network, game.agents),
        )
    )
    selfish, sharing = (final_welfare("braess", method, seeds=20) for method in ("selfish", "tos"))
    np.testing.assert_allclose(selfish, anarchy, atol=0.5)
    np.testing.assert_allclose(sharing, best, atol=0.5)


def test_selfish_agents_meet_in_the_middle_of_the_corridor_and_sharing_ones_at_its_ends() -> None:
    """Both at their ends in the same step is 1.96 (exhaustive search); both in the middle 0.98."""
    selfish, sharing = (
        final_welfare("prisoner-corridor", method, seeds=20, horizon=8) for method in ("selfish", "tos")
    )
    assert selfish.max() < 1
    assert interquartile_mean(sharing) > 1.94
    assert sharing.min() > 1.8

"""The shipped settings reach their targets: selfish agents fail, agents who learn to share solve the game."""

import pytest

from bilevel.experiments import interquartile_mean
from tests.bilevel.methods.final_welfare import final_welfare

pytestmark = pytest.mark.slow


def test_selfish_agents_defect_in_the_repeated_dilemma() -> None:
    """Naive learners end between -2.0 and -1.97 a step (released code of LOLA, arXiv 1709.04326)."""
    welfare = final_welfare("repeated-prisoners-dilemma", "selfish", seeds=256)
    assert -2.0 <= welfare.mean() / 2 <= -1.97


def test_sharing_agents_cooperate_in_the_repeated_dilemma() -> None:
    """The group optimum is -1 a step (derived)."""
    welfare = final_welfare("repeated-prisoners-dilemma", "tos", seeds=256)
    assert welfare.mean() / 2 >= -1.005
    assert welfare.min() / 2 > -1.02


def test_selfish_agents_do_not_leave_the_room() -> None:
    """Nobody gains from pulling the lever: 9 is lost."""
    assert interquartile_mean(final_welfare("escape-room", "selfish", seeds=32)) < 1


@pytest.mark.parametrize(
    ("inner_learner", "seeds"), [("policy-gradient", 32), ("actor-critic", 32), ("ppo", 8)]
)
def test_two_sharing_agents_leave_the_room(inner_learner: str, seeds: int) -> None:
    """The group optimum of ER(2, 1) is 9 (exhaustive search)."""
    welfare = final_welfare("escape-room", "tos", seeds=seeds, inner_learner=inner_learner)
    assert interquartile_mean(welfare) >= 8.8
    assert welfare.min() > 8


def test_three_sharing_agents_leave_a_room_with_two_levers() -> None:
    """The group optimum of ER(3, 2) is 8 (exhaustive search)."""
    welfare = final_welfare("escape-room", "tos", seeds=32, agents=3, levers=2)
    assert interquartile_mean(welfare) >= 7.7
    assert welfare.min() > 7

import itertools

import numpy as np
import pytest

from games.matrix import (
    Circular,
    ContributionGame,
    CountedFamily,
    Cyclical,
    MatrixGame,
    PublicGoods,
    SymmetricalChicken,
    SymmetricalPrisonersDilemma,
    SymmetricalStagHunt,
    SymmetricTwoAgentGame,
    Tycoon,
)

FAMILIES = [
    SymmetricalPrisonersDilemma,
    SymmetricalChicken,
    SymmetricalStagHunt,
    Cyclical,
    Tycoon,
    Circular,
    PublicGoods,
    ContributionGame,
]

# Payoffs of (defector, cooperator) as arXiv 2310.12928 states them, in n, c, d and n_C, n_D over all agents.
PAPER = {
    SymmetricalPrisonersDilemma: (
        lambda n, c, d, n_c, n_d: d + c * n_c / (n - 1),
        lambda n, c, d, n_c, n_d: c * (n_c - 1) / (n - 1),
    ),
    SymmetricalChicken: (
        lambda n, c, d, n_c, n_d: (c + d) * n_c / (n - 1),
        lambda n, c, d, n_c, n_d: c * (n_c - 1) / (n - 1) + d * n_d / (n - 1),
    ),
    SymmetricalStagHunt: (
        lambda n, c, d, n_c, n_d: c * n_c / (n - 1) + d * (n_d - 1) / (n - 1),
        lambda n, c, d, n_c, n_d: (c + d) * (n_c - 1) / (n - 1),
    ),
}


def profiles(game: MatrixGame) -> list[tuple[int, ...]]:
    return list(itertools.product((0, 1), repeat=game.num_agents))


@pytest.mark.parametrize("family", PAPER)
@pytest.mark.parametrize("agents", [2, 3, 5])
def test_symmetrical_families_follow_the_papers_formulas(family: type, agents: int) -> None:
    c, d = 2.5, 0.7
    game = family(agents=agents, c=c, d=d)
    for profile in profiles(game):
        n_d = sum(profile)
        expected = [PAPER[family][1 - action](agents, c, d, agents - n_d, n_d) for action in profile]
        np.testing.assert_allclose(game.payoffs()[profile], expected, atol=1e-12)


@pytest.mark.parametrize("agents", [2, 3, 4])
def test_public_goods_and_contributions(agents: int) -> None:
    for profile in profiles(PublicGoods(agents=agents)):
        pot = 1.5 * (agents - sum(profile)) / agents
        goods = PublicGoods(agents=agents, k=1.5).payoffs()[profile]
        np.testing.assert_allclose(goods, [action + pot for action in profile], atol=1e-12)
        contribution = ContributionGame(agents=agents, k=1.5).payoffs()[profile]
        np.testing.assert_allclose(contribution, [action - 1 + pot for action in profile], atol=1e-12)


def test_graph_families_by_hand() -> None:
    # (R, S, T, P) = (3, 0, 4, 1); agents 0 to 3 play C, D, D, C.
    table = {
        family: family(agents=4).payoffs()[0, 1, 1, 0].tolist() for family in (Cyclical, Tycoon, Circular)
    }
    assert table[Cyclical] == [0, 1, 4, 3]
    assert table[Tycoon] == [0 + 0 + 3, 4, 4, 3]
    # Neighbors on the ring count 1/2, the agent opposite 1/4.
    assert table[Circular] == [
        0 / 2 + 0 / 4 + 3 / 2,
        4 / 2 + 1 / 2 + 4 / 4,
        1 / 2 + 4 / 2 + 4 / 4,
        0 / 2 + 3 / 2 + 0 / 4,
    ]


def test_two_agents_on_a_cycle_play_the_stage_itself() -> None:
    stage = SymmetricTwoAgentGame(reward=2, sucker=-2, temptation=1, punishment=1, names=("hunt", "forage"))
    for family in (Cyclical, Tycoon):
        game = family(agents=2, stage=stage)
        assert game.payoffs().equal(stage.payoffs())
        assert game.action_names == ("hunt", "forage")


def test_neighbors_are_those_one_plays_with() -> None:
    assert Cyclical(agents=4).neighbors.int().tolist() == [
        [1, 1, 0, 1],
        [1, 1, 1, 0],
        [0, 1, 1, 1],
        [1, 0, 1, 1],
    ]
    assert Tycoon(agents=4).neighbors.int().tolist() == [
        [1, 1, 1, 1],
        [1, 1, 0, 0],
        [1, 0, 1, 0],
        [1, 0, 0, 1],
    ]
    for family in (Circular, SymmetricalChicken, PublicGoods):
        assert family(agents=4).neighbors.all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("agents", [1, 20_000, 2.5])
def test_too_few_or_too_many_agents_are_refused(family: type[MatrixGame], agents: int) -> None:
    most = 10_000 if issubclass(family, CountedFamily) else 12
    with pytest.raises(ValueError, match=f"between 2 and {most}.*it is {agents}"):
        family(agents=agents)


@pytest.mark.parametrize(
    ("family", "setting"), [(SymmetricalChicken, "c"), (PublicGoods, "k"), (ContributionGame, "k")]
)
@pytest.mark.parametrize("value", [float("nan"), "3"])
def test_a_setting_that_is_not_finite_is_refused(
    family: type[MatrixGame], setting: str, value: object
) -> None:
    with pytest.raises(ValueError, match=f"{setting} must be a finite number"):
        family(**{setting: value})

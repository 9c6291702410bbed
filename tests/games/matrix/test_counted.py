"""Games held as N payoffs per action: against all 2^N profiles, the binomial, and at a thousand agents."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from bilevel.agents import ExactPlay, Tabular
from bilevel.sharing import SharedBy
from games.matrix import (
    ContributionGame,
    CountedFamily,
    MatrixGame,
    NormalForm,
    PublicGoods,
    RepeatedGame,
    SymmetricalChicken,
    SymmetricalPrisonersDilemma,
    SymmetricalStagHunt,
)
from games.matrix._counted import others_cooperating
from games.theory import dilemma_test, nash_conv, payoff_table, schelling
from games.theory._equilibria import action_values


@dataclass(frozen=True, kw_only=True)
class Threshold(CountedFamily):
    """The pot is paid out if half of all agents, or more, put in: not linear in their number."""

    def counted_payoffs(self, others: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return 2.0 * (2 * (others + 1) >= self.agents) - 1, 2.0 * (2 * others >= self.agents)


FAMILIES = [
    PublicGoods,
    ContributionGame,
    SymmetricalPrisonersDilemma,
    SymmetricalChicken,
    SymmetricalStagHunt,
    Threshold,
]


def random_policies(game: MatrixGame, *batch: int, seed: int = 0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    shape = (*batch, game.num_agents, 1, 2)
    return torch.randn(shape, generator=draws, dtype=torch.float64).softmax(-1)


def laid_out(game: CountedFamily) -> NormalForm:
    return NormalForm(table=tuple(game.payoffs().tolist()), cooperative=True)


@given(family=st.sampled_from(FAMILIES), agents=st.integers(2, 8), seed=st.integers(0, 999))
@settings(max_examples=40)
def test_values_and_their_derivatives_are_those_of_the_table(family: type, agents: int, seed: int) -> None:
    game = family(agents=agents)
    table, policies = laid_out(game), random_policies(game, 2, seed=seed)
    torch.testing.assert_close(game.values(policies), table.values(policies), rtol=0, atol=1e-12)
    torch.testing.assert_close(
        action_values(game, policies), action_values(table, policies), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(nash_conv(game, policies), nash_conv(table, policies), rtol=0, atol=1e-12)

    def slope(game: MatrixGame) -> Tensor:
        def values(logits: Tensor) -> Tensor:
            return game.values(torch.stack((logits.sigmoid(), (-logits).sigmoid()), -1).unsqueeze(-2))

        return torch.func.jacrev(values)(policies[0, :, 0, 0].logit())

    torch.testing.assert_close(slope(game), slope(table), rtol=0, atol=1e-12)


@given(family=st.sampled_from(FAMILIES), agents=st.integers(2, 6), seed=st.integers(0, 999))
@settings(max_examples=25)
def test_losses_of_learners_are_those_of_the_table(family: type, agents: int, seed: int) -> None:
    """Own and other policies apart, under any sharing matrix, with both cross derivatives."""
    game = family(agents=agents)
    policy, draws = Tabular(1, 2), torch.Generator().manual_seed(seed)
    own, others = torch.randn(2, 3, agents, 1, generator=draws, dtype=torch.float64)
    logits = torch.randn(3, agents, agents, generator=draws, dtype=torch.float64)
    bonus = torch.tensor(0.3, dtype=torch.float64)

    def found(game: MatrixGame) -> tuple[Tensor, ...]:
        def losses(own: Tensor, others: Tensor, logits: Tensor) -> Tensor:
            transfer = SharedBy(logits.softmax(-1))
            return ExactPlay(game, policy).losses(own, others, transfer, (), bonus)

        return losses(own, others, logits), *torch.func.jacrev(losses, (0, 1, 2))(own, others, logits)

    for counted, table in zip(found(game), found(laid_out(game)), strict=True):
        torch.testing.assert_close(counted, table, rtol=0, atol=1e-12)


@pytest.mark.parametrize("agents", [2, 5, 64, 1000])
@pytest.mark.parametrize("chance", [0.0, 0.3, 0.5, 1.0])
def test_alike_agents_cooperate_by_the_binomial(agents: int, chance: float) -> None:
    found = others_cooperating(torch.full((agents,), chance, dtype=torch.float64))
    numbers = range(agents)
    if 0 < chance < 1:
        logs = [
            math.lgamma(agents)
            - math.lgamma(m + 1)
            - math.lgamma(agents - m)
            + m * math.log(chance)
            + (agents - 1 - m) * math.log(1 - chance)
            for m in numbers
        ]
        expected = torch.tensor(logs, dtype=torch.float64).exp()
    else:
        expected = torch.tensor([float(m == chance * (agents - 1)) for m in numbers], dtype=torch.float64)
    torch.testing.assert_close(found, expected.expand(agents, -1), rtol=0, atol=1e-12)


def test_unlike_agents_cooperate_by_all_their_sets() -> None:
    chances = torch.tensor([0.1, 0.5, 0.8, 0.0, 1.0], dtype=torch.float64)
    expected = torch.zeros(5, 5, dtype=torch.float64)
    for agent in range(5):
        rest = [float(chance) for other, chance in enumerate(chances) if other != agent]
        for acts in itertools.product((0, 1), repeat=4):
            likely = math.prod(p if act else 1 - p for p, act in zip(rest, acts, strict=True))
            expected[agent, sum(acts)] += likely
    torch.testing.assert_close(others_cooperating(chances), expected, rtol=0, atol=1e-14)
    assert torch.autograd.gradcheck(others_cooperating, chances.clone().requires_grad_())
    assert torch.autograd.gradgradcheck(others_cooperating, chances[:3].clone().requires_grad_())


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_read_off_the_table_is_the_same(family: type) -> None:
    game = family(agents=6)
    table = laid_out(game)
    assert game.best_welfare == pytest.approx(table.best_welfare, abs=1e-12)
    assert game.defection_welfare == pytest.approx(table.defection_welfare, abs=1e-12)
    assert table.symmetric == game.symmetric
    for found, expected in zip(vars(schelling(game)).values(), vars(schelling(table)).values(), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    assert str(dilemma_test(game)) == str(dilemma_test(table))
    assert dilemma_test(game).optima == dilemma_test(table).optima


def test_a_step_of_a_thousand_agents_pays_what_the_counts_say() -> None:
    game, draws = PublicGoods(agents=1000, k=3), torch.Generator().manual_seed(0)
    actions = torch.randint(2, (5, 1000), generator=draws)
    _, rewards, done = game.step(game.reset(5, draws), actions, draws)
    pot = 3 * (actions == 0).double().mean(-1, keepdim=True)
    torch.testing.assert_close(rewards.double(), actions + pot, rtol=0, atol=1e-5)
    assert done.all()


def test_a_thousand_agents_have_their_closed_forms() -> None:
    game = PublicGoods(agents=1000, k=3)
    assert (game.best_welfare, game.defection_welfare) == (pytest.approx(3000), 1000)
    assert dilemma_test(game).is_dilemma
    policies = random_policies(game)
    cooperate = policies[:, 0, 0]
    expected = 1 - cooperate + 3 * cooperate.mean()
    torch.testing.assert_close(game.values(policies), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(nash_conv(game, policies), ((1 - 3 / 1000) * cooperate).sum())
    vote = Threshold(agents=1000)  # the pot is paid out almost surely, or almost never
    for chance, value in ((0.7, 2 - 0.7), (0.3, -0.3)):
        alike = torch.tensor([chance, 1 - chance], dtype=torch.float64).expand(1000, 1, 2)
        torch.testing.assert_close(
            vote.values(alike), torch.full((1000,), value, dtype=torch.float64), rtol=0, atol=1e-9
        )


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (payoff_table, r"has 2000000 entries at most; 1000 agents with 2 actions have 1000 x 2\^1000\.$"),
        (
            lambda game: game.payoffs(),
            "laid out for 16 agents at most, as it has 2.agents rows; PublicGoods has 1000",
        ),
        (
            lambda game: RepeatedGame(stage=game),
            r"1000 agents with 2 actions have 2\^1000: choose a smaller stage",
        ),
    ],
)
def test_what_needs_all_profiles_of_many_agents_is_refused(ask, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        ask(PublicGoods(agents=1000))
    assert len(str(refused.value)) < 300


def test_too_many_best_profiles_are_not_named() -> None:
    with pytest.raises(ValueError, match="among whom 500 cooperate, there are more: choose fewer agents"):
        dilemma_test(Threshold(agents=1000))

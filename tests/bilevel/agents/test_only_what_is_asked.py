"""Losses compute what they are made of, and nothing that would be multiplied by 0 or not used at all."""

import pytest
import torch
from torch import Tensor

import games
from bilevel.agents import MLP, SURROGATES, ExactPlay, Play, SampledPlay, Tabular, chosen, entropy
from bilevel.sharing import SharedBy
from games.core import stream
from games.matrix import RepeatedGame

SHARES = SharedBy(torch.tensor([[[0.7, 0.3], [0.4, 0.6]]], dtype=torch.float64))


def sampled(surrogate: str) -> SampledPlay:
    game = games.make("escape-room")
    policy = MLP(num_features=7, num_actions=3, hidden=(4,))
    return SampledPlay(game, policy, SURROGATES[surrogate], episodes=6)


def first(play: Play) -> Tensor:
    return play.policy.initial(stream(3), 1, 2)


@pytest.mark.parametrize(
    ("surrogate", "looks"), [("reinforce", False), ("dice", True), ("loaded-dice", True)]
)
def test_others_policies_are_looked_at_where_the_surrogate_uses_them(surrogate: str, looks: bool) -> None:
    play = sampled(surrogate)
    theta = first(play)
    data = play.sample(theta, SHARES, stream(0))
    losses = play.losses(theta, torch.full_like(theta, torch.nan), SHARES, data, None)
    assert bool(losses.isnan().any()) == looks


def test_without_a_bonus_the_loss_is_that_of_a_bonus_of_0() -> None:
    plays: list[Play] = [ExactPlay(RepeatedGame(), Tabular(5, 2)), sampled("reinforce"), sampled("dice")]
    for play in plays:
        theta = first(play)
        data = play.sample(theta, SHARES, stream(0))

        def slope(
            bonus: Tensor | None, play: Play = play, theta: Tensor = theta, data: object = data
        ) -> Tensor:
            losses = torch.func.grad(lambda own: play.losses(own, theta, SHARES, data, bonus).sum())
            found: Tensor = losses(theta)
            return found

        assert torch.equal(slope(None), slope(torch.zeros((), dtype=theta.dtype)))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 5, 4)])
def test_log_probabilities_and_entropies_are_those_of_torch(shape: tuple[int, ...]) -> None:
    logits = torch.randn(*shape, 6, generator=stream(1), dtype=torch.float64, requires_grad=True)
    expected = torch.distributions.Categorical(logits=logits)
    actions = torch.randint(6, shape, generator=stream(2))
    for found, known in (
        (chosen(logits, actions), expected.log_prob(actions)),
        (entropy(logits), expected.entropy()),
    ):
        torch.testing.assert_close(found, known, rtol=1e-12, atol=1e-12)
        slopes = [torch.autograd.grad(each.sum(), logits, retain_graph=True)[0] for each in (found, known)]
        torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-12)

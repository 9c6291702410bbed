"""Surrogates averaged over every outcome there is: unbiased means equal, to rounding (derived)."""

import itertools

import pytest
import torch
from torch import Tensor

import games
from bilevel.agents import SampledPlay, Surrogate, Tabular, Trajectory, chosen
from bilevel.agents._surrogates import LoadedDice, dice, loaded_dice, reinforce
from bilevel.sharing import SharedBy
from games.matrix import RepeatedGame


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Enumerated:
    """Two steps of the repeated stag hunt, and every outcome that a batch of two episodes can have.

    The expected loss is then a finite sum, so that estimators can be averaged without sampling. The batch's
    256 outcomes lie along the seed axis.
    """

    def __init__(self) -> None:
        stage = games.make("stag-hunt")
        self.game = RepeatedGame(stage=stage, discount=0.9, horizon=2)
        self.policy = Tabular(num_observations=5, num_actions=2)
        self.outcomes = torch.tensor(list(itertools.product((0, 1), repeat=4))).reshape(16, 2, 2)
        self.observations, self.rewards = self._play()
        self.theta = 0.7 * draw(5, 2, 5)
        self.phi = draw(6, 2, 2)

    def _play(self) -> tuple[Tensor, Tensor]:
        """Each outcome's observations and rewards, [outcome, time, agent]."""
        generator = torch.Generator()
        state = self.game.reset(16, generator)
        seen, rewards = [], []
        for time in range(2):
            seen.append(self.game.observe(state))
            state, reward, _ = self.game.step(state, self.outcomes[:, time], generator)
            rewards.append(reward.double())
        return torch.stack(seen, 1), torch.stack(rewards, 1)

    def log_probabilities(self, theta: Tensor) -> Tensor:
        """Of each outcome, [outcome]."""
        seen = self.observations.permute(2, 0, 1).flatten(1)
        actions = self.outcomes.permute(2, 0, 1).flatten(1)
        return chosen(self.policy.logits(theta, seen), actions).reshape(2, 16, 2).sum((0, 2))

    def true_loss(self, theta: Tensor, phi: Tensor) -> Tensor:
        """Minus agent 0's expected discounted shared return: differentiable as often as one likes."""
        shared = self.rewards @ phi.softmax(-1)
        discounted = shared[:, 0, 0] + 0.9 * shared[:, 1, 0]
        return -(self.log_probabilities(theta).exp() * discounted).sum()

    def mean_surrogate_loss(self, theta: Tensor, phi: Tensor, surrogate: Surrogate) -> Tensor:
        """The surrogate loss of agent 0 averaged over all outcomes, whose probabilities are constants."""
        first, second = (grid.flatten() for grid in torch.meshgrid(*[torch.arange(16)] * 2, indexing="ij"))
        log = self.log_probabilities(theta.detach())
        weights = (log[first] + log[second]).exp()

        def batch(values: Tensor) -> Tensor:
            """[outcome, time, agent] -> [seed, agent, time, episode]."""
            return torch.stack((values[first], values[second]), -1).transpose(1, 2)

        episodes = Trajectory(
            observations=batch(self.observations),
            actions=batch(self.outcomes),
            rewards=batch(self.rewards),
            mask=torch.ones(256, 1, 2, 2, dtype=torch.float64),
            cooperated=None,
        )
        play = SampledPlay(self.game, self.policy, surrogate, episodes=2)
        every = theta.expand(256, 2, 5)
        losses = play.losses(
            every, every, SharedBy(phi.softmax(-1).expand(256, 2, 2)), episodes, torch.zeros(())
        )
        return (weights * losses[:, 0]).sum()

    def gradients(self, surrogate: Surrogate) -> tuple[Tensor, Tensor]:
        """By theta: the surrogate's mean, and the truth; [agent, parameter]."""
        mean, true = (torch.func.grad(loss) for loss in self._losses(surrogate))
        return mean(self.theta, self.phi), true(self.theta, self.phi)

    def second_derivatives(self, surrogate: Surrogate, by: int) -> tuple[Tensor, Tensor]:
        """Of the gradient by theta (by=0) or by phi (by=1): the surrogate's mean, and the truth."""
        mean, true = (torch.func.jacrev(torch.func.grad(loss), by) for loss in self._losses(surrogate))
        return mean(self.theta, self.phi), true(self.theta, self.phi)

    def third_derivatives(self, surrogate: Surrogate, along: Tensor) -> tuple[Tensor, Tensor]:
        """Of the loss by theta along one direction: the surrogate's mean, and the truth."""

        def third(loss) -> Tensor:
            def on_the_line(place: Tensor) -> Tensor:
                return loss(self.theta + place * along, self.phi)

            thrice = torch.func.grad(torch.func.grad(torch.func.grad(on_the_line)))
            return thrice(torch.zeros((), dtype=torch.float64))

        mean, true = map(third, self._losses(surrogate))
        return mean, true

    def _losses(self, surrogate: Surrogate):
        return lambda theta, phi: self.mean_surrogate_loss(theta, phi, surrogate), self.true_loss


def assert_close(estimate: Tensor, truth: Tensor) -> None:
    torch.testing.assert_close(estimate, truth, rtol=0, atol=1e-12)


def with_critic(surrogate: Surrogate) -> Surrogate:
    """The surrogate with a baseline that is a number for each agent and step, the same in every episode."""

    def batch(own: Tensor, joint: Tensor, rewards: Tensor, mask: Tensor, discount: float) -> Tensor:
        values = draw(7, 2, 2, 1).expand(rewards.shape)
        return surrogate(own, joint, rewards, mask, discount, values)

    return batch


UNBIASED: dict[str, Surrogate] = {
    "dice": dice,
    "loaded": loaded_dice,
    "dice, critic": with_critic(dice),
    "loaded, critic": with_critic(loaded_dice),
}


@pytest.mark.parametrize("surrogate", UNBIASED.values(), ids=list(UNBIASED))
def test_dice_is_unbiased_in_first_second_and_third_derivatives(surrogate: Surrogate) -> None:
    """Also where its baseline comes from shared rewards, which depend on the outer variable."""
    case = Enumerated()
    assert_close(*case.gradients(surrogate))
    for by in (0, 1):
        assert_close(*case.second_derivatives(surrogate, by))
    mean, true = case.third_derivatives(surrogate, draw(8, 2, 5))
    assert_close(mean, true)
    assert abs(float(true)) > 0.03


@pytest.mark.parametrize("surrogate", [dice, loaded_dice], ids=["dice", "loaded"])
def test_the_mean_of_dice_is_the_expected_loss(surrogate: Surrogate) -> None:
    case = Enumerated()
    assert_close(
        case.mean_surrogate_loss(case.theta, case.phi, surrogate), case.true_loss(case.theta, case.phi)
    )


def test_a_decay_leaves_first_derivatives_and_takes_away_what_links_different_steps() -> None:
    """With two steps, second derivatives are linear in the decay (derived), and right at 1."""
    case = Enumerated()
    found = {}
    for decay in (0.0, 0.25, 1.0):
        surrogate = LoadedDice(dependency_decay=decay)
        assert_close(*case.gradients(surrogate))
        assert_close(*case.second_derivatives(surrogate, 1))
        found[decay], _ = case.second_derivatives(surrogate, 0)
    assert_close(found[0.25], 0.75 * found[0.0] + 0.25 * found[1.0])
    assert float((found[0.0] - found[1.0]).abs().max()) > 0.05


def test_reinforce_is_right_by_ones_own_policy_and_then_by_the_sharing() -> None:
    """Which is all that a hypergradient through one inner step needs."""
    case = Enumerated()
    for surrogate in (reinforce, with_critic(reinforce)):
        for estimate, truth in (case.gradients(surrogate), case.second_derivatives(surrogate, 1)):
            assert_close(estimate[0], truth[0])
            assert float(truth[0].abs().max()) > 0.05


def test_reinforce_misses_how_the_data_depend_on_the_policies() -> None:
    estimate, truth = Enumerated().second_derivatives(reinforce, 0)
    own, others = (estimate - truth)[0, :, 0], (estimate - truth)[0, :, 1]
    assert not estimate[0, :, 1].any()  # how one's gradient depends on the other's policy: lost altogether
    assert float(others.abs().max()) > 0.07
    assert float(own.abs().max()) > 0.01

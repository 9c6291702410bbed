"""Both ways to play: losses against loops over agents, values and measures by hand."""

import math

import pytest
import torch
from torch import Tensor

import games
from bilevel.agents import MLP, ExactPlay, Play, SampledPlay, Tabular, Trajectory, initial_parameters
from bilevel.agents._surrogates import dice, reinforce
from bilevel.sharing import SharedBy, share
from games.matrix import Cyclical, EscapeRoom, RepeatedGame

SEEDS = 3
BONUS = torch.tensor(0.3, dtype=torch.float64)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact(game: games.ExactGame) -> ExactPlay:
    return ExactPlay(game, Tabular(game.num_observations, int(game.action_space.n)))


ROOM = EscapeRoom(agents=3, levers=2, random_start=True)
PLAYS: dict[str, Play] = {
    "matrix": exact(games.make("chicken")),
    "rock paper scissors": exact(games.make("rock-paper-scissors")),
    "repeated, three agents": exact(RepeatedGame(stage=Cyclical(agents=3), discount=0.9)),
    "reinforce": SampledPlay(RepeatedGame(horizon=6), Tabular(5, 2), reinforce, 5),
    "dice": SampledPlay(RepeatedGame(horizon=6), Tabular(5, 2), dice, 5),
    "dice, network, episodes that end": SampledPlay(ROOM, MLP(11, 3, (4,)), dice, 5),
}


class Setting:
    """Random policies, a random sharing for each seed, and one sample."""

    def __init__(self, play: Play) -> None:
        agents = play.game.num_agents
        self.play = play
        self.theta = initial_parameters(play.policy, seed=0, seeds=SEEDS, agents=agents)
        self.theta = self.theta + 0.5 * draw(1, *self.theta.shape)
        self.sharing = draw(2, SEEDS, agents, agents).softmax(-1)
        self.data = play.sample(self.theta, SharedBy(self.sharing), torch.Generator().manual_seed(3))

    def losses(self, own: Tensor, others: Tensor, bonus: Tensor = BONUS) -> Tensor:
        return self.play.losses(own, others, SharedBy(self.sharing), self.data, bonus)

    def loss_of(self, agent: int, theta: Tensor) -> Tensor:
        """One agent's loss, summed over seeds, own = others; if exact, straight from the game."""
        if not isinstance(self.play, ExactPlay):
            return self.losses(theta, theta)[:, agent].sum()
        game, policies = self.play.game, self.play.policy.probabilities(theta)
        shared = torch.einsum("si,sij->sj", game.values(policies) * game.effective_horizon, self.sharing)
        entropies = -(policies * policies.log()).sum(-1).mean(-1)
        return -(shared + BONUS * entropies)[:, agent].sum()


@pytest.fixture(params=list(PLAYS))
def setting(request: pytest.FixtureRequest) -> Setting:
    return Setting(PLAYS[request.param])


def test_each_agents_gradient_is_that_of_its_own_loss(setting: Setting) -> None:
    """One batched gradient by `own`, against an agent at a time with the others frozen."""
    theta = setting.theta
    together = torch.func.grad(lambda own: setting.losses(own, theta).sum())(theta)
    for agent in range(theta.shape[1]):
        alone = torch.func.grad(lambda theta, agent=agent: setting.loss_of(agent, theta))(theta)
        torch.testing.assert_close(together[:, agent], alone[:, agent], rtol=1e-11, atol=1e-12)
        assert together[:, agent].any()


def test_each_agents_gradient_sees_how_it_depends_on_the_others(setting: Setting) -> None:
    """What the hypergradient needs: the rows of every agent's own Hessian, across agents as well.

    Walked backwards, as `Unrolled` does: forward mode would not notice a detached policy.
    """
    theta, cotangent = setting.theta, draw(4, *setting.theta.shape)

    def together(theta: Tensor) -> Tensor:
        return torch.func.grad(lambda own: setting.losses(own, theta).sum())(theta)

    def alone(theta: Tensor) -> Tensor:
        agents = range(theta.shape[1])
        rows = [
            torch.func.grad(lambda t, i=agent: setting.loss_of(i, t))(theta)[:, agent] for agent in agents
        ]
        return torch.stack(rows, 1)

    (found,), (expected,) = (torch.func.vjp(rows, theta)[1](cotangent) for rows in (together, alone))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)


def test_seeds_do_not_touch_each_other(setting: Setting) -> None:
    """Seed 0's losses depend on seed 0's policies alone."""
    gradient = torch.func.grad(lambda theta: setting.losses(theta, theta)[0].sum())(setting.theta)
    assert gradient[0].any()
    assert not gradient[1:].any()


@pytest.mark.parametrize("name", [name for name, play in PLAYS.items() if isinstance(play, ExactPlay)])
def test_exact_losses_are_minus_the_shared_discounted_return(name: str) -> None:
    setting = Setting(PLAYS[name])
    game, policy = setting.play.game, setting.play.policy
    values = game.values(policy.probabilities(setting.theta)) * game.effective_horizon
    losses = setting.losses(setting.theta, setting.theta, torch.zeros(()))
    torch.testing.assert_close(losses, -share(values, setting.sharing), rtol=1e-12, atol=1e-12)
    measured = setting.play.measure(setting.theta, setting.data)
    torch.testing.assert_close(measured.values, values / game.effective_horizon, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(setting.play.values(setting.theta, ()), measured.values, rtol=0, atol=0)
    assert (measured.cooperation is None) == (name == "rock paper scissors")
    evaluated, _ = setting.play.evaluate(setting.theta, SharedBy(setting.sharing), torch.Generator(), 7)
    assert torch.equal(evaluated.values, measured.values)


def test_exact_cooperation_is_the_probability_of_cooperating() -> None:
    setting = Setting(PLAYS["matrix"])
    measured = setting.play.measure(setting.theta, ())
    torch.testing.assert_close(measured.cooperation, setting.theta[..., 0].sigmoid(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("game", [RepeatedGame(discount=0.9, horizon=7), ROOM], ids=["discounted", "not"])
def test_sampled_values_are_the_mean_episode_values(game: games.Game) -> None:
    """Where a game's `episode_value` is (1 - discount) times the discounted sum, and where it is the sum."""
    policy = Tabular(5, 2) if isinstance(game, RepeatedGame) else MLP(11, 3, (4,))
    setting = Setting(SampledPlay(game, policy, reinforce, 6))
    measured = setting.play.measure(setting.theta, setting.data)
    values = setting.play.values(setting.theta, setting.data)
    torch.testing.assert_close(values, measured.values, rtol=1e-12, atol=1e-12)
    expected = torch.stack(
        [
            game.episode_value(setting.data.rewards[seed, :, :, episode].T)
            for seed in range(SEEDS)
            for episode in range(6)
        ]
    )
    expected = expected.reshape(SEEDS, 6, -1).mean(1)
    torch.testing.assert_close(measured.values, expected, rtol=1e-12, atol=1e-12)
    dice_losses = SampledPlay(game, policy, dice, 6).losses(
        setting.theta, setting.theta, SharedBy(setting.sharing), setting.data, torch.zeros(())
    )
    shared = share(values * game.effective_horizon, setting.sharing)
    torch.testing.assert_close(dice_losses, -shared, rtol=1e-11, atol=1e-12)


def test_sampled_cooperation_counts_the_steps_that_were_played() -> None:
    game = EscapeRoom(horizon=2)
    rewards = torch.zeros(1, 2, 2, 2, dtype=torch.float64)
    data = Trajectory(
        observations=torch.zeros(1, 2, 2, 2, 8, dtype=torch.float64),
        actions=torch.zeros(1, 2, 2, 2, dtype=torch.int64),
        rewards=rewards,
        mask=torch.tensor([[[[1.0, 1.0], [0.0, 1.0]]]], dtype=torch.float64),  # episode 0 ends at once
        cooperated=torch.tensor([[[[1, 0], [1, 0]], [[1, 1], [0, 1]]]], dtype=torch.float64),
    )
    play = SampledPlay(game, MLP(8, 3, (4,)), reinforce, 2)
    measured = play.measure(torch.zeros(1, 2, play.policy.num_parameters), data)
    torch.testing.assert_close(measured.cooperation, torch.tensor([[1 / 3, 1.0]], dtype=torch.float64))
    assert play.measure(torch.zeros(0), data._replace(cooperated=None)).cooperation is None


@pytest.mark.parametrize("name", ["matrix", "repeated, three agents"])
def test_the_exact_bonus_is_the_mean_entropy_over_observations(name: str) -> None:
    setting = Setting(PLAYS[name])
    theta = setting.theta
    bonus = setting.losses(theta, theta, torch.zeros(())) - setting.losses(theta, theta)
    table = torch.distributions.Categorical(setting.play.policy.probabilities(theta))
    torch.testing.assert_close(bonus, BONUS * table.entropy().mean(-1), rtol=0, atol=1e-12)


def test_the_sampled_bonus_is_the_entropy_per_episode() -> None:
    """Uniform policies over three actions, ln 3 in every step that was played."""
    setting = Setting(PLAYS["dice, network, episodes that end"])
    uniform = torch.zeros_like(setting.theta)
    bonus = setting.losses(uniform, uniform, torch.zeros(())) - setting.losses(uniform, uniform)
    steps = setting.data.mask.sum(-2).mean(-1)
    assert steps.min() < ROOM.horizon  # some episodes end early
    expected = (BONUS * math.log(3) * steps).expand_as(bonus)
    torch.testing.assert_close(bonus, expected, rtol=0, atol=1e-12)

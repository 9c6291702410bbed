"""Models of the others: what they foretell, that they fit, and whom they leave alone."""

from __future__ import annotations

import torch

import games
from bilevel.agents import MLP, SampledPlay, Tabular, Trajectory, initial_parameters
from bilevel.agents._surrogates import reinforce
from bilevel.methods._lio_learner import OpponentModels, profiles
from bilevel.optimizers import adam
from bilevel.sharing import SharedBy
from games.matrix import EscapeRoom

REPEATED = games.make("repeated-prisoners-dilemma", horizon=10)
TABLE = Tabular(num_observations=5, num_actions=2)
KEEP = SharedBy(torch.eye(2, dtype=torch.float64).expand(3, 2, 2))


def played(theta: torch.Tensor, episodes: int = 100) -> Trajectory:
    play = SampledPlay(REPEATED, TABLE, reinforce, episodes)
    return play.sample(theta, KEEP, torch.Generator().manual_seed(1))


def test_cross_entropy_by_hand() -> None:
    """Of one agent that was seen to cooperate in 3 of 4 steps, whom all take to do so half of the time."""
    actions = torch.tensor([0, 0, 0, 1]).reshape(1, 1, 4, 1).expand(1, 2, 4, 1)
    seen = torch.zeros(1, 2, 4, 1)
    episodes = Trajectory(seen.long(), actions, seen, torch.ones(1, 1, 4, 1), None)
    models = OpponentModels(Tabular(1, 2), adam(0.1), steps=1)
    theta = torch.zeros(1, 2, 2, 1)
    theta[0, 0, 1] = torch.tensor(3.0).log()  # the odds of cooperating
    losses = models.cross_entropy(theta, episodes)
    half, best = torch.tensor(2.0).log(), -(0.75 * torch.tensor(0.75).log() + 0.25 * torch.tensor(0.25).log())
    torch.testing.assert_close(losses, torch.stack((half, best, half, half)).reshape(1, 2, 2))


def test_models_come_to_fit_a_fixed_policy() -> None:
    """The cross-entropy falls to about the policy's own.

    A table of 5 that fits 1000 sampled steps best is below it by 5 / 2000 on average, and seldom by 5 / 500.
    """
    theta = initial_parameters(TABLE, seed=0, seeds=3, agents=2)
    episodes = played(theta)
    models = OpponentModels(TABLE, adam(0.1), steps=20)
    guess = models.initial(seed=0, seeds=3, agents=2)
    state, losses = models.optimizer.init(guess), []
    fitted = guess
    for _ in range(10):
        fitted, state, loss = models.fit(fitted, state, episodes)
        losses.append(loss)
    own = models.cross_entropy(theta.unsqueeze(1).expand(-1, 2, -1, -1), episodes)
    others = ~torch.eye(2, dtype=torch.bool)
    least = own[:, others].mean(-1)
    assert (losses[0] > losses[-1]).all()
    torch.testing.assert_close(losses[-1], least, rtol=0, atol=5 / 500)
    assert (losses[-1] <= least + 1e-3).all()
    wrong = profiles(theta, guess) - theta.unsqueeze(1)
    left = profiles(theta, fitted) - theta.unsqueeze(1)
    assert float(left.abs().mean()) < 0.2 * float(wrong.abs().mean())
    itself = torch.eye(2, dtype=torch.bool)
    assert torch.equal(fitted[:, itself], guess[:, itself])  # nobody models itself


def test_a_model_of_one_agent_learns_nothing_from_another() -> None:
    theta = initial_parameters(TABLE, seed=0, seeds=3, agents=2)
    episodes = played(theta, episodes=5)
    other = episodes._replace(actions=episodes.actions.clone())
    other.actions[:, 0] = 1 - other.actions[:, 0]
    models = OpponentModels(TABLE, adam(0.1), steps=3)
    start = models.initial(seed=0, seeds=3, agents=2)
    one, changed = (models.fit(start, models.optimizer.init(start), seen)[0] for seen in (episodes, other))
    assert torch.equal(one[:, 0, 1], changed[:, 0, 1])
    assert not torch.isclose(one[:, 1, 0], changed[:, 1, 0]).all()


def test_the_first_models_depend_on_the_seed_and_the_repetition_alone() -> None:
    room = EscapeRoom(agents=3, levers=2)
    policy = MLP(room.observation_space.shape[0], 3)
    models = OpponentModels(policy, adam(0.1), steps=1)
    few, many = (models.initial(seed=4, seeds=seeds, agents=3) for seeds in (2, 5))
    assert few.shape == (2, 3, 3, policy.num_parameters)
    assert torch.equal(few, many[:2])
    assert not torch.equal(few, models.initial(seed=5, seeds=2, agents=3))
    policies = initial_parameters(policy, seed=4, seeds=2, agents=3)
    weights = policy.num_parameters - 3  # the last biases start at 0
    assert not torch.equal(few[:, 0, :, :weights], policies[..., :weights])

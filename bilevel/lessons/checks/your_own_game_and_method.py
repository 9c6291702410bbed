"""Checks of `10_your_own_game_and_method`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from gymnasium.spaces import Discrete
from torch import Generator, Tensor

from bilevel.lessons import close, expect, graded
from games.core import Game, State

Breed = Callable[[Tensor, float, int, Generator], Tensor]


@graded("Exercise 1")
def check_1(share_given_away: Callable[[float, int], float]) -> str:
    """Of the tax paid, 1/N comes back."""
    expect(close(share_given_away(0.0, 3), 0.0), "Without a tax nothing goes to the other agents.")
    expect(
        close(share_given_away(1.0, 2), 0.5),
        "Two agents pay everything: which share of its own payment does each get back?",
    )
    cases = [(0.3, 2), (0.5, 3), (1.0, 10), (0.2, 1)]
    expect(
        all(close(share_given_away(tax, n), tax * (1 - 1 / n)) for tax, n in cases),
        "Right for the simplest cases, not for all. Subtract the share of the payment that comes back.",
    )
    return "Even with a tax of 100 % every agent keeps 1/N of its own reward."


@graded("Exercise 2")
def check_2(breed: Breed) -> str:
    """A binomial number of young, drawn from the generator only, limited to the capacity."""

    def generator(seed: int = 1) -> Generator:
        return torch.Generator().manual_seed(seed)

    left = torch.full((20000,), 10)
    certain = breed(left, 1.0, 100, generator())
    expect(
        isinstance(certain, Tensor) and certain.shape == left.shape,
        "Return one number of fish for each pond.",
    )
    expect(close(certain, 20 * torch.ones(20000)), "With probability 1 the fish double, as before.")
    expect(
        close(breed(left, 0.0, 100, generator()), left),
        "With probability 0 the number of fish does not change.",
    )
    expect(
        int(breed(left, 1.0, 12, generator()).max()) == 12,
        "The capacity is 12; your maximum differs.",
    )
    once = breed(left, 0.3, 100, generator())
    torch.rand(())
    expect(
        torch.equal(once, breed(left, 0.3, 100, generator())),
        "The same seed gave two different ponds: do all your draws come from the generator?",
    )
    young = (once - left).double()
    expect(young.std() > 0, "All ponds had the same number of young: draw independently for each pond.")
    expect(
        not torch.equal(once, breed(left, 0.3, 100, generator(2))),
        "Two seeds gave the same ponds: use the generator that is passed to you, and do not seed it.",
    )
    expect(
        abs(float(young.mean()) - 3) < 0.1,
        "Ten fish with probability 0.3 have 3 young on average; yours do not.",
    )
    expect(
        abs(float(young.var()) - 2.1) < 0.2,
        "The mean is right, the variance is not: do you draw independently for each *fish*?",
    )
    few = torch.arange(7).repeat(500)
    more = breed(few, 0.5, 100, generator())
    expect(bool((more >= few).all() and (more <= 2 * few).all()), "Each fish has one young at most.")
    expect(not once.is_floating_point(), "The number of fish is an integer: return an integer tensor.")
    return "The same seed gives the same pond: results are reproducible."


@graded("Exercise 3")
def check_3(own_rates: Callable[[Tensor], Tensor]) -> str:
    """T_ij = (1 - tau_i) [i = j] + tau_i / N."""
    phi = torch.tensor([[0.0, 2.0, -1.0], [40.0, -40.0, 0.0]], dtype=torch.float64)
    sharing = own_rates(phi)
    expect(
        isinstance(sharing, Tensor) and tuple(sharing.shape) == (2, 3, 3),
        "With 2 seeds and 3 agents the matrix has the shape [2, 3, 3]: seed, giver, receiver.",
    )
    expect(
        not close(sharing.sum(-2), torch.ones(2, 3)) or close(sharing.sum(-1), torch.ones(2, 3)),
        "Your columns sum to 1, and your rows do not: is the giver the first of the two axes?",
    )
    expect(close(sharing.sum(-1), torch.ones(2, 3)), "A row does not sum to 1: reward is created, or lost.")
    third, eye = torch.full((3,), 1 / 3), torch.eye(3)
    expect(
        close(sharing[1, 0], third) and close(sharing[1, 1], eye[1]),
        "In the second seed agent 0 pays everything and agent 1 nothing: what does each keep?",
    )
    rates = phi.sigmoid()[..., None]
    expect(close(sharing, (1 - rates) * eye + rates / 3), "Right for rates of 0 and 1, not in between.")
    pair = torch.tensor([[0.5, -1.5]], dtype=torch.float64)
    rates = pair.sigmoid()[..., None]
    expect(close(own_rates(pair), (1 - rates) * torch.eye(2) + rates / 2), "Right for 3 agents, not for 2.")
    slope = torch.func.jacrev(own_rates)(phi)[0, 1, 1, 0]
    expect(
        bool(slope.any()),
        "The numbers are right, but they have no derivative: keep phi in the graph of autograd.",
    )
    expect(
        bool(slope[1] < 0) and not slope[0],
        "Agent 1's row must depend on its own phi only.",
    )
    return "Put it into `transfer`, start phi at [seed, agent], and you have another method."


@graded("Exercise 4")
def check_4(game: Game) -> str:
    """The contract of games, tested with random actions."""
    expect(isinstance(game, Game), "Give an instance of your game, as MyGame(); it derives from games.Game.")
    expect(
        type(game).__name__ != "Pond" and not type(game).__module__.startswith("games."),
        f"{type(game).__name__} is here already: change its rules, and give it a new name.",
    )
    expect(isinstance(game.action_space, Discrete), "Your game needs a number of actions, as games.Game has.")
    assert isinstance(game.action_space, Discrete)
    agents, actions, copies = game.num_agents, int(game.action_space.n), 64
    expect(agents >= 2, "A dilemma needs two agents or more.")
    draws = torch.Generator().manual_seed(0)
    first = _episode(game, copies, draws.manual_seed(1), actions)
    again = _episode(game, copies, draws.manual_seed(1), actions)
    expect(
        all(torch.equal(one, other) for one, other in zip(first, again, strict=True)),
        "The same seed gave other rewards or observations: all randomness must come from the generator.",
    )
    total = float(game.episode_value(first[0]).sum(-1).max())
    best = game.best_welfare
    expect(best is not None, "Set best_welfare, the largest total that all agents can get together.")
    assert best is not None
    expect(
        total <= best + 1e-4,
        f"Random actions reached a total of {total:g}, but best_welfare is {best:g}.",
    )
    state = game.reset(copies, draws)
    everything = torch.arange(actions).expand(copies, agents, actions)
    judged = [game.cooperates(state, everything[..., action]) for action in range(actions)]
    expect(
        all(isinstance(answer, Tensor) and answer.dtype == torch.bool for answer in judged)
        and any(bool(answer.any()) for answer in judged if answer is not None)
        and not all(bool(answer.all()) for answer in judged if answer is not None),
        "cooperates must be true for some actions, and false for others.",
    )
    return f"{agents} agents, {actions} actions, horizon {game.horizon}: now compare methods on it."


def _episode(game: Game, copies: int, generator: Generator, actions: int) -> tuple[Tensor, Tensor]:
    """Rewards of random actions, [time, copy, agent], 0 after the end; observations, [time, copy, ...]."""
    state: State = game.reset(copies, generator)
    mask, rewards, seen = torch.ones(copies, dtype=torch.bool), [], []
    for _ in range(game.horizon):
        observation = game.observe(state)
        expect(
            tuple(observation.shape[:2]) == (copies, game.num_agents),
            f"observe must return [batch, agent], {[copies, game.num_agents]}, not {[*observation.shape]}.",
        )
        seen.append(observation.clone())
        chosen = torch.randint(actions, (copies, game.num_agents), generator=generator)
        before = [leaf.clone() for leaf in state]
        after, paid, done = game.step(state, chosen, generator)
        expect(
            all(torch.equal(old, new) for old, new in zip(before, state, strict=True)),
            "step changed its input state in place: return a new one.",
        )
        expect(
            isinstance(paid, Tensor)
            and tuple(paid.shape) == (copies, game.num_agents)
            and paid.is_floating_point(),
            "Rewards must be floats of shape [batch, agent].",
        )
        expect(
            isinstance(done, Tensor) and tuple(done.shape) == (copies,) and done.dtype == torch.bool,
            "done must be true or false, [batch].",
        )
        rewards.append(paid * mask[:, None])
        state, mask = after, mask & ~done
    expect(not mask.any(), "After `horizon` steps every copy must be done.")
    return torch.stack(rewards), torch.stack(seen)

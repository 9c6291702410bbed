"""Checks of `05_learning_to_share`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bilevel.lessons import close, expect, graded

COST, BENEFIT = 1.0, 3.0


def ring(agents: int) -> Tensor:
    """The mask of permitted shares: an agent itself and its two neighbors."""
    own = torch.eye(agents, dtype=torch.bool)
    return own | own.roll(1, 0) | own.roll(-1, 0)


def gains(T: Tensor) -> Tensor:
    """The change of each agent's shared reward by digging, [agent]."""
    return BENEFIT * T.roll(1, 0).diagonal() - COST * T.diagonal()


@graded("Exercise 1")
def check_1(digs: Callable[[Tensor], Any]) -> str:
    """Agent i digs if 3 T[i - 1, i] > T[i, i]."""
    generator = torch.Generator().manual_seed(5)
    cases = [
        (2 * torch.randn(n, n, generator=generator)).masked_fill(~ring(n), -torch.inf).softmax(-1)
        for n in (4, 5, 5, 7)
    ]
    answers = [digs(T) for T in cases]
    expect(
        all(
            len(torch.as_tensor(one).shape) == 1 and len(one) == len(T)
            for one, T in zip(answers, cases, strict=True)
        ),
        "There should be one answer for each agent.",
    )

    def all_close(truth: Callable[[Tensor], Tensor]) -> bool:
        return all(close(one, truth(T)) for one, T in zip(answers, cases, strict=True))

    expect(
        not all_close(lambda T: BENEFIT * T.roll(-1, 1).diagonal() - COST * T.diagonal() > 0),
        "That is the share that the agent itself gives. Which share does the digger receive?",
    )
    expect(
        not all_close(lambda T: BENEFIT * T.roll(-1, 0).diagonal() - COST * T.diagonal() > 0),
        "Wrong neighbor: agent i waters agent i - 1, so the harvest of agent i - 1 grows.",
    )
    expect(
        all_close(lambda T: gains(T) > 0),
        "Not yet for every matrix. Which shares of the cost and of the benefit are the digger's?",
    )
    return "Two entries of T decide for each agent, and neither of them is a share that it gives."


@graded("Exercise 2")
def check_2(
    repaired: Callable[[Tensor, Tensor, int], Any],
    learn: Callable[[Tensor, Tensor, int], Tensor],
    matrix: Callable[[Tensor], Tensor],
    rewards: Callable[[Tensor], Tensor],
) -> str:
    """The gradient through all K updates."""
    generator = torch.Generator().manual_seed(7)
    for updates in (1, 3):
        phi, theta = torch.randn(5, 5, generator=generator), torch.randn(5, generator=generator)

        def welfare(outer: Tensor, first: int, K: int, start: Tensor) -> Tensor:
            """The welfare; the first updates do not depend on the outer variables."""
            start = learn(start, matrix(outer.detach()), first)
            return rewards(learn(start, matrix(outer), K - first).sigmoid()).sum()

        def truth(first: int, K: int, outer: Tensor, start: Tensor) -> Tensor:
            gradient: Tensor = torch.func.grad(welfare)(outer, first, K, start)
            return gradient

        answer = repaired(phi.clone(), theta.clone(), updates)
        expect(
            hasattr(answer, "__len__") and tuple(torch.as_tensor(answer).shape) == (5, 5),
            "The gradient has the shape of the logits, 5 by 5.",
        )
        expect(
            not close(torch.as_tensor(answer).abs().sum(), 0.0),
            "It is still 0. Which call returns a tensor without a graph?",
        )
        expect(
            updates == 1 or not close(answer, truth(updates - 1, updates, phi, theta)),
            "Now only the last update has a graph; the effect through the earlier ones is missing.",
        )
        expect(
            close(answer, truth(0, updates, phi, theta)),
            f"Not yet the gradient through {updates} update(s). Do you differentiate the welfare after them?",
        )
    return "The graph has to reach from the welfare back through every update."


@graded("Exercise 3")
def check_3(share_slopes: Callable[[Tensor, Tensor, float], Any]) -> str:
    """2 p'(1 - p') r p(1 - p) times 3 for T[i - 1, i], and times -1 for T[i, i]."""
    generator = torch.Generator().manual_seed(9)

    def welfare(T: Tensor, theta: Tensor, rate: float) -> Tensor:
        p = theta.sigmoid()
        after = (theta + rate * p * (1 - p) * gains(T)).sigmoid()
        return (1 + (BENEFIT - COST) * after).sum()

    for agents, rate in ((5, 1.0), (4, 0.5), (7, 2.0)):
        theta = torch.randn(agents, generator=generator)
        T = torch.randn(agents, agents, generator=generator).softmax(-1)
        answer, truth = share_slopes(theta, T, rate), torch.func.grad(welfare)(T, theta, rate)
        expect(
            hasattr(answer, "__len__") and tuple(torch.as_tensor(answer).shape) == (agents, agents),
            f"For {agents} agents there are {agents} by {agents} derivatives, [giver, receiver].",
        )
        expect(
            not close(answer, truth.T),
            "Giver and receiver are swapped: T[i - 1, i] is given by agent i - 1.",
        )
        p = theta.sigmoid()
        before = 2 * rate * (p * (1 - p)) ** 2
        expect(
            not close(answer, torch.diag(-before) + torch.diag(3 * before).roll(-1, 0)),
            "Almost. At which policies is the derivative of the welfare taken: before the update, or after?",
        )
        expect(
            close(torch.as_tensor(answer).diagonal(), truth.diagonal()),
            "The diagonal is not right yet. How does the welfare change if an agent keeps more?",
        )
        expect(
            close(answer, truth),
            "The diagonal is right. Which other share affects agent i, and which agent gives it?",
        )
    return (
        "Keeping reduces the welfare, giving to the neighbor that waters me increases it three times as much."
    )


@graded("Exercise 4")
def check_4(success_rate: Callable[..., Any]) -> str:
    """Each seed has its own policies, which learn under T for all rounds; only the final welfare counts."""
    sharing = torch.full((3, 3), 1 / 3)
    calls: list[str] = []

    def new(seed: int) -> Tensor:
        calls.append(f"new{seed}")
        return torch.tensor([float(seed), 0.0])

    def learn(theta: Tensor, T: Tensor) -> Tensor:
        expect(close(T, sharing), "The sharing matrix is what you test: it must not change.")
        calls.append("learn")
        return theta + torch.tensor([0.0, 1.0])

    def welfare(theta: Tensor) -> float:
        seed, rounds = int(theta[0]), int(theta[1])
        if rounds == 2:
            return 9.0  # during training; only the final welfare counts
        return float(seed % 2 == 0) * 10 + 0.01 * rounds if rounds == 4 else 0.0

    answer = success_rate(sharing, new, learn, welfare, 4, 5, 8.0)
    made = [call for call in calls if call != "learn"]
    expect(
        len(set(made)) == 5 and len(made) == 5,
        f"5 seeds need 5 initializations, one each; yours made these: {', '.join(made) or 'none'}.",
    )
    expect(
        calls.count("learn") == 20,
        f"5 seeds with 4 rounds are 20 rounds in total; yours made {calls.count('learn')}.",
    )
    wanted = sum(int(call.removeprefix("new")) % 2 == 0 for call in made) / 5
    expect(not close(answer, 5 * wanted), "That is the number of successes, not their fraction.")
    expect(
        close(answer, wanted), f"The fraction should be {wanted}, from the welfare at the end of each seed."
    )
    expect(
        close(success_rate(sharing, new, learn, welfare, 4, 2, 10.05), 0.0),
        "A welfare below the threshold is no success.",
    )
    return "A sharing matrix under which only trained policies cooperate fails this test."

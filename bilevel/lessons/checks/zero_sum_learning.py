"""Checks of `16_zero_sum_learning`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bilevel.lessons import close, expect, graded, parts, single

GAME = torch.tensor([[0.0, -3.0, 3.0], [3.0, 0.0, -1.0], [-3.0, 1.0, 0.0]], dtype=torch.float64)
"""Rock-paper-scissors with unequal stakes, the row agent's payoffs; it is symmetric."""


@graded("Exercise 1")
def check_1(regret_per_round: Callable[[Tensor, Tensor], Any]) -> str:
    """max_a mean_t u_a - mean_t x . u."""
    safe = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    worth = torch.tensor([[1.0, 4.0], [2.0, 0.0]], dtype=torch.float64)
    found = single(regret_per_round(safe, worth))
    hint = "Two rounds of action 0: it earned 1 + 2, and action 1 would have earned 4 + 0."
    expect(not close(found, 1.0), f"{hint} Yours is 1: is that per round?")
    expect(not close(found, 1.5), f"{hint} One action for all the rounds, not the best of each.")
    expect(not close(found, 2.0), f"{hint} Did you subtract what the agent earned?")
    expect(close(found, 0.5), f"{hint} Yours is {float(found):g}.")
    expect(
        close(single(regret_per_round(1 - safe, worth)), 0.0),
        "An agent that always plays the best fixed action has no regret.",
    )
    draw = torch.Generator().manual_seed(0)
    for rounds in (7, 1, 50):
        played = torch.randn(rounds, 3, generator=draw, dtype=torch.float64).softmax(-1)
        values = torch.randn(rounds, 3, generator=draw, dtype=torch.float64)
        truth = values.mean(0).max() - (played * values).sum(-1).mean()
        expect(
            close(single(regret_per_round(played, values)), truth),
            f"Right for two rounds of pure strategies, not for {rounds} of mixed ones in a random game.",
        )
    best = torch.eye(3, dtype=torch.float64)[values.argmax(-1)]
    expect(
        close(
            single(regret_per_round(best, values)),
            values.mean(0).max() - values.max(-1).values.mean(),
        ),
        "Regret can be negative: an agent may change its action in time and beat every fixed one.",
    )
    return "Half of the sum over both agents is the exploitability of the averages."


@graded("Exercise 2")
def check_2(bluffs_per_strong_bet: Callable[[float], Any]) -> str:
    """b / (b + 2)."""
    found = single(bluffs_per_strong_bet(1.0))
    expect(not close(found, 3.0), "That is bets with a king for each bet with a jack.")
    expect(
        close(found, 1 / 3, within=1e-4),
        "With a bet of 1 it is 1/3: a call wins 2 against a jack and loses 2 against a king; a fold loses 1.",
    )
    expect(
        float(single(bluffs_per_strong_bet(1e6))) < 1 + 1e-4,
        "A very large bet: more bluffs than strong bets, and calling would always pay.",
    )
    for bet in (2.0, 0.5, 5.0):
        ratio = float(single(bluffs_per_strong_bet(bet)))
        expect(
            ratio >= -1e-6,
            f"A ratio of probabilities is 0 or more; for a bet of {bet:g} yours is {ratio:g}.",
        )
        call = ((1 + bet) * ratio - (1 + bet)) / (1 + ratio)
        expect(
            abs(call + 1) < 1e-3 * (1 + bet),
            f"With a bet of {bet:g} and your ratio calling is worth {call:.3f}, and folding -1.",
        )
    return "The larger the bet, the more bluffs: the caller risks more to win the same pot."


@graded("Exercise 3")
def check_3(regret_matching_plus: Callable[[Tensor, Tensor, Tensor], Any]) -> str:
    """Regrets (R + u - x . u) clamped at 0; strategy in proportion, or uniform."""

    def step(regret: Tensor, x: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        answer = parts(regret_matching_plus(regret, x, values), 2, "Give a pair: regrets, strategy.")
        after, following = (torch.as_tensor(part, dtype=torch.float64) for part in answer)
        expect(
            after.shape == x.shape and following.shape == x.shape,
            "Both have one number for each action.",
        )
        return after, following

    def tensor(*numbers: float) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float64)

    after, following = step(tensor(0.0, 0.0, 0.0), tensor(0.5, 0.5, 0.0), tensor(0.0, 2.0, 5.0))
    expect(bool((after >= 0).all()), f"A regret of {float(after.min()):g} is left: negative ones become 0.")
    expect(
        close(after, [0.0, 1.0, 4.0]),
        "The strategy (1/2, 1/2, 0) earned 1, and the actions were worth 0, 2 and 5. From regrets of "
        f"0, yours are {[round(float(part), 3) for part in after]}.",
    )
    expect(close(following, [0.0, 0.2, 0.8]), "Regrets of 0, 1 and 4: play in proportion to them.")
    after, _ = step(tensor(3.0, 1.0, 0.0), tensor(0.75, 0.25, 0.0), tensor(-1.0, 1.0, 0.0))
    expect(
        close(after, [2.5, 2.5, 0.5]),
        "The new regrets are the old ones plus those of this round, 0 at least.",
    )
    after, following = step(tensor(0.0, 0.0, 0.0), tensor(0.0, 1.0, 0.0), tensor(1.0, 2.0, 0.0))
    expect(close(after, [0.0, 0.0, 0.0]), "The best action was played: no regret is left.")
    expect(
        bool(following.isfinite().all()) and close(following, [1 / 3] * 3),
        "No positive regret: the next strategy is uniform.",
    )
    regret = torch.zeros(2, 3, dtype=torch.float64)
    x, total = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7]], dtype=torch.float64), torch.zeros(2, 3)
    total = total.double()
    for t in range(1, 301):
        for agent in (0, 1):
            after, following = step(regret[agent], x[agent], GAME @ x[1 - agent])
            regret = torch.stack([after if one == agent else regret[one] for one in (0, 1)])
            if agent == 1:
                total = total + t * x
            x = torch.stack([following if one == agent else x[one] for one in (0, 1)])
    mean = total / total.sum(-1, keepdim=True)
    gap = float(sum((GAME @ mean[1 - agent]).max() for agent in (0, 1)) / 2)
    expect(gap < 0.02, f"After 300 steps the average is still exploitable by {gap:.3f}.")
    return f"With moves in turn and late rounds weighted more, exploitability after 300 steps is {gap:.4f}."


@graded("Exercise 4")
def check_4(regularized_payoffs: Callable[[Tensor, Tensor, Tensor, float], Any]) -> str:
    """u - tau (log(x / rho) + 1), up to a constant."""

    def centered(values: Any) -> Tensor:
        found: Tensor = torch.as_tensor(values, dtype=torch.float64).detach()
        expect(found.shape == (3,), "Give one number for each action, [action].")
        expect(bool(found.isfinite().all()), "Not all numbers are finite.")
        return found - found.mean()

    draw = torch.Generator().manual_seed(1)
    values = torch.randn(3, generator=draw, dtype=torch.float64)
    x, magnet = (torch.randn(3, generator=draw, dtype=torch.float64).softmax(-1) for _ in range(2))
    expect(
        close(centered(regularized_payoffs(values, x, magnet, 0.0)), centered(values)),
        "With a temperature of 0 the payoffs do not change.",
    )
    expect(
        close(centered(regularized_payoffs(values, x, x, 0.7)), centered(values)),
        "Where the strategy equals the magnet, there is no pull.",
    )
    more = torch.tensor([0.6, 0.2, 0.2], dtype=torch.float64)
    even = torch.full((3,), 1 / 3, dtype=torch.float64)
    pull = centered(regularized_payoffs(torch.zeros(3, dtype=torch.float64), more, even, 1.0))
    expect(pull[0] < pull[1], "An action that is played more often than by the magnet must become worse.")
    for temperature in (0.5, 2.0):
        truth = centered(values - temperature * (x / magnet).log())
        expect(
            close(centered(regularized_payoffs(values, x, magnet, temperature)), truth),
            "The direction is right, but not the size. Differentiate x log(x / rho) with respect to x.",
        )
    logs = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7]], dtype=torch.float64).log()
    for _ in range(600):
        x = logs.exp()
        gradient = torch.stack(
            [centered(regularized_payoffs(GAME @ x[1 - agent], x[agent], even, 1.0)) for agent in (0, 1)]
        )
        logs = (logs + 0.1 * gradient).log_softmax(-1)
    change = float((logs.exp() - x).abs().max())
    expect(change < 1e-6, f"After 600 steps the strategies still change by {change:.1g} per step.")
    return "Multiplicative weights, which cycled, now converges to the quantal response equilibrium."

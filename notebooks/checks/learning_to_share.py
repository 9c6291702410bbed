"""Checks of `05_learning_to_share`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from grading import close, expect, graded
from torch import Tensor

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
        "Not yet for every matrix. Which share of the cost does the digger bear, and which of the benefit?",
    )
    return "Two entries of T decide for each agent, and neither of them is a share that it gives."


@graded("Exercise 2")
def check_2(alternating: Callable[..., Any], staged: Callable[..., Any]) -> str:
    """The order of the calls, recorded as words by stand-in functions, with the number of the sharing."""

    def learn(theta: str, phi: int) -> str:
        return f"{theta} learn{phi}"

    def outer_step(theta: str, phi: int) -> tuple[str, int]:
        return f"{theta} outer{phi}", phi + 1

    found = alternating("start", 0, 2, 2, learn, outer_step)
    expect(
        isinstance(found, (tuple, list)) and len(found) == 2,
        "alternating should return the pair (policies, sharing).",
    )
    expect(
        found[0].count("outer") == 2 and found[0].count("learn") == 4,
        f"alternating with 2 outer steps and 2 rounds made these calls: {found[0]}. Count them.",
    )
    expect(
        tuple(found) == ("start learn0 learn0 outer0 learn1 learn1 outer1", 2),
        f"alternating made the calls {found[0]}, with {found[1]} updates of the sharing. Mind the order.",
    )
    drawn: list[str] = []

    def new() -> str:
        drawn.append("new")
        return "new"

    found = staged("start", 0, 5, 2, learn, outer_step, new)
    expect(
        isinstance(found, (tuple, list)) and len(found) == 2,
        "staged should return the pair (policies, sharing).",
    )
    expect(
        found[1] == 2, f"staged updated the sharing {found[1]} times; its first stage has 2 outer steps here."
    )
    expect(
        len(drawn) == 1,
        f"staged drew new policies {len(drawn)} times; it should be once, between the stages.",
    )
    expect(
        found[0] == "new learn2 learn2 learn2",
        f"staged ended with the calls {found[0]}. There are 5 rounds in total, 2 of them in the first stage.",
    )
    return "Both schedules differentiate through updates, at different times."


@graded("Exercise 3")
def check_3(minimal_transfer: Callable[[int], Any]) -> str:
    """T_ii = 3 / 4, T_i,i+1 = 1 / 4."""
    for n in (4, 5, 7):
        T = torch.as_tensor(minimal_transfer(n))
        expect(
            tuple(T.shape) == (n, n),
            f"For {n} agents the matrix needs {n} rows and columns.",
        )
        expect(close(T.sum(-1), torch.ones(n)) and (T >= 0).all(), "Rows sum to 1, and no share is below 0.")
        expect(close(T[~ring(n)].sum(), 0.0), "An agent gives to another that is not its neighbor.")
        worst = float(gains(T.double()).min())
        expect(worst > -1e-6, f"With your matrix an agent loses {-worst:.3f} by digging.")
        least = float(T.diagonal().min())
        expect(
            not close(least, 0.6, within=1e-4),
            "All dig, and each gives the same to both neighbors. Why to the second one?",
        )
        expect(
            close(least, 0.75, within=1e-4),
            f"All dig, but the smallest share kept is {least:.3f}: it can be larger.",
        )
    return "All agents give a quarter to the neighbor that waters them, and keep g* = 3/4."

"""Checks of `05_learning_to_share`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bilevel.lessons import close, expect, graded, parts

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
    """The calls and their order, recorded by functions that count: policies and sharing are tensors."""
    calls: list[str] = []

    def learn(theta: Tensor, phi: Tensor) -> Tensor:
        calls.append(f"learn{int(phi)}")
        return theta + 1

    def outer_step(theta: Tensor, phi: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(f"outer{int(phi)}")
        return theta + 1, phi + 1

    def new() -> Tensor:
        calls.append("new")
        return torch.full((1,), 100.0)

    def pair(name: str, found: Any) -> tuple[int, int]:
        theta, phi = parts(found, 2, f"{name} should return the pair (policies, sharing).")
        return int(theta), int(phi)

    theta, phi = pair("alternating", alternating(torch.zeros(1), torch.zeros(1), 2, 2, learn, outer_step))
    made = " ".join(calls)
    expect(
        made.count("outer") == 2 and made.count("learn") == 4,
        f"alternating with 2 outer steps and 2 rounds made these calls: {made}. Count them.",
    )
    expect(
        made == "learn0 learn0 outer0 learn1 learn1 outer1",
        f"alternating made the calls {made}; the number counts updates of the sharing. Mind the order.",
    )
    expect(
        (theta, phi) == (6, 2),
        "alternating makes the right calls, but does not pass on all that they return.",
    )
    calls.clear()
    theta, phi = pair("staged", staged(torch.zeros(1), torch.zeros(1), 5, 2, learn, outer_step, new))
    made = " ".join(calls)
    expect(phi == 2, f"staged updated the sharing {phi} times; its first stage has 2 outer steps here.")
    expect(
        calls.count("new") == 1,
        f"staged drew new policies {calls.count('new')} times; it should be once, between the stages.",
    )
    expect(
        made == "outer0 outer1 new learn2 learn2 learn2",
        f"staged made the calls {made}. There are 5 rounds in total, 2 of them in the first stage.",
    )
    expect(theta == 103, "staged makes the right calls, but does not pass on all that they return.")
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
        expect(
            close(T.sum(-1), torch.ones(n), within=1e-4) and (T >= -1e-6).all(),
            "Rows sum to 1, and no share is below 0.",
        )
        expect(
            close(T[~ring(n)].abs().sum(), 0.0, within=1e-4),
            "An agent gives to another that is not its neighbor.",
        )
        worst = float(gains(T.double()).min())
        expect(worst > -1e-4, f"With your matrix an agent loses {-worst:.3f} by digging.")
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

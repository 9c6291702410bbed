"""Checks of `05_learning_to_share`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from grading import close, expect, graded
from torch import Tensor

COST, HELP = 1.0, 3.0


def ring(agents: int) -> Tensor:
    """Who may give to whom: oneself and the two beside one."""
    own = torch.eye(agents, dtype=torch.bool)
    return own | own.roll(1, 0) | own.roll(-1, 0)


def gains(T: Tensor) -> Tensor:
    """What digging changes in what each agent sees, [agent]."""
    return HELP * T.roll(1, 0).diagonal() - COST * T.diagonal()


@graded("Exercise 1")
def check_1(digs: Callable[[Tensor], Any]) -> str:
    """Agent i digs if 3 T[i - 1, i] > T[i, i]."""
    generator = torch.Generator().manual_seed(5)
    cases = [
        (2 * torch.randn(n, n, generator=generator)).masked_fill(~ring(n), -torch.inf).softmax(-1)
        for n in (4, 5, 5, 7)
    ]
    given = [digs(T) for T in cases]
    expect(
        all(
            len(torch.as_tensor(one).shape) == 1 and len(one) == len(T)
            for one, T in zip(given, cases, strict=True)
        ),
        "There should be one answer for each agent.",
    )

    def all_close(truth: Callable[[Tensor], Tensor]) -> bool:
        return all(close(one, truth(T)) for one, T in zip(given, cases, strict=True))

    expect(
        not all_close(lambda T: HELP * T.roll(-1, 1).diagonal() - COST * T.diagonal() > 0),
        "You look at what the agent itself gives. Whose share reaches the one who digs?",
    )
    expect(
        not all_close(lambda T: HELP * T.roll(-1, 0).diagonal() - COST * T.diagonal() > 0),
        "Wrong neighbour: agent i waters agent i - 1, so it is that one's harvest that grows.",
    )
    expect(
        all_close(lambda T: gains(T) > 0),
        "Not yet for every matrix. What does the digger bear of the cost, and what does it see of the help?",
    )
    return "Two entries of T decide about each agent, and neither of them is what it gives."


@graded("Exercise 2")
def check_2(alternating: Callable[..., Any], staged: Callable[..., Any]) -> str:
    """The order of the calls, written down by stand-ins: l and L with the sharing's number, n for new."""

    def learn(theta: str, phi: int) -> str:
        return f"{theta} learn{phi}"

    def look(theta: str, phi: int) -> tuple[str, int]:
        return f"{theta} look{phi}", phi + 1

    found = alternating("start", 0, 2, 2, learn, look)
    expect(
        isinstance(found, (tuple, list)) and len(found) == 2,
        "alternating should return the pair (policies, sharing).",
    )
    expect(
        found[0].count("look") == 2 and found[0].count("learn") == 4,
        f"alternating with 2 outer steps and 2 rounds made of the policies: {found[0]}. Count them.",
    )
    expect(
        tuple(found) == ("start learn0 learn0 look0 learn1 learn1 look1", 2),
        f"alternating did this: {found[0]}, and the sharing was moved to {found[1]}. Mind the order.",
    )
    drawn: list[str] = []

    def new() -> str:
        drawn.append("new")
        return "new"

    found = staged("start", 0, 5, 2, learn, look, new)
    expect(
        isinstance(found, (tuple, list)) and len(found) == 2,
        "staged should return the pair (policies, sharing).",
    )
    expect(
        found[1] == 2, f"staged moved the sharing {found[1]} times; its first stage has 2 outer steps here."
    )
    expect(
        len(drawn) == 1,
        f"staged drew new policies {len(drawn)} times; it should be once, between the stages.",
    )
    expect(
        found[0] == "new learn2 learn2 learn2",
        f"The policies of staged went through this: {found[0]}. There are 5 rounds in all, 2 of them before.",
    )
    return "That is all there is to it: both look through updates, and differ in when."


@graded("Exercise 3")
def check_3(least_giving: Callable[[int], Any]) -> str:
    """T_ii = 3 / 4, T_i,i+1 = 1 / 4."""
    for n in (4, 5, 7):
        T = torch.as_tensor(least_giving(n))
        expect(
            tuple(T.shape) == (n, n),
            f"For {n} agents it needs {n} rows and columns.",
        )
        expect(close(T.sum(-1), torch.ones(n)) and (T >= 0).all(), "Rows sum to 1, and no share is below 0.")
        expect(close(T[~ring(n)].sum(), 0.0), "Somebody gives to one who is not its neighbour.")
        worst = float(gains(T.double()).min())
        expect(worst > -1e-6, f"Under it an agent loses {-worst:.3f} by digging.")
        least = float(T.diagonal().min())
        expect(
            not close(least, 0.6, within=1e-4),
            "All dig, and each gives the same to both sides. What is the share to the other side good for?",
        )
        expect(
            close(least, 0.75, within=1e-4),
            f"All dig, but the one who keeps least keeps {least:.3f}: more is possible.",
        )
    return "A quarter, and all of it to the one who waters you: that is g*."

"""Checks of `12_shaping_others_learning`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bilevel.lessons import close, expect, graded, parts


@graded("Exercise 1")
def check_1(lola_by_hand: Callable[[float, float, float], Any]) -> str:
    """(y + 2 rate x, -x + 2 rate y)."""
    for x, y, rate in ((1.0, 2.0, 0.1), (-0.5, 0.7, 0.4), (0.3, -1.2, 1.0)):
        pair = parts(lola_by_hand(x, y, rate), 2, "Return a pair: both agents' directions.")
        # [agent, parameter] is as good as a pair
        first, second = (one.squeeze() if isinstance(one, Tensor) else one for one in pair)
        expect(
            not (close(first, y) and close(second, -x)),
            "That is the naive gradient. Insert the other agent's step before you differentiate.",
        )
        expect(
            not (close(first, y + rate * x) and close(second, -x + rate * y)),
            "Half of the correction is missing: the other agent's step depends on your own parameter, too.",
        )
        expect(
            not (close(first, y - 2 * rate * x) and close(second, -x - 2 * rate * y)),
            "Which sign has the other agent's step? It descends its own loss.",
        )
        expect(
            not (close(first, -y - 2 * rate * x) and close(second, x - 2 * rate * y)),
            "These directions ascend the losses: return the gradients themselves, which are descended.",
        )
        expect(
            close(first, y + 2 * rate * x),
            "Agent 0 is not right yet: y becomes y plus the rate times x; insert that.",
        )
        expect(close(second, -x + 2 * rate * y), "Agent 0 is right, agent 1 not yet.")
    return "Both directions have a part toward (0, 0), which naive learners circle around."


@graded("Exercise 2")
def check_2(where_lola_stops: Callable[[float], Any]) -> str:
    """(1 - 2 rate) / (1 - 4 rate)."""
    for rate in (0.01, 0.1, 0.15, 0.2):
        answer, truth = where_lola_stops(rate), (1 - 2 * rate) / (1 - 4 * rate)
        expect(not close(answer, 1.0), "That is where naive learners stop. Add the shaping term.")
        expect(
            not close(answer, (1 - 2 * rate) / (1 - 3 * rate)),
            "The derivative of L_i in the other's parameter is 2 s; how does it come into chi?",
        )
        expect(
            not close(answer, 1 / (1 - 2 * rate)),
            "Look-ahead is missing: LOLA stops where xi_0, not xi, is the rate times chi.",
        )
        expect(not close(answer, truth / 2), "That is one of two equal parameters: s is the sum of both.")
        expect(
            close(answer, truth, within=1e-4),
            f"Not yet for a rate of {rate}: solve (1 - 2 rate) (2 s - 2) = rate chi for s; chi depends on s.",
        )
    return "The larger the rate, the further both go, and without bound as it approaches 1/4."


@graded("Exercise 3")
def check_3(shaping_part: Callable[..., Any]) -> str:
    """min(p1, p2)."""
    generator = torch.Generator().manual_seed(12)

    def truth(xi: Tensor, xi_0: Tensor, chi: Tensor, rate: float, a: float, b: float) -> Tensor:
        against = rate * (chi @ xi_0)
        one = torch.ones(())
        p1 = one if against <= 0 else (a * (xi_0 @ xi_0) / against).clamp(max=1.0)
        return torch.minimum(p1, xi @ xi if xi.norm() < b else one)

    def squared(case: tuple[Tensor, Tensor, Tensor, float, float, float]) -> Tensor:
        """The answer if the squared norm is compared with b."""
        return truth(*case[:5], case[5] ** 0.5)

    base = torch.tensor([0.3, -0.4, 0.5, 0.1])
    cases: list[tuple[str, tuple[Tensor, Tensor, Tensor, float, float, float]]] = [
        ("shaping agrees with look-ahead", (base, base, -base, 1.0, 0.5, 0.1)),
        ("shaping opposes look-ahead weakly", (base, base, 0.1 * base, 1.0, 0.5, 0.1)),
        ("shaping opposes look-ahead strongly", (base, base, 4 * base, 1.0, 0.5, 0.1)),
        ("another rate and another a", (base, 0.5 * base, 3 * base, 0.7, 0.25, 0.1)),
        ("xi is small", (0.05 * base, 0.05 * base, -base, 1.0, 0.5, 0.1)),
        ("xi is small and shaping opposes", (0.1 * base, 0.1 * base, 20 * base, 2.0, 0.5, 0.3)),
    ]
    for _ in range(4):
        xi, xi_0, chi = torch.randn(3, 4, generator=generator, dtype=base.dtype)
        cases.append(("random directions", (0.2 * xi, xi_0, 3 * chi, 1.5, 0.4, 0.3)))
    for name, case in cases:
        answer, right = (
            shaping_part(*(one.clone() if isinstance(one, Tensor) else one for one in case)),
            truth(*case),
        )
        expect(
            not (name == "xi is small" and close(answer, case[0].norm())),
            "p2 is the squared norm of xi, not the norm.",
        )
        expect(
            not (name == "xi is small" and close(answer, 1.0)),
            "Near a fixed point shaping has to fade: where is p2?",
        )
        expect(
            not (name == "shaping agrees with look-ahead" and not close(answer, 1.0)),
            "Where shaping and look-ahead agree (m is at most 0), nothing has to be taken back: p is 1.",
        )
        expect(
            not (name == "shaping opposes look-ahead weakly" and close(answer, 5.0)),
            "p is never above 1.",
        )
        expect(
            close(answer, right) or not (case[0] @ case[0] < case[5] and close(answer, squared(case))),
            "p2 compares the norm of xi with b, not the squared norm.",
        )
        expect(close(answer, right), f"Not right yet in this case: {name}.")
    return "So much shaping, but no more: fixed points of the game stay, and those that attract still do."


@graded("Exercise 4")
def check_4(align: Callable[[Tensor, Tensor, float, float], Any]) -> str:
    """A_i + beta discount c A_j, c_t = sum over k < t of discount^(t - k) A_i."""
    generator = torch.Generator().manual_seed(4)
    cases = [(torch.tensor([1.0, -1.0, 2.0]), torch.tensor([0.5, 1.0, -1.0]), 0.9, 1.0)]
    for length, discount, beta in ((1, 0.9, 1.0), (6, 0.5, 2.0), (9, 0.96, 0.3)):
        cases.append((*torch.randn(2, length, generator=generator), discount, beta))
    for mine, yours, discount, beta in cases:
        steps = range(len(mine))

        def sums(last: int, mine: Tensor = mine, discount: float = discount) -> Tensor:
            """Discounted sums of earlier advantages; the last term may be wrong."""
            found = [
                sum((discount ** (t - k) * mine[k] for k in range(t + last)), torch.zeros(()))
                for t in range(len(mine))
            ]
            return torch.stack(found)

        answer = align(mine.clone(), yours.clone(), discount, beta)
        expect(
            hasattr(answer, "__len__") and len(answer) == len(mine),
            f"{len(steps)} steps have {len(steps)} aligned advantages.",
        )
        long = len(mine) > 1
        expect(
            not (long and close(answer, mine + beta * discount * sums(1) * yours)),
            "Only earlier steps count: k < t, without t itself.",
        )
        expect(
            not (long and close(answer, mine + beta * sums(0) * yours)),
            "A factor gamma is missing: one is in front of the sum, and the term of k = t - 1 has one, too.",
        )
        expect(
            close(torch.as_tensor(answer)[0], mine[0]),
            "In the first step there is no past: only your own advantage.",
        )
        past, whose = sums(0), sums(0, yours)
        expect(
            not (
                long
                and any(
                    close(answer, mine + beta * discount * one)
                    for one in (past * mine, whose * mine, whose * yours)
                )
            ),
            "The first step is right. Whose advantages are summed over the past, and whose is multiplied?",
        )
        expect(
            close(answer, mine + beta * discount * past * yours),
            "The first step is right. Compare each factor: beta, the discount, and its powers in the sum.",
        )
    return "A product of two first-order quantities does the work of a second derivative."

"""Checks of `11_credit_in_networks`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bilevel.lessons import close, expect, graded


@graded("Exercise 1")
def check_1(episodes_for: Callable[[float, int], Any]) -> str:
    """ratio^2 (N - 1)."""
    for ratio, agents in ((2.0, 17), (1.0, 2), (1.0, 33), (0.5, 101)):
        answer, truth = episodes_for(ratio, agents), ratio**2 * (agents - 1)
        expect(
            not close(answer, ratio * (agents - 1)) or close(answer, truth),
            "The ratio grows with the square root of B: how does B grow with the ratio?",
        )
        expect(
            not close(answer, truth + 1),
            "That counts an episode for a leave-one-out baseline. Here the baseline is the expected reward.",
        )
        expect(
            not close(answer, ratio**2 * agents),
            "Almost. Agent i's own action is the signal: how many agents make the noise?",
        )
        expect(
            close(answer, truth),
            f"Not yet for a ratio of {ratio:g} and {agents} agents: solve the boxed equation for B.",
        )
    return "Twice the ratio takes four times the episodes, twice the agents about twice as many."


@graded("Exercise 2")
def check_2(signal_to_noise: Callable[[Tensor, int, float], Any]) -> str:
    """e_i / sqrt(sum of the others' squares + 4 noise^2)."""
    cases = [
        (torch.full((32,), 2 / 32), 3, 0.0),
        (torch.tensor([-1.0, 0.0, 0.0, 3.0]), 0, 0.0),
        (torch.tensor([0.5, -1.0, 2.0, 0.3]), 3, 0.0),
        (torch.tensor([0.5, -1.0, 2.0, 0.3]), 2, 1.5),
        (torch.tensor([0.5, -1.0, 2.0, 0.3]), 1, 0.4),
    ]
    for effects, i, noise in cases:
        others = effects.square().sum() - effects[i] ** 2
        answer, truth = (
            signal_to_noise(effects.clone(), i, noise),
            effects[i] / (others + 4 * noise**2).sqrt(),
        )
        expect(
            not close(answer, truth.abs()) or close(answer, truth),
            "Keep the sign: an agent's own reward points the wrong way.",
        )
        expect(
            not close(answer, effects[i] / effects.square().sum().sqrt()) or noise > 0,
            "Agent i's own action does not contribute to the noise at p = 1/2.",
        )
        right = close(answer, truth, within=1e-5)
        expect(right or noise > 0, "Not yet: which of the terms of R_i are noise for agent i?")
        expect(
            not close(answer, effects[i] / others.sqrt()) or right,
            "Without the error it is right. The error is multiplied by h_i - p_i, too.",
        )
        expect(
            right,
            "Right without the error. Which factor does Var h put before the others' effects, not before it?",
        )
    return "An error of the reward counts like the help of another agent whose effect is twice its deviation."


@graded("Exercise 3")
def check_3(logit_slopes: Callable[[Tensor, Tensor, Tensor, float], Any]) -> str:
    """T (s - sum T s) with s = rate * (G w).T."""
    generator = torch.Generator().manual_seed(11)
    for agents, rate in ((3, 1.0), (5, 0.5), (4, 10.0)):
        phi, G = torch.randn(2, agents, agents, generator=generator)
        w = torch.randn(agents, generator=generator)

        def slopes(s: Tensor, logits: Tensor) -> Tensor:
            T = logits.softmax(-1)
            return T * (s - (T * s).sum(-1, keepdim=True))

        s = rate * (w[:, None] * G).T
        truth = slopes(s, phi)
        answer = logit_slopes(phi.clone(), G.clone(), w.clone(), rate)
        expect(
            hasattr(answer, "__len__") and tuple(torch.as_tensor(answer).shape) == (agents, agents),
            f"For {agents} agents there are {agents} by {agents} slopes, [giver, receiver].",
        )
        expect(not close(answer, s), "These are the slopes in the shares. Go on through the softmax.")
        expect(
            not close(answer, slopes(s.T, phi)),
            "G has the acting agent first, phi the giver: which of them receives?",
        )
        expect(
            not close(answer, slopes(rate * (G * w).T, phi)),
            "w belongs to the agent that acts, i, the first index of G.",
        )
        expect(rate == 1 or not close(rate * torch.as_tensor(answer), truth), "Where is the learning rate?")
        expect(
            close(torch.as_tensor(answer).sum(-1), torch.zeros(agents)),
            "Each row has to sum to 0: adding a constant to a row of logits changes nothing.",
        )
        expect(
            close(answer, truth), "The rows sum to 0. Compare the slopes in the shares: G, w and the rate."
        )
    return "A giver moves its shares to those whose actions help it and the welfare most."


@graded("Exercise 4")
def check_4(compare: Callable[..., Any]) -> str:
    """Equal trials, tuning seeds to choose, test seeds to report, and episodes."""
    calls: list[tuple[str, int, int]] = []

    def method(name: str, table: dict[int, float]) -> Callable[[int, int], float]:
        def train(setting: int, seed: int) -> float:
            calls.append((name, setting, seed))
            luck = -5.0 if (setting == 1 and seed >= 100) else 0.0  # better on the test seeds
            outlier = 0.0
            if name == "sharing":  # the mean and the least mislead
                outlier = {(3, 2): 1000.0, (3, 102): 1000.0, (2, 0): -29.0}.get((setting, seed), 0.0)
            return table[setting] + seed % 100 + luck + outlier

        return train

    methods = {
        "mean": ([1, 2, 3], method("mean", {1: 40.0, 2: 38.0, 3: 60.0}), 4),
        "sharing": ([2, 1, 3, 4], method("sharing", {1: 22.0, 2: 30.0, 3: 20.0, 4: 5.0}), 8),
    }
    tuning, test = [0, 1, 2], [100, 101, 102, 103, 104]
    answer = compare(methods, tuning, test)
    expect(isinstance(answer, dict) and set(answer) == set(methods), "Return a dictionary with every name.")
    tried = {name: {one for who, one, seed in calls if who == name and seed < 100} for name in methods}
    expect(
        len(tried["sharing"]) < 4,
        "Sharing had four trials, the mean three: the fourth setting is an advantage.",
    )
    expect(
        tried == {"mean": {1, 2, 3}, "sharing": {1, 2, 3}},
        "Try the first settings of each list, as many as the shortest list has, on the tuning seeds.",
    )
    tested = {name: {one for who, one, seed in calls if who == name and seed >= 100} for name in methods}
    expect(all(tested.values()), "Report what the chosen setting does on the test seeds.")
    expect(
        all(len(settings) == 1 for settings in tested.values()),
        "Run only the chosen setting on the test seeds; to choose by them is to tune on them.",
    )
    expect(
        tested == {"mean": {2}, "sharing": {3}},
        "Not the right settings yet: choose by the median over the tuning seeds.",
    )
    updates = {"mean": 40.0, "sharing": 23.0}
    expect(
        not all(close(answer[name], updates[name]) for name in methods),
        "These are updates. How many episodes does each update of a method need?",
    )
    truth = {name: updates[name] * methods[name][2] for name in methods}
    expect(
        all(close(answer[name], truth[name]) for name in methods),
        "The settings are right. Report the median over the test seeds, in episodes.",
    )
    return "The same trials, other seeds for the result, and the same currency."

"""Escape Room for two with a learned sharing matrix, written by hand in PyTorch.

As `bilevel train --game escape-room --method tos`: a perceptron per agent, the likelihood-ratio gradient with
a leave-one-out baseline, SGD inside, Adam outside, one autograd graph, float32. Run it with

    python -m tests.benchmarks.peers.scripts.torch_escape_room --outer-steps 300 --out runs/by-hand.csv
"""

from __future__ import annotations

import torch
from torch import Tensor

from tests.benchmarks.peers.scripts.script import arguments
from tests.benchmarks.peers.scripts.torch_policies import (
    Episodes,
    Parameters,
    Task,
    draw,
    encoded,
    gather,
    no_state,
    sgd,
    train,
)

LEVER, START, DOOR = range(3)


def play(theta: Parameters, sharing: Tensor, episodes: int, horizon: int, keep: bool) -> Episodes:
    """Sample episodes of all seeds."""
    seeds = len(sharing)
    places = torch.full((seeds, 2, episodes), START)
    given = torch.zeros(seeds, 2, episodes, 1)
    alive = torch.ones(seeds, 1, episodes)
    to_other = torch.stack((sharing[:, 0, 1], sharing[:, 1, 0]), 1)[:, :, None, None]
    steps = []
    for _ in range(horizon):
        at = encoded(places, 3)
        observed = torch.cat((at, at.flip(1), given), -1) * alive[..., None]
        actions = draw(theta, observed, torch.tanh)
        pulled = (actions == LEVER).any(1, keepdim=True)
        escapes = pulled & (actions == DOOR)
        rewards = torch.where(escapes, 10.0, -(actions != places).float()) * alive
        steps.append((observed if keep else None, actions, rewards, alive, (actions == LEVER).float()))
        given = given + to_other * rewards[..., None]
        places, alive = actions, alive * ~escapes.any(1, keepdim=True)
    return gather(steps)


TASK = Task(
    play,
    features=7,
    actions=3,
    hidden=32,
    activation=torch.tanh,
    discount=1.0,
    begin=no_state,
    update=sgd(0.3),
    outer_rate=0.1,
    bonus=lambda step: 0.3 * max(0.0, 1 - step / 200),
)


def main() -> None:
    """Train."""
    train(TASK, arguments("Escape Room by hand, in PyTorch.", episodes=64, horizon=5))


if __name__ == "__main__":
    main()

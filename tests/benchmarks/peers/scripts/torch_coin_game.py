"""The coin game with a learned sharing matrix, written by hand in PyTorch.

As `bilevel train --game coin-game --method tos`: a perceptron per agent, the likelihood-ratio gradient with a
leave-one-out baseline, Adam inside and outside, one autograd graph, float32. Run it with

    python -m tests.benchmarks.peers.scripts.torch_coin_game --outer-steps 300 --out runs/by-hand.csv
"""

from __future__ import annotations

import torch
from torch import Tensor

from tests.benchmarks.peers.scripts.script import arguments
from tests.benchmarks.peers.scripts.torch_policies import (
    Episodes,
    Parameters,
    Task,
    adam,
    draw,
    encoded,
    gather,
    train,
    zero_moments,
)

SIDE = 3
CELLS = SIDE**2
TARGETS = torch.tensor(
    [
        [
            (row + down) % SIDE * SIDE + (column + right) % SIDE
            for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1))
        ]
        for row in range(SIDE)
        for column in range(SIDE)
    ]
)
"""Where each move leads from each cell: [cell, move]."""


def free_cell(places: Tensor) -> Tensor:
    """A random cell without an agent, [seed, episode], of the agents' cells [seed, agent, episode]."""
    low, high = places.amin(1), places.amax(1)
    apart = low != high
    cell = (torch.rand(low.shape) * torch.where(apart, CELLS - 2, CELLS - 1)).long()
    cell += cell >= low
    return cell + ((cell >= high) & apart)


def observe(places: Tensor, coin: Tensor, red: Tensor) -> Tensor:
    """Four planes: oneself, the other, one's own coin, the other's; [seed, agent, episode, 36]."""
    at, lies = encoded(places, CELLS), encoded(coin, CELLS)
    own = torch.stack((lies * red[..., None], lies * ~red[..., None]), 1)
    return torch.cat((at, at.flip(1), own, own.flip(1)), -1)


def play(theta: Parameters, sharing: Tensor, episodes: int, horizon: int, keep: bool) -> Episodes:
    """Sample episodes of all seeds; all of them last as long as the horizon."""
    shape = len(sharing), episodes
    first = torch.randint(CELLS, shape)
    places = torch.stack((first, (first + torch.randint(1, CELLS, shape)) % CELLS), 1)
    coin, red = free_cell(places), torch.rand(shape) < 0.5
    alive = torch.ones(shape).unsqueeze(1)
    steps = []
    for _ in range(horizon):
        observed = observe(places, coin, red)
        actions = draw(theta, observed, torch.relu)
        places = TARGETS[places, actions]
        takes = places == coin.unsqueeze(1)
        owns = torch.stack((red, ~red), 1)
        steals = takes & ~owns
        rewards = takes.float() - 2 * steals.flip(1).float()
        steps.append((observed if keep else None, actions, rewards, alive, (~steals).float()))
        taken = takes.any(1)
        coin, red = torch.where(taken, free_cell(places), coin), red ^ taken
    return gather(steps)


TASK = Task(
    play,
    features=4 * CELLS,
    actions=4,
    hidden=64,
    activation=torch.relu,
    discount=0.96,
    begin=zero_moments,
    update=adam(0.03),
    outer_rate=0.02,
    bonus=lambda step: 0.01 * max(0.0, 1 - step / 100),
)


def main() -> None:
    """Train."""
    train(TASK, arguments("The coin game by hand, in PyTorch.", episodes=32, horizon=150))


if __name__ == "__main__":
    main()

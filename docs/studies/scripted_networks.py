"""The scripts behind routing-and-traffic.md: their scores, and whether own interest differs from the group's.

python -m docs.studies.scripted_networks --help
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import games
from games.networked import Routing, Traffic

PAIRS, SPREAD, RATE = 128, 0.1, 0.05
"""Of an ascent: antithetic pairs of episodes in a step, size of perturbations, learning rate."""
ROAD = torch.tensor([[(side + ahead) % 4 for ahead in (1, 2, 3)] for side in range(4)])
"""The side to which a lane leads, by the side and the turn of its vehicles."""
SMALL_ROUTING = {"agents": 12, "routers": 10, "horizon": 50}
SMALL_TRAFFIC = {"rows": 3, "columns": 3, "horizon": 60}
ROADS: dict[str, dict[str, float]] = {
    "demand 0.15": {"demand": 0.15},
    "demand 0.25": {"demand": 0.25},
    "demand 0.2, short roads": {"demand": 0.2, "capacity": 8.0},
    "demand 0.3, short roads": {"demand": 0.3, "capacity": 8.0},
}
"""Variants of the small game of traffic."""
ADMIT = [0.0, 0.0, 0.8]
"""Theta of a signal that lets vehicles in."""

Script = Callable[[Any], Tensor]


def returns(game: games.Game, script: Script, episodes: int, seed: int = 0) -> Tensor:
    """Returns of a script, [episode, agent]."""
    generator = torch.Generator().manual_seed(seed)
    state = game.reset(episodes, generator)
    total = torch.zeros(episodes, game.num_agents)
    for _ in range(game.horizon):
        state, rewards, _ = game.step(state, script(state), generator)
        total += rewards
    return total


def interval(values: Tensor) -> str:
    """Mean over episodes, with 1.96 standard errors."""
    return f"{values.mean():.1f} +- {1.96 * values.std() / len(values) ** 0.5:.1f}"


def wait_or_push(game: Routing, state: Any, pushers: Tensor) -> Tensor:
    """Shortest paths; except for pushers, packets wait where the next link is full."""
    actions = game.shortest_paths(state)
    links = torch.from_numpy(game.network.ports)[state.routers, (actions - 1).clamp_min(0)].clamp_min(0)
    full = game.loads(state).gather(1, links) + state.sizes > 1
    return actions.where(~full | pushers, 0)


def signals(game: Traffic, state: Any, theta: Tensor) -> Tensor:
    """Choose the phase with the largest sum of (vehicles that can pass) x (value of their lane).

    A lane's value is its queue, plus theta times: the vehicles on the road it leads to, 1 if it leads out of
    the grid, and the vehicles that wait outside. With theta = 0 a signal uses its own queues alone.
    """
    queues, outside, ahead, phase, inner = game.observe(state).split((12, 4, 4, 4, 4), -1)
    queues = queues.unflatten(-1, (4, 3)) * game.capacity / 10
    terms = (ahead[..., ROAD] * game.capacity / 10, 1 - inner[..., ROAD], outside.unsqueeze(-1))
    values = queues + sum(theta[..., index, None, None] * term for index, term in enumerate(terms))
    served = torch.zeros(4, 4, 3)
    for index, sides in enumerate(((0, 2), (0, 2), (1, 3), (1, 3))):
        served[index, sides, slice(0, 1) if index % 2 else slice(1, 3)] = 1
    green = game.saturation * (game.interval - game.yellow * (1 - phase))
    passing = torch.minimum(queues.unsqueeze(2) * 10, served * green[..., None, None])
    return (passing * values.unsqueeze(2)).sum((3, 4)).argmax(-1)


def ascend(game: Traffic, group: bool, steps: int) -> Tensor:
    """Ascend own returns, or the welfare, in the signals' common theta: [3].

    The perturbations of agents are independent: an agent's own return is credited to its own perturbation.
    """
    generator = torch.Generator().manual_seed(0)
    theta = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=RATE)
    for step in range(steps):
        noise = torch.randn(PAIRS, game.num_agents, 3, generator=generator)
        tried = theta.detach() + SPREAD * torch.cat([noise, -noise])
        gained = returns(game, functools.partial(signals, game, theta=tried), len(tried), 1000 + step)
        gained = gained.sum(1, keepdim=True).expand_as(gained) if group else gained
        slope = (gained[:PAIRS] - gained[PAIRS:]).unsqueeze(-1) * noise / (2 * SPREAD)
        theta.grad = -slope.mean((0, 1))
        optimizer.step()
    return theta.detach()


def print_scores(episodes: int, full: bool) -> None:
    """Welfare of the scripts, in the full games or in those of the study's tables."""
    routing = games.make("routing", **({} if full else SMALL_ROUTING))
    everybody = torch.ones(routing.num_agents, dtype=torch.bool)
    for name, pushers in (("shortest paths", everybody), ("shortest paths, wait where full", ~everybody)):
        script = functools.partial(wait_or_push, routing, pushers=pushers)
        print(f"{name} | {interval(returns(routing, script, episodes).sum(1))}")
    traffic = games.make("traffic", **({} if full else SMALL_TRAFFIC))
    scripts = {
        "max-pressure": traffic.max_pressure,
        "fixed times": traffic.fixed_time,
        "own queues": functools.partial(signals, traffic, theta=torch.zeros(3)),
    }
    for name, script in scripts.items():
        print(f"{name} | {interval(returns(traffic, script, episodes).sum(1))}")


def print_interests(episodes: int, steps: int) -> None:
    """Returns by the number of pushers; and theta after ascents of own returns and of the welfare."""
    routing = games.make("routing")
    for count in (0, 1, 5, 10, 15, 19, 20):
        pushers = torch.arange(routing.num_agents) < count
        found = returns(routing, functools.partial(wait_or_push, routing, pushers=pushers), episodes)
        each = [interval(found[:, some].mean(1)) if some.any() else "-" for some in (pushers, ~pushers)]
        print(f"{count} | {each[0]} | {each[1]} | {interval(found.sum(1))}")
    for roads, settings in ROADS.items():
        traffic = games.make("traffic", **SMALL_TRAFFIC, **settings)
        for name, script in (("max-pressure", traffic.max_pressure), ("fixed times", traffic.fixed_time)):
            print(f"{roads} | {name} | | {interval(returns(traffic, script, episodes).sum(1))}")
        for name in ("nothing", "own returns", "welfare"):
            theta = torch.zeros(3) if name == "nothing" else ascend(traffic, name == "welfare", steps)
            found = returns(traffic, functools.partial(signals, traffic, theta=theta), episodes).sum(1)
            numbers = ", ".join(f"{value:.2f}" for value in theta.tolist())
            print(f"{roads} | {name} | {numbers} | {interval(found)}")


def print_admission(episodes: int) -> None:
    """Effect of one signal that lets vehicles in, on short roads, where the other signals do so or not."""
    traffic = games.make("traffic", **SMALL_TRAFFIC, **ROADS["demand 0.2, short roads"])
    rows = torch.tensor([[0.0, 0.0, 0.0], ADMIT])
    for others in (0, 1):
        for name, signal in (("corner", 0), ("edge", 1)):
            found = []
            for admits in (0, 1):
                theta = rows[others].repeat(traffic.num_agents, 1)
                theta[signal] = rows[admits]
                found.append(returns(traffic, functools.partial(signals, traffic, theta=theta), episodes))
            change = found[1] - found[0]
            own, rest = change[:, signal], change.sum(1) - change[:, signal]
            print(f"{name} | {'yes' if others else 'no'} | {interval(own)} | {interval(rest)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Scores of scripts, and own interest against the group's.")
    parser.add_argument("--episodes", type=int, default=256, help="episodes of each number")
    parser.add_argument("--steps", type=int, default=25, help="steps of each ascent")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for full in (True, False):
        print_scores(chosen.episodes, full)
    print_interests(chosen.episodes, chosen.steps)
    print_admission(chosen.episodes)

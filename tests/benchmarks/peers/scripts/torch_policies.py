"""What the sampled games' scripts share: perceptrons, the policy gradient, and the loop, in plain PyTorch.

Everything is batched over seeds and agents: [seed, agent, time, episode, ...].
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from tests.benchmarks.peers.scripts.script import Table, evaluation_path

Parameters = list[Tensor]
"""Weights [seed, agent, input, output] and biases [seed, agent, 1, output] of two layers."""


class Episodes(NamedTuple):
    """Sampled episodes; after an episode's end everything but the actions is 0."""

    observations: Tensor | None
    """[seed, agent, time, episode, feature]; None: not kept."""
    actions: Tensor
    """int64 [seed, agent, time, episode]."""
    rewards: Tensor
    """Before sharing, [seed, agent, time, episode]."""
    alive: Tensor
    """1 while the episode runs, [seed, 1, time, episode]."""
    cooperated: Tensor
    """[seed, agent, time, episode]."""


class Task(NamedTuple):
    """A game, and how it is learned."""

    play: Callable[..., Episodes]
    """(theta, sharing, episodes, horizon, keep) -> episodes; keep: whether observations are."""
    features: int
    actions: int
    hidden: int
    activation: Callable[[Tensor], Tensor]
    discount: float
    begin: Callable[[Parameters], Any]
    """Parameters -> the inner optimizer's state."""
    update: Callable[[Parameters, Parameters, Any], tuple[Parameters, Any]]
    """(parameters, gradients, state) -> (parameters, state) of the inner optimizer, differentiable."""
    outer_rate: float
    bonus: Callable[[int], float]
    """Outer step -> the weight of the entropy."""


def no_state(theta: Parameters) -> None:
    """SGD has none."""


def sgd(rate: float) -> Callable[[Parameters, Parameters, Any], tuple[Parameters, Any]]:
    """Gradient descent."""
    return lambda theta, gradients, state: (
        [value - rate * gradient for value, gradient in zip(theta, gradients, strict=True)],
        state,
    )


def zero_moments(theta: Parameters) -> tuple[Parameters, Parameters, int]:
    """Adam's first state."""
    return [torch.zeros_like(value) for value in theta], [torch.zeros_like(value) for value in theta], 0


def adam(rate: float) -> Callable[[Parameters, Parameters, Any], tuple[Parameters, Any]]:
    """Adam with PyTorch's epsilon; v = 0 is kept off the root, whose derivative there is infinite."""

    def update(theta: Parameters, gradients: Parameters, state: Any) -> tuple[Parameters, Any]:
        firsts, seconds, count = state
        count += 1
        firsts = [0.9 * m + 0.1 * g for m, g in zip(firsts, gradients, strict=True)]
        seconds = [0.999 * v + 0.001 * g * g for v, g in zip(seconds, gradients, strict=True)]
        step, scale = rate / (1 - 0.9**count), (1 - 0.999**count) ** -0.5
        moved = [
            value - step * m / (v.clamp(min=1e-30).sqrt() * scale + 1e-8)
            for value, m, v in zip(theta, firsts, seconds, strict=True)
        ]
        return moved, (firsts, seconds, count)

    return update


def initial(task: Task, seeds: int) -> Parameters:
    """Normal weights, the last layer's small, and zero biases."""
    return [
        torch.randn(seeds, 2, task.features, task.hidden) / task.features**0.5,
        torch.zeros(seeds, 2, 1, task.hidden),
        0.1 * torch.randn(seeds, 2, task.hidden, task.actions) / task.hidden**0.5,
        torch.zeros(seeds, 2, 1, task.actions),
    ]


def logits(theta: Parameters, observations: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """Run every agent's network: [seed, agent, sample, feature] -> [seed, agent, sample, action]."""
    first, first_bias, last, last_bias = theta
    return activation(observations @ first + first_bias) @ last + last_bias


def draw(theta: Parameters, observations: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """Sample an action for each observation: int64 [seed, agent, sample]."""
    odds = logits(theta, observations, activation).softmax(-1)
    return torch.multinomial(odds.flatten(0, -2), 1).view(odds.shape[:-1])


def log_policy(theta: Parameters, sample: Episodes, task: Task) -> tuple[Tensor, Tensor]:
    """Log-probabilities of what was done, and entropies: [seed, agent, time, episode], 0 after the end."""
    assert sample.observations is not None
    seen = sample.observations.flatten(2, 3)
    every = logits(theta, seen, task.activation).log_softmax(-1).unflatten(2, sample.actions.shape[2:])
    taken = every.gather(-1, sample.actions.unsqueeze(-1)).squeeze(-1)
    return taken * sample.alive, -(every.exp() * every).sum(-1) * sample.alive


def advantages(rewards: Tensor, alive: Tensor, discount: float) -> Tensor:
    """Discounted returns to go less the other episodes' mean, times discount^t."""
    times = torch.arange(rewards.shape[2], dtype=rewards.dtype)
    returns = (discount ** times.unsqueeze(-1) * rewards).flip(2).cumsum(2).flip(2)
    kept = returns * alive
    others = (kept.sum(-1, keepdim=True) - kept) / (alive.sum(-1, keepdim=True) - alive).clamp(min=1)
    return (returns - others) * alive


def shared(rewards: Tensor, sharing: Tensor) -> Tensor:
    """What each agent gets of everybody's rewards, [seed, agent, time, episode]."""
    return (sharing.mT @ rewards.flatten(2)).view(rewards.shape)


def inner_step(
    theta: Parameters, state: Any, sharing: Tensor, sample: Episodes, task: Task, bonus: float
) -> tuple[Parameters, Any]:
    """One policy-gradient step of every agent, differentiable in the sharing matrix."""
    logs, entropies = log_policy(theta, sample, task)
    gains = advantages(shared(sample.rewards, sharing), sample.alive, task.discount)
    loss = -(logs * gains + bonus * entropies).sum(2).mean(-1).sum()
    gradients = torch.autograd.grad(loss, theta, create_graph=True)
    return task.update(theta, list(gradients), state)


def hypergradient(
    theta: Parameters,
    state: Any,
    phi: Tensor,
    play: Callable[[Parameters, Tensor], Episodes],
    task: Task,
    *,
    bonus: float,
    inner_steps: int,
) -> tuple[Tensor, Parameters, Any, Episodes]:
    """d(minus welfare after the inner steps) / d(phi); the policies and the optimizer then; the sample."""
    theta, phi = [value.detach().requires_grad_() for value in theta], phi.detach().requires_grad_()
    sharing = phi.softmax(-1)
    for _ in range(inner_steps):
        theta, state = inner_step(theta, state, sharing, play(theta, sharing), task, bonus)
    sample = play(theta, sharing)
    logs, _ = log_policy(theta, sample, task)
    gains = advantages(sample.rewards.sum(1, keepdim=True), sample.alive, task.discount)
    (gradient,) = torch.autograd.grad(-(logs * gains).sum(2).mean(-1).sum(), phi)
    return gradient, [value.detach() for value in theta], detached(state), sample


def detached(state: Any) -> Any:
    """The optimizer's state without its graph."""
    if state is None:
        return None
    firsts, seconds, count = state
    return [m.detach() for m in firsts], [v.detach() for v in seconds], count


def measure(sample: Episodes, phi: Tensor) -> dict[str, list[float]]:
    """The metrics of one outer step."""
    values, sharing = sample.rewards.sum(2).mean(-1), phi.detach().softmax(-1)
    cooperation = (sample.cooperated * sample.alive).sum((2, 3)) / sample.alive.sum((2, 3))
    found = {
        "welfare": values.sum(-1),
        "return_0": values[:, 0],
        "return_1": values[:, 1],
        "cooperation": cooperation.mean(-1),
        "given_away": 1 - sharing.diagonal(dim1=1, dim2=2).mean(-1),
    }
    found |= {f"share_{i}_{j}": sharing[:, i, j] for i in range(2) for j in range(2)}
    return {name: value.tolist() for name, value in found.items()}


def train(task: Task, args: argparse.Namespace) -> None:
    """Train, and evaluate the final policies on fresh episodes."""
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    theta = initial(task, args.seeds)
    state = task.begin(theta)
    phi = torch.zeros(args.seeds, 2, 2, requires_grad=True)
    optimizer = torch.optim.Adam([phi], lr=task.outer_rate)
    table = Table(args.out)

    @torch.no_grad()
    def play(theta: Parameters, sharing: Tensor) -> Episodes:
        return task.play(theta, sharing, args.episodes, args.horizon, True)

    for step in range(args.outer_steps):
        phi.grad, theta, state, sample = hypergradient(
            theta, state, phi, play, task, bonus=task.bonus(step), inner_steps=args.inner_steps
        )
        table.add(step, measure(sample, phi))
        optimizer.step()
    table.close()
    final = Table(evaluation_path(args.out))
    with torch.no_grad():
        fresh = task.play(theta, phi.softmax(-1), args.evaluation_episodes, args.horizon, False)
    final.add(args.outer_steps, measure(fresh, phi))
    final.close()


def gather(steps: list[tuple[Tensor | None, ...]]) -> Episodes:
    """Put steps (observed, actions, rewards, alive, cooperated), [seed, agent, episode, ...], together."""
    observed, *rest = zip(*steps, strict=True)
    kept = None if observed[0] is None else torch.stack(observed, 2)
    actions, rewards, alive, cooperated = (torch.stack(part, 2) for part in rest)
    return Episodes(kept, actions, rewards, alive, cooperated)


def encoded(places: Tensor, count: int) -> Tensor:
    """One-hot vectors in the policies' dtype."""
    return one_hot(places, count).to(torch.get_default_dtype())

"""Actor-critics on the two-color grid, one per seed, and the experience that they learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bilevel.agents import chosen, entropy, leaky_v_trace
from bilevel.core import gradient_at
from bilevel.nn import Perceptron, sigmoid
from bilevel.tasks.self_tuning._grid import ACTIONS, CELLS, FEATURES, rewards_of, two_color_grid
from bilevel.tasks.self_tuning._grid_settings import TwoColorSettings

BLOCK = 32
"""Updates whose random numbers are drawn at once."""
REWARD_SCALE = 10.0
"""Factor of the rewards that the meta-network sees: a good policy earns 0.27 per step."""


class Rollout(NamedTuple):
    """The data of an update."""

    observed: Tensor
    """Observations, [seed, sample, 30]; samples are copies and steps."""
    actions: Tensor
    """[seed, sample]."""
    advantages: Tensor
    """[seed, sample], of the critic before it learned from this rollout."""
    recent: Tensor
    """Mean reward per step of this and earlier rollouts, the latest last, [seed, memory]."""


class GridAgents(NamedTuple):
    """The networks of the agents, functions of flat parameters [seed, parameter]."""

    policy: Perceptron
    """Observation -> logits of the actions."""
    critic: Perceptron
    """Observation -> value."""
    meta: Perceptron
    """Recent rewards -> log-odds of the entropy's weight."""

    @classmethod
    def of(cls, settings: TwoColorSettings) -> GridAgents:
        """The networks of these sizes."""
        hidden = settings.hidden_size
        return cls(
            Perceptron((FEATURES, hidden, ACTIONS), "relu"),
            Perceptron((FEATURES, hidden, 1), "relu"),
            Perceptron((settings.memory, settings.weight_hidden_size, 1), "relu"),
        )

    def terms(self, theta: Tensor, data: Rollout) -> tuple[Tensor, Tensor]:
        """The policy-gradient loss and the entropy of the policies in nats, means over samples: [seed]."""
        logits = self.policy(theta, data.observed)
        loss = -(chosen(logits, data.actions) * data.advantages).mean(-1)
        return loss, entropy(logits).mean(-1)

    def entropy_weight(self, phi: Tensor, data: Rollout) -> Tensor:
        """The weight of the entropy that the meta-network gives, from 0 to 1: [seed]."""
        return sigmoid(self.meta(phi, REWARD_SCALE * data.recent.unsqueeze(-2))).flatten(1).squeeze(-1)


class Experience:
    """The copies of the environment of each seed, its critic, and its random stream.

    The critic learns here, beside the differentiated updates: it does not depend on the entropy's weight.
    """

    def __init__(self, settings: TwoColorSettings, seeds: Sequence[int]) -> None:
        self.settings, self.agents, self.grid = settings, GridAgents.of(settings), two_color_grid()
        self.streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        policy, critic, meta = self.agents
        self.theta = self._each(lambda stream: policy.initial(stream, last_layer_scale=0.1))
        self.critic = self._each(critic.initial)
        self.phi = self._each(lambda stream: meta.initial(stream, last_layer_scale=0.1))
        self.phi[:, -1] = torch.tensor(settings.initial_ent_coef).logit()
        copies = settings.num_envs
        self.states = self.grid.start(self._each(lambda stream: torch.rand(copies, 3, generator=stream)))
        self.recent = torch.zeros(len(seeds), settings.memory)
        self.sums: list[Tensor] = []  # rewards of each rollout, [seed]
        self.ahead: Rollout | None = None

    def draw(self, theta: Tensor) -> Rollout:
        """Act by the policies, [seed, parameter], and let the critics learn; or give what was drawn ahead."""
        rollout = self._act(theta) if self.ahead is None else self.ahead
        self.ahead = None
        return rollout

    def draw_ahead(self, theta: Tensor) -> Rollout:
        """Draw a rollout that is also the next one to learn from."""
        self.ahead = self._act(theta)
        return self.ahead

    @torch.no_grad()
    def _act(self, theta: Tensor) -> Rollout:
        settings, table = self.settings, self.grid.observations
        noise, draws = self._noise()
        states, actions, taken = [self.states], [], []
        for time in range(settings.rollout_steps):
            logits = self.agents.policy(theta, table[states[-1]])
            actions.append((logits + noise[:, time]).argmax(-1))
            following, objects = self.grid.step(states[-1], actions[-1], draws[:, time])
            states.append(following)
            taken.append(objects)
        rewards = rewards_of(torch.stack(taken, 1), self._blue_rewards())
        self.states = states[-1]
        self.sums.append(rewards.sum((-2, -1)))
        mean = self.sums[-1] / settings.update_steps
        self.recent = torch.cat((self.recent[:, 1:], mean.unsqueeze(-1)), -1)
        observed = table[torch.stack(states, 1)].flatten(1, 2)
        advantages = self._criticize(observed, rewards).flatten(1)
        played = observed[:, : settings.update_steps]
        return Rollout(played, torch.stack(actions, 1).flatten(1), advantages, self.recent)

    def _noise(self) -> tuple[Tensor, Tensor]:
        """Gumbel noise [seed, time, copy, action] and draws of cells [seed, time, copy] of one rollout."""
        settings, place = self.settings, len(self.sums) % BLOCK
        if place == 0:
            shape = BLOCK, settings.rollout_steps, settings.num_envs
            uniform = self._each(lambda stream: torch.rand(*shape, ACTIONS, generator=stream))
            self._gumbel = -(-uniform.clamp(min=1e-20).log()).log()
            self._draws = self._each(
                lambda stream: torch.randint(CELLS - 2, shape, generator=stream), torch.int64
            )
        return self._gumbel[:, place], self._draws[:, place]

    def _blue_rewards(self) -> Tensor:
        """Blue's reward in each step of the next rollout, [time, 1]."""
        settings = self.settings
        begin = len(self.sums) * settings.rollout_steps
        steps = settings.num_envs * torch.arange(begin, begin + settings.rollout_steps)
        return (1 - 2 * (steps // settings.swap_steps % 2)).float().unsqueeze(-1)

    def _criticize(self, observed: Tensor, rewards: Tensor) -> Tensor:
        """Advantages [seed, time, copy] by the critic, which then learns from them."""
        settings, critic = self.settings, self.agents.critic

        def values_of(parameters: Tensor) -> Tensor:
            values: Tensor = critic(parameters, observed).squeeze(-1).unflatten(1, (-1, settings.num_envs))
            return values

        def loss(parameters: Tensor) -> Tensor:
            values = values_of(parameters)
            now = values[:, :-1]
            trace = leaky_v_trace(
                rewards,
                now.detach(),
                torch.zeros_like(rewards),
                settings.discount,
                trace_lambda=settings.gae_lambda,
                last_value=values[:, -1].detach(),
            )
            advantages.append(trace.advantages)
            return (trace.targets - now).square().mean((-2, -1)).sum() / 2

        advantages: list[Tensor] = []
        slope = gradient_at(self.critic, loss)
        self.critic = self.critic - settings.value_learning_rate * slope
        return advantages[0]

    def _each(self, draw: Callable[[torch.Generator], Tensor], dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw for each seed from its own stream, [seed, ...]."""
        return torch.stack([draw(stream).to(dtype) for stream in self.streams])

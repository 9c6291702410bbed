"""Roll-outs in the environment: for training, and to measure the policy on fresh episodes."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from bilevel.tasks.world_model._latents import gumbel
from bilevel.tasks.world_model._model import WorldModel
from bilevel.tasks.world_model._pictures import PixelEnvironment

How = Literal["drawn", "likeliest", "at random"]


class RollOut(NamedTuple):
    """What was seen and done in a window of steps; each [time, copy, ...]."""

    pictures: Tensor
    """[time + 1, copy, pixel]."""
    first: Tensor
    """Whether a picture is the first of an episode, [time + 1, copy]."""
    actions: Tensor
    """One-hot, [time, copy, action]."""
    log_policy: Tensor
    """Logarithm of the probability that the action had, [time, copy]."""
    rewards: Tensor
    """[time, copy]."""
    ended: Tensor
    """1 where an episode came to its end, [time, copy]."""
    stopped: Tensor
    """Whether it ended or ran out of time, [time, copy]."""
    memory: Tensor
    """Before the first picture, [copy, unit]."""

    @property
    def counts(self) -> Tensor:
        """Steps whose action was used, [time, copy]: not those that only start an episode again."""
        return ~self.first[1:]

    def of_copies(self, copies: slice) -> RollOut:
        """Only these copies."""
        sequences = {name: getattr(self, name)[:, copies] for name in self._fields if name != "memory"}
        return RollOut(**sequences, memory=self.memory[copies])


class Actor:
    """Plays on, window after window, with the memory of where it is.

    Args:
        environment: copies to play in.
        model: who plays.
        generator: of the actions.
    """

    def __init__(self, environment: PixelEnvironment, model: WorldModel, generator: torch.Generator) -> None:
        self.environment, self.model, self.generator = environment, model, generator
        self.picture = environment.reset()
        copies = len(self.picture)
        self.first = torch.ones(copies, dtype=torch.bool)
        self.memory = torch.zeros(copies, model.dynamics.cell.hidden_size)

    @torch.no_grad()
    def play(self, steps: int, how: How = "drawn") -> RollOut:
        """Play so many steps in every copy.

        Args:
            steps: 1 or more.
            how: by actions drawn from the policy; by its likeliest ones; or at random, whatever it says.
        """
        start, seen = self.memory, []
        pictures, first = [self.picture], [self.first]
        for _ in range(steps):
            latents = self.model.features(self.picture)
            self.memory = self.memory * ~self.first[:, None]
            logits = self.model.controller(latents, self.memory)
            logits = torch.zeros_like(logits) if how == "at random" else logits
            noise = 0 if how == "likeliest" else gumbel(tuple(logits.shape), self.generator)
            chosen = (logits + noise).argmax(-1)
            action = one_hot(chosen, logits.shape[-1]).float()
            self.memory = self.model.dynamics.remember(self.memory, latents, action)
            after = self.environment.step(chosen)
            self.picture, self.first = after.picture, after.first
            pictures.append(self.picture)
            first.append(self.first)
            log_policy = (logits.log_softmax(-1) * action).sum(-1)
            seen.append((action, log_policy, after.reward, after.ended.float(), after.stopped))
        names = ("actions", "log_policy", "rewards", "ended", "stopped")
        columns = dict(zip(names, map(torch.stack, zip(*seen, strict=True)), strict=True))
        return RollOut(pictures=torch.stack(pictures), first=torch.stack(first), memory=start, **columns)


def episode_returns(environment: PixelEnvironment, model: WorldModel, generator: torch.Generator) -> Tensor:
    """The return of the first episode of every copy by the likeliest actions, [copy], in rewards."""
    actor = Actor(environment, model, generator)
    returns, playing = torch.zeros(len(actor.picture)), torch.ones(len(actor.picture), dtype=torch.bool)
    while playing.any():
        step = actor.play(1, "likeliest")
        returns = returns + playing * step.rewards[0]
        playing = playing & ~step.stopped[0]
    return returns

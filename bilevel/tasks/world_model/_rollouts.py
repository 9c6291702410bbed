"""Roll-outs in the environment: for training, and to evaluate the policy on fresh episodes."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from bilevel.tasks.world_model._environment import PixelEnvironment
from bilevel.tasks.world_model._latents import gumbel
from bilevel.tasks.world_model._model import WorldModel

Actions = Literal["sampled", "likeliest", "uniform"]


class PixelRollout(NamedTuple):
    """A window of steps of all copies; each [time, copy, ...]."""

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
    hidden: Tensor
    """State of the recurrent network before the first picture, [copy, unit]."""

    @property
    def counts(self) -> Tensor:
        """Mask of the steps whose action was used, [time, copy]: not those that only restart an episode."""
        return ~self.first[1:]

    def of_copies(self, copies: slice) -> PixelRollout:
        """Only these copies."""
        sequences = {name: getattr(self, name)[:, copies] for name in self._fields if name != "hidden"}
        return PixelRollout(**sequences, hidden=self.hidden[copies])


class PixelActor:
    """Acts in the copies, window after window, by the model's controller and its hidden state.

    Args:
        environment: copies.
        model: the world model.
        generator: of the actions.
    """

    def __init__(self, environment: PixelEnvironment, model: WorldModel, generator: torch.Generator) -> None:
        self.environment, self.model, self.generator = environment, model, generator
        self.picture = environment.reset()
        copies = len(self.picture)
        self.first = torch.ones(copies, dtype=torch.bool)
        self.hidden = torch.zeros(copies, model.dynamics.cell.hidden_size)

    @torch.no_grad()
    def play(self, steps: int, actions: Actions = "sampled") -> PixelRollout:
        """Take `steps` steps in every copy; `uniform` actions ignore the policy."""
        start, columns = self.hidden, []
        pictures, first = [self.picture], [self.first]
        for _ in range(steps):
            latents = self.model.features(self.picture)
            self.hidden = self.hidden * ~self.first[:, None]
            logits = self.model.controller(latents, self.hidden)
            logits = torch.zeros_like(logits) if actions == "uniform" else logits
            noise = 0 if actions == "likeliest" else gumbel(tuple(logits.shape), self.generator)
            chosen = (logits + noise).argmax(-1)
            action = one_hot(chosen, logits.shape[-1]).float()
            self.hidden = self.model.dynamics.advance(self.hidden, latents, action)
            after = self.environment.step(chosen)
            self.picture, self.first = after.picture, after.first
            pictures.append(self.picture)
            first.append(self.first)
            log_policy = (logits.log_softmax(-1) * action).sum(-1)
            columns.append((action, log_policy, after.reward, after.ended.float(), after.stopped))
        names = ("actions", "log_policy", "rewards", "ended", "stopped")
        stacked = dict(zip(names, map(torch.stack, zip(*columns, strict=True)), strict=True))
        return PixelRollout(pictures=torch.stack(pictures), first=torch.stack(first), hidden=start, **stacked)


def episode_returns(environment: PixelEnvironment, model: WorldModel, generator: torch.Generator) -> Tensor:
    """The return of the first episode of every copy by the likeliest actions, [copy], in rewards."""
    actor = PixelActor(environment, model, generator)
    returns, playing = torch.zeros(len(actor.picture)), torch.ones(len(actor.picture), dtype=torch.bool)
    while playing.any():
        step = actor.play(1, "likeliest")
        returns = returns + playing * step.rewards[0]
        playing = playing & ~step.stopped[0]
    return returns

"""Training of the world model: staged, alternating, or joint with fixed, scheduled or learned weights."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bilevel.loss_weights import FixedWeights, LinearWeights, LossWeights, LossWeightTuner, Trainer
from bilevel.tasks import Progress
from bilevel.tasks.world_model._environment import PixelActor, PixelEnvironment, PixelRollout, episode_returns
from bilevel.tasks.world_model._losses import held_out_loss, losses, of_copies, prepare
from bilevel.tasks.world_model._model import PARTS, WorldModel
from bilevel.tasks.world_model._settings import WorldModelSettings

GRID: dict[str, dict[str, float]] = {
    "fixed": {},
    "fixed-reconstruction-low": {"reconstruction": 0.1},
    "fixed-dynamics-low": {"dynamics": 0.1},
    "fixed-policy-high": {"reconstruction": 0.1, "dynamics": 0.1},
    "fixed-policy-low": {"policy": 0.1, "value": 0.1},
}
"""Weights set by hand; losses that are not named have weight 1."""

WEIGHTINGS = {
    "fixed": "jointly, every weight 1",
    "fixed-reconstruction-low": "jointly, the reconstruction's weight 0.1",
    "fixed-dynamics-low": "jointly, the dynamics' weight 0.1",
    "fixed-policy-high": "jointly, the weights of reconstruction and dynamics 0.1",
    "fixed-policy-low": "jointly, the weights of policy and value 0.1",
    "schedule": "jointly, a hand-set schedule: the policy's weight rises, the reconstruction's falls",
    "learned": "jointly, weights learned from the policy loss on held-out rollouts",
    "staged": "autoencoder, then dynamics, then controller, a third of the steps each",
    "alternating": "autoencoder, dynamics and controller in turn, the others frozen",
}


@dataclass(frozen=True)
class TrainingPhase:
    """Parts of the model and losses that one batch of roll-outs trains; the other parts are frozen."""

    parts: tuple[str, ...]
    losses: tuple[str, ...]
    uniform_actions: bool = False  # before the controller is trained


def phases(weighting: str, batches: int, losses: Sequence[str]) -> list[TrainingPhase]:
    """The phase of each batch, `staged` or `alternating`."""
    staged = weighting == "staged"
    pictures = tuple(name for name in ("reconstruction", "contrastive") if name in losses)
    acting = tuple(name for name in ("policy", "value") if name in losses)
    three = (
        TrainingPhase(("autoencoder",), pictures, uniform_actions=staged),
        TrainingPhase(("dynamics",), ("dynamics",), uniform_actions=staged),
        TrainingPhase(("controller", "value"), acting),
    )
    return [three[min(3 * batch // batches, 2) if staged else batch % 3] for batch in range(batches)]


def schedule(updates: int, losses: Sequence[str]) -> dict[str, tuple[float, float, int]]:
    """Linear schedules of weights: policy and value from 0.1 to 1, the reconstruction from 1 to 0.1.

    As published the policy grows as min(1, t / 10000) from 0.1, and the reconstruction falls as max(0.1,
    1 - t / 50000); here 50000 is the number of updates, where that is less.
    """
    total = min(updates, 50_000)
    rising, falling = (0.1, 1.0, max(round(0.18 * total), 1)), (1.0, 0.1, max(round(0.9 * total), 1))
    schedules = {"policy": rising, "value": rising, "reconstruction": falling}
    return {name: schedules.get(name, (1.0, 1.0, 1)) for name in losses}


class WorldModelTraining:
    """A model, its environment, its optimizer and one of `WEIGHTINGS`; the seed determines all randomness."""

    def __init__(self, settings: WorldModelSettings, weighting: str, seed: int) -> None:
        self.settings = settings
        self.generator = torch.Generator().manual_seed(seed)
        self.environment = PixelEnvironment(settings, settings.num_envs, self._draw_seed())
        self.fresh = PixelEnvironment(settings, settings.evaluation_episodes, self._draw_seed())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._draw_seed())
            self.model = WorldModel(settings, self.environment.actions)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=settings.learning_rate)
        self.actor = PixelActor(self.environment, self.model, self.generator)
        self.updates = settings.steps * settings.update_epochs * 2
        self.plan = [TrainingPhase(PARTS, settings.losses)] * settings.steps
        if weighting in ("staged", "alternating"):
            self.plan = phases(weighting, settings.steps, settings.losses)
        self._trainers = {phase: self._make_trainer(weighting, phase) for phase in dict.fromkeys(self.plan)}
        self.curves: dict[str, list[float]] = {}
        """Mean returns of fresh episodes and weights, each with its environment steps in `<name> at`."""
        self.last: PixelRollout | None = None
        self.last_returns: list[float] = []

    def train(self, progress: Progress) -> None:
        """Train all phases of the plan, with evaluations on fresh episodes."""
        batches, count = self.settings.steps, self.settings.evaluations
        evaluated = {round((number + 1) * batches / count) for number in range(count)}
        self._evaluate(0)
        for number, phase in enumerate(self.plan, start=1):
            self.train_batch(phase)
            weights = self._trainers[phase].history.values
            for name in self.settings.losses:  # 0 where a phase does not train on a loss
                self._write(f"weight of {name}", weights[name][-1] if name in weights else 0.0, number)
            if number in evaluated:
                self._evaluate(number)
            progress(number / batches)

    def train_batch(self, phase: TrainingPhase) -> None:
        """Act for a window in every copy, and train on it."""
        settings, trainer = self.settings, self._trainers[phase]
        self.last = self.actor.play(settings.rollout_steps, "uniform" if phase.uniform_actions else "sampled")
        self.model.train_only(phase.parts)
        batch = prepare(self.model, self.last, settings, self.generator)
        middle = settings.num_envs // 2
        halves = [of_copies(batch, slice(middle)), of_copies(batch, slice(middle, None))]
        for _ in range(settings.update_epochs):
            for half, other in (halves, halves[::-1]):
                held_out = functools.partial(held_out_loss, self.model, other, settings)
                trainer.step(functools.partial(losses, self.model, half, settings, phase.losses), held_out)

    @torch.no_grad()
    def last_losses(self) -> tuple[float, float]:
        """Reconstruction error of the likeliest latents, and dynamics loss, on the last roll-outs."""
        assert self.last is not None
        batch = prepare(self.model, self.last, self.settings, self.generator)
        latents = self.model.features(self.last.pictures)
        error = self.model.autoencoder.error(self.last.pictures, latents).mean()
        return float(error), float(losses(self.model, batch, self.settings, ["dynamics"])["dynamics"])

    def close(self) -> None:
        """Release the environments' resources."""
        self.environment.close()
        self.fresh.close()

    def _evaluate(self, batches: int) -> None:
        returns = episode_returns(self.fresh, self.model, self.generator)
        self.last_returns = returns.tolist()
        self._write("return", float(returns.mean()), batches)

    def _write(self, curve: str, value: float, batches: int) -> None:
        self.curves.setdefault(curve, []).append(value)
        steps = batches * self.settings.num_envs * self.settings.rollout_steps
        self.curves.setdefault(f"{curve} at", []).append(steps)

    def _make_trainer(self, weighting: str, phase: TrainingPhase) -> Trainer | LossWeightTuner:
        s = self.settings
        clipping: dict[str, Any] = {"max_norm": s.max_norm, "max_value": s.max_value}
        if weighting == "learned":
            weights = LossWeights(phase.losses)
            outer = torch.optim.Adam(weights.parameters(), lr=s.outer_learning_rate)
            return LossWeightTuner(
                self.model, self.optimizer, weights, outer, estimator=s.estimator, **clipping
            )
        if weighting == "schedule":
            return Trainer(self.optimizer, LinearWeights(schedule(self.updates, phase.losses)), **clipping)
        by_hand = {name: GRID.get(weighting, {}).get(name, 1.0) for name in phase.losses}
        return Trainer(self.optimizer, FixedWeights(by_hand), **clipping)

    def _draw_seed(self) -> int:
        return int(torch.randint(2**31, (), generator=self.generator))

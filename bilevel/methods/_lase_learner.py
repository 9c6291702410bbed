"""Learner of sharing by empathy: policies, critics and perspectives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bilevel.agents import generalized_advantages
from bilevel.core import Purpose
from bilevel.methods._contract import Metrics, Placement, State
from bilevel.methods._lase_perspective import Imagined
from bilevel.methods._lase_sharing import Empathy
from bilevel.methods._learner import PolicyLearner, descend, require_finite
from bilevel.optimizers import make_optimizer
from bilevel.sharing import Trajectory
from games.core import Game

if TYPE_CHECKING:
    from bilevel.methods._lase import LASE

LEARNED = ("theta", "opt_state", "phi", "critic_opt_state", "perspective_opt_state")
"""Entries of the state that an inner step updates."""


class EmpathyLearner(PolicyLearner):
    """Learner of policies under the rule of empathy, with its critics and perspectives.

    An inner step samples episodes; policies learn from these, with rewards shared by the rule at sampling
    time; then critics and perspectives learn from the same episodes. The state's phi has their parameters and
    a copy of the policies' (`Empathy` defines the order).
    """

    def __init__(self, method: LASE, game: Game, placement: Placement, variable: Empathy) -> None:
        super().__init__(method, game, placement, variable)
        self.empathy, self.settings = variable, method
        self.critic_optimizer = make_optimizer("adam", learning_rate=method.critic.learning_rate)
        rate = getattr(method.perspective, "learning_rate", 1.0)
        self.perspective_optimizer = make_optimizer("adam", learning_rate=rate)

    def init(self, seed: int) -> State:
        """Build the initial state, with the states of the critics' and the perspectives' optimizers."""
        state = super().init(seed)
        critics, perspectives, _ = self.empathy.parts(state["phi"])
        state["phi"] = torch.cat((critics, perspectives, state["theta"]), -1)
        state["critic_opt_state"] = self.critic_optimizer.init(critics)
        state["perspective_opt_state"] = self.perspective_optimizer.init(perspectives)
        return state

    @torch.no_grad()
    def update(self, state: State) -> tuple[State, Metrics]:
        """Take an outer step: update everything `inner.steps` times, then evaluate the policies.

        The metrics show the shares by the critics, perspectives and policies afterwards.
        """
        generator, inputs = self.streams(state, Purpose.TRAINING), self.inputs(state)
        learned = {name: state[name] for name in LEARNED}
        for _ in range(self.schedule.steps(int(state["outer_step"]))):
            theta, phi = learned["theta"], learned["phi"]
            episodes = self.play.sample(theta, self.transfer(phi), generator)
            theta, opt_state = self.step(theta, learned["opt_state"], phi, inputs._replace(batch=episodes))
            learned = {
                "theta": theta,
                "opt_state": opt_state,
                **self._update_models(learned, episodes, theta),
            }
        theta = learned["theta"]
        require_finite(theta, "A policy", state["outer_step"])
        require_finite(learned["phi"], "A critic or a perspective", state["outer_step"])
        transfer = self.transfer(learned["phi"])
        metrics = self._measured(theta, transfer, self.play.sample(theta, transfer, generator))
        return self._next(state, **learned), metrics

    def _update_models(self, learned: State, episodes: Trajectory, theta: Tensor) -> State:
        """Update critics and perspectives on episodes, and the copy of the policies, to `theta`."""
        critics, perspectives, agent_policies = self.empathy.parts(learned["phi"])
        critic_state, perspective_state = learned["critic_opt_state"], learned["perspective_opt_state"]
        if critics.shape[-1]:
            targets = self.targets(critics, episodes)
            critics, critic_state = descend(
                self.critic_optimizer,
                critics,
                critic_state,
                lambda now: self._critic_loss(now, targets, episodes),
                self.settings.critic.steps,
            )
        network = self.empathy.perspective
        if isinstance(network, Imagined):  # the only one with parameters
            settings: Any = self.settings.perspective
            graph, closeness = self.empathy.neighbors, settings.closeness
            perspectives, perspective_state = descend(
                self.perspective_optimizer,
                perspectives,
                perspective_state,
                lambda now: network.losses(now, agent_policies, episodes, graph, closeness).sum(),
                settings.steps,
            )
        return {
            "phi": torch.cat((critics, perspectives, theta), -1),
            "critic_opt_state": critic_state,
            "perspective_opt_state": perspective_state,
        }

    def targets(self, critics: Tensor, episodes: Trajectory) -> Tensor:
        """Critics' targets, lambda-returns of own rewards: [seed, agent, time, episode]."""
        settings = self.settings.critic
        discount = self.game.discount if settings.discount is None else settings.discount
        values = self.empathy.critic.values(critics, episodes) * episodes.acting
        return values + generalized_advantages(episodes.rewards, values, discount, settings.gae_lambda)

    def _critic_loss(self, critics: Tensor, targets: Tensor, episodes: Trajectory) -> Tensor:
        """Mean squared error over steps, summed over agents and seeds, which share no parameters."""
        error = (self.empathy.critic.values(critics, episodes) - targets) * episodes.acting
        return (error.square().sum((2, 3)) / episodes.acting.sum((2, 3))).sum()

"""A learner whose agents learn, beside their policies, what to expect of each other."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bilevel.agents import Trajectory, generalized_advantages
from bilevel.core import Purpose, Tree, gradient_at
from bilevel.methods._contract import Metrics, Placement, State
from bilevel.methods._lase_perspective import Imagined
from bilevel.methods._lase_sharing import Empathy
from bilevel.methods._learner import PolicyLearner, require_finite
from bilevel.methods._method import PolicyMethod
from bilevel.optimizers import GradientTransformation, make_optimizer
from games.core import Game

LEARNED = ("theta", "opt_state", "phi", "critic_opt_state", "perspective_opt_state")
"""What an inner step changes of the state."""


@dataclass(frozen=True)
class AuxiliaryOptimizer:
    """How something learns beside the policies: by Adam, from their episodes."""

    learning_rate: float
    """Step size, above 0."""
    steps: int
    """In each inner step, 1 or more."""

    @functools.cached_property
    def optimizer(self) -> GradientTransformation:
        """Adam at this learning rate, made once."""
        return make_optimizer("adam", learning_rate=self.learning_rate)

    def init(self, parameters: Tensor) -> Tree:
        """The optimizer's first state."""
        return self.optimizer.init(parameters)

    def learn(
        self, parameters: Tensor, opt_state: Tree, loss: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tree]:
        """Take its steps down a loss, a scalar; nothing where there are no parameters."""
        if not parameters.shape[-1]:
            return parameters, opt_state
        for _ in range(self.steps):
            gradient = gradient_at(parameters, loss)
            updates, opt_state = self.optimizer.update(gradient, opt_state, params=parameters, inplace=False)
            parameters = parameters + updates
        return parameters, opt_state


class EmpathyLearner(PolicyLearner):
    """Policies that learn under the rule of empathy, with the critics and perspectives behind it.

    In an inner step agents play; their policies learn from these episodes, shared by what they made of each
    other when they played; then their critics and perspectives learn from the same episodes. All of that
    stands in the state's phi (`Empathy` says in which order), with the policies as they are by then.

    Args:
        method: the settings of the policies' learning.
        game: what is played.
        placement: seeds, precision, device.
        variable: what agents know of each other.
        critic: how critics learn.
        perspective: how perspectives do.
        discount: of the critics' returns, per step.
        trace: lambda of the critics' targets, from 0 to 1.
        closeness: of what is imagined, see `Imagined.losses`.

    Raises:
        ValueError: as `PolicyLearner`.
    """

    def __init__(
        self,
        method: PolicyMethod,
        game: Game,
        placement: Placement,
        variable: Empathy,
        *,
        critic: AuxiliaryOptimizer,
        perspective: AuxiliaryOptimizer,
        discount: float,
        trace: float,
        closeness: float,
    ) -> None:
        super().__init__(method, game, placement, variable)
        self.empathy, self.critic, self.perspective = variable, critic, perspective
        self.discount, self.trace, self.closeness = discount, trace, closeness

    def init(self, seed: int) -> State:
        """As `PolicyLearner.init`, with the states of the critics' and the perspectives' optimizers."""
        state = super().init(seed)
        critics, perspectives, _ = self.empathy.parts(state["phi"])
        state["phi"] = torch.cat((critics, perspectives, state["theta"]), -1)
        state["critic_opt_state"] = self.critic.init(critics)
        state["perspective_opt_state"] = self.perspective.init(perspectives)
        return state

    @torch.no_grad()
    def update(self, state: State) -> tuple[State, Metrics]:
        """One outer step: everything learns `inner.steps` times, then policies are measured.

        The metrics show the shares by what agents now make of each other.

        Raises:
            FloatingPointError: a reward, a policy, a critic or a perspective stopped being a finite number
                (says where); the state passed in is not changed.
        """
        generator, inputs = self.streams(state, Purpose.TRAINING), self.inputs(state)
        learned = {name: state[name] for name in LEARNED}
        for _ in range(self.schedule.steps(int(state["outer_step"]))):
            theta, phi = learned["theta"], learned["phi"]
            episodes = self.play.sample(theta, self.transfer(phi), generator)
            theta, opt_state = self.step(theta, learned["opt_state"], phi, inputs._replace(batch=episodes))
            learned = {"theta": theta, "opt_state": opt_state, **self._judge(learned, episodes, theta)}
        theta = learned["theta"]
        require_finite(theta, "A policy", state["outer_step"])
        require_finite(learned["phi"], "A critic or a perspective", state["outer_step"])
        transfer = self.transfer(learned["phi"])
        metrics = self._measured(theta, transfer, self.play.sample(theta, transfer, generator))
        return self._next(state, **learned), metrics

    def _judge(self, learned: State, episodes: Trajectory, theta: Tensor) -> State:
        """Critics and perspectives learn from what trajectory; then agents judge by the policies `theta`."""
        critics, perspectives, minds = self.empathy.parts(learned["phi"])
        targets = self.targets(critics, episodes)
        critics, critic_state = self.critic.learn(
            critics, learned["critic_opt_state"], lambda now: self._critic_loss(now, targets, episodes)
        )
        perspectives, perspective_state = self.perspective.learn(
            perspectives,
            learned["perspective_opt_state"],
            lambda now: self._perspective_loss(now, minds, episodes),
        )
        return {
            "phi": torch.cat((critics, perspectives, theta), -1),
            "critic_opt_state": critic_state,
            "perspective_opt_state": perspective_state,
        }

    def targets(self, critics: Tensor, episodes: Trajectory) -> Tensor:
        """What critics learn: lambda-returns of own rewards, from each step on.

        Args:
            critics: [seed, agent, parameter].
            episodes: sampled play.

        Returns:
            [seed, agent, time, episode]; 0 after the end.
        """
        values = self.empathy.critic.values(critics, episodes) * episodes.acting
        return values + generalized_advantages(episodes.rewards, values, self.discount, self.trace)

    def _critic_loss(self, critics: Tensor, targets: Tensor, episodes: Trajectory) -> Tensor:
        """The mean squared error over steps, added up over agents and seeds: they share no parameters."""
        error = (self.empathy.critic.values(critics, episodes) - targets) * episodes.acting
        return (error.square().sum((2, 3)) / episodes.acting.sum((2, 3))).sum()

    def _perspective_loss(self, perspectives: Tensor, minds: Tensor, episodes: Trajectory) -> Tensor:
        perspective = self.empathy.perspective
        assert isinstance(perspective, Imagined)  # no other learns
        return perspective.losses(
            perspectives, minds, episodes, self.empathy.neighbours, self.closeness
        ).sum()

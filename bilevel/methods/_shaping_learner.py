"""Learner of policies by gradients through imagined learning steps of the other agents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from bilevel.core import Range, Tree, inner_step_per_agent
from bilevel.methods._contract import Placement
from bilevel.methods._inner_settings import PolicyGradient
from bilevel.methods._learner import PolicyLearner, StepInputs
from bilevel.methods._method import PolicyMethod
from bilevel.methods._settings import SettingsGroup, Whole
from bilevel.optimizers import make_optimizer
from bilevel.sharing import FixedMatrix, identity_sharing
from games.core import Game, require


@dataclass(frozen=True, kw_only=True)
class LookAheadSettings(SettingsGroup, part="look_ahead"):
    """Imagined learning steps of the other agents."""

    steps: Whole = 2
    """Gradient steps of the other agents that each agent imagines, 1 or more."""
    learning_rate: Annotated[float, Range(min=0)] = 0.3
    """Learning rate of the imagined steps, 0 or more; with 0 agents learn independently."""


class PenalizedInputs(NamedTuple):
    """Inputs of losses with a penalty on the divergence from earlier policies."""

    inputs: StepInputs
    origin: Tensor
    """Policies from which divergences are measured, like theta."""


def require_shapeable(method: PolicyMethod, game: Game) -> None:
    """Raise ValueError unless each agent has other agents whose separate parameters it can shape."""
    require(
        not method.policy.shared,
        "Agents that share parameters cannot shape each other: leave share_parameters off.",
    )
    require(
        game.num_agents >= 2,
        f"{type(game).__name__} has one agent: there is nobody whose learning to shape.",
    )


def require_joint_surrogate(inner: PolicyGradient) -> None:
    """Raise ValueError for a surrogate without derivatives by the other agents' policies."""
    require(
        inner.surrogate != "reinforce",
        "The surrogate reinforce has no derivative by the other agents' policies: choose dice or "
        "loaded-dice for inner.surrogate.",
    )


class ShapingLearner(PolicyLearner):
    """Learner of policies by gradients through imagined learning steps of the other agents.

    Args:
        method: the inner loop's settings.
        game: the game, of two or more agents.
        placement: seeds, precision, device.
        look_ahead: the imagined steps.
        imagined_kl_coef: coefficient of the penalty KL(policy before || imagined policy) in the losses that
            imagined steps descend, in reward units per nat.
        own_kl_coef: likewise of an agent's own policy in the loss of `direction`.
    """

    def __init__(
        self,
        method: PolicyMethod,
        game: Game,
        placement: Placement,
        look_ahead: LookAheadSettings,
        *,
        imagined_kl_coef: float = 0.0,
        own_kl_coef: float = 0.0,
    ) -> None:
        require_shapeable(method, game)
        super().__init__(method, game, placement, FixedMatrix(identity_sharing(game.num_agents)))
        self.look_ahead, self.own_kl_coef = look_ahead, own_kl_coef
        self.imagined_optimizer = make_optimizer("sgd", learning_rate=look_ahead.learning_rate)

        def imagined_losses(own: Tensor, others: Tensor, phi: Tree, data: PenalizedInputs) -> Tensor:
            return self._penalized(own, others, phi, data, imagined_kl_coef)

        self.imagined_step = inner_step_per_agent(imagined_losses, self.imagined_optimizer)

    def direction(
        self,
        theta: Tensor,
        phi: Tensor,
        generator: torch.Generator,
        inputs: StepInputs,
        origin: Tensor | None = None,
    ) -> Tensor:
        """Direction that each agent descends at its own policy, [seed, agent, parameter].

        Args:
            theta: each agent's own policy.
            phi: the outer variables.
            generator: streams of the seeds.
            inputs: of an inner step, without a batch.
            origin: policies from which the other agents' imagined learning starts, and from which
                divergences are measured; None: theta.
        """
        agents = self.game.num_agents
        phi = phi.repeat(agents, 1, 1)  # a world for each learner, in which it imagines the other agents
        before = (theta if origin is None else origin).detach().repeat(agents, 1, 1)

        def fresh(profiles: Tensor) -> PenalizedInputs:
            batch = self.play.sample(profiles.detach(), self.transfer(phi), generator)
            return PenalizedInputs(inputs._replace(batch=batch), before)

        with torch.enable_grad():
            own = theta.detach().requires_grad_()
            profiles = _worlds(own, before)
            for _ in range(self.look_ahead.steps):
                state = self.imagined_optimizer.init(profiles)
                stepped, _ = self.imagined_step(profiles, state, phi, fresh(profiles))
                profiles = _worlds(own, stepped)
            losses = self._penalized(profiles, profiles, phi, fresh(profiles), self.own_kl_coef)
            by_learner = losses.unflatten(0, (agents, -1)).diagonal(dim1=0, dim2=2)
            (gradient,) = torch.autograd.grad(by_learner.sum(), own)
        return gradient

    def _penalized(
        self, own: Tensor, others: Tensor, phi: Tree, data: PenalizedInputs, kl_coef: float
    ) -> Tensor:
        """Inner losses, with a penalty on each agent's divergence from its policy in `data.origin`."""
        losses = self._inner_losses(own, others, phi, data.inputs)
        if not kl_coef:
            return losses
        return losses + kl_coef * self.play.divergence(data.origin, own, data.inputs.batch)

    def _learn(
        self,
        steps: int,
        theta: Tensor,
        opt_state: Tree,
        phi: Tensor,
        generator: torch.Generator,
        inputs: StepInputs,
    ) -> tuple[Tensor, Tree]:
        for _ in range(steps):
            gradient = self.direction(theta, phi, generator, inputs)
            theta, opt_state = self._descend(theta, opt_state, gradient, inputs)
        return theta, opt_state


def _worlds(own: Tensor, imagined: Tensor) -> Tensor:
    """Profiles of the learners' worlds: a learner's own policy beside the other agents' imagined ones.

    Args:
        own: [seed, agent, parameter].
        imagined: [learner * seed, agent, parameter], learner by learner.
    """
    agents = own.shape[-2]
    oneself = torch.eye(agents, dtype=torch.bool, device=own.device)[:, None, :, None]
    return torch.where(oneself, own.unsqueeze(0), imagined.unflatten(0, (agents, -1))).flatten(0, 1)

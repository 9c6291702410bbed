"""`lola-dice`: gradients through learning steps of the other agents, on episodes of imagined policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from bilevel.core import Range, Tree, inner_step_per_agent
from bilevel.methods._contract import Learner, Placement
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


@dataclass(frozen=True, kw_only=True)
class LOLADiCE(PolicyMethod):
    """LOLA-DiCE: ascend one's own return after imagined learning steps of the other agents.

    Agent i imagines that all other agents take K steps of gradient ascent on their own returns, each on fresh
    episodes of the policies imagined so far, while its own policy stays the same. It then follows the
    gradient of its own return on fresh episodes of its policy and the imagined ones. This gradient goes
    through the K steps, so it includes the effect of i's policy on what the others learn. All agents do so
    from the same policies, independently of each other. DiCE surrogates supply the terms by which episodes
    depend on policies: the gradient's bias is of order 1 / episodes, from steps on noisy gradients. With
    exact values there is no noise. The entropy bonus applies to imagined steps, too.

    Needs: the other agents' policies, rewards and learning rates, and a simulator in which to play against
    imagined policies. Conserves the total: no reward is transferred. An update takes agents x (K + 1) x
    `inner.episodes` episodes.

    Departures: the source's baseline is a learned value of each observation; here it is the mean return of
    the other episodes. The default surrogate is Loaded DiCE (arXiv 1909.10549), with less variance in second
    derivatives; the source's is dice. The source has two agents, and here there can be any number.

    With a learning rate of 0 for imagined steps agents learn independently. Policies that start near 0
    (`policy.initial_scale`, as in the code of alexis-jacq/LOLA_DiCE) learn to punish defection before they
    cooperate; agents that cooperate from the start rarely see it (docs/studies/shaping-from-samples.md).

    Raises:
        ValueError: a setting is out of range, or the surrogate is reinforce, which has no derivative by the
            other agents' policies; at build, the game has one agent, or agents share parameters.

    Source:
        Foerster et al., DiCE: The Infinitely Differentiable Monte Carlo Estimator, arXiv 1802.05098.

    >>> import games
    >>> from bilevel.methods import Placement, PolicyGradient
    >>> exact = LOLADiCE(inner=PolicyGradient(exact=True, surrogate="dice"))
    >>> learner = exact.build(games.make("repeated-prisoners-dilemma"), Placement(seeds=2))
    >>> state = learner.init(seed=0)
    >>> for _ in range(60):
    ...     state, metrics = learner.update(state)
    >>> bool((metrics["welfare"] > -2.3).all())  # -4 if both defect, -2 if both cooperate
    True
    """

    inner: PolicyGradient = PolicyGradient(exact=False, surrogate="loaded-dice")
    """The agents' own steps: optimizer, learning rate, episodes, surrogate."""
    look_ahead: LookAheadSettings = LookAheadSettings()
    """Imagined learning steps of the other agents."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.inner.surrogate != "reinforce",
            "The surrogate reinforce has no derivative by the other agents' policies: choose dice or "
            "loaded-dice for inner.surrogate.",
        )

    def build(self, game: Game, placement: Placement) -> Learner:
        require(
            not self.policy.shared,
            "Agents that share parameters cannot shape each other: leave share_parameters off.",
        )
        require(
            game.num_agents >= 2,
            f"{type(game).__name__} has one agent: there is nobody whose learning to shape.",
        )
        return ShapingLearner(self, game, placement)


class ShapingLearner(PolicyLearner):
    """Learner of policies by gradients through imagined learning steps of the other agents."""

    def __init__(self, method: LOLADiCE, game: Game, placement: Placement) -> None:
        super().__init__(method, game, placement, FixedMatrix(identity_sharing(game.num_agents)))
        self.look_ahead = method.look_ahead
        self.imagined_optimizer = make_optimizer("sgd", learning_rate=self.look_ahead.learning_rate)
        self.imagined_step = inner_step_per_agent(self._inner_losses, self.imagined_optimizer)

    def direction(self, theta: Tensor, phi: Tensor, generator: torch.Generator, inputs: StepInputs) -> Tensor:
        """Direction that each agent descends at these policies, [seed, agent, parameter]."""
        agents = self.game.num_agents
        phi = phi.repeat(agents, 1, 1)  # a world for each learner, in which it imagines the other agents

        def fresh(profiles: Tensor) -> StepInputs:
            return inputs._replace(batch=self.play.sample(profiles.detach(), self.transfer(phi), generator))

        with torch.enable_grad():
            own = theta.detach().requires_grad_()
            imagined = theta.detach().repeat(agents, 1, 1)
            profiles = _worlds(own, imagined)
            for _ in range(self.look_ahead.steps):
                state = self.imagined_optimizer.init(profiles)
                stepped, _ = self.imagined_step(profiles, state, phi, fresh(profiles))
                profiles = _worlds(own, stepped)
            losses = self._inner_losses(profiles, profiles, phi, fresh(profiles))
            by_learner = losses.unflatten(0, (agents, -1)).diagonal(dim1=0, dim2=2)
            (gradient,) = torch.autograd.grad(by_learner.sum(), own)
        return gradient

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

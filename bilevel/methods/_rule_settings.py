"""Update rules of simultaneous learners, as settings of a method: `--rule lola --rule.rate 0.3`."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Annotated, ClassVar

from bilevel import update_rules
from bilevel.agents import Play, PPOPlay, SampledPlay
from bilevel.core import Losses, Range, Tree, simultaneous_gradient
from bilevel.methods._settings import SettingsGroup, Whole
from games.core import require

Positive = Annotated[float, Range(above=0)]


@dataclass(frozen=True, kw_only=True)
class UpdateRuleSettings(SettingsGroup, abc.ABC, part="rule"):
    """Settings of an update rule: the direction of all agents' simultaneous step, from their losses."""

    cross_derivatives: ClassVar[bool] = True
    """True if the rule takes derivatives of losses by the other agents' parameters."""
    local: ClassVar[bool] = True
    """True if losses are evaluated at the current parameters only."""

    @abc.abstractmethod
    def direction(self, losses: Losses, theta: Tree) -> Tree:
        """Direction that all agents descend at once; see `bilevel.core.UpdateRule`."""

    def require_play(self, play: Play) -> None:
        """Raise ValueError if this rule's derivatives cannot be taken of the losses of a play."""
        if not isinstance(play, SampledPlay):
            return
        require(
            self.local,
            f"The update rule {self.variant} evaluates losses away from the policies that episodes were "
            "drawn from, where a surrogate loss is biased: choose a game with exact values, or the "
            "rule lola or look-ahead.",
        )
        require(
            not self.cross_derivatives or not isinstance(play, PPOPlay),
            f"The update rule {self.variant} differentiates losses by the other agents' policies, which the "
            "clipped loss of ppo does not depend on: choose the inner learner policy-gradient or "
            "actor-critic, with --inner.surrogate loaded-dice.",
        )
        require(
            not self.cross_derivatives or getattr(play.surrogate, "uses_joint", True),
            f"The update rule {self.variant} differentiates losses by the other agents' policies, and the "
            "surrogate reinforce has no such derivatives: choose --inner.surrogate loaded-dice or dice.",
        )


@dataclass(frozen=True, kw_only=True)
class Naive(UpdateRuleSettings, variant="naive"):
    """Each agent descends its own loss and ignores that the others learn.

    >>> from bilevel.methods import Selfish
    >>> Selfish().rule
    Naive()
    """

    cross_derivatives = False

    def direction(self, losses: Losses, theta: Tree) -> Tree:
        return simultaneous_gradient(losses, theta)


@dataclass(frozen=True, kw_only=True)
class LookAhead(UpdateRuleSettings, variant="look-ahead"):
    """Each agent's gradient after one expected step of the others (`bilevel.update_rules.look_ahead`).

    >>> from bilevel.methods import Selfish
    >>> Selfish(rule=LookAhead(rate=0.5)).rule.rate
    0.5
    """

    rate: Positive = 1.0
    """Learning rate of the expected step, above 0."""

    def direction(self, losses: Losses, theta: Tree) -> Tree:
        return update_rules.look_ahead(losses, theta, self.rate)


@dataclass(frozen=True, kw_only=True)
class LOLA(UpdateRuleSettings, variant="lola"):
    """Learning with opponent-learning awareness (`bilevel.update_rules.lola`).

    With sampled episodes it takes second derivatives of the surrogate loss, as the policy-gradient form of
    the source does; their variance is high, so it needs many episodes.

    Source:
        Foerster et al., Learning with opponent-learning awareness, arXiv 1709.04326.

    >>> import games
    >>> from bilevel.methods import Placement, Selfish
    >>> game = games.make("repeated-prisoners-dilemma", discount=0.96)
    >>> learner = Selfish(rule=LOLA(rate=1.0)).build(game, Placement(seeds=8))
    >>> state = learner.init(seed=0)
    >>> for _ in range(100):
    ...     state, metrics = learner.update(state)
    >>> bool((metrics["cooperation"] > 0.9).float().mean() >= 0.5)  # naive learners: none
    True
    """

    rate: Positive = 1.0
    """Learning rate that each agent ascribes to the others, above 0."""
    detached: bool = False
    """Leave out the effect of the others' steps on an agent's own gradient, as the released code does."""

    def direction(self, losses: Losses, theta: Tree) -> Tree:
        return update_rules.lola(losses, theta, self.rate, detached=self.detached)


@dataclass(frozen=True, kw_only=True)
class SOS(UpdateRuleSettings, variant="sos"):
    """Stable opponent shaping (`bilevel.update_rules.sos`): LOLA that keeps stable fixed points.

    Source:
        Letcher et al., Stable opponent shaping in differentiable games, arXiv 1811.08469.

    >>> from bilevel.methods import Selfish
    >>> Selfish(rule=SOS(a=0.25)).rule.b
    0.1
    """

    rate: Positive = 1.0
    """Learning rate that each agent ascribes to the others, above 0."""
    a: Annotated[float, Range(min=0, max=1)] = 0.5
    """Largest part of the look-ahead direction that shaping may cancel, from 0 to 1."""
    b: Annotated[float, Range(min=0, max=1)] = 0.1
    """Norm of the simultaneous gradient below which shaping fades, from 0 to 1."""

    def direction(self, losses: Losses, theta: Tree) -> Tree:
        return update_rules.sos(losses, theta, self.rate, a=self.a, b=self.b)


@dataclass(frozen=True, kw_only=True)
class Consensus(UpdateRuleSettings, variant="consensus"):
    """Consensus optimization (`bilevel.update_rules.consensus`).

    Source:
        Mescheder et al., The numerics of GANs, arXiv 1705.10461.

    >>> from bilevel.methods import Selfish
    >>> Selfish(rule=Consensus(weight=0.1)).rule.weight
    0.1
    """

    weight: Annotated[float, Range(min=0)] = 1.0
    """Weight of the gradient of |xi|^2 / 2, with the simultaneous gradient xi; 0 or more."""

    def direction(self, losses: Losses, theta: Tree) -> Tree:
        return update_rules.consensus(losses, theta, self.weight)


@dataclass(frozen=True, kw_only=True)
class Symplectic(UpdateRuleSettings, variant="symplectic"):
    """Symplectic gradient adjustment (`bilevel.update_rules.symplectic`).

    Source:
        Balduzzi et al., The mechanics of n-player differentiable games, arXiv 1802.05642.

    >>> from bilevel.methods import Selfish
    >>> Selfish(rule=Symplectic(align=True)).rule.weight
    1.0
    """

    weight: Annotated[float, Range(min=0)] = 1.0
    """Lambda, the weight of the adjustment, 0 or more."""
    align: bool = False
    """Choose the sign of lambda so that the step draws to stable fixed points."""

    def direction(self, losses: Losses, theta: Tree) -> Tree:
        return update_rules.symplectic(losses, theta, self.weight, align=self.align)


@dataclass(frozen=True, kw_only=True)
class Competitive(UpdateRuleSettings, variant="competitive"):
    """Competitive gradient descent (`bilevel.update_rules.competitive`); not for compiled steps.

    Source:
        Schaefer and Anandkumar, Competitive gradient descent, arXiv 1905.12103.

    >>> from bilevel.methods import Selfish
    >>> Selfish(rule=Competitive(rate=0.2)).rule.tolerance
    1e-06
    """

    rate: Positive = 1.0
    """Rate of the local bilinear game, above 0; in the source it equals the learning rate."""
    tolerance: Positive = 1e-6
    """Relative residual at which the iterative solution ends, above 0."""
    iterations: Whole = 100
    """Maximum number of iterations, 1 or more."""

    def direction(self, losses: Losses, theta: Tree) -> Tree:
        return update_rules.competitive(
            losses, theta, self.rate, tolerance=self.tolerance, iterations=self.iterations
        )


@dataclass(frozen=True, kw_only=True)
class Extragradient(UpdateRuleSettings, variant="extragradient"):
    """The extragradient method (`bilevel.update_rules.extragradient`), for exact values.

    Source:
        Korpelevich, The extragradient method for finding saddle points and other problems, 1976.

    >>> from bilevel.methods import Selfish
    >>> Selfish(rule=Extragradient(rate=0.2)).rule.rate
    0.2
    """

    cross_derivatives = False
    local = False

    rate: Positive = 1.0
    """Learning rate of the tentative step, above 0."""

    def direction(self, losses: Losses, theta: Tree) -> Tree:
        return update_rules.extragradient(losses, theta, self.rate)


@dataclass(frozen=True, kw_only=True)
class HOLA(UpdateRuleSettings, variant="hola"):
    """Higher-order LOLA (`bilevel.update_rules.hola`), for exact values.

    Source:
        Willi et al., COLA: Consistent learning with opponent-learning awareness, arXiv 2203.04098.

    >>> from bilevel.methods import Selfish
    >>> Selfish(rule=HOLA(order=2)).rule.rate
    1.0
    """

    local = False

    rate: Positive = 1.0
    """Learning rate that each agent ascribes to the others, above 0."""
    order: Whole = 1
    """Order, 1 or more; lola is order 1, expanded to first order in the rate."""

    def direction(self, losses: Losses, theta: Tree) -> Tree:
        return update_rules.hola(losses, theta, self.rate, order=self.order)

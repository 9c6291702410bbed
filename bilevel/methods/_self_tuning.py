"""`mgrl`, `stac`, `stacx` and `bmg`: hyper-parameters of actor-critic learned by hypergradients."""

from __future__ import annotations

import abc
import dataclasses
from dataclasses import dataclass
from typing import Annotated

from bilevel.agents import Play, PolicyWithHeads, VTracePlay
from bilevel.core import Range, Schedule
from bilevel.hypergradient import Evolution, PersistentEvolution
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._inner_settings import VTrace
from bilevel.methods._method import PolicyMethod
from bilevel.methods._outer_settings import OuterLoop
from bilevel.methods._phases import Phase
from bilevel.methods._policy_settings import AutoPolicy, ConvPolicy, GRUPolicy, MLPPolicy, TabularPolicy
from bilevel.methods._self_tuning_learner import (
    HYPERPARAMETERS,
    TRACE,
    BootstrappedLearner,
    SelfTuningLearner,
)
from bilevel.methods._settings import ObjectiveName, Whole
from games.core import Game, numbered_actions, require, require_name

INNER = VTrace(discount=0.95, leak=0.99, entropy_coef=0.01, update_epochs=2)
"""Initial values of all hyper-parameters; as on-policy ratios are 1, the leak needs several update epochs."""


@dataclass(frozen=True, kw_only=True)
class SelfTuning(PolicyMethod, abc.ABC):
    """Settings of methods that learn the hyper-parameters of each agent's actor-critic during training.

    Raises:
        ValueError: as for `Method`; or a hyper-parameter is unknown, named twice, or starts at a value that
            its sigmoid does not reach.

    >>> from bilevel.methods import MGRL
    >>> isinstance(MGRL(), SelfTuning), MGRL().learned
    (True, ('discount', 'trace_lambda'))
    """

    inner: VTrace = INNER
    """The policies' learner; its settings are the initial values of the learned hyper-parameters."""
    outer: OuterLoop = OuterLoop(learning_rate=0.03)
    """The hyper-parameters' optimizer and hypergradient."""
    learned: tuple[str, ...] = HYPERPARAMETERS
    """Learned hyper-parameters: discount, trace_lambda, leak, policy_coef, vf_coef, entropy_coef. The first
    three are sigmoids; coefficients lie between 0 and twice their settings, from which they start."""
    objective: ObjectiveName = "own-return"
    """Objective of the hyper-parameters: own-return (each agent's), welfare (the sum), maximin,
    nash-welfare, gini-welfare, or a name registered with `register_objective`."""
    reference_discount: Annotated[float | None, Range(min=0, max=1)] = None
    """Discount in the outer loss, from 0 to 1; None: the game's."""
    reference_lambda: Annotated[float, Range(min=0, max=1)] = 1.0
    """Trace lambda in the outer loss, from 0 to 1; 1: sampled returns, of which the critic is a baseline."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.learned), f"learned names no hyper-parameter: choose from {_joined()}.")
        for name in self.learned:
            require_name(name, HYPERPARAMETERS, "hyper-parameter")
            self._check_initial(name)
        require(
            len(set(self.learned)) == len(self.learned),
            f"learned names a hyper-parameter twice: {', '.join(self.learned)}.",
        )
        require(
            not self.policy.shared,
            "Each agent learns its own hyper-parameters, and with shared parameters they would train one "
            "policy: leave policy.share_parameters off.",
        )
        estimator = self.outer.hypergradient
        require(
            not isinstance(estimator, Evolution | PersistentEvolution),
            f"{type(estimator).__name__} compares values of the outer loss, and an actor-critic's loss has "
            "the gradient of the return, but not its value: choose unrolled, truncated(steps=5) or forward.",
        )

    def _check_initial(self, name: str) -> None:
        value = getattr(self.inner, name)
        if name in TRACE:
            require(
                value is None or 0 < value < 1,
                f"inner.{name} is learned through a sigmoid: start strictly between 0 and 1, not at {value}.",
            )
            require(
                name != "leak" or self._off_policy,
                "With one update epoch on each sample all importance ratios are 1, and the leak has no "
                "effect: set inner.update_epochs to 2 or more, or remove leak from learned.",
            )
        else:
            require(
                isinstance(value, Schedule) or value > 0,
                f"inner.{name} is learned as a factor of its setting, which must be above 0, not {value}.",
            )

    @property
    def _off_policy(self) -> bool:
        """True if losses are of other policies than those that drew the episodes."""
        return self.inner.update_epochs > 1

    @property
    def heads(self) -> int:
        """Number of heads of an agent's network, with hyper-parameters each."""
        return 1

    @property
    def kl_weight(self) -> float:
        """Coefficient of KL(policy after || policy before) in the outer loss, in reward units per nat."""
        return 0.0

    @property
    def outer_loop(self) -> OuterLoop:
        return self.outer

    def build(self, game: Game, placement: Placement) -> Learner:
        discount = game.discount if self.inner.discount is None else self.inner.discount
        require(
            "discount" not in self.learned or 0 < discount < 1,
            f"The discount of {type(game).__name__} is {discount:g}, and it is learned through a sigmoid: "
            "set inner.discount strictly between 0 and 1.",
        )
        return self._learner(game, placement)

    def _learner(self, game: Game, placement: Placement) -> Learner:
        return SelfTuningLearner(self, game, placement)

    def _phases(self) -> tuple[Phase, ...]:
        return (Phase(begin=0),)


def _joined() -> str:
    return f"{', '.join(HYPERPARAMETERS[:-1])} and {HYPERPARAMETERS[-1]}"


@dataclass(frozen=True, kw_only=True)
class MGRL(SelfTuning):
    """Meta-gradient reinforcement learning: each agent learns the discount and the lambda of its returns.

    Inner step: theta' = theta - rate grad L(theta; eta), the actor-critic's loss with hyper-parameters eta.
    Outer step: eta descends the same loss of theta' on the next sample, with reference values in place of
    eta: the hypergradient is grad L(theta'; reference) d theta' / d eta. Reference values are the game's
    discount and a trace lambda of 1, so that the outer loss has the gradient of the true return; coefficients
    keep their initial values.

    Every agent of every seed has its own eta. With the objective own-return each agent follows its own loss,
    and learning stays selfish; with welfare or another function of all returns the outer loss has that in
    place of the policy term, by sampled returns as in `tos`. A game may have a single agent.

    Needs: nothing of the other agents (own-return); their rewards and policies (other objectives). Conserves
    the total: no reward is transferred.

    Departures: value functions do not get eta as an input. The next sample is drawn for the outer loss alone,
    while the source uses it in the next inner step, too. `inner.steps` above 1 differentiates through several
    inner steps.

    Raises:
        ValueError: a setting is out of range; at build, the discount cannot be learned from its initial
            value, or the policy does not fit the game.

    Source:
        Xu, van Hasselt and Silver, Meta-gradient reinforcement learning, NeurIPS 2018, arXiv 1805.09801.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = MGRL().build(games.make("repeated-prisoners-dilemma"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["discount_0"]  # of agent 0, during the inner step
    tensor([0.9500, 0.9500], dtype=torch.float64)
    """

    inner: VTrace = VTrace(discount=0.95, entropy_coef=0.01)
    """The policies' learner; its settings are the initial values of the learned hyper-parameters."""
    learned: tuple[str, ...] = ("discount", "trace_lambda")
    """Learned hyper-parameters: discount, trace_lambda, leak, policy_coef, vf_coef, entropy_coef."""


@dataclass(frozen=True, kw_only=True)
class STAC(SelfTuning):
    """Self-tuning actor-critic: each agent learns all differentiable hyper-parameters of its actor-critic.

    As `mgrl`, with discount, trace lambda, leak of V-trace's clipping, and the coefficients of the policy,
    value and entropy terms. The outer loss is the same loss with reference values, the initial coefficients
    and V-trace without leak, plus kl_coef KL(policy after || policy before) the inner steps.

    Needs: as `mgrl`. Conserves the total: no reward is transferred.

    Departures: those of `mgrl`; and coefficients lie between 0 and twice their settings. Off-policy
    episodes come from several update epochs on each sample, rather than from actors that lag.

    Raises:
        ValueError: as for `mgrl`; or the leak is learned with one update epoch, where it has no effect.

    Source:
        Zahavy et al., A self-tuning actor-critic algorithm, NeurIPS 2020, arXiv 2002.12928.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = STAC().build(games.make("repeated-prisoners-dilemma"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> learner.init(seed=0)["phi"].shape  # seed, agent, head, hyper-parameter
    torch.Size([2, 2, 1, 6])
    """

    kl_coef: Annotated[float, Range(min=0)] = 1.0
    """Coefficient of KL(policy after || policy before) in the outer loss, in reward units per nat, 0 or
    more."""

    @property
    def kl_weight(self) -> float:
        return self.kl_coef


@dataclass(frozen=True, kw_only=True)
class STACX(STAC):
    """Self-tuning actor-critic with auxiliary heads, whose hyper-parameters are learned, too.

    As `stac`, of networks with further heads, each a policy and a value with hyper-parameters and losses of
    its own, on the episodes of the main head; the inner loss is the sum over heads. They act on nothing, and
    the outer loss is that of the main head: their hyper-parameters are learned for the features that they
    give it. All heads start at the same hyper-parameters.

    Needs: as `mgrl`; and policy networks. Conserves the total: no reward is transferred.

    Departures: those of `stac`.

    Raises:
        ValueError: as for `stac`; at build, policies are tables or actions are continuous.

    Source:
        Zahavy et al., A self-tuning actor-critic algorithm, NeurIPS 2020, arXiv 2002.12928, section 3.2.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = STACX(auxiliary_heads=2).build(games.make("escape-room"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> learner.init(seed=0)["phi"].shape  # seed, agent, head, hyper-parameter
    torch.Size([2, 2, 3, 6])
    """

    policy: AutoPolicy | TabularPolicy | MLPPolicy | ConvPolicy | GRUPolicy = MLPPolicy()
    """Policies of the agents, networks whose heads share all layers but the last."""
    auxiliary_heads: Whole = 2
    """Auxiliary heads of each agent's network, 1 or more."""

    @property
    def heads(self) -> int:
        return 1 + self.auxiliary_heads

    @property
    def _off_policy(self) -> bool:
        return True

    def play(self, game: Game) -> Play:
        numbered_actions(game, "A network of several heads (stacx)")
        play = super().play(game)
        assert isinstance(play, VTracePlay)
        return dataclasses.replace(play, policy=PolicyWithHeads.of(play.policy.policy, self.heads))


@dataclass(frozen=True, kw_only=True)
class BMG(SelfTuning):
    """Bootstrapped meta-gradients: hyper-parameters for which policies reach a later policy of theirs sooner.

    After the K inner steps that the hypergradient differentiates, learning continues for L steps, of which
    the last follows the loss with reference values; its end is the target. The outer loss is the divergence
    KL(target || policy after K steps), with the target constant, on fresh episodes. The gradient thus sees
    K + L steps and differentiates K. The next outer step starts one step before the target, so that an outer
    step trains policies K + L - 1 times.

    Needs: as `mgrl`. Conserves the total: no reward is transferred.

    Departures: value functions are not matched, only policies.

    Raises:
        ValueError: as for `mgrl`.

    Source:
        Flennerhag et al., Bootstrapped meta-learning, ICLR 2022, arXiv 2109.04504.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = BMG(target_steps=2).build(games.make("repeated-prisoners-dilemma"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> bool((state["phi"] != learner.init(seed=0)["phi"]).all())
    True
    """

    target_steps: Whole = 3
    """Steps L from the policy after K steps (`inner.steps`) to the target, 1 or more; the last one follows
    the loss with reference values."""

    def __post_init__(self) -> None:
        super().__post_init__()
        estimator = self.outer.hypergradient
        require(
            not estimator.stateful,
            f"The state of {estimator} holds every step that was taken, and bmg takes steps to the target "
            "that it does not see: choose a stateless estimator, such as unrolled.",
        )

    def _learner(self, game: Game, placement: Placement) -> Learner:
        return BootstrappedLearner(self, game, placement)

"""`loqa`: gradients through the other agents' policies, estimated as a softmax of their action values."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Annotated, Literal

from bilevel.agents import (
    SURROGATES,
    DiceReturns,
    NStepReturns,
    OpponentQPlay,
    OpponentReturns,
    Policy,
    QTargets,
    SampledPlay,
    action_values_like,
)
from bilevel.core import Range
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._inner_settings import InnerLoop
from bilevel.methods._loqa_learner import LOQALearner
from bilevel.methods._method import PolicyMethod
from bilevel.methods._settings import OptimizerName, SettingsGroup, Whole
from games.core import Game, numbered_actions, require

Unit = Annotated[float, Range(min=0, max=1)]


@dataclass(frozen=True, kw_only=True)
class ActionValueActor(InnerLoop, variant="action-values"):
    """Policy gradients with action values as critics.

    >>> ActionValueActor(exploration=1.5)
    Traceback (most recent call last):
    ValueError: inner.exploration must be a finite number from 0 to 1, not 1.5.
    """

    gae_lambda: Unit = 0.95
    """Lambda of generalized advantage estimation, from 0 (one reward, then the next value) to 1 (sampled
    returns)."""
    discount: Annotated[float | None, Range(min=0, max=1)] = None
    """Discount per step of action values and advantages, from 0 to 1; None: the game's."""
    norm_adv: bool = False
    """Normalize own advantages, for each agent and seed."""
    center_adv: bool = True
    """Subtract from advantages, own ones and the other agents', their mean over the episodes at the same
    step, before any normalization: observations may not show the time, on which values depend."""
    exploration: Unit = 0.0
    """Probability of a random action in training, from 0 to 1."""

    def sampled_play(self, game: Game, policy: Policy) -> SampledPlay:
        return SampledPlay(game, policy, SURROGATES["reinforce"], self.episodes)


@dataclass(frozen=True, kw_only=True)
class ActionValueSettings(SettingsGroup, part="q"):
    """Learning of action values: networks of the policies' form, one for each agent.

    >>> ActionValueSettings(tau=0.0)
    Traceback (most recent call last):
    ValueError: q.tau must be a finite number above 0 and at most 1, not 0.
    """

    optimizer: OptimizerName = "adam"
    """Optimizer of the action values."""
    learning_rate: Annotated[float, Range(above=0)] = 0.01
    """Learning rate of the action values, above 0. Networks learn values in units of a step's reward."""
    updates: Whole = 1
    """Gradient steps after each policy update, on its episodes, 1 or more."""
    bootstrap: Literal["sarsa", "expected", "max"] = "sarsa"
    """Value of the next state in targets: of the action taken, the policy's mean, or of the best action."""
    td_lambda: Unit = 0.95
    """Lambda of TD(lambda) returns as targets, from 0 (one reward, then the next value) to 1 (sampled
    returns)."""
    tau: Annotated[float, Range(above=0, max=1)] = 1.0
    """Rate of the soft updates of target networks after each policy update, above 0; 1: targets are by the
    action values themselves, as they were before the update."""
    huber_delta: Annotated[float | None, Range(above=0)] = 1.0
    """Errors beyond it count linearly (Huber loss), in units of a step's reward; None: all are squared."""


@dataclass(frozen=True, kw_only=True)
class OpponentSettings(SettingsGroup, abc.ABC, part="opponents"):
    """Estimates of the other agents' policies, through which own returns are differentiated."""

    coef: Annotated[float, Range(min=0)] = 1.0
    """Coefficient of the gradient through the other agents' policies, 0 or more; with 0 agents learn
    independently."""
    temperature: Annotated[float, Range(above=0)] = 1.0
    """Temperature of the softmax of action values, above 0, in reward units."""
    estimate: Literal["return", "critic"] = "critic"
    """Value of the action taken: the episode's estimate (return, as in the source), or the critic's, with the
    derivative of the estimate, which has less variance."""

    own_lambda: Unit = 0.0
    """Lambda of the own advantages that multiply this gradient, from 0 to 1. With 0, as in the source, the
    gradient is exact on average, given true action values. Above, they include rewards of the agent's later
    actions, which favors actions that are good for both agents, whatever the other one did."""

    @abc.abstractmethod
    def returns(self, center: bool) -> OpponentReturns:
        """Build the estimate of the other agents' action values."""


@dataclass(frozen=True, kw_only=True)
class LoadedDiceOpponents(OpponentSettings, variant="loaded-dice"):
    """Estimates from all later steps (`bilevel.agents.DiceReturns`).

    >>> LoadedDiceOpponents(decay=1.0).returns(center=False)
    DiceReturns(decay=1.0, gae_lambda=1.0, center=False)
    """

    decay: Unit = 0.9
    """Decay per step of the effect of one's actions on the other agents' values, in addition to the
    discount."""
    gae_lambda: Unit = 1.0
    """Lambda of the other agents' generalized advantages, from 0 to 1 (sampled returns)."""

    def returns(self, center: bool) -> OpponentReturns:
        return DiceReturns(decay=self.decay, gae_lambda=self.gae_lambda, center=center)


@dataclass(frozen=True, kw_only=True)
class NStepOpponents(OpponentSettings, variant="n-step"):
    """Estimates from the next steps (`bilevel.agents.NStepReturns`).

    >>> NStepOpponents(steps=1)
    Traceback (most recent call last):
    ValueError: opponents.steps must be a whole number, 2 or more, not 1.
    """

    steps: Annotated[int, Range(min=2)] = 2
    """Rewards before the value, 2 or more."""

    def returns(self, center: bool) -> OpponentReturns:
        return NStepReturns(steps=self.steps)


@dataclass(frozen=True, kw_only=True)
class EarlierPolicies(SettingsGroup, part="replay", variant="earlier-policies"):
    """Replay of the agents' earlier policies and action values, as the other agents in training.

    >>> EarlierPolicies(capacity=0)
    Traceback (most recent call last):
    ValueError: replay.capacity must be a whole number, 1 or more, not 0.
    """

    capacity: Whole = 100
    """Earlier policies that are kept, the latest ones, 1 or more."""
    every: Whole = 10
    """Outer steps between the policies that are kept, 1 or more; the first ones are the initial."""
    opponents: Whole = 8
    """Policies that each agent meets in an update, 1 or more; they share its episodes equally."""
    current_fraction: Unit = 0.0
    """Fraction of these that are the present policies, from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class LOQA(PolicyMethod):
    """LOQA: ascend one's own return through the other agents' policies, which follow their action values.

    Agent i assumes that each other agent j acts by p_j = softmax(Q_j / temperature). Q_j, the return of j,
    depends on i's policy, and so does p_j: i's actor-critic gradient

        sum_t discount^t A^i_t (grad log pi_i(a_t) + coef sum_{j != i} grad log p_j(b_t))

    has a second term, by which i makes those actions of the others valuable for them that are good for i.
    Derivatives of Q_j are those of sampled returns by Loaded DiCE, or of n-step returns
    (`bilevel.agents.DiceReturns`, `NStepReturns`). They are first-order, and no learning steps are imagined.
    The agents' action values are learned beside their policies, by networks of the same form.

    Needs: the other agents' rewards, actions and action values, and the policies that these are averaged
    by; a simulator in which earlier policies act, with replay. Conserves the total: no reward is transferred.

    With replay, each agent trains against earlier policies of the others, drawn uniformly.

    The advantages of the second term must be those of actions already taken (`opponents.own_lambda` 0):
    otherwise agents learn to cooperate unconditionally, too (docs/studies/shaping-from-samples.md).

    Departures: the action taken has the critic's value in p_j, with the derivative of the sampled one, which
    has less variance; the code's value is the return (`opponents.estimate`). Action values do not observe the
    time, nor have a replay buffer of episodes, and their networks are of the policies' form; gradients are
    not clipped. The code's advantages are TD errors (`inner.gae_lambda` 0), of which it also differentiates
    the values; here they are constants. Random actions of exploration count in the likelihoods. The terms of
    time t have the weight discount^t. There can be any number of agents. The code shares one network among
    the agents: for policies that are networks, `policy.share_parameters`. With centered advantages an n-step
    estimate keeps its own baseline, the mean reward.

    Raises:
        ValueError: a setting is out of range; at build, the game has one agent or continuous actions, or
            episodes cannot be divided among the policies of a replay.

    Source:
        Aghajohari et al., LOQA: Learning with Opponent Q-Learning Awareness, ICLR 2024, arXiv 2405.01035;
        compared with the code of MiladInk/loqa (ipd.py).

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = LOQA().build(games.make("repeated-prisoners-dilemma", horizon=5), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> state["q"].shape, metrics["welfare"].shape  # values of 5 observations and 2 actions
    (torch.Size([2, 2, 10]), torch.Size([2]))
    """

    inner: ActionValueActor = ActionValueActor()  # type: ignore[assignment]  # needs action values
    """The policies' learner."""
    q: ActionValueSettings = ActionValueSettings()
    """The action values' learner."""
    opponents: LoadedDiceOpponents | NStepOpponents = LoadedDiceOpponents()
    """Estimates of the other agents' policies."""
    replay: EarlierPolicies | None = None
    """Replay of earlier policies; None: the agents meet each other's present ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.replay is not None:
            require(
                self.inner.episodes % self.replay.opponents == 0,
                f"{self.inner.episodes} episodes cannot be divided equally among {self.replay.opponents} "
                "policies: choose inner.episodes as a multiple of replay.opponents.",
            )

    def play(self, game: Game) -> OpponentQPlay:
        """Build the losses and values of this method's agents in a game.

        Raises:
            ValueError: the policy does not fit the game, or actions are continuous.
        """
        numbered_actions(game, "A softmax of action values (loqa)")
        policy, inner, q = self.policy.build(game), self.inner, self.q
        return OpponentQPlay(
            game,
            policy,
            SURROGATES["reinforce"],
            inner.episodes,
            q_function=action_values_like(policy),
            returns=self.opponents.returns(inner.center_adv),
            coef=self.opponents.coef,
            temperature=self.opponents.temperature,
            estimate=self.opponents.estimate,
            gae_lambda=inner.gae_lambda,
            shaping_lambda=self.opponents.own_lambda,
            center=inner.center_adv,
            normalize=inner.norm_adv,
            q_discount=inner.discount,
            q_targets=QTargets(q.bootstrap, q.td_lambda, q.huber_delta),
        )

    def build(self, game: Game, placement: Placement) -> Learner:
        require(
            game.num_agents >= 2,
            f"{type(game).__name__} has one agent: there is nobody whose actions to shape.",
        )
        return LOQALearner(self, game, placement)

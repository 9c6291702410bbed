"""`lase`: sharing by empathy, with agents whose actions were better for the giver than expected."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import torch
from gymnasium import spaces

from bilevel.agents import ExactPlay, Play
from bilevel.core import Range
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._inner_settings import PPO, ActorCritic, PolicyGradient, VTrace
from bilevel.methods._lase_critic import MOST_ENTRIES, JointCritic, NetworkCritic, TableCritic
from bilevel.methods._lase_learner import EmpathyLearner
from bilevel.methods._lase_perspective import Imagined, Perspective, TrueObservation, TruePolicy
from bilevel.methods._lase_sharing import Empathy, OneShotPlay
from bilevel.methods._method import UpdateRuleMethod, suggesting_episodes
from bilevel.methods._settings import SettingsGroup, Whole
from bilevel.nn import ActivationName
from bilevel.sharing import ObservationEncoder
from games.core import Game, numbered_actions, require
from games.theory import payoff_table

UNIT = Range(min=0, max=1)


@dataclass(frozen=True, kw_only=True)
class CriticSettings(SettingsGroup, part="critic"):
    """Common settings of critics of joint actions."""

    learning_rate: Annotated[float, Range(above=0)] = 0.01
    """Learning rate of Adam on the critics' mean squared errors, above 0."""
    steps: Whole = 4
    """Steps of the critics in each inner step, on the policies' episodes, 1 or more."""
    discount: Annotated[float | None, UNIT] = None
    """Discount of the critics' returns per step, from 0 to 1; None: the game's."""
    gae_lambda: Annotated[float, UNIT] = 0.9
    """Lambda of the critics' targets, from 0 (one step, then the critic: SARSA) to 1 (sampled returns)."""


@dataclass(frozen=True, kw_only=True)
class AutoCritic(CriticSettings, variant="auto"):
    """A table for integer observations if it has 4096 entries or fewer, else mlp with its defaults."""


@dataclass(frozen=True, kw_only=True)
class TabularCritic(CriticSettings, variant="tabular"):
    """A table of observations and joint actions."""


@dataclass(frozen=True, kw_only=True)
class MLPCritic(CriticSettings, variant="mlp"):
    """A multilayer perceptron of the observation and the joint action."""

    hidden_size: tuple[int, ...] = (32,)
    """Units of each hidden layer."""
    activation: ActivationName = "tanh"
    """Activation between the layers."""


@dataclass(frozen=True, kw_only=True)
class PerspectiveTaking(SettingsGroup, part="perspective", variant="taking"):
    """An agent applies its own policy to observations that a network predicts for the other agents."""

    hidden_size: tuple[int, ...] = (32,)
    """Units of each hidden layer."""
    activation: ActivationName = "tanh"
    """Activation between the layers."""
    learning_rate: Annotated[float, Range(above=0)] = 0.01
    """Learning rate of Adam, above 0."""
    steps: Whole = 1
    """Steps in each inner step, on the policies' episodes, 1 or more."""
    closeness: Annotated[float, UNIT] = 0.1
    """Weight of the L1 distance of predicted observations from the agent's own, from 0 to 1; the
    cross-entropy of the other agents' actions has weight 1 - closeness."""


@dataclass(frozen=True, kw_only=True)
class TrueObservationPerspective(SettingsGroup, part="perspective", variant="true-observation"):
    """Ablation: an agent applies its own policy to the other agents' observations."""


@dataclass(frozen=True, kw_only=True)
class TruePolicyPerspective(SettingsGroup, part="perspective", variant="true-policy"):
    """Ablation: an agent knows the other agents' policies, as the theory assumes."""


@dataclass(frozen=True, kw_only=True)
class LASE(UpdateRuleMethod):
    """Empathy: share in each step with agents whose action was better for the giver than expected.

    r~_j = sum_i g_ij r_i, with g_ij = max(w_ij, 0) / (k_i - 1) for i's k_i - 1 neighbors (all other agents,
    in the source), the rest kept, and w_ij = (Q_i(o_i, a) - b_ij) / (max Q_i - min Q_i), where b_ij is the
    mean of Q_i over i's model of j's policy, and max and min are over j's actions; w_ij = 0 where these are
    equal. Sharing follows this rule: there is no outer loop, and policy gradients ignore that actions change
    g. Besides its policy each agent learns the critic Q_i, from its own, extrinsic rewards, and, with
    perspective taking, a network that predicts j's observation, to which i then applies its own policy. g is
    normalized by the size of j's effect on i: without an effect, the critic's noise determines g. Negative
    rewards are shared, too.

    Needs: own observations, all agents' actions, an own critic; the ablation true-observation also needs the
    other agents' observations, and true-policy their policies, too. Conserves the total of each step.

    Defaults: closeness .1 is the source's delta. Learning rates, steps and sizes were chosen for the batches
    here, since the source's were not available. The source explores epsilon-greedily; here, an entropy bonus
    is used instead.

    Raises:
        ValueError: a setting is out of range or a name is unknown; at build, the game has one agent, or a
            critic or a perspective does not suit it (with the reason).

    Source:
        Kong et al., Learning to Balance Altruism and Self-interest Based on Empathy in Mixed-Motive Games
        (LASE), arXiv 2410.07863.

    >>> import games
    >>> from bilevel.methods import Placement, PolicyGradient
    >>> method = LASE(inner=PolicyGradient(exact=False, entropy_coef=0.1))
    >>> learner = method.build(games.make("escape-room"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["share_0_1"].shape
    torch.Size([2])
    """

    inner: PolicyGradient | ActorCritic | PPO | VTrace = PolicyGradient(exact=False)
    """The policies' learner. With exact values, in one-shot games, the payoff table replaces the critic
    and all joint actions are enumerated; longer games are refused."""
    perspective: PerspectiveTaking | TrueObservationPerspective | TruePolicyPerspective = PerspectiveTaking()
    """An agent's model of the other agents' policies."""
    critic: AutoCritic | TabularCritic | MLPCritic = AutoCritic()
    """Each agent's critic of joint actions."""

    def play(self, game: Game) -> Play:
        play = super().play(game)
        if not isinstance(play, ExactPlay):
            return play
        with suggesting_episodes():
            return OneShotPlay(play.game, play.policy)

    def build(self, game: Game, placement: Placement) -> Learner:
        require(game.num_agents >= 2, f"{type(game).__name__} has one agent: there is nobody to share with.")
        play = self.play(game)
        actions = numbered_actions(game, "LASE, whose critic compares counterfactual actions,")
        encoder = ObservationEncoder(game.observation_space, game.num_agents, actions)
        variable = Empathy(
            game.neighbors,
            self._critic(game, play, encoder),
            self._perspective(game, play, encoder),
            play.policy.num_parameters,
        )
        return EmpathyLearner(self, game, placement, variable)

    def _critic(self, game: Game, play: Play, encoder: ObservationEncoder) -> JointCritic:
        discrete = isinstance(encoder.space, spaces.Discrete)
        table = TableCritic(encoder.features, encoder.agents, encoder.actions)
        if isinstance(play, OneShotPlay):
            return dataclasses.replace(table, payoffs=torch.tensor(payoff_table(game)))
        critic = self.critic
        tabular = isinstance(critic, TabularCritic)
        require(
            discrete or not tabular,
            f"A tabular critic needs observations that are numbers, but {type(game).__name__}'s have the "
            f"shape {encoder.space.shape}: use mlp.",
        )
        small = isinstance(critic, AutoCritic) and discrete and table.num_parameters <= MOST_ENTRIES
        if tabular or small:
            return table
        network = critic if isinstance(critic, MLPCritic) else MLPCritic()
        return NetworkCritic(encoder, network.hidden_size, network.activation)

    def _perspective(self, game: Game, play: Play, encoder: ObservationEncoder) -> Perspective:
        policy = play.policy
        recurrent = policy.initial_hidden_state(torch.zeros(1, 1, policy.num_parameters), 1).shape[-2] > 0
        require(
            not recurrent or not game.takes_gifts,
            f"{type(game).__name__} shows agents what they were given in the last step, so shares are "
            "computed step by step, and a recurrent policy needs the whole episode: choose another "
            "policy than gru.",
        )
        if isinstance(self.perspective, TruePolicyPerspective):
            return TruePolicy(policy)
        if isinstance(self.perspective, TrueObservationPerspective) or isinstance(play, OneShotPlay):
            return TrueObservation(policy)  # in a one-shot game, the agent's own
        require(
            not (recurrent and isinstance(encoder.space, spaces.Discrete)),
            f"{type(game).__name__}'s observations are numbers, for which perspective taking predicts "
            "probabilities, and no recurrent policy applies to these: choose another policy than gru, or "
            "perspective true-observation.",
        )
        return Imagined(policy, encoder, self.perspective.hidden_size, self.perspective.activation)

"""`lase`: share with those who did more for one than was expected of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from gymnasium import spaces

from bilevel.agents import ExactPlay, Play, Policy, takes_gifts
from bilevel.core import Range
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._inner_settings import PPO, ActorCritic, PolicyGradient
from bilevel.methods._lase_critic import MOST_ENTRIES, JointCritic, KnownPayoffs, NetworkCritic, TableCritic
from bilevel.methods._lase_learner import AuxiliaryOptimizer, EmpathyLearner
from bilevel.methods._lase_perspective import Imagined, Perspective, TrueObservation, TruePolicy
from bilevel.methods._lase_sharing import Empathy, OneShotPlay
from bilevel.methods._method import PolicyMethod
from bilevel.methods._settings import Whole
from bilevel.nn import ActivationName
from bilevel.sharing import ObservationEncoder
from games.core import Game, numbered_actions, require
from games.theory import payoff_table

UNIT = Range(least=0, most=1)


@dataclass(frozen=True, kw_only=True)
class LASE(PolicyMethod):
    """Empathy: give in each step to those who did more for one than expected, by one's own critic.

    r~_j = sum_i g_ij r_i, with g_ij = max(w_ij, 0) / (k_i - 1) for i's k_i - 1 neighbours (all others, in the
    source), the rest kept, and w_ij = (Q_i(o_i, a) - b_ij) / (max Q_i - min Q_i), b_ij being the mean of Q_i
    over what i takes j's policy to be, and greatest and least over j's actions; 0 where these are the same.
    It is a rule: nothing is learned above, and policies do not see that what they do moves g. Beside its
    policy each agent learns the critic Q_i, from its own, extrinsic rewards, and, with perspective taking, a
    network that imagines what j sees, where i then applies its own policy. g divides by how much j can do
    for i at all: where that is nothing, what is left is the critic's noise; and who owes a cost shares it.

    Needs: own observation, everybody's actions, a critic of one's own; of the ablations true-observation
    the others' observations, true-policy their policies as well. Conserves the total of each step.

    Defaults: closeness .1 is the source's delta. Rates, steps and sizes suit the batches here; the source's
    were not at hand. The source explores by epsilon-greedy play, here an entropy bonus does.

    Raises:
        ValueError: a setting is out of range or a name is unknown; at build, the game has one agent, or a
            critic or a perspective does not suit it (says why).

    Source:
        Kong et al., Learning to Balance Altruism and Self-interest Based on Empathy in Mixed-Motive Games
        (LASE), arXiv 2410.07863.

    >>> import games
    >>> method = LASE(inner=PolicyGradient(exact=False, entropy_coef=0.1))
    >>> learner = method.build(games.make("escape-room"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["share_0_1"].shape
    torch.Size([2])
    """

    inner: PolicyGradient | ActorCritic | PPO = PolicyGradient(exact=False)
    """The policies' learner. With exact values, in one-shot games, the payoff table takes the critic's place
    and every joint action is laid out; games that last longer are refused."""
    perspective: Literal["taking", "true-observation", "true-policy"] = "taking"
    """What i takes j's policy to be: its own of what it imagines that j sees (taking), or, in the ablations,
    its own of what j does see (true-observation), or j's (true-policy, which theory assumes)."""
    critic: Literal["auto", "tabular", "mlp"] = "auto"
    """A table of observations and joint actions, or a perceptron; auto: a table where observations are
    numbers and it has 4096 entries or fewer."""
    critic_hidden_size: tuple[int, ...] = (32,)
    """Of mlp: units of each hidden layer."""
    critic_activation: ActivationName = "tanh"
    """Of mlp: between the layers."""
    critic_learning_rate: Annotated[float, Range(above=0)] = 0.01
    """Step size of Adam on the critics' mean squared errors, above 0."""
    critic_steps: Whole = 4
    """Steps of the critics in each inner step, on the policies' episodes, 1 or more."""
    critic_discount: Annotated[float | None, UNIT] = None
    """Discount of the critics' returns per step, from 0 to 1; None: the game's."""
    critic_gae_lambda: Annotated[float, UNIT] = 0.9
    """Lambda of the critics' targets, from 0 (one step, then the critic: SARSA) to 1 (sampled returns)."""
    perspective_hidden_size: tuple[int, ...] = (32,)
    """With perspective taking: units of each hidden layer."""
    perspective_activation: ActivationName = "tanh"
    """With perspective taking: between the layers."""
    perspective_learning_rate: Annotated[float, Range(above=0)] = 0.01
    """With perspective taking: step size of Adam, above 0."""
    perspective_steps: Whole = 1
    """With perspective taking: its steps in each inner step, on the policies' episodes, 1 or more."""
    perspective_closeness: Annotated[float, UNIT] = 0.1
    """With perspective taking: the weight of how far the view that is imagined lies from one's own (L1), from
    0 to 1; what is left of 1 is that of how badly it predicts what others do (cross-entropy)."""

    def play(self, game: Game) -> Play:
        """See `Method.play`; exact values are those of one-shot games."""
        play = super().play(game)
        if not isinstance(play, ExactPlay):
            return play
        try:
            return OneShotPlay(play.game, play.policy)
        except ValueError as error:
            raise ValueError(f"{error} (Switch exact off: --inner.no-exact.)") from error

    def build(self, game: Game, placement: Placement) -> Learner:
        """See `Method.build`."""
        require(game.num_agents >= 2, f"{type(game).__name__} has one agent: there is nobody to share with.")
        play = self.play(game)
        actions = numbered_actions(game, "LASE, whose critic compares what agents could have done,")
        encoder = ObservationEncoder(game.observation_space, game.num_agents, actions)
        variable = Empathy(
            game.neighbours,
            self._critic(game, play, encoder),
            self._perspective(game, play, encoder),
            play.policy.num_parameters,
        )
        discount = self.critic_discount
        return EmpathyLearner(
            self,
            game,
            placement,
            variable,
            critic=AuxiliaryOptimizer(self.critic_learning_rate, self.critic_steps),
            perspective=AuxiliaryOptimizer(self.perspective_learning_rate, self.perspective_steps),
            discount=game.discount if discount is None else discount,
            trace=self.critic_gae_lambda,
            closeness=self.perspective_closeness,
        )

    def _critic(self, game: Game, play: Play, encoder: ObservationEncoder) -> JointCritic:
        numbers = isinstance(encoder.space, spaces.Discrete)
        table = TableCritic(encoder.features, encoder.agents, encoder.actions)
        if isinstance(play, OneShotPlay):
            return KnownPayoffs(table, torch.tensor(payoff_table(game)))
        require(
            numbers or self.critic != "tabular",
            f"A tabular critic needs observations that are numbers, but {type(game).__name__}'s have the "
            f"shape {encoder.space.shape}: use mlp.",
        )
        if self.critic == "tabular" or (
            self.critic == "auto" and numbers and table.num_parameters <= MOST_ENTRIES
        ):
            return table
        return NetworkCritic(encoder, self.critic_hidden_size, self.critic_activation)

    def _perspective(self, game: Game, play: Play, encoder: ObservationEncoder) -> Perspective:
        policy = play.policy
        remembers = _remembers(policy)
        require(
            not remembers or not takes_gifts(game),
            f"{type(game).__name__} shows agents what they were given in the last step, and whoever judges "
            "others then cannot yet know the whole episode, as a policy that remembers must: choose another "
            "policy than gru.",
        )
        if self.perspective == "true-policy":
            return TruePolicy(policy)
        if self.perspective == "true-observation" or isinstance(play, OneShotPlay):
            return TrueObservation(policy)  # which in a one-shot game is one's own
        require(
            not (remembers and isinstance(encoder.space, spaces.Discrete)),
            f"{type(game).__name__}'s observations are numbers, of which agents imagine how likely each is, "
            "and a policy that remembers cannot be applied to that: choose another policy than gru, or "
            "perspective true-observation.",
        )
        return Imagined(policy, encoder, self.perspective_hidden_size, self.perspective_activation)


def _remembers(policy: Policy) -> bool:
    """Whether a policy keeps anything from step to step."""
    return policy.memory(torch.zeros(1, 1, policy.num_parameters), 1).shape[-2] > 0

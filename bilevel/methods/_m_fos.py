"""`m-fos`: meta-policies that shape the whole learning of the other agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from bilevel.agents import Tabular
from bilevel.core import Range, Schedule, Scheduled
from bilevel.hypergradient import require_sampling
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._inner_settings import PolicyGradient, Positive
from bilevel.methods._m_fos_learner import MetaLearner
from bilevel.methods._method import UpdateRuleMethod
from bilevel.methods._settings import SettingsGroup, Whole
from games.core import Game, numbered_actions, require

UNIT = Range(min=0, max=1)


@dataclass(frozen=True, kw_only=True)
class MetaEpisodes(SettingsGroup, part="meta"):
    """Meta-episodes, and the network of a meta-policy.

    >>> import games
    >>> from bilevel.methods import MFOS, Placement
    >>> method = MFOS(meta=MetaEpisodes(hidden_size=(8,)))
    >>> learner = method.build(games.make("repeated-chicken"), Placement())
    >>> learner.meta_policy.actor.sizes  # both policies' probabilities; means and variances of the next one
    (10, 8, 10)
    """

    steps: Whole = 100
    """Meta-steps of a meta-episode, each with one policy of every agent, 1 or more."""
    episodes: Whole = 64
    """Meta-episodes per seed in each update of the meta-policies, from fresh initial policies, 1 or more."""
    hidden_size: tuple[int, ...] = (256,)
    """Units of each hidden layer of a meta-policy, and of its critic."""


@dataclass(frozen=True, kw_only=True)
class MetaPPO(SettingsGroup, part="training", variant="ppo"):
    """PPO on batches of meta-episodes; a meta-policy is a Gaussian with a critic.

    >>> from bilevel.methods import MFOS
    >>> MFOS(training=MetaPPO(update_epochs=2)).training.clip_coef
    0.2
    """

    learning_rate: Annotated[Scheduled, Range(above=0)] = 0.002
    """Learning rate of Adam on meta-policies and critics, above 0; or a schedule."""
    update_epochs: Whole = 4
    """Gradient steps on each batch of meta-episodes, 1 or more."""
    clip_coef: Positive = 0.2
    """Clipping range of the ratio of new to old probabilities around 1, above 0."""
    ent_coef: Annotated[Scheduled, Range(min=0)] = 0.01
    """Coefficient of a meta-policy's entropy, per nat, 0 or more; or a schedule."""
    vf_coef: Positive = 0.5
    """Coefficient of the critic's mean squared error, above 0."""
    discount: Annotated[float, UNIT] = 0.99
    """Discount of returns per meta-step, from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class MetaEvolution(SettingsGroup, part="training", variant="evolution"):
    """Evolution strategies on the undiscounted meta-return; a meta-policy is deterministic.

    Raises:
        ValueError: as for `SettingsGroup`; or `samples` is odd.

    >>> from bilevel.methods import MFOS
    >>> MFOS(training=MetaEvolution(samples=8)).training.sigma
    0.2
    """

    ascent_rate: Annotated[Scheduled, Range(above=0)] = 0.05
    """Learning rate of Adam on meta-policies, above 0; or a schedule. It is not kept from ppo, which needs a
    lower one."""
    samples: Annotated[int, Range(min=2)] = 32
    """Perturbed meta-policies per seed in each update, in pairs of opposite sign, 2 or more."""
    sigma: Positive = 0.2
    """Standard deviation of the perturbations, above 0."""
    rank_shaping: bool = True
    """Replace meta-returns by their ranks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_sampling(self.samples, self.sigma, antithetic=True)


@dataclass(frozen=True, kw_only=True)
class OneShapes(SettingsGroup, part="shapers", variant="one"):
    """Agent 0 shapes, and agent 1 is naive.

    >>> from bilevel.methods import MFOS
    >>> MFOS(shapers=OneShapes()).shapers.agents
    (0,)
    """

    agents = (0,)

    def naive_share(self, outer_step: int) -> float:
        """Share of meta-episodes in which an agent that shapes meets a naive one."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class BothShape(SettingsGroup, part="shapers", variant="both"):
    """Both agents shape each other, after training against naive agents.

    >>> from bilevel.methods import MFOS
    >>> MFOS(shapers=BothShape(naive=0.5)).shapers.naive_share(outer_step=7)
    0.5
    """

    agents = (0, 1)
    naive: Annotated[Scheduled, UNIT] = Schedule(((0, 1.0), (667, 0.0)))  # noqa: RUF009 - frozen
    """Share of each agent's meta-episodes in training that are against a naive agent, from 0 to 1; or a
    schedule."""

    def naive_share(self, outer_step: int) -> float:
        """Share of meta-episodes in which an agent that shapes meets a naive one."""
        return self.naive(outer_step) if isinstance(self.naive, Schedule) else self.naive


@dataclass(frozen=True, kw_only=True)
class MFOS(UpdateRuleMethod):
    """Model-free opponent shaping (M-FOS): reinforcement learning over the other agent's whole learning.

    In a meta-step every agent has one policy, and they play: exact values if the game has them, sampled
    episodes otherwise. A naive agent then takes a gradient step on its own return. An agent that shapes has a
    meta-policy, from the policies that were just played to its own next policy. A meta-episode has many
    meta-steps, from fresh initial policies of both agents. An outer step updates the meta-policies to
    increase the sum of the agent's own returns over meta-episodes, by PPO or evolution strategies. There are
    no derivatives of the other agent's learning. With another update rule, such as `--rule lola`, the other
    agent is not naive.

    The state's policies, `theta`, are those after the last meta-step of a fresh meta-episode of the updated
    meta-policies, one per seed. welfare, return_<agent> and cooperation, in training and in evaluation, are
    theirs, as they are the result of learning; meta_return_<agent> is an agent's mean return over the
    meta-steps: of that meta-episode in training, of `meta.episodes` fresh ones in evaluation. The
    meta-policies are `state["meta"]`, [seed, agent that shapes, parameter]. An outer step does not continue
    from `theta`, so tournaments, in which learners move policies in turn, refuse this method.

    Needs: the other agent's policy after each meta-step, and many repetitions of its learning from the start,
    so a simulator of it. Conserves the total: no reward is transferred.

    Departures: 64 meta-episodes per update, instead of 4096; against naive agents, each update of self-play
    has a share of the meta-episodes instead of all with a probability; evolution strategies instead of a
    genetic algorithm, which keeps the best of 2048 mutants; and agents observe probabilities of all actions
    but the last, for any number of actions. Only tabular policies of two agents are supported; the source
    also has recurrent policies in the coin game.

    Raises:
        ValueError: a setting is out of range; at build, the game does not have two agents, or policies are
            not tables.

    Source:
        Lu et al., Model-free opponent shaping, ICML 2022, arXiv 2205.01447; compared with the code of
        luchris429/model-free-opponent-shaping, whose values are the defaults.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> method = MFOS().with_settings({"meta.steps": 5, "meta.episodes": 4})
    >>> learner = method.build(games.make("repeated-prisoners-dilemma"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> state["theta"].shape, metrics["meta_return_0"].shape  # seed, agent, parameter; seed
    (torch.Size([2, 2, 5]), torch.Size([2]))
    """

    inner: PolicyGradient = PolicyGradient()
    """The naive agents' learning, `inner.steps` gradient steps in each meta-step."""
    shapers: OneShapes | BothShape = OneShapes()
    """Agents that shape: one (agent 0), or both."""
    meta: MetaEpisodes = MetaEpisodes()
    """Meta-episodes, and the network of a meta-policy."""
    training: MetaPPO | MetaEvolution = MetaPPO()
    """Training of the meta-policies: PPO, or evolution strategies."""

    def build(self, game: Game, placement: Placement) -> Learner:
        require(
            game.num_agents == 2,
            f"M-FOS has one agent shape another, and {type(game).__name__} has {game.num_agents} agents: "
            "choose a game with two, such as repeated-prisoners-dilemma.",
        )
        numbered_actions(game, "M-FOS, which chooses tables of probabilities,")
        require(
            isinstance(self.play(game).policy, Tabular),
            "M-FOS chooses tables of probabilities: leave policy at auto, and choose a game whose "
            "observations are integers, such as repeated-prisoners-dilemma.",
        )
        return MetaLearner(self, game, placement)

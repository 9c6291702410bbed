"""`coala-pg`: sequence policies that shape the other agent's learning from episode to episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from bilevel.agents import Play, Tabular
from bilevel.core import Range, Scheduled
from bilevel.methods._coala_learner import SequenceLearner
from bilevel.methods._contract import Learner, Placement
from bilevel.methods._inner_settings import PolicyGradient
from bilevel.methods._m_fos import BothShape, OneShapes
from bilevel.methods._method import PolicyMethod
from bilevel.methods._settings import SettingsGroup, Whole
from games.core import Game, numbered_actions, require


@dataclass(frozen=True, kw_only=True)
class MetaSequences(SettingsGroup, part="meta"):
    """Meta-episodes, and the sequence policies that play them.

    >>> from bilevel.methods import COALAPG
    >>> COALAPG(meta=MetaSequences(credit="own-episode")).meta.credit
    'own-episode'
    """

    steps: Whole = 16
    """Meta-steps of a meta-episode, each with a batch of `inner.episodes` parallel episodes, 1 or more."""
    episodes: Annotated[int, Range(min=2)] = 32
    """Meta-episodes per seed in each update of the sequence policies, from fresh initial policies of naive
    agents, 2 or more."""
    hidden_size: tuple[int, ...] = (32,)
    """Units of each layer of the perceptron before the recurrent state."""
    recurrent_size: Whole = 32
    """Units of the recurrent state, 1 or more."""
    credit: Literal["batch", "own-episode"] = "batch"
    """Credit of an action for later meta-steps: the batch's mean returns (batch), which is unbiased; or those
    of its own copy alone (own-episode), which ignores that the other agent learns from the batch."""


@dataclass(frozen=True, kw_only=True)
class SequenceTraining(SettingsGroup, part="training"):
    """Policy-gradient ascent on meta-returns by Adam, a step for each batch of meta-episodes.

    >>> from bilevel.methods import COALAPG
    >>> COALAPG(training=SequenceTraining(ent_coef=0.02)).training.learning_rate
    0.005
    """

    learning_rate: Annotated[Scheduled, Range(above=0)] = 0.005
    """Learning rate of Adam on sequence policies, above 0; or a schedule."""
    ent_coef: Annotated[Scheduled, Range(min=0)] = 0.01
    """Coefficient of the mean entropy of sequence policies, in the game's units of value per nat, 0 or more;
    or a schedule."""


@dataclass(frozen=True, kw_only=True)
class COALAPG(PolicyMethod):
    """COALA-PG: policy gradients that credit actions for the other agent's learning from a batch.

    In a meta-step two agents play a batch of episodes in parallel. A naive agent then takes a policy-gradient
    step on the batch. An agent that shapes has a recurrent sequence policy: its state lasts for a whole
    meta-episode of many meta-steps, in each copy of the batch, so that it sees the other agent learn. The
    input of a step is the observation, its own last action and reward, also those of the episode before, and
    a mark of an episode's first step. An outer step ascends the mean return of the agent over meta-episodes
    from fresh initial policies of naive agents. As these learn from the batch, an action is credited with the
    rest of its own episode and the batch's returns in later meta-steps (`meta.credit`). There are no
    derivatives of the other agent's learning.

    With `shapers` both, each agent's meta-episodes are against a naive agent or against the other one that
    shapes, a pool whose mixture is `shapers.naive`: a schedule as in `m-fos`, or a constant share, as in the
    source. Agents that shape do not learn within a meta-episode.

    welfare, return_<agent> and cooperation are those of the last meta-step, the result of learning;
    meta_return_<agent> is the mean over all meta-steps. They are of a fresh meta-episode of each seed in
    training, of fresh ones with `episodes` episodes in their last meta-step in evaluation. The sequence
    policies are `state["meta"]`, [seed, agent that shapes, parameter]. `theta` are tables, those of naive
    agents in the last meta-step, and, for an agent that shapes, its mean action probabilities there, by
    observation: what bilevel play and exports show of it, without its memory. An outer step does not
    continue from `theta`, so tournaments refuse this method.

    Needs: the other agent's actions, as far as observations show them, and many repetitions of its learning
    from the start, so a simulator of it. Conserves the total: no reward is transferred.

    Departures: a small gated recurrent unit as the sequence model; baselines are means over the other
    episodes and meta-episodes, and there is no critic; one Adam step per batch; two agents, of which naive
    ones have tables.

    Raises:
        ValueError: a setting is out of range, or asks for exact values; at build, the game does not have two
            agents, or the naive agents' policies are not tables.

    Source:
        Meulemans et al., Multi-agent cooperation through learning-aware policy gradients, ICLR 2025, arXiv
        2410.18636.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> method = COALAPG().with_settings({"meta.steps": 3, "meta.episodes": 2, "inner.episodes": 4})
    >>> game = games.make("repeated-prisoners-dilemma", horizon=4)
    >>> learner = method.build(game, Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> state["theta"].shape, metrics["meta_return_0"].shape  # seed, agent, parameter; seed
    (torch.Size([2, 2, 5]), torch.Size([2]))
    """

    inner: PolicyGradient = PolicyGradient(exact=False, episodes=8)
    """The naive agents' learning from each meta-step's batch: `inner.steps` gradient steps on it."""
    shapers: OneShapes | BothShape = OneShapes()  # noqa: RUF009 - frozen
    """Agents that shape: one (agent 0), or both."""
    meta: MetaSequences = MetaSequences()
    """Meta-episodes, and the sequence policies that play them."""
    training: SequenceTraining = SequenceTraining()
    """Training of the sequence policies."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            not self.inner.exact,
            "COALA-PG learns from batches of episodes, not from exact values: leave inner.exact off "
            "(--inner.no-exact).",
        )

    def play(self, game: Game) -> Play:
        return self.inner.sampled_play(game, self.policy.build(game))

    def build(self, game: Game, placement: Placement) -> Learner:
        require(
            game.num_agents == 2,
            f"COALA-PG has one agent shape another, and {type(game).__name__} has {game.num_agents} agents: "
            "choose a game with two, such as repeated-prisoners-dilemma.",
        )
        numbered_actions(game, "COALA-PG, whose naive agents have tables of probabilities,")
        require(
            isinstance(self.play(game).policy, Tabular),
            "COALA-PG has naive agents with tables of probabilities: leave policy at auto, and choose a game "
            "whose observations are integers, such as repeated-prisoners-dilemma.",
        )
        return SequenceLearner(self, game, placement)

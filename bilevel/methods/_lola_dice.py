"""`lola-dice`: gradients through learning steps of the other agents, on episodes of imagined policies."""

from __future__ import annotations

from dataclasses import dataclass

from bilevel.methods._contract import Learner, Placement
from bilevel.methods._inner_settings import PolicyGradient
from bilevel.methods._method import PolicyMethod
from bilevel.methods._shaping_learner import LookAheadSettings, ShapingLearner, require_joint_surrogate
from games.core import Game


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
    look_ahead: LookAheadSettings = LookAheadSettings()  # noqa: RUF009 - frozen
    """Imagined learning steps of the other agents."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_joint_surrogate(self.inner)

    def build(self, game: Game, placement: Placement) -> Learner:
        return ShapingLearner(self, game, placement, self.look_ahead)

"""`advantage-alignment`: actor-critic or PPO on advantages aligned with the other agents'."""

from __future__ import annotations

from dataclasses import dataclass

from bilevel.methods._contract import Learner, Placement
from bilevel.methods._inner_settings import PPO, ActorCritic
from bilevel.methods._learner import PolicyLearner
from bilevel.methods._method import PolicyMethod
from bilevel.sharing import FixedMatrix, identity_sharing
from games.core import Game, require


@dataclass(frozen=True, kw_only=True)
class AdvantageAlignment(PolicyMethod):
    """Advantage alignment: learn from advantages that also count what one's actions make other agents learn.

    An agent's advantage A_t becomes A_t + beta c_t sum_{j != i} A^j_t, where c_t weighs the agent's own
    earlier advantages (`bilevel.agents.Alignment`): after it did well it treats the other agents well, after
    it did badly it punishes them, so that they learn to treat it well. With ppo this is proximal advantage
    alignment. There are no derivatives beyond the first, and no learning steps are imagined.

    The same setting, `inner.alignment` of actor-critic and ppo, aligns the policies of any other method with
    these inner learners, for instance under learned sharing; advantages are then those of shared rewards.

    Needs: the other agents' advantages, so their rewards and critics. Conserves the total: no reward is
    transferred.

    The products need advantages around 0. A critic that is far off shifts all earlier advantages, and the
    agents punish each other throughout: keep `inner.center_adv` of ppo on, which is applied before the
    alignment, as `inner.norm_adv` is. On the iterated prisoner's dilemma cooperation was learned and, with a
    learning rate that does not decrease in time, lost again (docs/studies/shaping-from-samples.md). In the
    coin game recurrent agents learned to leave each other's coins with the paper's alignment, but also those
    of an agent that takes all; with the causal one they reciprocate (docs/studies/coin-game-shaping.md).

    Departures: the source's policies are recurrent, with a replay of earlier agents; here the other agents
    are the present ones, and policies any. The terms of time t have the weight discount^t.

    Raises:
        ValueError: a setting is out of range, or inner.alignment is none; at build, the game has one agent.

    Source:
        Duque et al., Advantage Alignment Algorithms, ICLR 2025, arXiv 2406.14662; compared with the code of
        jduquevan/advantage-alignment.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = AdvantageAlignment().build(games.make("repeated-prisoners-dilemma"), Placement(seeds=2))
    >>> learner.play.alignment
    Alignment(rule='paper', weight=1.0)
    >>> learner.update(learner.init(seed=0))[1]["welfare"].shape
    torch.Size([2])
    """

    inner: ActorCritic | PPO = PPO(alignment="paper", center_adv=True, norm_adv=True)  # noqa: RUF009 - frozen
    """The policies' learner, with alignment: actor-critic, or PPO (proximal advantage alignment)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.inner.alignment != "none",
            "Without alignment agents learn independently, as in selfish: choose paper, causal or released "
            "for inner.alignment.",
        )

    def build(self, game: Game, placement: Placement) -> Learner:
        require(game.num_agents >= 2, f"{type(game).__name__} has one agent: there is nobody to align with.")
        return PolicyLearner(self, game, placement, FixedMatrix(identity_sharing(game.num_agents)))

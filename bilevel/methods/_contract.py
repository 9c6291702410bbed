"""Protocol of learners: all seeds of one run, as a state and a pure update of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from bilevel.agents import Actor, Policy, Tabular
from bilevel.sharing import Transfer
from games.core import Game, require

State = dict[str, Any]
"""State of a learner, one pytree of tensors.

outer_step: int64 scalar; random_seeds: int64 [seed], which with the outer step determine every random stream,
so that no generator is stored; theta: policies, [seed, agent, parameter]; opt_state: their optimizer's;
phi: outer variables, a tensor [seed, giver, receiver], or, with learned loss weights, a dict of it
("transfer") and of free parameters ("loss_weights", [seed, agent, term]); outer_opt_state: the outer
optimizer's, if phi is learned; estimator: state of the hypergradient estimator, None if it is stateless;
models: of the other agents' policies (`ModelingLearner`); critic_opt_state, perspective_opt_state: of
`EmpathyLearner`; meta_value, target_meta_value, meta_opt_state, meta_loss: of `MetaValueLearner`; meta:
meta-policies or sequence policies, [seed, agent that shapes, parameter], and meta_opt_state, theirs, of
`MetaLearner` and `SequenceLearner`.
"""

Metrics = dict[str, Tensor]
"""Name -> float [seed]. Of more than 16 agents, share and incentive are matrices, [seed, giver, receiver], in
place of a name for each entry; of more than 64, return and other values of each agent are [seed, agent].

welfare, return_<agent>: in the game's units of value; cooperation: 0 to 1, where the game defines it;
given_away: the agents' mean, 0 to 1, and share_<giver>_<receiver>, where rewards are shared; given and
incentive_<giver>_<receiver>, moved and paid_<agent>: reward units per episode (of exact values: the game's
units of value), where rewards are added; of `contract`, contract_payment: reward units per step of
defection, transfer_<agent>: net, in the game's units of value, and accepted: 0 or 1; committed, of
`mediator`: 0 to 1; policy_weight_<agent>, value_weight_<agent> and entropy_weight_<agent>: learned loss
weights; imbalance and anarchy: of `d3c`; meta_return_<agent>, of `m-fos` and `coala-pg`: in the game's units
of value; model_loss: nats per step;
meta_loss: quantile loss after the last update, in the game's units of value.
"""


@dataclass(frozen=True)
class Placement:
    """Number of repetitions of a learner, dtype, device, and compilation.

    Raises:
        ValueError: the number of seeds is not a positive integer, or the dtype is not floating.

    >>> import games
    >>> from bilevel.methods import Selfish
    >>> learner = Selfish().build(games.make("chicken"), Placement(seeds=4, dtype=torch.float32))
    >>> theta = learner.init(seed=0)["theta"]
    >>> theta.shape, theta.dtype  # seed, agent, parameter
    (torch.Size([4, 2, 1]), torch.float32)
    """

    seeds: int = 1
    """Independent repetitions, one batch axis; 1 or more."""
    dtype: torch.dtype = torch.float64
    """Floating type of everything learned."""
    device: str = "cpu"
    """Any torch device."""
    compile: bool = False
    """Compile the hypergradient's steps, and the exact meta-steps of `m-fos` (`bilevel.compile`)."""

    def __post_init__(self) -> None:
        whole = type(self.seeds) is int and self.seeds >= 1
        require(whole, f"A run needs a whole number of seeds, 1 or more, not {self.seeds}.")
        require(self.dtype.is_floating_point, f"Policies need a floating dtype, not {self.dtype}.")


class Learner(Protocol):
    """Training interface of a method: pure functions of the state.

    >>> import games
    >>> from bilevel.methods import Placement, Selfish
    >>> learner: Learner = Selfish().build(games.make("prisoners-dilemma"), Placement(seeds=3))
    >>> state = learner.init(seed=0)
    >>> for _ in range(5):
    ...     state, metrics = learner.update(state)
    >>> int(state["outer_step"]), metrics["welfare"].shape
    (5, torch.Size([3]))
    """

    def init(self, seed: int) -> State:
        """Build the initial state; repetition i equals a run of the random seed `seed` + i alone."""

    def update(self, state: State) -> tuple[State, Metrics]:
        """Take one outer step; the state passed in is not changed.

        Raises:
            FloatingPointError: a value stopped being finite (names it, the seed and the agent).
        """

    def evaluate(self, state: State, *, episodes: int) -> Metrics:
        """Evaluate a state on `episodes` fresh episodes per seed, from each seed's own random stream."""


@runtime_checkable
class HasPolicies(Protocol):
    """A learner whose agents act on their own observations alone.

    >>> import games
    >>> from bilevel.methods import Placement, Selfish
    >>> learner = Selfish().build(games.make("repeated-chicken"), Placement(seeds=3))
    >>> isinstance(learner, HasPolicies)
    True
    >>> policy, theta = learner.policies(learner.init(seed=0), repetition=2)
    >>> policy.probabilities(theta).shape  # agent, observation, action
    torch.Size([2, 5, 2])
    """

    def policies(self, state: State, repetition: int) -> tuple[Policy, Tensor]:
        """Return the policy of all agents, and one repetition's parameters [agent, parameter] on the CPU."""


@runtime_checkable
class Playable(Protocol):
    """A learner whose policies can play a game.

    >>> import games
    >>> from bilevel.methods import Placement, Selfish
    >>> game, generator = games.make("repeated-chicken"), torch.Generator().manual_seed(0)
    >>> learner = Selfish().build(game, Placement())
    >>> isinstance(learner, Playable)
    True
    >>> actor, transfer = learner.actor(game, learner.init(seed=0), repetition=0)
    >>> actor(game.reset(4, generator), generator)[0].shape  # actions, [copy, agent]
    torch.Size([4, 2])
    """

    def actor(self, game: Game, state: State, repetition: int) -> tuple[Actor, Transfer]:
        """Build an actor of one repetition's policies on the CPU, and its transfer.

        The game has the agents, actions and observations of the training game.
        """


@runtime_checkable
class HasActionTable(Protocol):
    """A learner of action values whose agents can meet the policies of other methods in tournaments.

    >>> import games
    >>> from bilevel.methods import LToS, Placement
    >>> learner = LToS(interval=1).build(games.make("repeated-chicken"), Placement(seeds=3))
    >>> isinstance(learner, HasActionTable)
    True
    >>> learner.action_table(learner.init(seed=0), exploring=True)[0, 0, 0].sort().values
    tensor([0.2000, 0.8000], dtype=torch.float64)
    """

    def action_table(self, state: State, *, exploring: bool) -> Tensor:
        """Compute action probabilities at every observation, [seed, agent, observation, action].

        Args:
            state: state of the learner.
            exploring: with the random actions of the next round, instead of greedily.

        Raises:
            ValueError: actions depend on more than the agent's own observation.
        """

    def update_against(
        self, state: State, agent: int, policy: Tabular, theta: Tensor
    ) -> tuple[State, Metrics]:
        """Take an outer step in which all agents but one act by fixed tables.

        Args:
            state: state of the learner; it is not changed.
            agent: the agent that acts by the learner's action values.
            policy: tabular policy of the other agents.
            theta: its parameters, [seed, agent, parameter].
        """

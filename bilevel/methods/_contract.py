"""Protocol of learners: all seeds of one run, as a state and a pure update of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from bilevel.agents import Actor, Policy
from bilevel.sharing import Transfer
from games.core import Game, require

State = dict[str, Any]
"""Everything a learner knows, one pytree of tensors: save it, and nothing is lost.

outer_step: int64 scalar; random_seeds: int64 [seed], which with the outer step name every stream of draws
(`bilevel.core._streams`), so that no generator has to be kept; theta: policies, [seed, agent, parameter];
opt_state: their optimizer's; phi: outer variables, a tensor [seed, giver, receiver], or, with learned loss
weights, a dict of it ("transfer") and their free numbers ("loss_weights", [seed, agent, term]);
outer_opt_state: theirs, if they learn; estimator: the state of their hypergradient estimator, None if it is
stateless; models: of the others' policies, where agents have them (`ModelingLearner`); critic_opt_state,
perspective_opt_state: of what agents learn beside their policies (`Empathy`), if they do.
"""

Metrics = dict[str, Tensor]
"""Name -> float [seed]; of more than `transfer.MOST_NAMED` agents, share and incentive are matrices, [seed,
giver, receiver], in place of a name for each entry.

welfare, return_<agent>: in the game's units of value; cooperation: 0 to 1, where the word has a meaning;
given_away: the agents' mean, 0 to 1, and share_<giver>_<receiver>, where rewards are shared; given and
incentive_<giver>_<receiver>, moved and paid_<agent>: reward units per episode, where they are added to (of
exact values: in the game's units of value); policy_weight_<agent>, value_weight_<agent> and
entropy_weight_<agent>: where weights of losses are learned; imbalance and anarchy: of `d3c` (`MixedBy`,
`D3CLearner`); model_loss: nats per step, of models of others.
"""


@dataclass(frozen=True)
class Placement:
    """How many repetitions a learner holds, in which precision, and where.

    Raises:
        ValueError: there are no seeds or no whole number of them, or the dtype is not floating.
    """

    seeds: int = 1
    """Independent repetitions, one batch axis; 1 or more."""
    dtype: torch.dtype = torch.float64
    """Floating type of everything learned."""
    device: str = "cpu"
    """Any torch device."""
    compile: bool = False
    """Whether the hypergradient's steps are compiled (`bilevel.compile`)."""

    def __post_init__(self) -> None:
        whole = type(self.seeds) is int and self.seeds >= 1
        require(whole, f"A run needs a whole number of seeds, 1 or more, not {self.seeds}.")
        require(self.dtype.is_floating_point, f"Policies need a floating dtype, not {self.dtype}.")


class Learner(Protocol):
    """How runs drive a method, whatever it learns: all that changes is in the state."""

    def init(self, seed: int) -> State:
        """Build the first state; member i of the batch is random seed `seed` + i, and equals it alone."""

    def update(self, state: State) -> tuple[State, Metrics]:
        """Take one outer step; the state passed in is not changed.

        Raises:
            FloatingPointError: something stopped being a finite number (says what and where).
        """

    def evaluate(self, state: State, *, episodes: int) -> Metrics:
        """Measure a state on fresh episodes, each seed's drawn from a stream of their own."""


@runtime_checkable
class HasPolicies(Protocol):
    """A learner whose agents act by their own observations alone."""

    def policies(self, state: State, repetition: int) -> tuple[Policy, Tensor]:
        """The policy of all agents, and one repetition's parameters [agent, parameter] on the CPU.

        Args:
            state: from `Learner.update`.
            repetition: which one, counted from 0.
        """


@runtime_checkable
class Playable(Protocol):
    """A learner of what agents do, who can play with what it has learned."""

    def actor(self, game: Game, state: State, repetition: int) -> tuple[Actor, Transfer]:
        """What one repetition has learned, as an actor on the CPU, and the transfer by which it gives.

        Args:
            game: what is played; agents, actions and observations as in the game that was learned.
            state: from `Learner.update`.
            repetition: which one, counted from 0.
        """

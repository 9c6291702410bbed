"""`contract`: a formal contract by which defectors pay the other agents, if all accept it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from bilevel.agents import Actor, ExactPlay, Measured, Play, Policy
from bilevel.core import Purpose, Range, Tree
from bilevel.methods._contract import Learner, Metrics, Placement, State
from bilevel.methods._learner import require_finite, transfer_group
from bilevel.methods._method import OuterMethod
from bilevel.methods._outer_learner import OuterLearner
from bilevel.sharing import OBJECTIVES, Report, Trajectory, Transfer, agent_report, agent_values
from games.core import Game, numbered_actions, require
from games.matrix import RepeatedGame


@dataclass(frozen=True, eq=False)
class ContractVariable:
    """The payment of a contract, theta = max_payment sigmoid(x), with one x for each seed: [seed, 1, 1]."""

    agents: int
    max_payment: float
    initial_payment: float
    episode_value: Callable[[Tensor], Tensor]
    """`Game.episode_value`, in whose units transfers are reported."""
    exact = True

    def initial(self, seed: int, seeds: int) -> Tensor:
        share = self.initial_payment / self.max_payment
        return torch.full((seeds, 1, 1), math.log(share / (1 - share)), dtype=torch.float64)

    def transfer(self, phi: Tensor) -> ContractTransfer:
        return ContractTransfer(self.max_payment * phi.sigmoid(), self.episode_value)


@dataclass(frozen=True, eq=False)
class ContractTransfer(Transfer):
    """Transfers t_i = -theta d_i + theta sum_{j != i} d_j / (n - 1); d_i = 1 if agent i defects, else 0.

    n counts the agents present. Transfers sum to 0 in each step.
    """

    payment: Tensor
    """theta, [seed, 1, 1], in reward units."""
    episode_value: Callable[[Tensor], Tensor]

    def net(self, defections: Tensor) -> Tensor:
        """Each agent's net transfer by all agents' defections, [seed, ..., agent] both."""
        paid = self.payment.reshape(-1, *[1] * (defections.ndim - 1)) * defections
        total = paid.sum(-1, keepdim=True)
        return (total - paid) / (defections.shape[-1] - 1) - paid

    def transfers(self, trajectory: Trajectory) -> Tensor:
        """Net transfers, [seed, agent, time, episode]; agents that have left pay and receive nothing."""
        own, acting, cooperated = trajectory.rewards, trajectory.acting, trajectory.cooperated
        assert cooperated is not None  # checked when a learner is built
        defections = (1 - cooperated.to(own.dtype)) * acting
        if trajectory.present is None:
            return self.net(defections.movedim(1, -1)).movedim(-1, 1)
        others = acting.sum(1, keepdim=True) - 1
        paid = self.payment.unsqueeze(-1) * defections * (others > 0)
        received = (paid.sum(1, keepdim=True) - paid) / others.clamp(min=1)
        return received * acting - paid

    def rewards(self, trajectory: Trajectory) -> Tensor:
        return trajectory.rewards + self.transfers(trajectory)

    def report(self, trajectory: Trajectory | None) -> Report:
        """Report net transfers of sampled episodes, in the game's units of value."""
        if trajectory is None:
            return {}
        by_time = self.transfers(trajectory).permute(2, 0, 3, 1)  # time, seed, episode, agent
        return agent_report("transfer", self.episode_value(by_time).mean(1))


@dataclass(frozen=True)
class ExactContractPlay(ExactPlay):
    """Exact values of a game under a contract: a transfer is linear in the rates of cooperation."""

    def learner_values(self, policies: Tensor, transfer: Transfer) -> Tensor:
        values, transfers = self.with_transfers(policies, transfer)
        return (values + transfers).diagonal(dim1=-2, dim2=-1)

    def with_transfers(self, policies: Tensor, transfer: Transfer) -> tuple[Tensor, Tensor]:
        """Values in the game and net transfers, [seed, ..., agent] both."""
        values, cooperation = self.game.values_and_cooperation(policies)
        assert cooperation is not None  # checked when a learner is built
        assert isinstance(transfer, ContractTransfer)
        return values, transfer.net(1 - cooperation)


@dataclass(frozen=True, kw_only=True)
class FormalContract(OuterMethod):
    """Formal contract: a defector pays theta to the other agents, if all agents accept the contract.

    The contract is a zero-sum transfer, t_i = -theta d_i + theta sum_{j != i} d_j / (N - 1) in each step,
    where d_i = 1 if agent i defects (by the game's definition of cooperation) and 0 otherwise. Two groups of
    policies learn from the same initial policies and with the same random numbers:

    with the contract: every agent i descends its loss on r~_i = r_i + t_i;
    without it: every agent i descends its loss on r_i.

    Agent i accepts if its value with the contract, transfers included, is at least its value without. If all
    accept, the first group is in force; otherwise the second, without transfers. All metrics and exported
    policies are those of the group in force. Outer loop: theta ascends the welfare of the first group after
    these inner steps, by the hypergradient through them. In a symmetric game of two actions cooperation is
    dominant if theta is at least the threshold of `games.mechanism_thresholds`, the greatest gain of
    defecting: max(T - R, P - S), if positive, in games of two agents.

    Departures from the source, whose algorithm is MOCA: there, policies observe theta and are trained under
    contracts drawn at random, and then, with these policies fixed, an agent learns to propose the contract
    that maximizes its own value, and the other agents learn to accept or reject it. Here policies are trained
    under the current theta alone; the proposal is a central one, for welfare, and does not anticipate a
    rejection; and acceptance is not a policy but a comparison of the two values, which are estimated on the
    episodes of each outer step if they are sampled. Contracts of the source are written for each game (in its
    Cleanup, a payment per cell that is cleaned); here the form is the same for all games.

    Needs: a game that defines cooperation; a party that observes who defects and enforces payments; for the
    outer step, all agents' policies; for acceptance, a game played without the contract. Conserves the total
    of each step. In repeated games with noise, exact values charge actions as carried out, episodes those
    chosen. The defaults were chosen here.

    Raises:
        ValueError: a setting is out of range; at build, the game has one agent, actions that are not
            Discrete, no definition of cooperation, or exact values of a finite repetition.

    Source:
        Christoffersen, Haupt and Hadfield-Menell, Get It in Writing: Formal Contracts Mitigate Social
        Dilemmas in Multi-Agent RL, arXiv 2208.10469.

    >>> import games
    >>> from bilevel.methods import Placement
    >>> learner = FormalContract().build(games.make("prisoners-dilemma"), Placement(seeds=2))
    >>> state, metrics = learner.update(learner.init(seed=0))
    >>> metrics["contract_payment"]  # during the inner step
    tensor([0.5000, 0.5000], dtype=torch.float64)
    >>> bool((learner.transfer(state["phi"]).payment > 0.5).all())  # charging for defection raises welfare
    True
    """

    max_payment: Annotated[float, Range(above=0)] = 5.0
    """Maximum of theta, the payment for a step of defection, above 0, in reward units."""
    initial_payment: Annotated[float, Range(above=0)] = 0.5
    """Initial theta, above 0 and below the maximum, in reward units."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.initial_payment < self.max_payment,
            f"initial_payment must be below max_payment, {self.max_payment:g}, not {self.initial_payment:g}.",
        )

    def play(self, game: Game) -> Play:
        play = super().play(game)
        if not isinstance(play, ExactPlay):
            return play
        one_shot = game.horizon == 1 and play.game.num_observations == 1
        require(
            one_shot or type(game) is RepeatedGame,  # subclasses may be finite
            f"Contracts have exact values in one-shot games and in repeated games that do not end, and "
            f"{type(game).__name__} is neither: play episodes (--inner.no-exact).",
        )
        return ExactContractPlay(play.game, play.policy)

    def build(self, game: Game, placement: Placement) -> Learner:
        kind = type(game).__name__
        numbered_actions(game, "A contract, which names the actions that defect,")
        require(game.num_agents >= 2, f"{kind} has one agent: there is nobody to pay.")
        require(
            defines_cooperation(game),
            f"A contract is on defection, and {kind} does not define which actions cooperate: choose a game "
            "that does (Game.cooperates).",
        )
        variable = ContractVariable(
            game.num_agents, self.max_payment, self.initial_payment, game.episode_value
        )
        return ContractLearner(self, game, placement, variable, objective=OBJECTIVES["welfare"])


def defines_cooperation(game: Game) -> bool:
    """True if the game defines which actions cooperate.

    >>> import games
    >>> defines_cooperation(games.make("escape-room")), defines_cooperation(games.make("matching-pennies"))
    (True, False)
    """
    generator = torch.Generator().manual_seed(0)
    state, actions = game.reset(1, generator), torch.zeros(1, game.num_agents, dtype=torch.int64)
    return game.cooperates(state, actions) is not None


class ContractLearner(OuterLearner):
    """Learner of a contract's payment, of policies with and without it, and of its acceptance.

    Besides an `OuterLearner`'s, the state has `without_theta` and `without_opt_state`, the policies without
    the contract, and `accepted`, boolean [seed].
    """

    def init(self, seed: int) -> State:
        state = super().init(seed)
        state["without_theta"] = state["theta"].clone()
        state["without_opt_state"] = self.optimizer.init(state["without_theta"])
        state["accepted"] = torch.zeros(len(state["theta"]), dtype=torch.bool, device=self.placement.device)
        return state

    def update(self, state: State) -> tuple[State, Metrics]:
        """Take an outer step with the contract and inner steps without; then agents accept or reject it.

        The metrics are of the policies in force; contract_payment is that of this training, accepted or not.
        """
        after, with_contract = super().update(state)
        theta, opt_state, without = self._update_without(state)
        agents = self.game.num_agents
        value, transfer = (agent_values(with_contract, name, agents) for name in ("return", "transfer"))
        accepted = (value + transfer >= agent_values(without, "return", agents)).all(1)
        metrics = {
            name: values.where(accepted if values.ndim == 1 else accepted[:, None], without[name])
            if name in without
            else values
            for name, values in with_contract.items()
        }
        after |= {"without_theta": theta, "without_opt_state": opt_state, "accepted": accepted}
        return after, metrics | self._proposal(state["phi"], accepted)

    def evaluate(self, state: State, *, episodes: int) -> Metrics:
        """Evaluate the policies in force, as accepted or rejected in the last outer step."""
        metrics = super().evaluate(self._in_force(state), episodes=episodes)
        return metrics | self._proposal(state["phi"], state["accepted"])

    def policies(self, state: State, repetition: int) -> tuple[Policy, Tensor]:
        return super().policies(self._in_force(state), repetition)

    def actor(self, game: Game, state: State, repetition: int) -> tuple[Actor, Transfer]:
        return super().actor(game, self._in_force(state), repetition)

    @torch.no_grad()
    def _update_without(self, state: State) -> tuple[Tensor, Tree, Metrics]:
        """Train the policies without the contract as those with it: they, and their metrics."""
        outer_step = int(state["outer_step"])
        phase, steps = self.schedule.phase(outer_step), self.schedule.steps(outer_step)
        theta, opt_state, phi = state["without_theta"], state["without_opt_state"], _none(state["phi"])
        generator, inputs = self.streams(state, Purpose.TRAINING), self.inputs(state)
        begins = phase.policies == "new" and outer_step == phase.begin
        if begins or (self.outer.reset == "each-outer-step" and phase.moves == "both"):
            theta, opt_state = self._new_policies(state)
        if phase.moves != "outer":
            for _ in range(1 + phase.rounds):
                theta, opt_state = self._learn(steps, theta, opt_state, phi, generator, inputs)
        require_finite(theta, "A policy", state["outer_step"])
        transfer = self.transfer(phi)
        return theta, opt_state, self._measured(theta, transfer, self.play.sample(theta, transfer, generator))

    def _in_force(self, state: State) -> State:
        """The state of the policies that play: those without the contract, and no transfers, if rejected."""
        chosen = state["accepted"].reshape(-1, 1, 1)
        phi, none = state["phi"], _none(state["phi"])
        group = torch.where(chosen, transfer_group(phi), transfer_group(none))
        theta = torch.where(chosen, state["theta"], state["without_theta"])
        return {
            **state,
            "theta": theta,
            "phi": {**phi, "transfer": group} if isinstance(phi, dict) else group,
        }

    def _proposal(self, phi: Tree, accepted: Tensor) -> Metrics:
        transfer = self.transfer(phi)
        assert isinstance(transfer, ContractTransfer)
        payment = transfer.payment.detach().flatten()
        return {"contract_payment": payment, "accepted": accepted.to(payment.dtype)}

    def _metrics(self, theta: Tensor, transfer: Transfer, measured: Measured, report: Report) -> Metrics:
        metrics = super()._metrics(theta, transfer, measured, report)
        if isinstance(self.play, ExactContractPlay):
            policies = self.play.policy.probabilities(theta)
            moved = self.play.with_transfers(policies, transfer)[1]
            metrics |= agent_report("transfer", moved.detach())
        return metrics


def _none(phi: Tree) -> Tree:
    """Outer variables of no contract: a payment of 0."""
    group = torch.full_like(transfer_group(phi), -math.inf)
    return {**phi, "transfer": group} if isinstance(phi, dict) else group

"""Policies that learn under fixed outer variables."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from bilevel.agents import (
    Actor,
    CriticPlay,
    Measured,
    Policy,
    SampledPlay,
    TermWeights,
    initial_parameters,
    learned_actor,
    seed_groups,
    weighted,
)
from bilevel.core import (
    Purpose,
    Tree,
    detach,
    in_parts,
    inner_step_per_agent,
    leaves,
    random_seeds_of,
    streams_of,
    tree_map,
)
from bilevel.methods._contract import Metrics, Placement, State
from bilevel.methods._method import PolicyMethod
from bilevel.optimizers import GradientTransformation, at_learning_rate, make_optimizer, tied
from bilevel.sharing import TERMS, OuterVariable, Report, Transfer, loss_weight_factors
from games.core import Game, Streams, require


class StepInputs(NamedTuple):
    """The data of an inner step, sampled or decided beforehand."""

    batch: Any
    """Sampled trajectories, or one of their minibatches; an empty tuple where values are exact."""
    entropy_coef: Tensor | None = None
    """Entropy coefficient of this outer step, scalar, reward units per nat; None: it is always 0."""
    learning_rate: Tensor | None = None
    """Learning rate of this outer step, scalar; None: it does not change during the run."""


def weight_metrics(weights: TermWeights) -> Metrics:
    """Name each agent's weights: <term>_weight_<agent>, [seed].

    >>> import torch
    >>> names = weight_metrics(TermWeights(*torch.ones(3, 1, 2)))
    >>> list(names)[:3], names["value_weight_1"]
    (['policy_weight_0', 'policy_weight_1', 'value_weight_0'], tensor([1.]))
    """
    return {
        f"{term}_weight_{agent}": of_agent.detach()
        for term, of_agents in zip(TERMS, weights, strict=True)
        if isinstance(of_agents, Tensor)
        for agent, of_agent in enumerate(of_agents.unbind(-1))
    }


def transfer_group(phi: Tree) -> Tensor:
    """The value of the variable between the agents, beside which phi may hold loss weights."""
    own: Tensor = phi["transfer"] if isinstance(phi, dict) else phi
    return own


class PolicyLearner:
    """Policies that learn under an outer variable that is not learned.

    It is a part of the state all the same, so that every learner's state has the same entries.

    Args:
        method: the inner loop's settings.
        game: what is played.
        placement: seeds, precision, device.
        variable: what passes between the agents.
        fixed: outer step -> the variable's value in it, the same for all seeds; None: as at the start.

    Raises:
        ValueError: the method's policy does not fit the game; what passes between agents is for another
            number of them; values are exact, and it is more than a matrix; or loss weights are to be learned,
            and the variable has none.

    >>> import games
    >>> from bilevel.methods import Fixed
    >>> learner = Fixed(self_interest=0.5).build(games.make("prisoners-dilemma"), Placement(seeds=3))
    >>> before = learner.init(seed=0)
    >>> after, metrics = learner.update(before)
    >>> int(before["outer_step"]), int(after["outer_step"]), metrics["welfare"].shape
    (0, 1, torch.Size([3]))
    """

    learns_loss_weights: ClassVar[bool] = False

    def __init__(
        self,
        method: PolicyMethod,
        game: Game,
        placement: Placement,
        variable: OuterVariable,
        *,
        fixed: Callable[[int], Tensor] | None = None,
    ) -> None:
        self.method, self.game, self.placement = method, game, placement
        self.play = method.play(game)
        self.schedule = method.schedule
        self.paced = paced = self.schedule.changes("inner.learning_rate")
        rate = 1.0 if paced else self.schedule.value("inner.learning_rate", 0)
        made = make_optimizer(method.inner.optimizer, learning_rate=rate)
        self.optimizer = self._together(made)
        step = inner_step_per_agent(
            self._inner_losses,
            (lambda data: self._together(at_learning_rate(made, data.learning_rate)))
            if paced
            else self.optimizer,
        )
        play = self.play
        self.step = (
            in_parts(step, functools.partial(self._parts, play)) if isinstance(play, CriticPlay) else step
        )
        self.variable, self.fixed = variable, fixed
        self.loss_weights = method.learned_loss_weights
        self.regularized = self.schedule.ever("inner.entropy_coef") or self.loss_weights is not None
        require(
            self.loss_weights is None or self.learns_loss_weights,
            f"{type(method).__name__} takes no gradient through its policies' steps, by which loss weights "
            "are learned: leave loss_weights at none.",
        )
        require(
            variable.agents == game.num_agents,
            f"{type(game).__name__} has {game.num_agents} agents, but what passes between them is for "
            f"{variable.agents}.",
        )
        require(
            self.play.draws or variable.exact,
            f"With exact values agents can only share by a matrix, and {type(method).__name__} does more: "
            "switch exact off (--inner.no-exact).",
        )

    def transfer(self, phi: Tree) -> Transfer:
        """How own rewards become those that learners see, by these outer variables."""
        return self.variable.transfer(transfer_group(phi))

    def inputs(self, state: State, batch: Any = ()) -> StepInputs:
        """The inputs of an inner step in the outer step that comes, on this batch."""
        bonus = self._value("inner.entropy_coef", state) if self.regularized else None
        return StepInputs(batch, bonus, self._value("inner.learning_rate", state) if self.paced else None)

    def init(self, seed: int) -> State:
        """The first state; repetition i is random seed `seed` + i, on which alone all depends that it does.

        Raises:
            ValueError: the seed is negative.
        """
        place = self.placement
        random_seeds = random_seeds_of(seed, place.seeds)
        theta = self._initial_policies(seed)
        phi = self.variable.initial(seed, place.seeds).to(place.device, place.dtype).clone()
        return {
            "outer_step": torch.zeros((), dtype=torch.int64),
            "random_seeds": random_seeds,
            "theta": theta,
            "opt_state": self.optimizer.init(theta),
            "phi": phi,
        }

    def update(self, state: State) -> tuple[State, Metrics]:
        """One outer step: train the policies `inner.steps` times, then measure them on fresh episodes.

        Raises:
            FloatingPointError: a reward or a policy stopped being a finite number (says where); the state
                passed in is not changed.
        """
        generator = self.streams(state, Purpose.TRAINING)
        theta, opt_state, phi = state["theta"], state["opt_state"], self._phi(state)
        transfer, steps = self.transfer(phi), self.schedule.steps(int(state["outer_step"]))
        with torch.no_grad():
            theta, opt_state = self._learn(steps, theta, opt_state, phi, generator, self.inputs(state))
            require_finite(theta, "A policy", state["outer_step"])
            metrics = self._measured(theta, transfer, self.play.sample(theta, transfer, generator))
            metrics |= self._weight_metrics(state)
        return self._next(state, theta=theta, opt_state=opt_state, phi=phi), metrics

    @torch.no_grad()
    def evaluate(self, state: State, *, episodes: int) -> Metrics:
        """Measure the policies of a state on episodes that they have not learned from.

        Seeds are played in groups, and observations are kept in blocks of time steps, so that there are no
        more of them at a time than in training, if a step of a single seed's episodes has no more. Neither
        changes what is drawn.

        Args:
            state: from `init` or `update`.
            episodes: per seed; unused when values are exact.

        Raises:
            FloatingPointError: a reward is not a finite number.
        """
        groups, play = [slice(None)], self.play
        if isinstance(play, SampledPlay):
            groups = seed_groups(len(state["theta"]), play.episodes, episodes, self.game.horizon)
        return joined_metrics([self._evaluated(seeds_of(state, group), episodes) for group in groups])

    def policies(self, state: State, repetition: int) -> tuple[Policy, Tensor]:
        """See `HasPolicies.policies`."""
        return self.play.policy, state["theta"][repetition].detach().cpu()

    def actor(self, game: Game, state: State, repetition: int) -> tuple[Actor, Transfer]:
        """See `Playable.actor`."""
        one = slice(repetition, repetition + 1)
        theta, phi = (
            tree_map(lambda leaf: leaf[one].detach().cpu(), state[name]) for name in ("theta", "phi")
        )
        return learned_actor(game, self.play.policy, theta[0]), self.transfer(phi)

    @torch.no_grad()
    def _learn(
        self,
        steps: int,
        theta: Tensor,
        opt_state: Tree,
        phi: Tensor,
        generator: torch.Generator,
        inputs: StepInputs,
    ) -> tuple[Tensor, Tree]:
        """A round of inner steps, each with a fresh batch in the inputs."""
        transfer = self.transfer(phi)
        for _ in range(steps):
            data = inputs._replace(batch=self.play.sample(theta, transfer, generator))
            theta, opt_state = self.step(theta, opt_state, phi, data)
        return theta, opt_state

    def _phi(self, state: State) -> Tree:
        """The outer variables of the outer step that comes."""
        phi = state["phi"]
        if self.fixed is None:
            return phi
        shares = transfer_group(phi)
        given = self.fixed(int(state["outer_step"])).to(shares).expand_as(shares)
        return {**phi, "transfer": given} if isinstance(phi, dict) else given

    def streams(self, state: State, purpose: Purpose) -> Streams:
        """Each seed's own stream of draws for one purpose in the outer step that comes."""
        return streams_of(state["random_seeds"], purpose, state["outer_step"], self.placement.device)

    def _initial_policies(self, seed: int, outer_step: int = 0) -> Tensor:
        """New policies in an outer step, of random seeds from `seed` on."""
        place = self.placement
        return initial_parameters(
            self.play.policy,
            seed=seed,
            seeds=place.seeds,
            agents=self.game.num_agents,
            alike=self.method.policy.shared,
            outer_step=outer_step,
        ).to(place.device, place.dtype)

    def _parts(self, play: CriticPlay, theta: Tensor, phi: Tree, data: StepInputs) -> list[StepInputs]:
        """The inputs of the gradient steps of one inner step."""
        return [data._replace(batch=part) for part in play.parts(theta, self.transfer(phi), data.batch)]

    def _inner_losses(self, own: Tensor, others: Tensor, phi: Tree, data: StepInputs) -> Tensor:
        transfer = self.transfer(phi)
        if self.loss_weights is None:
            return self.play.losses(own, others, transfer, data.batch, data.entropy_coef)
        assert data.entropy_coef is not None
        terms = self.play.terms(own, others, transfer, data.batch)
        return weighted(terms, self.term_weights(phi, data.entropy_coef))

    def term_weights(self, phi: Tree, bonus: Tensor) -> TermWeights:
        """The settings' coefficients times the learned factors, [seed, agent] each, differentiable in phi."""
        inner: Any = self.method.inner
        assert self.loss_weights is not None
        factors = loss_weight_factors(phi["loss_weights"], self.loss_weights.max_factor)
        policy, value, entropy = factors.unbind(-1)
        return TermWeights(inner.policy_coef * policy, inner.vf_coef * value, bonus * entropy)

    def _together(self, optimizer: GradientTransformation) -> GradientTransformation:
        return tied(optimizer) if self.method.policy.shared else optimizer

    def _value(self, name: str, state: State) -> Tensor:
        """What a setting is in the outer step that comes, scalar."""
        value = self.schedule.value(name, int(state["outer_step"]))
        return torch.tensor(value, dtype=self.placement.dtype, device=self.placement.device)

    def _next(self, state: State, **changed: Any) -> State:
        return {
            **state,
            **{name: detach(tree) for name, tree in changed.items()},
            "outer_step": state["outer_step"] + 1,
        }

    def _evaluated(self, state: State, episodes: int) -> Metrics:
        generator = self.streams(state, Purpose.EVALUATION)
        theta, transfer = state["theta"], self.transfer(state["phi"])
        measured, report = self.play.evaluate(theta, transfer, generator, episodes)
        return self._metrics(theta, transfer, measured, report) | self._weight_metrics(state)

    def _measured(self, theta: Tensor, transfer: Transfer, data: Any) -> Metrics:
        """Metrics of the policies, and of the transfer, on a sample of these policies."""
        report = transfer.report(data if self.play.draws else None)
        return self._metrics(theta, transfer, self.play.measure(theta, data), report)

    def _metrics(self, theta: Tensor, transfer: Transfer, measured: Measured, report: Report) -> Metrics:
        """What is written down of policies and a transfer that were measured."""
        return metrics_of(measured, report)

    def _weight_metrics(self, state: State) -> Metrics:
        """The loss weights of the outer step that comes, if they are learned."""
        if self.loss_weights is None:
            return {}
        bonus = self._value("inner.entropy_coef", state)
        return weight_metrics(self.term_weights(state["phi"], bonus))


def metrics_of(measured: Measured, report: Report) -> Metrics:
    """The metrics of what was measured, and of what passed between the agents (`contract.Metrics`)."""
    metrics = {"welfare": measured.values.sum(-1)}
    metrics |= {f"return_{agent}": values for agent, values in enumerate(measured.values.unbind(-1))}
    if measured.cooperation is not None:
        metrics["cooperation"] = measured.cooperation.mean(-1)
    return {name: values.detach() for name, values in (metrics | report).items()}


def seeds_of(state: State, group: slice) -> State:
    """Some seeds of what a state says of policies and outer variables."""
    names = "random_seeds", "theta", "phi"
    return {**state, **{name: tree_map(lambda leaf: leaf[group], state[name]) for name in names}}


def joined_metrics(groups: Sequence[Metrics]) -> Metrics:
    """Metrics of all seeds, of those of groups of them."""
    return {name: torch.cat([metrics[name] for metrics in groups]) for name in groups[0]}


def require_finite(values: Tree, what: str, outer_step: Tensor) -> None:
    """Raise FloatingPointError naming the first seed and agent whose values are not finite.

    Args:
        values: a tensor or a nest of them, [seed, agent, ...].
        what: the values, at the start of a sentence.
        outer_step: for the message.

    >>> require_finite(torch.tensor([[0.0, torch.nan]]), "A policy", torch.tensor(7))
    Traceback (most recent call last):
    FloatingPointError: A policy stopped being a finite number in outer step 7, first for seed 0, agent 1: try
    a smaller learning rate.
    """
    for leaf in leaves(values):
        finite = leaf.isfinite()
        if not finite.all():
            seed, agent = (~finite).nonzero()[0].tolist()[:2]
            raise FloatingPointError(
                f"{what} stopped being a finite number in outer step {int(outer_step)}, first for seed "
                f"{seed}, agent {agent}: try a smaller learning rate."
            )

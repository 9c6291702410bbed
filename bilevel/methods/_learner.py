"""Learner of policies under fixed outer variables, and the functions that all learners share."""

from __future__ import annotations

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
    mixture_in,
    seed_groups,
    weighted,
)
from bilevel.core import (
    Purpose,
    Tree,
    detach,
    gradient_at,
    inner_step_per_agent,
    leaves,
    over_minibatches,
    random_seeds_of,
    streams_of,
    tree_map,
)
from bilevel.methods._contract import Metrics, Placement, State
from bilevel.methods._method import PolicyMethod
from bilevel.methods._policy_settings import MixturePolicy
from bilevel.optimizers import GradientTransformation, at_learning_rate, make_optimizer, tied
from bilevel.sharing import TERMS, OuterVariable, Report, Transfer, agent_report, loss_weight_factors
from games.core import Game, Streams, require


class StepInputs(NamedTuple):
    """Inputs of an inner step: sampled data and values of schedules.

    >>> import games
    >>> from bilevel.core import Schedule
    >>> from bilevel.methods import Placement, PolicyGradient, Selfish
    >>> method = Selfish(inner=PolicyGradient(entropy_coef=Schedule.read("0:0.3, 200:0")))
    >>> learner = method.build(games.make("prisoners-dilemma"), Placement())
    >>> learner.inputs(learner.init(seed=0))
    StepInputs(batch=(), entropy_coef=tensor(0.3000, dtype=torch.float64), learning_rate=None)
    """

    batch: Any
    """Sampled trajectories, or one of their minibatches; an empty tuple where values are exact."""
    entropy_coef: Tensor | None = None
    """Entropy coefficient of this outer step, scalar, reward units per nat; None: always 0."""
    learning_rate: Tensor | None = None
    """Learning rate of this outer step, scalar; None: constant during the run."""


def transfer_group(phi: Tree) -> Tensor:
    """Group of phi that parametrizes the transfer; phi may also have loss weights."""
    group: Tensor = phi["transfer"] if isinstance(phi, dict) else phi
    return group


class PolicyLearner:
    """Learner of policies under an outer variable that is not learned.

    The variable is part of the state nevertheless, so that all learners' states have the same entries.

    Args:
        method: the inner loop's settings.
        game: the game.
        placement: seeds, precision, device.
        variable: the outer variable.
        fixed: outer step -> the variable's value in it, the same for all seeds; None: its initial value.

    Raises:
        ValueError: the method's policy does not fit the game; the variable has another number of agents;
            values are exact, and the variable is not a matrix; or the settings learn loss weights, and this
            learner has no hypergradient.

    >>> import games
    >>> from bilevel.methods import Fixed, Placement
    >>> learner = Fixed(self_interest=0.5).build(games.make("prisoners-dilemma"), Placement(seeds=3))
    >>> before = learner.init(seed=0)
    >>> after, metrics = learner.update(before)
    >>> int(before["outer_step"]), int(after["outer_step"]), metrics["welfare"].shape
    (0, 1, torch.Size([3]))
    """

    learns_loss_weights: ClassVar[bool] = False
    continues_policies: ClassVar[bool] = True
    """True if an outer step continues from the state's policies, so that other ones may take their place."""

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
        self.variable, self.fixed = variable, fixed
        self.play = play = method.play(game)
        self.schedule = method.schedule
        self.rate_varies = self.schedule.changes("inner.learning_rate")
        rate = 1.0 if self.rate_varies else self.schedule.value("inner.learning_rate", 0)
        optimizer = make_optimizer(method.inner.optimizer, learning_rate=rate)
        self.optimizer = self._tie_if_shared(optimizer)
        annealed = isinstance(method.policy, MixturePolicy) and self.schedule.changes("policy.alpha")
        self.mixture = mixture_in(play.policy) if annealed else None
        require(
            self.mixture is None or self.mixture.annealed,
            "Phases change policy.alpha, but the policies are built with a constant one: make it a schedule, "
            'as in --policy.alpha "0:1, 100:2".',
        )
        self.step = inner_step_per_agent(
            self._inner_losses,
            (lambda data: self._tie_if_shared(at_learning_rate(optimizer, data.learning_rate)))
            if self.rate_varies
            else self.optimizer,
            method.update_rule,
        )
        if isinstance(play, CriticPlay):

            def parts(theta: Tensor, phi: Tree, data: StepInputs) -> list[StepInputs]:
                batches = play.batches(theta, self.transfer(phi), data.batch)
                return [data._replace(batch=batch) for batch in batches]

            self.step = over_minibatches(self.step, parts)
        self.loss_weights = method.learned_loss_weights
        self.regularized = self.schedule.is_used("inner.entropy_coef") or self.loss_weights is not None
        require(
            self.loss_weights is None or self.learns_loss_weights,
            f"{type(method).__name__} takes no gradient through its policies' steps, by which loss weights "
            "are learned: leave loss_weights at none.",
        )
        require(
            variable.agents == game.num_agents,
            f"{type(game).__name__} has {game.num_agents} agents, but the outer variable is for "
            f"{variable.agents}.",
        )
        require(
            play.draws or variable.exact,
            f"With exact values agents can only share by a matrix, and {type(method).__name__} does more: "
            "switch exact off (--inner.no-exact).",
        )

    def transfer(self, phi: Tree) -> Transfer:
        """Build the transfer at these outer variables."""
        return self.variable.transfer(transfer_group(phi))

    def inputs(self, state: State, batch: Any = ()) -> StepInputs:
        """Inputs of an inner step in the next outer step, on this batch."""
        bonus = self._value("inner.entropy_coef", state) if self.regularized else None
        return StepInputs(
            batch, bonus, self._value("inner.learning_rate", state) if self.rate_varies else None
        )

    def init(self, seed: int) -> State:
        """Build the initial state; repetition i depends on the random seed `seed` + i alone.

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
        """Take an outer step: train the policies `inner.steps` times, then evaluate them on fresh episodes.

        Raises:
            FloatingPointError: a reward or a policy stopped being finite (names the seed and agent); the
                state passed in is not changed.
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
        """Evaluate the policies of a state on `episodes` fresh episodes per seed, unless values are exact.

        To use no more memory than training, if possible, groups of seeds are evaluated one after the other,
        in blocks of time steps. Neither changes the draws.
        """

        def measure(state: State) -> Metrics:
            generator = self.streams(state, Purpose.EVALUATION)
            theta, transfer = state["theta"], self.transfer(state["phi"])
            measured, report = self.play.evaluate(theta, transfer, generator, episodes)
            return self._metrics(theta, transfer, measured, report) | self._weight_metrics(state)

        groups, play = [slice(None)], self.play
        if isinstance(play, SampledPlay):
            groups = seed_groups(len(state["theta"]), play.episodes, episodes, self.game.horizon)
        return measure_groups(measure, state, groups)

    def policies(self, state: State, repetition: int) -> tuple[Policy, Tensor]:
        return self.play.policy, state["theta"][repetition].detach().cpu()

    def actor(self, game: Game, state: State, repetition: int) -> tuple[Actor, Transfer]:
        selected = slice(repetition, repetition + 1)
        theta, phi = (
            tree_map(lambda leaf: leaf[selected].detach().cpu(), state[name]) for name in ("theta", "phi")
        )
        return learned_actor(game, self.play.policy, theta[0]), self.transfer(phi)

    def streams(self, state: State, purpose: Purpose) -> Streams:
        """Random streams, one per seed, for one purpose in the next outer step."""
        return streams_of(state["random_seeds"], purpose, state["outer_step"], self.placement.device)

    def term_weights(self, phi: Tree, bonus: Tensor) -> TermWeights:
        """Coefficients times the learned factors, [seed, agent] each, differentiable with respect to phi."""
        inner: Any = self.method.inner
        assert self.loss_weights is not None
        factors = loss_weight_factors(phi["loss_weights"], self.loss_weights.max_factor)
        policy, value, entropy = factors.unbind(-1)
        return TermWeights(inner.policy_coef * policy, inner.vf_coef * value, bonus * entropy)

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
        """Take inner steps, each on a fresh batch."""
        transfer = self.transfer(phi)
        for _ in range(steps):
            data = inputs._replace(batch=self.play.sample(theta, transfer, generator))
            theta, opt_state = self.step(theta, opt_state, phi, data)
        return theta, opt_state

    def _descend(
        self, theta: Tensor, opt_state: Tree, direction: Tensor, inputs: StepInputs
    ) -> tuple[Tensor, Tree]:
        """Descend a direction by the policies' optimizer, at the learning rate of these inputs."""
        rate = inputs.learning_rate
        optimizer = self.optimizer if rate is None else at_learning_rate(self.optimizer, rate)
        updates, opt_state = optimizer.update(direction, opt_state, params=theta, inplace=False)
        return theta + updates, opt_state

    def _phi(self, state: State) -> Tree:
        """Outer variables of the next outer step."""
        phi = state["phi"]
        if self.fixed is None:
            return phi
        group = transfer_group(phi)
        fixed = self.fixed(int(state["outer_step"])).to(group).expand_as(group)
        return {**phi, "transfer": fixed} if isinstance(phi, dict) else fixed

    def _initial_policies(self, seed: int, outer_step: int = 0) -> Tensor:
        place = self.placement
        theta = initial_parameters(
            self.play.policy,
            seed=seed,
            seeds=place.seeds,
            agents=self.game.num_agents,
            alike=self.method.policy.shared,
            outer_step=outer_step,
        ).to(place.device, place.dtype)
        return self._annealed(theta, outer_step)

    def _annealed(self, theta: Tensor, outer_step: int) -> Tensor:
        """Policies with the alpha of an outer step, if the schedule changes it."""
        if self.mixture is None:
            return theta
        return self.mixture.with_alpha(theta, self.schedule.value("policy.alpha", outer_step))

    def _inner_losses(self, own: Tensor, others: Tensor, phi: Tree, data: StepInputs) -> Tensor:
        transfer = self.transfer(phi)
        if self.loss_weights is None:
            return self.play.losses(own, others, transfer, data.batch, data.entropy_coef)
        assert data.entropy_coef is not None
        terms = self.play.terms(own, others, transfer, data.batch)
        return weighted(terms, self.term_weights(phi, data.entropy_coef))

    def _tie_if_shared(self, optimizer: GradientTransformation) -> GradientTransformation:
        return tied(optimizer) if self.method.policy.shared else optimizer

    def _value(self, name: str, state: State) -> Tensor:
        """Value of a setting in the next outer step, scalar."""
        value = self.schedule.value(name, int(state["outer_step"]))
        return torch.tensor(value, dtype=self.placement.dtype, device=self.placement.device)

    def _next(self, state: State, **changed: Any) -> State:
        after = {**state, **{name: detach(tree) for name, tree in changed.items()}}
        following = state["outer_step"] + 1
        return {**after, "theta": self._annealed(after["theta"], int(following)), "outer_step": following}

    def _measured(self, theta: Tensor, transfer: Transfer, data: Any) -> Metrics:
        """Metrics of policies and a transfer, on a sample of these policies."""
        report = transfer.report(data if self.play.draws else None)
        return self._metrics(theta, transfer, self.play.measure(theta, data), report)

    def _metrics(self, theta: Tensor, transfer: Transfer, measured: Measured, report: Report) -> Metrics:
        """Metrics of an evaluation of policies and a transfer."""
        return metrics_of(measured, report)

    def _weight_metrics(self, state: State) -> Metrics:
        """Loss weights of the next outer step, if they are learned: <term>_weight_<agent>, [seed]."""
        if self.loss_weights is None:
            return {}
        weights = self.term_weights(state["phi"], self._value("inner.entropy_coef", state))
        metrics: Metrics = {}
        for term, of_agents in zip(TERMS, weights, strict=True):
            if isinstance(of_agents, Tensor):
                metrics |= agent_report(f"{term}_weight", of_agents.detach())
        return metrics


def metrics_of(measured: Measured, report: Report) -> Metrics:
    """Metrics of an evaluation and of a transfer's report (see `Metrics`)."""
    metrics = {"welfare": measured.values.sum(-1)}
    metrics |= agent_report("return", measured.values)
    if measured.cooperation is not None:
        metrics["cooperation"] = measured.cooperation.mean(-1)
    return {name: values.detach() for name, values in (metrics | report).items()}


def measure_groups(measure: Callable[[State], Metrics], state: State, groups: Sequence[slice]) -> Metrics:
    """Evaluate groups of a state's seeds one after the other, and concatenate their metrics."""
    measured = []
    for group in groups:
        names = "random_seeds", "theta", "phi"
        selected = {name: tree_map(lambda leaf, group=group: leaf[group], state[name]) for name in names}
        measured.append(measure({**state, **selected}))
    return {name: torch.cat([metrics[name] for metrics in measured]) for name in measured[0]}


def descend(
    optimizer: GradientTransformation,
    parameters: Tensor,
    opt_state: Tree,
    loss: Callable[[Tensor], Tensor],
    steps: int,
) -> tuple[Tensor, Tree]:
    """Descend a scalar loss by steps of an optimizer."""
    for _ in range(steps):
        gradient = gradient_at(parameters, loss)
        updates, opt_state = optimizer.update(gradient, opt_state, params=parameters, inplace=False)
        parameters = parameters + updates
    return parameters, opt_state


def require_finite(values: Tree, subject: str, outer_step: Tensor) -> None:
    """Raise FloatingPointError for the first seed and agent whose values are not finite."""
    for leaf in leaves(values):
        finite = leaf.isfinite()
        if not finite.all():
            seed, agent = (~finite).nonzero()[0].tolist()[:2]
            raise FloatingPointError(
                f"{subject} stopped being a finite number in outer step {int(outer_step)}, first for seed "
                f"{seed}, agent {agent}: try a smaller learning rate."
            )

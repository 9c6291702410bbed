"""Policies that learn under a transfer of rewards that is given.

The weights that terms of losses have in an outer step: what settings say, times what was learned.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

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
from bilevel.core import Purpose, Tree, detach, in_parts, inner_step_per_agent, random_seeds_of, streams_of
from bilevel.methods._contract import Metrics, Placement, State
from bilevel.methods._method import PolicyMethod
from bilevel.optimizers import GradientTransformation, at_learning_rate, make_optimizer, tied
from bilevel.sharing import TERMS, OuterVariable, Report, Transfer, WithLossWeights
from games.core import Game, Streams, require


def term_weights(settings: Any, learned: WithLossWeights, phi: Tensor, bonus: Tensor) -> TermWeights:
    """The settings' weights, the bonus among them, times the learned factors.

    Args:
        settings: of an inner learner with a critic.
        learned: the outer variable that has the factors ...
        phi: ... and its value, [seed, row, entry], in which the result is differentiable.
        bonus: of the entropy in this outer step, scalar, reward units per nat.

    Returns:
        tensors, [seed, agent] each.
    """
    policy, value, entropy = learned.factors(phi).unbind(-1)
    return TermWeights(settings.policy_coef * policy, settings.vf_coef * value, bonus * entropy)


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
            (lambda data: self._together(at_learning_rate(made, data[-1]))) if paced else self.optimizer,
        )
        play = self.play
        self.step = (
            in_parts(step, functools.partial(self._parts, play)) if isinstance(play, CriticPlay) else step
        )
        self.variable, self.fixed = variable, fixed
        self.loss_weights = variable if isinstance(variable, WithLossWeights) else None
        self.regularized = self.schedule.ever("inner.entropy_coef") or self.loss_weights is not None
        require(
            method.learned_loss_weights is None or self.loss_weights is not None,
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

    def transfer(self, phi: Tensor) -> Transfer:
        """How own rewards become those that learners see, by these outer variables."""
        return self.variable.transfer(phi)

    def now(self, state: State) -> tuple[Tensor | None, ...]:
        """What inner steps see beside their sample: the entropy bonus, and a learning rate that changes.

        Args:
            state: from `init` or `update`.

        Returns:
            scalars, of the outer step that comes: the bonus in reward units per nat, None if there never is
            one.
        """
        bonus = self._value("inner.entropy_coef", state) if self.regularized else None
        return (bonus, self._value("inner.learning_rate", state)) if self.paced else (bonus,)

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
        """One outer step: train the policies `inner_steps` times, then measure them on fresh episodes.

        Raises:
            FloatingPointError: a reward or a policy stopped being a finite number (says where); the state
                passed in is not changed.
        """
        generator, now = self.streams(state, Purpose.TRAINING), self.now(state)
        theta, opt_state, phi = state["theta"], state["opt_state"], self._phi(state)
        transfer, steps = self.transfer(phi), self.schedule.steps(int(state["outer_step"]))
        with torch.no_grad():
            theta, opt_state = self._learn(steps, theta, opt_state, phi, generator, *now)
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
        theta, phi = (state[name][repetition : repetition + 1].detach().cpu() for name in ("theta", "phi"))
        return learned_actor(game, self.play.policy, theta[0]), self.transfer(phi)

    @torch.no_grad()
    def _learn(
        self,
        steps: int,
        theta: Tensor,
        opt_state: Tree,
        phi: Tensor,
        generator: torch.Generator,
        *now: Tensor | None,
    ) -> tuple[Tensor, Tree]:
        """A round of inner steps; `now` is what they see beside their sample."""
        transfer = self.transfer(phi)
        for _ in range(steps):
            data = self.play.sample(theta, transfer, generator), *now
            theta, opt_state = self.step(theta, opt_state, phi, data)
        return theta, opt_state

    def _phi(self, state: State) -> Tensor:
        """The outer variables of the outer step that comes."""
        phi: Tensor = state["phi"]
        if self.fixed is None:
            return phi
        given = self.fixed(int(state["outer_step"])).to(phi)
        if self.loss_weights is None:
            return given.expand_as(phi)
        return self.loss_weights.joined(given.expand(len(phi), -1, -1), self.loss_weights.parts(phi)[1])

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

    def _parts(self, play: CriticPlay, theta: Tensor, phi: Tensor, data: Any) -> list[Any]:
        """What the gradient steps of one inner step use."""
        sample, *told = data
        return [(part, *told) for part in play.parts(theta, self.transfer(phi), sample)]

    def _inner_losses(self, own: Tensor, others: Tensor, phi: Tensor, data: Any) -> Tensor:
        sample, bonus, *_ = data
        transfer = self.transfer(phi)
        if self.loss_weights is None:
            return self.play.losses(own, others, transfer, sample, bonus)
        terms = self.play.terms(own, others, transfer, sample)
        return weighted(terms, term_weights(self.method.inner, self.loss_weights, phi, bonus))

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
        return weight_metrics(term_weights(self.method.inner, self.loss_weights, state["phi"], bonus))


def metrics_of(measured: Measured, report: Report) -> Metrics:
    """The metrics of what was measured, and of what passed between the agents (`contract.Metrics`)."""
    metrics = {"welfare": measured.values.sum(-1)}
    metrics |= {f"return_{agent}": values for agent, values in enumerate(measured.values.unbind(-1))}
    if measured.cooperation is not None:
        metrics["cooperation"] = measured.cooperation.mean(-1)
    return {name: values.detach() for name, values in (metrics | report).items()}


def seeds_of(state: State, group: slice) -> State:
    """Some seeds of what a state says of policies and outer variables."""
    return {**state, **{name: state[name][group] for name in ("random_seeds", "theta", "phi")}}


def joined_metrics(groups: Sequence[Metrics]) -> Metrics:
    """Metrics of all seeds, of those of groups of them."""
    return {name: torch.cat([metrics[name] for metrics in groups]) for name in groups[0]}


def require_finite(values: Tensor, what: str, outer_step: Tensor) -> None:
    """Raise FloatingPointError naming the first seed and agent of [seed, agent, ...] that is not finite.

    >>> require_finite(torch.tensor([[0.0, torch.nan]]), "A policy", torch.tensor(7))
    Traceback (most recent call last):
    FloatingPointError: A policy stopped being a finite number in outer step 7, first for seed 0, agent 1: try
    a smaller learning rate.
    """
    finite = values.isfinite()
    if not finite.all():
        seed, agent = (~finite).nonzero()[0].tolist()[:2]
        raise FloatingPointError(
            f"{what} stopped being a finite number in outer step {int(outer_step)}, first for seed {seed}, "
            f"agent {agent}: try a smaller learning rate."
        )

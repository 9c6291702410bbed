"""`meva`: gradient ascent on the value of where learning leads, estimated by a network on joint policies."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from bilevel.agents import Tabular, soft_update
from bilevel.core import Purpose, Range, Tree, first_draws, gradient_at
from bilevel.methods._contract import Learner, Metrics, Placement, State
from bilevel.methods._inner_settings import PolicyGradient
from bilevel.methods._learner import PolicyLearner, StepInputs, require_finite
from bilevel.methods._meta_value import Critic, MetaValueNetwork, lambda_targets, quantile_loss
from bilevel.methods._method import PolicyMethod
from bilevel.methods._settings import OptimizerName, SettingsGroup, Whole
from bilevel.optimizers import make_optimizer
from bilevel.sharing import FixedMatrix, identity_sharing
from games.core import Game, Streams, normal, require, uniform

Fraction = Annotated[float, Range(above=0, max=1)]
Unit = Annotated[float, Range(min=0, max=1)]


@dataclass(frozen=True, kw_only=True)
class MetaValueSettings(SettingsGroup, part="meta"):
    """The meta-value network, and its training on trajectories of learning policies.

    >>> MetaValueSettings(stride=1)
    Traceback (most recent call last):
    ValueError: meta.stride must be a whole number, 2 or more, not 1.
    """

    discount: Unit = 0.95
    """Meta-discount of the agents: weight of policies one learning step later, from 0 (naive learners) to
    1."""
    training_steps: Annotated[int, Range(min=0)] = 200
    """Outer steps, the first ones of a run, in which the network is trained and the agents' policies wait,
    0 or more. The source has 1000."""
    updates: Whole = 10
    """Updates of the network in such an outer step, along one trajectory of exploring policies, 1 or more."""
    stride: Annotated[int, Range(min=2)] = 10
    """Learning steps that policies explore from one update to the next, and length of the trajectory from
    there on which an update trains; 2 or more."""
    batch_size: Whole = 16
    """Trajectories of an update, 1 or more. The source has 128."""
    optimizer: OptimizerName = "adam"
    """Optimizer of the network."""
    learning_rate: Annotated[float, Range(above=0)] = 0.001
    """Learning rate of the network, above 0."""
    td_lambda: Unit = 0.9
    """Weight of longer returns in the targets, from 0 (one step) to 1 (the whole trajectory)."""
    tau: Fraction = 0.01
    """Rate of the target network's soft update after each update, above 0 and at most 1."""
    quantiles: Whole = 16
    """Quantiles of a meta-value's distribution, 1 or more. The source has 64."""
    hidden_size: Whole = 32
    """Units of each hidden layer, 1 or more. The source has 128."""
    flip_probability: Annotated[float, Range(min=0, max=0.5)] = 1 / 16
    """Probability with which an exploring policy follows the network with the sign of a unit of the last
    hidden layer flipped, from 0 to 0.5."""


@dataclass(frozen=True, kw_only=True)
class MeVa(PolicyMethod):
    """Meta-value learning: ascend the value of the policies to which the agents' learning leads.

    The meta-value of joint policies x_t is the discounted mean of the returns of the policies after them,
    U(x_t) = (1 - gamma) f(x_(t+1)) + gamma U(x_(t+1)), where all agents learn by this method: agent i follows

        theta_i += alpha grad_i [(1 - gamma) f_i(x) + gamma U_i(x)].

    A network of both agents' policies and meta-discounts estimates U by TD(lambda) with a target network and
    quantile regression. It trains on trajectories of policies that start at random and follow it: meta-
    discounts are drawn from the arcsine distribution, for each agent separately, and exploring policies
    follow it with random signs flipped. After `meta.training_steps` outer steps it stays fixed, and the
    agents, whose policies have waited, learn from it. With a meta-discount of 0 they are naive learners.

    Needs: the other agent's policy and rewards, and exact values, from which trajectories of both agents'
    learning are simulated beforehand; no derivative of another agent's gradient. Conserves the total: no
    reward is transferred.

    Departures: defaults are smaller than the source's (see `meta`), to train on a CPU. Both agents learn by
    this method; the source also trains networks against naive and LOLA learners. Initial weights are normal
    rather than orthogonal, without weight decay, with Adam's usual decay rates. In the source's code
    policies learn from the target network, as here. Policies are tables and their values exact, as in the
    source.

    Raises:
        ValueError: a setting is out of range; at build, the game does not have two agents, values are not
            exact, policies take other steps than those of plain gradients, or there is an entropy bonus,
            which is no part of the meta-value.

    Source:
        Cooijmans, Aghajohari and Courville, Meta-Value Learning: a General Framework for Learning with
        Learning Awareness, arXiv 2307.08863; compared with the code of MetaValueLearning/MetaValueLearning.

    >>> import games
    >>> from bilevel.methods import MetaValueSettings, Placement
    >>> meta = MetaValueSettings(training_steps=1, updates=2, hidden_size=8, batch_size=4)
    >>> learner = MeVa(meta=meta).build(games.make("repeated-prisoners-dilemma"), Placement(seeds=3))
    >>> states = [learner.init(seed=0)]
    >>> for _ in range(2):
    ...     states.append(learner.update(states[-1])[0])
    >>> [bool((after["theta"] != before["theta"]).any()) for before, after in zip(states, states[1:])]
    [False, True]
    """

    inner: PolicyGradient = PolicyGradient(exact=True)
    """The agents' steps: optimizer and learning rate."""
    meta: MetaValueSettings = MetaValueSettings()
    """The meta-value network and its training."""

    def build(self, game: Game, placement: Placement) -> Learner:
        name = type(game).__name__
        require(
            game.num_agents == 2,
            f"The meta-value network is for two agents, and {name} has {game.num_agents}.",
        )
        learner = MetaValueLearner(self, game, placement)
        require(
            not learner.play.draws and isinstance(learner.play.policy, Tabular),
            f"meva learns from exact values of tabular policies, and {name} is sampled: choose a matrix game "
            "or a repeated one, and exact values.",
        )
        optimizer = self.inner.optimizer
        require(
            optimizer == "sgd",
            f"meva simulates plain gradient steps: set inner.optimizer to sgd, not {optimizer}.",
        )
        require(
            not self.schedule.is_used("inner.entropy_coef"),
            "An entropy bonus is no part of the meta-value: set inner.entropy_coef to 0.",
        )
        return learner


class MetaValueLearner(PolicyLearner):
    """Learner of a meta-value network, and then of policies that ascend it.

    A state has, besides those of `PolicyLearner`, meta_value and target_meta_value, [seed, parameter], and
    meta_opt_state.
    """

    def __init__(self, method: MeVa, game: Game, placement: Placement) -> None:
        super().__init__(method, game, placement, FixedMatrix(identity_sharing(game.num_agents)))
        self.meta = meta = method.meta
        equivariant = bool(game.symmetric)
        parameters = self.play.policy.num_parameters
        self.network = MetaValueNetwork(parameters, meta.hidden_size, meta.quantiles, equivariant)
        self.meta_optimizer = make_optimizer(meta.optimizer, learning_rate=meta.learning_rate)

    def init(self, seed: int) -> State:
        place = self.placement
        seeds = range(seed, seed + place.seeds)
        state = super().init(seed)
        drawn = first_draws(self.network.initial, seeds, Purpose.MODELS).to(place.device, place.dtype)
        opt_state = self.meta_optimizer.init(drawn)
        return state | {
            "meta_value": drawn,
            "target_meta_value": drawn.clone(),
            "meta_opt_state": opt_state,
            "meta_loss": drawn.new_zeros(len(drawn)),
        }

    def update(self, state: State) -> tuple[State, Metrics]:
        """Take an outer step: train the network first, and the policies later, then evaluate these.

        Raises:
            FloatingPointError: a policy or a network stopped being finite (names the seed and agent).
        """
        changed = self._train(state) if int(state["outer_step"]) < self.meta.training_steps else {}
        if not changed:
            theta, opt_state = state["theta"], state["opt_state"]
            for _ in range(self.schedule.steps(int(state["outer_step"]))):
                direction = self.direction(state, theta)
                theta, opt_state = self._descend(theta, opt_state, direction, self.inputs(state))
            require_finite(theta, "A policy", state["outer_step"])
            changed = {"theta": theta, "opt_state": opt_state}
        state = self._next(state, **changed)
        metrics = self._measured(state["theta"], self.transfer(state["phi"]), ())
        return state, metrics | {"meta_loss": state["meta_loss"]}

    @torch.no_grad()
    def evaluate(self, state: State, *, episodes: int) -> Metrics:
        return super().evaluate(state, episodes=episodes) | {"meta_loss": state["meta_loss"]}

    def direction(self, state: State, theta: Tensor) -> Tensor:
        """Direction that the agents descend at these policies, [seed, agent, parameter]."""
        discounts = theta.new_full((len(theta), 1, 2), self.meta.discount)
        critic = Critic(state["target_meta_value"], discounts)
        return self._direction(critic, theta.unsqueeze(1), self.inputs(state)).squeeze(1)

    def _train(self, state: State) -> dict[str, Tree]:
        """Train the network along one trajectory of exploring policies."""
        meta, inputs = self.meta, self.inputs(state)
        rate = self.schedule.value("inner.learning_rate", int(state["outer_step"]))
        online, target, opt_state = (
            state[name] for name in ("meta_value", "target_meta_value", "meta_opt_state")
        )
        generator, seeds = self.streams(state, Purpose.TRAINING), len(online)
        shape = (seeds, meta.batch_size, 2)
        explorers = self._explorers(shape, generator)
        discounts = self._discounts(shape, generator)
        drawn = uniform((*shape, meta.hidden_size), generator, online.dtype)
        flips = 1 - 2 * (drawn < meta.flip_probability).to(online)
        for _ in range(meta.updates):
            explored = Critic(online, discounts, flips)
            for _ in range(meta.stride):
                explorers = explorers - rate * self._direction(explored, explorers, inputs)
            trajectory = [explorers]
            critic = Critic(online, self._discounts(shape, generator))
            for _ in range(meta.stride):
                latest = trajectory[-1]
                trajectory.append(latest - rate * self._direction(critic, latest, inputs))
            thetas = torch.stack(trajectory)
            with torch.no_grad():
                values = self.play.values(thetas[1:], ())
                bootstrap = [
                    self.network.quantile_values(critic._replace(parameters=target), theta, theta)
                    for theta in trajectory[1:]
                ]
                goals = lambda_targets(values, torch.stack(bootstrap), critic.discounts, meta.td_lambda)
            losses = functools.partial(self._losses, critic=critic, thetas=thetas[:-1], goals=goals)
            gradient = gradient_at(online, functools.partial(_total, losses))
            updates, opt_state = self.meta_optimizer.update(gradient, opt_state, params=online, inplace=False)
            online = online + updates
            target = soft_update(target, online, meta.tau)
        require_finite(online, "A meta-value network", state["outer_step"])
        with torch.no_grad():
            remaining = losses(online)
        return {
            "meta_value": online,
            "target_meta_value": target,
            "meta_opt_state": opt_state,
            "meta_loss": remaining,
        }

    def _losses(self, parameters: Tensor, critic: Critic, thetas: Tensor, goals: Tensor) -> Tensor:
        """Mean loss of each seed, [seed]; thetas [time, seed, sample, agent, parameter]."""
        time = len(thetas)
        moved = thetas.movedim(0, 1).flatten(1, 2)
        repeated = Critic(parameters, critic.discounts.repeat(1, time, 1))
        predicted = self.network.quantile_values(repeated, moved, moved)
        return quantile_loss(predicted, goals.movedim(0, 1).flatten(1, 2)).mean((1, 2))

    def _direction(self, critic: Critic, theta: Tensor, inputs: StepInputs) -> Tensor:
        """Gradients of all agents' losses by their own policies, [seed, sample, agent, parameter].

        Exploring policies, which flip signs, follow the network alone.
        """
        scale = self.game.effective_horizon
        phi = identity_sharing(2).to(theta).expand(theta.shape[0] * theta.shape[1], 2, 2)

        def loss(own: Tensor) -> Tensor:
            later: Tensor = -scale * self.network(critic, own, theta)
            if critic.flips is not None:
                return later.sum()
            now = self._inner_losses(own.flatten(0, 1), theta.flatten(0, 1), phi, inputs)
            discounts = critic.discounts
            total: Tensor = ((1 - discounts) * now.unflatten(0, theta.shape[:2]) + discounts * later).sum()
            return total

        return gradient_at(theta, loss)

    def _explorers(self, shape: tuple[int, int, int], generator: Streams) -> Tensor:
        """Draw policies at which trajectories start, [seed, sample, agent, parameter]."""
        policy = self.play.policy
        assert isinstance(policy, Tabular)
        drawn = normal((*shape, policy.num_parameters), generator, self.placement.dtype)
        return drawn * policy.initial_scale

    def _discounts(self, shape: tuple[int, int, int], generator: Streams) -> Tensor:
        """Draw meta-discounts from the arcsine distribution, [seed, sample, agent]."""
        drawn = uniform(shape, generator, self.placement.dtype)
        return (torch.pi / 2 * drawn).sin().square()


def _total(losses: Callable[[Tensor], Tensor], parameters: Tensor) -> Tensor:
    """Sum of all seeds' losses, which share no parameters."""
    return losses(parameters).sum()

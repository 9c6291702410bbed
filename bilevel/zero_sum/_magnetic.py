"""Regularized dynamics: magnetic mirror descent, and regularized Nash dynamics (R-NaD)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bilevel.zero_sum._game_tree import MagneticSolver
from bilevel.zero_sum._multiplicative_weights import require_positive
from bilevel.zero_sum._rule import Rule, RuleState, advance, all_values
from bilevel.zero_sum._sequential import SequentialRule
from games.core import require
from games.theory import Strategies, action_counts


@dataclass(frozen=True)
class MagneticMirrorDescent(Rule, SequentialRule):
    """Magnetic mirror descent: x ~ [x rho^(eta tau) exp(eta u)]^(1 / (1 + eta tau)), with the magnet rho.

    The magnet is uniform at first. If it stays there, the last iterate converges at a linear rate to the
    quantal response equilibrium of temperature tau (for eta <= tau / L^2, with L the largest payoff in
    absolute value, in two-agent zero-sum games). If it moves, rho ~ rho^(1 - r) x^r with the magnet's rate
    r, or if the temperature is annealed, the last iterate approaches a Nash equilibrium. In sequential games
    (`learn_sequential`) the step is taken in every information state, on the expected payoffs of its actions;
    the equilibrium of a fixed magnet is then the agent quantal response equilibrium.

    Source:
        Sokota et al., A Unified Approach to Reinforcement Learning, Quantal Response Equilibria, and
        Two-Player Zero-Sum Games, arXiv 2206.05825; settings as in their code.

    >>> import torch
    >>> from bilevel.zero_sum import learn
    >>> payoffs = torch.tensor([[0.0, -3, 3], [3, 0, -1], [-3, 1, 0]], dtype=torch.float64)
    >>> rule = MagneticMirrorDescent(temperature=0.1, learning_rate=0.1)
    >>> learn((payoffs + 3) / 6, rule, steps=3000).state.strategies[0]
    tensor([0.1735, 0.4863, 0.3402], dtype=torch.float64)
    """

    temperature: float = 0.1
    """Temperature tau, the weight of the divergence from the magnet, in payoffs; above 0."""
    learning_rate: float = 0.1
    """Learning rate eta, per unit of payoff; above 0."""
    magnet_rate: float = 0.0
    """Rate r at which the magnet follows the strategy, from 0 (it is fixed) to 1."""
    anneal: bool = False
    """Divide temperature and learning rate by sqrt(t) in step t."""

    def __post_init__(self) -> None:
        require_positive(temperature=self.temperature, learning_rate=self.learning_rate)
        require(0 <= self.magnet_rate <= 1, f"magnet_rate must be from 0 to 1, not {self.magnet_rate}.")

    def memory(self, payoffs: Tensor, strategies: Strategies) -> tuple[Strategies, Strategies]:
        """Log-probabilities of the strategies and of the magnet."""
        return log_interior(strategies), log_uniform(payoffs)

    def step(self, state: RuleState, payoffs: Tensor) -> RuleState:
        logs, magnets = state.memory
        eta, tau = self.rates(state.steps + 1)
        values = all_values(payoffs, state.strategies)
        logs = tuple(proximal(*one, eta=eta, tau=tau) for one in zip(logs, magnets, values, strict=True))
        if self.magnet_rate > 0:
            magnets = tuple(
                magnet.lerp(log, self.magnet_rate).log_softmax(-1)
                for magnet, log in zip(magnets, logs, strict=True)
            )
        return advance(state, tuple(log.exp() for log in logs), (logs, magnets))

    def solver(self, game: Any) -> MagneticSolver:
        """Create the solver of a sequential two-agent zero-sum `pyspiel.Game`."""
        return MagneticSolver(game, self.rates, self.magnet_rate)

    def rates(self, step: int) -> tuple[float, float]:
        """Learning rate and temperature of a step, the first of which is 1."""
        scale = math.sqrt(step) if self.anneal else 1.0
        return self.learning_rate / scale, self.temperature / scale


def proximal(log: Tensor, magnet: Tensor, values: Tensor, *, eta: float, tau: float) -> Tensor:
    """Log-probabilities after a step of magnetic mirror descent, [..., action]."""
    return ((log + eta * tau * magnet + eta * values) / (1 + eta * tau)).log_softmax(-1)


def log_uniform(payoffs: Tensor) -> Strategies:
    """Log-probabilities of uniform strategies, [action] each."""
    return tuple(payoffs.new_full((count,), -math.log(count)) for count in action_counts(payoffs))


def log_interior(strategies: Strategies) -> Strategies:
    """Log-probabilities, [..., action] each; ValueError if a probability is 0."""
    require(
        all(bool((strategy > 0).all()) for strategy in strategies),
        "Regularized rules start from positive probabilities; one of these is 0.",
    )
    return tuple(strategy.log() for strategy in strategies)


@dataclass(frozen=True)
class RegularizedNashDynamics(Rule):
    """Regularized Nash dynamics (R-NaD): learn in a regularized game, then move the magnet; repeat.

    The payoffs of the regularized game are u - tau log(x / rho): they pull the strategy to the magnet rho,
    at first uniform. Multiplicative weights on these payoffs converge to the game's only equilibrium. After
    `inner_steps` steps the magnet moves there and the next round begins. In two-agent zero-sum games the
    magnets, and the last iterate with them, converge to a Nash equilibrium.

    Source:
        Perolat et al., From Poincaré Recurrence to Convergence in Imperfect Information Games, arXiv
        2002.08456; Perolat et al., Mastering the Game of Stratego with Model-Free Multiagent Reinforcement
        Learning, arXiv 2206.15378.

    >>> import torch
    >>> from bilevel.zero_sum import learn
    >>> payoffs = torch.tensor([[0.0, -3, 3], [3, 0, -1], [-3, 1, 0]], dtype=torch.float64)
    >>> learn(payoffs, RegularizedNashDynamics(), steps=5000).state.strategies[0] * 7  # 1/7, 3/7, 3/7
    tensor([1.0000, 3.0000, 3.0000], dtype=torch.float64)
    """

    temperature: float = 1.0
    """Temperature tau, the weight of the regularization, in payoffs; above 0."""
    learning_rate: float = 0.05
    """Learning rate eta of multiplicative weights, per unit of payoff; above 0, and below 1 / tau."""
    inner_steps: int = 200
    """Steps between two moves of the magnet, 1 or more."""

    def __post_init__(self) -> None:
        require_positive(temperature=self.temperature, learning_rate=self.learning_rate)
        require(
            self.learning_rate * self.temperature < 1,
            f"learning_rate must be below 1 / temperature = {1 / self.temperature:g}, not "
            f"{self.learning_rate}: a step would overshoot the magnet.",
        )
        require(self.inner_steps >= 1, f"inner_steps must be 1 or more, not {self.inner_steps}.")

    def memory(self, payoffs: Tensor, strategies: Strategies) -> tuple[Strategies, Strategies]:
        """Log-probabilities of the strategies and of the magnet."""
        return log_interior(strategies), log_uniform(payoffs)

    def step(self, state: RuleState, payoffs: Tensor) -> RuleState:
        logs, magnets = state.memory
        values = all_values(payoffs, state.strategies)
        eta, tau = self.learning_rate, self.temperature
        logs = tuple(
            (log + eta * (value - tau * (log - magnet))).log_softmax(-1)
            for log, magnet, value in zip(logs, magnets, values, strict=True)
        )
        if (state.steps + 1) % self.inner_steps == 0:
            magnets = logs
        return advance(state, tuple(log.exp() for log in logs), (logs, magnets))

"""Policies that learn under sharing that is given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bilevel.agents.play import Measured
from bilevel.agents.policies import initial_parameters
from bilevel.errors import require
from bilevel.methods.base import Method
from bilevel.methods.contract import Metrics, Placement, State
from bilevel.optimisers import make_optimiser
from bilevel.outer.objectives import given_away
from bilevel.outer.sharing import check_sharing
from bilevel.step import inner_step_per_agent
from bilevel.tree import detach
from games.base import Game


class PolicyLearner:
    """Policies that learn under sharing that does not change: here phi is the sharing matrix itself.

    Phi is a part of the state all the same, so that every learner's state has the same entries.

    Args:
        method: the inner loop's settings.
        game: what is played.
        placement: seeds, precision, device.
        sharing: who gets which part of whose reward, [giver, receiver]; rows sum to 1.

    Raises:
        ValueError: the method's policy does not fit the game, or this is no sharing matrix of its agents.

    >>> import games
    >>> from bilevel.methods import Fixed
    >>> learner = Fixed(self_interest=0.5).build(games.make("prisoners-dilemma"), Placement(seeds=3))
    >>> before = learner.init(seed=0)
    >>> after, metrics = learner.update(before)
    >>> int(before["outer_step"]), int(after["outer_step"]), metrics["welfare"].shape
    (0, 1, torch.Size([3]))
    """

    def __init__(self, method: Method, game: Game, placement: Placement, sharing: Tensor) -> None:
        self.method, self.game, self.placement = method, game, placement
        self.play = method.play(game)
        self.optimiser = make_optimiser(method.inner_optimiser, learning_rate=method.inner_learning_rate)
        self.step = inner_step_per_agent(self._inner_losses, self.optimiser)
        self._initial_phi = sharing
        check_sharing(self.sharing(sharing), agents=game.num_agents)

    def sharing(self, phi: Tensor) -> Tensor:
        """The sharing matrices, [..., giver, receiver], that these outer variables stand for."""
        return phi

    def init(self, seed: int) -> State:
        """The first state; the first policies of repetition i depend on `seed` and i alone.

        Raises:
            ValueError: the seed is negative.
        """
        require(seed >= 0, f"seed must be 0 or more, not {seed}.")
        place = self.placement
        theta = self._initial_policies(seed)
        phi = self._initial_phi.to(place.device, place.dtype).expand(place.seeds, -1, -1).clone()
        generator = torch.Generator(place.device).manual_seed(seed)
        return {
            "outer_step": torch.zeros((), dtype=torch.int64),
            "theta": theta,
            "opt_state": self.optimiser.init(theta),
            "phi": phi,
            "generator": generator.get_state(),
        }

    def update(self, state: State) -> tuple[State, Metrics]:
        """One outer step: train the policies `inner_steps` times, then measure them on fresh episodes.

        Raises:
            FloatingPointError: a reward or a policy stopped being a finite number (says where); the state
                passed in is not changed.
        """
        generator, bonus = self._resume(state)
        theta, opt_state, phi = state["theta"], state["opt_state"], state["phi"]
        sharing = self.sharing(phi)
        with torch.no_grad():
            for _ in range(self.method.inner_steps):
                data = self.play.sample(theta, sharing, generator), bonus
                theta, opt_state = self.step(theta, opt_state, phi, data)
            require_finite(theta, "A policy", state["outer_step"])
            metrics = self._metrics(
                self.play.measure(theta, self.play.sample(theta, sharing, generator)), sharing
            )
        return self._next(state, generator, theta=theta, opt_state=opt_state), metrics

    @torch.no_grad()
    def evaluate(self, state: State, *, episodes: int, seed: int) -> Metrics:
        """Measure the policies of a state on fresh episodes; the state's own stream of draws is not touched.

        Args:
            state: from `init` or `update`.
            episodes: per seed; unused when values are exact.
            seed: of the episodes.

        Raises:
            FloatingPointError: a reward is not a finite number.
        """
        generator = torch.Generator(self.placement.device).manual_seed(seed)
        play, theta, sharing = self.play.with_episodes(episodes), state["theta"], self.sharing(state["phi"])
        return self._metrics(play.measure(theta, play.sample(theta, sharing, generator)), sharing)

    def _initial_policies(self, seed: int) -> Tensor:
        place = self.placement
        return initial_parameters(
            self.play.policy, seed=seed, seeds=place.seeds, agents=self.game.num_agents
        ).to(place.device, place.dtype)

    def _inner_losses(self, own: Tensor, others: Tensor, phi: Tensor, data: Any) -> Tensor:
        sample, bonus = data
        return self.play.losses(own, others, self.sharing(phi), sample, bonus)

    def _resume(self, state: State) -> tuple[torch.Generator, Tensor]:
        generator = torch.Generator(self.placement.device)
        generator.set_state(state["generator"])
        bonus = self.method.entropy_schedule(int(state["outer_step"]))
        return generator, torch.tensor(bonus, dtype=self.placement.dtype, device=self.placement.device)

    def _next(self, state: State, generator: torch.Generator, **changed: Any) -> State:
        return {
            **state,
            **{name: detach(tree) for name, tree in changed.items()},
            "outer_step": state["outer_step"] + 1,
            "generator": generator.get_state(),
        }

    def _metrics(self, measured: Measured, sharing: Tensor) -> Metrics:
        agents = range(self.game.num_agents)
        metrics = {"welfare": measured.values.sum(-1)}
        metrics |= {f"return_{agent}": measured.values[:, agent] for agent in agents}
        if measured.cooperation is not None:
            metrics["cooperation"] = measured.cooperation.mean(-1)
        metrics["given_away"] = given_away(sharing).mean(-1)
        metrics |= {
            f"share_{giver}_{taker}": sharing[:, giver, taker] for giver in agents for taker in agents
        }
        return {name: values.detach() for name, values in metrics.items()}


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

"""Parallel PettingZoo environments with their rewards shared among the agents that are present."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from pettingzoo.utils.env import ParallelEnv
from pettingzoo.utils.wrappers import BaseParallelWrapper

from games.core import require
from games.wrappers._sharing_matrix import MATRICES_ALWAYS_PAY, SharingLike, sharing_rows

EnvironmentIncentives = Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Mapping[str, float]]]
"""From observations and actions, by agent, to gifts: gifts[giver][receiver], in reward units."""


class SharedParallelEnv(BaseParallelWrapper[str, Any, Any]):  # type: ignore[misc]  # PettingZoo is untyped
    """A parallel environment whose agents get a share of each other's rewards, or incentives; see `shared`.

    What the environment itself paid stands in `infos[agent]["extrinsic_reward"]`, what the agent gave to
    others and received from them in "given" and "received". Agents that have left neither give nor receive:
    whoever would have given them a share keeps it, which conserves the total of the agents present.

    Rows and columns of a sharing matrix [giver, receiver] are the environment's `possible_agents`. Incentives
    are a function from observations and actions, by agent, to gifts[giver][receiver], 0 where left out; gifts
    to oneself are not paid; `givers_pay` takes them from their giver's reward, which conserves the total.

    Raises:
        ValueError: the environment does not list its possible agents, or the matrix is bad; from `step`, when
            incentives name an unknown agent.
    """

    def __init__(
        self,
        env: ParallelEnv[str, Any, Any],
        sharing: SharingLike | EnvironmentIncentives,
        *,
        givers_pay: bool = False,
    ) -> None:
        everybody: list[str] = getattr(env, "possible_agents", [])
        require(
            bool(everybody),
            f"Sharing needs to know who may take part, but {env} does not list its possible_agents.",
        )
        super().__init__(env)
        self.givers_pay = givers_pay
        self._position = {agent: position for position, agent in enumerate(everybody)}
        self._incentives: EnvironmentIncentives | None = None
        self._shares = np.eye(len(everybody))
        self._here: list[str] = []
        self._among = self._shares[:0, :0]
        self._seen: Mapping[str, Any] = {}
        if callable(sharing):
            self._incentives = sharing
        else:
            require(not givers_pay, MATRICES_ALWAYS_PAY)
            self._shares = np.array(sharing_rows(sharing, everybody), dtype=np.float64)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        observations, infos = self.env.reset(seed=seed, options=options)
        self._seen = observations
        return observations, infos

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        before = set(self.env.agents)
        observations, own, terminations, truncations, infos = self.env.step(actions)
        here = [agent for agent in own if agent in before or agent in self.env.agents]
        extrinsic = np.array([float(own[agent]) for agent in here])
        if self._incentives is None:
            passed = extrinsic[:, None] * self._shares_of(here)
            shared = passed.sum(0)
            np.fill_diagonal(passed, 0)  # what is kept is no gift
        else:
            passed = self._gifts(self._incentives(self._seen, actions), here)
            shared = extrinsic + passed.sum(0) - self.givers_pay * passed.sum(1)
        self._seen = observations
        rewards = {agent: float(reward) for agent, reward in own.items()}
        rewards |= dict(zip(here, shared.tolist(), strict=True))
        told: dict[str, dict[str, Any]] = {
            agent: {**infos.get(agent, {}), "extrinsic_reward": float(own[agent])} for agent in own
        }
        for agent, given, received in zip(here, passed.sum(1).tolist(), passed.sum(0).tolist(), strict=True):
            told[agent] |= {"given": given, "received": received}
        return observations, rewards, terminations, truncations, {**infos, **told}

    def _shares_of(self, here: list[str]) -> np.ndarray:
        """The matrix among these agents: what would go to others stays with its giver."""
        if here != self._here:
            rows = [self._place(agent) for agent in here]
            shares = self._shares[np.ix_(rows, rows)]
            self._here, self._among = here, shares + np.diag(self._shares[rows].sum(1) - shares.sum(1))
        return self._among

    def _gifts(self, given: Mapping[str, Mapping[str, float]], here: list[str]) -> np.ndarray:
        """Gifts among these agents, [giver, receiver]."""
        for name in {*given, *(receiver for row in given.values() for receiver in row)}:
            self._place(name)
        gifts = [
            [float(given.get(giver, {}).get(receiver, 0)) * (giver != receiver) for receiver in here]
            for giver in here
        ]
        return np.array(gifts).reshape(len(here), len(here))

    def _place(self, agent: str) -> int:
        require(
            agent in self._position,
            f"There is no agent {agent!r} among the possible_agents {', '.join(map(str, self._position))}.",
        )
        return self._position[agent]

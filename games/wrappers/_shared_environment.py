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

    `infos[agent]` holds the environment's own reward as "extrinsic_reward", and the agent's total gifts to
    and from others as "given" and "received". Agents that have left neither give nor receive: the share of an
    absent receiver stays with the giver, which conserves the total of the agents present.

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
        possible_agents: list[str] = getattr(env, "possible_agents", [])
        require(
            bool(possible_agents),
            f"Sharing needs to know who may take part, but {env} does not list its possible_agents.",
        )
        super().__init__(env)
        self.givers_pay = givers_pay
        self._position = {agent: position for position, agent in enumerate(possible_agents)}
        self._incentives: EnvironmentIncentives | None = None
        self._shares = np.eye(len(possible_agents))
        self._present: list[str] = []
        self._present_shares = self._shares[:0, :0]
        self._observations: Mapping[str, Any] = {}
        if callable(sharing):
            self._incentives = sharing
        else:
            require(not givers_pay, MATRICES_ALWAYS_PAY)
            self._shares = np.array(sharing_rows(sharing, possible_agents), dtype=np.float64)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        observations, infos = self.env.reset(seed=seed, options=options)
        self._observations = observations
        return observations, infos

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Any]]:
        before = set(self.env.agents)
        observations, own, terminations, truncations, infos = self.env.step(actions)
        present = [agent for agent in own if agent in before or agent in self.env.agents]
        extrinsic = np.array([float(own[agent]) for agent in present])
        if self._incentives is None:
            passed = extrinsic[:, None] * self._shares_of(present)
            shared = passed.sum(0)
            np.fill_diagonal(passed, 0)  # a kept share is no gift
        else:
            passed = self._gifts(self._incentives(self._observations, actions), present)
            shared = extrinsic + passed.sum(0) - self.givers_pay * passed.sum(1)
        self._observations = observations
        rewards = {agent: float(reward) for agent, reward in own.items()}
        rewards |= dict(zip(present, shared.tolist(), strict=True))
        new_infos: dict[str, dict[str, Any]] = {
            agent: {**infos.get(agent, {}), "extrinsic_reward": float(own[agent])} for agent in own
        }
        for agent, given, received in zip(
            present, passed.sum(1).tolist(), passed.sum(0).tolist(), strict=True
        ):
            new_infos[agent] |= {"given": given, "received": received}
        return observations, rewards, terminations, truncations, {**infos, **new_infos}

    def _shares_of(self, present: list[str]) -> np.ndarray:
        """The matrix among these agents: shares of absent agents stay with the giver."""
        if present != self._present:
            rows = [self._index(agent) for agent in present]
            shares = self._shares[np.ix_(rows, rows)]
            self._present, self._present_shares = (
                present,
                shares + np.diag(self._shares[rows].sum(1) - shares.sum(1)),
            )
        return self._present_shares

    def _gifts(self, given: Mapping[str, Mapping[str, float]], present: list[str]) -> np.ndarray:
        """Gifts among these agents, [giver, receiver]."""
        for name in {*given, *(receiver for row in given.values() for receiver in row)}:
            self._index(name)
        gifts = [
            [float(given.get(giver, {}).get(receiver, 0)) * (giver != receiver) for receiver in present]
            for giver in present
        ]
        return np.array(gifts).reshape(len(present), len(present))

    def _index(self, agent: str) -> int:
        require(
            agent in self._position,
            f"There is no agent {agent!r} among the possible_agents {', '.join(map(str, self._position))}.",
        )
        return self._position[agent]

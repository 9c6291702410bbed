"""Sequential games as flat arrays, and magnetic mirror descent on them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bilevel.core import counted
from bilevel.zero_sum._rule import ADVICE

Vector = NDArray[np.float64]


class GameTree:
    """The tree of a two-agent zero-sum game with perfect recall, walked through once.

    A slot is a legal action of an information state; slots of a state are consecutive. Policies are vectors
    of probabilities, [slot].

    >>> from games.adapters import load_openspiel
    >>> tree = GameTree(load_openspiel("kuhn_poker"))
    >>> len(tree.states), round(tree.evaluate(tree.uniform())[1], 3)
    (12, 0.125)
    """

    def __init__(self, game: Any) -> None:
        self.states: dict[str, int] = {}
        """Information state -> its first slot."""
        self.actions: list[int] = []
        """OpenSpiel's action of each slot."""
        agents: list[int] = []
        parents, slots, chances, payoffs, levels = [0], [-1], [1.0], [0.0], [0, 1]
        level = [game.new_initial_state()]
        while level:
            below = []
            for place, state in enumerate(level, levels[-2]):
                if state.is_terminal():
                    payoffs[place] = state.returns()[0]
                    continue
                for child, slot, chance in self._children(state, agents):
                    below.append(child)
                    parents.append(place)
                    slots.append(slot)
                    chances.append(chance)
                    payoffs.append(0.0)
            level = below
            levels.append(len(parents))
        self._levels = [slice(*ends) for ends in itertools.pairwise(levels[1:-1])]
        self._parents, self._slots = np.array(parents), np.array(slots)
        self._chances, self._payoffs = np.array(chances), np.array(payoffs)
        self._chosen = np.flatnonzero(self._slots >= 0)
        """Nodes after an agent's action."""
        self.agents = np.array(agents)
        """Agent that chooses each slot."""
        self._first = np.array(list(self.states.values()))
        self._sizes = np.diff([*self._first, len(agents)])

    def _children(self, state: Any, agents: list[int]) -> list[tuple[Any, int, float]]:
        if state.is_chance_node():
            return [(state.child(action), -1, chance) for action, chance in state.chance_outcomes()]
        legal, key = state.legal_actions(), state.information_state_string()
        if key not in self.states:
            self.states[key] = len(agents)
            agents += [state.current_player()] * len(legal)
            self.actions += legal
        return [(state.child(action), self.states[key] + place, 1.0) for place, action in enumerate(legal)]

    def uniform(self) -> Vector:
        """The uniform policy."""
        policy: Vector = np.repeat(1 / self._sizes, self._sizes)
        return policy

    def normalized(self, weights: Vector) -> Vector:
        """Weights divided by their sum in each information state."""
        policy: Vector = weights / np.repeat(np.add.reduceat(weights, self._first), self._sizes)
        return policy

    def log_softmax(self, logits: Vector) -> Vector:
        """Log-softmax of logits in each information state."""
        shifted = logits - np.repeat(np.maximum.reduceat(logits, self._first), self._sizes)
        totals = np.add.reduceat(np.exp(shifted), self._first)
        logs: Vector = shifted - np.repeat(np.log(totals), self._sizes)
        return logs

    def evaluate(self, policy: Vector) -> tuple[Vector, float]:
        """Expected payoffs of actions in their information states, [slot], and the first agent's value.

        Payoffs in states that are not reached count as 0.
        """
        edges = self._edges(policy)
        reach = self._reach(edges)
        values = self._payoffs.copy()
        for level in reversed(self._levels):
            gained = np.bincount(self._parents[level], edges[level] * values[level], minlength=level.start)
            values[: level.start] += gained
        weights = reach[self._parents[self._chosen]]
        slots, count = self._slots[self._chosen], len(self.agents)
        sums = np.bincount(slots, weights * values[self._chosen], minlength=count)
        totals = np.bincount(slots, weights, minlength=count)
        gains = np.where(self.agents == 0, sums, -sums)
        return np.divide(gains, totals, out=np.zeros(count), where=totals > 0), float(values[0])

    def own_reach(self, policy: Vector) -> Vector:
        """Probability that an agent's own actions lead to the information state, [slot]."""
        found = np.zeros(len(self.agents))
        slots = self._slots[self._chosen]
        for agent in (0, 1):
            own = np.where(self.agents == agent, policy, 1.0)
            reach = self._reach(np.where(self._slots >= 0, own[self._slots], 1.0))
            mine = self.agents[slots] == agent
            found[slots[mine]] = reach[self._parents[self._chosen[mine]]]  # equal within a state
        return found

    def _edges(self, policy: Vector) -> Vector:
        """Probability of each node given its parent."""
        return np.where(self._slots >= 0, policy[self._slots], self._chances)

    def _reach(self, edges: Vector) -> Vector:
        reach = np.ones_like(edges)
        for level in self._levels:
            reach[level] = reach[self._parents[level]] * edges[level]
        return reach

    def tabular(self, policy: Vector) -> Any:
        """The policy as a `pyspiel.TabularPolicy`."""
        import pyspiel  # noqa: PLC0415  # an extra

        ends = [*self._first[1:], len(self.agents)]
        pairs = list(zip(self.actions, policy.tolist(), strict=True))
        table = {key: pairs[first:end] for (key, first), end in zip(self.states.items(), ends, strict=True)}
        return pyspiel.TabularPolicy(table)


class MagneticSolver:
    """Magnetic mirror descent in every information state, with OpenSpiel's interface of solvers.

    Values are expected payoffs of actions given that the information state is reached. The average policy
    weighs each policy by the agent's own probability of reaching the information state.

    >>> from bilevel.zero_sum import MagneticMirrorDescent
    >>> from games.adapters import load_openspiel
    >>> solver = MagneticMirrorDescent().solver(load_openspiel("kuhn_poker"))
    >>> solver.evaluate_and_update_policy()
    >>> solver.current_policy().get_state_policy("0b")[0][1] > 0.5  # fold the jack
    True
    """

    def __init__(self, game: Any, rates: Callable[[int], tuple[float, float]], magnet_rate: float) -> None:
        self._tree, self._rates, self._magnet_rate = GameTree(game), rates, magnet_rate
        self._policy = self._tree.uniform()
        self._logs = self._magnet = np.log(self._policy)
        self._totals = np.zeros_like(self._policy)
        self._steps = 0

    def evaluate_and_update_policy(self) -> None:
        """Take a step; FloatingPointError if the policy is no longer finite."""
        tree = self._tree
        self._steps += 1
        eta, tau = self._rates(self._steps)
        self._totals += tree.own_reach(self._policy) * self._policy
        values, _ = tree.evaluate(self._policy)
        with np.errstate(over="ignore", invalid="ignore"):
            moved = self._logs + eta * tau * self._magnet + eta * values
            self._logs = tree.log_softmax(moved / (1 + eta * tau))
        if not np.isfinite(self._logs).all():
            raise FloatingPointError(
                f"The policy is not finite after {counted(self._steps, 'step')}: {ADVICE}."
            )
        self._policy = np.exp(self._logs)
        rate = self._magnet_rate
        self._magnet = tree.log_softmax((1 - rate) * self._magnet + rate * self._logs)

    def current_policy(self) -> Any:
        """The last iterate."""
        return self._tree.tabular(self._policy)

    def average_policy(self) -> Any:
        """The average iterate."""
        return self._tree.tabular(self._tree.normalized(self._totals))

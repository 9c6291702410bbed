"""Measures of a run per seed, and their statistics over seeds, for comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch

from bilevel.experiments._results import Run
from bilevel.experiments._statistics import (
    Interval,
    difference_interval,
    improvement_interval,
    over_seeds,
    require_seeds,
)
from bilevel.methods import Fixed, Prosocial, Selfish, StaticSharing, ToS
from bilevel.sharing import TERMS, edge_recovery, edges_of
from games.core import Game, require
from games.theory import equality


def normalized_score(game: Game, welfare: np.ndarray, *, exact: bool = True) -> np.ndarray | None:
    """Normalize welfare: 0 at mutual defection, 1 at the welfare optimum.

    Args:
        game: the game, with its `best_welfare` and `defection_welfare`.
        welfare: sum of the agents' returns, of any shape, in the game's units.
        exact: the returns are exact values, not those of sampled episodes, which may end earlier.

    Returns:
        The normalized welfare, in the same shape; None if the game lacks either, or they are equal.

    >>> import games
    >>> float(normalized_score(games.make("prisoners-dilemma"), np.array(-3.0)))
    0.5
    """
    best, worst = welfare_levels(game, exact=exact)
    if best is None or worst is None or best == worst:
        return None
    return (welfare - worst) / (best - worst)


def welfare_levels(game: Game, *, exact: bool) -> tuple[float | None, float | None]:
    """Welfare of the optimum and of mutual defection, exact or in sampled episodes; None if unknown.

    >>> import games
    >>> game = games.make("repeated-prisoners-dilemma", discount=0.5, horizon=1)
    >>> welfare_levels(game, exact=True), welfare_levels(game, exact=False)
    ((-2.0, -4.0), (-1.0, -2.0))
    """
    weight = 1.0 if exact else game.episode_weight
    best, worst = (
        None if level is None else weight * level for level in (game.best_welfare, game.defection_welfare)
    )
    return best, worst


def equality_of_returns(results: Run) -> np.ndarray | None:
    """Equality, 1 - Gini coefficient of the agents' mean returns, for each seed.

    Returns:
        [seed], NaN if undefined, because the returns sum to 0 or less; None if the run has no returns.
    """
    returns = agent_metric(results.final, "return", results.config.game.num_agents)
    if returns is None:
        return None
    values = torch.from_numpy(np.array(returns))  # returns may be read-only
    return np.asarray(equality(values).numpy())


def agent_metric(numbers: Mapping[str, np.ndarray], name: str, agents: int) -> np.ndarray | None:
    """Collect a metric of all agents, from one array or from a metric for each agent.

    Args:
        numbers: metrics by name.
        name: name of the metric, without an agent.
        agents: number of agents.

    Returns:
        The values, [..., seed, agent]; None if they are not recorded.

    >>> agent_metric({"return_0": np.zeros(2), "return_1": np.ones(2)}, "return", agents=2).tolist()
    [[0.0, 1.0], [0.0, 1.0]]
    """
    if name in numbers:
        return np.asarray(numbers[name])
    names = [f"{name}_{agent}" for agent in range(agents)]
    known = all(name in numbers for name in names)
    return np.stack([numbers[name] for name in names], axis=-1) if known else None


def mean_weight(numbers: Mapping[str, np.ndarray], term: str, agents: int) -> np.ndarray | None:
    """Average the learned weight of a loss term over agents.

    Args:
        numbers: metrics by name, [..., seed] each.
        term: one of `bilevel.sharing.TERMS`.
        agents: number of agents.

    Returns:
        The mean weight, [..., seed]; None if it is not learned.

    >>> mean_weight({"value_weight_0": np.ones(2), "value_weight_1": np.zeros(2)}, "value", agents=2).tolist()
    [0.5, 0.5]
    """
    weights = agent_metric(numbers, f"{term}_weight", agents)
    return None if weights is None else np.asarray(weights.mean(-1))


def _final_weight(results: Run, term: str) -> np.ndarray | None:
    return mean_weight(results.final, term, results.config.game.num_agents)


def final_shares(results: Run) -> np.ndarray | None:
    """Shares of the final policies of a run.

    Returns:
        [seed, giver, receiver], or on the edges of a sparse graph of many agents [seed, edge]; None if the
        method does not share rewards.

    >>> from bilevel.experiments import train
    >>> final_shares(train("chicken", "tos", seeds=3, outer_steps=2, out="run")).shape
    (3, 2, 2)
    """
    final, agents = results.final, range(results.config.game.num_agents)
    for name in ("share", "edge_share"):
        if name in final:
            return final[name]
    if "share_0_0" not in final:
        return None
    rows = [[final[f"share_{giver}_{receiver}"] for receiver in agents] for giver in agents]
    return np.moveaxis(np.array(rows), -1, 0)


def returns_after_sharing(results: Run) -> np.ndarray:
    """Returns of the agents under the final policies, after rewards are shared by the final shares.

    Agent j has r~_j = sum_i T_ij r_i, where r_i are the individual returns, because sharing does not depend
    on states or actions. With the common reward each agent has the mean of all returns; selfish agents have
    their own. An agent gains from taking part in sharing if its return after sharing exceeds its return among
    selfish agents. The sum over agents is the welfare.

    Args:
        results: a run of selfish, prosocial (with the mean as its common reward), fixed, or tos (with static
            sharing), on a game that no agent leaves early.

    Returns:
        Returns after sharing, [seed, agent].

    Raises:
        ValueError: the method, or its sharing, is another one; agents may leave the game early; or the run
            has no returns.

    >>> from bilevel.experiments import train
    >>> run = train("chicken", "fixed", seeds=3, outer_steps=2, self_interest=0.5)
    >>> bool(np.allclose(returns_after_sharing(run).sum(-1), run.final["welfare"]))
    True
    """
    config = results.config
    method, agents = config.method, config.game.num_agents
    require(
        not isinstance(method, ToS) or isinstance(method.sharing, StaticSharing),
        "Sharing that depends on the state has no single matrix by which to share returns: choose static "
        "sharing.",
    )
    require(
        not isinstance(method, Prosocial) or method.common_reward == "mean",
        f"A common reward that conserves the total is the mean, not {getattr(method, 'common_reward', '')}, "
        "by which returns cannot be shared: choose common_reward mean.",
    )
    require(
        isinstance(method, Selfish | Prosocial | Fixed | ToS),
        "Returns after sharing are those of selfish, prosocial, fixed and tos, whose shares are the same in "
        f"all states; {config.method_name} transfers rewards in another way.",
    )
    state = config.game.reset(1, torch.Generator().manual_seed(0))
    require(
        config.game.present(state) is None,
        f"Agents may leave {config.game_name} early, and the others then keep the shares of those that left, "
        "so no single matrix shares the returns: choose a game in which all agents stay to the end.",
    )
    own = agent_metric(results.final, "return", agents)
    require(own is not None, f"The run of {config.method_name} did not record the returns of its agents.")
    assert own is not None
    if isinstance(method, Prosocial):
        return np.broadcast_to(own.mean(-1, keepdims=True), own.shape)
    shares = final_shares(results)
    if isinstance(method, Selfish) or shares is None:
        return own
    if shares.ndim == 3:
        return np.asarray(np.einsum("sgr,sg->sr", shares, own))
    giver, receiver = edges_of(config.game).pairs.numpy()
    shared = np.zeros_like(own.T)  # [agent, seed]
    np.add.at(shared, receiver, (shares * own[:, giver]).T)
    return shared.T


def recovered_edges(results: Run, part: Literal["precision", "recall"]) -> np.ndarray | None:
    """Precision or recall of learned sharing edges, for each seed (`bilevel.edge_recovery`).

    Returns:
        [seed], NaN where undefined; None if the game does not define `influence`, or no reward is shared.
    """
    shares = final_shares(results)
    if shares is None or results.config.game.influence is None:
        return None
    return np.asarray(getattr(edge_recovery(shares, results.config.game), part).numpy())


MEASURES: dict[str, Callable[[Run], np.ndarray | None]] = {
    "welfare": lambda results: results.final["welfare"],
    "normalized_score": lambda results: normalized_score(
        results.config.game, results.final["welfare"], exact=results.config.exact
    ),
    "equality": equality_of_returns,
    "cooperation": lambda results: results.final.get("cooperation"),
    "given_away": lambda results: results.final.get("given_away"),
    "edge_precision": partial(recovered_edges, part="precision"),
    "edge_recall": partial(recovered_edges, part="recall"),
    **{f"{term}_weight": partial(_final_weight, term=term) for term in TERMS},
}
"""Name -> measure [seed] of the final policies on fresh episodes; None where undefined."""


class Compared(NamedTuple):
    """Measures and statistics of one method in a comparison.

    >>> from bilevel.experiments import compare
    >>> _, tos = compare("chicken", ["selfish", "tos"], seeds=3, outer_steps=2, out="runs").rows
    >>> tos.label, tos.measures["welfare"].shape, f"{tos.probability_of_improvement.estimate:.2f}"
    ('tos', (3,), '0.78')
    """

    label: str
    """The method's name in the comparison."""
    results: Run
    """Its run."""
    measures: dict[str, np.ndarray]
    """Name in `MEASURES` -> [seed]."""
    intervals: dict[str, Interval]
    """Name in `MEASURES` -> interquartile mean over seeds, if defined for every seed."""
    probability_of_improvement: Interval | None
    """Probability that a seed has higher welfare than a seed of the first method; None for the first."""
    difference: Interval | None
    """Interquartile mean of welfare minus the first method's, in the game's units; None for the first."""

    @property
    def undefined(self) -> dict[str, int]:
        """Name in `MEASURES` -> number of seeds for which it is undefined, if any."""
        counts = {name: int(np.isnan(values).sum()) for name, values in self.measures.items()}
        return {name: count for name, count in counts.items() if count}


def compare_runs(runs: Mapping[str, Run]) -> list[Compared]:
    """Measure runs of one game, and compare each with the first.

    Args:
        runs: label -> run; the first is the baseline.

    Returns:
        The measures and statistics of each run, in their order.

    Raises:
        ValueError: there are fewer than 3 seeds.

    >>> from bilevel.experiments import train
    >>> names = ("selfish", "tos")
    >>> runs = {name: train("chicken", name, seeds=3, outer_steps=2, out=name) for name in names}
    >>> [(row.label, round(float(row.intervals["welfare"].estimate), 2)) for row in compare_runs(runs)]
    [('selfish', -1.08), ('tos', -0.66)]
    """
    first = next(iter(runs.values()))
    require_seeds(first.config.seeds)
    compared: list[Compared] = []
    for label, results in runs.items():
        candidates = {name: measure(results) for name, measure in MEASURES.items()}
        measures = {name: values for name, values in candidates.items() if values is not None}
        estimates = {name: over_seeds(values) for name, values in measures.items()}
        intervals = {name: interval for name, interval in estimates.items() if interval is not None}
        improvement = difference = None
        if compared:
            improvement = improvement_interval(measures["welfare"], first.final["welfare"])
            difference = difference_interval(measures["welfare"], first.final["welfare"])
        compared.append(Compared(label, results, measures, intervals, improvement, difference))
    return compared

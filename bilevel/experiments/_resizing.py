"""Transfer of learned policies to a game with other settings, or another number of agents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bilevel.experiments._config import RunConfig, configured
from bilevel.methods import Learner, PolicyLearner, State
from bilevel.sharing import EdgeNetwork, edges_of
from games.core import require

PLAIN = {"outer_step", "random_seeds", "theta", "opt_state", "phi", "outer_opt_state", "estimator"}
"""Entries of a state of a learner that keeps policies and outer variables alone."""


def moved_learner(
    learner: Learner, state: State, config: RunConfig, settings: dict[str, Any]
) -> tuple[RunConfig, Learner, State]:
    """Transfer learned policies and sharing to a game with other settings.

    Parameters that all agents share, and outer variables whose size does not depend on the number of agents,
    such as those of an edge network, apply to any number of agents. Outer variables that are not learned are
    those that the method has in the other game.

    Args:
        learner, state: of a finished run.
        config: of the run.
        settings: of the game, by dotted names, such as {"game.agents": 2000}.

    Returns:
        The configuration, its learner, and the state to evaluate.

    Raises:
        ValueError: a setting is unknown or out of range, actions or observations differ, or something learned
            depends on the number of agents (names it).
    """
    changed = configured(config, settings)
    before, game = config.game, changed.game
    for name in ("action_space", "observation_space"):
        old, new = getattr(before, name), getattr(game, name)
        what = name.partition("_")[0]
        require(old == new, f"The run's policies have the {what}s {old}, but with these settings {new}.")
    moved = changed.build_learner()
    fresh = moved.init(changed.seed)
    if not (isinstance(learner, PolicyLearner) and isinstance(moved, PolicyLearner)) or state.keys() - PLAIN:
        raise ValueError(
            f"{config.method_name} learns more than policies and sharing, for its own game alone."
        )
    same = before.num_agents == game.num_agents
    require(
        same or config.method.policy.shared,  # type: ignore[attr-defined]
        f"Each of the {before.num_agents} agents learned parameters of its own, which are no policies of "
        f"{game.num_agents} agents: train with shared ones (--policy mlp --policy.share-parameters "
        "--policy.no-observe-index).",
    )
    theta: Tensor = state["theta"]
    require(
        theta.shape[2] == fresh["theta"].shape[2],
        f"The policy observes an agent's index, so that its parameters are for {before.num_agents} agents: "
        "train with --policy.no-observe-index.",
    )
    theta = theta if same else theta[:, :1].expand(-1, game.num_agents, -1)
    if "outer_opt_state" in state:
        phi = state["phi"]
        anywhere = isinstance(moved.variable, EdgeNetwork) and not isinstance(phi, dict)
        require(
            anywhere or (same and torch.equal(edges_of(before).pairs, edges_of(game).pairs)),
            f"What {config.method_name} learned besides policies is for the {before.num_agents} agents and "
            "the graph of its game: for sharing that applies to others train with --sharing edge-network.",
        )
    else:
        phi = fresh["phi"]
        if moved.fixed is not None:
            phi = moved.fixed(max(0, int(state["outer_step"]) - 1)).to(phi).expand_as(phi)
    kept = {name: state[name] for name in ("outer_step", "random_seeds")}
    return changed, moved, {**fresh, **kept, "theta": theta, "phi": phi}

"""Transfer of learned policies and sharing to a game with other settings, or another number of agents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bilevel.core import Tree
from bilevel.experiments._config import RunConfig, configured
from bilevel.methods import Learner, OuterLearner, PolicyLearner, State
from bilevel.sharing import EdgeNetwork, edges_of
from games.core import require

PLAIN = {"outer_step", "random_seeds", "theta", "opt_state", "phi", "outer_opt_state", "estimator"}
"""Entries of a state of a learner that keeps policies and outer variables alone."""


def moved_learner(
    learner: Learner,
    state: State,
    config: RunConfig,
    settings: dict[str, Any],
    new_policies: int | None = None,
) -> tuple[RunConfig, Learner, State]:
    """Transfer learned policies and sharing to a game with other settings.

    Parameters that all agents share, and outer variables whose size does not depend on the number of agents,
    such as those of an edge network, apply to any number of agents. Outer variables that are not learned are
    those that the method has in the other game.

    Args:
        learner, state: of a finished run.
        config: of the run.
        settings: of the game, by dotted names, such as {"game.agents": 2000}.
        new_policies: outer steps of training for new policies under the run's outer variables, which stay
            fixed; None: keep the run's policies.

    Returns:
        The configuration, its learner, and the state to evaluate.

    Raises:
        ValueError: a setting is unknown or out of range, actions or observations differ, or something learned
            depends on the number of agents (names it).
    """
    changed = configured(config, settings)
    before, game = config.game, changed.game
    for name in ("action_space", "observation_space") if new_policies is None else ():
        old, new = getattr(before, name), getattr(game, name)
        what = name.partition("_")[0]
        require(old == new, f"The run's policies have the {what}s {old}, but with these settings {new}.")
    moved = changed.build_learner()
    fresh = moved.init(changed.seed)
    if not (isinstance(learner, PolicyLearner) and isinstance(moved, PolicyLearner)) or state.keys() - PLAIN:
        raise ValueError(
            f"{config.method_name} learns more than policies and sharing, which applies to its own game only."
        )
    if new_policies is not None:
        phi = _moved_variables(learner, state, config, changed, moved, fresh)
        return changed, *_with_new_policies(moved, phi, changed, new_policies)
    same = before.num_agents == game.num_agents
    require(
        same or config.method.policy.shared,  # type: ignore[attr-defined]
        f"Each of the {before.num_agents} agents has its own parameters, which cannot be policies of "
        f"{game.num_agents} agents: train shared parameters (--policy mlp --policy.share-parameters "
        "--policy.no-observe-index).",
    )
    theta: Tensor = state["theta"]
    require(
        theta.shape[2] == fresh["theta"].shape[2],
        f"The policy observes an agent's index, so its parameters are for {before.num_agents} agents: "
        "train with --policy.no-observe-index.",
    )
    theta = theta if same else theta[:, :1].expand(-1, game.num_agents, -1)
    phi = _moved_variables(learner, state, config, changed, moved, fresh)
    kept = {name: state[name] for name in ("outer_step", "random_seeds")}
    return changed, moved, {**fresh, **kept, "theta": theta, "phi": phi}


def _moved_variables(
    learner: PolicyLearner,
    state: State,
    config: RunConfig,
    changed: RunConfig,
    moved: PolicyLearner,
    fresh: State,
) -> Tree:
    """Outer variables of a run in the other game; ValueError if they are for the run's own game."""
    if "outer_opt_state" not in state:
        phi: Tensor = fresh["phi"]
        if moved.fixed is not None:
            phi = moved.fixed(max(0, int(state["outer_step"]) - 1)).to(phi).expand_as(phi)
        return phi
    before, game, learned = config.game, changed.game, state["phi"]
    anywhere = isinstance(moved.variable, EdgeNetwork) and not isinstance(learned, dict)
    same = before.num_agents == game.num_agents and torch.equal(edges_of(before).pairs, edges_of(game).pairs)
    require(
        anywhere or same,
        f"What {config.method_name} learned besides policies is for the {before.num_agents} agents and "
        "the graph of its game: for sharing that applies to other games, train with --sharing edge-network.",
    )
    old, new = before.observation_space, game.observation_space
    require(
        old == new or not getattr(learner.variable, "encoder", None),
        f"The run's sharing is computed from the observations {old}, but with these settings they are {new}.",
    )
    return learned


def _with_new_policies(
    moved: PolicyLearner, phi: Tree, config: RunConfig, steps: int
) -> tuple[PolicyLearner, State]:
    """Train new policies, of the random seeds after the run's own, under outer variables that stay fixed."""
    require(steps >= 1, f"new_policies must be 1 outer step or more, not {steps}.")
    require(
        type(moved) in (PolicyLearner, OuterLearner) and not isinstance(phi, dict),
        f"New policies learn under a fixed transfer of rewards, and this run of {config.method_name} has "
        "more than that: evaluate its own policies.",
    )
    learner = PolicyLearner(moved.method, moved.game, moved.placement, moved.variable)
    state = {**learner.init(config.seed + config.seeds), "phi": phi}
    for _ in range(steps):
        state, _ = learner.update(state)
    return learner, state

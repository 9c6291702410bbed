"""Presets: settings of games and methods that differ from the dataclasses' defaults."""

from __future__ import annotations

from typing import Any

import games
from bilevel.core import Schedule
from bilevel.methods import METHODS, Method, parts_of
from games.adapters import ForeignGame
from games.core import ExactGame, Game


def anneal(entropy_coef: float, outer_steps: int) -> Schedule:
    """Schedule of an entropy bonus that decreases linearly to 0."""
    return Schedule.line(entropy_coef, 0.0, outer_steps)


EXACT: dict[str, Any] = {"inner.learning_rate": 1.0}
SAMPLED: dict[str, Any] = {"inner.learning_rate": 0.3, "inner.entropy_coef": anneal(0.1, 200)}
GRID: dict[str, Any] = {
    "policy": "mlp",
    "policy.activation": "relu",
    "inner.optimizer": "adam",
    "inner.learning_rate": 0.03,
    "inner.episodes": 32,
    # The bonus sums over an episode's steps, most of which have no reward.
    "inner.entropy_coef": anneal(0.01, 100),
}
"""Settings for games whose observations are planes of a grid."""
SHARED: dict[str, Any] = {
    # One network for all agents: otherwise each has to learn all routes, or all phases, alone.
    "policy": "mlp",
    "policy.hidden_size": (64,),
    "policy.activation": "relu",
    "policy.share_parameters": True,
    "inner.optimizer": "adam",
    "inner.episodes": 8,
}
"""Settings for routing and traffic (docs/studies/routing-and-traffic.md)."""
NEGOTIATION: dict[str, Any] = {
    "inner.optimizer": "adam",
    "inner.learning_rate": 0.03,
    "inner.entropy_coef": 0.003,
}
"""Settings for the negotiation games, whose many steps are independent of each other."""
FOREIGN: dict[str, Any] = {
    "inner.optimizer": "adam",
    "inner.learning_rate": 0.01,
    # Each episode is a separate environment, and they are stepped sequentially.
    "inner.episodes": 8,
}
"""Settings for other libraries' environments (`games.ForeignGame`), whose reward scale is unknown."""
FOREIGN_RUN: dict[str, int] = {"seeds": 4, "evaluation_episodes": 16}

INNER: dict[str, dict[str, Any]] = {
    # Random policies rarely pull several levers at once: explore longer (docs/studies/initial-sharing.md).
    "escape-room": {"inner.entropy_coef": anneal(0.3, 200)},
    # Travel times are of the order of 10: with 1.0, routes settle before sharing is learned
    # (docs/explanation/theory.md).
    "braess": {"inner.learning_rate": 0.5},
    # Profits are of the order of 1000.
    "cournot": {"inner.learning_rate": 0.01},
    "cournot-continuous": {"inner.optimizer": "adam", "inner.learning_rate": 0.03},
    "negotiation": NEGOTIATION,
    "negotiation-continuous": NEGOTIATION,
    "public-goods-punishment": {"inner.optimizer": "adam", "inner.learning_rate": 0.01},
    "fishery": {
        "policy": "mlp",
        "policy.share_parameters": True,
        "inner.optimizer": "adam",
        "inner.learning_rate": 0.01,
        "inner.episodes": 8,
    },
    # Few decisions, worth about 1 each: learn faster.
    "clans": {"inner.learning_rate": 1.0},
    "prisoner-corridor": {"inner.learning_rate": 1.0, "inner.entropy_coef": anneal(0.05, 200)},
    "coin-game": GRID | {"policy.hidden_size": (64,)},
    # Large observations and long episodes: fewer episodes, a lower learning rate.
    "cleanup-lio-7x7": GRID | {"inner.learning_rate": 0.01, "inner.episodes": 8},
    "cleanup-lio-10x10": GRID | {"inner.learning_rate": 0.01, "inner.episodes": 8},
    # Two agents must reach the stag in the same step: more episodes, longer exploration.
    "stag-hunt-grid": GRID | {"inner.episodes": 64, "inner.entropy_coef": anneal(0.01, 200)},
    "snowdrift": GRID,
    "jungle": GRID,
    # The size of the rewards that an agent receives depends on the sharing matrix: normalize.
    "routing": SHARED
    | {
        "inner": "ppo",
        "inner.norm_adv": True,
        "inner.learning_rate": 0.02,
        "inner.num_minibatches": 4,
        "inner.gae_lambda": 0.9,
        # Later rewards depend little on an action: a discount lowers the variance.
        "inner.discount": 0.9,
        "inner.entropy_coef": 0.003,
    },
    # Queues grow over an episode, and a critic, which observes neither the time nor the neighbors' queues,
    # is no more than a baseline: sampled returns, discounted and centered by step.
    "traffic": SHARED
    | {
        "inner": "ppo",
        "inner.norm_adv": True,
        "inner.center_adv": True,
        "inner.update_epochs": 8,
        "inner.learning_rate": 0.02,
        "inner.gae_lambda": 1.0,
        "inner.discount": 0.9,
        "inner.entropy_coef": 0.003,
    },
}
"""Game name -> settings of the inner loop, which override those of its kind."""

VALUE_BASED: dict[str, dict[str, Any]] = {
    # More noise, in every round: values must be learned for many shares (docs/studies/ltos.md).
    "ltos": {
        "inner.learning_rate": 0.003,
        "inner.steps": 30,
        "inner.episodes": 16,
        "inner.batch_size": 64,
        "inner.exploration_decay": 0.95,
        "outer.updates": 10,
        "noise": 2.0,
        "noise_always": True,
    }
}
"""Method name -> settings of a method without policy gradients, in place of those above."""

GRIDS = (
    *("prisoner-corridor", "coin-game", "cleanup-lio-7x7", "cleanup-lio-10x10"),
    *("stag-hunt-grid", "snowdrift", "jungle"),
)
"""The grid games of docs/studies/grid-dilemmas.md."""

LIO_CLEANUP: dict[str, Any] = {
    # Input and cost as released; a lower outer learning rate (docs/studies/papers-games.md).
    "action_inputs": "cooperation",
    "cost": "objective",
    "cost.weight": 1e-4,
    "outer.learning_rate": 0.002,
    # Better estimates of the hypergradient, and larger policy steps.
    "inner.episodes": 16,
    "inner.learning_rate": 0.02,
}
"""Settings of `lio` on cleanup."""

PAIRS: dict[tuple[str, str], dict[str, Any]] = {
    # Incentives take time to learn, and exploration of the lever must last as long. With the default outer
    # learning rate more seeds fail (docs/studies/papers-games.md).
    ("escape-room", "lio"): {"inner.entropy_coef": anneal(1.0, 200), "outer.learning_rate": 0.005},
    ("cleanup-lio-7x7", "lio"): LIO_CLEANUP,
    # With less exploration a third of the seeds never learns to clean.
    ("cleanup-lio-10x10", "lio"): LIO_CLEANUP | {"inner.entropy_coef": anneal(0.05, 200)},
    # Imagined steps, too, follow gradients of profits.
    ("cournot", "lola-dice"): {"look_ahead.learning_rate": 3e-4},
    ("cournot-continuous", "lola-dice"): {"look_ahead.learning_rate": 3e-4},
    ("cournot", "pola"): {"look_ahead.learning_rate": 3e-4},
    ("cournot-continuous", "pola"): {"look_ahead.learning_rate": 3e-4},
    # With one inner step some of 20 seeds remain 5 below the optimum.
    ("braess", "tos"): {"inner.steps": 5},
    # Weights are updated only while routes still change: slow these down.
    ("braess", "d3c"): {"inner.learning_rate": 0.05},
    # Both weights must pass 1/3 before the policies respond (docs/studies/papers-games.md).
    ("prisoners-dilemma", "d3c"): {
        "inner.learning_rate": 0.3,
        "own_weight": 0.7,
        "mixing_learning_rate": 300.0,
    },
    # The largest return is the 10 of the open door.
    ("escape-room", "d3c"): {"loss_bound": 12.0, "own_weight": 0.9},
    # Once policies have converged, hypergradients are noise, and sharing drifts by its learning rate.
    ("clans", "tos"): {"outer.learning_rate": 0.01},
    **{(game, "tos"): {"outer.learning_rate": 0.02} for game in GRIDS},
    # Equal shares of many agents' rewards hide the effect of an agent's own actions.
    ("routing", "tos"): {"own_share": 0.9, "outer.learning_rate": 0.02},
    ("traffic", "tos"): {"own_share": 0.5, "outer.learning_rate": 0.05},
    # Nearly uniform policies meet defection, and learn to punish it, before they cooperate; a decreasing
    # learning rate keeps Adam from drifting in states that are rarely visited afterwards
    # (docs/studies/shaping-from-samples.md).
    ("repeated-prisoners-dilemma", "lola-dice"): {
        "policy": "tabular",
        "policy.initial_scale": 0.1,
        "inner.optimizer": "adam",
        "inner.learning_rate": Schedule.line(0.3, 0.03, 100),
        "inner.entropy_coef": 0.0,
        "look_ahead.learning_rate": 0.5,
    },
    # Exploration keeps defection in the episodes, so that it is still punished once agents cooperate.
    ("repeated-prisoners-dilemma", "loqa"): {
        "policy": "tabular",
        "policy.initial_scale": 0.1,
        "inner.optimizer": "adam",
        "inner.learning_rate": Schedule.read("0:0.3, 40:0.3, 80:0.03"),
        "inner.entropy_coef": 0.0,
        "inner.exploration": 0.1,
        "q.learning_rate": 0.05,
        "q.updates": 6,
        "opponents.own_lambda": 0.95,
    },
    # Few, large updates; the learning rate ends before noise in states that are rarely visited moves policies
    # (docs/studies/shaping-from-samples.md).
    ("repeated-prisoners-dilemma", "pola"): {
        "policy": "tabular",
        "policy.initial_scale": 0.1,
        "inner.learning_rate": Schedule(((0, 0.3), (2, 0.3), (3, 0.03))),
        "inner.entropy_coef": 0.0,
        "look_ahead.learning_rate": 0.6,
        "proximal.steps": 15,
        "proximal.kl_coef": 2.0,
    },
    # Products of advantages are noisy: more episodes, and a learning rate that ends before policies drift
    # (docs/studies/shaping-from-samples.md).
    ("repeated-prisoners-dilemma", "advantage-alignment"): {
        "policy": "tabular",
        "policy.initial_scale": 0.1,
        "inner.optimizer": "adam",
        "inner.learning_rate": Schedule(((0, 0.1), (50, 0.1), (70, 0.005))),
        "inner.entropy_coef": 0.0,
        "inner.episodes": 192,
        "inner.gae_lambda": 0.8,
    },
    # Smaller networks and batches than the paper's, with a higher learning rate, for a CPU
    # (docs/studies/shaping-whole-learning.md).
    **{
        (f"repeated-{stage}", "m-fos"): {
            "meta.hidden_size": (32,),
            "meta.episodes": 32,
            "training.learning_rate": 0.005,
        }
        for stage in ("prisoners-dilemma", "matching-pennies", "matching-pennies-lola", "chicken")
    },
    # The observation shows no past: recurrent policies. Searched with view=1 and horizon=50
    # (docs/studies/coin-game-shaping.md).
    ("coin-game", "advantage-alignment"): {
        "policy": "gru",
        "policy.hidden_size": (32,),
        "policy.activation": "tanh",
        "inner.learning_rate": 0.02,
        "inner.episodes": 64,
        "inner.entropy_coef": 0.01,
        "inner.update_epochs": 2,
        "inner.gae_lambda": 0.8,
        "inner.alignment": "causal",
    },
    ("coin-game", "loqa"): {
        "policy": "gru",
        "policy.hidden_size": (32,),
        "policy.activation": "tanh",
        "policy.share_parameters": True,
        "policy.observe_index": False,
        "inner.learning_rate": 0.02,
        "inner.episodes": 64,
        "inner.entropy_coef": 0.01,
        "inner.gae_lambda": 0.8,
        "q.learning_rate": 0.02,
        "q.updates": 2,
        "opponents": "n-step",
        "opponents.steps": 8,
        "opponents.coef": 2.0,
    },
    # Gifts of 1, the default, outweigh most rewards.
    **{(game, "gifting"): {"amount": 0.3, "budget": "replenishable"} for game in GRIDS},
}
"""(game name, method name) -> settings that override those above."""


def sizes(game: Game) -> dict[str, Any]:
    """Choose seeds and evaluation episodes of a run, for games that need other than the default numbers.

    Returns:
        Setting -> value: small numbers for environments of other libraries, which are stepped one by one;
        empty for other games.

    >>> import games
    >>> sizes(games.from_gymnasium("FrozenLake-v1")), sizes(games.make("chicken"))
    ({'seeds': 4, 'evaluation_episodes': 16}, {})
    """
    return dict(FOREIGN_RUN) if isinstance(game, ForeignGame) else {}


def preset(game_name: str, method_name: str) -> tuple[Game, Method]:
    """Look up a game and a method with their preset settings for each other.

    Args:
        game_name: one of `games.names()`.
        method_name: one of `METHODS`.

    Returns:
        The game and the method.

    Raises:
        ValueError: there is no such game or method (names the nearest ones).

    >>> game, method = preset("escape-room", "tos")
    >>> method.inner.steps, str(method.inner.entropy_coef)
    (1, '0:0.3, 200:0')
    """
    method = METHODS.find(method_name)()
    game = games.make(game_name)
    kind = EXACT if method.exact and isinstance(game, ExactGame) else SAMPLED
    kind = FOREIGN if isinstance(game, ForeignGame) else kind
    inner = INNER.get(game_name, {})
    if "inner" in inner and inner["inner"] not in parts_of(type(method)).get("inner", ()):
        inner = {}  # settings of an inner learner that the method does not have
    settings = VALUE_BASED.get(method_name, kind | inner)
    settings = settings | PAIRS.get((game_name, method_name), {})
    applicable = {name: value for name, value in settings.items() if hasattr(method, name.partition(".")[0])}
    return game, method.with_settings(applicable)

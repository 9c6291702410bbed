"""Who is compared: a name, a library, and the function that builds it. Nothing here loads any of them."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.case import Case, Run

NEEDS = {"JAX": "jax"}
"""Libraries that only an extra installs, and the module to look for."""


@dataclass(frozen=True)
class Variant:
    """One way to compute a hypergradient."""

    name: str
    library: str
    """ours, autograd, TorchOpt, higher or JAX: targets compare with the best variant of a library."""
    builder: str
    """module:function in `peers`, called with the case and the options."""
    options: Mapping[str, Any] = field(default_factory=dict)
    most_size: float = math.inf
    """It is left out of larger cases ..."""
    most_steps: float = math.inf
    """... and of those with more inner steps."""
    same: float = 1e-8
    """The greatest difference from the reference's gradient, relative to its greatest entry; infinite where
    something else is computed: it is then timed and not compared."""
    keeps_graph: bool = False
    """Whether all K steps' activations stay in memory."""

    def build(self, case: Case) -> Run:
        """Load the library and build the hypergradient."""
        module, function = self.builder.split(":")
        loaded = importlib.import_module(f"tests.benchmarks.peers.{module}")
        made: Run = getattr(loaded, function)(case, **self.options)
        return made

    def missing(self) -> str | None:
        """Say why it cannot run here, in words; None: it can."""
        module = NEEDS.get(self.library)
        if module is not None and importlib.util.find_spec(module) is None:
            return f"{self.library} is not installed (make bench installs it)"
        return None


REFERENCE = Variant("autograd, one graph", "autograd", "loop:by_autograd", keeps_graph=True)
"""Plain autograd through all K steps: what everybody must agree with."""


def ours(name: str = "ours", **options: Any) -> list[Variant]:
    """Make two of ours, eager and compiled."""
    return [
        Variant(f"{name}, compiled", "ours", "ours:run", {**options, "compiled": True}),
        Variant(f"{name}, eager", "ours", "ours:run", options),
    ]


SOLVE = {"values": "solve"}
"""Eager libraries get the game in the form that is fastest for them: the LAPACK solve."""

DILEMMA = [
    *ours(),
    Variant("ours, compiled, method tos", "ours", "ours:tos", {"compiled": True}),
    Variant("ours, eager, method tos", "ours", "ours:tos"),
    Variant("ours, eager, game by solve", "ours", "ours:run", {"problem": SOLVE}),
    Variant("autograd, one graph", "autograd", "loop:by_autograd", SOLVE, keeps_graph=True),
    Variant("TorchOpt, modules", "TorchOpt", "with_torchopt:run", SOLVE, keeps_graph=True),
    Variant("TorchOpt, functional", "TorchOpt", "loop:by_torchopt", SOLVE, keeps_graph=True),
    Variant("higher, modules", "higher", "with_higher:run", SOLVE, keeps_graph=True),
    Variant("JAX, checkpoint", "JAX", "with_jax:run"),
    Variant("JAX, checkpoint, solve written out", "JAX", "with_jax:run", {"values": "written out"}),
    Variant("JAX, no checkpoint", "JAX", "with_jax:run", {"checkpoint": False}, keeps_graph=True),
]

POLICIES = [
    *ours(),
    REFERENCE,
    Variant("TorchOpt, a module per agent", "TorchOpt", "with_torchopt:run", keeps_graph=True),
    Variant(
        "TorchOpt, stacked module",
        "TorchOpt stacked",
        "with_torchopt:run",
        {"stacked": True},
        keeps_graph=True,
    ),
    Variant("TorchOpt, stacked functional", "TorchOpt stacked", "loop:by_torchopt", keeps_graph=True),
    Variant("higher, a module per agent", "higher", "with_higher:run", keeps_graph=True),
    Variant(
        "higher, stacked module", "higher stacked", "with_higher:run", {"stacked": True}, keeps_graph=True
    ),
    Variant("JAX, checkpoint", "JAX", "with_jax:run"),
    Variant("JAX, no checkpoint", "JAX", "with_jax:run", {"checkpoint": False}, keeps_graph=True),
]

NETWORK = [
    *ours("ours, all states"),
    *ours("ours, segments sqrt(K)", segments="sqrt"),
    Variant("ours, forward", "ours", "ours:run", {"estimator": "forward, one member"}, most_steps=100),
    REFERENCE,
    Variant("TorchOpt", "TorchOpt", "with_torchopt:run", keeps_graph=True),
    Variant("higher", "higher", "with_higher:run", keeps_graph=True),
]

FAR = [
    *ours("ours, memory 180 MB", memory_budget="180MB"),
    *(variant for variant in NETWORK if variant.name in ("autograd, one graph", "TorchOpt", "higher")),
]

LAST = {"last": 5}
TRUNCATED = [
    *ours(estimator="truncated", steps=5),
    Variant("autograd, last steps", "autograd", "loop:by_autograd", {**SOLVE, **LAST}),
    Variant("TorchOpt, functional", "TorchOpt", "loop:by_torchopt", {**SOLVE, **LAST}),
    Variant("higher, modules", "higher", "with_higher:run", {**SOLVE, **LAST}),
    Variant("JAX, stop_gradient", "JAX", "with_jax:run", LAST),
]
FORWARD = [
    *ours(estimator="forward"),
    Variant("JAX, jacfwd", "JAX", "with_jax:run", {"estimator": "forward"}),
]
IMPLICIT = [
    *ours(estimator="implicit"),
    Variant("TorchOpt, custom_root", "TorchOpt", "torchopt_estimators:implicit", SOLVE),
    Variant("JAX, dense solve", "JAX", "with_jax:run", {"estimator": "implicit"}),
]
EVOLUTION = [
    *ours(estimator="evolution"),
    Variant("TorchOpt, zero_order", "TorchOpt", "torchopt_estimators:evolution", SOLVE, most_size=1),
    Variant("JAX, vmap", "JAX", "with_jax:run", {"estimator": "evolution"}),
]

ONE_GRAPH = [
    Variant("autograd, one graph", "autograd", "loop:by_autograd", SOLVE, keeps_graph=True),
    Variant("ours, eager, the same steps", "ours", "ours:run", {"problem": SOLVE}),
    Variant("ours, eager", "ours", "ours:run"),
    Variant("ours, eager, method tos", "ours", "ours:tos"),
]
ONE_GRAPH_TRUNCATED = [
    Variant("autograd, last steps", "autograd", "loop:by_autograd", {**SOLVE, **LAST}),
    Variant(
        "ours, eager, the same steps",
        "ours",
        "ours:run",
        {"estimator": "truncated", "steps": 5, "problem": SOLVE},
    ),
]
ONE_GRAPH_STACKED = [REFERENCE, Variant("ours, eager", "ours", "ours:run")]
"""Estimators as they are by default, beside what they cost by hand."""

TUNER = [
    Variant("plain loop, nothing learned above", "plain", "weighing:plain", same=math.inf),
    Variant("ours, unrolled", "ours", "weighing:ours"),
    Variant("ours, directional", "ours", "weighing:ours", {"estimator": "directional"}),
    Variant(
        "ours, finite-difference", "ours", "weighing:ours", {"estimator": "finite-difference"}, same=5e-2
    ),
    Variant("ours, unrolled, the model first", "ours", "weighing:ours", {"first": "model"}),
    Variant(
        "ours, finite-difference, the model first",
        "ours",
        "weighing:ours",
        {"estimator": "finite-difference", "first": "model"},
        same=5e-2,
    ),
    Variant("autograd, by hand", "autograd", "weighing:by_autograd"),
    Variant("higher, by hand", "higher", "weighing:with_higher"),
    Variant("TorchOpt, modules", "TorchOpt", "weighing:with_torchopt"),
    Variant("AuxiLearn's way, by hand", "AuxiLearn", "weighing:implicitly", same=math.inf),
]
"""One step of training with weights of samples that are learned; the first is what it is held against. The
network has kinks, so a difference over a finite way misses a few per cent."""

COIN_GAME = [
    Variant("ours, eager", "ours", "our_games:coin"),
    Variant("NumPy, one copy at a time", "NumPy", "with_numpy:coin"),
    Variant("JAX, jit(vmap(scan))", "JAX", "jax_games:coin"),
]
COIN_GAME_POLICIES, COIN_GAME_DEEPER = (
    [Variant("ours, eager", "ours", "our_games:coin_with_policy", {"hidden": hidden})]
    for hidden in ((32,), (32, 32))
)
CLEANUP = [Variant("ours, eager", "ours", "our_games:random_play", {"game": "cleanup-lio-7x7"})]

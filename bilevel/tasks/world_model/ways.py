"""The ways to train: staged, alternating, jointly with fixed, scheduled or learned weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GRID: dict[str, dict[str, float]] = {
    "fixed": {},
    "fixed-reconstruction-low": {"reconstruction": 0.1},
    "fixed-dynamics-low": {"dynamics": 0.1},
    "fixed-policy-high": {"reconstruction": 0.1, "dynamics": 0.1},
    "fixed-policy-low": {"policy": 0.1, "value": 0.1},
}
"""Weights set by hand; losses that are not named have weight 1."""

WEIGHTINGS = {
    "fixed": "jointly, every weight 1",
    "fixed-reconstruction-low": "jointly, the reconstruction's weight 0.1",
    "fixed-dynamics-low": "jointly, the dynamics' weight 0.1",
    "fixed-policy-high": "jointly, the weights of reconstruction and dynamics 0.1",
    "fixed-policy-low": "jointly, the weights of policy and value 0.1",
    "schedule": "jointly, the policy coming in and the reconstruction going out, by hand",
    "learned": "jointly, weights learned from the policy's loss on roll-outs not trained on",
    "staged": "autoencoder, then dynamics, then controller, a third of the steps each",
    "alternating": "autoencoder, dynamics and controller in turn, the others frozen",
}


@dataclass(frozen=True)
class Phase:
    """What is trained, and by which losses, on one batch of roll-outs."""

    parts: tuple[str, ...]
    """Of the model; all others are frozen."""
    losses: tuple[str, ...]
    """Each with weight 1."""
    at_random: bool = False
    """Whether actions are uniform, as long as there is no controller to speak of."""


def phases(way: str, batches: int, losses: Sequence[str]) -> list[Phase]:
    """The phase of each batch, staged or alternating.

    Args:
        way: staged or alternating.
        batches: how many there are.
        losses: the names of all.

    >>> [phase.parts[0] for phase in phases("staged", 3, ["reconstruction", "dynamics", "policy"])]
    ['autoencoder', 'dynamics', 'controller']
    """
    staged = way == "staged"
    pictures = tuple(name for name in ("reconstruction", "contrastive") if name in losses)
    acting = tuple(name for name in ("policy", "value") if name in losses)
    three = (
        Phase(("autoencoder",), pictures, at_random=staged),
        Phase(("dynamics",), ("dynamics",), at_random=staged),
        Phase(("controller", "value"), acting),
    )
    return [three[min(3 * batch // batches, 2) if staged else batch % 3] for batch in range(batches)]


def schedule(updates: int, losses: Sequence[str]) -> dict[str, tuple[float, float, int]]:
    """Lines of weights for so many updates: the policy from 0.1 to 1, the reconstruction from 1 to 0.1.

    As published the policy grows as min(1, t / 10000) from 0.1, and the reconstruction falls as max(0.1,
    1 - t / 50000); here 50000 is the number of updates, where that is less. The value goes with the policy.

    >>> schedule(1000, ["policy", "reconstruction", "dynamics"])
    {'policy': (0.1, 1.0, 180), 'reconstruction': (1.0, 0.1, 900), 'dynamics': (1.0, 1.0, 1)}
    """
    whole = min(updates, 50_000)
    coming, going = (0.1, 1.0, max(round(0.18 * whole), 1)), (1.0, 0.1, max(round(0.9 * whole), 1))
    lines = {"policy": coming, "value": coming, "reconstruction": going}
    return {name: lines.get(name, (1.0, 1.0, 1)) for name in losses}

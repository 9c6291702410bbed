"""Directions made of all losses' gradients at once, by `torchjd`; nothing else in the toolkit imports it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from torch import Tensor

from bilevel.loss_weights._rules import Rule
from bilevel.loss_weights._weights import Losses
from games.core import require_name

AGGREGATORS: dict[str, Callable[[Any, int], Any]] = {
    "upgrad": lambda known, losses: known.UPGrad(),
    "mgda": lambda known, losses: known.MGDA(),
    "pcgrad": lambda known, losses: known.PCGrad(),
    "cagrad": lambda known, losses: known.CAGrad(c=0.5),
    "nash-mtl": lambda known, losses: known.NashMTL(n_tasks=losses),
}
"""Name -> how torchjd's aggregator is made; CAGrad's radius is 0.5, as in its paper's multi-task runs (?)."""


class Aggregated(Rule):
    """Follows a direction in which no loss rises, or few do, instead of a weighted sum's gradient.

    Needs the optional package torchjd with all its solvers (the extra `rivals`). Nash-MTL's memory of its
    last solution is not saved with a run.

    Args:
        names: what the losses are called.
        by: upgrad, mgda, pcgrad, cagrad or nash-mtl.

    Raises:
        ValueError: there is no such aggregator.
        ModuleNotFoundError: torchjd is not installed (says how).

    Source:
        TorchJD and UPGrad: Quinton and Rey, Jacobian descent, arXiv 2406.16232; MGDA: Sener and Koltun, arXiv
        1810.04650; PCGrad: Yu et al., arXiv 2001.06782; CAGrad: Liu et al., arXiv 2110.14048; Nash-MTL: Navon
        et al., arXiv 2202.01017.

    >>> Aggregated(["depth", "class"], by="upgrad").as_dict()
    {}
    """

    def __init__(self, names: Sequence[str], by: str) -> None:
        super().__init__(names)
        require_name(by, AGGREGATORS, "aggregator")
        try:
            aggregation, self._autojac = map(import_module, ("torchjd.aggregation", "torchjd.autojac"))
        except ModuleNotFoundError as missing:
            raise ModuleNotFoundError(
                f"Aggregating gradients needs {missing.name}: pip install --constraint constraints.txt "
                "'bilevel[rivals]'."
            ) from None
        self.aggregator = AGGREGATORS[by](aggregation, len(self.names))

    def descend(self, losses: Losses, parameters: Sequence[Tensor]) -> Tensor:
        """Write the aggregated direction into the model's gradients."""
        stacked = self.stacked(losses)
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        self._autojac.backward([losses[name] for name in self.names], inputs=trained)
        reached = [parameter for parameter in trained if getattr(parameter, "jac", None) is not None]
        with warnings.catch_warnings():
            # How torchjd poses Nash-MTL's program is not in the hands of whoever calls it.
            warnings.filterwarnings("ignore", message="You are solving a parameterized problem")
            self._autojac.jac_to_grad(reached, self.aggregator)
        return stacked.detach().mean()

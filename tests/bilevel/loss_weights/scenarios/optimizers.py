"""Every optimizer, in the middle of a run."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from tests.bilevel.loss_weights.loops import OPTIMIZERS
from tests.bilevel.loss_weights.scenarios import Loop, plain_step, scenario
from tests.bilevel.loss_weights.scenarios.data import loop_of


def of_optimizer(
    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer], steps: int = 1
) -> Callable[[], Loop]:
    """Builder of a loop with this optimizer, after so many steps."""

    def build() -> Loop:
        loop = loop_of(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), make)
        for _ in range(steps):
            plain_step(loop, 3)
        return loop

    return build


for _name, _make in OPTIMIZERS.items():
    scenario(f"optimizer: {_name}")(of_optimizer(_make))

scenario("optimizer: radam, rectified")(of_optimizer(OPTIMIZERS["radam"], steps=6))

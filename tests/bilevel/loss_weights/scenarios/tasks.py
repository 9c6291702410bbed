"""Several tasks: a loss that some batches lack, and batches of different sizes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bilevel.loss_weights import LossWeights
from tests.bilevel.loss_weights.scenarios import Loop, scenario
from tests.bilevel.loss_weights.scenarios.data import adam, loop_of


@scenario("tasks: a loss is absent from the first batch")
def absent() -> Loop:
    loop = loop_of(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))
    losses = loop.losses
    loop.losses = lambda index: {n: v for n, v in losses(index).items() if index or n != "cosh"}
    return loop


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
        self.heads = nn.ModuleDict({"depth": nn.Linear(4, 1), "normal": nn.Linear(4, 2)})

    def forward(self, inputs: Tensor, task: str) -> Tensor:
        found: Tensor = self.heads[task](self.trunk(inputs))
        return found


@scenario("tasks: two heads, batches of different sizes, in parts")
def sizes() -> Loop:
    model = TwoHeads().double()
    true = {"depth": torch.randn(3, 1).double(), "normal": torch.randn(3, 2).double()}

    def drawn(size: int, task: str) -> tuple[Tensor, Tensor]:
        inputs = torch.randn(size, 3).double()
        return inputs, inputs @ true[task] + 0.3 * torch.randn(size, true[task].shape[1]).double()

    batches = [{"depth": drawn(4 + index, "depth"), "normal": drawn(9, "normal")} for index in range(6)]
    held_out = drawn(7, "depth")

    def loss(task: str, pair: tuple[Tensor, Tensor]) -> Tensor:
        return (model(pair[0], task) - pair[1]).square().mean()

    return Loop(
        model,
        adam(list(model.parameters())),
        lambda index: {task: loss(task, pair) for task, pair in batches[index].items()},
        lambda: loss("depth", held_out),
        LossWeights(["depth", "normal"]).double(),
        settings={"accumulate": 2},
    )

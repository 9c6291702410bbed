"""Two processes learn what one process learns on the union of their data."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from bilevel.loss_weights import HyperParameter, LossWeights, LossWeightTuner, SampleWeights
from bilevel.loss_weights._distributed import Processes

CASES: dict[str, dict[str, Any]] = {
    "unrolled": {"estimator": "unrolled"},
    "three virtual steps, clipped": {"estimator": "unrolled", "virtual_steps": 3, "max_norm": 0.3},
    "directional": {"estimator": "directional"},
    "finite-difference": {"estimator": "finite-difference"},
    "model first": {"estimator": "unrolled", "first": "model", "every": 2},
    "learned rate": {"estimator": "unrolled", "rate": True},
    "samples": {"estimator": "unrolled", "samples": True},
    "batch norm in training": {"estimator": "unrolled", "norm": True, "virtual_steps": 2},
}


def train(case: str, rank: int, size: int) -> dict[str, Tensor]:
    """Four steps on the rank's part of the data; what came of the model and of what is learned."""
    torch.manual_seed(0)
    settings = dict(CASES[case])
    samples, norm = settings.pop("samples", False), settings.pop("norm", False)
    rate = HyperParameter("rate", 0.05).double() if settings.pop("rate", False) else None
    own: nn.Module = nn.Sequential(
        nn.Linear(3, 4),
        nn.BatchNorm1d(4, momentum=None) if norm else nn.Identity(),
        nn.Tanh(),
        nn.Linear(4, 2),
    ).double()
    x, y = torch.randn(8, 3).double(), torch.randn(8, 2).double()
    if norm:  # both parts alike, so that their statistics are those of the union
        x, y = torch.cat([x[:4], x[:4]]), torch.cat([y[:4], y[:4]])
    model: nn.Module = DistributedDataParallel(own) if size > 1 else own
    part = slice(rank * 8 // size, (rank + 1) * 8 // size)
    x, y = x[part], y[part]
    weights: nn.Module
    if samples:
        weights = SampleWeights((3,), normalize=False).double()
    else:
        weights = LossWeights(["square", "cosh"], {"square": 0.7, "cosh": 1.3 + rank}).double()
    outer = [*weights.parameters(), *([] if rate is None else rate.parameters())]
    tuner = LossWeightTuner(
        model,
        torch.optim.Adam(own.parameters(), lr=0.05, eps=1e-3),
        weights,
        torch.optim.SGD(outer, lr=0.5),
        learning_rate=rate,
        **settings,
    )

    def each() -> Tensor:
        found: Tensor = (model(x) - y).square().mean(-1)
        return found

    def losses() -> dict[str, Tensor]:
        out = model(x)
        return {"square": (out - y).square().mean(), "cosh": out.cosh().mean()}

    for _ in range(4):
        result = tuner.step(each if samples else losses, lambda: (model(x) - y).abs().square().sum(-1).mean())
    assert result.loss.isfinite()
    return {
        "model": torch.cat([p.detach().flatten() for p in own.parameters()]),
        "learned": torch.cat([p.detach().flatten() for p in outer]),
        "history": torch.tensor(tuner.history.validation_loss),
    }


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = distributed.FileStore(f"{folder}/store", 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    found: dict[str, Any] = {case: train(case, rank, 2) for case in CASES}
    found["refused"] = refused()
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def refused() -> list[str]:
    """What is said where processes train together, and averages are not to be had."""
    model, weights = nn.Linear(2, 1), LossWeights(["a"])
    wrapped, hooked = (DistributedDataParallel(copy.deepcopy(model)) for _ in range(2))
    hooked.register_comm_hook(None, lambda state, bucket: bucket)  # type: ignore[arg-type,return-value]
    said = []
    for each, estimator in (
        (model, "unrolled"),
        (hooked, "unrolled"),
        (wrapped, "implicit"),
        (wrapped, "forward"),
    ):
        optimizer = torch.optim.SGD(each.parameters(), lr=0.1)
        outer = torch.optim.SGD(weights.parameters(), lr=0.1)
        with pytest.raises(ValueError, match=r"\.$") as error:
            LossWeightTuner(each, optimizer, weights, outer, estimator=estimator)
        said.append(str(error.value))
    return said


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder: Path = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(process, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_learn_as_one_on_the_union(case: str, ranks: list[dict[str, Any]]) -> None:
    one = train(case, 0, 1)
    start = 0.0 if case == "samples" else 1e-3
    for name, value in one.items():
        assert torch.equal(ranks[0][case][name], ranks[1][case][name]), name
        torch.testing.assert_close(ranks[0][case][name], value, rtol=1e-8, atol=1e-11)
    assert one["learned"].abs().max() > start


def test_refusals_among_processes(ranks: list[dict[str, Any]]) -> None:
    unwrapped, hooked, implicit, forward = ranks[1]["refused"]
    assert "no module of the model is wrapped in DistributedDataParallel" in unwrapped
    assert "DistributedDataParallel with a communication hook changes gradients" in hooked
    for name, said in (("implicit", implicit), ("forward", forward)):
        assert said.startswith(f"The estimator {name} does not average over the processes")
        assert said.endswith("unrolled, directional, finite-difference do.")


class DTensor(nn.Parameter):
    """By its name alone one of torch's sharded parameters."""


class FullyShardedDataParallel(nn.Module):
    """By its name alone torch's wrapper."""


@pytest.mark.parametrize("kind", ["DTensor", "FullyShardedDataParallel"])
def test_sharded_models_are_refused_by_name(kind: str) -> None:
    model = nn.Linear(2, 1)
    if kind == "DTensor":
        model.weight = DTensor(model.weight.detach())
    else:
        model.add_module("inner", FullyShardedDataParallel())
    with pytest.raises(
        ValueError, match=f"The model holds a {kind}, whose parameters are spread over processes"
    ):
        Processes([model])

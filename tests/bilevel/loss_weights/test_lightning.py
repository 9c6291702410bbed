"""Learned loss weights in Lightning, with the real library: automatic and manual optimization."""

from __future__ import annotations

import copy
import doctest
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from bilevel.loss_weights import LossWeights, LossWeightTuner
from tests.bilevel.loss_weights.loops import regression

lightning = pytest.importorskip("lightning")
from bilevel.loss_weights import LossWeightCallback  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*smaller than the logging interval", "ignore:.*checkpoint"
)
STEPS = 6


class Sensor(lightning.LightningModule):  # type: ignore[misc, name-defined]
    """Two sensors, of which one reads 1 too much; with dropout, batch norm, momentum and a scheduler."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1)
        )
        self.weights = LossWeights(["right", "shifted"], {"right": 0.7, "shifted": 1.3})

    def losses(self, batch: Any) -> dict[str, Tensor]:
        inputs, truth = batch
        out = self.net(inputs)
        return {"right": (out - truth).square().mean(), "shifted": (out - truth - 1).square().mean()}

    def validation_loss(self) -> Tensor:
        inputs = torch.linspace(-1, 1, 30).view(10, 3)
        return (self.net(inputs) - inputs.sum(-1, keepdim=True)).square().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss: Tensor = self.weights(self.losses(batch))
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.net.parameters(), lr=0.02)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.9)]


class ByHand(Sensor):
    """The same in manual optimization."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def on_train_start(self) -> None:
        outer = torch.optim.Adam(self.weights.parameters(), lr=0.1)
        self.tuner = LossWeightTuner(self.net, self.optimizers(), self.weights, outer)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.tuner.step(lambda: self.losses(batch), self.validation_loss)


def module_of(cls: type[Sensor] = Sensor) -> Sensor:
    torch.manual_seed(0)
    return cls()


def loader() -> DataLoader[Any]:
    inputs = torch.randn(24, 3, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(inputs, inputs.sum(-1, keepdim=True)), 8, shuffle=True)


def callback_of(module: Sensor, rate: float = 0.1, **settings: Any) -> LossWeightCallback:
    return LossWeightCallback(
        lambda module, batch: module.losses(batch),
        lambda module: module.validation_loss(),
        module.weights,
        torch.optim.Adam(module.weights.parameters(), lr=rate),
        **settings,
    )


def fit(module: Sensor, folder: Path, *callbacks: Any, resume: Any = None, **settings: Any) -> Any:
    given = {"max_steps": STEPS, "enable_checkpointing": False, "gradient_clip_val": 0.5, **settings}
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **given,
    )
    torch.manual_seed(2)
    trainer.fit(module, loader(), ckpt_path=resume, weights_only=False)
    return trainer


@pytest.mark.parametrize("clip", ["norm", "value"])
def test_with_outer_learning_rate_0_the_run_is_lightnings_own(tmp_path: Path, clip: str) -> None:
    plain, tuned = module_of(), module_of()
    fit(plain, tmp_path, gradient_clip_algorithm=clip)
    fit(tuned, tmp_path, callback_of(tuned, rate=0.0), gradient_clip_algorithm=clip)
    for (name, ours), theirs in zip(tuned.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_weights_are_learned_as_the_tuner_learns_them(tmp_path: Path) -> None:
    """The callback, and the tuner in manual optimization, whose steps Lightning counts."""
    automatic, manual = module_of(), module_of(ByHand)
    callback = callback_of(automatic)
    counted = fit(automatic, tmp_path, callback, gradient_clip_val=None, max_epochs=1)
    trainer = fit(manual, tmp_path, gradient_clip_val=None, max_epochs=1)
    assert trainer.global_step == counted.global_step == 3
    learned = automatic.weights.as_dict()
    assert learned["right"] > 0.7
    for ours, theirs in zip(automatic.parameters(), manual.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    assert callback.tuner is not None
    assert callback.tuner.history.steps == [1, 2, 3]
    assert counted.callback_metrics["weights/right"] == pytest.approx(learned["right"])


def test_the_right_sensor_comes_to_count_more(tmp_path: Path) -> None:
    module = module_of()
    fit(module, tmp_path, callback_of(module, rate=0.2), max_steps=40)
    learned = module.weights.as_dict()
    assert learned["right"] > 2 * learned["shifted"]


class InOrder(Sensor):
    """Without random draws; each process has its share of every batch of 8."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def train_dataloader(self) -> Any:
        processes, rank = self.trainer.world_size, self.trainer.global_rank
        rows = TensorDataset(*(each[rank::processes] for each in loader().dataset.tensors))  # type: ignore[attr-defined]
        return DataLoader(rows, 8 // processes)


def test_two_processes_learn_what_one_learns_on_the_union_of_their_batches(tmp_path: Path) -> None:
    found = []
    for devices in (1, 2):
        module = module_of(InOrder)
        trainer = lightning.Trainer(
            accelerator="cpu", devices=devices, strategy="ddp_fork" if devices > 1 else "auto", max_steps=3,
            logger=False, enable_checkpointing=False, callbacks=[callback_of(module)],
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
            use_distributed_sampler=False, precision="64-true",
        )  # fmt: skip
        trainer.fit(module)
        found.append([p.detach().float() for p in module.parameters()])  # as Lightning gives back forks'
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7)
    assert module.weights.as_dict() != module_of(InOrder).weights.as_dict()


def test_a_checkpoint_keeps_what_was_learned_and_goes_on(tmp_path: Path) -> None:
    first, second = module_of(), module_of()
    before = callback_of(first, every=2)
    fit(first, tmp_path, before, max_steps=3).save_checkpoint(tmp_path / "half.ckpt")
    assert before.tuner is not None
    saved = copy.deepcopy(before.tuner.state_dict())
    after = callback_of(second, every=2)
    fit(second, tmp_path, after, resume=tmp_path / "half.ckpt", max_steps=STEPS)
    assert after.tuner is not None
    assert after.tuner.steps == STEPS
    assert after.tuner.history.steps == [1, 3, 5]
    assert after.tuner.history.values["right"][:2] == saved["history"]["values"]["right"]
    assert after.tuner.validation_seed == saved["validation_seed"]
    assert after.outer_optimizer.state[second.weights.free]["step"] == 3
    assert second.weights.as_dict()["right"] > saved["history"]["values"]["right"][-1]


class OwnClipping(Sensor):
    def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("cls", "settings", "sentence"),
    [
        (ByHand, {}, "In manual optimization you take the step: call LossWeightTuner.step"),
        (Sensor, {"accumulate_grad_batches": 2}, "accumulates the gradients of 2: use larger batches"),
        (OwnClipping, {}, "The module clips gradients by itself"),
    ],
)
def test_what_the_callback_cannot_do_is_refused(
    cls: type[Sensor], settings: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    module = module_of(cls)
    before = [p.detach().clone() for p in module.parameters()]
    with pytest.raises(ValueError, match=sentence):
        fit(module, tmp_path, callback_of(module), **{"gradient_clip_val": None, **settings})
    assert all(torch.equal(p, b) for p, b in zip(module.parameters(), before, strict=True))


def test_fabrics_wrapper_steps_as_the_optimizer_inside() -> None:
    found = []
    for wrapped in (False, True):
        task = regression()
        task.model = task.model.float()
        optimizer: Any = torch.optim.Adam(task.model.parameters(), lr=0.1)
        if wrapped:
            fabric = lightning.Fabric(accelerator="cpu", devices=1)
            task.model, optimizer = fabric.setup(task.model, optimizer)
        pairs = [(x.float(), y.float()) for x, y in task.batches]
        task.batches, (x, y) = pairs, task.held_out
        task.held_out = x.float(), y.float()
        weights = LossWeights(["square", "large"])
        outer = torch.optim.Adam(weights.parameters(), lr=0.1)
        tuner = LossWeightTuner(task.model, optimizer, weights, outer)
        for index in range(2):
            tuner.step(task.loss_of(index), task.validation)
        found.append([p.detach().clone() for p in (*task.model.parameters(), *weights.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_scaler_of_lightning_is_refused() -> None:
    module, callback = module_of(), callback_of(module_of())
    trainer = lightning.Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    trainer.strategy._optimizers = [torch.optim.SGD(module.parameters(), lr=0.1)]
    trainer.strategy.precision_plugin.scaler = torch.amp.GradScaler("cpu")
    with pytest.raises(ValueError, match="A GradScaler cannot be used with learned weights"):
        callback.on_train_start(trainer, module)


def test_the_example_of_the_docstring() -> None:
    module = importlib.import_module("bilevel.loss_weights._lightning")
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0

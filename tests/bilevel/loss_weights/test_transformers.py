"""Learned loss weights in Hugging Face's Trainer, with the real library and a tiny model made of a config."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bilevel.loss_weights import LossWeights

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
from bilevel.loss_weights import LossWeightTrainer  # noqa: E402

NAMES = ("right", "flipped")
FIRST = {"right": 0.7, "flipped": 1.3}


def model_of(**changed: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=8, num_labels=2, **changed,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config)


def rows(count: int, seed: int) -> list[dict[str, Tensor]]:
    """Sequences of 6 tokens, and whether there are more large ones than small ones."""
    tokens = torch.randint(20, (count, 6), generator=torch.Generator().manual_seed(seed))
    labels = ((tokens >= 10).sum(-1) > 3).long()
    return [{"input_ids": x, "labels": y} for x, y in zip(tokens, labels, strict=True)]


def losses(model: Any, inputs: dict[str, Tensor]) -> tuple[dict[str, Tensor], Any]:
    labels = inputs.pop("labels")  # what a caller gives is a copy
    outputs = model(**inputs)
    entropy = torch.nn.functional.cross_entropy
    return {"right": entropy(outputs.logits, labels), "flipped": entropy(outputs.logits, 1 - labels)}, outputs


HELD_OUT = rows(16, 1)


def validation_loss(model: Any) -> Tensor:
    inputs = torch.stack([row["input_ids"] for row in HELD_OUT])
    logits = model(input_ids=inputs).logits
    return torch.nn.functional.cross_entropy(logits, torch.stack([row["labels"] for row in HELD_OUT]))


class Plain(transformers.Trainer):  # type: ignore[misc, name-defined]
    """Without a tuner: the same losses with fixed weights."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.model_accepts_loss_kwargs = False

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        found, outputs = losses(model, inputs)
        loss = LossWeights(NAMES, FIRST)(found)
        return (loss, outputs) if return_outputs else loss


def trainer_of(folder: Path, rate: float | None, model: Any = None, **settings: Any) -> Any:
    """A trainer whose weights learn at this rate; None: Transformers' own with fixed weights."""
    own = {key: settings.pop(key) for key in ("tuner_settings", "optimizers") if key in settings}
    arguments = transformers.TrainingArguments(
        **{
            "output_dir": str(folder),
            "max_steps": 6,
            "per_device_train_batch_size": 4,
            "learning_rate": 0.01,
            "report_to": "none",
            "disable_tqdm": True,
            "save_strategy": "no",
            "use_cpu": True,
            "logging_steps": 2,
            "dataloader_pin_memory": False,
            **settings,
        }
    )
    model = model_of() if model is None else model
    if rate is None:
        return Plain(model, arguments, train_dataset=rows(24, 0), eval_dataset=HELD_OUT, **own)
    weights = LossWeights(NAMES, FIRST)
    return LossWeightTrainer(
        model,
        arguments,
        train_dataset=rows(24, 0),
        eval_dataset=HELD_OUT,
        losses=losses,
        validation_loss=validation_loss,
        weights=weights,
        outer_optimizer=torch.optim.Adam(weights.parameters(), lr=rate),
        **own,
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"max_grad_norm": 0.5, "weight_decay": 0.1},
        {"gradient_accumulation_steps": 4},  # of 6 batches: 4 parts, and 2
        {"bf16": True},
    ],
)
def test_with_outer_learning_rate_0_the_run_is_the_trainers_own(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    trainers, ends = [], []
    for rate in (None, 0.0):  # the random streams are seeded when a trainer is made
        trainers.append(trainer_of(tmp_path, rate, **settings))
        ends.append(trainers[-1].train().training_loss)
    plain, tuned = trainers
    assert ends[0] == ends[1]
    assert plain.state.global_step == tuned.state.global_step == 6
    assert plain.evaluate()["eval_loss"] == tuned.evaluate()["eval_loss"]
    for (name, ours), theirs in zip(
        tuned.model.state_dict().items(), plain.model.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name


def test_the_right_labels_come_to_count_more(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, 0.2, max_steps=20)
    trainer.train()
    learned = trainer.weights.as_dict()
    assert learned["right"] > 2 * learned["flipped"]
    logged = [row for row in trainer.state.log_history if "weights/right" in row]
    assert [row["step"] for row in logged] == list(range(2, 21, 2))
    assert logged[-1]["weights/right"] == learned["right"]
    trainer.train()
    assert trainer.tuner.steps == 40
    assert len(trainer.tuner.history.steps) == 40


def test_a_checkpoint_goes_on_bit_for_bit(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"save_strategy": "steps", "save_steps": 3, "tuner_settings": {"every": 2}}
    whole = trainer_of(tmp_path / "one", 0.1, **settings)
    whole.train()
    resumed = trainer_of(tmp_path / "other", 0.1, **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "one" / "checkpoint-3"))
    assert whole.weights.as_dict() == resumed.weights.as_dict() != FIRST
    assert whole.tuner.history.state_dict() == resumed.tuner.history.state_dict()
    assert resumed.tuner.history.steps == [1, 3, 5]
    for ours, theirs in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def adafactor(model: Any) -> Any:
    return transformers.optimization.Adafactor(model.parameters(), lr=0.01, relative_step=False)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"label_smoothing_factor": 0.1},
            "do there what compute_loss_func or label_smoothing_factor would do",
        ),
        ({"optimizers": adafactor}, "The steps of Adafactor cannot be differentiated; those of SGD"),
    ],
)
def test_what_cannot_be_done_is_refused(settings: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    model = model_of()
    before = [p.detach().clone() for p in model.parameters()]
    make: Callable[[Any], Any] | None = settings.get("optimizers")
    given = {**settings, **({} if make is None else {"optimizers": (make(model), None)})}
    with pytest.raises(ValueError, match=sentence):
        trainer_of(tmp_path, 0.1, model, **given).train()
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_the_example_of_the_docstring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module("bilevel.loss_weights._transformers")
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 0
    assert found.failed == 0

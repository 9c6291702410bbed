"""Fused kernels and compiled models: the look ahead does without, the model's own step does not."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.bilevel.loss_weights.loops import Regression, regression
from tests.bilevel.loss_weights.scenarios.derivatives import Attention, Sine
from tests.bilevel.loss_weights.test_through_step import Smooth, smooth
from tests.bilevel.loss_weights.test_tuner import hypergradient, parameters, tuner_of, two_weights

ESTIMATORS = [
    "unrolled",
    "directional",
    "finite-difference",
    "implicit",
    "truncated(steps=1)",
    "forward",
    "one-step",
]


def attentive() -> Regression:
    task = smooth()
    torch.manual_seed(3)
    task.model = Attention().double()
    return task


@pytest.mark.parametrize("first", ["weights", "model"])
def test_the_models_own_step_keeps_the_fused_attention(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the look ahead computes by the math backend: seen in the graph of each loss."""
    task, seen = attentive(), []

    def losses() -> dict[str, Tensor]:
        found = task.losses()
        fused = "ScaledDotProductFlash" in graph(found["square"])
        seen.append(fused)
        return found

    tuner = tuner_of(task, two_weights(), first=first)
    tuner.step(losses, task.validation)
    assert seen[0]  # found out
    assert seen[-1]  # the model's own step
    assert seen.count(False) >= 1  # the look ahead
    seen.clear()
    tuner.step(losses, task.validation)
    assert seen == [False, True]


def graph(loss: Tensor) -> str:
    """Names of all nodes behind a loss."""
    found: list[str] = []
    todo, done = [loss.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is not None and node not in done:
            done.add(node)
            found.append(node.name())
            todo += [each for each, _ in node.next_functions]
    return " ".join(found)


class Compiled(Smooth):
    """A loop whose model torch.compile has made."""

    def __init__(self, task: Regression) -> None:
        super().__init__(**vars(task))
        self.plain, self.model = task.model, torch.compile(task.model, backend="aot_eager")  # type: ignore[assignment]


def test_compiled_models_with_every_estimator() -> None:
    """The hypergradient of the model as it was written, and the compiled model's own step, to the bit."""
    torch.compiler.reset()
    task = smooth()
    compiled = Compiled(smooth())
    start = copy.deepcopy(task.model.state_dict())
    for estimator in ESTIMATORS:
        found = []
        for each in (task, compiled):
            (each.plain if isinstance(each, Compiled) else each.model).load_state_dict(start)
            tuner = tuner_of(each, two_weights(), "adam", estimator=estimator)
            found.append(hypergradient(tuner, each.losses, each.validation))
        assert found[0].abs().max() > 1e-6
        torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-12)
    compiled.plain.load_state_dict(start)
    tuner = tuner_of(compiled, two_weights(), "adam", rate=0.0, every=2)
    for _ in range(3):
        tuner.step(compiled.losses, compiled.validation)
    learned = parameters(compiled.plain)
    compiled.plain.load_state_dict(start)
    own, weights = torch.optim.Adam(compiled.plain.parameters(), lr=0.05, eps=1e-3), two_weights()
    for _ in range(3):
        own.zero_grad()
        weights(compiled.losses()).backward()
        own.step()
    assert torch.equal(learned, parameters(compiled.plain))
    torch.compiler.reset()


def test_refusals_name_the_estimators_that_can() -> None:
    """They are tried, so that the sentence is true."""
    for estimator in ("unrolled", "directional", "implicit", "truncated(steps=1)", "unrolled(segments=sqrt)"):
        task = regression(Sine())
        before = copy.deepcopy(task.model.state_dict())
        with pytest.raises(
            ValueError,
            match=re.escape(f"The estimator {estimator} cannot differentiate these losses (")
            + r".*\); finite-difference can\.$",
        ):
            tuner_of(task, two_weights(), estimator=estimator).step(task.losses, task.validation)
        assert all(torch.equal(v, before[name]) for name, v in task.model.state_dict().items())
    task = regression(Sine())
    with pytest.raises(ValueError, match=r"finite-difference can with virtual_steps=1\.$"):
        tuner_of(task, two_weights(), virtual_steps=2).step(task.losses, task.validation)
    tuner_of(task, two_weights(), estimator="finite-difference").step(task.losses, task.validation)


def test_the_users_own_errors_are_the_users_own() -> None:
    def broken() -> Any:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    for estimator in ESTIMATORS:
        task = regression()
        tuner = tuner_of(task, two_weights(), estimator=estimator)
        for losses, validation in ((broken, task.validation), (task.losses, broken)):
            with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied") as error:
                tuner.step(losses, validation)
            assert type(error.value) is RuntimeError

"""Hypergradients through actor-critic and PPO: estimators agree, with differences on fixed samples, too."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from bilevel.core import inner_step_per_agent, over_minibatches, tree_map
from bilevel.hypergradient import BilevelProblem, Forward, OneStep, Truncated, Unrolled, check_hypergradient
from bilevel.optimizers import adam, sgd, tied
from tests.bilevel.agents.critic_cases import PLAYED, SEEDS, Case, ppo

KINDS: dict[str, Callable[[str], Case]] = {
    "actor-critic": Case,
    "ppo": lambda name: ppo(name, epochs=2, clip_range=0.5, value_clip=2.0, normalize=True),
}
STEPS = 2
every_kind = pytest.mark.parametrize("kind", KINDS)


def problem_of(case: Case, optimizer: Any, parts: Any = None) -> BilevelProblem:
    """Inner steps on samples that are there beforehand; the outer loss is a number for each seed."""
    samples = [case.sample(seed) for seed in range(STEPS)]

    def likely(theta: Tensor, phi: Tensor, data: Any) -> Tensor:
        """How likely first actions are: smooth in the policies, whatever was drawn."""
        logits = case.play._logits(theta, case.data).log_softmax(-1)[..., 0]
        return (logits.exp() * case.data.mask).square().sum((1, 2, 3))

    return BilevelProblem(
        step=over_minibatches(inner_step_per_agent(case.losses, optimizer), parts or case.batches),
        outer_loss=likely,
        inner_data=lambda theta, phi, step: samples[step],
    )


# Adam's first step is steep where a gradient is near epsilon: a large one keeps differences exact.
CHECKED = [*((name, sgd(0.2)) for name in PLAYED), ("numbered gru", tied(adam(0.1, epsilon=1e-2)))]


@every_kind
@pytest.mark.parametrize(("name", "optimizer"), CHECKED, ids=[*PLAYED, "tied adam"])
def test_differences_agree(kind: str, name: str, optimizer: Any) -> None:
    case = KINDS[kind](name)
    start = problem_of(case, optimizer), case.theta, optimizer.init(case.theta), case.phi
    assert check_hypergradient(*start, steps=STEPS, max_entries=2).passed
    assert Unrolled()(*start, steps=STEPS).gradient.abs().max() > 1e-5


@every_kind
@pytest.mark.parametrize("name", ["table", "mlp"])
def test_carried_forward_it_is_the_same(kind: str, name: str) -> None:
    case = KINDS[kind](name)
    start = problem_of(case, sgd(0.2)), case.theta, sgd(0.2).init(case.theta), case.phi
    back, forward = (estimator(*start, steps=STEPS).gradient for estimator in (Unrolled(), Forward()))
    torch.testing.assert_close(forward, back, rtol=1e-9, atol=1e-12)


@every_kind
def test_an_inner_step_counts_as_one(kind: str) -> None:
    """However many gradient steps it has: truncated to one, it is the estimator of one step."""
    case = KINDS[kind]("mlp")
    start = problem_of(case, sgd(0.2)), case.theta, sgd(0.2).init(case.theta), case.phi
    whole, all_steps, last, one = (
        estimator(*start, steps=STEPS).gradient
        for estimator in (Unrolled(), Truncated(steps=STEPS), Truncated(steps=1), OneStep())
    )
    torch.testing.assert_close(all_steps, whole, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(last, one, rtol=1e-12, atol=1e-14)
    assert not torch.allclose(last, whole, rtol=1e-3)


@every_kind
def test_what_phi_made_critics_learn_is_there(kind: str) -> None:
    """With values cut off the hypergradient is another one, and differences do not agree with it."""
    case = KINDS[kind]("mlp")

    def cut(theta: Tensor, phi: Tensor, data: Any) -> list[Any]:
        return [part._replace(values=part.values.detach()) for part in case.batches(theta, phi, data)]

    whole, without = problem_of(case, sgd(0.2)), problem_of(case, sgd(0.2), cut)
    start = case.theta, sgd(0.2).init(case.theta), case.phi
    ends = [Unrolled()(problem, *start, steps=STEPS) for problem in (whole, without)]
    assert torch.equal(ends[0].theta, ends[1].theta)
    difference = (ends[0].gradient - ends[1].gradient).norm() / ends[0].gradient.norm()
    assert difference > 0.01
    assert not check_hypergradient(without, *start, steps=STEPS, max_entries=4).passed


@every_kind
@pytest.mark.parametrize("name", PLAYED)
def test_a_batch_of_seeds_is_its_members(kind: str, name: str) -> None:
    """Steps, and what is differentiated through them."""
    case = KINDS[kind](name)
    step = over_minibatches(inner_step_per_agent(case.losses, sgd(0.2)), case.batches)

    def moved(theta: Tensor, phi: Tensor, data: Any) -> Tensor:
        theta, state = step(theta, sgd(0.2).init(theta), phi, data)
        return step(theta, state, phi, data)[0]

    def meta(theta: Tensor, phi: Tensor, data: Any) -> Tensor:
        return torch.func.grad(lambda phi: moved(theta, phi, data).square().sum())(phi)

    for function in (moved, meta):
        together = function(case.theta, case.phi, case.data)
        for seed in range(SEEDS):
            alone = function(*_one_seed((case.theta, case.phi, case.data), seed))
            torch.testing.assert_close(together[seed], alone[0], rtol=1e-10, atol=1e-12)
            assert alone.any()


def _one_seed(everything: Any, seed: int) -> Any:
    return tree_map(lambda leaf: leaf[seed : seed + 1], everything)

"""Every variant of every experiment gives the same gradient, and gives it again, on problems of tiny size."""

import importlib.util
import math

import numpy as np
import pytest
import torch

from tests.benchmarks.case import Case
from tests.benchmarks.experiments import EXPERIMENTS, Experiment
from tests.benchmarks.measure.agreement import as_array, reference_of, relative_error
from tests.benchmarks.measure.worker import Worker
from tests.benchmarks.peers import ours
from tests.benchmarks.problems.network import Network
from tests.benchmarks.variants import Variant

TINY = {"seeds": (3, 7), "agents": (3, 2), "units": (5, 7), "copies": (6, 30)}
"""What `size` counts -> size and K."""


def tiny(experiment: Experiment, variant: Variant) -> Case:
    size, steps = TINY[experiment.count]
    return Case(problem=experiment.problem, size=int(min(size, variant.most_size)), steps=steps)


def variants(*, jax: bool) -> list[pytest.param]:
    """All but the compiled ones: these are compared with eager ones where compiling is tested."""
    return [
        pytest.param(experiment, variant, id=f"{experiment.name}: {variant.name}")
        for experiment in EXPERIMENTS.values()
        for variant in experiment.variants
        if (variant.library == "JAX") == jax
        and not variant.options.get("compiled")
        and variant.same < math.inf
    ]


@pytest.fixture
def _in_float64():
    """TorchOpt computes Adam's bias correction in the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("_in_float64")
@pytest.mark.filterwarnings("ignore:We've integrated functorch:FutureWarning")
@pytest.mark.parametrize(("experiment", "variant"), variants(jax=False))
def test_variants_agree_with_the_reference(experiment, variant):
    case = tiny(experiment, variant)
    expected = as_array(reference_of(experiment.variants).build(case)())
    run = variant.build(case)
    first, again = as_array(run()), as_array(run())
    assert first.shape == expected.shape
    assert np.abs(expected).max() > 1e-6, "a gradient of zero agrees with anything"
    assert relative_error(first, expected) <= variant.same
    assert relative_error(again, first) <= 1e-12, "a call must not change what the next one starts from"


@pytest.fixture(scope="module")
def worker():
    with Worker(threads=1) as worker:
        yield worker


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is installed by make bench")
@pytest.mark.parametrize(("experiment", "variant"), variants(jax=True))
def test_jax_agrees_with_the_reference(experiment, variant, worker):
    case = tiny(experiment, variant)
    expected, _ = worker.build(reference_of(experiment.variants), case)
    assert relative_error(worker.build(variant, case)[0], expected) <= variant.same


@pytest.mark.usefixtures("_in_float64")
@pytest.mark.parametrize("problem", ["dilemma", "policies", "network"])
def test_the_problem_is_worth_timing(problem):
    """The gradient depends on K: nobody gets it right with a single step."""
    experiment = next(e for e in EXPERIMENTS.values() if e.problem == problem)
    size, steps = TINY[experiment.count]
    reference = reference_of(experiment.variants)
    one, all_steps = (
        as_array(reference.build(Case(problem=problem, size=size, steps=k))()) for k in (1, steps)
    )
    assert relative_error(one, all_steps) > 1e-2


def test_the_method_tos_is_the_same_problem_before_it_is_compiled():
    case = Case(problem="dilemma", size=3, steps=7)
    expected = as_array(reference_of(EXPERIMENTS["unrolled"].variants).build(case)())
    assert relative_error(as_array(ours.tos(case)()), expected) <= 1e-8


def test_the_network_has_a_million_parameters():
    network = Network(EXPERIMENTS["network"].sizes[0])
    assert sum(parameter.numel() for parameter in network.parameters()) == 994_570

"""Loops written by hand, in PyTorch and JAX, compute our hypergradient and write our metrics."""

import csv
import dataclasses
import importlib
import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch

from bilevel.core import Purpose
from bilevel.experiments import default_config
from tests.benchmarks.measure.agreement import relative_error
from tests.benchmarks.measure.worker import Worker
from tests.benchmarks.peers.scripts import torch_dilemma, torch_policies
from tests.benchmarks.peers.scripts.script import COLUMNS

GAMES = {"escape-room": "escape_room", "coin-game": "coin_game"}
"""Sampled game -> how its scripts are called."""
INNER_STEPS = 2
needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX is installed by make bench"
)


def learner_of(game_name):
    """Ours by its preset, in float64 and with few seeds and short episodes."""
    config = default_config(game_name, "tos")
    game, method = config.game, config.method.with_settings({"inner.steps": INNER_STEPS, "inner.episodes": 5})
    if game_name != "repeated-prisoners-dilemma":
        game = dataclasses.replace(game, horizon=6)
    config = dataclasses.replace(config, game=game, method=method, seeds=3, dtype="float64")
    return config.method.build(config.game, config.placement)


def start(learner):
    """A state with sharing logits that are not all alike."""
    state = learner.init(seed=0)
    noise = torch.randn(state["phi"].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return {**state, "phi": noise}


def our_estimate(learner, state):
    problem = learner.problem_at(state, learner.streams(state, Purpose.TRAINING))
    return learner.hypergradient(problem, state["theta"], state["opt_state"], state["phi"], steps=INNER_STEPS)


def layers(theta, task):
    """A perceptron's weights and biases, as the scripts hold them, of one flat vector per agent."""
    sizes = (task.features, task.hidden), (task.hidden, task.actions)
    parts = theta.split([size for i, o in sizes for size in (i * o, o)], -1)
    shapes = [shape for size in sizes for shape in (size, (1, size[1]))]
    return [part.reshape(*theta.shape[:2], *shape) for part, shape in zip(parts, shapes, strict=True)]


def as_the_scripts_hold(sample):
    """Our episodes, as theirs: an observation is one vector."""
    return torch_policies.Episodes(
        sample.observations.flatten(4), sample.actions, sample.rewards, sample.mask, sample.cooperated
    )


def sampled_case(game_name):
    """The script's task, policies, phi, samples and bonus, and our estimate."""
    task = importlib.import_module(f"tests.benchmarks.peers.scripts.torch_{GAMES[game_name]}").TASK
    learner = learner_of(game_name)
    state = start(learner)
    estimate = our_estimate(learner, state)
    samples = [as_the_scripts_hold(data.batch) for data in estimate.inner_data]
    samples.append(as_the_scripts_hold(estimate.outer_data.batch))
    bonus = learner.inputs(state).entropy_coef
    assert bonus is not None
    return task, layers(state["theta"], task), state["phi"], samples, float(bonus), estimate


@pytest.fixture(scope="module")
def worker():
    with Worker(threads=1, environment={"JAX_ENABLE_X64": "1"}) as worker:
        yield worker


@pytest.mark.parametrize("game_name", GAMES)
def test_pytorch_by_hand_gives_our_hypergradient(game_name):
    task, theta, phi, samples, bonus, ours = sampled_case(game_name)
    given = iter(samples)
    gradient, after, _, _ = torch_policies.hypergradient(
        theta,
        task.begin(theta),
        phi,
        lambda theta, sharing: next(given),
        task,
        bonus=bonus,
        inner_steps=INNER_STEPS,
    )
    assert np.abs(ours.gradient.numpy()).max() > 1e-6, "a gradient of zero agrees with anything"
    assert relative_error(gradient.numpy(), ours.gradient.numpy()) < 1e-8
    for found, expected in zip(after, layers(ours.theta, task), strict=True):
        assert relative_error(found.numpy(), expected.numpy()) < 1e-10


@needs_jax
@pytest.mark.parametrize("game_name", GAMES)
def test_jax_by_hand_gives_our_hypergradient(game_name, worker):
    _, theta, phi, samples, bonus, ours = sampled_case(game_name)
    found = worker.call(
        "tests.benchmarks.peers.scripts.jax_check:sampled",
        f"jax_{GAMES[game_name]}",
        [part.numpy() for part in theta],
        phi.numpy(),
        [[part.numpy() for part in sample] for sample in samples],
        bonus,
    )
    assert relative_error(found, ours.gradient.numpy()) < 1e-8


def test_pytorch_by_hand_trains_the_dilemma_as_we_do():
    learner = learner_of("repeated-prisoners-dilemma")
    state = learner.init(seed=0)
    theta, phi = state["theta"], state["phi"].clone().requires_grad_()
    optimizer = torch.optim.Adam([phi], lr=torch_dilemma.OUTER_RATE)
    for _ in range(3):
        shown = phi.detach().clone()
        phi.grad, theta, shares = torch_dilemma.hypergradient(theta, phi, INNER_STEPS)
        optimizer.step()
        state, metrics = learner.update(state)
        expected = {name: metrics[name].tolist() for name in COLUMNS}
        measured = torch_dilemma.measure(shares, shown)
        for name in COLUMNS:
            assert measured[name] == pytest.approx(expected[name], rel=1e-9), name
    assert relative_error(phi.detach().numpy(), state["phi"].numpy()) < 1e-9


@needs_jax
def test_jax_by_hand_gives_our_hypergradient_of_the_dilemma(worker):
    learner = learner_of("repeated-prisoners-dilemma")
    state = start(learner)
    arguments = state["theta"].numpy(), state["phi"].numpy(), INNER_STEPS
    found = worker.call("tests.benchmarks.peers.scripts.jax_check:dilemma", *arguments)
    assert relative_error(found, our_estimate(learner, state).gradient.numpy()) < 1e-8


SHORT = {
    "dilemma": [],
    "escape_room": ["--episodes", "4", "--evaluation-episodes", "8"],
    "coin_game": ["--episodes", "4", "--evaluation-episodes", "8", "--horizon", "5"],
}


def check_columns(out):
    """Three outer steps of two seeds are there, and the evaluation after them."""
    with out.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["outer_step", "seed", *COLUMNS]
    assert [(row["outer_step"], row["seed"]) for row in rows] == [
        (str(step), str(seed)) for step in range(3) for seed in range(2)
    ]
    assert all(np.isfinite(float(row[column])) for row in rows for column in COLUMNS)
    assert len((out.parent / "evaluation.csv").read_text(encoding="utf-8").splitlines()) == 3


@pytest.mark.parametrize("name", SHORT)
def test_a_script_writes_our_columns(name, tmp_path, monkeypatch):
    out = tmp_path / "metrics.csv"
    options = ["--out", str(out), "--outer-steps", "3", "--seeds", "2", *SHORT[name]]
    monkeypatch.setattr(sys, "argv", ["script", *options])
    with torch.random.fork_rng():
        importlib.import_module(f"tests.benchmarks.peers.scripts.torch_{name}").main()
    check_columns(out)


@needs_jax
def test_a_jax_script_writes_our_columns(tmp_path):
    out = tmp_path / "metrics.csv"
    command = [sys.executable, "-m", "tests.benchmarks.peers.scripts.jax_dilemma", "--out", str(out)]
    subprocess.run([*command, "--outer-steps", "3", "--seeds", "2"], check=True)
    check_columns(out)

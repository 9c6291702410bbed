"""The table for a GPU is printed on any device; without a device, a sentence says so."""

import sys

import pytest
import torch

from tests.benchmarks.gpu import Gpu, main


@pytest.mark.skipif(sys.platform != "linux", reason="runs are bound to a core")
def test_outer_steps_per_second_of_each_number_of_seeds(capsys, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "")
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "")
    assert main(Gpu(games=("repeated-prisoners-dilemma",), seeds=(1, 3), seconds=8, device="cpu")) == 0
    head, _, titles, _, *rows = capsys.readouterr().out.splitlines()
    assert f"torch {torch.__version__}" in head
    assert titles == "| game | seeds | ours, eager | JAX by hand |"
    for seeds, row in zip((1, 3), rows, strict=False):
        name, count, ours, _ = row.strip("| ").split(" | ")
        assert (name, count) == ("repeated-prisoners-dilemma", str(seeds))
        assert float(ours) > 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu():
    with pytest.raises(SystemExit, match="no CUDA device here"):
        main(Gpu())

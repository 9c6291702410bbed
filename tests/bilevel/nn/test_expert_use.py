"""Measures of collapse of known gates."""

import math

import pytest
import torch

from bilevel.nn import expert_use, normalized_mutual_information


def test_use_of_known_gates():
    gates = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]])
    found = expert_use(gates, torch.tensor([0, 1]))
    assert found.effective == pytest.approx(2)
    assert found.support == 2
    assert found.max_violation == pytest.approx(3)
    assert found.information == 0


def test_information_of_a_relabeling_is_one_and_of_independent_labels_zero():
    modes = torch.arange(400) % 4
    assert normalized_mutual_information((modes + 1) % 4, modes) == pytest.approx(1)
    halves = 2 * math.log(2) / (math.log(2) + math.log(4))
    assert normalized_mutual_information(modes // 2, modes) == pytest.approx(halves)
    assert normalized_mutual_information(torch.arange(400) // 4 % 4, modes) == pytest.approx(0, abs=1e-9)

"""The stacked gated cell against torch.nn.GRUCell, one by one, with its derivatives."""

import itertools

import pytest
import torch
from torch import Tensor

from bilevel.nn import GatedCell

CELL = GatedCell(inputs=3, units=4)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain(cell: GatedCell, theta: Tensor) -> torch.nn.GRUCell:
    """One cell of torch's, its parameters in the order in which torch lists them."""
    module = torch.nn.GRUCell(cell.inputs, cell.units, dtype=torch.float64)
    torch.nn.utils.vector_to_parameters(theta, module.parameters())
    return module


def steps(cell: GatedCell, theta: Tensor, inputs: Tensor, hidden_state: Tensor) -> Tensor:
    """Inputs [time, ..., input, sample] -> the last hidden_state."""
    weights = cell.weights(theta)
    for values in inputs:
        hidden_state = cell.step(weights, cell.drive(weights, values), hidden_state)
    return hidden_state


def test_stacked_cells_are_torchs_one_by_one() -> None:
    theta, inputs, hidden_state = (
        draw(0, 2, 3, CELL.num_parameters),
        draw(1, 5, 2, 3, 3, 7),
        draw(2, 2, 3, 4, 7),
    )
    found = steps(CELL, theta, inputs, hidden_state)
    for member in itertools.product(range(2), range(3)):
        module, expected = plain(CELL, theta[member]), hidden_state[member].T
        for values in inputs:
            expected = module(values[member].T, expected)
        torch.testing.assert_close(found[member], expected.T, rtol=0, atol=1e-12)


def test_first_and_second_derivatives_are_torchs() -> None:
    """Back through five steps, of all cells at once."""
    theta, inputs, hidden_state = draw(0, 2, CELL.num_parameters), draw(1, 5, 2, 3, 7), draw(2, 2, 4, 7)
    vector = draw(3, *theta.shape)

    def gradient(theta: Tensor) -> Tensor:
        return torch.func.grad(lambda theta: steps(CELL, theta, inputs, hidden_state).square().sum())(theta)

    found = gradient(theta)
    _, pull = torch.func.vjp(gradient, theta)
    (product,) = pull(vector)
    for member in range(2):
        module, remembered = plain(CELL, theta[member]), hidden_state[member].T
        for values in inputs:
            remembered = module(values[member].T, remembered)
        weights = list(module.parameters())
        first = torch.autograd.grad(remembered.square().sum(), weights, create_graph=True)
        expected = torch.cat([part.flatten() for part in first])
        torch.testing.assert_close(found[member], expected, rtol=1e-12, atol=1e-12)
        second = torch.autograd.grad(expected, weights, vector[member])
        twice = torch.cat([part.flatten() for part in second])
        torch.testing.assert_close(product[member], twice, rtol=1e-12, atol=1e-11)


def test_with_a_gate_shut_all_is_remembered_and_with_it_open_all_is_new() -> None:
    """The update gate's bias far up: h stays; far down: h becomes tanh(b_n)."""
    cell, hidden_state = GatedCell(inputs=1, units=1), torch.tensor([[0.3]], dtype=torch.float64)
    for bias, expected in ((60.0, 0.3), (-60.0, float(torch.tensor(0.7, dtype=torch.float64).tanh()))):
        theta = torch.zeros(cell.num_parameters, dtype=torch.float64)
        theta[-5], theta[-4] = bias, 0.7  # b of reset, update, new; then c
        found = steps(cell, theta, torch.zeros(1, 1, 1, dtype=torch.float64), hidden_state)
        assert float(found) == pytest.approx(expected, abs=1e-15)


def test_first_weights_have_the_scale_of_their_fan_in() -> None:
    drawn = CELL.initial(torch.Generator().manual_seed(0), 4000)
    assert drawn.shape == (4000, CELL.num_parameters)
    inputs, hidden_state, biases = drawn.split([36, 48, 24], -1)
    assert not biases.any()
    for weights, fan_in in ((inputs, 3), (hidden_state, 4)):
        assert abs(float(weights.std()) * fan_in**0.5 - 1) < 5 / (2 * weights.numel()) ** 0.5


@pytest.mark.parametrize(("inputs", "units"), [(0, 1), (1, 0), (-1, 2)])
def test_a_cell_without_inputs_or_units_is_refused(inputs: int, units: int) -> None:
    with pytest.raises(ValueError, match=f"1 input and 1 unit or more, not {inputs} and {units}"):
        GatedCell(inputs, units)

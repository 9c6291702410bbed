"""The stacked perceptron against closed forms, against torch's own layers, and against itself, one by one."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bilevel.nn import ACTIVATIONS, ActivationName, Perceptron
from bilevel.nn._mlp import tanh

MODULES: dict[str, type[torch.nn.Module]] = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def as_modules(network: Perceptron, theta: Tensor) -> torch.nn.Sequential:
    """One network, built of torch.nn.Linear."""
    layers: list[torch.nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(network.sizes):
        linear = torch.nn.Linear(fan_in, fan_out, dtype=torch.float64)
        weights, bias, theta = theta.tensor_split([fan_in * fan_out, (fan_in + 1) * fan_out])
        linear.load_state_dict({"weight": weights.reshape(fan_in, fan_out).T, "bias": bias})
        layers += [linear, MODULES[network.activation]()]
    assert theta.numel() == 0
    return torch.nn.Sequential(*layers[:-1])


def test_every_activation_is_tested() -> None:
    assert sorted(MODULES) == sorted(ACTIVATIONS)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("tanh", 3 * torch.tensor([-5.0, 7.0]).double().tanh() + 1),
        ("relu", torch.tensor([1.0, 22.0]).double()),
    ],
)
def test_a_closed_form(activation: ActivationName, expected: Tensor) -> None:
    """1 + 3 act(2 x - 1), of which `relu` keeps what is above 0."""
    theta = torch.tensor([2.0, -1.0, 3.0, 1.0], dtype=torch.float64)  # weight, bias; weight, bias
    inputs = torch.tensor([[-2.0], [4.0]], dtype=torch.float64)
    outputs = Perceptron((1, 1, 1), activation)(theta, inputs)
    torch.testing.assert_close(outputs[:, 0], expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize(("dtype", "off"), [(torch.float32, 2e-7), (torch.float64, 4e-16)])
def test_tanh_is_torchs(dtype: torch.dtype, off: float) -> None:
    values = torch.cat(
        (torch.linspace(-20, 20, 400_001), torch.tensor([0.0, 1e-30, 1e30, torch.inf, -torch.inf]))
    )
    values = values.to(dtype)
    torch.testing.assert_close(tanh(values).double(), values.double().tanh(), rtol=0, atol=off)
    assert tanh(torch.tensor(torch.nan)).isnan()


def test_tanh_has_finite_derivatives_however_large_its_input() -> None:
    values = torch.tensor([-1e30, -100.0, 0.0, 100.0, 1e30], dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(tanh(values).sum(), values, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), values)
    torch.testing.assert_close(first, torch.tensor([0, 0, 1, 0, 0]).double(), rtol=0, atol=1e-15)
    torch.testing.assert_close(second, torch.zeros(5).double(), rtol=0, atol=1e-15)


def test_no_activation_follows_the_last_layer() -> None:
    theta, inputs = draw(0, 8), draw(1, 5, 3)
    expected = inputs @ theta[:6].reshape(3, 2) + theta[6:]
    for activation in ACTIVATIONS:
        network = Perceptron((3, 2), activation)  # type: ignore[arg-type]
        torch.testing.assert_close(network(theta, inputs), expected, rtol=0, atol=1e-15)


@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    batch=st.lists(st.integers(1, 3), max_size=2),
    samples=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
@settings(max_examples=50)
def test_stacked_networks_are_torchs_one_by_one(
    sizes: list[int], activation: ActivationName, batch: list[int], samples: int, seed: int
) -> None:
    network = Perceptron(tuple(sizes), activation)
    theta = draw(seed, *batch, network.num_parameters)
    inputs = draw(seed + 1, *batch, samples, sizes[0])
    outputs = network(theta, inputs)
    assert outputs.shape == (*batch, samples, sizes[-1])
    for member in itertools.product(*map(range, batch)):
        alone = network(theta[member], inputs[member])
        torch.testing.assert_close(outputs[member], alone, rtol=0, atol=1e-12)
        expected = as_modules(network, theta[member])(inputs[member])
        torch.testing.assert_close(outputs[member], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_first_and_second_derivatives(activation: ActivationName) -> None:
    network = Perceptron((3, 4, 2), activation)
    theta, inputs = draw(0, 2, network.num_parameters).requires_grad_(), draw(1, 2, 5, 3).requires_grad_()
    assert torch.autograd.gradcheck(network, (theta, inputs))
    assert torch.autograd.gradgradcheck(lambda *given: network(*given).square(), (theta, inputs))


def test_first_weights_have_the_scale_of_their_fan_in() -> None:
    network, many = Perceptron((4, 16, 3)), 4000
    first, bias, last, last_bias = network.initial(
        torch.Generator().manual_seed(0), many, last_layer_scale=0.1
    ).split([64, 16, 48, 3], -1)
    assert first.dtype == torch.float64
    assert not bias.any()
    assert not last_bias.any()
    for weights, scale in ((first, 1 / 4**0.5), (last, 0.1 / 16**0.5)):
        assert abs(float(weights.std()) / scale - 1) < 5 / (2 * weights.numel()) ** 0.5
        assert abs(float(weights.mean())) < 5 * scale / weights.numel() ** 0.5


@pytest.mark.parametrize("sizes", [(), (3,), (3, 0), (0, 3), (3, -1, 2)])
def test_layers_without_units_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="Every layer of a network needs 1 unit or more, but they have"):
        Perceptron(sizes)


def test_an_activation_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"There is no activation 'rely'\. Did you mean 'relu'"):
        Perceptron((2, 2), "rely")  # type: ignore[arg-type]

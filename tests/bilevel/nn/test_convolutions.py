"""Stacked convolutions against torch.nn.Conv2d, one network at a time, with their derivatives."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from bilevel.nn import ActivationName, Convolutions, PaddingName

NETWORKS = [
    Convolutions((3, 4, 5), (4, 2)),
    Convolutions((3, 6, 7), (4, 2), kernel=2, padding="valid", activation="relu"),
    Convolutions((2, 5, 6), (3, 2), stride=2),
    Convolutions((2, 7, 6), (3, 2), kernel=4, stride=3, activation="relu"),
    Convolutions((1, 7, 6), (3,), kernel=3, stride=2, padding="valid"),
]
MODULES = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Plain(torch.nn.Module):
    """One network, built of torch.nn.Conv2d, with the padding of each layer by hand."""

    def __init__(self, network: Convolutions, theta: Tensor) -> None:
        super().__init__()
        self.act, self.convolutions = MODULES[network.activation](), torch.nn.ModuleList()
        self.network = network
        for inputs, outputs in itertools.pairwise((network.planes[0], *network.channels)):
            layer = torch.nn.Conv2d(inputs, outputs, network.kernel, network.stride, dtype=torch.float64)
            size = layer.weight.numel()
            weights, bias, theta = theta.tensor_split([size, size + outputs])
            layer.load_state_dict({"weight": weights.reshape(layer.weight.shape), "bias": bias})
            self.convolutions.append(layer)
        assert theta.numel() == 0

    def forward(self, planes: Tensor) -> Tensor:
        for layer in self.convolutions:
            if self.network.padding == "same":
                around = []
                for size in reversed(planes.shape[-2:]):
                    places = -(-size // self.network.stride)
                    zeros = max(0, (places - 1) * self.network.stride + self.network.kernel - size)
                    around += [zeros // 2, -(-zeros // 2)]
                planes = functional.pad(planes, around)
            planes = self.act(layer(planes))
        return planes

    def flat(self, values: list[Tensor]) -> Tensor:
        return torch.cat([value.flatten() for value in values])


def example(network: Convolutions) -> tuple[Tensor, Tensor]:
    """Parameters of 2 x 3 networks, and 4 samples for each."""
    return draw(0, 2, 3, network.num_parameters), draw(1, 2, 3, 4, *network.planes)


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_stacked_networks_are_torchs_one_by_one(network: Convolutions) -> None:
    theta, planes = example(network)
    outputs = network(theta, planes)
    assert outputs.shape == (2, 3, 4, *network.shapes[-1])
    for member in itertools.product(range(2), range(3)):
        expected = Plain(network, theta[member])(planes[member])
        torch.testing.assert_close(outputs[member], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_first_and_second_derivatives_are_torchs(network: Convolutions) -> None:
    """The gradient of a sum of squares, and the Hessian's product with a vector, of every network at once."""
    theta, planes = example(network)
    theta, vector = 0.3 * theta, draw(2, *theta.shape)

    def gradient(theta: Tensor) -> Tensor:
        return torch.func.grad(lambda theta: network(theta, planes).square().sum())(theta)

    found = gradient(theta)
    _, pull = torch.func.vjp(gradient, theta)
    (product,) = pull(vector)
    for member in itertools.product(range(2), range(3)):
        plain = Plain(network, theta[member])
        weights = list(plain.parameters())
        loss = plain(planes[member]).square().sum()
        expected = plain.flat(list(torch.autograd.grad(loss, weights, create_graph=True)))
        torch.testing.assert_close(found[member], expected, rtol=1e-12, atol=1e-12)
        twice = plain.flat(list(torch.autograd.grad(expected, weights, vector[member])))
        torch.testing.assert_close(product[member], twice, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("network", NETWORKS[1:4], ids=repr)
def test_derivatives_by_what_comes_in(network: Convolutions) -> None:
    theta, planes = (part[0, :1] for part in example(network))
    theta, planes = (0.3 * theta).requires_grad_(), planes[:, :1].requires_grad_()
    assert torch.autograd.gradcheck(network, (theta, planes))
    assert torch.autograd.gradgradcheck(lambda *given: network(*given).square(), (theta, planes))


@pytest.mark.parametrize("network", NETWORKS, ids=repr)
def test_it_can_be_mapped_over_networks(network: Convolutions) -> None:
    """`torch.func.vmap` of the gradient is the gradient of the stack (a fallback would warn)."""
    theta, planes = (part[0] for part in example(network))

    def gradient(theta: Tensor, planes: Tensor) -> Tensor:
        return torch.func.grad(lambda theta: network(theta, planes).square().sum())(theta)

    mapped = torch.func.vmap(gradient)(theta, planes)
    torch.testing.assert_close(mapped, gradient(theta, planes), rtol=1e-12, atol=1e-12)


def test_a_closed_form() -> None:
    """Sums over 3 x 3 windows of ones, through tanh(x / 100): 4 in a corner, 6 at an edge, 9 inside."""
    network = Convolutions((1, 3, 4), (1,))
    theta = torch.full((10,), 0.01, dtype=torch.float64)
    theta[-1] = 0
    outputs = network(theta, torch.ones(1, 1, 3, 4, dtype=torch.float64))[0, 0]
    expected = torch.tensor([[4, 6, 6, 4], [6, 9, 9, 6], [4, 6, 6, 4]], dtype=torch.float64)
    torch.testing.assert_close(outputs, (expected / 100).tanh(), rtol=0, atol=1e-15)


def test_of_an_odd_number_of_zeros_one_more_is_below_and_to_the_right() -> None:
    """A kernel of 2 that only looks down and to the right sees zeros in the last row and column."""
    network = Convolutions((1, 2, 2), (1,), kernel=2, activation="relu")
    planes = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    outputs = network(torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0]), planes)
    assert outputs.flatten().tolist() == [4.0, 0.0, 0.0, 0.0]


@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    padding=st.sampled_from(["same", "valid"]),
)
@settings(max_examples=60)
def test_shapes_are_as_stated(
    rows: int, columns: int, kernel: int, stride: int, padding: PaddingName
) -> None:
    if padding == "valid" and min(rows, columns) < kernel:
        with pytest.raises(ValueError, match=f"A kernel of {kernel} without padding does not fit"):
            Convolutions((2, rows, columns), (3,), kernel, stride, padding)
        return
    network = Convolutions((2, rows, columns), (3,), kernel, stride, padding)
    outputs = network(torch.zeros(network.num_parameters), torch.zeros(1, 2, rows, columns))
    assert outputs.shape == (1, *network.shapes[-1])
    assert outputs.numel() == network.num_outputs
    if padding == "same" and stride == 1:
        assert outputs.shape[-2:] == (rows, columns)
    if padding == "valid":
        plain = torch.nn.Conv2d(2, 3, kernel, stride)
        assert plain(torch.zeros(1, 2, rows, columns)).shape == outputs.shape


def test_first_weights_have_the_scale_of_their_fan_in() -> None:
    network = Convolutions((2, 4, 4), (3, 5))
    parts = network.initial(torch.Generator().manual_seed(0), 4000).split([54, 3, 135, 5], -1)
    assert not parts[1].any()
    assert not parts[3].any()
    for weights, fan_in in ((parts[0], 18), (parts[2], 27)):
        assert abs(float(weights.std()) * fan_in**0.5 - 1) < 5 / (2 * weights.numel()) ** 0.5


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"channels": ()}, r"1 layer or more, of 1 channel or more each, but channels is \(\)"),
        ({"channels": (4, 0)}, r"but channels is \(4, 0\)"),
        ({"kernel": 0}, r"Planes, kernel and stride are 1 or more, but they are \(2, 5, 5\), 0 and 1"),
        ({"stride": 0}, "5, 5\\), 3 and 0"),
        ({"planes": (0, 5, 5)}, r"but they are \(0, 5, 5\)"),
        ({"padding": "sam"}, "no padding 'sam'. Did you mean 'same'"),
        ({"activation": "rely"}, "no activation 'rely'. Did you mean 'relu'"),
        (
            {"channels": (4, 4, 4), "padding": "valid"},
            "A kernel of 3 without padding does not fit into the 1 x 1 planes that reach layer 2",
        ),
    ],
)
def test_bad_settings_are_refused(settings: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Convolutions(**{"planes": (2, 5, 5), "channels": (4,), **settings})


def test_both_activations_are_tested() -> None:
    assert {network.activation for network in NETWORKS} == set(ActivationName.__args__)

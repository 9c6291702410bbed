import torch

from games.core import cached_constants, constant


def test_a_constant_made_in_any_context_is_an_ordinary_tensor() -> None:
    made = []

    def inside(x: torch.Tensor) -> torch.Tensor:
        made.append(constant([1.0, 2.0], torch.float64, x.device))
        return (x * made[-1]).sum()

    torch.func.grad(inside)(torch.ones(2, dtype=torch.float64))
    torch.func.vmap(inside)(torch.ones(3, 2, dtype=torch.float64))
    with torch.inference_mode():
        inside(torch.ones(2, dtype=torch.float64))
    for tensor in made:
        assert not tensor.is_inference()
        assert tensor.numpy().tolist() == [1.0, 2.0]


def test_a_constant_shares_no_memory_with_its_source() -> None:
    source = torch.zeros(2, dtype=torch.float64).numpy()
    tensor = constant(source, torch.float64, torch.device("cpu"))
    source[0] = 1
    assert tensor.tolist() == [0.0, 0.0]


def test_kept_makes_each_value_once() -> None:
    calls = []

    @cached_constants
    def double(number: int) -> int:
        calls.append(number)
        return 2 * number

    assert [double(2), double(2), double(3)] == [4, 4, 6]
    assert calls == [2, 3]


def test_pythons_numbers_keep_their_digits() -> None:
    assert constant(((1 / 3,),), torch.float64, torch.device("cpu")).item() == 1 / 3

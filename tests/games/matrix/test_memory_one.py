import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from games.matrix import observed_states
from games.matrix._memory_one import chain_occupancy, two_agent_occupancy

# torch 2.13 says so itself, on the first use of forward mode.
forward_mode = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def random_policies(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).softmax(-1)


def chain(agents: int, *batch: int, actions: int = 2, seed: int = 0) -> Tensor:
    return random_policies(*batch, agents, 1 + actions**agents, actions, seed=seed)


def occupancy_by_summing(policies: Tensor, discount: float, steps: int) -> Tensor:
    """Follow one tree of joint actions for `steps` steps: slow, and owing nothing to the code under test."""
    agents, _, actions = policies.shape
    profiles = list(itertools.product(range(actions), repeat=agents))

    def observation(agent: int, profile: tuple[int, ...]) -> int:
        own_first = (profile[agent], *profile[:agent], *profile[agent + 1 :])
        return 1 + int("".join(map(str, own_first)), actions)

    def following(seen: list[int]) -> Tensor:
        return torch.stack(
            [
                torch.stack([policies[i, seen[i], action] for i, action in enumerate(profile)]).prod()
                for profile in profiles
            ]
        )

    now = following([0] * agents)
    transitions = torch.stack(
        [following([observation(agent, profile) for agent in range(agents)]) for profile in profiles]
    )
    total = torch.zeros_like(now)
    for step in range(steps):
        total += (1 - discount) * discount**step * now
        now = now @ transitions
    return total


def test_the_second_agent_sees_cd_as_dc() -> None:
    assert observed_states(2) == [[1, 2, 3, 4], [1, 3, 2, 4]]
    # Agent 1 of three, after the joint action C D C: own D, others C C.
    assert observed_states(3)[1][0b010] == 1 + 0b100
    # Agent 1 of two with three actions, after the joint action 0 2: own 2, other 0.
    assert observed_states(2, 3)[1][0 * 3 + 2] == 1 + 2 * 3 + 0


@given(seed=st.integers(0, 999), discount=st.floats(0, 0.8))
@settings(max_examples=15)
def test_two_agents_agree_with_the_sum_over_time(seed: int, discount: float) -> None:
    policies = chain(2, seed=seed)
    expected = occupancy_by_summing(policies, discount, 170)
    torch.testing.assert_close(
        torch.stack(two_agent_occupancy(policies, discount)), expected, atol=1e-12, rtol=0
    )


@pytest.mark.parametrize(("agents", "actions"), [(3, 2), (4, 2), (2, 3)])
def test_the_chain_agrees_with_the_sum_over_time(agents: int, actions: int) -> None:
    policies = chain(agents, actions=actions)
    expected = occupancy_by_summing(policies, 0.7, 90)
    torch.testing.assert_close(chain_occupancy(policies, 0.7), expected, atol=1e-12, rtol=0)


@given(seed=st.integers(0, 999), discount=st.floats(0, 0.999))
@settings(max_examples=30)
def test_closed_form_and_chain_are_the_same_for_two_agents(seed: int, discount: float) -> None:
    policies = chain(2, 7, seed=seed)
    closed = torch.stack(two_agent_occupancy(policies, discount), -1)
    torch.testing.assert_close(closed, chain_occupancy(policies, discount), atol=1e-11, rtol=0)
    torch.testing.assert_close(closed.sum(-1), torch.ones(7).double(), atol=1e-11, rtol=0)
    assert (closed >= 0).all()


@pytest.mark.parametrize("discount", [0.0, 5e-324, 1e-30, 1e-17, 1e-6])
def test_a_short_future(discount: float) -> None:
    policies = chain(2, 3)
    closed = torch.stack(two_agent_occupancy(policies, discount), -1)
    torch.testing.assert_close(closed, chain_occupancy(policies, discount), atol=1e-15, rtol=0)


@pytest.mark.parametrize("corner", range(0, 1024, 31))
def test_deterministic_policies_need_no_pivoting(corner: int) -> None:
    bits = torch.tensor([corner >> place & 1 for place in range(10)], dtype=torch.float64).reshape(2, 5)
    policies = torch.stack((bits, 1 - bits), -1)
    closed = torch.stack(two_agent_occupancy(policies, 0.999), -1)
    torch.testing.assert_close(closed, chain_occupancy(policies, 0.999), atol=1e-10, rtol=0)


def closed_form(policies: Tensor) -> Tensor:
    return torch.stack(two_agent_occupancy(policies, 0.9), -1)


def chain_form(policies: Tensor) -> Tensor:
    return chain_occupancy(policies, 0.9)


FORMS = [(closed_form, 2), (chain_form, 2), (chain_form, 3)]


@pytest.mark.parametrize(("form", "agents"), FORMS)
def test_gradcheck_twice(form, agents: int) -> None:
    policies = chain(agents).requires_grad_()
    assert torch.autograd.gradcheck(form, policies)
    assert torch.autograd.gradgradcheck(form, policies)


@forward_mode
@pytest.mark.parametrize(("form", "agents"), FORMS)
def test_forward_mode_is_right_under_vmap(form, agents: int) -> None:
    # torch 2.13: linalg.solve is silently wrong here, which is why the chain uses the inverse.
    policies = chain(agents, 4)
    forward = torch.func.vmap(torch.func.jacfwd(form))(policies)
    reverse = torch.stack([torch.autograd.functional.jacobian(form, member) for member in policies])
    torch.testing.assert_close(forward, reverse, atol=1e-11, rtol=0)


def test_the_closed_form_and_its_gradient_are_plain_arithmetic() -> None:
    # What a compiled step relies on: no solve, no branch, no change in place.
    def gradient(policies: Tensor) -> Tensor:
        value, pull = torch.func.vjp(closed_form, policies)
        pulled: Tensor = pull(torch.ones_like(value))[0]
        return pulled

    graph = make_fx(gradient)(chain(2, 7))
    graph.graph.eliminate_dead_code()
    targets = {str(node.target) for node in graph.graph.nodes if node.op == "call_function"}
    arithmetic = {f"aten.{name}.Tensor" for name in ("add", "sub", "mul")} | {"aten.rsub.Scalar"}
    arithmetic |= {"aten.neg.default", "aten.reciprocal.default", "aten.ones_like.default"}
    arithmetic |= {"aten.sum.dim_IntList", "aten.expand.default"}
    views = {"aten.unbind.int", "aten.stack.default", "aten.select.int", "<built-in function getitem>"}
    views |= {"aten.squeeze.dim", "aten.slice.Tensor", "aten.unsqueeze.default", "aten.transpose.int"}
    views |= {"aten.select_backward.default", "aten.slice_backward.default", "aten.view.default"}
    assert targets <= arithmetic | views
    another = chain(2, 7, seed=1)
    torch.testing.assert_close(graph(another), gradient(another), atol=1e-14, rtol=0)

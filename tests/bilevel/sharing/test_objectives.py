"""Costs and objectives, by hand and against separate gradients."""

import math

import pytest
import torch

import games
from bilevel.methods import Placement, ToS
from bilevel.sharing import (
    COSTS,
    OBJECTIVES,
    GroupObjectives,
    Sharing,
    gini_welfare,
    identity_sharing,
    maximin,
    register_objective,
    utilitarian,
)
from bilevel.sharing._objectives import given_away, kl_to_keeping


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_costs_count_what_is_not_kept() -> None:
    kept = torch.tensor([[0.5, 1.0], [0.2, 0.1]], dtype=torch.float64)
    l1 = torch.tensor([[0.5, 0.0], [0.8, 0.9]], dtype=torch.float64)
    kl = torch.tensor([[math.log(2), 0.0], [math.log(5), math.log(10)]], dtype=torch.float64)
    torch.testing.assert_close(given_away(kept), l1, rtol=0, atol=1e-15)
    torch.testing.assert_close(kl_to_keeping(kept), kl, rtol=0, atol=1e-15)


def test_kl_is_the_divergence_from_keeping_everything() -> None:
    sharing = (2 * draw(5, 3, 3)).softmax(-1)
    keeping = identity_sharing(3).expand_as(sharing)
    divergence = torch.nn.functional.kl_div(sharing.log(), keeping, reduction="none").sum(-1)
    torch.testing.assert_close(
        kl_to_keeping(sharing.diagonal(dim1=1, dim2=2)), divergence, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("name", sorted(COSTS))
def test_keeping_everything_costs_nothing_and_giving_costs_more_and_more(name: str) -> None:
    kept = torch.linspace(1, 0.05, 20, dtype=torch.float64)
    costs = COSTS[name](kept)
    assert costs[0] == 0
    assert (costs.diff() > 0).all()


def test_losses_are_minus_values_net_of_costs() -> None:
    values = torch.tensor([[1.0, 3.0], [5.0, 7.0]], dtype=torch.float64)
    costs = torch.tensor([[0.5, 0.0], [1.0, 2.0]], dtype=torch.float64)
    welfare = OBJECTIVES["welfare"].losses(values, costs)
    assert welfare.tolist() == [-3.5, -9.0]  # [seed]
    own = OBJECTIVES["own-return"].losses(values, costs)
    assert own.tolist() == [[-0.5, -4.0], [-3.0, -5.0]]  # [giver, seed]


def test_each_giver_gets_the_gradient_of_its_own_objective() -> None:
    """One batched gradient, [objective, seed, giver, receiver], against a gradient per giver."""
    seeds, agents = 4, 3
    logits, mix = draw(seeds, agents, agents), draw(agents, agents, agents)
    sharing = Sharing(torch.ones(agents, agents, dtype=torch.bool))

    def losses(logits: torch.Tensor) -> torch.Tensor:
        matrix = sharing.matrix(logits)
        values = torch.einsum("kij,sij->sk", mix, matrix).sin()
        return OBJECTIVES["own-return"].losses(values, given_away(matrix.diagonal(dim1=-2, dim2=-1)))

    jacobian = torch.func.jacrev(lambda logits: losses(logits).sum(-1))(logits)
    assert jacobian.shape == (agents, seeds, agents, agents)
    expected = torch.zeros_like(logits)
    for giver in range(agents):
        variable = logits.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(losses(variable)[giver].sum(), variable)
        expected[:, giver] = gradient[:, giver]
    own = OBJECTIVES["own-return"].gradient(jacobian, losses(logits))
    torch.testing.assert_close(own, expected, rtol=0, atol=1e-14)


RETURNS = torch.tensor([[1.0, 3.0, 2.0], [-0.5, 0.5, 4.0]], dtype=torch.float64)
NONE = torch.zeros(2, 3, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "values", "slopes"),
    [
        ("welfare", [6.0, 4.0], [[1, 1, 1], [1, 1, 1]]),
        ("maximin", [1.0, -0.5], [[1, 0, 0], [1, 0, 0]]),
        (
            "nash-welfare",
            [math.log(6), math.log(0.01) - 51 + math.log(0.5) + math.log(4)],
            [[1, 1 / 3, 1 / 2], [100, 2, 1 / 4]],
        ),
        (
            "gini-welfare",
            [(5 + 6 + 3) / 9, (-2.5 + 1.5 + 4) / 9],
            [[5 / 9, 1 / 9, 3 / 9], [5 / 9, 3 / 9, 1 / 9]],
        ),
    ],
)
def test_objectives_in_closed_form(name: str, values: list[float], slopes: list[list[float]]) -> None:
    objective = OBJECTIVES[name]
    assert objective.welfare is not None
    found = objective.losses(RETURNS, NONE)
    torch.testing.assert_close(found, -torch.tensor(values, dtype=torch.float64), rtol=0, atol=1e-12)
    slope = torch.func.grad(lambda returns: objective.welfare(returns).sum())(RETURNS)
    torch.testing.assert_close(slope, torch.tensor(slopes, dtype=torch.float64), rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(objective.welfare, RETURNS.clone().requires_grad_())


def test_gini_welfare_is_the_mean_less_the_gini_coefficient() -> None:
    returns = torch.tensor([3.0, 1.0, 2.0, 6.0], dtype=torch.float64)
    gini = (returns[:, None] - returns).abs().sum() / (2 * 16 * returns.mean())
    expected = returns.mean() * (1 - gini)
    torch.testing.assert_close(gini_welfare(returns), expected, rtol=0, atol=1e-12)


def test_who_is_equally_badly_off_shares_the_slope_of_maximin() -> None:
    slope = torch.func.grad(maximin)(torch.tensor([1.0, 1.0, 2.0]))
    assert slope.tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "own-return"])
def test_gradients_of_agents_losses_give_every_objectives(name: str) -> None:
    """The chain rule over agents equals the derivative of the objective itself."""
    phi, mix = draw(2, 3, 3), draw(3, 3, 3)

    def values(phi: torch.Tensor) -> torch.Tensor:
        return torch.einsum("kij,sij->sk", mix, phi).sin() + 1.5

    objective = OBJECTIVES[name]
    direct = torch.func.grad(lambda phi: objective.losses(values(phi), NONE).sum())(phi)
    by_agent = torch.func.jacrev(lambda phi: -values(phi).sum(0))(phi)
    found = objective.gradient(by_agent, -values(phi).T)
    torch.testing.assert_close(found, direct, rtol=0, atol=1e-12)


def test_an_objective_is_registered_once_unless_it_replaces() -> None:
    register_objective("first-agent", lambda returns: returns[..., 0])
    try:
        assert ToS(objective="first-agent").objective == "first-agent"
        with pytest.raises(ValueError, match="exists already: replace=True"):
            register_objective("first-agent", utilitarian)
        register_objective("first-agent", utilitarian, replace=True)
        with pytest.raises(ValueError, match=r"turns \[3, 2\] into \[3, 2\]"):
            register_objective("all", lambda returns: returns)
    finally:
        del OBJECTIVES["first-agent"]


@pytest.mark.parametrize("name", ["maximin", "nash-welfare", "gini-welfare"])
def test_sharing_is_learned_for_every_objective(name: str) -> None:
    game = games.make("repeated-prisoners-dilemma")
    learner = ToS(objective=name).build(game, Placement(seeds=2))
    state, _ = learner.update(learner.init(0))
    assert not torch.equal(state["phi"], learner.init(0)["phi"])


def test_groups_of_different_objectives_share_one_loss() -> None:
    groups = GroupObjectives({"transfer": OBJECTIVES["maximin"], "loss_weights": None})
    assert not groups.per_agent
    assert torch.equal(groups.losses(RETURNS, NONE), -RETURNS.amin(-1))
    both = GroupObjectives({"transfer": OBJECTIVES["welfare"], "loss_weights": OBJECTIVES["own-return"]})
    assert both.per_agent
    losses = both.losses(RETURNS, NONE)
    assert torch.equal(losses, -RETURNS.T)
    gradient = {"transfer": draw(3, 2, 3, 3), "loss_weights": draw(3, 2, 3, 3)}
    found = both.gradients(gradient, losses)
    torch.testing.assert_close(found["transfer"], gradient["transfer"].sum(0))
    for agent in range(3):
        assert torch.equal(found["loss_weights"][:, agent], gradient["loss_weights"][agent, :, agent])
    still = GroupObjectives({"transfer": None, "loss_weights": OBJECTIVES["own-return"]})
    assert not still.gradients(gradient, losses)["transfer"].any()

"""Methods are the same parts wired differently: where they must agree, they do."""

import pytest
import torch
from torch import Tensor

import games
from bilevel.methods import Fixed, Method, Placement, PolicyLearner, Prosocial, Selfish, ToS
from bilevel.sharing import self_interest_sharing
from games.core import Game
from games.matrix import Cyclical, EscapeRoom, RepeatedGame, SymmetricalPrisonersDilemma
from tests.bilevel.methods.configured import configured

FROZEN = {"outer.optimizer": "sgd", "outer.learning_rate": 1e-300}
"""So small a step that no logit moves."""
INNER = {"inner.steps": 2, "inner.learning_rate": 0.3, "inner.episodes": 6}
GAMES: dict[str, Game] = {
    "one-shot": games.make("prisoners-dilemma"),
    "repeated": RepeatedGame(),
    "ring of five": Cyclical(agents=5),
    "sampled": EscapeRoom(agents=3),
}


def build(method: Method, game: Game) -> PolicyLearner:
    return method.build(game, Placement(seeds=3))


def policies_after(learner: PolicyLearner, updates: int = 3) -> Tensor:
    state = learner.init(0)
    for _ in range(updates):
        state, _ = learner.update(state)
    return state["theta"]


def sharing_of(method: Method, game: Game) -> Tensor:
    learner = build(method, game)
    return learner.transfer(learner.init(0)["phi"]).matrix[0]


@pytest.mark.parametrize("game", GAMES.values(), ids=GAMES.keys())
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_a_fixed_share_is_a_learned_one_that_does_not_move(game: Game, share: float) -> None:
    """Also where episodes are sampled: both draw in the same order."""
    fixed = policies_after(build(Fixed(self_interest=share).with_settings(INNER), game))
    frozen = policies_after(build(ToS(own_share=share).with_settings({**FROZEN, **INNER}), game))
    torch.testing.assert_close(fixed, frozen, rtol=0, atol=1e-12)


@pytest.mark.parametrize("game", GAMES.values(), ids=GAMES.keys())
def test_keeping_everything_is_selfish(game: Game) -> None:
    assert torch.equal(sharing_of(Selfish(), game), torch.eye(game.num_agents, dtype=torch.float64))
    selfish, fixed = (
        policies_after(build(method.with_settings(INNER), game))
        for method in (Selfish(), Fixed(self_interest=1.0))
    )
    assert torch.equal(selfish, fixed)


@pytest.mark.parametrize("game", GAMES.values(), ids=GAMES.keys())
def test_the_common_reward_is_shared_by_everybody(game: Game) -> None:
    agents = game.num_agents
    expected = torch.full((agents, agents), 1 / agents, dtype=torch.float64)
    torch.testing.assert_close(sharing_of(Prosocial(), game), expected, rtol=0, atol=1e-15)


def test_prosocial_agents_cooperate_where_selfish_ones_defect() -> None:
    """On the one-shot dilemma the common reward makes cooperating dominant, as its welfare gain is 1 > 0."""
    game = GAMES["one-shot"]
    for method, low, high in ((Prosocial, 0.9, 1.0), (Selfish, 0.0, 0.1)):
        learner = build(configured(method, inner__learning_rate=1.0, inner__steps=100), game)
        _, metrics = learner.update(learner.init(0))
        assert ((low < metrics["cooperation"]) & (metrics["cooperation"] < high)).all()


@pytest.mark.parametrize("agents", [3, 5])
def test_sharing_stays_among_neighbors(agents: int) -> None:
    """In a ring of five everybody has two neighbors and two strangers; in one of three, no strangers."""
    game = Cyclical(agents=agents)
    assert torch.equal(sharing_of(Fixed(self_interest=0.6), game), self_interest_sharing(game.neighbors, 0.6))
    learner = build(ToS(own_share=0.6).with_settings({"outer.learning_rate": 0.5, **INNER}), game)
    state = learner.init(0)
    for _ in range(3):
        state, _ = learner.update(state)
    learned = learner.transfer(state["phi"]).matrix
    strangers = ~game.neighbors
    assert int(strangers.sum()) == {3: 0, 5: 10}[agents]
    assert not learned[:, strangers].any()
    assert not state["phi"][:, strangers].any()  # their logits have no gradient
    assert (learned[:, game.neighbors] > 0).all()
    assert not torch.equal(learned, learner.transfer(learner.init(0)["phi"]).matrix)


def payoffs(theta: Tensor) -> Tensor:
    """Expected payoffs of the one-shot prisoner's dilemma (-1, -3, 0, -2): -2 - p_own + 2 p_other."""
    p = theta.sigmoid()
    return -2 - p + 2 * p.flip(-1)


def policies_by_hand(theta: Tensor, phi: Tensor, rate: float, steps: int) -> Tensor:
    """Plain gradient ascent of theta [agent], each on its own shared payoff, keeping the graph."""
    shares = phi.softmax(-1)
    for _ in range(steps):
        gradients = [
            torch.autograd.grad((payoffs(theta) @ shares)[agent], theta, create_graph=True)[0][agent]
            for agent in (0, 1)
        ]
        theta = theta + rate * torch.stack(gradients)
    return theta


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("objective", ["own-return", "welfare"])
def test_hypergradients_of_the_one_shot_dilemma(objective: str, steps: int) -> None:
    """Each giver's row follows d (its own return, or everybody's) / d (its own row), nothing else."""
    inner = {"inner.learning_rate": 0.7, "inner.steps": steps}
    outer = {"own_share": 0.7, "outer.optimizer": "sgd", "outer.learning_rate": 1.0}
    learner = build(ToS(objective=objective).with_settings({**inner, **outer}), GAMES["one-shot"])
    state = learner.init(0)
    after, _ = learner.update(state)
    for seed in range(3):
        phi = state["phi"][seed].clone().requires_grad_()
        theta = state["theta"][seed, :, 0].clone().requires_grad_()
        end = policies_by_hand(theta, phi, 0.7, steps)
        values = payoffs(end)
        rows = [values[giver] if objective == "own-return" else values.sum() for giver in (0, 1)]
        expected = torch.stack(
            [torch.autograd.grad(row, phi, retain_graph=True)[0][giver] for giver, row in enumerate(rows)]
        )
        moved = after["phi"][seed] - state["phi"][seed]
        torch.testing.assert_close(moved, expected, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(after["theta"][seed, :, 0], end.detach(), rtol=0, atol=1e-14)
        assert float(moved.abs().min()) > 1e-4


@pytest.mark.parametrize(("cost", "slope"), [("l1", 1.0), ("kl", 1 / 0.7)])
def test_a_cost_pulls_the_shares_back(cost: str, slope: float) -> None:
    """By -weight d cost / d phi_ii = weight slope T_ii (1 - T_ii), with the slope -d cost / d T_ii."""
    outer = {"own_share": 0.7, "outer.optimizer": "sgd", "outer.learning_rate": 1.0}
    moves = []
    for weight in (0.0, 0.5):
        learner = build(ToS(cost=cost, cost_weight=weight).with_settings(outer), GAMES["one-shot"])
        state = learner.init(0)
        moves.append((learner.update(state)[0]["phi"] - state["phi"]).diagonal(dim1=-2, dim2=-1))
    pull = torch.full_like(moves[0], 0.5 * slope * 0.7 * 0.3)
    torch.testing.assert_close(moves[1] - moves[0], pull, rtol=0, atol=1e-12)


@pytest.mark.parametrize("exact", [True, False])
def test_more_than_two_agents_learn_to_share(exact: bool) -> None:
    """Three agents, exact and sampled, welfare and own return: every giver's row moves, rows sum to 1."""
    game = SymmetricalPrisonersDilemma(agents=3)
    many = INNER | {
        "inner.episodes": 60
    }  # of six, all may come out alike: there is then nothing to learn from
    for objective in ("welfare", "own-return"):
        learner = build(ToS(objective=objective).with_settings({"inner.exact": exact, **many}), game)
        state, _ = learner.update(learner.init(0))
        shares = learner.transfer(state["phi"]).matrix
        torch.testing.assert_close(shares.sum(-1), torch.ones(3, 3).double(), rtol=0, atol=1e-12)
        assert ((shares - 1 / 3).abs().amax(-1) > 1e-6).all()

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from games.matrix import SymmetricTwoAgentGame

payoff = st.floats(-10, 10, allow_nan=False)


@given(R=payoff, S=payoff, T=payoff, P=payoff)
def test_the_table_is_symmetric(R: float, S: float, T: float, P: float) -> None:
    table = SymmetricTwoAgentGame(reward=R, sucker=S, temptation=T, punishment=P).payoffs()
    assert table[..., 0].tolist() == [[R, S], [T, P]]
    assert table[..., 1].equal(table[..., 0].T)


def test_the_two_welfares() -> None:
    game = SymmetricTwoAgentGame(reward=3, sucker=0, temptation=8, punishment=1)
    assert game.best_welfare == 8  # exploiting is better for the two of them than 2 R = 6
    assert game.defection_welfare == 2


def test_own_gradient_of_the_one_shot_dilemma() -> None:
    # V1 = -p q - 3 p (1-q) - 2 (1-p)(1-q): dV1/dp = -1 and dV1/dq = 2, whatever the start (derived).
    game = SymmetricTwoAgentGame()

    def value(p: torch.Tensor) -> torch.Tensor:
        return game.values(torch.stack((p, 1 - p), -1).unsqueeze(-2))[0]

    gradient = torch.func.grad(value)(torch.tensor([0.3, 0.6], dtype=torch.float64))
    torch.testing.assert_close(gradient, torch.tensor([-1.0, 2.0]).double(), atol=1e-14, rtol=0)


def test_pickling() -> None:
    game = SymmetricTwoAgentGame(reward=2)
    assert pickle.loads(pickle.dumps(game)) == game


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "3"])
def test_a_payoff_that_is_no_finite_number_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="sucker must be a finite number"):
        SymmetricTwoAgentGame(sucker=bad)  # type: ignore[arg-type]


def test_a_missing_name_is_refused() -> None:
    with pytest.raises(ValueError, match="Two actions need two names; there are 1"):
        SymmetricTwoAgentGame(names=("cooperate",))  # type: ignore[arg-type]

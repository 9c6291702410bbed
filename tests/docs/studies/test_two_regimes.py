"""The study behind mixture-of-experts.md: its game, its runs and its measures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import games
from bilevel.methods import METHODS
from docs.studies.two_regimes import POLICIES, Study, TwoRegimes, TwoRegimesState, main

GAME = TwoRegimes()


def state(*, glut: bool) -> TwoRegimesState:
    return TwoRegimesState(torch.tensor([glut]), torch.tensor([[0.5, -1.0, 0.25, 0.0]]), torch.tensor([0]))


def test_the_game_keeps_the_contract() -> None:
    games.check_game(GAME)


@pytest.mark.parametrize(("glut", "sign"), [(False, 1.0), (True, -1.0)])
def test_the_regime_changes_the_sign_of_help(glut: bool, sign: float) -> None:
    """Agent 0 helps agent 2, agent 3 helps agent 0, the others rest; helping costs 0.5."""
    actions, generator = torch.tensor([[1, 3, 3, 0]]), torch.Generator()
    _, rewards, _ = GAME.step(state(glut=glut), actions, generator)
    assert rewards.tolist() == [[sign * 1.5 - 0.5, 0.0, sign * 0.75, -0.5]]


def test_agents_observe_the_regime_and_the_others_from_the_next_on() -> None:
    observed = GAME.observe(state(glut=True))[0]
    assert observed.tolist() == [
        [-1.0, -1.0, 0.25, 0.0],
        [-1.0, 0.25, 0.0, 0.5],
        [-1.0, 0.0, 0.5, -1.0],
        [-1.0, 0.5, -1.0, 0.25],
    ]
    assert GAME.scripted(state(glut=True), torch.ones(1, 4).bool()).tolist() == [[0, 1, 2, 1]]


def test_the_best_welfare_is_that_of_the_best_choices() -> None:
    observed = GAME.observe(GAME.reset(100_000, torch.Generator().manual_seed(0)))
    worth = GAME.benefit * (observed[..., :1] * observed[..., 1:]).max(-1).values
    welfare = GAME.horizon * float((worth - GAME.cost).clamp(min=0).sum(-1).mean())
    assert welfare == pytest.approx(GAME.best_welfare, rel=0.005)


def test_a_row_for_each_policy_is_printed_and_finished_runs_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study(policies=("mlp", "curriculum"), seeds=3, outer_steps=3, episodes=4, out=tmp_path)
    main(study)
    first = capsys.readouterr().out
    main(study)
    assert capsys.readouterr().out == first
    mlp, curriculum = first.splitlines()
    assert mlp.startswith("mlp: normalized welfare (%) ")
    assert "effective experts" not in mlp
    assert "effective experts" in curriculum
    assert "difference" in curriculum


def test_policies_have_about_the_same_number_of_parameters() -> None:
    sizes = []
    for settings in POLICIES.values():
        constant = {name: value for name, value in settings.items() if value != "thirds"}
        policy = METHODS["prosocial"]().with_settings(constant).policy
        sizes.append(policy.build(GAME).num_parameters)
    assert max(sizes) - min(sizes) <= 2

"""The study of cooperating seeds: its count, its interval, its table, and bad input."""

import pytest
import torch

import games
from bilevel.methods import LOLA, SOS, LookAhead, Naive, Placement, Selfish
from docs.studies.cooperating_seeds import Cooperation, Study, main, measure, train_by_hand


def test_counts_seeds_and_covers_the_fraction():
    found = Cooperation("lola", 18, 20, -1.1, 2.0)
    low, high = found.interval
    assert low == pytest.approx(0.6830, abs=1e-4)  # Clopper-Pearson, by the beta distribution
    assert high == pytest.approx(0.9877, abs=1e-4)


def test_lola_cooperates_in_more_seeds_than_naive_learners():
    naive, shaping = measure(Study(rules=("naive", "lola"), seeds=24, updates=120))
    assert naive.cooperating < 4 < 12 < shaping.cooperating
    assert naive.welfare < -1.8 < -1.4 < shaping.welfare


@pytest.mark.parametrize(
    ("name", "rule"),
    [("naive", Naive()), ("look-ahead", LookAhead()), ("lola", LOLA()), ("sos", SOS())],
)
def test_the_loop_by_hand_takes_the_same_steps(name, rule):
    """The peer that is timed is right: its policies are those of the library, seed by seed."""
    study = Study(updates=30, seeds=3)
    game = games.make("repeated-prisoners-dilemma", discount=0.96)
    learner = Selfish(rule=rule).build(game, Placement(seeds=3))
    state = learner.init(seed=0)
    starts = state["theta"]
    for _ in range(30):
        state, _ = learner.update(state)
    for seed in range(3):
        torch.testing.assert_close(train_by_hand(starts[seed], name, study), state["theta"][seed])


def test_the_command_prints_the_table(capsys):
    main(["--rules", "naive", "--seeds", "4", "--updates", "2"])
    head, _, row = capsys.readouterr().out.splitlines()
    assert head.startswith("| rule | seeds that cooperate")
    assert row.startswith("| `naive` | ")


def test_mistakes_get_one_sentence(capsys):
    with pytest.raises(SystemExit, match="There is no rule 'lolla'"):
        main(["--rules", "lolla", "--seeds", "4", "--updates", "2"])
    with pytest.raises(SystemExit):
        main(["--level", "0"])
    assert "level must be above 0 and at most 1, not 0.0." in capsys.readouterr().err

"""Fixed memory-one strategies: by name, and read from the axelrod library."""

import sys

import pytest

from games.matrix import STRATEGIES, memory_one_strategy


@pytest.mark.parametrize("name", STRATEGIES)
def test_strategies_are_probabilities(name):
    assert all(0 <= probability <= 1 for probability in memory_one_strategy(name))


def test_extortion_enforces_a_linear_relation_of_payoffs():
    """Press and Dyson: p - (1, 1, 0, 0) is proportional to (own - P) - 2 (other's - P) for (3, 0, 5, 1)."""
    _, cc, cd, dc, dd = memory_one_strategy("extort-2")
    moved = (cc - 1, cd - 1, dc, dd)
    relation = [(own - 1) - 2 * (other - 1) for own, other in ((3, 3), (0, 5), (5, 0), (1, 1))]
    assert [a / b for a, b in zip(moved[:3], relation[:3], strict=True)] == pytest.approx([1 / 18] * 3)
    assert moved[3] == relation[3] == 0


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"There is no strategy 'tit-for-tit'\. Did you mean 'tit-for-tat'"):
        memory_one_strategy("tit-for-tit")


def test_without_axelrod_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "axelrod", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'bilevel\[axelrod\]'"):
        memory_one_strategy("axelrod:GTFT")


def test_strategies_of_axelrod():
    pytest.importorskip("axelrod")
    for theirs, ours in (
        ("TitForTat", "tit-for-tat"),
        ("Defector", "always-defect"),
        ("Cooperator", "always-cooperate"),
        ("WinStayLoseShift", "win-stay-lose-shift"),
        ("SuspiciousTitForTat", "suspicious-tit-for-tat"),
        ("GTFT", "generous-tit-for-tat"),
    ):
        assert memory_one_strategy(f"axelrod:{theirs}") == pytest.approx(memory_one_strategy(ours))
    joss = memory_one_strategy("axelrod:FirstByJoss")
    assert joss == (1.0, 0.9, 0.0, 0.9, 0.0)
    for name, message in (
        ("Grudger", "remembers more than the last round"),
        ("Random", "draws without stating its probabilities"),
        ("TitForTit", "There is no strategy of axelrod 'TitForTit'"),
    ):
        with pytest.raises(ValueError, match=message):
            memory_one_strategy(f"axelrod:{name}")

"""The language check finds what it is for, and nothing else."""

import pytest

from tests.language import check_module, check_text


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ('"""What is learned."""', "noun or an imperative verb"),
        ('def f():\n    """Whether it moves."""', "noun or an imperative verb"),
        ('class Settings:\n    size: int = 1\n    """How large."""', "noun or an imperative verb"),
        ("def optimise(theta):\n    pass", "as PyTorch spells"),
        ("def f(normalised):\n    pass", "as PyTorch spells"),
        ("initialiser = 1", "as PyTorch spells"),
        ("# giving is dear", "not a term of the field"),
    ],
)
def test_a_fault_is_found_in_its_line(source: str, reason: str) -> None:
    ((line, found),) = check_module(source)
    assert reason in found
    assert 1 <= line <= len(source.splitlines())


def test_plain_language_passes() -> None:
    assert not list(check_module('"""Sharing matrices."""\n\noptimizer = 1\n"""The learning rate."""'))
    assert not list(check_text("An agent who learns gives a share of its reward."))


def test_a_phrase_is_found_in_a_text() -> None:
    assert list(check_text("First line.\nThen the agents walk back.")) == [
        (2, '"walk back" is not a term of the field')
    ]

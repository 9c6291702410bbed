"""Members are found where they are."""

from __future__ import annotations

import pytest
import torch

from bilevel.compile._functions import Members


@pytest.mark.parametrize(
    ("shapes", "count"),
    [([(3, 2), (3,), ()], 3), ([(3, 2), (2, 3)], None), ([()], None), ([], None), ([(1, 2)], 1)],
)
def test_members_are_the_first_axis_that_all_share(shapes: list[tuple[int, ...]], count: int | None) -> None:
    assert Members.of(map(torch.zeros, shapes)).count == count


def test_the_first_member_is_a_copy_with_its_axis() -> None:
    leaf = torch.arange(6.0).reshape(2, 3)
    first = Members(3).first(leaf, 1)
    assert torch.equal(first, leaf[:, :1])
    first.zero_()
    assert leaf[1, 0] == 3
    assert Members(None).first(leaf, 0).shape == (1, 2, 3)

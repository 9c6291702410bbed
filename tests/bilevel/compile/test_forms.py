"""Rows and plain tensors are each other's inverse; members are found where they are."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bilevel.compile.forms import Members, Packed


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    place=st.integers(0, 3),
    with_members=st.booleans(),
)
def test_plain_undoes_rows(shape: list[int], place: int, with_members: bool) -> None:
    axis = place % len(shape)
    members = Members(shape[axis] if with_members else None)
    leaf = torch.randn(shape).mT if len(shape) > 1 and shape[-1] == shape[-2] else torch.randn(shape)
    rows = members.rows(leaf, axis)
    assert rows.shape == (leaf.numel() // (members.count or 1), members.count or 1)
    assert rows.is_contiguous()
    plain = members.plain(rows, leaf.shape, axis)
    assert torch.equal(plain, leaf)
    assert plain.is_contiguous()


def test_a_row_is_one_entry_of_every_member() -> None:
    leaf = torch.arange(24).reshape(2, 4, 3)
    rows = Members(4).rows(leaf, 1)
    assert torch.equal(rows, torch.stack([leaf[i, :, j] for i in range(2) for j in range(3)]))


def test_numbers_without_axes_stay() -> None:
    number = torch.tensor(3.0)
    assert Members(5).rows(number, 0) is number
    assert Members(5).plain(number, (), 0) is number


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


def test_leaves_are_brought_into_a_form_only_if_they_do_not_have_it() -> None:
    members, leaf = Members(3), torch.randn(3, 2)
    plain = Packed([leaf], "plain")
    assert members.in_form(plain, "plain", 0, ()) is plain
    rows = members.in_form(plain, "rows", 0, ())
    assert rows.form == "rows"
    assert torch.equal(rows[0], leaf.T)
    assert torch.equal(members.in_form(rows, "plain", 0, [leaf.shape])[0], leaf)

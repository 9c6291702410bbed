"""A checkpoint comes back to the same bits, or is refused in a sentence; nothing in it ever runs."""

from __future__ import annotations

import contextlib
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from bilevel.core import leaves
from bilevel.experiments import load_checkpoint
from bilevel.experiments._checkpoint import Checkpoint, read_leaf, read_settings, save_checkpoint
from bilevel.experiments._files import FilePosition

STATE = {
    "theta": torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0)),
    "opt": [torch.tensor(7), None, (torch.full((2,), torch.nan, dtype=torch.float64),)],
    "random_seeds": torch.tensor([3, 4, 5]),
}
POSITIONS = {"metrics.csv": FilePosition(12, "ab"), "metrics.share.array": FilePosition(7, "cd")}


class Trap:
    """A pickle that would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def pickle_plainly(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, Checkpoint(STATE, POSITIONS, 3.5, "{}"))
    return path


def test_it_comes_back_to_the_same_bits(saved: Path) -> None:
    found = load_checkpoint(saved, like=STATE)
    assert found.positions == POSITIONS
    assert found.seconds == 3.5
    assert found.settings == read_settings(saved) == "{}"
    for name in ("theta", "random_seeds"):
        assert torch.equal(found.state[name], STATE[name])  # type: ignore[arg-type]
    step, nothing, (nan,) = found.state["opt"]
    assert step == 7
    assert nothing is None
    assert nan.isnan().all()
    assert nan.dtype == torch.float64
    assert torch.equal(read_leaf(saved, "opt/0"), torch.tensor(7))


def test_every_truncation_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    for size in (*range(0, len(whole), 97), len(whole) - 1):
        saved.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="is damaged"):
            load_checkpoint(saved, like=STATE)


def test_every_damaged_byte_is_refused_or_harmless(saved: Path) -> None:
    whole = saved.read_bytes()
    for place in range(0, len(whole), 23):
        saved.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            found = load_checkpoint(saved, like=STATE)
        except ValueError:
            continue
        assert found[1:] == (POSITIONS, 3.5, "{}")
        for old, new in zip(leaves(STATE), leaves(found.state), strict=True):
            torch.testing.assert_close(new, old, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("write", [torch.save, pickle_plainly])
def test_nothing_in_a_foreign_file_runs(write: Any, tmp_path: Path) -> None:
    trap, path = Trap(tmp_path / "sprung"), tmp_path / "checkpoint.pt"
    write({"format": "bilevel-checkpoint/3", "leaves": trap}, path)
    with pytest.raises(ValueError, match=r"nothing in it was executed\."):
        load_checkpoint(path, like=STATE)
    assert not trap.path.exists()
    with contextlib.suppress(RuntimeError):  # a plain pickle runs first and is refused after
        torch.load(path, weights_only=False)  # the trap is a real one
    assert trap.path.exists()


@pytest.mark.parametrize(
    "content",
    [
        3,
        {},
        {"format": "bilevel-checkpoint/9"},
        {"format": "bilevel-checkpoint/3"},
        {
            "format": "bilevel-checkpoint/3",
            "marks": {},
            "seconds": 0.0,
            "settings": "",
            "names": ["a"],
            "leaves": [],
        },
        {
            "format": "bilevel-checkpoint/3",
            "marks": {},
            "seconds": 0.0,
            "settings": "",
            "names": ["a"],
            "leaves": [1],
        },
        *(
            {
                "format": "bilevel-checkpoint/3",
                "marks": positions,
                "seconds": 0.0,
                "settings": "",
                "names": [],
                "leaves": [],
            }
            for positions in ({"metrics.csv": 3}, {"metrics.csv": ("a", 3)}, {3: (3, "a")}, {"a": (-1, "a")})
        ),
    ],
)
def test_another_form_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(ValueError, match="is not a checkpoint of the form bilevel-checkpoint/3"):
        load_checkpoint(tmp_path / "checkpoint.pt", like=STATE)


@pytest.mark.parametrize("form", ["bilevel-checkpoint/1", "bilevel-checkpoint/2"])
def test_one_of_an_earlier_version_is_refused(form: str, tmp_path: Path) -> None:
    """Those versions drew all seeds from one generator, which they kept in the state."""
    path, kept = tmp_path / "checkpoint.pt", torch.Generator().get_state()
    content = {"format": form, "metrics_bytes": 1, "seconds": 0.0, "settings": "", "names": ["generator"]}
    torch.save({**content, "leaves": [kept]}, path)
    with pytest.raises(
        ValueError, match=r"was made by an earlier version, .*: train the run anew in another"
    ):
        load_checkpoint(path, like=STATE)


@pytest.mark.parametrize(
    ("like", "says"),
    [
        ({"theta": STATE["theta"]}, "it holds opt/0, opt/2/0, random_seeds, theta; this one has theta"),
        (
            {**STATE, "theta": torch.zeros(3, 2, 6)},
            r"its theta is torch.float32 \[3, 2, 5\], not torch.float32",
        ),
        ({**STATE, "theta": torch.zeros(3, 2, 5).double()}, r"not torch.float64 \[3, 2, 5\]"),
    ],
)
def test_another_learners_is_refused(like: Any, says: str, saved: Path) -> None:
    with pytest.raises(ValueError, match=f"belongs to another learner: .*{says}"):
        load_checkpoint(saved, like=like)


def test_a_missing_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no checkpoint .*none\.pt"):
        load_checkpoint(tmp_path / "none.pt", like=STATE)


def test_a_missing_leaf_is_refused(saved: Path) -> None:
    with pytest.raises(ValueError, match="has no phi; it holds opt/0"):
        read_leaf(saved, "phi")

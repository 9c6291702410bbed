"""Demonstrations: BabyAI's bot, and files that are read back, or made anew if they are damaged."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from bilevel.tasks.vision_language_action import _demonstrations as demonstrations
from bilevel.tasks.vision_language_action._demonstrations import (
    cached,
    demonstrate,
    folder,
    join,
    read,
    write,
)
from bilevel.tasks.vision_language_action._levels import make_level, reset
from tests.bilevel.tasks.vision_language_action.tiny import some_demonstrations

LEVEL = "BabyAI-GoToLocalS6N3-v0"


def nothing(fraction):
    return None


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in vars(one))


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(demonstrations.VARIABLE, str(tmp_path / "kept"))
    monkeypatch.setattr(demonstrations, "BLOCK", 3)
    return tmp_path / "kept"


def test_the_bot_solves_its_episodes():
    parts: list[float] = []
    made = demonstrate(LEVEL, 0, 0, 5, parts.append)
    assert parts == [0.2, 0.4, 0.6, 0.8, 1.0]
    env = make_level(LEVEL)
    ends = made.lengths.cumsum()
    for number, end in enumerate(ends):
        start = reset(env, (0, 0, 0, number))
        first = end - made.lengths[number]
        assert start["mission"] == made.missions[number]
        assert np.array_equal(start["image"], made.images[first])
        for action in made.actions[first:end]:
            _, reward, over, _, _ = env.step(int(action))
        assert over
        assert reward > 0


def test_blocks_and_seeds_have_other_episodes():
    blocks = [demonstrate(LEVEL, *key, 4, nothing) for key in ((0, 0), (0, 1), (1, 0))]
    assert len({block.images.tobytes() for block in blocks}) == 3
    joined = join(blocks)
    assert len(joined.missions) == 12
    assert joined.lengths.sum() == len(joined.actions)


def test_a_level_that_the_bot_does_not_solve_is_refused(monkeypatch):
    monkeypatch.setattr(demonstrations, "_solve", lambda env, bot, seed: ("go", [], []))
    with pytest.raises(ValueError, match="solves fewer than one of ten episodes of BabyAI-GoToLocalS6N3-v0"):
        demonstrate(LEVEL, 0, 0, 2, nothing)


def test_files_are_read_back(tmp_path):
    made = some_demonstrations()
    write(tmp_path / "some.npz", made)
    assert same(read(tmp_path / "some.npz"), made)
    assert [path.name for path in tmp_path.iterdir()] == ["some.npz"]


def test_demonstrations_are_made_once(own_folder, monkeypatch):
    first = cached(LEVEL, 0, 0, nothing)
    (path,) = own_folder.iterdir()
    assert path.name.startswith(f"{LEVEL}-seed-0-block-0-of-3-minigrid-")
    monkeypatch.setattr(demonstrations, "demonstrate", None)  # would raise
    assert same(cached(LEVEL, 0, 0, nothing), first)


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "values", "pickle", "words"])
def test_a_damaged_file_is_made_anew(damage, own_folder):
    first = cached(LEVEL, 0, 0, nothing)
    (path,) = own_folder.iterdir()
    path.write_bytes(damaged(damage, path))
    with pytest.raises(ValueError, match="is damaged"):
        read(path)
    assert same(cached(LEVEL, 0, 0, nothing), first)
    assert same(read(path), first)


def damaged(damage: str, path: Path) -> bytes:
    content = path.read_bytes()
    if damage in ("empty", "cut", "text"):
        return {"empty": b"", "cut": content[: len(content) // 2], "text": b"no archive"}[damage]
    with np.load(io.BytesIO(content)) as entries:
        arrays = dict(entries)
    if damage == "values":
        arrays["actions"] = arrays["actions"] + 7
    if damage == "pickle":
        arrays["images"] = np.array([print], dtype=object)
    if damage == "words":
        arrays["missions"] = np.frombuffer(b"[1, 2, 3]", dtype=np.uint8)
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(demonstrations.VARIABLE, str(tmp_path / "file" / "below"))
    monkeypatch.setattr(demonstrations, "BLOCK", 1)
    with pytest.raises(ValueError, match="let BILEVEL_DEMONSTRATIONS name a folder that can be written to"):
        cached(LEVEL, 0, 0, nothing)


def test_the_folder_is_the_users(monkeypatch):
    monkeypatch.delenv(demonstrations.VARIABLE)
    assert folder().parts[-2:] == ("bilevel", "demonstrations")

"""The folder of packages: listed, sized, cleared, and never half written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bilevel.hypergradient.compiled import cache


def put(name: str, *, built: str | None = "2026-01-01T00:00:00+00:00", size: int = 10) -> Path:
    path = cache.package_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    if built is not None:
        cache.write_whole(cache.about_path(path), json.dumps({"about": f"step of {name}", "built": built}))
    return path


def test_the_folder_is_named_by_the_variable_or_is_the_users(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache.folder() == cache_folder
    monkeypatch.delenv(cache.VARIABLE)
    assert cache.folder().parts[-2:] == ("bilevel", "packages")


def test_no_folder_is_no_packages() -> None:
    assert cache.packages() == []
    assert cache.clear() == []


def test_packages_are_listed_the_oldest_first_with_their_size() -> None:
    put("b", built="2026-01-02")
    path = put("a", built="2026-01-03", size=1000)
    put("c", built=None, size=5)
    listed = cache.packages()
    assert [package.path.stem for package in listed] == ["c", "b", "a"]
    assert listed[2].size == 1000 + cache.about_path(path).stat().st_size
    assert listed[0].size == 5
    assert listed[0].about == {}
    assert listed[2].about["about"] == "step of a"


@pytest.mark.parametrize("content", ["", "{", "[1]", "\xff\xfe"])
def test_a_damaged_description_is_none(content: str) -> None:
    about = cache.about_path(put("a"))
    about.write_text(content, encoding="latin-1")
    assert cache.packages()[0].about == {}
    assert cache.about("a") == {}


def test_clear_deletes_everything_and_says_what() -> None:
    put("a"), put("b")
    cache.remember("name", "a", [[-1, 2], []])
    cache.remember_choice("other", True)
    cache.part_path(cache.package_path("c")).write_text("an interrupted build")
    assert [package.path.stem for package in cache.clear()] == ["a", "b"]
    assert [path for path in cache.folder().rglob("*") if path.is_file()] == []


def test_what_is_being_built_is_no_package_yet() -> None:
    put("a")
    cache.part_path(cache.package_path("b")).write_text("half of it")
    assert [package.path.stem for package in cache.packages()] == ["a"]


def test_a_name_leads_to_its_package_while_that_lies_there() -> None:
    path = put("a")
    cache.remember("name", "a", [[-1, 2], []])
    assert cache.recall("name") == ("a", [[-1, 2], []])
    assert cache.recall("another") is None
    path.unlink()
    assert cache.recall("name") is None


def test_a_choice_is_remembered() -> None:
    assert cache.recall_choice("name") is None
    for choice in (True, False):
        cache.remember_choice("name", choice)
        assert cache.recall_choice("name") is choice
    cache.remember("name", "a", [[-1, 2], []])
    assert cache.recall_choice("name") is None


def test_a_file_is_written_as_a_whole_or_not_at_all(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cache_folder / "a.json"
    cache.write_whole(path, "old")

    def full(self: Path, text: str) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="no space"):
        cache.write_whole(path, "new")
    assert path.read_text() == "old"


def test_the_folder_is_the_users_alone(cache_folder: Path) -> None:
    cache.write_whole(cache_folder / "a.json", "{}")
    assert cache_folder.stat().st_mode & 0o777 == 0o700

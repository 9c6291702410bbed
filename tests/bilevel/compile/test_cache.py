"""The folder of compiled packages: private, never half written, and cleared of its own files alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bilevel.compile import _cache as cache

A, B, C = ("0123456789abcdef" * 2 + ".so", "b" * 32 + ".pt2", "c" * 32 + ".so")


def put(key: str, *, content: str = "machine code", **about: object) -> Path:
    cache.keep(key, lambda path: path.write_text(content), about)
    return cache.package_path(key)


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_the_folder_is_named_by_the_variable_or_is_the_users(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache.folder() == cache_folder
    monkeypatch.delenv(cache.VARIABLE)
    assert cache.folder().parts[-2:] == ("bilevel", "compiled")


def test_no_folder_is_no_packages() -> None:
    assert cache.packages() == []
    assert cache.find(A) is None
    assert cache.clear() == []


def test_a_package_is_found_listed_and_described(cache_folder: Path) -> None:
    path = put(A, content="x" * 1000, about="step of a", operations=3)
    assert cache.find(A) == path
    assert cache.find(B) is None
    (listed,) = cache.packages()
    assert listed.path == path
    assert listed.size == 1000 + cache.about_path(path).stat().st_size
    assert (listed.about["about"], listed.about["operations"]) == ("step of a", 3)
    assert contents(cache_folder) == {path.name, cache.about_path(path).name, cache.TAG}


def test_packages_are_listed_the_oldest_first(cache_folder: Path) -> None:
    for key in (C, A, B):
        put(key)
    for key, built in ((A, "2026-01-03"), (B, "2026-01-02")):
        cache.about_path(cache.package_path(key)).write_text(f'{{"built": "{built}"}}')
    cache.about_path(cache.package_path(C)).unlink()
    assert [package.path.name for package in cache.packages()] == [C, B, A]


@pytest.mark.parametrize("content", ["", "{", "[1]", "\xff\xfe"])
def test_without_its_description_a_package_is_built_again(content: str) -> None:
    path = put(A)
    cache.about_path(path).write_text(content, encoding="latin-1")
    assert cache.packages()[0].about == {}
    assert cache.find(A) is None
    assert not path.exists()


def test_a_damaged_package_is_built_again() -> None:
    path = put(A)
    path.write_text("machine c0de")
    assert cache.find(A) is None
    assert cache.find(A) is None
    put(A)
    assert cache.find(A) == path


def test_a_failed_build_leaves_nothing(cache_folder: Path) -> None:
    def fails(path: Path) -> None:
        path.write_text("half of it")
        raise RuntimeError("no compiler")

    with pytest.raises(RuntimeError, match="no compiler"):
        cache.keep(A, fails, {})
    assert contents(cache_folder) == {cache.TAG}


def test_everything_is_the_users_alone(cache_folder: Path) -> None:
    put(A)
    assert cache_folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in cache_folder.iterdir()} == {0o600}


def test_clear_deletes_what_was_written_here_and_nothing_else(cache_folder: Path, tmp_path: Path) -> None:
    put(A), put(B)
    (cache_folder / f"{C[:32]}.choice").write_text("of an earlier version")
    (cache_folder / f"{C[:32]}.json.17.part").write_text("an interrupted write")
    (cache_folder / "build-x" / "inductor").mkdir(parents=True)
    (cache_folder / "build-x" / "inductor" / "main.cpp").write_text("an interrupted build")
    (cache_folder / cache.COMPILER).mkdir()
    others = tmp_path / "others"
    others.mkdir()
    (others / "thesis.json").write_text("{}")
    (cache_folder / "build-x" / "link").symlink_to(others)
    (cache_folder / "build-y").symlink_to(others)
    kept = {"results.json", "model.pt2", "index", "index/0.json", "build-y", cache.TAG}
    (cache_folder / "index").mkdir()
    for name in ("results.json", "model.pt2", "index/0.json"):
        (cache_folder / name).write_text("{}")
    assert {package.path.name for package in cache.clear()} == {A, B}
    assert contents(cache_folder) == kept
    assert (others / "thesis.json").exists()


@pytest.mark.parametrize("act", [cache.clear, cache.ready, lambda: cache.find(A), lambda: put(B)])
def test_a_folder_of_other_files_is_refused(cache_folder: Path, act: Callable[[], object]) -> None:
    cache_folder.mkdir(mode=0o700)
    (cache_folder / f"{A[:32]}.json").write_text("{}")
    with pytest.raises(OSError, match=r"is not a cache of compiled packages .* name an empty folder"):
        act()
    assert contents(cache_folder) == {f"{A[:32]}.json"}


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(cache_folder: Path, mode: int) -> None:
    put(A)
    cache_folder.chmod(mode)
    for act in (cache.clear, cache.ready, lambda: cache.find(A)):
        with pytest.raises(OSError, match=r"can be written to by other users.*chmod go-w"):
            act()


def test_an_empty_folder_that_others_may_write_to_is_not_marked(cache_folder: Path) -> None:
    cache_folder.mkdir()
    cache_folder.chmod(0o777)
    with pytest.raises(OSError, match="can be written to by other users"):
        cache.ready()
    assert contents(cache_folder) == set()


def test_a_folder_of_another_user_is_refused(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(A)
    monkeypatch.setattr(os, "geteuid", lambda: cache_folder.stat().st_uid + 1)
    for act in (cache.clear, cache.ready, lambda: cache.find(A)):
        with pytest.raises(OSError, match="belongs to another user"):
            act()


def test_a_package_that_others_may_write_to_is_refused() -> None:
    put(A).chmod(0o666)
    with pytest.raises(OSError, match=r"so can be written to by other users"):
        cache.find(A)


def test_a_link_is_not_followed_out_of_the_folder(cache_folder: Path, tmp_path: Path) -> None:
    path = put(A)
    elsewhere = tmp_path / "elsewhere.pt2"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    with pytest.raises(OSError, match="is not a plain file"):
        cache.find(A)


def test_a_link_that_the_user_names_is_the_users_choice(
    cache_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(A)
    (tmp_path / "link").symlink_to(cache_folder)
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "link"))
    assert cache.find(A) is not None

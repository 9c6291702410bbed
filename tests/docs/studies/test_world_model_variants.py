"""Study of variants of the world model: the table of folders, and refused ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.studies.world_model_variants import Study, main, table

HEAD = "weighting,seed,return,reconstruction,seconds"


def write(folder: Path, returns: dict[int, float], weighting: str = "fixed") -> Path:
    folder.mkdir()
    rows = [f"{weighting},{seed},{number},0.5,1.0" for seed, number in returns.items()]
    (folder / "seeds.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    return folder


def test_differences_are_paired_by_seed(tmp_path: Path) -> None:
    """The other folder's rows are in another order, and each is 7 more than the reference's."""
    base = write(tmp_path / "base", {11: 10.0, 12: 50.0, 13: 90.0, 14: 30.0})
    other = write(tmp_path / "other", {14: 37.0, 13: 97.0, 12: 57.0, 11: 17.0})
    *_, first, second = table(Study(folders=(base, other)))
    assert first.startswith("| `base` | 4 | 40 [")
    assert first.endswith("|  | 0.50 |")
    assert "| 47 [" in second
    assert "| +7 [+7, +7] |" in second


def test_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    base = write(tmp_path / "base", {11: 10.0, 12: 50.0, 13: 90.0})
    fewer = write(tmp_path / "fewer", {11: 10.0, 12: 50.0, 14: 90.0})
    learned = write(tmp_path / "learned", {11: 10.0}, "learned")
    for folder, sentence in (
        (fewer, r"has the seeds \[11, 12, 14\], but .* has \[11, 12, 13\]"),
        (learned, "has no trials of the weighting fixed"),
        (tmp_path / "none", "seeds.csv is missing: bilevel tune writes it"),
    ):
        with pytest.raises(SystemExit, match=sentence):
            main([str(base), str(folder)])
    with pytest.raises(ValueError, match="Name two folders or more"):
        Study(folders=(base,))

"""The page of a study: its parts, its labels, hostile names, and damaged or missing runs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bilevel.cli._settings import split_leading
from bilevel.cli._train import parse
from bilevel.experiments import RunConfig, configured, create_run, default_config, load_run, train
from bilevel.methods import METHODS
from bilevel.pages import aggregates, collect, command_of, page_html, write_page
from bilevel.pages._charts import transfers_over_training
from bilevel.pages._statistics import Aggregates

HOSTILE = "<img src=x onerror=alert(1)>&lt;script&gt;"


class Elements(HTMLParser):
    """The elements of a page, its text, and the data of its script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def script_data(text: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_page_has_every_part(study: Path) -> None:
    text = page_html(collect([study]), title="Our study")
    page = Elements(text)
    for words in (
        "Our study",
        "Escape Room ER(N, M)",
        "selfish, prosocial, tos on escape-room with 2 agents: 3 seeds of 6 outer steps each.",
        "Compared with selfish",
        "tos has a welfare higher than selfish by",
        "Normalized score over 2 games",
        "P(improvement): the row is better than the column",
        "Theory beside practice",
        "No theoretical values: EscapeRoom is not a one-shot game",
        "best pure equilibrium",
        "bilevel train --game escape-room --method tos --seeds=3 --outer-steps=6 --evaluation-episodes=8",
        "lio has no checkpoint yet and would start again.",
    ):
        assert words in page.text, words
    assert sum(tag == "img" for tag, _ in page.tags) == 6
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")


def test_a_page_needs_no_network(study: Path) -> None:
    for tag, attributes in Elements(page_html(collect([study]), title="Our study")).tags:
        assert tag not in ("link", "iframe", "object", "base"), tag
        for name in ("src", "href", "action", "data"):
            target = attributes.get(name) or ""
            assert target.startswith(("#", "data:image/webp;base64,")) or not target, target


def test_curves_have_the_means_of_the_runs(study: Path) -> None:
    data = script_data(page_html(collect([study]), title="Our study"))
    curves = data["games"]["game-1"]["curves"]["welfare"]
    line = next(line for line in curves["lines"] if line["label"] == "tos")
    run = load_run(study / "escape-room" / "tos")
    assert line["outer-steps"]["x"] == [1, 2, 3, 4, 5, 6]
    assert line["outer-steps"]["mean"] == pytest.approx(run.curves["welfare"].mean(1), rel=1e-4)
    assert line["environment-steps"]["x"][-1] == run.environment_steps[-1].min()
    assert curves["levels"] == [["welfare optimum", 9.0], ["mutual defection", 0.0]]


def test_transfers_over_training_are_those_of_the_metrics(study: Path) -> None:
    run = load_run(study / "escape-room" / "tos")
    found = transfers_over_training(run)
    assert found is not None
    assert [frame["step"] for frame in found["frames"]] == [1, 2, 3, 4, 5, 6, None]
    first = [[run.curves[f"share_{i}_{j}"][0].mean() for j in (0, 1)] for i in (0, 1)]
    assert np.allclose(found["frames"][0]["values"], first, atol=1e-3)


def test_the_baseline_can_be_chosen(study: Path) -> None:
    text = Elements(page_html(collect([study], baseline="tos"), title="Our study")).text
    assert "Compared with tos" in text
    with pytest.raises(ValueError, match=r"There is no row 'toss'\. Did you mean 'tos'"):
        collect([study], baseline="toss")


def test_rows_of_one_method_are_named_by_their_folders(tmp_path: Path) -> None:
    for rate in (0.1, 0.2):
        settings = {"seeds": 3, "outer_steps": 2, "outer.learning_rate": rate}
        train("chicken", "tos", out=tmp_path / "chicken" / "tos" / f"rate={rate}", **settings)
    (game,) = collect([tmp_path]).games
    assert [entry.label for entry in game.entries] == ["tos rate=0.1", "tos rate=0.2"]


def test_runs_that_differ_in_seeds_are_one_row(tmp_path: Path) -> None:
    for seed in (0, 2):
        train("chicken", "tos", seeds=2, seed=seed, outer_steps=2, out=tmp_path / f"seeds-{seed}-{seed + 1}")
    (game,) = collect([tmp_path, tmp_path]).games
    (entry,) = game.entries
    assert (entry.label, entry.run.config.seeds, len(entry.folders)) == ("tos", 4, 2)


def test_games_with_other_settings_are_apart(tmp_path: Path) -> None:
    for horizon in (3, 5):
        settings = {"seeds": 3, "outer_steps": 2, "game.horizon": horizon}
        train("escape-room", "tos", out=tmp_path / f"{horizon}", **settings)
    assert [game.title for game in collect([tmp_path]).games] == ["escape-room", "escape-room (2)"]


def test_few_seeds_have_no_intervals_and_no_comparison(tmp_path: Path) -> None:
    train("chicken", "tos", seeds=2, outer_steps=2, out=tmp_path / "tos")
    text = page_html(collect([tmp_path]), title="Two seeds")
    assert "Theory is set beside three seeds or more." in text
    assert "low" not in script_data(text)["games"]["game-0"]["curves"]["welfare"]["lines"][0]["outer-steps"]


def test_aggregates_are_those_of_the_scores(study: Path) -> None:
    found = aggregates(collect([study]).games)
    assert isinstance(found, Aggregates)
    overall, improvement = found.tables
    assert {row[0] for row in overall.rows} == {"selfish", "prosocial", "tos"}
    for row in overall.rows:
        assert sum(row[4:]) == pytest.approx(1.0)
    pairs = {
        row[0]: dict(zip(("selfish", "prosocial", "tos"), row[1:], strict=True)) for row in improvement.rows
    }
    assert pairs["tos"]["selfish"] + pairs["selfish"]["tos"] == pytest.approx(1.0)
    for line in found.profiles["lines"]:
        means = line["outer-steps"]["mean"]
        assert means == sorted(means, reverse=True)


def test_hostile_names_are_shown_and_never_run(study: Path, tmp_path: Path) -> None:
    place = tmp_path / HOSTILE / "tos"
    place.parent.mkdir()
    shutil.copytree(study / "chicken" / "tos", place)
    shutil.copytree(place, place.with_name("'\"><script>alert(2)<!--"))
    content = collect([tmp_path])
    text = page_html(content, title=HOSTILE)
    page = Elements(text)
    assert HOSTILE in page.text
    assert [attributes for tag, attributes in page.tags if tag == "img" and "onerror" in attributes] == []
    assert sum(tag == "script" for tag, _ in page.tags) == 2


def test_a_damaged_run_is_refused_and_in_a_live_page_named(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study / "chicken", tmp_path / "chicken")
    (tmp_path / "chicken" / "tos" / "metrics.csv").write_text("outer_step,seed\n")
    (tmp_path / "chicken" / "selfish" / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json"):
        collect([tmp_path])
    content = collect([tmp_path], lenient=True)
    assert len(content.damaged) == 2
    assert [entry.label for entry in content.games[0].entries] == ["prosocial"]
    assert "cannot be read" in page_html(content, title="Damaged")


def test_without_a_finished_run_there_is_nothing_to_report(tmp_path: Path) -> None:
    create_run(default_config("chicken", "tos"), tmp_path / "run")
    with pytest.raises(ValueError, match="There is no finished run to report on"):
        collect([tmp_path])
    assert "No run is finished yet." in page_html(collect([tmp_path], lenient=True), title="Nothing")


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("game", ["escape-room", "repeated-prisoners-dilemma"])
def test_the_command_of_a_run_gives_its_settings(game: str, method: str) -> None:
    config = configured(default_config(game, method), {"seeds": 4, "game.horizon": 7, "dtype": "float64"})
    assert_command(config)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: configured(config, {"inner.exact": False, "inner.episodes": 7}),
        lambda config: configured(config, {"policy": "mlp", "policy.hidden_size": [8, 4]}),
        lambda config: configured(config, {"inner": "ppo", "inner.steps": 3}),
        lambda config: configured(config, {"own_share": None}),
        lambda config: configured(config, {"outer.hypergradient": "truncated(steps=2)"}),
    ],
)
def test_changed_settings_are_in_the_command(change: Callable[[RunConfig], RunConfig]) -> None:
    assert_command(change(default_config("repeated-prisoners-dilemma", "tos")))


def assert_command(config: RunConfig) -> None:
    words = shlex.split(command_of(config))
    assert words[:2] == ["bilevel", "train"]
    chosen, rest = split_leading("bilevel train", words[2:], paths=("out", "resume"))
    assert parse(default_config(chosen.game, chosen.method), rest).plain == config.plain


def test_a_page_replaces_an_earlier_one(study: Path, tmp_path: Path) -> None:
    content = collect([study])
    for title in ("One", "Two"):
        path = write_page(content, tmp_path / "new" / "page.html", title=title, clips=False)
        assert f"<title>{title}</title>" in path.read_text(encoding="utf-8")

"""Every kind of figure is legible: in contrast, in greyscale, with color blindness, and to its edges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import bilevel.report as report
import games
from bilevel.experiments import RunFolder, compare_runs
from bilevel.loss_weights import History
from bilevel.methods import METHODS
from bilevel.report._catalogue_files import picture, schelling_figure
from bilevel.tasks import Trial
from bilevel.tasks._auxiliary_digits import AuxiliaryDigits
from bilevel.tasks._noisy_digits import NoisyDigits
from bilevel.tasks.self_tuning import ActorCriticTask, TwoColorGrid
from bilevel.tasks.self_tuning._control_task import SHOWN
from bilevel.tasks.self_tuning._grid_task import TOTAL
from bilevel.tasks.vision_language_action import VisionLanguageAction
from bilevel.tasks.world_model import WorldModelTask
from docs.studies.surrogate_bias import Deviation, write_figure
from docs.studies.training_ways import write_ways
from games.render import Pen, Symbol, draw_key
from games.theory import Estimated, ScriptedSchelling
from tests.benchmarks.report.figures import write_figures
from tests.benchmarks.report.results import Results
from tests.bilevel.report.compared import made_up
from tests.bilevel.report.legibility import (
    SIMULATED,
    contrast,
    distance,
    frame_problems,
    linear,
    problems,
    recorded,
)
from tests.bilevel.report.test_estimators import COMPARISON
from tests.bilevel.report.test_heat_maps import SWAPPED, giving, run_with_shares
from tests.bilevel.report.test_loss_weight_curves import with_weights

POOR = ((-1.0, 0.5), (2.0, 2.0), (-1.0, 1.0), (0.0, 0.0))
BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "results.json"


def run(folder: Path) -> None:
    report.write_run_figures(RunFolder(folder), run_with_shares(SWAPPED, "escape-room"))
    report.write_run_figures(RunFolder(folder), giving(method="planner", paid_0=-2.0, paid_1=1.0))
    report.write_run_figures(RunFolder(folder), with_weights())


def comparison(folder: Path) -> None:
    names = ("selfish", "prosocial", "tos", "lio", "planner", "svo", "tos, small steps", "tos, no cost")
    runs = {name: made_up(returns=np.array(POOR) + 0.3 * k) for k, name in enumerate(names)}
    runs["lio"].final.update({f"incentive_{i}_{1 - i}": np.full(4, 1.0 + i) for i in (0, 1)})
    for share in [name for name in runs["lio"].final if name.startswith("share")]:
        del runs["lio"].final[share]
    report.write_comparison_figures(compare_runs(runs), folder)
    theory = report.theory_of(made_up("prisoners-dilemma").config.game)
    runs = {name: made_up("prisoners-dilemma", returns=POOR) for name in ("tos", "selfish")}
    report.write_comparison_figures(compare_runs(runs), folder, theory)
    report.write_comparison_figures(compare_runs({"a": with_weights(), "b": with_weights()}), folder)


def comparison_of_many(folder: Path) -> None:
    random = np.random.default_rng(0)
    runs = {
        name: made_up(method="tos", returns=random.normal(place, 2, (8, 2)))
        for place, name in enumerate((*METHODS, "tos, no cost", "inequity-aversion, large steps"))
    }
    report.write_comparison_figures(compare_runs(runs), folder)


def overview(folder: Path) -> None:
    names = ("selfish", "prosocial", "fixed", "tos")
    rows = {game: {name: made_up(game) for name in names} for game in ("chicken", "escape-room")}
    returns = np.random.default_rng(0).normal(0, 1, (4, 4))
    rows["irrigation"] = {name: made_up("irrigation", name, returns=returns) for name in names}
    report.write_overview(rows, folder / "overview.png", gains=["irrigation"])


def tuner(folder: Path) -> None:
    history = History()
    for step in range(5):
        history.add(step, {name: step + place for place, name in enumerate("abcd")}, 1 / (1 + step))
    report.write_weights_figure(history, folder / "weights.png")


def estimators(folder: Path) -> None:
    report.write_comparison(COMPARISON, folder, "tos on chicken")


def schelling(folder: Path) -> None:
    agents = np.array([[[0.0, 2.0, 5.0]], [[1.0, 1.5, 9.0]]])
    for count in (1, 2, 3):
        means = agents + np.arange(count)[None, :, None]
        parts = (Estimated(mean, np.full_like(mean, 0.2)) for mean in means)
        average = Estimated(np.array([0.0, 3.0, 2.0, 6.0]), np.full(4, 0.1))
        labels = ("all",) if count == 1 else tuple(map(str, range(count)))
        data = ScriptedSchelling(labels, 3, 64, *parts, average)
        with report.style():
            report.save(schelling_figure(data, "a-game", "reward per episode"), folder / "schelling.png")


def surrogates(folder: Path) -> None:
    names, numbers = ("reinforce", "dice", "loaded-dice"), ((1, 16), (1, 64), (2, 16), (2, 64))
    found = [
        Deviation(
            surrogate=name, inner_steps=steps, episodes=episodes, samples=9, bias=0.1, deviation=0.2, exact=1
        )
        for name in names
        for steps, episodes in numbers
    ]
    write_figure(found, folder / "surrogates.png")


def training_modes(folder: Path) -> None:
    labels = ("joint", "costly", "delayed-cost", "retrained")
    games = {game: {label: made_up(game) for label in labels} for game in ("chicken", "escape-room")}
    write_ways(games, (), folder / "ways.png")


def benchmarks(folder: Path) -> None:
    write_figures(Results.load(BENCHMARKS), folder)


def noisy_digits(folder: Path) -> None:
    random = np.random.default_rng(0)
    wrong = np.arange(200) < 80
    steps = np.arange(0.0, 200.0, 10)

    def trial(place: int, *, weighs: bool) -> Trial:
        curve = 70 + place + 20 * (1 - np.exp(-steps / 50)) + random.normal(0, 1, len(steps))
        measures = {"test accuracy (%)": float(curve[-1]), "wrong / right weight": 0.3, "detection AUC": 0.9}
        weights = np.where(wrong, 0.4, 1.4) * random.uniform(0, 2, 200)
        arrays = {"weights": weights, "wrong": wrong} if weighs else {}
        return Trial(
            measures, {"test accuracy (%)": list(curve), "test accuracy (%) at": list(steps)}, arrays
        )

    task = NoisyDigits()
    for names in (list(task.weightings), ["uniform"]):
        weighing = {"learned", "learned-after", "reweight"}
        trials = {
            name: [trial(place, weighs=name in weighing) for _ in range(3)]
            for place, name in enumerate(names)
        }
        task.draw(trials, folder / f"noisy-digits-{len(names)}.png")


def auxiliary_digits(folder: Path) -> None:
    random = np.random.default_rng(0)
    steps = np.arange(0.0, 200.0, 10)
    ends = {"digit": 1.0, "pair": 0.5, "noise": 0.02, "shifted": 0.005}

    def trial(place: int) -> Trial:
        curves = {name: list(end ** (steps / 200) * random.uniform(0.9, 1.1)) for name, end in ends.items()}
        curves |= {f"{name} at": list(steps) for name in ends}
        return Trial({"test error (%)": 3 + place + random.uniform(0, 2)}, curves)

    task = AuxiliaryDigits()
    for names in (list(task.weightings), ["single"]):
        trials = {name: [trial(place) for _ in range(4)] for place, name in enumerate(names)}
        task.draw(trials, folder / f"auxiliary-digits-{len(names)}.png")


def world_model(folder: Path) -> None:
    random = np.random.default_rng(0)
    steps = np.arange(0.0, 6000.0, 400)
    losses = ("reconstruction", "dynamics", "policy", "value", "entropy")

    def trial(place: int, *, learned: bool) -> Trial:
        curves = {"return": list(20 + place * steps / 200 + random.normal(0, 5, len(steps)))}
        if learned:
            curves |= {f"weight of {name}": list(1 + k * steps / 6000) for k, name in enumerate(losses)}
        return Trial({"return": 20.0}, curves | {f"{name} at": list(steps) for name in curves})

    task = WorldModelTask()
    for names in (list(task.weightings), ["fixed"]):
        trials = {
            name: [trial(place, learned=name == "learned") for _ in range(3)]
            for place, name in enumerate(names)
        }
        task.draw(trials, folder / f"world-model-{len(names)}.png")


def vision_language_action(folder: Path) -> None:
    random = np.random.default_rng(0)
    task, steps = VisionLanguageAction(), np.arange(0.0, 200.0, 10)

    def trial(name: str) -> Trial:
        measures = {measure.name: float(random.uniform(40, 90)) for measure in task.measures}
        losses = ("action", "alignment", "reconstruction") if name == "learned" else ()
        curves = {loss: list(np.exp(steps / 100 * random.normal())) for loss in losses}
        return Trial(measures, curves | {f"{loss} at": list(steps) for loss in losses})

    for names in (list(task.weightings), ["equal"]):
        trials = {name: [trial(name) for _ in range(4)] for name in names}
        task.draw(trials, folder / f"vision-language-action-{len(names)}.png")


def two_color_grid(folder: Path) -> None:
    random, task = np.random.default_rng(0), TwoColorGrid()
    names = {TOTAL: 200, "reward per step": 50, "weight of the entropy": 50}

    def trial(place: int) -> Trial:
        curves: dict[str, list[float]] = {}
        for name, points in names.items():
            at = np.linspace(1.0, 1e5, points)
            curves |= {name: list(place + at / 1e5 + random.normal(0, 0.05, points)), f"{name} at": list(at)}
        return Trial({TOTAL: 1.0}, curves)

    for some in (list(task.weightings), ["fixed"]):
        trials = {name: [trial(place) for _ in range(3)] for place, name in enumerate(some)}
        task.draw(trials, folder / f"two-color-grid-{len(some)}.png")


def actor_critic(folder: Path) -> None:
    random, task = np.random.default_rng(0), ActorCriticTask()
    at = np.linspace(1.0, 1e5, 60)

    def trial(place: int) -> Trial:
        curves = {name: list(place + at / 1e5 + random.normal(0, 0.05, 60)) for name in ("return", *SHOWN)}
        return Trial({"return": 1.0}, curves | {f"{name} at": list(at) for name in curves})

    for some in (list(task.weightings), ["fixed"]):
        trials = {name: [trial(place) for _ in range(3)] for place, name in enumerate(some)}
        task.draw(trials, folder / f"actor-critic-{len(some)}.png")


KINDS: tuple[Callable[[Path], None], ...] = (
    run,
    comparison,
    comparison_of_many,
    overview,
    tuner,
    estimators,
    schelling,
    surrogates,
    training_modes,
    benchmarks,
    noisy_digits,
    auxiliary_digits,
    world_model,
    vision_language_action,
    two_color_grid,
    actor_critic,
)


@pytest.mark.parametrize("draw", KINDS, ids=lambda draw: draw.__name__)
def test_every_kind_of_figure_is_legible(draw: Callable[[Path], None], tmp_path: Path) -> None:
    with recorded() as figures:
        draw(tmp_path)
    assert figures
    assert [problem for figure in figures for problem in problems(figure)] == []


def faulty(change: Callable[[Figure], None]) -> list[str]:
    """Problems of a figure that has none before this change."""
    with report.style():
        figure = Figure(figsize=(5, 4))
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=report.BLUE, label="one")
        axes.plot([0, 1], [0.1, 1], color=report.RED, linestyle="--", label="two")
        axes.set_title("a title")
        figure.legend(loc="outside right upper")
    assert problems(figure) == []
    change(figure)
    return problems(figure)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda figure: figure.axes[0].lines[0].set_color("#E69F00"), "The line 'one' has a contrast of 2.2"),
        (lambda figure: figure.axes[0].lines[0].set_alpha(0.3), "The line 'one' has a contrast"),
        (lambda figure: figure.axes[0].title.set_color("#AAAAAA"), "The text 'a title' has a contrast"),
        (lambda figure: figure.axes[0].set_title("word " * 40), "is cut off"),
        (lambda figure: figure.axes[0].legend(loc="lower left"), "lies over 'one'"),
        (
            lambda figure: figure.legends[0].legend_handles[1].set_linestyle("-"),
            "'one' and 'two' look alike (greyscale",
        ),
    ],
)
def test_faults_are_found(change: Callable[[Figure], None], words: str) -> None:
    assert any(words in problem for problem in faulty(change))


def test_lines_that_differ_by_color_alone_are_found_if_some_eyes_do_not_tell_them_apart() -> None:
    with report.style():
        figure = Figure()
        axes = figure.subplots()
        axes.plot([0, 1], color="#C00000", label="red")
        axes.plot([1, 0], color="#007000", label="green")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        (found,) = problems(figure)
        assert "'red' and 'green' look alike" in found


def test_simulated_eyes_keep_white_and_greys_and_contrast_is_that_of_the_guidelines() -> None:
    assert contrast("black") == pytest.approx(21)
    assert contrast("#767676") == pytest.approx(4.54, abs=0.01)
    for matrix in SIMULATED.values():
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-5)
    assert distance("#808080", "#808080", "deuteranopia") == 0
    assert distance("black", "white", "greyscale") == pytest.approx(100, abs=0.1)
    np.testing.assert_allclose(linear(("black", 0.5)), linear("#808080"), atol=0.01)


def test_the_palette_shows_on_white() -> None:
    palette = ("AMBER", "BLACK", "BLUE", "GRAY", "GREEN", "PURPLE", "RED", "SKY", "YELLOW")
    assert {
        name: contrast(getattr(report, name)) for name in palette if contrast(getattr(report, name)) < 3
    } == {}


def has_legible_frames(name: str) -> bool:
    return type(games.entry(name).game).__module__.startswith(
        ("games.networked.", "games.matrix.", "games.grid.")
    )


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", [name for name in games.names() if has_legible_frames(name)])
def test_frames_of_games_are_legible(name: str, seed: int) -> None:
    game = games.make(name)
    found = frame_problems(lambda: picture(game, torch.Generator().manual_seed(seed)))
    if name == "stag-hunt-grid":  # agents stand on animals, and hide their letters
        found = [problem for problem in found if not problem.endswith("is covered.")]
    assert found == []


def faulty_frame(
    text: str = "words", place: tuple[float, float] = (10, 20), color: str = "#333333"
) -> list[str]:
    def draw() -> np.ndarray:
        pen = Pen(100, 60)
        pen.text(place, text, size=12, color=color, anchor="lm")
        draw_key(pen, [(lambda pen, corner, side: pen.circle((13, 45), 6, fill="#C00000"), "red")], 34, 100)
        return pen.picture()

    return frame_problems(draw)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, None),
        ({"color": "#CCCCCC"}, "The text 'words' has a contrast of 1.6"),
        ({"text": "words " * 9}, "is cut off at the frame's edge"),
        ({"place": (0, 45)}, "The text 'words' is covered"),
    ],
)
def test_faults_of_frames_are_found(settings: dict[str, Any], sentence: str | None) -> None:
    found = faulty_frame(**settings)
    assert (found == []) if sentence is None else any(sentence in problem for problem in found)


def test_symbols_of_a_key_that_differ_by_color_alone_are_found() -> None:
    def disc(fill: str) -> Symbol:
        return lambda pen, corner, side: pen.circle((corner[0] + 9, corner[1] + 9), 8, fill=fill)

    def draw(*fills: str) -> Callable[[], np.ndarray]:
        def frame() -> np.ndarray:
            pen = Pen(200, 26)
            draw_key(pen, [(disc(fill), fill) for fill in fills], 0, 200)
            return pen.picture()

        return frame

    (found,) = frame_problems(draw("#C00000", "#007000"))
    assert "'#C00000' and '#007000' look alike" in found
    assert frame_problems(draw("#0072B2", "#FFFFFF")) == []

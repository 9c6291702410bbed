"""The study of sampled hypergradients: what it measures, prints, draws and refuses."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import tyro

from bilevel.methods import ToS
from docs.studies import surrogate_bias as deviation
from docs.studies.surrogate_bias import (
    Deviation,
    Study,
    main,
    measure_deviation,
    run_study,
    table_head,
    table_row,
    write_figure,
)
from games.matrix import FiniteRepeatedGame

ROOT = Path(__file__).resolve().parents[3]
GAME = FiniteRepeatedGame(discount=0.7, horizon=12)
LONG = FiniteRepeatedGame(discount=0.96, horizon=50)


def measured(surrogate: str, **settings) -> Deviation:
    """From the start of docs/studies/sampled-hypergradients.md: bent policies, a weak sharing."""
    chosen = {"inner.steps": 2, "inner.learning_rate": 5.0, "inner.episodes": 64} | settings
    game, samples = chosen.pop("game", GAME), chosen.pop("samples", 400)
    method = ToS(own_share=0.95).with_settings({"inner.surrogate": surrogate, **chosen})
    return measure_deviation(method, game, logit=-1.5, samples=samples)


def test_the_margin_is_that_of_a_95_percent_interval() -> None:
    found = Deviation(
        surrogate="dice", inner_steps=1, episodes=2, samples=400, bias=0.0, deviation=0.5, exact=1.0
    )
    assert found.margin == pytest.approx(1.96 * 0.5 / 20, rel=1e-12)


def test_through_one_step_all_surrogates_are_the_same() -> None:
    found = [
        measured(name, **{"inner.steps": 1, "samples": 20}) for name in ("reinforce", "dice", "loaded-dice")
    ]
    assert found[0].deviation > 0.01
    for other in found[1:]:
        assert other.bias == pytest.approx(found[0].bias, abs=1e-10)
        assert other.deviation == pytest.approx(found[0].deviation, abs=1e-10)


def test_the_same_seed_gives_the_same_numbers_and_so_do_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    first = measured("dice", samples=10)
    assert measured("dice", samples=10) == first
    sizes = []
    build = ToS.build

    def counted(method, game, placement):
        sizes.append(placement.seeds)
        return build(method, game, placement)

    monkeypatch.setattr(ToS, "build", counted)
    monkeypatch.setattr(deviation, "MOST_STEPS_AT_ONCE", 4 * GAME.horizon * 64)
    parts = measured("dice", samples=10)
    assert sizes == [1, 4, 4, 2]  # the exact one, then the samples
    assert parts.exact == first.exact
    assert first.deviation / 3 < parts.deviation < 3 * first.deviation


@pytest.mark.slow
def test_reinforce_is_biased_through_two_steps_and_dice_is_not() -> None:
    """Measured with 1000 samples: +30.0 +- 1.4 %, -0.5 +- 1.9 % and +1.7 +- 1.2 % (first table)."""
    found = {name: measured(name) for name in ("reinforce", "dice", "loaded-dice")}
    assert all(one.margin < 0.035 for one in found.values())
    assert 0.25 < found["reinforce"].bias < 0.35
    for name in ("dice", "loaded-dice"):
        assert abs(found[name].bias) < 1.5 * found[name].margin
    assert found["loaded-dice"].deviation < 0.8 * found["dice"].deviation


@pytest.mark.slow
def test_few_episodes_bias_every_surrogate_and_many_do_not() -> None:
    """Through one step: -10.6 +- 1.6 % with 16 episodes, -0.7 +- 0.4 % with 256 (first table)."""
    few, many = (
        measured("reinforce", **{"inner.steps": 1, "inner.episodes": count}, samples=200)
        for count in (16, 256)
    )
    assert few.bias + few.margin < -0.04
    assert abs(many.bias) < 0.03


@pytest.mark.slow
def test_in_long_episodes_the_baseline_of_dice_is_not_enough() -> None:
    """The second table of sampled-hypergradients.md: several times the noise, from 50 steps on."""
    plain, loaded = (
        measured(name, **{"game": LONG, "inner.learning_rate": 0.2, "samples": 60})
        for name in ("dice", "loaded-dice")
    )
    assert plain.deviation > 4 * loaded.deviation
    assert abs(loaded.bias) < 2 * loaded.margin < 0.08


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="A deviation needs 2 samples or more, not 1"):
        measure_deviation(ToS(), GAME, logit=0.0, samples=1)
    with pytest.raises(ValueError, match="The exact hypergradient is 0 here"):
        measure_deviation(ToS(), GAME, logit=-1000.0, samples=2)
    with pytest.raises(ValueError, match="episodes must name at least one case"):
        Study(episodes=())
    with pytest.raises(ValueError, match=r"figure must be a name that ends in \.png, \.pdf, \.svg, not bias"):
        Study(figure=Path("bias"))
    with pytest.raises(ValueError, match=r"inner\.steps must be a whole number, 1 or more, not 0"):
        next(run_study(Study(inner_steps=(1, 0))))  # before anything is measured


def test_the_study_goes_through_its_cases_and_draws_them(tmp_path: Path) -> None:
    study = Study(surrogates=("dice", "reinforce"), inner_steps=(1, 2), episodes=(2, 4), samples=3, horizon=2)
    found = list(run_study(study))
    cases = [(one.inner_steps, one.episodes, one.surrogate) for one in found]
    assert cases[:3] == [(1, 2, "dice"), (1, 2, "reinforce"), (1, 4, "dice")]
    assert len(set(cases)) == 8
    assert {one.samples for one in found} == {3}
    picture = write_figure(found, tmp_path / "bias.png")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_row_has_a_cell_for_every_title() -> None:
    found = [
        Deviation(surrogate=name, inner_steps=3, episodes=8, samples=100, bias=b, deviation=0.5, exact=1.0)
        for name, b in (("reinforce", 0.25), ("dice", -0.0125))
    ]
    titles, dashes = table_head(["reinforce", "dice"]).splitlines()
    row = table_row(found)
    assert row == "| 3 | 8 | +25.0 % ± 9.8 % | 50 % | -1.2 % ± 9.8 % | 50 % |"
    assert {line.count("|") for line in (titles, dashes, row)} == {7}


def test_the_commands_of_the_page_parse() -> None:
    text = (ROOT / "docs/studies/sampled-hypergradients.md").read_text(encoding="utf-8")
    text = text.replace("\\\n", " ").replace("$horizon", "25")  # the variable of a loop
    commands = re.findall(r"^ *python -m docs\.studies\.surrogate_bias(.*)$", text, re.MULTILINE)
    assert len(commands) >= 2
    for arguments in commands:
        tyro.cli(Study, args=shlex.split(arguments))


SMALL = ["--samples", "8", "--horizon", "3", "--inner-steps", "1", "--episodes", "8"]


def test_the_command_prints_a_table_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*SMALL, "--figure", str(tmp_path / "bias.svg")])
    titles, _, row = capsys.readouterr().out.splitlines()
    assert titles.count("|") == row.count("|") == 9
    assert (tmp_path / "bias.svg").exists()


def test_the_command_says_what_is_wrong_in_one_sentence() -> None:
    with pytest.raises(SystemExit, match=r"^own_share is above 0 and below 1 .*, not 1\.5\.$"):
        main([*SMALL, "--own-share", "1.5"])


def test_draws_do_not_touch_the_global_stream() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    measured("dice", samples=2)
    assert torch.equal(torch.get_rng_state(), before)

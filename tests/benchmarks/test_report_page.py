"""The report, written from numbers made up for the purpose."""

import re

import pytest

from tests.benchmarks.__main__ import Bench, chosen, main
from tests.benchmarks.experiments import EXPERIMENTS, MILLION
from tests.benchmarks.report.page import write_report
from tests.benchmarks.report.results import Results
from tests.benchmarks.report.tables import number, rate_table, time_tables
from tests.benchmarks.report.targets import LEAN, OURS, SEGMENTS, Target, fit_square_root, targets

ABOUT = {
    "command": "python -m tests.benchmarks",
    "date": "2026-01-02",
    "commit": "abc1234",
    "processor": "Made Up 9000",
    "cores": 2,
    "instructions": "AVX2",
    "memory_gb": 8.0,
    "system": "Linux",
    "versions": {"torch": "2.13.0", "jax": "not installed"},
}
SLOWER = {"ours": 1.0, "autograd": 40.0, "TorchOpt": 40.0, "higher": 29.0, "JAX": 12.0}
"""How many times slower than ours, compiled, each library is; ours, eager is three times."""


def timed(name, size, steps, milliseconds=1.0):
    rows = []
    for variant in EXPERIMENTS[name].variants:
        slower = 3.0 if "eager" in variant.name else SLOWER[variant.library]
        row = {
            "experiment": name,
            "size": size,
            "steps": steps,
            "variant": variant.name,
            "threads": 1 + (size > 1024),
        }
        row |= {"library": variant.library, "median": 1e-3 * milliseconds * slower}
        rows.append(row)
    return rows


def remembered(per_root_step, name="network"):
    rows = []
    for steps in (10, 100, 1000):
        for variant in EXPERIMENTS[name].variants:
            used = (
                1e7 + per_root_step * steps**0.5
                if "segments" in variant.name or "180 MB" in variant.name
                else 1.6e7 * steps
            )
            rows.append({"size": MILLION, "steps": steps, "variant": variant.name, "bytes": int(used)})
    return rows


@pytest.fixture
def results():
    errors = [
        {"variant": OURS, "error": 1e-15, "size": 1, "steps": 10},
        {"variant": "TorchOpt, modules", "error": 3e-14, "size": 1, "steps": 10},
    ]
    compiling = [
        {
            "experiment": "unrolled",
            "size": 1024,
            "cold": 44.0,
            "packages": 3,
            "again": 2.0,
            "warm": 0.001,
            "found": 0.02,
            "loaded": 3,
        },
        {
            "experiment": "policies",
            "size": 8,
            "cold": 71.0,
            "packages": 3,
            "again": 0.04,
            "warm": 0.01,
            "found": 0.04,
            "loaded": 3,
        },
    ]
    return Results(
        {
            "unrolled": {
                "about": ABOUT,
                "errors": errors,
                "times": [
                    row
                    for steps in (10, 100)
                    for size in (1, 1024, 8192)
                    for row in timed("unrolled", size, steps, steps / 10)
                ],
                "notes": ["unrolled: somebody was left out."],
            },
            "network": {
                "about": ABOUT,
                "times": timed("network", MILLION, 1000),
                "memory": remembered(5e6),
                "errors": [],
            },
            "network, far": {
                "about": ABOUT,
                "times": timed("network, far", MILLION, 1000),
                "memory": remembered(5e6, "network, far"),
                "errors": [],
            },
            "compiling": {
                "about": ABOUT,
                "compiling": compiling,
                "reseeding": [{"size": 2048, "first_call": 0.01, "packages": 0}],
            },
            "accuracy": {
                "about": ABOUT,
                "accuracy": [
                    {"estimator": "forward, sgd", "against": "differences", "error": 2e-9, "most": 1e-7}
                ],
            },
        }
    )


def verdicts(results):
    return {target.text: target for target in targets(results)}


def test_targets_compare_the_fastest_of_each_library_with_ours_compiled(results):
    found = verdicts(results)
    fast = found["unrolled, K = 10, 1024 seeds: faster than TorchOpt"]
    assert (fast.measured, fast.verdict) == (pytest.approx(40.0), "reached")
    slow = found["unrolled, K = 10, 1024 seeds: faster than higher"]
    assert (slow.measured, slow.verdict) == (pytest.approx(29.0), "**missed**")
    assert found["policies, K = 5, 8 agents: faster than JAX"].verdict == "not measured"


def test_targets_of_memory_and_of_time(results):
    found = verdicts(results)
    ratio = found["network, K = 1000, in 180 MB of states: less memory than the leanest plain unroll"]
    assert ratio.measured == pytest.approx(1.6e10 / (1e7 + 5e6 * 1000**0.5), rel=1e-6)
    assert found["network, K = 1000, segments: memory over the model"].measured == pytest.approx(
        10 + 5 * 1000**0.5, rel=1e-6
    )
    assert found["network: R^2 of memory = a + b sqrt(K)"].measured == pytest.approx(1.0)


def test_targets_of_games(results):
    results.parts["coin game"] = {
        "about": ABOUT,
        "errors": [],
        "times": [
            {"experiment": "coin game", "size": 4096, "steps": 100, "variant": name, "library": "-"}
            | {"median": seconds, "threads": 2}
            for name, seconds in (("ours, eager", 0.02), ("NumPy, one copy at a time", 4.0))
        ],
    }
    found = verdicts(results)
    rate = found["coin game, 4096 copies: agent steps per second"]
    assert (rate.measured, rate.verdict) == (pytest.approx(2 * 4096 * 100 / 0.02 / 1e6), "reached")
    assert found["coin game: faster than NumPy, one copy at a time"].measured == pytest.approx(200)
    assert found["cleanup 7x7, 4096 copies: agent steps per second"].verdict == "not measured"
    assert "| 4096 | 2 | 41.0 |" in rate_table(results, "coin game")


def test_targets_of_compiling(results):
    found = verdicts(results)
    assert found["compiling: the slowest case, cold"].verdict == "**missed**"
    assert found["compiling: first package of a second process"].measured == 2.0
    further = found["compiling: each further package, the slowest case"]
    assert (further.measured, further.verdict) == (pytest.approx(10.0), "reached")
    assert found["compiling: packages built for other numbers of seeds"].verdict == "reached"


def test_without_numbers_every_target_is_not_measured():
    assert {target.verdict for target in targets(Results())} == {"not measured"}


@pytest.mark.parametrize(
    ("measured", "at_most", "verdict"),
    [(2.0, False, "reached"), (1.9, False, "**missed**"), (2.0, True, "reached"), (2.1, True, "**missed**")],
)
def test_a_bound_itself_is_reached(measured, at_most, verdict):
    assert Target("x", 2.0, measured, at_most).verdict == verdict


def test_a_time_table_shows_milliseconds_ratios_and_the_error(results):
    lines = time_tables(results, "unrolled").splitlines()
    assert lines[0] == "K = 10"
    assert lines[2] == "| ms | 1 seeds | 1024 seeds | 8192 seeds, 2 cores | error |"
    assert "| TorchOpt, modules | 40.0 (40.0) | 40.0 (40.0) | 40.0 (40.0) | 3e-14 |" in lines
    assert lines.count("") == 3


def test_the_page_is_whole_and_its_figures_are_there(results, tmp_path):
    path = write_report(results, tmp_path)
    text = path.read_text(encoding="utf-8")
    assert "Made Up 9000" in text
    assert "somebody was left out" in text
    assert "None" not in text
    assert "nan" not in text
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert sorted(pictures) == [
        "memory_against_steps.png",
        "time_against_seeds.png",
        "time_against_steps.png",
    ]
    assert all((tmp_path / picture).stat().st_size > 10_000 for picture in pictures)


def test_parts_from_two_commits_say_so(results, tmp_path):
    results.parts["network"]["about"] = {**ABOUT, "commit": "fffffff"}
    text = write_report(results, tmp_path).read_text(encoding="utf-8")
    assert "* unrolled, network, far, compiling, accuracy: `python -m tests.benchmarks`" in text
    assert "* network: " in text


def test_numbers_survive_the_disk_and_the_report_is_rebuilt_from_them(results, tmp_path):
    results.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == results
    assert main(Bench(report=True, out=tmp_path)) == 0
    first = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert first == write_report(results, tmp_path).read_text(encoding="utf-8")


def test_a_wrong_gradient_is_an_exit_code(results, tmp_path):
    results.parts["unrolled"]["notes"] = ["unrolled, K = 10, size 1: higher gave ANOTHER GRADIENT (1e-01)."]
    results.save(tmp_path / "results.json")
    assert main(Bench(report=True, out=tmp_path)) == 1


def test_nothing_measured_is_refused(tmp_path):
    with pytest.raises(ValueError, match="There is nothing to report"):
        write_report(Results(), tmp_path)


def test_update_rules_are_a_table_of_ratios(results, tmp_path):
    rows = [{"rule": "lola", "seeds": 1024, "batch": 0.02, "by_hand": 0.005}]
    assert "## Update rules" not in write_report(results, tmp_path).read_text(encoding="utf-8")
    results.parts["update rules"] = {"about": ABOUT, "update rules": rows}
    text = write_report(results, tmp_path).read_text(encoding="utf-8")
    assert "| lola | 1024 | 20.0 | 5.00 | 5120 | 256 |" in text
    assert '--only "update rules"' in text


def test_parts_are_chosen_by_name():
    assert list(chosen(Bench(only=("network, momentum", "accuracy")))) == ["accuracy", "network, momentum"]
    assert "network, momentum" not in chosen(Bench())
    with pytest.raises(ValueError, match="There is nothing called 'netwrok' to measure"):
        chosen(Bench(only=("netwrok",)))


def test_fit_needs_three_points_and_finds_the_law():
    assert fit_square_root({10: 1, 100: 2}) is None
    constant, slope, quality = fit_square_root({k: 7 + 3 * k**0.5 for k in (10, 100, 1000)})
    assert (constant, slope, quality) == (pytest.approx(7.0), pytest.approx(3.0), pytest.approx(1.0))
    linear = fit_square_root({k: 5 * k for k in (10, 100, 1000)})
    assert linear[2] < 0.98


def test_numbers_have_three_digits():
    assert [number(value) for value in (0.0, 0.00123, 999.4, 999.6, 12345.0)] == [
        "0.00",
        "0.00123",
        "999",
        "1000",
        "12345",
    ]


def test_the_segments_variants_of_the_targets_exist():
    assert SEGMENTS in {variant.name for variant in EXPERIMENTS["network"].variants}
    assert LEAN in {variant.name for variant in EXPERIMENTS["network, far"].variants}
    for name in ("unrolled", "policies"):
        assert EXPERIMENTS[name].variants[0].name == OURS

"""config.json is the whole configuration: every game and method comes back, what does not fit is refused."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

import games
from bilevel.core import fits
from bilevel.experiments import LARGEST_SEED, RunConfig, create_run, default_config, load_config
from bilevel.experiments._config import ADDED
from bilevel.hypergradient import ESTIMATORS, Unrolled, make_hypergradient, register_hypergradient
from bilevel.methods import METHODS


def edited(folder: Path, **changes: Any) -> Path:
    """The config.json of a fresh run, with some entries replaced; a dot leads into a nested one."""
    path = create_run(default_config("repeated-chicken", "tos"), folder / "run").config
    saved = json.loads(path.read_text())
    for name, value in changes.items():
        *outer, last = name.split("__")
        place = saved
        for word in outer:
            place = place[word]
        place[last] = value
    path.write_text(json.dumps(saved))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=re.escape(str(path))) as refused:
        load_config(path)
    return str(refused.value)


@pytest.mark.parametrize("game", games.names())
def test_every_game_comes_back(game: str, tmp_path: Path) -> None:
    config = default_config(game, "selfish")
    assert load_config(create_run(config, tmp_path / "run").config) == config


@pytest.mark.parametrize("method", METHODS)
def test_every_method_comes_back_with_changed_settings(method: str, tmp_path: Path) -> None:
    tables = method in ("coala-pg", "m-fos", "meva")  # of two agents
    config = default_config("repeated-chicken" if tables else "escape-room", method)
    changes: dict[str, Any] = {"inner.learning_rate": 0.1 + 0.2}
    if tables:
        changes |= {"policy": "tabular", "policy.initial_scale": 0.1 + 0.2}
    elif hasattr(config.method, "policy"):
        changes |= {"policy": "mlp", "policy.hidden_size": (8, 4), "inner.entropy_coef": "0:0.3, 20:0.1"}
    changed_game: dict[str, Any] = {"agents": 3, "random_start": True}
    config = dataclasses.replace(
        config,
        seeds=2,
        seed=LARGEST_SEED,
        dtype="float64",
        game=config.game if tables else dataclasses.replace(config.game, **changed_game),
        method=config.method.with_settings(changes),
    )
    assert load_config(create_run(config, tmp_path / "run").config) == config


@pytest.mark.parametrize("name", ADDED)
def test_runs_without_a_newer_setting_have_the_value_from_before_it(name: str, tmp_path: Path) -> None:
    game, method = {
        "game.noise": ("aid", "selfish"),
        "method.action_inputs": ("escape-room", "lio"),
        "method.follow_graph": ("aid", "fixed"),
        "method.policy.initial_scale": ("chicken", "tos"),
    }.get(name, ("escape-room", "tos"))
    config = default_config(game, method)
    if name.startswith("method.policy"):
        config = dataclasses.replace(config, method=config.method.with_settings({"policy": "tabular"}))
    if name.startswith("method.inner"):
        config = dataclasses.replace(config, method=config.method.with_settings({"inner": "ppo"}))
    path = create_run(config, tmp_path / "run").config
    saved = json.loads(path.read_text())
    *outer, last = name.split(".")
    within = saved
    for part in outer:
        within = within[part]
    assert within.pop(last) == ADDED[name]
    path.write_text(json.dumps(saved))
    assert load_config(path) == config


def test_nested_settings_come_back(tmp_path: Path) -> None:
    config = default_config("repeated-chicken", "tos")
    stage = dataclasses.replace(config.game.stage, punishment=-4.5, names=("a", "b"))  # type: ignore[attr-defined]
    config = dataclasses.replace(config, game=dataclasses.replace(config.game, stage=stage))  # type: ignore[call-arg]
    assert load_config(create_run(config, tmp_path / "run").config) == config


ESTIMATOR_TEXTS = [
    "truncated(steps=5)",
    "implicit(solver=normal-cg, max_distance=inf)",
    "one-step",
    "evolution(samples=8, sigma=0.30000000000000004)",
]


@pytest.mark.parametrize("text", ESTIMATOR_TEXTS)
def test_every_estimator_comes_back_as_text_or_object(text: str, tmp_path: Path) -> None:
    for number, given in enumerate((text, make_hypergradient(text))):
        config = default_config("repeated-chicken", "tos")
        method = config.method.with_settings({"outer.hypergradient": given, "outer.reset": "each-outer-step"})  # type: ignore[call-arg]
        config = dataclasses.replace(config, method=method)
        path = create_run(config, tmp_path / str(number)).config
        assert load_config(path) == config
        saved = json.loads(path.read_text())["method"]["outer"]
        assert (saved["hypergradient"], saved["reset"]) == (text, "each-outer-step")


@dataclass(frozen=True)
class Mine(Unrolled):
    """An estimator that has no name, until it is given one."""

    scale: float = 1.0


def test_an_estimator_without_a_name_cannot_be_saved(tmp_path: Path) -> None:
    config = default_config("repeated-chicken", "tos")
    method = config.method.with_settings({"outer.hypergradient": Mine(scale=2.0)})  # type: ignore[call-arg]
    config = dataclasses.replace(config, method=method)
    for save in (config.to_json, lambda: create_run(config, tmp_path / "run")):
        with pytest.raises(ValueError, match=r"Mine has no name .* register_hypergradient\(name, Mine\)"):
            save()
    assert not list(tmp_path.iterdir())
    register_hypergradient("mine", Mine)
    path = create_run(config, tmp_path / "run").config
    assert load_config(path) == config
    assert json.loads(path.read_text())["method"]["outer"]["hypergradient"] == "mine(scale=2.0)"
    del ESTIMATORS["mine"]  # as in another process
    assert "There is no hypergradient 'mine'" in refusal(path)


def test_provenance_is_recorded(tmp_path: Path) -> None:
    saved = json.loads(create_run(default_config("chicken", "tos"), tmp_path / "run").config.read_text())
    assert saved["versions"].keys() >= {"bilevel", "python", "torch", "numpy"}
    assert saved["commit"] is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", saved["commit"])


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("seeds", 0, "seeds must be 1 or more, not 0."),
        ("seeds", 2.5, "seeds must be of the type int, but it is 2.5."),
        ("seeds", True, "seeds must be of the type int, but it is True."),
        ("dtype", "float16", "dtype must be"),
        ("game_name", "chickn", "did you mean 'chicken'"),
        ("game_name", 3, "game_name must be a name"),
        ("method_name", "toss", "did you mean 'tos'"),
        ("method", 3, "method must be an object"),
        ("method__inner__learning_rate", -1, "inner.learning_rate must be"),
        (
            "method__sharing",
            {"variant": "state-dependent", "hidden_size": [32, "x"], "activation": "tanh", "interval": 1},
            "method.sharing.hidden_size must be of the type tuple[int, ...]",
        ),
        ("method__own_share", "half", "method.own_share must be of the type float | None"),
        (
            "method__outer__hypergradient",
            "trunc",
            "There is no hypergradient 'trunc'. Did you mean 'truncated'",
        ),
        ("method__outer__hypergradient", "truncated", "needs the setting 'steps'"),
        (
            "method__outer__hypergradient",
            {"steps": 3},
            "method.outer.hypergradient must be of the type Estimator",
        ),
        (
            "method__outer__reset",
            "always",
            "method.outer.reset must be of the type Literal['never', 'each-outer-step']",
        ),
        ("method__policy__variant", "mpl", "no method.policy 'mpl'. Did you mean 'mlp'"),
        ("method__policy", 3, "method.policy must be an object"),
        ("format", "bilevel-run/1", "settings are not in parts"),
        ("method__mystery", 1, "There is no setting method.mystery."),
        ("game__stage__punishment", "low", "game.stage.punishment must be of the type float"),
        ("game__stage__names", ["one"], "game.stage.names must be of the type tuple[str, str]"),
        ("game__discount", 1.5, "discount must lie in [0, 1)"),
        ("format", "bilevel-run/9", "form bilevel-run/2 (it says 'bilevel-run/9')"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, value: Any, says: str, tmp_path: Path) -> None:
    assert says in refusal(edited(tmp_path, **{name: value}))


def test_a_missing_setting_takes_no_default(tmp_path: Path) -> None:
    path = edited(tmp_path)
    saved = json.loads(path.read_text())
    del saved["game"]["stage"]["sucker"]
    path.write_text(json.dumps(saved))
    assert "The setting game.stage.sucker is missing." in refusal(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\udcff"])
def test_damaged_json_is_refused(text: str, tmp_path: Path) -> None:
    path = edited(tmp_path)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    refusal(path)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is not a run folder: it has no config.json\."):
        load_config(tmp_path / "config.json")


def test_a_game_under_another_ones_name_makes_no_folder(tmp_path: Path) -> None:
    config = default_config("prisoners-dilemma", "tos")
    config = dataclasses.replace(config, game=games.make("public-goods"))
    with pytest.raises(ValueError, match="is not the one that prisoners-dilemma and tos name"):
        create_run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"outer_steps": 0}, "outer_steps must be 1 or more, not 0."),
        ({"seeds": 2.5}, "seeds must be a whole number, not 2.5."),
        ({"outer_steps": 3.0}, "outer_steps must be a whole number, not 3.0."),
        ({"seed": True}, "seed must be a whole number, not True."),
        ({"checkpoint_every": 0}, "checkpoint_every must be 1 or more"),
        ({"evaluation_episodes": 1}, "evaluation_episodes must be 2 or more, not 1."),
        ({"seed": -1}, "seed must be from 0"),
        ({"seed": LARGEST_SEED + 1}, "seed must be from 0"),
        ({"threads": 10**6}, "threads must be 1024 or fewer"),
        ({"device": "nonsense"}, "There is no device 'nonsense' here"),
        ({"device": "meta"}, "There is no device 'meta' here"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        dataclasses.replace(default_config("chicken", "tos"), **changes)


def test_precision_follows_the_kind_of_game() -> None:
    def dtype(game: str, **changes: Any) -> str:
        config: RunConfig = dataclasses.replace(default_config(game, "tos"), **changes)
        return str(config.placement.dtype)

    assert dtype("chicken") == "torch.float64"
    assert dtype("escape-room") == "torch.float32"
    assert dtype("chicken", dtype="float32") == "torch.float32"
    sampled = default_config("chicken", "tos").method.with_settings({"inner.exact": False})
    assert dtype("chicken", method=sampled) == "torch.float32"


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1, int, True),
        (1, float, True),
        (1.0, int, False),
        (False, float, False),
        ("a", Literal["a", "b"], True),
        ("c", Literal["a", "b"], False),
        ((), tuple[int, ...], True),
        ((1, "a"), tuple[int, str], True),
        ((1, "a", 2), tuple[int, str], False),
        ([1], tuple[int, ...], False),
        (None, int | None, True),
    ],
)
def test_fits(value: Any, hint: Any, expected: bool) -> None:
    assert fits(value, hint) is expected


def test_preset_of_an_inner_learner_only_where_the_method_has_it():
    assert default_config("routing", "tos").method.inner.variant == "ppo"
    assert default_config("routing", "aga").method.inner.variant == "policy-gradient"

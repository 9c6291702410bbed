"""The task: every router trains, curricula follow their schedule, and bad settings are refused."""

import builtins

import pytest
import torch

from bilevel.tasks import MissingPackage, Study, make_task, open_folder, run_study
from bilevel.tasks.mixture_of_experts import MixtureOfExperts, MixtureSettings
from bilevel.tasks.mixture_of_experts._task import _gradients
from bilevel.tasks.mixture_of_experts._training import ROUTERS, MixtureTraining, trainer

SMALL = {
    "steps": 40,
    "batch_size": 16,
    "learning_rate": 0.05,
    "validation_size": 16,
    "test_size": 64,
    "curriculum": "0:1, 20:1, 22:2",
}


@pytest.mark.parametrize("router", ROUTERS)
def test_every_router_trains_and_repeats_its_numbers(router):
    task, settings = MixtureOfExperts(), MixtureSettings(**SMALL)
    first, second = (task.run(settings, router, 3, lambda fraction: None) for _ in range(2))
    assert first.measures == second.measures
    assert 0 < first.measures["accuracy (%)"] < 100
    assert 1 <= first.measures["effective experts"] <= 4
    start = MixtureTraining(settings, ROUTERS[router], 3).model
    torch.manual_seed(3)
    assert all(p.requires_grad for p in start.parameters())


def test_all_routers_of_a_seed_have_the_same_states_and_initial_model():
    settings = MixtureSettings(**SMALL)
    one, other = (MixtureTraining(settings, ROUTERS[name], 0) for name in ("softmax", "top-1-bias"))
    torch.testing.assert_close(one.batch.entities, other.batch.entities)
    torch.testing.assert_close(one.test_set.actions, other.test_set.actions)
    torch.testing.assert_close(one.model.experts, other.model.experts)


def test_a_curriculum_goes_from_softmax_to_sparsemax():
    trial = MixtureOfExperts().run(MixtureSettings(**SMALL), "curriculum", 0, lambda fraction: None)
    assert trial.curves["alpha"] == [1.0] * 21 + [1.5] + [2.0] * 18
    assert trial.curves["experts per state"][0] == 4
    assert trial.curves["experts per state"][-1] < 4


def test_selection_alone_leaves_the_router_without_gradient():
    """A sparse gate of one expert is constant; a softmax probability of the best expert is not."""
    share = "states that train the router (%)"
    settings = MixtureSettings(**SMALL)
    trials = {
        name: MixtureOfExperts().run(settings, name, 0, lambda fraction: None).measures
        for name in ("softmax", "top-1", "sparsemax")
    }
    assert trials["softmax"][share] == trials["top-1"][share] == 100
    assert trials["sparsemax"][share] < 100


def test_a_single_active_expert_gives_router_and_attention_no_gradient():
    """Sparsemax of large scores selects one expert in every state; softmax of the same scores does not."""
    settings = MixtureSettings(**SMALL)
    for name, reaches in (("sparsemax", False), ("softmax", True)):
        training = MixtureTraining(settings, ROUTERS[name], 0)
        with torch.no_grad():
            training.model.router[2].weight.zero_()
            training.model.router[2].weight[1] = 0.01
            training.model.router[2].bias.copy_(torch.tensor([2.0, 0.0, 0.0, 0.0]))
        routed, attention = _gradients(training, training.test_set)
        assert routed == (100 if reaches else 0)
        assert (attention > 0) == reaches


def test_the_learning_rate_falls_to_zero():
    """The last of N steps has 1 / N of the first one's learning rate, so Adam moves a parameter that much."""
    training = MixtureTraining(MixtureSettings(**SMALL), ROUTERS["softmax"], 0)
    step, moves = trainer(training), []
    for _ in range(40):
        before = training.model.experts.detach().clone()
        step()
        moves.append(float((training.model.experts.detach() - before).abs().max()))
        training.advance()
    assert moves[0] == pytest.approx(0.05, rel=1e-3)  # Adam's first step is the learning rate
    assert moves[-1] < 3 * 0.05 / 40


def test_the_default_curriculum_has_thirds_also_in_short_trainings():
    assert [MixtureSettings(steps=9).alpha(step) for step in range(9)] == [
        *[1.0] * 4,
        pytest.approx(4 / 3),
        pytest.approx(5 / 3),
        *[2.0] * 3,
    ]
    assert MixtureSettings(steps=1).alpha(0) == 2


def test_validation_moves_alpha_and_the_balance_weight():
    trial = MixtureOfExperts().run(MixtureSettings(**SMALL), "learned", 0, lambda fraction: None)
    for name in ("alpha", "balance weight"):
        assert len(set(trial.curves[name])) == len(trial.curves[name])


@pytest.mark.slow
def test_the_router_finds_the_modes():
    settings = MixtureSettings(steps=600, test_size=1000, learning_rate=0.01)
    measures = MixtureOfExperts().run(settings, "softmax", 0, lambda fraction: None).measures
    assert measures["accuracy (%)"] > 60  # one linear policy for all modes: about 45
    assert measures["mode information (NMI)"] > 0.3


def test_the_figure_is_drawn(tmp_path):
    task, settings = MixtureOfExperts(), MixtureSettings(**SMALL)
    trials = {
        name: [task.run(settings, name, seed, lambda fraction: None) for seed in range(2)]
        for name in ("softmax", "top-1")
    }
    task.draw(trials, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"active": 5}, "from 1 to all 4 experts, and active is 5"),
        ({"curriculum": "0:1, 400:3"}, "alpha in curriculum must be a finite number from 1 to 2, not 3"),
        ({"curriculum": "0:1, 2000:2"}, "ends in step 2000, after the last of 2000 training steps"),
        ({"curriculum": "0:1, 0:2"}, "ends before training begins"),
        ({"curriculum": "softly"}, "is not a schedule"),
        ({"features": 2}, "one feature for its rank and 2 for its signs"),
        ({"experts": 1}, "experts must be 2 or more, not 1"),
        ({"steps": 0}, "steps must be 1 or more, not 0"),
        ({"balance_coef": -1.0}, "balance_coef must be a finite number of 0 or more, not -1"),
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0, not 0"),
    ],
)
def test_bad_settings_get_one_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        MixtureSettings(**settings)


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    """Softmax needs no extra package; sparse gates say which one, and how to install it."""
    original = builtins.__import__
    study = Study(
        task_name="mixture-of-experts",
        task=make_task("mixture-of-experts"),
        settings=MixtureSettings(**SMALL),
        weightings=("sparsemax",),
        seeds=1,
    )
    open_folder(study, tmp_path / "study")

    def without(name):
        if name == "entmax":
            raise ModuleNotFoundError("No module named 'entmax'", name="entmax")
        return original(name)

    monkeypatch.setattr("bilevel.nn._routing.import_module", without)
    with pytest.raises(
        MissingPackage, match=r"mixture-of-experts needs entmax: pip install 'bilevel\[tasks\]'"
    ):
        run_study(study, tmp_path / "study")

"""Update rules as settings of methods: results, sampled directions, compositions, and bad input."""

import pytest
import torch

import games
from bilevel.agents import ExactPlay, SampledPlay
from bilevel.core import inner_step_per_agent
from bilevel.methods import LIO, LOLA, METHODS, Fixed, Placement, Selfish, ToS
from bilevel.methods._settings import parts_of, plain_settings
from bilevel.sharing import SharedBy
from bilevel.update_rules import lola

RULES = list(parts_of(Selfish)["rule"])
DILEMMA = games.make("repeated-prisoners-dilemma", discount=0.96)


def trained(method, game=DILEMMA, *, seeds=16, steps=150):
    learner = method.build(game, Placement(seeds=seeds))
    state = learner.init(seed=0)
    for _ in range(steps):
        state, metrics = learner.update(state)
    return state, metrics


def test_shaping_cooperates_in_the_repeated_dilemma_where_naive_learners_defect():
    cooperation = {
        name: trained(Selfish().with_settings({"rule": name}))[1]["cooperation"]
        for name in ("naive", "look-ahead", "lola", "sos")
    }
    assert float(cooperation["naive"].max()) < 0.1
    assert float(cooperation["look-ahead"].mean()) < 0.1  # expects the others to learn, and shapes nothing
    for name in ("lola", "sos"):
        assert float((cooperation[name] > 0.9).double().mean()) > 0.5


@pytest.mark.parametrize("name", RULES)
def test_every_rule_trains_under_learned_sharing(name):
    """Each of them changes the sharing: its hypergradient passes through the rule's step."""
    settings = {"rule": name} if name == "naive" else {"rule": name, _first_setting(name): 0.5}
    state, metrics = trained(ToS().with_settings(settings), seeds=2, steps=2)
    start = ToS().build(DILEMMA, Placement(seeds=2)).init(seed=0)
    assert not torch.equal(state["phi"], start["phi"])
    assert metrics["welfare"].isfinite().all()


def _first_setting(name):
    kind = parts_of(Selfish)["rule"][name]
    return "rule.rate" if hasattr(kind, "rate") else "rule.weight"


@pytest.mark.parametrize("name", RULES)
def test_rules_survive_their_json_form(name):
    method = ToS().with_settings({"rule": name})
    stored = plain_settings(method)["rule"]
    variant = stored.pop("variant")
    again = ToS().with_settings({"rule": variant} | {f"rule.{key}": value for key, value in stored.items()})
    assert again == method


def test_the_sampled_direction_estimates_the_exact_one():
    """LOLA by loaded DiCE, 40 batches of 256 episodes: within 4 standard errors of the truth."""
    game = games.make("repeated-prisoners-dilemma", discount=0.5, horizon=6)
    settings = {"policy": "tabular"}
    exact = Selfish().with_settings(settings).play(game)
    sampled = Selfish().with_settings(
        {**settings, "inner.exact": False, "inner.surrogate": "loaded-dice", "inner.episodes": 256}
    )
    play = sampled.play(game)
    assert isinstance(exact, ExactPlay)
    assert isinstance(play, SampledPlay)
    one = torch.tensor([[0.3, -0.2, 0.4, -0.6, 0.1], [-0.4, 0.5, 0.2, -0.3, 0.2]], dtype=torch.float64)
    theta, keep = one.expand(40, 2, 5).contiguous(), SharedBy(torch.eye(2, dtype=torch.float64)[None])
    data = play.sample(theta, keep, torch.Generator().manual_seed(3))
    directions = lola(lambda own, others: play.losses(own, others, keep, data, None), theta, 0.2)
    truth = lola(lambda own, others: exact.losses(own, others, keep, (), None), theta[:1], 0.2)[0]
    error = directions.std(0) / 40**0.5
    # six steps hold 1 - 0.5^6 of an unbounded game's return
    assert bool(((directions.mean(0) - truth).abs() < 4 * error + 0.03 * truth.abs()).all())


def test_a_rule_with_many_agents_on_a_network():
    state, metrics = trained(
        Fixed(self_interest=0.6, rule=LOLA(rate=0.1)), games.make("aid", agents=6), seeds=3, steps=3
    )
    assert state["theta"].shape[1] == 6
    assert metrics["welfare"].isfinite().all()


def test_shaping_from_samples_needs_the_other_agents_derivatives():
    for inner, message in (
        ({"inner.exact": False}, "reinforce has no such derivatives: choose --inner.surrogate loaded-dice"),
        ({"inner": "ppo"}, "clipped loss of ppo does not depend on"),
    ):
        method = Selfish().with_settings({"rule": "lola", **inner})
        with pytest.raises(ValueError, match=message):
            method.build(DILEMMA, Placement())
    Selfish().with_settings({"rule": "sos", "inner": "actor-critic", "inner.surrogate": "loaded-dice"}).build(
        DILEMMA, Placement()
    )


@pytest.mark.parametrize("name", ["extragradient", "hola"])
def test_rules_that_evaluate_elsewhere_need_exact_values(name):
    method = Selfish().with_settings({"rule": name, "inner.exact": False, "inner.surrogate": "loaded-dice"})
    with pytest.raises(ValueError, match=f"The update rule {name} evaluates losses away from the policies"):
        method.build(DILEMMA, Placement())


def test_incentives_can_be_learned_for_shaping_agents():
    method = LIO().with_settings({"rule": "lola", "inner.surrogate": "loaded-dice", "inner.episodes": 8})
    _, metrics = trained(method, games.make("escape-room"), seeds=2, steps=2)
    assert metrics["welfare"].isfinite().all()


@pytest.mark.parametrize(
    ("name", "game", "settings"),
    [
        ("d3c", DILEMMA, {}),
        ("lase", games.make("prisoners-dilemma"), {"inner.exact": True}),
    ],
)
def test_the_policies_of_methods_without_hypergradients_follow_the_rule(name, game, settings):
    """Their step is LOLA's on the losses that they transform."""
    method = METHODS[name]().with_settings({"inner.optimizer": "sgd", "inner.steps": 1} | settings)
    learner = method.with_settings({"rule": "lola"}).build(game, Placement(seeds=3))
    start = learner.init(seed=0)
    theta, phi = start["theta"], start["phi"]
    batch = learner.play.sample(theta, learner.transfer(phi), torch.Generator())  # exact: none is drawn
    step = inner_step_per_agent(
        learner._inner_losses, learner.optimizer, lambda losses, theta: lola(losses, theta, 1.0)
    )
    expected, _ = step(theta, start["opt_state"], phi, learner.inputs(start, batch))
    torch.testing.assert_close(learner.update(start)[0]["theta"], expected)
    naive = method.build(game, Placement(seeds=3)).update(start)[0]["theta"]
    assert not torch.allclose(expected, naive)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "lolla"}, "There is no rule 'lolla'. Did you mean 'lola'"),
        ({"rule.rate": 0.1}, "rule.rate is a setting of rule"),
        ({"rule": "lola", "rule.rate": 0.0}, "rule.rate"),
        ({"rule": "hola", "rule.order": 0}, "rule.order must be a whole number, 1 or more"),
    ],
)
def test_bad_settings_get_one_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        Selfish().with_settings(settings)

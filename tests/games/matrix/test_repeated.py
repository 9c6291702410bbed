import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from games import make
from games.core import two_action_policies
from games.matrix import (
    FiniteRepeatedGame,
    MatrixGame,
    MatrixState,
    NormalForm,
    PublicGoods,
    RepeatedGame,
    SymmetricalPrisonersDilemma,
    SymmetricTwoAgentGame,
    Tycoon,
)

TIT_FOR_TAT = (1, 1, 0, 1, 0)
SUSPICIOUS = (0, 1, 0, 1, 0)
ALWAYS_COOPERATE, ALWAYS_DEFECT = (1,) * 5, (0,) * 5
UNIFORM = (0.5,) * 5

# torch 2.13 says so itself, on the first use of forward mode.
forward_mode = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def table(*cooperate: tuple[float, ...]) -> Tensor:
    return two_action_policies(torch.tensor(cooperate, dtype=torch.float64))


def random_policies(game: RepeatedGame, *batch: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (*batch, game.num_agents, game.num_observations, 2)
    return torch.randn(shape, generator=generator, dtype=torch.float64).softmax(-1)


@pytest.mark.parametrize(
    ("first", "second", "values"),
    [
        (TIT_FOR_TAT, TIT_FOR_TAT, (-1, -1)),
        (TIT_FOR_TAT, ALWAYS_DEFECT, (-2.04, -1.92)),
        (ALWAYS_COOPERATE, ALWAYS_DEFECT, (-3, 0)),
        (ALWAYS_DEFECT, ALWAYS_DEFECT, (-2, -2)),
        (UNIFORM, UNIFORM, (-1.5, -1.5)),
        # S, T, S, T, ...: -3 / (1 + discount) and 0 first.
        (TIT_FOR_TAT, SUSPICIOUS, (-3 / 1.96, -3 * 0.96 / 1.96)),
        (UNIFORM, TIT_FOR_TAT, (-1.46, -1.52)),
    ],
)
def test_known_pairs(first: tuple, second: tuple, values: tuple[float, float]) -> None:
    # derived; payoffs -1/-3/0/-2, discount .96, value per step
    expected = torch.tensor(values, dtype=torch.float64)
    torch.testing.assert_close(RepeatedGame().values(table(first, second)), expected, atol=1e-12, rtol=0)


def test_a_pair_without_symmetry() -> None:
    # derived; forgetting that agent 1 sees CD as DC gives -.954986, -1.997701
    values = RepeatedGame().values(table((0.1, 0.2, 0.3, 0.4, 0.5), (0.6, 0.7, 0.8, 0.9, 0.15)))
    torch.testing.assert_close(values, torch.tensor([-1.045741, -1.947054]).double(), atol=1e-6, rtol=0)


def test_gradients_at_zero_logits() -> None:
    # derived, of the unnormalized V = -37.5: dV1/dtheta1 = (-.25, -1.5, ...), dV1/dtheta2 = (.5, 3, ...)
    game = RepeatedGame()

    def first_value(logits: Tensor) -> Tensor:
        return game.effective_horizon * game.values(two_action_policies(logits.sigmoid()))[0]

    zero = torch.zeros(2, 5, dtype=torch.float64)
    gradient, value = torch.func.grad_and_value(first_value)(zero)
    expected = torch.tensor([[-0.25, *[-1.5] * 4], [0.5, *[3.0] * 4]], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected, atol=1e-12, rtol=0)
    assert value.item() == pytest.approx(-37.5, abs=1e-12)


@pytest.mark.parametrize("agents", [2, 3, 4, 5])
@given(action=st.integers(0, 1), discount=st.floats(0, 0.99))
@settings(max_examples=5)
def test_always_the_same_action_is_the_stage_game(agents: int, action: int, discount: float) -> None:
    stage = SymmetricalPrisonersDilemma(agents=agents)
    game = RepeatedGame(stage=stage, discount=discount)
    policies = torch.zeros(agents, game.num_observations, 2, dtype=torch.float64)
    policies[..., action] = 1
    expected = stage.payoffs()[(action,) * agents]
    torch.testing.assert_close(game.values(policies), expected, atol=1e-12, rtol=0)
    cooperation = game.cooperation(policies)
    assert cooperation is not None
    torch.testing.assert_close(cooperation, torch.full_like(expected, 1 - action), atol=1e-12, rtol=0)


@pytest.mark.parametrize("agents", [2, 3, 4, 5])
def test_policies_that_remember_nothing_play_the_one_shot_game(agents: int) -> None:
    stage = Tycoon(agents=agents)
    game = RepeatedGame(stage=stage)
    single = random_policies(game, 6)[..., :1, :]
    forgetful = single.expand(6, agents, game.num_observations, 2)
    torch.testing.assert_close(game.values(forgetful), stage.values(single), atol=1e-11, rtol=0)
    torch.testing.assert_close(game.cooperation(forgetful), stage.cooperation(single), atol=1e-11, rtol=0)


ROCK_PAPER_SCISSORS = make("rock-paper-scissors")
"""Action a + 1 beats action a."""


def one_hot(actions: list[int]) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(actions), 3).double()


def test_copying_the_other_against_beating_the_other() -> None:
    # derived: both start with rock; from then on agent 0 copies agent 1, who beats agent 0's last action and
    # so wins every second step: 0, -1, 0, -1, ... to agent 0
    game = RepeatedGame(stage=ROCK_PAPER_SCISSORS, discount=0.9)
    seen = list(itertools.product(range(3), repeat=2))  # (own, other)
    copies = one_hot([0, *(other for _, other in seen)])
    beats = one_hot([0, *((other + 1) % 3 for _, other in seen)])
    loss = 0.9 / 1.9
    for first, second, value in ((copies, beats, -loss), (beats, copies, loss)):
        values = game.values(torch.stack((first, second)))
        expected = torch.tensor([value, -value], dtype=torch.float64)
        torch.testing.assert_close(values, expected, atol=1e-12, rtol=0)


@given(seed=st.integers(0, 999))
@settings(max_examples=10)
def test_three_actions_without_memory_are_the_stage_game(seed: int) -> None:
    game = RepeatedGame(stage=ROCK_PAPER_SCISSORS)
    assert game.num_observations == 10
    generator = torch.Generator().manual_seed(seed)
    single = torch.randn(4, 2, 1, 3, generator=generator, dtype=torch.float64).softmax(-1)
    values = game.values(single.expand(4, 2, 10, 3))
    torch.testing.assert_close(values, ROCK_PAPER_SCISSORS.values(single), atol=1e-12, rtol=0)
    uniform = torch.full((2, 10, 3), 1 / 3, dtype=torch.float64)
    assert game.values(uniform).abs().max() < 1e-14


def renamed(policies: Tensor, order: tuple[int, ...]) -> Tensor:
    """Let new agent k play what agent order[k] played, its observations translated to its new neighbors."""
    agents = len(order)
    rows = []
    for new, old in enumerate(order):
        others_new = [agent for agent in range(agents) if agent != new]
        others_old = [agent for agent in range(agents) if agent != old]
        row = [policies[old, 0]]
        for seen in itertools.product((0, 1), repeat=agents):
            acted = {order[agent]: action for agent, action in zip(others_new, seen[1:], strict=True)}
            before = (seen[0], *(acted[agent] for agent in others_old))
            row.append(policies[old, 1 + int("".join(map(str, before)), 2)])
        rows.append(torch.stack(row))
    return torch.stack(rows)


@given(order=st.permutations(range(3)), seed=st.integers(0, 999))
@settings(max_examples=25)
def test_renaming_three_agents_renames_their_values(order: list[int], seed: int) -> None:
    game = RepeatedGame(stage=PublicGoods(agents=3))
    policies = random_policies(game, seed=seed)
    values = game.values(renamed(policies, tuple(order)))
    torch.testing.assert_close(values, game.values(policies)[order], atol=1e-12, rtol=0)


@given(seed=st.integers(0, 999))
@settings(max_examples=25)
def test_swapping_two_agents_swaps_their_values(seed: int) -> None:
    game = RepeatedGame()
    policies = random_policies(game, 3, seed=seed)
    torch.testing.assert_close(
        game.values(policies.flip(-3)), game.values(policies).flip(-1), atol=1e-12, rtol=0
    )


@given(seed=st.integers(0, 999))
@settings(max_examples=15)
def test_a_third_agent_who_does_not_matter_changes_nothing(seed: int) -> None:
    # Agent 2 always cooperates, and no payoff depends on it: the chain must give the closed form's values.
    two = RepeatedGame()
    pair = two.stage.payoffs().numpy()
    payoffs = np.zeros((2, 2, 2, 3))
    payoffs[..., :2] = pair[:, :, None]
    three = RepeatedGame(stage=NormalForm(table=tuple(payoffs.tolist()), cooperative=True))
    policies = random_policies(two, seed=seed)
    # (own, other, agent 2 = C) is every second observation; the rest is never seen.
    padded = torch.cat((policies[:, :1], policies[:, 1:].repeat_interleave(2, 1)), 1)
    constant = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(1, 9, 2)
    values = three.values(torch.cat((padded, constant)))
    torch.testing.assert_close(values[:2], two.values(policies), atol=1e-12, rtol=0)


def sampled_episode_values(
    game: RepeatedGame, policies: Tensor, batch: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Play `batch` copies to the end: each one's episode value and share of cooperation, [batch, agent]."""
    generator = torch.Generator().manual_seed(seed)
    agents = torch.arange(game.num_agents)
    state = game.reset(batch, generator)
    rewards, cooperates = [], []
    done = torch.zeros(batch, dtype=torch.bool)
    for _ in range(game.horizon):
        assert not done.any()
        defect = policies[agents, game.observe(state), 1]
        actions = (torch.rand(defect.shape, generator=generator) < defect).long()
        cooperating = game.cooperates(state, actions)
        assert cooperating is not None
        cooperates.append(cooperating.double())
        state, reward, done = game.step(state, actions, generator)
        rewards.append(reward.double())
    assert done.all()
    assert not game.ended(state).any()
    return game.episode_value(torch.stack(rewards)), game.episode_value(torch.stack(cooperates))


@pytest.mark.parametrize(
    "stage",
    [
        SymmetricTwoAgentGame(),
        SymmetricTwoAgentGame(reward=3, sucker=0, temptation=5, punishment=1),
        Tycoon(),
    ],
)
def test_playing_agrees_with_the_exact_values(stage: MatrixGame) -> None:
    batch = 20_000
    game = RepeatedGame(stage=stage, discount=0.8, horizon=60)
    policies = random_policies(game, seed=5)
    exact_cooperation = game.cooperation(policies)
    assert exact_cooperation is not None
    played = sampled_episode_values(game, policies, batch, seed=0)
    for sample, exact in zip(played, (game.values(policies), exact_cooperation), strict=True):
        error = (sample.mean(0) - exact).abs()
        assert (error < 5 * sample.std(0) / batch**0.5 + 10 * 0.8**60).all()


def test_observations_put_the_own_action_first() -> None:
    generator = torch.Generator()
    game = RepeatedGame(stage=PublicGoods(agents=3))
    state = game.reset(1, generator)
    assert game.observe(state).tolist() == [[0, 0, 0]]
    state, _, _ = game.step(state, torch.tensor([[0, 1, 0]]), generator)
    assert game.observe(state).tolist() == [[1 + 0b010, 1 + 0b100, 1 + 0b001]]
    state, _, _ = game.step(state, torch.tensor([[1, 0, 1]]), generator)
    assert game.observe(state).tolist() == [[1 + 0b101, 1 + 0b011, 1 + 0b110]]


def test_restart_brings_back_the_start() -> None:
    generator = torch.Generator()
    game = RepeatedGame(horizon=2)
    state, _, _ = game.step(game.reset(2, generator), torch.ones(2, 2, dtype=torch.int64), generator)
    state = game.restart(state, torch.tensor([True, False]), generator)
    assert game.observe(state).tolist() == [[0, 0], [4, 4]]
    _, _, done = game.step(state, torch.ones(2, 2, dtype=torch.int64), generator)
    assert done.tolist() == [False, True]


def test_episode_value_discounts() -> None:
    game = RepeatedGame(discount=0.5)
    rewards = torch.tensor([[4.0, 0.0], [2.0, 8.0]])
    assert game.episode_value(rewards).tolist() == [2.5, 2.0]


def test_welfare_is_per_step() -> None:
    game = RepeatedGame()
    assert (game.best_welfare, game.defection_welfare) == (-2, -4)
    assert game.effective_horizon == pytest.approx(25)
    assert (game.discount, game.horizon) == (0.96, 150)


def test_gradients_of_matching_pennies() -> None:
    """Naive gradients of the unnormalized losses at given logits, from an independent program in float64."""
    game = make("repeated-matching-pennies-lola")
    assert isinstance(game, RepeatedGame)
    assert game.discount == 0.9
    logits = torch.tensor([[0.1, -0.2, 0.3, -0.4, 0.5], [-0.5, 0.4, -0.3, 0.2, -0.1]], dtype=torch.float64)
    logits.requires_grad_()
    values = game.effective_horizon * game.values(two_action_policies(logits.sigmoid()))
    assert values.sum().item() == pytest.approx(0, abs=1e-12)
    found = [torch.autograd.grad(-values[i], logits, retain_graph=True)[0][i] for i in range(2)]
    expected = [
        [0.122383, -0.217056, -0.105250, 0.158741, 0.055334],
        [0.024159, -0.106436, -0.205133, 0.169661, 0.265669],
    ]
    torch.testing.assert_close(torch.stack(found), torch.tensor(expected).double(), atol=1e-6, rtol=0)


def test_uniform_play_of_matching_pennies_cannot_be_exploited() -> None:
    """Zero against every policy, and the gradient with respect to the own policy is zero, too."""
    game = make("repeated-matching-pennies-lola")
    assert isinstance(game, RepeatedGame)
    policies = random_policies(game, 20)
    policies[:, 1] = 0.5
    torch.testing.assert_close(game.values(policies), torch.zeros(20, 2).double(), atol=1e-12, rtol=0)
    copying = table((1, 1, 0, 1, 0), (1, 1, 0, 1, 0))  # both repeat what the other did last: heads for ever
    assert game.values(copying).tolist() == pytest.approx([1, -1])


def test_what_the_stage_says_is_passed_on() -> None:
    stage = Tycoon(agents=4, stage=SymmetricTwoAgentGame(names=("stag", "hare")))
    game = RepeatedGame(stage=stage)
    assert game.neighbors.equal(stage.neighbors)
    assert game.action_names == ("stag", "hare")
    assert game.observation_space.n == game.num_observations == 17
    assert game.render(game.reset(1, torch.Generator())).dtype == np.uint8
    assert RepeatedGame(stage=make("matching-pennies")).cooperation(table(UNIFORM, UNIFORM)) is None


@forward_mode
@pytest.mark.parametrize("stage", [SymmetricTwoAgentGame(), Tycoon()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_types_survive_every_derivative(stage: MatrixGame, dtype: torch.dtype) -> None:
    game = RepeatedGame(stage=stage)
    policies = random_policies(game).to(dtype)
    gradient = torch.func.grad(lambda x: game.values(x).square().sum())
    outputs = (game.values(policies), *torch.func.jvp(gradient, (policies,), (torch.ones_like(policies),)))
    assert {output.dtype for output in outputs} == {dtype}


@pytest.mark.parametrize("agents", [2, 3])
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_a_batch_equals_its_members(agents: int, batch: tuple[int, ...]) -> None:
    game = RepeatedGame(stage=Tycoon(agents=agents))
    policies = random_policies(game, *batch)
    values = game.values(policies)
    assert values.shape == (*batch, agents)
    for index in np.ndindex(*batch):
        torch.testing.assert_close(values[index], game.values(policies[index]), atol=1e-13, rtol=0)


# torch 2.13's compiler instantiates the functions with derivatives of their own, and warns of that itself.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("agents", [2, 3])
def test_compiles_to_one_graph(agents: int) -> None:
    game = RepeatedGame(stage=Tycoon(agents=agents))
    policies = random_policies(game, 4)
    torch.compiler.reset()  # else another test's sizes make this one's dynamic
    values = torch.compile(game.values, fullgraph=True, backend="eager")
    torch.testing.assert_close(values(policies), game.values(policies), atol=1e-14, rtol=0)


@pytest.mark.parametrize("agents", [2, 3])
def test_everything_stays_on_the_device_of_its_input(agents: int) -> None:
    # The meta device refuses to be mixed with any other, as a GPU would.
    game = RepeatedGame(stage=Tycoon(agents=agents))
    policies = random_policies(game, 4).to("meta")
    state = MatrixState(
        torch.ones(4, dtype=torch.int64, device="meta"),
        torch.ones(4, agents, dtype=torch.int64, device="meta"),
    )
    outputs = [game.values(policies), game.cooperation(policies), game.observe(state)]
    outputs += [
        game.stage.values(policies[..., :1, :]),
        game.episode_value(torch.ones(3, 4, 2, device="meta")),
    ]
    assert all(output is not None and output.device.type == "meta" for output in outputs)


def test_pickling() -> None:
    game = RepeatedGame(stage=Tycoon(), discount=0.5)
    game.values(random_policies(game))
    assert pickle.loads(pickle.dumps(game)) == game


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"discount": 1.0}, r"discount must lie in \[0, 1\); it is 1.0"),
        ({"discount": -0.1}, r"it is -0.1"),
        ({"horizon": 0}, "horizon must be a whole number of steps, 1 or more; it is 0"),
        ({"horizon": 1.5}, "it is 1.5"),
        ({"stage": make("escape-room")}, "must be a matrix game"),
    ],
)
def test_bad_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RepeatedGame(**settings)


def test_more_than_32_joint_actions_can_be_sampled_but_not_solved() -> None:
    generator = torch.Generator()
    game = RepeatedGame(stage=PublicGoods(agents=6))
    state = game.reset(2, generator)
    state, _, _ = game.step(state, torch.ones(2, 6, dtype=torch.int64), generator)
    assert game.observe(state).eq(64).all()
    for exact in (game.values, game.cooperation):
        with pytest.raises(ValueError, match=r"at most 32 joint actions.* are 64. Sample the game"):
            exact(random_policies(game))


def closed_form_of_two_tits_for_tats(noise: float, discount: float = 0.96) -> float:
    """Each copies the other, and slips: P(cooperate at t) = (1 + (1 - 2 noise)^(t + 1)) / 2."""
    keeps = 1 - 2 * noise
    share = 0.5 + 0.5 * (1 - discount) * keeps / (1 - discount * keeps)
    return -2 + share


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.05, 0.3, 0.5, 1.0])
def test_two_tits_for_tats_with_trembling_hands_have_a_closed_form(noise: float) -> None:
    game = RepeatedGame(noise=noise)
    expected = torch.full((2,), closed_form_of_two_tits_for_tats(noise), dtype=torch.float64)
    policies = table(TIT_FOR_TAT, TIT_FOR_TAT)
    torch.testing.assert_close(game.values(policies), expected, atol=1e-12, rtol=0)
    cooperation = game.cooperation(policies)
    assert cooperation is not None
    torch.testing.assert_close(cooperation, expected + 2, atol=1e-12, rtol=0)


@given(noise=st.floats(0, 1), discount=st.floats(0, 0.99), seed=st.integers(0, 999))
@settings(max_examples=20)
def test_noise_is_the_noiseless_game_of_the_policies_that_tremble(
    noise: float, discount: float, seed: int
) -> None:
    """Whatever chain computes the values: of two agents with two actions, of three, and of three actions."""
    for stage in (SymmetricTwoAgentGame(), PublicGoods(agents=3), ROCK_PAPER_SCISSORS):
        assert isinstance(stage, MatrixGame)
        plain, noisy = (RepeatedGame(stage=stage, discount=discount, noise=each) for each in (0.0, noise))
        actions = int(plain.action_space.n)
        generator = torch.Generator().manual_seed(seed)
        shape = (plain.num_agents, plain.num_observations, actions)
        policies = torch.randn(shape, generator=generator, dtype=torch.float64).softmax(-1)
        tremble = (1 - noise) * torch.eye(actions, dtype=torch.float64)
        tremble += noise / (actions - 1) * (1 - torch.eye(actions, dtype=torch.float64))
        torch.testing.assert_close(
            noisy.values(policies), plain.values(policies @ tremble), atol=1e-10, rtol=0
        )
        torch.testing.assert_close(
            noisy.occupancy(policies), plain.occupancy(policies @ tremble), atol=1e-10, rtol=0
        )


@pytest.mark.parametrize("name", ["prisoners-dilemma", "public-goods", "rock-paper-scissors"])
def test_sampled_noise_agrees_with_exact_noise(name: str) -> None:
    """20 000 episodes of 12 steps against the exact finite game, within 5 standard errors."""
    stage = make(name)
    assert isinstance(stage, MatrixGame)
    game = FiniteRepeatedGame(stage=stage, discount=0.8, horizon=12, noise=0.2)
    generator = torch.Generator().manual_seed(0)
    shape = (game.num_agents, game.num_observations, int(game.action_space.n))
    policies = (3 * torch.randn(shape, generator=generator)).softmax(-1)
    copies = 20_000
    state, paid = game.reset(copies, generator), []
    for _ in range(game.horizon):
        seen = game.observe(state)
        chosen = [
            torch.multinomial(policies[agent, seen[:, agent]], 1, generator=generator)
            for agent in range(game.num_agents)
        ]
        state, rewards, _ = game.step(state, torch.cat(chosen, 1), generator)
        paid.append(rewards)
    values = game.episode_value(torch.stack(paid))
    error = values.std(0) / copies**0.5
    assert ((values.mean(0) - game.values(policies)).abs() < 5 * error).all()
    quiet = FiniteRepeatedGame(stage=stage, discount=0.8, horizon=12).values(policies)
    assert ((values.mean(0) - quiet).abs() > 5 * error).any()  # it can tell


def test_a_hand_that_trembles_does_another_thing_each_equally_often() -> None:
    game = RepeatedGame(stage=ROCK_PAPER_SCISSORS, noise=0.3)
    generator = torch.Generator().manual_seed(0)
    state, _, _ = game.step(
        game.reset(30_000, generator), torch.ones(30_000, 2, dtype=torch.int64), generator
    )
    shares = state.actions.flatten().bincount(minlength=3) / 60_000
    assert shares.tolist() == pytest.approx([0.15, 0.7, 0.15], abs=0.01)  # 5 standard errors


def test_without_noise_nothing_more_is_drawn() -> None:
    game, generator = RepeatedGame(), torch.Generator().manual_seed(0)
    state = game.reset(3, generator)
    before = generator.get_state()
    game.step(state, torch.zeros(3, 2, dtype=torch.int64), generator)
    assert torch.equal(before, generator.get_state())


@pytest.mark.parametrize("noise", [-0.1, 1.5, float("nan")])
def test_noise_is_a_probability(noise: float) -> None:
    with pytest.raises(ValueError, match="noise is a probability, from 0 to 1; it is"):
        RepeatedGame(noise=noise)

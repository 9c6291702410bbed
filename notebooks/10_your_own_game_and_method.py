# %% [markdown]
# # 10. Your own game and method
#
# **You have a new dilemma, and an idea for a method that might solve it. How do you get a result that you can
# defend?**
#
# The dilemma: three agents fish in one pond. The fish that they leave double by the next day; the fish that
# they catch today are their reward. The method: a *tax on the catch*, redistributed evenly. The tax rate is
# an outer variable, learned by the hypergradient of the welfare.
#
# This takes two classes. Here they are, as they would be in a file of your own; run them now, and read them
# later.

# %% tags=["setup"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("bilevel") is None:  # not installed yet, as in Colab
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "bilevel[lessons]"], check=True)

# %%
import dataclasses
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import bilevel
from bilevel.lessons import AMBER, BLUE, GRAY, GREEN, RED
from bilevel.lessons import draw_band, explore, size, use_style
from bilevel.lessons.checks.your_own_game_and_method import check_1, check_2, check_3
from bilevel.lessons.checks.your_own_game_and_method import check_4
from bilevel.report import looks

use_style()

# %% tags=["pond.py"]
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces

import games


class PondState(NamedTuple):
    fish: torch.Tensor  # [batch], integers
    day: torch.Tensor  # [batch], from 0


@dataclass(frozen=True, kw_only=True)
class Pond(games.Game):
    """A pond with two fish per agent. An agent catches one (spare) or two (grab); the
    rest doubles.
    """

    agents: int = 3
    """Number of agents."""
    horizon: int = 5
    """Days of an episode."""

    capacity = property(lambda self: 2 * self.agents)
    num_agents = property(lambda self: self.agents)
    action_space = property(lambda self: spaces.Discrete(2))
    action_names = property(lambda self: ("spare", "grab"))
    observation_space = property(
        lambda self: spaces.Discrete((self.horizon + 1) * (self.capacity + 1))
    )
    best_welfare = property(lambda self: float(self.agents * (self.horizon + 1)))
    defection_welfare = property(lambda self: float(self.capacity))

    def reset(self, batch, generator):
        day = torch.zeros(batch, dtype=torch.int64, device=generator.device)
        return PondState(day + self.capacity, day)

    def observe(self, state):
        """The day and the number of fish, encoded as one integer; the same for all
        agents.
        """
        return (state.day * (self.capacity + 1) + state.fish)[:, None].expand(
            -1, self.agents
        )

    def step(self, state, actions, generator):
        asked = actions + 1
        total = asked.sum(-1)
        caught = (
            asked * (state.fish / total).clamp(max=1)[:, None]
        )  # in proportion, if there are too few
        left = (state.fish - total).clamp(min=0)
        state = PondState((2 * left).clamp(max=self.capacity), state.day + 1)
        return state, caught, state.day >= self.horizon

    def cooperates(self, state, actions):
        return actions == 0

    def scripted(self, state, cooperative):
        return (~cooperative).long()

    def render(self, state, index=0, scale=1.0):
        side, orange = max(round(24 * scale), 8), (230, 120, 0)
        frame = np.full(
            (side, side * self.capacity, 3), (200, 225, 245), dtype=np.uint8
        )
        for left in range(0, side * int(state.fish[index]), side):
            frame[
                side // 4 : -side // 4, left + side // 8 : left + side - side // 8
            ] = orange
        return frame


games.register("pond", Pond(), summary="leave enough fish for tomorrow", replace=True)

# %% tags=["pond.py"]
from bilevel.methods import OuterLearner, OuterMethod, register_method
from bilevel.sharing import OBJECTIVES, SharedBy


@dataclass(frozen=True)
class Tax:
    """The outer variable: one logit per seed; its logistic function is the rate."""

    agents: int
    start: float
    exact = True

    def initial(self, seed, seeds):
        return torch.full((seeds, 1), self.start, dtype=torch.float64).logit()

    def transfer(self, phi):
        rate = phi.sigmoid()[..., None]  # [seed, 1, 1]
        own, even = torch.eye(self.agents).to(phi), 1 / self.agents
        return SharedBy((1 - rate) * own + rate * even)  # [seed, giver, receiver]


@dataclass(frozen=True, kw_only=True)
class LearnedTax(OuterMethod):
    """A learned tax: all agents pay the same share of their rewards, and the total is
    divided evenly.
    """

    start: float = 0.1
    """The initial tax rate, above 0 and below 1."""

    def build(self, game, placement):
        return OuterLearner(
            self,
            game,
            placement,
            Tax(game.num_agents, self.start),
            objective=OBJECTIVES["welfare"],
        )


register_method("tax", LearnedTax)

# %% [markdown]
# ## A picture of the answer
#
# Selfish agents empty the pond on the first day. With the tax they learn to leave enough fish. The tax rate
# is learned at the same time.


# %%
def configuration(method, seeds, steps, game=Pond(), **settings):
    """Configuration of a run. A game outside the toolkit has no presets, so we choose
    the settings.
    """
    config = bilevel.default_config("pond", method)
    learning = {"inner.learning_rate": 1.0, "inner.episodes": 32, **settings}
    config = dataclasses.replace(
        config, game=game, method=config.method.with_settings(learning)
    )
    return dataclasses.replace(
        config, seeds=seeds, outer_steps=steps, evaluation_episodes=256
    )


def train(*arguments, **settings):
    """Train all seeds in one batch, in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        return bilevel.train(
            bilevel.create_run(
                configuration(*arguments, **settings), Path(folder) / "run"
            )
        )


def draw_references(axes, game=Pond()):
    references = (
        (game.best_welfare, "social optimum", 4),
        (game.defection_welfare, "all grab", -14),
    )
    for height, words, above in references:
        axes.axhline(height, color=GRAY, linestyle=":", linewidth=1)
        end = {
            "xycoords": ("axes fraction", "data"),
            "textcoords": "offset points",
            "ha": "right",
        }
        axes.annotate(words, (0.99, height), (0, above), color=GRAY, fontsize=11, **end)


first = {
    method: train(method, size(8, fast=3), size(120, fast=2))
    for method in ("selfish", "tax")
}


# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
for method, color, dashes in (("selfish", RED, ":"), ("tax", BLUE, "-")):
    curve = first[method].curves["welfare"]
    draw_band(
        left, range(len(curve)), curve, label=method, color=color, linestyle=dashes
    )
draw_references(left)
rates = (
    first["tax"].curves["given_away"] * 3 / 2
)  # an agent gets a third of its tax back
draw_band(right, range(len(rates)), rates, label="tax", color=BLUE)
left.set(xlabel="outer step", ylabel="welfare (total catch per episode)", ylim=(0, 20))
right.set(xlabel="outer step", ylabel="tax rate", ylim=(0, 1.05))
left.legend(loc="center right")
plt.show()

# %% [markdown]
# (Lines are interquartile means over 8 seeds, bands their 95 % intervals.)
#
# ## The idea in words
#
# An hour of research, in seven steps, each with its section below:
#
# 1. **Write the game** as a function from a state and actions to a state and rewards, for a whole batch.
# 2. **Test it**: rewards computed by hand; a second implementation that must agree; the optimum by brute
#    force. A bug in the game can look like a good result.
# 3. **Write the method**: the outer variables, and the rewards that agents maximize as a function of them.
# 4. **Check its gradient** before you look at the results.
# 5. **Compare**: the same seeds and steps for all methods, simple baselines first, confidence intervals.
# 6. **Look for a simpler explanation.** Is a fixed tax just as good?
# 7. **Publish it**: a file and a command that others can run.
#
# ## The key equation
#
# $N$ agents; $r_j$ is the reward of agent $j$, $\tau$ (tau) the tax rate, $\varphi$ (phi) the outer variable.
# Agent $i$ maximizes
#
# $$\tilde r_i = (1 - \tau)\, r_i + \frac{\tau}{N} \sum_{j=1}^N r_j, \qquad
# \tau = \frac{1}{1 + e^{-\varphi}}.$$
#
# The total is conserved: $\sum_i \tilde r_i = \sum_i r_i$. With $\theta_i$ (theta) agent $i$'s policy,
# $V_i$ the value of its own rewards, $\tilde V_i$ that of the taxed rewards and $\alpha$ (alpha) the
# learning rate, an agent learns by
# $\theta_i' = \theta_i + \alpha\, \partial \tilde V_i / \partial \theta_i$, and the tax by the gradient of
# the welfare *after* this update:
#
# $$\boxed{\ \frac{dW}{d\varphi} = \frac{d\tau}{d\varphi}\; \sum_{i=1}^N
# \frac{\partial W}{\partial \theta_i}(\theta')\; \alpha\, \frac{\partial}{\partial \tau}
# \frac{\partial \tilde V_i}{\partial \theta_i}(\theta), \qquad W = \sum_{j=1}^N V_j\ }$$
#
# ## From scratch
#
# First the game: the rules again, in plain Python for one pond, and the optimum for three agents, by
# dynamic programming.

# %%
from functools import cache
from itertools import product


def one_day(fish, actions, capacity):
    """The number of fish on the next day, and each agent's catch."""
    asked = [1 + action for action in actions]
    if sum(asked) >= fish:
        return 0, [fish * own / sum(asked) for own in asked]
    return min(2 * (fish - sum(asked)), capacity), asked


@cache
def largest_catch(fish, days, agents=3):
    """The largest total catch, by dynamic programming."""
    if days == 0:
        return 0.0
    outcomes = (
        one_day(fish, actions, 2 * agents) for actions in product((0, 1), repeat=agents)
    )
    return max(
        sum(caught) + largest_catch(tomorrow, days - 1, agents)
        for tomorrow, caught in outcomes
    )


for days in (1, 3, 5):
    best = Pond(horizon=days).best_welfare
    print(
        f"{days} days: largest catch {largest_catch(6, days):g}, best_welfare {best:g}"
    )

generator = torch.Generator().manual_seed(0)
state, same = (
    PondState(
        torch.randint(7, (500,), generator=generator),
        torch.zeros(500, dtype=torch.int64),
    ),
    True,
)
actions = torch.randint(2, (500, 3), generator=generator)
after, caught, _ = Pond().step(state, actions, generator)
for i in range(500):
    tomorrow, catch = one_day(int(state.fish[i]), actions[i].tolist(), 6)
    same &= tomorrow == int(after.fish[i]) and torch.allclose(
        caught[i], torch.tensor(catch, dtype=caught.dtype)
    )
print(f"500 random ponds, batch equals plain Python: {same}")

# %% [markdown]
# Then the method. Its gradient is easiest to check if values are exact: in the one-shot prisoner's dilemma of
# lesson 3, where the policy is a single parameter, the log-odds of cooperating.

# %%
R, S, T, P = -1.0, -3.0, 0.0, -2.0  # minus years of prison


def values(theta):
    """Both agents' expected payoffs, as a function of their log-odds of cooperating."""
    p = theta.sigmoid()
    q = p.flip(0)  # the other agent's
    return p * q * R + p * (1 - q) * S + (1 - p) * q * T + (1 - p) * (1 - q) * P


def taxed(theta, phi):
    own, rate = values(theta), phi.sigmoid()
    return (1 - rate) * own + rate / 2 * own.sum()


def welfare_after(phi, theta, alpha=1.0):
    """The welfare after one learning step of both agents under this tax."""
    gradient = torch.func.jacrev(taxed)(
        theta, phi
    ).diagonal()  # of each agent's own value
    return values(theta + alpha * gradient).sum()


game = games.make("prisoners-dilemma")
method = LearnedTax().with_settings(
    {"inner.learning_rate": 1.0, "outer.optimizer": "sgd", "outer.learning_rate": 1.0}
)
learner = method.build(game, bilevel.Placement(seeds=3))
state = learner.init(seed=0)
theta, phi = state["theta"][..., 0], state["phi"][:, 0]
from_scratch = torch.func.vmap(torch.func.grad(welfare_after))(phi, theta)

# %% [markdown]
# ## The library's version
#
# `learner.update` takes one outer step. With plain gradient ascent at learning rate 1, the change of
# $\varphi$ is the gradient. In addition `check_hypergradient` compares it with finite differences.

# %%
change = (learner.update(state)[0]["phi"] - state["phi"])[:, 0]
for seed in range(3):
    print(
        f"seed {seed}: from scratch {from_scratch[seed]:.10f}, library "
        f"{change[seed]:.10f}"
    )
print("equal:", torch.allclose(from_scratch, change, atol=1e-12))
problem = learner.problem_at(state, torch.Generator().manual_seed(0))
print(
    bilevel.check_hypergradient(
        problem, state["theta"], state["opt_state"], state["phi"], steps=1
    )
)

# %% [markdown]
# ## A game from PettingZoo
#
# Perhaps your game already exists as a [PettingZoo](https://pettingzoo.farama.org) environment. Suppose a
# colleague implemented the pond in this way. One line converts it into a game, which is also a test of ours:
# the same actions must give the same catch.

# %%
from pettingzoo.utils.env import ParallelEnv

from games import from_pettingzoo


class ColleaguesPond(ParallelEnv):
    metadata, render_mode = {"name": "pond", "render_modes": []}, None

    def __init__(self):
        self.possible_agents = ["Ada", "Ben", "Cem"]

    def action_space(self, agent):
        return spaces.Discrete(2)

    def observation_space(self, agent):
        return spaces.Discrete(42)

    def observations(self):
        return dict.fromkeys(self.possible_agents, 7 * self.day + self.fish)

    def reset(self, seed=None, options=None):
        self.agents, self.fish, self.day = list(self.possible_agents), 6, 0
        return self.observations(), {agent: {} for agent in self.agents}

    def step(self, actions):
        agents = self.agents
        self.fish, caught = one_day(self.fish, [actions[agent] for agent in agents], 6)
        self.day += 1
        truncations = dict.fromkeys(agents, self.day == 5)
        self.agents = [] if self.day == 5 else agents
        rewards = dict(zip(agents, caught, strict=True))
        return (
            self.observations(),
            rewards,
            dict.fromkeys(agents, False),
            truncations,
            {},
        )


converted, pond = from_pettingzoo(ColleaguesPond, horizon=5), Pond()
states, same = (converted.reset(50, generator), pond.reset(50, generator)), True
for _ in range(5):
    actions = torch.randint(2, (50, 3), generator=generator)
    first, first_catch, _ = converted.step(states[0], actions, generator)
    second, second_catch, _ = pond.step(states[1], actions, generator)
    same &= torch.allclose(first_catch, second_catch)
    same &= bool((converted.observe(first) == pond.observe(second)).all())
    states = first, second
print(f"50 episodes, catches and observations equal: {same}")

# %% [markdown]
# Methods can be trained in it directly. (There is one environment for each seed and episode. The random
# numbers differ from those in our game, so the results differ, too.)

# %%
settings = {"inner.learning_rate": 1.0, "inner.episodes": 8}
for name, game in (("our game", pond), ("PettingZoo", converted)):
    learner = (
        LearnedTax().with_settings(settings).build(game, bilevel.Placement(seeds=3))
    )
    state = learner.init(seed=0)
    for _ in range(size(40, fast=2)):
        state, metrics = learner.update(state)
    print(
        f"{name:11}final welfare by seed:",
        [round(float(fish), 2) for fish in metrics["welfare"]],
    )

# %% [markdown]
# The packages `pettingzoo` and `mpe2` have dozens of such environments, parallel and turn-based;
# OpenSpiel's games are converted by `from_openspiel`, Gymnasium's environments by `from_gymnasium`. After
# `games.register("spread", ...)` every command of `bilevel` accepts the game, with the constructor's
# arguments as options. For instance, three agents that should cover three landmarks:

# %%
from mpe2 import simple_spread_v3

spread = from_pettingzoo(simple_spread_v3.parallel_env, max_cycles=10)
print(
    f"{spread.name}: {spread.num_agents} agents, {spread.num_actions} actions,", end=" "
)
print(
    f"observations of {spread.observation_space.shape[0]} numbers, {spread.horizon} "
    f"steps"
)

# %% [markdown]
# ## The comparison
#
# Four methods under the same conditions. `selfish` shows that there is a dilemma. `fixed` (keep 80 %) is the
# simplest baseline. `tos` learns a whole sharing matrix, that is, 9 outer variables; the tax learns one. The
# tax is only worth publishing if it is better than all of these in some respect.

# %%
from bilevel.experiments import compare_runs
from bilevel.report import with_interval

SEEDS, STEPS = size(16, fast=3), size(200, fast=2)
runs = {
    method: train(method, SEEDS, STEPS) for method in ("selfish", "fixed", "tax", "tos")
}


# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
LOOKS = looks(["selfish", "fixed", "tos"]) | {"tax": {"color": BLUE, "linestyle": "--"}}
for method, results in runs.items():
    look = {"color": LOOKS[method]["color"], "linestyle": LOOKS[method]["linestyle"]}
    for axes, name in ((left, "welfare"), (right, "given_away")):
        draw_band(axes, range(STEPS), results.curves[name], label=method, **look)
draw_references(left)
left.set(xlabel="outer step", ylabel="welfare (total catch per episode)", ylim=(0, 20))
right.set(xlabel="outer step", ylabel="share given away", ylim=(-0.05, 1.05))
figure.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=4)
plt.show()

print(f"{'':8} {'welfare':24}  {'P(improvement)':21}  share given away")
for row in compare_runs(runs):
    welfare, share = (
        with_interval(row.intervals["welfare"]),
        row.intervals["given_away"].estimate,
    )
    print(
        f"{row.label:8} {welfare:24}  "
        f"{with_interval(row.probability_of_improvement):21}  {share:.2f}"
    )

# %%
tax = compare_runs({"tos": runs["tos"], "tax": runs["tax"]})[1]
significant = tax.difference.low * tax.difference.high > 0
verdict = "significant" if significant else "not significant"
print(
    f"difference in welfare, tax - tos: {with_interval(tax.difference)} ({verdict} "
    f"at the 5 % level)"
)
print(
    f"P(improvement) of tax over tos: {with_interval(tax.probability_of_improvement)}"
)

# %% [markdown]
# P(improvement) is the probability that a seed of the method has a larger welfare than a seed of the first
# method; 0.5 means no difference. Be critical of the figure, too. With `tos` agents initially give two thirds
# away; the initial tax is a tenth. So part of the difference in speed is due to the initial
# sharing. And the learned shares differ more than the welfare: with `tos` agents give away almost their
# *whole* catch during most of the run, and keep what they receive. With a tax of 1 they still get a third of
# their own catch.
#
# ## Look for a simpler explanation
#
# Was learning necessary? The strongest baseline for a learned tax is a fixed, hand-tuned tax. We train with 9
# rates. (With a tax of $\tau$ among $N$ agents each keeps $1 - \tau + \tau / N$ of its own reward, so `fixed`
# can implement it.)

# %%
RATES = torch.linspace(0, 1, size(9, fast=2)).tolist()


def under_tax(rate, seeds, steps, agents=3):
    game = Pond(agents=agents)
    return train(
        "fixed", seeds, steps, game=game, self_interest=1 - rate + rate / agents
    ).final["welfare"]


fixed = np.stack([under_tax(rate, SEEDS, STEPS) for rate in RATES])


# %% tags=["hide-input"]
figure, axes = plt.subplots()
draw_band(
    axes, RATES, fixed, label="fixed tax", color=AMBER, linestyle="--", marker="o"
)
learned = runs["tax"].final["given_away"] * 3 / 2
axes.plot(
    learned,
    runs["tax"].final["welfare"],
    "+",
    color=BLUE,
    markersize=9,
    label="learned tax (one mark per seed)",
)
draw_references(axes)
axes.set(
    xlabel="tax rate",
    ylabel="welfare (total catch per episode)",
    ylim=(0, 20),
    xlim=(-0.03, 1.03),
)
axes.legend(loc="center right")
plt.show()

best = int(fixed.mean(-1).argmax())
print(
    f"best fixed tax {RATES[best]:.3g}: mean welfare {fixed[best].mean():.2f}, "
    f"{len(RATES)} runs"
)
print(
    f"learned tax {learned.mean():.3g}: mean welfare "
    f"{runs['tax'].final['welfare'].mean():.2f}, one run"
)

# %% [markdown]
# So the learned rate is good, but a fixed tax of 1 (a team reward) is at least as good. If you know that, you
# need no hypergradient; if not, it saves the other training runs. And half of that tax gives most of the
# welfare: the learned rate *overshoots*, since the objective has no cost of taxation. `tos` has a
# `cost_weight` for that, and `docs/explanation/theory.md` computes the minimal transfer.
#
# ## Play
#
# Your own experiment: change the number of agents and the tax. Each setting starts a new training run (8
# seeds, 100 steps). Which rate do 2 agents need to spare the pond, and which do 5 need? First write down
# your guess.


# %% tags=["hide-input"]
def draw_pond(agents, tax):
    game = Pond(agents=agents)
    results = train(
        "fixed",
        size(8, fast=3),
        size(100, fast=2),
        game=game,
        self_interest=1 - tax + tax / agents,
    )
    curve = results.curves["welfare"]
    figure, axes = plt.subplots()
    draw_band(
        axes,
        range(len(curve)),
        curve,
        label=f"{agents} agents, tax {tax:.2f}",
        color=GREEN,
    )
    draw_references(axes, game)
    axes.set(
        xlabel="outer step",
        ylabel="welfare (total catch per episode)",
        ylim=(0, 1.15 * game.best_welfare),
    )
    axes.legend(loc="lower right")
    plt.show()


# %%
explore(draw_pond, agents=(2, 5, 1, 3), tax=(0.0, 1.0, 0.05, 0.5))

# %% [markdown]
# ## Publish it
#
# Put the two cells of the game and the method into a file `pond.py`. Then others can reproduce and extend
# your result without a notebook:
#
# ```sh
# bilevel compare --load pond.py --game pond --methods selfish fixed tax tos --seeds 16 --outer-steps 200 \
#   --set inner.learning-rate=1 inner.episodes=32
# bilevel check --load pond.py --game pond --method tax     # which hypergradient estimator?
# bilevel train --load pond.py --game pond --game.agents 5 --method tax
# bilevel play pond --load pond.py --policy random --out pond.gif
# ```
#
# `compare` writes the figures, a table and the results of every seed into one folder. `play` makes an
# animation from the frames of `render`:

# %% tags=["hide-input"]
figure, rows = plt.subplots(2, 5, figsize=(11, 2.0))
for row, words, action in zip(
    rows, ("all spare", "one grabs"), ([0, 0, 0], [1, 0, 0]), strict=True
):
    state = Pond().reset(1, generator)
    for day, axes in enumerate(row):
        axes.imshow(Pond().render(state))
        axes.set(
            xticks=[],
            yticks=[],
            title=f"day {day + 1}" if action == [0, 0, 0] else None,
        )
        state, _, _ = Pond().step(state, torch.tensor([action]), generator)
    row[0].set_ylabel(words, rotation=0, ha="right", va="center")
plt.show()

# %% [markdown]
# ## Exercises
#
# **Exercise 1 (warm up).** With a tax of $\tau$ and $N$ agents, which share of its own reward does an agent
# give to the *other* agents? (This is the share given away in the figure above.)


# %% tags=["exercise-1"]
def share_given_away(tax, N):
    return ...


# %% tags=["check-1"]
check_1(share_given_away)

# %% [markdown]
# **Exercise 2 (the game).** Make reproduction random: each remaining fish has one young with probability
# `chance`, independently; the number of fish is limited to `capacity`. `left` has shape [batch]. All
# randomness must come from the generator: then the result depends on its seed only. (`torch.binomial` takes
# a generator.)


# %% tags=["exercise-2"]
def breed(left, chance, capacity, generator):
    return ...


# %% tags=["check-2"]
check_2(breed)

# %% [markdown]
# **Exercise 3 (the method).** Let every agent have a tax rate of its own: `phi` has the shape [seed, agent],
# and agent $i$ pays the share $\tau_i = 1 / (1 + e^{-\varphi_i})$ of *its* reward. Return the
# sharing matrix, [seed, giver, receiver], differentiable in `phi`. Each giver's row sums to 1.


# %% tags=["exercise-3"]
def own_rates(phi):
    return ...


# %% tags=["check-3"]
check_3(own_rates)

# %% [markdown]
# **Exercise 4 (your own game).** Write a game of your own, and replace the dots by an instance of it. The
# check runs random episodes: shapes, random numbers, termination, and whether random actions exceed
# `best_welfare`. Start from `Pond`, or from a dilemma of everyday life.

# %% tags=["exercise-4"]
my_game = ...

# %% tags=["check-4"]
check_4(my_game)

# %% [markdown]
# **For discussion.** (a) We used the learning rate 1 for all methods because it worked. For which method
# does it work best, and what is a fair choice? (b) The tax maximizes the total catch. Whose objective is
# that, in a village? What if each agent updated the rate by its *own* reward? (c) An interval over 16 seeds
# quantifies the uncertainty for this pond, with these settings. What does it not quantify?

# %% [markdown]
# ## What to read
#
# * `CONTRIBUTING.md`: how to add a game, a method or an estimator to the toolkit, and which tests they need.
# * `docs/how-to/compare-methods.md`: reproducing the tables of papers, and what their intervals mean;
#   `docs/how-to/choose-estimator.md`: which estimator.
# * Agarwal and others, *Deep reinforcement learning at the edge of the statistical precipice*, arXiv
#   2108.13264: why few seeds mislead. Henderson and others, *Deep reinforcement learning that matters*, arXiv
#   1709.06560.
# * Zheng and others, *The AI Economist*, arXiv 2004.13332: learned taxes, on a larger scale.
#   Terry and others, *PettingZoo*, arXiv 2009.14471.
# * Ostrom, *Governing the commons*, 1990: common-pool resources, and the institutions that manage them.

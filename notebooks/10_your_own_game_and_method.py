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
# **Goals.** After this lesson you can write a game and a method, test both against an independent reference,
# and compare methods reproducibly.
#
# **Prerequisites.** Lesson 05. About 30 minutes.

# %% tags=["setup", "hide-input"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("bilevel") is None:  # not installed yet, as in Colab
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "bilevel[lessons]"], check=True)

# %% tags=["hide-input"]
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.display import Markdown, display

import bilevel
from bilevel.lessons import AMBER, BLUE, GRAY, GREEN, RED
from bilevel.lessons import draw_band, explore, learning_curves, over_seeds, size
from bilevel.lessons import use_style
from bilevel.lessons.checks.your_own_game_and_method import check_1, check_2, check_3
from bilevel.lessons.checks.your_own_game_and_method import check_4
from bilevel.report import looks

use_style()

# %% [markdown]
# ## A picture of the answer
#
# The game and the method take about a hundred lines, as they would be in a file `pond.py` of your own. They
# are in the three collapsed cells below: run them now, and read them in the section "The library's version".

# %% tags=["pond.py", "hide-input"]
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from gymnasium import spaces

import games


class PondState(NamedTuple):
    fish: torch.Tensor  # [batch], integers
    day: torch.Tensor  # [batch], from 0


def next_day(fish, actions, capacity):
    """Tomorrow's number of fish, [batch], and today's catch, [batch, agent]."""
    asked = actions + 1
    total = asked.sum(-1)
    # divided in proportion if there are too few
    caught = asked * (fish / total).clamp(max=1)[:, None]
    left = (fish - total).clamp(min=0)
    return (2 * left).clamp(max=capacity), caught


def draw_fish(fish, capacity, side=24):
    """An image with a mark for each fish, [height, width, color]."""
    frame = np.full((side, side * capacity, 3), (200, 225, 245), dtype=np.uint8)
    top, margin = side // 4, side // 8
    for left in range(0, side * fish, side):
        frame[top:-top, left + margin : left + side - margin] = (230, 120, 0)
    return frame


# %% tags=["pond.py", "hide-input"]
@dataclass(frozen=True, kw_only=True)
class Pond(games.Game):
    """A pond with two fish per agent: an agent catches one (spare) or two (grab)."""

    agents: int = 3
    """Number of agents."""
    horizon: int = 5
    """Days of an episode."""

    capacity = property(lambda self: 2 * self.agents)
    num_agents = property(lambda self: self.agents)
    action_space = property(lambda self: spaces.Discrete(2))
    action_names = property(lambda self: ("spare", "grab"))
    num_observations = property(lambda self: (self.horizon + 1) * (self.capacity + 1))
    observation_space = property(lambda self: spaces.Discrete(self.num_observations))
    best_welfare = property(lambda self: float(self.agents * (self.horizon + 1)))
    defection_welfare = property(lambda self: float(self.capacity))

    def reset(self, batch, generator):
        day = torch.zeros(batch, dtype=torch.int64, device=generator.device)
        return PondState(day + self.capacity, day)

    def observe(self, state):
        """The day and the number of fish as one integer, the same for all agents."""
        number = state.day * (self.capacity + 1) + state.fish
        return number[:, None].expand(-1, self.agents)

    def step(self, state, actions, generator):
        fish, caught = next_day(state.fish, actions, self.capacity)
        state = PondState(fish, state.day + 1)
        return state, caught, state.day >= self.horizon

    def cooperates(self, state, actions):
        return actions == 0

    def scripted(self, state, cooperative):
        return (~cooperative).long()

    def render(self, state, index=0, scale=1.0):
        side = max(round(24 * scale), 8)
        return draw_fish(int(state.fish[index]), self.capacity, side)


games.register("pond", Pond(), summary="leave enough fish for tomorrow", replace=True)

# %% tags=["pond.py", "hide-input"]
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
    """A learned tax on the rewards of all agents; the total is divided evenly."""

    start: float = 0.1
    """The initial tax rate, above 0 and below 1."""

    def build(self, game, placement):
        tax, welfare = Tax(game.num_agents, self.start), OBJECTIVES["welfare"]
        return OuterLearner(self, game, placement, tax, objective=welfare)


register_method("tax", LearnedTax)

# %% tags=["hide-input"]
INNER = {"inner.learning_rate": 1.0, "inner.episodes": 32}


def train(method, seeds, steps, **settings):
    """Train all seeds in one batch, in a temporary folder."""
    settings = {"outer_steps": steps, "evaluation_episodes": 256, **INNER, **settings}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        return bilevel.train("pond", method, seeds=seeds, out=out, **settings)


METHODS, FEW = ("selfish", "tax"), size(8, fast=3)
first = {method: train(method, FEW, size(120, fast=2)) for method in METHODS}


# %% tags=["hide-input"]
def draw_references(axes, game=Pond()):
    """Label the welfare of the social optimum, and that of agents that all grab."""
    end = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    end |= {"ha": "right", "color": GRAY, "fontsize": 11}
    optimum = game.best_welfare, "social optimum", 4
    for height, words, above in (optimum, (game.defection_welfare, "all grab", -14)):
        axes.axhline(height, color=GRAY, linestyle=":", linewidth=1)
        axes.annotate(words, (0.99, height), (0, above), **end)


WELFARE = "welfare (total catch per episode)"
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
for method, color, dashes in (("selfish", RED, ":"), ("tax", BLUE, "-")):
    curve, look = first[method].curves["welfare"], {"color": color, "linestyle": dashes}
    draw_band(left, range(len(curve)), curve, label=method, **look)
draw_references(left)
# an agent gets a third of its tax back
rates = first["tax"].curves["given_away"] * 3 / 2
draw_band(right, range(len(rates)), rates, label="tax", color=BLUE)
left.set(xlabel="outer step", ylabel=WELFARE, ylim=(0, 20))
right.set(xlabel="outer step", ylabel="tax rate", ylim=(0, 1.05))
left.legend(loc="center right")
plt.show()

# %% [markdown]
# Selfish agents empty the pond on the first day. With the tax they learn to leave enough fish. The tax rate
# is learned at the same time.
#
# (Lines are interquartile means over 8 seeds, bands their 95 % intervals.)
#
# ## The idea in words
#
# An hour of research, in seven steps, in the order of the sections below:
#
# 1. **Write the game** as a function from a state and actions to a state and rewards, for a whole batch.
# 2. **Test it**: rewards computed by hand; a second implementation that must agree; the optimum by dynamic
#    programming. A bug in the game can look like a good result.
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
# First the game: the rules in plain Python, for one pond. An agent asks for one fish (action 0, spare) or two
# (action 1, grab). If there are too few, the agents get fish in proportion to what they ask for. The pond
# holds at most `capacity` fish, two per agent.


# %%
def one_day(fish, actions, capacity):
    """The number of fish on the next day, and each agent's catch."""
    asked = [1 + action for action in actions]
    if sum(asked) >= fish:
        return 0, [fish * own / sum(asked) for own in asked]
    return min(2 * (fish - sum(asked)), capacity), asked


print("all spare:", one_day(6, (0, 0, 0), 6))
print("one grabs:", one_day(6, (1, 0, 0), 6))
print("all grab: ", one_day(6, (1, 1, 1), 6))

# %% [markdown]
# The optimum for three agents, by *dynamic programming* over the number of fish and the remaining days:

# %%
from functools import cache
from itertools import product


@cache
def largest_catch(fish, days, agents=3):
    """The largest total catch, over all actions of all days."""
    if days == 0:
        return 0.0
    best = 0.0
    for actions in product((0, 1), repeat=agents):
        tomorrow, caught = one_day(fish, actions, 2 * agents)
        best = max(best, sum(caught) + largest_catch(tomorrow, days - 1, agents))
    return best


for days in (1, 3, 5):
    found, best = largest_catch(6, days), Pond(horizon=days).best_welfare
    print(f"days: {days}, largest catch: {found:g}, the class's best_welfare: {best:g}")

# %% [markdown]
# Does the class, which computes a whole batch with tensors, have the same rules?

# %%
generator = torch.Generator().manual_seed(0)
fish = torch.randint(7, (500,), generator=generator)
actions = torch.randint(2, (500, 3), generator=generator)
state = PondState(fish, torch.zeros_like(fish))
after, caught, _ = Pond().step(state, actions, generator)
plain = [one_day(int(fish[i]), actions[i].tolist(), 6) for i in range(500)]
tomorrow, catch = (torch.tensor(column) for column in zip(*plain, strict=True))
same = torch.equal(after.fish, tomorrow) and torch.allclose(caught, catch)
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
    jacobian = torch.func.jacrev(taxed)(theta, phi)
    gradient = jacobian.diagonal()  # of each agent's own value
    return values(theta + alpha * gradient).sum()


# %% [markdown]
# ## The library's version
#
# Now open the three collapsed cells of `pond.py` above. A game implements this contract, always for a whole
# batch:
#
# | part of `Pond` | meaning |
# |---|---|
# | `reset(batch, generator)` | initial state, a `NamedTuple` of tensors |
# | `observe(state)` | observations, [batch, agent]; here integers |
# | `step(state, actions, generator)` | next state, rewards [batch, agent], end of the episode [batch] |
# | `action_space`, `observation_space`, `horizon` | sizes of policies and episodes |
# | `cooperates`, `scripted`, `best_welfare`, `render` | optional, for reports, baselines and animations |
#
# `step` is pure: it returns a new state and does not change the old one. A method states its outer variables
# and the rewards that follow from them; `OuterLearner` does the rest, hypergradient included:
#
# | part of the method | meaning |
# |---|---|
# | `Tax.initial(seed, seeds)` | initial outer variables, [seed, ...] |
# | `Tax.transfer(phi)` | the sharing matrix, [seed, giver, receiver], differentiable in `phi` |
# | `Tax.exact` | true: rewards are shared by a matrix only, so exact values can be used, too |
# | `LearnedTax` | settings, as fields, and `build`, which returns a learner for a game |
#
# `learner.update` takes one outer step. With plain gradient ascent at learning rate 1, the change of
# $\varphi$ is the gradient. In addition `check_hypergradient` compares it with finite differences.

# %%
game = games.make("prisoners-dilemma")
plain = {"inner.learning_rate": 1.0, "outer.optimizer": "sgd"}
method = LearnedTax().with_settings({**plain, "outer.learning_rate": 1.0})
learner = method.build(game, bilevel.Placement(seeds=3))
state = learner.init(seed=0)
theta, phi = state["theta"][..., 0], state["phi"][:, 0]
from_scratch = torch.func.vmap(torch.func.grad(welfare_after))(phi, theta)
change = (learner.update(state)[0]["phi"] - state["phi"])[:, 0]
table = "| seed | from scratch | library |\n|---|---|---|\n"
for seed in range(3):
    table += f"| {seed} | {from_scratch[seed]:.10f} | {change[seed]:.10f} |\n"
display(Markdown(table))
print("equal:", torch.allclose(from_scratch, change, atol=1e-12))
problem = learner.problem_at(state, torch.Generator().manual_seed(0))
parts = state["theta"], state["opt_state"], state["phi"]
print(bilevel.check_hypergradient(problem, *parts, steps=1))

# %% [markdown]
# ## A game from PettingZoo
#
# Perhaps your game already exists as a [PettingZoo](https://pettingzoo.farama.org) environment. Suppose a
# colleague implemented the pond in this way:

# %%
from pettingzoo.utils.env import ParallelEnv


class ColleaguesPond(ParallelEnv):
    metadata, render_mode = {"name": "pond", "render_modes": []}, None
    possible_agents = ("Ada", "Ben", "Cem")

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
        agents, chosen = self.agents, [actions[agent] for agent in self.agents]
        self.fish, caught = one_day(self.fish, chosen, 6)
        self.day += 1
        rewards = dict(zip(agents, caught, strict=True))
        terminations = dict.fromkeys(agents, False)
        truncations = dict.fromkeys(agents, self.day == 5)
        self.agents = [] if self.day == 5 else agents
        return self.observations(), rewards, terminations, truncations, {}


# %% [markdown]
# One line converts it into a game, which is also a test of ours: the same actions must give the same catch.

# %%
from games import from_pettingzoo

converted, pond = from_pettingzoo(ColleaguesPond, horizon=5), Pond()
theirs, ours, same = converted.reset(50, generator), pond.reset(50, generator), True
for _ in range(5):
    actions = torch.randint(2, (50, 3), generator=generator)
    theirs, their_catch, _ = converted.step(theirs, actions, generator)
    ours, our_catch, _ = pond.step(ours, actions, generator)
    same &= torch.allclose(their_catch, our_catch)
    same &= bool((converted.observe(theirs) == pond.observe(ours)).all())
print(f"50 episodes, catches and observations equal: {same}")

# %% [markdown]
# Methods can be trained in it directly. (There is one environment for each seed and episode. The random
# numbers differ from those in our game, so the results differ, too.)

# %%
method = LearnedTax().with_settings({**INNER, "inner.episodes": 8})
for name, game in (("our game", pond), ("PettingZoo", converted)):
    learner = method.build(game, bilevel.Placement(seeds=3))
    final = learning_curves(learner, size(40, fast=2))["welfare"][-1]
    print(f"{name:11}final welfare by seed:", [round(float(fish), 2) for fish in final])

# %% [markdown]
# The packages `pettingzoo` and `mpe2` have dozens of such environments, parallel and turn-based;
# OpenSpiel's games are converted by `from_openspiel`, Gymnasium's environments by `from_gymnasium`. After
# `games.register("spread", ...)` every command of `bilevel` accepts the game, with the constructor's
# arguments as options. For instance, three agents that should cover three landmarks:

# %%
from mpe2 import simple_spread_v3

spread = from_pettingzoo(simple_spread_v3.parallel_env, max_cycles=10)
sizes = f"{spread.num_agents} agents, {spread.num_actions} actions"
print(f"{spread.name}: {sizes}, {spread.horizon} steps,", end=" ")
print(f"observations of {spread.observation_space.shape[0]} numbers")

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
METHODS = ("selfish", "fixed", "tax", "tos")
runs = {method: train(method, SEEDS, STEPS) for method in METHODS}

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
LOOKS = looks(["selfish", "fixed", "tos"]) | {"tax": {"color": BLUE, "linestyle": "--"}}
for method, results in runs.items():
    look = {"color": LOOKS[method]["color"], "linestyle": LOOKS[method]["linestyle"]}
    for axes, name in ((left, "welfare"), (right, "given_away")):
        draw_band(axes, range(STEPS), results.curves[name], label=method, **look)
draw_references(left)
left.set(xlabel="outer step", ylabel=WELFARE, ylim=(0, 20))
right.set(xlabel="outer step", ylabel="share given away", ylim=(-0.05, 1.05))
figure.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=4)
plt.show()

# %%
table = "| method | welfare | P(improvement) | share given away |\n|---|---|---|---|\n"
for row in compare_runs(runs):
    welfare = with_interval(row.intervals["welfare"])
    improvement = with_interval(row.probability_of_improvement)
    share = row.intervals["given_away"].estimate
    table += f"| {row.label} | {welfare} | {improvement} | {share:.2f} |\n"
display(Markdown(table))
tax = compare_runs({"tos": runs["tos"], "tax": runs["tax"]})[1]
significant = tax.difference.low * tax.difference.high > 0
verdict = "significant" if significant else "not significant"
print(f"difference in welfare, tax - tos: {with_interval(tax.difference)}", end=" ")
print(f"({verdict} at the 5 % level)")
probability = with_interval(tax.probability_of_improvement)
print(f"P(improvement) of tax over tos: {probability}")

# %% [markdown]
# P(improvement) is the probability that a random run of the method has a larger welfare than a random run of
# the first method in the table, `selfish`; 0.5 means no difference. Be critical of the figure, too. With
# `tos` agents initially give two thirds away; the initial tax is a tenth. So part of the difference in speed
# is due to the initial sharing. And the learned shares differ more than the welfare: with `tos` agents give
# away almost their *whole* catch during most of the run, and keep what they receive. With a tax of 1 they
# still get a third of their own catch.
#
# ## Look for a simpler explanation
#
# Was learning necessary? The strongest baseline for a learned tax is a fixed, hand-tuned tax. We train with 9
# rates. (With a tax of $\tau$ among $N$ agents each keeps $1 - \tau + \tau / N$ of its own reward, so `fixed`
# can implement it.)

# %%
RATES = torch.linspace(0, 1, size(9, fast=2)).tolist()


def kept(tax, agents=3):
    """The share of its own reward that an agent keeps under a tax."""
    return 1 - tax + tax / agents


trials = [train("fixed", SEEDS, STEPS, self_interest=kept(rate)) for rate in RATES]
fixed = np.stack([trial.final["welfare"] for trial in trials])  # [rate, seed]

# %% tags=["hide-input"]
figure, axes = plt.subplots()
look = {"color": AMBER, "linestyle": "--", "marker": "o"}
draw_band(axes, RATES, fixed, label="fixed tax", **look)
final = runs["tax"].final
learned = final["given_away"] * 3 / 2
look = {"color": BLUE, "markersize": 9, "label": "learned tax (one mark per seed)"}
axes.plot(learned, final["welfare"], "+", **look)
draw_references(axes)
axes.set(xlabel="tax rate", ylabel=WELFARE, ylim=(0, 20), xlim=(-0.03, 1.03))
axes.legend(loc="center right")
plt.show()

# %%
best, middle = int(fixed.mean(-1).argmax()), len(RATES) // 2
table = "| tax | welfare | training runs |\n|---|---|---|\n"
table += f"| fixed, {RATES[best]:.3g} (the best) | {over_seeds(fixed[best])} |"
table += f" {len(RATES)} |\n| fixed, {RATES[middle]:.3g} | {over_seeds(fixed[middle])}"
table += f" | 1 |\n| learned, {learned.mean():.3g} | {over_seeds(final['welfare'])}"
display(Markdown(f"{table} | 1 |"))

# %% [markdown]
# So the learned rate is good, but a fixed tax of 1 (a team reward) is at least as good. (The best of nine
# estimates is too high on average, the *winner's curse*: to compare it fairly, train it again on new seeds.)
# If you know the best rate, you need no hypergradient; if not, learning the rate saves the other training
# runs. And half of that tax gives most of the welfare: the learned rate *overshoots*, since the objective
# has no cost of taxation. `tos` has a `cost_weight` for that, and `docs/explanation/theory.md` computes the
# minimal transfer.
#
# ## Play
#
# Your own experiment: change the number of agents and the tax. Each setting starts a new training run (8
# seeds, 100 steps). Which rate do 2 agents need to spare the pond, and which do 5 need? First write down
# your guess.


# %% tags=["hide-input"]
def draw_pond(agents, tax):
    game, settings = Pond(agents=agents), {"self_interest": kept(tax, agents)}
    settings["game.agents"] = agents
    curve = train("fixed", FEW, size(100, fast=2), **settings).curves["welfare"]
    figure, axes = plt.subplots()
    label = f"{agents} agents, tax {tax:.2f}"
    draw_band(axes, range(len(curve)), curve, label=label, color=GREEN)
    draw_references(axes, game)
    axes.set(xlabel="outer step", ylabel=WELFARE, ylim=(0, 1.15 * game.best_welfare))
    axes.legend(loc="lower right")
    plt.show()


# %%
explore(draw_pond, agents=(2, 5, 1, 3), tax=(0.0, 1.0, 0.05, 0.5))

# %% [markdown]
# ## Publish it
#
# Put the three collapsed cells of the game and the method into a file `pond.py`. Then others can reproduce
# and extend your result without a notebook:
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
policies = ("all spare", [0, 0, 0]), ("one grabs", [1, 0, 0])
for row, (words, action) in zip(rows, policies, strict=True):
    state = Pond().reset(1, generator)
    for axes in row:
        axes.imshow(Pond().render(state))
        axes.set(xticks=[], yticks=[])
        state, _, _ = Pond().step(state, torch.tensor([action]), generator)
    row[0].set_ylabel(words, rotation=0, ha="right", va="center")
for day, axes in enumerate(rows[0], 1):
    axes.set_title(f"day {day}")
plt.show()

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/10_your_own_game_and_method.py`.
#
# **Exercise 1 (warm up).** With a tax of $\tau$ and $N$ agents, which share of its own reward does an agent
# give to the *other* agents? (This is the share given away in the figure above.)


# %% tags=["exercise-1"]
def share_given_away(tax, N):
    return ...


# %% tags=["check-1"]
check_1(share_given_away)

# %% [markdown]
# **Exercise 2 (the game).** Make reproduction random: each remaining fish has one young with a given
# probability, independently; the number of fish is limited to `capacity`. `left` is an integer tensor of
# shape [batch], and so is the result. All randomness must come from the generator: then the result depends
# on its seed only. (`torch.binomial` takes floats and a generator.)


# %% tags=["exercise-2"]
def breed(left, probability, capacity, generator):
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
# **Exercise 4 (your own game).** Write a game of your own, as a class with a new name, and replace the dots
# by an instance of it. The check runs random episodes: shapes, random numbers, termination, and whether
# random actions exceed `best_welfare`. It requires `best_welfare` and `cooperates`. Start from `Pond` and
# change its rules, or from a dilemma of everyday life.

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
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. Why implement the rules of a game twice?</summary>
#
# A bug in the game affects all methods and can look like a good result. An independent implementation, such
# as plain Python for one copy, agrees only if both are right or both have the same bug.
#
# </details>
#
# <details><summary>2. Why should all random numbers of a game come from the generator?</summary>
#
# Then the seed determines the result: others can reproduce it, and a seed gives the same result alone or in
# any batch.
#
# </details>
#
# <details><summary>3. Which baseline can make a learned tax unnecessary?</summary>
#
# The best fixed tax, with the same number of agents, seeds and steps. Only if finding it costs too many
# training runs, or if the best rate changes during learning, is it worth learning the rate.
#
# </details>

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
# * Next: `11_credit_in_networks`.

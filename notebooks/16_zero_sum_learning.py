# %% [markdown]
# # 16. Zero-sum learning
#
# **Which learning rule finds an equilibrium of a zero-sum game, and what converges: the average or the last
# iterate?**
#
# Two agents play rock-paper-scissors with unequal stakes. If rock decides a round, as the winner or as the
# loser, the loser pays 3; if scissors cut paper, the loser pays 1. Nobody tells the agents the equilibrium.
# After every round each agent sees what each of its actions would have earned, and changes its strategy by
# a simple rule.
#
# In lesson 8 such a rule, multiplicative weights, cycled around the equilibrium, and the average of the cycle
# converged to it. Here we see *why* (the reason is a number called regret), compare five rules, and then
# solve a game with hidden cards: Kuhn poker.
#
# **Goals.** After this lesson you can measure an agent's regret, state and check the theorem that connects it
# to exploitability, tell for each rule whether to use the average or the last iterate, and write
# counterfactual regret minimization for a small card game.
#
# **Prerequisites.** Lesson 08. About 45 minutes.

# %% tags=["setup", "hide-input"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("bilevel") is None:  # not installed yet, as in Colab
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "bilevel[lessons]"], check=True)

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display

import games
from bilevel import zero_sum
from bilevel.lessons import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED
from bilevel.lessons import draw_band, explore, size, use_style
from bilevel.lessons.checks.zero_sum_learning import check_1, check_2, check_3, check_4

use_style()
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A picture of the answer
#
# Five rules of the library learn this game from 20 random pairs of initial strategies. **Exploitability** is
# the gain of a best response, averaged over both agents; it is 0 exactly in a Nash equilibrium.

# %% tags=["hide-input"]
PAYOFFS = games.make("perturbed-rock-paper-scissors").payoffs()[..., 0]  # of agent 0
STEPS, STARTS = size(3000, fast=30), size(20, fast=3)
draws = torch.Generator().manual_seed(0)
STARTED = [torch.randn(STARTS, 3, generator=draws).softmax(-1) for _ in range(2)]
RULES = {
    "multiplicative weights": zero_sum.MultiplicativeWeights(learning_rate=0.1),
    "fictitious play": zero_sum.FictitiousPlay(),
    "regret matching": zero_sum.RegretMatching(),
    "optimistic weights": zero_sum.OptimisticMultiplicativeWeights(learning_rate=0.1),
    "moving magnet": zero_sum.MagneticMirrorDescent(temperature=1.0, magnet_rate=0.05),
}
runs = {
    name: zero_sum.learn(PAYOFFS, rule, STEPS, start=STARTED)
    for name, rule in RULES.items()
}

# %% tags=["hide-input"]
LINES = (RED, ":"), (AMBER, "-."), (PURPLE, "--"), (BLUE, "-"), (GREEN, (0, (5, 1)))
LOOKS = dict(zip(RULES, LINES, strict=True))
FLOOR = 1e-8
figure, panels = plt.subplots(1, 2, figsize=(12, 4.8), sharey=True)
for name, history in runs.items():
    for axes, iterates in zip(panels, (history.last, history.average), strict=True):
        gap = games.exploitability(PAYOFFS, iterates).clamp(min=FLOOR)
        color, dashes = LOOKS[name]
        draw_band(axes, history.steps, gap, label=name, color=color, linestyle=dashes)
for axes, title in zip(panels, ("last iterate", "average iterate"), strict=True):
    axes.set(xscale="log", yscale="log", xlabel="learning step", title=title)
panels[0].set_ylabel("exploitability (cut off at $10^{-8}$)")
handles = panels[0].get_legend_handles_labels()
figure.legend(*handles, loc="outside lower center", ncols=3)
plt.show()
print(f"exploitability after {STEPS} steps, median over {STARTS} starts")
for name, history in runs.items():
    last, average = (
        float(games.exploitability(PAYOFFS, one)[-1].median())
        for one in (history.last, history.average)
    )
    print(f"{name:23} last {last:8.1e}   average {average:8.1e}")

# %% [markdown]
# The first three rules fail in the left panel and succeed, slowly, in the right one: use the average of their
# iterates. The last two succeed in both, and their last iterates are better by many orders of magnitude.
#
# ## The idea in words
#
# **Regret** looks back. After $T$ rounds an agent asks: how much more would I have earned if I had played one
# and the same action in all the rounds, against what the other agent really played? For the best such action
# that is the agent's (external) regret. It does not ask for the best action of each round, which nobody can
# know beforehand.
#
# **No regret is enough.** Suppose that in a zero-sum game both agents have a small regret per round. Then the
# *averages* of their strategies are nearly an equilibrium: a fixed action earns against the average of the
# other's strategies what it earned, on average, over the rounds. So the gain of the best response to the
# average *is* the regret per round, up to the agent's own earnings. Those of the two agents cancel.
#
# **The rules** need nothing but the payoffs of an agent's own actions in past rounds:
#
# * **Fictitious play** plays the action with the largest total payoff so far: a best response to the average.
# * **Multiplicative weights** (Hedge) plays every action with a probability proportional to the exponential
#   of its total payoff: a soft best response.
# * **Regret matching** plays actions in proportion to their positive regrets, and has no learning rate.
# * **Optimistic** multiplicative weights counts the last payoff twice, as a prediction of the next one.
# * **Magnetic mirror descent** pulls the strategy toward a reference strategy, the *magnet*, with a strength
#   called temperature.
#
# **What converges?** The theorem speaks of averages, and the first three rules have no more to offer: their
# strategies cycle. The last two damp the cycle, so that the strategies themselves converge. This matters if
# the strategy is a neural network, as networks cannot be averaged by averaging their weights.

# %% [markdown]
# ## The key equation
#
# $x^t$ and $y^t$ are the strategies of the agents 0 and 1 in round $t$ (probabilities of the actions), $A$
# is the payoff matrix of agent 0, and $u^t = A y^t$ are the payoffs of its actions. Agent 1 receives the
# negative of agent 0's payoff. The regret of agent 0 after $T$ rounds, and likewise $R_1$ of agent 1, is
#
# $$R_0 = \max_a \sum_{t=1}^T \big(u^t_a - x^t \cdot u^t\big).$$
#
# Let $\bar x = \frac1T \sum_t x^t$ and $\bar y = \frac1T \sum_t y^t$. Since
# $\frac1T \sum_t u^t_a = (A \bar y)_a$, and the payoffs $x^t \cdot u^t$ cancel between the two agents:
#
# $$\boxed{\ \text{exploitability}(\bar x, \bar y) =
# \frac12 \Big( \max_a (A \bar y)_a - \min_b (\bar x^{\!\top}\! A)_b \Big) = \frac{R_0 + R_1}{2\,T}\ }$$
#
# It remains to bound the regret. With $n$ actions, a uniform first strategy and payoffs in a range of length
# $L$, whatever the other agent plays:
#
# $$R \le \frac{\log n}{\eta} + \frac{\eta\, T L^2}{8} \ \text{(multiplicative weights, learning rate } \eta),
# \qquad R \le L \sqrt{n\, T} \ \text{(regret matching)}.$$

# %% [markdown]
# ## From scratch
#
# All rules in one loop. `total` is the sum of the payoffs of each action, `now` the last payoffs, and
# `regret` the cumulative regret of each action. Both agents move at once, and both use the same rule: every
# tensor has the axes [agent, action].

# %%
GAME = torch.stack((PAYOFFS, -PAYOFFS.T))  # [agent, own action, other's action]
START = torch.stack([one[0] for one in STARTED])
RATE = 0.1


def action_values(x):
    """The payoff of each action against the other agent's strategy."""
    return torch.einsum("nij,...nj->...ni", GAME, x.flip(-2))


def multiplicative_weights(total, now, regret):
    return (START.log() + RATE * total).softmax(-1)


def optimistic_weights(total, now, regret):
    return (START.log() + RATE * (total + now)).softmax(-1)


def fictitious_play(total, now, regret):
    return torch.eye(total.shape[-1])[total.argmax(-1)]


def regret_matching(total, now, regret):
    positive = regret.clamp(min=0)
    weight = positive.sum(-1, keepdim=True)
    uniform = torch.full_like(regret, 1 / regret.shape[-1])
    return torch.where(weight > 0, positive / weight.clamp(min=1e-300), uniform)


# %% [markdown]
# The loop keeps what was played and what the actions were worth. Exploitability and regret are then one line
# each.

# %%


def learn(rule, steps):
    """Strategies and action values of all steps, [step, agent, action] each."""
    x, total, regret, played, worth = START, 0 * START, 0 * START, [], []
    for _ in range(steps):
        now = action_values(x)
        played.append(x)
        worth.append(now)
        total = total + now
        regret = regret + now - (x * now).sum(-1, keepdim=True)
        x = rule(total, now, regret)
    return torch.stack(played), torch.stack(worth)


def exploitability(x):
    """The gain of a best response, averaged over both agents, [...]."""
    values = action_values(x)
    return (values.amax(-1) - (x * values).sum(-1)).mean(-1)


def regrets(played, worth):
    """The cumulative regret of both agents after each step, [step, agent]."""
    earned = (played * worth).sum(-1).cumsum(0)
    return worth.cumsum(0).amax(-1) - earned


# %% [markdown]
# Does the theorem hold? In each row the last two numbers must be the same.

# %%
ours = {
    "multiplicative weights": multiplicative_weights,
    "fictitious play": fictitious_play,
    "regret matching": regret_matching,
    "optimistic weights": optimistic_weights,
}
paths = {name: learn(rule, STEPS) for name, rule in ours.items()}
rows = ["| rule | $R_0$ | $R_1$ | $(R_0 + R_1) / 2T$ | exploitability of the average |"]
rows += ["|---|---|---|---|---|"]
error = 0.0
for name, (played, worth) in paths.items():
    first, second = regrets(played, worth)[-1]
    bound, gap = (first + second) / (2 * STEPS), exploitability(played.mean(0))
    rows += [f"| {name} | {first:.2f} | {second:.2f} | {bound:.8f} | {gap:.8f} |"]
    error = max(error, float((bound - gap).abs()))
display(Markdown("\n".join(rows)))
print(f"largest difference after {STEPS} steps: {error:.0e}")

# %% [markdown]
# The equation holds for every rule and after every step, whether the rule is good or not: it is an identity.
# The rules differ in how fast their regret grows. Left, the sum of both regrets; right, the exploitability of
# the average, which is that sum divided by $2T$.

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6))
clock = torch.arange(1, STEPS + 1)
for name, (played, worth) in paths.items():
    color, dashes = LOOKS[name]
    total = regrets(played, worth).sum(-1)
    left.plot(clock, total, color=color, linestyle=dashes, label=name)
    gap = (total / (2 * clock)).clamp(min=1e-5)
    right.plot(clock, gap, color=color, linestyle=dashes)
bound = 2 * 6 * (3 * clock).sqrt()
label = "bound of regret matching"
left.plot(clock, bound, color=GRAY, linewidth=1, label=label)
right.plot(clock, bound / (2 * clock), color=GRAY, linewidth=1)
left.set(xscale="log", yscale="log", xlabel="learning step T")
left.set(ylabel="regret $R_0 + R_1$", title="sum of the regrets")
right.set(xscale="log", yscale="log", xlabel="learning step T")
right.set(ylabel="exploitability", title="average iterate")
figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
plt.show()
tenth = max(STEPS // 10, 1)
print(f"sum of the regrets after {tenth} and after {STEPS} steps:")
for name, (played, worth) in paths.items():
    early, late = regrets(played, worth).sum(-1)[[tenth - 1, STEPS - 1]]
    print(f"{name:23}{early:8.2f}{late:8.2f}   {late / early:.2f} times as much")

# %% [markdown]
# If a regret grows like $\sqrt T$, ten times as many steps make it $\sqrt{10} \approx 3.2$ times as large,
# and the exploitability of the average falls like $1 / \sqrt T$. Fictitious play and regret matching do
# just that. The regret of multiplicative weights grew faster in this range: with a constant learning rate
# its bound has a term that is linear in $T$, and theory lets the rate fall like $1 / \sqrt T$. The regret
# of optimistic weights stops growing, since its predictions become right: the exploitability of its average
# falls like $1 / T$. All are far below the gray bound. It holds for regret matching even if the other agent
# knows everything in advance; fictitious play has no such guarantee.

# %% [markdown]
# ## The library's version
#
# `zero_sum.learn` records last and average iterates of a rule. From the same start it must give the same
# strategies. (Our optimistic rule counts the payoffs of the first round twice. The library's counts them
# once, as it has no earlier payoffs to compare them with. Here we subtract this difference, `first`.)

# %%
first = action_values(START)
ours["optimistic weights"] = lambda total, now, regret: (
    START.log() + RATE * (total + now - first)
).softmax(-1)
COMPARED = size(300, fast=20)
for name, rule in ours.items():
    history = zero_sum.learn(PAYOFFS, RULES[name], COMPARED, start=START.unbind())
    scratch = learn(rule, COMPARED)[0].mean(0)
    library = torch.stack([one[-1] for one in history.average])
    same = torch.allclose(scratch, library, atol=1e-9)
    print(f"{name:23} average of agent 0: {library[0].numpy().round(4)}, same: {same}")
solved = games.zero_sum_equilibrium(PAYOFFS)
exact = solved.row.numpy().round(4)
print(f"linear program:         {exact}, value {solved.value:.4f}")

# %% [markdown]
# ## Last iterates
#
# Lesson 8 measured that a step of multiplicative weights points past the equilibrium, and that the strategies
# spiral outward. There are two cures.
#
# **Optimism.** The optimistic rule anticipates where the other agent is going. Its steps point a little
# inward, and the spiral turns inward.
#
# **Regularization.** Let $\rho$ (rho) be a fixed strategy, the magnet (here the uniform one). Subtract
# $\tau\, \mathrm{KL}(x \| \rho)$ from the agent's payoff, with the temperature $\tau$ (tau). The
# Kullback-Leibler divergence $\mathrm{KL}(x \| \rho) = \sum_a x_a \log (x_a / \rho_a)$ is 0 if $x = \rho$,
# and positive otherwise. The regularized game has a single equilibrium, the *quantal response equilibrium*,
# and learning converges to it. One step of magnetic mirror descent, with the learning rate $\eta$, is
#
# $$x^{t+1} \propto \Big( x^t\, \rho^{\,\eta \tau}\, e^{\,\eta u^t} \Big)^{1 / (1 + \eta \tau)}.$$
#
# With a fixed magnet the limit is the equilibrium of the regularized game, not of the original one. So let
# the magnet follow the strategy slowly, by a *magnet rate* $r$: $\rho \leftarrow \rho^{1 - r} x^r$
# (normalized). Where strategy and magnet are equal, the pull is 0.

# %%


def magnetic(steps, rate=0.1, temperature=1.0, magnet_rate=0.0):
    """Strategies of magnetic mirror descent, [step, agent, action]."""
    log_x = START.log()
    magnet = torch.full_like(START, 1 / 3).log()
    pull, path = rate * temperature, []
    for _ in range(steps):
        x = log_x.exp()
        path.append(x)
        moved = log_x + pull * magnet + rate * action_values(x)
        log_x = (moved / (1 + pull)).log_softmax(-1)
        magnet = magnet + magnet_rate * (log_x - magnet)
        magnet = magnet.log_softmax(-1)
    return torch.stack(path)


shown = {
    "multiplicative weights": learn(multiplicative_weights, STEPS)[0],
    "optimistic weights": learn(optimistic_weights, STEPS)[0],
    "fixed magnet": magnetic(STEPS),
    "moving magnet": magnetic(STEPS, magnet_rate=0.05),
}
NASH = solved.row  # of both agents: the game is symmetric
distance = {
    name: (NASH * (NASH / path).log()).sum((-2, -1)) for name, path in shown.items()
}

# %% tags=["hide-input"]
CORNERS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]])


def draw_triangle(axes):
    """The triangle of all strategies, with the equilibrium."""
    axes.fill(*CORNERS.T, facecolor="none", edgecolor=GRAY, linewidth=1)
    names = (("rock", (-4, -14)), ("paper", (-20, -14)), ("scissors", (-28, 5)))
    for corner, (name, shift) in zip(CORNERS, names, strict=True):
        axes.annotate(name, corner, shift, textcoords="offset points")
    axes.plot(*(NASH @ CORNERS), "*", color=BLACK, markersize=14, zorder=5)
    axes.set(aspect="equal", xlim=(-0.1, 1.1), ylim=(-0.1, 1.0))
    axes.axis("off")


LOOKS["fixed magnet"] = AMBER, "-."
figure, panels = plt.subplots(1, 4, figsize=(15, 4.2), width_ratios=(1, 1, 1, 1.3))
for axes, name in zip(panels, [*list(shown)[:2], "moving magnet"], strict=False):
    draw_triangle(axes)
    points = shown[name][:, 0] @ CORNERS
    axes.plot(*points[:150].T, color=LOOKS[name][0], linewidth=1)
    axes.plot(*points[0], "o", color=BLACK)
    axes.plot(*points[:150][-1], "s", color=LOOKS[name][0], clip_on=False)
    axes.set_title(name)
for name, values in distance.items():
    color, dashes = LOOKS[name]
    panels[3].plot(values.clamp(min=1e-12), color=color, linestyle=dashes, label=name)
panels[3].set(yscale="log", xlabel="learning step", title="distance to equilibrium")
panels[3].set(ylabel="KL divergence, both agents", ylim=(1e-12, 1e4))
panels[3].legend(loc="upper right", fontsize=9, ncols=2)
plt.show()
print(f"KL divergence from the equilibrium to the strategies, {STEPS} steps:")
for name, values in distance.items():
    start, end = float(values[0]), max(float(values[-1]), 0.0)
    print(f"{name:23}{start:.2f} at the start, {end:.1e} at the end")

# %% [markdown]
# (Dot: start; square: after 150 steps; star: equilibrium. The triangles show agent 0.) Multiplicative weights
# spirals out to the border of the triangle, where a probability is almost 0. The fixed magnet (only in the
# right panel) stops at the quantal response equilibrium, at a distance from the Nash equilibrium. The other
# two converge: their divergence shrinks by a constant factor per step.
#
# Is that the library's magnet? The largest difference of the strategies, after the same number of steps:

# %%
rule = RULES["moving magnet"]
history = zero_sum.learn(PAYOFFS, rule, COMPARED, start=START.unbind())
library = torch.stack([one[-1] for one in history.last])
scratch = magnetic(COMPARED + 1, magnet_rate=0.05)[-1]
error = float((scratch - library).abs().max())
print(f"moving magnet, from scratch minus library: {error:.0e}")

# %% [markdown]
# **Try it.** How much temperature does the learning rate need? Set the temperature to 0, and the rule is
# multiplicative weights. Set the magnet rate to 0, and the magnet is fixed. First guess: what does a large
# temperature with a small magnet rate do to the speed?


# %% tags=["hide-input"]
def draw_magnet(rate, temperature, magnet_rate):
    path = magnetic(size(600, fast=20), rate, temperature, magnet_rate)
    steps = torch.arange(1, len(path) + 1)
    average = path.cumsum(0) / steps[:, None, None]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
    draw_triangle(left)
    points = path[:, 0] @ CORNERS
    left.plot(*points.T, color=GREEN, linewidth=1)
    left.plot(*points[0], "o", color=BLACK)
    left.plot(*points[-1], "s", color=GREEN)
    left.set_title("agent 0: start (dot), end (square)")
    for what, color, dashes in ((path, GREEN, "-"), (average, BLUE, "--")):
        label = "last iterate" if what is path else "average iterate"
        gap = exploitability(what).clamp(min=1e-12)
        right.plot(steps, gap, color=color, linestyle=dashes, label=label)
    right.set(xscale="log", yscale="log", ylim=(1e-6, 10))
    right.set(xlabel="learning step", ylabel="exploitability")
    right.legend(loc="lower left")
    plt.show()


# %%
explore(
    draw_magnet,
    rate=(0.02, 0.5, 0.02, 0.1),
    temperature=(0.0, 3.0, 0.1, 1.0),
    magnet_rate=(0.0, 0.2, 0.01, 0.05),
)

# %% [markdown]
# ## Hidden cards: counterfactual regret minimization
#
# **Kuhn poker.** There are three cards: jack, queen, king. Each agent puts 1 chip into the pot, and gets
# one card that only it can see. Agent 0 *checks* or *bets* 1 more chip. After a check agent 1 checks or
# bets; after a bet an agent *folds*, and loses its chip, or *calls* for 1 chip more. If nobody folds, the
# higher card wins the pot.
#
# An agent does not know the other's card: it must play the same way in all situations that it cannot tell
# apart. Such a set of situations is an **information set**, here a card and the moves so far. There are 12.
# A strategy has one probability for each, of the risky move (to bet, or to call), in a table [situation,
# card]:
#
# | situation | acting agent | safe move | risky move |
# |---|---|---|---|
# | 0: start | agent 0 | check | bet |
# | 1: after a check | agent 1 | check (show cards) | bet |
# | 2: after a bet | agent 1 | fold | call |
# | 3: after check and bet | agent 0 | fold | call |
#
# The values of the situations, for each pair of cards, go from the end of the game to its start:

# %%
DEALS = (1 - torch.eye(3)) / 6  # probability of (card of agent 0, card of agent 1)
WIN = torch.ones(3, 3).tril(-1) - torch.ones(3, 3).triu(1)  # 1 if agent 0's is higher


def split(x):
    """The probabilities of the four situations, each to multiply [card 0, card 1]."""
    first, checked, bet, both = x.unbind(-2)
    return first[..., None], checked[..., None, :], bet[..., None, :], both[..., None]


def situation_values(x):
    """Agent 0's values after a check, after a bet, and after both, per deal."""
    _, checked, bet, both = split(x)
    after_both = (1 - both) * -1 + both * 2 * WIN
    after_bet = (1 - bet) * 1 + bet * 2 * WIN
    after_check = (1 - checked) * WIN + checked * after_both
    return after_check, after_bet, after_both


def value(x):
    """Agent 0's expected payoff."""
    after_check, after_bet, _ = situation_values(x)
    first = split(x)[0]
    return (DEALS * ((1 - first) * after_check + first * after_bet)).sum((-2, -1))


print(f"value if all probabilities are 1/2: {value(torch.full((4, 3), 0.5)):.4f}")

# %% [markdown]
# **Counterfactual regret.** Regret matching could run on whole strategies, but there are $2^6$ pure ones
# per agent, and in real poker far too many. Counterfactual regret minimization (CFR) runs regret
# matching in each information set separately. The payoff of a move is its *counterfactual value*: the
# expected payoff, weighted with the probability that chance and the *other* agent lead to the set, as if
# the agent itself had tried to get there. The sum of these regrets (the positive ones) bounds the regret of
# the whole strategy.
# Here is the counterfactual value of the risky move minus that of the safe one, in all 12 information sets
# at once:

# %%


def advantage(x):
    """Counterfactual gain of the risky over the safe move, for the agent that moves."""
    after_check, after_bet, after_both = situation_values(x)
    first, checked, _, _ = split(x)
    start = (DEALS * (after_bet - after_check)).sum(-1)
    after_a_check = (DEALS * (1 - first) * (WIN - after_both)).sum(-2)
    after_a_bet = (DEALS * first * (1 - 2 * WIN)).sum(-2)
    after_both = (DEALS * checked * (2 * WIN + 1)).sum(-1)
    return torch.stack((start, after_a_check, after_a_bet, after_both), -2)


def matched(regret):
    """Regret matching on the last axis (safe, risky): the probability of risky."""
    positive = regret.clamp(min=0)
    weight = positive.sum(-1)
    return torch.where(weight > 0, positive[..., 1] / weight.clamp(min=1e-300), 0.5)


def own_reach(x):
    """Probability that the agent's own earlier moves lead to the information set."""
    reach = torch.ones_like(x)
    reach[..., 3, :] = 1 - x[..., 0, :]
    return reach


# %% [markdown]
# The loop. The agents update in turn, as in the library's version: agent 0 in the situations 0 and 3, then
# agent 1 in 1 and 2, against agent 0's new strategy. The average weighs a strategy by the agent's *own*
# probability of getting to the information set: a strategy for a situation that the agent itself avoids
# should count little.

# %%
TURNS = torch.tensor([[1.0, 0, 0, 1], [0, 1, 1, 0]])[..., None]  # [agent, situation, 1]


def cfr(steps, regret):
    """Last and average strategies, [step, ..., situation, card] each."""
    x = matched(regret)
    total, weight, last, average = 0 * x, 0 * x, [], []
    for _ in range(steps):
        for turn in TURNS:
            gain, reach = advantage(x), own_reach(x) * turn
            total, weight = total + reach * x, weight + reach
            change = torch.stack((-x * gain, (1 - x) * gain), -1)
            regret = regret + turn[..., None] * change
            x = torch.where(turn > 0, matched(regret), x)
        last.append(x)
        average.append(torch.where(weight > 0, total / weight.clamp(min=1e-300), x))
    return torch.stack(last), torch.stack(average)


def poker_exploitability(x):
    """The gain of a best response, averaged over both agents."""
    _, _, after_both = situation_values(x)
    first, checked, bet, _ = split(x)
    folds, calls = -(DEALS * checked).sum(-1), (DEALS * checked * 2 * WIN).sum(-1)
    checks = (DEALS * (1 - checked) * WIN).sum(-1) + torch.maximum(folds, calls)
    bets = (DEALS * (1 - bet + bet * 2 * WIN)).sum(-1)
    best_0 = torch.maximum(checks, bets).sum(-1)
    reached, other = DEALS * (1 - first), DEALS * first
    passed = torch.maximum((reached * -WIN).sum(-2), (reached * -after_both).sum(-2))
    called = torch.maximum(-other.sum(-2), (other * -2 * WIN).sum(-2))
    return (best_0 + (passed + called).sum(-1)) / 2


# %% [markdown]
# We start from 30 random initial regrets, and, for the comparison with the library, from 0. The library's CFR
# is that of OpenSpiel, an extra package. Where it is missing, the linear program is the only reference: it
# solves the game as a matrix of all pure strategies, 64 for each agent.

# %%
ROUNDS = size(1000, fast=20)
MARKS = [mark for mark in (10, 100, 1000) if mark <= ROUNDS]
last, average = cfr(ROUNDS, torch.zeros(4, 3, 2))
bits = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6).reshape(64, 2, 3)
pure = torch.zeros(64, 64, 4, 3)
pure[..., [0, 3], :], pure[..., [1, 2], :] = bits[:, None], bits[None]
program = games.zero_sum_equilibrium(value(pure))
print(f"value by linear programming {program.value:.6f}, and -1/18 is {-1 / 18:.6f}")
print(f"value of CFR's average after {ROUNDS} iterations: {value(average[-1]):.6f}")
rows = ["| iterations | average, from scratch | library | last iterate | library |"]
rows += ["|---|---|---|---|---|"]
found = dict.fromkeys(MARKS, ("-", "-"))
if importlib.util.find_spec("pyspiel") is not None:
    solver = zero_sum.CounterfactualRegretMinimization()
    history = zero_sum.learn_sequential("kuhn_poker", solver, ROUNDS, record=MARKS)
    for place, mark in enumerate(MARKS):  # NashConv is the sum over both agents
        halves = history.average[place] / 2, history.last[place] / 2
        found[mark] = tuple(f"{half:.8f}" for half in halves)
for mark in MARKS:
    mean, end = (poker_exploitability(x[mark - 1]) for x in (average, last))
    mean_there, end_there = found[mark]
    rows += [f"| {mark} | {mean:.8f} | {mean_there} | {end:.8f} | {end_there} |"]
display(Markdown("\n".join(rows)))

# %% [markdown]
# Agent 0 loses $1/18$ chip per game on average, since it must move first. From scratch and library agree in
# all digits.
#
# **A family of equilibria.** Kuhn poker has not one equilibrium but a family, one for each $\alpha$ (alpha)
# from 0 to 1/3. At the start agent 0 bets with a jack with probability $\alpha$ (a *bluff*), never with a
# queen, and with a king with probability $3 \alpha$: three times as often as with a jack. After check and bet
# it calls with a queen with probability $\alpha + 1/3$. Agent 1 has one equilibrium strategy only: after a
# check it bluffs with a jack with probability 1/3, and it calls a bet with a queen with probability 1/3.


# %%
def family(alpha, ratio=3.0):
    """The equilibrium strategies, [..., situation, card]; alpha [...]."""
    zero, one, third = 0 * alpha, 0 * alpha + 1, 0 * alpha + 1 / 3
    table = (
        (alpha, zero, (ratio * alpha).clamp(max=1)),
        (third, zero, one),
        (zero, third, one),
        (zero, alpha + 1 / 3, one),
    )
    return torch.stack([torch.stack(row, -1) for row in table], -2)


SEEDS = size(30, fast=3)
generator = torch.Generator().manual_seed(0)
begun = 5 * torch.rand(SEEDS, 4, 3, 2, generator=generator)
last, average = cfr(ROUNDS, begun)
bluffs, value_bets = average[-1, :, 0, 0], average[-1, :, 0, 2]

# %% tags=["hide-input"]
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.6))
marks = torch.unique(torch.logspace(0, torch.tensor(ROUNDS).log10(), 25).long()) - 1
for what, label, color, dashes in (
    (last, "last iterate", RED, ":"),
    (average, "average iterate", BLUE, "-"),
):
    gaps = poker_exploitability(what[marks])
    draw_band(left, marks + 1, gaps, label=label, color=color, linestyle=dashes)
left.set(xscale="log", yscale="log", xlabel="iteration", ylabel="exploitability")
left.set_title(f"CFR on Kuhn poker, {SEEDS} random starts")
left.legend(loc="lower left")
alphas = torch.linspace(0, 1 / 3, 50)
label = "equilibria: king = 3 x jack"
middle.plot(alphas, 3 * alphas, color=BLACK, linestyle="--", label=label)
middle.plot(bluffs, value_bets, "o", color=BLUE, label="averages of CFR")
middle.set(xlabel="probability of a bet with a jack", ylabel="with a king")
middle.set(xlim=(0, 0.5), ylim=(0, 1.05), title="agent 0's first move")
middle.legend(loc="lower right", fontsize=10)
alphas = torch.linspace(0, 0.5, 101)
for ratio, color, dashes in ((3.0, BLACK, "-"), (2.0, AMBER, "--")):
    gaps = poker_exploitability(family(alphas, ratio))
    label = f"king = {ratio:g} x jack"
    right.plot(alphas, gaps, color=color, linestyle=dashes, label=label)
right.axvline(1 / 3, color=GRAY, linewidth=1, linestyle=":")
right.annotate("1/3", (1 / 3, 0.0), (-24, 30), textcoords="offset points")
right.set(xlabel="$\\alpha$ (bet with a jack)", ylabel="exploitability")
right.set_title("which $\\alpha$ are equilibria?")
right.legend(loc="upper left", fontsize=10)
plt.show()
ratios = value_bets / bluffs
low, high = bluffs.min(), bluffs.max()
print(f"{SEEDS} runs of CFR: alpha from {low:.2f} to {high:.2f}", end=", ")
print(f"king/jack from {ratios.min():.2f} to {ratios.max():.2f}")
members = family(torch.linspace(0, 1 / 3, 11))
worst, worth = poker_exploitability(members).max(), value(members)
print(f"in the family: exploitability at most {worst:.0e}", end=", ")
print(f"value from {worth.min():.6f} to {worth.max():.6f}")

# %% [markdown]
# * The average converges. The last iterate does not within these iterations, or only slowly (from regrets
#   of 0, in the table): regret matching cycles here, too.
# * Which member of the family a run finds depends on its start; all of them lie near the dashed line. All
#   members have the same value: in a zero-sum game equilibria are interchangeable.
# * With another ratio, or $\alpha$ above 1/3, the strategy is exploitable. The bluffs protect the strong
#   bets: if agent 0 bet with kings alone, a queen would always fold. Exercise 2 derives the ratio.

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/16_zero_sum_learning.py`.
#
# **Exercise 1 (regret).** Compute an agent's external regret *per round*. `played` are its strategies
# and `worth` the payoffs of its actions, both tensors [round, action].


# %% tags=["exercise-1"]
def regret_per_round(played, worth):
    return ...


# %% tags=["check-1"]
check_1(regret_per_round)

# %% [markdown]
# **Exercise 2 (how often to bluff).** Change Kuhn poker: the antes are still 1, but a bet is `bet` chips.
# Agent 1 has a queen and faces a bet, which comes from a jack or from a king. How often must agent 0 bet
# with a jack for each bet with a king (the probability with the jack divided by the one with the king), so
# that agent 1 is *indifferent* between folding and calling? (For `bet` = 1 it is 1/3.)


# %% tags=["exercise-2"]
def bluffs_per_strong_bet(bet):
    return ...


# %% tags=["check-2"]
check_2(bluffs_per_strong_bet)

# %% [markdown]
# **Exercise 3 (regret matching+).** Regret matching remembers negative regrets forever. Regret matching+
# sets them to 0 after every step, so that an action that becomes good is played at once. Write one step:
# given the cumulative regrets, the strategy `x` and the payoffs `values` of this round, each [action],
# return the new regrets and the next strategy. It is uniform if there is no positive regret.


# %% tags=["exercise-3"]
def regret_matching_plus(regret, x, values):
    return ..., ...  # the new regrets, the next strategy


# %% tags=["check-3"]
check_3(regret_matching_plus)

# %% [markdown]
# **Exercise 4 (a magnet for any rule).** A regularized agent maximizes
# $x \cdot u - \tau\, \mathrm{KL}(x \| \rho)$ with
# $\mathrm{KL}(x \| \rho) = \sum_a x_a \log (x_a / \rho_a)$. Any rule that uses payoffs can learn this if it
# gets the *gradient* of the objective with respect to $x$ in place of $u$. Return that gradient, [action]
# (a constant added to all actions does not matter). The check feeds it to multiplicative weights.


# %% tags=["exercise-4"]
def regularized_payoffs(values, x, magnet, temperature):
    return ...


# %% tags=["check-4"]
check_4(regularized_payoffs)

# %% [markdown]
# **For discussion.** (a) A bot for online poker plays an equilibrium. Against a weak opponent it wins less
# than a bot that learns the opponent's habits. Why would you still want it? (b) Three agents play, and all
# have no regret. Which step of the theorem's proof fails? (c) Policies are neural networks, and no average
# can be stored. Name two ways out. (d) Does a bluff with a jack ever pay in Kuhn poker with a bet of 3, even
# if a queen always folds?

# %% [markdown]
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. Why is the average nearly an equilibrium if both regrets are small?</summary>
#
# A fixed action earns against the average of the other's strategies what it earned on average over the
# rounds. So the gains of the two best responses sum to the regrets per round: the agents' own payoffs cancel,
# because the game is zero-sum.
#
# </details>
#
# <details><summary>2. For which of the five rules would you use the last iterate?</summary>
#
# For optimistic multiplicative weights and for magnetic mirror descent with a moving magnet. With a fixed
# magnet the last iterate converges, too, but to the quantal response equilibrium.
#
# </details>
#
# <details><summary>3. What is counterfactual about counterfactual regret?</summary>
#
# The payoff in an information set is weighted with the probability that chance and the other agent lead to
# it, as if the agent itself had played to get there, whatever it really did before.
#
# </details>

# %% [markdown]
# ## What to read
#
# * Robinson, *An iterative method of solving a game*, Annals of Mathematics 54, 1951: fictitious play
#   converges. Freund and Schapire, *Adaptive game playing using multiplicative weights*, Games and Economic
#   Behavior 29, 1999. Hart and Mas-Colell, *A simple adaptive procedure leading to correlated equilibrium*,
#   Econometrica 68, 2000: regret matching.
# * Zinkevich and others, *Regret minimization in games with incomplete information*, NeurIPS 2007: CFR.
#   Tammelin, *Solving large imperfect information games using CFR+*, arXiv 1407.5042: exercise 3.
# * Kuhn, *A simplified two-person poker*, Contributions to the Theory of Games 1, 1950.
# * Rakhlin and Sridharan, *Optimization, learning, and games with predictable sequences*, arXiv 1311.1869;
#   Daskalakis and Panageas, *Last-iterate convergence*, arXiv 1807.04252: optimism.
# * Sokota and others, *A unified approach to reinforcement learning, quantal response equilibria, and
#   two-player zero-sum games*, arXiv 2206.05825: the magnet. Perolat and others, *Mastering the game of
#   Stratego with model-free multiagent reinforcement learning*, arXiv 2206.15378: the same idea, large.
# * In this toolkit: `docs/how-to/zero-sum-games.md`, and the command `bilevel solve`.
# * Next: `17_how_sure_is_that`.

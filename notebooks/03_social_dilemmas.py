# %% [markdown]
# # 3. Social dilemmas
#
# **When does selfish behavior hurt everybody?**
#
# Two agents each choose to cooperate or to defect. Four numbers define an agent's payoff: $R$ (the *reward*)
# if both cooperate, $P$ (the *punishment*) if both defect, $S$ (the *sucker's* payoff) for cooperating alone,
# and $T$ (the *temptation*) for defecting alone.
#
# **Goals.** After this lesson you can identify greed and fear in four payoffs or in Schelling's diagram, find
# pure Nash equilibria, and predict and explain where selfish learning converges.
#
# **Prerequisites.** None. About 35 minutes.

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

import games
from bilevel.lessons import AMBER, BLACK, BLUE, GRAY, GREEN, RED, SKY
from bilevel.lessons import explore, press, size, use_style
from bilevel.lessons.checks.social_dilemmas import STRANGERS, check_1, check_2
from bilevel.lessons.checks.social_dilemmas import check_3, check_4

use_style()
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A picture of the answer
#
# Fix $R = 1$ and $P = 0$. Then $S$ and $T$ decide whether the game is a dilemma, and of which kind.
# **Greed**: defecting against a cooperator pays. **Fear**: defecting against a defector pays.

# %% tags=["hide-input"]
NAMED = {  # label, its offset from the point, and its alignment
    "prisoners-dilemma": ("prisoner's dilemma\n(years in prison)", (-8, -6), "right"),
    "prisoners-dilemma-axelrod": ("prisoner's dilemma\n(Axelrod's)", (0, -8), "center"),
    "stag-hunt": ("stag hunt", (8, -6), "left"),
    "chicken": ("chicken", (8, 16), "left"),
    "assurance": ("assurance", (8, -6), "left"),
}
figure, axes = plt.subplots(figsize=(8, 5))
for low, high, left, right, color, words in (
    (1, 2.5, -2, 0, RED, "greed and fear"),
    (1, 2.5, 0, 1.5, AMBER, "greed only"),
    (-1.4, 1, -2, 0, SKY, "fear only"),
    (-1.4, 1, 0, 1.5, GREEN, "neither: no dilemma"),
):
    axes.fill_between([left, right], low, high, color=color, alpha=0.25, linewidth=0)
    axes.text(left + 0.08, low + 0.1, words, weight="bold")
for name, (words, offset, side) in NAMED.items():
    game = games.make(name)
    worth = game.reward - game.punishment
    s = (game.sucker - game.punishment) / worth
    t = (game.temptation - game.punishment) / worth
    axes.plot(s, t, "o", color=BLACK)
    look = {"textcoords": "offset points", "fontsize": 11, "va": "top", "ha": side}
    axes.annotate(words, (s, t), offset, **look)
axes.plot([-0.5, 1.5], [2.5, 0.5], color=GRAY, linestyle="--", linewidth=1)
words = "above the line: taking turns\nbeats cooperating, T + S > 2R"
axes.text(0.22, 2.05, words, fontsize=11, color=BLACK)
axes.set(xlim=(-2, 1.5), ylim=(-1.4, 2.5))
axes.set_xlabel("S: payoff of cooperating alone (R = 1, P = 0)")
axes.set_ylabel("T: payoff of defecting alone (R = 1, P = 0)")
axes.grid(visible=False)
plt.show()

# %% [markdown]
# Every game with $R > P$ has a place in this plane: shift and scale its payoffs so that $R = 1$ and $P = 0$.
# That does not change which action is better against which. Greed means $T > R$, and fear $P > S$.

# %% [markdown]
# ## The idea in words
#
# A **social dilemma** is a game in which all agents profit from mutual cooperation, and yet each has an
# incentive to defect. Greed and fear are the two incentives. In the *prisoner's dilemma* both are present:
# defecting is *dominant*, that is, better whatever the other agent does. In the *stag hunt* there is only
# fear: two hunters get a stag if both hunt it, but one who hunts it alone gets nothing. In *chicken* there is
# only greed: two drivers head for each other, and it is best to drive on if the other swerves.
#
# With many agents the four numbers become two curves, **Schelling's diagram**: the payoff of a cooperator and
# that of a defector, as functions of the number of other agents that cooperate. Greed is the gap between the
# curves at the right end, fear the gap at the left end.
#
# Game theory has a term for each part of the question:
#
# * A **best response** is an action that maximizes an agent's payoff, given the actions of the other agents.
# * A **Nash equilibrium** is a profile of actions (one for each agent) that are best responses to each other:
#   no agent gains by deviating alone. These strategies are *pure*. A **mixed strategy** chooses an action at
#   random, with given probabilities; every game with finitely many agents and actions has a Nash equilibrium,
#   pure or mixed.
# * A profile is **Pareto-dominated** if another one is worse for no agent and better for at least one;
#   otherwise it is **Pareto optimal**. In the prisoner's dilemma the only Nash equilibrium, mutual defection,
#   is Pareto-dominated by mutual cooperation.
# * The **social optimum** is the profile with the largest total payoff (*welfare*). The **price of anarchy**
#   compares it with the *worst* Nash equilibrium, here among the pure ones: it measures how much selfish
#   behavior can cost.

# %% [markdown]
# ## The key equation
#
# $N$ is the number of agents, and $m$ the number of *other* agents that cooperate, $0 \le m \le N - 1$. Then
# $R_c(m)$ is the payoff of a cooperator, $R_d(m)$ that of a defector. With $R = R_c(N-1)$, $S = R_c(0)$,
# $T = R_d(N-1)$ and $P = R_d(0)$, a game is a social dilemma if
#
# $$\underbrace{R > P, \qquad R > S}_{\text{cooperation is good}} \qquad \text{and} \qquad
# \boxed{\ \underbrace{T > R}_{\text{greed}} \quad \text{or} \quad \underbrace{P > S}_{\text{fear}}\ }$$
#
# and, with two agents, $2R > T + S$: otherwise taking turns would be at least as good. If no payoff is
# negative, the price of anarchy is
#
# $$\frac{\text{total payoff at the social optimum}}{\text{total payoff in the worst Nash equilibrium}}
# \ \ge\ 1.$$
#
# If all payoffs are losses, such as years in prison, the fraction is inverted: the loss in the worst Nash
# equilibrium over the smallest total loss.

# %% [markdown]
# ## From scratch
#
# The **public goods game**: every agent has one unit, and keeps it or contributes it to a pot. The content of
# the pot is multiplied by $k$ and divided evenly among all $N$ agents. So a contributor gets
# $k (m + 1) / N$, and an agent that keeps its unit, a *free rider*, gets $1 + k m / N$.


# %%
def public_good(actions, k):
    """Payoffs of one round; action 0 contributes the unit (cooperates), 1 keeps it."""
    pot = k * sum(action == 0 for action in actions)
    return [pot / len(actions) + (action == 1) for action in actions]


def schelling_diagram(payoffs, agents):
    """R_c and R_d: the payoffs of agent 0, for m = 0, ..., agents - 1."""
    others = [[0] * m + [1] * (agents - 1 - m) for m in range(agents)]
    return [[payoffs([own, *rest])[0] for rest in others] for own in (0, 1)]


def motives(cooperator, defector):
    """Greed, fear, both or neither."""
    R, S, T, P = cooperator[-1], cooperator[0], defector[-1], defector[0]
    good = R > P and R > S and (len(cooperator) > 2 or 2 * R > T + S)
    found = (("greed", T > R), ("fear", P > S))
    return [word for word, holds in found if good and holds]


def good(actions):
    return public_good(actions, k=2)


cooperator, defector = schelling_diagram(good, 4)
print("cooperator:", cooperator)
print("defector:  ", defector)
print("motives:", motives(cooperator, defector))

# %% [markdown]
# A Nash equilibrium is found by trying all profiles, and every deviation of a single agent:

# %%
from itertools import product


def equilibria(payoffs, agents):
    """All pure Nash equilibria: profiles in which each action is a best response."""
    found = []
    for profile in product((0, 1), repeat=agents):
        now = payoffs(profile)
        deviations = [[*profile] for _ in range(agents)]
        for i in range(agents):
            deviations[i][i] = 1 - profile[i]
        if all(payoffs(deviations[i])[i] <= now[i] for i in range(agents)):
            found.append(profile)
    return found


def dominates(one, other):
    """Test whether payoffs are worse for no agent, and better for at least one."""
    gains = [a - b for a, b in zip(one, other, strict=True)]
    return min(gains) >= 0 and max(gains) > 0


def price_of_anarchy(payoffs, agents):
    best = max(sum(payoffs(profile)) for profile in product((0, 1), repeat=agents))
    return best / min(sum(payoffs(profile)) for profile in equilibria(payoffs, agents))


(found,) = equilibria(good, 4)
everybody = (0, 0, 0, 0)
print(f"Nash equilibrium: {found} (1 keeps the unit), payoffs {good(found)}")
print(f"all contribute: payoffs {good(everybody)}")
print("Pareto-dominated by that:", dominates(good(everybody), good(found)))
print("price of anarchy:", price_of_anarchy(good, 4))

# %% [markdown]
# Whatever the other agents do, keeping the unit pays half a unit more. In the only Nash equilibrium all
# agents keep it, and each gets 1. If all contributed, each would get 2.
#
# ## The library's version

# %%
from games.matrix import PublicGoods
from games.theory import dilemma_test, price_of_selfishness, schelling

game = PublicGoods(agents=4, k=2)
data, prices = schelling(game), price_of_selfishness(game)
for name, ours, theirs in (
    ("cooperator", cooperator, data.cooperator[0].tolist()),
    ("defector", defector, data.defector[0].tolist()),
):
    print(f"{name + ':':12}{theirs}, the same: {theirs == ours}")
print(dilemma_test(game))
print("Nash equilibria:", [outcome.profile for outcome in prices.equilibria])
print("price of anarchy:", prices.price_of_anarchy.value)
print(prices.price_of_anarchy.reason)

# %% [markdown]
# The command `bilevel theory --game public-goods` prints the same for any one-shot game of the library.
# Schelling diagrams of games with many steps, such as harvesting apples on a grid, are in
# `docs/reference/games`, measured with scripted policies that cooperate or defect.
#
# ## Play: the multiplier
#
# When is the public goods game a dilemma? Left, its Schelling diagram, payoffs by the number of other
# contributors: *greed* is the gap at the right end, *fear* that at the left end. Right, the price of
# anarchy for every multiplier $k$; the black dot is the $k$ of the left figure.


# %% tags=["hide-input"]
def draw_pot(agents, k):
    def price(multiplier):
        return price_of_anarchy(lambda each: public_good(each, multiplier), agents)

    cooperator, defector = schelling_diagram(lambda each: public_good(each, k), agents)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
    others = range(agents)
    left.plot(others, cooperator, color=BLUE, marker="o", label="contributor")
    look = {"color": RED, "linestyle": "--", "marker": "s", "label": "free rider"}
    left.plot(others, defector, **look)
    left.set(xlabel="other contributors m", ylabel="payoff (units)", xticks=others)
    left.set_title(" and ".join(motives(cooperator, defector)) or "no dilemma")
    left.legend()
    multipliers = torch.arange(0.55, agents + 1.5, 0.1).tolist()
    right.plot(multipliers, [price(value) for value in multipliers], ".", color=GRAY)
    right.plot(k, price(k), "o", color=BLACK, label=f"k = {k:g}")
    right.set(xlabel="multiplier k", ylabel="price of anarchy")
    right.set_ylim(0.5, agents + 0.5)
    right.legend()
    plt.show()


# %%
explore(draw_pot, agents=(2, 6, 1, 4), k=(0.6, 7.0, 0.2, 2.0))

# %% [markdown]
# ## Play: the repeated game
#
# You and a stranger play the prisoner's dilemma of the first figure, in years of prison: $R = -1$,
# $S = -3$, $T = 0$, $P = -2$. There are ten rounds. A *strategy* now chooses each move from its own past
# moves and the other's. The stranger's is fixed; which one is it?

# %%
YEARS = {"CC": (-1, -1), "CD": (-3, 0), "DC": (0, -3), "DD": (-2, -2)}


def always_defect(own, others):
    return "D"


def sorry(own, others):
    """Defects once, in the third round, and cooperates otherwise."""
    return "D" if len(own) == 2 else "C"


def play_match(first, second, rounds=10):
    """Play two strategies: both strings of moves, and the rewards, [round, 2]."""
    one, two, rewards = "", "", []
    for _ in range(rounds):
        moves = first(one, two) + second(two, one)
        one, two = one + moves[0], two + moves[1]
        rewards.append(YEARS[moves])
    return one, two, torch.tensor(rewards)


# %% [markdown]
# Write your moves into `MINE`, `C` or `D` each. The figure shows the cumulative payoff of both.

# %%
MINE = "CCCDCCCCCC"


# %% tags=["hide-input"]
def draw_match(mine, theirs, rewards):
    figure, axes = plt.subplots()
    total, rounds = rewards.cumsum(0), range(1, len(rewards) + 1)
    axes.plot(rounds, total[:, 0], color=BLUE, marker="o", label=f"you:   {mine}")
    look = {"color": RED, "marker": "s", "linestyle": "--"}
    axes.plot(rounds, total[:, 1], label=f"other: {theirs}", **look)
    cooperation = [-r for r in rounds]
    look = {"color": GRAY, "linestyle": ":", "label": "mutual cooperation"}
    axes.plot(rounds, cooperation, **look)
    axes.set(xlabel="round", ylabel="cumulative payoff (years)", xticks=rounds)
    axes.legend(prop={"family": "monospace"})
    plt.show()


draw_match(*play_match(lambda own, others: MINE[len(own)], STRANGERS[0]))

# %% [markdown]
# Or run this cell to get buttons. Run it again to restart; `STRANGERS[2]` is a third opponent.

# %%
OTHER, yours = STRANGERS[1], ""


def move(name):
    global yours
    yours = yours + name[0].upper() if len(yours) < 10 else name[0].upper()
    draw_match(*play_match(lambda own, others: yours[len(own)], OTHER, len(yours)))


press(move, "cooperate", "defect")

# %% [markdown]
# Which strategies are they? Guess first; `print(STRANGERS[0].__doc__)` shows the answer, likewise for 1 and
# 2. In a repeated game the other agent can *retaliate*. Here the stranger did so after your defection in
# round 4, and the rounds after it cost you more than you had gained. In the one-shot game there is no
# retaliation; that is why it is the harder dilemma.
#
# ## The learning dynamics of selfish agents
#
# A learning agent does not compute Nash equilibria; it follows the gradient of its own payoff. Let $p$ and
# $q$ be the probabilities with which agents 0 and 1 cooperate: their mixed strategies. Each is the logistic
# function of its agent's parameter. The arrows show the learning dynamics (the direction of a small gradient
# step of both), in four games with $R = 1$ and $P = 0$. Mutual defection is the lower left corner, mutual
# cooperation the upper right one; filled circles are pure Nash equilibria, open circles mixed ones. The
# titles state the percentage of 625 initial policies, on an even grid, from which both learn to cooperate.


# %%
def selfish_step(p, q, S, T):
    """The changes of p and q after a small gradient step of both agents."""
    # the gain from cooperating instead of defecting, against the other's strategy
    gain_p = q * (1 - T) + (1 - q) * S
    gain_q = p * (1 - T) + (1 - p) * S
    # the logistic slope p (1 - p) counts twice: payoff to logit, logit to p
    return (p * (1 - p)) ** 2 * gain_p, (q * (1 - q)) ** 2 * gain_q


def both_cooperate(S, T, steps):
    """The fraction of initial policies from which both learn to cooperate."""
    grid = torch.linspace(0.02, 0.98, 25)
    p, q = torch.meshgrid(grid, grid, indexing="xy")
    for _ in range(steps):
        dp, dq = selfish_step(p, q, S, T)
        p, q = (p + dp).clamp(0.001, 0.999), (q + dq).clamp(0.001, 0.999)
    return ((p > 0.8) & (q > 0.8)).double().mean()


# %% tags=["hide-input"]
FOUR = {  # S and T, the pure and the mixed Nash equilibria
    "prisoner's dilemma": (-0.5, 1.5, [(0, 0)], []),
    "stag hunt": (-0.5, 0.5, [(0, 0), (1, 1)], [(0.5, 0.5)]),
    "chicken": (0.5, 1.5, [(0, 1), (1, 0)], [(0.5, 0.5)]),
    "no dilemma": (0.5, 0.5, [(1, 1)], []),
}
grid = torch.linspace(0.02, 0.98, 25)
figure, all_axes = plt.subplots(1, 4, figsize=(14, 4), sharey=True)
for axes, (name, (S, T, pure, mixed)) in zip(all_axes, FOUR.items(), strict=True):
    p, q = torch.meshgrid(grid, grid, indexing="xy")
    lines = [each.numpy() for each in (grid, grid, *selfish_step(p, q, S, T))]
    axes.streamplot(*lines, color=BLUE, density=0.8, linewidth=1)
    circle = {"markersize": 8, "color": BLACK, "clip_on": False, "zorder": 5}
    for place in pure:
        axes.plot(*place, "o", **circle)
    for place in mixed:
        axes.plot(*place, "o", markerfacecolor="white", markeredgewidth=2, **circle)
    fraction = both_cooperate(S, T, steps=size(5000, fast=50))
    axes.set_title(f"{name}\nS = {S}, T = {T}\nboth cooperate: {100 * fraction:.0f} %")
    axes.set_xlabel("p: agent 0 cooperates", fontsize=11)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.tick_params(pad=9)
all_axes[0].set_ylabel("q: agent 1 cooperates", fontsize=11)
plt.show()

# %% [markdown]
# With greed and fear, learning converges to mutual defection from all initial policies. With fear only, there
# are two pure Nash equilibria, and the initial policies decide between them. (For those with $p + q = 1$,
# exactly on the boundary, rounding errors decide: hence the percentage is not exactly 50.) With greed only,
# one agent learns to cooperate and the other to defect. At the mixed Nash equilibrium each agent is
# indifferent between its actions; it is a saddle point, from which almost all trajectories lead away. The
# library's `selfish` learners give the same results in games of the first figure, from random initial
# policies (a *seed* is one of them):

# %%
import bilevel
from IPython.display import Markdown, display
from bilevel.lessons import learning_curves

seeds, steps = size(32, fast=3), size(200, fast=2)
head = "| game | both cooperate | one cooperates | both defect | mean total reward |"
rows = [head, "|---|---|---|---|---|"]
for name in ("prisoners-dilemma", "stag-hunt", "chicken"):
    config = bilevel.default_config(name, "selfish")
    learner = config.method.build(config.game, bilevel.Placement(seeds=seeds))
    curves = learning_curves(learner, steps)
    rate, welfare = curves["cooperation"][-1], curves["welfare"][-1].mean()
    both, neither = int((rate > 0.8).sum()), int((rate < 0.2).sum())
    one = int(((rate - 0.5).abs() < 0.2).sum())
    rows.append(f"| {name} | {both} | {one} | {neither} | {welfare:.2f} |")
display(Markdown("\n".join(rows) + f"\n\nNumbers of {seeds} seeds."))

# %% [markdown]
# ## Exercises
#
# Replace the dots by your answer, run its cell, then the check below it. The solutions are in
# `solutions/03_social_dilemmas.py`.
#
# **Exercise 1 (warm up).** Which motives to defect are present in a two-agent game, whether or not it is a
# social dilemma? Return a pair of booleans, greed first.


# %% tags=["exercise-1"]
def greed_and_fear(R, S, T, P):
    return ...


# %% tags=["check-1"]
check_1(greed_and_fear)

# %% [markdown]
# **Exercise 2 (public goods).** For which multipliers $k$ is the public goods game of $N$ agents a social
# dilemma? Return the two ends of the interval. Play with the multiplier above, then prove your answer from
# the formulas of $R_c$ and $R_d$.


# %% tags=["exercise-2"]
def dilemma_between(N):
    return ...


# %% tags=["check-2"]
check_2(dilemma_between)

# %% [markdown]
# **Exercise 3 (sharing).** Two agents agree to give each other the share $s$ of their payoffs, and to
# keep the rest. So each receives $(1 - s)$ times its own payoff plus $s$ times the other's. What are the four
# payoffs of the resulting game? (Then find the smallest $s$ at which neither greed nor fear is left in the
# prisoner's dilemma in years. The next lesson is about that.)


# %% tags=["exercise-3"]
def after_sharing(R, S, T, P, s):
    return ...  # the new (R, S, T, P)


# %% tags=["check-3"]
check_3(after_sharing)

# %% [markdown]
# **Exercise 4 (a strategy).** A strategy that never forgives does badly against `sorry`. Write a strategy
# for ten rounds that (a) cooperates with itself throughout, (b) is exploited by `always_defect` at most
# once, and (c) returns to cooperation with `sorry` by the sixth round. It observes its own past moves and
# the other's, as strings of `C` and `D`.


# %% tags=["exercise-4"]
def my_strategy(own, others):
    return ...


# %% tags=["check-4"]
check_4(my_strategy, play_match, always_defect, sorry)

# %% [markdown]
# **For discussion.** (a) The library's chicken has $T + S = 2R$ (it lies on the line of the first figure),
# and so has the one with $S = 0.5$ and $T = 1.5$ above. `dilemma_test` says that such a game is no dilemma.
# Do you agree? (b) Name a dilemma from everyday life with fear and no greed. (c) The price of anarchy of the
# prisoner's dilemma in years is 2: a total of 4 years instead of 2. What does it become if 10 is added to
# all payoffs? Is it a good measure?

# %% [markdown]
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. What is the difference between greed and fear?</summary>
#
# Greed: defecting pays against a cooperator, $T > R$. Fear: defecting pays against a defector, $P > S$.
#
# </details>
#
# <details><summary>2. Why do agents stay in a Nash equilibrium that is Pareto-dominated?</summary>
#
# Each action is a best response to the others: no agent gains by deviating *alone*. To reach the better
# profile, several agents would have to change their actions together.
#
# </details>
#
# <details><summary>3. Which two total payoffs does the price of anarchy compare?</summary>
#
# That of the social optimum and that of the worst Nash equilibrium.
#
# </details>

# %% [markdown]
# ## What to read
#
# * Schelling, *Hockey helmets, concealed weapons, and daylight saving*, Journal of Conflict Resolution
#   17(3), 1973: the diagram.
# * Leibo and others, *Multi-agent reinforcement learning in sequential social dilemmas*, arXiv 1702.03037;
#   Hughes and others, *Inequity aversion improves cooperation in intertemporal social dilemmas*, arXiv
#   1803.08884: greed, fear, and games over time.
# * Koutsoupias and Papadimitriou, *Worst-case equilibria*, STACS 1999: the price of anarchy.
# * Axelrod, *The evolution of cooperation*, 1984: strategies that reciprocate.
# * In this toolkit: `docs/reference/games/README.md`, every game with its rules and diagram;
#   `docs/explanation/theory.md`, the minimal transfer.
# * Next: `04_sharing_in_the_prisoners_dilemma`.

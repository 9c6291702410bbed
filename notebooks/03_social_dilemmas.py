# %% [markdown]
# # 3. Social dilemmas
#
# **When does selfish behavior make everybody worse off, and what does it cost?**
#
# Two agents each choose to cooperate or to defect. Four numbers define an agent's payoff: $R$ (the *reward*)
# if both cooperate, $P$ (the *punishment*) if both defect, $S$ (the *sucker's* payoff) for cooperating alone,
# and $T$ (the *temptation*) for defecting alone. They determine whether the game is a dilemma, and of which
# kind.

# %% tags=["setup"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("bilevel") is None:  # not installed yet, as in Colab
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "bilevel[lessons]"], check=True)

# %%
import dataclasses
import itertools
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from bilevel.lessons import AMBER, BLACK, BLUE, GRAY, GREEN, RED, SKY
from bilevel.lessons import explore, press, size, use_style
from bilevel.lessons.checks.social_dilemmas import STRANGERS, check_1, check_2, check_3
from bilevel.lessons.checks.social_dilemmas import check_4

use_style()
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A picture of the answer
#
# Let $R > P$. Shift and scale the payoffs so that $R = 1$ and $P = 0$; best responses do not change. Two
# numbers remain, $S$ and $T$, so every such game is a point in a plane. **Greed**: defecting
# against a cooperator pays, $T > R$. **Fear**: defecting against a defector pays, $P > S$.

# %%
from games import make

NAMED = {  # label, and its offset from the point
    "prisoners-dilemma": ("prisoner's dilemma\n(years in prison)", (-8, -6), "right"),
    "prisoners-dilemma-axelrod": ("prisoner's dilemma\n(Axelrod's)", (0, -8), "center"),
    "stag-hunt": ("stag hunt", (8, -6), "left"),
    "chicken": ("chicken", (8, 16), "left"),
    "assurance": ("assurance", (8, -6), "left"),
}


# %% tags=["hide-input"]
figure, axes = plt.subplots(figsize=(9, 6))
for low, high, left, right, color, words in (
    (1, 2.5, -2, 0, RED, "greed and fear"),
    (1, 2.5, 0, 1.5, AMBER, "greed only"),
    (-1.4, 1, -2, 0, SKY, "fear only"),
    (-1.4, 1, 0, 1.5, GREEN, "neither: no dilemma"),
):
    axes.fill_between([left, right], low, high, color=color, alpha=0.25, linewidth=0)
    axes.text(left + 0.08, low + 0.1, words, weight="bold")
for name, (words, offset, side) in NAMED.items():
    game = make(name)
    worth = game.reward - game.punishment
    s, t = (
        (value - game.punishment) / worth for value in (game.sucker, game.temptation)
    )
    axes.plot(s, t, "o", color=BLACK)
    axes.annotate(
        words,
        (s, t),
        offset,
        textcoords="offset points",
        fontsize=11,
        va="top",
        ha=side,
    )
axes.plot([-0.5, 1.5], [2.5, 0.5], color=GRAY, linestyle="--", linewidth=1)
axes.text(
    0.3,
    2.05,
    "above the line: taking turns\nbeats cooperating, T + S > 2R",
    fontsize=11,
    color=BLACK,
)
axes.set(xlim=(-2, 1.5), ylim=(-1.4, 2.5))
axes.set_xlabel("S: payoff of cooperating alone (R = 1, P = 0)")
axes.set_ylabel("T: payoff of defecting alone (R = 1, P = 0)")
axes.grid(visible=False)
plt.show()

# %% [markdown]
# ## The idea in words
#
# A **social dilemma** is a game in which all agents profit from mutual cooperation, and yet each has an
# incentive to defect. Greed and fear are the two incentives. In the *prisoner's dilemma* both are present:
# defecting is *dominant*, that is, better whatever the other does. In the *stag hunt* there is only fear: two
# hunters get a stag if both hunt it, but one who hunts it alone gets nothing. In *chicken* there is only
# greed: two drivers head for each other, and it is best to drive on if the other swerves.
#
# With many agents the four numbers become two curves, **Schelling's diagram**: the payoff of a cooperator and
# that of a defector, as functions of the number of other agents that cooperate. Greed is the gap between the
# curves at the right end, fear the gap at the left end.
#
# A profile of actions from which no agent gains by deviating alone is a **Nash equilibrium** (here always in
# *pure* strategies, without randomization). The **price of anarchy** compares the best total payoff with that
# of the worst Nash equilibrium: it is the largest loss from a lack of coordination. The profile with the best
# total payoff is the **social optimum**.

# %% [markdown]
# ## The key equation
#
# $N$ agents; $m$ of the *other* agents cooperate, $0 \le m \le N - 1$; $R_c(m)$ is then the payoff of a
# cooperator, $R_d(m)$ that of a defector. With $R = R_c(N-1)$, $S = R_c(0)$, $T = R_d(N-1)$, $P = R_d(0)$ a
# game is a social dilemma if
#
# $$\underbrace{R > P, \qquad R > S}_{\text{cooperation is good}} \qquad \text{and} \qquad
# \boxed{\ \underbrace{T > R}_{\text{greed}} \quad \text{or} \quad \underbrace{P > S}_{\text{fear}}\ }$$
#
# and, with two agents, $2R > T + S$: otherwise taking turns would be better. If no payoff is negative, the
# price of anarchy is
#
# $$\frac{\text{largest total payoff}}{\text{total payoff in the worst Nash equilibrium}} \ \ge\ 1.$$
#
# If all payoffs are losses, such as years in prison, the fraction is inverted: the loss in the worst Nash
# equilibrium over the smallest total loss.

# %% [markdown]
# ## From scratch
#
# The **public goods game**: every agent has one unit, and keeps it or contributes it to a pot. The content of
# the pot is multiplied by $k$ and divided evenly among all $N$ agents. So a contributor gets
# $k (m + 1) / N$, and an agent that keeps its unit gets $1 + k m / N$.

# %%


def public_good(actions, k):
    """Payoffs of one round; action 0 contributes the unit (cooperates), 1 keeps it
    (defects).
    """
    pot = k * sum(action == 0 for action in actions)
    return [pot / len(actions) + (action == 1) for action in actions]


def schelling_diagram(payoffs, agents):
    """R_c and R_d, the payoffs of agent 0, for m = 0, ..., agents - 1 other
    cooperators.
    """
    others = [[0] * m + [1] * (agents - 1 - m) for m in range(agents)]
    return [[payoffs([own, *rest])[0] for rest in others] for own in (0, 1)]


def motives(cooperator, defector):
    R, S, T, P = cooperator[-1], cooperator[0], defector[-1], defector[0]
    good = R > P and R > S and (len(cooperator) > 2 or 2 * R > T + S)
    return [
        word for word, holds in (("greed", T > R), ("fear", P > S)) if good and holds
    ]


def equilibria(payoffs, agents):
    """All pure Nash equilibria: action profiles from which no agent gains by deviating
    alone.
    """
    found = []
    for profile in itertools.product((0, 1), repeat=agents):
        flipped = [
            [*profile[:i], 1 - profile[i], *profile[i + 1 :]] for i in range(agents)
        ]
        if all(payoffs(flipped[i])[i] <= payoffs(profile)[i] for i in range(agents)):
            found.append(profile)
    return found


def price_of_anarchy(payoffs, agents):
    best = max(
        sum(payoffs(profile)) for profile in itertools.product((0, 1), repeat=agents)
    )
    return best / min(sum(payoffs(profile)) for profile in equilibria(payoffs, agents))


def good(actions):
    return public_good(actions, k=2)


cooperator, defector = schelling_diagram(good, 4)
print("cooperator:", cooperator)
print("defector:  ", defector)
print("motives:", motives(cooperator, defector))
print("equilibria:", equilibria(good, 4), "(1 is defecting)")
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
print(
    "cooperator:",
    data.cooperator[0],
    " the same:",
    list(data.cooperator[0]) == cooperator,
)
print("defector:  ", data.defector[0], " the same:", list(data.defector[0]) == defector)
print(dilemma_test(game))
print("equilibria:", [outcome.profile for outcome in prices.equilibria])
print(
    "price of anarchy:",
    prices.price_of_anarchy.value,
    "-",
    prices.price_of_anarchy.reason,
)

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
    def payoffs(actions):
        return public_good(actions, k)

    cooperator, defector = schelling_diagram(payoffs, agents)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
    left.plot(range(agents), cooperator, color=BLUE, marker="o", label="contributor")
    left.plot(
        range(agents),
        defector,
        color=RED,
        linestyle="--",
        marker="s",
        label="free rider",
    )
    left.set(
        xlabel="other contributors m", ylabel="payoff (units)", xticks=range(agents)
    )
    left.set_title(" and ".join(motives(cooperator, defector)) or "no dilemma")
    left.legend()
    multipliers = torch.arange(0.55, agents + 1.5, 0.1).tolist()
    prices = [
        price_of_anarchy(lambda actions: public_good(actions, value), agents)
        for value in multipliers
    ]
    right.plot(multipliers, prices, ".", color=GRAY)
    right.plot(
        k, price_of_anarchy(payoffs, agents), "o", color=BLACK, label=f"k = {k:g}"
    )
    right.set(
        xlabel="multiplier k", ylabel="price of anarchy", ylim=(0.5, agents + 0.5)
    )
    right.legend()
    plt.show()


# %%
explore(draw_pot, agents=(2, 6, 1, 4), k=(0.6, 7.0, 0.2, 2.0))

# %% [markdown]
# ## Play: the repeated game
#
# You and a stranger play the prisoner's dilemma of the first figure, in years of prison: $R = -1$,
# $S = -3$, $T = 0$, $P = -2$. Ten rounds. The stranger follows a fixed strategy; which one? Write your
# moves into `MINE`, `C` or `D` each, or run the second cell below for buttons. The figure shows the
# cumulative payoff of both. (A strategy observes its own past moves and the other's.)

# %%
YEARS = {"CC": (-1, -1), "CD": (-3, 0), "DC": (0, -3), "DD": (-2, -2)}


def always_defect(own, others):
    return "D"


def sorry(own, others):
    """Defects once, in the third round, and cooperates otherwise."""
    return "D" if len(own) == 2 else "C"


def play_match(first, second, rounds=10):
    """Play two strategies against each other: both strings of moves, and the rewards,
    [round, 2].
    """
    one, two, rewards = "", "", []
    for _ in range(rounds):
        moves = first(one, two) + second(two, one)
        one, two = one + moves[0], two + moves[1]
        rewards.append(YEARS[moves])
    return one, two, torch.tensor(rewards)


def draw_match(mine, theirs, rewards):
    figure, axes = plt.subplots()
    total, rounds = rewards.cumsum(0), range(1, len(rewards) + 1)
    axes.plot(rounds, total[:, 0], color=BLUE, marker="o", label=f"you:   {mine}")
    axes.plot(
        rounds,
        total[:, 1],
        color=RED,
        marker="s",
        linestyle="--",
        label=f"other: {theirs}",
    )
    axes.plot(
        rounds,
        [-r for r in rounds],
        color=GRAY,
        linestyle=":",
        label="mutual cooperation",
    )
    axes.set(xlabel="round", ylabel="cumulative payoff (years)", xticks=rounds)
    axes.legend(prop={"family": "monospace"})
    plt.show()


MINE = "CCCDCCCCCC"
draw_match(*play_match(lambda own, others: MINE[len(own)], STRANGERS[0]))

# %%
OTHER, yours = (
    STRANGERS[1],
    "",
)  # run this cell again to restart; STRANGERS[2] is a third one


def move(name):
    global yours
    yours = yours + name[0].upper() if len(yours) < 10 else name[0].upper()
    draw_match(*play_match(lambda own, others: yours[len(own)], OTHER, len(yours)))


press(move, "cooperate", "defect")

# %% [markdown]
# Which strategies are they? Guess first; `print(STRANGERS[0].__doc__)` shows the answer, likewise for 1 and
# 2. In a repeated game the other agent can *retaliate*. Here the stranger did so after your defection in
# round 4, and you lost more in the rounds after it than you gained. In the one-shot game there is no
# retaliation; that is why it is the harder dilemma.
#
# ## The learning dynamics of selfish agents
#
# A learning agent does not compute Nash equilibria; it follows the gradient of its own payoff. Let $p$ and
# $q$ be the probabilities with which agents 0 and 1 cooperate, each the logistic function of its agent's
# parameter. The arrows show the learning dynamics (the direction of a small gradient step of both), in four
# games with $R = 1$ and $P = 0$. Mutual defection is the lower left corner, mutual cooperation the upper
# right one. The titles state the percentage of 625 initial policies, on an even grid, from which the agents
# learn to cooperate.


# %%
def selfish_step(p, q, S, T):
    """The changes of p and q. The logistic slope p (1 - p) counts twice: payoff to
    logit, logit to p.
    """
    gain_p = q * (1 - T) + (1 - q) * S  # cooperating instead of defecting, against q
    gain_q = p * (1 - T) + (1 - p) * S
    return (p * (1 - p)) ** 2 * gain_p, (q * (1 - q)) ** 2 * gain_q


def both_cooperate(S, T, steps):
    """The fraction of initial policies from which both learn to cooperate."""
    p, q = torch.meshgrid(
        torch.linspace(0.02, 0.98, 25), torch.linspace(0.02, 0.98, 25), indexing="xy"
    )
    for _ in range(steps):
        dp, dq = selfish_step(p, q, S, T)
        p, q = (p + dp).clamp(0.001, 0.999), (q + dq).clamp(0.001, 0.999)
    return ((p > 0.8) & (q > 0.8)).double().mean()


FOUR = {
    "prisoner's dilemma": (-0.5, 1.5),
    "stag hunt": (-0.5, 0.5),
    "chicken": (0.5, 1.5),
    "no dilemma": (0.5, 0.5),
}
grid = torch.linspace(0.02, 0.98, 25)


# %% tags=["hide-input"]
figure, all_axes = plt.subplots(1, 4, figsize=(14, 4), sharey=True)
for axes, (name, (S, T)) in zip(all_axes, FOUR.items(), strict=True):
    p, q = torch.meshgrid(grid, grid, indexing="xy")
    dp, dq = selfish_step(p, q, S, T)
    axes.streamplot(
        grid.numpy(),
        grid.numpy(),
        dp.numpy(),
        dq.numpy(),
        color=BLUE,
        density=0.8,
        linewidth=1,
    )
    share = both_cooperate(S, T, steps=size(5000, fast=50))
    axes.set(title=f"{name}\nS = {S}, T = {T}\nboth cooperate: {100 * share:.0f} %")
    axes.set_xlabel("p: agent 0 cooperates", fontsize=11)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
all_axes[0].set_ylabel("q: agent 1 cooperates", fontsize=11)
plt.show()

# %% [markdown]
# With greed and fear, learning converges to mutual defection from all initial policies. With fear only, there
# are two pure Nash equilibria, and the initial policies decide between them. With greed only, one agent
# learns to cooperate and the other to defect. The library's `selfish` learners give the same results, from
# random initial policies:

# %%
import bilevel

for name in ("prisoners-dilemma", "stag-hunt", "chicken"):
    config = bilevel.default_config(name, "selfish")
    config = dataclasses.replace(
        config, seeds=size(32, fast=3), outer_steps=size(200, fast=2)
    )
    with tempfile.TemporaryDirectory() as folder:
        final = bilevel.train(bilevel.create_run(config, Path(folder) / "run")).final
    cooperating = torch.as_tensor(final["cooperation"])
    ends = {
        "both cooperate": cooperating > 0.8,
        "one cooperates": (cooperating - 0.5).abs() < 0.2,
        "both defect": cooperating < 0.2,
    }
    counts = ", ".join(
        f"{words} in {int(seeds.sum())}" for words, seeds in ends.items()
    )
    print(
        f"{name:18}{counts} of {len(cooperating)} seeds; mean total reward "
        f"{final['welfare'].mean():.2f}"
    )

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. Solutions:
# `solutions/03_social_dilemmas.py`.
#
# **Exercise 1 (warm up).** Which motives to defect are present in a two-agent game? Return a pair of
# booleans, greed first.


# %% tags=["exercise-1"]
def greed_and_fear(R, S, T, P):
    return ...


# %% tags=["check-1"]
check_1(greed_and_fear)

# %% [markdown]
# **Exercise 2 (public goods).** For which multipliers $k$ is the public goods game of $N$ agents a social
# dilemma? Return the two ends of the interval. Play with the multiplier above, then prove it from the
# formulas of $R_c$ and $R_d$.


# %% tags=["exercise-2"]
def dilemma_between(N):
    return ...


# %% tags=["check-2"]
check_2(dilemma_between)

# %% [markdown]
# **Exercise 3 (sharing).** Two agents agree to give each other the share $s$ of their payoffs, and to
# keep the rest. So each has $(1 - s)$ times its own payoff plus $s$ times the other's. What are the four
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
# and `dilemma_test` says that it is no dilemma. Do you agree? (b) Name a dilemma from everyday life with
# fear and no greed. (c) The price of anarchy of the prisoner's dilemma in years is 2: a total of 4 years
# instead of 2. What does it become if 10 is added to all payoffs? Is it a good measure?

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

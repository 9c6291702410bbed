# %% [markdown]
# # 3. Social dilemmas
#
# **Everybody does what is best for them, and everybody is worse off. When does that happen, and what does
# it cost?**
#
# Two agents each choose: cooperate or defect. Four numbers say what an agent gets: $R$ (the *reward*) if
# both cooperate, $P$ (the *punishment*) if both defect, $S$ (the *sucker's* payoff) for who cooperates
# alone, and $T$ (the *temptation*) for who defects alone. Whether there is a dilemma, and of which kind,
# can be read off them.

# %%
import dataclasses
import itertools
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from checks.social_dilemmas import STRANGERS, check_1, check_2, check_3, check_4
from lesson import AMBER, BLACK, BLUE, GRAY, GREEN, RED, SKY, explore, press, size, use_style

use_style()
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A picture of the answer
#
# Let $R > P$. Move and stretch the payoffs until $R = 1$ and $P = 0$; nobody's choice changes. What is left
# are two numbers, $S$ and $T$, and so every such game is a point in a plane. **Greed**: defecting pays
# although the other cooperates, $T > R$. **Fear**: defecting pays when the other defects, $P > S$.

# %%
from games import make

NAMED = {  # words, and where they stand beside the point
    "prisoners-dilemma": ("prisoner's dilemma\n(years in prison)", (-8, -6), "right"),
    "prisoners-dilemma-axelrod": ("prisoner's dilemma\n(Axelrod's)", (0, -8), "center"),
    "stag-hunt": ("stag hunt", (8, -6), "left"),
    "chicken": ("chicken", (8, 16), "left"),
    "assurance": ("assurance", (8, -6), "left"),
}

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
    s, t = ((value - game.punishment) / worth for value in (game.sucker, game.temptation))
    axes.plot(s, t, "o", color=BLACK)
    axes.annotate(words, (s, t), offset, textcoords="offset points", fontsize=11, va="top", ha=side)
axes.plot([-0.5, 1.5], [2.5, 0.5], color=GRAY, linestyle="--", linewidth=1)
axes.text(0.4, 2.05, "above the line taking turns\nbeats cooperating: T + S > 2R", fontsize=11, color=GRAY)
axes.set(xlim=(-2, 1.5), ylim=(-1.4, 2.5))
axes.set_xlabel("S: cooperating alone (if R = 1, P = 0)")
axes.set_ylabel("T: defecting alone (if R = 1, P = 0)")
axes.grid(visible=False)
plt.show()

# %% [markdown]
# ## The idea in words
#
# A **social dilemma** is a game in which cooperation is good for all, and yet somebody gains by leaving it.
# Greed and fear are the two reasons to leave. In the *prisoner's dilemma* both pull: defecting is better
# whatever the other does. In the *stag hunt* there is only fear: I would hunt the stag with you, if I were
# sure of you. In *chicken* there is only greed: I would drive on, if I were sure that you swerve.
#
# With many agents four numbers become two curves, **Schelling's diagram**: what a cooperator gets, and what
# a defector gets, by how many of the others cooperate. Greed is read off at its right end, fear at its
# left.
#
# Where nobody gains by changing only the own action, we are at an **equilibrium**. The **price of anarchy**
# compares the group's best outcome with the worst equilibrium: how much it may cost that nobody is in
# charge.

# %% [markdown]
# ## The key equation
#
# $N$ agents; $m$ of the *others* cooperate, $0 \le m \le N - 1$; $R_c(m)$ is what a cooperator gets then,
# $R_d(m)$ what a defector gets. With $R = R_c(N-1)$, $S = R_c(0)$, $T = R_d(N-1)$, $P = R_d(0)$ a game is a
# social dilemma if
#
# $$\underbrace{R > P, \qquad R > S}_{\text{cooperation is good}} \qquad \text{and} \qquad
# \boxed{\ \underbrace{T > R}_{\text{greed}} \quad \text{or} \quad \underbrace{P > S}_{\text{fear}}\ }$$
#
# and, with two agents, $2R > T + S$: else the best would be to take turns. If no payoff is negative, the
# price of anarchy is
#
# $$\frac{\text{greatest total of all payoffs}}{\text{total in the worst equilibrium}} \ \ge\ 1.$$
#
# If all are losses, as years in prison are, it is turned round: the loss in the worst equilibrium over the
# least total loss.

# %% [markdown]
# ## From scratch
#
# A **public good**: everybody has one unit and keeps it, or puts it into a pot. What is in the pot is
# multiplied by $k$ and shared by all $N$. So who puts in gets $k (m + 1) / N$, and who keeps gets
# $1 + k m / N$.

# %%


def public_good(actions, k):
    """Payoffs of one round; action 0 puts the unit in (cooperates), 1 keeps it (defects)."""
    pot = k * sum(action == 0 for action in actions)
    return [pot / len(actions) + (action == 1) for action in actions]


def schelling_diagram(payoffs, agents):
    """R_c and R_d by how many others cooperate: agent 0 against m cooperators first, then defectors."""
    others = [[0] * m + [1] * (agents - 1 - m) for m in range(agents)]
    return [[payoffs([mine, *rest])[0] for rest in others] for mine in (0, 1)]


def motives(cooperator, defector):
    R, S, T, P = cooperator[-1], cooperator[0], defector[-1], defector[0]
    good = R > P and R > S and (len(cooperator) > 2 or 2 * R > T + S)
    return [word for word, holds in (("greed", T > R), ("fear", P > S)) if good and holds]


def equilibria(payoffs, agents):
    """All profiles of actions that nobody gains by leaving alone."""
    found = []
    for profile in itertools.product((0, 1), repeat=agents):
        flipped = [[*profile[:i], 1 - profile[i], *profile[i + 1 :]] for i in range(agents)]
        if all(payoffs(flipped[i])[i] <= payoffs(profile)[i] for i in range(agents)):
            found.append(profile)
    return found


def price_of_anarchy(payoffs, agents):
    best = max(sum(payoffs(profile)) for profile in itertools.product((0, 1), repeat=agents))
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
# Whatever the others do, keeping the unit pays half a unit more. So everybody keeps it, and all get 1. Had
# everybody put it in, all would have got 2.
#
# ## The library's version

# %%
from games.matrix import PublicGoods
from games.theory import dilemma_test, price_of_selfishness, schelling

game = PublicGoods(agents=4, k=2)
data, prices = schelling(game), price_of_selfishness(game)
print("cooperator:", data.cooperator[0], " the same:", list(data.cooperator[0]) == cooperator)
print("defector:  ", data.defector[0], " the same:", list(data.defector[0]) == defector)
print(dilemma_test(game))
print("equilibria:", [outcome.profile for outcome in prices.equilibria])
print("price of anarchy:", prices.price_of_anarchy.value, "-", prices.price_of_anarchy.reason)

# %% [markdown]
# The same for every one-shot game of the library, on the command line: `bilevel theory --game
# public-goods`. And Schelling's diagrams of games that take many steps, like harvesting apples on a grid,
# stand in `docs/games`, measured with agents that cooperate or defect by the book.
#
# ## Play with the pot
#
# When is a public good a dilemma? Left, Schelling's diagram of it, payoffs by how many of the others put in:
# *greed* is the gap at the right end, *fear* at the left. Right, what selfishness may cost, for every
# multiplier $k$; the black dot is the $k$ of the left side.

# %%


def draw_pot(agents, k):
    def payoffs(actions):
        return public_good(actions, k)

    cooperator, defector = schelling_diagram(payoffs, agents)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
    left.plot(range(agents), cooperator, color=BLUE, marker="o", label="who puts the unit in")
    left.plot(range(agents), defector, color=RED, linestyle="--", marker="s", label="who keeps it")
    left.set(xlabel="others who put in", ylabel="payoff of one agent (units)", xticks=range(agents))
    left.set_title(" and ".join(motives(cooperator, defector)) or "no dilemma")
    left.legend()
    multipliers = torch.arange(0.55, agents + 1.5, 0.1).tolist()
    prices = [price_of_anarchy(lambda actions: public_good(actions, value), agents) for value in multipliers]
    right.plot(multipliers, prices, ".", color=GRAY)
    right.plot(k, price_of_anarchy(payoffs, agents), "o", color=BLACK, label=f"k = {k:g}")
    right.set(xlabel="multiplier k", ylabel="price of anarchy", ylim=(0.5, agents + 0.5))
    right.legend()
    plt.show()


explore(draw_pot, agents=(2, 6, 1, 4), k=(0.6, 7.0, 0.2, 2.0))

# %% [markdown]
# ## Play a few rounds yourself
#
# You and a stranger are in the prisoner's dilemma of the first picture, in years of prison: $R = -1$,
# $S = -3$, $T = 0$, $P = -2$. Ten rounds. The stranger plays by a rule; which? Write your moves into
# `MINE`, `C` or `D` each, or run the second cell below for buttons. The figure adds up what each of the two
# has got, round by round. (A strategy sees its own moves so far, and the other's.)

# %%
YEARS = {"CC": (-1, -1), "CD": (-3, 0), "DC": (0, -3), "DD": (-2, -2)}


def always_defect(own, others):
    return "D"


def sorry(own, others):
    """Defects once, in the third round, and cooperates ever after."""
    return "D" if len(own) == 2 else "C"


def play_match(first, second, rounds=10):
    """Both strings of moves, and the rewards of both, [round, 2]."""
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
    axes.plot(rounds, total[:, 1], color=RED, marker="s", linestyle="--", label=f"other: {theirs}")
    axes.plot(rounds, [-r for r in rounds], color=GRAY, linestyle=":", label="had both cooperated")
    axes.set(xlabel="round", ylabel="payoff so far (years, below 0)", xticks=rounds)
    axes.legend(prop={"family": "monospace"})
    plt.show()


MINE = "CCCDCCCCCC"
draw_match(*play_match(lambda own, others: MINE[len(own)], STRANGERS[0]))

# %%
OTHER, yours = STRANGERS[1], ""  # run this cell again to start again; there is a third one, too


def move(name):
    global yours
    yours = yours + name[0].upper() if len(yours) < 10 else name[0].upper()
    draw_match(*play_match(lambda own, others: yours[len(own)], OTHER, len(yours)))


press(move, "cooperate", "defect")

# %% [markdown]
# Who were they? Guess first; `print(STRANGERS[0].__doc__)` tells, and so for 1 and 2. In a repeated game the
# other can *answer*: after one defection here the stranger did, and what was gained in one round was lost in
# the next ones. In the one-shot game nothing can be answered: that is why it is the harder dilemma.
#
# ## Where selfish learning ends
#
# An agent that learns does not compute equilibria; it follows the gradient of its own payoff. Let $p$ and
# $q$ be the probabilities with which the two cooperate, each the logistic function of a number that its
# agent learns. The arrows show where a small learning step takes them both, in four games with $R = 1$ and
# $P = 0$: defection of both is the lower left corner, cooperation of both the upper right one. The titles say
# from how many of 625 starts, spread evenly over the square, learning ends near the latter.

# %%


def selfish_step(p, q, S, T):
    """How p and q move. p (1 - p), the logistic slope, counts twice: payoff to number, number to p."""
    gain_p = q * (1 - T) + (1 - q) * S  # cooperating instead of defecting, against q
    gain_q = p * (1 - T) + (1 - p) * S
    return (p * (1 - p)) ** 2 * gain_p, (q * (1 - q)) ** 2 * gain_q


def both_cooperate(S, T, steps):
    """The share of starts from which both end by cooperating."""
    p, q = torch.meshgrid(torch.linspace(0.02, 0.98, 25), torch.linspace(0.02, 0.98, 25), indexing="xy")
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
figure, all_axes = plt.subplots(1, 4, figsize=(14, 4), sharey=True)
for axes, (name, (S, T)) in zip(all_axes, FOUR.items(), strict=True):
    p, q = torch.meshgrid(grid, grid, indexing="xy")
    dp, dq = selfish_step(p, q, S, T)
    axes.streamplot(grid.numpy(), grid.numpy(), dp.numpy(), dq.numpy(), color=BLUE, density=0.8, linewidth=1)
    share = both_cooperate(S, T, steps=size(5000, fast=50))
    axes.set(title=f"{name}\nS = {S}, T = {T}\nboth cooperate: {100 * share:.0f} %")
    axes.set_xlabel("p: chance that 0 cooperates", fontsize=11)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
all_axes[0].set_ylabel("q: chance that 1 cooperates", fontsize=11)
plt.show()

# %% [markdown]
# Greed and fear together leave nothing to hope for: from everywhere it goes to mutual defection. Fear alone
# leaves it to where one starts. Greed alone makes one swerve and the other drive on. The library's
# `selfish` learners find the same, from starts of their own:

# %%
import bilevel

for name in ("prisoners-dilemma", "stag-hunt", "chicken"):
    config = bilevel.default_config(name, "selfish")
    config = dataclasses.replace(config, seeds=size(32, fast=3), outer_steps=size(200, fast=2))
    with tempfile.TemporaryDirectory() as folder:
        final = bilevel.train(bilevel.create_run(config, Path(folder) / "run")).final
    cooperating = torch.as_tensor(final["cooperation"])
    ends = {
        "both cooperate": cooperating > 0.8,
        "one does": (cooperating - 0.5).abs() < 0.2,
        "none": cooperating < 0.2,
    }
    counts = ", ".join(f"{words} in {int(seeds.sum())}" for words, seeds in ends.items())
    together = final["welfare"].mean()
    print(f"{name:18} of {len(cooperating)} seeds: {counts}; together they get {together:.2f} on average")

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. Solutions:
# `solutions/03_social_dilemmas.py`.
#
# **Exercise 1 (warm up).** Which motives to defect does a two-agent game have? Give a pair of true or
# false, greed first.


# %% tags=["exercise-1"]
def greed_and_fear(R, S, T, P):
    return ...


# %% tags=["check-1"]
check_1(greed_and_fear)

# %% [markdown]
# **Exercise 2 (the pot).** For which multipliers $k$ is the public good of $N$ agents a social dilemma?
# Give the two ends of the interval. Play with the pot above, then prove it from the formulas of $R_c$ and
# $R_d$.


# %% tags=["exercise-2"]
def dilemma_between(N):
    return ...


# %% tags=["check-2"]
check_2(dilemma_between)

# %% [markdown]
# **Exercise 3 (a way out).** Two agents agree to hand over the part $s$ of whatever they get, and to keep
# the rest. So each has $(1 - s)$ times its own payoff and $s$ times the other's. Which four numbers do they
# play for now? (Then find out, for the prisoner's dilemma in years, from which $s$ on greed and fear are
# gone. The next lesson is about that.)


# %% tags=["exercise-3"]
def after_sharing(R, S, T, P, s):
    return ...  # the new (R, S, T, P)


# %% tags=["check-3"]
check_3(after_sharing)

# %% [markdown]
# **Exercise 4 (a strategy).** Who never forgives pays for it against `sorry`. Write a strategy for ten
# rounds that (a) cooperates with itself throughout, (b) is exploited by `always_defect` no more than once,
# and (c) finds back to cooperation with `sorry` by the sixth round. It sees its own moves and the other's
# so far, as strings of `C` and `D`.


# %% tags=["exercise-4"]
def my_strategy(own, others):
    return ...


# %% tags=["check-4"]
check_4(my_strategy, play_match, always_defect, sorry)

# %% [markdown]
# **For discussion.** (a) The library's chicken has $T + S = 2R$ (it lies on the line of the first picture),
# and `dilemma_test` says that it is no dilemma. Do you agree? (b) Name a dilemma of your town with fear and
# no greed. (c) The price of anarchy of the prisoner's dilemma in years is 2: 4 years in all for 2. What
# becomes of it if everybody gets a payoff of 10 more? Is it a good measure?

# %% [markdown]
# ## What to read
#
# * Schelling, *Hockey helmets, concealed weapons, and daylight saving*, Journal of Conflict Resolution
#   17(3), 1973: the diagram.
# * Leibo and others, *Multi-agent reinforcement learning in sequential social dilemmas*, arXiv 1702.03037;
#   Hughes and others, *Inequity aversion improves cooperation in intertemporal social dilemmas*, arXiv
#   1803.08884: greed, fear, and games that take time.
# * Koutsoupias and Papadimitriou, *Worst-case equilibria*, STACS 1999: the price of anarchy.
# * Axelrod, *The evolution of cooperation*, 1984: strategies that answer.
# * In this toolkit: `docs/games/README.md`, every game with its rules and diagram; `docs/theory.md`, what
#   must be given.
# * Next: `04_sharing_in_the_prisoners_dilemma`.

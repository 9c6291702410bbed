# %% [markdown]
# # 12. Shaping others' learning
#
# **What if an agent knows that the others learn?**
#
# Two agents play the prisoner's dilemma again and again, and each updates its policy by gradient ascent on
# its own return. Each takes the other agent for a part of the environment that stays as it is. Both end at
# mutual defection, although they meet again and again, and although a strategy like tit for tat would make
# cooperation pay.
#
# **Goals.** After this lesson you can write LOLA's update by differentiating through the other agent's
# learning step, name its two terms, explain where it fails and how SOS repairs that, compute advantage
# alignment without second derivatives, and say which information each method needs.
#
# **Prerequisites.** Lessons 03 and 05. About 45 minutes.

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
from torch.func import grad, jacrev, vmap

import games
from bilevel import Placement, default_config
from bilevel.lessons import BLACK, BLUE, GREEN, PURPLE, RED
from bilevel.lessons import draw_band, explore, learning_curves, over_seeds, size
from bilevel.lessons import use_style
from bilevel.lessons.checks.shaping_others_learning import check_1, check_2
from bilevel.lessons.checks.shaping_others_learning import check_3, check_4

use_style()
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A picture of the answer
#
# The repeated prisoner's dilemma (discount 0.96): mutual cooperation is worth -1 per step, mutual defection
# -2; who is exploited gets -3, who exploits 0. A policy has five numbers: the log-odds of cooperation in
# the first step, and after each of the four outcomes of the last step. *Naive* agents follow their own
# gradients. *LOLA* agents differentiate through the other agent's next learning step.

# %% tags=["hide-input"]
SEEDS, STEPS = size(64, fast=4), size(100, fast=4)
ipd = games.make("repeated-prisoners-dilemma")
selfish = default_config("repeated-prisoners-dilemma", "selfish").method
CURVES = {}
for rule in ("naive", "lola"):
    learner = selfish.with_settings({"rule": rule}).build(ipd, Placement(seeds=SEEDS))
    CURVES[rule] = learning_curves(learner, STEPS)

# %% tags=["hide-input"]
LOOKS = {
    "naive": (RED, ":", "v"),
    "lola": (PURPLE, "--", "s"),
    "sos": (GREEN, "-", "o"),
    "aligned": (BLUE, "-.", "^"),
}
NAMES = {
    "naive": "naive",
    "lola": "LOLA",
    "sos": "SOS",
    "aligned": "advantage alignment",
}
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), width_ratios=(1.3, 1))
corners = torch.tensor([[-1.0, -1.0], [-3, 0], [-2, -2], [0, -3], [-1, -1]])
right.plot(*corners.T, color=BLACK, linewidth=1, label="possible returns")
for rule, curves in CURVES.items():
    color, dashes, marker = LOOKS[rule]
    look = {"color": color, "linestyle": dashes, "label": NAMES[rule]}
    draw_band(left, range(1, STEPS + 1), curves["welfare"] / 2, **look)
    ends = curves["return_0"][-1], curves["return_1"][-1]
    look = {"color": color, "linestyle": "", "marker": marker, "markersize": 7}
    right.plot(*ends, label=NAMES[rule], alpha=0.5, **look)
left.axhline(-1, color=BLACK, linewidth=1, label="mutual cooperation")
left.set(xlabel="update", ylabel="return per step, mean of both", ylim=(-2.1, -0.85))
left.set_title(f"{SEEDS} seeds")
right.set(xlabel="return of agent 0", ylabel="return of agent 1", title="last policies")
right.set(aspect="equal")
left.legend(loc="center right")
right.legend(loc="lower left")
plt.show()
for rule, curves in CURVES.items():
    count = int((curves["welfare"][-1] / 2 > -1.15).sum())
    print(f"{NAMES[rule]}: {count} of {SEEDS} seeds end above -1.15 per step")

# %% [markdown]
# ## The idea in words
#
# An agent that knows that the other one *learns* can do more: my policy today decides what you will learn
# to do tomorrow. To use that is called *opponent shaping*. No rewards are transferred, unlike in lesson 5.
# We build three methods from scratch, look at their vector fields, and at what each of them has to know
# about the other agent.
#
# * A **naive** learner asks: which change of my policy increases my return, *if the other agent stays as it
#   is*?
# * **LOLA** (learning with opponent-learning awareness) asks: which change increases my return *after the
#   other agent's next learning step*? That step depends on my policy. If I become a little more like tit
#   for tat, your gradient turns toward cooperation, and that is worth more to me than what I lose now.
# * **SOS** (stable opponent shaping) asks the same, but takes back as much of the shaping as is needed not
#   to turn against *look-ahead*, which only anticipates where the other agent will be. Otherwise two
#   agents that both shape can end at an outcome that is worse for both.
# * **Advantage alignment** reaches the same aim without second derivatives: if I have done well so far, I
#   make those of my actions likelier that are good *for you*; if I have done badly, those that are bad for
#   you.

# %% [markdown]
# ## The key equation
#
# Agent $i$ has parameters $\theta_i$ and a loss $L_i(\theta_0, \theta_1)$: minus its discounted return.
# $\xi_i = \nabla_i L_i$ is its own gradient, $\nabla_i$ the derivative in $\theta_i$. $\alpha$ is the
# learning rate that it ascribes to the other agent, $j$. LOLA's loss is the loss after the other agent's
# step, and it differentiates through this step:
#
# $$\boxed{\ \nabla_i\, L_i\big(\theta_i,\; \theta_j - \alpha\, \nabla_j L_j(\theta_i, \theta_j)\big)\ }
# \; = \; \xi_i \; - \; \alpha\, (\nabla_i \nabla_j L_i)\, \xi_j
# \; - \; \alpha\, (\nabla_i \nabla_j L_j)\, \nabla_j L_i \; + \; O(\alpha^2).$$
#
# * The first term is the naive gradient, and the second one corrects it for where the other agent will be:
#   *look-ahead*.
# * The third, $\chi_i = (\nabla_i \nabla_j L_j)\, \nabla_j L_i$, is the **shaping term**: how my parameters
#   change *your gradient*, times what your parameters are worth *to me*.
#
# LOLA's direction is $\xi - \alpha H_o \xi - \alpha \chi$, where $H_o \xi$ collects the second terms. SOS
# descends $\xi_0 - p\, \alpha\, \chi$ with $\xi_0 = \xi - \alpha H_o \xi$ and $0 \le p \le 1$, chosen in
# each step. ($\xi_0$ is the paper's symbol for both agents' directions, not agent 0's gradient.)

# %% [markdown]
# ## From scratch
#
# First the boxed equation as it stands: differentiate through the other agent's step. `theta` has both
# agents' parameters, [agent, parameter]; `losses(theta)` returns both losses.


# %%
def through_the_step(losses, theta, rate):
    """The gradient of each agent's loss after the other agent's step."""

    def loss_after(own, i):
        j = 1 - i
        both = torch.stack((own, theta[j]) if i == 0 else (theta[j], own))
        step = rate * grad(lambda both: losses(both)[j])(both)[j]
        moved = torch.stack(
            (own, theta[j] - step) if i == 0 else (theta[j] - step, own)
        )
        return losses(moved)[i]

    return torch.stack([grad(loss_after)(theta[i], i) for i in range(2)])


# %% [markdown]
# Then the terms one by one, from the Hessian, and the three rules. SOS has two conditions. First, the
# shaping may cancel at most a part $a$ of $\xi_0$. Second, near a fixed point, where $\xi$ is small,
# shaping fades.


# %%
def terms(losses, theta):
    """The naive gradient xi, H_o xi, and the shaping term chi, each like theta."""
    slopes = jacrev(losses)  # [loss, agent, parameter]

    def own_gradients(theta):
        return torch.stack([slopes(theta)[i, i] for i in range(2)])

    H, crossed = jacrev(own_gradients)(theta), slopes(theta)
    xi = own_gradients(theta)
    ahead = torch.stack((H[0, :, 1] @ xi[1], H[1, :, 0] @ xi[0]))
    chi = torch.stack((H[1, :, 0].T @ crossed[0, 1], H[0, :, 1].T @ crossed[1, 0]))
    return xi, ahead, chi


def naive(losses, theta, rate):
    return terms(losses, theta)[0]


def lola(losses, theta, rate):
    xi, ahead, chi = terms(losses, theta)
    return xi - rate * ahead - rate * chi


def sos(losses, theta, rate, a=0.5, b=0.1):
    xi, ahead, chi = terms(losses, theta)
    xi_0, against = xi - rate * ahead, rate * (chi * (xi - rate * ahead)).sum()
    most = a * xi_0.square().sum() / against.clamp(min=1e-300)
    p1 = torch.where(against > 0, most.clamp(max=1.0), 1.0)
    size_squared = xi.square().sum()
    p2 = torch.where(size_squared < b**2, size_squared, 1.0)
    return xi_0 - torch.minimum(p1, p2) * rate * chi


# %% [markdown]
# Three games with one parameter per agent, $x_0 = x$ and $x_1 = y$. In the **tandem** game both want to
# move forward (to have a large $x_i$), and both pay for the sum: $L_i = (x + y)^2 - 2 x_i$. In **matching
# pennies** and in the **stag hunt** (payoffs 4 for both hunting the stag, 3 or 2 for the hare, 1 for
# hunting the stag alone) parameters are log-odds of the first action.


# %%
def tandem(theta):
    return (theta.sum() ** 2 - 2 * theta).squeeze(-1)


def matching_pennies(theta):
    first, second = 2 * theta.sigmoid().squeeze(-1) - 1
    return torch.stack((-first * second, first * second))


def stag_hunt(theta):
    p, q = theta.sigmoid().squeeze(-1)
    both = 4 * p * q + 2 * (1 - p) * (1 - q)
    one = 1 * p * (1 - q) + 3 * (1 - p) * q
    other = 3 * p * (1 - q) + 1 * (1 - p) * q
    return -torch.stack((both + one, both + other))


RULES = {"naive": naive, "lola": lola, "sos": sos}
PLANES = {  # losses, axis limit, rate ascribed to the other, learning rate, start
    "tandem": (tandem, 2.0, 0.1, 0.02, (1.6, 1.0)),
    "matching pennies": (matching_pennies, 4.0, 1.0, 0.2, (2.2, 0.8)),
    "stag hunt": (stag_hunt, 4.0, 1.0, 0.2, (-0.6, 0.0)),
}


def path(rule, losses, rate, learning_rate, theta, steps):
    """Parameters by step, [step, ..., agent], for a batch of starts [..., agent, 1]."""
    direction = vmap(lambda theta: RULES[rule](losses, theta, rate))
    points = [theta]
    for _ in range(steps):
        points.append(points[-1] - learning_rate * direction(points[-1]))
    return torch.stack(points).squeeze(-1)


# %% [markdown]
# ## Vector fields
#
# Arrows: the direction in which both agents move. Lines: paths from the black dot. The dashed line and the
# star are the fixed points of naive learners in tandem and in matching pennies. (In matching pennies and
# the stag hunt the axes are log-odds.)

# %% tags=["hide-input"]
MARKS = {"matching pennies": [(0.0, 0.0)], "stag hunt": []}


def draw_field(axes, rule, name, rate=None, start=None):
    losses, limit, usual, learning_rate, usual_start = PLANES[name]
    rate, start = usual if rate is None else rate, start or usual_start
    grid = torch.linspace(-limit, limit, 15)
    x, y = torch.meshgrid(grid, grid, indexing="xy")
    points = torch.stack((x.flatten(), y.flatten()), -1).unsqueeze(-1)
    d = -vmap(lambda theta: RULES[rule](losses, theta, rate))(points).squeeze(-1)
    d = d / (d.norm(dim=-1, keepdim=True) + 1e-9)
    look = {"color": "#9A9A9A", "scale": 22, "width": 0.005}
    axes.quiver(x.flatten(), y.flatten(), *d.T, **look)
    theta = torch.tensor([start]).unsqueeze(-1)
    steps = size(400, fast=5)
    line = path(rule, losses, rate, learning_rate, theta, steps)[:, 0]
    color, dashes, marker = LOOKS[rule]
    axes.plot(*line.T, color=color, linewidth=2.5)
    axes.plot(*line[-1], color=color, marker=marker, markersize=9)
    axes.plot(*start, "o", color=BLACK)
    if name == "tandem":
        axes.plot([-1, 2], [2, -1], color=BLACK, linewidth=1, linestyle="--")
    for mark in MARKS.get(name, []):
        axes.plot(*mark, "*", color=BLACK, markersize=12)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    axes.grid(visible=False)
    return line[-1]


figure, panels = plt.subplots(3, 3, figsize=(10, 10.4), sharex="row", sharey="row")
for row, name in zip(panels, PLANES, strict=True):
    for axes, rule in zip(row, RULES, strict=True):
        draw_field(axes, rule, name)
        axes.set_title(f"{name}: {NAMES[rule]}", fontsize=12)
    row[0].set_ylabel("parameter of agent 1")
for axes in panels[-1]:
    axes.set_xlabel("parameter of agent 0")
plt.show()

# %%
theta = torch.tensor([[[1.6], [1.0]]])
print("tandem after 600 steps; on the dashed line the losses add up to 0")
for rule in RULES:
    end = path(rule, tandem, 0.1, 0.02, theta, size(600, fast=10))[-1, 0]
    losses = tandem(end.unsqueeze(-1))
    numbers = f"x + y = {end.sum():.3f}, sum of losses {losses.sum():.3f}"
    print(f"{NAMES[rule]:6} {numbers}")

grid = torch.linspace(-2.0, 2.0, size(21, fast=3))
x, y = torch.meshgrid(grid, grid, indexing="xy")
starts = torch.stack((x.flatten(), y.flatten()), -1).unsqueeze(-1)
for rule in RULES:
    end = path(rule, stag_hunt, 1.0, 0.2, starts, size(400, fast=5))[-1]
    share = (end > 0).all(-1).double().mean()
    print(
        f"stag hunt, {NAMES[rule]}: {100 * share:.0f} % of the starts end with the stag"
    )

# %% [markdown]
# * **Tandem.** Naive learners and SOS reach the line of fixed points. LOLA stops at a larger sum $x + y$,
#   and both agents lose: each moves forward in order to make the other one step back, and both do so.
#   A point where LOLA stops need not be a fixed point of the game.
# * **Matching pennies.** Naive learners circle around the equilibrium and slowly move away from it. With
#   LOLA and SOS they spiral toward it.
# * **Stag hunt.** Shaping agents reach the better equilibrium from more starts: if I hunt the stag more
#   often, you learn to hunt it, too. SOS takes back a part of the shaping, and reaches it from fewer starts
#   than LOLA, but from more than naive learners. From the black dot only LOLA reaches it.
#
# ## The repeated prisoner's dilemma
#
# The exact return of memory-one policies. With $P$ the transition matrix between outcomes and $\gamma$ the
# discount, the discounted number of visits of each outcome solves a linear system. Parameters are log-odds
# of cooperation at the start and after CC, CD, DC, DD, own action first, so that agent 1 sees CD as DC
# (`SEEN`).

# %%
GAMMA, SEEN = 0.96, [0, 1, 3, 2, 4]
REWARDS = torch.tensor([[-1.0, -3.0, 0.0, -2.0], [-1.0, 0.0, -3.0, -2.0]])


def outcomes(theta):
    """Probabilities of CC, CD, DC, DD at the start and after each, [5, 4]."""
    p, q = theta[0].sigmoid(), theta[1].sigmoid()[SEEN]
    return torch.stack((p * q, p * (1 - q), (1 - p) * q, (1 - p) * (1 - q)), -1)


def dilemma(theta):
    """Losses: minus the discounted returns."""
    P = outcomes(theta)
    visits = torch.linalg.solve((torch.eye(4) - GAMMA * P[1:]).T, P[0])
    return -REWARDS @ visits


# %% [markdown]
# ## The library's version
#
# The same directions from the library: rules for any losses, and as the inner rule of a method. `hola` of
# order 1 is the boxed equation without an approximation.

# %%
from bilevel import update_rules


def as_function_of_both(losses):
    """The library's form: losses(own, others), for gradients in own only."""

    def of(own, others):
        first = losses(torch.stack((own[0], others[1])))[0]
        return torch.stack((first, losses(torch.stack((others[0], own[1])))[1]))

    return of


theta = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
library = as_function_of_both(dilemma)
for name, ours, theirs in (
    ("LOLA", lola(dilemma, theta, 1.0), update_rules.lola(library, theta, 1.0)),
    ("SOS", sos(dilemma, theta, 1.0), update_rules.sos(library, theta, 1.0)),
    (
        "through the step",
        through_the_step(dilemma, theta, 0.1),
        update_rules.hola(library, theta, 0.1, order=1),
    ),
):
    print(f"{name}: the same: {torch.allclose(ours, theirs)}")
for rate in (0.1, 0.01, 0.001):
    error = (through_the_step(dilemma, theta, rate) - lola(dilemma, theta, rate)).norm()
    print(f"rate {rate}: through the step minus LOLA: {error:.1e}")

learner = selfish.with_settings({"rule": "lola"}).build(ipd, Placement(seeds=3))
state = learner.init(seed=0)
moved = state["theta"] - learner.update(state)[0]["theta"]
ours = vmap(lambda theta: lola(dilemma, theta, 1.0))(state["theta"])
print("one update of the library's learner: the same:", torch.allclose(moved, ours))

# %% [markdown]
# The difference falls by a factor of 100 if the rate falls by a factor of 10: LOLA is right to first order.
#
# ## Advantage alignment
#
# LOLA needs the other agent's parameters and second derivatives. *Advantage alignment* (Duque and others)
# uses what policy gradients use anyway, *advantages*: $A^i_t$ is how much better the actions of step $t$
# were for agent $i$ than what it could expect. A learner makes actions with a positive advantage likelier.
# Agent $i$'s earlier advantages say how it has fared so far, and $A^j_t$ says what the other agent gains now
# and will learn from. Agent $i$ follows the policy gradient of
#
# $$A^i_t + \beta\, \gamma\, \Big(\sum_{k < t} \gamma^{t - k} A^i_k\Big)\, A^j_t .$$
#
# The product aligns: after good times what is good for you, after bad times what is bad for you. With exact
# values all expectations are linear systems again: `D` is the discounted number of visits of each state
# (the start and the four outcomes), and `C` the same, weighted with the sum over earlier advantages.


# %%
def advantages(theta):
    """Advantage of each outcome for each agent, [agent, state, outcome]."""
    P = outcomes(theta)
    later = torch.linalg.solve(torch.eye(4) - GAMMA * P[1:], P[1:] @ REWARDS.T).T
    worth = REWARDS + GAMMA * later  # of an outcome and of all after it
    return worth[:, None] - (worth @ P.T)[..., None]


def aligned(theta, beta):
    """Direction to descend: minus the policy gradient of aligned advantages."""
    P, A = outcomes(theta), advantages(theta)
    M = torch.cat((torch.zeros(5, 1), P), 1)  # transitions between all five states
    first = torch.eye(5)[0]
    D = torch.linalg.solve(torch.eye(5) - GAMMA * M.T, first)
    directions = []
    for i, cooperates in enumerate(([1.0, 1, 0, 0], [1.0, 0, 1, 0])):
        new = torch.cat((torch.zeros(1), (P * A[i]).T @ D))
        C = torch.linalg.solve(torch.eye(5) - GAMMA**2 * M.T, GAMMA**2 * new)
        total = D[:, None] * A[i] + beta * GAMMA * C[:, None] * A[1 - i]
        p = theta[i].sigmoid()[SEEN if i else [0, 1, 2, 3, 4]]
        scores = torch.tensor(cooperates) - p[:, None]
        slope = (P * total * scores).sum(1)
        directions.append(-slope[SEEN] if i else -slope)
    return torch.stack(directions)


# %% [markdown]
# Two tests. With $\beta = 0$ this is the naive gradient. And the library's `Alignment`, on advantages of
# *sampled* episodes, has to give the same policy gradient, up to sampling errors:


# %%
from bilevel.agents import Alignment

EPISODES, HORIZON = size(4000, fast=20), size(200, fast=20)


def sample(theta, generator):
    """States and outcomes, [time, episode], of sampled episodes."""
    P, state, path = outcomes(theta), torch.zeros(EPISODES, dtype=torch.long), []
    for _ in range(HORIZON):
        outcome = torch.multinomial(P[state], 1, generator=generator).squeeze(1)
        path.append((state, outcome))
        state = outcome + 1
    return [torch.stack(part) for part in zip(*path, strict=True)]


equal = torch.allclose(aligned(theta, 0.0), naive(dilemma, theta, 0.0))
print("beta = 0 is the naive gradient:", equal)
state, outcome = sample(theta, torch.Generator().manual_seed(1))
A = Alignment(weight=1.0)(advantages(theta)[:, state, outcome], GAMMA)[0]
score = (outcome < 2).double() - theta[0].sigmoid()[state]
each = -A * score * GAMMA ** torch.arange(HORIZON)[:, None]
each = torch.stack([(each * (state == s)).sum(0) for s in range(5)], -1)
sampled, error = each.mean(0), each.std(0) / EPISODES**0.5
rows = ["| after | start | CC | CD | DC | DD |", "|---|---|---|---|---|---|"]
for name, values in (("exact", aligned(theta, 1.0)[0]), ("sampled", sampled)):
    rows.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
rows.append(
    "| standard error | " + " | ".join(f"{value:.2f}" for value in error) + " |"
)
display(Markdown("\n".join(rows)))

# %% [markdown]
# Now all four learn, from the same random policies. The learning rate and the rate ascribed to the other
# agent are 1; for advantage alignment the learning rate is 0.3, and $\beta = 1$.

# %%
ALL = {
    "naive": lambda theta: naive(dilemma, theta, 1.0),
    "lola": lambda theta: lola(dilemma, theta, 1.0),
    "sos": lambda theta: sos(dilemma, theta, 1.0),
    "aligned": lambda theta: 0.3 * aligned(theta, 1.0),
}


def start(seeds=SEEDS, seed=1):
    return torch.randn(seeds, 2, 5, generator=torch.Generator().manual_seed(seed))


def pair(first, second, theta, steps=STEPS):
    """Both agents learn by a rule each: returns per step [step, seed, agent]; theta."""
    returns = []
    for _ in range(steps):
        one = vmap(ALL[first])(theta)
        two = one if second == first else vmap(ALL[second])(theta)
        theta = theta - torch.stack((one[:, 0], two[:, 1]), 1)
        returns.append(-(1 - GAMMA) * vmap(dilemma)(theta))
    return torch.stack(returns), theta


ENDS = {rule: pair(rule, rule, start()) for rule in ALL}

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
STATES = ("start", "CC", "CD", "DC", "DD")
for place, rule in enumerate(("naive", "sos", "lola", "aligned")):
    returns, theta = ENDS[rule]
    color, dashes, marker = LOOKS[rule]
    look = {"color": color, "linestyle": dashes, "label": NAMES[rule]}
    draw_band(left, range(1, STEPS + 1), returns.mean(-1), **look)
    probability = theta.sigmoid().mean((0, 1))
    x = torch.arange(5) + (place - 1.5) * 0.12
    right.plot(x, probability, color=color, linestyle="", marker=marker, markersize=9)
left.set(xlabel="update", ylabel="return per step, mean of both", ylim=(-2.1, -0.9))
right.set_xticks(range(5), STATES)
right.set(xlabel="outcome of the last step, own action first", ylim=(-0.05, 1.05))
right.set(ylabel="probability of cooperation", title="last policies, mean over seeds")
figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
plt.show()
rows = [
    "| both agents | return per step, mean of both | seeds above -1.15 |",
    "|---|---|---|",
]
for rule, (returns, _) in ENDS.items():
    last = returns[-1].mean(-1)
    count = f"{int((last > -1.15).sum())} of {SEEDS}"
    rows.append(f"| {NAMES[rule]} | {over_seeds(last)} | {count} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# Naive learners always end at mutual defection. The three others learn to cooperate in most seeds, but not
# in all; the interquartile mean does not show those that fail. Their policies resemble tit for tat:
# cooperate after mutual cooperation, defect after being exploited and after mutual defection. With LOLA and
# SOS an agent that has exploited the other (DC) mostly cooperates again, with advantage alignment less
# often. LOLA and SOS hardly differ in this game. (No settings were searched; in
# `docs/studies/sharing-or-shaping.md` there are 1024 seeds.)
#
# ## What if only one agent knows?
#
# Agent 0 learns by the rule of the row, agent 1 by the rule of the column. Numbers: return per step of
# agent 0 and of agent 1, interquartile means over seeds.

# %% tags=["hide-input"]
PAIRS = ("naive", "lola", "aligned")
rows = ["| agent 0, agent 1 | " + " | ".join(NAMES[rule] for rule in PAIRS) + " |"]
rows.append("|---" * (len(PAIRS) + 1) + "|")
for first in PAIRS:
    cells = []
    for second in PAIRS:
        last = pair(first, second, start(seed=2))[0][-1]
        cells.append(", ".join(over_seeds(last[:, i]).split()[0] for i in range(2)))
    rows.append(f"| {NAMES[first]} | " + " | ".join(cells) + " |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# * **LOLA against a naive learner**: both get more than for mutual defection, and LOLA gets more than the
#   other. It makes cooperation pay for the naive agent, but only as far as LOLA itself gains from it.
# * **Advantage alignment against a naive learner**: mutual defection, at least with these settings. It does
#   not look at the other agent's next step, as LOLA does.
# * **LOLA and advantage alignment** cooperate with each other, although they shape in different ways.
#
# ## Who must know what?
#
# | method | needs of the other agent | derivatives |
# |---|---|---|
# | naive | nothing | first |
# | look-ahead | its loss, parameters and learning rate | second |
# | LOLA, SOS | its loss, parameters and learning rate | second |
# | advantage alignment | its rewards, for a critic of its advantages | first |
# | M-FOS (`m-fos`) | its policy after each of its updates, over its whole learning | none through it |
#
# The information is the price of shaping. If agents see only actions and rewards, LOLA has to model the
# other agent, and advantage alignment to estimate its advantages. M-FOS treats the other agent's whole
# learning as an environment: `docs/studies/shaping-whole-learning.md`.
#
# ## Play
#
# Choose the rate that agents ascribe to each other, and the start of the path, in the tandem game (left)
# and the stag hunt (right, with ten times this rate), for LOLA. What happens in tandem as the rate
# approaches 0.25? From which starts does LOLA reach the stag and naive learning (rate 0) does not?


# %% tags=["hide-input"]
def play(rate, x, y):
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.8))
    for axes, name, scale in zip(
        panels, ("tandem", "stag hunt"), (1.0, 10.0), strict=True
    ):
        end = draw_field(axes, "lola", name, rate * scale, (x, y))
        axes.set_title(
            f"{name}, rate {rate * scale:.2f}: ends at {end[0]:.2f}, {end[1]:.2f}"
        )
        axes.set(xlabel="parameter of agent 0", ylabel="parameter of agent 1")
    plt.show()


# %%
explore(
    play, rate=(0.0, 0.3, 0.01, 0.1), x=(-2.0, 2.0, 0.1, -0.6), y=(-2.0, 2.0, 0.1, 0.0)
)

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/12_shaping_others_learning.py`.
#
# **Exercise 1 (warm up).** Agent 0 minimizes $L_0 = x y$ over $x$, agent 1 minimizes $L_1 = -x y$ over $y$.
# Take LOLA's gradient by hand, for both agents: first write the other agent's step, then insert it, then
# differentiate. Return the pair of directions to descend.


# %% tags=["exercise-1"]
def lola_by_hand(x, y, rate):
    return ...


# %% tags=["check-1"]
check_1(lola_by_hand)

# %% [markdown]
# **Exercise 2 (where LOLA stops).** In the tandem game LOLA does not stop on the line $x + y = 1$. On which
# line $x + y = s$ does it stop, for a rate $\alpha$ below $\frac14$? (Look-ahead:
# $\xi_0 = (1 - 2\alpha)(2s - 2)$ for each agent. Derive the shaping term $\chi_i$ from
# $L_i = s^2 - 2 x_i$.)


# %% tags=["exercise-2"]
def where_lola_stops(rate):
    return ...


# %% tags=["check-2"]
check_2(where_lola_stops)

# %% [markdown]
# **Exercise 3 (how much to shape).** Write the $p$ of SOS, for directions as flat tensors.
# $p = \min(p_1, p_2)$. Let $m = \alpha \langle \chi, \xi_0 \rangle$. If $m \le 0$, shaping helps, and
# $p_1 = 1$; otherwise $p_1 = \min(1, a \|\xi_0\|^2 / m)$. And $p_2 = \|\xi\|^2$ if
# $\|\xi\| < b$, otherwise 1.


# %% tags=["exercise-3"]
def shaping_part(xi, xi_0, chi, rate, a=0.5, b=0.1):
    return ...


# %% tags=["check-3"]
check_3(shaping_part)

# %% [markdown]
# **Exercise 4 (aligned advantages).** Given the advantages of one episode, `mine` and `yours`, [time],
# return the aligned advantages $A^i_t + \beta \gamma \big(\sum_{k<t} \gamma^{t-k} A^i_k\big) A^j_t$,
# [time]. One sweep through time is enough.


# %% tags=["exercise-4"]
def align(mine, yours, discount, beta):
    return ...


# %% tags=["check-4"]
check_4(align)

# %% [markdown]
# **For discussion.** (a) In the prisoner's dilemma that is played *once*, the gradient of defecting does
# not depend on the other agent's policy. What is LOLA's shaping term there? (In log-odds, with payoffs -1,
# -3, 0, -2.) (b) Both agents are LOLA learners, and each takes the other for a naive one. Is that
# consistent? (c) An agent that shapes others' learning manipulates them. When is that in their interest,
# and how could you tell from the returns?

# %% [markdown]
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. What are the two terms that LOLA adds to the naive gradient?</summary>
#
# Look-ahead: the other agent will have moved, so my gradient is taken at another place. Shaping: my
# parameters change the other agent's step, and I ascend what this change is worth to me.
#
# </details>
#
# <details><summary>2. Why do both agents lose with LOLA in the tandem game, and not with SOS?</summary>
#
# Each moves forward in order to make the other one step back. Both do it, so both end too far forward, at a
# point that is no fixed point of the game. SOS limits the shaping where it opposes look-ahead, and lets it
# fade where the naive gradient is small.
#
# </details>
#
# <details><summary>3. What does advantage alignment need, and what does it save compared with LOLA?</summary>
#
# It needs more than a naive learner: the other agent's advantages, so its rewards and a critic of them. It
# saves the other agent's parameters and learning rate, and all second derivatives.
#
# </details>

# %% [markdown]
# ## What to read
#
# * Foerster and others, *Learning with opponent-learning awareness*, arXiv 1709.04326: LOLA.
# * Letcher and others, *Stable opponent shaping in differentiable games*, arXiv 1811.08469: SOS, and the
#   tandem game.
# * Duque and others, *Advantage alignment algorithms*, arXiv 2406.14662.
# * Lu and others, *Model-free opponent shaping*, arXiv 2205.01447: M-FOS.
# * Willi and others, *COLA: consistent learning with opponent-learning awareness*, arXiv 2203.04098: what
#   if the other agent is a LOLA learner, too?
# * In this toolkit: `docs/explanation/opponent-shaping.md` (all rules),
#   `docs/studies/sharing-or-shaping.md` (sharing against shaping, a tournament).
# * Next: `13_hypergradients_from_samples`, where second derivatives have to come from sampled episodes.

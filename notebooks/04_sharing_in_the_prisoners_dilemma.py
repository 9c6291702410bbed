# %% [markdown]
# # 4. Sharing in the prisoner's dilemma
#
# **What share of the rewards must agents give away so that all cooperate, and does a learner find that
# share?**
#
# Two roommates share a kitchen. The mess that each leaves behind costs the *other* 2. Cleaning up costs the
# cleaner 1 and saves the other 2. Not cleaning is dominant, so neither cleans: a prisoner's dilemma. Now let
# each of them give a share $w$ of its reward, whatever its sign, to the other. The sum of the rewards
# does not change. And yet, above some $w$, both clean.
#
# **Goals.** After this lesson you can explain why a sharing matrix conserves the total reward, derive the
# minimal share for a two-player dilemma, and explain why the share learned for the welfare objective is
# larger.
#
# **Prerequisites.** Lessons 01 and 03. About 35 minutes.

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
from torch.optim import SGD, Adam

import bilevel
import games
from bilevel.lessons import BLACK, BLUE, GRAY, GREEN, PURPLE, RED
from bilevel.lessons import draw_band, explore, learning_curves, over_seeds, size
from bilevel.lessons import use_style
from bilevel.lessons.checks.sharing_in_the_prisoners_dilemma import check_1, check_2
from bilevel.lessons.checks.sharing_in_the_prisoners_dilemma import check_3
from bilevel.methods import ToS

use_style()
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A picture of the answer
#
# The method `ToS` learns the policies of both agents and the share that each gives away. Left: the
# probability that an agent cleans. Right: the share that it gives. If the outer objective is the *welfare*,
# the sum of the individual rewards, the learned share is far larger than the minimal share of theory, and
# depends on the learning rate of the outer loop. If giving has a cost with the coefficient $c$, the share
# converges to a value near the minimal share, the same for both learning rates.

# %% tags=["hide-input"]
SEEDS, OUTER_STEPS = size(12, fast=3), size(150, fast=4)
RATE, ENTROPY = 10.0, 0.1  # of the policies: learning rate and entropy coefficient


def build_tos(cost, outer_rate, K=25):
    """The library's learner: K policy updates before each update of the sharing."""
    method = ToS(own_share=0.5, cost_weight=cost)
    inner = {"inner.steps": K, "inner.learning_rate": RATE}
    inner["inner.entropy_coef"] = ENTROPY
    method = method.with_settings({**inner, "outer.learning_rate": outer_rate})
    placement = bilevel.Placement(seeds=SEEDS)
    return method.build(games.make("prisoners-dilemma"), placement)


PICTURE = {
    (cost, rate): learning_curves(build_tos(cost, rate), OUTER_STEPS)
    for cost in (0.0, 4.0)
    for rate in (0.1, 0.02)
}


# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), sharex=True)
rows = ["| objective | learning rate | share given away | probability of cleaning |"]
rows += ["|---|---|---|---|"]
for (cost, rate), curves in PICTURE.items():
    objective = f"welfare - cost, c = {cost:g}" if cost else "welfare"
    look = {"label": f"{objective}; learning rate {rate}"}
    look |= {"color": GREEN if cost else RED, "linestyle": "-" if rate == 0.1 else ":"}
    share, cleaning = curves["given_away"], curves["cooperation"]
    draw_band(left, range(OUTER_STEPS), cleaning, **look)
    draw_band(right, range(OUTER_STEPS), share, **look)
    numbers = f"{over_seeds(share[-1], 3)} | {over_seeds(cleaning[-1], 3)}"
    rows += [f"| {objective} | {rate} | {numbers} |"]
right.axhline(1 / 3, color=BLACK, linestyle="--", label="minimal share (theory)")
left.set(xlabel="outer step", ylabel="probability of cleaning", ylim=(0, 1.03))
right.set(xlabel="outer step", ylabel="share given away", ylim=(0, 1.03))
figure.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=3)
plt.show()
caption = f"After {OUTER_STEPS} outer steps: interquartile mean over {SEEDS} seeds "
caption += "and its 95 % bootstrap interval.\n\n"
display(Markdown(caption + "\n".join(rows)))

# %% [markdown]
# ## The idea in words
#
# Theory gives this $w$. Then two nested loops search for it: in the inner loop the agents learn their
# policies under a fixed sharing matrix; the outer loop learns the sharing matrix by differentiating through
# the policy updates. At first the learned share differs from the theoretical one, because the two solve
# different problems. Once they solve the same problem, they agree.
#
# * **A sharing matrix** states which share of each agent's reward every agent receives: one row for each
#   giver, one column for each receiver. Every row sums to 1: what an agent does not keep, other agents
#   receive. So the sum of all rewards does not change. This *conservation* distinguishes sharing from
#   payments that create reward, and from taxes that destroy it.
# * Sharing leaves the *total* reward unchanged, but changes the *incentives*. Cleaning costs me 1, of which I
#   bear only the share that I keep. It saves you 2, of which I receive the share that you give. If the second
#   is larger than the first, a selfish agent cleans.
# * **The minimal transfer** is the smallest share that all agents must give away so that cooperation is a
#   dominant strategy: a best response *to all actions of the other agents*. A linear program finds it for any
#   payoff table, or shows that there is none.
# * **Learned sharing** needs no theory. The outer loop computes how the welfare after the next policy updates
#   changes with the sharing matrix. That is the hypergradient of lesson 1; the outer variable is the sharing.

# %% [markdown]
# ## The key equations
#
# $r_i$ is agent $i$'s individual reward, $T_{ij}$ the share of $i$'s reward that $j$ receives, $\tilde r_j$
# the shared reward, which $j$ maximizes:
#
# $$\tilde r_j = \sum_i T_{ij}\, r_i, \qquad \sum_j T_{ij} = 1
# \quad\Longrightarrow\quad \sum_j \tilde r_j = \sum_i r_i .$$
#
# If both keep $T_{ii} = 1 - w$ and give $w$, cleaning changes my shared reward by
#
# $$\underbrace{2\,w}_{\text{share of the benefit}} - \underbrace{1\,(1 - w)}_{\text{share of the cost}} =
# 3w - 1, \qquad\text{so I clean if}\qquad \boxed{\ w > \tfrac13\ }$$
#
# This condition *does not depend on your action*: for $w > \frac13$ cleaning is dominant, and the only Nash
# equilibrium is that both clean. The literature states the share kept: $s^* = 1 - w = \frac23$ is the
# *largest* share that agents can keep.
#
# For the learner, let $\theta_i$ be the log-odds with which $i$ cleans, $p_i = 1/(1 + e^{-\theta_i})$ the
# probability, $\alpha$ the learning rate and $\tau$ (tau) the coefficient of the *entropy bonus*, which
# rewards stochastic policies. (It is $\tau$ times the entropy of the policy, whose derivative with respect
# to $\theta_i$ is $-p_i(1-p_i)\,\theta_i$.) In one update agent $i$ follows the gradient of its own
# $\tilde r_i$ and of its entropy bonus:
#
# $$\theta_i \leftarrow \theta_i + \alpha\, p_i (1 - p_i) \big( 2\,T_{ji} - T_{ii} - \tau \theta_i \big),
# \qquad j \text{ the other agent}. $$
#
# The outer loop maximizes the outer objective $F(T) = \sum_i r_i(\theta^{(K)}) - c \sum_i (1 - T_{ii})$: the
# welfare under the policies after $K$ updates, minus a cost of giving with the coefficient $c$.

# %% [markdown]
# ## From scratch
#
# First the theory, for any game with two agents and two actions, given by its payoff table
# `[action of agent 0, action of agent 1, agent]`. Sharing transforms this table. We compute the largest gain
# from deviating from cooperation, and search for the smallest $w$ at which no deviation pays. (Bisection
# assumes that there is one, and that no deviation pays for any larger share.)

# %%
COST, BENEFIT = 1.0, 2.0  # cost of cleaning, and its benefit to the other agent
# The kitchen's payoffs, [action of agent 0, action of agent 1, agent]; action 0 cleans.
KITCHEN = torch.tensor([[[-1.0, -1.0], [-3.0, 0.0]], [[0.0, -3.0], [-2.0, -2.0]]])


def sharing(w0, w1):
    """The sharing matrix T, [giver, receiver]: agents 0 and 1 give w0 and w1."""
    return torch.tensor([[1 - w0, w0], [w1, 1 - w1]])


rows = ["| actions | rewards | their sum | shared rewards, w = 0.4 | their sum |"]
rows += ["|---|---|---|---|---|"]
for a, action_0 in enumerate(("clean", "do not")):
    for b, action_1 in enumerate(("clean", "do not")):
        r = KITCHEN[a, b]
        shared = r @ sharing(0.4, 0.4)
        own = f"{r[0]:g}, {r[1]:g} | {r.sum():g}"
        after = f"{shared[0]:.1f}, {shared[1]:.1f} | {shared.sum():g}"
        rows += [f"| {action_0}, {action_1} | {own} | {after} |"]
display(Markdown("\n".join(rows)))

# %% [markdown]
# Sharing has changed the rewards but not their sums. For $w = 0.4$ cleaning is the best response to both
# actions of the other agent. Where does that begin?


# %%
def deviation_gain(table, w):
    """The largest gain from deviating, over both agents and the other's actions."""
    shared = table @ sharing(w, w)
    gain_0 = shared[1, :, 0] - shared[0, :, 0]
    gain_1 = shared[:, 1, 1] - shared[:, 0, 1]
    return torch.maximum(gain_0, gain_1).max()


def minimal_share(table):
    """The smallest w at which no deviation pays, by bisection between 0 and 1."""
    low, high = 0.0, 1.0
    for _ in range(40):
        w = (low + high) / 2
        pays = deviation_gain(table, w) > 0
        low, high = (w, high) if pays else (low, w)
    return high


print(f"minimal share: {minimal_share(KITCHEN):.9f}")

# %% [markdown]
# Next the inner loop: the policy update from above, for both agents at once.


# %%
def rewards(p):
    """Individual rewards, [..., agent]; agent i cleans with probability p[..., i]."""
    return -2 - COST * p + BENEFIT * p.flip(-1)


def kept(T):
    """The share of its reward that each agent keeps, [..., agent]."""
    return T.diagonal(dim1=-2, dim2=-1)


def received(T):
    """The share of the other agent's reward that each agent receives, [..., agent]."""
    return T.flip(-2).diagonal(dim1=-2, dim2=-1)


def learn(theta, T, K, bonus=ENTROPY):
    """K policy updates: each agent follows the gradient of its own shared reward."""
    gain = BENEFIT * received(T) - COST * kept(T)  # of cleaning, in shared reward
    for _ in range(K):
        p = theta.sigmoid()
        theta = theta + RATE * p * (1 - p) * (gain - bonus * theta)
    return theta


def start(*batch, seed=0):
    """Initial policies: the log-odds of cleaning, [..., agent]."""
    return torch.randn(*batch, 2, generator=torch.Generator().manual_seed(seed))


# %% [markdown]
# Under a fixed share $w$ policies switch from never cleaning to always cleaning at a third, as theory
# predicts. The entropy bonus keeps them stochastic, so that the switch is smooth. (Each line is an
# interquartile mean over 20 initial policies; the 95 % intervals are mostly narrower than the line.)

# %% tags=["hide-input"]
THEORY = COST / (COST + BENEFIT)
TRIED = torch.linspace(0.2, 0.5, size(61, fast=4))
figure, axes = plt.subplots()
for bonus, color, dashes in ((0.0, PURPLE, "--"), (ENTROPY, BLUE, "-")):
    ends = [learn(start(20), sharing(w, w), size(1000, fast=20), bonus) for w in TRIED]
    cleaning = torch.stack(ends).sigmoid().mean(-1)
    label = f"entropy bonus {bonus:g}"
    draw_band(axes, TRIED, cleaning, label=label, color=color, linestyle=dashes)
axes.axvline(THEORY, color=BLACK, linewidth=1, label=f"minimal share {THEORY:.3f}")
axes.set(xlabel="share given away w", ylabel="probability of cleaning")
axes.legend()
plt.show()

# %% [markdown]
# Is the update correct? We compare it with autograd. A common mistake is to differentiate the sum of
# all $\tilde r_i$ with respect to all policies: by conservation this sum is the welfare for any $T$, so all
# agents would learn to cooperate. Instead, each agent differentiates its own $\tilde r_i$ with respect to its
# own policy, with the other agent's policy as a constant:


# %%
def shared_rewards(own, other, T):
    """Each agent's shared reward, given its own probability and the other agent's."""
    own_reward = -2 - COST * own + BENEFIT * other.flip(-1)
    other_reward = -2 - COST * other.flip(-1) + BENEFIT * own
    return kept(T) * own_reward + received(T) * other_reward


def entropy(theta):
    """The entropy of a policy, in nats."""
    p = theta.sigmoid()
    return -p * p.log() - (1 - p) * (1 - p).log()


def total(own, other):
    shared = shared_rewards(own.sigmoid(), other.sigmoid(), T)
    return (shared + ENTROPY * entropy(own)).sum()


theta, T = start(), sharing(0.4, 0.1)
own_gradients = torch.func.grad(total)(theta, theta)  # of the first argument alone
group_gradient = torch.func.grad(lambda both: total(both, both))(theta)
print("by hand                      ", (learn(theta, T, 1) - theta) / RATE)
print("autograd, own rewards        ", own_gradients)
print("autograd, sum of all (wrong) ", group_gradient)

# %% [markdown]
# Then the outer loop. It keeps the graph of the policy updates and backpropagates through it. The sharing
# matrix is the softmax of the outer variables $\varphi$ (phi), so that its rows sum to 1.


# %%
def outer_objective(theta, T, cost):
    """F: the welfare under the policies theta, minus the cost of giving."""
    return (rewards(theta.sigmoid()) - cost * (1 - kept(T))).sum(-1)


def learn_to_share(
    costs, K=25, own=0.5, rate=0.02, outer=OUTER_STEPS, optimizer=Adam, theta=None
):
    """Run both loops, with one run for each cost of giving and each seed.

    Initially agents keep the share `own` and have the policies `theta`. Return the
    share given away and the probability of cleaning, [outer step, cost, seed].
    """
    cost = torch.as_tensor(costs)[:, None, None]
    theta = start(SEEDS) if theta is None else theta
    phi = torch.eye(2) * torch.tensor(own).logit()
    phi = phi.repeat(len(costs), SEEDS, 1, 1).requires_grad_()
    outer_optimizer = optimizer([phi], lr=rate)
    given_away, cleaning = [], []
    for _ in range(outer):
        T = phi.softmax(-1)
        # Keep the graph of these updates ...
        theta = learn(theta.detach(), T, K)
        # ... and backpropagate through it.
        loss = -outer_objective(theta, T, cost).sum()
        (phi.grad,) = torch.autograd.grad(loss, phi)
        outer_optimizer.step()
        given_away.append((1 - kept(T)).mean(-1).detach())
        cleaning.append(theta.sigmoid().mean(-1).detach())
    return torch.stack(given_away), torch.stack(cleaning)


# %% [markdown]
# Is the hypergradient right? Without the softmax and without the bonus it has a closed form. If $p_i$ itself
# is the parameter, with learning rate $\alpha$, then $p_i^{(K)} = p_i + \alpha K (2 w_j - (1 - w_i))$, and
# the welfare is $-4 + p_0 + p_1$. If agent 0 gives more, $p_0$ increases at the rate $\alpha K$, and $p_1$ at
# the rate $2 \alpha K$: $\partial F/\partial w_0 = 3 \alpha K$.

# %%
alpha, updates = 0.01, 5


def welfare_after(w):
    p = torch.tensor([0.2, 0.5])
    for _ in range(updates):
        p = p + alpha * (BENEFIT * w.flip(-1) - COST * (1 - w))
    return rewards(p).sum()


hypergradient = torch.func.grad(welfare_after)(torch.tensor([0.3, 0.1]))
print("through the updates", hypergradient.tolist())
print("closed form        ", 3 * alpha * updates)

# %% [markdown]
# It is positive *and does not depend on $w$*: giving more always increases the welfare after the updates.

# %% [markdown]
# ## The library's version
#
# `share` redistributes rewards, `minimal_transfer` solves the linear program, and `ToS` learns policies and
# sharing.

# %%
print("library     ", bilevel.share(KITCHEN[1, 0], sharing(0.4, 0.1)))
print("from scratch", KITCHEN[1, 0] @ sharing(0.4, 0.1))
rows = ["| game | minimal share, linear program | by bisection |", "|---|---|---|"]
for name in ("prisoners-dilemma", "prisoners-dilemma-axelrod", "chicken", "stag-hunt"):
    game = games.make(name)
    program, bisection = games.minimal_transfer(game).s, minimal_share(game.payoffs())
    rows += [f"| `{name}` | {1 - program:.6f} | {bisection:.6f} |"]
display(Markdown("\n".join(rows)))

# %% [markdown]
# The library's two loops and those from scratch, with the same initial policies:

# %%
learner, steps = build_tos(cost=4.0, outer_rate=0.02, K=5), size(20, fast=3)
library = learning_curves(learner, steps)["given_away"]
policies = learner.init(seed=0)["theta"].squeeze(-1)
scratch = learn_to_share([4.0], K=5, outer=steps, theta=policies)[0][:, 0]
print(f"share given away after {steps} outer steps")
print("library     ", over_seeds(library[-1], 6))
print("from scratch", over_seeds(scratch[-1], 6))
print("equal to 12 digits in all steps:", bool((library - scratch).abs().max() < 1e-12))

# %% [markdown]
# ## Why the learned share exceeds the minimum
#
# Above a third, both agents learn to clean. What does a larger share improve? *The speed of learning.* The
# outer objective evaluates the policies after $K$ updates, and agents that receive a larger share of the
# benefit learn faster. Left: the welfare after $K$ updates as a function of $w$; initially both clean with
# probability 0.5, without entropy bonus or cost. Right: its slope. (The learning rate is 1 here, not 10,
# so that learning is slow enough to see.)

# %%
shares = torch.linspace(0.02, 0.98, size(97, fast=7))


def welfare_and_slope(w, K):
    """The welfare after K policy updates for each share in w, and its derivative."""

    def welfare(w):
        theta = torch.zeros(())
        for _ in range(K):
            p = theta.sigmoid()
            theta = theta + p * (1 - p) * (BENEFIT * w - COST * (1 - w))
        return 2 * (BENEFIT - COST) * theta.sigmoid() - 4

    return torch.func.vmap(welfare)(w), torch.func.vmap(torch.func.grad(welfare))(w)


LOOKS = {2: (PURPLE, ":"), 10: (BLUE, "-."), 50: (GREEN, "--"), 250: (RED, "-")}


# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
rows = ["| K | smallest slope | slope at w = 0.6 |", "|---|---|---|"]
for K, (color, dashes) in LOOKS.items():
    welfare, slope = welfare_and_slope(shares, size(K, fast=2))
    left.plot(shares, welfare, color=color, linestyle=dashes, label=f"K = {K}")
    right.plot(shares, slope, color=color, linestyle=dashes, label=f"K = {K}")
    rows += [f"| {K} | {slope.min():.2g} | {slope[shares >= 0.6][0]:.2g} |"]
marked = {"color": BLACK, "linestyle": "--", "linewidth": 1, "label": "minimal share"}
for axes in (left, right):
    axes.axvline(THEORY, **marked)
    axes.set_xlabel("share given away w")
left.legend(loc="lower right", fontsize=10)
right.legend(fontsize=10)
left.set(ylabel="welfare after K updates", title="outer objective")
right.set(ylabel="slope of the welfare", yscale="log")
right.set_title("its slope is positive everywhere")
plt.show()
display(Markdown("\n".join(rows)))

# %% [markdown]
# * Every curve increases everywhere. None has its maximum at a third, however large $K$ is. For large $K$ the
#   curve is nearly flat above a third, but it never decreases: by conservation, giving costs the group
#   nothing.
# * So where does learning stop? Where the slope is so small that the share hardly changes. That point depends
#   on the learning rate, the optimizer and the initial share, not only on the game:

# %%
TRIALS = {
    "Adam, learning rate 0.02, K = 25": {},
    "Adam, learning rate 0.1, K = 25": {"rate": 0.1},
    "Adam, learning rate 0.1, K = 1": {"rate": 0.1, "K": 1},
    "the same, initial share kept 0.8": {"rate": 0.1, "K": 1, "own": 0.8},
    "SGD, learning rate 0.1, K = 25": {"rate": 0.1, "optimizer": SGD},
}
rows = [f"| after {OUTER_STEPS} outer steps, {SEEDS} seeds | share given away "]
rows[0] += "| smallest probability of cleaning |"
rows += ["|---|---|---|"]
for name, settings in TRIALS.items():
    given_away, cleaning = learn_to_share([0.0], **settings)
    lowest = f"{cleaning[-1].min():.3f}"
    rows += [f"| {name} | {over_seeds(given_away[-1, 0], 3)} | {lowest} |"]
display(Markdown("\n".join(rows)))

# %% [markdown]
# ## The same problem for both
#
# Theory gives the *minimal* share. To make the learner minimize the share, too, add a cost of giving to its
# objective, with a coefficient $c$. Then theory can also predict where learning converges. With the entropy
# bonus, policies converge to the log-odds $\theta^* = (3w - 1)/\tau$: the more is given, the more often they
# clean, but never with probability 1. So with converged policies the outer objective is
#
# $$F(w) = -4 + 2\,\sigma\!\Big(\frac{3w - 1}{\tau}\Big) - 2\,c\,w, \qquad \sigma(x) = \frac{1}{1 + e^{-x}},$$
#
# and a learner with the *exact* hypergradient converges to the local maximum of $F$ above a third, where
# $\frac{dF}{dw} = 0$: $\sigma\,(1 - \sigma) = c\,\tau/3$. The left side is at most a quarter, so there is
# no such maximum for $c > 3/(4\tau)$. In the figures, left: $F(w)$ for four values of $c$. Right: the local
# maximum by theory, and the final shares of learners with $K$ updates, for many values of $c$.

# %%
costs = torch.linspace(0.5, 9.0, 18)[:: size(1, fast=9)]


def converged_objective(w, cost):
    return -4 + 2 * ((BENEFIT * w - COST * (1 - w)) / ENTROPY).sigmoid() - 2 * cost * w


def local_maximum(cost):
    """The share at the local maximum, by theory; nan where there is none."""
    root = torch.sqrt(0.25 - cost * ENTROPY / (COST + BENEFIT))
    return (COST + ENTROPY * (0.5 + root).logit()) / (COST + BENEFIT)


max_cost = (COST + BENEFIT) / (4 * ENTROPY)
runs = {}
for K in (5, size(25, fast=6)):
    runs[K] = learn_to_share(costs, K, outer=2 * OUTER_STEPS)


# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
w = torch.linspace(0, 0.7, 300)
look = {0.0: (RED, "-"), 2.0: (PURPLE, ":"), 5.0: (GREEN, "-."), 9.0: (GRAY, "--")}
for cost, (color, dashes) in look.items():
    F = converged_objective(w, cost)
    left.plot(w, F, color=color, linestyle=dashes, label=f"c = {cost:g}")
    if 0 < cost < max_cost:
        share = local_maximum(torch.tensor(cost))
        left.plot(share, converged_objective(share, cost), "o", color=color)
left.axvline(THEORY, **marked)
left.set(xlabel="share given away w", ylabel="outer objective F (converged policies)")
left.set_title("theory (dots: local maxima)")
left.legend(loc="lower left", fontsize=10)
fine = torch.linspace(0.05, max_cost, 200)
right.plot(fine, local_maximum(fine), color=BLACK, label="theory (converged policies)")
looks = ((BLUE, "s", "-."), (GREEN, "o", ":"))
for K, (color, marker, dashes) in zip(runs, looks, strict=True):
    look = {"color": color, "marker": marker, "markersize": 5, "linestyle": dashes}
    draw_band(right, costs, runs[K][0][-1], label=f"learned, K = {K}", **look)
right.axhline(THEORY, **marked)
right.set(xlabel="cost of giving c", ylabel="final share given away")
right.set_title("theory and learning")
right.legend(fontsize=10)
plt.show()

rows = ["| K | largest c with sharing | share given away | probability of cleaning "]
rows[0] += "| difference from theory | change in the last third |"
rows += ["|---|---|---|---|---|---|"]
for K, (given_away, cleaning) in runs.items():
    persists = given_away[-1].mean(-1) > 0.2
    final, before = given_away[-1], given_away[-len(given_away) // 3]
    error = (final - local_maximum(costs)[:, None])[persists].abs().mean(-1)
    change = (final - before)[persists].abs().mean(-1)
    share, p = final[persists][-1].mean(), cleaning[-1][persists][-1].mean()
    cells = f"| {K} | {costs[persists].max():.1f} | {share:.3f} | {p:.2f} "
    cells += f"| {error[-1]:.4f} (at most {error.max():.4f}) "
    rows += [cells + f"| {change[-1]:.4f} (at most {change.max():.4f}) |"]
note = "Values at that $c$; in parentheses, the largest value at any smaller $c$, too. "
note += f"By theory, there is no local maximum above a third for $c > {max_cost:.1f}$."
display(Markdown("\n".join(rows) + f"\n\n{note}"))

# %% [markdown]
# * The larger $c$, the closer the share comes to a third, from above. It never converges to a value between 0
#   and a third: where $c$ is too large the local maximum disappears, the share falls to 0, and cooperation
#   breaks down. And with a share near a third agents do not always clean: with the entropy bonus and a share
#   of 0.36, they clean with a probability of about two thirds.
# * With 25 updates the learned share agrees with theory where $c$ is large (and falls to 0 at a slightly
#   smaller $c$ than in theory). With 5 updates it is smaller, and collapses to 0 at a smaller $c$: the
#   hypergradient contains the effect of the sharing on the *next five* updates only. That is the truncation
#   error of lesson 1. Here it underestimates the benefit of giving. At small $c$ even 25 updates are too few:
#   policies that nearly always clean learn slowly ($p(1-p)$ is small). (With 5 updates and a small $c$, the
#   share has not fully converged either.)
# * In the left figure, as long as $c$ is not too large, a curve has *two* local maxima: one at $w = 0$, and
#   one above a third. Gradient ascent converges to the one in whose basin of attraction it starts. All runs
#   with a cost start at $w = 0.5$, in the basin of the second. Add `own=0.8` to the call of `learn_to_share`
#   in the code above: they start at $w = 0.2$, and all converge to the first.
# * So the gradient is right in both cases: the minimal share is not an optimum of the first objective, and
#   with a cost the optimum is close to it.

# %% [markdown]
# ## Play
#
# Now the agents may give different shares. Left: the learning dynamics for all probabilities of cleaning,
# and the final policies from 5 initial ones. Right: the four regions by theory, without the entropy bonus.
# The sliders start where only agent 0 cleans. Find shares with which only agent 1 cleans. Can one of them
# give nothing at all, and still both clean?


# %% tags=["hide-input"]
def play(given_by_0, given_by_1):
    T = sharing(given_by_0, given_by_1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8))
    axis = torch.linspace(0.01, 0.99, 15)
    p1, p0 = torch.meshgrid(axis, axis, indexing="ij")
    p = torch.stack((p0, p1), -1)
    change = p * (1 - p) * (learn(p.logit(), T, 1) - p.logit())
    grid, arrows = axis.numpy(), change.movedim(-1, 0).numpy()
    left.streamplot(grid, grid, *arrows, color=GRAY, linewidth=0.8)
    end = learn(start(5), T, 500).sigmoid()
    left.plot(*end.T, "o", color=RED, markersize=10)
    left.set_title("learning dynamics (dots: final policies)")
    left.set_xlabel("probability that agent 0 cleans")
    left.set_ylabel("probability that agent 1 cleans")
    w = torch.linspace(0, 1, 50)
    least = (1 - w) * COST / BENEFIT  # that the other must give
    right.plot(w, least, color=BLUE, label="agent 0 cleans above it")
    look = {"color": GREEN, "linestyle": "--"}
    right.plot(least, w, label="agent 1 cleans right of it", **look)
    right.text(0.1, 0.1, "neither", color=GRAY)
    right.text(0.6, 0.6, "both", color=GRAY)
    right.text(0.02, 0.55, "only 0", color=GRAY)
    right.text(0.6, 0.05, "only 1", color=GRAY)
    look = {"color": RED, "markersize": 10, "label": "your shares"}
    right.plot(given_by_0, given_by_1, "o", **look)
    right.set(xlabel="share that agent 0 gives", ylabel="share that agent 1 gives")
    right.set_title("theory: regions")
    right.legend(loc="upper right", fontsize=10)
    for axes in (left, right):
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    plt.show()


# %%
explore(play, given_by_0=(0.0, 1.0, 0.05, 0.2), given_by_1=(0.0, 1.0, 0.05, 0.5))

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/04_sharing_in_the_prisoners_dilemma.py`.
#
# **Exercise 1 (warm up).** Any two-player prisoner's dilemma has four payoffs: the *reward* if both
# cooperate, the *sucker's payoff* for cooperating alone, the *temptation* for defecting alone and the
# *punishment* if both defect, with temptation > reward > punishment > sucker. Both give the share $w$. Write
# a formula for the minimal $w$ at which cooperating is dominant: a best response to both actions.


# %% tags=["exercise-1"]
def minimal_w(reward, sucker, temptation, punishment):
    return ...


# %% tags=["check-1"]
check_1(minimal_w)

# %% [markdown]
# **Exercise 2 (more roommates).** There are $n$ of them. Cleaning costs 1 and saves *each* of the
# others 2. Everybody keeps the share $s$ and divides the rest evenly among the other $n - 1$. Build the
# matrix $T$, and find the largest $s$ at which cleaning is dominant. Does cooperation get harder with more
# roommates?


# %% tags=["exercise-2"]
def matrix(n, s):
    """The sharing matrix, [giver, receiver]."""
    return ...


def largest_s(n):
    """The largest share kept at which cleaning is dominant."""
    return ...


# %% tags=["check-2"]
check_2(matrix, largest_s)

# %% [markdown]
# **Exercise 3 (why the slope is positive).** Let agent $i$ give the share $w_i$, and let $\theta_i$ be the
# log-odds with which it cleans. Both make *one* update without the entropy bonus:
# $\theta_i' = \theta_i + \alpha\, p_i(1 - p_i)\,(2 w_j - (1 - w_i))$, with $j$ the other agent. Derive
# $\partial F/\partial w_0$ for $F = \sum_i r_i(\theta')$ by hand, and implement it without autograd. Then
# you can see why it is positive for every $w$ and every policy.


# %% tags=["exercise-3"]
def slope(theta, w, alpha):
    """dF / dw[0]; theta and w are tensors with one number for each agent."""
    return ...


# %% tags=["check-3"]
check_3(slope)

# %% [markdown]
# **For discussion.** (a) Let each giver update its own share to increase its *own* reward instead of the
# welfare. Does it learn to give? (Use the closed form: what is the effect of $w_0$ on $r_0$, and on $r_1$?
# Then try `ToS(objective="own-return")`.) (b) With $c = 4$ agents learn to give 0.388 and to cooperate. A
# colleague concludes that 0.388 is the minimal share. What do you ask? (c) Somebody proposes to *pay* the
# roommates for cleaning instead. What is lost, and what becomes easier?

# %% [markdown]
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. Sharing does not change the total reward. Why can it change what agents do?</summary>
#
# Every row of $T$ sums to 1, so the total is conserved. But an agent maximizes its *own* shared reward. It
# bears only the share $1 - w$ of the cost of its action, and receives the share $w$ of the benefit to the
# other agent: it cleans if $2w > 1 - w$.
#
# </details>
#
# <details><summary>2. Why does learning for the welfare not stop at the minimal share 1/3?</summary>
#
# By conservation, giving costs the group nothing, and a larger share makes agents learn to clean faster. So
# the hypergradient is positive for every $w$. It becomes small but never 0, and where the share ends depends
# on the learning rate, the optimizer and the initial share.
#
# </details>
#
# <details><summary>3. If giving has a cost, why is the learned share near 1/3 but not equal to it?</summary>
#
# The optimum balances the cost against the probability of cleaning. With the entropy bonus this probability
# is one half at $w = \frac13$ and increases smoothly above it, so that the local maximum of $F$ is above a
# third. Where the cost is too large, there is no such maximum, and the share falls to 0.
#
# </details>

# %% [markdown]
# ## What to read
#
# * Willis and others, *Resolving social dilemmas with minimal reward transfer*, arXiv 2310.12928: the
#   linear program, and its results for many games.
# * Yi and others, *Learning to share in multi-agent reinforcement learning*, arXiv 2112.08702: learned
#   sharing.
# * Yang and others, *Learning to incentivize other learning agents*, arXiv 2006.06051: paying instead
#   of sharing.
# * In this toolkit: `docs/explanation/theory.md`, `bilevel theory --game prisoners-dilemma`, and
#   `docs/studies/initial-sharing.md` on the effect of the initial sharing.
# * Next: `05_learning_to_share`, with more agents, sampled games, and training schedules for both loops.

# %% [markdown]
# # 4. Sharing in the prisoner's dilemma
#
# **What share of the rewards must agents give away so that all cooperate, and does a learner find that
# share?**
#
# Two roommates share a kitchen. The mess that each leaves behind costs the *other* 2. Cleaning up costs
# the cleaner 1, and saves the other 2. Not cleaning is dominant, so neither cleans: a prisoner's dilemma. Now
# let each of them give a share $w$ of its reward, positive or negative, to the other. The sum of the rewards
# does not change. And yet, above some $w$, both clean.
#
# Theory gives this $w$. Then two nested loops search for it: in the inner loop the agents learn their
# policies under a fixed sharing matrix; the outer loop learns the sharing matrix by differentiating through
# the policy updates. At first the learned share is not that of theory, since the two solve different
# problems. Once they solve the same problem, they agree.

# %% tags=["setup"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("bilevel") is None:  # not installed yet, as in Colab
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "bilevel[lessons]"], check=True)

# %%
import matplotlib.pyplot as plt
import torch

import games
from bilevel import Placement
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

# %%
SEEDS, OUTER_STEPS = size(12, fast=3), size(150, fast=4)
INNER = {"inner.steps": 25, "inner.learning_rate": 10.0, "inner.entropy_coef": 0.1}


def curves(cost, rate):
    method = ToS(own_share=0.5, cost_weight=cost).with_settings(
        {**INNER, "outer.learning_rate": rate}
    )
    learner = method.build(games.make("prisoners-dilemma"), Placement(seeds=SEEDS))
    return learning_curves(learner, OUTER_STEPS)


# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), sharex=True)
print(
    f"After {OUTER_STEPS} outer steps, {SEEDS} seeds (interquartile mean and 95 % "
    f"interval):"
)
for label, cost, color in (
    ("welfare", 0.0, RED),
    ("welfare - cost, c = 4", 4.0, GREEN),
):
    for rate, dashes in ((0.1, "-"), (0.02, ":")):
        found, words = curves(cost, rate), f"{label}; learning rate {rate}"
        for axes, name in ((left, "cooperation"), (right, "given_away")):
            look = {"color": color, "linestyle": dashes}
            draw_band(axes, range(OUTER_STEPS), found[name], label=words, **look)
        print(
            f"{words:38} share given away {over_seeds(found['given_away'][-1], 3)},",
            end=" ",
        )
        print(f"probability of cleaning {over_seeds(found['cooperation'][-1], 3)}")
right.axhline(1 / 3, color=BLACK, linestyle="--", label="minimal share (theory)")
left.set(xlabel="outer step", ylabel="probability of cleaning", ylim=(0, 1.03))
right.set(xlabel="outer step", ylabel="share given away", ylim=(0, 1.03))
figure.legend(*right.get_legend_handles_labels(), loc="outside upper center", ncols=3)
plt.show()

# %% [markdown]
# ## The idea in words
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
# `[action of 0, action of 1, agent]`. Sharing transforms this table. We compute the largest gain from
# deviating from cooperation, and search for the smallest $w$ at which no deviation pays.

# %%
COST, BENEFIT = 1.0, 2.0  # cost of cleaning, and its benefit to the other agent


def sharing(w0, w1):
    """The sharing matrix T, [giver, receiver]: agent 0 gives the share w0, agent 1 the
    share w1.
    """
    return torch.tensor([[1 - w0, w0], [w1, 1 - w1]])


KITCHEN = torch.tensor(
    [[[-1.0, -1.0], [-3.0, 0.0]], [[0.0, -3.0], [-2.0, -2.0]]]
)  # action 0 cleans
T = sharing(0.4, 0.4)
print("individual      shared (w = 0.4)")
for a in (0, 1):
    for b in (0, 1):
        own, shared = KITCHEN[a, b], KITCHEN[a, b] @ T
        print(f"{own.tolist()}    [{shared[0]:.1f}, {shared[1]:.1f}]    ", end="")
        print(f"sums {own.sum():.1f} and {shared.sum():.1f}")


def deviation_gain(table, w):
    """The largest gain of an agent from action 1 over action 0, over the actions of the
    other agent.
    """
    shared = table @ sharing(w, w)
    return torch.maximum(
        (shared[1, :, 0] - shared[0, :, 0]).max(),
        (shared[:, 1, 1] - shared[:, 0, 1]).max(),
    )


def minimal_share(table):
    """The smallest w at which no deviation pays, to 12 digits, by bisection; it must be
    below 1.
    """
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (
            (low, middle) if deviation_gain(table, middle) <= 0 else (middle, high)
        )
    return high


print(f"\nminimal share: {minimal_share(KITCHEN):.9f}")

# %% [markdown]
# Then the inner loop: the boxed update, for both agents at once.

# %%
RATE, ENTROPY = (
    10.0,
    0.1,
)  # learning rate of the policies, coefficient of the entropy bonus


def rewards(p):
    """Individual rewards, [..., agent], where agent i cleans with probability p[...,
    i].
    """
    return -2 - COST * p + BENEFIT * p.flip(-1)


def kept(T):
    """The share of its reward that each agent keeps, [..., agent]."""
    return T.diagonal(dim1=-2, dim2=-1)


def received(T):
    """The share of the other agent's reward that each agent receives, [..., agent]."""
    return T.flip(-2).diagonal(dim1=-2, dim2=-1)


def learn(theta, T, steps, bonus=ENTROPY):
    """Policy updates: each agent follows the gradient of its own shared reward."""
    gain = BENEFIT * received(T) - COST * kept(T)  # of cleaning, in shared reward
    for _ in range(steps):
        p = theta.sigmoid()
        theta = theta + RATE * p * (1 - p) * (gain - bonus * theta)
    return theta


def start(*batch, seed=0):
    """Initial policies: the log-odds of cleaning of each agent."""
    return torch.randn(*batch, 2, generator=torch.Generator().manual_seed(seed))


# %% [markdown]
# Under a fixed share $w$ policies switch from never to always cleaning at a third, as theory says. The
# entropy bonus keeps them stochastic, so the switch is smooth. (Each line is an interquartile mean over 20
# initial policies; the 95 % intervals are mostly narrower than the line.)

# %% tags=["hide-input"]
THEORY = COST / (COST + BENEFIT)
TRIED = torch.linspace(0.2, 0.5, size(61, fast=4))
figure, axes = plt.subplots()
for bonus, color, dashes in ((0.0, PURPLE, "--"), (ENTROPY, BLUE, "-")):
    ends = [learn(start(20), sharing(w, w), size(1000, fast=20), bonus) for w in TRIED]
    cleans = torch.stack(ends).sigmoid().mean(-1)
    label = f"entropy bonus {bonus:g}"
    draw_band(axes, TRIED, cleans, label=label, color=color, linestyle=dashes)
axes.axvline(THEORY, color=BLACK, linewidth=1, label=f"minimal share {THEORY:.3f}")
axes.set(xlabel="share given away w", ylabel="probability of cleaning")
axes.legend()
plt.show()

# %% [markdown]
# Is the update correct? We compare it with autograd. A common mistake is to differentiate the sum of
# all $\tilde r_i$ in all policies: by conservation this sum is the welfare for any $T$, so all agents would
# learn to cooperate. Instead, each agent differentiates its own $\tilde r_i$ in its own policy, with the
# other agent's policy as a constant:

# %%


def shared_rewards(own, other, T):
    """Each agent's shared reward, as a function of its own policy and of the other
    agent's.
    """
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
# Then the outer loop. It keeps the graph of the policy updates and backpropagates through it: the softmax of
# the outer variables $\varphi$ (phi) gives sharing matrices whose rows sum to 1.

# %%


def learn_to_share(
    costs,
    steps,
    own=0.5,
    rate=0.02,
    outer_steps=OUTER_STEPS,
    optimizer=torch.optim.Adam,
):
    """Both loops: after `steps` policy updates, update the sharing by the gradient
    through them.

    costs: the cost c of giving everything away; one run per entry. own: the share that
    both agents keep initially. rate: learning rate of the sharing.
    Returns share given away and probability of cleaning, [outer step, cost, seed].
    """
    theta = start(SEEDS).expand(len(costs), -1, -1).clone()
    phi = (
        torch.zeros(len(costs), SEEDS, 2, 2) + torch.eye(2) * torch.tensor(own).logit()
    )
    phi.requires_grad_()
    outer_optimizer = optimizer([phi], lr=rate)
    given_away, cleaning = [], []
    for _ in range(outer_steps):
        T = phi.softmax(-1)
        theta = learn(theta.detach(), T, steps)  # keep the graph of these updates ...
        penalty = torch.as_tensor(costs)[:, None, None] * (1 - kept(T))
        objective = (rewards(theta.sigmoid()) - penalty).sum()
        phi.grad = torch.autograd.grad(-objective, phi)[
            0
        ]  # ... and backpropagate through it
        outer_optimizer.step()
        given_away.append((1 - kept(T)).mean(-1).detach())
        cleaning.append(theta.sigmoid().mean(-1).detach())
    return torch.stack(given_away), torch.stack(cleaning)


# %% [markdown]
# Is the hypergradient right? Without the softmax and without the bonus it has a closed form. If $p_i$ itself
# is the parameter, with learning rate $\alpha$, then $p_i^{(K)} = p_i + \alpha K (2 w_j - (1 - w_i))$, and
# welfare is $-4 + p_0 + p_1$. So agent 0's share has an effect of 1 on agent 0's cleaning and of 2 on agent
# 1's: $\partial F/\partial w_0 = 3 \alpha K$.

# %%
alpha, updates = 0.01, 5


def welfare_after(w):
    p = torch.tensor([0.2, 0.5])
    for _ in range(updates):
        p = p + alpha * (BENEFIT * w.flip(-1) - COST * (1 - w))
    return rewards(p).sum()


hypergradient = torch.func.grad(welfare_after)(torch.tensor([0.3, 0.1]))
print(
    f"through the updates {hypergradient.tolist()}, closed form "
    f"{3 * alpha * updates:.4f}"
)

# %% [markdown]
# It is positive *and does not depend on $w$*: giving more always increases the welfare after the updates.

# %% [markdown]
# ## The library's version
#
# `share` redistributes rewards, `minimal_transfer` solves the linear program, and `ToS` learns policies and
# sharing.

# %%
import bilevel

print("library     ", bilevel.share(KITCHEN[1, 0], sharing(0.4, 0.1)))
print("from scratch", KITCHEN[1, 0] @ sharing(0.4, 0.1))
for name in ("prisoners-dilemma", "prisoners-dilemma-axelrod", "chicken", "stag-hunt"):
    game = games.make(name)
    program, bisection = (
        1 - games.minimal_transfer(game).s,
        minimal_share(game.payoffs()),
    )
    print(
        f"{name:26}minimal share {program:.6f} (linear program), {bisection:.6f} "
        f"(bisection)"
    )

# %%
method = ToS(own_share=0.5, cost_weight=4.0).with_settings(
    {
        "inner.steps": 5,
        "inner.learning_rate": RATE,
        "outer.learning_rate": 0.02,
        "inner.entropy_coef": ENTROPY,
    }
)
learner = method.build(games.make("prisoners-dilemma"), Placement(seeds=3))
state = learner.init(seed=0)

theta = state["theta"].squeeze(-1).clone()  # from scratch, from the same policies
phi = torch.zeros(3, 2, 2, requires_grad=True)
outer_optimizer = torch.optim.Adam([phi], lr=0.02)
largest_difference = 0.0
for _ in range(size(20, fast=3)):
    state, metrics = learner.update(state)
    T = phi.softmax(-1)
    theta = learn(theta.detach(), T, 5)
    phi.grad = torch.autograd.grad(
        -(rewards(theta.sigmoid()) - 4.0 * (1 - kept(T))).sum(), phi
    )[0]
    outer_optimizer.step()
    scratch = (1 - kept(T.detach())).mean(-1)
    largest_difference = max(
        largest_difference, float((metrics["given_away"] - scratch).abs().max())
    )
print("share given away, library     ", metrics["given_away"])
print("share given away, from scratch", scratch)
print(f"equal to 12 digits in all steps: {largest_difference < 1e-12}")

# %% [markdown]
# ## Why the welfare objective overshoots
#
# Above a third, both agents learn to clean. What does a larger share improve? *The speed of learning.* The
# outer objective evaluates the policies after $K$ updates, and agents that receive a larger share of the
# benefit learn faster. Left: the welfare after $K$ updates as a function of $w$; initially both clean with
# probability 0.5, without entropy bonus or cost. Right: its slope. (The learning rate is 1 here, not 10,
# so that learning is slow enough to see.)

# %%
shares = torch.linspace(0.02, 0.98, size(97, fast=7))


def welfare_and_slope(w, steps, bonus=0.0):
    def welfare(w):
        theta = torch.zeros(())
        for _ in range(steps):
            p = theta.sigmoid()
            theta = theta + p * (1 - p) * (BENEFIT * w - COST * (1 - w) - bonus * theta)
        return 2 * (BENEFIT - COST) * theta.sigmoid() - 4

    return torch.func.vmap(welfare)(w), torch.func.vmap(torch.func.grad(welfare))(w)


# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
for steps, color, dashes in (
    (2, PURPLE, ":"),
    (10, BLUE, "-."),
    (50, GREEN, "--"),
    (250, RED, "-"),
):
    welfare, slope = welfare_and_slope(shares, size(steps, fast=2))
    left.plot(shares, welfare, color=color, linestyle=dashes, label=f"K = {steps}")
    right.plot(shares, slope, color=color, linestyle=dashes, label=f"K = {steps}")
    at_06 = slope[shares >= 0.6][0]
    print(
        f"K = {steps:3}: smallest slope {slope.min():.1e}, slope at w = 0.6 {at_06:.1e}"
    )
for axes in (left, right):
    axes.axvline(
        THEORY, color=BLACK, linestyle="--", linewidth=1, label="minimal share"
    )
left.legend(loc="lower right", fontsize=10)
right.legend(fontsize=10)
left.set(
    xlabel="share given away w",
    ylabel="welfare after K updates",
    title="outer objective",
)
right.set(
    xlabel="share given away w",
    ylabel="slope of the welfare",
    yscale="log",
    title="its slope is positive everywhere",
)
plt.show()

# %% [markdown]
# * Every curve increases everywhere. None has its maximum at a third, however large $K$ is. With more
#   updates the curve is flatter above a third, but it never decreases: by conservation, giving costs the
#   group nothing.
# * So where does learning stop? Where the slope is so small that the share hardly changes. That point depends
#   on the learning rate, the optimizer and the initial share, not only on the game:

# %%
print(
    f"share given away after {OUTER_STEPS} outer steps, {SEEDS} seeds (interquartile "
    f"mean and 95 % interval)"
)
for name, settings in {
    "Adam, learning rate 0.02, K = 25": {"steps": 25},
    "Adam, learning rate 0.1, K = 25": {"steps": 25, "rate": 0.1},
    "Adam, learning rate 0.1, K = 1": {"steps": 1, "rate": 0.1},
    "the same, initial share kept 0.8": {"steps": 1, "rate": 0.1, "own": 0.8},
    "SGD, learning rate 0.1, K = 25": {
        "steps": 25,
        "rate": 0.1,
        "optimizer": torch.optim.SGD,
    },
}.items():
    given_away, cleaning = learn_to_share([0.0], **settings)
    print(
        f"{name:33} {over_seeds(given_away[-1, 0], 3)}   probability of cleaning >= "
        f"{cleaning[-1].min():.3f}"
    )

# %% [markdown]
# ## The same problem for both
#
# Theory gives the *minimal* share. To let the learner minimize the share, too, add a cost of giving to its
# objective, with a coefficient $c$. Then theory can also predict where learning converges. With the entropy
# bonus, policies converge to the log-odds $\theta^* = (3w - 1)/\tau$: the more is given, the more they clean,
# but never with certainty. So with converged policies the outer objective is
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


runs = {
    steps: learn_to_share(costs, steps, outer_steps=2 * OUTER_STEPS)
    for steps in (5, size(25, fast=6))
}
max_cost = (COST + BENEFIT) / (4 * ENTROPY)


# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
w = torch.linspace(0, 0.7, 300)
for cost, color, dashes in (
    (0.0, RED, "-"),
    (2.0, PURPLE, ":"),
    (5.0, GREEN, "-."),
    (9.0, GRAY, "--"),
):
    left.plot(
        w,
        converged_objective(w, cost),
        color=color,
        linestyle=dashes,
        label=f"c = {cost:g}",
    )
    if 0 < cost < max_cost:
        share = local_maximum(torch.tensor(cost))
        left.plot(share, converged_objective(share, cost), "o", color=color)
left.axvline(THEORY, color=BLACK, linestyle="--", linewidth=1, label="minimal share")
left.set(
    xlabel="share given away w",
    ylabel="outer objective F (converged policies)",
    title="theory (dots: local maxima)",
)
left.legend(loc="lower left", fontsize=10)
fine = torch.linspace(0.05, max_cost, 200)
right.plot(fine, local_maximum(fine), color=BLACK, label="theory (converged policies)")
LINES = ((BLUE, "s", "-."), (GREEN, "o", ":"))
for (steps, (given_away, _)), (color, marker, dashes) in zip(
    runs.items(), LINES, strict=True
):
    look = {"color": color, "marker": marker, "markersize": 5, "linestyle": dashes}
    draw_band(right, costs, given_away[-1], label=f"learned, K = {steps}", **look)
right.axhline(THEORY, color=BLACK, linestyle="--", linewidth=1, label="minimal share")
right.set(
    xlabel="cost of giving c",
    ylabel="final share given away",
    title="theory and learning",
)
right.legend(fontsize=10)
plt.show()

for steps, (given_away, cleaning) in runs.items():
    persists = given_away[-1].mean(-1) > 0.2
    error = (given_away[-1] - local_maximum(costs)[:, None])[persists].abs().mean(-1)
    change = (
        (given_away[-1] - given_away[-len(given_away) // 3])[persists].abs().mean(-1)
    )
    share, p = given_away[-1][persists][-1].mean(), cleaning[-1][persists][-1].mean()
    print(
        f"K = {steps:2}: sharing persists up to c = {costs[persists].max():.1f}",
        end=" ",
    )
    print(f"(share given away {share:.3f}, probability of cleaning {p:.2f})")
    print(
        f"        difference from theory there {error[-1]:.4f}, largest at all c "
        f"{error.max():.4f}"
    )
    print(
        f"        change in the last third there {change[-1]:.4f}, largest at all c "
        f"{change.max():.4f}"
    )
print(f"theory: no local maximum above a third for c > {max_cost:.1f}")

# %% [markdown]
# * The larger $c$, the closer the share comes to a third, from above. It never converges to a value between 0
#   and a third: where $c$ is too large the local maximum disappears, the share falls to 0, and cooperation
#   breaks down. And a share near a third does not make both agents always clean: with the entropy bonus, at
#   0.36 they clean about two times in three.
# * With 25 updates the learned share agrees with theory where $c$ is large. With 5 updates it is smaller, and
#   collapses to 0 at a smaller $c$: the hypergradient contains the effect of the sharing on the *next five*
#   updates only. That is the truncation error of lesson 1, and it underestimates the benefit of giving. At
#   small $c$ even 25 updates are too few: policies that nearly always clean learn slowly ($p(1-p)$ is
#   small). (With 5 updates and a small $c$, the share has not fully converged either.)
# * Left, as long as $c$ is not too large, a curve has *two* local maxima: one at $w = 0$, and one above a
#   third. Gradient ascent converges to the one in whose basin of attraction it starts. All runs with a cost
#   start at $w = 0.5$, in the basin of the second. Put `own=0.8` into the call of `learn_to_share` above, and
#   see.
# * So the gradient is right in both cases: the minimal share is not an optimum of the first objective, and
#   with a cost the optimum is close to it.

# %% [markdown]
# ## Play
#
# Now the agents may give different shares. Left: the learning dynamics, for all probabilities of cleaning,
# and the final policies from 5 initial ones. Right: the four regions by theory, without the entropy bonus.
# Find shares with which only one agent cleans. Can one of them give nothing at all, and still both clean?


# %% tags=["hide-input"]
def play(given_by_0, given_by_1):
    T = sharing(given_by_0, given_by_1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8))
    axis = torch.linspace(0.01, 0.99, 15)
    p1, p0 = torch.meshgrid(axis, axis, indexing="ij")
    p = torch.stack((p0, p1), -1)
    change = p * (1 - p) * (learn(p.logit(), T, 1) - p.logit())
    left.streamplot(
        axis.numpy(),
        axis.numpy(),
        *change.movedim(-1, 0).numpy(),
        color=GRAY,
        linewidth=0.8,
    )
    end = learn(start(5), T, 500).sigmoid()
    left.plot(*end.T, "o", color=RED, markersize=10)
    left.set(
        xlabel="probability that agent 0 cleans",
        ylabel="probability that agent 1 cleans",
        title="learning dynamics (dots: final policies)",
    )
    w = torch.linspace(0, 1, 50)
    right.plot(w, (1 - w) * COST / BENEFIT, color=BLUE, label="agent 0 cleans above it")
    right.plot(
        (1 - w) * COST / BENEFIT,
        w,
        color=GREEN,
        linestyle="--",
        label="agent 1 cleans right of it",
    )
    for x, y, words in (
        (0.1, 0.1, "neither"),
        (0.6, 0.6, "both"),
        (0.02, 0.55, "only 0"),
        (0.6, 0.05, "only 1"),
    ):
        right.text(x, y, words, color=GRAY)
    right.plot(
        given_by_0, given_by_1, "o", color=RED, markersize=10, label="your shares"
    )
    right.set(
        xlabel="share that agent 0 gives",
        ylabel="share that agent 1 gives",
        title="theory: regions",
    )
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
# cooperate, the *sucker*'s payoff for cooperating alone, the *temptation* for defecting alone and the
# *punishment* if both defect, with temptation > reward > punishment > sucker. Both give the share $w$. Write
# a formula for the minimal $w$ at which cooperating is dominant.


# %% tags=["exercise-1"]
def minimal_w(reward, sucker, temptation, punishment):
    return ...


# %% tags=["check-1"]
check_1(minimal_w)

# %% [markdown]
# **Exercise 2 (more roommates).** There are $n$ of them. Cleaning costs 1, and saves *each* of the
# others 2. Everybody keeps the share $s$ and divides the rest evenly among the other $n - 1$. Build the
# matrix $T$, and find the largest $s$ at which cleaning is dominant. Does cooperation get harder with more
# roommates?


# %% tags=["exercise-2"]
def matrix(n, s):
    """[giver, receiver]"""
    return ...


def largest_s(n):
    return ...


# %% tags=["check-2"]
check_2(matrix, largest_s)

# %% [markdown]
# **Exercise 3 (why the slope is positive).** Policies are log-odds $\theta_0, \theta_1$ and make *one*
# update, without the bonus: $\theta_i' = \theta_i + \alpha\, p_i(1 - p_i)\,(2 w_j - (1 - w_i))$. Derive
# $\partial F/\partial w_0$ for $F = \sum_i r_i(\theta')$ by hand, and implement it without autograd. Then
# you can see why it is positive for every $w$ and every policy.


# %% tags=["exercise-3"]
def slope(theta, w, alpha):
    """dF / dw[0]; theta and w are tensors of two numbers."""
    return ...


# %% tags=["check-3"]
check_3(slope)

# %% [markdown]
# **For discussion.** (a) Let each giver update its own share by its *own* reward, not by the welfare. Does it
# learn to give? (Use the closed form: what is the effect of $w_0$ on $r_0$, and on $r_1$?
# `ToS(objective="own-return")` shows it.) (b) With $c = 4$ agents learn to give 0.388 and cooperate. A
# colleague concludes that 0.388 is the minimal share. What do you ask? (c) Somebody proposes to *pay* the
# roommates for cleaning instead. What is lost, and what becomes easier?

# %% [markdown]
# ## What to read
#
# * Willis and others, *Resolving social dilemmas with minimal reward transfer*, arXiv 2310.12928: the
#   linear program, and its answer for many games.
# * Yi and others, *Learning to share in multi-agent reinforcement learning*, arXiv
#   2112.08702: learned sharing.
# * Yang and others, *Learning to incentivize other learning agents*, arXiv 2006.06051: paying instead
#   of sharing.
# * In this toolkit: `docs/explanation/theory.md`, `bilevel theory --game prisoners-dilemma`, and
#   `docs/studies/initial-sharing.md` on the initial sharing.
# * Next: `05_learning_to_share`, with more agents, sampled games, and training schedules for both loops.

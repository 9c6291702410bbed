# %% [markdown]
# # 4. Sharing in the prisoner's dilemma
#
# **How much of your reward must you give away before everybody cooperates, and does a learner find
# that share?**
#
# Two flatmates share a kitchen. The mess that each leaves behind costs the *other* 2. Cleaning up costs
# the cleaner 1, and saves the other 2. Not cleaning is dominant, so both end up with a dirty kitchen: a
# prisoner's dilemma. Now let each of them give a share $w$ of its reward, positive or negative, to the
# other. The group gains nothing by that: the sum of rewards does not change. And yet, above some $w$,
# both clean.
#
# Theory gives this $w$. Then two nested learners look for it: in the inner loop policies learn to clean
# under a fixed sharing; in the outer loop the sharing learns from the policies' updates. The result
# agrees with theory once both answer the same question; why at first it does not is the point of this
# lesson.
#
# The first cell defines everything that is run below. Its symbols are explained under *The key
# equations*; come back to it then.

# %%
import matplotlib.pyplot as plt
import torch
from checks.sharing_in_the_prisoners_dilemma import check_1, check_2, check_3
from lesson import BLACK, BLUE, GRAY, GREEN, PURPLE, RED, draw_band, explore, size, use_style

from bilevel.experiments import interquartile_interval

use_style()
torch.set_default_dtype(torch.float64)

COST, HELP = 1.0, 2.0  # cleaning costs me 1, and is worth 2 to the other
RATE, BONUS = 10.0, 0.1  # the policies' learning rate, and their entropy bonus in reward per nat
SEEDS, OUTER = size(12, fast=3), size(150, fast=4)


def rewards(p):
    """Own rewards, [..., agent], where agent i cleans with probability p[..., i]."""
    return -2 - COST * p + HELP * p.flip(-1)


def kept(T):
    """The share of its own reward that each agent keeps: [..., agent] of T [..., giver, receiver]."""
    return T.diagonal(dim1=-2, dim2=-1)


def received(T):
    """The share of the other's reward that each agent receives."""
    return T.flip(-2).diagonal(dim1=-2, dim2=-1)


def learn_once(theta, T, bonus=BONUS):
    """One policy update of both agents: each follows the gradient of its own shared reward under T."""
    p = theta.sigmoid()
    return theta + RATE * p * (1 - p) * (HELP * received(T) - COST * kept(T) - bonus * theta)


def learn(theta, T, steps, bonus=BONUS):
    for _ in range(steps):
        theta = learn_once(theta, T, bonus)
    return theta


def sharing(w0, w1):
    """T, [giver, receiver]: agent 0 gives w0 and agent 1 gives w1 to the other."""
    return torch.tensor([[1 - w0, w0], [w1, 1 - w1]])


def over_seeds(values):
    """Interquartile mean and 95 % interval of values [seed], as words."""
    found = interquartile_interval(values.numpy())
    return f"{found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}]"


def start(*batch, seed=0):
    """Initial policies: log-odds of cleaning, one for each agent."""
    return torch.randn(*batch, 2, generator=torch.Generator().manual_seed(seed))


def learn_to_share(costs, steps, own=0.5, rate=0.02, outer=OUTER, optimizer=torch.optim.Adam):
    """Both loops: after `steps` policy updates, update the sharing by the gradient through these updates.

    costs: the cost to each agent of giving everything away; one run per entry. own: the share that both keep
    at the start. rate: learning rate of the sharing, used by `optimizer`. outer: number of outer steps.
    Returns the share given away and the probability of cleaning, [outer step, cost, seed].
    """
    theta = start(SEEDS).expand(len(costs), -1, -1).clone()
    phi = torch.zeros(len(costs), SEEDS, 2, 2)  # logits: a softmax makes rows that sum to 1
    phi += torch.eye(2) * torch.tensor(own / (1 - own)).log()
    phi.requires_grad_()
    outer_optimizer = optimizer([phi], lr=rate)
    given, cleans = [], []
    for _ in range(outer):
        T = phi.softmax(-1)
        theta = learn(theta.detach(), T, steps)  # keep the graph of these updates ...
        bill = torch.as_tensor(costs)[:, None, None] * (1 - kept(T))
        objective = (rewards(theta.sigmoid()) - bill).sum()
        phi.grad = torch.autograd.grad(-objective, phi)[0]  # ... and backpropagate through it
        outer_optimizer.step()
        given.append((1 - kept(T)).mean(-1).detach())
        cleans.append(theta.sigmoid().mean(-1).detach())
    return torch.stack(given), torch.stack(cleans)


# %% [markdown]
# ## A picture of the answer
#
# Left: policies learn under a fixed sharing, with and without an entropy bonus (20 initial policies each;
# with the bonus policies stay stochastic). Right: the sharing is learned, too. If the outer objective is
# welfare only, the learned share goes far beyond what is needed, and how far depends on the learning
# rate. If giving is costly, it converges near the least share, and to the same value for both learning
# rates. (Every line is a mean over seeds; nearly all of the 95 % intervals are narrower than the line.)

# %%
THEORY = COST / (COST + HELP)
TRIED = torch.linspace(0.2, 0.5, size(61, fast=4))
OBJECTIVES = (("welfare only", RED), ("giving costs 4", GREEN))

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
for bonus, color, dashes in ((0.0, PURPLE, "--"), (BONUS, BLUE, "-")):
    ends = [learn(start(20), sharing(w, w), size(1000, fast=20), bonus).sigmoid().mean(-1) for w in TRIED]
    draw_band(left, TRIED, torch.stack(ends), label=f"entropy bonus {bonus:g}", color=color, linestyle=dashes)
left.axvline(THEORY, color=BLACK, linewidth=1, label=f"theory: {THEORY:.3f}")
left.set(xlabel="share w that both give away", ylabel="probability of cleaning", title="fixed sharing")
left.legend(loc="center right")
print(f"After {OUTER} outer steps, {SEEDS} seeds (interquartile mean and 95 % interval):")
for rate, dashes in ((0.1, "-"), (0.02, ":")):
    given, cleans = learn_to_share([0.0, 4.0], steps=25, rate=rate)
    for row, (label, color) in enumerate(OBJECTIVES):
        draw_band(
            right,
            range(OUTER),
            given[:, row],
            label=f"{label}, learning rate {rate}",
            color=color,
            linestyle=dashes,
        )
        print(f"{label:15} learning rate {rate:.2f}: share given {over_seeds(given[-1, row])}, ", end="")
        print(f"probability of cleaning {over_seeds(cleans[-1, row])}")
right.axhline(THEORY, color=BLACK, linestyle="--", label="least share (theory)")
right.set(xlabel="outer steps", ylabel="share given away", title="learned sharing", ylim=(0, 1))
right.legend(loc="lower right", fontsize=10)
plt.show()

# %% [markdown]
# ## The idea in words
#
# * **A sharing matrix** defines which share of each agent's reward goes to whom: one row for each giver,
#   one column for each receiver. Every row sums to 1: what you do not keep, another agent receives. So the
#   sum of all rewards is unchanged. This *conservation* distinguishes sharing from payments that create
#   reward, and from taxes that destroy it.
# * Sharing leaves the group's *total* unchanged, and changes everybody's *incentives*. Cleaning costs me 1,
#   of which I now bear only the share that I keep; and it saves you 2, of which I now receive the share
#   that you give. If the second is larger than the first, I clean out of self-interest.
# * **The minimal transfer** is the least that all must give so that playing the group's optimum is a
#   dominant strategy for each: best *whatever the others do*. A linear program finds it for any payoff
#   table, or shows that there is none.
# * A **learner of sharing** knows nothing of that. It asks: if I change the sharing a little, how much does
#   welfare change after the policies' next updates? That is the hypergradient of lesson 1, with the sharing
#   as the outer variable.

# %% [markdown]
# ## The key equations
#
# $r_i$ is agent $i$'s own reward, $T_{ij}$ the share of $i$'s reward that $j$ receives, $\tilde r_j$ the
# shared reward that $j$ learns from:
#
# $$\tilde r_j = \sum_i T_{ij}\, r_i, \qquad \sum_j T_{ij} = 1
# \quad\Longrightarrow\quad \sum_j \tilde r_j = \sum_i r_i .$$
#
# With $T_{ii} = 1 - w$ and the rest for the other, cleaning changes my shared reward by
#
# $$\underbrace{2\,w}_{\text{my share of the help}} - \underbrace{1\,(1 - w)}_{\text{my share of the cost}} =
# 3w - 1, \qquad\text{so I clean if}\qquad \boxed{\ w > \tfrac13\ }$$
#
# and *that does not depend on what you do*: cleaning is then dominant, and mutual cleaning is the Nash
# equilibrium. The literature states the share that is kept: $s^* = 1 - w = \frac23$ is the *largest* share
# that all can keep.
#
# For the learner, let $\theta_i$ be the log-odds with which $i$ cleans, $p_i = 1/(1 + e^{-\theta_i})$
# the probability, $\alpha$ the learning rate and $\tau$ (tau) the coefficient of an entropy bonus: nothing
# where $p_i$ is 0 or 1, and at most $\tau \ln 2$, where $p_i$ is a half. (The derivative of the entropy in
# $\theta_i$ is $-p_i(1-p_i)\,\theta_i$.) In one update agent $i$ follows the gradient of its own
# $\tilde r_i$ and of its bonus:
#
# $$\theta_i \leftarrow \theta_i + \alpha\, p_i (1 - p_i) \big( 2\,T_{ji} - T_{ii} - \tau \theta_i \big),
# \qquad j \text{ the other agent}. $$
#
# The sharing ascends the outer objective $F(T) = \sum_i r_i(\theta^{(K)}) - c \sum_i (1 - T_{ii})$: the sum
# of the agents' *own* rewards under the policies after $K$ updates, minus the cost $c$ of giving.

# %% [markdown]
# ## From scratch
#
# First theory, for any game of two agents and two actions: a table `[action of 0, action of 1, agent]`.
# Sharing transforms the payoff table; compute the gain of deviating from the optimum, whatever the other
# does; take the least $w$ at which no deviation pays.

# %%
KITCHEN = torch.tensor([[[-1.0, -1.0], [-3.0, 0.0]], [[0.0, -3.0], [-2.0, -2.0]]])  # action 0 cleans
T = sharing(0.4, 0.4)
print("own rewards     shared rewards, if both give 0.4")
for a in (0, 1):
    for b in (0, 1):
        own, seen = KITCHEN[a, b], KITCHEN[a, b] @ T
        print(
            f"{own.tolist()}    [{seen[0]:.1f}, {seen[1]:.1f}]    sums {own.sum():.1f} and {seen.sum():.1f}"
        )


def gain_from_leaving(table, w):
    """The most that agent 0 or 1 gains by deviating from action 0, whatever the other does."""
    seen = table @ sharing(w, w)
    return torch.maximum((seen[1, :, 0] - seen[0, :, 0]).max(), (seen[:, 1, 1] - seen[:, 0, 1]).max())


def least_share(table):
    """The least w at which no deviation pays, to 12 digits, by bisection; below 1 in this game."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if gain_from_leaving(table, middle) <= 0 else (middle, high)
    return high


print(f"\nThe least share: {least_share(KITCHEN):.9f}")

# %% [markdown]
# Then the learner. It is in the first cell: `learn_once` is the update above, `learn_to_share` the outer
# loop. Is the update correct? Let autograd compute each agent's own gradient. Beware of the trap: agent $i$'s
# gradient is that of $\tilde r_i$, and *not* that of the sum of all $\tilde r$, which by conservation is the
# welfare, whatever $T$ is. So each agent differentiates in its own policy, and treats the other's as a
# constant:

# %%


def seen_by_each(own, others, T):
    """Each agent's shared reward, as a function of its own policy and of the other's."""
    mine = -2 - COST * own + HELP * others.flip(-1)
    theirs = -2 - COST * others.flip(-1) + HELP * own
    return kept(T) * mine + received(T) * theirs


def entropy(theta):
    """The entropy of a policy, in nats."""
    p = theta.sigmoid()
    return -p * p.log() - (1 - p) * (1 - p).log()


def total(own, others):
    return (seen_by_each(own.sigmoid(), others.sigmoid(), T) + BONUS * entropy(own)).sum()


theta, T = start(), sharing(0.4, 0.1)
by_hand = (learn_once(theta, T) - theta) / RATE
own_gradients = torch.func.grad(total)(theta, theta)  # of the first argument alone
group_gradient = torch.func.grad(lambda both: total(both, both))(theta)
print("by hand               ", by_hand)
print("each agent's own      ", own_gradients)
print("of the sum (the trap) ", group_gradient)

# %% [markdown]
# And the hypergradient? Without the softmax and without the bonus it has a closed form. If $p_i$ itself
# is the parameter, with learning rate $\alpha$, then $p_i^{(K)} = p_i + \alpha K (2 w_j - (1 - w_i))$, and
# welfare is $-4 + p_0 + p_1$. So agent 0's share has an effect of 1 on agent 0's cleaning and of 2 on agent
# 1's: $\partial F/\partial w_0 = 3 \alpha K$.

# %%
alpha, updates = 0.01, 5


def welfare_after(w):
    p = torch.tensor([0.2, 0.5])
    for _ in range(updates):
        p = p + alpha * (HELP * w.flip(-1) - COST * (1 - w))
    return rewards(p).sum()


hypergradient = torch.func.grad(welfare_after)(torch.tensor([0.3, 0.1]))
print(f"through the updates {hypergradient.tolist()}, closed form {3 * alpha * updates:.4f}")

# %% [markdown]
# It is positive, *and there is no $w$ in it*: giving more is always better. Remember that.

# %% [markdown]
# ## The library's version
#
# `share` redistributes rewards, `minimal_transfer` solves the linear program, and `ToS` learns policies and
# sharing.

# %%
import bilevel
import games
from bilevel import Placement
from bilevel.methods import ToS

print("share       ", bilevel.share(KITCHEN[1, 0], sharing(0.4, 0.1)))
print("from scratch", KITCHEN[1, 0] @ sharing(0.4, 0.1))
for name in ("prisoners-dilemma", "prisoners-dilemma-axelrod", "chicken", "stag-hunt"):
    game = games.make(name)
    program, bisection = 1 - games.minimal_transfer(game).s, least_share(game.payoffs())
    print(f"{name:26} least share {program:.6f} by linear program, {bisection:.6f} by bisection")

# %%
method = ToS(own_share=0.5, cost_weight=4.0).with_settings(
    {"inner.steps": 5, "inner.learning_rate": RATE, "outer.learning_rate": 0.02, "inner.entropy_coef": BONUS}
)
learner = method.build(games.make("prisoners-dilemma"), Placement(seeds=3))
state = learner.init(seed=0)

theta = state["theta"].squeeze(-1).clone()  # from scratch, from the same policies
phi = torch.zeros(3, 2, 2, requires_grad=True)
outer_optimizer = torch.optim.Adam([phi], lr=0.02)
furthest = 0.0
for _ in range(size(20, fast=3)):
    state, metrics = learner.update(state)
    T = phi.softmax(-1)
    theta = learn(theta.detach(), T, 5)
    phi.grad = torch.autograd.grad(-(rewards(theta.sigmoid()) - 4.0 * (1 - kept(T))).sum(), phi)[0]
    outer_optimizer.step()
    ours = (1 - kept(T.detach())).mean(-1)
    furthest = max(furthest, float((metrics["given_away"] - ours).abs().max()))
print("given away, library     ", metrics["given_away"])
print("given away, from scratch", ours)
print(f"Over all steps the two runs are the same to 12 digits: {furthest < 1e-12}")

# %% [markdown]
# ## Why pure welfare overshoots
#
# Beyond a third everybody cleans. What is there to gain from giving more? *Faster learning.* The outer
# objective evaluates the policies after $K$ updates, and policies that receive more of the help learn
# faster. Below, left: welfare after $K$ updates from policies that clean half of the time, without bonus or
# cost, for every share. Right: its slope. (The learning rate is 1 here, not 10, to make the learning
# visible.)

# %%
shares = torch.linspace(0.02, 0.98, size(97, fast=7))


def welfare_and_slope(w, steps, bonus=0.0):
    def welfare(w):
        theta = torch.zeros(())
        for _ in range(steps):
            p = theta.sigmoid()
            theta = theta + p * (1 - p) * (HELP * w - COST * (1 - w) - bonus * theta)
        return 2 * (HELP - COST) * theta.sigmoid() - 4

    return torch.func.vmap(welfare)(w), torch.func.vmap(torch.func.grad(welfare))(w)


figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
for steps, color, dashes in ((2, PURPLE, ":"), (10, BLUE, "-."), (50, GREEN, "--"), (250, RED, "-")):
    welfare, slope = welfare_and_slope(shares, size(steps, fast=2))
    left.plot(shares, welfare, color=color, linestyle=dashes, label=f"K = {steps}")
    right.plot(shares, slope, color=color, linestyle=dashes, label=f"K = {steps}")
    beyond = slope[shares >= 0.6][0]
    print(f"K = {steps:3}: the smallest slope anywhere is {slope.min():.1e}; at w = 0.6 it is {beyond:.1e}")
for axes in (left, right):
    axes.axvline(THEORY, color=BLACK, linestyle="--", linewidth=1, label="least share")
left.legend(loc="lower right")
right.legend(fontsize=10)
left.set(xlabel="share w that both give", ylabel="welfare after K updates", title="the outer objective")
right.set(
    xlabel="share w that both give",
    ylabel="slope of the welfare (log scale)",
    yscale="log",
    title="its slope: never 0",
)
plt.show()

# %% [markdown]
# * Every curve increases everywhere. None has its maximum at a third, however large $K$ is. The longer the
#   learning, the flatter the curve beyond a third, but it never turns down. Nothing limits the sharing,
#   because by conservation giving costs the group nothing.
# * So where does the learner stop? Where the slope has become so small that it hardly moves any more. That
#   point depends on the learning rate, on the optimizer and on the initial sharing, and not on the game:

# %%
print(f"share given after {OUTER} outer steps, {SEEDS} seeds (interquartile mean and 95 % interval)")
for name, settings in {
    "Adam, learning rate 0.02, K = 25": {"steps": 25},
    "Adam, learning rate 0.1, K = 25": {"steps": 25, "rate": 0.1},
    "Adam, learning rate 0.1, K = 1": {"steps": 1, "rate": 0.1},
    "the same, initially keeping 0.8": {"steps": 1, "rate": 0.1, "own": 0.8},
    "SGD, learning rate 0.1, K = 25": {"steps": 25, "rate": 0.1, "optimizer": torch.optim.SGD},
}.items():
    given, cleans = learn_to_share([0.0], **settings)
    print(f"{name:33} {over_seeds(given[-1, 0])}   probability of cleaning {cleans[-1].min():.3f} or more")

# %% [markdown]
# ## Asking both the same question
#
# Theory asked for the *least* share. Ask the learner the same: make giving costly, at a cost of $c$. Then
# theory can predict more. With the bonus, policies converge to log-odds $\theta^* = (3w - 1)/\tau$: the more
# is given, the more they clean, but never with certainty. So with converged policies the outer objective is
#
# $$F(w) = -4 + 2\,\sigma\!\Big(\frac{3w - 1}{\tau}\Big) - 2\,c\,w, \qquad \sigma(x) = \frac{1}{1 + e^{-x}},$$
#
# and a learner that sees the *whole* effect of its sharing stops where $\frac{dF}{dw} = 0$, beyond the
# steepest point: $\sigma\,(1 - \sigma) = c\,\tau/3$. The left side is at most a quarter, so there is no such
# point for $c > 3/(4\tau)$. In the figures, left: $F(w)$ for four costs. Right: the maximum by theory, and
# the final shares of learners with $K$ updates, for many costs.

# %%
costs = torch.linspace(0.5, 9.0, 18)[:: size(1, fast=9)]


def at_rest(w, cost):
    return -4 + 2 * ((HELP * w - COST * (1 - w)) / BONUS).sigmoid() - 2 * cost * w


def stops_at(cost):
    """The stationary share by theory; nan where there is none."""
    inside = torch.sqrt(0.25 - cost * BONUS / (COST + HELP))
    return (COST + BONUS * (0.5 + inside).logit()) / (COST + HELP)


runs = {steps: learn_to_share(costs, steps, outer=2 * OUTER) for steps in (5, size(25, fast=6))}
most = (COST + HELP) / (4 * BONUS)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6))
w = torch.linspace(0, 0.7, 300)
for cost, color, dashes in ((0.0, RED, "-"), (2.0, PURPLE, ":"), (5.0, GREEN, "-."), (9.0, GRAY, "--")):
    left.plot(w, at_rest(w, cost), color=color, linestyle=dashes, label=f"giving costs {cost:g}")
    if 0 < cost < most:
        there = stops_at(torch.tensor(cost))
        left.plot(there, at_rest(there, cost), "o", color=color)
left.axvline(THEORY, color=BLACK, linestyle="--", linewidth=1, label="least share")
left.set(
    xlabel="share w that both give",
    ylabel="outer objective, policies converged",
    title="theory (dots: maxima)",
)
left.legend(loc="lower left", fontsize=10)
fine = torch.linspace(0.05, most, 200)
right.plot(fine, stops_at(fine), color=BLACK, label="theory, policies converged")
for (steps, (given, _)), color, marker in zip(runs.items(), (BLUE, GREEN), "so", strict=True):
    draw_band(
        right, costs, given[-1], label=f"learner, K = {steps}", color=color, marker=marker, markersize=5
    )
right.axhline(THEORY, color=BLACK, linestyle="--", linewidth=1, label="least share")
right.set(xlabel="cost c of giving everything", ylabel="final share given away", title="theory and learner")
right.legend(fontsize=10)
plt.show()

for steps, (given, cleans) in runs.items():
    stays = given[-1].mean(-1) > 0.2
    far = (given[-1] - stops_at(costs)[:, None])[stays].abs().mean(-1)
    last = (
        f"share {given[-1][stays][-1].mean():.3f}, probability of cleaning {cleans[-1][stays][-1].mean():.2f}"
    )
    print(f"K = {steps:2}: sharing persists up to a cost of {costs[stays].max():.1f} ({last}).")
    print(
        f"        There it differs from theory by {far[-1]:.4f}; at smaller costs by up to {far.max():.4f}."
    )
    late = (given[-1] - given[-len(given) // 3])[stays].abs().mean(-1)
    print(
        f"        In the last third it changed by {late[-1]:.4f}; at smaller costs by up to {late.max():.4f}."
    )
print(f"By theory there is no interior maximum from a cost of {most:.1f} on.")

# %% [markdown]
# * The more costly giving is, the closer the share comes to a third, from above. It never converges to a
#   value between 0 and a third: where the cost is too high the local maximum disappears, the share falls to
#   0, and cooperation breaks down. Nor does a share near a third make everybody clean: with the bonus, at
#   0.36 agents clean about two times in three.
# * With 25 updates the learner follows the theoretical curve where giving is costly. With 5 it stays below
#   the curve and collapses to 0 at a smaller cost. It takes the effect of the sharing on the *next five*
#   updates for the whole effect: the truncation error of lesson 1. To such a learner giving looks less
#   useful than it is, and at small costs even 25 updates are too few: policies that clean nearly always
#   learn slowly ($p(1-p)$ is small). (With 5 updates and a small cost, the sharing has not fully converged
#   either.)
# * Left, as long as giving is not too costly, a curve has *two* local maxima: one at "give nothing", and one
#   beyond a third. Gradient ascent finds the one in whose basin it starts. All runs with a cost start at
#   equal shares, in the basin of the second. Put `own=0.8` into the call of `learn_to_share` above, and see.
# * So "pure welfare overshoots" and "a cost finds the least share" are both right, and neither is an error of
#   the gradient. The least share is not an optimum of the first objective; with a cost, the optimum is close
#   to it.

# %% [markdown]
# ## Play
#
# Now the two may give different shares. Left: the learning dynamics, for all probabilities of cleaning, and
# the final policies from 5 initial ones. Right: the four regions by theory, without the bonus. Find a sharing
# under which only one of them cleans. Can one of them give nothing at all, and still both clean?

# %%


def play(given_by_0, given_by_1):
    T = sharing(given_by_0, given_by_1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8))
    axis = torch.linspace(0.01, 0.99, 15)
    p1, p0 = torch.meshgrid(axis, axis, indexing="ij")
    p = torch.stack((p0, p1), -1)
    moved = p * (1 - p) * (learn_once(p.logit(), T) - p.logit())
    left.streamplot(axis.numpy(), axis.numpy(), *moved.movedim(-1, 0).numpy(), color="#BBBBBB", linewidth=0.8)
    end = learn(start(5), T, 500).sigmoid()
    left.plot(*end.T, "o", color=RED, markersize=10)
    left.set(
        xlabel="probability that 0 cleans",
        ylabel="probability that 1 cleans",
        title="dots: where learning ends",
    )
    w = torch.linspace(0, 1, 50)
    right.plot(w, (1 - w) * COST / HELP, color=BLUE, label="above it, 0 cleans")
    right.plot((1 - w) * COST / HELP, w, color=GREEN, linestyle="--", label="right of it, 1 cleans")
    for x, y, words in (
        (0.1, 0.1, "nobody"),
        (0.6, 0.6, "both"),
        (0.02, 0.65, "only 0"),
        (0.6, 0.05, "only 1"),
    ):
        right.text(x, y, words, color=GRAY)
    right.plot(given_by_0, given_by_1, "o", color=RED, markersize=10, label="here")
    right.set(xlabel="share that 0 gives", ylabel="share that 1 gives", title="theory: who cleans")
    right.legend(loc="upper right")
    for axes in (left, right):
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    plt.show()


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
# a formula for the least $w$ at which cooperating is dominant (best *whatever the other does*).


# %% tags=["exercise-1"]
def least(reward, sucker, temptation, punishment):
    return ...


# %% tags=["check-1"]
check_1(least)

# %% [markdown]
# **Exercise 2 (more flatmates).** There are $n$ of them. Cleaning costs 1, and saves *each* of the
# others 2. Everybody keeps the share $s$ and divides the rest evenly among the other $n - 1$. Build the
# matrix $T$, and find the largest $s$ at which cleaning is dominant. Does cooperation get harder with more
# flatmates?


# %% tags=["exercise-2"]
def matrix(n, s):
    """[giver, receiver]"""
    return ...


def greatest(n):
    return ...


# %% tags=["check-2"]
check_2(matrix, greatest)

# %% [markdown]
# **Exercise 3 (why it never stops).** Policies are log-odds $\theta_0, \theta_1$ and make *one* update,
# without the bonus: $\theta_i' = \theta_i + \alpha\, p_i(1 - p_i)\,(2 w_j - (1 - w_i))$. Derive
# $\partial F/\partial w_0$ for $F = \sum_i r_i(\theta')$ by hand, and implement it without autograd. Then you
# can see why it is positive for every $w$ and every policy.


# %% tags=["exercise-3"]
def slope(theta, w, alpha):
    """dF / dw[0]; theta and w are tensors of two numbers."""
    return ...


# %% tags=["check-3"]
check_3(slope)

# %% [markdown]
# **For discussion.** (a) Let each giver update its own share by its *own* reward, not by the welfare. Would
# it give at all? (Use the closed form: what is the effect of $w_0$ on $r_0$, and on $r_1$?
# `ToS(objective="own-return")` shows it.) (b) You find that learners with a cost of 4 give 0.388 and
# cooperate. A colleague concludes that 0.388 is the least share. What do you ask? (c) Somebody proposes to
# *pay* the flatmates for cleaning instead. What is lost, and what becomes easier?

# %% [markdown]
# ## What to read
#
# * Willis and others, *Resolving social dilemmas with minimal reward transfer*, arXiv 2310.12928: the
#   linear program, and its answer for many games.
# * Yi and others, *Learning to share in multi-agent reinforcement learning*, arXiv
#   2112.08702: the learner of sharing.
# * Yang and others, *Learning to incentivize other learning agents*, arXiv 2006.06051: paying instead
#   of sharing.
# * In this toolkit: `docs/explanation/theory.md`, `bilevel theory --game prisoners-dilemma`, and
#   `docs/studies/initial-sharing.md` on the initial sharing.
# * Next: `05_learning_to_share`, with more agents, sampled games, and training schedules for both loops.

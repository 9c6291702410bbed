# %% [markdown]
# # 11. Credit in networks
#
# **Why is it hard to know whose reward an action caused, if there are many agents?**
#
# Agents stand in a ring. Each may help the next one, which costs the helper 1 and gives the helped agent 3.
# All of them want the group to do well, so each learns from the *mean* of all rewards: the common reward.
# No agent is selfish, and no dilemma is left. They still learn slowly, and the more agents there are, the
# slower.
#
# Each agent sees one number, the common reward, and has to find out which part of it its own action caused.
# That is the *credit assignment* problem among agents. This lesson measures it, and shows which remedies
# help: tuning, a neighborhood, or learned sharing, which has to find the graph first.
#
# **Goals.** After this lesson you can derive the signal-to-noise ratio of a policy gradient from a common
# reward, say what tuning fixes and what it does not, write the hypergradient of learned sharing on a graph,
# and compare methods with equal budgets.
#
# **Prerequisites.** Lesson 05. About 45 minutes.

# %% tags=["setup", "hide-input"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("bilevel") is None:  # not installed yet, as in Colab
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "bilevel[lessons]"], check=True)

# %% tags=["hide-input"]
import statistics

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display

import bilevel
import games
from bilevel import Placement
from bilevel.lessons import AMBER, BLACK, BLUE, GREEN, PURPLE, RED
from bilevel.lessons import draw_band, explore, learning_curves, size, use_style
from bilevel.lessons.checks.credit_in_networks import check_1, check_2, check_3, check_4
from bilevel.methods import Prosocial, ToS

use_style()
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A picture of the answer
#
# Rings of 8, 32 and 128 agents, each update from 4 sampled episodes. Left, all learn from the mean of all
# rewards. Right, they learn to share with their two neighbors (`ToS`, lesson 5). Both learning rates are
# among those that are compared below. The band is the 95 % interval over seeds.

# %% tags=["hide-input"]
SEEDS, BATCH = size(12, fast=3), 4
SAMPLED = {"inner.exact": False, "inner.episodes": BATCH}
mean = Prosocial().with_settings({**SAMPLED, "inner.learning_rate": 30.0})
sharing = ToS().with_settings({**SAMPLED, "inner.learning_rate": 10.0})
RUNS = {}
for agents in (8, 32, 128):
    ring = games.make("aid", agents=agents)
    for name, method in (("mean", mean), ("sharing", sharing)):
        learner = method.build(ring, Placement(seeds=SEEDS))
        RUNS[name, agents] = learning_curves(learner, size(150, fast=8))["cooperation"]

# %% tags=["hide-input"]
GROUPS = {8: (BLUE, "-"), 32: (AMBER, "--"), 128: (RED, ":")}
figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
for axes, (name, title, batches) in zip(
    panels,
    (("mean", "mean of all rewards", 1), ("sharing", "learned sharing", 2)),
    strict=True,
):
    for agents, (color, dashes) in GROUPS.items():
        values = RUNS[name, agents]
        x = torch.arange(1, len(values) + 1) * BATCH * batches
        shown = x <= 600
        look = {"label": f"{agents} agents", "color": color, "linestyle": dashes}
        draw_band(axes, x[shown], values[shown], **look)
    axes.set(xlabel="episodes", title=title, ylim=(0.4, 1.03), xlim=(0, 600))
panels[0].set_ylabel("fraction of agents that help")
panels[0].legend(loc="lower right")
plt.show()

# %% [markdown]
# ## The idea in words
#
# A policy gradient asks: were the rewards higher in the episodes in which I helped? In a mean over $N$
# agents, my help accounts for one $N$-th of the common reward. The actions of all other agents change it,
# too, at random. What I want to know is the *signal*; all that the others do is *noise*. Each other agent
# contributes as much variance as I do, so the noise is about $\sqrt{N}$ times the signal.
#
# * **A larger learning rate** scales signal and noise alike. It fixes the *size* of a step, not its
#   direction.
# * **Larger batches** reduce the noise, but each update then costs more episodes.
# * **Fewer rewards to learn from.** My help reaches one agent. All other rewards are noise for me. If I
#   know my neighborhood, I leave them out. If I do not know it, it has to be learned.

# %% [markdown]
# ## The key equation
#
# Agent $k$ helps ($h_k = 1$) with probability $p_k$, or not ($h_k = 0$). The *learning reward* of agent $i$
# is $R_i = \sum_k e_k h_k$, where $e_k$ is the effect of agent $k$'s help on it. In a mean over all agents
# every effect is the same, $e_k = (b - c)/N$ with benefit $b = 3$ and cost $c = 1$. The policy gradient in
# the log-odds of helping, from one episode and with the expected reward as a baseline, is
#
# $$g_i = (h_i - p_i)\,(R_i - \mathbb E R_i), \qquad \mathbb E\, g_i = p_i (1 - p_i)\, e_i .$$
#
# Set all $p_k = \frac12$. Then $(h_i - p_i)^2 = \frac14$ is a constant, and the variance of $g_i$ comes
# from the other agents alone: $\operatorname{Var} g_i = \frac1{16} \sum_{k \ne i} e_k^2$. So the
# *signal-to-noise ratio* (SNR), mean over standard deviation, of a batch of $B$ episodes is
#
# $$\boxed{\ \mathrm{SNR}_i = \frac{\sqrt{B}\; e_i}{\sqrt{\sum_{k \neq i} e_k^2}}\ }
# \qquad \text{and for the mean} \quad \mathrm{SNR} = \sqrt{\frac{B}{N - 1}} .$$
#
# The factor $\frac1N$ cancels: the *sum* of all rewards has the same ratio as the mean. To keep the ratio,
# the number of episodes must grow in proportion to $N$. In practice the baseline is the mean of the *other*
# episodes of the batch (*leave one out*), which costs about one episode: read $B - 1$ for $B$.

# %% [markdown]
# ## From scratch: measure the ratio
#
# Five learning rewards. *Difference rewards* compare the welfare with the welfare if agent $i$ had not
# helped: an ideal that requires knowing the effect of each action. (`gradient` subtracts the mean of all $B$
# episodes and divides by $B - 1$: that is the leave-one-out baseline.)

# %%
COST, BENEFIT = 1.0, 3.0
RULES = {  # learning rewards, [..., agent], from rewards r and actions h
    "own reward": lambda r, h: r,
    "mean of all": lambda r, h: r.mean(-1, keepdim=True).expand_as(r),
    "sum of all": lambda r, h: r.sum(-1, keepdim=True).expand_as(r),
    "neighborhood": lambda r, h: (r.roll(1, -1) + r + r.roll(-1, -1)) / 3,
    "difference": lambda r, h: (BENEFIT - COST) * h,
}


def play(theta, batch, generator, noise=0.0):
    """Sampled episodes: actions and rewards, [seed, episode, agent]."""
    p = theta.sigmoid()[:, None].expand(-1, batch, -1)
    h = torch.bernoulli(p, generator=generator)
    r = BENEFIT * h.roll(1, -1) - COST * h  # agent i - 1 helps agent i
    return h, r + noise * torch.randn(r.shape, generator=generator)


def gradient(theta, h, learned_from):
    """Policy gradient of each agent, leave-one-out baseline, [seed, agent]."""
    centered = learned_from - learned_from.mean(1, keepdim=True)
    scores = h - theta.sigmoid()[:, None]
    return (scores * centered).sum(1) / (h.shape[1] - 1)


# %% [markdown]
# Many batches of 16 episodes, at $p = \frac12$. The signal is the mean of the estimates, the noise their
# standard deviation:

# %%
AGENTS, EPISODES = 32, 16
EFFECTS = {  # of agent i's own help, and of the others' help that is not 0
    "own reward": (-1, [3]),
    "mean of all": (2 / AGENTS, [2 / AGENTS] * (AGENTS - 1)),
    "sum of all": (2, [2] * (AGENTS - 1)),
    "neighborhood": (2 / 3, [3 / 3, 2 / 3, -1 / 3]),
}
theta = torch.zeros(size(500, fast=50), AGENTS)
h, r = play(theta, EPISODES, torch.Generator().manual_seed(0))
rows = [
    "| learns from | signal | noise | measured SNR | formula |",
    "|---|---|---|---|---|",
]
for rule, rewards in RULES.items():
    g = gradient(theta, h, rewards(r, h))
    formula = "∞"
    if rule in EFFECTS:
        own, others = EFFECTS[rule]
        others = torch.tensor(others, dtype=torch.float64).norm()
        formula = f"{(EPISODES - 1) ** 0.5 * own / others:.2f}"
    numbers = f"{g.mean():.4f} | {g.std():.4f} | {g.mean() / g.std():.2f}"
    rows.append(f"| {rule} | {numbers} | {formula} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# * Mean and sum: signal and noise differ by the factor 32, their ratio is the same.
# * The neighborhood has three other agents' actions in it, however large the ring is.
# * The ratio of the agent's *own* reward is larger in magnitude than that of the mean, but has the wrong
#   sign: a precise estimate of the wrong gradient. Low variance is not enough.
# * Difference rewards have no noise of the others at all. What is left is the error of the estimated
#   baseline.
#
# The same for other numbers of agents. Markers are measured, lines are the formula:

# %% tags=["hide-input"]
LOOKS = {
    "mean of all": (RED, "-", "o"),
    "neighborhood": (BLUE, "--", "s"),
    "difference": (GREEN, ":", "^"),
    "learned sharing": (PURPLE, "-.", "D"),
}
NUMBERS = torch.tensor([4, 8, 16, 32, 64, 128, 256])
figure, axes = plt.subplots(figsize=(8, 4.4))
measured = {rule: [] for rule in RULES}
for agents in NUMBERS.tolist():
    zeros = torch.zeros(size(400, fast=40), agents)
    h, r = play(zeros, EPISODES, torch.Generator().manual_seed(agents))
    for rule in LOOKS:
        if rule in RULES:
            g = gradient(zeros, h, RULES[rule](r, h))
            measured[rule].append(float(g.mean() / g.std()))
theory = {
    "mean of all": ((EPISODES - 1) / (NUMBERS - 1)).sqrt(),
    "neighborhood": torch.full((len(NUMBERS),), (EPISODES - 1) ** 0.5 * 2 / 14**0.5),
}
for rule, (color, dashes, marker) in LOOKS.items():
    if rule in RULES:
        look = {"color": color, "marker": marker, "linestyle": "", "label": rule}
        axes.plot(NUMBERS, measured[rule], **look)
    if rule in theory:
        axes.plot(NUMBERS, theory[rule], color=color, linestyle=dashes)
axes.set(xscale="log", yscale="log", xlabel="agents N (log scale)")
axes.set(ylabel="signal-to-noise ratio (log scale)", ylim=(0.1, 30))
axes.set(title="one update from 16 episodes, p = 1/2")
axes.set_xticks(NUMBERS.tolist(), [str(number) for number in NUMBERS.tolist()])
axes.minorticks_off()
axes.legend(loc="lower left")
plt.show()

# %% [markdown]
# ## From scratch: learned sharing
#
# Each pair of agents has one number, the *influence* of agent $i$'s help on agent $j$'s reward:
#
# $$\hat G_{ij} = \frac{1}{B - 1} \sum_{\text{episodes}} (h_i - p_i)\,(r_j - \bar r_j), \qquad
# \mathbb E\, \hat G_{ij} = p_i (1 - p_i)\, \frac{\partial r_j}{\partial h_i} .$$
#
# $r_j$ is agent $j$'s own reward, and $\bar r_j$ its mean over the batch. Only two numbers of each row are
# not 0 in expectation: $j = i$ (the cost) and $j = i + 1$ (the benefit). The gradients so far, but for the
# difference rewards, are weighted sums over a row: own reward takes one entry, the neighborhood three, and
# the mean all of them, with the noise of the zeros. With a sharing matrix $T$ (lesson 5: $T_{ji}$ is the
# share of $j$'s reward that $i$ receives) the outer loop *learns* the weights of the row, by the
# hypergradient through agent $i$'s update:
#
# $$\theta_i' = \theta_i + \alpha \sum_j T_{ji}\, \hat G_{ij}, \qquad
# \frac{dF}{dT_{ji}} = \underbrace{\frac{\partial F}{\partial \theta_i'}}_{w_i}\; \alpha\, \hat G_{ij} .$$
#
# $\alpha$ is the learning rate, and $w_i$ the gradient of the welfare $F$ in agent $i$'s updated policy,
# estimated from a second batch. So $j$ gives more to those who do what helps the welfare *and* $j$.


# %%
def influence(theta, h, r):
    """Estimated influence of i's help on j's reward, [seed, i, j]."""
    scores = h - theta.sigmoid()[:, None]
    return scores.mT @ (r - r.mean(1, keepdim=True)) / (h.shape[1] - 1)


def expected_influence(theta):
    """Its expectation: no episodes, no noise."""
    own = torch.eye(theta.shape[-1])
    v = theta.sigmoid() * (1 - theta.sigmoid())
    return v[..., None] * (BENEFIT * own.roll(1, 1) - COST * own)


def sampled_influence(batch, seed=0):
    """An estimator: a fresh batch of episodes in each call."""
    generator = torch.Generator().manual_seed(seed)
    return lambda theta: influence(theta, *play(theta, batch, generator))


def learn_to_share(theta, mask, updates, estimate, rate=10.0, outer_rate=0.1):
    """Fraction that helps, [update, seed], and shares, [update, seed, giver, to]."""
    phi = torch.zeros_like(mask * theta[..., None]).requires_grad_()
    outer, helping, shares = torch.optim.Adam([phi], lr=outer_rate), [], []
    for _ in range(updates):
        T = phi.masked_fill(~mask, -torch.inf).softmax(-1)
        new = theta + rate * (T.mT * estimate(theta)).sum(-1)
        w = estimate(new.detach()).sum(-1)  # gradient of the welfare
        phi.grad = torch.autograd.grad(-(w * new).sum(), phi)[0]
        outer.step()
        theta = new.detach()
        helping.append(theta.sigmoid().mean(-1))
        shares.append(T.detach())
    return torch.stack(helping), torch.stack(shares)


# %% [markdown]
# ## The library's version
#
# The library's `ToS` with exact values, against the code above with the expected influence, from the same
# policies. Each agent may share with itself and its two neighbors (`mask`):


# %%
def neighbors(agents):
    """Permitted shares: an agent itself and its two neighbors, [giver, receiver]."""
    own = torch.eye(agents, dtype=torch.bool)
    return own | own.roll(1, 0) | own.roll(-1, 0)


ring, steps = games.make("aid", agents=8), size(40, fast=5)
exact = ToS().with_settings({"inner.learning_rate": 10.0})
learner = exact.build(ring, Placement(seeds=SEEDS))
state = learner.init(seed=0)
start = state["theta"][..., 1]  # log-odds of helping
helping, shares = learn_to_share(start, neighbors(8), steps, expected_influence)
for _ in range(steps):
    T = learner.transfer(state["phi"]).matrix
    state, metrics = learner.update(state)
print("helping: the same:", torch.allclose(metrics["cooperation"], helping[-1]))
print("shares: the same: ", torch.allclose(T, shares[-1]))

# %% [markdown]
# And its sampled gradients? One update of `Prosocial` with learning rate 1, from policies with
# $p = \frac12$, moves each policy by the estimated gradient:

# %%
ring = games.make("aid", agents=AGENTS)
sampled = Prosocial().with_settings({"inner.exact": False, "inner.episodes": EPISODES})
learner = sampled.build(ring, Placement(seeds=size(500, fast=50)))
state = learner.init(seed=0)
state["theta"] = torch.zeros_like(state["theta"])
g = learner.update(state)[0]["theta"][..., 1]
print(f"library, mean of all: SNR {g.mean() / g.std():.2f}")
print(f"formula:              SNR {((EPISODES - 1) / (AGENTS - 1)) ** 0.5:.2f}")

# %% [markdown]
# ## What tuning fixes, and what it does not
#
# Now agents learn. We count the episodes until 95 % of all actions help, for the mean of all rewards: left
# for several learning rates, with batches of 4; right for several batch sizes, each with the best of three
# learning rates. The thin black line is a single update.


# %%
def learn(rule, agents, updates, rate, batch=BATCH, noise=0.0, seed=0):
    """Fraction of agents that help, [update, seed], by policy gradients."""
    generator = torch.Generator().manual_seed(seed)
    theta, helping = torch.zeros(SEEDS, agents), []
    for _ in range(updates):
        h, r = play(theta, batch, generator, noise)
        theta = theta + rate * gradient(theta, h, RULES[rule](r, h))
        helping.append(theta.sigmoid().mean(-1))
    return torch.stack(helping)


def episodes_to(helping, per_update, level=0.95):
    """Episodes until the level is reached, [seed]; infinite if it never is."""
    reached = helping >= level
    first = (reached.double().argmax(0) + 1.0) * per_update
    return first.where(reached.any(0), torch.inf)


def median(episodes):
    """The median over seeds; infinite if more than half do not reach the level."""
    return statistics.median_high(episodes.tolist())


RATES, BATCHES = (1.0, 3.0, 10.0, 30.0, 100.0), (2, 4, 16, 64, 256)
COUNTS = {}
for agents in GROUPS:
    for batch in BATCHES:
        for rate in RATES if batch == BATCH else RATES[2:]:
            updates = size(min(40 + 6000 // batch, 1000), fast=5)
            helping = learn("mean of all", agents, updates, rate, batch)
            COUNTS[agents, batch, rate] = median(episodes_to(helping, batch))

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True)
MARKS = dict(zip(GROUPS, "os^", strict=True))
for agents, (color, dashes) in GROUPS.items():
    look = {"color": color, "linestyle": dashes, "marker": MARKS[agents]}
    left.plot(RATES, [COUNTS[agents, BATCH, rate] for rate in RATES], **look)
    best = [min(COUNTS[agents, batch, rate] for rate in RATES[2:]) for batch in BATCHES]
    right.plot(BATCHES, best, label=f"{agents} agents", **look)
right.plot(BATCHES, BATCHES, color=BLACK, linewidth=1, label="one update")
left.set(xlabel="learning rate (log scale)", ylabel="median episodes (log scale)")
right.set(xlabel="episodes in a batch (log scale)", title="batch size, rate tuned")
left.set(xscale="log", yscale="log", title="learning rate, batches of 4")
right.set(xscale="log", yscale="log")
right.set_xticks(BATCHES, [str(batch) for batch in BATCHES])
right.minorticks_off()
figure.legend(loc="outside lower center", ncols=4)
plt.show()

for agents in GROUPS:
    counts = {rate: COUNTS[agents, BATCH, rate] for rate in RATES}
    rate = min(counts, key=counts.get)
    print(f"{agents:3} agents: at rate 1 {counts[1.0]:.0f} episodes,", end=" ")
    print(f"at the best rate, {rate:g}, {counts[rate]:.0f};", end=" ")
    best = min(COUNTS[agents, batch, rate] for batch in BATCHES for rate in RATES[2:])
    print(f"with the best batch, too, {best:.0f}")

# %% [markdown]
# * **The learning rate fixes the scale.** The best of five rates needs less than a tenth of the episodes that
#   rate 1 needs. (With 128 agents, rate 1 does not reach the level within 1000 updates.) Beyond the best
#   rate, steps are too large for their noise: some agents become sure that they should not help, and
#   unlearn it slowly.
# * **It does not fix the ratio.** At every rate that is not too large, four times as many agents need
#   about four times as many episodes.
# * **The batch hardly matters while it is small**: four times as many episodes in each update, but about a
#   fourth of the updates. (With batches of 2, the baseline costs half of the episodes.) Large batches make
#   each update precise, and are wasteful: with 8 agents, one update from 64 episodes is enough, but 28
#   episodes in small batches do the same.
#
# ## Compare fairly
#
# Which learning reward is best? Four methods, each with **the same number of trials** to tune its settings
# (four), on **tuning seeds** of their own; then the chosen setting on **test seeds**. The budget is counted
# in **environment steps**: here episodes of one step. Learned sharing needs a second batch in each update,
# which counts. And what each may use is stated: neighbors, all rewards, or the effect of each action.

# %%
TRIALS = {  # four settings of each method: learning rate, outer learning rate
    "mean of all": [(3.0, None), (10.0, None), (30.0, None), (100.0, None)],
    "neighborhood": [(1.0, None), (3.0, None), (10.0, None), (30.0, None)],
    "difference": [(1.0, None), (3.0, None), (10.0, None), (30.0, None)],
    "learned sharing": [(3.0, 0.1), (10.0, 0.03), (10.0, 0.1), (10.0, 0.3)],
}
SIZES = (8, 16, 32, 64, 128)


def measure(method, agents, setting, seed):
    """Episodes to the level, [seed]; all episodes of training count."""
    rate, outer_rate = setting
    updates = size(40 + 8 * agents, fast=5)
    if method != "learned sharing":
        return episodes_to(learn(method, agents, updates, rate, seed=seed), BATCH)
    theta, mask = torch.zeros(SEEDS, agents), neighbors(agents)
    estimate = sampled_influence(BATCH, seed)
    helping, _ = learn_to_share(
        theta, mask, size(60, fast=5), estimate, rate, outer_rate
    )
    return episodes_to(helping, 2 * BATCH)


CHOSEN, TESTED = {}, {}
for method, settings in TRIALS.items():
    for agents in SIZES:
        tuning = [median(measure(method, agents, one, seed=1)) for one in settings]
        CHOSEN[method, agents] = settings[tuning.index(min(tuning))]
        TESTED[method, agents] = measure(method, agents, CHOSEN[method, agents], seed=2)

# %% tags=["hide-input"]
figure, axes = plt.subplots(figsize=(8, 4.8))
for method, (color, dashes, marker) in LOOKS.items():
    medians = [median(TESTED[method, agents]) for agents in SIZES]
    look = {"color": color, "linestyle": dashes, "marker": marker, "label": method}
    axes.plot(SIZES, medians, **look)
axes.set(xscale="log", yscale="log", ylim=(3, 1500))
axes.set(xlabel="agents N (log scale)", ylabel="median episodes to 95 % (log scale)")
axes.set_xticks(SIZES, [str(agents) for agents in SIZES])
axes.minorticks_off()
axes.legend(loc="upper left")
plt.show()

logs = torch.tensor(SIZES, dtype=torch.float64).log()
logs = logs - logs.mean()  # for the slope of a least-squares line
rows = [
    "| method | uses | "
    + " | ".join(f"N = {n}" for n in SIZES)
    + " | episodes grow as |"
]
rows.append("|---" * (len(SIZES) + 3) + "|")
USES = {
    "mean of all": "all rewards",
    "neighborhood": "the graph",
    "difference": "the effect of each action",
    "learned sharing": "the graph",
}
for method, uses in USES.items():
    medians = [median(TESTED[method, agents]) for agents in SIZES]
    power = float(logs @ torch.tensor(medians).log() / logs.square().sum())
    power = round(power, 2) + 0.0  # no minus 0
    cells = " | ".join(f"{value:.0f}" for value in medians)
    rows.append(f"| {method} | {uses} | {cells} | $N^{{{power:.2f}}}$ |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# The mean of all rewards needs episodes about in proportion to $N$, as the ratio predicts: the growth is
# not a matter of tuning. The other three hardly depend on $N$. Learned sharing is not better than the known
# neighborhood here: equal shares are good enough, and its second batch doubles the episodes. What it buys
# elsewhere (agents that differ, minimal giving) is in `docs/studies/regimes.md`.
#
# What would have been unfair? Two comparisons of the mean with learned sharing, at 128 agents:

# %% tags=["hide-input"]
shared_rate = learn("mean of all", 128, size(1000, fast=5), 3.0, seed=2)
untuned = median(episodes_to(shared_rate, BATCH))
tuned = median(TESTED["mean of all", 128])
learned = median(TESTED["learned sharing", 128])
rows = ["| comparison | mean of all | learned sharing | ratio |", "|---|---|---|---|"]
for name, first, second in (
    ("episodes, mean at rate 3, sharing tuned", untuned, learned),
    ("updates, both tuned", tuned / BATCH, learned / (2 * BATCH)),
    ("episodes, both tuned", tuned, learned),
):
    rows.append(f"| {name} | {first:.0f} | {second:.0f} | {first / second:.0f} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# The first row compares a tuned with an untuned method. The second counts updates, of which those of
# learned sharing cost twice as much. Both exaggerate. Only the last row is fair.
#
# ## Does learned sharing find the graph?
#
# Now hide the graph: everybody may share with everybody, and shares start equal, so that agents learn from
# the mean of all rewards at first. Take what a giver gives away, and divide it equally among all others: a
# *learned edge* is a share above half of such an equal part (`bilevel.edge_recovery`). *Precision* is the
# fraction of learned edges that lead to the agent that helps the giver, *recall* the fraction of these
# agents that are found. Two learning rates of the policies, slow and fast:

# %%
HIDDEN, UPDATES, LARGE = 16, size(300, fast=6), 16
everybody = torch.ones(HIDDEN, HIDDEN, dtype=torch.bool)
hidden = games.make("aid-hidden", agents=HIDDEN)
checked = torch.linspace(0, UPDATES - 1, min(UPDATES, 30)).long()
FOUND = {}
for rate in (0.3, 3.0):
    policies = torch.zeros(SEEDS, HIDDEN)
    helping, shares = learn_to_share(
        policies, everybody, UPDATES, sampled_influence(LARGE), rate
    )
    edges = [bilevel.edge_recovery(shares[step], hidden) for step in checked]
    precision = torch.stack([torch.as_tensor(one.precision) for one in edges])
    recall = torch.as_tensor(edges[-1].recall).mean()
    FOUND[rate] = shares[-1].mean(0).numpy(), precision
    count = median(episodes_to(helping, 2 * LARGE))
    print(f"rate {rate:g}: 95 % help after {count:.0f} episodes;", end=" ")
    print(f"edges: precision {precision[-1].mean():.2f}, recall {recall:.2f}")
print(f"precision if all shares stay equal: {1 / (HIDDEN - 1):.2f}")

# %% tags=["hide-input"]
figure, panels = plt.subplots(1, 3, figsize=(12, 3.9), width_ratios=(1, 1, 1.4))
for axes, (rate, color, dashes) in zip(
    panels, ((0.3, BLUE, "-"), (3.0, AMBER, "--")), strict=False
):
    matrix, precision = FOUND[rate]
    shown = axes.imshow(matrix, vmin=0, vmax=1, cmap="cividis")
    axes.set(title=f"shares, rate {rate:g}", xlabel="receiver", ylabel="giver")
    axes.set(xticks=range(0, HIDDEN, 5), yticks=range(0, HIDDEN, 5))
    axes.grid(visible=False)
    look = {"label": f"rate {rate:g}", "color": color, "linestyle": dashes}
    draw_band(panels[2], (checked + 1) * 2 * LARGE, precision, **look)
figure.colorbar(shown, ax=list(panels[:2]), location="left", label="share", shrink=0.8)
panels[2].set(xlabel="episodes", ylabel="precision", ylim=(0, 1.05))
panels[2].set(title=f"learned edges, {SEEDS} seeds")
panels[2].legend(loc="center right")
plt.show()

# %% [markdown]
# **With slow policies the graph is found.** **With fast policies** the right shares grow as well, but
# useless ones remain: the influence $\hat G$ has the factor $p (1 - p)$, so nothing drives the shares any
# more once all agents help. In both cases at least 95 % help. So a share that is not 0 does not prove that
# its receiver matters.
#
# And does learned sharing save episodes if the graph is hidden? We tune it in the
# same four trials as above, with small batches, and compare it with the tuned mean of all rewards:


# %%
def measure_hidden(setting, seed):
    """Episodes to the level if everybody may share with everybody, [seed]."""
    start, estimate = torch.zeros(SEEDS, HIDDEN), sampled_influence(BATCH, seed)
    helping, _ = learn_to_share(start, everybody, UPDATES, estimate, *setting)
    return episodes_to(helping, 2 * BATCH)


settings = TRIALS["learned sharing"]
tuning = [median(measure_hidden(one, seed=1)) for one in settings]
found = measure_hidden(settings[tuning.index(min(tuning))], seed=2)
print(f"learned sharing: {median(found):.0f} episodes")
print(f"mean of all:     {median(TESTED['mean of all', HIDDEN]):.0f} episodes")

# %% [markdown]
# It does not. The factor $w_i$ of the hypergradient sums over *all* rewards, with the noise of the common
# reward: learned sharing first has to solve the problem that it was to avoid.
#
# **LToS** (Yi and others) also learns to share on a graph, with another gradient. Its agents learn *values*
# of their shared rewards, and the shares ascend the sum of these values, with policies held fixed. What is
# this gradient if all receivers know the true value $v_j$ of each giver's reward?

# %%
values = torch.randn(8, generator=torch.Generator().manual_seed(0))
phi = torch.randn(8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
total = (phi.softmax(-1) * values[:, None]).sum()  # each agent's shared value, summed
first_order = torch.autograd.grad(total, phi)[0]
print(f"largest entry: {first_order.abs().max():.0e}")

# %% [markdown]
# It is 0, up to rounding: sharing conserves the total. LToS learns from the *disagreement* of the learned
# values; `ToS` learns from what shares do to learning. `docs/studies/ltos.md` has measurements of both.
#
# ## Play
#
# Change the number of agents, the batch, the learning rate, and the noise (standard deviation) of each
# reward. For which settings does the mean of all rewards keep up with the neighborhood? What does noise do
# to difference rewards, and why?


# %% tags=["hide-input"]
def race(agents, batch, rate, noise):
    figure, axes = plt.subplots()
    updates = size(max(1000 // batch, 2), fast=3)
    for rule, (color, dashes, _) in LOOKS.items():
        if rule in RULES:
            helping = learn(rule, agents, updates, rate, batch, noise)
            x = torch.arange(1, updates + 1) * batch
            look = {"label": rule, "color": color, "linestyle": dashes}
            draw_band(axes, x, helping, **look)
    axes.set(xlabel="episodes", ylabel="fraction of agents that help", ylim=(0.3, 1.03))
    axes.legend(loc="lower right")
    plt.show()


# %%
explore(
    race,
    agents=(4, 128, 4, 64),
    batch=(2, 100, 2, 4),
    rate=(1.0, 60.0, 1.0, 10.0),
    noise=(0.0, 5.0, 0.5, 0.0),
)

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/11_credit_in_networks.py`.
#
# **Exercise 1 (warm up).** All agents help with probability $\frac12$ and learn from the mean of all
# rewards. How many episodes $B$ does an update need for a signal-to-noise ratio of `ratio`, with `agents`
# agents? (Expected reward as the baseline; the result need not be an integer.)


# %% tags=["exercise-1"]
def episodes_for(ratio, agents):
    return ...


# %% tags=["check-1"]
check_1(episodes_for)

# %% [markdown]
# **Exercise 2 (any learning reward, with noise).** Agent $i$ learns from $R_i = \sum_k e_k h_k + \epsilon$,
# where $\epsilon$ is an error with mean 0 and standard deviation `noise`, independent of all actions. All
# agents help with probability $\frac12$. Give the signal-to-noise ratio of one episode's gradient, with the
# expected reward as the baseline. `effects` is the tensor of all $e_k$. (Where does $\epsilon$ enter the
# variance of $g_i$?)


# %% tags=["exercise-2"]
def signal_to_noise(effects, i, noise):
    return ...


# %% tags=["check-2"]
check_2(signal_to_noise)

# %% [markdown]
# **Exercise 3 (the hypergradient of learned sharing, without autograd).** Given the influence `G`, [i, j],
# the welfare gradient `w`, [i], and the learning rate, return $dF/d\varphi$ for the logits `phi`, [giver j,
# receiver i], where $T_{ji} = e^{\varphi_{ji}} / \sum_k e^{\varphi_{jk}}$. (For a softmax $T$ with slopes
# $s_{ji} = dF/dT_{ji}$: $dF/d\varphi_{ji} = T_{ji}\,(s_{ji} - \sum_k T_{jk} s_{jk})$.)


# %% tags=["exercise-3"]
def logit_slopes(phi, G, w, rate):
    """dF / dphi, [giver, receiver]."""
    return ...


# %% tags=["check-3"]
check_3(logit_slopes)

# %% [markdown]
# **Exercise 4 (a fair comparison).** `methods` maps a name to a triple: a list of settings;
# `train(setting, seed)`, which returns the number of updates until the level is reached; and the episodes
# that each update needs. Lists have different lengths: give all methods as many trials as the shortest list
# has, its first ones. Choose each method's setting by the median number of updates over `tuning_seeds`.
# Return a dictionary: the name, and the median number of *episodes* over `test_seeds`. (`statistics.median`
# is imported.)


# %% tags=["exercise-4"]
def compare(methods, tuning_seeds, test_seeds):
    return ...


# %% tags=["check-4"]
check_4(compare)

# %% [markdown]
# **For discussion.** (a) A critic that knows all actions estimates what each agent's reward would be
# without its action. Which of the learning rewards above does it imitate, and what must it learn first? (b)
# Your agents are players in a team sport, and only the score is observed. Which of the remedies is left?
# (c) A paper reports that its method needs ten times fewer updates than a common reward with the same
# learning rate. Which three questions do you ask?

# %% [markdown]
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. Why does a larger learning rate not make up for a mean over many agents?</summary>
#
# It scales the noise as well as the signal. The ratio stays at $\sqrt{B/(N-1)}$, and steps that are too
# large for their noise drive policies in wrong directions. Only more episodes, or fewer sources of noise,
# change the ratio.
#
# </details>
#
# <details><summary>2. Why do sum and mean of all rewards have the same signal-to-noise ratio?</summary>
#
# All effects are multiplied by $N$, the agent's own and those of the others, so the ratio is the same. The
# sum is the mean with a learning rate that is $N$ times larger.
#
# </details>
#
# <details><summary>3. Why does learned sharing save no episodes if the graph is hidden?</summary>
#
# Its hypergradient contains the gradient of the welfare, which is estimated from the sum of all rewards,
# with the same noise as the common reward. And shares start equal, so that the policies also learn from the
# mean at first.
#
# </details>

# %% [markdown]
# ## What to read
#
# * Yi and others, *Learning to share in multi-agent reinforcement learning*, arXiv 2112.08702: LToS.
# * Chu and others, *Multi-agent reinforcement learning for networked system control*, arXiv 2004.01339:
#   spatial discount, that is, fixed weights by distance in the graph.
# * Foerster and others, *Counterfactual multi-agent policy gradients*, arXiv 1705.08926: difference rewards
#   from a learned critic.
# * Wolpert and Tumer, *Optimal payoff functions for members of collectives*, Advances in Complex Systems,
#   2001: difference rewards.
# * In this toolkit: `docs/explanation/networks.md`, `docs/how-to/networked-games.md`, and
#   `docs/studies/regimes.md`, where learned sharing is worth it, with up to 1024 agents.
# * Next: `12_shaping_others_learning`.

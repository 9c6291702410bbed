# %% [markdown]
# # 15. Experts, routers and curricula
#
# **When do experts collapse, and does a curriculum from softmax to sparsemax help?**
#
# A *mixture of experts* adds up the outputs of several networks, each times a *gate*. A *router* computes
# the gates from the state. If the router prefers one expert early, this expert learns most, becomes better,
# and is preferred even more. In the end the others are never used: the mixture has *collapsed*.
#
# One remedy is a *curriculum*: begin with softmax gates, with which all experts learn from all states, and
# end with sparsemax gates, which use few experts. This lesson builds the routers, looks at their gradients,
# and measures when experts collapse, and what the curriculum changes.
#
# **Goals.** After this lesson you can compute softmax, entmax, sparsemax and top-k gates and their
# derivatives, say which states still train a router, measure collapse, choose among balance losses, and
# explain what a curriculum can and cannot prevent.
#
# **Prerequisites.** Lesson 02. About 45 minutes.

# %% tags=["setup", "hide-input"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("bilevel") is None:  # not installed yet, as in Colab
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "bilevel[lessons,tasks]"], check=True)

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from torch.nn.functional import one_hot

from bilevel.lessons import AMBER, BLACK, BLUE, GRAY, GREEN, PURPLE, RED, SKY
from bilevel.lessons import draw_band, explore, over_seeds, size, use_style
from bilevel.lessons.checks.experts_routers_and_curricula import check_1, check_2
from bilevel.lessons.checks.experts_routers_and_curricula import check_3, check_4
from bilevel.tasks.mixture_of_experts import MixtureOfExperts, MixtureSettings

use_style()
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A picture of the answer
#
# The library's task `mixture-of-experts`, made small. A state has three entities; the one with the largest
# first feature leads, and the signs of its next two select one of four modes. Each mode has its own linear
# policy, so four linear experts would suffice if the router finds the modes. Three routers, three seeds:

# %% tags=["hide-input"]
tiny = MixtureSettings(
    entities=3, features=4, hidden_size=8, heads=2, steps=size(300, fast=12),
    batch_size=64, learning_rate=0.01, test_size=size(1000, fast=100),
)  # fmt: skip
task, FIRST = MixtureOfExperts(), ("softmax", "curriculum", "top-1")
trials = {
    router: [task.run(tiny, router, seed, lambda part: None) for seed in range(3)]
    for router in FIRST
}

# %% tags=["hide-input"]
LOOKS = {
    "softmax": (BLUE, "--", "o"),
    "sparsemax": (RED, ":", "s"),
    "sparsemax + Switch": (AMBER, "-.", "D"),
    "curriculum": (GREEN, "-", "^"),
    "top-1": (BLACK, (0, (4, 1, 1, 1)), "v"),
    "top-1 + Switch": (PURPLE, (0, (5, 2)), "P"),
    "top-1 + bias": (SKY, (0, (1, 1)), "X"),
}
figure, panels = plt.subplots(1, 2, figsize=(11, 4))
for axes, name in zip(panels, ("effective experts", "experts per state"), strict=True):
    for router in FIRST:
        runs = [trial.curves for trial in trials[router]]
        values = torch.tensor([run[name] for run in runs]).T
        color, dashes, _ = LOOKS[router]
        look = {"label": router, "color": color, "linestyle": dashes}
        draw_band(axes, runs[0][f"{name} at"], values, **look)
    axes.set(xlabel="training step", ylabel=name, ylim=(0.8, 4.2))
figure.legend(*axes.get_legend_handles_labels(), ncols=3, loc="outside upper center")
plt.show()
for router in FIRST:
    found = [trial.measures["accuracy (%)"] for trial in trials[router]]
    print(f"{router:11} test accuracy of the three seeds:", end=" ")
    print(", ".join(f"{value:.0f} %" for value in found))

# %% [markdown]
# Left: how many experts are in use over all states (4 is the maximum). Right: how many are active in one
# state. `top-1`, which uses the expert with the largest score alone, collapses. `softmax` uses all experts
# in all states. The curriculum ends with about two active experts per state, and uses as many over all
# states as softmax.

# %% [markdown]
# ## The idea in words
#
# The gates decide two things. They weigh the outputs, and they decide **which experts learn**: the
# gradient that expert $e$ receives from a state is proportional to its gate. A gate of 0 means no gradient
# for this expert. The router learns, too: from how the loss depends on the gates, *if* the gates depend on
# its scores.
#
# * **Softmax** gates are never 0. All experts learn from all states, and every state trains the router. But
#   every state pays for all experts.
# * **Sparsemax** gates can be exactly 0 and exactly 1. A gate of 1 is constant: nearby scores give the same
#   gate. Such a state trains its one expert, and the router not at all.
# * **Top-k** keeps the $k$ largest scores. Which ones is a discrete choice without a derivative.
#
# *Collapse* is a positive feedback: a larger gate, more gradient, a better expert, a larger gate. There are
# two kinds of remedies. *Balance losses* and *selection biases* push the loads toward equality. A
# *curriculum* trains all experts first, and makes the gates sparse when the experts differ already.

# %% [markdown]
# ## The key equation
#
# $z_e$ are the router's scores of $N$ experts, $p_e$ the gates, and $y = \sum_e p_e\, y_e$ the output of
# the mixture. *Entmax* with the parameter $\alpha$ lies between softmax (the limit $\alpha \to 1$) and
# sparsemax ($\alpha = 2$):
#
# $$p_e = \big[(\alpha - 1)\, z_e - \tau\big]_+^{1 / (\alpha - 1)},
# \qquad \tau \text{ such that } \sum_e p_e = 1,$$
#
# where $[x]_+ = \max(x, 0)$. With $s_e = p_e^{2 - \alpha}$ where $p_e > 0$, and $s_e = 0$ elsewhere, its
# Jacobian (the matrix of derivatives) is the same expression for all $\alpha$:
#
# $$\boxed{\ \frac{\partial p_e}{\partial z_j} = s_e \Big(\delta_{ej} - \frac{s_j}{\sum_k s_k}\Big)\ }$$
#
# Here $\delta_{ej}$ is 1 for $e = j$, else 0. For $\alpha = 1$ it is $s = p$, the softmax. For
# $\alpha = 2$, $s_e$ is 1 for active experts. With a *single* active expert the box is
# $1 \cdot (1 - 1) = 0$: **a state with one active expert does not train the router**. The curriculum is a
# schedule of $\alpha$ from 1 to 2.
#
# Two *balance losses* over a batch, with the load $f_e$ (the fraction of states whose largest gate is
# $e$'s), the mean probability $P_e$ (the mean gate; for top-k the mean softmax probability before the
# selection), and the total gates $G_e$:
#
# $$L_\text{Switch} = N \sum_e f_e P_e, \qquad
# L_\text{importance} = \frac{\operatorname{Var}(G)}{\operatorname{Mean}(G)^2}.$$
#
# *Loss-free balance* has no loss: it selects by $z_e + b_e$, weighs by $z_e$ alone, and moves each bias
# $b_e$ a little up if $f_e < 1/N$, and down if $f_e > 1/N$. No gradient passes through $b$.

# %% [markdown]
# ## From scratch: gates
#
# Entmax finds $\tau$ by bisection, without a gradient. The last two lines then attach the boxed Jacobian:
# `linear - linear.detach()` has the value 0 and the derivative of `linear`.


# %%
def entmax(z, alpha):
    """Gates between softmax (alpha = 1) and sparsemax (alpha = 2), [..., expert]."""
    if alpha == 1:
        return z.softmax(-1)
    with torch.no_grad():
        x, power = (alpha - 1) * z, 1 / (alpha - 1)
        high = x.amax(-1, keepdim=True)
        low = high - 1
        for _ in range(40):
            tau = (low + high) / 2
            above = (x - tau).clamp(min=0).pow(power).sum(-1, keepdim=True) > 1
            low, high = tau.where(above, low), high.where(above, tau)
        p = (x - tau).clamp(min=0) ** power
        p = p / p.sum(-1, keepdim=True)
        s = torch.where(p > 0, p ** (2 - alpha), 0.0)
    mean = (s * z).sum(-1, keepdim=True) / s.sum(-1, keepdim=True)
    linear = s * (z - mean)
    return p + linear - linear.detach()


# %% [markdown]
# Top-k selects by rank, possibly with a selection bias, and keeps the softmax probabilities of the selected
# experts, either as they are or scaled to sum to 1:


# %%
def top_k(z, active, bias=0.0, scaled=True):
    """Softmax gates of the experts with the largest scores; the others are 0."""
    chosen = (z.detach() + bias).topk(active, -1).indices
    gates = z.softmax(-1) * torch.zeros_like(z).scatter(-1, chosen, 1.0)
    return gates / gates.sum(-1, keepdim=True) if scaled else gates


GATES = {
    "softmax ($\\alpha$ = 1)": lambda z: entmax(z, 1),
    "entmax ($\\alpha$ = 1.25)": lambda z: entmax(z, 1.25),
    "entmax ($\\alpha$ = 1.5)": lambda z: entmax(z, 1.5),
    "sparsemax ($\\alpha$ = 2)": lambda z: entmax(z, 2),
    "top-2, scaled to sum 1": lambda z: top_k(z, 2),
    "top-1": lambda z: top_k(z, 1, scaled=False),
    "top-1, scaled to sum 1": lambda z: top_k(z, 1),
}

# %% [markdown]
# Gates for two vectors of scores. In the second one the first expert has a large lead. The last column is
# the norm of the Jacobian there: how much does the router learn from such a state?

# %%
close, lead = torch.tensor([1.0, 0.5, -1.0, 0.2]), torch.tensor([3.0, 0.5, -1.0, 0.2])
rows = [
    "| router | gates of (1, 0.5, -1, 0.2) | Jacobian | gates of (3, 0.5, -1, 0.2) "
    "| Jacobian |",
    "|---|---|---:|---|---:|",
]
for name, gates in GATES.items():
    cells = []
    for z in (close, lead):
        values = ", ".join(f"{value:.4f}" for value in gates(z))
        norm = torch.autograd.functional.jacobian(gates, z).norm()
        cells.append(f"{values} | {norm:.3f}")
    rows.append(f"| {name} | {' | '.join(cells)} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# * Sparsemax with a large lead has the gate 1 and no gradient, and so has entmax with $\alpha = 1.5$ here
#   (exercise 1: from which lead on?). Softmax and entmax with $\alpha = 1.25$ keep a small gradient.
# * The gate of `top-1` is a *softmax probability*, not 1. That is why its router learns at all. Scaled to
#   sum 1, the gate is 1 for all scores, and the Jacobian is exactly 0: such a router never learns. Switch
#   Transformers therefore use the unscaled gate.
#
# With two experts everything depends on the difference of their scores. Left the gate of the first expert,
# right its derivative:

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
difference = torch.linspace(-4, 4, 801)
TWO = {
    "softmax": (BLUE, "--", lambda z: entmax(z, 1)),
    "entmax, $\\alpha$ = 1.5": (PURPLE, ":", lambda z: entmax(z, 1.5)),
    "sparsemax": (GREEN, "-", lambda z: entmax(z, 2)),
    "top-1": (BLACK, (0, (4, 1, 1, 1)), lambda z: top_k(z, 1, scaled=False)),
}
for label, (color, dashes, gates) in TWO.items():
    first = difference.clone().requires_grad_()
    gate = gates(torch.stack((first, torch.zeros_like(first)), -1))[:, 0]
    slope = torch.autograd.grad(gate.sum(), first)[0]
    look = {"color": color, "linestyle": dashes, "label": label}
    left.plot(difference, gate.detach(), **look)
    right.plot(difference, slope, **look)
left.set(xlabel="score difference $z_1 - z_2$", ylabel="gate of expert 1")
right.set(xlabel="score difference $z_1 - z_2$", ylabel="derivative of this gate")
left.set_title("gates")
right.set_title("what trains the router")
left.legend()
plt.show()

# %% [markdown]
# The router of sparsemax learns only from states with a score difference between -1 and 1, which two experts
# share. The gate of `top-1` jumps at 0: no derivative says what a jump to the other expert would change. And
# where its gate is 0, expert 1 learns nothing.

# %% [markdown]
# ## From scratch: collapse and balance
#
# Three measures of collapse: the *effective number of experts* (the exponential of the entropy of the mean
# gates), *MaxVio* (the largest load over the mean load, minus 1), and the mean number of active experts.


# %%
def loads(gates):
    """Fraction of the states whose largest gate is this expert's, [..., expert]."""
    return one_hot(gates.argmax(-1), gates.shape[-1]).double().mean(-2)


def effective(gates):
    """Effective number of experts: the exponential of the mean gates' entropy."""
    shares = gates.mean(-2) / gates.mean(-2).sum(-1, keepdim=True)
    return (-torch.xlogy(shares, shares).sum(-1)).exp()


def max_violation(gates):
    """MaxVio: 0 if loads are equal, N - 1 if one expert has all states."""
    return loads(gates).amax(-1) * gates.shape[-1] - 1


def switch(gates, p):
    """The balance loss of Switch: 1 if loads are equal, N if collapsed."""
    return p.shape[-1] * (loads(gates) * p.mean(-2)).sum(-1)


def importance(gates):
    """The squared coefficient of variation: 0 if equal, N - 1 if collapsed."""
    total = gates.sum(-2)
    return total.var(-1, correction=0) / total.mean(-1) ** 2


# %% [markdown]
# Four routers of four experts: perfectly balanced, undecided (all gates $\frac14$), collapsed with a
# softmax that has a lead of 3, and collapsed with a sparsemax. The last two columns are the norms of the
# gradients of both losses in the scores:

# %%
CASES = {
    "balanced, sparse": (9 * torch.eye(4), 2),
    "undecided": (torch.zeros(4, 4), 1),
    "collapsed, softmax": (3 * torch.eye(4)[[0, 0, 0, 0]], 1),
    "collapsed, sparsemax": (3 * torch.eye(4)[[0, 0, 0, 0]], 2),
}
rows = [
    "| router | effective experts | MaxVio | Switch | importance | gradient of "
    "Switch | of importance |",
    "|---" * 7 + "|",
]
for name, (z, alpha) in CASES.items():
    z = z.clone().requires_grad_()
    p = entmax(z, alpha)
    values = [effective(p), max_violation(p), switch(p, p), importance(p)]
    for loss in values[2:]:
        values.append(torch.autograd.grad(loss, z, retain_graph=True)[0].norm())
    numbers = " | ".join(f"{value.item():.3f}" for value in values)
    rows.append(f"| {name} | {numbers} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# * "Undecided" has the same Switch loss and importance as "balanced": they do not demand decisions. Its
#   MaxVio is 3, and its Switch loss has a gradient, because a tie counts as a load of the first expert.
# * **A collapsed sparsemax has no gradient of any balance loss.** The losses are at their maximum, and the
#   router cannot learn from them, because its gates are constant. A balance loss must act *before* the
#   collapse. Loss-free balance needs no gradient, but applies to routers that select by rank (top-k).

# %% [markdown]
# ## From scratch: a task and its training
#
# A state has a *context* of two numbers, whose signs are the mode, and six *features*. In mode $m$ the
# right action is the one with the largest of four linear scores of the features, with weights of this mode.
# The router is linear in the context, and experts are linear in the features. All seeds train in one batch.
#
# The router can begin with a *preference*: an initial bias for expert 0. It is a parameter, so training
# may change it. This is our handle on collapse.

# %%
MODES, ACTIONS, FEATURES, SEEDS = 4, 4, 6, size(16, fast=4)


def draw_states(weights, states, generator):
    """Contexts, features, modes and right actions, [seed, state, ...]."""
    seeds = len(weights)
    context = torch.randn(seeds, states, 2, generator=generator)
    features = torch.randn(seeds, states, FEATURES, generator=generator)
    mode = (context[..., 0] > 0).long() + 2 * (context[..., 1] > 0).long()
    scores = torch.einsum("sbf,smaf->sbma", features, weights)
    own = mode[..., None, None].expand(-1, -1, 1, ACTIONS)
    return context, features, mode, scores.gather(2, own).squeeze(2).argmax(-1)


def initial(preference, generator, experts=4, seeds=SEEDS):
    """Router weights and biases, and experts, of all seeds."""
    router = torch.randn(seeds, experts, 2, generator=generator)
    bias = preference * one_hot(torch.zeros(seeds).long(), experts).double()
    shape = seeds, experts, ACTIONS, FEATURES
    outputs = torch.randn(shape, generator=generator) / FEATURES**0.5
    return [value.requires_grad_() for value in (router, bias, outputs)]


def mixture(outputs, features, gates):
    """Logits of actions: each expert's output times its gate, [seed, state, action]."""
    by_expert = torch.einsum("sbf,seaf->sbea", features, outputs)
    return (gates[..., None] * by_expert).sum(-2)


# %% [markdown]
# Routers are settings: `alpha` as a function of the elapsed fraction of training, or `active` experts by
# rank; the weight of the Switch loss; the rate of the selection bias.


# %%
def curriculum(part, first=1 / 3, last=2 / 3):
    """Softmax at first, sparsemax at last, and a line between them."""
    return 1 + min(max((part - first) / (last - first), 0.0), 1.0)


ROUTERS = {
    "softmax": {"alpha": lambda part: 1},
    "sparsemax": {"alpha": lambda part: 2},
    "sparsemax + Switch": {"alpha": lambda part: 2, "balance": 0.01},
    "curriculum": {"alpha": curriculum},
    "top-1": {"active": 1},
    "top-1 + Switch": {"active": 1, "balance": 0.01},
    "top-1 + bias": {"active": 1, "bias_rate": 0.02},
}


def route(z, part, select, alpha=None, active=None, **_):
    """Gates, and the probabilities that the Switch loss reads."""
    if alpha is not None:
        gates = entmax(z, alpha(part))
        return gates, gates
    return top_k(z, active, select[:, None], scaled=active > 1), z.softmax(-1)


def routed(gates, z):
    """Fraction of the states whose gates have a derivative in the scores, [seed]."""
    slopes = torch.zeros_like(z)
    for expert in range(z.shape[-1]):
        total = gates[..., expert].sum()
        slopes += torch.autograd.grad(total, z, retain_graph=True)[0].abs()
    return (slopes.sum(-1) > 1e-7).double().mean(-1)


# %%
def train(settings, preference=0.0, steps=size(400, fast=8), rate=0.1, batch=64):
    """Train all seeds: curves, [point, seed], and the test's gates and accuracy."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(SEEDS, MODES, ACTIONS, FEATURES, generator=generator)
    test = draw_states(weights, size(1000, fast=50), generator)
    router, bias, outputs = initial(preference, generator)
    optimizer, curves = torch.optim.Adam([router, bias, outputs], lr=rate), []
    select = torch.zeros(SEEDS, 4)  # of loss-free balance
    for step in range(steps + 1):
        part, every = step / steps, max(1, steps // 20)
        optimizer.param_groups[0]["lr"] = rate * (1 - part)
        if step % every == 0 or step == steps:
            z = (test[0] @ router.mT + bias[:, None]).detach().requires_grad_()
            gates, _ = route(z, part, select, **settings)
            curves.append((step, effective(gates).detach(), routed(gates, z)))
        if step == steps:
            break
        context, features, _, action = draw_states(weights, batch, generator)
        z = context @ router.mT + bias[:, None]
        gates, p = route(z, part, select, **settings)
        logits = mixture(outputs, features, gates).log_softmax(-1)
        loss = -logits.gather(-1, action[..., None]).mean((1, 2)).sum()
        loss = loss + settings.get("balance", 0.0) * switch(gates, p).sum()
        select = select + settings.get("bias_rate", 0.0) * (0.25 - loads(gates)).sign()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right = mixture(outputs, test[1], gates).argmax(-1) == test[3]
    return curves, gates.detach(), right.double().mean(-1), test


# %% [markdown]
# ## The library's version
#
# The package `bilevel.nn` has the same routers, losses and measures. Its `entmax` also has second
# derivatives and one with respect to $\alpha$, so that a curriculum can be learned. The same numbers?

# %%
from bilevel.nn import dense_routing, expert_use, importance_loss, switch_loss
from bilevel.nn import entmax as library_entmax
from bilevel.nn import top_k_routing, update_bias

z = torch.randn(200, 4, generator=torch.Generator().manual_seed(1))
jacobian = torch.autograd.functional.jacobian
for alpha in (1.0, 1.25, 1.5, 2.0):
    ours, its = entmax(z, alpha), library_entmax(z, alpha)
    slope = jacobian(lambda z: entmax(z, alpha), close)
    its_slope = jacobian(lambda z: library_entmax(z, alpha), close)
    same = torch.allclose(ours, its, atol=1e-8), torch.allclose(slope, its_slope)
    print(f"alpha {alpha:4}: gates the same: {same[0]}, Jacobian: {same[1]}")
shift = torch.tensor([0.0, 1.0, 0.0, -1.0])
routing, ours = top_k_routing(z, 2, shift), top_k(z, 2, shift)
print("top-2 with a bias:", torch.allclose(routing.gates, ours))
dense, p = dense_routing(z.softmax(-1)), z.softmax(-1)
print("Switch:           ", torch.allclose(switch_loss(dense), switch(p, p)))
print("importance:       ", torch.allclose(importance_loss(dense), importance(p)))
moved = 0.02 * (0.25 - loads(z)).sign()
routing = top_k_routing(z, 1)
its = update_bias(0 * shift, routing, 0.02)
print("selection bias:   ", torch.allclose(its, moved))
use = expert_use(p, torch.zeros(200).long())
errors = use.effective - effective(p), use.max_violation - max_violation(p)
print("collapse measures:", all(abs(error) < 1e-9 for error in errors))

# %% [markdown]
# ## When do experts collapse?
#
# Seven routers, and three initial preferences for expert 0. Nothing else differs: the seeds have the same
# modes, states and initial experts. Left the effective number of experts after training, right the accuracy
# (means over seeds):

# %%
PREFERENCES = (0.0, 3.0, 6.0)
RUNS = {
    (name, preference): train(settings, preference)
    for name, settings in ROUTERS.items()
    for preference in PREFERENCES
}

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8))
for name, (color, dashes, marker) in LOOKS.items():
    look = {"color": color, "linestyle": dashes, "marker": marker}
    runs = [RUNS[name, preference] for preference in PREFERENCES]
    left.plot(
        PREFERENCES, [effective(run[1]).mean() for run in runs], label=name, **look
    )
    right.plot(PREFERENCES, [100 * run[2].mean() for run in runs], **look)
left.set(xlabel="initial preference for expert 0", ylabel="effective experts")
right.set(xlabel="initial preference for expert 0", ylabel="test accuracy (%)")
left.set(ylim=(0.9, 4.1))
figure.legend(ncols=4, loc="outside upper center")
plt.show()


def row(name, preference):
    """A row of the table: interquartile means over seeds and their 95 % intervals."""
    curves, gates, accuracy, _ = RUNS[name, preference]
    used = effective(gates)
    cells = [over_seeds(100 * accuracy, 0), over_seeds(used)]
    cells += [f"{int((used < 3.5).sum())} of {SEEDS}", over_seeds(max_violation(gates))]
    cells.append(f"{(gates > 0).double().sum(-1).mean():.2f}")
    cells.append(over_seeds(100 * curves[-1][2], 0))
    return f"| {name} | {preference:g} | {' | '.join(cells)} |"


rows = [
    "| router | preference | accuracy (%) | effective experts | seeds below 3.5 | "
    "MaxVio | experts per state | states that train the router (%) |",
    "|---" * 8 + "|",
]
rows += [row(name, preference) for preference in (0.0, 6.0) for name in ROUTERS]
display(Markdown("\n".join(rows)))

# %% [markdown]
# (Numbers with brackets are interquartile means over seeds with 95 % intervals. "Seeds below 3.5" counts the
# seeds with fewer than 3.5 effective experts: they have lost one, or nearly so.)
#
# * **Without a preference** most seeds of every router use all four experts. A few seeds lose one, with
#   softmax, too: a good router without collapse is not guaranteed by any of these gates.
# * **With a preference of 6, sparsemax collapses in every seed**, and the balance loss does not prevent it:
#   expert 0 leads by 1 or more in nearly all states, so that the gates are constants there. Neither the loss
#   nor the balance loss has a gradient left.
# * **Softmax recovers.** The gates of the other experts begin at about $e^{-6}$, and their gradients are as
#   small. A plausible reason (not tested here) is that Adam divides each gradient by its size (lesson 2): a
#   tiny gradient is enough, an exact 0 is not.
# * **Top-1 recovers in part**, because its router learns from the softmax probability. The Switch loss and
#   the selection bias both work here: the loss reads the softmax probabilities, which are never constant.
#
# In this task the three `top-1` routers have the highest accuracy if nothing is preferred. In the study of
# the library, with a router behind a graph attention and a learning rate 20 times as small, `top-1`
# collapses most (as in the first figure). Whether a router collapses is a property of router, network,
# initialization *and* learning rate. Do not infer it from one task.

# %% [markdown]
# ## What does the curriculum change?
#
# The effective experts and the states that train the router during training, from a preference of 6. Gray
# lines: the end of softmax, and the beginning of sparsemax in the curriculum.

# %% tags=["hide-input"]
figure, panels = plt.subplots(1, 2, figsize=(11, 4.4))
for name in ("softmax", "sparsemax", "curriculum", "top-1"):
    color, dashes, _ = LOOKS[name]
    steps, used, trained = zip(*RUNS[name, 6.0][0], strict=True)
    values = torch.stack(used), 100 * torch.stack(trained)
    for axes, samples in zip(panels, values, strict=True):
        draw_band(axes, steps, samples, label=name, color=color, linestyle=dashes)
for axes in panels:
    for part in (1 / 3, 2 / 3):
        axes.axvline(part * steps[-1], color=GRAY, linewidth=1)
    axes.set(xlabel="training step")
panels[0].set(ylabel="effective experts", ylim=(0.9, 4.1))
panels[1].set(ylabel="states that train the router (%)", ylim=(-3, 103))
handles = panels[0].get_legend_handles_labels()
figure.legend(*handles, ncols=4, loc="outside upper center")
plt.show()

# %% [markdown]
# Where are the states that train the router? One seed without a preference, after training. Each dot is a
# test state in the plane of its context; the four quadrants are the modes. Circles: a second gate is above
# 0.001. For the curriculum, which ends with sparsemax, these are the states that train the router. Softmax
# and `top-1` train it in nearly all states, with circles or without.

# %% tags=["hide-input"]
figure, panels = plt.subplots(1, 3, figsize=(11, 4), sharey=True)
MARKS = ((BLUE, "o"), (AMBER, "s"), (GREEN, "^"), (PURPLE, "D"))
for axes, name in zip(panels, ("softmax", "curriculum", "top-1"), strict=True):
    _, gates, _, test = RUNS[name, 0.0]
    context, top = test[0][0], gates[0].argmax(-1)
    for expert, (color, marker) in enumerate(MARKS):
        mine = context[top == expert]
        look = {"color": color, "s": 10, "label": f"expert {expert}"}
        axes.scatter(*mine.T, marker=marker, **look)
    several = context[(gates[0] > 1e-3).sum(-1) > 1]
    look = {"facecolors": "none", "edgecolors": BLACK, "s": 45, "linewidths": 0.7}
    axes.scatter(*several.T, label="more than one expert", **look)
    axes.axhline(0, color=GRAY, linewidth=1)
    axes.axvline(0, color=GRAY, linewidth=1)
    axes.set(title=name, xlabel="context 1", xlim=(-3, 3), ylim=(-3, 3))
panels[0].set(ylabel="context 2")
handles = panels[0].get_legend_handles_labels()
figure.legend(*handles, ncols=5, loc="outside lower center")
plt.show()

# %% [markdown]
# Router and experts are trained *end to end*: by one loss, that of the action, which has a gradient at all
# parts. But:
#
# * An **expert** learns from the states in which its gate is above 0.
# * The **router** of the curriculum learns from all states at first, and at the end from those near the
#   boundaries of its experts' regions, about a fifth. The gradients of all other states are exactly 0. A
#   collapsed sparsemax has almost no boundary, and so it stays collapsed.
# * The router of **top-1** learns from every state: should this expert's probability be larger? It never
#   learns whether *another* expert would have been better, because the choice has no derivative.
#
# Few states need not mean a small gradient. In the library's study 4 % of the states train the router at the
# end of the curriculum, and the gradient that reaches the attention is no smaller than with softmax.
#
# Is the curriculum better? Paired differences of the accuracy, in percentage points:


# %%
def paired(first, second, preference):
    """The paired difference of two routers' accuracies, in points."""
    accuracies = [RUNS[name, preference][2] for name in (first, second)]
    return over_seeds(100 * (accuracies[0] - accuracies[1]), 1)


rows = ["| curriculum minus | no preference | preference 6 |", "|---|---|---|"]
for name in ("softmax", "sparsemax", "sparsemax + Switch", "top-1"):
    cells = [paired("curriculum", name, preference) for preference in (0.0, 6.0)]
    rows.append(f"| {name} | {cells[0]} | {cells[1]} |")
display(Markdown("\n".join(rows)))

# %% [markdown]
# * **Against collapse the curriculum works** where sparsemax collapses from the beginning: the softmax phase
#   removes the preference before the gates become sparse.
# * **Without a preference there is little collapse to prevent**, and the gain over sparsemax is small. The
#   gain over softmax probably comes from sharp gates at the end, which `top-1` has, too; without a preference
#   `top-1` is even better than the curriculum.
# * The study of the library, on the larger task with 20 seeds: the curriculum ends 0.6 [0.3, 2.7] points
#   above sparsemax with a balance loss. It does not do so by preventing collapse: all these routers lose an
#   expert in 1 to 3 of 20 seeds. And the learning rate was chosen by runs of softmax and the curriculum
#   alone, which may favor them. So the answer to the title's question is: *a little, and much if the
#   router starts with a strong preference*.
#
# **Can the curriculum be learned?** $\alpha$ and the weight of the balance loss can be outer variables,
# updated by the hypergradient of a validation loss, as loss weights are (lesson 9). In the study this router,
# `learned`, keeps all four experts in all 20 seeds. Its accuracy is 0.2 [-0.1, 2.4] points above sparsemax
# with a balance loss, below the curriculum's estimate, at four times the training time. So learned
# annealing works, and did not beat a schedule that was written by hand.

# %% [markdown]
# So far all routers had the same learning rate. With three rates each, without a preference (exercise 4 makes
# a fair comparison of these numbers):

# %%
RATES = (0.03, 0.1, 0.3)
TUNED = {
    name: torch.stack([train(ROUTERS[name], rate=rate)[2] for rate in RATES])
    for name in ("curriculum", "sparsemax + Switch")
}
for name, accuracies in TUNED.items():
    means = ", ".join(f"{100 * value:.1f} %" for value in accuracies.mean(-1))
    print(f"{name:18} mean accuracy at rates {RATES}: {means}")

# %% [markdown]
# ## Play
#
# Choose the initial preference, the fraction of training with softmax, the final $\alpha$, and the weight
# of the Switch loss. With `softmax_until = 0` there is no curriculum. How short may the softmax phase be?
# Does the balance loss rescue a sparsemax that prefers expert 0 by 6?


# %% tags=["hide-input"]
def play(preference, softmax_until, last_alpha, balance):
    def alpha(part):
        at = min(softmax_until + 0.2, 1.0)
        if softmax_until == 0:
            return last_alpha
        return 1 + (last_alpha - 1) * (curriculum(part, softmax_until, at) - 1)

    settings = {"alpha": alpha, "balance": balance}
    curves, gates, accuracy, _ = train(settings, preference, steps=size(250, fast=4))
    steps, used, trained = zip(*curves, strict=True)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    draw_band(left, steps, torch.stack(used), label="effective experts", color=GREEN)
    left.plot(steps, [alpha(step / steps[-1]) for step in steps], ":", color=BLACK)
    left.lines[-1].set_label("$\\alpha$")
    left.set(xlabel="training step", ylim=(0.9, 4.1), ylabel="experts, $\\alpha$")
    left.legend()
    trained = 100 * torch.stack(trained)
    draw_band(right, steps, trained, label="states", color=BLUE)
    right.set(xlabel="training step", ylabel="states that train the router (%)")
    right.set(ylim=(-3, 103), title=f"test accuracy {over_seeds(100 * accuracy, 0)} %")
    plt.show()


# %%
explore(
    play,
    preference=(0.0, 8.0, 1.0, 6.0),
    softmax_until=(0.0, 0.8, 0.1, 0.2),
    last_alpha=(1.0, 2.0, 0.1, 2.0),
    balance=(0.0, 0.1, 0.01, 0.0),
)

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/15_experts_routers_and_curricula.py`.
#
# **Exercise 1 (warm up).** Two experts. From which score difference $d = z_1 - z_2$ on does entmax with
# $\alpha > 1$ give the second expert a gate of exactly 0? (Which $\tau$ belongs to the gates 1 and 0?)


# %% tags=["exercise-1"]
def smallest_lead(alpha):
    return ...


# %% tags=["check-1"]
check_1(smallest_lead, entmax)

# %% [markdown]
# **Exercise 2 (partial collapse).** A sparsemax router of $N$ experts uses only `used` of them, with equal
# loads, and a gate of 1 in every state. Return the effective number of experts, MaxVio, the Switch loss, and
# the importance loss, in this order, as formulas.


# %% tags=["exercise-2"]
def partial_collapse(N, used):
    return ..., ..., ..., ...


# %% tags=["check-2"]
check_2(partial_collapse)

# %% [markdown]
# **Exercise 3 (what the router learns from one state).** The output is $y = \sum_e p_e\, y_e$, with gates
# $p$ by entmax, and the loss is $L = \frac12 (y - t)^2$ with the target $t$. Return the derivatives
# $\partial L / \partial z_e$, [expert], from the gates, the experts' outputs $y_e$, $t$ and $\alpha$,
# without autograd. Then think: for which experts does gradient descent raise the score?


# %% tags=["exercise-3"]
def router_slopes(p, outputs, t, alpha):
    return ...


# %% tags=["check-3"]
check_3(router_slopes, entmax)

# %% [markdown]
# **Exercise 4 (a fair comparison).** `first` and `second` are the accuracies of two routers with several
# learning rates, [rate, seed]. Choose the best rate of *each* router by its mean accuracy on the first
# `tuning` seeds. Then return the mean paired difference (first minus second) on the remaining seeds. The
# check applies your function to the table `TUNED` above.


# %% tags=["exercise-4"]
def fair_difference(first, second, tuning):
    return ...


# %% tags=["check-4"]
check_4(fair_difference, TUNED["curriculum"], TUNED["sparsemax + Switch"])

# %% [markdown]
# **For discussion.** (a) A mixture of a language model has 64 experts on 64 machines. Why is a balanced load
# important there, even if the accuracy does not suffer from collapse? (b) Two modes are rare: together 2 %
# of the states. What does a balance loss do to their experts? (c) Which of the routers would you use to
# learn $\alpha$ by a hypergradient (lesson 9), and from which loss: training or validation?

# %% [markdown]
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. Which states train the router if the gates are a sparsemax?</summary>
#
# Only states with two or more active experts. With a single one the gate is the constant 1, and the
# Jacobian is 0.
#
# </details>
#
# <details><summary>2. Why can a balance loss not rescue a collapsed sparsemax router?</summary>
#
# The loss acts through the gates, too. If all gates are constant (1 for one expert, 0 for the others), its
# gradient in the scores is 0, however large the loss is.
#
# </details>
#
# <details><summary>3. What can a curriculum from softmax to sparsemax prevent, and what not?</summary>
#
# It prevents experts from getting no gradient early, when a sparse router prefers one of them by accident.
# It does not help where softmax itself loses an expert, and it has little to improve where sparse routers
# do not collapse anyway.
#
# </details>

# %% [markdown]
# ## What to read
#
# * Martins and Astudillo, *From softmax to sparsemax*, arXiv 1602.02068. Peters, Niculae and Martins,
#   *Sparse sequence-to-sequence models*, arXiv 1905.05702: entmax.
# * Shazeer and others, *Outrageously large neural networks*, arXiv 1701.06538: top-k and the importance
#   loss. Fedus, Zoph and Shazeer, *Switch Transformers*, arXiv 2101.03961: top-1 and its balance loss.
# * Wang and others, *Auxiliary-loss-free load balancing strategy for mixture-of-experts*, arXiv 2408.15664:
#   selection biases and MaxVio.
# * In this toolkit: `docs/studies/mixture-of-experts.md`, `bilevel tune mixture-of-experts --help`, and
#   `docs/how-to/schedules-and-curricula.md`.
# * Next: `16_zero_sum_learning`.

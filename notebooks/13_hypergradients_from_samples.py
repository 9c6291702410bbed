# %% [markdown]
# # 13. Hypergradients from samples
#
# **How do you differentiate through learning if rewards are only sampled?**
#
# In lessons 1 and 5 every objective had a formula: we could differentiate the expected reward, and the
# learning step, exactly. Most environments are simulators. They return one reward for one sampled action,
# and there is nothing to differentiate in between. Policy gradients solve this for *one* derivative. A
# hypergradient through learning contains derivatives of policy gradients, that is *second* derivatives, and
# there the usual code silently returns a wrong number.
#
# **Goals.** After this lesson you can derive the score-function estimator, explain which terms automatic
# differentiation loses in a sampled learning step, write the DiCE and Loaded DiCE surrogates, estimate a
# hypergradient with evolution strategies, and choose between a biased and a noisy estimator for a given
# number of episodes.
#
# **Prerequisites.** Lessons 01 and 05. About 45 minutes.

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
from torch.func import grad

from bilevel import Placement
from bilevel.lessons import AMBER, BLACK, BLUE, GREEN, RED
from bilevel.lessons import explore, size, use_style
from bilevel.lessons.checks.hypergradients_from_samples import check_1, check_2
from bilevel.lessons.checks.hypergradients_from_samples import check_3, check_4
from bilevel.methods import ToS
from games import FiniteRepeatedGame

use_style()
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A picture of the answer
#
# Two agents play a repeated prisoner's dilemma of 8 rounds, and learn to share (lesson 5). We estimate the
# hypergradient of the welfare through two policy updates. A value of 1 is correct.

# %% tags=["hide-input"]
GAME, DRAWS = FiniteRepeatedGame(discount=0.7, horizon=8), size(200, fast=10)


def estimates(draws, exact=False, **settings):
    """Hypergradients of the sharing logits at fixed policies, [draw, entry]."""
    changes = {f"inner.{name}": value for name, value in settings.items()}
    changes |= {"inner.exact": exact, "inner.steps": 2, "inner.learning_rate": 5.0}
    method = ToS(own_share=0.95).with_settings(changes)
    learner = method.build(GAME, Placement(seeds=draws))
    state = learner.init(seed=0)
    theta = torch.full_like(state["theta"], -1.5)
    start = theta, learner.optimizer.init(theta), state["phi"]
    problem = learner.problem_at(state, torch.Generator().manual_seed(0))
    return learner.hypergradient(problem, *start, steps=2).gradient.flatten(1)


# %% tags=["hide-input"]
LOOKS = {
    "reinforce": (RED, ":", "s"),
    "dice": (AMBER, "--", "^"),
    "loaded-dice": (BLUE, "-", "o"),
}
EPISODES = (16, 64, 256)
(reference,) = estimates(1, exact=True)


def relative(found):
    """Estimates along the exact hypergradient, in units of its norm: 1 is right."""
    return found @ reference / reference.square().sum()


figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
for name, (color, dashes, marker) in LOOKS.items():
    look = {"color": color, "linestyle": dashes, "label": name}
    found = {}
    for n in EPISODES:
        found[n] = relative(estimates(DRAWS, surrogate=name, episodes=n))
    shape = {"bins": torch.linspace(0.6, 1.7, 34), "histtype": "step", "linewidth": 2}
    left.hist(found[256], **shape, **look)
    errors = [(values - 1).square().mean().sqrt() for values in found.values()]
    right.plot(EPISODES, errors, marker=marker, **look)
    print(f"{name:12} mean of the estimates from 256 episodes: {found[256].mean():.3f}")
left.axvline(1, color=BLACK, linewidth=1.5, label="exact")
left.set(xlabel="estimate / exact hypergradient", ylabel=f"estimates (of {DRAWS})")
left.set_title("256 episodes for each update")
right.set(xscale="log", yscale="log", xlabel="episodes for each update")
right.set(ylabel="root mean squared error", title="error of one estimate, relative")
right.set_xticks(EPISODES, EPISODES)
right.minorticks_off()
right.set_yticks((0.03, 0.1, 0.3, 1), ("3 %", "10 %", "30 %", "100 %"))
figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
plt.show()

# %% [markdown]
# This lesson uses a small game whose exact hypergradient we know, so that the error of every estimator can be
# measured: its **bias**, which remains however many episodes you sample, and its **variance**, which
# decreases with more of them.
#
# The hypergradient is that in the sharing logits. It is estimated from sampled episodes with three
# *surrogates*: functions of the episodes that are differentiated in place of the expected return. Each
# estimate is divided by the exact hypergradient, which this game has.
#
# Left: the distribution of many independent estimates from 256 episodes for each update. Right: the root mean
# squared error against the number of episodes. `reinforce`, the usual policy gradient, is off by about 30 %,
# and *more episodes do not remove this bias*. `loaded-dice` has hardly any bias, and less noise than `dice`.

# %% [markdown]
# ## The idea in words
#
# A policy parameter $\theta$ has two effects on a sampled average of rewards. It changes *which* actions are
# sampled, and, where the reward itself contains parameters, what they pay. Autograd only sees the second
# effect: a sampled action is a number, with no gradient. The **score-function estimator** (also called
# likelihood-ratio estimator, or REINFORCE) restores the first effect: multiply each reward by the log
# probability of its action, and differentiate. Actions with an above-average reward become more probable.
#
# The *value* of this product means nothing; only its first derivative is right. Differentiate it twice, and
# the same effect is missing again: the episodes in the gradient estimate were sampled from the policy, too,
# and another policy would have produced other episodes.
#
# * **DiCE** multiplies each reward by a factor whose value is 1, and which produces the missing term
#   in every derivative, of any order.
# * **Loaded DiCE** uses the same factor with advantages (return minus baseline) instead of rewards, and has
#   less variance.
# * **Evolution strategies** do not differentiate at all: they perturb the outer variable, run the learning
#   with sampled episodes, and regress the welfare on the perturbation.

# %% [markdown]
# ## The key equation
#
# An action $a$ is sampled with probability $\pi_\theta(a)$, and pays $R(a)$. Differentiate the expectation,
# and use $\nabla \pi = \pi\, \nabla \log \pi$, once and once more:
#
# $$\nabla\, \mathbb E[R] = \mathbb E\big[\nabla \log \pi\; R\big], \qquad
# \nabla^2\, \mathbb E[R] = \mathbb E\big[(\nabla^2 \log \pi +
# \underbrace{\nabla \log \pi\, \nabla \log \pi^{\top}}_{\text{lost by } \log \pi \cdot R})\, R\big].$$
#
# The surrogate $\log \pi \cdot R$ has the right first derivative, but its second derivative is
# $\nabla^2 \log \pi\; R$: the underbraced term is lost. The *magic box* keeps it:
#
# $$\boxed{\ \square(x) = e^{\,x - \bot(x)}\ }, \qquad \nabla \square(\log \pi) =
# \square(\log \pi)\, \nabla \log \pi .$$
#
# $\bot$ is the stop-gradient (`detach`): $\bot(x)$ has the value of $x$ and the derivative 0. So the box
# has the value 1, and every derivative reproduces the box, ready to be differentiated again: the surrogate
# $\square(\log \pi)\, R$ has all derivatives right, in expectation.
#
# An estimate $\hat h$ of a hypergradient $h$ is judged by its **mean squared error**, the sum of the squared
# bias and the variance:
#
# $$\mathbb E\big[(\hat h - h)^2\big] = \big(\mathbb E[\hat h] - h\big)^2 + \operatorname{Var}[\hat h].$$

# %% [markdown]
# ## From scratch: one coin
#
# The smallest example needs no sampling. A coin shows heads with probability $\sigma(\theta)$; heads pays 4,
# tails 1. We sum over both outcomes, weighted by their (constant) probabilities, so what is printed is the
# *expectation* of each surrogate's derivatives, without noise. In the lower half of the table 10 is
# added to both rewards. That cannot change any derivative of the expected reward.


# %%
def box(x):
    return (x - x.detach()).exp()


def expected(surrogate, theta, R):
    """Expectation of a surrogate over both outcomes of the coin."""
    log_pi = torch.nn.functional.logsigmoid(torch.stack((theta, -theta)))
    return (log_pi.exp().detach() * surrogate(log_pi, R)).sum()


def derivatives(function, theta):
    """The first and the second derivative, as cells of a table."""
    first = grad(function)
    return f"{first(theta):.4f} | {grad(first)(theta):.4f} |"


coin = torch.tensor(-1.0)
rows = ["| function | rewards | first derivative | second derivative |", "|-|-|-|-|"]
for paid in (torch.tensor([4.0, 1.0]), torch.tensor([14.0, 11.0])):
    functions = {
        "expected reward": lambda x: torch.stack((x, -x)).sigmoid() @ paid,
        "log π · R": lambda x: expected(lambda log_pi, R: log_pi * R, x, paid),
        "box(log π) · R": lambda x: expected(lambda lp, R: box(lp) * R, x, paid),
    }
    for name, function in functions.items():
        rows.append(f"| {name} | {paid.tolist()} | {derivatives(function, coin)}")
display(Markdown("\n".join(rows)))

# %% [markdown]
# The first derivatives agree. The second derivative of `log π · R` has the wrong sign here, and it depends on
# a constant that has no meaning. The box has it right.
#
# ## From scratch: a game with an exact answer
#
# Two neighbors of lesson 5: each has a harvest of 1 and may dig a ditch. Digging costs the digger 1, and adds
# 3 to the harvest of the other. Both give the share $\varphi$ of their harvest to each other. $\theta_i$ is
# agent $i$'s log-odds of digging. Initially they rarely dig. They take $K = 4$ policy gradient steps, each on
# its own shared reward; $F$ is the welfare (the sum of both harvests) after that. Every tensor has a first
# axis for independent *draws* of the whole computation; here there is one.

# %%
COST, BENEFIT = 1.0, 3.0
START, RATE, STEPS, SHARE = -2.0, 2.0, 4, 0.5


def harvests(digs):
    """Rewards of actions or of their probabilities, [draw, agent, ...]."""
    return 1 - COST * digs + BENEFIT * digs.flip(1)


def after_sharing(rewards, phi):
    given = phi.reshape(-1, *[1] * (rewards.ndim - 1))
    return (1 - given) * rewards + given * rewards.flip(1)


def ascend(values, theta, rate=RATE):
    """One step, in which agent i follows the gradient of its values(theta)[:, i]."""
    own = [grad(lambda theta: values(theta)[:, i].sum())(theta)[:, i] for i in (0, 1)]
    return theta + rate * torch.stack(own, -1)


def exact_welfare(phi, steps=STEPS, rate=RATE):
    """Welfare after exact learning, [draw], for shares phi, [draw]."""
    theta = torch.full((len(phi), 2), START)
    for _ in range(steps):
        theta = ascend(lambda x: after_sharing(harvests(x.sigmoid()), phi), theta, rate)
    return harvests(theta.sigmoid()).sum(1)


phi = torch.tensor([SHARE])
exact = float(grad(lambda phi: exact_welfare(phi).sum())(phi))
print(f"welfare after learning {float(exact_welfare(phi)):.4f}")
print(f"exact hypergradient    {exact:.4f}")

# %% [markdown]
# ## From scratch: the same from samples
#
# Now we may only sample. An episode has one or more `rounds`; rewards are divided by their number, so that
# the exact hypergradient is the same for every length. The axes are [draw, agent, round, episode]. As
# in any implementation of policy gradients, the code does not know that the rounds are independent: an action
# is credited with all rewards from its round on (the *return to go*). The **baseline** of an episode is the
# mean return to go of the *other* episodes (leave-one-out): an episode's own return would bias the estimate.


# %%
def sample(theta, episodes, rounds, generator):
    """Actions, 1 where an agent digs: [draw, agent, round, episode]."""
    shape = (*theta.shape, rounds, episodes)
    uniform = torch.rand(shape, generator=generator)
    return (uniform < theta[..., None, None].sigmoid()).double()


def log_probabilities(theta, digs):
    return torch.nn.functional.logsigmoid((2 * digs - 1) * theta[..., None, None])


def to_go(rewards):
    return rewards.flip(-2).cumsum(-2).flip(-2)


def leave_one_out(returns):
    return (returns.sum(-1, keepdim=True) - returns) / (returns.shape[-1] - 1)


# %% [markdown]
# Three surrogates. `own` is the log probability of the agent's own action, `joint` that of all agents'
# actions: the distribution of episodes depends on *both* policies, and in the second derivative the effect of
# one agent on the gradient of the other matters. (Agents that use this effect *shape* each other, lesson 12.)
# In DiCE a reward depends on all actions up to its round, hence the cumulative sum. The term with the
# baseline is 0 on average in every derivative, but correlated with the rest, and reduces the variance of the
# first derivative. Loaded DiCE multiplies the *advantage* $A_t = G_t - b_t$ of each round by the part of the
# box that this round adds. So the baseline reduces the variance of all derivatives.


# %%
def reinforce(own, joint, rewards):
    returns = to_go(rewards)
    return (own * (returns - leave_one_out(returns))).sum(-2).mean(-1)


def dice(own, joint, rewards):
    baseline = leave_one_out(to_go(rewards))
    terms = box(joint.cumsum(-2)) * rewards + (1 - box(joint)) * baseline
    return terms.sum(-2).mean(-1)


def loaded_dice(own, joint, rewards):
    returns, so_far = to_go(rewards), joint.cumsum(-2)
    advantages = returns - leave_one_out(returns)
    added = box(so_far) - box(so_far - joint)
    return (returns[..., 0, :] + (added * advantages).sum(-2)).mean(-1)


# %% [markdown]
# The hypergradient: sample, take a step through the surrogate, and repeat. The last batch of episodes is for
# the outer objective, and needs a surrogate, too: its episodes depend on the final policies. `phi` has one
# entry for each draw; draws do not interact, so one backward pass gives all their hypergradients.


# %%
def value_of(theta, digs, rewards, surrogate):
    own = log_probabilities(theta, digs)
    joint = own.sum(1, keepdim=True).expand_as(own)
    return surrogate(own, joint, rewards)  # [draw, agent]


def step_on(theta, phi, digs, surrogate, rate=RATE):
    """One policy gradient step on sampled episodes."""
    rewards = after_sharing(harvests(digs) / digs.shape[-2], phi)
    return ascend(lambda x: value_of(x, digs, rewards, surrogate), theta, rate)


def welfare_on(theta, digs, surrogate):
    """The outer surrogate, [draw]: the episodes depend on both final policies."""
    rewards = harvests(digs).sum(1, keepdim=True) / digs.shape[-2]
    joint = log_probabilities(theta, digs).sum(1, keepdim=True)
    return surrogate(joint, joint, rewards)[:, 0]


def sampled(surrogate, draws, episodes, rounds=1, steps=STEPS, rate=RATE, seed=0):
    """Independent estimates of the hypergradient, [draw]."""
    generator = torch.Generator().manual_seed(seed)
    phi = torch.full((draws,), SHARE, requires_grad=True)
    theta = torch.full((draws, 2), START)
    for _ in range(steps):
        digs = sample(theta.detach(), episodes, rounds, generator)
        theta = step_on(theta, phi, digs, surrogate, rate)
    digs = sample(theta.detach(), episodes, rounds, generator)
    welfare = welfare_on(theta, digs, surrogate)
    return torch.autograd.grad(welfare.sum(), phi)[0]


# %% [markdown]
# `measure` compares estimates with the exact number, everything relative to it: the bias with half its 95 %
# interval, the standard deviation of *one* estimate, and the root mean squared error (RMSE).


# %%
def measure(found, truth=exact):
    """Bias, its margin (1.96 standard errors), deviation and RMSE, relative."""
    errors = found / truth - 1
    margin = 1.96 * errors.std() / len(errors) ** 0.5
    parts = errors.mean(), margin, errors.std(), errors.square().mean().sqrt()
    return [float(part) for part in parts]


MANY = size(1000, fast=10)
FUNCTIONS = {"reinforce": reinforce, "dice": dice, "loaded-dice": loaded_dice}
rows = ["| surrogate | updates | bias | deviation | RMSE |", "|-|-|-|-|-|"]
for steps in (1, STEPS):
    truth = grad(lambda phi: exact_welfare(phi, steps).sum())(phi)
    for name, surrogate in FUNCTIONS.items():
        found = sampled(surrogate, MANY, 256, steps=steps)
        bias, margin, deviation, error = measure(found, truth)
        numbers = f"{bias:+.1%} ± {margin:.1%} | {deviation:.1%} | {error:.1%} |"
        rows.append(f"| {name} | {steps} | {numbers}")
display(Markdown("\n".join(rows)))

# %% [markdown]
# * **Through one update all three agree**, digit by digit: only first derivatives with respect to $\theta$
#   are needed. If your hypergradient goes through a single sampled update, plain policy gradients are enough:
#   as they were in lesson 11.
# * **Through four updates `reinforce` is biased**, far beyond its margin. The other two are not. In the first
#   figure the bias was positive, here it is negative: the sign depends on the game and on the policies.
# * With one round, `dice` with its baseline and `loaded-dice` are the same formula. They differ for longer
#   episodes, below.

# %% [markdown]
# ## The library's version
#
# The same with the library: a `BilevelProblem` whose data are the sampled episodes, the estimator `Unrolled`
# of lesson 1, and the surrogates of `bilevel.agents`. `inner_data` is called with the current policies,
# without gradients. The library minimizes, hence the minus sign. It takes a mask (1 while an episode runs)
# and a discount.

# %%
from bilevel import BilevelProblem, Unrolled
from bilevel.agents import SURROGATES as LIBRARY


def problem_of(name, episodes, rounds=1, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def surrogate(own, joint, rewards):
        return LIBRARY[name](own, joint, rewards, torch.ones_like(rewards), 1.0)

    def draw(theta, *_):
        return sample(theta, episodes, rounds, generator)

    def step(theta, state, phi, digs):
        return step_on(theta, phi, digs, surrogate), state

    return BilevelProblem(
        step=step,
        outer_loss=lambda theta, phi, digs: -welfare_on(theta, digs, surrogate),
        inner_data=draw,
        outer_data=draw,
    )


start = torch.full((3, 2), START), None, torch.full((3,), SHARE)
for name, surrogate in FUNCTIONS.items():
    estimate = Unrolled()(problem_of(name, 64, rounds=5), *start, steps=STEPS)
    ours = sampled(surrogate, 3, 64, rounds=5)
    same = torch.allclose(-estimate.gradient, ours, rtol=0, atol=1e-10)
    print(f"{name:12} {(-estimate.gradient).tolist()[0]:.8f}   the same: {same}")

# %% [markdown]
# In a training run `--inner.surrogate loaded-dice` selects the surrogate; `bilevel check` compares estimators
# on a game.
#
# ## Evolution strategies
#
# $\hat F(\varphi)$ is the welfare measured after *sampled* learning with the share $\varphi$. Draw
# $\varepsilon \sim \mathcal N(0, 1)$, and run the learning for $\varphi + \sigma \varepsilon$ and for
# $\varphi - \sigma \varepsilon$ (an *antithetic* pair), with new episodes for each:
#
# $$\hat h = \text{mean over pairs of}\quad
# \varepsilon\,\frac{\hat F(\varphi + \sigma \varepsilon) - \hat F(\varphi - \sigma \varepsilon)}{2 \sigma}.$$
#
# No second derivative occurs, only policy gradients, so `reinforce` suffices inside. Its errors: the noise of
# $\hat F$ divided by $\sigma$, and a smoothing bias that grows with $\sigma$. A pair takes $2 (K + 1)$
# batches of episodes, so it is compared with the others at equal *total* numbers of episodes.


# %%
def noisy_welfare(phi, episodes, generator, steps=STEPS):
    """Welfare measured after sampled learning, [draw], for shares phi, [draw]."""
    theta = torch.full((len(phi), 2), START)
    for _ in range(steps):
        digs = sample(theta, episodes, 1, generator)
        theta = step_on(theta, phi, digs, reinforce)
    return harvests(sample(theta, episodes, 1, generator)).mean((-2, -1)).sum(1)


def evolution(draws, pairs, episodes, sigma=0.1, seed=0):
    """Independent estimates of the hypergradient, [draw]."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(draws * pairs, generator=generator)
    up = noisy_welfare(SHARE + sigma * noise, episodes, generator)
    down = noisy_welfare(SHARE - sigma * noise, episodes, generator)
    return (noise * (up - down) / (2 * sigma)).reshape(draws, pairs).mean(1)


# %% [markdown]
# The library's `Evolution(members=True, fresh_data=True)` draws separate episodes for every sample. Without
# these settings it would reuse one set of recorded episodes, which does not depend on $\varphi$, and it
# raises an error instead of returning a wrong number.
# Its 256 `samples` are 128 antithetic pairs.

# %%
from bilevel.hypergradient import Evolution

estimator = Evolution(samples=256, sigma=0.1, members=True, fresh_data=True)
draws = size(60, fast=3)
start = torch.full((draws, 2), START), None, torch.full((draws,), SHARE)
by_library = -estimator(problem_of("dice", 16), *start, steps=STEPS).gradient
from_scratch = evolution(draws, 128, 16)
for name, found in (("library", by_library), ("from scratch", from_scratch)):
    bias, margin, deviation, _ = measure(found)
    print(f"{name:13} bias {bias:+.1%} ± {margin:.1%}, deviation {deviation:.1%}")

# %% [markdown]
# The two draw different random numbers, so they agree only within their margins, which are those of few
# draws. Here the outer loss of the library's problem has the value of `dice`, the mean return. (The *value*
# of `reinforce` is not a return.)
#
# ## Bias and variance against the number of episodes
#
# The total number of episodes of one hypergradient is on the x-axis. Left, the bias, with its 95 % interval;
# right, the root mean squared error. A line of slope $-1/2$ is pure noise; a horizontal line is pure bias.

# %%
BATCHES = tuple(4**n for n in range(2, size(6, fast=4)))  # 16, 64, 256, 1024
REPEATS = size(600, fast=5)
measured = {}
for name, surrogate in (("reinforce", reinforce), ("loaded-dice", loaded_dice)):
    for n in BATCHES:
        measured[name, n] = measure(sampled(surrogate, REPEATS, n))
for n in BATCHES:
    pairs = max(1, n // 32)  # of two learning runs with 16 episodes for each update
    repeats = min(REPEATS, 100 * REPEATS // n)
    measured["evolution", n] = measure(evolution(repeats, pairs, min(16, n // 2)))

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), sharex=True)
for place, (name, color, dashes, marker) in enumerate(
    (
        ("reinforce", RED, ":", "s"),
        ("loaded-dice", BLUE, "-", "o"),
        ("evolution", GREEN, "--", "D"),
    )
):
    numbers = torch.tensor([measured[name, n] for n in BATCHES])
    total = torch.tensor([(STEPS + 1) * n for n in BATCHES])
    look = {"color": color, "linestyle": dashes, "marker": marker, "label": name}
    beside = total * 1.12 ** (place - 1)
    left.errorbar(beside, 100 * numbers[:, 0], 100 * numbers[:, 1], capsize=3, **look)
    right.plot(total, 100 * numbers[:, 3], **look)
left.axhline(0, color=BLACK, linewidth=1)
left.set(xscale="log", xlabel="episodes for one hypergradient", ylabel="bias (%)")
right.set(xscale="log", yscale="log", xlabel="episodes for one hypergradient")
right.set(ylabel="root mean squared error (%)")
right.set_yticks((3, 10, 30, 100), ("3", "10", "30", "100"))
right.minorticks_off()
figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
plt.show()
for name in ("reinforce", "loaded-dice", "evolution"):
    errors = [f"{measured[name, n][3]:.0%}" for n in BATCHES]
    print(f"{name:12} RMSE for {[(STEPS + 1) * n for n in BATCHES]} episodes: {errors}")

# %% [markdown]
# * **`reinforce` stops improving.** From some number of episodes on its error *is* its bias, which more
#   episodes do not reduce.
# * **`loaded-dice` is limited by noise only**: four times as many episodes halve its error.
# * **A biased estimator can be better.** With the fewest episodes `reinforce` has the smaller error, since
#   its noise is lower. Exercise 2 computes where the lines cross.
# * **`evolution` is the noisiest**: for the error that it reaches with the most episodes, `loaded-dice` needs
#   about a sixteenth of them. And this is its best case, a single outer variable: its variance grows with
#   their number. Use it where a step cannot be differentiated.
#
# One more bias concerns all estimators, and is a few percent here: noisy steps lead to other policies
# than exact steps, and the welfare is not linear in the policies. It decreases as 1 / episodes.
# (`docs/studies/sampled-hypergradients.md` measures -10 % with 16 episodes in another game.) One can argue
# that the *noisy* learner is the real one, and that evolution strategies differentiate just that.
#
# ## Long episodes: the noise of DiCE
#
# In a long episode DiCE credits every action with rewards that it hardly influences, and its baseline acts on
# first derivatives only. We lengthen the episodes, at the same exact hypergradient. Bars: the standard
# deviation of one estimate from 64 episodes; numbers: its bias.

# %%
LENGTHS = (1, 4, 16)
FEWER = size(200, fast=4)
by_length = {
    (name, rounds): measure(sampled(surrogate, FEWER, 64, rounds))
    for name, surrogate in FUNCTIONS.items()
    for rounds in LENGTHS
}

# %% tags=["hide-input"]
figure, axes = plt.subplots(figsize=(9, 4.2))
for place, (name, (color, _, _)) in enumerate(LOOKS.items()):
    hatch = ("//", "..", "")[place]
    heights = [100 * by_length[name, rounds][2] for rounds in LENGTHS]
    x = torch.arange(len(LENGTHS)) + 0.27 * (place - 1)
    look = {"color": "white", "edgecolor": color, "hatch": hatch, "linewidth": 2}
    bars = axes.bar(x, heights, 0.24, label=name, **look)
    words = [f"{100 * by_length[name, rounds][0]:+.0f} %" for rounds in LENGTHS]
    axes.bar_label(bars, words, padding=2, fontsize=11)
axes.set_xticks(range(len(LENGTHS)), ["1 round", "4 rounds", "16 rounds"])
axes.set(ylabel="standard deviation (%)", xlabel="length of an episode")
axes.set_ylim(0, 1.12 * axes.get_ylim()[1])
axes.set_title("noise of one estimate from 64 episodes (numbers: bias)")
axes.grid(axis="x", visible=False)
axes.legend(loc="upper left")
plt.show()
bias, margin, _, _ = by_length["dice", LENGTHS[-1]]
print(f"dice with {LENGTHS[-1]} rounds: bias {bias:+.1%} ± {margin:.1%}")

# %% [markdown]
# In longer episodes the noise of `dice` grows, while that of the other two decreases. `reinforce` has the
# least noise, and keeps its bias.
#
# ## Baselines
#
# A baseline is a number that is subtracted from every return. It leaves the expectation of the score-function
# estimator unchanged, because $\mathbb E[\nabla \log \pi] = 0$ (the probabilities sum to 1, whatever
# $\theta$ is), and changes its variance. What does the leave-one-out baseline gain here, with one round?


# %%
def reinforce_without(own, joint, rewards):
    return (own * to_go(rewards)).sum(-2).mean(-1)


def dice_without(own, joint, rewards):
    return (box(joint.cumsum(-2)) * rewards).sum(-2).mean(-1)


rows, noise = ["| surrogate | baseline | bias | deviation |", "|-|-|-|-|"], {}
for name, baseline, surrogate in (
    ("reinforce", "none", reinforce_without),
    ("reinforce", "leave-one-out", reinforce),
    ("dice", "none", dice_without),
    ("dice", "leave-one-out", dice),
):
    bias, margin, deviation, _ = measure(sampled(surrogate, MANY, 256))
    numbers = f"{bias:+.1%} ± {margin:.1%} | {deviation:.1%}"
    rows.append(f"| {name} | {baseline} | {numbers} |")
    if name == "dice":
        noise[baseline] = deviation
display(Markdown("\n".join(rows)))
saved = (noise["none"] / noise["leave-one-out"]) ** 2
print(f"dice without its baseline needs {saved:.1f} times as many episodes")

# %% [markdown]
# For `dice` the baseline saves most of the episodes. It also changes the *bias* of `reinforce`: the lost term
# is multiplied by the return, as the coin showed with its added constant, so a smaller return loses less. But
# the leave-one-out baseline does not remove the bias: about a fifth is left.
#
# ## Play
#
# Bias (bar) and standard deviation (line) of one estimate with each of the three surrogates. When is the
# biased `reinforce` the best estimator? Try few episodes, long episodes, and a small learning rate.


# %% tags=["hide-input"]
def play(updates, rounds, log2_episodes, rate):
    draws, episodes = size(60, fast=4), 2**log2_episodes
    truth = grad(lambda phi: exact_welfare(phi, updates, rate).sum())(phi)
    figure, axes = plt.subplots(figsize=(8, 4))
    names = []
    for place, (name, surrogate) in enumerate(FUNCTIONS.items()):
        color, hatch = LOOKS[name][0], ("//", "..", "")[place]
        found = sampled(surrogate, draws, episodes, rounds, updates, rate)
        bias, _, deviation, error = (100 * number for number in measure(found, truth))
        look = {"color": "white", "edgecolor": color, "hatch": hatch, "linewidth": 2}
        axes.bar(place, bias, 0.5, **look)
        axes.errorbar(place, bias, deviation, color=color, capsize=6, linewidth=2)
        names.append(f"{name}\nRMSE {error:.0f} %")
    axes.axhline(0, color=BLACK, linewidth=1)
    axes.set_xticks(range(3), names)
    axes.set(xlim=(-0.6, 2.6), ylabel="error (%)")
    axes.set_title(f"{episodes} episodes, exact hypergradient {float(truth):.3f}")
    axes.grid(axis="x", visible=False)
    plt.show()


# %%
explore(
    play,
    updates=(1, 6, 1, 4),
    rounds=(1, 12, 1, 8),
    log2_episodes=(3, 7, 1, 5),
    rate=(0.5, 4.0, 0.5, 2.0),
)

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/13_hypergradients_from_samples.py`.
#
# **Exercise 1 (warm up).** A coin shows heads with probability $p = \sigma(\theta)$, which pays `heads`, and
# else pays `tails`. Derive two numbers by hand: the second derivative of the *expected* reward in $\theta$,
# and the expectation of the second derivative of the surrogate $\log \pi \cdot R$. (Use $p' = p (1 - p)$;
# $\log \pi$ has the derivative $1 - p$ for heads and $-p$ for tails.)


# %% tags=["exercise-1"]
def second_derivatives(theta, heads, tails):
    """The true second derivative, and the surrogate's on average."""
    return ...


# %% tags=["check-1"]
check_1(second_derivatives)

# %% [markdown]
# **Exercise 2 (biased or noisy?).** A biased estimator has the relative bias `bias`, and the standard
# deviation `noise` / $\sqrt{n}$ with $n$ episodes. An unbiased one has `more_noise` / $\sqrt{n}$. From how
# many episodes on is the mean squared error of the *unbiased* one smaller? Return the number $n$ (not
# rounded) at which both are equal, and 0 if the unbiased one is never worse.


# %% tags=["exercise-2"]
def crossover(bias, noise, more_noise):
    return ...


# %% tags=["check-2"]
check_2(crossover)

# %% [markdown]
# **Exercise 3 (the best baseline).** The score-function estimator of one parameter is $g = s(a)\,(R(a) - b)$,
# with the score $s = \frac{d}{d\theta} \log \pi$, whose mean is 0. Which constant $b$ minimizes its variance?
# All actions are listed: `probs`, `scores` and `rewards` are tensors of the same length. (Since the mean of
# $g$ does not depend on $b$, minimize $\mathbb E[g^2]$. The answer is not the mean reward.)


# %% tags=["exercise-3"]
def best_baseline(probs, scores, rewards):
    return ...


# %% tags=["check-3"]
check_3(best_baseline)

# %% [markdown]
# **Exercise 4 (evolution with common random numbers).** Write evolution strategies for a vector `phi`,
# [entry]. `F(phi, seed)` is a measured welfare: the integer `seed` determines all its random numbers. Use
# antithetic pairs, let *both members of a pair use the same seed* (common random numbers), and different
# pairs different seeds. What the two members have in common then cancels. Return the estimate, [entry].


# %% tags=["exercise-4"]
def evolution_common(F, phi, sigma, pairs, seed):
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(phi)
    for pair in range(pairs):
        noise = torch.randn(phi.shape, generator=generator)
        total = ...
    return total / pairs


# %% tags=["check-4"]
check_4(evolution_common)

# %% [markdown]
# **For discussion.** (a) Adam divides an outer gradient by its typical size. Which part of the bias of
# `reinforce` does that remove in this lesson, with one outer variable, and which part with many? (b) The
# rewards come from a simulator that can be differentiated (a physics engine, a learned world model). Which of
# the estimators are still needed? (c) A critic predicts returns. Where could it replace the leave-one-out
# baseline, and what happens to the bias if it is wrong?

# %% [markdown]
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. Why is reinforce enough for a hypergradient through one sampled update?</summary>
#
# The outer variable enters the update through the rewards, so the hypergradient contains one derivative of
# the rewards and first derivatives in the policies only. The missing terms belong to second derivatives in
# the policies, which occur from the second update on.
#
# </details>
#
# <details><summary>2. What does the magic box add to the surrogate, if its value is 1?</summary>
#
# Its derivatives: $\nabla \square(\log \pi) = \square(\log \pi)\, \nabla \log \pi$. Differentiated again, the
# box returns another factor $\nabla \log \pi$. That is the effect of $\theta$ on *which* actions are sampled.
#
# </details>
#
# <details><summary>3. When is a biased estimator of the hypergradient the better choice?</summary>
#
# When its squared bias is smaller than the variance that it saves: with few or long episodes, or small
# learning rates (the bias comes from the effect of one update on the gradient of the next). With enough
# episodes the unbiased one is always better.
#
# </details>

# %% [markdown]
# ## What to read
#
# * Foerster and others, *DiCE: the infinitely differentiable Monte Carlo estimator*, arXiv 1802.05098: the
#   magic box.
# * Farquhar, Whiteson and Foerster, *Loaded DiCE: trading off bias and variance in any-order score function
#   estimators for reinforcement learning*, arXiv 1909.10549.
# * Schulman and others, *Gradient estimation using stochastic computation graphs*, arXiv 1506.05254: which
#   surrogate belongs to which mixture of sampled and differentiable parts.
# * Salimans and others, *Evolution strategies as a scalable alternative to reinforcement learning*, arXiv
#   1703.03864.
# * In this toolkit: `docs/studies/sampled-hypergradients.md` (bias and variance on a repeated game),
#   `docs/how-to/choose-estimator.md` (all estimators, also for sampled games), `bilevel.agents`.
# * Next: `14_world_model`.

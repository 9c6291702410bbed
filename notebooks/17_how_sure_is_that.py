# %% [markdown]
# # 17. How sure is that?
#
# **How sure is a result over seeds?**
#
# Train the same method twice with different random seeds, and you get two results. In a social dilemma they
# may be as different as full cooperation and none at all. A comparison of methods is therefore a statement
# about *distributions*, made from a few draws. This lesson measures how often such statements are wrong: how
# often a 95 % interval from 5 seeds contains the true value, how much is gained by giving both methods the
# same seeds, how good the best of 20 equal settings looks, and how many seeds a difference needs.
#
# **Goals.** After this lesson you can compute an interquartile mean and its bootstrap interval, judge how far
# to trust it, pair two methods by seed, correct for several comparisons, avoid the winner's curse, and plan
# the number of seeds before you train.
#
# **Prerequisites.** Lesson 00, and lesson 10 for sweeps. About 45 minutes.

# %% tags=["setup", "hide-input"]
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("bilevel") is None:  # not installed yet, as in Colab
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "bilevel[lessons]"], check=True)

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown, display

import games
from bilevel import Placement
from bilevel.experiments import interquartile_interval, interquartile_mean
from bilevel.experiments import paired_difference_interval
from bilevel.lessons import AMBER, BLACK, BLUE, GRAY, GREEN, RED
from bilevel.lessons import explore, learning_curves, size, use_style
from bilevel.lessons.checks.how_sure_is_that import check_1, check_2, check_3, check_4
from bilevel.methods import Fixed, Selfish

use_style()
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A picture of the answer
#
# Two agents play a stag hunt: together they catch a stag (welfare 6); a hare (welfare 2 for two) needs no
# partner. `selfish` agents keep their whole reward; with `sharing` each gives 10 % to the other. Each seed
# has its own initial policies and sampled episodes. Left: the final welfare of many seeds, a mean of four
# episodes (5 means that one hunt of four failed). Hardly any seed lies between the equilibria, and the mean
# describes no seed at all. Sharing makes the good equilibrium more frequent.

# %% tags=["hide-input"]
SEEDS, UPDATES = size(2000, fast=100), size(60, fast=30)
SAMPLED = {"inner.exact": False, "inner.episodes": 4, "inner.learning_rate": 1.0}
METHODS = {"selfish": Selfish(), "sharing": Fixed(self_interest=0.9)}
RUNS, GAME = {}, games.make("stag-hunt")
for name, method in METHODS.items():
    learner = method.with_settings(SAMPLED).build(GAME, Placement(seeds=SEEDS))
    RUNS[name] = learning_curves(learner, UPDATES)["welfare"][-1]
selfish, sharing = RUNS["selfish"], RUNS["sharing"]


# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
for name, color, hatch in (("selfish", RED, "//"), ("sharing", BLUE, "")):
    percent = torch.full_like(RUNS[name], 100 / SEEDS)
    look = {"facecolor": "none", "edgecolor": color, "hatch": hatch, "linewidth": 2}
    look |= {"label": name, "weights": percent}
    left.hist(RUNS[name], torch.linspace(1.5, 6.5, 21), **look)
    left.axvline(RUNS[name].mean(), color=color, linestyle="--" if hatch else "-")
left.set(xlabel="final welfare", ylabel="seeds (%)")
left.set_title(f"{SEEDS} seeds; lines: means")
left.set_ylim(0, 80)
left.legend(loc="upper left")
truth = float(interquartile_mean(sharing) - interquartile_mean(selfish))
studies = []
for study in range(16):
    own = slice(5 * study, 5 * study + 5)
    found = paired_difference_interval(sharing[own].numpy(), selfish[own].numpy())
    studies.append([float(part) for part in found])
for study, (estimate, low, high) in enumerate(sorted(studies)):
    correct = low <= truth <= high
    look = {"color": GRAY if correct else RED, "marker": "o" if correct else "X"}
    right.errorbar(estimate, study, xerr=[[estimate - low], [high - estimate]], **look)
right.axvline(truth, color=BLACK, linestyle="--", label=f"all seeds: {truth:.2f}")
right.plot([], [], color=GRAY, marker="o", label="interval contains it")
right.plot([], [], color=RED, marker="X", label="interval misses it")
right.axvline(0, color=BLACK, linewidth=1)
right.set(xlabel="difference of welfare, sharing minus selfish", ylim=(-0.7, 22))
right.set(yticks=(0, 15), yticklabels=("1", "16"), ylabel="study")
right.set_title("16 studies, 5 seeds each")
right.legend(loc="upper right", fontsize=10)
plt.show()
contained = sum(low <= truth <= high for _, low, high in studies)
clear = sum(low > 0 for _, low, _ in studies)
short = sum(high - low < 0.5 for _, low, high in studies)
print(f"of 16 intervals {contained} contain the true difference,", end=" ")
print(f"{clear} are above 0, and {short} are shorter than 0.5")

# %% [markdown]
# We can measure that because the training runs here are small: we train thousands of seeds, treat them as the
# truth, and then play researchers who can afford only a few.
#
# Right: 16 studies of the same question, each with 5 seeds for each method. A dot is the difference of the
# interquartile means in a study, the bar its 95 % interval as the library computes it. In some studies the
# interval is a point at 0: each of the five seeds ended in the same equilibrium with both methods, and the
# bootstrap reports no uncertainty at all. These intervals are wrong, and look like the most precise ones.

# %% [markdown]
# ## The idea in words
#
# * **A result is a distribution over seeds**, and often a *bimodal* one (with two peaks) in games with
#   several equilibria. Show all seeds, or the fraction that succeeds, beside any mean.
# * The **interquartile mean** (IQM), the mean of the middle half, is robust: a few extreme seeds cannot move
#   it far. For the same reason it does not show a rare failure.
# * A **bootstrap interval** treats the seeds that you have as the population, and draws new samples from
#   them. With few seeds this population is poor, and the interval is too short. Its *coverage*, the fraction
#   of studies whose interval contains the truth, can be measured by simulation.
# * **Pairing by seed** (*common random numbers*): if both methods start from the same initial policies, a
#   lucky start is lucky for both, and cancels in the difference. This is the cheapest way to be more sure.
# * **Many comparisons** produce false discoveries, and the *best* of many results is too good on average (the
#   **winner's curse**). Correct for the first, train again with fresh seeds for the second.
# * **Power**, the probability of detecting a difference of a given size, is what the number of seeds buys. It
#   can be computed before the first run.

# %% [markdown]
# ## The key equation
#
# $x_1 \le \ldots \le x_n$ are the sorted results of $n$ seeds, $c = \lfloor n / 4 \rfloor$, and
# $\hat\mu$ the interquartile mean. A bootstrap sample $b$ draws $n$ of the seeds with replacement. The 95 %
# *percentile* interval contains the middle 95 % of the $\hat\mu^{(b)}$:
#
# $$\hat\mu = \frac{1}{n - 2c} \sum_{i = c + 1}^{n - c} x_i, \qquad
# \big[\,q_{2.5\,\%}(\hat\mu^{(b)}),\ q_{97.5\,\%}(\hat\mu^{(b)})\,\big].$$
#
# Two methods with the standard deviation $s$ over seeds and the correlation $\rho$ between the results of the
# same seed: the difference of one pair has the variance $s_d^2 = 2 s^2 (1 - \rho)$. (Unpaired: $\rho = 0$.)
# To detect a mean difference $d$ at the two-sided level 5 % with a power of 80 % one needs
#
# $$\boxed{\ n = (1.96 + 0.84)^2\, \frac{s_d^2}{d^2} = (1.96 + 0.84)^2\, \frac{2 s^2 (1 - \rho)}{d^2}\ }$$
#
# pairs of runs. The two numbers are the 97.5 % and the 80 % quantile of the normal distribution. Half the
# difference needs four times as many seeds.

# %% [markdown]
# ## From scratch
#
# `picks` are the positions of the seeds in each bootstrap sample, [resample, seed]. Leading axes of `values`
# are independent studies.


# %%
def iqm(values):
    """Interquartile mean over the last axis."""
    n = values.shape[-1]
    cut = n // 4
    return values.sort(-1).values[..., cut : n - cut].mean(-1)


def draw_picks(n, resamples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(n, (resamples, n), generator=generator)


def percentiles(estimates):
    """The middle 95 % of bootstrap estimates, [..., resample]."""
    low, high = estimates.quantile(torch.tensor([0.025, 0.975]), dim=-1)
    return low, high


def interval(values, picks):
    return percentiles(iqm(values[..., picks]))


def paired_interval(one, other, picks):
    """Interval of the difference: both results of a seed are drawn together."""
    return percentiles(iqm(one[..., picks]) - iqm(other[..., picks]))


ten = selfish[:10]
low, high = interval(ten, draw_picks(10, 2000))
print("ten seeds:", [round(value, 2) for value in ten.tolist()])
print(f"interquartile mean {iqm(ten):.3f}, interval [{low:.3f}, {high:.3f}]")

# %% [markdown]
# ## The library's version
#
# `interquartile_interval` and `paired_difference_interval` of `bilevel.experiments` do the same for NumPy
# arrays. With the same picks (the library draws them with NumPy, 200 resamples at a time) all numbers agree:

# %%
numbers = np.random.default_rng(0)
picks = np.concatenate([numbers.integers(0, 10, (200, 10)) for _ in range(10)])
picks = torch.as_tensor(picks)
for name, library, ours in (
    ("interquartile mean", interquartile_interval(ten.numpy()), interval(ten, picks)),
    (
        "paired difference",
        paired_difference_interval(sharing[:10].numpy(), ten.numpy()),
        paired_interval(sharing[:10], ten, picks),
    ),
):
    estimate, low, high = map(float, library)
    same = abs(low - ours[0]) < 1e-12 and abs(high - ours[1]) < 1e-12
    print(f"{name:18} {estimate:.3f} [{low:.3f}, {high:.3f}]   the same: {bool(same)}")

# %% [markdown]
# (The previous section had other picks, and so another upper bound for the same ten seeds: ten results with
# two values have few possible interquartile means, so the bounds jump.) `over_seeds` and `draw_band` of the
# lessons use these functions, and so do `bilevel compare` and `bilevel sweep`.
#
# ## Coverage: few seeds cover too little
#
# A 95 % interval should contain the truth in 95 % of all studies. We draw many studies of $n$ seeds from a
# population whose IQM we know, and count. One population is normal, the other one is `selfish` above.


# %%
def studies_of(population, count, n, seed=0):
    """Studies of n seeds each, drawn from a population: [..., study, seed]."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(population.shape[-1], (count, n), generator=generator)
    return population[..., chosen]


def coverage(population, n, count, resamples=400):
    """Fraction of studies whose interval contains the IQM of the population."""
    low, high = interval(studies_of(population, count, n), draw_picks(n, resamples, 1))
    truth = iqm(population)
    return float(((low <= truth) & (truth <= high)).double().mean())


NUMBERS, STUDIES = (3, 5, 10, 20, 40), size(1000, fast=20)
normal = torch.randn(SEEDS, generator=torch.Generator().manual_seed(2))
POPULATIONS = {"normal": normal, "selfish": selfish}
covered = {
    name: [coverage(population, n, STUDIES) for n in NUMBERS]
    for name, population in POPULATIONS.items()
}

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
for name, color, dashes, marker in (
    ("normal", GRAY, "--", "s"),
    ("selfish", RED, "-", "o"),
):
    percent = [100 * value for value in covered[name]]
    label = "normal distribution" if name == "normal" else "selfish (bimodal)"
    look = {"color": color, "linestyle": dashes, "marker": marker, "label": label}
    left.plot(NUMBERS, percent, **look)
left.axhline(95, color=BLACK, linewidth=1, label="95 % as promised")
left.set(xscale="log", xlabel="seeds n", ylabel="coverage (%)", ylim=(None, 100))
left.set_xticks(NUMBERS, NUMBERS)
left.minorticks_off()
left.legend(loc="lower right")
for n, color, hatch in ((5, AMBER, "//"), (40, BLUE, "")):
    found = iqm(studies_of(selfish, STUDIES, n))
    look = {"facecolor": "none", "edgecolor": color, "hatch": hatch, "linewidth": 2}
    percent = torch.full_like(found, 100 / STUDIES)
    label = f"studies of {n} seeds"
    look |= {"label": label, "weights": percent}
    right.hist(found, torch.linspace(1.6, 6.4, 25), **look)
right.axvline(iqm(selfish), color=BLACK, linestyle="--", label="all seeds")
right.set(xlabel="interquartile mean of a study", ylabel="studies (%)")
right.set(title="selfish", ylim=(0, 33))
right.legend(loc="upper right", fontsize=10)
plt.show()
for name, fractions in covered.items():
    words = [f"{n}: {part:.0%}" for n, part in zip(NUMBERS, fractions, strict=True)]
    print(f"coverage for {name:8} (seeds: coverage) {', '.join(words)}")

# %% [markdown]
# * **With few seeds the interval promises too much.** With 3 seeds it contains the truth much less often than
#   in 95 % of the studies, with 5 somewhat less often, and from about 20 on nearly as often as it promises.
#   (An interval from Student's t distribution corrects this for normal results, not for two modes.) These are
#   intervals of one method. The intervals of the paired differences in the first figure were worse than those
#   for 5 seeds here: with many ties among the pairs, some of them were a point at 0.
# * **With two modes, 5 seeds say little.** Their interquartile means fall anywhere from one equilibrium to
#   the other. The IQM of five discards the lowest and the highest result, so a single success is invisible.
#   Report the fraction of successful seeds, too.
# * The interval describes the variation over *seeds*, and nothing else: other games, settings or
#   implementations may change the result more.
#
# ## Pairing: common random numbers
#
# Seed $i$ gives both methods the same initial policies. We compare the standard deviation of the difference
# with and without pairing, and then the power: the fraction of studies whose interval is above 0.


# %%
def summary(one, other):
    """Correlation, standard deviation of the difference: paired, unpaired."""
    rho = torch.corrcoef(torch.stack((one, other)))[0, 1]
    return rho, (one - other).std(), (one.var() + other.var()).sqrt()


def power(n, count, shift, resamples=400):
    """Fraction of studies that find sharing better; a `shift` separates the pairs."""
    pairs = torch.stack((sharing, selfish.roll(shift)))
    one, other = studies_of(pairs, count, n, seed=n)
    picks = draw_picks(n, resamples)
    other_picks = draw_picks(n, resamples, 1) if shift else picks
    low, _ = percentiles(iqm(one[:, picks]) - iqm(other[:, other_picks]))
    return float((low > 0).double().mean())


rho, paired, unpaired = summary(sharing, selfish)
print(f"correlation of the two results of a seed: {rho:.2f}")
print(f"deviation of a difference: paired {paired:.2f}, unpaired {unpaired:.2f}")
print(f"pairing is worth {(unpaired / paired) ** 2:.1f} times as many seeds")
LARGER = (5, 10, 20, 40, 80)
POWERS = {
    label: [power(n, size(300, fast=10), shift) for n in LARGER]
    for label, shift in (("paired", 0), ("unpaired", 7))
}

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
shown = torch.arange(200 if SEEDS > 200 else SEEDS)
jitter = 0.15 * torch.randn(2, len(shown), generator=torch.Generator().manual_seed(7))
points = selfish[shown] + jitter[0], sharing[shown] + jitter[1]
left.plot(*points, ".", color=BLUE, alpha=0.6)
left.plot((1.5, 6.5), (1.5, 6.5), color=BLACK, linestyle="--", linewidth=1)
left.set(xlabel="welfare, selfish", ylabel="welfare, sharing", aspect="equal")
left.set_title(f"{len(shown)} seeds, with jitter")
for label, color, dashes, marker in (
    ("paired", GREEN, "-", "o"),
    ("unpaired", AMBER, "--", "s"),
):
    percent = [100 * value for value in POWERS[label]]
    look = {"color": color, "linestyle": dashes, "marker": marker, "label": label}
    right.plot(LARGER, percent, **look)
right.axhline(80, color=BLACK, linewidth=1, linestyle=":", label="80 %")
right.set(xscale="log", xlabel="seeds of each method", ylabel="power (%)")
right.set_ylim(0, 103)
right.set_xticks(LARGER, LARGER)
right.minorticks_off()
right.legend(loc="center left")
plt.show()
for label, fractions in POWERS.items():
    words = zip(LARGER, fractions, strict=True)
    print(f"power, {label:8}", ", ".join(f"{n} seeds: {part:.0%}" for n, part in words))

# %% [markdown]
# * Most seeds lie on the diagonal: the seed decides, not the method. The difference comes from the seeds in
#   the upper left corner, which sharing moves from hare to stag. Hardly any seed moves the other way.
# * **Pairing removes what both methods share**, and multiplies the number of seeds for free. Unpaired seeds,
#   or paired ones that are analyzed as if they were not, have far less power from 20 seeds on.
# * With 5 seeds neither analysis finds the difference in more than a few studies. (The paired one finds it
#   even less often: most pairs are ties, so that many resamples show no difference.)
# * Pairing needs a correlation: here the initial policies decide. If the randomness of training decides, or
#   if two methods draw random numbers in a different order, $\rho$ may be near 0. Measure it on a few seeds.
#
# ## Many comparisons
#
# Compare 20 settings with a baseline, each at the level 5 %. If *none* of them has an effect, the probability
# of at least one "significant" result is $1 - 0.95^{20}$. **Holm's method** keeps the probability of any
# false discovery at or below $\alpha$: sort the $m$ p-values, and compare the smallest with $\alpha / m$, the
# next with $\alpha / (m - 1)$, and so on; stop at the first that is larger than its threshold. All before it
# count. (A *p-value* is the probability of a result at least as extreme as the one found, if there is no
# effect. Exercise 4 computes one.)
#
# We simulate 20 settings without any effect, with normal test statistics.

# %%
SETTINGS, ALPHA, SIMULATED = 20, 0.05, size(20000, fast=200)
generator = torch.Generator().manual_seed(3)
z = torch.randn(SIMULATED, SETTINGS, generator=generator)
p_values = 2 * torch.special.ndtr(-z.abs())
thresholds = ALPHA / torch.arange(SETTINGS, 0, -1)
uncorrected = (p_values < ALPHA).any(-1).double().mean()
# Holm discovers anything at all if the smallest p-value is below alpha / m
holm_any = (p_values.min(-1).values < thresholds[0]).double().mean()
theory = 1 - (1 - ALPHA) ** SETTINGS
print("studies of 20 settings with a false discovery:")
print(f"uncorrected {uncorrected:.1%} (theory {theory:.1%}), Holm {holm_any:.1%}")

# %% [markdown]
# ## The winner's curse
#
# Now *choose* the best of 20 settings by the mean of 5 seeds, and report its result. To show what selection
# alone does, all 20 settings are the same: `selfish`, with other seeds. How good does the winner look, and
# how good is it with fresh seeds?

# %%
tried = studies_of(selfish, STUDIES * SETTINGS, 5, seed=4)
means = tried.mean(-1).reshape(STUDIES, SETTINGS)
winners = means.max(-1).values  # the reported result of each study
fresh = studies_of(selfish, STUDIES, 5, seed=5).mean(-1)  # the winner, trained again

# %% tags=["hide-input"]
figure, axes = plt.subplots(figsize=(8, 4))
for values, label, color, hatch in (
    (fresh, "the winner with 5 fresh seeds", BLUE, ""),
    (winners, "the winner as reported", RED, "//"),
):
    look = {"facecolor": "none", "edgecolor": color, "hatch": hatch, "linewidth": 2}
    percent = torch.full_like(values, 100 / STUDIES)
    bins = torch.arange(1.6, 6.81, 0.4)
    look |= {"label": f"{label}: mean {values.mean():.2f}", "weights": percent}
    axes.hist(values, bins, **look)
truth = selfish.mean()
look = {"color": BLACK, "linestyle": "--", "label": f"every setting: {truth:.2f}"}
axes.axvline(truth, **look)
axes.set(xlabel="mean welfare of 5 seeds", ylabel="studies (%)")
axes.set_title("the best of 20 equal settings")
figure.legend(loc="outside lower center", ncols=2, fontsize=10)
plt.show()

# %% [markdown]
# So tune on some seeds, and report on others: `bilevel compare --tune` does so by itself. The same applies to
# the choice of a baseline, of the evaluation's time ("the best checkpoint"), and of the figure for the paper.
#
# ## Power: plan the number of seeds
#
# The boxed formula, for differences in units of the standard deviation $s$ of one method:

# %%
QUANTILES = torch.special.ndtri(torch.tensor([0.975, 0.8]))


def seeds_for(d, deviation_of_pairs):
    """Pairs of runs for a power of 80 % at the two-sided level 5 %."""
    return float(QUANTILES.sum() ** 2 * (deviation_of_pairs / d) ** 2)


rows = ["| difference | unpaired | corr. 0.5 | corr. 0.8 | corr. 0.95 |", "|-|-|-|-|-|"]
for d in (2.0, 1.0, 0.5, 0.25):
    deviations = [(2 * (1 - rho)) ** 0.5 for rho in (0, 0.5, 0.8, 0.95)]
    cells = " | ".join(f"{seeds_for(d, deviation):.1f}" for deviation in deviations)
    rows.append(f"| {d} s | {cells} |")
display(Markdown("\n".join(rows)))
found = (sharing - selfish).mean()
print(f"sharing minus selfish: {found:.2f}, so {seeds_for(found, paired):.0f} pairs,")
print(f"or {seeds_for(found, unpaired):.0f} unpaired seeds of each method")
simulated = POWERS["paired"][LARGER.index(40)]
print(f"difference of interquartile means: {iqm(sharing) - iqm(selfish):.2f},", end=" ")
print(f"simulated power of 40 pairs: {simulated:.0%}")
print(f"difference 25, deviation of pairs 88: {seeds_for(25, 88):.0f} pairs")

# %% [markdown]
# The formula applies to the difference of *means*, in the first line. The simulation above uses interquartile
# means, whose difference is larger. It agrees roughly: about as many pairs have a power near 80 %. The
# last line is a plan that is discussed below. The formula is for means of many seeds; for numbers below about
# 10 it is too optimistic, as the coverage above shows. But it gives the order of magnitude *before* training:
#
# * Five unpaired seeds detect differences of about two standard deviations with a power of 80 %, and
#   smaller ones less often. "No significant difference with 5 seeds" is not evidence for equality.
# * **A real plan.** In `docs/studies/world-model.md`, ten seeds left open whether learned loss weights are
#   better than the best hand-set ones: the interval was [-23, +86]. The plan was written down before
#   further runs: the smallest difference worth detecting (25), the deviation of pairs (88, estimated from
#   that interval), hence about 100 *new* pairs, since the best of four variants had been chosen on the old
#   ones (winner's curse), and *one* analysis at the end. The result was +19 [+6, +34]: learned weights are
#   better, although the gain may be smaller than 25.
# * Do not look at the result after every seed and stop when it is significant: that is a multiple comparison,
#   too.
#
# ## From 5 seeds to a sweep on a cluster
#
# Seeds of one run are trained in one batch, which costs little time for small policies: increase `--seeds`
# first. A sweep trains many combinations, each with many seeds, and resumes where it was interrupted:
#
# ```sh
# bilevel sweep --games escape-room --methods tos lio --seeds 100 --seeds-per-run 20 \
#   --sweep tos.outer.learning-rate=0.01,0.03,0.1 --out runs/sweep/rates --dry-run
# ```
#
# With `--dry-run` it prints what it would train and for how long. On a workstation it starts a process for
# each core; the same command with `--launcher slurm` (or `ray`) submits each run as a job of a cluster. All
# of its tables have the intervals of this lesson. See `docs/how-to/sweeps.md` and `docs/how-to/cluster.md`.
#
# ## Play
#
# 25 studies of two methods with normal results (standard deviation 1), a true difference, and a correlation
# between the results of the same seed. How many seeds do you need to find a difference of 0.5 in most
# studies? What happens for a difference of 0? (The percentage is counted over more studies than are drawn.)


# %% tags=["hide-input"]
def play(seeds, difference, correlation):
    count = size(300, fast=30)
    generator = torch.Generator().manual_seed(6)
    common, one, other = torch.randn(3, count, seeds, generator=generator)
    shared, own = correlation**0.5, (1 - correlation) ** 0.5
    better, baseline = shared * common + own * one, shared * common + own * other
    low, high = paired_interval(better + difference, baseline, draw_picks(seeds, 300))
    figure, axes = plt.subplots(figsize=(8, 4.4))
    for study in range(25):
        clear = bool(low[study] > 0) or bool(high[study] < 0)
        look = {"color": GREEN if clear else GRAY, "linestyle": "-" if clear else "--"}
        axes.plot((low[study], high[study]), (study, study), linewidth=2, **look)
    axes.axvline(0, color=BLACK, linewidth=1)
    axes.axvline(difference, color=BLUE, linestyle=":", label="true difference")
    axes.plot([], [], color=GREEN, label="interval excludes 0")
    axes.plot([], [], color=GRAY, linestyle="--", label="interval contains 0")
    excluded = ((low > 0) | (high < 0)).double().mean()
    axes.set_title(f"{excluded:.0%} of {count} intervals exclude 0")
    axes.set(xlabel="difference of interquartile means", ylabel="study")
    axes.set_xlim(-2.5, 3.5)
    handles = axes.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3)
    plt.show()


# %%
explore(
    play,
    seeds=(3, 60, 1, 10),
    difference=(0.0, 2.0, 0.1, 0.5),
    correlation=(0.0, 0.95, 0.05, 0.5),
)

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots and run the cell below it. The solutions are in
# `solutions/17_how_sure_is_that.py`.
#
# **Exercise 1 (warm up: plan).** How many pairs of runs does a mean difference `d` need, if each method has
# the standard deviation `s` over seeds, and the two results of a seed have the correlation `rho`? Use the
# boxed formula with 1.96 and 0.84, and round up to an integer.


# %% tags=["exercise-1"]
def pairs_needed(d, s, rho):
    return ...


# %% tags=["check-1"]
check_1(pairs_needed)

# %% [markdown]
# **Exercise 2 (Holm's method).** Return for each p-value whether it counts as a discovery, in the order in
# which they were given. (`p_values` is a list; a p-value counts if it is *at most* its threshold.)


# %% tags=["exercise-2"]
def holm(p_values, alpha):
    """Booleans, one for each p-value."""
    return ...


# %% tags=["check-2"]
check_2(holm)

# %% [markdown]
# **Exercise 3 (repair).** A colleague compares two methods that share their seeds, and reports a wide
# interval that contains 0. Find the mistake, and write the function without it. (`picks` are [resample,
# seed], as above; return the lower and the upper bound.)


# %%
def broken(one, other, picks):
    other_picks = picks.flip(0)  # other resamples for the other method
    return percentiles(iqm(one[picks]) - iqm(other[other_picks]))


some_picks = draw_picks(20, 1000)
low, high = broken(selfish[:20] + 0.5, selfish[:20], some_picks)
print(f"every seed is better by 0.5; the colleague: [{low:.2f}, {high:.2f}]")


# %% tags=["exercise-3"]
def repaired(one, other, picks):
    return ...


# %% tags=["check-3"]
check_3(repaired, iqm)

# %% [markdown]
# **Exercise 4 (an exact p-value).** If a method has no effect, the sign of each paired difference is random:
# `+` and `-` are equally probable. So all $2^n$ assignments of signs are equally probable. The p-value of the
# *sign-flip test* is the fraction of assignments whose mean has an absolute value at least as large as the
# observed one (the observed assignment is one of them). Write it for a tensor of differences. What is the
# smallest p-value that 5 seeds can give? (`itertools.product((1, -1), repeat=n)` lists all assignments. Allow
# for rounding: compare with the observed value minus `1e-9`.)


# %% tags=["exercise-4"]
def sign_flip_p(differences):
    return ...


# %% tags=["check-4"]
check_4(sign_flip_p)

# %% [markdown]
# **For discussion.** (a) A paper reports the mean of the top 3 of 10 seeds. What does that estimate? (b) Two
# methods draw random numbers in a different order during training. Does pairing by seed still help, and how
# do you find out? (c) One method wins in 19 of 20 seeds by 0.1, and loses in one by 10. Which summary do you
# report to somebody who deploys it once?

# %% [markdown]
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. Why is a bootstrap interval from 5 seeds too short?</summary>
#
# It resamples the 5 seeds, as if no other result were possible. The population varies more than 5 draws from
# it; in a bimodal population all 5 may even be from the same mode, and the interval is nearly a point.
#
# </details>
#
# <details><summary>2. When does pairing by seed help, and what does it cost?</summary>
#
# When the results of the same seed are positively correlated: the variance of the difference is multiplied by
# $1 - \rho$. It costs nothing, only the same seeds for both methods and an analysis that keeps pairs
# together. With $\rho \le 0$ it does not help.
#
# </details>
#
# <details><summary>3. Why must the best of many settings be trained again with fresh seeds?</summary>
#
# The selection prefers settings whose seeds were lucky. The luck is part of the reported number, but does not
# repeat. Fresh seeds give an unbiased estimate of the chosen setting.
#
# </details>

# %% [markdown]
# ## What to read
#
# * Agarwal and others, *Deep reinforcement learning at the edge of the statistical precipice*, arXiv
#   2108.13264: interquartile means, bootstrap intervals and performance profiles.
# * Colas, Sigaud and Oudeyer, *How many random seeds? Statistical power analysis in deep reinforcement
#   learning experiments*, arXiv 1806.08295.
# * Henderson and others, *Deep reinforcement learning that matters*, arXiv 1709.06560.
# * Holm, *A simple sequentially rejective multiple test procedure*, Scandinavian Journal of Statistics 6,
#   1979.
# * In this toolkit: `docs/how-to/compare-methods.md`, `docs/how-to/sweeps.md`, `docs/how-to/cluster.md`.
# * Next: `18_capstone`.

# %% [markdown]
# # 18. Capstone: reproduce a paper's table
#
# **Can you reproduce a published table, and say how far?**
#
# This is a project for a team of three or four, in two weeks. You choose one published table or figure, write
# down *before the first run* what would count as a reproduction, train, and report what came out, and
# above all what did not. A careful "not reproduced" is worth as many points as a careful "reproduced".
#
# The lesson has the tables to choose from, a plan, roles, the marking scheme, and one complete example in
# miniature: a single row of a table, from the plan to the verdict.
#
# **Goals.** After this project you can turn a claim of a paper into a number with a margin, plan the seeds
# that decide it, register the plan before the runs, and write a report that separates what was reproduced,
# what was not, and what stayed undecided.
#
# **Prerequisites.** Lessons 05, 10 and 17. About 60 minutes to read, two weeks to do.

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

from bilevel import Placement, default_config
from bilevel.experiments import interquartile_interval, paired_difference_interval
from bilevel.lessons import BLACK, BLUE, GRAY, GREEN, RED
from bilevel.lessons import draw_band, explore, learning_curves, over_seeds
from bilevel.lessons import size, use_style
from bilevel.lessons.checks.capstone import check_1, check_2

use_style()

# %% [markdown]
# ## A picture of the answer
#
# The miniature: *Escape Room* with two agents. One must pull a lever, at a cost of 1, so that the other can
# leave through the door, for 10: the optimum of the welfare is 9. Yang and others claim that independent
# (`selfish`) agents fail, and that agents that learn to pay each other (`lio`) come close to the optimum. We
# chose 20 seeds and a margin of 0.45, 5 % of the optimum, before these runs.

# %% tags=["hide-input"]
SEEDS, STEPS, EPISODES = size(20, fast=4), size(200, fast=4), 16
FIRST_SEED = 5000  # neither the seeds of the search nor those of the toolkit's study
PUBLISHED, MARGIN = 9.0, 0.45
CURVES = {}
for name in ("selfish", "lio"):
    config = default_config("escape-room", name)
    method = config.method.with_settings({"inner.episodes": EPISODES})
    learner = method.build(config.game, Placement(seeds=SEEDS))
    CURVES[name] = learning_curves(learner, STEPS, seed=FIRST_SEED)["welfare"]
FINAL = {name: curve[-1].double().numpy() for name, curve in CURVES.items()}

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), width_ratios=(3, 2))
LOOKS = {"selfish": (RED, "--", "s"), "lio": (BLUE, "-", "o")}
steps = range(1, STEPS + 1)
for place, (name, (color, dashes, marker)) in enumerate(LOOKS.items()):
    look = {"label": name, "color": color, "linestyle": dashes}
    draw_band(left, steps, CURVES[name], **look)
    spread = place + np.linspace(-0.25, 0.25, SEEDS)
    look = {"linestyle": "", "marker": marker, "color": color, "fillstyle": "none"}
    right.plot(spread, FINAL[name], **look)
for axes in (left, right):
    band = (PUBLISHED - MARGIN, PUBLISHED + MARGIN)
    axes.axhspan(*band, color=GRAY, alpha=0.3, label="claim and margin")
    axes.set_ylim(-3.5, 10.5)
left.set(xlabel="outer steps", ylabel="welfare of an episode")
left.set_title("interquartile mean, 95 % interval")
left.legend(loc="center right")
right.set_xticks((0, 1), tuple(LOOKS))
right.set(xlabel="method", ylabel="final welfare", xlim=(-0.6, 1.6))
right.set_title(f"each of {SEEDS} seeds")
plt.show()
for name, values in FINAL.items():
    print(f"{name}: {over_seeds(values, 3)}")

# %% [markdown]
# Left: welfare during learning. Right: the final welfare of each seed, a mean of 16 sampled episodes. The
# gray band is the claim with its margin: the interval of `lio` must lie inside the band for the word
# "reproduced". Look at the right panel, too: is there a seed that ends far from the others of its method?
# (Each policy step samples 16 episodes instead of the preset's 64, and learning stops after 200 outer steps
# instead of 300, so that the figure takes seconds.)

# %% [markdown]
# ## The idea in words
#
# * **A claim is not yet a number.** "LIO solves Escape Room" must become: which game, which statistic over
#   seeds, which published value, which margin. Where a paper prints only curves, a known optimum is a fair
#   reference, but say so.
# * **Register the plan before the runs**: a page with the claim, margin, number of seeds, settings, budget of
#   the search, and the analysis. Commit it, so that its date is known. Later changes are allowed, if they are
#   listed.
# * **The margin comes first.** It says which difference would not matter to a reader. Chosen after the
#   results, it proves nothing.
# * **Three verdicts, not two.** An interval that reaches across the edge of the margin decides nothing. "Not
#   significantly different from the published value" is *not* a reproduction: with few seeds it is almost
#   always true.
# * **Search and report on different seeds** (the winner's curse of lesson 17), and give the baseline the same
#   budget of search as the method.
# * **A control** shows what causes the result: the same learner with its outer variables frozen, or without
#   the term that the paper adds (an *ablation*).
# * **Replicate or reproduce?** The same code with the same data is the weakest test, an independent
#   implementation such as this toolkit a stronger one. Each difference from the paper's setting belongs in
#   the report, in a table.

# %% [markdown]
# ## The key equation
#
# $v$ is the published value, $\delta > 0$ the margin, and $[\ell, h]$ your 95 % interval. The decision rule:
#
# $$\boxed{\ \begin{cases}
# \text{reproduced} & \text{if } v - \delta \le \ell \text{ and } h \le v + \delta \quad \text{(inside)} \\
# \text{not reproduced} & \text{if } h < v - \delta \text{ or } \ell > v + \delta \quad \text{(apart)} \\
# \text{undecided} & \text{otherwise.} \end{cases}\ }$$
#
# How many seeds $n$ give a clear verdict with a probability (power) of 80 %? Let $s$ be the standard
# deviation of one run over seeds; the interval of a mean is then about $\pm 1.96\, s / \sqrt n$. The
# published value is a constant here, so only *one* method varies, and there is no factor of 2 as in lesson
# 17. If the truth lies $d$ *beyond the edge* of the margin, "not reproduced" needs
#
# $$n = (1.96 + 0.84)^2\, \frac{s^2}{d^2}$$
#
# seeds. If the truth is exactly $v$, "reproduced" needs $n = (1.96 + 1.28)^2\, s^2 / \delta^2$: the interval
# can miss on two sides, so the 80 % quantile 0.84 is replaced by the 90 % quantile 1.28. In both cases half
# the distance needs four times as many seeds.

# %% [markdown]
# ## The tables to choose from
#
# Each claim is given in the words of this course: read the paper for its numbers first. The hours are a rough
# *budget* for all runs of the team on two cores, with search, control and fresh seeds; one command takes a
# quarter of an hour at most. The study that is named with each claim shows how far the toolkit came. Your
# task is not to repeat it, but to decide a row that it left open, or to vary what it kept fixed.
#
# | | paper | arXiv | what | hours |
# |---|---|---|---|---:|
# | **A** | Willis and others | 2310.12928 | table of minimal reward transfers | 1 |
# | **B** | Yang and others (LIO) | 2006.06051 | curves of welfare in Escape Room | 2 |
# | **C** | Foerster and others (LOLA) | 1709.04326 | cooperation in the iterated prisoner's dilemma | 1 |
# | **D** | Wang and others (gifting) | 2105.06593 | how often risky stag hunts end in hunting | 1 |
# | **E** | Duque and others (advantage alignment) | 2406.14662 | returns in the coin game | 6 |
# | **F** | Flennerhag and others (bootstrapped) | 2109.04504 | rewards on the two-color grid | 6 |
#
# **A. Claim:** the largest share of its reward that each agent can keep so that cooperation is dominant:
# 0.75, 0.6, 0.5 and 0.4286 in the symmetrical prisoner's dilemma of 2 to 5 agents. **Pitfalls:** transfers
# are not unique for more than two agents, and the answer changes if an agent must keep $1/n$. The table is
# exact, so the open part is whether `tos` *learns* the share (`docs/studies/minimal-giving.md`).
#
# **B. Claim:** agents that learn incentives come close to the optimum, 9 in ER(2,1) and 8 in ER(3,2)
# (in Escape Room ER($n$, $m$), $m$ of the $n$ agents must pull the lever).
# **Pitfalls:** incentives are not paid from the giver's reward; the released settings are 50 000 episodes,
# one for each step; single seeds fail (`docs/studies/papers-games.md`).
#
# **C. Claim:** LOLA learners cooperate in the iterated prisoner's dilemma, naive learners defect.
# **Pitfalls:** the two agents see the last actions in swapped order, which released code forgets; it detaches
# a factor of the equation; the random start decides which seeds cooperate
# (`docs/studies/sharing-or-shaping.md`).
#
# **D. Claim:** zero-sum gifts make hunting more frequent in stag hunts of increasing risk. **Pitfalls:** the
# size of the gift decides; results are bimodal; the initial policies decide a part
# (`docs/studies/papers-games.md`).
#
# **E. Claim:** agents leave each other's coins, and resist an agent that takes all. **Pitfalls:** the paper's
# alignment and a causal one differ against takers; the released code trains with earlier agents, which is
# missing here (`docs/studies/coin-game-shaping.md`).
#
# **F. Claim:** on a grid whose rewards swap, an entropy weight tuned by bootstrapped targets earns most, then
# one tuned by meta-gradients (MGRL), then a fixed one. **Pitfalls:** against a tuned constant the toolkit's
# study found the *reverse* order; its batches are larger than the paper's (`docs/studies/self-tuning.md`).
#
# The nearest commands. Each writes a folder of runs, tables and figures; `--seed 5000` keeps your seeds apart
# from those of the studies.
#
# **A**: exact thresholds; then the question whether learning finds them.
#
# ```sh
# bilevel theory --game symmetrical-prisoners-dilemma --game.agents 4
# bilevel train --game prisoners-dilemma --method tos --outer.reset each-outer-step --inner.steps 60 \
#   --inner.learning-rate 40 --inner.entropy-coef 0 --method.cost-weight 0:0,100:2 --outer-steps 400 \
#   --outer.learning-rate 0:0.1,250:0.01 --seed 5000 --seeds 20
# ```
#
# **B**, with the control whose incentives are frozen.
#
# ```sh
# bilevel compare --game escape-room --game.agents 3 --game.levers 2 --seed 5000 --seeds 20 \
#   --methods lio frozen=lio --set frozen.training=curriculum "frozen.training.phases=0-300(moves=policies)"
# ```
#
# **C**, with naive learners as the baseline.
#
# ```sh
# bilevel compare --game repeated-prisoners-dilemma --seed 5000 --seeds 100 --outer-steps 300 \
#   --methods naive=selfish lola=selfish --set lola.rule=lola
# ```
#
# **D**, with a gift of the default size and one of 10.
#
# ```sh
# bilevel compare --game stag-hunt-gifting --game.sucker -6 --seed 5000 --seeds 100 \
#   --methods selfish gifting ten=gifting --set ten.amount=10
# ```
#
# **E**: the study has a further baseline, PPO, and the partner that takes all coins.
#
# ```sh
# bilevel compare --game coin-game --game.view 1 --game.horizon 50 --seed 5000 --seeds 20 --outer-steps 120 \
#   --methods paper=advantage-alignment causal=advantage-alignment --set paper.inner.alignment=paper
# ```
#
# **F**: the study also has MGRL, and a search of the settings.
#
# ```sh
# bilevel tune two-color-grid --weightings fixed bootstrapped --seed 5000 --seeds 10
# ```
#
# `bilevel games`, `bilevel methods` and `--help` behind any command list what can be varied; `bilevel sweep
# --dry-run` prints what a search would train.

# %% [markdown]
# ## Two weeks
#
# | day | work | result at the end of the day |
# |---|---|---|
# | 1 | read the paper twice; choose the row; list its settings | a table: setting, paper, here |
# | 2 | run the nearest command with 3 seeds, only to learn how long it takes | hours for a seed |
# | 3 | a pilot of 5 seeds: standard deviation; power calculation; margin | number of seeds |
# | 4 | write the plan, let another team read it, commit it | **the registered plan** |
# | 5 | search within the planned budget, on seeds 1000, 1001, ... | settings of method and baseline |
# | 6, 7 | the runs on fresh seeds (5000, 5001, ...), and the control | run folders |
# | 8 | analysis, exactly as registered: table with intervals, verdict for each row | **the table** |
# | 9 | the figure: all seeds visible, published value and margin marked | **the figure** |
# | 10 | write the report; repeat one row from the report alone; present it | **the report** |
#
# A day is a working day. If the runs of days 6 and 7 would take more than a night, reduce the number of rows,
# not the number of seeds.
#
# **Roles.** Each role belongs to one person; a team of three merges the first two.
#
# * The **reader** knows the paper: what is claimed, what is missing, every difference in settings.
# * The **planner** owns the plan: margin, power, seeds, the list of deviations from the plan.
# * The **runner** owns commands, folders and the record of every run, failed ones included.
# * The **skeptic** tries to refute the result: control, baseline with the same search budget, one row
#   repeated from the report alone. The skeptic writes the section "What did not reproduce".
#
# **Deliverables.** (1) A *registered plan* of one page with a power calculation, dated before the runs. (2) A
# *table*: published value, yours with a 95 % interval, number of seeds, verdict. (3) *One figure*. (4) A
# *report of two pages*, whose longest section says what did not reproduce, what stayed undecided, and why.
# (5) A script with all commands, from which the table can be made again.

# %% [markdown]
# ## The miniature, step by step
#
# **Step 1: the claim as a number.** Row B, ER(2,1). The numbers of the paper's curves were not available to
# us, so the reference is the optimum, $v = 9$, which the claim approaches. Statistic: the interquartile mean
# (IQM) over seeds of the final welfare. Margin: $\delta = 0.45$. An honest remark: we chose these numbers
# knowing the toolkit's study, trial runs on other seeds, and a run of these seeds with 64 episodes for each
# policy step, and committed no dated plan. As a project, the miniature would lose points for that.
#
# **Step 2: how many seeds?** In the toolkit's study, 19 of 20 seeds ended near 9, and one at -2. This is our
# pilot, although it had more episodes and outer steps: a better pilot has the settings of the runs. The cell
# computes the standard deviation, and what it implies.


# %%
def seeds_for(quantiles, s, distance):
    """Seeds for a clear verdict, not rounded."""
    return quantiles**2 * s**2 / distance**2


pilot = np.array([9.0] * 19 + [-2.0])
s = pilot.std(ddof=1)
print(f"all pilot seeds: s = {s:.2f}, the mean is {pilot.mean():.2f}")
for_mean, for_iqm = (seeds_for(1.96 + 1.28, each, MARGIN) for each in (s, 0.1))
print(f"'reproduced' for the mean: {for_mean:.0f} seeds")
print(f"with s = 0.1, more than the 19 seeds near 9 have: {for_iqm:.1f} seeds")
unseen = 0.95**20
print(f"failures of probability 5 %: in {unseen:.0%} of studies 20 seeds show none")

# %% [markdown]
# Two lessons. First, the *mean* of the pilot is outside the margin: one failure in 20 is enough. For the
# mean, "reproduced" would need hundreds of seeds even if its true value were 9; if the pilot is right, it is
# just beyond the edge, and most studies of that size stay undecided. The IQM drops the 5 worst and the 5 best
# of 20 seeds, so it ignores rare failures, and 20 seeds are plenty. So the plan must say which of the two the
# claim is about, and the report must give the failures beside the IQM. Second, 20 seeds often show no failure
# at all: "20 of 20" is not "always".
#
# Does the formula hold? We simulate studies with normal results, apply the decision rule to each, and count
# verdicts. The left figure has a truth that equals the published value, the right one a truth that is one
# margin beyond the edge ($d = \delta$). The vertical lines are the formulas.


# %%
def regions(low, high, published, margin):
    """Is the interval inside the margin, and is it apart from it?"""
    inside = (low >= published - margin) & (high <= published + margin)
    apart = (high < published - margin) | (low > published + margin)
    return inside, apart


def simulate(n, s, shift, margin, studies):
    """Fractions of studies: reproduced, not reproduced, undecided."""
    generator = torch.Generator().manual_seed(1)
    x = shift + s * torch.randn(studies, n, generator=generator)
    half = 1.96 * x.std(-1) / n**0.5
    inside, apart = regions(x.mean(-1) - half, x.mean(-1) + half, 0.0, margin)
    fractions = [float(part.double().mean()) for part in (inside, apart)]
    return [*fractions, 1 - sum(fractions)]


NUMBERS, STUDIES = (5, 8, 12, 16, 24, 32, 48, 64, 96), size(4000, fast=100)
WORDS = ("reproduced", "not reproduced", "undecided")
SPREAD = 2 * MARGIN  # the standard deviation over seeds is two margins
TRUTHS = {
    "the truth is v": (0.0, 1.96 + 1.28),
    "the truth is one margin beyond the edge": (-2 * MARGIN, 1.96 + 0.84),
}

# %% tags=["hide-input"]
figure, panels = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True)
VERDICT_LOOKS = ((GREEN, "-", "o"), (RED, "--", "s"), (GRAY, ":", "^"))
for axes, (title, (shift, quantiles)) in zip(panels, TRUTHS.items(), strict=True):
    found = [simulate(n, SPREAD, shift, MARGIN, STUDIES) for n in NUMBERS]
    percent = 100 * np.array(found)
    for word, values, looks in zip(WORDS, percent.T, VERDICT_LOOKS, strict=True):
        look = dict(zip(("color", "linestyle", "marker"), looks, strict=True))
        axes.plot(NUMBERS, values, label=word, **look)
    needed = np.ceil(seeds_for(quantiles, SPREAD, MARGIN))
    axes.axvline(needed, color=BLACK, linewidth=1, linestyle="-.")
    axes.axhline(80, color=BLACK, linewidth=1, linestyle="-.")
    axes.set(xscale="log", xlabel="seeds", title=f"{title}: {needed:.0f} seeds")
    axes.set_xticks(NUMBERS, NUMBERS)
    axes.minorticks_off()
panels[0].set(ylabel="verdicts (%)", ylim=(-3, 103))
handles = panels[0].get_legend_handles_labels()
figure.legend(*handles, loc="outside lower center", ncols=3)
plt.show()
for title, (shift, quantiles) in TRUTHS.items():
    n = int(np.ceil(seeds_for(quantiles, SPREAD, MARGIN)))
    fractions = simulate(n, SPREAD, shift, MARGIN, STUDIES)
    words = zip(WORDS, fractions, strict=True)
    print(
        f"{title}, {n} seeds:", ", ".join(f"{word} {part:.0%}" for word, part in words)
    )

# %% [markdown]
# The formulas hold within a few percentage points (each study has to estimate $s$). With few seeds most
# honest verdicts are "undecided", whatever the truth is. That is not a fault of the rule: a few seeds
# cannot tell more.
#
# **Step 3: the runs** were made for the first figure: the presets of the game, but fewer episodes and outer
# steps, seeds that neither study nor search had used, one analysis.
#
# **Step 4: the table.** The interval of the difference is paired by seed.

# %%
interval = interquartile_interval(FINAL["lio"], resamples=500)
gain = paired_difference_interval(FINAL["lio"], FINAL["selfish"])
rows = ["| row | reference | IQM [95 % interval] | mean | seeds within the margin |"]
rows.append("|---|---|---|---|---|")
near = {k: int((abs(x - PUBLISHED) <= MARGIN).sum()) for k, x in FINAL.items()}
for name, reference in (("selfish", "0 or below"), ("lio", "9")):
    values = FINAL[name]
    found = f"{over_seeds(values, 3)} | {values.mean():.2f}"
    rows.append(f"| `{name}` | {reference} | {found} | {near[name]} of {SEEDS} |")
display(Markdown("\n".join(rows)))
print(f"lio minus selfish: {gain.estimate:.2f} [{gain.low:.2f}, {gain.high:.2f}]")

# %% [markdown]
# The IQM of `lio` does not show that single seeds fail: the last two columns do.
#
# **Step 5: what differs from the paper?** 16 episodes for each policy step instead of one; a policy learning
# rate of 0.3 instead of 0.0001; a higher entropy bonus; 200 outer steps; and no curve of the paper
# to compare with, only the optimum.
#
# **Step 6: the verdict**, in one honest sentence, and what it would be for the mean, with the interval
# $\pm 1.96\, s / \sqrt n$:

# %%
mean = FINAL["lio"].mean()
half = 1.96 * FINAL["lio"].std(ddof=1) / SEEDS**0.5
words = []
for low, high in ((interval.low, interval.high), (mean - half, mean + half)):
    inside, apart = regions(low, high, PUBLISHED, MARGIN)
    words.append(WORDS[0] if inside else WORDS[1] if apart else WORDS[2])
bounds = f"[{interval.low:.3f}, {interval.high:.3f}]"
print(f"The near-optimal welfare of LIO in ER(2,1) is {words[0].upper()} for the IQM,")
print(f"whose interval {bounds} was compared with 9 ± {MARGIN}, and {near['lio']} of")
print(f"{SEEDS} seeds are within the margin; but the learning rates differ and a step")
print(f"has {EPISODES} episodes, so the claim was tested and not the paper's training,")
print("no curve of the paper was compared, and single seeds may fail.")
print(f"For the mean, {mean:.2f} [{low:.2f}, {high:.2f}]: {words[1].upper()}.")

# %% [markdown]
# For the mean 20 seeds are too few, as step 2 predicted.
#
# A team would now add the control with frozen incentives (command B), which says whether *learning* to pay is
# the cause, and a row for ER(3,2), where more seeds fail.
#
# **Play.** Choose a number of seeds, a standard deviation, a margin, and how far the truth is from the
# published value. If the truth is at the edge of the margin, does any number of seeds make "reproduced"
# probable?


# %% tags=["hide-input"]
def play(seeds, deviation, margin, distance):
    fractions = simulate(seeds, deviation, distance, margin, size(4000, fast=100))
    figure, axes = plt.subplots(figsize=(8, 3.6))
    for place, (word, part) in enumerate(zip(WORDS, fractions, strict=True)):
        color, hatch = VERDICT_LOOKS[place][0], ("", "//", "..")[place]
        look = {"facecolor": "none", "edgecolor": color, "hatch": hatch, "linewidth": 2}
        axes.barh(place, 100 * part, **look)
        axes.text(100 * part + 1, place, f"{part:.0%}", va="center")
    axes.set_yticks((0, 1, 2), WORDS)
    axes.invert_yaxis()
    axes.set(xlabel="studies (%)", ylabel="verdict", xlim=(0, 112))
    axes.set_title(
        f"{seeds} seeds; the truth is {distance:.1f} from the published value"
    )
    plt.show()


# %%
explore(
    play,
    seeds=(3, 200, 1, 20),
    deviation=(0.1, 3.0, 0.1, 1.0),
    margin=(0.1, 2.0, 0.1, 0.5),
    distance=(0.0, 3.0, 0.1, 0.5),
)

# %% [markdown]
# ## How it is marked
#
# No points depend on whether the table reproduces. Points are lost for a margin chosen after the results, for
# seeds that were left out without a word, and for "not significant" presented as "equal".

# %%
MARKS = {
    "plan, dated before the runs: claim, statistic, margin, analysis": 15,
    "power calculation from a pilot, and the seeds that follow": 10,
    "settings of the paper and here, side by side": 10,
    "search on other seeds; the same budget for the baseline": 10,
    "table: intervals, number of seeds, verdicts by the rule": 15,
    "control or ablation that shows the cause": 10,
    "one figure: all seeds, published value and margin": 10,
    "report: what did not reproduce or stayed undecided, and why": 15,
    "all commands in a script; one row repeated by another member": 5,
}
assert sum(MARKS.values()) == 100
lines = [f"| {part} | {points} |" for part, points in MARKS.items()]
total = f"| **sum** | **{sum(MARKS.values())}** |"
display(Markdown("\n".join(["| part | points |", "|---|---:|", *lines, total])))

# %% [markdown]
# ## Exercises
#
# Both belong in your plan. Put your answer in the place of the dots and run the cell below it. The solutions
# are in `solutions/18_capstone.py`.
#
# **Exercise 1 (the decision rule).** Return one of the three words `"reproduced"`, `"not reproduced"` and
# `"undecided"` for the interval from `low` to `high`. An end exactly at the edge of the margin is inside.


# %% tags=["exercise-1"]
def verdict(low, high, published, margin):
    return ...


# %% tags=["check-1"]
check_1(verdict)

# %% [markdown]
# **Exercise 2 (plan).** You suspect that a published value is too high: the truth is the distance `d` beyond
# the edge of your margin. How many seeds give the verdict "not reproduced" with a power of 80 %, if one run
# has the standard deviation `s` over seeds? Round up to an integer. (The published value is a constant.)


# %% tags=["exercise-2"]
def seeds_needed(s, d):
    return ...


# %% tags=["check-2"]
check_2(seeds_needed)

# %% [markdown]
# **For discussion.** (a) The paper reports the best of three seeds, and no interval. What can you still test?
# (b) Your result is *better* than the published one, beyond the margin. Which verdict is it, and which
# explanations would you check first? (c) After ten seeds the verdict is "undecided", and a day is left. May
# you add ten seeds?

# %% [markdown]
# ## Three questions
#
# Answer each from memory before you open its answer.
#
# <details><summary>1. Why is an interval that contains the published value not a reproduction?</summary>
#
# Three seeds give an interval so wide that it contains nearly everything. A reproduction needs the whole
# interval within the margin: evidence that the difference is small, not a lack of evidence that it is large.
#
# </details>
#
# <details><summary>2. Why does the power calculation here have no factor of 2, unlike in lesson 17?</summary>
#
# The published value is treated as a constant, so only your own mean varies, with the variance $s^2 / n$. The
# difference of two methods has the variances of both. (If the paper gives an interval of its own, its error
# counts, too.)
#
# </details>
#
# <details><summary>3. What does a control with frozen outer variables add to a reproduced value?</summary>
#
# It shows the cause. If the frozen learner reaches the same welfare, the number is reproduced, but not the
# explanation: the learned incentives or shares did not bring it about.
#
# </details>

# %% [markdown]
# ## What to read
#
# * The paper of the table that you chose: arXiv 2310.12928, 2006.06051, 1709.04326, 2105.06593, 2406.14662 or
#   2109.04504.
# * Agarwal and others, *Deep reinforcement learning at the edge of the statistical precipice*, arXiv
#   2108.13264.
# * Henderson and others, *Deep reinforcement learning that matters*, arXiv 1709.06560.
# * In this toolkit, reproductions that say what they did not reach: `docs/studies/papers-games.md`,
#   `docs/studies/coin-game-shaping.md`, `docs/studies/self-tuning.md`, `docs/studies/initial-sharing.md` and
#   `docs/studies/grid-dilemmas.md`.

# %% [markdown]
# # Teacher's guide
#
# **How do you teach these lessons, where do students struggle, and how do you test what they have learned?**
#
# For each lesson: the learning goals, a schedule, common misconceptions with a question to ask in return, and
# two exam questions with answers. Numerical answers are computed in this notebook.

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

from bilevel.lessons import AMBER, BLUE, GRAY, GREEN, PURPLE, RED, SKY, use_style

use_style()
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A picture of the answer: three plans

# %%
PLANS = {  # lesson or break, minutes
    "two hours,\na class": [("0", 10), ("1", 30), ("3", 35), ("break", 5),
        ("4", 30), ("5", 10)],
    "a model with\nseveral losses": [("1", 30), ("2", 35), ("break", 10), ("9", 45)],
    "a day,\na workshop": [
        ("0", 10), ("1", 35), ("3", 35), ("break", 15), ("4", 35), ("5", 45),
        ("lunch", 60), ("6", 40),
        ("8", 35), ("break", 15), ("10: own games", 75),
    ],
}  # fmt: skip
COLORS = dict(
    zip("01234568", (GRAY, BLUE, SKY, RED, GREEN, GREEN, AMBER, PURPLE), strict=True)
)


# %% tags=["hide-input"]
figure, axes = plt.subplots(figsize=(12, 3.2))
for row, plan in enumerate(PLANS.values()):
    start = 0
    for name, minutes in plan:
        pause = name in ("break", "lunch")
        color = "white" if pause else COLORS.get(name[:1], BLUE)
        axes.barh(
            row,
            minutes,
            left=start,
            color=color,
            edgecolor="black",
            alpha=0.45 if not pause else 1,
        )
        label = "" if name == "break" else name
        axes.text(
            start + minutes / 2, row, label, ha="center", va="center", fontsize=11
        )
        start += minutes
axes.set(
    yticks=range(len(PLANS)),
    yticklabels=list(PLANS),
    xlabel="minutes (numbers: lessons; white: breaks)",
)
axes.set(xticks=range(0, 421, 30))
axes.invert_yaxis()
axes.grid(visible=False)
plt.show()
for name, plan in PLANS.items():
    print(
        f"{name.replace(chr(10), ' ')}: {sum(minutes for _, minutes in plan)} minutes"
    )

# %% [markdown]
# ## Two hours, minute by minute
#
# | minute | activity | by |
# |---|---|---|
# | 0 | Lesson 0: the first figure; each student runs one cell | you |
# | 10 | Lesson 1: should $\varphi$ increase or decrease? Vote; then the four estimators | you |
# | 25 | Lesson 1: sliders, until `implicit` has the wrong sign; exercise 1 | pairs |
# | 40 | Lesson 3: ten rounds against the stranger, before any theory | pairs |
# | 50 | Lesson 3: greed, fear, and the learning dynamics of selfish agents; exercise 1 | you, pairs |
# | 75 | Break, with the first figure of lesson 4 on the screen | |
# | 80 | Lesson 4: guess the share, derive $w > 1/3$ together; why learning overshoots | you |
# | 100 | Lesson 4: exercise 1, or the sliders | pairs |
# | 110 | Lesson 5: the first two figures; the exit question below, answered in writing | all |
#
# *The exit question:* "An agent gives half of its reward away. Why does the welfare not decrease, and why may
# it increase?"
#
# ## Before the class
#
# * Run `make lab` on every machine the day before: it downloads some gigabytes once. On Linux, install a CPU
#   build of PyTorch first to keep the download small.
# * `make notebooks` executes all lessons again. Run it if you changed a lesson; otherwise the saved outputs
#   are sufficient.
# * Run all cells before the class. Most take seconds. The slow ones take up to a minute on two cores: in
#   lesson 5 the three schedules, in 6 the first figure and the shifted payoffs, in 9 the baselines, the
#   digits and the world model, in 10 the comparison and the fixed taxes.
# * Without sliders (for instance in a web viewer) every figure is shown for the initial slider values.
# * On slow machines reduce the first number in `size(2000, fast=20)`. `BILEVEL_NOTEBOOKS=fast` reduces all of
#   them, but then the text no longer agrees with the figures.
# * Solutions are in `solutions/`, with a common mistake for most exercises. Checks never show an answer.
#
# Prerequisites: Python, derivatives with the chain rule, a little PyTorch. No game theory, no
# reinforcement learning.

# %% [markdown]
# ## Lesson 1: two levels (35 minutes)
#
# **Goals.** Students can identify the inner and the outer problem in an application of their own; write a
# hypergradient with the chain rule; choose among unrolled, truncated, forward and implicit, and explain the
# error of each.
#
# **Time.** Figure and idea 10, equation 5, from scratch 10, experiment and exercise 1: 10. Exercises 2 and
# 3 are homework.
#
# **Misconceptions, and questions in return.**
#
# * "The outer loss does not contain $\varphi$, so its gradient is 0." → Which quantities in the outer loss
#   depend on $\varphi$?
# * "Implicit is exact, unrolled is an approximation." → Exact for which problem: the outer loss after 10
#   steps, or after infinitely many?
# * "Truncation only makes the gradient smaller." → Look at the printed numbers: which sign? Which terms of
#   the sum are left out?
#
# **Exam.** (1) $g = \frac12(\theta - \varphi)^2$, $f = \frac12(\theta - 1)^2$, rate 0.5, $\theta_0 = 0$,
# $\varphi = 1$, two steps. Give $dF/d\varphi$, its estimate by truncation to one step, and that by implicit
# differentiation at $\theta_2$. (2) You have a single outer variable, and a network that needs
# 10,000 inner steps. Which estimator?
#
# **Answers.** (1) $\theta_2 = \frac34 \varphi$, so that $d\theta_2 / d\varphi$ is 3/4, 1/2 for the last
# step alone, and 1 at the fixed point; each times $\theta_2 - 1$. (2) Forward: exact, and its memory does
# not grow with the number of steps.

# %%
theta = 0.75
for name, derivative in (
    ("unrolled", 0.75),
    ("truncated to 1", 0.5),
    ("implicit", 1.0),
):
    print(f"{name:15} {(theta - 1) * derivative:+.4f}")


def end(phi, theta=0.0):
    for _ in range(2):
        theta = theta - 0.5 * (theta - phi)
    return (theta - 1) ** 2 / 2


print(f"autograd        {torch.func.grad(end)(torch.tensor(1.0)):+.4f}")

# %% [markdown]
# ## Lesson 2: differentiable optimizers (40 minutes)
#
# **Goals.** Students can write an optimizer as a pure function, find where a graph is cut, and test a
# gradient by finite differences.
#
# **Time.** Figure 5, idea and equation 10, three libraries 10, lost gradients 10, exercise 1: 5.
#
# **Misconceptions, and questions in return.**
#
# * "`None` is a bug in PyTorch." → What did `step()` do to the old weights?
# * "If training works, the hypergradient is right." → Which of the variants trained well and gave a wrong
#   number?
# * "Epsilon only prevents division by zero and does not matter." → What is the derivative of
#   $g / (\lvert g\rvert + \varepsilon)$ at $g = 1$?
#
# **Exam.** (1) What is the derivative of Adam's first update at $g = 0.3$, for $\varepsilon = 10^{-8}$ and
# for 0.1? What follows for a loss weight that is learned through one step of Adam? (2) A loop trains well,
# and the learned weight does not change. Name two causes and how to distinguish them.
#
# **Answers.** (1) $\varepsilon / (\lvert g\rvert + \varepsilon)^2$, below; with the small one the gradient
# vanishes. (2) The weights were updated in place (the gradient is `None`), or the gradient vanishes or is
# detached (a number that is 0 or wrong): compare with finite differences.

# %%
for epsilon in (1e-8, 0.1):
    gradient = torch.tensor(0.3)
    slope = torch.func.grad(lambda g: g / (g.abs() + epsilon))(gradient)
    print(
        f"epsilon {epsilon:g}: autograd {slope:.3g}, formula "
        f"{epsilon / (0.3 + epsilon) ** 2:.3g}"
    )

# %% [markdown]
# ## Lesson 3: social dilemmas (35 minutes)
#
# **Goals.** Students can identify greed and fear in four payoffs or Schelling's diagram, find pure Nash
# equilibria, and predict and explain where selfish learning converges.
#
# **Time.** Repeated game first: 10. Figure and idea 10, public goods 5, exercises 1 and 2: 10.
#
# **Misconceptions, and questions in return.**
#
# * "A dilemma arises because people are bad." → Which of the four payoffs would make cooperative people
#   defect?
# * "The Nash equilibrium is the best outcome." → A best response to which policy? Which outcome do both
#   prefer?
# * "In the stag hunt all should cooperate." → If all others cooperate. What if the other agent defects with
#   probability 1/3?
#
# **Exam.** (1) A public goods game with five agents and multiplier 3. Is it a dilemma, of which kind, and
# what is the price of anarchy? (2) $(R, S, T, P) = (4, 1, 3, 2)$: greed, fear, both or neither?
#
# **Answers.** (1) Greed and fear (keeping pays 1 - 3/5 more, whatever the other agents do); the price is 3.
# (2) Fear only: a stag hunt.

# %%
from games.matrix import PublicGoods
from games.theory import dilemma_test, price_of_selfishness

game = PublicGoods(agents=5, k=3)
print(dilemma_test(game))
print("price of anarchy:", price_of_selfishness(game).price_of_anarchy.value)
R, S, T, P = 4, 1, 3, 2
print(f"(4, 1, 3, 2): greed {T > R}, fear {P > S}")

# %% [markdown]
# ## Lesson 4: sharing in the prisoner's dilemma (35 minutes)
#
# **Goals.** Students can explain why a sharing matrix conserves the total reward, derive the minimal share
# for a two-player dilemma, and explain why the share learned for the welfare objective is larger.
#
# **Time.** Guess and derive the share 10, figure 5, why it overshoots 10, experiment and exercise 1: 10.
#
# **Misconceptions, and questions in return.**
#
# * "Giving reduces the reward of the giver, and that of the group." → What is the sum of each row of the
#   matrix? And the sum of all shared rewards?
# * "Agents learn to give 0.8, so 0.8 is needed." → Which term of the objective is better for a smaller share?
# * "Differentiate the sum of all shared rewards." → By conservation that is the welfare. Which gradient does
#   *one* agent follow?
#
# **Exam.** (1) Cleaning costs 1 and saves the *other* 5. From which share on do both clean? (2) Two teams
# learn sharing for the welfare objective, with learning rates 0.1 and 0.01, and report shares of 0.8 and 0.5.
# Which is right?
#
# **Answers.** (1) $5w > 1 - w$, so $w > 1/6$. (2) Neither: above the minimal share the welfare is
# nearly flat, and the final share depends on the learning rate. Add a cost of giving.

# %%
shares = torch.linspace(0, 1, 100001)
cleans = 5 * shares - (1 - shares) > 0
print(f"minimal share: {shares[cleans][0]:.4f} (1/6 = {1 / 6:.4f})")

# %% [markdown]
# ## Lesson 5: learning to share (45 minutes)
#
# **Goals.** Students can distinguish the two senses of "end to end", compare joint, alternating and staged
# training fairly, and test a curriculum with newly initialized policies.
#
# **Time.** Figure and idea 10, key equation and the cut gradient 10, three schedules 10, curriculum 10,
# exercise 1: 5.
#
# **Misconceptions, and questions in return.**
#
# * "End to end means that both are trained at the same time." → What happens if you cut the gradient and
#   still train both at the same time?
# * "The curriculum found a cheaper solution." → Is it a solution for *newly initialized* policies, too? Did
#   you train for long enough?
# * "The learned sharing shows which agents depend on each other." → Many sharing matrices reach the optimum.
#   What does another initialization give?
#
# **Exam.** (1) In the ring digging costs 1, and its benefit for one neighbor is 3. Which share must agents
# give to the neighbor that waters them, and which if they divide it evenly between both neighbors? (2) Why
# is $\partial F / \partial \varphi = 0$, and which term remains?
#
# **Answers.** (1) $3w \ge 1 - w$: 1/4. Evenly, only half of the share has an effect: $\frac32 w \ge 1 - w$:
# 2/5. (2) Sharing conserves the sum; the effect through the agents' *learning* remains.

# %%
for name, fraction in (("to the neighbor that waters it", 1.0), ("evenly", 0.5)):
    pays = 3 * fraction * shares - (1 - shares) >= -1e-9
    print(f"minimal share, {name}: {shares[pays][0]:.4f}")

# %% [markdown]
# ## Lesson 6: incentives and empathy (40 minutes)
#
# **Goals.** Students can describe the payments of a method, their receivers, their cost, and the information
# that they require; explain why agents learn not to make unconditional gifts; and recognize when a method
# depends on the zero point of the payoffs.
#
# **Time.** Figure and idea 15, from scratch 10, shifted payoffs 5, exercises 1 and 2: 10.
#
# **Misconceptions, and questions in return.**
#
# * "Gifts make others cooperate." → Does the gift depend on the other's action?
# * "LIO solves it, so it is the best." → Where does the reward come from? Does it work if givers are charged?
#   (Here it does: see the line below the lesson's table.) Which information does it need?
# * "Empathy is always good." → What does LASE share if the reward is negative?
#
# **Exam.** (1) $(R, S, T, P) = (4, 0, 5, 1)$: what is the smallest payment for cooperating that makes it as
# good as defecting, whatever the other does? (2) Of gifting with paying givers, LIO, LASE and D3C: which
# conserve the total?
#
# **Answers.** (1) The larger of $T - R$ and $P - S$. (2) Gifting and LASE; LIO only if givers are charged.

# %%
R, S, T, P = 4, 0, 5, 1
print("smallest payment:", max(T - R, P - S))

# %% [markdown]
# ## Lesson 8: zero-sum (35 minutes)
#
# **Goals.** Students can compute exploitability, explain why policies cycle and why their average converges,
# and decompose a game into a common and an opposed part.
#
# **Time.** Figure 5, idea and equation 10, random games 5, from opponents to a team 5, exercises 1 and 2: 10.
#
# **Misconceptions, and questions in return.**
#
# * "Learning does not converge, so agents learn nothing." → What about the time-averaged policy?
# * "Sharing always helps." → What is the common part if the total is always 0?
# * "With an exploitability of 0 an agent wins." → Against which policy? What does it guarantee against a weak
#   opponent?
#
# **Exam.** (1) Three agents play a zero-sum game; each keeps 0.6 and divides the rest evenly. What is the
# shared reward of each? (2) What is the derivative of the welfare with respect to the share in a zero-sum
# game?
#
# **Answers.** (1) The reward times $s - (1 - s)/(N - 1) = 0.4$: the same game, learned more slowly. (2) 0.

# %%
rewards = torch.tensor([3.0, -1.0, -2.0])
sharing = torch.full((3, 3), 0.2) + 0.4 * torch.eye(3)
print(
    "rewards",
    rewards.tolist(),
    "shared rewards",
    [round(float(r), 6) for r in rewards @ sharing],
)

# %% [markdown]
# ## Lesson 9: learning loss weights (40 minutes)
#
# **Goals.** Students can add learned weights to their own training loop, explain by a dot product which
# weight increases, and name the fair baselines: a schedule, early stopping, training on the verified data.
#
# **Time.** Figure and equation 10, the tuner 5, baselines 10, noisy labels 10, exercise 1: 5. The world
# model if there is time.
#
# **Misconceptions, and questions in return.**
#
# * "Learned weights are optimal." → For which objective, which horizon, and which data? Which baselines are
#   at least as good?
# * "A loss that is easy to fit should have a large weight." → Which sensor is easy to fit, and why are its
#   measurements wrong?
# * "We do not train on the validation set." → Which data determine the weights?
#
# **Exam.** (1) $\nabla V = (1, 0)$, $\nabla L_1 = (2, 1)$, $\nabla L_2 = (-1, 3)$, learning rate 0.1. Which
# weight increases? (2) A colleague reports an accuracy of 93 % with learned weights and 75 % without, using
# 100 verified images. What is missing?
#
# **Answers.** (1) The derivatives of $V$ are minus the rate times dot products, below: the first weight
# increases, the second decreases. (2) Baselines that use the same 100 images: training on them alone, adding
# them, early stopping. (And the upper bound, and confidence intervals.)

# %%
validation, losses = (
    torch.tensor([1.0, 0.0]),
    torch.tensor([[2.0, 1.0], [-1.0, 3.0]]),
)  # gradients
print(
    "derivatives of V:",
    [round(float(slope), 6) for slope in -0.1 * losses @ validation],
)

# %% [markdown]
# ## Lesson 10: your own game and method (30 minutes, and a project)
#
# **Goals.** Students can write a game and a method, test both against an independent reference, and compare
# methods reproducibly.
#
# **Time.** Figure and steps 10, reading game and method 10, comparison and fixed-tax baseline 10. Exercise 4
# is a good project for teams of two: a game on one page, its dilemma demonstrated by `selfish`, one method,
# one confidence interval.
#
# **Misconceptions, and questions in return.**
#
# * "My method is better in 5 of 5 seeds." → How were the settings tuned? How good is the simplest baseline
#   with the same tuning?
# * "It runs, so the game is right." → Which value do you know without running it?
# * "The interval contains 0, so both are equal." → Or are there too few seeds?
#
# **Exam.** (1) A tax of 0.3 among 4 agents: which share of its reward does an agent give to the others? (2)
# The difference of two methods over 8 seeds is 0.4, with the 95 % interval from -0.2 to 0.9. Report this
# result in one sentence.
#
# **Answers.** (1) $0.3\,(1 - 1/4)$. (2) For instance: "With these settings, 8 seeds do not show which of
# the two is better; the data are compatible with a small loss as well as with a gain of 0.9."

# %%
print(f"share given to the others: {0.3 * (1 - 1 / 4):.3f}")

# %% [markdown]
# ## Grading
#
# In every lesson, a student who understands the figure and the equation can do the first exercise; the last
# one takes an evening. A fair weighting: half for exercises 1 and 2 of the lessons taught, a quarter for
# one discussion question in writing, a quarter for the project of lesson 10. Grade the project by three
# things only: a test that could have failed, a well-tuned baseline, and a sentence on the limitations of
# the result.
#
# ## What to read
#
# * `notebooks/README.md`: how to change a lesson or write a new one.
# * `docs/how-to/choose-estimator.md`, `docs/how-to/compare-methods.md` and `docs/explanation/theory.md`: the
#   background of most questions that students ask.

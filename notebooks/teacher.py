# %% [markdown]
# # For the teacher
#
# **How do you teach these lessons, where do students struggle, and how do you check what they have learned?**
#
# For each lesson: the learning goals, the time it takes, common misunderstandings with a question to ask in
# return, and two exam questions with answers. Numerical answers are computed in this notebook.

# %%
import matplotlib.pyplot as plt
import torch
from lesson import AMBER, BLUE, GRAY, GREEN, PURPLE, RED, SKY, use_style

use_style()
torch.set_default_dtype(torch.float64)

# %% [markdown]
# ## A picture of the answer: three plans

# %%
PLANS = {  # what, minutes
    "two hours,\na class": [("0", 10), ("1", 30), ("3", 35), ("break", 5), ("4", 30), ("5", 10)],
    "a model with\nseveral losses": [("1", 30), ("2", 35), ("break", 10), ("8", 45)],
    "a day,\na workshop": [
        ("0", 10), ("1", 35), ("3", 35), ("break", 15), ("4", 35), ("5", 45), ("lunch", 60), ("6", 40),
        ("7", 35), ("break", 15), ("9: own games", 75),
    ],
}  # fmt: skip
COLORS = dict(zip("01234567", (GRAY, BLUE, SKY, RED, GREEN, GREEN, AMBER, PURPLE), strict=True))
figure, axes = plt.subplots(figsize=(12, 3.2))
for row, parts in enumerate(PLANS.values()):
    start = 0
    for what, minutes in parts:
        pause = what in ("break", "lunch")
        color = "white" if pause else COLORS.get(what[0], BLUE)
        axes.barh(row, minutes, left=start, color=color, edgecolor="black", alpha=0.45 if not pause else 1)
        words = "" if what == "break" else what
        axes.text(start + minutes / 2, row, words, ha="center", va="center", fontsize=11)
        start += minutes
axes.set(
    yticks=range(len(PLANS)), yticklabels=list(PLANS), xlabel="minutes (numbers: lessons; white: breaks)"
)
axes.set(xticks=range(0, 421, 30))
axes.invert_yaxis()
axes.grid(visible=False)
plt.show()
for name, parts in PLANS.items():
    print(f"{name.replace(chr(10), ' ')}: {sum(minutes for _, minutes in parts)} minutes")

# %% [markdown]
# ## Two hours, minute by minute
#
# | minute | what | by |
# |---|---|---|
# | 0 | Lesson 0: the first picture; everybody runs one cell | you |
# | 10 | Lesson 1: in which direction would *you* turn the knob? Vote; then the four estimators | you |
# | 25 | Lesson 1: sliders, until `implicit` points uphill; exercise 1 | pairs |
# | 40 | Lesson 3: ten rounds against the stranger, before any theory | pairs |
# | 50 | Lesson 3: greed, fear, and where selfish learning ends; exercise 1 | you, pairs |
# | 75 | Break, with the first figure of lesson 4 on the screen | |
# | 80 | Lesson 4: guess the share, derive $w > 1/3$ together; why learning overshoots | you |
# | 100 | Lesson 4: exercise 1, or the sliders | pairs |
# | 110 | Lesson 5: its first two figures; the exit question below, on a slip of paper | all |
#
# *The exit question:* "An agent gives half of its reward away. Why is the group not poorer, and why might
# it be richer?"
#
# ## Before the class
#
# * `make lab` on every machine the day before: it downloads some gigabytes once. On Linux, installing a CPU
#   build of PyTorch first keeps the download small.
# * `make notebooks` executes all lessons again: do that if you changed something; otherwise the saved
#   outputs are sufficient.
# * Run all cells before the class. Nearly all take seconds, and sliders redraw in a few; the slow ones take
#   up to a minute on two cores: in lesson 5 the three schedules, in 6 the first figure and the shifted
#   payoffs, in 8 the baselines, the digits and the world model, in 9 the comparison and the taxes set by
#   hand.
# * Without sliders (a viewer on the web) every figure is shown for the initial slider values.
# * Slow machines: reduce the first number in `size(2000, fast=20)`; `BILEVEL_NOTEBOOKS=fast` reduces all of
#   them, but then the figures no longer show what the text says.
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
# **Misunderstandings, and questions in return.**
#
# * "The outer loss does not contain the knob, so its gradient is 0." → Through what does the knob act?
# * "Implicit is exact, unrolled is an approximation." → Exact for which question: an exam after 10 lessons,
#   or after infinitely many?
# * "Truncation only makes the gradient smaller." → Look at the printed numbers: which sign? Which terms of
#   the difference are left out?
#
# **Exam.** (1) $g = \frac12(\theta - \varphi)^2$, $f = \frac12(\theta - 1)^2$, rate 0.5, $\theta_0 = 0$,
# $\varphi = 1$, two steps. Give $dF/d\varphi$, what truncation to one step finds, and what implicit
# differentiation finds at $\theta_2$. (2) You have a single outer variable, and a network that needs
# 10,000 inner steps. Which estimator?
#
# **Answers.** (1) $\theta_2 = \frac34 \varphi$, so that $d\theta_2 / d\varphi$ is 3/4, 1/2 for the last
# step alone, and 1 at the fixed point; each times $\theta_2 - 1$. (2) Forward: exact, and its memory does
# not grow with the number of steps.

# %%
theta = 0.75
for name, moved in (("unrolled", 0.75), ("truncated to 1", 0.5), ("implicit", 1.0)):
    print(f"{name:15} {(theta - 1) * moved:+.4f}")


def end(phi, theta=0.0):
    for _ in range(2):
        theta = theta - 0.5 * (theta - phi)
    return (theta - 1) ** 2 / 2


print(f"by autograd     {torch.func.grad(end)(torch.tensor(1.0)):+.4f}")

# %% [markdown]
# ## Lesson 2: differentiable optimizers (40 minutes)
#
# **Goals.** Students can write an optimizer as a pure function, find where a graph is cut, and test a
# gradient by finite differences.
#
# **Time.** Figure 5, idea and equation 10, three libraries 10, lost gradients 10, exercise 1: 5.
#
# **Misunderstandings, and questions in return.**
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
    print(f"epsilon {epsilon:g}: slope {slope:.3g}, by the formula {epsilon / (0.3 + epsilon) ** 2:.3g}")

# %% [markdown]
# ## Lesson 3: social dilemmas (35 minutes)
#
# **Goals.** Students can identify greed and fear in four payoffs or Schelling's diagram, find pure Nash
# equilibria, and predict where selfish learning converges and why.
#
# **Time.** Ten rounds first: 10. Figure and idea 10, diagram and pot 5, exercises 1 and 2: 10.
#
# **Misunderstandings, and questions in return.**
#
# * "A dilemma is when people are bad." → Which of the four payoffs would you change to make good people
#   defect?
# * "The Nash equilibrium is the best outcome." → Best for whom, given what? What would both prefer?
# * "In the stag hunt everybody should cooperate." → If you are sure that I do. What if there is a
#   probability of 1/3 that I do not?
#
# **Exam.** (1) Five people, a pot whose content is multiplied by 3. Is it a dilemma, of which kind, and
# what is the price of anarchy? (2) $(R, S, T, P) = (4, 1, 3, 2)$: greed, fear, both or neither?
#
# **Answers.** (1) Greed and fear (keeping pays 1 - 3/5 more, whatever the other agents do); the price is 3.
# (2) Fear only: a stag hunt.

# %%
from games.matrix import PublicGoods
from games.theory import dilemma_test, price_of_selfishness

pot = PublicGoods(agents=5, k=3)
print(dilemma_test(pot))
print("price of anarchy:", price_of_selfishness(pot).price_of_anarchy.value)
R, S, T, P = 4, 1, 3, 2
print(f"(4, 1, 3, 2): greed {T > R}, fear {P > S}")

# %% [markdown]
# ## Lesson 4: sharing in the prisoner's dilemma (35 minutes)
#
# **Goals.** Students can explain what a sharing matrix conserves, derive the least share for a two-player
# dilemma, and explain why a learner of pure welfare gives more than that.
#
# **Time.** Guess and derive the share 10, figure 5, why it overshoots 10, experiment and exercise 1: 10.
#
# **Misunderstandings, and questions in return.**
#
# * "Giving makes the giver poorer, and the group too." → What does each row of the matrix sum to? And the
#   sum of all shared rewards?
# * "The learner gives 0.8, so 0.8 is needed." → What in its objective says that less would be better?
# * "Differentiate the sum of all shared rewards." → By conservation that is the welfare. Which gradient
#   does *one* agent follow?
#
# **Exam.** (1) Cleaning costs 1 and saves the *other* 5. From which share on do both clean? (2) Two teams
# learn sharing for the same welfare, with learning rates 0.1 and 0.01, and report shares of 0.8 and 0.5.
# Which is right?
#
# **Answers.** (1) $5w > 1 - w$, so $w > 1/6$. (2) Both and neither: beyond the least share welfare is nearly
# flat, and the final share on a plateau depends on the learning rate. Add a cost of giving.

# %%
shares = torch.linspace(0, 1, 100001)
cleans = 5 * shares - (1 - shares) > 0
print(f"the least share at which cleaning pays: {shares[cleans][0]:.4f}; 1/6 is {1 / 6:.4f}")

# %% [markdown]
# ## Lesson 5: learning to share (45 minutes)
#
# **Goals.** Students can distinguish the two senses of "end to end", compare joint, alternating and staged
# training fairly, and test a curriculum with new policies.
#
# **Time.** Figure and idea 10, key equation and the cut gradient 10, three schedules 10, curriculum 10,
# exercise 1: 5.
#
# **Misunderstandings, and questions in return.**
#
# * "End to end means that both train at the same time." → What happens if you cut the gradient and still
#   train both at once?
# * "The curriculum found a cheaper solution." → Do *new* policies find it, too? Did you train for long
#   enough?
# * "The arrows mean friendship." → Many sharing matrices reach the optimum. What would another
#   initialization give?
#
# **Exam.** (1) In the ring digging costs 1 and is worth 3 to one neighbour. Which share must each give if it
# goes to the neighbour that waters it, and which if it is split evenly between both neighbours? (2) Why is
# $\partial F / \partial \varphi = 0$, and what is left?
#
# **Answers.** (1) $3w \ge 1 - w$: 1/4. Split, only half of it counts: $\frac32 w \ge 1 - w$: 2/5. (2) Sharing
# conserves the sum; what is left is the effect through the agents' *learning*.

# %%
for words, part in (("to the one who waters it", 1.0), ("split evenly", 0.5)):
    pays = 3 * part * shares - (1 - shares) >= -1e-9
    print(f"{words}: from a share of {shares[pays][0]:.4f} on")

# %% [markdown]
# ## Lesson 6: incentives and empathy (40 minutes)
#
# **Goals.** Students can describe what a method pays, to whom, at whose cost and with which information;
# explain why unconditional gifts are unlearned; and recognize when a method depends on the zero point of
# the payoffs.
#
# **Time.** Figure and idea 15, from scratch 10, where is zero 5, exercises 1 and 2: 10.
#
# **Misunderstandings, and questions in return.**
#
# * "Gifts make others cooperate." → Does the gift depend on what the other did?
# * "LIO solves it, so it is the best." → Where does the money come from? Would it work if givers paid?
#   (Here it would: see the line under the lesson's table.) Which information does it need?
# * "Empathy is always good." → What does gratitude give away if my reward is a loss?
#
# **Exam.** (1) $(R, S, T, P) = (4, 0, 5, 1)$: what is the smallest payment for cooperating that makes it as
# good as defecting, whatever the other does? (2) Of gifting with paying givers, LIO, LASE and D3C: which
# conserve the total?
#
# **Answers.** (1) The larger of $T - R$ and $P - S$. (2) The first and the third; LIO if givers are charged.

# %%
R, S, T, P = 4, 0, 5, 1
print("the least payment:", max(T - R, P - S))

# %% [markdown]
# ## Lesson 7: zero-sum (35 minutes)
#
# **Goals.** Students can compute exploitability, explain what cycles and what converges, and decompose a
# game into a common and an opposed part.
#
# **Time.** Figure 5, idea and equation 10, unexploitable? 5, opponents to a team 5, exercises 1 and 2: 10.
#
# **Misunderstandings, and questions in return.**
#
# * "It does not converge, so nothing was learned." → What about the time-averaged policy?
# * "Sharing always helps." → What is the common part if the total is always 0?
# * "An exploitability of 0 means that one wins." → Against whom? What does it guarantee against a weak
#   opponent?
#
# **Exam.** (1) Three agents, zero-sum; each keeps 0.6 and splits the rest. What happens to every
# reward? (2) What is the derivative of welfare in the share given, in a zero-sum game?
#
# **Answers.** (1) It is multiplied by $s - (1 - s)/(N - 1) = 0.4$: the same game, learned more slowly. (2) 0.

# %%
rewards = torch.tensor([3.0, -1.0, -2.0])
sharing = torch.full((3, 3), 0.2) + 0.4 * torch.eye(3)
print("rewards", rewards.tolist(), "become", [round(float(r), 6) for r in rewards @ sharing])

# %% [markdown]
# ## Lesson 8: learning loss weights (40 minutes)
#
# **Goals.** Students can add learned weights to a training loop of their own, explain by a dot product
# which loss gains weight, and name the fair baselines: a schedule, early stopping, training on the checked
# data.
#
# **Time.** Figure and equation 10, the tuner 5, baselines 10, noisy labels 10, exercise 1: 5. The world
# model if there is time.
#
# **Misunderstandings, and questions in return.**
#
# * "Learned weights are optimal." → For which objective, how many steps ahead, and on which data? Which
#   baselines did they not beat?
# * "A loss that is easy to fit deserves weight." → Which sensor was easy to fit, and what was wrong with it?
# * "The validation set is untouched, we do not train on it." → What were the weights learned from?
#
# **Exam.** (1) $\nabla V = (1, 0)$, $\nabla L_1 = (2, 1)$, $\nabla L_2 = (-1, 3)$, rate 0.1. Which weight
# rises? (2) A colleague reports 93 % with learned weights and 75 % without, using 100 checked images.
# What is missing?
#
# **Answers.** (1) The slopes of $V$ are minus the rate times dot products, below: the first weight rises,
# the second falls. (2) Baselines that use the same 100 images: training on them alone, adding them, early
# stopping. (And the upper bound, and confidence intervals.)

# %%
wish, pulls = torch.tensor([1.0, 0.0]), torch.tensor([[2.0, 1.0], [-1.0, 3.0]])
print("slopes of V in both weights:", [round(float(slope), 6) for slope in -0.1 * pulls @ wish])

# %% [markdown]
# ## Lesson 9: your own game and method (30 minutes, and a project)
#
# **Goals.** Students can write a game and a method, test both against an independent reference, and compare
# methods so that others can question and reproduce the result.
#
# **Time.** Figure and steps 10, reading game and method 10, comparison and hand-set baseline 10. Exercise 4
# is a good project for teams of two: a game on one page, its dilemma demonstrated by `selfish`, one method,
# one confidence interval.
#
# **Misunderstandings, and questions in return.**
#
# * "My method wins, 5 seeds of 5." → With whose settings? What does the simplest baseline reach with the
#   same tuning?
# * "It runs, so the game is right." → Which value do you know without running it?
# * "The interval contains 0, so both are equal." → Or are there too few seeds to tell?
#
# **Exam.** (1) A tax of 0.3 among 4 agents: which share of its reward goes to the other agents? (2) The
# difference of two methods over 8 seeds is 0.4, with the 95 % interval from -0.2 to 0.9. Write one honest
# sentence.
#
# **Answers.** (1) $0.3\,(1 - 1/4)$. (2) For instance: "With these settings, 8 seeds do not show which of
# the two is better; the data are compatible with a small loss as well as with a gain of 0.9."

# %%
print(f"goes to others: {0.3 * (1 - 1 / 4):.3f}")

# %% [markdown]
# ## Marking
#
# In every lesson the first exercise can be done by everybody who has understood the figure and the
# equation; the last one takes an evening. A fair weighting: half for exercises 1 and 2 of the lessons
# taught, a quarter for one discussion question in writing, a quarter for the project of lesson 9. For the
# project, ask for three things and mark nothing else: a test that could have failed, a baseline with a fair
# chance, and a sentence on what was not shown.
#
# ## What to read
#
# * `notebooks/README.md`: how lessons are made, in case you want to change one, or write a tenth.
# * `docs/how-to/choose-estimator.md`, `docs/how-to/compare-methods.md` and `docs/explanation/theory.md`: the
#   background of most questions that students ask.

# %% [markdown]
# # Teacher's guide
#
# **How do you teach these lessons, where do students struggle, and how do you test what they have learned?**
#
# Each lesson from 1 on has a section with its learning goals, a schedule, common misconceptions, each with a
# question to ask in return, and exam questions with answers. Numerical answers are computed in this notebook.

# %% tags=["setup", "hide-input"]
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
#
# A semester takes one lesson a week: 0 to 10 in the first ten weeks (0 and 1 together), 17 and three of 11
# to 16 by interest, and the capstone, 18, which needs 17, in the last two weeks.

# %%
PLANS = {  # lesson or break, minutes
    "two hours,\na class": [
        ("0", 10), ("1", 30), ("3", 35), ("break", 5), ("4", 30), ("5", 10),
    ],
    "a model with\nseveral losses": [
        ("1", 30), ("2", 35), ("break", 10), ("9", 45),
    ],
    "a day,\na workshop": [
        ("0", 10), ("1", 35), ("3", 35), ("break", 15), ("4", 35), ("5", 45),
        ("lunch", 60), ("6", 35), ("8", 35), ("break", 15), ("10: own games", 75),
    ],
}  # fmt: skip
COLORS = {"0": GRAY, "1": BLUE, "2": SKY, "3": RED, "4": GREEN, "5": GREEN}
COLORS |= {"6": AMBER, "8": PURPLE}


# %% tags=["hide-input"]
figure, axes = plt.subplots(figsize=(12, 3.2))
centered = {"ha": "center", "va": "center", "fontsize": 11}
for row, plan in enumerate(PLANS.values()):
    start = 0
    for name, minutes in plan:
        pause = name in ("break", "lunch")
        look = {"color": COLORS.get(name[:1], BLUE), "alpha": 0.45}
        look = {"color": "white"} if pause else look
        axes.barh(row, minutes, left=start, edgecolor="black", **look)
        label = "" if name == "break" else name
        axes.text(start + minutes / 2, row, label, **centered)
        start += minutes
axes.set(yticks=range(len(PLANS)), yticklabels=list(PLANS))
axes.set(xlabel="minutes (numbers: lessons; white: breaks)", xticks=range(0, 421, 30))
axes.invert_yaxis()
axes.grid(visible=False)
plt.show()
for name, plan in PLANS.items():
    title, total = name.replace("\n", " "), sum(minutes for _, minutes in plan)
    print(f"{title}: {total} minutes")

# %% [markdown]
# ## Two hours, minute by minute
#
# | minute | activity | by |
# |---|---|---|
# | 0 | Lesson 0: the first figure; each student runs one cell | you |
# | 10 | Lesson 1: should $\varphi$ increase or decrease? Take a vote; then the four estimators | you |
# | 25 | Lesson 1: find slider values for which `implicit` has the wrong sign; exercise 1 | pairs |
# | 40 | Lesson 3: ten rounds against the stranger, before any theory | pairs |
# | 50 | Lesson 3: greed, fear, and the learning dynamics of selfish agents; exercise 1 | you, pairs |
# | 75 | Break, with the first figure of lesson 4 on the screen | |
# | 80 | Lesson 4: guess the share, derive $w > 1/3$ together; why the learned share is larger | you |
# | 100 | Lesson 4: exercise 1, or the sliders | pairs |
# | 110 | Lesson 5: the first two figures; the exit question below, answered in writing | all |
#
# *The exit question:* "An agent gives away half of its reward. Why does the welfare not decrease, and why
# might it increase?"
#
# ## Before the class
#
# * Run `make lab` on every machine the day before: the first time, it downloads several gigabytes. On Linux,
#   install a CPU build of PyTorch first to keep the download small.
# * `make notebooks` executes all lessons again. Run it if you changed a lesson; otherwise the saved outputs
#   are sufficient.
# * Run all cells before the class. Most take a few seconds. The slow ones take up to a minute on two cores:
#   in lesson 9 the baselines and the noisy labels, in 10 the fixed taxes, in 11 the fair comparison, in 12
#   the vector fields and the pairs of which one agent knows, in 14 the loss weights and imagined rollouts, in
#   15 the preferences of experts.
# * Where sliders are not available (for instance in a web viewer), figures show their initial values.
# * On slow machines reduce the first number in `size(2000, fast=20)`. `BILEVEL_NOTEBOOKS=fast` reduces all of
#   them, but then the text no longer agrees with the figures.
# * Solutions are in `solutions/`, with a common mistake for each exercise. Checks never reveal an answer.
#
# Students need Python, the chain rule, and a little PyTorch. They need neither game theory nor reinforcement
# learning.

# %% [markdown]
# ## Lesson 1: two levels (35 minutes)
#
# **Goals.** Students can identify the inner and the outer problem in an application of their own, write a
# hypergradient with the chain rule, choose among unrolled, truncated, forward and implicit differentiation,
# and explain the error of each.
#
# **Time.** Figure and idea 10, equation 5, from scratch 10, experiment and exercise 1: 10. Exercises 2 and
# 3 are homework.
#
# **Misconceptions, and questions in return.**
#
# * "The outer loss does not contain $\varphi$, so its gradient is 0." → Which quantities in the outer loss
#   depend on $\varphi$?
# * "Implicit differentiation is exact, and unrolling is an approximation." → Exact for which problem: the
#   outer loss after 10 steps, or after infinitely many?
# * "Truncation only makes the gradient smaller." → Look at the printed numbers: which sign do they have?
#   Which terms of the sum does truncation omit?
#
# **Exam.** (1) The inner loss is $g = \frac12(\theta - \varphi)^2$, the outer loss
# $f = \frac12(\theta - 1)^2$. From $\theta_0 = 0$ take two inner steps with learning rate 0.5, for
# $\varphi = 1$. Compute $dF/d\varphi$, its estimate by truncation to one step, and its estimate by implicit
# differentiation at $\theta_2$. (2) There is a single outer variable, and the network needs 10,000 inner
# steps. Which estimator do you choose?
#
# **Answers.** (1) $\theta_2 = \frac34 \varphi$, so $d\theta_2 / d\varphi$ is 3/4. It is 1/2 for the last step
# alone, and 1 at the fixed point. Multiply each by $\theta_2 - 1$. (2) Forward: it is exact, and its memory
# does not grow with the number of steps.

# %%
theta = 0.75
estimates = {"unrolled": 0.75, "truncated to 1": 0.5, "implicit": 1.0}
for name, derivative in estimates.items():
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
# * "The gradient is `None`: a bug in PyTorch." → What did `step()` do to the old weights?
# * "If training works, the hypergradient is right." → Which of the variants trained well and gave a wrong
#   hypergradient?
# * "Epsilon only prevents division by zero and does not matter." → What is the derivative of
#   $g / (\lvert g\rvert + \varepsilon)$ at $g = 1$?
#
# **Exam.** (1) What is the derivative of Adam's first update $g / (\lvert g\rvert + \varepsilon)$ with
# respect to $g$, at $g = 0.3$, for $\varepsilon = 10^{-8}$ and for $\varepsilon = 0.1$? What does this imply
# for a loss weight that is learned through one step of Adam? (2) Training works, but the learned weight does
# not change. Name two possible causes. How do you distinguish them?
#
# **Answers.** (1) $\varepsilon / (\lvert g\rvert + \varepsilon)^2$; the numbers are below. With the small
# $\varepsilon$ the hypergradient vanishes. (2) If the weights are updated in place, the gradient is `None`.
# If the gradient vanishes or the graph is cut, it is a number that is 0 or wrong. Compare it with finite
# differences.

# %%
gradient = torch.tensor(0.3)
for epsilon in (1e-8, 0.1):
    slope = torch.func.grad(lambda g: g / (g.abs() + epsilon))(gradient)
    formula = epsilon / (0.3 + epsilon) ** 2
    print(f"epsilon {epsilon:g}: autograd {slope:.3g}, formula {formula:.3g}")

# %% [markdown]
# ## Lesson 3: social dilemmas (35 minutes)
#
# **Goals.** Students can identify greed and fear in four payoffs or in Schelling's diagram, find pure Nash
# equilibria, and predict and explain where selfish learning converges.
#
# **Time.** The repeated game first 10, figure and idea 10, public goods 5, exercises 1 and 2: 10.
#
# **Misconceptions, and questions in return.**
#
# * "A dilemma arises because people are bad." → Which of the four payoffs would make a well-meaning agent
#   defect?
# * "The Nash equilibrium is the best outcome." → It consists of best responses, but to what? Is there an
#   outcome that both agents prefer?
# * "In the stag hunt it is always best to cooperate." → What is the best response to an agent that defects
#   with probability 2/3?
#
# **Exam.** (1) In a public goods game there are five agents, and the multiplier is 3. Is it a social dilemma?
# With greed, fear or both? What is the price of anarchy? (2) $(R, S, T, P) = (4, 1, 3, 2)$: greed, fear, both
# or neither?
#
# **Answers.** (1) It is, with both: keeping the contribution pays 1 - 3/5 more, whatever the other agents do.
# The price of anarchy is 3. (2) Fear only: it is a stag hunt.

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
# **Time.** Guess and derive the share 10, figure 5, why the learned share is larger 10, experiment and
# exercise 1: 10.
#
# **Misconceptions, and questions in return.**
#
# * "Giving reduces the reward of the giver, and so the reward of the group." → What is the sum of each row of
#   the sharing matrix? What is the sum of all shared rewards?
# * "Agents learn to give 0.8, so 0.8 is necessary." → Which term of the objective favors a smaller share?
# * "Each agent differentiates the sum of all shared rewards." → By conservation this sum is the welfare.
#   Which reward does a *selfish* agent differentiate?
#
# **Exam.** (1) Cleaning costs 1 and saves the *other* agent 5. Above which share do both clean? (2) Two teams
# learn the sharing for the welfare objective, with learning rates of 0.1 and 0.01, and report that agents
# must give 0.8 and 0.5. Which team is right?
#
# **Answers.** (1) $5w > 1 - w$, so $w > 1/6$. (2) Neither. Above the minimal share the welfare is nearly
# flat, and the final share depends on the learning rate. To learn the minimal share, add a cost of giving.

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
# **Time.** Figure and idea 10, key equation and the cut graph 10, three schedules 10, curriculum 10,
# exercise 1: 5.
#
# **Misconceptions, and questions in return.**
#
# * "End to end means that both are trained at the same time." → What happens if you cut the graph and still
#   train both at the same time?
# * "The curriculum found a cheaper solution." → Do *newly initialized* policies learn to cooperate under it,
#   too? Did you train for long enough?
# * "The learned sharing shows which agents depend on each other." → Many sharing matrices reach the optimum.
#   Which one does learning find from another initialization?
#
# **Exam.** (1) In the ring digging costs 1, and its benefit for one neighbor is 3. What is the minimal share
# that agents must give to the neighbor that waters them? What is it if they divide the share evenly between
# both neighbors? (2) Why is $\partial F / \partial \varphi = 0$, and which term of the hypergradient remains?
#
# **Answers.** (1) $3w \ge 1 - w$, so 1/4. If it is divided evenly, only half of the share has an effect:
# $\frac32 w \ge 1 - w$, so 2/5. (2) Sharing conserves the sum of the rewards. What remains is the effect of
# the sharing through the policies that the agents *learn*.

# %%
for name, fraction in (("to the neighbor that waters it", 1.0), ("evenly", 0.5)):
    pays = 3 * fraction * shares - (1 - shares) >= -1e-9
    print(f"minimal share, {name}: {shares[pays][0]:.4f}")

# %% [markdown]
# ## Lesson 6: incentives (35 minutes)
#
# **Goals.** Students can explain why agents learn not to make gifts, compute the smallest incentive that
# makes cooperation dominant, derive the hypergradient of an incentive, and say where the reward that is
# paid comes from.
#
# **Time.** Figure and idea 10, key equation 5, from scratch 10, who pays 5, exercise 1: 5. The stag hunt
# and exercises 2 and 3 are homework.
#
# **Misconceptions, and questions in return.**
#
# * "Gifts make other agents cooperate." → Does the gift depend on the receiver's action?
# * "LIO resolves the dilemma, so it is the best method." → Where does the reward come from? Does LIO
#   still work if givers are charged? (Here it does: see the table in "Who pays?".) Which information does
#   it need?
# * "An incentive that works will be paid forever." → What is the hypergradient of an incentive once the
#   other agent almost always cooperates? What remains of it if payments have a cost?
#
# **Exam.** (1) $(R, S, T, P) = (6, 0, 7, 3)$: what is the smallest payment for cooperating that makes
# cooperating at least as good as defecting, whatever the other agent does? (2) The other's cooperation is
# worth 4 to a giver that pays for cooperating only, and counts its payments with weight 1. Without an
# incentive the other agent would cooperate with probability 0.1; each unit of the incentive adds 0.1.
# Which incentive is best, and which if the probability is 0.5?
#
# **Answers.** (1) The larger of greed, $T - R = 1$, and fear, $P - S = 3$. (2) The maximum of
# $(4 - \eta)(0.1 + 0.1\,\eta)$ is at $\eta = (4 - 1)/2 = 1.5$. With 0.5 it would be negative, so 0.

# %%
print("smallest payment:", max(7 - 6, 3 - 0))
prices = torch.linspace(0, 4, 4001)
for likely in (0.1, 0.5):
    objective = (4 - prices) * (likely + 0.1 * prices)
    print(f"probability {likely}: best incentive {prices[objective.argmax()]:.2f}")

# %% [markdown]
# ## Lesson 7: empathy and mixing (40 minutes)
#
# **Goals.** Students can compute what gratitude shares, find its fixed point and say whether it is
# stable, differentiate D3C's bound, and predict which methods depend on the zero of the payoffs.
#
# **Time.** Figure and idea 10, key equation 10, gratitude with the sliders 10, shifted payoffs and the
# comparison 5, exercise 1: 5. Exercises 2 and 3 are homework.
#
# **Misconceptions, and questions in return.**
#
# * "Empathy always helps." → What does LASE share if the reward is negative?
# * "The agent that cooperates is exploited." → In which rewards, those of the game or the effective ones?
#   Look at the table for random initial policies: who has more after LASE's sharing? And who pays with
#   D3C?
# * "D3C minimizes the price of anarchy, so its outcome is optimal." → Whose learning harms whom at the
#   end? What is the gradient of the bound there?
#
# **Exam.** (1) My reward is 4 if you cooperate and 0 if you defect, and I assume that you cooperate with
# probability 0.25. You cooperate. Which share of my reward do I give you by LASE, and which if you
# defect? (2) $A_i = (0.8, 0.2)$, $f = (6, 9)$, $\dot f = (1.5, -0.5)$. Which weight increases? (3) Of
# gifting with paying givers, LIO, LASE and D3C: which conserve the total reward?
#
# **Answers.** (1) $(4 - 1)/4 = 0.75$; nothing. (2) The derivatives are below. Gradient descent increases
# the weight of the loss that grows more slowly, the second. (3) Gifting and LASE; LIO only if givers are
# charged.

# %%
print("share given:", (4.0 - (0.25 * 4.0 + 0.75 * 0.0)) / (4.0 - 0.0))
losses_of_two, rates_of_two = torch.tensor([6.0, 9.0]), torch.tensor([1.5, -0.5])


def growth_of_mixture(row):
    return (row @ rates_of_two) / (row @ losses_of_two)


slope_of_row = torch.func.grad(growth_of_mixture)(torch.tensor([0.8, 0.2]))
print("derivatives of rho:", [round(float(x), 4) for x in slope_of_row])

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
# * "The policies do not converge, so agents learn nothing." → Does the time-averaged policy converge?
# * "Sharing always helps." → What is the common part of a game if the sum of the rewards is always 0?
# * "An agent with an exploitability of 0 wins." → Against which policy? What does it guarantee, and how much
#   does it win from a weak opponent?
#
# **Exam.** (1) Three agents play a zero-sum game. Each keeps the share 0.6 and divides the rest evenly
# between the other two. What is the shared reward of each? (2) What is the derivative of the welfare with
# respect to the share in a zero-sum game?
#
# **Answers.** (1) Its own reward times $s - (1 - s)/(N - 1) = 0.4$. It is the same game with smaller payoffs,
# so gradients are smaller, too, and learning is slower. (2) 0.

# %%
rewards = torch.tensor([3.0, -1.0, -2.0])
sharing = torch.full((3, 3), 0.2) + 0.4 * torch.eye(3)
print("rewards       ", rewards.tolist())
print("shared rewards", [round(reward, 6) for reward in (rewards @ sharing).tolist()])

# %% [markdown]
# ## Lesson 9: learning loss weights (40 minutes)
#
# **Goals.** Students can add learned weights to their own training loop, explain by a dot product which
# weight increases, and name the fair baselines: a schedule, early stopping, training on the verified data.
#
# **Time.** Figure and equation 10, the tuner 5, baselines 10, noisy labels 10, exercise 1: 5.
#
# **Misconceptions, and questions in return.**
#
# * "Learned weights are optimal." → For which objective, which horizon, and which data? Which baselines are
#   at least as good?
# * "A loss that is easy to fit should have a large weight." → Which sensor is easy to fit, and is it correct?
# * "We do not train on the validation set." → Which data determine the weights?
#
# **Exam.** (1) The validation gradient is $\nabla V = (1, 0)$, the gradients of two losses are
# $\nabla L_1 = (2, 1)$ and $\nabla L_2 = (-1, 3)$, and the learning rate is 0.1. Which weight increases? (2)
# A colleague reports an accuracy of 93 % with learned weights and 75 % without, using 100 verified images.
# What is missing?
#
# **Answers.** (1) The derivative of $V$ with respect to each weight is minus the learning rate times a dot
# product, below: the first weight increases, the second decreases. (2) Baselines that use the same 100
# images: training on them alone, adding them to the training set, early stopping. (Also an upper bound, and
# confidence intervals.)

# %%
validation = torch.tensor([1.0, 0.0])
losses = torch.tensor([[2.0, 1.0], [-1.0, 3.0]])  # gradients, [loss, parameter]
slopes = -0.1 * losses @ validation
print("derivatives of V:", [round(slope, 6) for slope in slopes.tolist()])

# %% [markdown]
# ## Lesson 10: your own game and method (30 minutes, and a project)
#
# **Goals.** Students can write a game and a method, test both against an independent reference, and compare
# methods reproducibly.
#
# **Time.** Figure and steps 10, reading the game and the method 10, comparison and fixed-tax baseline 10.
# Exercise 4 is a good project for teams of two: a game on one page, its dilemma demonstrated with `selfish`,
# one method, one confidence interval.
#
# **Misconceptions, and questions in return.**
#
# * "My method is better in 5 of 5 seeds." → How were the settings tuned? How good is the simplest baseline
#   with the same tuning?
# * "The game runs, so it is correct." → Which of its values do you know without running it?
# * "The interval contains 0, so both methods are equal." → Or are there too few seeds?
#
# **Exam.** (1) Four agents pay a tax of 0.3, which is divided evenly among all of them. Which share of its
# reward does an agent give to the others? (2) Over 8 seeds, the mean difference between two methods is 0.4,
# with a 95 % confidence interval from -0.2 to 0.9. Report this result in one sentence.
#
# **Answers.** (1) $0.3\,(1 - 1/4)$. (2) For instance: "With these settings, 8 seeds do not show which method
# is better: the data are compatible with a loss of 0.2 as well as with a gain of 0.9."

# %%
print(f"share given to the others: {0.3 * (1 - 1 / 4):.3f}")

# %% [markdown]
# ## Lesson 11: credit in networks (45 minutes)
#
# **Goals.** Students can derive the signal-to-noise ratio of a policy gradient from a common reward, say
# which part of the problem tuning solves, write the hypergradient of learned sharing on a graph, and plan
# a fair comparison.
#
# **Time.** Figure and idea 5, key equation 10, the table of ratios 5, learned sharing 10, tuning and fair
# comparison 10, exercise 1: 5. Exercises 2 to 4 are homework.
#
# **Misconceptions, and questions in return.**
#
# * "The mean divides the gradient by N, so multiply the learning rate by N." → What happens to the noise?
# * "All agents want the same, so there is no problem left." → What does one agent see when it helps and
#   seven others do not?
# * "The learned matrix shows no structure, so there is none." → What is left of the hypergradient once
#   all agents help?
# * "Our method needs ten times fewer updates." → How many episodes does one of its updates need, and who
#   tuned the other one?
#
# **Exam.** (1) 101 agents learn from the mean of all rewards, each helps with probability 1/2. What is
# the signal-to-noise ratio of 25 episodes, and how many episodes give a ratio of 2? (2) Agent $i$ learns
# from its own reward and that of the agent that it helps (cost 1, benefit 3). Which ratio do 25 episodes
# have?
#
# **Answers.** (1) $\sqrt{25/100} = 0.5$; $B = 4 \cdot 100$. (2) The effects are 2 (own), 3 (its helper)
# and $-1$ (the agent that it helps pays for its own help): $5 \cdot 2 / \sqrt{10}$.

# %%
batch, crowd = 25, 101
print(f"ratio {(batch / (crowd - 1)) ** 0.5:.2f}; episodes {2**2 * (crowd - 1)}")
effects_of_others = torch.tensor([3.0, -1.0])
print(f"two rewards: ratio {batch**0.5 * 2 / effects_of_others.norm():.2f}")

# %% [markdown]
# ## Lesson 12: shaping others' learning (45 minutes)
#
# **Goals.** Students can write LOLA by differentiating through the other agent's step, name look-ahead
# and shaping, explain the tandem game and what SOS changes, compute aligned advantages, and say what each
# method must know.
#
# **Time.** Figure and idea 5, key equation 10, vector fields 10, repeated dilemma and advantage alignment
# 10, exercises 1 and 2: 10. Exercises 3 and 4 are homework.
#
# **Misconceptions, and questions in return.**
#
# * "LOLA makes agents kind." → Whose loss does each agent descend? Whose return is higher if LOLA meets a
#   naive learner?
# * "A point where LOLA stops is an equilibrium." → What is the naive gradient where it stops in the
#   tandem game?
# * "Shaping solves every dilemma." → What does the other agent's gradient depend on if the game is played
#   once?
# * "Advantage alignment shares rewards." → Which rewards change hands? What does each agent add to its
#   advantage?
#
# **Exam.** (1) In the tandem game, at rate 0.2: where does LOLA stop, and what is the sum of the losses
# there? (2) One episode has the advantages 1, 0 for me and 2, 3 for you; the discount is 0.5, beta is 1.
# What are my aligned advantages?
#
# **Answers.** (1) On $x + y = (1 - 0.4)/(1 - 0.8) = 3$; the losses add up to $2 s^2 - 2 s = 12$, instead
# of 0. (2) 1 in the first step; in the second $0 + 0.5 \cdot (0.5 \cdot 1) \cdot 3 = 0.75$.

# %%
ascribed = 0.2
forward = (1 - 2 * ascribed) / (1 - 4 * ascribed)
print(f"x + y = {forward:.2f}, sum of losses {2 * forward**2 - 2 * forward:.2f}")
print(f"aligned advantages: 1, {0 + 0.5 * (0.5 * 1) * 3}")

# %% [markdown]
# ## Lesson 13: hypergradients from samples (45 minutes)
#
# **Goals.** Students can derive the score-function estimator, name the term that a second derivative of
# the surrogate loses, write the DiCE and Loaded DiCE surrogates, and decide between a biased and a noisy
# estimator by their mean squared errors.
#
# **Time.** Figure and idea 10, key equation and the coin 10, the game and the table of biases 10, bias
# and variance against episodes 10, exercise 1 or 2: 5. Exercises 3 and 4 are homework.
#
# **Misconceptions, and questions in return.**
#
# * "Autograd is exact, so the hypergradient is." → Exact for which function? What does it know about the
#   action that was sampled?
# * "With enough episodes every estimator converges to the truth." → To what does `log π · R`,
#   differentiated twice, converge? Look at the coin: there is no sampling in it at all.
# * "An unbiased estimator is better." → Which of the two has the smaller mean squared error with 80
#   episodes?
# * "A baseline changes what is estimated." → What is $\mathbb E[\nabla \log \pi]$? And for second
#   derivatives of `log π · R`?
#
# **Exam.** (1) A coin with $p = \sigma(\theta) = 0.2$ pays 5 for heads and 0 for tails. Give the first
# and the second derivative of the expected reward, and the expected second derivative of
# $\log \pi \cdot R$. (2) One estimator has a bias of 20 % and a standard deviation of 160 % / $\sqrt n$,
# another one no bias and 200 % / $\sqrt n$. From how many episodes $n$ on is the second one better?
#
# **Answers.** (1) $p (1 - p) \cdot 5 = 0.8$; $p (1 - p)(1 - 2p) \cdot 5 = 0.48$; and for the surrogate
# $-p (1 - p) \cdot 5p = -0.16$. (2) $n = (2^2 - 1.6^2) / 0.2^2 = 36$.

# %%
p, paid = 0.2, 5.0
slope = p * (1 - p)
print(f"first derivative {slope * paid:.2f}, second {slope * (1 - 2 * p) * paid:.2f}")
print(f"second derivative of the surrogate {-slope * p * paid:.2f}")
print(f"the errors are equal at n = {(2.0**2 - 1.6**2) / 0.2**2:.0f} episodes")

# %% [markdown]
# ## Lesson 14: a world model, built (50 minutes)
#
# **Goals.** Students can write the losses of a world model, say which loss trains which network, use
# stop-gradients on purpose, train a controller by real and by imagined rollouts, and learn loss weights
# from held-out rollouts.
#
# **Time.** Figure, idea and equation 15, world, networks and the table of gradients 10, weights 10,
# stop-gradients and imagination 10, exercise 1: 5. Exercises 2 to 4 are homework.
#
# **Misconceptions, and questions in return.**
#
# * "A small dynamics loss means a good model." → What is the loss of a latent that is always 0?
# * "A larger policy weight makes the controller learn faster." → Which other loss trains the controller?
#   What does Adam do to a factor of its gradient?
# * "Learned weights are better than weights set by hand." → Better than which, at which cost, and by how
#   much in 100 paired seeds?
#
# **Exam.** (1) $w = 2 \operatorname{softmax}(\varphi)$ with $\varphi = (0, 0)$, and the slopes of the
# validation loss in the weights are 0.4 and -0.2. Give the slopes in $\varphi$. (2) A colleague reports a
# world model with a dynamics loss of $10^{-6}$ that does not learn to act. Which two numbers do you ask
# for?
#
# **Answers.** (1) $w_k (s_k - \bar s)$ with $\bar s = 0.1$: 0.3 and -0.3. (2) The standard deviation of
# the latents, and the error of the predicted reward (or of the decoded image).

# %%
logits, slopes = torch.zeros(2, requires_grad=True), torch.tensor([0.4, -0.2])
(2 * logits.softmax(0) @ slopes).backward()
print("slopes in phi:", [round(value, 3) for value in logits.grad.tolist()])

# %% [markdown]
# ## Lesson 15: experts, routers and curricula (45 minutes)
#
# **Goals.** Students can compute the gates of softmax, entmax, sparsemax and top-k and their derivatives,
# say which states still train a router, measure collapse, choose among balance losses, and explain what a
# curriculum can and cannot prevent.
#
# **Time.** Figure and idea 10, equation and gates 10, collapse and balance 10, when experts collapse 10,
# exercise 1: 5. Exercises 3 and 4 are homework.
#
# **Misconceptions, and questions in return.**
#
# * "A balance loss always prevents collapse." → Through which quantity does it act? What is the
#   derivative of a gate that is 1 for all nearby scores?
# * "Top-1 has no gradient, because the choice is discrete." → What is the gate of the selected expert?
#   What if it is scaled to sum 1?
# * "The curriculum prevents collapse, as our figure shows." → What did sparsemax do without a preference?
#   And softmax?
#
# **Exam.** (1) Give the sparsemax gates of the scores (0.9, 0.5, -1) and the Jacobian's first row. (2)
# Eight experts, of which two are used equally. Give the effective number, MaxVio and the Switch loss.
#
# **Answers.** (1) $\tau = 0.2$: (0.7, 0.3, 0), and (1/2, -1/2, 0). (2) 2, 3 and 4.

# %%
scores = torch.tensor([0.9, 0.5, -1.0])
tau = (scores[:2].sum() - 1) / 2
gates = (scores - tau).clamp(min=0).tolist()
print("sparsemax:", [round(gate, 3) for gate in gates])
shares = torch.tensor([0.5, 0.5, 0, 0, 0, 0, 0, 0])
number = (-torch.xlogy(shares, shares).sum()).exp()
print(f"effective {number:.1f}, MaxVio {shares.max() * 8 - 1:.0f},", end=" ")
print(f"Switch {8 * (shares * shares).sum():.0f}")

# %% [markdown]
# ## Lesson 16: zero-sum learning (45 minutes)
#
# **Goals.** Students can measure regret, derive that the exploitability of the averages is the sum of the
# regrets over $2T$, choose between average and last iterate for each rule, and write CFR for Kuhn poker.
#
# **Time.** Figure and idea 10, key equation and the table 10, last iterates 5, Kuhn poker 10, exercises 1
# and 2: 10. Play ten games of Kuhn poker in pairs first, with three cards: who bluffed, and how often?
#
# **Misconceptions, and questions in return.**
#
# * "Regret compares with the best action of every round." → Who could have known it? What would the bound
#   say?
# * "The average converges, so the agents have learned to play the equilibrium." → What do they play in
#   the last round? What can be exploited, the average or the last strategy?
# * "Bluffing is psychology." → What would agent 1 do with a queen if agent 0 never bluffed?
#
# **Exam.** (1) After 200 rounds two agents of a zero-sum game have regrets of 6 and 10. How exploitable
# are their average strategies? (2) The antes are 1 and a bet is 3/2. How many bluffs with a jack come
# with one bet with a king, and how often must agent 1 call with a queen, so that agent 0 with a jack is
# indifferent?
#
# **Answers.** (1) $16 / 400 = 0.04$, the mean over both agents. (2) $b / (b + 2) = 3/7$. A bluff loses
# $1 + b$ against a king, and against a queen that calls with probability $c$; else it wins 1. Checking
# and folding costs 1: $\frac12 (-1 - b) + \frac12 (1 - c\,(2 + b)) = -1$, so
# $c = (2 - b) / (2 + b) = 1/7$.

# %%
print(f"exploitability of the averages: {(6 + 10) / (2 * 200):.2f}")
bet_size, most = 1.5, 1.0
print(f"bluffs per bet with a king: {bet_size / (bet_size + 2):.4f}")
least = 0.0
for _ in range(50):  # bisection for the probability of a call
    calls = (least + most) / 2
    bluff = (-1 - bet_size) / 2 + (1 - calls * (2 + bet_size)) / 2
    least, most = (calls, most) if bluff > -1 else (least, calls)
print(f"a queen calls with probability {calls:.4f}")

# %% [markdown]
# ## Lesson 17: how sure is that? (45 minutes)
#
# **Goals.** Students can compute an interquartile mean and a bootstrap interval, explain its coverage,
# pair results by seed, apply Holm's method, recognize the winner's curse, and plan a number of seeds.
#
# **Time.** Figure and idea 10, key equation and from scratch 5, coverage 10, pairing 5, many comparisons
# and the winner's curse 10, exercise 1: 5. Exercises 2 to 4 are homework.
#
# **Misconceptions, and questions in return.**
#
# * "A 95 % interval contains the truth with a probability of 95 %." → For which number of seeds did we
#   measure that? What is the interval if all five seeds are equal?
# * "The intervals of the two methods overlap, so there is no difference." → What about the interval of
#   the *paired difference*? And is "not detected" the same as "equal"?
# * "We tried 20 settings, and this one is clearly the best." → How good was the best of 20 *equal*
#   settings?
# * "More seeds until it is significant." → How many tests is that, and at which level?
#
# **Exam.** (1) Two methods have the standard deviation 10 over seeds, and the correlation 0.75. How many
# pairs detect a difference of 4 with a power of 80 %? How many unpaired seeds? (2) The p-values of four
# comparisons are 0.04, 0.001, 0.02 and 0.015. Which count at the level 5 % by Holm's method?
#
# **Answers.** (1) $2.8^2 \cdot 2 \cdot 100 \cdot 0.25 / 16 = 24.5$, so 25 pairs; unpaired four times as
# many: 98. (2) Sorted: $0.001 \le 0.0125$, $0.015 \le 0.0167$, $0.02 \le 0.025$, $0.04 \le 0.05$: all
# four.

# %%
for name, correlation in (("paired", 0.75), ("unpaired", 0.0)):
    print(f"{name}: {2.8**2 * 2 * 10**2 * (1 - correlation) / 4**2:.1f} runs each")
for rank, p_value in enumerate(sorted((0.04, 0.001, 0.02, 0.015))):
    print(f"{p_value} against {0.05 / (4 - rank):.4f}: {p_value <= 0.05 / (4 - rank)}")

# %% [markdown]
# ## Lesson 18: capstone (60 minutes in class, two weeks of work)
#
# **Goals.** Teams can turn a claim into a number with a margin, plan seeds, register a plan, and report
# what was reproduced, what was not, and what stayed undecided.
#
# **Time.** Figure and idea 10, key equation 10, the miniature 15, exercises 10, choice of tables and
# teams 15. Then 15 minutes with each team on day 4 (the plan) and on day 8 (the table), and ten for its
# presentation.
#
# **Misconceptions, and questions in return.**
#
# * "The published value is within our interval, so it is reproduced." → What would three seeds have
#   given? How wide may the interval be?
# * "It did not reproduce, so we lose points." → Which row of the marking scheme mentions the result?
# * "We add seeds until it is decided." → What did the plan say? How many looks at the data is that?
# * "All 20 seeds succeeded, so it always works." → How often do 20 seeds show none of the failures that
#   have a probability of 5 %?
# * "The interquartile mean is the optimum, so the method solves the game." → What do the last two columns of
#   the miniature's table say? Which statistic is the claim about?
#
# **Exam.** (1) The published value is 40, the margin 2. Give the verdicts for the intervals [38.5, 41.0],
# [36.0, 39.0] and [30.0, 37.5]. (2) One run has the standard deviation 6 over seeds, and the truth is 3
# beyond the edge of the margin. How many seeds give the verdict "not reproduced" with a power of 80 %?
#
# **Answers.** (1) Reproduced, undecided, not reproduced. (2) $2.8^2 \cdot 36 / 9 = 31.4$, so 32 seeds.

# %%
for low, high in ((38.5, 41.0), (36.0, 39.0), (30.0, 37.5)):
    is_inside, is_apart = low >= 38 and high <= 42, high < 38 or low > 42
    decided = "reproduced" if is_inside else "not reproduced"
    print(f"[{low}, {high}]:", decided if is_inside or is_apart else "undecided")
print(
    f"{2.8**2 * 6**2 / 3**2:.1f} seeds; no failure of 5 % in 20 seeds: {0.95**20:.0%}"
)

# %% [markdown]
# ## Grading
#
# In every lesson, a student who understands the figure and the equation can do the first exercise; the last
# one may take an evening. A fair weighting is half for exercises 1 and 2 of the lessons taught, a quarter for
# a written answer to one discussion question, and a quarter for the project of lesson 10. Grade the project
# by three criteria only: a test that could have failed, a well-tuned baseline, and a sentence on the
# limitations of the result. A course that ends with the capstone grades that instead of the project, by the
# marking scheme in lesson 18.
#
# ## What to read
#
# * `notebooks/README.md`: how to change a lesson or write a new one.
# * `docs/how-to/choose-estimator.md`, `docs/how-to/compare-methods.md` and `docs/explanation/theory.md`:
#   background for most questions that students ask.

# %% [markdown]
# # Solutions of `08_zero_sum`
#
# **Exercise 1.** The others' rewards sum to $-r$ if mine is $r$. I keep $s r$ and get $(1 - s) / (N - 1)$ of
# each of theirs, in total $-(1 - s)\, r / (N - 1)$. The mistake is the factor for two agents.

# %% tags=["wrong-1"]
def factor(N, s):
    return 2 * s - 1


# %% tags=["solution-1"]
def factor(N, s):
    return (N * s - 1) / (N - 1)


# %% [markdown]
# **Exercise 2.** With $a_c$ and $a_d$ for the common and the opposed part, $\tilde a_1 = a_c + \kappa a_d$
# and $\tilde a_2 = a_c - \kappa a_d$. They have opposite signs as long as $\kappa |a_d| > |a_c|$. With
# $\kappa = 1 - 2g$ that ends at $g = (1 - |a_c / a_d|) / 2$. The mistake returns $\kappa$.


# %% tags=["wrong-2"]
def smallest_share(payoffs):
    a = payoffs[0, 0] - payoffs[0, 1] - payoffs[1, 0] + payoffs[1, 1]
    return float((a.sum() / (a[0] - a[1])).abs())


# %% tags=["solution-2"]
def smallest_share(payoffs):
    a = payoffs[0, 0] - payoffs[0, 1] - payoffs[1, 0] + payoffs[1, 1]
    kappa = float((a.sum() / (a[0] - a[1])).abs())
    return max(0.0, (1 - kappa) / 2)


# %% [markdown]
# **Exercise 3.** The predicted values are the current ones plus the last change: `now + (now - before)`. The
# mistake averages past values instead of extrapolating, which makes the cycles larger.


# %% tags=["wrong-3"]
def predicted_values(now, before):
    return (now + before) / 2


# %% tags=["solution-3"]
def predicted_values(now, before):
    return 2 * now - before


# %% [markdown]
# **Exercise 4.** The seeker's shared reward is $(1 - x)(b + 1) + y (b - 1)$ times 1 or $-1$, the hider's
# $x (b + 1) + (1 - y)(b - 1)$. The second must not be negative: $x (1 + b) + y (1 - b) \ge 1 - b$. There,
# the seeker's share counts $1 + b$, the hider's only $1 - b$: so $y = 0$ and $x = (1 - b) / (1 + b)$, and
# the first is $2b > 0$. With equal shares both need $(1 - b) / 2$ (exercise 2), and that is the mistake
# here: the sum is larger.


# %% tags=["wrong-4"]
def minimal_shares(b):
    return (1 - b) / 2, (1 - b) / 2


# %% tags=["solution-4"]
def minimal_shares(b):
    return (1 - b) / (1 + b), 0.0


# %% [markdown]
# **For discussion.** (a) Only its sign: Adam's steps do not shrink with the gradient, so that giving less
# than a half changes almost nothing, and giving more than a half reverses the direction. (b) The match is,
# as long as only winning counts; for the tickets the two teams need each other, and a dull match is bad for
# both. (c) For instance the exploitability, or the speed of learning: how fast the exploitability of the
# average decreases.

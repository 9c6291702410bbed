# %% [markdown]
# # Solutions of `18_capstone`
#
# **Exercise 1.** The whole interval must lie inside the margin, or the whole interval outside. The common
# mistake is to call an interval that contains the published value a reproduction: then the fewer seeds there
# are, the more tables reproduce.


# %% tags=["wrong-1"]
def verdict(low, high, published, margin):
    if low <= published <= high:
        return "reproduced"
    return "not reproduced"


# %% tags=["solution-1"]
def verdict(low, high, published, margin):
    if low >= published - margin and high <= published + margin:
        return "reproduced"
    if high < published - margin or low > published + margin:
        return "not reproduced"
    return "undecided"


# %% [markdown]
# **Exercise 2.** The mean of $n$ seeds has the variance $s^2 / n$, and the published value none. The mistake
# here takes the formula of two methods, with twice the variance.


# %% tags=["wrong-2"]
def seeds_needed(s, d):
    return int(np.ceil((1.96 + 0.84) ** 2 * 2 * s**2 / d**2))


# %% tags=["solution-2"]
def seeds_needed(s, d):
    return int(np.ceil((1.96 + 0.84) ** 2 * s**2 / d**2))


# %% [markdown]
# **For discussion.** (a) The best of three seeds can be simulated: draw three of your seeds many times, take
# the best of each, and compare the published value with that distribution. (b) "Not reproduced": the rule has
# two sides. Check first whether the game, the units of welfare (sum or mean over agents, discounted or not)
# and the amount of training are the same, then whether the paper's baseline was tuned. (c) Only if the plan
# said so. Adding seeds until the verdict is clear is a multiple comparison; report "undecided" with ten
# seeds, and the twenty as an addition that was not registered.

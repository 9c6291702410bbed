# %% [markdown]
# # The solution of `00_start_here`
#
# **Exercise 1.** All $N$ agents, including the one that earned the reward, get the same share. The common
# mistake is to forget that agent, or to generalize from the case of two agents.

# %% tags=["wrong-1"]
def kept(N):
    return 1 / 2


# %% tags=["solution-1"]
def kept(N):
    return 1 / N

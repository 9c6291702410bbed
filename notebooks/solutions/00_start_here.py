# %% [markdown]
# # The solution of `00_start_here`
#
# **Exercise 1.** All $N$ agents, oneself among them, get the same part. The common mistake is to forget
# oneself, or to take what holds for two agents for the rule.

# %% tags=["wrong-1"]
def kept(N):
    return 1 / 2


# %% tags=["solution-1"]
def kept(N):
    return 1 / N

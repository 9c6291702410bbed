# %% [markdown]
# # Solutions of `17_how_sure_is_that`
#
# **Exercise 1.** The variance of one paired difference is $2 s^2 (1 - \rho)$. The common mistake is to use
# the variance of one method, $s^2$: the difference of two independent results varies twice as much.

# %% tags=["wrong-1"]
def pairs_needed(d, s, rho):
    return int(np.ceil((1.96 + 0.84) ** 2 * s**2 * (1 - rho) / d**2))


# %% tags=["solution-1"]
def pairs_needed(d, s, rho):
    return int(np.ceil((1.96 + 0.84) ** 2 * 2 * s**2 * (1 - rho) / d**2))


# %% [markdown]
# **Exercise 2.** Go through the p-values from the smallest on, and stop at the first that is above its
# threshold. The mistake here does not stop: a later p-value may be below *its* threshold, which is larger,
# but does not count if an earlier one failed.


# %% tags=["wrong-2"]
def holm(p_values, alpha):
    found = [False] * len(p_values)
    for rank, place in enumerate(np.argsort(p_values)):
        found[place] = p_values[place] <= alpha / (len(p_values) - rank)
    return found


# %% tags=["solution-2"]
def holm(p_values, alpha):
    found = [False] * len(p_values)
    for rank, place in enumerate(np.argsort(p_values)):
        if p_values[place] > alpha / (len(p_values) - rank):
            break
        found[place] = True
    return found


# %% [markdown]
# **Exercise 3.** Both results of a seed must be drawn together: the same picks for both methods. Otherwise
# the effect of the seed, which is the same for both, does not cancel. A common mistake is to take the
# difference of the bounds of two separate intervals.


# %% tags=["wrong-3"]
def repaired(one, other, picks):
    (low, high), (other_low, other_high) = interval(one, picks), interval(other, picks)
    return low - other_high, high - other_low


# %% tags=["solution-3"]
def repaired(one, other, picks):
    return percentiles(iqm(one[picks]) - iqm(other[picks]))


# %% [markdown]
# **Exercise 4.** Only the observed assignment and the one with all signs reversed can be as extreme as
# differences that all have the same sign. So 5 seeds give at least $2 / 32 = 6.25\,\%$: with five pairs *no*
# result is significant at the level 5 % in this test. The mistake here counts one side only.


# %% tags=["wrong-4"]
import itertools


def sign_flip_p(differences):
    signs = itertools.product((1.0, -1.0), repeat=len(differences))
    means = torch.tensor(list(signs)) @ differences / len(differences)
    return float((means >= differences.mean().abs() - 1e-9).double().mean())


# %% tags=["solution-4"]
import itertools


def sign_flip_p(differences):
    signs = itertools.product((1.0, -1.0), repeat=len(differences))
    means = torch.tensor(list(signs)) @ differences / len(differences)
    return float((means.abs() >= differences.mean().abs() - 1e-9).double().mean())


# %% [markdown]
# **For discussion.** (a) The mean of the best 30 %, an optimistic statistic: it estimates how good a lucky
# run is, and grows with the spread, so an unreliable method may look better than a reliable one. (b) Only as
# far as something is still shared, such as the initial policies. Compute the correlation of the two results
# over seeds. (c) Whoever deploys it once carries the risk: show the distribution, and the worst case. The
# interquartile mean hides the failure, the mean shows it without saying that it is rare.

# %% [markdown]
# # Solutions of `15_experts_routers_and_curricula`
#
# **Exercise 1.** For the gates 1 and 0 the first equation is $1 = [(\alpha - 1) z_1 - \tau]$, so that
# $\tau = (\alpha - 1) z_1 - 1$. The second gate is 0 if $(\alpha - 1) z_2 \le \tau$, that is if
# $(\alpha - 1)\, d \ge 1$. The common mistake takes the lead of sparsemax, 1, for all $\alpha$.


# %% tags=["wrong-1"]
def smallest_lead(alpha):
    return 1.0


# %% tags=["solution-1"]
def smallest_lead(alpha):
    return 1 / (alpha - 1)


# %% [markdown]
# **Exercise 2.** The entropy of `used` equal shares is log(used). The largest load is 1/used, the mean load
# 1/N. For each expert in use $f = P = 1/\text{used}$, and there are `used` of them: Switch is N/used. The
# total gates have the mean square N/used, in units of the squared mean, so that their variance is N/used - 1.
# The mistake takes the mean load over the experts in use only.


# %% tags=["wrong-2"]
def partial_collapse(N, used):
    return used, 0.0, N / used, N / used - 1


# %% tags=["solution-2"]
def partial_collapse(N, used):
    return used, N / used - 1, N / used, N / used - 1


# %% [markdown]
# **Exercise 3.** $\partial L / \partial p_e = (y - t)\, y_e$. Times the boxed Jacobian that is
# $(y - t)\, s_e\, (y_e - \bar y)$, where $\bar y$ is the mean of the outputs weighted by $s$. A score rises
# if the expert's output differs from this mean in the direction of the target. The mistake stops at the
# derivative in the gates.


# %% tags=["wrong-3"]
def router_slopes(p, outputs, t, alpha):
    return (p @ outputs - t) * outputs


# %% tags=["solution-3"]
def router_slopes(p, outputs, t, alpha):
    s = torch.where(p > 0, p ** (2 - alpha), 0.0)
    mean = (s * outputs).sum() / s.sum()
    return (p @ outputs - t) * s * (outputs - mean)


# %% [markdown]
# **Exercise 4.** Each router's rate comes from the tuning seeds, and the difference from the others. The
# mistake chooses and compares on the same seeds: the best of several estimates is too high.


# %% tags=["wrong-4"]
def fair_difference(first, second, tuning):
    return float(first.mean(1).max() - second.mean(1).max())


# %% tags=["solution-4"]
def fair_difference(first, second, tuning):
    def test(accuracies):
        best = accuracies[:, :tuning].mean(1).argmax()
        return accuracies[best, tuning:]

    return (test(first) - test(second)).mean()


# %% [markdown]
# **For discussion.** (a) All machines wait for the slowest one: the time of a step is that of the largest
# load. (b) It gives them as many states as all others, so that their experts are filled with states of the
# frequent modes; equal loads are not the goal if modes are not equally frequent. (c) entmax: its gates have
# a derivative in $\alpha$ (top-k has none). From a validation loss: the training loss may prefer the
# $\alpha$ that is best for memorizing; the study has both, `entmax` and `learned`.

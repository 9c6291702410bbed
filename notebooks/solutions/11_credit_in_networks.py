# %% [markdown]
# # Solutions of `11_credit_in_networks`
#
# **Exercise 1.** Square the boxed equation and solve for $B$. The common mistake is to forget that the
# ratio grows with the square root of $B$ only.

# %% tags=["wrong-1"]
def episodes_for(ratio, agents):
    return ratio * (agents - 1)


# %% tags=["solution-1"]
def episodes_for(ratio, agents):
    return ratio**2 * (agents - 1)


# %% [markdown]
# **Exercise 2.** $\epsilon$ is multiplied by $h_i - p_i = \pm\frac12$, like all that agent $i$ has not
# caused. So the variance of $g_i$ is $\frac14 (\frac14 \sum_{k \ne i} e_k^2 + \sigma^2)$, where $\sigma$ is
# `noise`, and the signal is $\frac14 e_i$. The common mistake adds $\sigma^2$ to the squared effects, which
# are still to be multiplied by $\operatorname{Var} h = \frac14$.


# %% tags=["wrong-2"]
def signal_to_noise(effects, i, noise):
    others = effects.square().sum() - effects[i] ** 2
    return effects[i] / (others + noise**2).sqrt()


# %% tags=["solution-2"]
def signal_to_noise(effects, i, noise):
    others = effects.square().sum() - effects[i] ** 2
    return effects[i] / (others + 4 * noise**2).sqrt()


# %% [markdown]
# **Exercise 3.** The slope in $T_{ji}$ is $\alpha\, w_i\, \hat G_{ij}$: multiply row $i$ of $\hat G$ by
# $w_i$, transpose, and go on through the softmax of each row. The common mistake forgets to transpose: then
# the agent that acts is taken for the giver.


# %% tags=["wrong-3"]
def logit_slopes(phi, G, w, rate):
    T = phi.softmax(-1)
    s = rate * w[:, None] * G
    return T * (s - (T * s).sum(-1, keepdim=True))


# %% tags=["solution-3"]
def logit_slopes(phi, G, w, rate):
    T = phi.softmax(-1)
    s = rate * (w[:, None] * G).T
    return T * (s - (T * s).sum(-1, keepdim=True))


# %% [markdown]
# **Exercise 4.** The common mistake reports the best result over all settings on the test seeds: the
# reported number is then the luckiest of several, and methods with more settings have more luck.


# %% tags=["wrong-4"]
def compare(methods, tuning_seeds, test_seeds):
    results = {}
    for name, (settings, train, episodes) in methods.items():
        medians = [
            statistics.median(train(one, seed) for seed in test_seeds)
            for one in settings
        ]
        results[name] = min(medians) * episodes
    return results


# %% tags=["solution-4"]
def compare(methods, tuning_seeds, test_seeds):
    trials = min(len(settings) for settings, _, _ in methods.values())
    results = {}
    for name, (settings, train, episodes) in methods.items():

        def middle(setting, seeds, train=train):
            return statistics.median(train(setting, seed) for seed in seeds)

        best = min(settings[:trials], key=lambda one: middle(one, tuning_seeds))
        results[name] = middle(best, test_seeds) * episodes
    return results


# %% [markdown]
# **For discussion.** (a) Difference rewards. The critic must learn the effect of each action on the reward,
# from the same noisy samples; it can use them again and again, though. (b) Neither neighborhoods nor
# sharing, which need individual rewards. Larger batches, a better baseline (the state of the game explains
# part of the noise), or a critic of all actions. (c) Was the common reward tuned, with as many trials? How
# many environment steps does an update of each method take? Which seeds were used to choose settings, and
# which for the result?

# %% [markdown]
# # Solutions of `13_hypergradients_from_samples`
#
# **Exercise 1.** The expected reward is $p\,h + (1 - p)\,t$, with $h$ and $t$ for heads and tails. Its first
# derivative is $p (1 - p) (h - t)$, its second $p (1 - p) (1 - 2p) (h - t)$. The scores $1 - p$ and $-p$ have
# the same derivative, $-p (1 - p)$, so the surrogate's second derivative is $-p (1 - p)$ times the mean
# reward. The mistake here lets $\theta$ change the probabilities once only.

# %% tags=["wrong-1"]
def second_derivatives(theta, heads, tails):
    p = torch.as_tensor(theta).sigmoid()
    return p * (1 - p) * (heads - tails), -p * (1 - p) * (p * heads + (1 - p) * tails)


# %% tags=["solution-1"]
def second_derivatives(theta, heads, tails):
    p = torch.as_tensor(theta).sigmoid()
    truth = p * (1 - p) * (1 - 2 * p) * (heads - tails)
    return truth, -p * (1 - p) * (p * heads + (1 - p) * tails)


# %% [markdown]
# **Exercise 2.** Equal errors: $\text{bias}^2 + \text{noise}^2 / n = \text{more}^2 / n$, so
# $n = (\text{more}^2 - \text{noise}^2) / \text{bias}^2$. Variances add up, standard deviations do not: the
# mistake here subtracts the deviations.


# %% tags=["wrong-2"]
def crossover(bias, noise, more_noise):
    return max(0.0, (more_noise - noise) / abs(bias)) ** 2


# %% tags=["solution-2"]
def crossover(bias, noise, more_noise):
    return max(0.0, (more_noise**2 - noise**2) / bias**2)


# %% [markdown]
# **Exercise 3.** $\mathbb E[s^2 (R - b)^2]$ is a parabola in $b$; its derivative vanishes at
# $b = \mathbb E[s^2 R] / \mathbb E[s^2]$: the mean reward, weighted by the squared score. For a coin this is
# $(1 - p)\,h + p\,t$, with the weights of the mean reward exchanged. In practice the mean return is used, as
# it is easy to estimate. That is the mistake here.


# %% tags=["wrong-3"]
def best_baseline(probs, scores, rewards):
    return (probs * rewards).sum()


# %% tags=["solution-3"]
def best_baseline(probs, scores, rewards):
    weights = probs * scores**2
    return (weights * rewards).sum() / weights.sum()


# %% [markdown]
# **Exercise 4.** Both members of a pair get the seed of the pair. The common mistake is to use the same seed
# for *all* pairs, too: then the noise of $F$ is the same in all of them, and does not average out.


# %% tags=["wrong-4"]
def evolution_common(F, phi, sigma, pairs, seed):
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(phi)
    for _ in range(pairs):
        noise = torch.randn(phi.shape, generator=generator)
        difference = F(phi + sigma * noise, seed) - F(phi - sigma * noise, seed)
        total = total + noise * difference / (2 * sigma)
    return total / pairs


# %% tags=["solution-4"]
def evolution_common(F, phi, sigma, pairs, seed):
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(phi)
    for pair in range(pairs):
        noise = torch.randn(phi.shape, generator=generator)
        own = seed * pairs + pair
        difference = F(phi + sigma * noise, own) - F(phi - sigma * noise, own)
        total = total + noise * difference / (2 * sigma)
    return total / pairs


# %% [markdown]
# **For discussion.** (a) With one outer variable Adam removes the factor completely, as long as the sign is
# right. With many the bias also changes the direction, unless symmetry gives every entry the same factor; no
# common scale removes that. (b) If actions are continuous and reparametrized, one can differentiate through
# the simulator (pathwise derivatives), and needs none of them; discrete actions still need a score function.
# (c) In `dice` and `loaded-dice` a critic can be the baseline: a baseline that is wrong, but does not depend
# on the round's action, adds variance and no bias. If the critic also replaces later *rewards*
# (bootstrapping, `gae_lambda` below 1), its error becomes a bias.

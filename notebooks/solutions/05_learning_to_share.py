# %% [markdown]
# # Solutions of `05_learning_to_share`
#
# **Exercise 1.** Digging costs agent $i$ 1, of which it keeps $T_{ii}$. It is worth 3 to agent $i - 1$,
# which gives $T_{i-1,i}$ of that to $i$. What $i$ itself gives away matters only through $T_{ii}$. The common
# mistake is to use the share that $i$ gives.

# %% tags=["wrong-1"]
def digs(T):
    n = len(T)
    return torch.stack([3 * T[i, (i + 1) % n] - T[i, i] > 0 for i in range(n)])


# %% tags=["solution-1"]
def digs(T):
    return torch.stack([3 * T[i - 1, i] - T[i, i] > 0 for i in range(len(T))])


# %% [markdown]
# **Exercise 2.** `detach()` after each update cuts all of them, as the welfare is computed from what it
# returns. The common mistake is to remove it from the last update only: then the gradient is that of
# truncation to one update.


# %% tags=["wrong-2"]
def repaired(phi, theta, K):
    phi = phi.detach().requires_grad_()
    for _ in range(K):
        theta = learn(theta.detach(), matrix(phi), 1)
    return torch.autograd.grad(rewards(theta.sigmoid()).sum(), phi)[0]


# %% tags=["solution-2"]
def repaired(phi, theta, K):
    phi = phi.detach().requires_grad_()
    theta = learn(theta, matrix(phi), K)
    return torch.autograd.grad(rewards(theta.sigmoid()).sum(), phi)[0]


# %% [markdown]
# **Exercise 3.** Two shares act on agent $i$: the one that it keeps and the one that agent $i - 1$ gives to
# it. Each changes $\theta_i'$, and that changes the welfare by $2 p_i' (1 - p_i')$. The common mistake
# takes this last derivative at the old policies.


# %% tags=["wrong-3"]
def share_slopes(theta, T, rate):
    p = theta.sigmoid()
    factor = 2 * p * (1 - p) * rate * p * (1 - p)
    return -torch.diag(factor) + 3 * torch.diag(factor).roll(-1, 0)


# %% tags=["solution-3"]
def share_slopes(theta, T, rate):
    p = theta.sigmoid()
    gain = 3 * T.roll(1, 0).diagonal() - T.diagonal()
    after = (theta + rate * p * (1 - p) * gain).sigmoid()
    factor = 2 * after * (1 - after) * rate * p * (1 - p)
    return -torch.diag(factor) + 3 * torch.diag(factor).roll(
        -1, 0
    )  # row i - 1, column i


# %% [markdown]
# **Exercise 4.** The common mistake is to go on with the policies of the last seed: only the first seed then
# starts anew.


# %% tags=["wrong-4"]
def success_rate(T, new, learn, welfare, rounds, seeds, threshold):
    theta, successes = new(0), 0
    for _ in range(seeds):
        for _ in range(rounds):
            theta = learn(theta, T)
        successes += welfare(theta) > threshold
    return successes / seeds


# %% tags=["solution-4"]
def success_rate(T, new, learn, welfare, rounds, seeds, threshold):
    successes = 0
    for seed in range(seeds):
        theta = new(seed)
        for _ in range(rounds):
            theta = learn(theta, T)
        successes += welfare(theta) > threshold
    return successes / seeds


# %% [markdown]
# **For discussion.** (a) Joint, alternating, and curricula without new policies. What cannot be tested is
# whether newly initialized agents would learn to cooperate under the sharing: cooperation may be left over
# from earlier training. (b) The derivative of the cost itself, so agents would only learn to give less. (c)
# The gradient does not go through updates, so not in the first sense. Both policies are trained in
# alternation, with a critic in between, so hardly in the second. It is trained from rewards as a whole,
# which is what most people mean by "end to end"; so define the term when you use it.

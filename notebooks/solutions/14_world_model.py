# %% [markdown]
# # Solutions of `14_world_model`
#
# **Exercise 1.** All losses are functions of the latents, so all of them train the encoder. Each other
# network appears in one loss. The common mistake is to give the encoder the reconstruction loss alone, as
# in staged training.


# %% tags=["wrong-1"]
def trained_by(part):
    names = {"encoder": "reconstruction", "decoder": "reconstruction"}
    return [{**names, "dynamics": "dynamics", "controller": "policy"}[part]]


# %% tags=["solution-1"]
def trained_by(part):
    return {
        "encoder": ["reconstruction", "dynamics", "policy"],
        "decoder": ["reconstruction"],
        "dynamics": ["dynamics"],
        "controller": ["policy"],
    }[part]


# %% [markdown]
# **Exercise 2.** The error is $q e x - e x'$. With the stop-gradient only the prediction depends on $e$:
# error times $q x$. Without it the target does, too: error times $(q x - x')$. At $e = 0$ the loss is 0 for
# all data: a constant latent is perfectly predictable. The mistake stops the gradient of the prediction
# instead.


# %% tags=["wrong-2"]
def encoder_slopes(e, q, x, x_next):
    error = q * e * x - e * x_next
    return -error * x_next, error * (q * x - x_next)


# %% tags=["solution-2"]
def encoder_slopes(e, q, x, x_next):
    error = q * e * x - e * x_next
    with_stop = error * q * x
    without = error * (q * x - x_next)
    return with_stop, without


# %% [markdown]
# **Exercise 3.** Sum backward in time: the sum from $t$ on is $r_t$ plus $\gamma$ times the sum from $t + 1$
# on. The mean of the other copies is the total minus the copy's own sum, divided by their number. The mistake
# subtracts the mean over all copies.


# %% tags=["wrong-3"]
def advantages(rewards, discount):
    later, sums = torch.zeros_like(rewards[0]), []
    for reward in rewards.flip(0):
        later = reward + discount * later
        sums.append(later)
    sums = torch.stack(sums).flip(0)
    return sums - sums.mean(1, keepdim=True)


# %% tags=["solution-3"]
def advantages(rewards, discount):
    later, sums = torch.zeros_like(rewards[0]), []
    for reward in rewards.flip(0):
        later = reward + discount * later
        sums.append(later)
    sums = torch.stack(sums).flip(0)
    others = (sums.sum(1, keepdim=True) - sums) / (rewards.shape[1] - 1)
    return sums - others


# %% [markdown]
# **Exercise 4.** With $p = \operatorname{softmax}(\varphi)$ the derivative of $w_k = N p_k$ in $\varphi_j$ is
# $N p_k (\delta_{kj} - p_j)$, so that $\partial V / \partial \varphi_j = N p_j (s_j - \sum_k p_k s_k)$ for
# slopes $s$. Its sum is 0. The mistake subtracts the plain mean, which is right only for equal weights.


# %% tags=["wrong-4"]
def logit_slopes(phi, slopes):
    return len(phi) * phi.softmax(0) * (slopes - slopes.mean())


# %% tags=["solution-4"]
def logit_slopes(phi, slopes):
    p = phi.softmax(0)
    return len(phi) * p * (slopes - p @ slopes)


# %% [markdown]
# **For discussion.** (a) A large weight of the dynamics, and small weights of losses that make latents
# harder to predict. (The latents could also become small, which is why such a validation loss is a bad
# choice.) (b) Then the dynamics loss represents it, too, as it is predictable; only the policy loss
# ignores it. (c) Features that are useful later, for instance for states that the policy does not visit
# yet.

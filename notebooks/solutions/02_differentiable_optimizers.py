# %% [markdown]
# # Solutions of `02_differentiable_optimizers`
#
# **Exercise 1.** $\sqrt{(1 - \beta)\, g^2} = c\,|g|$ with $c = \sqrt{1 - \beta}$. For $g > 0$ the quotient
# rule gives
# $\frac{(cg + \varepsilon) - g c}{(cg + \varepsilon)^2} = \frac{\varepsilon}{(cg + \varepsilon)^2}$; the
# update is odd, so its slope is even. The common mistake treats the denominator as a constant, and
# finds $1 / (c\,|g| + \varepsilon)$: huge, where the true value is nearly 0. (Detaching $v$ in code does
# exactly this.)

# %% tags=["wrong-1"]
def rmsprop_slope(g, beta, epsilon):
    return 1 / ((1 - beta) ** 0.5 * abs(g) + epsilon)


# %% tags=["solution-1"]
def rmsprop_slope(g, beta, epsilon):
    return epsilon / ((1 - beta) ** 0.5 * abs(g) + epsilon) ** 2


# %% [markdown]
# **Exercise 2.** Two lines. The mistake below computes the weights bit-for-bit correctly, but detaches the
# momentum buffer from its history, as an in-place update under `no_grad` would.


# %% tags=["wrong-2"]
def momentum_step(theta, trace, phi, rate, mu):
    g = grad(lambda weights: training_loss(predict(weights, inputs), phi))(theta)
    new_trace = mapped(lambda b, g: mu * b.detach() + g, trace, g)
    new_theta = mapped(lambda weight, b: weight - rate * b, theta, new_trace)
    return new_theta, new_trace


# %% tags=["solution-2"]
def momentum_step(theta, trace, phi, rate, mu):
    g = grad(lambda weights: training_loss(predict(weights, inputs), phi))(theta)
    new_trace = mapped(lambda b, g: mu * b + g, trace, g)
    new_theta = mapped(lambda weight, b: weight - rate * b, theta, new_trace)
    return new_theta, new_trace


# %% [markdown]
# **Exercise 3.** Start from the checkpoint and take the same steps again. The last segment may be shorter;
# the mistake forgets that.


# %% tags=["wrong-3"]
def segmented(phi, steps, every):
    theta, checkpoints = START, {}
    for k in range(steps):
        if k % every == 0:
            checkpoints[k] = theta
        theta = sgd_step(theta, phi)
    a = grad(lambda weights: validation_loss(predict(weights, checked)))(theta)
    total = torch.zeros_like(phi)
    for first in sorted(checkpoints, reverse=True):
        segment = [checkpoints[first]]
        for _ in range(every - 1):
            segment.append(sgd_step(segment[-1], phi))
        for theta in reversed(segment):
            _, vjp = torch.func.vjp(sgd_step, theta, phi)
            a, contribution = vjp(a)
            total = total + contribution
    return total


# %% tags=["solution-3"]
def segmented(phi, steps, every):
    theta, checkpoints = START, {}
    for k in range(steps):
        if k % every == 0:
            checkpoints[k] = theta
        theta = sgd_step(theta, phi)
    a = grad(lambda weights: validation_loss(predict(weights, checked)))(theta)
    total = torch.zeros_like(phi)
    for first in sorted(checkpoints, reverse=True):
        segment = [checkpoints[first]]
        for _ in range(first + 1, min(first + every, steps)):
            segment.append(sgd_step(segment[-1], phi))
        for theta in reversed(segment):
            _, vjp = torch.func.vjp(sgd_step, theta, phi)
            a, contribution = vjp(a)
            total = total + contribution
    return total


# %% [markdown]
# **For discussion.** (a) The random seed of every step, or the masks: a step that draws a new mask when it
# is recomputed is a different step. (b) With $K$ steps and one in $n$ stored there are $K / n$ checkpoints
# and $n$ recomputed states at a time; the sum is smallest at $n = \sqrt{K}$. (c) At the hypergradient:
# print it. `None` or exactly 0: the graph is cut. A number that differs from finite differences: something
# is detached along the trajectory.

# %% [markdown]
# # Solutions of `09_learning_loss_weights`
#
# **Exercise 1.** The boxed equation, for all losses at once: a matrix times a vector. The common mistake is
# the sign: a positive derivative means that $V$ *increases*, but a useful loss decreases it.


# %% tags=["wrong-1"]
def slopes(validation_gradient, loss_gradients, rate):
    return rate * loss_gradients @ validation_gradient


# %% tags=["solution-1"]
def slopes(validation_gradient, loss_gradients, rate):
    return -rate * loss_gradients @ validation_gradient


# %% [markdown]
# **Exercise 2.** A gradient step from 0 with learning rate 1 gives minus the slopes. Divide by the sum only
# if it is positive; the mistake gives `nan` if no loss decreases $V$.


# %% tags=["wrong-2"]
def reweight(slopes):
    positive = (-slopes).clamp(min=0)
    return positive / positive.sum()


# %% tags=["solution-2"]
def reweight(slopes):
    positive = (-slopes).clamp(min=0)
    total = positive.sum()
    return positive / total if total > 0 else positive


# %% [markdown]
# **Exercise 3.** A sample's gradient is its residual times its input. At $w = 0$ the step does not change
# $\theta$, so $\nabla V$ is evaluated at $\theta$ itself. A wrong label changes the residual: where it
# flips the sign, a step on the sample increases the loss of the verified samples, and its derivative is
# positive. The mistake uses the sum of the verified losses instead of their mean.


# %% tags=["wrong-3"]
def sample_slopes(theta, x, y, x_verified, y_verified, rate):
    gradients = (x @ theta - y)[:, None] * x
    validation_gradient = (x_verified @ theta - y_verified) @ x_verified
    return -rate * gradients @ validation_gradient


# %% tags=["solution-3"]
def sample_slopes(theta, x, y, x_verified, y_verified, rate):
    gradients = (x @ theta - y)[:, None] * x
    total = (x_verified @ theta - y_verified) @ x_verified
    return -rate * gradients @ total / len(x_verified)


# %% [markdown]
# **For discussion.** (a) A small one: within one step it has only a cost. `implicit`, or `unrolled` over
# many steps, would see more of its benefit. (b) With Adam, almost none: only the ratios between the losses
# count. (c) There is no single answer; but the images that the weights were learned from must not be used
# for testing.

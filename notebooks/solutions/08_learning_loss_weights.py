# %% [markdown]
# # Solutions of `08_learning_loss_weights`
#
# **Exercise 1.** The box, for all losses at once: a matrix times a vector. The common mistake is the sign: a
# slope says how $V$ *rises*, and a helpful loss makes it fall.


# %% tags=["wrong-1"]
def slopes(validation_gradient, loss_gradients, rate):
    return rate * loss_gradients @ validation_gradient


# %% tags=["solution-1"]
def slopes(validation_gradient, loss_gradients, rate):
    return -rate * loss_gradients @ validation_gradient


# %% [markdown]
# **Exercise 2.** Down the slope from 0 is minus the slope. Divide by the sum only where there is one; the
# mistake gives `nan` where no loss helps.


# %% tags=["wrong-2"]
def reweight(slopes):
    helpful = (-slopes).clamp(min=0)
    return helpful / helpful.sum()


# %% tags=["solution-2"]
def reweight(slopes):
    helpful = (-slopes).clamp(min=0)
    total = helpful.sum()
    return helpful / total if total > 0 else helpful


# %% [markdown]
# **Exercise 3.** A sample's gradient is its residual times its input. At $w = 0$ nothing moves, so that
# $\nabla V$ is taken at $\theta$ itself. A wrong label changes the residual: where it turns the sign, the
# sample pulls away from where the checked ones want to go, and its slope is positive. The mistake takes
# the checked loss's sum for its mean.


# %% tags=["wrong-3"]
def sample_slopes(theta, x, y, x_checked, y_checked, rate):
    gradients = (x @ theta - y)[:, None] * x
    wanted = (x_checked @ theta - y_checked) @ x_checked
    return -rate * gradients @ wanted


# %% tags=["solution-3"]
def sample_slopes(theta, x, y, x_checked, y_checked, rate):
    gradients = (x @ theta - y)[:, None] * x
    wanted = (x_checked @ theta - y_checked) @ x_checked / len(x_checked)
    return -rate * gradients @ wanted


# %% [markdown]
# **For discussion.** (a) Little: one step ahead it only costs. `implicit`, or unrolled over many steps,
# would see more of its use. (b) To Adam alone, nearly nothing: only proportions between losses count. (c)
# There is no one answer; but what the weights were learned from must not be reported on.

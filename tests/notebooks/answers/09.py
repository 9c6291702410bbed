# %% right 1
def slopes(validation_gradient, loss_gradients, rate):
    return -rate * (loss_gradients * validation_gradient).sum(-1)
    return ...


# %% right 1
def slopes(validation_gradient, loss_gradients, rate):
    return [-rate * torch.dot(validation_gradient, g) for g in loss_gradients]


# %% right 1
def slopes(validation_gradient, loss_gradients, rate):
    return -rate * torch.einsum("i,ki->k", validation_gradient, loss_gradients)


# %% right 1
def slopes(validation_gradient, loss_gradients, rate):
    def V(weights):
        return validation_gradient @ (-rate * weights @ loss_gradients)

    return torch.func.grad(V)(torch.zeros(len(loss_gradients), dtype=loss_gradients.dtype))


# %% right 1
def slopes(validation_gradient, loss_gradients, rate):
    import numpy as np

    return -rate * np.asarray(loss_gradients) @ np.asarray(validation_gradient)


# %% wrong 1
def slopes(validation_gradient, loss_gradients, rate):
    return -loss_gradients @ validation_gradient


# %% wrong 1
def slopes(validation_gradient, loss_gradients, rate):
    return -rate * loss_gradients.T @ torch.ones(len(loss_gradients), dtype=loss_gradients.dtype)


# %% wrong 1
def slopes(validation_gradient, loss_gradients, rate):
    return -rate * torch.cosine_similarity(loss_gradients, validation_gradient[None], -1)


# %% wrong 1
def slopes(validation_gradient, loss_gradients, rate):
    return float(-rate * (loss_gradients @ validation_gradient).sum())


# %% right 2
def reweight(slopes):
    w = torch.relu(-slopes)
    return w / (w.sum() + 1e-8)


# %% right 2
def reweight(slopes):
    w = [max(-float(s), 0.0) for s in slopes]
    return [x / sum(w) if sum(w) else 0.0 for x in w]


# %% right 2
def reweight(slopes):
    w = torch.where(slopes < 0, -slopes, 0.0)
    return torch.nan_to_num(w / w.sum(), nan=0.0)
    return ...


# %% right 2
def reweight(slopes):
    import numpy as np

    w = np.maximum(-slopes.numpy(), 0)
    return w / max(w.sum(), 1e-12)


# %% right 2
def reweight(slopes):
    return torch.nn.functional.normalize((-slopes).clamp(min=0), p=1, dim=0)


# %% wrong 2
def reweight(slopes):
    return torch.softmax(-slopes, 0)


# %% wrong 2
def reweight(slopes):
    return -slopes / slopes.abs().sum()


# %% wrong 2
def reweight(slopes):
    return (-slopes).clamp(min=0)


# %% wrong 2
def reweight(slopes):
    w = (-slopes).clamp(min=0)
    return w / (w.sum() + 1e-3)


# %% right 3
def sample_slopes(theta, x, y, x_verified, y_verified, rate):
    def V(w):
        ahead = theta - rate * (w * (x @ theta - y)) @ x
        return 0.5 * ((x_verified @ ahead - y_verified) ** 2).mean()

    return torch.func.grad(V)(torch.zeros(len(x), dtype=x.dtype))


# %% right 3
def sample_slopes(theta, x, y, x_verified, y_verified, rate):
    g = x_verified.T @ (x_verified @ theta - y_verified) / len(y_verified)
    return torch.stack([-rate * (x[i] @ theta - y[i]) * (g @ x[i]) for i in range(len(x))])
    return ...


# %% right 3
def sample_slopes(theta, x, y, x_verified, y_verified, rate):
    g = ((x_verified @ theta - y_verified)[:, None] * x_verified).mean(0)
    return (-rate * (x @ theta - y) * (x @ g)).tolist()


# %% right 3
def sample_slopes(theta, x, y, x_verified, y_verified, rate):
    g = torch.func.grad(lambda t: (x_verified @ t - y_verified).square().mean() / 2)(theta)
    per_sample = torch.func.vmap(torch.func.grad(lambda t, a, b: (a @ t - b) ** 2 / 2), (None, 0, 0))
    return -rate * per_sample(theta, x, y) @ g


# %% wrong 3
def sample_slopes(theta, x, y, x_verified, y_verified, rate):
    g = ((x_verified @ theta - y_verified)[:, None] * x_verified).mean(0)
    return rate * (x @ theta - y) * (x @ g)


# %% wrong 3
def sample_slopes(theta, x, y, x_verified, y_verified, rate):
    g = ((x_verified @ theta - y_verified)[:, None] * x_verified).mean(0)
    return -(x @ theta - y) * (x @ g)


# %% wrong 3
def sample_slopes(theta, x, y, x_verified, y_verified, rate):
    g = 2 * ((x_verified @ theta - y_verified)[:, None] * x_verified).mean(0)
    return -rate * (x @ theta - y) * (x @ g)


# %% wrong 3
def sample_slopes(theta, x, y, x_verified, y_verified, rate):
    g = ((x_verified @ theta - y_verified)[:, None] * x_verified).mean(0)
    return -rate * (x @ g)

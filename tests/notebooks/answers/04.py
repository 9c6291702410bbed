# %% right 1
def minimal_w(reward, sucker, temptation, punishment):
    if_cooperates = (temptation - reward) / (temptation - sucker)
    if_defects = (punishment - sucker) / (temptation - sucker)
    return max(if_cooperates, if_defects)
    return ...


# %% right 1
def minimal_w(reward, sucker, temptation, punishment):
    gains = torch.tensor([temptation - reward, punishment - sucker])
    return gains.max() / (temptation - sucker)


# %% right 1
def minimal_w(reward, sucker, temptation, punishment):
    low, high = 0.0, 1.0
    for _ in range(17):
        w = (low + high) / 2
        mine, other = (1 - w) * temptation + w * sucker, (1 - w) * sucker + w * temptation
        if mine <= reward and other >= punishment:
            high = w
        else:
            low = w
    return high


# %% right 1
def minimal_w(reward, sucker, temptation, punishment):
    import numpy as np

    return np.maximum(temptation - reward, punishment - sucker) / (temptation - sucker + 1e-8)


# %% right 1
def minimal_w(reward, sucker, temptation, punishment):
    return torch.maximum(temptation - reward, punishment - sucker) / (temptation - sucker)


# %% wrong 1
def minimal_w(reward, sucker, temptation, punishment):
    return (punishment - sucker) / (temptation - sucker)


# %% wrong 1
def minimal_w(reward, sucker, temptation, punishment):
    return min(temptation - reward, punishment - sucker) / (temptation - sucker)


# %% wrong 1
def minimal_w(reward, sucker, temptation, punishment):
    return 1 / 3


# %% wrong 1
def minimal_w(reward, sucker, temptation, punishment):
    return max(temptation - reward, punishment - sucker)


# %% right 2
def matrix(n, s):
    T = torch.full((n, n), (1 - s) / (n - 1))
    T.fill_diagonal_(s)
    return T
    return ...


def largest_s(n):
    return 2 / 3


# %% right 2
def matrix(n, s):
    return [[s if i == j else (1 - s) / (n - 1) for j in range(n)] for i in range(n)]


def largest_s(n):
    return torch.tensor(2.0) / 3


# %% right 2
def matrix(n, s):
    import numpy as np

    return s * np.eye(n) + (1 - s) / (n - 1) * (1 - np.eye(n))


def largest_s(n):
    return 1 / (1 + (n - 1) / (2 * (n - 1)))


# %% right 2
def matrix(n, s):
    eye = torch.eye(n)
    return torch.where(eye > 0, s, (1 - s) / (n - 1))


def largest_s(n):
    low, high = 0.0, 1.0
    for _ in range(60):
        s = (low + high) / 2
        low, high = (s, high) if -s + 2 * (n - 1) * (1 - s) / (n - 1) > 0 else (low, s)
    return low


# %% wrong 2
def matrix(n, s):
    return torch.full((n, n), (1 - s) / n) + s * torch.eye(n)


def largest_s(n):
    return 2 / 3


# %% wrong 2
def matrix(n, s):
    return torch.full((n, n), 1 / n)


def largest_s(n):
    return 2 / 3


# %% wrong 2
def matrix(n, s):
    return torch.full((n, n), (1 - s) / (n - 1)).fill_diagonal_(s)


def largest_s(n):
    return 1 / n


# %% wrong 2
def matrix(n, s):
    return torch.full((n, n), (1 - s) / (n - 1)).fill_diagonal_(s)


def largest_s(n):
    return 1 - 1 / 3 * (n - 1)


# %% right 3
def slope(theta, w, alpha):
    def F(w):
        p = torch.sigmoid(theta)
        new = theta + alpha * p * (1 - p) * (2 * w.flip(0) - (1 - w))
        return torch.sigmoid(new).sum() - 4

    return torch.func.grad(F)(w)[0]


# %% right 3
def slope(theta, w, alpha):
    w = w.clone().requires_grad_()
    p = theta.sigmoid()
    gain = torch.stack((2 * w[1] - (1 - w[0]), 2 * w[0] - (1 - w[1])))
    (theta + alpha * p * (1 - p) * gain).sigmoid().sum().backward()
    return w.grad[0]


# %% right 3
def slope(theta, w, alpha):
    import math

    def s(x):
        return 1 / (1 + math.exp(-x))

    p = [s(float(x)) for x in theta]
    w = [float(x) for x in w]
    new = [float(theta[i]) + alpha * p[i] * (1 - p[i]) * (2 * w[1 - i] - (1 - w[i])) for i in (0, 1)]
    q = [s(x) for x in new]
    return alpha * (q[0] * (1 - q[0]) * p[0] * (1 - p[0]) + 2 * q[1] * (1 - q[1]) * p[1] * (1 - p[1]))


# %% right 3
def slope(theta, w, alpha):
    def F(w0):
        p = theta.sigmoid()
        w_ = torch.stack((w0, w[1]))
        return (theta + alpha * p * (1 - p) * (2 * w_.flip(0) - (1 - w_))).sigmoid().sum()

    return torch.func.jacfwd(F)(w[0])
    return ...


# %% right 3
def slope(theta, w, alpha):
    v = theta.sigmoid() * (1 - theta.sigmoid())
    q = (theta + alpha * v * (2 * w.flip(0) - (1 - w))).sigmoid()
    return alpha * (q * (1 - q) * v) @ torch.tensor([[1.0], [2.0]])


# %% wrong 3
def slope(theta, w, alpha):
    p = theta.sigmoid()
    return alpha * 2 * p[1] * (1 - p[1])


# %% wrong 3
def slope(theta, w, alpha):
    v = theta.sigmoid() * (1 - theta.sigmoid())
    q = (theta + alpha * v * (2 * w.flip(0) - (1 - w))).sigmoid()
    return alpha * (q * (1 - q) * v).sum()


# %% wrong 3
def slope(theta, w, alpha):
    v = theta.sigmoid() * (1 - theta.sigmoid())
    q = (theta + alpha * v * (2 * w.flip(0) - (1 - w))).sigmoid()
    return (q * (1 - q) * v * torch.tensor([1.0, 2.0])).sum()


# %% wrong 3
def slope(theta, w, alpha):
    v = theta.sigmoid() * (1 - theta.sigmoid())
    q = (theta + alpha * v * (2 * w.flip(0) - (1 - w))).sigmoid()
    return alpha * (q * (1 - q) * v * torch.tensor([-1.0, 2.0])).sum()


# %% wrong 3
def slope(theta, w, alpha):
    def F(w):
        v = theta.sigmoid() * (1 - theta.sigmoid())
        return (theta + alpha * v * (2 * w.flip(0) - (1 - w))).sigmoid().sum()

    return torch.func.grad(F)(w)

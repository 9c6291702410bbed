# %% right 1
def share_given(values, assumed, action):
    spread = values.max() - values.min()
    return ((values[action] - values @ assumed) / (spread + 1e-8)).clamp(min=0)


# %% right 1
def share_given(values, assumed, action):
    expected = (values * assumed).sum()
    spread = max(values) - min(values)
    if spread <= 0:
        return 0
    return max(0, (values[action] - expected) / spread)
    return ...


# %% right 1
def share_given(values, assumed, action):
    v, a = values.detach().tolist(), assumed.tolist()
    expected = sum(x * y for x, y in zip(v, a, strict=True))
    spread = max(v) - min(v)
    return max((v[action] - expected) / spread, 0) if spread else 0.0


# %% right 1
def share_given(values, assumed, action):
    import numpy as np

    v = values.numpy()
    share = (v[action] - np.dot(v, assumed.numpy())) / max(np.ptp(v), 1e-8)
    return np.clip(share, 0, 1)


# %% right 1
def share_given(values, assumed, action):
    w = (values[action] - torch.dot(values, assumed)) / (values.max() - values.min())
    return torch.nan_to_num(w, nan=0.0).relu()


# %% wrong 1
def share_given(values, assumed, action):
    return ((values[action] - values @ assumed) / values.max()).clamp(min=0)


# %% wrong 1
def share_given(values, assumed, action):
    return ((values[action] - values.mean()) / (values.max() - values.min() + 1e-8)).clamp(min=0)


# %% wrong 1
def share_given(values, assumed, action):
    return ((values[action] - values @ assumed) / (values.max() - values.min())).abs()


# %% wrong 1
def share_given(values, assumed, action):
    return (values - values @ assumed).clamp(min=0)[action]


# %% right 2
def row_slope(row, loss, change):
    mixed, rate = (row * loss).sum(), (row * change).sum()
    return (rate > 0) * (change * mixed - rate * loss) / mixed**2
    return ...


# %% right 2
def row_slope(row, loss, change):
    a, f, d = row.tolist(), loss.tolist(), change.tolist()
    mixed = sum(x * y for x, y in zip(a, f, strict=True))
    growth = sum(x * y for x, y in zip(a, d, strict=True)) / mixed
    return [(y - growth * x) / mixed if growth > 0 else 0 for x, y in zip(f, d, strict=True)]


# %% right 2
def row_slope(row, loss, change):
    import numpy as np

    a, f, d = row.numpy(), loss.numpy(), change.numpy()
    growth = np.dot(a, d) / np.dot(a, f)
    return np.where(growth > 0, (d - growth * f) / (a @ f + 1e-8), 0.0)


# %% right 2
def row_slope(row, loss, change):
    def rho(row):
        return 1 + torch.relu(torch.dot(row, change) / torch.dot(row, loss))

    steps = 1e-5 * torch.eye(len(row))
    return torch.stack([(rho(row + h) - rho(row - h)) / 2e-5 for h in steps])


# %% wrong 2
def row_slope(row, loss, change):
    return change / (row @ loss) if row @ change > 0 else 0 * row


# %% wrong 2
def row_slope(row, loss, change):
    mixed = row @ loss
    growth = (row @ change) / mixed
    return (growth > 0) * (change + growth * loss) / mixed


# %% wrong 2
def row_slope(row, loss, change):
    mixed = row @ loss
    return ((change - (row @ change) / mixed * loss) / mixed).relu()


# %% wrong 2
def row_slope(row, loss, change):
    return (change / loss).relu()


# %% right 3
def fixed_point(R, S, T, P):
    return torch.tensor(T + S - P) / (2 * T + S - P - R)


# %% right 3
def fixed_point(R, S, T, P):
    low, high = 1e-6, 1 - 1e-6
    while high - low > 5e-6:
        p = (low + high) / 2
        cooperate = p * (p * R + (1 - p) * R) + (1 - p) * (S + (1 - p) * T)
        defect = p * p * T + (1 - p) * P
        low, high = (p, high) if cooperate > defect else (low, p)
    return (low + high) / 2


# %% right 3
def fixed_point(R, S, T, P):
    from scipy.optimize import brentq

    def gain(p):
        return p * R + (1 - p) * (S + (1 - p) * T) - p * p * T - (1 - p) * P

    return brentq(gain, 1e-3, 1 - 1e-3)
    return ...


# %% right 3
def fixed_point(R, S, T, P):
    import numpy as np

    # R p + S (1 - p) + T (1 - p)^2 - T p^2 - P (1 - p) = 0: the squares cancel
    p = np.roots([R - S - 2 * T + P, S + T - P])
    return p[0]


# %% wrong 3
def fixed_point(R, S, T, P):
    return (T + S - P) / (2 * T + S - P - R) + 1e-3


# %% wrong 3
def fixed_point(R, S, T, P):
    return 0.5


# %% wrong 3
def fixed_point(R, S, T, P):
    return (T + S - P) / (T + S - P - R)


# %% wrong 3
def fixed_point(R, S, T, P):
    return 0.8

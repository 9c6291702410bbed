# %% right 1
def lola_by_hand(x, y, rate):
    return torch.tensor([y + 2 * rate * x, 2 * rate * y - x])
    return ...


# %% right 1
def lola_by_hand(x, y, rate):
    def first(x):
        return x * (y + rate * x)

    def second(y):
        return -(x - rate * y) * y

    h = 1e-4
    return [(first(x + h) - first(x - h)) / (2 * h), (second(y + h) - second(y - h)) / (2 * h)]


# %% right 1
def lola_by_hand(x, y, rate):
    import numpy as np

    return np.array([[2 * rate, 1.0], [-1.0, 2 * rate]]) @ np.array([x, y])


# %% right 1
def lola_by_hand(x, y, rate):
    x, y = torch.tensor(x), torch.tensor(y)
    return grad(lambda x: x * (y + rate * x))(x), grad(lambda y: -(x - rate * y) * y)(y)


# %% right 1
def lola_by_hand(x, y, rate):
    return through_the_step(lambda v: torch.stack((v.prod(), -v.prod())), torch.tensor([[x], [y]]), rate)


# %% wrong 1
def lola_by_hand(x, y, rate):
    return y, -x


# %% wrong 1
def lola_by_hand(x, y, rate):
    return y - 2 * rate * x, -x - 2 * rate * y


# %% wrong 1
def lola_by_hand(x, y, rate):
    return y + 2 * rate * x, x + 2 * rate * y


# %% wrong 1
def lola_by_hand(x, y, rate):
    return y + 2 * rate * x


# %% wrong 1
def lola_by_hand(x, y, rate):
    return y + rate * x, -x + rate * y


# %% wrong 1
def lola_by_hand(x, y, rate):
    return -y - 2 * rate * x, x - 2 * rate * y


# %% wrong 1
def lola_by_hand(x, y, rate):
    return -x + 2 * rate * y, y + 2 * rate * x


# %% right 2
def where_lola_stops(rate):
    return (2 - 4 * rate) / (2 - 8 * rate)
    return ...


# %% right 2
def where_lola_stops(rate):
    low, high = 0.0, 1000.0
    for _ in range(100):
        s = (low + high) / 2
        low, high = (s, high) if (1 - 2 * rate) * (2 * s - 2) < 4 * rate * s else (low, s)
    return low


# %% right 2
def where_lola_stops(rate):
    theta = torch.tensor([[0.5], [0.5]])
    for _ in range(3000):
        theta = theta - 0.1 * lola(tandem, theta, rate)
    return theta.sum()


# %% right 2
def where_lola_stops(rate):
    import numpy as np

    return np.linalg.solve([[2 * (1 - 2 * rate) - 4 * rate]], [2 * (1 - 2 * rate)])[0]


# %% wrong 2
def where_lola_stops(rate):
    return 4 / 3


# %% wrong 2
def where_lola_stops(rate):
    return (1 - 2 * rate) / (1 - 3 * rate)


# %% wrong 2
def where_lola_stops(rate):
    return 1 / (1 - 2 * rate)


# %% wrong 2
def where_lola_stops(rate):
    return 0.5 * (1 - 2 * rate) / (1 - 4 * rate)


# %% wrong 2
def where_lola_stops(rate):
    return 1.0


# %% right 3
def shaping_part(xi, xi_0, chi, rate, a=0.5, b=0.1):
    m = rate * (chi * xi_0).sum()
    p1 = torch.where(m > 0, (a * xi_0.square().sum() / m.clamp(min=1e-300)).clamp(max=1), 1.0)
    p2 = torch.where(xi.square().sum() < b**2, xi.square().sum(), 1.0)
    return torch.minimum(p1, p2)
    return ...


# %% right 3
def shaping_part(xi, xi_0, chi, rate, a=0.5, b=0.1):
    m = rate * torch.dot(chi, xi_0)
    parts = [torch.ones(())]
    if m > 0:
        parts.append(a * xi_0.norm() ** 2 / m)
    if xi.norm() < b:
        parts.append(xi.norm() ** 2)
    return torch.stack(parts).min()


# %% right 3
def shaping_part(xi, xi_0, chi, rate, a=0.5, b=0.1):
    import numpy as np

    xi, xi_0, chi = xi.numpy(), xi_0.numpy(), chi.numpy()
    m = rate * chi @ xi_0
    p1 = min(1.0, a * np.sum(xi_0**2) / (m + 1e-12)) if m > 0 else 1.0
    return min(p1, np.sum(xi**2)) if np.linalg.norm(xi) < b else p1


# %% right 3
def shaping_part(xi, xi_0, chi, rate, a=0.5, b=0.1):
    against = sum(float(rate * c * x) for c, x in zip(chi, xi_0, strict=True))
    size, small = sum(float(x) ** 2 for x in xi_0), sum(float(x) ** 2 for x in xi)
    p = 1.0
    if against > a * size:
        p = a * size / against
    return min(p, small) if small**0.5 < b else p


# %% wrong 3
def shaping_part(xi, xi_0, chi, rate, a=0.5, b=0.1):
    m = rate * (chi @ xi_0)
    return 1.0 if m <= 0 else min(1.0, float(a * (xi_0 @ xi_0) / m))


# %% wrong 3
def shaping_part(xi, xi_0, chi, rate, a=0.5, b=0.1):
    m = rate * (chi @ xi_0)
    p1 = 1.0 if m <= 0 else min(1.0, float(a * (xi_0 @ xi_0) / m))
    return min(p1, float(xi.norm())) if xi.norm() < b else p1


# %% wrong 3
def shaping_part(xi, xi_0, chi, rate, a=0.5, b=0.1):
    m = rate * (chi @ xi_0)
    p1 = 1.0 if m <= 0 else float(a * (xi_0 @ xi_0) / m)
    return min(p1, float(xi @ xi)) if xi.norm() < b else p1


# %% wrong 3
def shaping_part(xi, xi_0, chi, rate, a=0.5, b=0.1):
    m = chi @ xi_0
    p1 = 1.0 if m <= 0 else min(1.0, float(a * (xi_0 @ xi_0) / m))
    return min(p1, float(xi @ xi)) if xi.norm() < b else p1


# %% wrong 3
def shaping_part(xi, xi_0, chi, rate, a=0.5, b=0.1):
    p1 = min(1.0, float(a * (xi_0 @ xi_0) / (rate * (chi @ xi_0))))
    return min(p1, float(xi @ xi)) if xi.norm() < b else p1


# %% wrong 3
def shaping_part(xi, xi_0, chi, rate, a=0.5, b=0.1):
    m = rate * (chi @ xi_0)
    p1 = 1.0 if m <= 0 else min(1.0, float(a * (xi_0 @ xi_0) / m))
    return min(p1, float(xi @ xi)) if xi @ xi < b else p1


# %% right 4
def align(mine, yours, discount, beta):
    out = []
    for t in range(len(mine)):
        past = sum(discount ** (t - k) * mine[k] for k in range(t))
        out.append(float(mine[t] + beta * discount * past * yours[t]))
    return out
    return ...


# %% right 4
def align(mine, yours, discount, beta):
    time = torch.arange(len(mine))
    lag = time[:, None] - time
    weights = torch.where(lag > 0, float(discount) ** lag.clamp(min=0).double(), 0.0)
    return mine + beta * discount * (weights @ mine.double()) * yours


# %% right 4
def align(mine, yours, discount, beta):
    import numpy as np

    mine, yours = mine.numpy(), yours.numpy()
    past = np.zeros(len(mine))
    for t in range(1, len(mine)):
        past[t] = discount * (past[t - 1] + mine[t - 1])
    return mine + beta * discount * past * yours


# %% right 4
def align(mine, yours, discount, beta):
    pair = torch.stack((mine, yours))[:, :, None]
    return Alignment(weight=beta)(pair, discount)[0, :, 0]


# %% wrong 4
def align(mine, yours, discount, beta):
    out = []
    for t in range(len(mine)):
        past = sum(discount ** (t - k) * mine[k] for k in range(t + 1))
        out.append(mine[t] + beta * discount * past * yours[t])
    return torch.stack(out)


# %% wrong 4
def align(mine, yours, discount, beta):
    out = []
    for t in range(len(mine)):
        past = sum(discount ** (t - k) * yours[k] for k in range(t))
        out.append(mine[t] + beta * discount * past * mine[t])
    return torch.stack(out)


# %% wrong 4
def align(mine, yours, discount, beta):
    out = []
    for t in range(len(mine)):
        past = sum(discount ** (t - k) * mine[k] for k in range(t))
        out.append(mine[t] + beta * past * yours[t])
    return torch.stack(out)


# %% wrong 4
def align(mine, yours, discount, beta):
    return mine + beta * yours


# %% wrong 4
def align(mine, yours, discount, beta):
    out = []
    for t in range(1, len(mine)):
        past = sum(discount ** (t - k) * mine[k] for k in range(t))
        out.append(mine[t] + beta * discount * past * yours[t])
    return out


# %% wrong 4
def align(mine, yours, discount, beta):
    past, out = 0.0, []
    for own, other in zip(mine, yours, strict=True):
        out.append(own + beta * discount * past * other)
        past = discount * past + own
    return torch.stack(out)


# %% wrong 4
def align(mine, yours, discount, beta):
    return mine + beta * discount * (mine.cumsum(0) - mine) * yours

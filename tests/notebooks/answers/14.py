# %% right 1
def trained_by(part):
    own = {"decoder": "reconstruction", "dynamics": "dynamics", "controller": "policy"}
    return [own[part]] if part in own else ["policy", "dynamics", "reconstruction"]


# %% right 1
def trained_by(part):
    all_of_them = ("reconstruction", "dynamics", "policy")
    return all_of_them if part == "encoder" else all_of_them[PARTS.index(part) - 1]


# %% right 1
def trained_by(part):
    if part == "encoder":
        return {"reconstruction", "dynamics", "policy"}
    if part == "decoder":
        return "reconstruction"
    return "dynamics" if part == "dynamics" else "policy"
    return ...


# %% right 1
def trained_by(part):
    found = losses(theta, batch)
    theirs = initial(torch.Generator().manual_seed(5))
    found = losses(theirs, rollout(theirs, World(torch.Generator().manual_seed(6))))
    return [name for name in NAMES if gradient_norms(found[name], theirs)[PARTS.index(part)] > 0]


# %% wrong 1
def trained_by(part):
    return ["reconstruction", "dynamics", "policy"]


# %% wrong 1
def trained_by(part):
    rest = {"encoder": ["reconstruction", "dynamics"], "decoder": ["reconstruction"]}
    return {**rest, "dynamics": ["dynamics"], "controller": ["policy"]}[part]


# %% wrong 1
def trained_by(part):
    rest = {"encoder": list(NAMES), "decoder": ["reconstruction"], "controller": ["policy"]}
    return {**rest, "dynamics": ["dynamics", "policy"]}[part]


# %% wrong 1
def trained_by(part):
    return ["encoder"]


# %% wrong 1
def trained_by(part):
    rest = {"encoder": list(NAMES), "decoder": ["reconstruction"], "dynamics": ["dynamics"]}
    return {**rest, "controller": ["policy", "dynamics"]}[part]


# %% right 2
def encoder_slopes(e, q, x, x_next):
    return e * (q * x - x_next) * q * x, e * (q * x - x_next) ** 2


# %% right 2
def encoder_slopes(e, q, x, x_next):
    e = torch.as_tensor(e, dtype=torch.float64)

    def slope(stop):
        def loss(e):
            target = e * x_next
            return (q * e * x - (target.detach() if stop else target)) ** 2 / 2

        return torch.func.grad(loss)(e)

    return [slope(True), slope(False)]


# %% right 2
def encoder_slopes(e, q, x, x_next):
    import numpy as np

    error = q * e * x - e * x_next
    return error * np.array([q * x, q * x - x_next])


# %% right 2
def encoder_slopes(e, q, x, x_next):
    with_stop = (q * e * x - e * x_next) * q * x
    return with_stop, with_stop - (q * e * x - e * x_next) * x_next
    return ...


# %% wrong 2
def encoder_slopes(e, q, x, x_next):
    error = q * e * x - e * x_next
    return error * (q * x - x_next), error * q * x


# %% wrong 2
def encoder_slopes(e, q, x, x_next):
    error = q * e * x - e * x_next
    return error * q * x, error * (q * x + x_next)


# %% wrong 2
def encoder_slopes(e, q, x, x_next):
    error = q * e * x - e * x_next
    return error * x, error * (x - x_next)


# %% wrong 2
def encoder_slopes(e, q, x, x_next):
    error = q * e * x - e * x_next
    return 0.0, error * (q * x - x_next)


# %% wrong 2
def encoder_slopes(e, q, x, x_next):
    error = e * x_next - q * e * x
    return error * q * x, error * (q * x - x_next)


# %% wrong 2
def encoder_slopes(e, q, x, x_next):
    return (q * e * x - e * x_next) * q * x


# %% right 3
def advantages(rewards, discount):
    time, copies = rewards.shape
    later = torch.zeros_like(rewards)
    for t in range(time):
        for k in range(t, time):
            later[t] += discount ** (k - t) * rewards[k]
    return (later - later.mean(1, keepdim=True)) * copies / (copies - 1)


# %% right 3
def advantages(rewards, discount):
    steps = torch.arange(len(rewards))
    power = steps[None, :] - steps[:, None]
    later = (discount ** power.clamp(min=0) * (power >= 0)).to(rewards) @ rewards
    return later - (later.sum(1, keepdim=True) - later) / (rewards.shape[1] - 1)
    return ...


# %% right 3
def advantages(rewards, discount):
    later = rewards.clone()
    for t in range(len(rewards) - 2, -1, -1):
        later[t] += discount * later[t + 1]
    others = [[(sum(row) - own) / (len(row) - 1) for own in row] for row in later.tolist()]
    return later - torch.tensor(others)


# %% right 3
def advantages(rewards, discount):
    import numpy as np

    r = rewards.numpy()
    later = np.array([sum(discount**k * r[t + k] for k in range(len(r) - t)) for t in range(len(r))])
    return later - (later.sum(1, keepdims=True) - later) / (r.shape[1] - 1)


# %% wrong 3
def advantages(rewards, discount):
    later = rewards.flip(0).cumsum(0).flip(0)
    return later - (later.sum(1, keepdim=True) - later) / (rewards.shape[1] - 1)


# %% wrong 3
def advantages(rewards, discount):
    return rewards - rewards.mean(1, keepdim=True)


# %% wrong 3
def advantages(rewards, discount):
    sums, before = [], torch.zeros_like(rewards[0])
    for reward in rewards:
        before = reward + discount * before
        sums.append(before)
    sums = torch.stack(sums)
    return sums - (sums.sum(1, keepdim=True) - sums) / (rewards.shape[1] - 1)


# %% wrong 3
def advantages(rewards, discount):
    later = rewards.clone()
    for t in range(len(rewards) - 2, -1, -1):
        later[t] += discount * later[t + 1]
    return later


# %% wrong 3
def advantages(rewards, discount):
    later = rewards.clone()
    for t in range(len(rewards) - 2, -1, -1):
        later[t] += discount * later[t + 1]
    return later - later.mean(1, keepdim=True)


# %% wrong 3
def advantages(rewards, discount):
    later = rewards.clone()
    for t in range(len(rewards) - 2, -1, -1):
        later[t] += discount * later[t + 1]
    return later - (later.sum(1, keepdim=True) - later)


# %% wrong 3
def advantages(rewards, discount):
    powers = discount ** torch.arange(len(rewards), dtype=torch.float64)
    total = powers @ rewards
    return total - (total.sum() - total) / (len(total) - 1)


# %% right 4
def logit_slopes(phi, slopes):
    w = len(phi) * phi.softmax(0)
    return w * slopes - w * (w * slopes).mean()
    return ...


# %% right 4
def logit_slopes(phi, slopes):
    p = phi.softmax(-1)
    jacobian = torch.diag(p) - torch.outer(p, p)
    return len(phi) * jacobian @ slopes


# %% right 4
def logit_slopes(phi, slopes):
    return torch.func.grad(lambda phi: len(phi) * phi.softmax(0) @ slopes)(phi)


# %% right 4
def logit_slopes(phi, slopes):
    import math

    e = [math.exp(float(value)) for value in phi]
    p = [value / sum(e) for value in e]
    mean = sum(a * float(s) for a, s in zip(p, slopes))
    return [len(p) * a * (float(s) - mean) for a, s in zip(p, slopes)]


# %% wrong 4
def logit_slopes(phi, slopes):
    p = phi.softmax(0)
    return p * (slopes - p @ slopes)


# %% wrong 4
def logit_slopes(phi, slopes):
    return len(phi) * phi.softmax(0) * slopes


# %% wrong 4
def logit_slopes(phi, slopes):
    p = phi.softmax(0)
    return -len(phi) * p * (slopes - p @ slopes)


# %% wrong 4
def logit_slopes(phi, slopes):
    p = phi.softmax(0)
    return len(phi) * (slopes - p @ slopes)


# %% wrong 4
def logit_slopes(phi, slopes):
    return len(phi) * phi.softmax(0) * (slopes - slopes.mean())

# %% right 1
def digs(T):
    n = len(T)
    return [bool(3 * T[(i - 1) % n, i] > T[i, i]) for i in range(n)]


# %% right 1
def digs(T):
    return 3 * T.roll(1, 0).diagonal() > T.diagonal()
    return ...


# %% right 1
def digs(T):
    cost, benefit = T.diagonal(), 3 * torch.diagonal(torch.roll(T, 1, 0))
    return (benefit - cost).sign().clamp(min=0)


# %% right 1
def digs(T):
    i = torch.arange(len(T))
    return 3 * T[i - 1, i] - T[i, i] > 1e-8


# %% right 1
def digs(T):
    import numpy as np

    T = T.detach().numpy()
    return np.array([3 * T[i - 1][i] > T[i][i] for i in range(len(T))])


# %% wrong 1
def digs(T):
    return 3 * T.diagonal() > 1


# %% wrong 1
def digs(T):
    return bool((3 * T.roll(1, 0).diagonal() > T.diagonal()).all())


# %% wrong 1
def digs(T):
    return T.roll(1, 0).diagonal() > T.diagonal()


# %% wrong 1
def digs(T):
    return 3 * T.roll(-1, 0).diagonal() > T.diagonal()


# %% right 2
def alternating(theta, phi, outer, rounds, learn, outer_step):
    for _ in range(outer):
        for _ in range(rounds):
            theta = learn(theta.detach(), phi)
        theta, phi = outer_step(theta.detach(), phi.detach())
    return theta, phi
    return ...


def staged(theta, phi, outer, stage, learn, outer_step, new):
    for _ in range(stage):
        theta, phi = outer_step(theta, phi)
    theta = new()
    for _ in range(outer - stage):
        theta = learn(theta, phi.detach())
    return theta, phi


# %% right 2
def alternating(theta, phi, outer, rounds, learn, outer_step):
    for k in range(outer * (rounds + 1)):
        if (k + 1) % (rounds + 1):
            theta = learn(theta, phi)
        else:
            theta, phi = outer_step(theta, phi)
    return [theta, phi]


def staged(theta, phi, outer, stage, learn, outer_step, new):
    for k in range(outer):
        if k == stage:
            theta = new()
        if k < stage:
            theta, phi = outer_step(theta, phi)
        else:
            theta = learn(theta, phi)
    return [theta, phi]


# %% right 2
def alternating(theta, phi, outer, rounds, learn, outer_step):
    if outer == 0:
        return theta, phi
    for _ in range(rounds):
        theta = learn(theta, phi)
    return alternating(*outer_step(theta, phi), outer - 1, rounds, learn, outer_step)


def staged(theta, phi, outer, stage, learn, outer_step, new):
    _, phi = alternating(theta, phi, stage, 0, learn, outer_step)
    theta = new()
    done = stage
    while done < outer:
        theta = learn(theta, phi)
        done += 1
    return theta, phi


# %% right 2
def alternating(theta, phi, outer, rounds, learn, outer_step):
    history = [(theta, phi)]
    for _ in range(outer):
        theta, phi = history[-1]
        for _ in range(rounds):
            theta = learn(theta, phi)
        history.append(outer_step(theta, phi))
    return history[-1]


def staged(theta, phi, outer, stage, learn, outer_step, new):
    pair = theta, phi
    for _ in range(stage):
        pair = outer_step(*pair)
    theta, phi = new(), pair[1]
    for _ in range(stage, outer):
        theta = learn(theta, phi)
    return theta, phi


# %% wrong 2
def alternating(theta, phi, outer, rounds, learn, outer_step):
    for _ in range(outer):
        theta, phi = outer_step(theta, phi)
        for _ in range(rounds):
            theta = learn(theta, phi)
    return theta, phi


def staged(theta, phi, outer, stage, learn, outer_step, new):
    for _ in range(stage):
        theta, phi = outer_step(theta, phi)
    theta = new()
    for _ in range(outer - stage):
        theta = learn(theta, phi)
    return theta, phi


# %% wrong 2
def alternating(theta, phi, outer, rounds, learn, outer_step):
    for _ in range(outer):
        for _ in range(rounds):
            theta = learn(theta, phi)
        theta, phi = outer_step(theta, phi)
    return theta, phi


def staged(theta, phi, outer, stage, learn, outer_step, new):
    for _ in range(stage):
        theta, phi = outer_step(theta, phi)
    theta = new()
    for _ in range(outer):
        theta = learn(theta, phi)
    return theta, phi


# %% wrong 2
def alternating(theta, phi, outer, rounds, learn, outer_step):
    for _ in range(outer):
        for _ in range(rounds):
            learn(theta, phi)
        theta, phi = outer_step(theta, phi)
    return theta, phi


def staged(theta, phi, outer, stage, learn, outer_step, new):
    for _ in range(stage):
        theta, phi = outer_step(theta, phi)
    theta = new()
    for _ in range(outer - stage):
        theta = learn(theta, phi)
    return theta, phi


# %% wrong 2
def alternating(theta, phi, outer, rounds, learn, outer_step):
    for _ in range(outer):
        for _ in range(rounds):
            theta = learn(theta, phi)
        theta, phi = outer_step(theta, phi)
    return theta


def staged(theta, phi, outer, stage, learn, outer_step, new):
    return theta, phi


# %% right 3
def minimal_transfer(n):
    T = torch.zeros(n, n)
    for i in range(n):
        T[i, i], T[i, (i + 1) % n] = 3 / 4, 1 / 4
    return T
    return ...


# %% right 3
def minimal_transfer(n):
    import numpy as np

    return 0.75 * np.eye(n) + 0.25 * np.roll(np.eye(n), 1, axis=1)


# %% right 3
def minimal_transfer(n):
    return [[{0: 0.75, 1: 0.25}.get((j - i) % n, 0.0) for j in range(n)] for i in range(n)]


# %% right 3
def minimal_transfer(n):
    logits = torch.full((n, n), -torch.inf)
    i = torch.arange(n)
    logits[i, i], logits[i, (i + 1) % n] = torch.tensor(3.0).log(), 0.0
    return logits.softmax(-1)


# %% right 3
def minimal_transfer(n):
    own = torch.eye(n)
    return 0.749995 * own + 0.250005 * own.roll(1, 1)


# %% wrong 3
def minimal_transfer(n):
    own = torch.eye(n)
    return 0.75 * own + 0.25 * own.roll(-1, 1)


# %% wrong 3
def minimal_transfer(n):
    return torch.full((n, n), 1 / n)


# %% wrong 3
def minimal_transfer(n):
    own = torch.eye(n)
    return 0.5 * own + 0.5 * own.roll(1, 1)


# %% wrong 3
def minimal_transfer(n):
    own = torch.eye(n)
    return own + 0.25 * own.roll(1, 1)

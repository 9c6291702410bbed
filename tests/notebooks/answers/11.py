# %% right 1
def episodes_for(ratio, agents):
    return (agents - 1) * ratio * ratio
    return ...


# %% right 1
def episodes_for(ratio, agents):
    return torch.tensor(ratio).square() * (agents - 1)


# %% right 1
def episodes_for(ratio, agents):
    import numpy as np

    return np.float64(ratio) ** 2 * np.sum(np.ones(agents - 1))


# %% right 1
def episodes_for(ratio, agents):
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (middle / (agents - 1)) ** 0.5 < ratio else (low, middle)
    return low


# %% wrong 1
def episodes_for(ratio, agents):
    return ratio**2 * agents


# %% wrong 1
def episodes_for(ratio, agents):
    return (ratio / (agents - 1)) ** 0.5


# %% wrong 1
def episodes_for(ratio, agents):
    return ratio**2 * (agents - 1) ** 2


# %% wrong 1
def episodes_for(ratio, agents):
    return agents - 1


# %% wrong 1
def episodes_for(ratio, agents):
    return ratio * (agents - 1)


# %% wrong 1
def episodes_for(ratio, agents):
    return ratio**2 * (agents - 1) + 1


# %% right 2
def signal_to_noise(effects, i, noise):
    others = torch.cat((effects[:i], effects[i + 1 :]))
    return (effects[i] / 4) / ((others.square().sum() / 4 + noise**2) / 4).sqrt()
    return ...


# %% right 2
def signal_to_noise(effects, i, noise):
    total = 4 * noise**2
    for k, e in enumerate(effects.tolist()):
        total += e**2 if k != i else 0.0
    return float(effects[i]) / total**0.5


# %% right 2
def signal_to_noise(effects, i, noise):
    import numpy as np

    e = effects.numpy()
    return e[i] / np.sqrt(np.sum(np.delete(e, i) ** 2) + (2 * noise) ** 2 + 1e-12)


# %% right 2
def signal_to_noise(effects, i, noise):
    mask = torch.arange(len(effects)) != i
    spread = torch.cat((effects[mask] / 2, torch.tensor([float(noise)]))).norm()
    return effects[i] / (2 * spread)


# %% wrong 2
def signal_to_noise(effects, i, noise):
    return effects[i] / (effects.square().sum() + 4 * noise**2).sqrt()


# %% wrong 2
def signal_to_noise(effects, i, noise):
    return effects[i] / (effects.square().sum() - effects[i] ** 2).sqrt()


# %% wrong 2
def signal_to_noise(effects, i, noise):
    return effects[i].abs() / (effects.square().sum() - effects[i] ** 2 + 4 * noise**2).sqrt()


# %% wrong 2
def signal_to_noise(effects, i, noise):
    return effects[i] ** 2 / (effects.square().sum() - effects[i] ** 2 + 4 * noise**2)


# %% wrong 2
def signal_to_noise(effects, i, noise):
    return effects[i] / (effects.square().sum() - effects[i] ** 2 + noise**2 / 4).sqrt()


# %% right 3
def logit_slopes(phi, G, w, rate):
    phi = phi.clone().requires_grad_()
    total = rate * (phi.softmax(-1) * (w[:, None] * G).T).sum()
    return torch.autograd.grad(total, phi)[0]
    return ...


# %% right 3
def logit_slopes(phi, G, w, rate):
    n, T = len(w), phi.softmax(-1)
    out = torch.zeros(n, n)
    for j in range(n):
        s = torch.stack([rate * w[i] * G[i, j] for i in range(n)])
        for i in range(n):
            out[j, i] = T[j, i] * (s[i] - (T[j] * s).sum())
    return out.tolist()


# %% right 3
def logit_slopes(phi, G, w, rate):
    T, s = torch.exp(phi) / torch.exp(phi).sum(1, keepdim=True), rate * G.T * w
    jacobian = torch.diag_embed(T) - T[:, :, None] * T[:, None, :]
    return torch.einsum("jki,ji->jk", jacobian, s)


# %% right 3
def logit_slopes(phi, G, w, rate):
    import numpy as np

    e = np.exp(phi.numpy())
    T = e / e.sum(1, keepdims=True)
    s = (G * w[:, None] * rate).numpy().T
    return T * (s - (T * s).sum(1, keepdims=True))


# %% wrong 3
def logit_slopes(phi, G, w, rate):
    return rate * (w[:, None] * G).T


# %% wrong 3
def logit_slopes(phi, G, w, rate):
    T, s = phi.softmax(-1), (w[:, None] * G).T
    return T * (s - (T * s).sum(-1, keepdim=True))


# %% wrong 3
def logit_slopes(phi, G, w, rate):
    T, s = phi.softmax(-1), rate * (G * w).T
    return T * (s - (T * s).sum(-1, keepdim=True))


# %% wrong 3
def logit_slopes(phi, G, w, rate):
    T, s = phi.softmax(-1), rate * (w[:, None] * G).T
    return T * s


# %% wrong 3
def logit_slopes(phi, G, w, rate):
    T, s = phi.softmax(-1), rate * w[:, None] * G
    return T * (s - (T * s).sum(-1, keepdim=True))


# %% wrong 3
def logit_slopes(phi, G, w, rate):
    T, s = phi.softmax(-1), -rate * (w[:, None] * G).T
    return T * (s - (T * s).sum(-1, keepdim=True))


# %% wrong 3
def logit_slopes(phi, G, w, rate):
    return (rate * phi.softmax(-1) * (w[:, None] * G).T).sum(-1)


# %% right 4
def compare(methods, tuning_seeds, test_seeds):
    fewest = min(len(one[0]) for one in methods.values())
    out = {}
    for name in methods:
        settings, train, episodes = methods[name]
        best, least = None, float("inf")
        for one in list(settings)[:fewest]:
            middle = sorted(train(one, seed) for seed in tuning_seeds)[len(tuning_seeds) // 2]
            if middle < least:
                best, least = one, middle
        out[name] = episodes * sorted(train(best, seed) for seed in test_seeds)[len(test_seeds) // 2]
    return out
    return ...


# %% right 4
def compare(methods, tuning_seeds, test_seeds):
    import numpy as np

    trials = min(len(settings) for settings, _, _ in methods.values())

    def one(settings, train, episodes):
        table = np.array([[train(a, seed) for seed in tuning_seeds] for a in settings[:trials]])
        chosen = settings[int(np.median(table, 1).argmin())]
        return np.median([train(chosen, seed) for seed in test_seeds]) * episodes

    return {name: one(*triple) for name, triple in methods.items()}


# %% right 4
def compare(methods, tuning_seeds, test_seeds):
    trials = sorted(len(settings) for settings, _, _ in methods.values())[0]
    chosen = {}
    for name, (settings, train, _) in methods.items():
        medians = {a: statistics.median([train(a, s) for s in tuning_seeds]) for a in settings[:trials]}
        chosen[name] = min(medians, key=medians.get)
    return {
        name: statistics.median([episodes * train(chosen[name], s) for s in test_seeds])
        for name, (_, train, episodes) in methods.items()
    }


# %% right 4
def compare(methods, tuning_seeds, test_seeds):
    trials = min(len(settings) for settings, _, _ in methods.values())
    out = {}
    for name, (settings, train, episodes) in methods.items():
        tried = [torch.tensor([float(train(a, s)) for s in tuning_seeds]).median() for a in settings[:trials]]
        best = settings[int(torch.stack(tried).argmin())]
        out[name] = torch.tensor([float(train(best, s)) for s in test_seeds]).median() * episodes
    return out


# %% wrong 4
def compare(methods, tuning_seeds, test_seeds):
    out = {}
    for name, (settings, train, episodes) in methods.items():
        best = min(settings, key=lambda a: statistics.median(train(a, s) for s in tuning_seeds))
        out[name] = statistics.median(train(best, s) for s in test_seeds) * episodes
    return out


# %% wrong 4
def compare(methods, tuning_seeds, test_seeds):
    trials = min(len(settings) for settings, _, _ in methods.values())
    out = {}
    for name, (settings, train, episodes) in methods.items():
        best = min(settings[:trials], key=lambda a: statistics.median(train(a, s) for s in tuning_seeds))
        out[name] = statistics.median(train(best, s) for s in test_seeds)
    return out


# %% wrong 4
def compare(methods, tuning_seeds, test_seeds):
    trials = min(len(settings) for settings, _, _ in methods.values())
    out = {}
    for name, (settings, train, episodes) in methods.items():
        best = min(settings[:trials], key=lambda a: statistics.mean(train(a, s) for s in tuning_seeds))
        out[name] = statistics.mean(train(best, s) for s in test_seeds) * episodes
    return out


# %% wrong 4
def compare(methods, tuning_seeds, test_seeds):
    trials = min(len(settings) for settings, _, _ in methods.values())
    out = {}
    for name, (settings, train, episodes) in methods.items():
        best = min(settings[:trials], key=lambda a: statistics.median(train(a, s) for s in test_seeds))
        out[name] = statistics.median(train(best, s) for s in test_seeds) * episodes
    return out


# %% wrong 4
def compare(methods, tuning_seeds, test_seeds):
    trials = min(len(settings) for settings, _, _ in methods.values())
    out = {}
    for name, (settings, train, episodes) in methods.items():
        best = min(settings[:trials], key=lambda a: min(train(a, s) for s in tuning_seeds))
        out[name] = statistics.median(train(best, s) for s in test_seeds) * episodes
    return out


# %% wrong 4
def compare(methods, tuning_seeds, test_seeds):
    trials = min(len(settings) for settings, _, _ in methods.values())
    out = {}
    for name, (settings, train, episodes) in methods.items():
        best = min(settings[:trials], key=lambda a: statistics.median(train(a, s) for s in tuning_seeds))
        out[name] = statistics.mean(train(best, s) for s in test_seeds) * episodes
    return out


# %% wrong 4
def compare(methods, tuning_seeds, test_seeds):
    trials = min(len(settings) for settings, _, _ in methods.values())
    out = {}
    for name, (settings, train, episodes) in methods.items():
        out[name] = min(statistics.median(train(a, s) for s in tuning_seeds) for a in settings[:trials])
        out[name] *= episodes
    return out


# %% wrong 4
def compare(methods, tuning_seeds, test_seeds):
    trials = min(len(settings) for settings, _, _ in methods.values())
    out = {}
    for name, (settings, train, episodes) in methods.items():
        best = min(settings[:trials], key=lambda a: statistics.median(train(a, s) for s in tuning_seeds))
        results = {a: statistics.median(train(a, s) for s in test_seeds) for a in settings[:trials]}
        out[name] = results[best] * episodes
    return out


# %% wrong 4
def compare(methods, tuning_seeds, test_seeds):
    trials = min(len(settings) for settings, _, _ in methods.values())
    out = {}
    for name, (settings, train, episodes) in methods.items():
        best = min(settings[:trials], key=lambda a: statistics.median(train(a, s) for s in tuning_seeds))
        out[name] = statistics.median(train(best, s) for s in test_seeds) * episodes
    return list(out.values())

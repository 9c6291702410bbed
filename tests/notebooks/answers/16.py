# %% right 1
def regret_per_round(played, worth):
    earned = torch.einsum("ta,ta->", played, worth)
    return (worth.sum(0).max() - earned) / len(worth)
    return ...


# %% right 1
def regret_per_round(played, worth):
    import numpy as np

    p, w = played.numpy(), worth.numpy()
    return np.mean(w, 0).max() - np.mean(np.sum(p * w, 1))


# %% right 1
def regret_per_round(played, worth):
    own = (played * worth).sum(-1, keepdim=True)
    return max((worth - own).mean(0).tolist())


# %% right 1
def regret_per_round(played, worth):
    totals = [0.0] * worth.shape[1]
    earned = 0.0
    for x, u in zip(played.tolist(), worth.tolist()):
        totals = [a + b for a, b in zip(totals, u)]
        earned += sum(a * b for a, b in zip(x, u))
    return [(max(totals) - earned) / len(worth)][0]


# %% wrong 1
def regret_per_round(played, worth):
    return worth.sum(0).max() - (played * worth).sum()


# %% wrong 1
def regret_per_round(played, worth):
    return worth.mean(0).max()


# %% wrong 1
def regret_per_round(played, worth):
    return (worth.mean(0).max() - (played * worth).sum(-1).mean()).clamp(min=0)


# %% wrong 1
def regret_per_round(played, worth):
    return worth.mean(0).max() - (played.mean(0) * worth.mean(0)).sum()


# %% right 2
def bluffs_per_strong_bet(bet):
    return 1 - 2 / (bet + 2)
    return ...


# %% right 2
def bluffs_per_strong_bet(bet):
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        call = (1 + bet) * (middle - 1) / (middle + 1)
        low, high = (middle, high) if call < -1 else (low, middle)
    return low


# %% right 2
def bluffs_per_strong_bet(bet):
    return torch.as_tensor(bet) / (torch.as_tensor(bet) + 2)


# %% right 2
def bluffs_per_strong_bet(bet):
    import numpy as np

    odds = (2 + bet) / bet
    return np.reciprocal(odds)


# %% wrong 2
def bluffs_per_strong_bet(bet):
    return 1 / 3


# %% wrong 2
def bluffs_per_strong_bet(bet):
    return bet / (bet + 1)


# %% wrong 2
def bluffs_per_strong_bet(bet):
    return bet / 3


# %% wrong 2
def bluffs_per_strong_bet(bet):
    return (bet + 2) / bet


# %% right 3
def regret_matching_plus(regret, x, values):
    after = torch.relu(regret + values - x @ values)
    total = after.sum()
    return after, after / total if total > 0 else torch.ones(3) / 3
    return ...


# %% right 3
def regret_matching_plus(regret, x, values):
    earned = sum(float(p) * float(v) for p, v in zip(x, values))
    after = [max(0.0, float(r) + float(v) - earned) for r, v in zip(regret, values)]
    total = sum(after)
    return [after, [a / total for a in after] if total else [1 / len(after)] * len(after)]


# %% right 3
def regret_matching_plus(regret, x, values):
    import numpy as np

    after = np.maximum(0, regret.numpy() + values.numpy() - x.numpy() @ values.numpy())
    following = after / after.sum() if after.any() else np.full(len(after), 1 / len(after))
    return after, following


# %% right 3
def regret_matching_plus(regret, x, values):
    after = (regret + values - (x * values).sum()).clamp(min=0)
    return after, (after + 1e-12) / (after + 1e-12).sum()


# %% wrong 3
def regret_matching_plus(regret, x, values):
    after = (values - (x * values).sum()).clamp(min=0)
    return after, after / after.sum() if after.sum() > 0 else torch.ones(3) / 3


# %% wrong 3
def regret_matching_plus(regret, x, values):
    after = (regret + values - (x * values).sum()).clamp(min=0)
    return after, after / after.sum()


# %% wrong 3
def regret_matching_plus(regret, x, values):
    after = (regret + values).clamp(min=0)
    return after, after / after.sum() if after.sum() > 0 else torch.ones(3) / 3


# %% wrong 3
def regret_matching_plus(regret, x, values):
    after = (regret + values - (x * values).sum()).clamp(min=0)
    return after, after.softmax(-1)


# %% right 4
def regularized_payoffs(values, x, magnet, temperature):
    return values - temperature * (torch.log(x) - torch.log(magnet) + 1)
    return ...


# %% right 4
def regularized_payoffs(values, x, magnet, temperature):
    def objective(x):
        return x @ values - temperature * (x * (x / magnet).log()).sum()

    return torch.func.grad(objective)(x)


# %% right 4
def regularized_payoffs(values, x, magnet, temperature):
    import numpy as np

    return values.numpy() + temperature * np.log(magnet.numpy() / x.numpy())


# %% right 4
def regularized_payoffs(values, x, magnet, temperature):
    pull = temperature * ((x + 1e-12) / (magnet + 1e-12)).log()
    return (values - pull) - (values - pull).max()


# %% wrong 4
def regularized_payoffs(values, x, magnet, temperature):
    return values - temperature * x * (x / magnet).log()


# %% wrong 4
def regularized_payoffs(values, x, magnet, temperature):
    return values - temperature * x.log()


# %% wrong 4
def regularized_payoffs(values, x, magnet, temperature):
    return values - temperature * (x - magnet)


# %% wrong 4
def regularized_payoffs(values, x, magnet, temperature):
    return values - (x / magnet).log()

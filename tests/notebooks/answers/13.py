# %% right 1
def second_derivatives(theta, heads, tails):
    import math

    p = 1 / (1 + math.exp(-theta))
    q = 1 - p
    return [p * q * (q - p) * (heads - tails), -p * q * (p * heads + q * tails)]


# %% right 1
def second_derivatives(theta, heads, tails):
    theta = torch.as_tensor(theta, dtype=torch.float64)
    paid = torch.tensor([heads, tails], dtype=torch.float64)
    true = grad(grad(lambda x: torch.stack((x, -x)).sigmoid() @ paid))(theta)
    naive = grad(grad(lambda x: expected(lambda log_pi, R: log_pi * R, x, paid)))(theta)
    return torch.stack((true, naive))
    return ...


# %% right 1
def second_derivatives(theta, heads, tails):
    import numpy as np

    p = 1 / (1 + np.exp(-theta))
    slope = p * (1 - p)
    mean = tails + p * (heads - tails)
    return np.array([slope * (1 - 2 * p) * (heads - tails), -slope * mean])


# %% right 1
def second_derivatives(theta, heads, tails):
    def mean(x):
        p = 1 / (1 + torch.exp(torch.as_tensor(-x, dtype=torch.float64)))
        return p * heads + (1 - p) * tails

    h = 1e-4
    true = (mean(theta + h) - 2 * mean(theta) + mean(theta - h)) / h**2
    p = 1 / (1 + torch.exp(torch.as_tensor(-theta, dtype=torch.float64)))
    return true.item(), (-p * (1 - p) * mean(theta)).item()


# %% wrong 1
def second_derivatives(theta, heads, tails):
    p = torch.as_tensor(theta).sigmoid()
    return -p * (1 - p) * (p * heads + (1 - p) * tails), p * (1 - p) * (1 - 2 * p) * (heads - tails)


# %% wrong 1
def second_derivatives(theta, heads, tails):
    p = torch.as_tensor(theta).sigmoid()
    return p * (1 - p) * (1 - 2 * p) * (heads - tails), 0.0


# %% wrong 1
def second_derivatives(theta, heads, tails):
    p = torch.as_tensor(theta).sigmoid()
    return float(p * (1 - p) * (1 - 2 * p) * (heads - tails))


# %% wrong 1
def second_derivatives(theta, heads, tails):
    p = torch.as_tensor(theta).sigmoid()
    true = p * (1 - p) * (1 - 2 * p) * (heads - tails)
    return true, -p * (1 - p) * (heads - tails)


# %% wrong 1
def second_derivatives(theta, heads, tails):
    p = torch.as_tensor(theta).sigmoid()
    mean = p * heads + (1 - p) * tails
    return p * (1 - p) * (1 - 2 * p) * mean, -p * (1 - p) * mean


# %% wrong 1
def second_derivatives(theta, heads, tails):
    p = torch.as_tensor(theta).sigmoid()
    return (1 - 2 * p) * (heads - tails), -p * (1 - p) * (p * heads + (1 - p) * tails)


# %% right 2
def crossover(bias, noise, more_noise):
    return max(0, (more_noise - noise) * (more_noise + noise) / bias**2)


# %% right 2
def crossover(bias, noise, more_noise):
    if more_noise <= noise:
        return 0
    return (more_noise**2 - noise**2) / (bias * bias)
    return ...


# %% right 2
def crossover(bias, noise, more_noise):
    saved = torch.tensor(more_noise**2 - noise**2, dtype=torch.float64)
    return (saved / bias**2).clamp(min=0)


# %% right 2
def crossover(bias, noise, more_noise):
    if more_noise <= noise:
        return 0.0
    low, high = 0.0, 1e9
    for _ in range(200):
        n = (low + high) / 2
        if bias**2 + noise**2 / n < more_noise**2 / n:
            low = n
        else:
            high = n
    return low


# %% wrong 2
def crossover(bias, noise, more_noise):
    return (more_noise**2 - noise**2) / bias**2


# %% wrong 2
def crossover(bias, noise, more_noise):
    return max(0, (more_noise**2 - noise**2) / bias)


# %% wrong 2
def crossover(bias, noise, more_noise):
    return max(0, ((more_noise - noise) / bias) ** 2) if more_noise > noise else 0


# %% wrong 2
def crossover(bias, noise, more_noise):
    return 0 if more_noise <= noise else (more_noise / bias) ** 2


# %% right 3
def best_baseline(probs, scores, rewards):
    return float(probs @ (scores**2 * rewards) / (probs @ scores**2))


# %% right 3
def best_baseline(probs, scores, rewards):
    up = down = 0
    for p, s, r in zip(probs.tolist(), scores.tolist(), rewards.tolist(), strict=True):
        up += p * s * s * r
        down += p * s * s
    return up / down
    return ...


# %% right 3
def best_baseline(probs, scores, rewards):
    def second_moment(b):
        return (probs * (scores * (rewards - b)) ** 2).sum()

    zero = torch.zeros((), dtype=torch.float64)
    return zero - grad(second_moment)(zero) / grad(grad(second_moment))(zero)


# %% right 3
def best_baseline(probs, scores, rewards):
    import numpy as np

    weights = (probs * scores.square() + 1e-12).numpy()
    return np.average(rewards.numpy(), weights=weights)


# %% right 3
def best_baseline(probs, scores, rewards):
    low, high = rewards.min().item(), rewards.max().item()
    for _ in range(60):
        b = (low + high) / 2
        if (probs * scores**2 * (rewards - b)).sum() > 0:
            low = b
        else:
            high = b
    return low


# %% right 3
def best_baseline(probs, scores, rewards):
    weights = probs * scores**2
    return (weights * rewards).sum(0, keepdim=True) / weights.sum()


# %% wrong 3
def best_baseline(probs, scores, rewards):
    return rewards.mean()


# %% wrong 3
def best_baseline(probs, scores, rewards):
    return (probs * scores**2 * rewards).sum()


# %% wrong 3
def best_baseline(probs, scores, rewards):
    return (scores**2 * rewards).sum() / (scores**2).sum()


# %% wrong 3
def best_baseline(probs, scores, rewards):
    weights = probs * scores.abs()
    return (weights * rewards).sum() / weights.sum()


# %% wrong 3
def best_baseline(probs, scores, rewards):
    return rewards


# %% wrong 3
def best_baseline(probs, scores, rewards):
    return probs @ rewards


# %% wrong 3
def best_baseline(probs, scores, rewards):
    return (probs * scores * rewards).sum() / (probs * scores).sum()


# %% right 4
def evolution_common(F, phi, sigma, pairs, seed):
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(phi)
    for pair in range(pairs):
        noise = torch.randn(phi.shape, generator=generator)
        up, down = F(phi + sigma * noise, pair), F(phi - sigma * noise, pair)
        total += noise * (up - down) / (2 * sigma)
    return total / pairs
    return ...


# %% right 4
def evolution_common(F, phi, sigma, pairs, seed):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(pairs, len(phi), generator=generator)
    seeds = torch.randperm(10**6, generator=generator)[:pairs].tolist()
    found = [
        e * (F(phi + sigma * e, s) - F(phi - sigma * e, s)) / sigma / 2
        for e, s in zip(noise, seeds, strict=True)
    ]
    return torch.stack(found).mean(0)


# %% right 4
def evolution_common(F, phi, sigma, pairs, seed):
    import numpy as np

    numbers = np.random.default_rng(seed)
    total = 0
    for pair in range(pairs):
        e = torch.tensor(numbers.normal(size=len(phi)))
        own = 7919 * seed + pair
        total = total + (F(phi - sigma * e, own) - F(phi + sigma * e, own)) * -e
    return (total / (2 * sigma * pairs)).tolist()


# %% right 4
def evolution_common(F, phi, sigma, pairs, seed):
    total = torch.zeros_like(phi)
    for own in range(seed, seed + pairs):
        generator = torch.Generator().manual_seed(own)
        noise = torch.randn(phi.shape, generator=generator)
        for sign in (1, -1):
            total = total + sign * noise * F(phi + sign * sigma * noise, own)
    return total / (2 * sigma * pairs)


# %% wrong 4
def evolution_common(F, phi, sigma, pairs, seed):
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(phi)
    for pair in range(pairs):
        noise = torch.randn(phi.shape, generator=generator)
        up = F(phi + sigma * noise, 2 * pair)
        total = total + noise * (up - F(phi - sigma * noise, 2 * pair + 1)) / (2 * sigma)
    return total / pairs


# %% wrong 4
def evolution_common(F, phi, sigma, pairs, seed):
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(phi)
    for pair in range(pairs):
        noise = torch.randn(phi.shape, generator=generator)
        up, down = F(phi + sigma * noise, pair), F(phi - sigma * noise, pair)
        total = total + noise * (up - down) / 2
    return total / pairs


# %% wrong 4
def evolution_common(F, phi, sigma, pairs, seed):
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(phi)
    for pair in range(pairs):
        noise = torch.randn(phi.shape, generator=generator)
        total = total + noise * (F(phi + sigma * noise, pair) - F(phi, pair)) / sigma
    return total / pairs


# %% wrong 4
def evolution_common(F, phi, sigma, pairs, seed):
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(phi)
    for pair in range(pairs):
        noise = torch.randn(phi.shape, generator=generator)
        up, down = F(phi + sigma * noise, pair), F(phi - sigma * noise, pair)
        total = total + (up - down) / (2 * sigma)
    return total / pairs


# %% wrong 4
def evolution_common(F, phi, sigma, pairs, seed):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(phi.shape, generator=generator)
    total = torch.zeros_like(phi)
    for pair in range(pairs):
        up, down = F(phi + sigma * noise, pair), F(phi - sigma * noise, pair)
        total = total + noise * (up - down) / (2 * sigma)
    return total / pairs


# %% wrong 4
def evolution_common(F, phi, sigma, pairs, seed):
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(phi)
    for pair in range(pairs):
        noise = torch.randn(phi.shape, generator=generator)
        total = total + noise * F(phi + sigma * noise, pair) / sigma
    return total / pairs


# %% wrong 4
def evolution_common(F, phi, sigma, pairs, seed):
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(phi)
    for pair in range(pairs):
        noise = torch.randn(phi.shape, generator=generator)
        up, down = F(phi + sigma * noise, seed), F(phi - sigma * noise, seed)
        total = total + noise * (up - down) / (2 * sigma)
    return total / pairs


# %% wrong 4
def evolution_common(F, phi, sigma, pairs, seed):
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(phi)
    for pair in range(pairs):
        noise = torch.randn(phi.shape, generator=generator)
        up, down = F(phi + noise, pair), F(phi - noise, pair)
        total = total + noise * (up - down) / 2
    return total / pairs


# %% wrong 4
def evolution_common(F, phi, sigma, pairs, seed):
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(phi)
    for pair in range(pairs):
        noise = torch.randn(phi.shape, generator=generator)
        up, down = F(phi + sigma * noise, pair), F(phi - sigma * noise, pair)
        total = noise * (up - down) / (2 * sigma)
    return total / pairs


# %% wrong 4
def evolution_common(F, phi, sigma, pairs, seed):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(pairs, len(phi), generator=generator)
    up = torch.stack([F(phi + sigma * e, pair) for pair, e in enumerate(noise)])
    down = torch.stack([F(phi - sigma * e, pair) for pair, e in enumerate(noise)])
    baseline = (up + down).mean() / 2
    return (noise * (up - baseline)[:, None]).mean(0) / sigma

# %% right 1
def fraction_of_last(m, r, k):
    return 1 - (1 - r * m) ** k
    return ...


# %% right 1
def fraction_of_last(m, r, k):
    return sum(r * m * (1 - r * m) ** j for j in range(k))


# %% right 1
def fraction_of_last(m, r, k):
    left = torch.tensor(1.0, dtype=torch.float64)
    for _ in range(k):
        left = left * (1 - r * m)
    return 1 - left


# %% right 1
def fraction_of_last(m, r, k):
    import numpy as np

    return 1 - np.power(1 - np.multiply(r, m), k)


# %% wrong 1
def fraction_of_last(m, r, k):
    return (1 - r * m) ** k


# %% wrong 1
def fraction_of_last(m, r, k):
    return 1 - (1 - r * m) ** (k + 1)


# %% wrong 1
def fraction_of_last(m, r, k):
    return min(1, k * r * m)


# %% wrong 1
def fraction_of_last(m, r, k):
    print(1 - (1 - r * m) ** k)


# %% right 2
def reverse_sweep(phi, steps):
    trajectory = learn(phi, steps)
    a = grad(outer_loss)(trajectory[-1])
    total = torch.zeros_like(phi)
    for theta in trajectory[:-1].flip(0):
        _, vjp = torch.func.vjp(step, theta, phi)
        a, part = vjp(a)
        total = total + part
        continue
        total = ...
    return total


# %% right 2
def reverse_sweep(phi, steps):
    return unrolled(phi, steps)


# %% right 2
def reverse_sweep(phi, steps):
    trajectory = learn(phi, steps)
    a, terms = grad(outer_loss)(trajectory[-1]), []
    for theta in reversed(trajectory[:-1]):
        J, by_phi = jacrev(step, 0)(theta, phi), jacrev(step, 1)(theta, phi)
        terms.append(a @ by_phi)
        a = J.T @ a
    return torch.stack(terms).sum(0)


# %% right 2
def reverse_sweep(phi, steps):
    trajectory = learn(phi, steps)
    a, total = grad(outer_loss)(trajectory[-1]), 0.0
    for k in range(steps - 1, -1, -1):
        after, vjp = torch.func.vjp(step, trajectory[k], phi)
        b, c = vjp(a)
        total += c.item()
        a = b
    return total


# %% right 2
def reverse_sweep(phi, steps):
    phi = phi.clone().requires_grad_()
    theta = learn(phi.detach(), 0)[0]
    for _ in range(steps):
        theta = step(theta, phi)
    return torch.autograd.grad(outer_loss(theta), phi)[0]


# %% wrong 2
def reverse_sweep(phi, steps):
    trajectory = learn(phi, steps)
    a = grad(outer_loss)(trajectory[-1])
    total = torch.zeros_like(phi)
    for theta in trajectory[:-1].flip(0):
        _, vjp = torch.func.vjp(step, theta, phi)
        total = total + vjp(a)[1]
    return total


# %% wrong 2
def reverse_sweep(phi, steps):
    return truncated(phi, steps, 1)


# %% wrong 2
def reverse_sweep(phi, steps):
    trajectory = learn(phi, steps)
    a = grad(outer_loss)(trajectory[-1])
    total = torch.zeros_like(phi)
    for theta in trajectory[:-1]:
        _, vjp = torch.func.vjp(step, theta, phi)
        a, part = vjp(a)
        total = total - part
    return total


# %% wrong 2
def reverse_sweep(phi, steps):
    trajectory = learn(phi, steps)
    a = grad(outer_loss)(trajectory[-1])
    total = torch.zeros_like(phi)
    for theta in trajectory[:-1].flip(0):
        _, vjp = torch.func.vjp(step, theta, phi)
        total = total + vjp(a)[0]
    return total


# %% right 3
def neumann(theta, phi, terms):
    J, by_phi = jacrev(step, 0)(theta, phi), jacrev(step, 1)(theta, phi)
    term = grad(outer_loss)(theta)
    v = torch.zeros_like(term)
    for _ in range(terms):
        v += term
        term = term @ J
    return v @ by_phi


# %% right 3
def neumann(theta, phi, terms):
    return truncated(phi, 600, terms)


# %% right 3
def neumann(theta, phi, terms):
    _, vjp = torch.func.vjp(step, theta, phi)
    term, total = grad(outer_loss)(theta), 0
    for _ in range(terms):
        term, part = vjp(term)
        total = total + part
    return total


# %% right 3
def neumann(theta, phi, terms):
    J, by_phi = jacrev(step, 0)(theta, phi), jacrev(step, 1)(theta, phi)
    powers = [torch.linalg.matrix_power(J.T, n) for n in range(terms)]
    return (sum(powers) @ grad(outer_loss)(theta)) @ by_phi


# %% wrong 3
def neumann(theta, phi, terms):
    J, by_phi = jacrev(step, 0)(theta, phi), jacrev(step, 1)(theta, phi)
    v = term = grad(outer_loss)(theta)
    for _ in range(terms):
        v = v + term
        term = J.T @ term
    return v @ by_phi


# %% wrong 3
def neumann(theta, phi, terms):
    J, by_phi = jacrev(step, 0)(theta, phi), jacrev(step, 1)(theta, phi)
    v = grad(outer_loss)(theta)
    for _ in range(terms):
        v = J.T @ v
    return v @ by_phi


# %% wrong 3
def neumann(theta, phi, terms):
    by_phi = jacrev(step, 1)(theta, phi)
    return terms * grad(outer_loss)(theta) @ by_phi


# %% wrong 3
def neumann(theta, phi, terms):
    J, by_phi = jacrev(step, 0)(theta, phi), jacrev(step, 1)(theta, phi)
    return torch.linalg.solve(torch.eye(2) - J.T, grad(outer_loss)(theta)) @ by_phi

"""The dilemma tuned by hand for a compiler: seeds last, and the game evaluated once for both agents."""

from __future__ import annotations

import torch
from torch import Tensor

from bilevel.hypergradient import BilevelProblem
from bilevel.optimisers import sgd
from games.base import two_action_policies
from games.memory_one import two_agent_occupancy
from tests.benchmarks.case import Case, Run
from tests.benchmarks.peers.ours import make_estimator
from tests.benchmarks.problems import dilemma

HORIZON = dilemma.GAME.effective_horizon


def values(theta: Tensor) -> list[Tensor]:
    """Each agent's value per step, [seed], of log-odds [agent, observation, seed]."""
    policies = two_action_policies(theta.sigmoid().movedim(-1, 0))
    shares = two_agent_occupancy(policies, dilemma.GAME.discount)
    return [
        sum(
            (share * payoff for share, payoff in zip(shares[1:], column[1:], strict=True)),
            shares[0] * column[0],
        )
        for column in dilemma.PAYOFFS.T.tolist()
    ]


def step(theta: Tensor, opt_state: tuple[()], phi: Tensor, data: None) -> tuple[Tensor, tuple[()]]:
    """Let both agents take their step of SGD; phi is [giver, receiver, seed]."""
    sharing = phi.softmax(1)

    def losses(theta: Tensor) -> tuple[Tensor, Tensor]:
        first, second = values(theta)
        by_giver = zip(sharing[0].unbind(0), sharing[1].unbind(0), strict=True)
        mine, theirs = (-HORIZON * (keep * first + get * second) for keep, get in by_giver)
        return mine, theirs

    (mine, _), pull = torch.func.vjp(losses, theta)[:2]
    nothing, one = torch.zeros_like(mine), torch.ones_like(mine)
    (of_first,), (of_second,) = pull((one, nothing)), pull((nothing, one))
    own = torch.stack((of_first.unbind(0)[0], of_second.unbind(0)[1]))
    return theta - dilemma.RATE * own, opt_state


def outer_loss(theta: Tensor, phi: Tensor, data: None) -> Tensor:
    """Minus the welfare, [seed]."""
    first, second = values(theta)
    return -(first + second)


def run(case: Case, *, compiled: bool = False) -> Run:
    """Build the variant; its gradient is turned back to [seed, giver, receiver]."""
    setting = dilemma.setting(case)
    theta = setting.theta.movedim(0, -1).contiguous()
    phi = setting.phi.movedim(0, -1).contiguous()
    problem = BilevelProblem(step=step, outer_loss=outer_loss)
    estimate = make_estimator("unrolled", compiled=compiled)
    state = sgd(dilemma.RATE).init(theta)
    return lambda: estimate(problem, theta, state, phi, steps=case.steps).gradient.movedim(-1, 0)

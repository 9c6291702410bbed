"""The gradient of shares by what receivers hand back to their givers: first order, through a critic."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from bilevel.hypergradient.pulls import vjp
from bilevel.outer.sharing_network import SharingNetwork
from bilevel.step import gradient_at

Critic = Callable[[Tensor], Tensor]
"""Incoming shares [seed, receiver, sample, giver] -> each receiver's value, [seed, receiver, sample]."""


def incoming(shares: Tensor) -> Tensor:
    """What each receiver is given a part of: shares [seed, sample, giver, receiver] -> w_in.

    Returns:
        [seed, receiver, sample, giver].
    """
    return shares.permute(0, 3, 1, 2)


def handed_back(critic: Critic, shares: Tensor) -> Tensor:
    """How the sum of all values changes with each share, as givers get to know it.

    Every receiver i takes g_in = d V_i / d w_in of its own value by its own incoming shares, and hands the
    entry of giver j back to j: the transpose.

    Args:
        critic: the values, each receiver's from its own row of incoming shares.
        shares: [seed, sample, giver, receiver].

    Returns:
        d sum_i V_i / d shares, of the same shape.

    Source:
        Yi et al., Learning to Share in Networked MARL, NeurIPS 2022, arXiv 2112.08702.

    >>> shares = torch.tensor([[[[0.7, 0.3], [0.0, 1.0]]]])
    >>> handed_back(lambda w_in: torch.tensor([[[2.0], [3.0]]]) * w_in.sum(-1), shares)
    tensor([[[[2., 3.],
              [2., 3.]]]])
    """
    g_in = gradient_at(incoming(shares), lambda w_in: critic(w_in).sum())
    return g_in.permute(0, 2, 3, 1)


def sharing_gradient(
    variable: SharingNetwork,
    phi: Tensor,
    seen: Tensor,
    graph: Tensor | None,
    critic: Critic,
    present: Tensor | None = None,
) -> Tensor:
    """d (sum_i V_i) / d phi, the mean over samples, by what is handed back.

    It goes through the critic, the transpose, the softmax and the giver's network. First order: neither that
    learning moves the critic nor that it moves what agents do is seen.

    Args:
        variable: the networks that share.
        phi: their parameters, [seed, giver, parameter].
        seen: what givers see, [seed, giver, sample, feature].
        graph: who may share with whom, boolean [seed, sample, giver, receiver]; None: the one that does not
            change.
        critic: values by incoming shares; see `handed_back`.
        present: which agents take part, boolean [seed, sample, agent]; None: all of them.

    Returns:
        like phi; a step along it makes the values larger.

    Source:
        Yi et al., Learning to Share in Networked MARL, NeurIPS 2022, arXiv 2112.08702.
    """

    def shares_of(phi: Tensor) -> Tensor:
        return variable.matrices(variable.logits(phi, seen), graph, present)

    (shares,), pull = vjp(lambda flat: (shares_of(flat[0]),), (phi,))
    (gradient,) = pull((handed_back(critic, shares) / shares.shape[1],), 0)
    return gradient

"""Losses: imitation of actions, alignment of views and missions, and reconstruction of views."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bilevel.tasks.vision_language_action._levels import CHANNELS

LOSSES = {
    "action": "cross-entropy of the demonstrated actions",
    "alignment": "InfoNCE of views and missions",
    "reconstruction": "cross-entropy of object, color and state of the view's cells",
}
"""Name -> description."""


def info_nce(scores: Tensor, labels: Tensor) -> Tensor:
    """InfoNCE between the two sides of a batch of pairs, the mean of both directions.

    Negatives with the label of the positive are false ones, and are left out. With equal scores and distinct
    labels the loss is log B; B pairs with loss L share at least log B - L nats of information.

    Args:
        scores: [view, mission], square; the pairs are on the diagonal.
        labels: the mission of each pair, [pair].

    Returns:
        One number, in nats.

    Source:
        van den Oord et al., Contrastive predictive coding, arXiv 1807.03748.

    >>> info_nce(torch.zeros(4, 4), torch.arange(4)).exp()
    tensor(4.)
    >>> info_nce(torch.zeros(4, 4), torch.tensor([7, 7, 8, 9])).exp() < 4
    tensor(True)
    """
    pairs = torch.arange(len(labels), device=labels.device)
    false = (labels[:, None] == labels) & (pairs[:, None] != pairs)
    scores = scores.masked_fill(false, -torch.inf)
    return (cross_entropy(scores, pairs) + cross_entropy(scores.T, pairs)) / 2


def reconstruction_loss(logits: Tensor, images: Tensor) -> Tensor:
    """Cross-entropies of the three channels, each a mean over cells and steps, added.

    Args:
        logits: logits of the values of object, color and state, one after the other, [step, x, y, value].
        images: values of the three, [step, x, y, channel], int64.

    Returns:
        One number, in nats per cell.

    >>> logits, images = torch.zeros(2, 7, 7, 20), torch.zeros(2, 7, 7, 3, dtype=torch.int64)
    >>> round(reconstruction_loss(logits, images).exp().item())  # 11 objects x 6 colors x 3 states
    198
    """
    parts = zip(logits.split(list(CHANNELS.values()), -1), images.unbind(-1), strict=True)
    return torch.stack([cross_entropy(part.flatten(0, -2), values.flatten()) for part, values in parts]).sum()

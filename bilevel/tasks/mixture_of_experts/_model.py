"""The policy: graph attention over entities, a router, and experts whose outputs are weighted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import elu, leaky_relu

from bilevel.nn import ExpertRouting
from bilevel.tasks.mixture_of_experts._settings import MixtureSettings

Gate = Callable[[Tensor], ExpertRouting]
"""Scores [state, expert] -> routing."""


class GraphAttention(nn.Module):
    """A layer of graph attention: each node reads its neighbors, weighted by learned attention.

    Args:
        features: of a node.
        size: outputs of a head.
        heads: number of heads, whose outputs are concatenated.

    Source:
        Velickovic et al., Graph attention networks, arXiv 1710.10903.

    >>> layer = GraphAttention(features=6, size=8, heads=2)
    >>> layer(torch.zeros(10, 5, 6)).shape  # ten states with five nodes
    torch.Size([10, 5, 16])
    """

    def __init__(self, features: int, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(features, heads * size, bias=False)
        self.reader, self.read = (nn.Parameter(torch.randn(heads, size) / size**0.5) for _ in range(2))

    def forward(self, nodes: Tensor, graph: Tensor | None = None) -> Tensor:
        """Compute the nodes' embeddings.

        Args:
            nodes: [state, node, feature].
            graph: [node, node], True where the node of a row reads the node of a column, at least itself;
                None: everywhere.

        Returns:
            [state, node, heads * size].
        """
        weights = self.project.weight.unflatten(0, (self.heads, -1))  # [head, output, feature]
        # Both sums over nodes are of features, before the projection: these are fewer than its outputs.
        reader, read = (
            nodes @ (weights * vector.unsqueeze(-1)).sum(1).T for vector in (self.reader, self.read)
        )
        logits = leaky_relu(reader + read.transpose(0, 1).unsqueeze(2), 0.2)  # [read, state, reader, head]
        if graph is not None:
            logits = logits.masked_fill(~graph.T[:, None, :, None], -torch.inf)
        attention = logits.softmax(0).flatten(2)  # [read, state, reader and head]
        mixed = attention.permute(1, 2, 0) @ nodes  # [state, reader and head, feature]
        by_head = mixed.reshape(-1, self.heads, nodes.shape[-1]).transpose(0, 1) @ weights.mT
        embeddings: Tensor = elu(by_head.transpose(0, 1).flatten(1)).unflatten(0, nodes.shape[:2])
        return embeddings


class MixtureModel(nn.Module):
    """State -> graph attention -> router -> experts -> logits of actions.

    The router reads the mean embedding of the entities. An expert is linear in all features of the state. The
    logits are the sum of the experts' outputs times their gates.

    >>> from bilevel.nn import dense_routing, entmax
    >>> from bilevel.tasks.mixture_of_experts import MixtureSettings
    >>> model = MixtureModel(MixtureSettings())
    >>> logits, routing = model(torch.zeros(10, 5, 6), lambda scores: dense_routing(entmax(scores, 1.0)))
    >>> logits.shape, routing.gates.shape
    (torch.Size([10, 4]), torch.Size([10, 4]))
    """

    def __init__(self, settings: MixtureSettings) -> None:
        super().__init__()
        size = settings.heads * settings.hidden_size
        inputs = settings.entities * settings.features
        self.attention = GraphAttention(settings.features, settings.hidden_size, settings.heads)
        self.router = nn.Sequential(
            nn.Linear(size, settings.hidden_size),
            nn.ReLU(),
            nn.Linear(settings.hidden_size, settings.experts),
        )
        self.experts = nn.Parameter(torch.randn(settings.experts, settings.actions, inputs) / inputs**0.5)

    def scores(self, entities: Tensor) -> Tensor:
        """The router's scores, [state, expert], of [state, entity, feature]."""
        scores: Tensor = self.router(self.attention(entities).mean(1))
        return scores

    def logits(self, entities: Tensor, gates: Tensor) -> Tensor:
        """Logits of actions, [state, action], by these gates, [state, expert]."""
        outputs = torch.einsum("sf,eaf->sea", entities.flatten(1), self.experts)
        return (gates.unsqueeze(-1) * outputs).sum(1)

    def forward(self, entities: Tensor, gate: Gate) -> tuple[Tensor, ExpertRouting]:
        """Logits of actions, [state, action], and the routing, of [state, entity, feature]."""
        routing = gate(self.scores(entities))
        return self.logits(entities, routing.gates), routing

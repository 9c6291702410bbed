"""The network: view and mission are encoded, matched and fused, and decoded into actions."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bilevel.tasks.vision_language_action._levels import ACTIONS, CHANNELS, SIDE, WORDS
from bilevel.tasks.vision_language_action._settings import VisionLanguageActionSettings


class Encoded(NamedTuple):
    """Views and missions after the two encoders."""

    objects: Tensor
    """Embedding of each cell by itself, [step, feature, x, y]."""
    cells: Tensor
    """Features of each cell and its surroundings, [step, feature, x, y]."""
    language: Tensor
    """Embedding of the mission, [step, unit]."""


class VisionEncoder(nn.Module):
    """Bag-of-words embedding of each cell, and convolutions without pooling.

    The embedding of a cell is the sum of those of its object, color and state.

    Source:
        Hui et al., BabyAI 1.1, arXiv 2007.12770.
    """

    first: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        values = torch.tensor(list(CHANNELS.values()))
        self.register_buffer("first", values.cumsum(0) - values, persistent=False)
        self.embedding = nn.Embedding(int(values.sum()), features)
        self.convolutions = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(features, features, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """[step, x, y, channel], int64 -> embeddings of cells, and features, each [step, feature, x, y]."""
        objects = self.embedding(images + self.first).sum(-2).movedim(-1, 1)
        return objects, objects + self.convolutions(objects)


class LanguageEncoder(nn.Module):
    """Embedding of words and a gated recurrent unit, whose last state is the mission's embedding."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1 + len(WORDS), size)
        self.cell = nn.GRUCell(size, size)

    def forward(self, tokens: Tensor) -> Tensor:
        """[mission, word], int64, 0 after the last word -> [mission, unit]."""
        hidden = self.embedding.weight.new_zeros(len(tokens), self.cell.hidden_size)
        for word in tokens.unbind(1):
            hidden = torch.where(word[:, None] > 0, self.cell(self.embedding(word), hidden), hidden)
        return hidden


class FiLM(nn.Module):
    """Residual convolution whose features are scaled and shifted by the mission.

    Source:
        Perez et al., FiLM, arXiv 1709.07871; Hui et al., BabyAI 1.1, arXiv 2007.12770.
    """

    def __init__(self, features: int, language: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(features, features, 3, padding=1)
        self.modulation = nn.Linear(language, 2 * features)
        self.last = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, cells: Tensor, language: Tensor) -> Tensor:
        """[step, feature, x, y] and [step, unit] -> [step, feature, x, y]."""
        scale, shift = self.modulation(language)[:, :, None, None].chunk(2, 1)
        modulated = ((1 + scale) * self.convolution(cells) + shift).relu()
        fused: Tensor = cells + self.last(modulated).relu()
        return fused


class VisionLanguageActionNetwork(nn.Module):
    """Encoders of view and mission, fusion, action decoder, and reconstruction head.

    A mission becomes queries, which are matched with the embedding of every cell. The matches are
    input of the fusion, and the alignment loss trains them.
    """

    def __init__(self, settings: VisionLanguageActionSettings) -> None:
        super().__init__()
        features, language, hidden = settings.features, settings.language_size, settings.hidden_size
        self.vision = VisionEncoder(features)
        self.language = LanguageEncoder(language)
        self.query = nn.Linear(language, settings.queries * features)
        self.entry = nn.Conv2d(features + settings.queries, features, 1)
        self.fusion = nn.ModuleList(FiLM(features, language) for _ in range(settings.fusion_blocks))
        self.action = nn.Sequential(
            nn.Flatten(),
            nn.Linear(features * SIDE * SIDE, hidden),
            nn.ReLU(),
            nn.Linear(hidden, len(ACTIONS)),
        )
        self.reconstruction = nn.Sequential(
            nn.Flatten(),
            nn.Linear(features * SIDE * SIDE, hidden),
            nn.ReLU(),
            nn.Linear(hidden, SIDE * SIDE * sum(CHANNELS.values())),
        )

    def encode(self, images: Tensor, tokens: Tensor, mission: Tensor) -> Encoded:
        """Encode views, [step, x, y, channel], and missions, [mission, word], of which each step has one."""
        objects, cells = self.vision(images)
        return Encoded(objects, cells, self.language(tokens)[mission])

    def match(self, encoded: Encoded) -> Tensor:
        """Scores of each cell for the own mission, [step, query, x, y]."""
        return torch.einsum("nfxy,nqf->nqxy", encoded.objects, self._queries(encoded.language))

    def align(self, encoded: Encoded) -> Tensor:
        """Scores of each view for each mission, [step of the view, step of the mission].

        A query's score is log sum exp over the view's cells; those of several queries are added.
        """
        queries = self._queries(encoded.language)
        scores = torch.einsum("nfc,mqf->nmqc", encoded.objects.flatten(2), queries)
        summed: Tensor = scores.logsumexp(-1).sum(-1)
        return summed

    def act(self, encoded: Encoded) -> Tensor:
        """Logits of the actions, [step, action]."""
        cells = self.entry(torch.cat((encoded.cells, self.match(encoded)), 1))
        for block in self.fusion:
            cells = block(cells, encoded.language)
        logits: Tensor = self.action(cells)
        return logits

    def reconstruct(self, encoded: Encoded) -> Tensor:
        """Logits of object, color and state of each cell, [step, x, y, value]."""
        logits: Tensor = self.reconstruction(encoded.cells).unflatten(-1, (SIDE, SIDE, -1))
        return logits

    def _queries(self, language: Tensor) -> Tensor:
        """[step, unit] -> [step, query, feature], divided by the root of the number of features."""
        features = self.vision.embedding.embedding_dim
        queries: Tensor = self.query(language).unflatten(-1, (-1, features)) / math.sqrt(features)
        return queries

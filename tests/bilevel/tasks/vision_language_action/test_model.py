"""Shapes of the network, its embeddings and matches, and the parameters that each loss reaches."""

from __future__ import annotations

import pytest
import torch

from bilevel.tasks.vision_language_action._levels import CHANNELS, tokens
from bilevel.tasks.vision_language_action._model import VisionLanguageActionNetwork
from bilevel.tasks.vision_language_action._training import ImitationTraining
from tests.bilevel.tasks.vision_language_action.tiny import MISSIONS, some_data, some_steps, tiny, views


@pytest.mark.parametrize(("blocks", "queries"), [(0, 1), (1, 2), (2, 3)])
def test_shapes(blocks, queries):
    network = VisionLanguageActionNetwork(
        tiny(fusion_blocks=blocks, queries=queries, features=5, language_size=3)
    )
    steps = some_steps(6)
    encoded = network.encode(steps.images, torch.from_numpy(tokens(MISSIONS)), steps.missions)
    assert encoded.objects.shape == encoded.cells.shape == (6, 5, 7, 7)
    assert encoded.language.shape == (6, 3)
    assert network.match(encoded).shape == (6, queries, 7, 7)
    assert network.align(encoded).shape == (6, 6)
    assert network.act(encoded).shape == (6, 7)
    assert network.reconstruct(encoded).shape == (6, 7, 7, sum(CHANNELS.values()))


def test_a_cell_is_the_sum_of_its_words():
    vision = VisionLanguageActionNetwork(tiny()).vision
    image = torch.tensor([5, 4, 2]).expand(1, 7, 7, 3)  # key, yellow, locked
    table = vision.embedding.weight
    expected = table[5] + table[11 + 4] + table[11 + 6 + 2]
    assert torch.allclose(vision(image)[0][0, :, 3, 3], expected)


def test_alignment_is_log_sum_exp_of_the_matches():
    network = VisionLanguageActionNetwork(tiny(queries=2))
    steps = some_steps(4)
    encoded = network.encode(steps.images, torch.from_numpy(tokens(MISSIONS)), torch.arange(4))
    own = network.match(encoded).flatten(2).logsumexp(-1).sum(-1)
    assert torch.allclose(network.align(encoded).diagonal(), own)


def test_padding_changes_no_mission():
    language = VisionLanguageActionNetwork(tiny()).language
    short = torch.from_numpy(tokens(MISSIONS[:1]))
    longer = torch.from_numpy(tokens(MISSIONS))[:1]
    assert longer.shape[1] > short.shape[1]
    assert torch.equal(language(short), language(longer))


def test_the_order_of_words_changes_a_mission():
    language = VisionLanguageActionNetwork(tiny()).language
    two = ["put the red ball next to the blue key", "put the blue key next to the red ball"]
    assert not torch.allclose(*language(torch.from_numpy(tokens(two))))


def test_a_view_moves_with_its_cells():
    """Convolutions do not pool: the cell that changes is the one whose embedding changes."""
    network = VisionLanguageActionNetwork(tiny())
    image = views(1, torch.Generator().manual_seed(0))
    other = image.clone()
    other[0, 2, 5, 0] = (image[0, 2, 5, 0] + 1) % 11
    moved = (network.vision(image)[0] != network.vision(other)[0]).any(1)[0]
    assert moved.nonzero().tolist() == [[2, 5]]


@pytest.mark.parametrize(
    ("loss", "missing"),
    [
        ("action", {"reconstruction"}),
        ("alignment", {"reconstruction", "entry", "fusion", "action"}),
        ("reconstruction", {"language", "query", "entry", "fusion", "action"}),
    ],
)
def test_parameters_that_a_loss_reaches(loss, missing):
    training = ImitationTraining(some_data(), tiny(features=4, hidden_size=16), 0)
    training.losses_on(training.batch, (loss,))[loss].backward()
    parts = {name.partition(".")[0] for name, p in training.network.named_parameters() if p.grad is not None}
    everything = {name.partition(".")[0] for name, _ in training.network.named_parameters()}
    assert everything - parts == missing

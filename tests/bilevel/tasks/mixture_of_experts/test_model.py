"""The environment's modes, graph attention, and measures of collapse."""

import itertools

import pytest
import torch

from bilevel.nn import dense_routing, entmax
from bilevel.tasks.mixture_of_experts import GraphAttention, MixtureModel, MixtureSettings
from bilevel.tasks.mixture_of_experts._environment import Environment
from bilevel.tasks.mixture_of_experts._measures import accuracies


def test_the_leading_entity_determines_the_mode_and_the_mode_the_action():
    settings = MixtureSettings()
    environment = Environment(settings, torch.Generator().manual_seed(3))
    states = environment.draw(500, torch.Generator().manual_seed(4))
    assert torch.bincount(states.modes).tolist() == pytest.approx([125] * 4, abs=40)
    for entities, mode, action in zip(*states, strict=True):
        leader = entities[int(entities[:, 0].argmax())]
        assert int(mode) == int(leader[1] > 0) + 2 * int(leader[2] > 0)
        assert int(action) == int((environment.weights[mode] @ entities.flatten()).argmax())


def test_graph_attention_averages_equal_nodes_and_ignores_those_it_does_not_read():
    torch.manual_seed(0)
    layer = GraphAttention(3, 4, 2)
    node = torch.randn(3)
    equal = layer(node.expand(1, 5, 3))
    torch.testing.assert_close(equal[0, 0], torch.nn.functional.elu(layer.project(node)))
    nodes = torch.randn(1, 3, 3)
    graph = torch.tensor([[1, 1, 0], [1, 1, 1], [0, 1, 1]]).bool()
    before = layer(nodes, graph)
    nodes[0, 2] += 1
    after = layer(nodes, graph)
    torch.testing.assert_close(before[0, 0], after[0, 0])  # node 0 does not read node 2
    assert not torch.allclose(before[0, 1], after[0, 1])


def test_graph_attention_is_that_of_the_paper():
    """Each node's projections, the attention of each pair, and their weighted sum, one by one."""
    torch.manual_seed(0)
    layer, nodes = GraphAttention(6, 4, 3), torch.randn(2, 5, 6)
    hidden = layer.project(nodes).unflatten(-1, (3, 4))
    expected = torch.zeros(2, 5, 3, 4)
    for state, node, head in itertools.product(range(2), range(5), range(3)):
        logits = torch.stack(
            [
                layer.reader[head] @ hidden[state, node, head] + layer.read[head] @ hidden[state, other, head]
                for other in range(5)
            ]
        )
        attention = torch.nn.functional.leaky_relu(logits, 0.2).softmax(0)
        expected[state, node, head] = attention @ hidden[state, :, head]
    torch.testing.assert_close(layer(nodes), torch.nn.functional.elu(expected.flatten(2)))


def test_graph_attention_does_not_depend_on_the_order_of_nodes():
    torch.manual_seed(0)
    layer, nodes = GraphAttention(6, 4, 3), torch.randn(2, 5, 6)
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(layer(nodes[:, order]), layer(nodes)[:, order])


def test_logits_are_the_gated_sum_of_the_experts():
    torch.manual_seed(0)
    model = MixtureModel(MixtureSettings())
    entities = torch.randn(7, 5, 6)
    logits, routing = model(entities, lambda scores: dense_routing(entmax(scores, 1.5)))
    outputs = [entities.flatten(1) @ weights.T for weights in model.experts]
    expected = sum(gate[:, None] * output for gate, output in zip(routing.gates.T, outputs, strict=True))
    torch.testing.assert_close(logits, expected)


def test_leaving_out_the_only_expert_of_a_mode_costs_that_mode():
    """Experts that are right for one mode each, and gates that know the mode."""
    settings = MixtureSettings()
    environment = Environment(settings, torch.Generator().manual_seed(0))
    states = environment.draw(2000, torch.Generator().manual_seed(1))
    model = MixtureModel(settings)
    with torch.no_grad():
        model.experts.copy_(environment.weights)
    model.scores = lambda entities: states.modes
    gate = lambda modes: dense_routing(torch.nn.functional.one_hot(modes, 4).float())  # noqa: E731
    full, without = accuracies(model, gate, states)
    assert full == 100
    for expert, accuracy in enumerate(without):
        share = 100 * float((states.modes == expert).double().mean())
        assert 100 - share < accuracy < 100 - 0.3 * share

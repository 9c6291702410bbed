"""Each seed of a batch draws from a stream of its own, whoever draws, and however."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from games import EscapeRoom, uniform
from games.core import Streams, generators, normal, stream
from games.matrix._escape_room import EscapeRoomState

NAMES = [(7, 3, 0), (8, 3, 0), (9, 3, 0)]
RECORDED = [0.2525307, 0.0512363, 0.1754188]


@given(st.lists(st.tuples(st.sampled_from([uniform, normal]), st.integers(1, 700)), min_size=1, max_size=8))
def test_a_seed_draws_what_it_draws_alone(asked: list[tuple[Callable[..., Tensor], int]]) -> None:
    """Whatever is asked for in which order, across what was drawn ahead."""
    together, alone = Streams(NAMES), Streams(NAMES[1:2])
    for draw, count in asked:
        found = draw((6, count), together, torch.float64)
        assert torch.equal(found[2:4], draw((2, count), alone, torch.float64))


def test_samples_of_all_seeds_lie_one_after_the_other() -> None:
    """Of 2 samples x 3 seeds, seed 1's rows are those of 2 samples of seed 1 alone."""
    together = uniform((12, 5), Streams(NAMES).for_members(6)).unflatten(0, (2, 3, 2))
    alone = uniform((4, 5), Streams(NAMES[1:2]).for_members(2)).unflatten(0, (2, 2))
    assert torch.equal(together[:, 1], alone)


def test_streams_are_uniform_normal_and_independent() -> None:
    """Means and correlations of 300 streams of neighboring names, at 5 standard errors."""
    names = [(seed, purpose, step) for seed in range(10) for purpose in range(3) for step in range(10)]
    drawn = uniform((len(names), 400), Streams(names), torch.float64)
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert abs(float(drawn.mean()) - 0.5) < 5 * (1 / 12 / drawn.numel()) ** 0.5
    correlation = torch.corrcoef(drawn) - torch.eye(len(names))
    assert correlation.abs().max() < 6 / 400**0.5
    gaussian = normal((len(names), 400), Streams(names), torch.float64)
    assert abs(float(gaussian.std()) - 1) < 5 / (2 * gaussian.numel()) ** 0.5


def test_streams_whose_seeds_have_the_same_low_bits_differ() -> None:
    """torch keeps 32 bits of a CPU seed; streams keep 64 of their name, and their state is whole."""
    first = torch.cat([torch.rand(1, generator=each) for each in generators([(n,) for n in range(20_000)])])
    states = {bytes(each.get_state().numpy()) for each in generators([(n,) for n in range(1000)])}
    assert len(states) == 1000
    assert abs(float(first.mean()) - 0.5) < 5 * (1 / 12 / 20_000) ** 0.5
    assert stream(1).initial_seed() != stream(2).initial_seed()


def test_a_stream_is_what_it_was() -> None:
    """Recorded: all runs draw from these."""
    assert torch.rand(3, generator=stream(0, 3, 1)).tolist() == pytest.approx(RECORDED, abs=1e-7)


TORCH: list[Callable[[int, Any], Tensor]] = [
    lambda batch, generator: torch.rand(batch, 3, generator=generator),
    lambda batch, generator: torch.randn((batch, 2), generator=generator),
    lambda batch, generator: torch.rand(size=(batch,), generator=generator),
    lambda batch, generator: torch.randint(5, (batch, 2), generator=generator),
    lambda batch, generator: torch.randint(2, 5, size=(batch,), generator=generator),
    lambda batch, generator: torch.normal(0.0, 1.0, (batch, 2), generator=generator),
    lambda batch, generator: torch.normal(torch.zeros(batch, 2), 1.0, generator=generator),
    lambda batch, generator: torch.bernoulli(torch.full((batch, 4), 0.5), generator=generator),
    lambda batch, generator: torch.multinomial(torch.ones(batch, 4), 2, generator=generator),
    lambda batch, generator: torch.poisson(torch.ones(batch), generator=generator),
    lambda batch, generator: torch.empty(batch, 2).exponential_(generator=generator),
    lambda batch, generator: torch.zeros(batch).bernoulli_(0.5, generator=generator),
    lambda batch, generator: torch.zeros(2 * batch).uniform_(2, 3, generator=generator),
]


@pytest.mark.parametrize("draw", TORCH)
def test_torchs_functions_draw_each_seeds_rows(draw: Callable[[int, Any], Tensor]) -> None:
    together, alone = Streams(NAMES), Streams(NAMES[2:])
    with together.separated(6):
        found = draw(6, together)
    with alone.separated(2):
        expected = draw(2, alone)
    assert torch.equal(found[-len(expected) :], expected)


@pytest.mark.parametrize(
    "draw",
    [
        lambda generator: torch.rand(4, generator=generator),
        lambda generator: torch.rand((), generator=generator),
        lambda generator: torch.randint(2**62, (1,), generator=generator),
        lambda generator: torch.randperm(6, generator=generator),
    ],
)
def test_draws_without_the_batch_in_front_are_refused(draw: Callable[[Any], Tensor]) -> None:
    streams = Streams(NAMES)
    with streams.separated(6), pytest.raises(ValueError, match="needs the batch as its first axis"):
        draw(streams)
    alone = Streams(NAMES[:1])
    with alone.separated(6):
        draw(alone)


def test_streams_have_no_seed_or_state_to_build_on() -> None:
    with pytest.raises(TypeError, match="have no state or number of their own"):
        Streams(NAMES).initial_seed()
    with pytest.raises(ValueError, match="3 seeds have a random stream each, which cannot serve 4 members"):
        Streams(NAMES).for_members(4)


@dataclass(frozen=True)
class Windy(EscapeRoom):
    """A user's own game, which draws with torch's functions and knows nothing of streams."""

    says: bool = False

    @property
    def draws_by_rows(self) -> bool:
        return self.says

    def reset(self, batch: int, generator: torch.Generator) -> EscapeRoomState:
        state = super().reset(batch, generator)
        return state._replace(places=torch.randint(3, (batch, self.agents), generator=generator))

    def step(self, state: Any, actions: Tensor, generator: torch.Generator) -> Any:
        blown = torch.bernoulli(torch.full(actions.shape, 0.3), generator=generator) > 0
        return super().step(state, torch.where(blown, torch.zeros_like(actions), actions), generator)

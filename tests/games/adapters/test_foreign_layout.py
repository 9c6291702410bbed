import functools

import numpy as np
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from games.adapters._layout import observation_layouts
from tests.games.adapters.foreign_environments import StandIn, started

SPACES = st.recursive(
    st.sampled_from(
        [
            spaces.Discrete(4, start=-1),
            spaces.MultiDiscrete([2, 3]),
            spaces.MultiBinary(3),
            spaces.Box(-2.0, 3.0, (2, 2), dtype=np.float64),
            spaces.Box(-5, 5, (), dtype=np.int64),
            spaces.Box(0, 255, (2, 3, 4), dtype=np.uint8),
        ]
    ),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple)
        | st.dictionaries(st.sampled_from("xyz"), inner, min_size=1).map(spaces.Dict)
    ),
    max_leaves=4,
)


@given(space=SPACES, other=SPACES, flat=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=100)
def test_whatever_is_observed_lies_in_the_common_space(
    space: spaces.Space, other: spaces.Space, flat: bool, seed: int
) -> None:
    try:
        views = observation_layouts({"a": space, "b": other}, "it", flat, channels_last=True)
    except ValueError as refusal:
        assert not flat
        assert "different shapes" in str(refusal)  # noqa: PT017
        return
    for view, own in zip(views, (space, other), strict=True):
        assert view.space == views[0].space
        own.seed(seed)
        shown = view.encode(own.sample())
        assert view.space.contains(shown), f"{shown} is not in {view.space}"
        if isinstance(own, spaces.Tuple | spaces.Dict):
            own.seed(seed)
            expected = spaces.flatten(own, own.sample()).astype(np.float32)
            assert np.array_equal(shown[: len(expected)], expected)
            assert not shown[len(expected) :].any()


def test_images_become_planes_of_fractions() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) * 10
    space = spaces.Box(0, 255, image.shape, dtype=np.uint8)
    build = functools.partial(StandIn, {"a": space, "b": space}, show=lambda agent, time: image)
    game, state, _ = started(build)
    assert game.observation_space == spaces.Box(0.0, 1.0, (4, 2, 3), dtype=np.float32)
    expected = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1) / 255
    assert torch.equal(game.observe(state)[0, 1], expected)
    _, state, _ = started(build, channels_last=False)
    assert torch.equal(state.observations[0, 1], torch.from_numpy(image.astype(np.float32)) / 255)
    _, state, _ = started(build, flat=True)
    assert torch.equal(state.observations[0, 1], expected.flatten())


def test_shorter_vectors_are_filled_up_with_zeros() -> None:
    observed = {"a": spaces.Box(1.0, 2.0, (1,)), "b": spaces.Box(-1.0, 5.0, (3,)), "c": spaces.Discrete(2)}
    show = {"a": [1.5], "b": [1, 2, 3], "c": 1}
    game, state, _ = started(lambda: StandIn(observed, show=lambda agent, time: show[agent]))
    assert game.observe(state)[0].tolist() == [[1.5, 0, 0], [1, 2, 3], [0, 1, 0]]
    assert game.observation_space == spaces.Box(
        np.array([-1, -1, -1], np.float32), np.array([5, 5, 5], np.float32), dtype=np.float32
    )


def test_an_array_that_the_environment_goes_on_using_is_not_shared() -> None:
    buffer = np.zeros(1, dtype=np.float32)

    def show(agent: str, time: float) -> np.ndarray:
        buffer[0] = time
        return buffer

    game, state, generator = started(lambda: StandIn(show=show, lives={"b": 1}))
    state, _, _ = game.step(state, torch.zeros(1, 2, dtype=torch.int64), generator)
    before = state.observations.clone()
    state, _, _ = game.step(state, torch.zeros(1, 2, dtype=torch.int64), generator)
    assert state.observations[0, 1] == before[0, 1] < state.observations[0, 0]

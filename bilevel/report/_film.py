"""Films of episodes: frames with captions of the rewards."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import torch

from bilevel.agents import Actor, observe_step, step_gifts
from bilevel.experiments import write_atomic
from bilevel.sharing import Transfer
from games.core import Game, require
from games.render import captioned, framed

FORMATS = (".gif", ".webp", ".mp4")
MAX_LISTED = 6
"""Maximum number of agents whose rewards a caption lists one by one."""
NO_MP4 = "Films in .mp4 need FFmpeg: pip install imageio-ffmpeg; or take a name that ends in .gif."


def film(
    game: Game,
    actor: Actor,
    generator: torch.Generator,
    *,
    episodes: int = 1,
    max_steps: int | None = None,
    scale: float = 1.0,
    transfer: Transfer | None = None,
) -> Iterator[np.ndarray]:
    """Run episodes, and draw a frame before the first and after every step.

    Args:
        game, actor, generator: the game, the policy, and the source of every draw.
        episodes: number of episodes, 1 or more.
        max_steps: maximum number of steps of an episode; None: until it ends.
        scale: scale factor of the frames, above 0.
        transfer: rule of gifts between agents; None: no gifts.

    Returns:
        Frames, uint8 [height, width, 3], whose sizes may differ by their captions' lengths.

    >>> from bilevel.agents import random_actor
    >>> from games import make
    >>> game = make("chicken")
    >>> len(list(film(game, random_actor(game), torch.Generator(), episodes=3)))  # start and one step each
    6
    """
    for episode in range(episodes):
        state = game.reset(1, generator)
        title = f"episode {episode}, " if episodes > 1 else ""
        yield captioned(game.render(state, 0, scale), f"{title}start", scale)
        total, step, over, hidden_state = 0.0, 0, False, None
        while not over and (max_steps is None or step < max_steps):
            seen = observe_step(game, state)
            actions, hidden_state = actor(state, generator, hidden_state)
            cooperates = game.cooperates(state, actions)
            state, rewards, done = game.step(state, actions, generator)
            if transfer is not None:
                own = rewards.T[None]
                joint, mask = actions.movedim(0, 1)[None], torch.ones_like(own[:, :1])
                cooperated = None if cooperates is None else cooperates.T[None].to(own.dtype)
                given = step_gifts(transfer, seen, joint, own, mask, cooperated)
                state = game.give(state, given)
            step, over, total = step + 1, bool(done.item()), total + float(rewards.sum())
            words = f"{title}step {step}: {_earned(rewards[0].tolist())}, together so far {total:z.4g}"
            yield captioned(game.render(state, 0, scale), words, scale)


def _earned(rewards: list[float]) -> str:
    """Format the rewards of a step.

    >>> _earned([1.0, -0.01]), _earned([0.5] * 20)
    ('rewards 1, -0.01', 'reward 10')
    """
    if len(rewards) <= MAX_LISTED:
        return f"rewards {', '.join(f'{reward:z.4g}' for reward in rewards)}"
    return f"reward {sum(rewards):z.4g}"


def check_film(path: Path) -> None:
    """Check that a film can be written in the format of its name.

    Args:
        path: path of the film; it ends in .gif, .webp or .mp4.

    Raises:
        ValueError: there is no such format, or FFmpeg is needed (.mp4) but missing.

    >>> from pathlib import Path
    >>> check_film(Path("film.gif"))
    >>> check_film(Path("film.avi"))
    Traceback (most recent call last):
    ValueError: A film's name ends in .gif, .webp or .mp4; film.avi does not.
    """
    require(
        path.suffix in FORMATS,
        f"A film's name ends in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}; {path.name} does not.",
    )
    if path.suffix == ".mp4":
        try:
            importlib.import_module("imageio_ffmpeg")
        except ImportError as error:
            raise ValueError(NO_MP4) from error


def write_film(frames: Iterable[np.ndarray], path: Path, *, frames_per_second: float = 4.0) -> Path:
    """Write frames as a film in an endless loop.

    Args:
        frames: uint8 [height, width, 3]; smaller ones are padded with white to the right and below.
        path: ends in .gif, .webp, or .mp4, which needs imageio-ffmpeg.
        frames_per_second: above 0.

    Returns:
        The path.

    Raises:
        ValueError: as for `check_film`.

    >>> from pathlib import Path
    >>> from bilevel.agents import random_actor
    >>> from bilevel.report import film
    >>> from games import make
    >>> game = make("chicken")
    >>> write_film(film(game, random_actor(game), torch.Generator()), Path("film.gif")).exists()
    True
    """
    check_film(path)
    film = film_bytes(frames, path.suffix, frames_per_second=frames_per_second)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda file: file.write(film))
    return path


def film_bytes(frames: Iterable[np.ndarray], suffix: str, *, frames_per_second: float = 4.0) -> bytes:
    """Encode frames as a film in an endless loop.

    Args:
        frames, frames_per_second: as for `write_film`.
        suffix: .gif, .webp, or .mp4, which needs imageio-ffmpeg.

    Returns:
        The content of its file.

    >>> film_bytes([np.zeros((4, 4, 3), np.uint8)], ".gif")[:3]
    b'GIF'
    """
    listed = list(frames)
    size = tuple(max(frame.shape[axis] for frame in listed) for axis in (0, 1))
    if suffix == ".mp4":
        size = tuple(length + length % 2 for length in size)  # the usual codec takes even lengths only
    same = np.stack([framed(frame, (size[0], size[1])) for frame in listed])
    how: dict[str, Any] = {"duration": 1000 / frames_per_second, "loop": 0}
    if suffix == ".mp4":
        how = {"fps": frames_per_second, "macro_block_size": 2}
    return bytes(iio.imwrite("<bytes>", same, extension=suffix, **how))

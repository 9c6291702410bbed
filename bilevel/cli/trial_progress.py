"""How trials go: a bar with the time left, or plain lines where no terminal is."""

from __future__ import annotations

import sys

from rich.progress import TextColumn

from bilevel.cli.bars import line_due, make_bar


class TrialProgress:
    """Shows trials on standard error.

    Args:
        first_line: what is done, in words.
        total: how many trials there are.
        done: how many of them are done already.
    """

    def __init__(self, first_line: str, total: int, done: int) -> None:
        self._first_line, self._total, self._done, self._before = first_line, total, done, done
        self._bar = make_bar(TextColumn("{task.fields[done]}/{task.fields[of]} trials"))

    def __enter__(self) -> TrialProgress:
        print(self._first_line, file=sys.stderr, flush=True)
        if self._bar is not None and self._done < self._total:
            # The bar counts what is left: what is there already says nothing about the time that takes.
            self._bar.add_task("", total=self._total - self._before, done=self._done, of=self._total)
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, weighting: str, seed: int, part: float) -> None:
        """Tell how a trial goes.

        Args:
            weighting: which way to set the weights.
            seed: of the trial.
            part: which part of it is done, from 0 to 1; the trial is over when it is written, with 1.
        """
        self._done += part >= 1
        if self._bar is None:
            if part >= 1 and line_due(self._done - self._before, self._total - self._before):
                print(
                    f"trial {self._done} of {self._total}: {weighting}, seed {seed}",
                    file=sys.stderr,
                    flush=True,
                )
            return
        left = self._done - self._before + (part if part < 1 else 0.0)
        words = f"{weighting}, seed {seed}"
        self._bar.update(self._bar.task_ids[0], completed=left, done=self._done, description=words)

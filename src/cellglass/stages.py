"""Counts up what is done of a long job, for whoever wants to watch."""

from __future__ import annotations

from collections.abc import Callable

from cellglass.callbacks import Epoch

Progress = Callable[[str, int, int], None]
"""Called as ``progress(stage, done, total)`` whenever some of a stage is done."""


class Stage:
    """Counts up what is done of one stage."""

    def __init__(self, progress: Progress, name: str, total: int) -> None:
        self._progress, self._name, self._total, self._done = progress, name, total, 0
        progress(name, 0, total)

    def advance(self) -> None:
        """Tell that one more part of the stage is done."""
        self.reach(self._done + 1)

    def reach(self, done: int) -> None:
        """Tell that so many parts of the stage are done, each that is news."""
        while self._done < done:
            self._done += 1
            self._progress(self._name, self._done, self._total)


class Epochs:
    """Counts up epochs of all runs; those that a run ends without count as done."""

    def __init__(self, progress: Progress, n_runs: int, max_epochs: int) -> None:
        self._progress, self._total = progress, n_runs * max_epochs
        self._max_epochs = max_epochs
        self._done: dict[str, int] = {}  # epochs by run
        progress("Training", 0, self._total)

    def __call__(self, epoch: Epoch) -> None:
        """Tell of one more epoch of a run."""
        self._tell(epoch.run, epoch.epoch)

    def finish_run(self, run: str) -> None:
        """Tell that a run is done."""
        self._tell(run, self._max_epochs)

    def _tell(self, run: str, done: int) -> None:
        if done > self._done.get(run, 0):
            self._done[run] = done
            self._progress("Training", sum(self._done.values()), self._total)


def silent(stage: str, done: int, total: int) -> None:
    """Show no progress."""

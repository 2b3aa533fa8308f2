"""A place for the state of a training, which stands for a run's."""

from contextlib import contextmanager


class StateFile:
    """One file of a folder; a `cycleqd.experts.resuming.Place`."""

    def __init__(self, folder):
        self._file = folder / "state"
        self.written = 0

    def read(self):
        return self._file if self._file.exists() else None

    @contextmanager
    def write(self):
        new = self._file.with_suffix(".new")
        yield new
        new.rename(self._file)
        self.written += 1

"""The order of an experiment's runs where several are played side by side."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from cycleqd.experiment.plan import PlannedRun


class Schedule:
    """Says which run may begin, so that the experts of a seed are trained once.

    Of each seed one run goes ahead, by the first method whose turn it is. When it is finished, its experts have all
    their scores, and the seed's other runs may begin. If it fails, the next method's run goes ahead. Seeds do not
    wait for each other; between two runs that may begin, the plan's order decides.

    Example:
        >>> schedule = Schedule(planned_runs(experiment), jobs=4)
        >>> while not schedule.is_over:
        ...     while (run := schedule.begin()) is not None:
        ...         start(run)
        ...     schedule.end(run := wait_for_one(), well=succeeded(run))

    Args:
        planned: All runs, in the plan's order.
        jobs: Runs that may be played at a time, at least 1.
        finished: Seeds of which some run is finished already.
    """

    def __init__(self, planned: Iterable[PlannedRun], jobs: int, finished: Collection[int] = ()) -> None:
        if jobs < 1:
            raise ValueError(f"jobs must be at least 1, got {jobs}")
        self._waiting = list(planned)
        self._playing: list[PlannedRun] = []
        self._jobs = jobs
        self._open = set(finished)

    @property
    def is_over(self) -> bool:
        """Whether every run has had its turn."""
        return not self._waiting and not self._playing

    def begin(self) -> PlannedRun | None:
        """The run that begins now; None where one must end first."""
        if len(self._playing) >= self._jobs:
            return None
        ahead = {run.seed for run in self._playing} - self._open
        chosen = next((run for run in self._waiting if run.seed not in ahead), None)
        if chosen is not None:
            self._waiting.remove(chosen)
            self._playing.append(chosen)
        return chosen

    def end(self, run: PlannedRun, *, well: bool) -> None:
        """Takes note that a run has ended.

        Args:
            run: One that has begun.
            well: Whether it is finished.
        """
        self._playing.remove(run)
        if well:
            self._open.add(run.seed)

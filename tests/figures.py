"""Reports without their pictures, for tests that look at something else."""

from contextlib import contextmanager

import pytest


@contextmanager
def without_figures():
    """Nothing is drawn, which takes three quarters of a report's time.

    `tests/report` and the first run of `tests/flows/test_run.py` look at pictures.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cycleqd.report.figures.draw", lambda summary, history: {})
        yield

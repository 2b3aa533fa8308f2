"""Starts that are refused before they have done anything: told in one line, without a traceback.

Prefect logs the traceback of whatever ends a flow. Of a refusal it says nothing that the text does not say better.
"""

from __future__ import annotations

import logging

from cycleqd.evaluation.agreement import OtherScores
from cycleqd.preflight.search import SearchUnfit
from cycleqd.run.base_identity import BaseDiffers, BaseUnknown
from cycleqd.run.finding import RunUnknown
from cycleqd.run.lease import RunLocked
from cycleqd.tracking import TrackerMissing

REFUSALS = (RunUnknown, RunLocked, BaseDiffers, BaseUnknown, OtherScores, SearchUnfit, TrackerMissing)
"""There is no such run, another process works on it, it was begun with something else, its search cannot begin, or a
tracker's package is missing."""


def _in_one_line(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(fault := record.exc_info[1], REFUSALS):
        record.msg, record.args, record.exc_info = str(fault), (), None
    return True


logging.getLogger("prefect.flow_runs").addFilter(_in_one_line)

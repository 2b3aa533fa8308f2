"""The report of a run: what came out, how sure that is, and where the time went.

Everything is drawn from the run's records alone, so a report can be made of a run that is still going, of one that
was killed, and again years later. What a run has not measured is left out, never filled in.

Public: `summarise` (the figures, as one `Summary`), `replay` (the archives over the generations), `write_report`
(``report/summary.json``, ``index.html``, ``report.md`` and the figures), and the tables that the command line prints.
"""

from __future__ import annotations

from cycleqd.report.history import History, replay
from cycleqd.report.summary import Comparison, Summary, summarise
from cycleqd.report.write import write_report

__all__ = ["Comparison", "History", "Summary", "replay", "summarise", "write_report"]

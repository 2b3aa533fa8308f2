"""Several runs side by side: what came out, how the searches went, and which settings differ.

Runs that differ in nothing but their seed are a *group*; where a group has several finished runs, its mean has an
interval over seeds and samples. Two runs that met the same test samples are compared in pairs.

Public: `read_run` (one run as far as it has got), `comparison` (all of them, as plain data), the tables that the
command line prints, and `page`, which is one HTML file that needs no network.
"""

from __future__ import annotations

from cycleqd.report.compare.comparison import Comparison, comparison
from cycleqd.report.compare.page import page
from cycleqd.report.compare.runs import Run, read_run
from cycleqd.report.compare.tables import group_table, run_table, settings_table

__all__ = ["Comparison", "Run", "comparison", "group_table", "page", "read_run", "run_table", "settings_table"]

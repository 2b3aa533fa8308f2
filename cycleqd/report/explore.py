"""The part of ``report/index.html`` that can be asked: archives, a table of all individuals, losses of the experts.

Its script only shows, sorts and filters what the page holds; without it the page is complete.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from cycleqd.report.cells import BOTTOM, LEFT, RIGHT, SIZE, TOP, ArchivePicture, archive_picture
from cycleqd.report.losses import Legend, Training, loss_chart
from cycleqd.report.members import Records, member_table, members
from cycleqd.report.tables import TextTable


class Explored(NamedTuple):
    """What the template shows.

    Attributes:
        archives: As they are now; empty before the seeding.
        individuals: The table of all.
        kinds: Words for the filter, a row of the table each.
        others: Whether there are individuals that are no children, merges or experts.
        losses: The chart, as HTML; empty where there are no losses.
        legend: What its lines are.
        data: All that the script knows of individuals, as JSON.
        frame: Measures of the archives' pictures, by name.
    """

    archives: list[ArchivePicture]
    individuals: TextTable
    kinds: list[str]
    others: bool
    losses: str
    legend: list[Legend]
    data: str
    frame: Mapping[str, int]


def explored(records: Records, trained: Mapping[str, Training] | None = None) -> Explored:
    """Collects it.

    Args:
        records: Of the run.
        trained: How the experts' training went, by skill.
    """
    losses, legend = loss_chart(trained) if trained else ("", [])
    known, skills, history = members(records), records.summary.skills, records.history
    return Explored(
        archives=[archive_picture(history, skill, known) for skill in history.skills] if history.now else [],
        individuals=member_table(known, skills),
        kinds=[member.kind for member in known.values()],
        others=any("other" in member.kind.split() for member in known.values()),
        losses=losses,
        legend=legend,
        data=json.dumps(
            {
                "run": records.summary.run_id,
                "skills": skills,
                "members": {name: member._asdict() for name, member in known.items()},
            }
        ).replace("<", "\\u003c"),  # a closing tag in a name must not end the script that holds the data
        frame={"size": SIZE, "left": LEFT, "top": TOP, "width": LEFT + SIZE + RIGHT, "height": TOP + SIZE + BOTTOM},
    )

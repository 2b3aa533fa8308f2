"""An audit as Markdown, for the Prefect UI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cycleqd.evaluation.audit import Audit, Finding
from cycleqd.report.markdown import plain

LISTED: Final = 200
"""Samples of a list that are shown: a server takes some hundred kilobytes."""
_LONGEST: Final = 300
"""Characters of a reason."""


def audit_markdown(found: Audit) -> str:
    """Numbers first, then every list of samples with ids and reasons.

    Ids and reasons come from data and from what programs wrote: they are shown as they stand.
    """
    data = (
        f"{found.data_version or 'no version'}, sha256 {found.data_sha256[:16]}" if found.data_sha256 else "generated"
    )
    facts = [
        ("samples played", str(found.n)),
        ("gold solution passes", str(found.oracle_passed)),
        ("empty agent passes", str(found.empty_passed)),
        ("data", data),
        ("seconds", f"{found.seconds:.0f}"),
    ]
    lines = ["| fact | value |", "| --- | --- |", *(f"| {name} | {plain(value)} |" for name, value in facts)]
    for title, findings in (
        ("Broken", found.broken),
        ("Solved by a cheat", found.cheated),
        ("Skipped", found.skipped),
    ):
        lines += ["", f"## {title} ({len(findings)})", "", *_list(findings)]
    return "\n".join(lines)


def _list(findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return ["None."]
    rows = [f"| {plain(one.id)} | {plain(one.reason[:_LONGEST])} |" for one in findings[:LISTED]]
    more = len(findings) - LISTED
    rest = ["", f"And {more} more: `cycleqd audit SKILL --json FILE` writes all."] if more > 0 else []
    return ["| sample | why |", "| --- | --- |", *rows, *rest]

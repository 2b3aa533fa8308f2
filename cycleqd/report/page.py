"""The report as one static page, and as Markdown."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from cycleqd.report.episode_pages import EpisodePages
from cycleqd.report.explore import Explored
from cycleqd.report.lineage import Ancestor, describe, expert_shares, family
from cycleqd.report.markdown import code, fenced, plain
from cycleqd.report.provenance import Provenance
from cycleqd.report.rows import kind_of
from cycleqd.report.samples import samples_key
from cycleqd.report.summary import Summary
from cycleqd.report.tables import (
    NOTES,
    TextTable,
    baseline_table,
    comparison_table,
    headline,
    percent,
    row_name,
    score_table,
    skill_comparison_table,
    time_table,
)
from cycleqd.report.templates import render, script_hash
from cycleqd.report.transcripts import individual_key, transcript_key
from cycleqd.run.records import IndividualRecord

LINEAGE_DEPTH = 4
"""Levels of parents in a family tree of the page; `cycleqd show lineage` shows more."""


class _Figure(NamedTuple):
    name: str
    caption: str
    data: str


class _Family(NamedTuple):
    row: str
    origin: str
    shares: str
    tree: Ancestor


class _Link(NamedTuple):
    label: str
    href: str


def html_page(
    summary: Summary,
    figures: Mapping[str, bytes],
    background: Provenance,
    measured: Collection[tuple[str, str, str]],
    read: Callable[[str], IndividualRecord],
    found: Explored,
    episodes: EpisodePages,
) -> str:
    """``report/index.html``: all but the episodes in one file, which is complete without its script.

    Args:
        summary: The run's figures.
        figures: PNG images by name.
        background: Configuration and provenance.
        measured: The evaluations that have a transcript: (split, row, skill).
        read: Gives an individual's recipe by id.
        found: The archives and individuals that can be asked.
        episodes: The pages with episodes.
    """
    script = render("explore.js.j2") + render("individuals.js.j2")
    splits = [split for split in summary.splits if summary.splits[split]]
    images = {name: _Figure(name, _caption(name), base64.b64encode(image).decode()) for name, image in figures.items()}
    return render(
        "index.html.j2",
        summary=summary,
        headline=headline(summary),
        first=table if (table := baseline_table(summary)).rows else None,
        notes=NOTES,
        facts=_facts(summary),
        splits=[
            {
                "name": split,
                "scores": score_table(summary, split),
                "tables": [
                    table
                    for table in (comparison_table(summary, split), skill_comparison_table(summary, split))
                    if table.rows
                ],
                "figure": images.get(f"scores-{split}"),
            }
            for split in splits
        ],
        growth=images.get("archives-over-time"),
        explored=found,
        held=[_Link(name, individual_key(name)) for name in episodes.held],
        left_out=episodes.left_out,
        script=script,
        script_hash=script_hash(script),
        progress=images.get("progress"),
        time=images.get("time"),
        time_table=time_table(summary) if summary.wall_seconds["total"] > 0 else None,
        families=[_family(row, summary, read) for row in summary.individuals if kind_of(row).searched],
        transcripts=_transcripts(summary, measured),
        samples=[
            _Link(f"{skill}, {split}", samples_key(skill, split))
            for split, skill in dict.fromkeys((split, skill) for split, _, skill in sorted(measured))
        ],
        weights=TextTable(
            "Weights",
            ("model", "individual", "content hash"),
            tuple(
                (row_name(row, summary), summary.individuals.get(row, "–"), genome)
                for row, genome in summary.genomes.items()
            ),
        ),
        versions=TextTable("Software", ("package", "version"), tuple(summary.versions.items())),
        background=background,
        describe=describe,
    )


def markdown_page(summary: Summary, figures: Mapping[str, bytes], background: Provenance) -> str:
    """``report/report.md``: the same tables, the figures as links to the files beside it."""
    parts = [f"# CycleQD run {code(summary.run_id)}", headline(summary)]
    if (first := baseline_table(summary)).rows:
        parts += [f"### {first.title}", first.to_markdown()]
    parts.append("\n".join(f"* {note}" for note in NOTES))
    for split, rows in summary.splits.items():
        if not rows:
            continue
        parts.append(f"## {split.capitalize()} split")
        for table in (
            score_table(summary, split),
            comparison_table(summary, split),
            skill_comparison_table(summary, split),
        ):
            if table.rows:
                parts += [f"### {table.title}", table.to_markdown()]
        parts += _images(figures, f"scores-{split}")
    archives = _images(figures, "progress") + _images(figures, "archive")
    if archives:
        parts += ["## Search", *archives]
    if summary.wall_seconds["total"] > 0:
        parts += ["## Time", time_table(summary).to_markdown(), *_images(figures, "time")]
    parts += ["## Provenance", "\n".join(f"* {name}: {plain(value)}" for name, value in _facts(summary).items())]
    for table in background.facts:
        parts += [f"### {table.title}", table.to_markdown()]
    parts += ["### Configuration", fenced(background.configuration.rstrip("\n"), "yaml")]
    return "\n\n".join(parts) + "\n"


def _images(figures: Mapping[str, bytes], prefix: str) -> list[str]:
    return [f"![{name}]({name}.png)" for name in figures if name.startswith(prefix)]


def _facts(summary: Summary) -> dict[str, str]:
    facts = {
        "base model": summary.model,
        "skills": ", ".join(summary.skills),
        "seed": str(summary.seed),
        "generations": f"{summary.generations} of {summary.generations_planned}",
        "tokens generated": f"{summary.tokens:,}",
    }
    if summary.children_per_hour is not None:
        facts["children per hour"] = f"{summary.children_per_hour:.0f}"
    return facts


def _caption(name: str) -> str:
    if name.startswith("scores-"):
        return "Bars are means over the samples, whiskers their 95 % intervals."
    if name == "archives-over-time":
        return "Each line is one archive, from the experts alone to now. Orange frames: the experts' cells."
    if name == "progress":
        return "After every generation, on the optimization split. Means are over the individuals in the archive."
    return "Wall-clock time by phase, each second counted once."


def _family(row: str, summary: Summary, read: Callable[[str], IndividualRecord]) -> _Family:
    name = summary.individuals[row]
    shares = expert_shares(name, read)
    text = ", ".join(
        f"{percent(share)} % {expert.removeprefix('expert-').removeprefix('regmean-')}"
        for expert, share in shares.items()
    )
    return _Family(row_name(row, summary), describe(read(name)), text, family(name, read, depth=LINEAGE_DEPTH))


def _transcripts(summary: Summary, measured: Collection[tuple[str, str, str]]) -> list[tuple[str, list[_Link]]]:
    lines = []
    for row in summary.rows:
        links = [
            _Link(f"{skill}, {split}", transcript_key(row, skill, split))
            for split in summary.splits
            for skill in summary.skills
            if (split, row, skill) in measured
        ]
        lines.append((row_name(row, summary), links))
    return lines

"""Episodes as people read them, in a terminal and as a page. What a model wrote is text, never interpreted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from cycleqd.messages import as_text, visible
from cycleqd.report.samples import SOLVED, anchor
from cycleqd.report.templates import render, script_hash
from cycleqd.run.records import EpisodeRecord, EvaluationRecord

ROLES = {
    "system": ("instructions", "bright_black"),
    "user": ("to the model", "cyan"),
    "assistant": ("model", "green"),
}
"""What a reader calls the speakers, and their colours in a terminal."""


def select(
    episodes: Sequence[EpisodeRecord], *, failed: bool = False, limit: int | None = None
) -> list[EpisodeRecord]:
    """The first `limit` episodes, or the first of those that are not solved."""
    chosen = [episode for episode in episodes if not failed or episode.score < SOLVED]
    return chosen if limit is None else chosen[:limit]


def terminal(episodes: Sequence[EpisodeRecord]) -> Iterator[RenderableType]:
    """One panel per episode."""
    for episode in episodes:
        parts: list[RenderableType] = []
        for message in episode.messages:
            name, colour = ROLES[message["role"]]
            parts.append(Rule(Text(name, style=colour), align="left", style=colour))
            parts.append(Text(visible(as_text(message)).rstrip()))
        solved = episode.score >= SOLVED
        verdict = f"{episode.score:g}  {visible(episode.reason)}"
        yield Panel(
            Group(*parts),
            title=Text(f"{episode.sample}  ({episode.template})"),
            subtitle=Text(verdict, style="bold green" if solved else "bold red"),
            title_align="left",
            subtitle_align="left",
            border_style="green" if solved else "red",
        )


def plain(episodes: Sequence[EpisodeRecord]) -> Iterator[str]:
    """The lines of all episodes, for pipes: a head with the sample and its score, then who says what."""
    for episode in episodes:
        yield f"== {episode.sample} ({episode.template}) score {episode.score:g}: {_one_line(episode.reason)}"
        for message in episode.messages:
            yield f"-- {ROLES[message['role']][0]}"
            yield from visible(as_text(message)).rstrip().splitlines()
        yield ""


def _one_line(text: str) -> str:
    return " ".join(visible(text).split())


def transcript_key(row: str, skill: str, split: str) -> str:
    """Where a page lies, relative to the report's folder."""
    return f"transcripts/{row.replace(':', '-')}-{skill}-{split}.html"


def individual_key(identifier: str) -> str:
    """Where the page of an individual that is no row of the report lies, relative to the report's folder."""
    return f"transcripts/held-{identifier}.html"


def transcript_page(
    record: EvaluationRecord, episodes: Sequence[EpisodeRecord], *, title: str, samples: str = ""
) -> str:
    """All episodes of one evaluation as a page of HTML, which is complete without its script.

    Args:
        record: The evaluation.
        episodes: Its episodes.
        title: Of the page.
        samples: File name of the page beside it that has the same samples in all models, if there is one.
    """
    return _page(title, [_section(record, episodes)], samples)


def individual_page(
    title: str, records: Mapping[str, EvaluationRecord], episodes: Mapping[str, Sequence[EpisodeRecord]]
) -> str:
    """All episodes of an individual as one page, skill by skill; each skill's name is the place where it begins.

    Args:
        title: Of the page.
        records: Its evaluations by skill, at least one.
        episodes: Their episodes.
    """
    return _page(title, [_section(record, episodes[skill], skill) for skill, record in records.items()])


def _page(title: str, sections: Sequence[dict[str, Any]], samples: str = "") -> str:
    script = render("transcript.js.j2")
    found = [episode for section in sections for episode in section["episodes"]]
    return render(
        "transcript.html.j2",
        title=title,
        samples=samples,
        script=script,
        # What a model wrote stands on this page: no script runs here but ours.
        script_hash=script_hash(script),
        solved=sum(episode["solved"] for episode in found),
        failed=sum(not episode["solved"] for episode in found),
        sections=sections,
    )


def _section(record: EvaluationRecord, episodes: Sequence[EpisodeRecord], skill: str = "") -> dict[str, Any]:
    """What the template shows of one evaluation; the skill is named where a page has several."""
    return {
        "skill": skill,
        "record": record,
        "solved": sum(episode.score >= SOLVED for episode in episodes),
        "episodes": [
            {
                "sample": episode.sample,
                "anchor": f"{skill}-{anchor(episode.sample)}" if skill else anchor(episode.sample),
                "template": episode.template,
                "score": f"{episode.score:g}",
                "solved": episode.score >= SOLVED,
                "reason": visible(episode.reason),
                "messages": [
                    {"role": message["role"], "name": ROLES[message["role"]][0], "text": visible(as_text(message))}
                    for message in episode.messages
                ],
            }
            for episode in episodes
        ],
    }

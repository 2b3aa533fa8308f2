"""Episodes as people read them, in a terminal and as a page. What a model wrote is text, never interpreted."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from cycleqd.messages import as_text, visible
from cycleqd.report.samples import SOLVED, anchor
from cycleqd.report.templates import render
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
    script = render("transcript.js.j2")
    return render(
        "transcript.html.j2",
        title=title,
        record=record,
        samples=samples,
        script=script,
        # What a model wrote stands on this page: no script runs here but ours.
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        solved=sum(episode.score >= SOLVED for episode in episodes),
        episodes=[
            {
                "sample": episode.sample,
                "anchor": anchor(episode.sample),
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
    )

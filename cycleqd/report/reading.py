"""One evaluation as Markdown: how every sample went, and the first episodes in full, within a size."""

from __future__ import annotations

from collections.abc import Sequence

from cycleqd.messages import as_text, visible
from cycleqd.report.markdown import code, fenced, plain
from cycleqd.report.samples import SOLVED
from cycleqd.report.tables import TextTable, scored
from cycleqd.report.transcripts import ROLES
from cycleqd.run.records import EpisodeRecord, EvaluationRecord

SIZE_LIMIT = 100_000
"""Characters of one document; Prefect's UI becomes sluggish with more than twice as many."""

REASON_LENGTH = 80
"""Characters of a judge's reason that a list shows."""


def verdicts_line(record: EvaluationRecord) -> str:
    """Which samples were solved and which failed why, in one line of a log."""
    solved = [sample.id for sample in record.samples if sample.score >= SOLVED]
    failed = [f"{one.id} ({_short(one.reason)})" for one in record.samples if one.score < SOLVED]
    return f"solved: {', '.join(solved) or 'none'}; failed: {', '.join(failed) or 'none'}"


def evaluation_markdown(
    record: EvaluationRecord, episodes: Sequence[EpisodeRecord], *, individual: str, transcripts: str
) -> str:
    """A table of verdicts, then episode by episode messages, actions, observations and verdict.

    Args:
        record: The finished evaluation.
        episodes: Its episodes.
        individual: Whose evaluation it is.
        transcripts: Where all of them lie, in case that they are too many to show.
    """
    table = TextTable(
        "",
        ("sample", "score", "turns", "tokens", "verdict"),
        tuple(
            (one.id, f"{one.score:g}", str(one.turns), str(one.tokens), _short(one.reason)) for one in record.samples
        ),
    )
    score = record.score
    parts = [
        f"# {plain(individual)}: {plain(record.skill)}, {plain(record.split)}",
        f"Score **{scored(score)} %** over {score.n} samples, {record.tokens} tokens, "
        f"{record.seconds:.1f} s. All episodes: {code(transcripts)}",
        table.to_markdown(),
    ]
    size = sum(map(len, parts))
    for number, episode in enumerate(episodes):
        text = _episode(episode)
        size += len(text)
        if size > SIZE_LIMIT:
            parts.append(f"{len(episodes) - number} more episodes are in {code(transcripts)}.")
            break
        parts.append(text)
    return "\n\n".join(parts)


def _episode(episode: EpisodeRecord) -> str:
    verdict = "solved" if episode.score >= SOLVED else "failed"
    lines = [f"## {plain(episode.sample)} ({plain(episode.template)}): {verdict}"]
    for message in episode.messages:
        lines.append(f"**{ROLES[message['role']][0]}**")
        lines.append(fenced(visible(as_text(message))))
    lines.append(f"**verdict** {episode.score:g}: {plain(_short(episode.reason))}")
    return "\n\n".join(lines)


def _short(reason: str) -> str:
    """One line of what may be a model's words."""
    line = " ".join(visible(reason).split())
    return line if len(line) <= REASON_LENGTH else line[: REASON_LENGTH - 1] + "…"

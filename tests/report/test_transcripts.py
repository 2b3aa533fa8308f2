from __future__ import annotations

import io

from rich.console import Console

from cycleqd.messages import visible
from cycleqd.report.transcripts import select, terminal
from cycleqd.run.store import RunStore
from tests.report.synthetic import genome


def test_control_characters_are_spelt_out() -> None:
    assert visible("a\x1b[2Jb\x07\tc\nd\r\ne\x9b") == "a\\x1b[2Jb\\x07\tc\nd\ne\\x9b"


def test_failed_episodes_are_picked_and_counted(finished: RunStore) -> None:
    episodes = finished.episodes(genome("expert-os"), "os", "test")
    failed = select(episodes, failed=True, limit=3)
    assert len(failed) == 3
    assert all(episode.score == 0 for episode in failed)
    assert select(episodes) == episodes


def test_a_terminal_gets_neither_markup_nor_escapes_from_a_model(finished: RunStore) -> None:
    console = Console(file=io.StringIO(), width=120)
    for panel in terminal(finished.episodes(genome("expert-os"), "os", "test")[:1]):
        console.print(panel)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\\x1b[31m[bold]red[/bold]" in text
    assert "\x1b" not in text

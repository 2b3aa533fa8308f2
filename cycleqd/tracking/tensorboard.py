"""TensorBoard: event files in a folder, written by tensorboardX."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from cycleqd.tracking.protocol import Identity, Row, Steps


@dataclass(frozen=True)
class TensorBoard:
    """Writes event files: ``tensorboard --logdir PLACE`` shows all runs under it.

    Args:
        place: A local folder, in which each run gets one of its own.
    """

    PACKAGE: ClassVar[str] = "tensorboardX"
    EXTRA: ClassVar[str] = "tensorboard"

    place: str = "tensorboard"

    def __post_init__(self) -> None:
        if "://" in self.place:
            raise ValueError(f"place must be a local folder, as earlier steps are read from there, got {self.place}")

    def open(self, run: Identity) -> EventFiles:
        """The run's folder, with a file of its own for this start."""
        return EventFiles(Path(self.place).absolute() / run.key)


class EventFiles:
    """A run's event files; what they have of each metric is read back from them.

    Args:
        folder: Where they lie; it is made.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboardX.event_file_writer import EventsWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        last: dict[str, int] = {}
        for step, names in stored(folder):
            last |= {name: max(step, last.get(name, -1)) for name in names}
        self._steps = Steps(last)
        # Two starts may share the second that the writer's own name has, and TensorBoard reads in the order of names.
        self._writer = EventsWriter(str(folder / "events"), filename_suffix=f".{time.time_ns()}")

    @property
    def address(self) -> str:
        """The folder."""
        return str(self._folder)

    def describe(self, settings: Mapping[str, str]) -> None:
        """Shows the settings as a table, under the tab for texts."""
        self._text("settings", "| setting | value |\n| --- | --- |\n" + _table(settings))

    def add(self, rows: Sequence[Row]) -> None:
        """Appends one event a row: a crash leaves a row whole or not at all."""
        from tensorboardX.proto.summary_pb2 import Summary

        for step, values in self._steps.news(rows):
            shown = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
            self._write(Summary(value=shown), step)
        self._writer.flush()

    def link(self, addresses: Mapping[str, str]) -> None:
        """Shows the addresses as a table, under the tab for texts."""
        self._text("links", "| what | where |\n| --- | --- |\n" + _table(addresses))

    def close(self, *, failed: bool) -> None:
        """Closes this start's file; event files know no state of a run."""
        self._writer.close()

    def _text(self, tag: str, markdown: str) -> None:
        from tensorboardX.summary import text

        self._write(text(tag, markdown), 0)
        self._writer.flush()

    def _write(self, summary: Any, step: int) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))


def stored(folder: Path) -> Iterator[tuple[int, list[str]]]:
    """The events of a folder's files in the order in which they were written: the step, and the names of its numbers.

    A file that was cut off while it was written is read up to there, as TensorBoard does.
    """
    from tensorboardX.proto.event_pb2 import Event

    for file in sorted(folder.glob("events.out.tfevents.*")):
        for content in _records(file.read_bytes()):
            event = Event()
            event.ParseFromString(content)
            if names := [value.tag for value in event.summary.value if value.HasField("simple_value")]:
                yield event.step, names


def _records(content: bytes) -> Iterator[bytes]:
    """The records of a TFRecord file: a length of 8 bytes with its checksum, the content with its own."""
    at = 0
    while at + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        if at + 16 + length > len(content):
            return
        yield content[at + 12 : at + 12 + length]
        at += 16 + length


def _table(entries: Mapping[str, str]) -> str:
    return "\n".join(f"| {name} | {text.replace('|', chr(92) + '|')} |" for name, text in entries.items())

"""The skill of a task of inspect_ai: its dataset, solver, tools, sandbox and scorer, our engines and containers."""

from __future__ import annotations

import hashlib
import math
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from cycleqd.faults import ConfigError
from cycleqd.messages import Message, whole_texts
from cycleqd.plain_yaml import read_yaml
from cycleqd.sandbox import Sandboxes
from cycleqd.sandbox.own_images import OwnImage
from cycleqd.skills.benchmarks.benchmark import DataUnavailable, Problem, Source, halves, without_excluded
from cycleqd.skills.benchmarks.inspect_task.client import ask
from cycleqd.skills.benchmarks.inspect_task.games import Game, Seat
from cycleqd.skills.benchmarks.inspect_task.surroundings import NotPlayable, Surroundings, surroundings_of
from cycleqd.skills.benchmarks.inspect_task.worker.tasks import DRAWS
from cycleqd.skills.protocol import NOTHING_BESIDE, NoReference, Origin, Sample, SkillSession, Split, Verdict

TURNS: Final = 10
"""Replies that a model may give to a sample, unless the configuration says."""
NEW_TOKENS: Final = 512
"""Of a reply, unless the task says."""
MOST_NEW_TOKENS: Final = 4096
LOADING_SECONDS: Final = 600.0
"""For a task and its dataset, which may be a download."""
_AT_A_TIME: Final = 64
"""Samples whose first messages are found side by side."""
_STOPS: Final = 5
"""How often a solver may ask for a reply after its turns are used up."""
_REASON_CHARACTERS: Final = 200
_SPEC: Final = re.compile(r"(?P<task>[^?]+)(\?(?P<arguments>.*))?", re.DOTALL)


class Task(NamedTuple):
    """Which task.

    Attributes:
        name: As inspect_ai spells it: ``package/task``, or ``/path/file.py@task``.
        arguments: Its arguments.
        file: The task's file, where it is one.
    """

    name: str
    arguments: dict[str, Any]
    file: Path | None


def read_task(data: str | None, skill: str) -> Task:
    """Reads the setting ``data``: ``FILE.py@TASK`` or ``PACKAGE/TASK``, and arguments as ``?size=3&kind=hard``.

    Raises:
        DataUnavailable: It is no such text, or there is no such file.
    """
    match = _SPEC.fullmatch(data or "")
    if match is None:
        raise DataUnavailable(f"{skill}: set the skill's `data` to a task of inspect_ai: FILE.py@TASK or PACKAGE/TASK")
    arguments: dict[str, Any] = {}
    for pair in filter(None, (match["arguments"] or "").split("&")):
        name, is_given, text = pair.partition("=")
        if not is_given or not name.isidentifier():
            raise DataUnavailable(f"{skill}: arguments of a task are written as ?NAME=VALUE&NAME=VALUE, got {pair!r}")
        try:
            arguments[name] = read_yaml(text, f"the task's argument {name}")
        except ConfigError as error:
            raise DataUnavailable(f"{skill}: {error}") from error
    path, _, of_file = match["task"].partition("@")
    if not path.endswith(".py"):
        return Task(match["task"], arguments, None)
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise DataUnavailable(f"{skill}: there is no file {path}")
    if not of_file:  # inspect_ai finds the tasks of a relative path alone
        raise DataUnavailable(f"{skill}: say which task of the file: {path}@TASK")
    return Task(f"{file}@{of_file}", arguments, file)


class InspectEpisode:
    """One sample of a game: a solver asks for replies until it has ended or its turns are used up.

    Attributes:
        asked: What was asked, turn by turn, where that is more than one conversation that grows; else None.
    """

    def __init__(self, sample: Sample, messages: list[Message], turns: int, game: Game, own: bool) -> None:
        self.sample = sample
        self.messages = messages
        self.failed = NOTHING_BESIDE
        self.asked: list[list[Message]] | None = None
        self._key: str = sample.data["key"]
        self._turns_left = turns
        self._game = game
        self._own = own
        self._history = [[*messages]]

    def act(self, reply: str) -> bool:
        """Gives the solver the reply that it waits for; see `Episode.act`.

        Raises:
            DataUnavailable: The task failed before the model said anything, or asks something else than when it was
                loaded: it draws at random, or reads the clock.
        """
        if len(self._history) == 1:
            self._check_question(self._game.question(self._key))
        self.messages.append({"role": "assistant", "content": reply})
        self._game.reply(self._key, reply)
        self._turns_left -= 1
        seat = self._game.question(self._key)
        if seat.ended:
            return True
        if self._turns_left == 0:
            self._game.stop(self._key)
            return True
        asked = whole_texts(seat.asked)
        self._history.append(asked)
        if asked[:-1] == self.messages:
            self.messages.append(asked[-1])
        else:
            self.messages = [*asked]
            self.asked = self._history
        return False

    def judge(self) -> Verdict:
        """What the task's scorers say."""
        for _ in range(_STOPS):
            seat = self._game.question(self._key)
            if seat.ended:
                return _verdict(seat)
            self._game.stop(self._key)
        return Verdict(0.0, "the solver did not end when its turns were used up")

    def close(self) -> None:
        """Ends the game if it is this sample's alone; containers go with their samples."""
        if self._own:
            self._own = False
            self._game.close()

    def _check_question(self, seat: Seat) -> None:
        if seat.asked is None:
            raise DataUnavailable(f"{self.sample.id}: the task failed before the model said anything: {seat.failed}")
        if whole_texts(seat.asked) != self.messages:
            raise DataUnavailable(f"{self.sample.id}: the task asks something else than when it was loaded: {DRAWS}")


def _verdict(seat: Seat) -> Verdict:
    if seat.scores is None:
        return Verdict(0.0, _line(f"the sample failed: {seat.failed}"))
    extra: dict[str, float] = {}
    for said in seat.scores:
        for part, number in said["numbers"].items():
            extra[f"{said['scorer']}.{part}" if part else str(said["scorer"])] = _bounded(number)
    first = seat.scores[0]
    numbers = list(first["numbers"].values())
    score = sum(map(_bounded, numbers)) / len(numbers) if numbers else 0.0
    beyond = " (counted as a number in [0, 1])" if [*map(_bounded, numbers)] != numbers else ""
    told = ": ".join(filter(None, [first["answer"], first["explanation"]]))
    reason = _line(f"{first['scorer']} says {first['value'] or 'nothing'}{beyond}{'; ' if told else ''}{told}")
    return Verdict(score, reason, extra if len(extra) > 1 else NOTHING_BESIDE)


def _bounded(number: float) -> float:
    return 0.0 if math.isnan(number) else min(1.0, max(0.0, number))


def _line(text: str) -> str:
    return " ".join(text.split())[:_REASON_CHARACTERS]


class InspectSession:
    """The games of one evaluation: one of all samples that were announced, and one for each other sample."""

    def __init__(self, skill: InspectSkill, sandboxes: Sandboxes) -> None:
        self._skill = skill
        self._sandboxes = sandboxes
        self._lock = threading.Lock()
        self._announced: Game | None = None
        self._taken: set[str] = set()
        self._games: list[Game] = []

    def expect(self, samples: Sequence[Sample], live: int) -> None:
        """Begins to play samples, which will be started in this order; see `Announced.expect`."""
        self._announced = self._begin([sample.data["key"] for sample in samples], live)

    def start(self, sample: Sample) -> InspectEpisode:
        """Opens an episode; never blocks."""
        key = sample.data["key"]
        messages = self._skill.initial_messages(sample)
        with self._lock:
            announced = self._announced is not None and self._announced.has(key) and key not in self._taken
            self._taken.add(key)
        if announced and self._announced is not None:
            return InspectEpisode(sample, messages, self._skill.max_turns, self._announced, own=False)
        return InspectEpisode(sample, messages, self._skill.max_turns, self._begin([key], 1), own=True)

    def files(self) -> dict[str, bytes]:
        """The log of the announced samples, by its name; see `Announced.files`."""
        if self._announced is None:
            return {}
        log = self._announced.log()
        return {log.name: log.read_bytes()}

    def close(self) -> None:
        """Ends all games."""
        for game in self._games:
            game.close()

    def _begin(self, keys: Sequence[str], live: int) -> Game:
        game = self._skill.game(keys, live, self._sandboxes)
        with self._lock:
            self._games.append(game)
        return game


class InspectSkill:
    """A task of inspect_ai.

    Args:
        counts: Samples per split; None or absent is the whole half.
        source: Its ``data`` names the task, see `read_task`.
        name: What the skill is called.

    Raises:
        DataUnavailable: There is no such task, it can't be played here, or inspect_ai is missing.
        ValueError: The task has fewer samples than asked for.
    """

    name = "inspect"
    images: tuple[str, ...] = ("shell",)
    max_turns = TURNS
    max_new_tokens = NEW_TOKENS
    stop: tuple[str, ...] = ()

    def __init__(self, *, counts: Mapping[Split, int | None], source: Source, name: str = "inspect") -> None:
        self.name = name
        self._task = read_task(source.data, name)
        if source.prompt_file is not None:
            raise DataUnavailable(f"{name}: a task of inspect_ai has its own prompts and takes no prompt_file")
        command = {"do": "describe", "task": self._task.name, "arguments": self._task.arguments}
        told = ask(command, skill=name, seconds=LOADING_SECONDS)
        faults = list(told["faults"])
        self._own: dict[str, Surroundings] = {}
        """What samples act in, by key, where that is no image of ours."""
        try:
            self._own = _own_of(told["samples"])
        except NotPlayable as error:
            faults.append(str(error))
        if faults:
            raise DataUnavailable(f"{name}: {self._task.name} can't be played: {'; '.join(faults)}")
        self.images = ("shell", *sorted({one.image.tag for one in self._own.values()}))
        self.max_turns = source.max_turns or TURNS
        self.max_new_tokens = min(told["max_tokens"] or NEW_TOKENS, MOST_NEW_TOKENS)
        problems = [
            Problem(
                f"{name}/{one['id']}",
                str(told["task"]),
                one["content"],
                {"key": one["id"], "content": one["content"], "target": one["target"]},
            )
            for one in told["samples"]
        ]
        kept, skipped = without_excluded(problems, source.excluded)
        digest = hashlib.sha256(self._task.file.read_bytes() if self._task.file else self._task.name.encode())
        digest.update(repr(sorted(self._task.arguments.items())).encode())
        digest.update("".join(problem.content for problem in problems).encode())
        for key, one in sorted(self._own.items()):
            told_so = (key, one.image.tag, one.directory, sorted(one.environment.items()), one.user)
            digest.update(repr(told_so).encode())
        version = f"{told['task']} {told['version']}, inspect_ai {told['inspect']}"
        self.origin = Origin(version, digest.hexdigest(), "ours", tuple(skipped))
        self._samples = halves(name, kept, counts=counts, seed=source.split_seed)
        self._asking = threading.Lock()
        self._first: dict[str, list[Message]] | None = None

    def samples(self, split: Split) -> Sequence[Sample]:
        """The samples of a split."""
        return self._samples[split]

    def initial_messages(self, sample: Sample) -> list[Message]:
        """What the task's solver asks first.

        Raises:
            DataUnavailable: It asks nothing, fails, or uses the sandbox before it asks.
        """
        with self._asking:
            if self._first is None:
                self._first = self._questions()
        return [message.copy() for message in self._first[sample.data["key"]]]

    def gold_replies(self, sample: Sample) -> list[str]:
        """None: a task says what is right, not how to reply.

        Raises:
            NoReference: Always.
        """
        raise NoReference("a task of inspect_ai does not say how it is solved")

    @contextmanager
    def session(self, sandboxes: Sandboxes) -> Iterator[SkillSession]:
        """Starts nothing yet; what is started ends with it."""
        opened = InspectSession(self, sandboxes)
        try:
            yield opened
        finally:
            opened.close()

    def own_images(self) -> tuple[OwnImage, ...]:
        """The images of the task's own, which must be made before it is played."""
        return tuple({one.image.tag: one.image for one in self._own.values()}.values())

    def game(self, keys: Sequence[str], live: int, sandboxes: Sandboxes | None) -> Game:
        """Lets inspect_ai play samples."""
        task = self._task
        return Game(task.name, task.arguments, keys, name=self.name, live=live, sandboxes=sandboxes, own=self._own)

    def _questions(self) -> dict[str, list[Message]]:
        """What all samples ask first: each is played up to there, without a sandbox."""
        keys = [sample.data["key"] for split in self._samples.values() for sample in split]
        found: dict[str, list[Message]] = {}
        game = self.game(keys, _AT_A_TIME, None)
        try:
            for key in keys:
                seat = game.question(key)
                if seat.asked is None:
                    raise DataUnavailable(f"{self.name}: the task fails at the sample {key}: {seat.failed}")
                if seat.touched:
                    raise DataUnavailable(
                        f"{self.name}: at the sample {key} the task's solver uses the sandbox before it asks the model"
                    )
                found[key] = whole_texts(seat.asked)
                game.stop(key)
            if keys:
                game.log()
        finally:
            game.close()
        return found


def _own_of(samples: Sequence[Mapping[str, Any]]) -> dict[str, Surroundings]:
    """What samples act in, by key; most share one.

    Raises:
        NotPlayable: Our containers cannot be that.
    """
    read: dict[tuple[str | None, str], Surroundings | None] = {}
    found: dict[str, Surroundings] = {}
    for sample in samples:
        if sample["sandbox"] is None:
            continue
        told = (sample["sandbox"]["config"], sample["sandbox"]["folder"])
        if told not in read:
            read[told] = surroundings_of(*told)
        if (one := read[told]) is not None:
            found[sample["id"]] = one
    return found

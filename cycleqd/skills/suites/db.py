"""The db skill: answer a question about one SQL table, or change it.

The form of the conversation follows AgentBench's database task (Liu 2023, https://arxiv.org/abs/2308.03688): a reply
is an operation with one SQL statement, or the final answer as a list. Every episode has a database of its own.
Questions compare the answer's values; changes compare the whole table with the one after the gold statement.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, NamedTuple

from cycleqd.sandbox import Database, DatabaseServers, Sandboxes, StatementResult, Table, UnreadableTable
from cycleqd.skills.parsing import END_OF_BLOCK, MAX_REPLY_CHARS, LiteralError, fenced_block, read_literal
from cycleqd.skills.protocol import GENERATED, Message, Sample, SkillSession, Split, Verdict
from cycleqd.skills.suites.db_templates import DB_TEMPLATES
from cycleqd.skills.suites.generation import SPLITS, draw_split
from cycleqd.skills.turns import TurnEpisode

SYSTEM_PROMPT: Final = (
    "MySQL: first Action: Operation with a ```sql block, then Action: Answer, Final Answer: [VALUES]."
)
"""Terse, because every episode and every training conversation pays for it."""
MAX_OUTPUT_CHARS: Final = 800
"""Of a result that the model sees, as in AgentBench."""
NUMBER_TOLERANCE: Final = 0.01
"""Absolute, so that an average may be rounded to two digits; no count or sum of ours is a near miss of another."""
_MAX_ANSWER_CHARS: Final = 4_000
_MAX_VALUES: Final = 200


class Action(NamedTuple):
    """What a reply asks for.

    Attributes:
        kind: The action.
        text: The statement of an operation, the list's text of an answer.
    """

    kind: Literal["operation", "answer"]
    text: str


def parse_action(reply: str) -> Action | None:
    """The first action of a reply; None when there is none.

    What an `Action:` line announces is taken without that line, too: what counts is whether a model can act, and a
    merge loses such a line before it loses the statement.
    """
    text = reply[:MAX_REPLY_CHARS]
    found = re.search(r"^[ \t]*Act(?:ion)?:[ \t]*(Operation|Answer)\b", text, re.M | re.I)
    rest = text[found.end() :] if found else text
    if found is None or found[1].lower() == "operation":
        statement = fenced_block(rest, ("sql", "mysql"), cut=True)
        if found or statement:
            return Action("operation", statement) if statement else None
    answer = re.search(r"Final Answer:[ \t]*([^\r\n]*)", rest, re.I)
    if answer is None or len(answer[1]) > _MAX_ANSWER_CHARS:
        return None
    return Action("answer", answer[1].strip())


def operation(statement: str) -> str:
    """The reply that executes a statement."""
    return f"Action: Operation\n```sql\n{statement}\n```"


def final_answer(values: str) -> str:
    """The reply that ends an episode."""
    return f"Action: Answer\nFinal Answer: {values}"


def answer_values(text: str) -> list[str | float]:
    """The values of an answer: a Python literal, flattened, or else the text split at its commas."""
    try:
        literal = read_literal(text, max_chars=_MAX_ANSWER_CHARS)
    except LiteralError:
        literal = text.strip().removeprefix("[").removesuffix("]").split(",")
    values: list[str | float] = []
    waiting = [literal]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list | tuple | set | dict):
            waiting.extend(item)
        elif item is not None and item != "":
            values.append(_value(item))
    return values


def _value(item: Any) -> str | float:
    """A number where the item reads as one, else its text without quotes around it."""
    text = str(item).strip().strip("\"'`").strip()
    try:
        number = float(text) if len(text) <= 30 else math.nan
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def same_answer(actual: str, expected: Sequence[str | int | float]) -> bool:
    """Whether both name the same set of values; numbers within 0.01, texts exactly."""
    given, wanted = answer_values(actual), [_value(item) for item in expected]
    if not given or len(given) > _MAX_VALUES:
        return False
    return all(any(map(_same, [a] * len(wanted), wanted)) for a in given) and all(
        any(map(_same, given, [w] * len(given))) for w in wanted
    )


def _same(a: str | float, b: str | float) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return abs(a - b) <= NUMBER_TOLERANCE
    return type(a) is type(b) and a == b


def observation(result: StatementResult) -> str:
    """What the model is told of a statement: the rows as a list of tuples, or the error."""
    text = result.error if result.error is not None else str([tuple(row) for row in result.rows])
    return text if len(text) <= MAX_OUTPUT_CHARS else text[:MAX_OUTPUT_CHARS] + "[truncated]"


class DbEpisode(TurnEpisode[Action]):
    """One database, up to `DbSkill.max_turns` replies."""

    def __init__(self, sample: Sample, messages: list[Message], database: Database, max_turns: int) -> None:
        super().__init__(
            sample,
            messages,
            max_turns,
            parse=parse_action,
            performed="operation",
            perform=lambda statement: observation(database.execute(statement)),
        )
        self._database = database

    def judge(self) -> Verdict:
        """Compares the answer's values; or the whole table, however the episode ended."""
        data = self.sample.data
        if data["kind"] == "question":
            if self._last is None:
                return Verdict(0.0, "neither a ```sql block nor `Final Answer: [...]`")
            if self._last.kind != "answer":
                return Verdict(0.0, "no answer was given")
            if same_answer(self._last.text, data["answer"]):
                return Verdict(1.0, "the answer is right")
            return Verdict(0.0, f"answered {self._last.text[:100]}, expected {str(data['answer'])[:100]}")
        after = sorted(map(tuple, data["after"]))
        try:
            found = sorted((tuple(row) for row in self._database.content(data["table"])), key=str)
        except UnreadableTable as fault:
            return Verdict(0.0, str(fault))
        if found == sorted(after, key=str):
            return Verdict(1.0, "the table is in the wanted state")
        missing = len(set(after) - set(found))
        return Verdict(0.0, f"{missing} of {len(after)} wanted rows are missing, the table has {len(found)} rows")

    def close(self) -> None:
        """Drops the database."""
        self._database.close()


class DbSession:
    """Episodes that share a server, each with a database and a user of its own."""

    def __init__(self, skill: DbSkill, servers: DatabaseServers) -> None:
        self._skill = skill
        self._servers = servers

    def start(self, sample: Sample) -> DbEpisode:
        """Creates and fills a database; on a server of its own where the sample was started before.

        Raises:
            SandboxUnavailable: The server is at fault.
        """
        data = sample.data
        table = Table(data["table"], tuple(data["columns"]), tuple(tuple(row) for row in data["rows"]))
        database = self._servers.open([table], name=sample.id)
        return DbEpisode(sample, self._skill.initial_messages(sample), database, self._skill.max_turns)


class DbSkill:
    """The demo suite of the db skill.

    Args:
        seed: Seed of the suite, at least 0.
        counts: Samples per split; a split that is left out is empty.
    """

    name = "db"
    images: tuple[str, ...] = ("mariadb",)
    max_turns = 2
    max_new_tokens = 40
    stop: tuple[str, ...] = END_OF_BLOCK
    origin = GENERATED

    def __init__(self, *, seed: int, counts: Mapping[Split, int]) -> None:
        self._samples = {
            split: draw_split(self.name, DB_TEMPLATES, split, seed=seed, count=counts.get(split, 0))
            for split in SPLITS
        }

    def samples(self, split: Split) -> Sequence[Sample]:
        """The samples of a split."""
        return self._samples[split]

    def initial_messages(self, sample: Sample) -> list[Message]:
        """The rules, the problem and the table's columns."""
        data = sample.data
        problem = f"{data['task']}\nTable {data['table']}: {', '.join(data['columns'])}"
        return [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": problem}]

    def gold_replies(self, sample: Sample) -> list[str]:
        """The gold statement, then the answer."""
        data = sample.data
        answer = data["answer"] if data["kind"] == "question" else []
        return [operation(data["gold"]), final_answer(str(answer))]

    @contextmanager
    def session(self, sandboxes: Sandboxes) -> Iterator[SkillSession]:
        """Opens one database server for all episodes; another one where it dies."""
        with DatabaseServers(sandboxes.database) as servers:
            yield DbSession(self, servers)

"""The skill `agentbench_db`: AgentBench's database tasks (Liu 2023, https://arxiv.org/abs/2308.03688).

A turn runs one SQL statement or gives the final answer, in AgentBench's grammar to the letter: the first line of the
form ``Action: WORD`` decides, ``Operation`` alone runs the first ```sql block (its line ends become spaces), and in
any other turn a line ``Final Answer: ...`` (not the first line) ends the episode, as does a turn with neither.

Questions are judged by the answer, changes by the table's state however the episode ended: the score is whether
AgentBench's hash of it matches, and `table_state`, recorded beside it, whether all rows are those that the gold
statement leaves. Unlike AgentBench, an episode without a single valid turn scores 0 even where the gold statement
changes nothing, and the final answer counts among the five turns.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cycleqd.sandbox import Database, DatabaseServer, Sandboxes, StatementResult, Table
from cycleqd.sandbox.database import STATEMENT_CHARACTERS
from cycleqd.skills.agentbench_db_data import CHANGES, FILES, read_problems
from cycleqd.skills.agentbench_db_judge import published_hash, same_answer, table_hash
from cycleqd.skills.benchmark import Source, files_sha256, halves, locate, prompt_text, without_excluded
from cycleqd.skills.db import Action, final_answer, operation
from cycleqd.skills.parsing import LONG_REPLY_CHARS, blocks
from cycleqd.skills.prompting import conversation
from cycleqd.skills.protocol import Message, NoReference, Origin, Sample, SkillSession, Split, Verdict
from cycleqd.skills.turns import TurnEpisode

PROMPT: Final = Path(__file__).parent / "prompts" / "agentbench_db.md"
MAX_OUTPUT_CHARS: Final = 800
"""Of a result that the model sees, as in AgentBench."""
TABLE_STATE: Final = "table_state"
"""Our own verdict on a change, beside AgentBench's hash."""

COLLATION: Final = "uca1400_nopad_ai_ci"
"""MariaDB's nearest to utf8mb4_0900_ai_ci, which AgentBench's MySQL 8 has by default: Unicode's order, spaces at the
end count, no two emoji are equal, ß is ss."""

State = tuple[tuple[str | None, ...], ...]


def parse_action(reply: str) -> Action | None:
    """The action of a reply by AgentBench's grammar; None when there is none."""
    text = reply[:LONG_REPLY_CHARS]
    if next(blocks(text, "Action: ", "\n"), None) == "Operation":
        block = next(blocks(text, "```sql\n"), None)
        return None if block is None else Action("operation", block.strip().replace("\n", " "))
    answer = re.search(r"\nFinal Answer:(.*)", text)
    return Action("answer", answer[1]) if answer else None


def observation(result: StatementResult) -> str:
    """What the model is told of a statement: the rows as a list of tuples, or the error."""
    text = result.error if result.error is not None else str([tuple(row) for row in result.rows])
    return text if len(text) <= MAX_OUTPUT_CHARS else text[:MAX_OUTPUT_CHARS] + "[TRUNCATED]"


def table_of(sample: Sample) -> Table:
    """The sample's table."""
    data = sample.data
    return Table(data["table"], tuple(data["columns"]), tuple(tuple(row) for row in data["rows"]))


def executed(database: Database, statement: str, sample: Sample) -> StatementResult:
    """Executes a statement, which may be long where it is the sample's own gold statement."""
    gold = [str(label).strip().replace("\n", " ") for label in sample.data["label"]]
    known = statement.strip().replace("\n", " ") in gold
    return database.execute(statement, characters=LONG_REPLY_CHARS if known else STATEMENT_CHARACTERS)


class AgentBenchDbEpisode(TurnEpisode[Action]):
    """One database, up to five replies."""

    def __init__(self, sample: Sample, messages: list[Message], session: AgentBenchDbSession, turns: int) -> None:
        super().__init__(sample, messages, turns, parse=parse_action, performed="operation", perform=self._execute)
        self._session = session
        self._executed = False
        self._database: Database | None = None
        self._fault = ""
        try:
            self._database = session.server.open([table_of(sample)], name=sample.id, collation=COLLATION)
        except ValueError as error:  # the data is at fault: the sample is broken, the evaluation goes on
            self._fault = str(error)

    def judge(self) -> Verdict:
        """Compares the answer, or the table's state."""
        if self._database is None:
            return Verdict(0.0, self._fault)
        if self._last is None and not self._executed:
            return Verdict(0.0, "neither `Action: Operation` with a ```sql block nor a line `Final Answer:`")
        if self.sample.data["kind"] in CHANGES:
            return self._judge_state(self._database)
        label = self.sample.data["label"]
        if self._last is None or self._last.kind != "answer":
            return Verdict(0.0, "ended without a final answer")
        if same_answer(self._last.text, label):
            return Verdict(1.0, "the answer is right")
        return Verdict(0.0, f"answered {self._last.text.strip()[:100]}, expected {str(label)[:100]}")

    def close(self) -> None:
        """Drops the database."""
        if self._database is not None:
            self._database.close()

    def _execute(self, statement: str) -> str:
        self._executed = True
        if self._database is None:
            return self._fault
        seen = observation(executed(self._database, statement, self.sample))
        if self.sample.data["kind"] in CHANGES:
            self._database.execute("COMMIT")  # AgentBench commits after every statement, whatever a model began
        return seen

    def _judge_state(self, database: Database) -> Verdict:
        data = self.sample.data
        found = database.content(data["table"])
        matches = table_hash(found) == published_hash(data["md5"])
        wanted = self._session.state_after_gold(self.sample)
        if isinstance(wanted, str):
            reason, extra = f"no comparison of states ({wanted})", {}
        else:
            missing = len(wanted) - len(set(wanted) & set(found))
            reason = "the same state" if found == wanted else f"another state, {missing} of {len(wanted)} rows missing"
            extra = {TABLE_STATE: float(found == wanted)}
        return Verdict(float(matches), f"the hash {'matches' if matches else 'differs'}; {reason}", extra)


class AgentBenchDbSession:
    """Episodes that share a server, each with a database and a user of its own."""

    def __init__(self, skill: AgentBenchDbSkill, server: DatabaseServer) -> None:
        self.server = server
        self._skill = skill
        self._states: dict[str, State | str] = {}
        self._lock = threading.Lock()

    def start(self, sample: Sample) -> AgentBenchDbEpisode:
        """Creates and fills a database.

        Raises:
            SandboxUnavailable: The server is at fault.
        """
        return AgentBenchDbEpisode(sample, self._skill.initial_messages(sample), self, self._skill.max_turns)

    def state_after_gold(self, sample: Sample) -> State | str:
        """The rows that the gold statements leave, or the server's error; computed once a sample.

        Raises:
            SandboxUnavailable: The server is at fault.
        """
        with self._lock:
            known = self._states.get(sample.id)
        if known is not None:
            return known
        state: State | str
        # A name of its own: the episode's database is still open.
        name = f"{sample.id} after gold"
        with self.server.open([table_of(sample)], name=name, collation=COLLATION) as database:
            errors = [executed(database, statement, sample).error for statement in sample.data["label"]]
            error = next((error for error in errors if error is not None), None)
            state = database.content(sample.data["table"]) if error is None else f"the gold statement fails: {error}"
        with self._lock:
            self._states[sample.id] = state
        return state


class AgentBenchDbSkill:
    """AgentBench's database tasks.

    Args:
        counts: Samples per split; None or absent is the whole half.
        source: The data, the prompt, what to leave out.

    Raises:
        DataUnavailable: The data or the prompt can't be read, or a half has fewer samples than asked for.
    """

    name = "agentbench_db"
    images: tuple[str, ...] = ("mariadb",)
    max_turns = 5
    max_new_tokens = 512
    stop: tuple[str, ...] = ()

    def __init__(self, *, counts: Mapping[Split, int | None], source: Source) -> None:
        paths = locate(source.data, FILES, skill=self.name)
        problems, skipped = read_problems(paths[0])
        kept, excluded = without_excluded(problems, source.excluded)
        self._prompt, prompt = prompt_text(source.prompt_file, PROMPT)
        conversation(self._prompt, "")
        self._samples = halves(self.name, kept, counts=counts, seed=source.split_seed)
        self.origin = Origin(paths[0].stem, files_sha256(paths[:1]), prompt, (*skipped, *excluded))

    def samples(self, split: Split) -> Sequence[Sample]:
        """The samples of a half; `train` has none."""
        return self._samples[split]

    def initial_messages(self, sample: Sample) -> list[Message]:
        """The instructions and the problem, without an example, as in AgentBench."""
        return conversation(self._prompt, sample.data["problem"])

    def gold_replies(self, sample: Sample) -> list[str]:
        """The label as the answer to a question; the gold statements, then an empty answer, for a change.

        The statements that AgentBench's records give for questions were made by a machine and are mostly wrong.

        Raises:
            NoReference: There are more gold statements than turns, or a reply would be too long to be read.
        """
        label = sample.data["label"]
        if sample.data["kind"] not in CHANGES:
            replies = [final_answer(str(label))]
        elif 0 < len(label) < self.max_turns:
            replies = [*map(operation, label), final_answer("[]")]
        else:
            raise NoReference(f"{len(label)} gold statements, {self.max_turns - 1} fit the turns")
        if any(len(reply) > LONG_REPLY_CHARS for reply in replies):
            raise NoReference(f"the label does not fit a reply of {LONG_REPLY_CHARS} characters")
        return replies

    @contextmanager
    def session(self, sandboxes: Sandboxes) -> Iterator[SkillSession]:
        """Opens one database server for all episodes."""
        with sandboxes.database() as server:
            yield AgentBenchDbSession(self, server)

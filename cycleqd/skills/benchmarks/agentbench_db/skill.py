"""The skill `agentbench_db`: AgentBench's database tasks (Liu 2023, https://arxiv.org/abs/2308.03688).

A turn runs one SQL statement or gives the final answer, in AgentBench's grammar to the letter: the first line of the
form ``Action: WORD`` decides, ``Operation`` alone runs the first ```sql block (its line ends become spaces), and in
any other turn a line ``Final Answer: ...`` (not the first line) ends the episode, as does a turn with neither.

Questions are judged by the answer, changes by the table's state however the episode ended: the score is whether
AgentBench's hash of it matches, and `table_state`, recorded beside it, whether all rows are those that the gold
statement leaves. Unlike AgentBench, an episode without a single valid turn scores 0 even where the gold statement
changes nothing, and the final answer counts among the turns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cycleqd.sandbox import Database, DatabaseServers, Sandboxes, StatementResult, Table, UnreadableTable
from cycleqd.sandbox.database import STATEMENT_CHARACTERS
from cycleqd.skills.benchmarks.agentbench_db.data import CHANGES, FILES, read_problems
from cycleqd.skills.benchmarks.agentbench_db.judge import category, published_form, same_answer
from cycleqd.skills.benchmarks.benchmark import Source, files_sha256, halves, locate, prompt_text, without_excluded
from cycleqd.skills.benchmarks.prompting import conversation
from cycleqd.skills.parsing import LONG_REPLY_CHARS, blocks
from cycleqd.skills.protocol import Message, NoReference, Origin, Sample, SkillSession, Split, Verdict
from cycleqd.skills.suites.db import Action, final_answer, operation
from cycleqd.skills.turns import TurnEpisode

PROMPT: Final = Path(__file__).with_name("prompt.md")
MAX_TURNS: Final = 5
"""As in CycleQD's paper, unless the configuration says otherwise; AgentBench's own configuration allows 15."""
MAX_OUTPUT_CHARS: Final = 800
"""Of a result that the model sees, as in AgentBench."""
TABLE_STATE: Final = "table_state"
"""Our own verdict on a change, beside AgentBench's hash."""

OVERALL: Final = "overall"
"""AgentBench's headline, beside the score: the mean of the accuracies of SELECT (all questions), INSERT and UPDATE."""
SERVER: Final = "mysql"
"""The benchmark's own."""
COLLATION: Final = "utf8mb4_0900_ai_ci"
"""MySQL's own since its version 8."""

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
    """One database, up to `AgentBenchDbSkill.max_turns` replies."""

    def __init__(self, sample: Sample, messages: list[Message], session: AgentBenchDbSession, turns: int) -> None:
        super().__init__(sample, messages, turns, parse=parse_action, performed="operation", perform=self._execute)
        self.failed = {f"{OVERALL}/{category(sample.data['kind'])}": 0.0}
        self._session = session
        self._executed = False
        self._database: Database | None = None
        self._fault = ""
        try:
            self._database = session.servers.open([table_of(sample)], name=sample.id, collation=COLLATION)
        except ValueError as error:  # the data is at fault: the sample is broken, the evaluation goes on
            self._fault = str(error)

    def judge(self) -> Verdict:
        """Compares the answer, or the table's state; the score counts in AgentBench's headline, too."""
        verdict = self._judge()
        return verdict._replace(extra={**verdict.extra, **dict.fromkeys(self.failed, verdict.score)})

    def _judge(self) -> Verdict:
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
        self._database.renew()  # AgentBench has a connection a statement: neither variables nor locks outlive it
        return seen

    def _judge_state(self, database: Database) -> Verdict:
        data = self.sample.data
        wanted = self._session.state_after_gold(self.sample, database)
        try:
            found = database.content(data["table"])
        except UnreadableTable as fault:
            return Verdict(0.0, str(fault), {} if isinstance(wanted, str) else {TABLE_STATE: 0.0})
        matches = published_form(found) == data["md5"]
        if isinstance(wanted, str):
            reason, extra = f"no comparison of states ({wanted})", {}
        else:
            missing = len(wanted) - len(set(wanted) & set(found))
            reason = "the same state" if found == wanted else f"another state, {missing} of {len(wanted)} rows missing"
            extra = {TABLE_STATE: float(found == wanted)}
        return Verdict(float(matches), f"the hash {'matches' if matches else 'differs'}; {reason}", extra)


class AgentBenchDbSession:
    """Episodes that share a server, each with a database and a user of its own."""

    def __init__(self, skill: AgentBenchDbSkill, servers: DatabaseServers) -> None:
        self.servers = servers
        self._skill = skill

    def start(self, sample: Sample) -> AgentBenchDbEpisode:
        """Creates and fills a database; on a server of its own where the sample was started before.

        Raises:
            SandboxUnavailable: The server is at fault.
        """
        return AgentBenchDbEpisode(sample, self._skill.initial_messages(sample), self, self._skill.max_turns)

    def state_after_gold(self, sample: Sample, beside: Database) -> State | str:
        """The rows that the gold statements leave, or the server's error; computed once a sample and skill.

        Args:
            sample: The sample.
            beside: The episode's database, whose server is asked.

        Raises:
            SandboxUnavailable: The server is at fault.
        """
        if (known := self._skill.states_after_gold.get(sample.id)) is not None:
            return known
        state: State | str
        # A name of its own: the episode's database is still open.
        name = f"{sample.id} after gold"
        with beside.server.open([table_of(sample)], name=name, collation=COLLATION) as database:
            errors = [executed(database, statement, sample).error for statement in sample.data["label"]]
            error = next((error for error in errors if error is not None), None)
            state = f"the gold statement fails: {error}"
            if error is None:
                try:
                    state = database.content(sample.data["table"])
                except UnreadableTable as fault:
                    state = f"after the gold statement {fault}"
        return self._skill.states_after_gold.setdefault(sample.id, state)  # another thread may have been faster


class AgentBenchDbSkill:
    """AgentBench's database tasks.

    Args:
        counts: Samples per split; None or absent is the whole half.
        source: The data, the prompt, what to leave out.

    Raises:
        DataUnavailable: The data or the prompt can't be read, or a half has fewer samples than asked for.
    """

    name = "agentbench_db"
    images: tuple[str, ...] = ("mysql",)
    max_new_tokens = 512
    stop: tuple[str, ...] = ()

    def __init__(self, *, counts: Mapping[Split, int | None], source: Source) -> None:
        self.states_after_gold: dict[str, State | str] = {}
        """What gold statements leave, by sample: the same for every model that is scored."""
        self.max_turns = MAX_TURNS if source.max_turns is None else source.max_turns
        paths = locate(source.data, FILES, skill=self.name)
        problems, skipped = read_problems(paths[0])
        kept, excluded = without_excluded(problems, source.excluded)
        self._prompt, prompt = prompt_text(source.prompt_file, PROMPT, turns=self.max_turns)
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
        """Opens one MySQL server for all episodes; another one where it dies."""
        with DatabaseServers(lambda: sandboxes.database(image=SERVER)) as servers:
            yield AgentBenchDbSession(self, servers)

"""What every kind of sandbox session keeps to: limits, time-outs, clean-up, neighbours, and whose fault it is.

What a model does wrong is a result; what the sandbox does wrong is `SandboxUnavailable` and never a result.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import docker
import pytest

from cycleqd.machine.owner import RUN_LABEL
from cycleqd.sandbox import Limits, Sandboxes, SandboxUnavailable, Table

pytestmark = pytest.mark.docker

RUN = "tests-contract"
LIMITS = Limits(
    memory_mb=128, pids=48, tmpfs_mb=8, output_bytes=4_096, command_seconds=1.0, program_seconds=1.0, sql_rows=50,
    sql_bytes=4_096,
)  # fmt: skip
ENOUGH_SECONDS = 60.0
"""For what has a limit of one second, on a busy machine."""


class Result(NamedTuple):
    """What came of an action: what it gave, and what the session says went wrong."""

    text: str
    wrong: str


class Kind(ABC):
    """How a test uses one kind of session, whatever its methods are called."""

    open: Callable[[Sandboxes], Any]

    @abstractmethod
    def act(self, session: Any, action: str) -> Result:
        """Does one thing."""

    answer = ""
    """An action that gives 42."""
    endless = ""
    flood = ""
    """An action that prints far more than a session keeps, one `y` after the other."""
    hog = ""
    """An action that wants far more memory than there is."""
    leave = ""
    """Leaves a trace that `find` finds."""
    find = ""
    nothing = ""
    """What `find` gives where there is no trace."""
    lasting = False
    """Whether a session finds its own trace."""


class Shell(Kind):
    answer = "echo 42"
    endless = "while :; do :; done"
    flood = "yes | head -c 20M"
    hog = "python3 -c 'x = bytearray(10**10)'; tail /dev/zero"
    leave = "echo mine > /tmp/trace"
    find = "cat /tmp/trace 2>/dev/null || echo none"
    nothing = "none"
    lasting = True

    def open(self, pool: Sandboxes) -> Any:
        return pool.shell()

    def act(self, session: Any, action: str) -> Result:
        result = session.run(action)
        wrong = "time" * result.timed_out or "more" * result.truncated or "status" * bool(result.exit_code)
        return Result(result.output.strip(), wrong)


class Runner(Kind):
    answer = "return 42"
    endless = "while True: pass"
    flood = "return 'y' * 10**6"
    hog = "return len(bytearray(10**10))"
    leave = "open('trace', 'w').write('mine')"
    find = "import os\n    return os.path.exists('trace')"
    nothing = "False"

    def open(self, pool: Sandboxes) -> Any:
        return pool.runner()

    def act(self, session: Any, action: str) -> Result:
        (outcome,) = session.run(f"def f():\n    {action}", entry_point="f", calls=["()"])
        return Result(outcome.value or "", outcome.error or "")


class DatabaseSession(Kind):
    answer = "SELECT 42"
    endless = "SELECT SLEEP(100)"
    flood = "SELECT REPEAT('y', 1000) FROM information_schema.COLUMNS"
    hog = "SELECT REPEAT('x', 10000000000)"
    leave = "UPDATE things SET name = 'mine'"
    find = "SELECT name FROM things WHERE name = 'mine'"
    nothing = ""
    lasting = True

    def open(self, pool: Sandboxes) -> Any:
        server = pool.database()
        return server.open([Table("things", ("name",), (("theirs",),))]).then(server.close)

    def act(self, session: Any, action: str) -> Result:
        result = session.execute(action)
        text = "".join(str(value) for row in result.rows for value in row if value is not None)
        return Result(text, result.error or "more" * result.truncated)


KINDS: dict[str, Kind] = {"shell": Shell(), "runner": Runner(), "database": DatabaseSession()}


@pytest.fixture(scope="module")
def pool() -> Iterator[Sandboxes]:
    with Sandboxes(run_id=RUN, limits=LIMITS) as sandboxes:
        yield sandboxes


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    connected = docker.from_env(timeout=30)
    yield connected
    connected.close()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def session(kind: Kind, pool: Sandboxes) -> Iterator[Any]:
    with kind.open(pool) as opened:
        yield opened


def containers(client: docker.DockerClient) -> list[dict[str, Any]]:
    return client.api.containers(all=True, filters={"label": f"{RUN_LABEL}={RUN}"})


def works(kind: Kind, session: Any) -> bool:
    return kind.act(session, kind.answer) == Result("42", "")


def test_what_has_no_end_is_ended_and_the_session_goes_on(kind, session):
    began = time.monotonic()
    result = kind.act(session, kind.endless)
    assert time.monotonic() - began < ENOUGH_SECONDS
    assert result.wrong
    assert works(kind, session)


def test_output_beyond_the_limit_is_cut_or_refused_told_and_costs_the_session_nothing(kind, session):
    result = kind.act(session, kind.flood)
    assert result.wrong
    assert len(result.text) <= LIMITS.output_bytes
    assert works(kind, session)


def test_who_wants_more_memory_than_there_is_gets_none_and_the_session_goes_on(kind, session):
    result = kind.act(session, kind.hog)
    assert result.wrong or not result.text
    assert works(kind, session)


def test_neighbours_see_nothing_of_each_other(kind, pool):
    with kind.open(pool) as one, kind.open(pool) as other:
        kind.act(one, kind.leave)
        assert kind.act(other, kind.find).text == kind.nothing
        assert (kind.act(one, kind.find).text == "mine") is kind.lasting


def test_a_session_finds_nothing_of_those_before_it(kind, pool):
    with kind.open(pool) as earlier:
        kind.act(earlier, kind.leave)
    with kind.open(pool) as later:
        assert kind.act(later, kind.find).text == kind.nothing


def test_neighbours_act_at_the_same_time(kind, pool):
    with kind.open(pool) as one, kind.open(pool) as other, ThreadPoolExecutor(2) as threads:
        waiting = threads.submit(kind.act, one, kind.endless)
        assert works(kind, other)
        assert waiting.result().wrong
        assert works(kind, one)


def test_closing_removes_the_container_and_a_closed_session_refuses(kind, pool, client):
    before = len(containers(client))
    session = kind.open(pool)
    assert works(kind, session)
    assert len(containers(client)) == before + 1
    session.close()
    session.close()
    assert len(containers(client)) == before
    with pytest.raises(SandboxUnavailable, match="closed"):
        kind.act(session, kind.answer)


def test_an_error_in_the_block_removes_the_container_too(kind, pool, client):
    before = len(containers(client))
    with pytest.raises(ZeroDivisionError), kind.open(pool):
        raise ZeroDivisionError
    assert len(containers(client)) == before


def test_a_container_that_is_killed_from_outside_is_no_result_of_the_model(kind, pool, client):
    before = {found["Id"] for found in containers(client)}
    with kind.open(pool) as session:
        assert works(kind, session)
        (mine,) = {found["Id"] for found in containers(client)} - before
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(kind.act, session, kind.endless)
            time.sleep(0.2)
            client.api.kill(mine)
            with pytest.raises(SandboxUnavailable, match="retry"):
                waiting.result(timeout=ENOUGH_SECONDS)


def test_when_the_pool_closes_no_session_is_left(kind, client):
    with Sandboxes(run_id=f"{RUN}-closing", limits=LIMITS) as sandboxes:
        session = kind.open(sandboxes)
        assert works(kind, session)
    assert not client.api.containers(all=True, filters={"label": f"{RUN_LABEL}={RUN}-closing"})
    with pytest.raises(SandboxUnavailable):
        kind.act(session, kind.answer)

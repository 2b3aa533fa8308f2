from __future__ import annotations

import ast
import time
from concurrent.futures import ThreadPoolExecutor

import docker
import pytest

from cycleqd.sandbox import Limits, ProgramRunner, Sandboxes, SandboxUnavailable

pytestmark = pytest.mark.docker

BEFORE_IT_ENDS_ITSELF = 60.0
"""Seconds; what is waited for would take longer, and a busy machine does not."""

ADD = "def add(a, b=1):\n    return a + b\n"


def outcome(runner: ProgramRunner, body: str, *, call: str = "()", seconds: float = 5.0) -> tuple[str | None, str]:
    """Value and error of one call of a function `f` with the given program text."""
    (result,) = runner.run(body, entry_point="f", calls=[call], seconds=seconds)
    assert (result.value is None) != (result.error is None)
    return result.value, result.error or ""


def test_calls_give_the_texts_of_their_values_in_order(runner: ProgramRunner) -> None:
    calls = ["(1, 2)", "(5,)", "('a', 'b')", "([1], [(2, None)])", "(1.5, True)"]
    values = [result.value for result in runner.run(ADD, entry_point="add", calls=calls)]
    assert values == ["3", "6", "'ab'", "[1, (2, None)]", "2.5"]


def test_an_exception_is_an_outcome_of_its_call_alone(runner: ProgramRunner) -> None:
    first, second, third = runner.run(ADD, entry_point="add", calls=["(1, 'x')", "(1,)", "(1, 2, 3)"])
    assert first.error == "TypeError: unsupported operand type(s) for +: 'int' and 'str' (line 2)"
    assert second.value == "2"
    assert third.error is not None
    assert third.error.startswith("TypeError: add() takes")


def test_a_program_that_cannot_be_defined_fails_every_call(runner: ProgramRunner) -> None:
    for source, message in [
        ("def f(:\n  pass", "SyntaxError: invalid syntax"),
        ("import nosuchmodule", "ModuleNotFoundError: No module named 'nosuchmodule' (line 1)"),
        ("1/0", "ZeroDivisionError: division by zero (line 1)"),
        ("g = 1", "NameError: name 'f' is not defined"),
        ("f = 3", "TypeError: 'int' object is not callable"),
        ("raise SystemExit(0)", "SystemExit: 0 (line 1)"),
        ("(" * 10_000, "SyntaxError: too many nested parentheses"),
        ("x = '\ud800'", "UnicodeEncodeError"),
        ("\0", "ValueError: source code string cannot contain null bytes"),
    ]:
        results = runner.run(source, entry_point="f", calls=["()", "()"])
        assert len(results) == 2
        for result in results:
            assert result.value is None, source
            assert message in (result.error or ""), source


def test_halves_of_surrogate_pairs_are_replaced_wherever_a_program_puts_them(runner: ProgramRunner) -> None:
    for program, text in [
        ("def f(): raise ValueError(chr(0xD800))", "ValueError: ? (line 1)"),
        ("class E:\n    def __repr__(self): return chr(0xD800)\ndef f(): return E()", "?"),
        ("def f(): return chr(0xD800)", repr("\ud800")),
        ("def f(): raise ValueError(chr(0xD83D) + chr(0xDE00) + 'é')", "ValueError: 😀é (line 1)"),
    ]:
        value, error = outcome(runner, program)
        assert (value or error) == text


def test_unicode_nothing_and_no_calls(runner: ProgramRunner) -> None:
    assert outcome(runner, "def f(x): return x + 'é😀\\n'", call="('ß',)")[0] == repr("ßé😀\n")
    assert outcome(runner, "def f(): pass")[0] == "None"
    assert runner.run(ADD, entry_point="add", calls=[]) == []


def test_ordinary_programs_find_what_they_expect(runner: ProgramRunner) -> None:
    program = """
import sys, os, tempfile, collections, functools, itertools, json, math, re, dataclasses, typing, heapq, decimal
@dataclasses.dataclass
class P:
    x: int
def f():
    print("noise"); print("noise", file=sys.stderr)
    with tempfile.NamedTemporaryFile("w+") as file, open("own", "w") as own:
        file.write("x"); own.write("y")
    if __name__ == "__main__": return "main"
    return [P(1).x, input() if sys.stdin.read() else "end", sorted(os.listdir(".")), math.prod([2, 3])]
"""
    assert outcome(runner, program) == ("[1, 'end', ['own'], 6]", "")
    assert outcome(runner, "import os\ndef f(): return os.listdir('.')")[0] == "[]"


def test_sets_have_the_same_order_in_every_container(runner: ProgramRunner, sandboxes: Sandboxes) -> None:
    program = "def f(): return [*{'alpha', 'beta', 'gamma', 'delta', 'epsilon'}]"
    with sandboxes.runner() as other:
        assert outcome(runner, program) == outcome(other, program)


ENDINGS = {
    "import os\ndef f(): os._exit(0)": "exit status 0",
    "import os\ndef f(): os.kill(os.getpid(), 9)": "killed by signal 9",
    "import os\ndef f(): os.kill(os.getpid(), 11)": "killed by signal 11",
    "import os\ndef f(): raise ValueError(os.kill(-1, 9))": "ValueError: None",
    "import os\ndef f(): os.kill(1, 9)": "PermissionError",
    "import os\ndef f(): os.kill(os.getppid(), 9)": "PermissionError",
    "import sys\ndef f(): sys.exit(0)": "SystemExit: 0",
    "def f(): exit(0)": "SystemExit: 0",
    "def f(): raise KeyboardInterrupt": "KeyboardInterrupt",
    "def f(): return f()": "RecursionError",
    "import os\ndef f(): return os.fork()": "Resource temporarily unavailable",
    "import subprocess\ndef f(): return subprocess.run(['ls'])": "Resource temporarily unavailable",
    "import threading, time\ndef f():\n    while True: threading.Thread(target=time.sleep, args=(9,)).start()": (
        "can't start new thread"
    ),
    "import multiprocessing\ndef f(): multiprocessing.Process(target=print).start()": (
        "Resource temporarily unavailable"
    ),
    "import ctypes\ndef f(): raise OSError(ctypes.CDLL(None).fork())": "OSError: -1",
    "def f(): return bytearray(2**40)": "MemoryError",
    "def f():\n    x = []\n    while True: x.append(bytearray(2**20))": "MemoryError",
    "def f(): return 'x' * 10**6": "longer than 4096",
    "def f(): return list(range(10**5))": "longer than 4096",
    "class E:\n    def __repr__(self): raise ValueError('no text')\ndef f(): return E()": "ValueError: no text",
    "class E:\n    def __repr__(self): return 5\ndef f(): return E()": "TypeError",
    "class E(Exception):\n    def __str__(self): raise RuntimeError\ndef f(): raise E": "(its text can't be had)",
    "import os\ndef f():\n    for n in range(3, 64): os.close(n)": "",
    "import socket\ndef f(): socket.create_connection(('1.1.1.1', 53), 1)": "unreachable",
    "def f(): return open('/root/x', 'w')": "denied",
    "def f(): return open('/etc/x', 'w')": "Error",
    "def f(): return open('/proc/1/mem', 'rb').read(1)": "denied",
    "import os\ndef f(): return os.listdir('/proc/1/fd')": "denied",
    "import os\ndef f(): return os.setuid(0)": "not permitted",
    "import resource\ndef f(): resource.setrlimit(resource.RLIMIT_NPROC, (9999, 9999))": "not allowed",
    "import ctypes\ndef f(): ctypes.string_at(0)": "killed by signal 11",
}


@pytest.mark.parametrize("program", ENDINGS)
def test_hostile_programs_get_an_error_and_nothing_else(runner: ProgramRunner, program: str) -> None:
    value, error = outcome(runner, program, seconds=10.0)
    assert value is None
    assert ENDINGS[program] in error
    assert runner.run(ADD, entry_point="add", calls=["(1,)"])[0].value == "2"


FORGERIES = {
    "replaces builtins": (
        "import builtins, json, os, ast\n"
        "builtins.repr = builtins.str = lambda *a: '42'\n"
        "json.dumps = lambda *a: '[\"42\", null]'\n"
        "ast.literal_eval = lambda *a: (42,)\n"
        "os.write = os._exit = lambda *a: 0\n"
        "def f(x): return x"
    ),
    "prints replies to every file": (
        "import os, json\n"
        "def f(x):\n"
        "    for n in range(64):\n"
        '        for text in (\'{"id": "0", "outcomes": [["42", null]]}\\n\',):\n'
        "            try: os.write(n, text.encode())\n"
        "            except OSError: pass\n"
        "    return x"
    ),
    "sabotages the supervisor's code": (
        "import sys, gc\n"
        "frame = sys._getframe()\n"
        "while frame:\n"
        "    for name, value in list(frame.f_globals.items()):\n"
        "        if callable(value) and name not in ('__builtins__',): frame.f_globals[name] = None\n"
        "    frame = frame.f_back\n"
        "def f(x): return x"
    ),
    "an object equal to everything": (
        "class E:\n    def __eq__(self, o): return True\n    def __hash__(self): return 1\ndef f(x): return E()"
    ),
    "ends at once": "import os\nos._exit(0)\ndef f(x): return x",
}


@pytest.mark.parametrize("how", FORGERIES)
def test_no_program_passes_without_the_right_value(runner: ProgramRunner, how: str) -> None:
    # The function should return its argument plus one; the caller compares, as a judge does.
    for argument in (1, 2):
        (result,) = runner.run(FORGERIES[how], entry_point="f", calls=[f"({argument},)"])
        try:
            value = ast.literal_eval(result.value or "None")
        except (ValueError, SyntaxError):
            value = None
        assert value != argument + 1
    assert runner.run(ADD, entry_point="add", calls=["(1,)"])[0].value == "2"


def test_a_value_written_into_the_pipe_is_held_to_form_and_size(runner: ProgramRunner) -> None:
    program = "import os\ndef f():\n    os.write(3, {text!r} * {times})\n    os._exit(0)"
    texts = [b"\xff\n", b"[1]\n", b"{}\n", b"[1, 2]\n", b'["' + b"x" * 9000 + b'", null]\n', b"[" * 3000 + b"\n"]
    for text, times in [*((text, 1) for text in texts), (b"x" * 60_000, 100)]:
        assert outcome(runner, program.format(text=text, times=times))[0] is None
    assert runner.run(ADD, entry_point="add", calls=["(1,)"])[0].value == "2"


def test_time_is_limited_and_earlier_values_are_kept(runner: ProgramRunner) -> None:
    program = "def f(x):\n    while x: pass\n    return x"
    started = time.monotonic()
    first, second, third = runner.run(program, entry_point="f", calls=["(0,)", "(1,)", "(0,)"], seconds=0.5)
    assert time.monotonic() - started < BEFORE_IT_ENDS_ITSELF
    assert first.value == "0"
    assert second.error == third.error == "TimeoutError: no result within 0.5 s"
    (stopped,) = runner.run("import os\ndef f(): os.kill(os.getpid(), 19)", entry_point="f", calls=["()"], seconds=0.3)
    assert "TimeoutError" in (stopped.error or "")


def test_nothing_of_a_program_is_left_for_the_next(runner: ProgramRunner) -> None:
    filler = (
        "import os\ndef f():\n    os.mkdir('d'); os.chmod('d', 0)\n    os.symlink('/etc', 's')\n    n = 0\n"
        "    try:\n        while True:\n            os.mkdir('x' * 200); os.chdir('x' * 200); n += 1\n"
        "    except OSError as e: return n > 100"
    )
    places = ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/dev", "/run", "/work", "/work/0/..")
    search = f"import os\ndef f(): return [os.listdir('.'), [d for d in {places} if os.access(d, os.W_OK)]]"
    for _ in range(3):
        assert outcome(runner, filler)[0] == "True"
        assert outcome(runner, search)[0] == "[[], []]"
    big = "def f():\n    with open('big', 'wb') as file:\n        while True: file.write(bytes(65536)); file.flush()"
    assert "File too large" in outcome(runner, big)[1]


def test_programs_run_in_parallel_and_apart(runner: ProgramRunner) -> None:
    program = """
import os, time
def f(x):
    open('mine', 'w').write(str(x))
    time.sleep(0.05)
    return [x, os.getuid(), open('mine').read()]
"""
    with ThreadPoolExecutor(6) as threads:
        futures = [threads.submit(outcome, runner, program, call=f"({n},)") for n in range(12)]
        values = [ast.literal_eval(future.result()[0] or "") for future in futures]
    assert [(value[0], value[2]) for value in values] == [(n, str(n)) for n in range(12)]
    assert len({value[1] for value in values}) == 2
    assert all(value[1] >= 1_000_000_000 for value in values)


def test_a_program_has_the_limits_own_time_unless_told_otherwise() -> None:
    limits = Limits(program_seconds=0.3, command_seconds=20.0)
    with Sandboxes(run_id="tests-programs", limits=limits) as pool, pool.runner() as programs:
        (result,) = programs.run("def f():\n    while True: pass", entry_point="f", calls=["()"])
    assert result.error == "TimeoutError: no result within 0.3 s"


def test_a_time_limit_that_is_none_is_refused(runner: ProgramRunner) -> None:
    for seconds in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="seconds must be positive"):
            runner.run(ADD, entry_point="add", calls=["(1,)"], seconds=seconds)


def test_a_container_killed_from_outside_is_unavailable_and_replaced_for_the_next_program(
    sandboxes: Sandboxes, client: docker.DockerClient
) -> None:
    with sandboxes.runner() as programs, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(outcome, programs, "import time\ndef f(): time.sleep(100)", seconds=60)
        time.sleep(0.3)
        client.containers.get(programs._channel._name).kill()
        with pytest.raises(SandboxUnavailable, match="retry"):
            waiting.result(timeout=20)
        assert programs.run(ADD, entry_point="add", calls=["(1,)"])[0].value == "2"
    with pytest.raises(SandboxUnavailable, match="closed"):
        programs.run(ADD, entry_point="add", calls=["(1,)"])

"""What a program can't take from another, and what it can't leave for the next."""

from __future__ import annotations

import ast

import pytest

from cycleqd.sandbox import ProgramRunner, Sandboxes, SandboxUnavailable
from cycleqd.sandbox import runner as runner_module
from cycleqd.sandbox.guest.confinement import call_filter

pytestmark = pytest.mark.docker

PROGRAMS = 4
"""Enough that each place is met."""


def value_of(runner: ProgramRunner, program: str, *, seconds: float = 30.0) -> object:
    (result,) = runner.run(program, entry_point="f", calls=["()"], seconds=seconds)
    assert result.error is None, result.error
    return ast.literal_eval(result.value or "")


def everywhere(runner: ProgramRunner, program: str) -> list[object]:
    """What a program returns in every place."""
    return [value_of(runner, program) for _ in range(PROGRAMS)]


# The pattern does not match itself, so that what is found comes from somebody else.
MEMORY_SCAN = r"""
import ctypes, gc, re
def f():
    ctypes.CDLL(None).prctl(4, 1)  # its own memory's file is then its own again
    pattern = re.compile(rb"XYZZ[Y]-secre[t]")
    found = sum(len(pattern.findall(repr(o).encode())) for o in gc.get_objects() if isinstance(o, (str, bytes, list)))
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            place, modes = line.split()[:2]
            if "r" not in modes or "[v" in line:
                continue
            start, end = (int(x, 16) for x in place.split("-"))
            try:
                memory.seek(start)
                found += len(pattern.findall(memory.read(end - start)))
            except (OSError, ValueError):
                pass
    return found
"""


def test_no_other_program_is_in_a_programs_memory(runner: ProgramRunner) -> None:
    reference = "def f(x):\n    return ['XYZZY-secret', x]  # XYZZY-secret"
    for _ in range(PROGRAMS):
        (known,) = runner.run(reference, entry_point="f", calls=["('XYZZY-secret',)"])
        assert known.value is not None
    assert everywhere(runner, MEMORY_SCAN) == [0] * PROGRAMS
    # The scan finds what is there: its own request.
    assert value_of(runner, MEMORY_SCAN + "\n# XYZZY-secret") != 0


LEFTOVERS = {
    "its directory without permissions": "os.chmod('.', 0)",
    "its directory sticky": "os.chmod('.', 0o1777)",
    "its directory with a group's bits": "os.chmod('.', 0o2755)",
    "a sticky package": "package('heapq', 0o1500)",
    "a package without permissions": "package('json', 0)",
    "an open sticky package": "package('random', 0o1777)",
    "a sticky package in a sticky directory": "package('bisect', 0o1777); os.chmod('.', 0o1000)",
    "nested folders without permissions": (
        "for n in range(60): os.mkdir('d'); os.chdir('d')\n"
        "        for n in range(60): os.chdir('..'); os.chmod('d', n % 2 * 0o1000)"
    ),
    "hard links": "open('a', 'w').close(); os.chmod('a', 0); [os.link('a', str(n)) for n in range(50)]",
    "fifos, sockets and links": (
        "os.mkfifo('p', 0); socket.socket(socket.AF_UNIX).bind('s'); os.symlink('/', 'l'); os.symlink('l', 'm')"
    ),
    "as many entries as there is room for": "fill()",
    "names of every kind": "[open(n, 'w').close() for n in (b'\\xff\\xfe', b'\\n', b'-rf', b'x' * 255)]",
    "attributes": "os.setxattr('.', 'user.x', b'1')",
    "an access list": (
        "os.setxattr('.', 'system.posix_acl_default', bytes.fromhex("
        "'0200000001000000ffffffff04000000ffffffff20000000ffffffff'))"
    ),
}
LEAVES = """
import os, socket
def package(name, mode):
    os.mkdir(name)
    with open(name + '/__init__.py', 'w') as file: file.write('raise ImportError("not the real one")')
    os.chmod(name, mode)
def fill():
    try:
        n = 0
        while True: os.mkdir(str(n)); os.chmod(str(n), 0); n += 1
    except OSError: pass
def f():
    try:
        os.listdir('.')
        {what}
    except OSError as error: return str(error)
    return 'left'
"""
IS_NEW = """
import os, heapq, json, random, bisect, stat
def f():
    mode = os.stat('.').st_mode
    with open('own', 'w') as file: file.write('x')
    os.mkdir('folder')
    return [sorted(os.listdir('.')), oct(stat.S_IMODE(mode)), os.listxattr('.'), os.statvfs('.').f_ffree > 200]
"""


@pytest.mark.parametrize("what", LEFTOVERS)
def test_whatever_a_program_leaves_the_next_finds_its_place_as_new(runner: ProgramRunner, what: str) -> None:
    new = [["folder", "own"], "0o700", [], True]
    first = value_of(runner, IS_NEW)
    assert first == new
    before = runner._container
    done = everywhere(runner, LEAVES.format(what=LEFTOVERS[what]))
    assert set(done) <= {"left", "[Errno 95] Operation not supported: '.'"}
    assert everywhere(runner, IS_NEW) == [new] * PROGRAMS
    assert runner._container is before, "the container itself survived"


def test_nothing_is_imported_from_the_working_directory(runner: ProgramRunner) -> None:
    program = """
import os, sys
def f():
    with open('own_module.py', 'w') as file: file.write('x = 1')
    try:
        import own_module
    except ImportError: return [p for p in sys.path if not os.path.isabs(p)]
"""
    assert everywhere(runner, program) == [[]] * PROGRAMS


HELD = """
import ctypes
def f():
    libc, taken = ctypes.CDLL(None, use_errno=True), []
    for n in range(20):
        shared = libc.shmget(0, 32 * 2**20, 0o1600)
        if shared >= 0:
            libc.shmat.restype = ctypes.c_void_p
            place = libc.shmat(shared, None, 0)
            if place not in (None, 2**64 - 1): ctypes.memset(place, 1, 32 * 2**20); libc.shmdt(ctypes.c_void_p(place))
        queue = libc.mq_open(b"/x%d" % n, 0o102, 0o600, None)
        key = libc.syscall(248, b"user", b"name", b"value", 5, -4)
        taken += [kind for kind, number in [("shm", shared), ("sem", libc.semget(0, 1, 0o1600)),
                  ("msg", libc.msgget(0, 0o1600)), ("mq", queue), ("key", key)] if number >= 0]
    return taken
"""


def test_nothing_that_outlives_a_program_can_be_made_in_the_kernel(runner: ProgramRunner) -> None:
    assert everywhere(runner, HELD) == [[]] * PROGRAMS
    honest = "def f():\n    held = bytearray(60 * 2**20)\n    return len(held)"
    assert everywhere(runner, honest) == [60 * 2**20] * PROGRAMS


def test_shells_hold_no_shared_memory_either(sandboxes: Sandboxes) -> None:
    with sandboxes.shell() as shell:
        assert shell.run("cat /proc/sys/kernel/shmmni /proc/sys/kernel/msgmni").output.split() == ["0", "0"]


def test_modules_of_ours_are_there_for_every_program(sandboxes: Sandboxes) -> None:
    texts = {"given.one": "x = 1", "given.two": "from given.one import x\ny = x + 1"}
    with sandboxes.runner(modules=texts) as programs:
        assert everywhere(programs, "from given.two import y\ndef f(): return y") == [2] * PROGRAMS


def test_threads_are_allowed_and_end_with_their_program(runner: ProgramRunner) -> None:
    program = """
import threading, time
from concurrent.futures import ThreadPoolExecutor
def f():
    threading.Thread(target=time.sleep, args=(1000,)).start()
    with ThreadPoolExecutor(4) as threads: return sum(threads.map(abs, range(10)))
"""
    assert everywhere(runner, program) == [45] * PROGRAMS


def test_annotations_are_evaluated_as_in_any_program(runner: ProgramRunner) -> None:
    (result,) = runner.run("def f(x: List[int]) -> int:\n    return 1", entry_point="f", calls=["([],)"])
    assert result.error == "NameError: name 'List' is not defined (line 1)"
    postponed = "from __future__ import annotations\ndef f(x: List[int]) -> int:\n    return 1"
    assert runner.run(postponed, entry_point="f", calls=["([],)"])[0].value == "1"


def test_a_program_that_can_not_be_confined_is_no_wrong_answer(
    sandboxes: Sandboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = runner_module.settings
    monkeypatch.setattr(
        runner_module,
        "settings",
        lambda places, *rest: original([place._replace(directory="/nowhere") for place in places], *rest),
    )
    with sandboxes.runner() as programs:
        with pytest.raises(SandboxUnavailable, match=r"not confined \(FileNotFoundError"):
            programs.run("def f(): return 1", entry_point="f", calls=["()"])
        monkeypatch.setattr(runner_module, "settings", original)
        assert value_of(programs, "def f(): return 1") == 1


def test_a_program_that_ends_before_it_is_confined_is_no_wrong_answer(
    sandboxes: Sandboxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = runner_module.settings
    # A user that can't be had: the process ends on the way.
    monkeypatch.setattr(
        runner_module,
        "settings",
        lambda places, *rest: original([place._replace(uid=2**40) for place in places], *rest),
    )
    with sandboxes.runner() as programs, pytest.raises(SandboxUnavailable, match="not confined"):
        programs.run("def f(): return 1", entry_point="f", calls=["()"])


def test_the_filter_of_system_calls_is_known_for_both_processors() -> None:
    assert call_filter("riscv64") is None
    for machine in ("x86_64", "aarch64"):
        instructions = call_filter(machine)
        assert instructions is not None
        assert len(instructions) % 8 == 0

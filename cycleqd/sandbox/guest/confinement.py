"""What a program of the runner's guest may not do, and how its place is made as new after it.

Sent into the container beside `runner`. A program gives up every privilege, gets limits, and passes a filter of system
calls (seccomp) that leaves it threads, but no further process and nothing that outlives it: no System V shared memory,
semaphores or queues, no POSIX queues, no keys.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import platform
import resource
import signal
import stat
import struct
from typing import Any

FILE_BYTES = 1_048_576
OPEN_FILES = 64
OUT_OF_MEMORY_FIRST = "500"
PRIVATE = 0o700

SET_NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER_MODE = 38, 22, 2
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
"""Instructions of the kernel's packet filters (linux/bpf_common.h)."""
NUMBER, ABI, FIRST_ARGUMENT = 0, 4, 16
"""Where they stand in what a filter is asked about (struct seccomp_data; both processors are little-endian)."""
ALLOW, FAIL_WITH = 0x7FFF0000, 0x00050000
CLONE_THREAD = 0x00010000
X32 = 0x40000000
"""Calls of x86-64's third ABI have this bit: other numbers for the same calls."""

FORKS = {"x86_64": (57, 58), "aarch64": ()}
CLONE = {"x86_64": 56, "aarch64": 220}
CLONE3 = 435
"""Its flags can't be read by a filter; told that there is no such call, libc takes `clone`."""
ABIS = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
DENIED = {
    # shmget shmat semget msgget mq_open add_key request_key keyctl ptrace unshare setns bpf perf_event_open
    # userfaultfd io_uring_setup
    "x86_64": (29, 30, 64, 68, 240, 248, 249, 250, 101, 272, 308, 321, 298, 323, 425),
    "aarch64": (194, 196, 190, 186, 180, 217, 218, 219, 117, 97, 268, 280, 241, 282, 425),
}


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def call_filter(machine: str) -> bytes | None:
    """The filter of system calls as the kernel reads it; None for a processor whose call numbers aren't known here."""
    if machine not in ABIS:
        return None

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, value)

    def unless(code: int, value: int, answer: int) -> list[bytes]:
        return [step(code, value, 0, 1), step(RETURN, answer)]

    steps = [step(LOAD, ABI), step(EQUAL, ABIS[machine], 1, 0), step(RETURN, FAIL_WITH | errno.EPERM)]
    steps.append(step(LOAD, NUMBER))
    if machine == "x86_64":
        steps += unless(AT_LEAST, X32, FAIL_WITH | errno.EPERM)
    for number in FORKS[machine]:
        steps += unless(EQUAL, number, FAIL_WITH | errno.EAGAIN)
    for number in DENIED[machine]:
        steps += unless(EQUAL, number, FAIL_WITH | errno.EPERM)
    steps += unless(EQUAL, CLONE3, FAIL_WITH | errno.ENOSYS)
    steps += [step(EQUAL, CLONE[machine], 1, 0), step(RETURN, ALLOW)]
    steps += [step(LOAD, FIRST_ARGUMENT), step(ANY_BIT, CLONE_THREAD, 1, 0)]
    steps += [step(RETURN, FAIL_WITH | errno.EAGAIN), step(RETURN, ALLOW)]
    return b"".join(steps)


def filter_calls(libc: Any, instructions: bytes) -> None:
    """Puts this process and all it becomes under a filter, for good.

    Raises:
        OSError: The kernel refuses.
    """
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    wanted = _Filter(len(instructions) // 8, ctypes.addressof(buffer))
    if libc.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(SET_SECCOMP, FILTER_MODE, ctypes.byref(wanted)):
        raise OSError(ctypes.get_errno(), "no filter of system calls")


class Confinement:
    """How programs are confined, found out once for all of them.

    Args:
        memory_bytes: Address space of a program.
        threads: Of a program. Where the kernel takes no filter, a program has one, and by that no process either.
    """

    def __init__(self, memory_bytes: int, threads: int) -> None:
        self.memory_bytes = memory_bytes
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.filter = call_filter(platform.machine())
        if self.filter is not None and not self._is_taken(self.filter):
            self.filter = None
        self.threads = 1 if self.filter is None else threads

    def _is_taken(self, instructions: bytes) -> bool:
        pid = os.fork()
        if pid == 0:
            try:
                filter_calls(self.libc, instructions)
            except BaseException:
                os._exit(1)
            os._exit(0)
        return os.waitpid(pid, 0)[1] == 0

    def enter(self, place: dict[str, Any], seconds: float) -> None:
        """Gives up every privilege and sets the limits of this process.

        Raises:
            OSError: Something can't be set; the process must not go on.
        """
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write(OUT_OF_MEMORY_FIRST)
        os.setsid()
        os.umask(0o077)
        become(place["uid"])
        cpu = 2 * math.ceil(seconds) + 1  # only a net: wall-clock time ends a program first
        stack = resource.getrlimit(resource.RLIMIT_STACK)[1]
        if not 0 <= stack <= self.memory_bytes:
            stack = self.memory_bytes  # deep recursion through C code, as far as the memory goes
        for limit, value in (
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_CPU, cpu),
            (resource.RLIMIT_FSIZE, FILE_BYTES),
            (resource.RLIMIT_NOFILE, OPEN_FILES),
            (resource.RLIMIT_MSGQUEUE, 0),
            (resource.RLIMIT_NPROC, self.threads),
            (resource.RLIMIT_STACK, stack),
            (resource.RLIMIT_AS, self.memory_bytes),
        ):
            resource.setrlimit(limit, (value, value))
        os.chdir(place["directory"])
        os.environ.clear()
        os.environ.update(
            HOME=place["directory"],
            TMPDIR=place["directory"],
            PATH="/usr/bin:/bin",
            LANG="C.UTF-8",
            OMP_NUM_THREADS="1",
        )
        for number in range(1, signal.NSIG):
            if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
                signal.signal(number, signal.SIG_DFL)
        # As Python starts: errors instead of ends.
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.filter is not None:
            filter_calls(self.libc, self.filter)


def become(uid: int) -> None:
    """Changes this process's user for good."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def left_over(place: dict[str, Any]) -> str | None:
    """What of a program is still in its place; None for a place that is as new."""
    directory = place["directory"]
    entries = os.listdir(directory)
    if entries:
        return f"{len(entries)} entries"
    status = os.stat(directory)
    if stat.S_IMODE(status.st_mode) != PRIVATE:
        return f"the mode {stat.S_IMODE(status.st_mode):o}"
    if (status.st_uid, status.st_gid) != (place["uid"], place["uid"]):
        return "another owner"
    attributes = _attributes(directory)
    return f"{len(attributes)} attributes" if attributes else None


def clear(place: dict[str, Any]) -> None:
    """Empties a place as its own user, who may change every mode and remove everything, whatever a program did to it.

    No process of that user may run meanwhile.
    """
    become(place["uid"])
    os.chmod(place["directory"], PRIVATE)
    for name in _attributes(place["directory"]):
        os.removexattr(place["directory"], name)
    os.chmod(place["directory"], PRIVATE)
    directory = os.open(place["directory"], os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    _empty(directory)
    os.close(directory)


def _attributes(directory: str) -> list[str]:
    """Attributes and access lists that a directory's owner may have set."""
    try:
        return [name for name in os.listxattr(directory) if name.startswith(("user.", "system."))]
    except OSError:  # a file system without them
        return []


def _empty(directory: int) -> None:
    """Removes what is in an open directory; as deep as the place has inodes."""
    for name in os.listdir(directory):
        try:
            os.unlink(name, dir_fd=directory)
        except IsADirectoryError:
            os.chmod(name, PRIVATE, dir_fd=directory)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            _empty(inner)
            os.close(inner)
            os.rmdir(name, dir_fd=directory)

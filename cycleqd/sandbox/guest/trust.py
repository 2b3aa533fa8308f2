"""Part of the guest of a shell container: whether what a judge runs is still the image's own.

The agent is root and may replace anything: bash, a library, a module of Python, or it may put a false `cat` where it
is found first. A judge that ran such a thing would believe the agent. So the guest, which started before the agent,
notes the time at which the agent's turn begins (`Seal`), and looks before and after every judging script for programs,
libraries and modules of the image that changed since. A file's time of change (ctime) can't be set back without
setting the clock, which the agent may not. What changed in permissions only is told by the image's list of hashes,
`MANIFEST`.

What an agent adds is its own business (a task may ask for a new command), unless it stands in the way of something
that the image has.
"""

from __future__ import annotations

import os
import stat
import time

try:
    from _sha256 import sha256  # type: ignore[import-not-found]  # built in: nothing is read from the disk
except ImportError:
    from hashlib import sha256

MANIFEST = "/usr/lib/programs.sha256"
"""Made with the image: a line ``<SHA-256 or target of the link>  <path>`` for each file in `PROGRAMS` and `TREES`."""
PROGRAMS = ("/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin")
"""Where a judge looks for commands, in this order; the agent's additions come last."""
TREES = ("/usr/lib", "/usr/lib64", "/usr/libexec", "/lib", "/lib32", "/lib64", "/usr/local/lib", "/etc/alternatives",
         "/etc/python3.11", "/etc/python3")  # fmt: skip
"""Where libraries and modules are, and where some programs' links lead."""
ROADS = ("/usr", "/etc", "/usr/local", "/etc/alternatives", *PROGRAMS, *TREES)
"""Must stay what they are: directory, link, or nothing."""
CONTROLS = ("/etc/ld.so.preload", "/etc/ld.so.conf", "/etc/nsswitch.conf")
"""Files that make every program load something; no task changes them."""
LOADER_CACHE = "/etc/ld.so.cache"
CORE = ("bash", "sh", "env", "python3", "cat", "ls", "stat", "test")
"""Without these no judging script means anything."""
CHOICES = ("editor", "ex", "pager", "rview", "rvim", "vi", "view", "vim", "vimdiff")
"""Alternatives that an agent may choose; no judge runs them."""
HOOKS = ("sitecustomize.py", "usercustomize.py")
"""Modules that Python runs by itself."""
USED_BY = {"python3": "python", "python3.11": "python", "dist-packages": "python", "gconv": "iconv"}
"""Half of all files lie in these directories; they are looked at where the script has the word."""
ENTRIES = 200_000
SECONDS = 10.0
FILE_BYTES = 512 * 1024 * 1024
READ_BYTES = 1024 * 1024
COARSE = getattr(time, "CLOCK_REALTIME_COARSE", 5)
"""The clock of files' times."""
REGULAR = "regular file"


def coarse() -> int:
    """Now, in nanoseconds, by the clock of files' times."""
    return time.clock_gettime_ns(COARSE)


def next_tick() -> int:
    """Waits until the clock of files' times is past the present moment: what was changed before has an earlier time.

    Since Linux 6.13 a file that somebody looked at has the time of the fine clock, which is ahead of the coarse one,
    by more than a tick of it where a tick comes late. Takes two ticks at most, unless the clock is set meanwhile.
    """
    before, began = time.time_ns(), time.monotonic()
    while (now := coarse()) <= before and time.monotonic() < began + 1:
        time.sleep(0.0005)
    return now


def kind(path: str) -> str | None:
    """``/`` for a directory, the target of a link, None for nothing."""
    try:
        mode = os.lstat(path).st_mode
        return os.readlink(path) if stat.S_ISLNK(mode) else "/" if stat.S_ISDIR(mode) else REGULAR
    except OSError:
        return None


def content(path: str) -> str | None:
    """SHA-256 of a file or the target of a link; None where there is neither."""
    try:
        if stat.S_ISLNK(os.lstat(path).st_mode):
            return os.readlink(path)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > FILE_BYTES:
            return ""
        digest = sha256()
        while data := os.read(descriptor, READ_BYTES):
            digest.update(data)
        return str(digest.hexdigest())
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def is_library(name: str) -> bool:
    """Whether a file's name is that of a shared library."""
    return name.endswith(".so") or ".so." in name


class Seal:
    """What the image has, and since when the agent may have changed it.

    Made when the guest starts; `renew` says that everything so far was not the agent's doing.
    """

    def __init__(self) -> None:
        try:
            with open(MANIFEST, "rb") as file:
                self._lines = file.read()
        except OSError:
            self._lines = b""
        self._manifest: dict[str, str] = {}
        self._take()

    def renew(self) -> None:
        """Everything until now is trusted."""
        next_tick()  # what was done until now is trusted, what comes is not
        self._take()

    def _take(self) -> None:
        self._since = coarse()
        self._roads = {path: kind(path) for path in ROADS}
        self._controls = {path: content(path) for path in CONTROLS}
        self._core = [path for name in CORE for path in self._programs(name)]

    def _programs(self, name: str) -> list[str]:
        """Where a name leads, link by link."""
        paths = self._found(name)[:1]
        while paths and stat.S_ISLNK(os.lstat(paths[-1]).st_mode):
            target = os.path.join(os.path.dirname(paths[-1]), os.readlink(paths[-1]))
            if target in paths or not os.path.lexists(target):
                break
            paths.append(target)
        return paths

    @staticmethod
    def _found(name: str) -> list[str]:
        return [path for path in (f"{directory}/{name}" for directory in PROGRAMS) if os.path.lexists(path)]

    def broken(self) -> str | None:
        """What was changed of the little that every script needs, for people; None where nothing was.

        Takes no time.
        """
        for path, before in self._roads.items():
            if kind(path) != before:
                return f"{path} was replaced"
        for path, before in self._controls.items():
            if content(path) != before:
                return f"{path} was changed"
        for path in self._core:
            try:
                changed = os.lstat(path).st_ctime_ns >= self._since
            except OSError:
                return f"{path} is gone"
            if changed and content(path) != self.manifest.get(path):
                return f"{path} was changed"
        return None

    def changed(self, began: int, script: str) -> str | None:
        """What was changed that a script may have used since `began`, for people; None where nothing was.

        Whatever was touched since then counts, also if it is again what it was. Takes some hundredths of a second, or
        `SECONDS` where the agent made many files.
        """
        skipped = {name for name, word in USED_BY.items() if word not in script}
        return self.broken() or self._in_trees(began, skipped) or self._in_cache()

    @property
    def manifest(self) -> dict[str, str]:
        """The image's programs, libraries and modules: path to hash or target."""
        if not self._manifest and self._lines:
            for line in self._lines.decode("utf-8", "replace").splitlines():
                value, _, path = line.partition("  ")
                self._manifest[path] = value
            self._lines = b""
        return self._manifest

    def _in_trees(self, began: int, skipped: set[str]) -> str | None:
        deadline = time.monotonic() + SECONDS
        libraries: set[str] | None = None
        count = 0
        for top in (*PROGRAMS, *TREES):
            for path, status in self._entries(top, skipped, deep=top in TREES):
                count += 1
                if count > ENTRIES or time.monotonic() > deadline:
                    return f"{top} has too many files"
                if stat.S_ISDIR(status.st_mode):
                    # What was moved away just now is not among the entries. Python may write what it compiled.
                    if status.st_ctime_ns >= began and "/python3" not in path:
                        return f"{path} was changed while the judge ran"
                    continue
                if status.st_ctime_ns < self._since:
                    continue
                known = self.manifest.get(path)
                name = path.rpartition("/")[2]
                if known is not None:
                    if status.st_ctime_ns >= began:
                        return f"{path} was changed while the judge ran"
                    if content(path) != known and not (top == "/etc/alternatives" and name in CHOICES):
                        return f"{path} was changed"
                    continue
                if top in PROGRAMS:
                    found = self._found(name)
                    later = [
                        other
                        for other in found[found.index(path) + 1 :]
                        if other in self.manifest or other in self._core
                    ]
                    if later:
                        return f"{path} was put in the place of {later[0]}"
                    continue
                if libraries is None:
                    libraries = {known.rpartition("/")[2] for known in self.manifest if is_library(known)}
                if is_library(name) and (name in libraries or name.startswith("libnss_")):
                    return f"{path} was put in the place of a library"
                if "/python3" in path and (name in HOOKS or name.endswith(".pth")):
                    return f"{path} was added, which Python runs by itself"
                if path.startswith(os.path.dirname(os.__file__) + "/") and "/dist-packages/" not in path:
                    return f"{path} was added to Python's own modules"
        return None

    @staticmethod
    def _entries(top: str, skipped: set[str], *, deep: bool) -> list[tuple[str, os.stat_result]]:
        """A directory and what is in it."""
        try:
            own = os.lstat(top)
        except OSError:
            return []
        if not stat.S_ISDIR(own.st_mode):
            return []
        found, pending = [(top, own)], [top]
        while pending and len(found) <= ENTRIES:
            try:
                with os.scandir(pending.pop()) as entries:
                    for entry in entries:
                        try:
                            status = entry.stat(follow_symlinks=False)
                        except OSError:
                            continue
                        found.append((entry.path, status))
                        if deep and stat.S_ISDIR(status.st_mode) and entry.name not in skipped:
                            pending.append(entry.path)
            except OSError:
                continue
        return found

    def _in_cache(self) -> str | None:
        """Whether the loader's cache leads to other libraries than the image's."""
        try:
            with open(LOADER_CACHE, "rb") as file:
                if os.fstat(file.fileno()).st_ctime_ns < self._since:
                    return None
                data = file.read(FILE_BYTES)
        except OSError:
            return None  # without it the loader looks in its own directories
        own: dict[str, set[str]] = {}
        for path in self.manifest:
            own.setdefault(path.rpartition("/")[2], set()).add(os.path.realpath(path))
        for text in data.split(b"\0"):
            path = text.decode("utf-8", "replace")
            name = path.rpartition("/")[2]
            if path.startswith("/") and name in own and os.path.realpath(path) not in own[name]:
                return f"{LOADER_CACHE} leads to {path}"
        return None

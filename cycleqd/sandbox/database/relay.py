"""Ways to a server's socket: a file in a folder that is shared with the container, or a relay in the container.

A Docker engine on another host, or of another container, sees no folder of this process. The relay is a program that
the engine runs beside the server (``docker exec``), one for each connection: it passes its standard streams on to the
socket. So the server has no port, no network and no file outside its container, and whoever may use the engine, and
nobody else, reaches it.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from cycleqd.sandbox.errors import SandboxUnavailable

SOCKET_NAME: Final = "server.sock"
SOCKET_MOUNT: Final = "/run/sandbox"
MAX_SOCKET_PATH: Final = 107
"""Bytes of a socket's path, on Linux."""
_DIAL_SECONDS: Final = 30.0
_OUTPUT: Final = 1
_HEADER: Final = struct.Struct(">BxxxL")

# Perl, because it is in every Debian, and the servers' images have no other language that knows Unix sockets. It waits
# for a byte first: what came before would be lost, where the HTTP client of Docker's library reads ahead. Who is gone
# reads nothing: then a write ends the program.
_PROGRAM: Final = r"""
use strict; use IO::Socket::UNIX; use IO::Select;
sysread(STDIN, my $go, 1) or exit 1;
my ($server, $tries);
until ($server = IO::Socket::UNIX->new(Peer => $ARGV[0])) { exit 1 if ++$tries > 50; select undef, undef, undef, 0.02 }
my $both = IO::Select->new(\*STDIN, $server);
while (my @ready = $both->can_read) {
    for my $from (@ready) {
        my $count = sysread($from, my $data, 65536) or exit 0;
        my $to = $from == $server ? \*STDOUT : $server;
        for (my $done = 0; $done < $count;) {
            alarm 120;
            $done += syswrite($to, $data, $count - $done, $done) || exit 1;
            alarm 0;
        }
    }
}
"""
RELAY: Final = ("perl", "-e", _PROGRAM, f"{SOCKET_MOUNT}/{SOCKET_NAME}")


class Way(Protocol):
    """How a server's socket is reached."""

    def dial(self) -> Any:
        """A new connection: a socket, or what has the methods of one that a database client uses.

        Raises:
            OSError: Nobody listens.
            SandboxUnavailable: The engine can't.
        """
        ...

    def close(self) -> None:
        """Removes what it takes on this host."""
        ...


class SharedFolder:
    """A socket that appears in a folder of this process.

    Args:
        folder: Private, with nothing else in it; `close` removes it.
        uid: Whose it becomes, where that is not this process' user.

    Raises:
        SandboxUnavailable: The socket's path would be too long.
    """

    def __init__(self, folder: Path, uid: int) -> None:
        self.folder = folder
        if len(os.fsencode(folder / SOCKET_NAME)) > MAX_SOCKET_PATH:
            self.close()
            raise SandboxUnavailable(f"a database's socket in {folder} has too long a path: set a shorter TMPDIR")
        if uid != os.getuid():
            os.chown(folder, uid, uid)

    def dial(self) -> socket.socket:
        """See `Way.dial`."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_DIAL_SECONDS)
            connection.connect(str(self.folder / SOCKET_NAME))
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class ThroughTheEngine:
    """A relay for each connection.

    Args:
        execute: Has the engine run a command in the server's container, and returns its streams.
    """

    def __init__(self, execute: Callable[[Sequence[str]], socket.socket]) -> None:
        self._execute = execute

    def dial(self) -> Relayed:
        """See `Way.dial`."""
        return Relayed(self._execute(RELAY))

    def close(self) -> None:
        """There is nothing on this host."""


class Relayed:
    """A connection through a relay, as far as a database client uses a socket.

    Args:
        stream: The streams of a process that runs `RELAY`; its output comes in Docker's frames
            (`cycleqd.sandbox.channel`).
    """

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        stream.sendall(b"\n")

    def settimeout(self, seconds: float | None) -> None:
        """See `socket.socket.settimeout`."""
        self._stream.settimeout(seconds)

    def sendall(self, data: bytes) -> None:
        """See `socket.socket.sendall`."""
        self._stream.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """See `socket.socket.makefile`; for reading bytes alone."""
        if mode != "rb":
            raise ValueError(f"a relayed connection is read as bytes (rb), not as {mode!r}")
        return io.BufferedReader(_Output(self._stream))

    def close(self) -> None:
        """Ends the relay, and with it the connection."""
        self._stream.close()


class _Output(io.RawIOBase):
    """What a process writes to its standard output, out of Docker's frames."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._left = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            header = self._exactly(_HEADER.size)
            if header is None:
                return 0
            kind, length = _HEADER.unpack(header)
            if kind == _OUTPUT:
                self._left = length
            elif self._exactly(length) is None:
                return 0
        got = self._stream.recv_into(buffer, min(len(buffer), self._left))
        self._left -= got
        return got

    def _exactly(self, count: int) -> bytes | None:
        data = bytearray()
        while len(data) < count:
            part = self._stream.recv(count - len(data))
            if not part:
                return None
            data += part
        return bytes(data)

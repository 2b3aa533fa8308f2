"""The host's end of a container's streams, played by a socket."""

from __future__ import annotations

import json
import socket
import struct
import threading
from typing import Any

import pytest

from cycleqd.sandbox.channel import Channel, valid


def reply(stream: socket.socket, **message: Any) -> None:
    """Answers the request that comes, as a guest does."""
    request = json.loads(stream.makefile("rb").readline())
    data = json.dumps({**message, "id": request["id"]}).encode() + b"\n"
    stream.sendall(struct.pack(">BxxxL", 1, len(data)) + data)


def test_no_reply_holds_text_that_cannot_be_encoded() -> None:
    here, there = socket.socketpair()
    channel = Channel(here, "test")
    guest = threading.Thread(target=reply, args=(there,), kwargs={"output": "é\ud800", "outcomes": [[None, "\udfff"]]})
    guest.start()
    assert channel.request({}, seconds=5) == {"output": "é?", "outcomes": [[None, "?"]]}
    guest.join()
    channel.close()
    there.close()


@pytest.mark.parametrize("value", ["plain", "ß漢字😀", None, 1, 0.5, True, ["a", {"b": ["ü"]}], {}])
def test_what_is_valid_stays_as_it_is(value: Any) -> None:
    assert valid(value) == value


def test_keys_are_texts_too() -> None:
    assert valid({"\ud800": 1}) == {"?": 1}

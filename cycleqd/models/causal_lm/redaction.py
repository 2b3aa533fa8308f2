"""What an endpoint says, without the key that it was sent: servers quote it in refusals, whole or in part."""

from __future__ import annotations

import base64
import re
from typing import Final
from urllib.parse import quote

MASK: Final = "***"
_PIECE: Final = 8
"""Characters of the key in a row that are hidden in a refusal: servers quote its beginning or its end."""
_SECRET: Final = 12
"""A key of fewer characters is a word such as ``EMPTY``, which a reply may hold by itself."""
_READ: Final = 16_384
"""Characters of a refusal that are looked at; messages show far fewer."""
_AUTHORISATION: Final = re.compile(r"\b(bearer|basic)([\s:=]+)\S+", re.IGNORECASE)


class Redaction:
    """Hides one key.

    Args:
        key: The key; empty hides nothing but what looks like an Authorization header.
    """

    def __init__(self, key: str) -> None:
        encoded = base64.b64encode(key.encode()).decode().rstrip("=")
        self._forms = list(dict.fromkeys(form for form in (key, quote(key, safe=""), encoded) if form))
        self._secret = len(key) >= _SECRET

    def fault(self, text: str) -> str:
        """A server's explanation in one line, without control characters, the key and pieces of the key."""
        text = " ".join("".join(sign if sign.isprintable() else " " for sign in text[:_READ]).split())
        for form in self._forms:
            text = _without_pieces(text, form, min(_PIECE, len(form)))
        return _AUTHORISATION.sub(rf"\1\2{MASK}", text)

    def reply(self, text: str) -> str:
        """A model's reply without the whole key."""
        if self._secret:
            for form in self._forms:
                text = text.replace(form, MASK)
        return text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({MASK})"


def _without_pieces(text: str, secret: str, shortest: int) -> str:
    """`text` without all that it shares with `secret`, `shortest` characters or more in a row, in any case."""
    # Lowering one by one keeps the positions: some letters have two lower-case ones.
    lower = "".join(sign.lower()[0] for sign in text)
    sought = secret.lower()
    shown, at = [], 0
    while at < len(text):
        size = 0
        if lower[at : at + shortest] in sought and at + shortest <= len(text):
            size = shortest
            while at + size < len(text) and lower[at : at + size + 1] in sought:
                size += 1
        shown.append(MASK if size else text[at])
        at += size or 1
    return "".join(shown)

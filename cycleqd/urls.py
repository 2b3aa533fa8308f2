"""Storage URLs never carry credentials: they end up in configurations, logs, errors and Prefect's database."""

from __future__ import annotations

import re

_SCHEME = r"(?P<scheme>[a-z0-9+.-]+://)"
_USERINFO = re.compile(
    rf"{_SCHEME}(?:[^/?#\s]*@"
    # AWS' secrets have slashes in them: what follows a colon and is no port is a password, up to the last @ there is.
    r"|[^/?#\s:@\[]+:(?!\d+(?:[/?#\s'\")]|$)|[/\s]|$)(?:\S*@|[^/?#\s]*))",
    re.IGNORECASE,
)
_QUERY = re.compile(
    r"(?P<name>[?&][^=&\s]*(?:key|secret|token|passw|pwd|sig|credential|auth)[^=&\s]*=)[^&\s]+", re.IGNORECASE
)


def without_credentials(text: str) -> str:
    """The text with what looks like credentials in its URLs starred out."""
    return _QUERY.sub(r"\g<name>***", _USERINFO.sub(r"\g<scheme>***@", text))


def check_url(url: str) -> str:
    """Returns a storage URL unchanged.

    Raises:
        ValueError: It carries credentials; the text does not repeat them.
    """
    if without_credentials(url) != url:
        raise ValueError(
            f"a storage URL must not carry credentials ({without_credentials(url)}); give them in the environment "
            "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE) and write s3://bucket/folder"
        )
    return url

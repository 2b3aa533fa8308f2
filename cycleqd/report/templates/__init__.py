"""The pages' templates (Jinja): every value is escaped, and a missing one is an error."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_ENVIRONMENT = Environment(
    loader=PackageLoader("cycleqd.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> str:
    """Fills a template of this folder."""
    return _ENVIRONMENT.get_template(template).render(**values)


def script_hash(script: str) -> str:
    """What a page's content security policy calls a script, so that no other runs there."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"

"""Foreign text in Markdown: what a model, a data file or a person wrote is shown letter by letter, never interpreted.

Prefect's UI renders links of any scheme and loads images from anywhere, also where a reply asks for it.
"""

from __future__ import annotations

import re
from typing import Final

from cycleqd.messages import visible

_SPECIAL: Final = re.compile(
    r"[\\`*\[\]<>|!&~#@$]"  # code, emphasis, links, images, HTML, cells, entities, headings, mail addresses
    r"|(?<!\w)_|_(?!\w)"  # inside a word it means nothing
    r"|(?<=\])\("  # the bracket's own backslash would do, but not for who looks for links by their signs
    r"|:(?=/)|(?<=www)\.",  # bare addresses
    re.IGNORECASE,
)


def plain(text: str) -> str:
    """One line of text as Markdown that shows it as it stands, also in a table's cell or a heading."""
    line = " ".join(visible(text).split())
    return _SPECIAL.sub(r"\\\g<0>", line)


def code(text: str) -> str:
    """One line of text, such as an address, as a code span; not for a table's cell."""
    line = " ".join(visible(text).split())
    ticks = "`" * (_longest_run(line) + 1)
    padding = " " if line[:1] in ("`", "") or line[-1:] == "`" else ""
    return f"{ticks}{padding}{line}{padding}{ticks}"


def fenced(text: str, language: str = "text") -> str:
    """Text as a code block that nothing in it can end."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)

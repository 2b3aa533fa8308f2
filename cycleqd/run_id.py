"""What a run may be called: the name of its folder, and a part of keys, tags and labels."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

RunId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]

"""A base model with another chat template: a view of its folder, for training, engines and exports.

Settings of a template (``enable_thinking: false``) become the first lines of the template itself, so that whoever
reads the folder renders the same prompts, whatever it passes to the template.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cycleqd.base_model import staged
from cycleqd.checkpoint import BaseModelInvalid, read_object

TEMPLATE: Final = "chat_template.jinja"
_TOKENIZER: Final = "tokenizer_config.json"
_MOST_BYTES: Final = 2**20


def with_template(base: Path, cache: Path, *, file: str | None = None, settings: Mapping[str, Any]) -> Path:
    """The base's folder, or a view of it with another chat template.

    Args:
        base: A checkpoint directory.
        cache: Where views are kept.
        file: The template's file; None is the base's own template.
        settings: What the template is told, by name: truth values, numbers, texts.

    Raises:
        BaseModelInvalid: The file cannot be read, or the base has no template to tell something.
    """
    if file is None and not settings:
        return base
    text = _own(base) if file is None else _read(Path(file).expanduser(), "model.chat_template")
    if settings and text.startswith("\n"):
        text = f"\n{text}"  # templates lose the first line break behind a block
    told = "".join(f"{{% set {name} = {json.dumps(value)} %}}" for name, value in sorted(settings.items()))
    files = sorted(entry for entry in base.iterdir() if entry.name != TEMPLATE)
    stamps = [f"{entry.name} {entry.stat().st_size} {entry.stat().st_mtime_ns}" for entry in files]
    key = hashlib.sha256("\n".join([str(base), *stamps, told, text]).encode()).hexdigest()[:16]
    # The last names stay what they are: a download's commit is found there.
    place = cache / "templates" / key
    target = place / "snapshots" / base.name if base.parent.name == "snapshots" else place / base.name
    if not target.is_dir():
        with staged(target) as staging:
            for entry in files:
                if entry.name != _TOKENIZER:
                    (staging / entry.name).symlink_to(entry.resolve())
            (staging / TEMPLATE).write_text(told + text, encoding="utf-8")
            if (base / _TOKENIZER).is_file():
                kept = {
                    name: value for name, value in read_object(base / _TOKENIZER).items() if name != "chat_template"
                }
                (staging / _TOKENIZER).write_text(json.dumps(kept, indent=2) + "\n")
    return target.resolve()


def _own(base: Path) -> str:
    if (base / TEMPLATE).is_file():
        return _read(base / TEMPLATE, f"base model {base}")
    known = read_object(base / _TOKENIZER).get("chat_template") if (base / _TOKENIZER).is_file() else None
    if isinstance(known, list):  # several by name
        known = next(
            (one.get("template") for one in known if isinstance(one, dict) and one.get("name") == "default"), ""
        )
    if not isinstance(known, str) or not known:
        raise BaseModelInvalid(f"base model {base}: it has no chat template of its own: set model.chat_template")
    return known


def _read(file: Path, what: str) -> str:
    try:
        if not file.is_file() or file.stat().st_size > _MOST_BYTES:
            raise BaseModelInvalid(f"{what}: {file} is no file of at most {_MOST_BYTES >> 10} KiB")
        return file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BaseModelInvalid(f"{what}: {file} cannot be read ({type(error).__name__})") from None

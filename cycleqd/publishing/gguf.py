"""GGUF through llama.cpp's own converter, where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from cycleqd.publishing.hub import NotPublished

SCRIPT: Final = "convert_hf_to_gguf.py"
VARIABLE: Final = "LLAMA_CPP_DIR"
_SECONDS: Final = 4 * 3600


def find_converter() -> Path:
    """llama.cpp's converter.

    Raises:
        NotPublished: It is neither in the folder that `VARIABLE` names nor on the path.
    """
    folder = os.environ.get(VARIABLE)
    own = Path(folder) / SCRIPT if folder else None
    if own is not None and own.is_file():
        return own
    if found := shutil.which(SCRIPT):
        return Path(found)
    raise NotPublished(f"GGUF needs llama.cpp's {SCRIPT}: put it on the path, or set {VARIABLE} to llama.cpp's folder")


def write_gguf(folder: Path) -> Path:
    """Writes a checkpoint as a GGUF file beside it.

    Args:
        folder: A checkpoint.

    Returns:
        The file.

    Raises:
        NotPublished: There is no converter, or it does not convert this model.
    """
    out = folder / "model.gguf"
    command = [sys.executable, str(find_converter()), str(folder), "--outfile", str(out), "--outtype", "auto"]
    try:
        done = subprocess.run(  # noqa: S603 # a program that the user installed, with paths of our own
            command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotPublished(f"{SCRIPT} did not end well ({type(error).__name__})") from error
    if done.returncode or not out.is_file():
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise NotPublished(f"{SCRIPT} does not convert {folder} (status {done.returncode}): {last:.300}")
    return out

"""A Prefect database as a server leaves it: making its tables takes a new server two thirds of its start."""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from cycleqd.storage import cache_dir
from tests.in_memory import folder_in_memory


def used_home(home):
    """Makes the folder `home` a ``PREFECT_HOME`` where a server has run before.

    Returns:
        The folder, as text.
    """
    home.mkdir()
    shutil.copy(_empty_database(), home / "prefect.db")
    return str(home)


def folder_for_the_harness():
    """A new folder in which `prefect_test_harness` finds its database, with all tables."""
    folder = Path(tempfile.mkdtemp(dir=folder_in_memory()))
    shutil.copy(_empty_database(), folder / "prefect-test.db")
    return str(folder)


def _empty_database():
    """Made once per machine and version of Prefect."""
    made = cache_dir() / f"tests-prefect-{version('prefect')}.db"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=made.parent) as home:
            command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
            inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
            subprocess.run(
                command, env=inherited | {"PREFECT_HOME": home}, check=True, capture_output=True, timeout=900
            )
            os.replace(Path(home) / "prefect.db", made)
    return made

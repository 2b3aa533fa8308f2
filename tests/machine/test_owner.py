"""What killed processes leave, and who removes it."""

import os
import subprocess
import sys
from pathlib import Path

from cycleqd.machine.owner import (
    OWNER_VARIABLE,
    current_owner,
    end_orphans,
    remove_orphaned_folders,
    temporary_folder,
)

_SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def _owner_of_a_dead_process():
    code = "from cycleqd.machine.owner import current_owner; print(current_owner())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_folders_of_the_dead_are_removed_and_those_of_the_living_kept(tmp_path):
    code = "from cycleqd.machine.owner import temporary_folder; print(temporary_folder())"
    left = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    kept = temporary_folder()
    assert Path(left).is_dir()
    remove_orphaned_folders()
    assert not Path(left).exists()
    assert kept.is_dir()
    kept.rmdir()


def test_children_of_the_dead_are_ended_and_all_others_spared():
    dead = _owner_of_a_dead_process()
    owners = {"orphan": dead, "child": current_owner(), "stranger": ""}
    processes = {
        name: subprocess.Popen(_SLEEP, env={**os.environ, OWNER_VARIABLE: owner}) for name, owner in owners.items()
    }
    try:
        assert end_orphans() >= 1
        assert processes.pop("orphan").wait(timeout=10) == -9
        assert all(process.poll() is None for process in processes.values())
    finally:
        for process in processes.values():
            process.kill()
            process.wait()

"""Shells between commands and at their limits: pauses, the disk, commands that others' shells take over."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from cycleqd.sandbox import Limits, Sandboxes, ShellSession

pytestmark = pytest.mark.docker

MEGABYTE = 1024 * 1024
FILL = "i=0; while :; do i=$((i+1)); head -c 8M /dev/zero >/opt/f$i; done"


def test_between_commands_nothing_runs(shell: ShellSession) -> None:
    shell.run("(while :; do date +%s.%N >>/opt/beats; sleep 0.01; done) & sleep 0.3")
    time.sleep(1)
    beats = [float(text) for text in shell.run("sleep 0.3; cat /opt/beats").output.split()]
    pauses = [later - earlier for earlier, later in pairwise(beats)]
    assert len(beats) > 4
    assert max(pauses) > 0.9


def test_a_process_that_the_agent_stopped_stays_stopped(shell: ShellSession) -> None:
    def state(file: str, wanted: str) -> str:
        """Waits, since on a busy machine a process is called running until it sees its signal."""
        loop = f"until ps -o stat= -p $(cat {file}) | grep '^{wanted}'; do sleep 0.01; done"
        return shell.run(loop, timeout=60).output

    shell.run("sleep 1000 & echo $! >/tmp/x; sleep 1000 & echo $! >/tmp/y; kill -STOP $(cat /tmp/x)")
    assert state("/tmp/x", "T")
    assert state("/tmp/y", "S")
    shell.judge("true")
    assert shell.run("ps -o stat= -p $(cat /tmp/x)").output.startswith("T")
    assert state("/tmp/y", "S")
    shell.run("kill -CONT $(cat /tmp/x)")
    assert state("/tmp/x", "S")


@pytest.mark.parametrize(
    "writer", [FILL, f"({FILL}) & sleep 15", f"su nobody -s /bin/bash -c 'cd /var/big; {FILL.replace('/opt/', '')}'"]
)
def test_a_writer_ends_when_its_share_of_the_disk_is_used(writer: str) -> None:
    limits = Limits(tmpfs_mb=8, disk_mb=64, command_seconds=20.0)
    with Sandboxes(run_id="tests-disk", limits=limits) as pool, pool.shell() as shell:
        shell.run("mkdir /var/big; chmod 777 /var/big")
        result = shell.run(writer)
        assert "the disk is full" in result.output
        assert (result.exit_code, result.timed_out, result.restarted) == (137, False, True)
        used = int(shell.run("du -sm / --exclude=/proc -x | cut -f1").output)
        image = int(shell.run("rm -rf /opt/f* /var/big; du -sm / --exclude=/proc -x | cut -f1").output)
        assert 32 < used - image < 1024
        assert shell.run("head -c 4M /dev/zero >/opt/x; stat -c %s /opt/x").output == f"{4 * MEGABYTE}\n"


def test_files_without_a_name_count_too() -> None:
    code = (
        "import os\nheld = []\nwhile True:\n f = open('/opt/f', 'wb')\n f.write(bytes(4 << 20))\n f.flush()\n"
        " os.unlink('/opt/f')\n held.append(f)\n"
    )
    limits = Limits(tmpfs_mb=8, disk_mb=64, command_seconds=20.0)
    with Sandboxes(run_id="tests-disk", limits=limits) as pool, pool.shell() as shell:
        result = shell.run(f'python3 -c "{code}"')
        assert "the disk is full" in result.output


def test_many_small_files_count_by_their_inodes() -> None:
    limits = Limits(tmpfs_mb=8, disk_mb=16, command_seconds=60.0)
    with Sandboxes(run_id="tests-disk", limits=limits) as pool, pool.shell() as shell:
        code = "import os\nos.mkdir('/opt/d')\nfor i in range(10**7): open(f'/opt/d/{i}', 'w').close()"
        assert "the disk is full" in shell.run(f'python3 -c "{code}"').output


def test_a_shell_that_an_attached_command_starts_takes_the_next_commands(shell: ShellSession) -> None:
    shell.script("useradd -m -s /bin/bash jack; useradd -m -s /bin/sh jill")
    assert shell.run("v=10; cd /var/tmp", attached=True, timeout=60).exit_code == 0
    assert shell.run("echo $v; pwd").output == "10\n/var/tmp\n"
    for user in ("jack", "jill"):
        shell.run(f"su - {user}", attached=True, timeout=60)
        shell.run("w=$(echo 11)")
        result = shell.run("whoami; pwd; echo $w; cat; (exit 3)")
        assert (result.output, result.exit_code) == (f"{user}\n/home/{user}\n11\n", 3)
        if user == "jack":
            # `su` ends with its shell, although both were stopped between the commands.
            assert not shell.run("exit", attached=True, timeout=60).restarted
            assert shell.run("whoami; echo $v").output == "root\n10\n"


def test_who_waits_for_a_shell_in_the_background_hears_of_its_end(shell: ShellSession) -> None:
    shell.script("useradd -m jack")
    shell.run("su jack -c 'while ! [ -e /tmp/now ]; do sleep 0.05; done' & sleep 0.3")
    for _ in range(5):
        shell.run("sleep 0.1")
    result = shell.run("touch /tmp/now; wait; echo ended", timeout=60)
    assert (result.output, result.timed_out) == ("ended\n", False)


def test_what_is_left_running_goes_on_behind_a_fresh_bash(shell: ShellSession) -> None:
    result = shell.run("echo on >/opt/x; while :; do date >>/opt/beats; sleep 0.01; done", timeout=2, leave=True)
    assert (result.timed_out, result.restarted) == (True, True)
    assert shell.run("pwd; cat /opt/x").output == "/\non\n"
    first, second = shell.run("wc -l </opt/beats; sleep 0.5; wc -l </opt/beats").output.split()
    assert int(first) < int(second)


def test_everything_can_be_found_and_read_without_a_complaint(shell: ShellSession) -> None:
    assert shell.run("find / >/dev/null").exit_code == 0
    assert shell.run("find / -name hostname 2>&1 | grep -c denied").output == "0\n"

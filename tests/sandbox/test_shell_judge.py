"""What a judge runs beside an agent that is root: the image's own programs, or nothing."""

from __future__ import annotations

import pytest

from cycleqd.sandbox import CommandResult, Sandboxes, ShellSession

pytestmark = pytest.mark.docker

FALSE = "printf '#!/bin/sh\\necho forged\\n' >{0} && chmod 755 {0}"
NEVER = (
    "printf '#!/bin/dash\\nwhile :; do sleep 1; done\\n' >/opt/never && chmod 755 /opt/never && cp -f /opt/never {0}"
)


@pytest.fixture
def sealed(shell: ShellSession) -> ShellSession:
    shell.seal()
    return shell


def judged(shell: ShellSession, agent: str, script: str = "cat /etc/hostname", **how: str) -> CommandResult:
    shell.run(agent, timeout=8)
    return shell.judge(script, timeout=20, **how)  # type: ignore[arg-type]  # only the language


def test_a_script_has_arguments_a_directory_a_status_and_nothing_of_the_agents_bash(sealed: ShellSession) -> None:
    sealed.run("cat() { echo forged; }; export -f cat; export x=5 BASH_ENV=/opt/env; echo exit 0 >/opt/env; cd /tmp")
    result = sealed.judge('echo "$1|$x|$(pwd)"; cat /etc/hostname; exit 7', arguments=["a 'b'"], directory="/home")
    assert (result.output, result.exit_code, result.changed) == ("a 'b'||/home\nsandbox\n", 7, "")
    result = sealed.judge("import sys; print(sys.argv[1:]); sys.exit(3)", language="python", arguments=["a", ""])
    assert (result.output, result.exit_code) == ("['a', '']\n", 3)
    assert sealed.judge("exit 0").exit_code == 0
    assert sealed.run("echo $x; pwd").output == "5\n/tmp\n"


@pytest.mark.parametrize("language", ["bash", "python"])
def test_scripts_and_what_they_print_may_be_long(sealed: ShellSession, language: str) -> None:
    code = {"bash": ": " + "x" * 300_000 + "; printf %0200000d 7", "python": "#" * 300_000 + "\nprint('0' * 200_000)"}
    result = sealed.judge(code[language], language=language)  # type: ignore[arg-type]
    assert result.exit_code == 0
    assert len(result.output.strip()) == 200_000
    assert not result.truncated


@pytest.mark.parametrize(
    "agent",
    [
        "ln -sf true /bin/bash",
        "ln -sf true /usr/bin/python3",
        "cp -f --remove-destination /bin/true /usr/bin/python3.11",
        "mv /bin/cat /bin/dog; cp /bin/true /bin/cat",
        FALSE.format("/opt/b") + "; mv -f /opt/b /usr/bin/bash",
        FALSE.format("/opt/b") + "; mv -f /opt/b /usr/bin/dash",
        FALSE.format("/usr/bin/stat"),
        FALSE.format("/usr/sbin/cat"),
        NEVER.format("--remove-destination /usr/bin/bash"),
        NEVER.format("--remove-destination /usr/bin/env"),
        "echo /opt/evil.so >/etc/ld.so.preload",
        "sed -i s/files/evil/ /etc/nsswitch.conf",
        "cd /lib/x86_64-linux-gnu && cp libc.so.6 /opt/l && echo >>/opt/l && mv /opt/l libc.so.6",
        "cd /lib/x86_64-linux-gnu && mkdir -p glibc-hwcaps/x86-64-v2 && cp libc.so.6 glibc-hwcaps/x86-64-v2/",
        "rm -f /bin/ls",
        "mv /lib /lib2",
        "rm -rf --no-preserve-root /bin /usr /lib 2>/dev/null",
        "mkdir /opt/bin && cp -a /usr/bin/* /opt/bin && cp /bin/true /opt/bin/cat; rm /bin; ln -s /opt/bin /bin",
        "ln -sf /bin/true /etc/alternatives/awk",
    ],
)
def test_a_script_that_would_run_what_the_agent_replaced_says_nothing(sealed: ShellSession, agent: str) -> None:
    result = judged(sealed, agent)
    assert result.changed, result
    assert (result.output, result.exit_code) == ("", 126)


@pytest.mark.parametrize(
    "agent",
    [
        "echo 'import os; os._exit(0)' >/usr/lib/python3/dist-packages/sitecustomize.py",
        "echo 'import os; os._exit(0)' >/usr/lib/python3.11/json/__init__.py",
        "echo 'import os; os._exit(0)' >/usr/lib/python3.11/heapq_too.py",
        "mkdir -p /usr/local/lib/python3.11/x; echo 'import os; os._exit(0)' >/usr/local/lib/python3.11/x/a.pth",
    ],
)  # fmt: skip
def test_pythons_modules_are_looked_at_where_python_runs(sealed: ShellSession, agent: str) -> None:
    assert judged(sealed, agent, "import json; raise SystemExit(1)", language="python").changed


@pytest.mark.parametrize(
    "agent",
    [
        "true",
        FALSE.format("/usr/local/sbin/cat"),
        FALSE.format("/usr/local/bin/bash"),
        FALSE.format("/usr/bin/a-command-of-its-own"),
        "chmod 4711 /bin/bash /bin/cat; chown nobody /usr/bin/stat; ln /bin/ls /usr/local/bin/list; touch /bin/ls",
        "rm -f /usr/bin/tree",
        "PATH=/opt; alias cat=true; enable -n test; ulimit -f 0",
        "mkdir /opt/lib; cp /lib/x86_64-linux-gnu/libc.so.6 /usr/local/lib/other.so; export LD_LIBRARY_PATH=/opt/lib",
        "exec 0<&- 1>&- 2>&-; exit",
        "kill -9 -1",
        ":(){ :|:& };:",
        "for i in $(seq 40); do sleep 1000 & done; kill -STOP $$",
        "rm -f /dev/null; echo forged >/dev/null",
        "umask 777; chmod 0 / /usr /bin /etc /tmp",
        "for d in /root /tmp /home /var/tmp /run; do head -c 9M /dev/zero >$d/f; done",
        "prlimit --pid 1 --nofile=3:3 --fsize=0:0; renice -n 19 -p 1; echo 1000 >/proc/1/oom_score_adj",
    ],
)  # fmt: skip
def test_what_does_not_touch_the_images_programs_does_not_touch_the_judge(sealed: ShellSession, agent: str) -> None:
    result = judged(sealed, agent)
    assert (result.output, result.exit_code, result.changed) == ("sandbox\n", 0, "")


def test_an_agents_own_command_is_run_by_the_judge(sealed: ShellSession) -> None:
    result = judged(
        sealed, "printf '#!/bin/bash\\necho $1$1\\n' >/usr/local/bin/twice; chmod 755 /usr/local/bin/twice", "twice a"
    )
    assert (result.output, result.changed) == ("aa\n", "")


def test_what_was_changed_before_the_seal_is_trusted(shell: ShellSession) -> None:
    shell.script("mv /bin/ls /bin/list; cp /bin/true /bin/ls; ln -sf dash /bin/awk")
    shell.seal()
    assert shell.judge("ls; echo $?").output == "0\n"


def test_nobody_meddles_while_the_judge_runs_alone(sealed: ShellSession) -> None:
    meddler = "while :; do for f in /proc/[0-9]*/fd/1; do echo forged >$f; done; done"
    result = judged(sealed, f"({meddler}) 2>/dev/null & sleep 0.2", "for i in $(seq 50); do cat /etc/hostname; done")
    assert result.output == "sandbox\n" * 50


def test_who_may_run_beside_a_judge_is_found_out_if_it_changes_what_the_judge_runs(sealed: ShellSession) -> None:
    swapper = "while :; do mv /bin/cat /bin/dog; cp /bin/true /bin/cat; mv /bin/dog /bin/cat; done"
    sealed.run(f"({swapper}) 2>/dev/null & sleep 0.2")
    assert sealed.judge("for i in $(seq 40); do cat /etc/hostname; sleep 0.1; done", alone=False, timeout=60).changed


def test_who_puts_a_program_back_out_of_sight_is_found_out_too(sealed: ShellSession) -> None:
    swap = "mv /bin/sort /bin/tros; cp /bin/true /bin/sort; sleep 1; rm /bin/sort; touch /tmp/gone"
    sealed.run(f"(until [ -e /tmp/now ]; do sleep 0.05; done; {swap}) & sleep 0.1")
    script = "touch /tmp/now; until [ -e /tmp/gone ]; do sort /etc/hostname 2>/dev/null; sleep 0.1; done"
    assert sealed.judge(script, alone=False, timeout=60).changed


def test_a_judge_that_needs_the_agents_server_may_have_it(sealed: ShellSession) -> None:
    sealed.run("cd /opt; echo here >f; python3 -m http.server 8000 >/dev/null 2>&1 &")
    ready = "for i in $(seq 100); do (echo >/dev/tcp/127.0.0.1/8000) 2>/dev/null && break; sleep 0.1; done"
    get = f"{ready}; exec 3<>/dev/tcp/127.0.0.1/8000; printf 'GET /f HTTP/1.0\\r\\n\\r\\n' >&3; tail -n 1 <&3"
    assert sealed.judge(get, alone=False, timeout=20).output == "here\n"


def test_a_script_that_does_not_end_is_timed_out_and_the_session_lives(sealed: ShellSession) -> None:
    result = sealed.judge("echo a; sleep 1000", timeout=0.5)
    assert (result.output, result.timed_out, result.exit_code) == ("a\n", True, 124)
    assert sealed.judge("echo b").output == "b\n"
    assert sealed.run("echo c").output == "c\n"


def test_what_a_script_leaves_running_prints_into_nobodys_output(shell: ShellSession) -> None:
    result = shell.script("(while :; do echo NOISE; sleep 0.02; done) & echo x >/opt/x")
    assert set(result.output.split()) <= {"NOISE"}  # said before the script itself ended, if at all
    shell.seal()
    assert shell.run("sleep 0.2; echo a").output == "a\n"
    assert shell.judge("sleep 0.2; echo b", alone=False).output == "b\n"
    assert shell.run("jobs; until pgrep sleep >/dev/null; do :; done; echo on", timeout=60).output == "on\n"


def test_a_shell_that_cannot_be_started_any_more_is_an_observation(sealed: ShellSession) -> None:
    sealed.run("rm -rf --no-preserve-root / 2>/dev/null; exit 0")
    result = sealed.run("echo alive")
    assert result.exit_code == 127
    assert "bash can't be started" in result.output
    assert sealed.judge("true").changed


def test_a_bash_that_never_ends_stops_nobody(sealed: ShellSession) -> None:
    sealed.run(NEVER.format("--remove-destination /usr/bin/bash"))
    assert sealed.run("echo $(echo a)", timeout=0.5).timed_out
    assert sealed.run("exit 0", timeout=2).exit_code in (0, 124, 255)
    assert sealed.run("echo b", timeout=0.5).timed_out
    assert sealed.judge("true").changed


def test_reading_a_command_takes_bash_no_longer_than_its_time(sealed: ShellSession) -> None:
    nested = "echo " + "$(" * 12 + "cat" + " <(:)" * 20_000 + ")" * 12
    result = sealed.run(nested, timeout=1)
    assert result.timed_out or result.exit_code >= 0
    assert sealed.run("echo alive").output == "alive\n"


def test_neighbours_are_not_touched(sandboxes: Sandboxes) -> None:
    with sandboxes.shell() as hostile, sandboxes.shell() as honest:
        hostile.seal()
        honest.seal()
        hostile.run("ln -sf true /bin/bash; :(){ :|:& };:", timeout=1)
        assert honest.judge("echo fine").output == "fine\n"

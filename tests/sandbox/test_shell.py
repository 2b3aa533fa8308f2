from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cycleqd.sandbox import Sandboxes, ShellSession

pytestmark = pytest.mark.docker

BEFORE_IT_ENDS_ITSELF = 60.0
"""Seconds; what is waited for would take longer, and a busy machine does not."""


def test_directory_variables_and_functions_persist(shell: ShellSession) -> None:
    shell.run("cd /var/tmp; x=5; export y=6; greet() { echo hello $1; }")
    assert shell.run("pwd; echo $x $y; greet you").output == "/var/tmp\n5 6\nhello you\n"


def test_output_is_standard_output_and_error_in_order_with_the_exit_code(shell: ShellSession) -> None:
    result = shell.run("echo one; echo two >&2; echo three; (exit 7)")
    assert result.output == "one\ntwo\nthree\n"
    assert result.exit_code == 7
    assert (result.timed_out, result.truncated, result.restarted) == (False, False, False)


def test_messages_are_those_of_bash(shell: ShellSession) -> None:
    result = shell.run("nosuchcommand")
    assert result.output == "bash: line 1: nosuchcommand: command not found\n"
    assert result.exit_code == 127


def test_unfinished_commands_end_and_leave_the_session_usable(shell: ShellSession) -> None:
    commands = [
        *("echo 'never closed", 'echo "never closed', "echo `never closed", "cat <<END\nno end", "cat <<'END", "\\"),
        *(
            "if true; then",
            "case x in",
            "while true",
            "[[ a",
            "{ echo",
            "f() {",
            "x=(",
            ")",
            "}",
            "done",
            ";;",
            "|",
            "&",
        ),
        *("echo $(", "ls $(echo $(", "cat <(", "echo ${", "echo $((", "echo $(case x in", "echo $(cat <<END"),
        *('echo "$(', "cat <<END\n$(", "x=$(ls", "!(", "echo !("),
    ]
    for command in commands:
        assert not shell.run(command).timed_out, command
        assert shell.run("echo alive").output == "alive\n", command


def test_builtins_that_touch_the_shell_leave_it_usable(shell: ShellSession) -> None:
    for command in ("break 9", "continue", "return 3", "set -u", "shopt -s extglob", "unset PATH", "", "set -x"):
        assert not shell.run(command).restarted, command
        assert "alive\n" in shell.run("echo alive").output, command


def test_commands_that_read_standard_input_see_its_end(shell: ShellSession) -> None:
    result = shell.run("cat; read line; echo status $?; cat")
    assert result.output == "status 1\n"


def test_a_script_of_many_lines_with_any_characters(shell: ShellSession) -> None:
    script = 'for i in 1 2; do\n  echo "it\'s $i" \'ünï "q"\' \\\\ `echo b`\ndone\n# comment'
    assert shell.run(script).output == 'it\'s 1 ünï "q" \\ b\nit\'s 2 ünï "q" \\ b\n'


def test_bytes_that_are_no_text_are_replaced(shell: ShellSession) -> None:
    result = shell.run(r"printf 'a\xff\x00b\n'")
    assert result.output == "a\N{REPLACEMENT CHARACTER}\0b\n"


def test_a_flood_of_output_is_cut_and_costs_little(shell: ShellSession) -> None:
    result = shell.run("yes | head -c 200M; echo end")
    assert result.truncated
    assert not result.timed_out
    assert result.output == "y\n" * 2048
    assert shell.run("echo alive").output == "alive\n"


def test_a_timed_out_command_is_killed_with_its_children_and_the_directory_is_kept(shell: ShellSession) -> None:
    shell.run("cd /var/tmp; x=5")
    started = time.monotonic()
    result = shell.run("echo before; sleep 1000 & sleep 1001; echo after", timeout=0.3)
    assert time.monotonic() - started < BEFORE_IT_ENDS_ITSELF
    assert (result.output, result.exit_code, result.timed_out, result.restarted) == ("before\n", 124, True, True)
    assert shell.run("pwd; echo x=$x; pgrep sleep").output == "/var/tmp\nx=\n"


def test_commands_without_end_time_out(shell: ShellSession) -> None:
    for command in ("while :; do :; done", "trap '' TERM INT HUP; sleep 1000", "yes", "kill -STOP $$", "set -n"):
        assert shell.run(command, timeout=0.2).timed_out, command
        assert shell.run("echo alive").output == "alive\n", command


def test_a_command_that_ends_the_shell_is_said_so_and_the_next_has_a_fresh_one(shell: ShellSession) -> None:
    shell.run("touch kept")
    ends = [("exit 3", 3), ("exit 0", 255), ("exec echo gone", 255), ("kill -9 $$", 137), ("set -e; false", 1)]
    for command, code in ends:
        shell.run("x=5")
        result = shell.run(command)
        assert (result.exit_code, result.restarted) == (code, True), command
        assert shell.run("echo x=$x; ls").output == "x=\nkept\n", command


def test_what_is_no_status_in_the_statuses_pipe_counts_as_the_end_of_bash(shell: ShellSession) -> None:
    pipe = "/proc/$$/fd/11"  # where bash keeps it while it evaluates a command
    assert shell.run(f"readlink {pipe}").output.startswith("pipe:")
    shell.run("touch kept")
    for text in ("x", "", "-1", "999", "1 2", "0x1", "1" * 5000):
        shell.run("x=5")
        result = shell.run(f"echo working; echo '{text}' > {pipe}; sleep 1000")
        assert result == ("working\n", 137, False, False, True, ""), text
        assert shell.run("echo x=$x; ls").output == "x=\nkept\n"
    assert shell.run(f"yes | tr -d '\\n' > {pipe}").exit_code == 137
    assert shell.run("echo alive").output == "alive\n"


def test_background_processes_live_on_and_are_no_hindrance(shell: ShellSession) -> None:
    shell.run("sleep 1000 & (while :; do echo noise; sleep 0.01; done) &")
    # What is forked is not `sleep` at once.
    assert shell.run("until pgrep sleep; do :; done", timeout=60).exit_code == 0
    assert "alive\n" in shell.run("echo alive").output


def test_killing_every_process_leaves_the_session_usable(shell: ShellSession) -> None:
    shell.run("sleep 1000 &")
    shell.run("bash -c 'kill -9 -1'; kill -9 1")
    deadline = time.monotonic() + 60  # what is killed is gone when the kernel comes to it
    while (output := shell.run("echo alive; pgrep -c sleep").output).endswith("alive\n1\n"):
        assert time.monotonic() < deadline
    assert output.endswith("alive\n0\n")


def test_a_fork_bomb_is_bounded_and_cleared(shell: ShellSession) -> None:
    shell.run("bomb() { bomb | bomb & }; bomb", timeout=1.0)
    for _ in range(3):
        result = shell.run("echo alive", timeout=2.0)
        if result.output == "alive\n":
            break
        shell.run("sleep 1000", timeout=0.2)  # its time-out kills everything
    assert result.output == "alive\n"


def test_a_memory_hog_is_killed_and_the_session_lives(shell: ShellSession) -> None:
    result = shell.run("head -c 400M /dev/zero | tail | wc -c; echo ${PIPESTATUS[1]}")
    assert result.output.endswith("137\n"), result
    assert shell.run("echo alive").output == "alive\n"


def test_a_hog_inside_bash_itself_is_killed_and_the_session_lives(shell: ShellSession) -> None:
    result = shell.run("x=$(head -c 400M /dev/zero | tr '\\0' x); echo survived")
    assert "survived" not in result.output
    assert shell.run("echo alive").output == "alive\n"


def test_a_disk_filler_meets_the_end_of_the_file_system(shell: ShellSession) -> None:
    for directory in ("/root", "/tmp", "/home", "/var/tmp", "/run"):
        result = shell.run(f"for i in 1 2 3; do head -c 6M /dev/zero > {directory}/f$i; done; rm {directory}/f1")
        assert "No space left on device" in result.output, directory


def test_all_file_systems_full_leave_the_session_usable(shell: ShellSession) -> None:
    shell.run("for d in /root /tmp /home /var/tmp /run; do head -c 9M /dev/zero > $d/f; done")
    assert shell.run("echo alive").output == "alive\n"


def test_a_file_outside_the_file_systems_in_memory_is_limited_in_size(shell: ShellSession) -> None:
    result = shell.run("head -c 20M /dev/zero > /opt/f; stat -c %s /opt/f")
    assert result.output.splitlines()[-1] == str(8 * 1024 * 1024)


def test_root_administers_users_files_and_processes_but_not_the_kernel(shell: ShellSession) -> None:
    result = shell.run(
        "useradd -m -s /bin/bash bob && groupadd staff2 && usermod -aG staff2 bob && echo 'bob:secret' | chpasswd\n"
        "cd /home/bob; touch f && chown bob:staff2 f && chmod 640 f && stat -c '%U:%G %a' f\n"
        # It takes a moment until what was forked is `sleep`.
        "su - bob -c 'whoami; sleep 1000 &' && until pkill -u bob sleep; do sleep 0.01; done; echo killed\n"
        "echo 127.0.0.1 x >> /etc/hosts"
    )
    assert result.output == "bob:staff2 640\nbob\nkilled\n"
    for forbidden in ("mount -t tmpfs x /mnt", "mknod /dev/d b 8 0", "chroot / true", "hostname h", "dmesg"):
        assert shell.run(forbidden).exit_code != 0, forbidden


def test_there_is_no_network(shell: ShellSession) -> None:
    result = shell.run("exec 5<>/dev/tcp/1.1.1.1/53; echo; cat /proc/net/route | wc -l; ls /sys/class/net", timeout=3)
    assert "unreachable" in result.output
    assert shell.run("ls /sys/class/net").output in ("lo\n", "")


def test_the_guest_can_be_neither_read_nor_written(shell: ShellSession) -> None:
    result = shell.run("head -c 1 /proc/1/mem; echo x > /proc/1/fd/1; readlink /proc/1/fd/0; echo end")
    assert result.output.count("denied") >= 2
    assert result.output.endswith("end\n")


def test_sessions_see_nothing_of_each_other(sandboxes: Sandboxes) -> None:
    with sandboxes.shell() as first, sandboxes.shell() as second:
        first.run("echo secret | tee /root/s /tmp/s /home/s /opt/s /dev/shm/s; sleep 4321 &")
        assert first.run("cat /opt/s").output == "secret\n"
        found = second.run("cat /root/s /tmp/s /home/s /opt/s /dev/shm/s; pgrep -f 4321")
        assert "secret" not in found.output
        assert found.exit_code == 1


def test_sessions_run_in_parallel(sandboxes: Sandboxes) -> None:
    def episode(number: int) -> str:
        with sandboxes.shell() as session:
            session.run(f"cd /tmp; n={number}")
            return session.run("echo $PWD $n").output

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(episode, range(8))) == [f"/tmp {number}\n" for number in range(8)]


def test_an_overlong_command_is_refused_without_being_run(shell: ShellSession) -> None:
    result = shell.run(": " + "x" * 2_000_000)
    assert result.exit_code == 126
    assert "longer than" in result.output


def test_odd_characters_in_a_command_do_no_harm(shell: ShellSession) -> None:
    assert shell.run("echo a\0b\ud800c").output.startswith("ab")
    assert shell.run("echo a\r").output == "a\r\n"

"""Setting up the container of an AgentBench shell task, and taking the example's output before the agent acts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from cycleqd.sandbox import CommandResult, ShellSession
from cycleqd.sandbox.shell import COMMAND_CHARACTERS
from cycleqd.skills.benchmarks.agentbench_os.data import Script

SETUP_SECONDS: Final = 60.0
"""For each script of `init`."""
START_SECONDS: Final = 5.0
"""For `start`: what takes longer goes on behind the agent's bash, as a server would."""
CHECK_SECONDS: Final = 60.0
"""For each step of a check, and for the example: AgentBench has no limit here, and a loaded machine is slow."""
HOSTS: Final = "[ -s /etc/hosts ] || printf '127.0.0.1 localhost\\n127.0.1.1 sandbox\\n' >/etc/hosts"
"""A Docker engine that gives a container no network gives it no names either; the loopback interface is there."""
INSTALLS_SUDO: Final = re.compile(r"\b(?:install|remove|purge)\b[^\n;&|]*\bsudo\b", re.I)
"""A task that is about installing sudo begins without it; apt finds it in the image."""
WITHOUT_SUDO: Final = "SUDO_FORCE_REMOVE=yes dpkg --purge sudo >/dev/null 2>&1"
CHANGING: Final = re.compile(
    r"(?:^|[\s;&|({`'\"/])(?:apt|apt-get|chgrp|chmod|chown|chpasswd|cp|crontab|curl|dd|dpkg|git|groupadd|groupdel"
    r"|groupmod|gunzip|gzip|install|kill|killall|ln|make|mkdir|mkfifo|mktemp|mv|npm|passwd|pip|pkill|rm|rmdir|sed\s+-\S*i"
    r"|service|source|split|su|sudo|tar|tee|touch|truncate|unlink|unzip|useradd|userdel|usermod|wget|zip)(?=[\s;&|)}`'\"]|$)"
    r"|-delete\b|>(?!\s*/dev/(?:null|stderr|stdout)\b|\s*&\s*[0-9])"
)
"""Of a bash script without its quoted parts: it may change the system, so it is not run before the agent."""
CHANGING_PYTHON: Final = re.compile(r"['\"][rwaxb+]*[wax][b+]*['\"]|\b(?:os|shutil|subprocess|socket|pathlib)\b")
OTHERS: Final = re.compile(
    r"\b(?:crontab|curl|http|lsof|localhost|nc|netcat|netstat|pgrep|pidof|ps|service|sleep|socket|ss|systemctl|telnet|top"
    r"|wait|wget)\b|127\.0\.0\.1|/dev/tcp|/proc/",
    re.I,
)
"""A step of a check that may want something of the processes that were left running; else they stay stopped."""
ARGUMENT: Final = re.compile(r"(?<!\\)\$(?:[1-9@*#]|\{[1-9@*#])|\bargv\b")
"""The script wants the answer or what ran before it."""
_QUOTED: Final = re.compile(r"'[^']*'|\\.")
_GUEST: Final = re.compile(r"^[^\n]*/proc/1/[^\n]*: Permission denied\n", re.M)


class Prepared(NamedTuple):
    """What came of setting up.

    Attributes:
        fault: Why it could not be done; empty when it was.
        example: What the example gave before the agent acted; None where it has to wait for the check.
    """

    fault: str = ""
    example: CommandResult | None = None


def output_of(result: CommandResult) -> str:
    """What a command printed, without complaints about the container's first process.

    That process is the sandbox's own and can't be looked into. In AgentBench's containers nothing complains about it,
    and what reads everything would print something else here.
    """
    return _GUEST.sub("", result.output)


def run_script(shell: ShellSession, script: Script, arguments: Sequence[str] = (), *, judge: bool) -> CommandResult:
    """Runs a step of a check or the example.

    Raises:
        SandboxUnavailable: The container is gone.
    """
    code, language = script["code"], language_of(script)
    if not judge:
        return shell.script(code, language=language, arguments=arguments, timeout=CHECK_SECONDS)
    alone = OTHERS.search(code) is None
    return shell.judge(code, language=language, arguments=arguments, timeout=CHECK_SECONDS, alone=alone)


def language_of(script: Script) -> Any:
    """What a script is written in."""
    return script["language"]


def only_looks(script: Script) -> bool:
    """Whether a script, as far as can be seen, changes nothing and needs neither answer nor other output."""
    code = script["code"]
    if ARGUMENT.search(_QUOTED.sub("", code) if script["language"] == "bash" else code):
        return False
    if script["language"] == "python":
        return CHANGING_PYTHON.search(code) is None
    return CHANGING.search(_QUOTED.sub(" ", code)) is None


def prepare(shell: ShellSession, data: Mapping[str, Any]) -> Prepared:
    """Runs the scripts of `init`, one after the other, then `start` in the agent's own bash, then the example.

    How a script ends does not matter: some of AgentBench's end in error and still work.

    Raises:
        SandboxUnavailable: The container is gone.
    """
    shell.script(f"{HOSTS}; {WITHOUT_SUDO}" if installs_sudo(data) else HOSTS, timeout=SETUP_SECONDS)
    for number, script in enumerate(data["init"], start=1):
        if len(script["code"]) > COMMAND_CHARACTERS:
            return Prepared(f"script {number} of init has more than {COMMAND_CHARACTERS} characters")
        result = shell.script(script["code"], language=language_of(script), timeout=SETUP_SECONDS)
        if result.timed_out:
            return Prepared(f"script {number} of init does not end within {SETUP_SECONDS:.0f} s")
    shell.run("cd /")
    start = data["start"]
    if start is not None:
        if len(start["code"]) > COMMAND_CHARACTERS:
            return Prepared(f"start has more than {COMMAND_CHARACTERS} characters")
        shell.run(start["code"], timeout=START_SECONDS, attached=True, leave=True)
    example = None
    if any("example" in step for step in data["check"] or ()) and only_looks(data["example"]):
        example = run_script(shell, data["example"], judge=False)
    shell.seal()
    return Prepared("", example)


def installs_sudo(data: Mapping[str, Any]) -> bool:
    """Whether a task is about installing sudo."""
    steps = [step["script"] for step in data["check"] or () if "script" in step]
    scripts = [
        script["code"] for script in (*data["init"], data["start"], data["example"], *steps) if script is not None
    ]
    return any(INSTALLS_SUDO.search(text) for text in (data["problem"], *scripts))

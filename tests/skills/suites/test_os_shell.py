import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cycleqd.sandbox import CommandResult, Sandboxes, SandboxUnavailable
from cycleqd.skills.oracle import OracleAgent, play
from cycleqd.skills.protocol import Message, Sample
from cycleqd.skills.suites.os_shell import (
    MAX_OUTPUT_CHARS,
    Act,
    OsSkill,
    observation,
    parse_act,
    same_answer,
    same_output,
)


@pytest.mark.parametrize(
    ("reply", "act"),
    [
        ("Act: bash\n```bash\nls /home\n```", Act("bash", "ls /home")),
        ("Think: look first.\n\nAct: bash\n\n```bash\ncd /home\nls\n```\n", Act("bash", "cd /home\nls")),
        ("act: Bash\n```sh\nls\n```", Act("bash", "ls")),
        ("Act: bash\n```\nls\n```", Act("bash", "ls")),
        ("Act: answer(42)", Act("answer", "42")),
        ("Act: answer(42).", Act("answer", "42")),
        ("Act: answer( '/home/a b.txt' )", Act("answer", "/home/a b.txt")),
        ("Act: answer(f(x))", Act("answer", "f(x)")),
        ("Act: answer()", Act("answer", "")),
        ("Think: done.\nAct: finish", Act("finish", "")),
        ("Act: answer(1)\nAct: answer(2)", Act("answer", "1")),
        ("Act: bash\n```bash\nls\n```\nOutput of the OS:\n3\nAct: answer(3)", Act("bash", "ls")),
    ],
)
def test_reads_acts(reply: str, act: Act) -> None:
    assert parse_act(reply) == act


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "ls /home",
        "```python\nprint(1)\n```",
        "Act: bash",
        "Act: bash ls",
        "Act: bash\n```bash\n```",
        "Act: bash\n```python\nprint(1)\n```",
        "Act: answer",
        "Act: answer 42",
        "Act: answer(42",
        "Act: answer(" + "4" * 2000 + ")",
        "Act: dance",
        "I will Act: finish",
    ],
)
def test_refuses_replies_without_an_act(reply: str) -> None:
    assert parse_act(reply) is None


@pytest.mark.parametrize(
    "reply",
    [
        "```bash\nls /home\n```",
        "Let's look.\n\n```sh\nls /home\n```\nThat is all.",
        "Action: bash\n```bash\nls /home\n```",
        "Act: bash\n```bash\nls /home",  # ended by a stop string, which is not part of the reply
    ],
)
def test_takes_a_block_for_the_act_that_it_is(reply: str) -> None:
    assert parse_act(reply) == ("bash", "ls /home")


@given(st.text(alphabet="Act: bashnwerfi()`\n'7", max_size=200))
def test_any_reply_is_read_or_refused(reply: str) -> None:
    act = parse_act(reply)
    assert act is None or act.kind in ("bash", "answer", "finish")


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_integers_are_compared_as_integers(a: int, b: int) -> None:
    assert same_answer(f" {a:05} ", str(b)) == (a == b)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        ("8", "7"),
        ("7.0", "7"),
        ("7 files", "7"),
        ("", "7"),
        ("٧", "7"),
        ("a.TXT", "a.txt"),
        ("/home/a", "a"),
        ("1" * 5000, "7"),
    ],
)
def test_near_miss_answers_are_refused(actual: str, expected: str) -> None:
    assert not same_answer(actual, expected)


def test_outputs_may_differ_in_outer_and_trailing_space_only() -> None:
    assert same_output("\n3 \n4\n\n", "3\n4")
    assert not same_output("3\n4\n5", "3\n4")
    assert not same_output("34", "3\n4")


def test_observations_are_cut_and_name_empty_and_late_results() -> None:
    assert observation(CommandResult("3\n", 0, False, False)) == "Output of the OS:\n3"
    assert observation(CommandResult("\n", 0, False, False)) == "Output of the OS: (empty)"
    assert observation(CommandResult("3", 124, True, False)) == "The command timed out."
    long = observation(CommandResult("x" * 5000, 0, False, False))
    assert long.endswith("[truncated]")
    assert len(long) < MAX_OUTPUT_CHARS + 50


def test_no_problem_names_a_path_in_quotes_that_it_did_not_set_up() -> None:
    for sample in OsSkill(seed=0, counts={"train": 100}).samples("train"):
        folders = {word.rsplit("/", 1)[0] for word in sample.data["task"].split() if word.startswith("/")}
        assert folders
        assert "mkdir -p /" in sample.data["setup"]


def _one(template: str) -> Sample:
    samples = OsSkill(seed=0, counts={"train": 100}).samples("train")
    return next(sample for sample in samples if sample.template == template)


def _bash(script: str) -> str:
    return f"Act: bash\n```bash\n{script}\n```"


@pytest.mark.docker
def test_wrong_answers_and_half_done_changes_fail(sandboxes: Sandboxes) -> None:
    skill = OsSkill(seed=0, counts={})
    with skill.session(sandboxes) as session:
        words, mode = _one("count-words"), _one("set-mode")
        right = int(words.data["answer"])
        cases = [
            (words, [f"Act: answer({right})"], 1.0),
            (words, [f"Act: answer({right + 1})"], 0.0),
            (words, ["Act: finish"], 0.0),
            (words, [_bash(words.data["gold"])], 0.0),
            (mode, [_bash(mode.data["gold"]), "Act: finish"], 1.0),
            (mode, [_bash(mode.data["gold"])], 1.0),
            (mode, [_bash(mode.data["gold"]), "done"], 1.0),
            (mode, ["done"], 0.0),
            (mode, ["Act: finish"], 0.0),
            (mode, [_bash(f"stat() {{ echo {mode.data['expected']}; }}"), "Act: finish"], 0.0),
            (mode, [_bash(f"exit() {{ :; }}; stat() {{ echo {mode.data['expected']}; }}"), "Act: finish"], 0.0),
            (mode, [_bash(f"{mode.data['gold']}; set -e; exec > /dev/null"), "Act: finish"], 1.0),
            (mode, [_bash(mode.data["gold"].replace("chmod", "chmod -f 700 / ; chmod 123 #")), "Act: finish"], 0.0),
        ]
        for sample, replies, score in cases:
            assert play(session, sample, OracleAgent(replies)).verdict.score == score, replies


@pytest.mark.docker
@pytest.mark.parametrize(
    "forgery",
    [
        "printf '#!/bin/sh\\necho {0}\\n' >/usr/local/sbin/stat; chmod 755 /usr/local/sbin/stat",
        "printf '#!/bin/sh\\necho {0}\\n' >/opt/s; chmod 755 /opt/s; mv /opt/s /usr/bin/stat",
        "printf '#!/bin/sh\\necho {0}\\n' >/opt/s; chmod 755 /opt/s; mv /opt/s /bin/bash",
        "printf '#!/bin/sh\\nwhile :; do :; done\\n' >/opt/s; chmod 755 /opt/s; mv /opt/s /bin/bash; exit 0",
        "(while :; do for f in /proc/[0-9]*/fd/1; do echo {0} >$f; done; done) 2>/dev/null &",
        "(while :; do for f in /proc/[0-9]*/fd/1; do echo {0} >$f; done; pkill -9 stat; done) 2>/dev/null &",
        "rm -rf --no-preserve-root / 2>/dev/null",
    ],
)
def test_what_the_probe_shows_cannot_be_forged(sandboxes: Sandboxes, forgery: str) -> None:
    skill = OsSkill(seed=0, counts={})
    mode = _one("set-mode")
    with skill.session(sandboxes) as session:
        replies = [_bash(forgery.format(mode.data["expected"])), "Act: finish"]
        assert play(session, mode, OracleAgent(replies)).verdict.score == 0.0


@pytest.mark.docker
def test_reply_that_is_no_act_ends_the_episode(sandboxes: Sandboxes) -> None:
    skill = OsSkill(seed=0, counts={})
    with skill.session(sandboxes) as session:
        episode = session.start(_one("count-words"))
        try:
            assert episode.act("no idea")
            verdict = episode.judge()
            assert verdict.score == 0.0
            assert verdict.reason == "neither a ```bash block nor `Act: answer(...)`"
        finally:
            episode.close()


@pytest.mark.docker
def test_an_episode_that_is_played_again_shows_the_same(sandboxes: Sandboxes) -> None:
    skill = OsSkill(seed=0, counts={})
    samples = [_one(template) for template in ("count-files", "link-target", "move-into")]
    agent = OracleAgent([_bash("ls -laR --full-time /home /root /tmp | sort"), "Act: finish"])

    def shown() -> list[list[Message]]:
        with skill.session(sandboxes) as session:
            return [play(session, sample, agent).messages for sample in samples]

    first = shown()
    time.sleep(1)
    assert shown() == first
    assert all("2024-01-01 00:00" in messages[-2]["content"] for messages in first)


@pytest.mark.docker
def test_bash_keeps_its_state_and_errors_are_seen(sandboxes: Sandboxes) -> None:
    skill = OsSkill(seed=0, counts={})
    skill.max_turns = 3
    with skill.session(sandboxes) as session:
        episode = session.start(_one("count-words"))
        try:
            assert not episode.act(_bash("cd /tmp && x=5"))
            assert not episode.act(_bash('echo "$PWD $x"; ls /nowhere'))
            assert episode.messages[-1]["content"].startswith("Output of the OS:\n/tmp 5\nls: cannot access")
            assert episode.act(_bash("true"))
            assert episode.judge().reason == "no answer was given"
        finally:
            episode.close()
            episode.close()


@pytest.mark.docker
def test_a_failed_set_up_is_the_sandboxes_fault(sandboxes: Sandboxes) -> None:
    skill = OsSkill(seed=0, counts={})
    broken = Sample("os/x/0", "os", "test", "x", {**_one("count-words").data, "setup": "echo no; false"})
    with skill.session(sandboxes) as session, pytest.raises(SandboxUnavailable, match="set-up of os/x/0 failed: no"):
        session.start(broken)

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cycleqd.evaluation.audit import audit
from cycleqd.sandbox import CommandResult, Limits, Sandboxes
from cycleqd.skills.benchmarks.agentbench_os import setup
from cycleqd.skills.benchmarks.agentbench_os.setup import only_looks, output_of
from cycleqd.skills.benchmarks.agentbench_os.skill import (
    Act,
    AgentBenchOsSkill,
    bash_act,
    command_of,
    observation,
    parse_act,
)
from cycleqd.skills.benchmarks.benchmark import DataUnavailable, Source
from cycleqd.skills.oracle import OracleAgent, Played, oracle_of, play
from cycleqd.skills.parsing import LONG_REPLY_CHARS
from cycleqd.skills.protocol import NoReference, Sample
from tests.skills.benchmarks.benchmark_data import FOLDER

DEV = FOLDER / "agentbench" / "os_interaction" / "dev.json"
needs_dev = pytest.mark.skipif(not DEV.is_file(), reason=f"no AgentBench file in {FOLDER}; set CYCLEQD_DATA_DIR")

INTEGER = {"language": "python", "file": "check/integer-match.py"}
COUNT = {"check": [None, INTEGER], "example": {"code": "ls /data | wc -l"}}


def record(**changes: Any) -> dict[str, Any]:
    create = {"local": "default", "init": {"code": "mkdir /data && touch /data/a /data/b"}}
    return {"description": "How many files are in /data?", "create": create, "evaluation": COUNT} | changes


def skill_of(path: Path, *records: Any, scripts: Mapping[str, str] = {}) -> AgentBenchOsSkill:
    file = path / "data" / "os_interaction" / "data" / "1" / "tasks.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(records))
    for name, text in scripts.items():
        script = path / "data" / "os_interaction" / "scripts" / "1" / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(text)
    return AgentBenchOsSkill(counts={}, source=Source(data=str(path)))


def samples_of(skill: AgentBenchOsSkill) -> list[Sample]:
    return [*skill.samples("optimization"), *skill.samples("test")]


def only(skill: AgentBenchOsSkill) -> Sample:
    (sample,) = samples_of(skill)
    return sample


@pytest.mark.parametrize(
    ("reply", "act"),
    [
        ("Think: look\n\nAct: bash\n\n```bash\nls /\n```", Act("bash", "ls /")),
        ("Act: Bash\n```bash\na\n```\nthen\n```bash\nb\n```", Act("bash", "a\n\nb")),
        ("Act: bash", Act("bash", "")),
        ("Act: bash\n```sh\nls\n```", Act("bash", "")),
        ("Act: finish", Act("finish", "")),
        ("Act:\n\nfinish now", Act("finish", "")),
        ("Act: answer(220)", Act("answer", "220")),
        ("Act: answer (f(x)) so", Act("answer", "f(x)")),
        ("Act: answer()", Act("answer", "")),
        ("Act: bash\n```bash\nls\n```\nAct: answer(3)", Act("answer", "3")),
        ("Act: finish\nAct: answer 3", Act("finish", "")),
        ("Act: finish\nAct: wait", Act("finish", "")),
    ],
)
def test_the_last_line_that_names_an_act_counts(reply: str, act: Act) -> None:
    assert parse_act(reply) == act


@pytest.mark.parametrize("reply", ["", "ls", "```bash\nls\n```", "Act: look", "act: finish", "Act: answer 3", "Act:"])
def test_everything_else_is_no_act(reply: str) -> None:
    assert parse_act(reply) is None


@pytest.mark.parametrize("part", ["```bash\nx", "Act:", "Act: answer(", "Act: answer((((", "\n", "\nAct: "])
def test_a_long_reply_is_read_in_linear_time(part: str) -> None:
    began = time.monotonic()
    parse_act("Act: bash " + part * (LONG_REPLY_CHARS // len(part)))
    parse_act("Act: answer" + part * (LONG_REPLY_CHARS // len(part)))
    assert time.monotonic() - began < 2


def test_outputs_are_cut_at_800_characters() -> None:
    def seen(output: str, *, timed_out: bool = False) -> str:
        return observation(CommandResult(output, 0, timed_out, truncated=False))

    assert seen("") == "The output of the OS is empty."
    assert seen("x" * 800) == "The output of the OS:\n\n" + "x" * 800
    assert seen("x" * 801) == "The output of the OS:\n\n" + "x" * 780 + "\n[truncated: the output is too long]"
    assert seen("a", timed_out=True).endswith("a\n[the command timed out]")


def test_the_sandboxs_own_process_is_not_shown() -> None:
    output = "find: ‘/proc/1/fdinfo’: Permission denied\n/a\nfind: ‘/root/x’: Permission denied\n"
    shown = output_of(CommandResult(output, 0, timed_out=False, truncated=False))
    assert shown == "/a\nfind: ‘/root/x’: Permission denied\n"


def test_scripts_are_bash_or_objects_with_code_or_file(tmp_path: Path) -> None:
    bash, python = {"language": "bash", "code": "b"}, {"language": "python", "code": "p"}
    create = {"init": ["b", {"code": "b"}, {"file": "init/i.sh"}, {"language": "python", "file": "p.py"}]}
    skill = skill_of(tmp_path, record(create=create, start="b"), scripts={"init/i.sh": "b", "p.py": "p"})
    data = only(skill).data
    assert data["init"] == [bash, bash, bash, python]
    assert data["start"] == bash
    assert data["image"] == "default"
    assert data["check"] == [{"example": True}, {"compare": "integer-match"}]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"create": "default"}, "malformed record: create is str"),
        ({"create": {"local": "gentoo"}}, "wants the image 'gentoo'; there are default"),
        ({"create": {"init": {"file": "init/none.sh"}}}, "needs the script init/none.sh, which is not given"),
        ({"create": {"init": {"file": "../../../../secret"}}}, "lies outside"),
        ({"create": {"init": {"language": "c++", "code": ""}}}, r"written in c\+\+"),
        ({"create": {"init": {"language": "bash"}}}, "neither code nor file"),
        ({"evaluation": {}}, "neither match nor check"),
        ({"evaluation": None}, "evaluation is NoneType"),
        ({"evaluation": {"check": [None, INTEGER]}}, "there is none"),
        ({"evaluation": {"check": INTEGER, "example": "ls"}}, "compares the answer with nothing"),
        ({"evaluation": {"match": {"regex": "("}}}, "no valid pattern"),
        ({"evaluation": {"match": 7}}, "match is int"),
        ({"description": None}, "no description"),
    ],
)
def test_what_is_malformed_or_not_given_is_skipped_with_a_reason(
    tmp_path: Path, broken: dict[str, Any], reason: str
) -> None:
    (tmp_path / "data" / "secret").parent.mkdir(parents=True)
    (tmp_path / "data" / "secret").write_text("x")
    skill = skill_of(tmp_path, record(), record(**broken), scripts={"init/i.sh": "b"})
    (skipped,) = skill.origin.skipped
    assert re.search(reason, skipped.reason)
    assert only(skill).data["problem"] == "How many files are in /data?"


def test_all_sets_of_a_checkout_are_read_each_with_its_scripts(tmp_path: Path) -> None:
    skill_of(tmp_path, record(), scripts={"x.sh": "one"})
    second = tmp_path / "data" / "os_interaction" / "data" / "2" / "tasks.jsonl"
    second.parent.mkdir()
    second.write_text(json.dumps(record(create={"init": {"file": "x.sh"}})) + "\n")
    scripts = tmp_path / "data" / "os_interaction" / "scripts" / "2"
    scripts.mkdir()
    (scripts / "x.sh").write_text("two")
    (tmp_path / "data" / "os_interaction" / "data" / "dev.json").write_text(json.dumps([record()]))
    skill = AgentBenchOsSkill(counts={}, source=Source(data=str(tmp_path)))
    assert skill.origin.version == "1+2+dev"
    by_set = {sample.template: sample for sample in samples_of(skill)}
    assert set(by_set) == {"1", "2", "dev"}
    assert by_set["2"].data["init"] == [{"language": "bash", "code": "two"}]
    assert by_set["1"].id.startswith("os_interaction/1/")


@pytest.mark.parametrize(
    ("folder", "sets"),
    [
        ("", {"1", "dev"}),
        ("data", {"1", "dev"}),
        ("data/os_interaction", {"1", "dev"}),
        ("data/os_interaction/data", {"1", "dev"}),
        ("data/os_interaction/data/1", {"1"}),
        ("data/os_interaction/data/dev.json", {"dev"}),
        ("data/os_interaction/data/1/tasks.json", {"1"}),
    ],
)
def test_a_checkout_is_found_from_any_of_its_folders(tmp_path: Path, folder: str, sets: set[str]) -> None:
    skill_of(tmp_path, record())
    (tmp_path / "data" / "os_interaction" / "data" / "dev.json").write_text(json.dumps([record()]))
    skill = AgentBenchOsSkill(counts={}, source=Source(data=str(tmp_path / folder)))
    assert {sample.template for sample in samples_of(skill)} == sets


def test_other_benchmarks_of_a_checkout_are_no_shell_tasks(tmp_path: Path) -> None:
    for name in ("data/alfworld/standard.json", "data/os_interaction/data/dev.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(json.dumps([record()]))
    skill = AgentBenchOsSkill(counts={}, source=Source(data=str(tmp_path)))
    assert {sample.template for sample in samples_of(skill)} == {"dev"}


def test_one_unreadable_file_costs_its_own_tasks_only(tmp_path: Path) -> None:
    skill_of(tmp_path, record())
    scripts, second = (tmp_path / "data" / "os_interaction" / name for name in ("scripts/1", "data/2"))
    scripts.mkdir(parents=True)
    (scripts / "latin.sh").write_bytes(b"echo caf\xe9")
    second.mkdir()
    (second / "broken.json").write_text("[")
    skill = skill_of(tmp_path, record(), record(create={"init": {"file": "latin.sh"}}))
    assert len(samples_of(skill)) == 1
    reasons = [entry.reason for entry in skill.origin.skipped]
    assert "latin.sh can't be read: 'utf-8'" in reasons[0]
    assert "expected AgentBench's shell tasks as JSON" in reasons[1]


def test_a_match_does_without_its_example(tmp_path: Path) -> None:
    missing = {"file": "example/none.sh"}
    skill = skill_of(tmp_path, record(evaluation={"match": "log", "example": missing}))
    assert skill.gold_replies(only(skill)) == ["Act: answer(log)"]
    skill = skill_of(tmp_path, record(evaluation={"match": {"regex": "^[0-9]+$"}, "example": "echo 7"}))
    assert skill.gold_replies(only(skill))[-1] == "Act: answer({output})"


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text("no json")
    with pytest.raises(DataUnavailable, match="expected AgentBench's shell tasks as JSON"):
        AgentBenchOsSkill(counts={}, source=Source(data=str(tmp_path / "dev.json")))


def test_a_prompt_file_takes_the_place_of_ours(tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Original text.\n{problem}")
    skill_of(tmp_path, record())
    source = Source(data=str(tmp_path), prompt_file=str(tmp_path / "prompt.txt"))
    skill = AgentBenchOsSkill(counts={}, source=source)
    assert skill.origin.prompt.startswith("sha256:")
    (message,) = skill.initial_messages(only(skill))
    assert message["content"] == "Original text.\nHow many files are in /data?"


def test_turns_are_a_setting_and_the_instructions_say_it(tmp_path: Path) -> None:
    skill = skill_of(tmp_path, record())
    assert skill.max_turns == 5
    assert "at most five." in skill.initial_messages(only(skill))[0]["content"]
    skill = AgentBenchOsSkill(counts={}, source=Source(data=str(tmp_path), max_turns=8))
    assert skill.max_turns == 8
    assert "at most eight." in skill.initial_messages(only(skill))[0]["content"]


def test_gold_replies_come_from_match_or_example_else_there_is_no_reference(tmp_path: Path) -> None:
    def gold(evaluation: dict[str, Any]) -> list[str]:
        skill = skill_of(tmp_path, record(evaluation=evaluation))
        return skill.gold_replies(only(skill))

    assert gold({"match": "log"}) == ["Act: answer(log)"]
    assert gold({"match": {"regex": "^log$"}}) == ["Act: answer(log)"]
    assert gold(COUNT)[-1] == "Act: answer({output})"
    assert gold({"check": "true", "example": "touch /x"})[-1] == "Act: answer({output})"
    with pytest.raises(NoReference, match="only a pattern"):
        gold({"match": {"regex": "[0-9]{3}"}})
    with pytest.raises(NoReference, match="a check and no example"):
        gold({"check": {"code": "test -e /x"}})
    with pytest.raises(NoReference, match="the grammar can't say the answer"):
        gold({"match": "a\nb"})
    with pytest.raises(NoReference, match="does not fit a reply of 100000 characters"):
        gold({"check": "true", "example": ": " + "x" * 100_000})


def test_commands_quote_scripts() -> None:
    assert command_of({"language": "bash", "code": "echo 'a'\0"}) == "(eval 'echo '\"'\"'a'\"'\"'')"
    assert command_of({"language": "python", "code": "f()"}) == "python3 -c 'f()'"


def test_a_list_under_create_is_the_default_image_without_init(tmp_path: Path) -> None:
    data = only(skill_of(tmp_path, record(create=[None, INTEGER]))).data
    assert (data["image"], data["init"]) == ("default", [])


@pytest.mark.parametrize(
    "code",
    [
        "ls /data | wc -l",
        "du -sh /home | awk '{print $1}' 2>/dev/null",
        "getent group | awk -F: '$3 > 50 {count++} END {print count}'",
        "find / -name ZZTOP -exec cat {} \\; 2>&1",
        'grep "Bob | Sell" /usr/stock.log | wc -l',
    ],
)
def test_what_only_looks_is_run_before_the_agent(code: str) -> None:
    assert only_looks({"language": "bash", "code": code})


@pytest.mark.parametrize(
    "code",
    ["mv /srv/f / && echo /srv/f", "echo x >/a; wc -l /a", 'test "$1" = 3', "apt install sudo -y", "a=`touch x`",
     "find /x -delete", "sed -i s/a/b/ f", "$(rm x)", 'echo "${2}"', "echo $@"],
)  # fmt: skip
def test_what_changes_or_wants_the_answer_is_not(code: str) -> None:
    assert not only_looks({"language": "bash", "code": code})


def test_python_that_writes_or_wants_the_answer_is_not_run_before_the_agent() -> None:
    assert only_looks({"language": "python", "code": "print(len(open('/a').read()))"})
    for code in ("open('/a', 'w')", "import os\nos.remove('/a')", "import sys\nprint(sys.argv[1])"):
        assert not only_looks({"language": "python", "code": code}), code


class Plays:
    """Plays replies on one record."""

    def __init__(self, sandboxes: Sandboxes, path: Path) -> None:
        self._sandboxes = sandboxes
        self._path = path

    def __call__(self, one: dict[str, Any], *replies: str) -> Played:
        skill = skill_of(self._path, one)
        with skill.session(self._sandboxes) as session:
            agent = OracleAgent(replies) if replies else oracle_of(skill)(only(skill))
            return play(session, only(skill), agent)


@pytest.fixture
def plays(sandboxes: Sandboxes, tmp_path: Path) -> Plays:
    return Plays(sandboxes, tmp_path)


def change(*check: Any) -> dict[str, Any]:
    return record(description="Make /x.", evaluation={"check": list(check)})


@pytest.mark.docker
def test_the_example_solves_its_task_and_other_answers_do_not(plays: Plays) -> None:
    assert plays(record()).verdict.score == 1.0
    assert plays(record(), "Act: answer( 02 )").verdict.score == 1.0
    wrong = plays(record(), "Act: answer(3)").verdict
    assert (wrong.score, wrong.reason) == (0.0, "integer-match: answered '3', the example gives '2'")
    assert plays(record(), "Act: finish").verdict.reason.startswith("integer-match: answered 'None'")
    assert plays(record(), "I give up").verdict.score == 0.0
    assert plays(record(), *[bash_act("true")] * 6).verdict.reason == "out of turns without answer or finish"


@pytest.mark.docker
def test_one_bash_lives_through_the_episode_in_the_root_directory(plays: Plays) -> None:
    played = plays(record(), bash_act("pwd; cd /tmp; x=7"), bash_act("pwd; echo $x"), "Act: finish")
    seen = [message["content"] for message in played.messages if message["role"] == "user"][-2:]
    assert seen == ["The output of the OS:\n\n/\n", "The output of the OS:\n\n/tmp\n7\n"]


@pytest.mark.docker
def test_steps_of_a_check_get_the_answer_and_the_outputs_before_them(plays: Plays) -> None:
    steps = change(
        "test \"$1\" = 'a  b' && echo one",
        {"language": "python", "code": "import sys; print(len(sys.argv), sys.argv[1], sys.argv[2].strip())"},
        'test "$#" = 3 && test "$(echo "$3")" = \'3 a  b one\'',
    )
    assert plays(steps, "Act: answer(a  b)").verdict.score == 1.0
    verdict = plays(change("true", "echo no; exit 3", "true"), "Act: finish").verdict
    assert (verdict.score, verdict.reason) == (0.0, "step 2 of the check ends with 3: 'no\\n'")


@pytest.mark.docker
def test_a_change_is_judged_in_a_bash_that_the_episode_did_not_touch(plays: Plays) -> None:
    exists = change("test -e /x")
    assert plays(exists, bash_act("touch /x"), "Act: finish").verdict.score == 1.0
    for forgery in ("bash() { true; }; exit() { true; }; exec() { true; }", "trap 'exit 0' EXIT DEBUG", "exec true"):
        assert plays(exists, bash_act(forgery), "Act: finish").verdict.score == 0.0, forgery


@pytest.mark.docker
def test_start_runs_in_the_background_and_init_may_end_in_error(plays: Plays) -> None:
    one = record(
        create={"init": ["touch /data; false", "su - nobody"]},
        start="while true; do date +%N > /root/beat; sleep 0.01; done",
        evaluation={"check": "a=$(cat /root/beat); sleep 0.2; test -e /data -a \"$a\" != \"$(cat /root/beat)\""},
    )  # fmt: skip
    assert plays(one, bash_act("jobs"), "Act: finish").verdict.score == 1.0


@pytest.mark.docker
@pytest.mark.parametrize(
    ("image", "has"),
    [("default", "git vim curl zip tree python3"), ("packages", "npm node git"), ("ubuntu", "useradd")],
)
def test_the_images_have_what_their_tasks_want(plays: Plays, image: str, has: str) -> None:
    one = record(create={"local": image}, evaluation={"check": f"command -v {has}"})
    assert plays(one, "Act: finish").verdict.score == 1.0
    if image != "packages":
        assert plays(record(evaluation={"check": "! command -v npm"}), "Act: finish").verdict.score == 1.0


@pytest.mark.docker
@pytest.mark.parametrize(
    ("script", "output"),
    [
        ("cat <<'E'\n```bash\nAct: finish\n```\nE\necho 'Act: answer(3)'", None),
        ("# " + "it's long " * 900 + "\necho 5", "5"),
        ("true", ""),
    ],
)
def test_an_example_is_played_whatever_it_holds_or_prints(plays: Plays, script: str, output: str | None) -> None:
    compare = {"file": "check/string-match.py"}
    played = plays(record(evaluation={"check": [None, compare], "example": script}))
    if output is None:
        assert "```bash\nAct: finish\n```\nAct: answer(3)\n" in played.messages[-2]["content"]
        assert played.verdict.reason.endswith("; the answer needs more than one line, which the grammar can't say")
    else:
        assert played.messages[-1]["content"] == f"Act: answer({output})"
        assert played.verdict.score == 1.0


@pytest.mark.docker
def test_one_of_several_answers_that_an_example_prints_is_enough(plays: Plays) -> None:
    one = record(evaluation={"check": [None, {"file": "check/in.py"}], "example": "echo a b; echo c"})
    played = plays(one)
    assert (played.messages[-1]["content"], played.verdict.score) == ("Act: answer(a b)", 1.0)


@pytest.mark.docker
def test_the_judge_says_when_no_answer_could_be_long_enough(plays: Plays) -> None:
    check = [None, {"file": "check/containing.py"}]
    verdict = plays(record(evaluation={"check": check, "example": "printf %01000d 1"})).verdict
    assert verdict.reason.endswith("; the answer needs more than the 800 characters that a model is shown")


@pytest.mark.docker
def test_scripts_of_set_up_may_be_long(plays: Plays) -> None:
    padding = "# it's 'quoted'\n" * 12_000
    init = [f"{padding}echo one >>/x", f"{padding}echo \"$0 $#\" >/dev/null; echo two >>/x",
            {"language": "python", "code": f"{padding}open('/x', 'a').write('three')"}]  # fmt: skip
    one = record(create={"init": init}, evaluation={"check": '[ "$(cat /x)" = "$(printf \'one\\ntwo\\nthree\')" ]'})
    assert plays(one, "Act: finish").verdict.score == 1.0


@pytest.mark.docker
def test_a_sample_whose_set_up_fails_is_broken(plays: Plays, monkeypatch: pytest.MonkeyPatch) -> None:
    always = {"check": "true", "example": "true"}
    verdict = plays(record(create={"init": ["true", ":" + " " * 1_000_000]}, evaluation=always)).verdict
    assert verdict == (0.0, "the sample is broken: script 2 of init has more than 1000000 characters", {})
    monkeypatch.setattr(setup, "SETUP_SECONDS", 1.0)
    verdict = plays(record(create={"init": "sleep 60"}, evaluation=always)).verdict
    assert verdict == (0.0, "the sample is broken: script 1 of init does not end within 1 s", {})


@pytest.mark.docker
def test_a_server_that_start_leaves_running_is_reached_by_name(plays: Plays) -> None:
    ready = "for i in $(seq 50); do (echo >/dev/tcp/localhost/8000) 2>/dev/null && break; sleep 0.1; done"
    one = record(
        create={"init": "mkdir /web && echo here >/web/index.html"},
        start="cd /web && exec python3 -m http.server 8000",
        evaluation={"check": f'{ready}; [ "$(curl -s localhost:8000)" = here ]'},
    )
    assert plays(one, "Act: finish").verdict.score == 1.0


def seen_by(played: Played) -> list[str]:
    """The observations of an episode."""
    return [message["content"] for message in played.messages[7:] if message["role"] == "user"]


COMPARE = {"file": "check/string-match.py"}


@pytest.mark.docker
@pytest.mark.parametrize(
    "agent",
    [
        "ln -sf true /bin/bash",
        "ln -sf true /usr/bin/python3",
        "printf '#!/bin/sh\necho 42\n' >/opt/b; chmod 755 /opt/b; mv /opt/b /usr/bin/bash",
        "printf '#!/bin/sh\nexit 0\n' >/usr/local/sbin/test; chmod 755 /usr/local/sbin/test",
        "printf '#!/bin/sh\nexit 0\n' >/usr/sbin/grep; chmod 755 /usr/sbin/grep",
        "printf '#!/bin/dash\nwhile :; do sleep 1; done\n' >/opt/b; chmod 755 /opt/b; mv /opt/b /usr/bin/bash",
        "rm -rf --no-preserve-root /usr 2>/dev/null",
    ],
)
def test_a_check_is_not_passed_by_replacing_what_it_runs(plays: Plays, agent: str) -> None:
    for step in ("grep -q x /x", {"language": "python", "code": "assert open('/x').read() == 'x'"}):
        verdict = plays(change(step), bash_act(agent), "Act: finish").verdict
        assert verdict.score == 0.0, verdict
    one = record(evaluation={"check": [None, INTEGER], "example": "ls /data | wc -l"})
    assert plays(one, bash_act(agent), "Act: answer(42)").verdict.score == 0.0
    assert plays(one, bash_act(agent), "Act: answer(2)").verdict.score == 1.0


@pytest.mark.docker
def test_an_agent_that_replaced_a_program_fails_with_that_reason(plays: Plays) -> None:
    reply = bash_act("echo x >/x; mv /bin/grep /bin/grab; cp /bin/true /bin/grep")
    verdict = plays(change("grep -q x /x"), reply, "Act: finish").verdict
    assert verdict.reason.startswith("step 1 of the check can't be trusted: /usr/bin/grep was")
    honest = bash_act("echo x >/x; chmod 700 /bin/grep; printf '#!/bin/sh\n' >/usr/local/bin/own")
    assert plays(change("grep -q x /x"), honest, "Act: finish").verdict.score == 1.0


@pytest.mark.docker
def test_what_an_example_that_only_looks_prints_is_taken_before_the_agent_acts(plays: Plays) -> None:
    empties = bash_act("rm /data/*")
    assert plays(record(), empties, "Act: answer(0)").verdict.score == 0.0
    assert plays(record(), empties, "Act: answer(2)").verdict.score == 1.0
    # One that changes something would spoil the task: it waits, as in AgentBench.
    moves = record(evaluation={"check": [None, COMPARE], "example": "mv /data/a / && echo /data/a"})
    assert plays(moves, bash_act("ls /data"), "Act: answer(/data/a)").verdict.score == 1.0
    assert plays(moves).verdict.reason.startswith("step 1 of the check ends with 1")


@pytest.mark.docker
def test_an_examples_output_is_not_cut(plays: Plays) -> None:
    example = "seq 30000 | tr -d '\\n'"
    one = record(evaluation={"check": [None, {"file": "check/in.py"}], "example": example})
    assert plays(one, "Act: answer(2999930000)").verdict.score == 1.0


@pytest.mark.docker
def test_start_runs_in_the_agents_own_shell(plays: Plays) -> None:
    one = record(
        create={"init": "useradd -m -s /bin/bash jack"},
        start="v=10; cd /data 2>/dev/null || cd /srv",
        evaluation={"check": '[ "$1" = yes ]', "example": 'test "$v" -eq "$v" && echo yes'},
    )
    played = plays(one, bash_act("echo $v; pwd"), "Act: answer(yes)")
    assert seen_by(played) == ["The output of the OS:\n\n10\n/srv\n"]
    assert played.verdict.score == 1.0
    assert plays(one).verdict.score == 1.0  # the example, too
    played = plays(
        one | {"start": "su - jack"}, bash_act("whoami"), bash_act("x=1; pwd"), bash_act("echo $x; cat"), "Act: finish"
    )
    assert seen_by(played) == [f"The output of the OS:\n\n{text}\n" for text in ("jack", "/home/jack", "1")]


@pytest.mark.docker
def test_what_init_leaves_running_is_not_in_an_observation(plays: Plays) -> None:
    one = record(
        create={"init": "(while sleep 0.05; do echo NOISE; done) & mkdir /data"}, evaluation={"check": "true"}
    )
    played = plays(one, bash_act("sleep 0.5; echo quiet"), "Act: finish")
    assert seen_by(played) == ["The output of the OS:\n\nquiet\n"]


@pytest.mark.docker
@pytest.mark.parametrize(
    ("example", "agent"),
    [
        ("find / -name ZZTOP", "find / -name ZZTOP"),
        ("find /var/log -type f -exec du -k {} + | awk '{sum += $1} END {print (sum > 0)}'", "echo 1"),
        ("grep -c sandbox /etc/hosts", "sudo true && echo 1"),
    ],
)
def test_the_machine_is_as_a_task_expects_it(plays: Plays, example: str, agent: str) -> None:
    one = record(create={"init": "echo 1 >/usr/ZZTOP"}, evaluation={"check": [None, COMPARE], "example": example})
    assert plays(one).verdict.score == 1.0
    (seen,) = seen_by(plays(one, bash_act(agent), "Act: finish"))
    assert seen in ("The output of the OS:\n\n/usr/ZZTOP\n", "The output of the OS:\n\n1\n")


@pytest.mark.docker
def test_sudo_can_be_installed_where_that_is_the_task_and_is_there_elsewhere(tmp_path: Path) -> None:
    with Sandboxes(run_id="test-sudo", limits=Limits(command_seconds=120.0)) as pool:
        _sudo_can_be_installed(Plays(pool, tmp_path))


def _sudo_can_be_installed(plays: Plays) -> None:
    check = {"check": '[ "$(sudo whoami)" = root ]', "example": "apt update && apt install sudo -y"}
    one = record(create={"init": "apt remove sudo"}, evaluation=check)
    assert plays(one, "Act: finish").verdict.score == 0.0
    assert plays(one).verdict.score == 1.0
    assert plays(record(evaluation={"check": "command -v sudo"}), "Act: finish").verdict.score == 1.0


@pytest.mark.docker
def test_a_check_has_more_time_than_a_command(sandboxes: Sandboxes, tmp_path: Path) -> None:
    limits = Limits(command_seconds=1.0)
    with Sandboxes(run_id="test-check-time", limits=limits) as pool:
        plays = Plays(pool, tmp_path)
        one = record(evaluation={"check": [None, COMPARE, "sleep 2"], "example": "sleep 2; echo a"})
        assert plays(one, "Act: answer(a)").verdict.score == 1.0


@pytest.mark.docker
def test_the_oracle_answers_where_a_script_checks_the_answer(plays: Plays) -> None:
    steps = [{"language": "python", "code": "import sys\nassert sys.argv[1].strip() == '/srv/f'"}, "[ ! -e /srv/f ]"]
    one = record(create={"init": "touch /srv/f"}, evaluation={"check": steps, "example": "mv /srv/f / && echo /srv/f"})
    played = plays(one)
    assert (played.messages[-1]["content"], played.verdict.score) == ("Act: answer(/srv/f)", 1.0)
    silent = plays(record(evaluation={"check": "[ -e /x ]", "example": "touch /x"}))
    assert (silent.messages[-1]["content"], silent.verdict.score) == ("Act: finish", 1.0)


@needs_dev
@pytest.mark.docker
@pytest.mark.slow
def test_every_development_task_whose_files_are_given_is_solved_by_its_reference() -> None:
    found = audit("agentbench_os", source=Source(data=str(DEV)), counts={})
    assert (found.n, found.oracle_passed, found.empty_passed) == (23, 22, 0)
    assert sorted(entry.reason for entry in found.skipped) == [
        "needs the script example/0.sh, which is not given",
        "needs the script example/0.sh, which is not given",
        "needs the script init/stock-log.sh, which is not given",
    ]
    assert found.cheated == []
    # AgentBench's own comparator reads no "4.0K" either.
    (broken,) = found.broken
    assert "size-match" in broken.reason

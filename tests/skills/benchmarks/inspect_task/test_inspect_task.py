"""Tasks of inspect_ai as skills: played models really call tools, in real containers."""

import io
import os
import subprocess
import threading
import time
import zipfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from cycleqd.evaluation.play import evaluate, requests_of
from cycleqd.models.causal_lm.protocol import Reply
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep import verify
from cycleqd.sandbox import NoSandboxes, Sandboxes, image_tags
from cycleqd.skills.benchmarks.benchmark import DataUnavailable, Source
from cycleqd.skills.benchmarks.inspect_task.client import INSTALL, PYTHON_VARIABLE
from cycleqd.skills.benchmarks.inspect_task.skill import read_task
from cycleqd.skills.building import build_skill
from cycleqd.skills.protocol import NoReference
from cycleqd.skills.registry import SkillUnavailable, find

TASKS = Path(__file__).with_name("tasks.py")
needs_inspect = pytest.mark.skipif(
    not (find_spec("inspect_ai") or os.environ.get(PYTHON_VARIABLE)), reason=f"needs inspect_ai: {INSTALL}"
)


def built(task, counts=None, **source):
    return build_skill("inspect:mine", counts=counts or {}, source=Source(data=f"{TASKS}@{task}", **source))


class Played:
    """An engine whose replies are a function of the conversation."""

    name = "played"
    loaded = "f" * 64

    def __init__(self, reply):
        self._reply = reply
        self._lock = threading.RLock()
        self.batches = []

    def chat(self, requests):
        with self._lock:
            self.batches.append([[*request.messages] for request in requests])
        return [Reply(self._reply([m["content"] for m in request.messages]), 1, 1, "stop") for request in requests]

    @contextmanager
    def exclusive(self):
        with self._lock:
            yield


def play(skill, reply, sandboxes=None, **changes):
    settings = {"batching": "strict", "live_episodes": 2, "workers": 2} | changes
    engine = Played(reply)
    return engine, evaluate(skill, "optimization", engine, sandboxes or NoSandboxes(), **settings)


def test_a_task_is_named_with_its_arguments(tmp_path):
    file = tmp_path / "t.py"
    file.touch()
    assert read_task("inspect_evals/gsm8k", "x") == ("inspect_evals/gsm8k", {}, None)
    assert read_task(f"{file}@one?size=3&hard=true&words=[a, b]", "x") == (
        f"{file}@one",
        {"size": 3, "hard": True, "words": ["a", "b"]},
        file,
    )


def test_arguments_mean_what_they_mean_in_a_configuration():
    given = "n=010&b=no&t=1:30&d=2024-01-01&o=on&x=1_000&f=1e3&s=007&y=true&z=~&k=[1, off]"
    assert read_task(f"a/b?{given}", "x").arguments == {
        **{"n": "010", "b": "no", "t": "1:30", "d": "2024-01-01", "o": "on", "x": "1_000"},
        **{"f": 1000.0, "s": "007", "y": True, "z": None, "k": [1, "off"]},
    }


@pytest.mark.parametrize(
    "data", [None, "", __file__, "gone.py@sums", "a/b?size", "a/b?1=2", "a/b?x=[1", "a/b?x=!!int 1", "a/b?x={<<: 1}"]
)
def test_what_names_no_task_is_refused(data):
    with pytest.raises(DataUnavailable, match=r"^mine: "):
        read_task(data, "mine")


def test_the_table_gives_a_task_a_name_of_its_own():
    assert find("inspect:mine").name == "mine"
    assert find("inspect:mine").takes_turns
    for name in ("inspect:No", "inspect:coding", "inspect:"):
        with pytest.raises(SkillUnavailable):
            find(name)


def test_without_inspect_ai_the_message_has_the_command(tmp_path, monkeypatch):
    (tmp_path / "inspect_ai").mkdir()
    (tmp_path / "inspect_ai" / "__init__.py").write_text("raise ImportError('there is none')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(DataUnavailable, match="there is none") as caught:
        built("says")
    assert INSTALL in str(caught.value)


@needs_inspect
class TestSamples:
    def test_halves_and_ids_stay_where_the_data_are_reordered(self):
        skill, turned = built("sums"), built("sums?order=-1")
        for split in ("optimization", "test"):
            assert [sample.id for sample in skill.samples(split)] == [sample.id for sample in turned.samples(split)]
            assert skill.samples(split)
        ids = [sample.id for split in ("optimization", "test") for sample in skill.samples(split)]
        assert len({*ids}) == 12
        assert [s.id for s in built("sums", split_seed=1).samples("test")] != [s.id for s in skill.samples("test")]

    def test_the_first_question_is_the_solvers_with_the_tools(self):
        skill = built("sums", {"optimization": 1, "test": 1})
        system, user = skill.initial_messages(skill.samples("test")[0])
        assert "You reckon." in system["content"]
        assert '"add"' in system["content"]
        assert user["content"].startswith("What is")
        with pytest.raises(NoReference):
            skill.gold_replies(skill.samples("test")[0])

    @pytest.mark.parametrize(
        ("task", "reason"),
        [
            ("local_sandbox", "sandbox is 'local'"),
            ("two_containers", "one service"),
            ("no_scorer", "no scorer"),
            ("no_such_task", "can't load"),
        ],
    )
    def test_what_cannot_be_played_is_refused_with_the_reason(self, task, reason):
        with pytest.raises(DataUnavailable, match=reason):
            built(task)

    def test_a_solver_that_uses_the_sandbox_before_it_asks_is_refused(self):
        skill = built("touches", {"optimization": 1, "test": 1})
        with pytest.raises(DataUnavailable, match="before it asks"):
            skill.initial_messages(skill.samples("test")[0])


@needs_inspect
class TestPlaying:
    @pytest.mark.docker
    def test_a_model_that_calls_tools_in_a_container_without_network_scores(self):
        def reply(said):
            number = int(said[1].split()[2])
            if number == zero:
                return "I do not know."
            if len(said) == 2:
                terms = f'{{"x": {number}, "y": {number + 5}}}'
                return f'Well. <tool_call>{{"name": "add", "arguments": {terms}}}</tool_call>'
            if len(said) == 4:
                assert said[-1] == f"Result of add:\n{2 * number + 5}"
                command = "cat note.txt; ls /sys/class/net; pwd; echo wrong >&2; exit 3"
                return f'<tool_call>{{"name": "shell", "arguments": {{"command": "{command}"}}}}</tool_call>'
            if len(said) == 6:
                assert said[-1] == f"Result of shell:\n3|note {number}lo\n/work\n|wrong\n"
                return '<tool_call>{"name": "shell", nonsense</tool_call>'
            return f"The sum is {2 * number + 5}"

        skill = built("sums?size=20", {"optimization": 5, "test": 1})
        samples = skill.samples("optimization")
        zero = int(skill.initial_messages(samples[0])[-1]["content"].split()[2])
        with Sandboxes(run_id="test-inspect", max_containers=2) as sandboxes:
            engine, (record, episodes, files) = play(skill, reply, sandboxes)
        assert [(sample.id, sample.score) for sample in record.samples] == [
            (sample.id, float(sample is not samples[0])) for sample in samples
        ]
        assert record.samples[-1].reason.startswith("match says ")
        assert record.samples[-1].extra.keys() == {"match", "includes"}
        assert [[*request.messages] for asked in requests_of(skill, "optimization", episodes, live_episodes=2)
                for request in asked] == [messages for batch in engine.batches for messages in batch]  # fmt: skip
        ((name, content),) = files.items()
        assert name.endswith(".eval")
        log = zipfile.ZipFile(io.BytesIO(content))  # newer versions compress it as only they can read
        assert "header.json" in log.namelist()  # which is written last
        assert sum(entry.startswith("samples/") for entry in log.namelist()) == 5

    @pytest.mark.docker
    def test_a_task_with_a_dockerfile_acts_in_its_image_as_its_user(self, tmp_path):
        (tmp_path / "Dockerfile").write_text(
            f"FROM {image_tags()['shell']}\nRUN useradd -m ann && echo 42 >/opt/secret && mkdir /srv/ann && "
            "chown ann /srv/ann\nENV COLOUR=red\nWORKDIR /srv/ann\nUSER ann\n"
        )
        (tmp_path / "task.py").write_text(
            f"import sys\nsys.path.insert(0, {str(TASKS.parent)!r})\nfrom tasks import *\n"
            "@task\ndef boxed():\n    return plain(dataset=sums_of(4), solver=[use_tools(shell()), generate()], "
            "sandbox='docker')\n"
        )

        def reply(said):
            if len(said) == 2:
                command = "id -un; pwd; echo $COLOUR $HOME; cat /opt/secret; ls -l note.txt | cut -d' ' -f3; touch own"
                return f'<tool_call>{{"name": "shell", "arguments": {{"command": "{command}"}}}}</tool_call>'
            assert said[-1] == "Result of shell:\n0|ann\n/srv/ann\nred /home/ann\n42\nann\n|", said[-1]
            return "The end"

        data = f"{tmp_path / 'task.py'}@boxed"
        skill = build_skill("inspect:mine", counts={"optimization": 2, "test": 1}, source=Source(data=data))
        (image,) = skill.own_images()
        assert image.tag in skill.images
        try:
            with Sandboxes(run_id="test-inspect", max_containers=2) as sandboxes:
                _, (record, *_) = play(skill, reply, sandboxes)
        finally:
            subprocess.run(["docker", "rmi", "-f", image.tag], check=False, stdout=subprocess.DEVNULL)
        assert [sample.reason for sample in record.samples] == ["includes says I; the end: The end"] * 2
        # Another image is another benchmark.
        (tmp_path / "Dockerfile").write_text("FROM python:3.12\n")
        again = build_skill("inspect:mine", counts={"optimization": 2, "test": 1}, source=Source(data=data))
        assert again.origin != skill.origin

    @pytest.mark.parametrize("batching", ["strict", "throughput"])
    def test_a_solver_that_asks_in_other_conversations_is_played_and_recorded(self, batching):
        skill = built("critique", {"optimization": 3, "test": 1})
        engine, (record, episodes, _) = play(skill, lambda said: f"{len(said)} {said[0]}", batching=batching)
        assert {sample.turns for sample in record.samples} == {3}
        assert record.score.score == 1.0
        asked = [
            [*request.messages] for turns in requests_of(skill, "optimization", episodes, live_episodes=2)
            for request in turns
        ]  # fmt: skip
        played = [messages for batch in engine.batches for messages in batch]
        assert asked == played if batching == "strict" else sorted(map(str, asked)) == sorted(map(str, played))

    def test_a_sample_is_scored_as_it_stands_when_its_turns_are_used_up(self):
        skill = built("never_ends", {"optimization": 2, "test": 1}, max_turns=3)
        _, (record, *_) = play(skill, lambda said: said[0])
        assert [(sample.score, sample.turns) for sample in record.samples] == [(1.0, 3)] * 2

    def test_a_reply_that_breaks_the_task_scores_nothing_and_the_others_go_on(self):
        skill = built("breaks", {"optimization": 4, "test": 1})
        bad = skill.initial_messages(skill.samples("optimization")[0])[0]["content"]
        _, (record, *_) = play(skill, lambda said: "x" if said[0] == bad else said[0].split()[1][:-1])
        assert [sample.score for sample in record.samples] == [0.0, 1.0, 1.0, 1.0]
        assert record.samples[0].reason.startswith("the sample failed: ValueError")

    def test_values_of_scores_become_numbers_from_0_to_1(self):
        wanted = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0, "true": 1.0, "0.25": 0.25, "7": 1.0, "many": 0.75}
        skill = built("graded", split_seed=3)
        values = dict(zip((sample.data["target"] for sample in skill.samples("optimization")), wanted, strict=False))
        _, (record, *_) = play(skill, lambda said: values.get(said[0].split()[1][:-1], "C"), live_episodes=8)
        found = {
            values[sample.data["target"]]: scored.score
            for sample, scored in zip(skill.samples("optimization"), record.samples, strict=True)
            if sample.data["target"] in values
        }
        assert found == {value: wanted[value] for value in found}
        assert len(found) > 3

    def test_a_task_that_asks_something_else_each_time_is_no_skill(self):
        skill = built("draws", {"optimization": 1, "test": 1})
        with pytest.raises(DataUnavailable, match="draws at random"):
            play(skill, lambda _: "x")

    @pytest.mark.parametrize("task", ["shuffles_in_the_solver", "shuffles_in_the_dataset"])
    def test_choices_in_another_order_each_time_are_refused_in_one_line(self, task):
        with pytest.raises(DataUnavailable, match=r"draws at random.* Give it a seed") as caught:
            play(built(task, {"optimization": 1, "test": 1}), lambda _: "ANSWER: B")
        assert "\n" not in str(caught.value)

    def test_choices_in_an_order_that_is_drawn_with_a_seed_are_played(self):
        skill = built("shuffles_in_the_dataset?seed=1", {"optimization": 3, "test": 1})
        assert len(play(skill, lambda _: "ANSWER: B")[1].record.samples) == 3


@needs_inspect
class TestAskingAtOnce:
    @pytest.mark.parametrize("first", [False, True])
    @pytest.mark.parametrize("batching", ["strict", "throughput"])
    def test_questions_of_a_sample_are_asked_one_after_the_other(self, first, batching):
        skill = built(f"asks_at_once?first={first}".lower(), {"optimization": 3, "test": 1})
        engine, (record, episodes, _) = play(skill, lambda said: f"<{said[-1]}>", batching=batching)
        assert {sample.turns for sample in record.samples} == {4 + (not first)}
        asked = [str([*request.messages]) for turns in requests_of(skill, "optimization", episodes, live_episodes=2)
                 for request in turns]  # fmt: skip
        assert sorted(asked) == sorted(str(messages) for batch in engine.batches for messages in batch)
        last = [messages[-1]["content"] for batch in engine.batches for messages in batch]
        assert sum("<Side 0.> <Side 1.> <Side 2.>" in text for text in last) == 3
        again, _ = play(skill, lambda said: f"<{said[-1]}>", batching=batching)
        assert batching == "throughput" or again.batches == engine.batches

    def test_each_branch_of_a_fork_gets_the_reply_to_its_own_question(self):
        skill = built("forks", {"optimization": 3, "test": 1})
        _, (record, *_) = play(skill, lambda said: said[-1])
        assert [(sample.score, sample.turns) for sample in record.samples] == [(1.0, 2)] * 3

    def test_a_reply_that_comes_too_late_is_not_taken_for_the_next_ones(self):
        skill = built("hurries", {"optimization": 2, "test": 1})

        def reply(said):
            time.sleep(0.2)
            return said[-1]

        _, (record, *_) = play(skill, reply)
        assert [(sample.score, sample.turns) for sample in record.samples] == [(1.0, 2)] * 2

    def test_turns_that_are_used_up_end_all_that_is_still_to_be_asked(self):
        skill = built("asks_at_once", {"optimization": 3, "test": 1}, max_turns=2)
        _, (record, *_) = play(skill, lambda said: said[-1])
        assert [(sample.score, sample.turns) for sample in record.samples] == [(1.0, 2)] * 3


@needs_inspect
class TestFaultsOfTheTask:
    @pytest.mark.parametrize("by", ["qa", "fact"])
    def test_a_grader_that_is_the_scored_model_is_refused_when_the_task_is_loaded(self, by):
        with pytest.raises(DataUnavailable, match="name another model as its grader"):
            built(f"graded_by_itself?by={by}")

    @pytest.mark.parametrize("by", ["own", "quiet"])
    def test_a_scorer_that_asks_the_scored_model_is_refused_when_it_does(self, by):
        skill = built(f"graded_by_itself?by={by}", {"optimization": 2, "test": 1})
        with pytest.raises(DataUnavailable, match="name another model as its grader") as caught:
            play(skill, lambda _: "x")
        assert "\n" not in str(caught.value)

    def test_a_grader_that_cannot_be_asked_is_no_wrong_answer(self):
        skill = built("graded_by_what_is_not_there", {"optimization": 2, "test": 1})
        with pytest.raises(DataUnavailable, match=r"wants what is not here: .*[Mm]istral"):
            play(skill, lambda _: "x")

    def test_another_model_may_be_the_grader(self):
        skill = built("graded_by_another", {"optimization": 2, "test": 1})
        assert len(play(skill, lambda _: "x")[1].record.samples) == 2

    @pytest.mark.parametrize(("where", "error"), [("solver", "SystemExit"), ("scorer", "KeyboardInterrupt")])
    def test_code_that_ends_the_process_ends_its_sample_alone(self, where, error):
        skill = built(f"exits?where={where}", {"optimization": 3, "test": 1})
        _, (record, *_) = play(skill, lambda _: "x")
        assert [sample.score for sample in record.samples] == [0.0] * 3
        assert all(error in sample.reason for sample in record.samples), record.samples[0].reason

    def test_a_tool_that_ends_the_process_scores_nothing_or_is_refused(self):
        skill = built("exits?where=tool", {"optimization": 3, "test": 1})
        try:
            _, (record, *_) = play(skill, lambda _: '<tool_call>{"name": "leave", "arguments": {}}</tool_call>')
            came = [sample.score for sample in record.samples]
        except DataUnavailable as error:  # newer versions of inspect_ai run tools where nothing can hold that up
            came = str(error).partition("can't be played: ")[2]
        assert came in ([0.0] * 3, "SystemExit: 3")


@needs_inspect
@pytest.mark.docker
@pytest.mark.slow
def test_two_generations_of_a_search_over_tasks_with_a_real_engine(tmp_path):
    from cycleqd import steps
    from cycleqd.config import RunConfig
    from cycleqd.run.names import RunRef, expert_id
    from cycleqd.steps.workspace import opened
    from tests.adapters import save_adapter
    from tests.live_prefect import small_configuration
    from tests.steps.small_run import next_generation, score
    from tests.tiny_models import save_tied

    tasks = {"inspect:looks": f"{TASKS}@looks", "inspect:says": f"{TASKS}@says"}
    given = small_configuration(
        tmp_path,
        "tasks",
        generations=2,
        skills=[
            {"name": name, "data": data, "optimization": 2, "test": 1, "max_turns": 2} for name, data in tasks.items()
        ],
    )
    given["engine"] = {"kind": "transformers", "max_model_len": 8192, "batching": "strict"}
    base = tmp_path / "long"  # one token a character: descriptions of tools take thousands
    save_tied(base, max_position_embeddings=8192)
    given["model"]["name"] = str(base)
    given["experts"] = {
        "source": {name: str(save_adapter(base, tmp_path / name[-4:], seed=n)) for n, name in enumerate(tasks)}
    }
    config = RunConfig.model_validate(given)
    RunStore(config.storage, "tasks").open(config)
    with opened(RunRef(run_id="tasks", storage=config.storage)) as ws:
        for skill in config.skill_names:
            steps.take_expert(ws, skill)
        steps.derive_experts(ws)
        for individual in ("base", "average", *map(expert_id, config.skill_names)):
            score(ws.evaluator, individual, "optimization")
        steps.seed_archives(ws)
        for _ in range(2):
            assert next_generation(ws).scores.keys() == {"looks", "says"}
    store = RunStore(config.storage, "tasks")
    assert verify(store).faults == []
    logs = [key.split("/") for key in store.walk("logs") if key.endswith(".eval")]
    assert len(logs) == len({(individual, part) for _, individual, part, _ in logs}) == 2 * (4 + 2)

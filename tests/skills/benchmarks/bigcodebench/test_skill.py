"""BigCodeBench's verdicts in a real container, with problems of our own."""

import gzip
import json

import pytest

from cycleqd.sandbox import Limits, Sandboxes
from cycleqd.sandbox.images import image_tag
from cycleqd.skills.benchmarks.benchmark import DataUnavailable
from cycleqd.skills.benchmarks.bigcodebench import data, skill
from cycleqd.skills.benchmarks.bigcodebench.skill import BigCodeBenchSkill
from tests.skills.benchmarks.bigcodebench.problems import FOLDER, MEANS, WRITES, write_problems

docker = pytest.mark.docker
RIGHT = "    return pd.read_csv(io.StringIO(text)).mean().to_dict()"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_problems(tmp_path_factory.mktemp("data") / "BigCodeBench.jsonl", (MEANS, FOLDER, WRITES))


@pytest.fixture(scope="module")
def complete(path):
    return BigCodeBenchSkill("complete", path, image=image_tag("evalplus"))


@pytest.fixture(scope="module")
def judged(complete):
    """Judges a reply to a problem."""
    limits = Limits(memory_mb=512, pids=64)
    with Sandboxes(run_id="bigcodebench", limits=limits, max_containers=2) as pool, complete.session(pool) as session:

        def judge(sample, reply):
            episode = session.start(sample)
            try:
                assert episode.act(reply)
                return episode.judge()
            finally:
                episode.close()

        yield judge


@docker
@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_reference_passes(complete, judged, number):
    sample = complete.samples("test")[number]
    (reply,) = complete.gold_replies(sample)
    verdict = judged(sample, reply)
    assert verdict.score == 1.0, verdict.reason
    assert verdict.reason == f"{(2, 3, 1)[number]} tests"


def program(body, head="def task_func(text):"):
    return f"```python\n{head}\n{body}\n```"


@docker
@pytest.mark.parametrize(
    ("reply", "score", "said"),
    [
        (program(RIGHT), 1.0, "2 tests"),  # calibrated: the problem's own head has the imports
        (program("    return {'a': 2.0, 'b': 3.0}"), 0.0, "test_two: AssertionError"),
        (program("    return nowhere"), 0.0, "NameError"),
        ("I cannot.", 0.0, "no function task_func"),
        (program("    import os\n    os._exit(0)"), 0.0, "ended before its tests"),
        (program("    import sys\n    sys.exit(0)"), 0.0, "SystemExit"),
        (program("    return exit(0)"), 0.0, "'NoneType' object is not callable"),
        (program(f"    print('{json.dumps({'passed': True, 'reason': 'won'})}')\n    return 1"), 0.0, "test_one"),
        (
            program("    import os\n    if os.fork() == 0:\n        import time\n        time.sleep(60)\n" + RIGHT),
            1.0,
            "",
        ),
        (program("    return [bytearray(2**28) for _ in range(64)]"), 0.0, ""),
        (program("    import os, signal\n    os.kill(os.getppid(), signal.SIGKILL)\n    return 1"), 0.0, "Permission"),
        (program("    open('/root/here', 'w')\n    return 1"), 0.0, "PermissionError"),
        (program("    import urllib.request\n    return urllib.request.urlopen('http://1.1.1.1')"), 0.0, "URLError"),
    ],
)
def test_verdicts_on_replies_honest_and_hostile(complete, judged, reply, score, said):
    verdict = judged(complete.samples("test")[0], reply)
    assert verdict.score == score, verdict.reason
    assert said in verdict.reason


@docker
def test_a_program_without_an_end_is_ended(complete, judged, monkeypatch):
    monkeypatch.setattr(skill, "SECONDS", 5.0)
    verdict = judged(complete.samples("test")[0], program("    while True: pass"))
    assert (verdict.score, verdict.reason) == (0.0, "not within 5 s")


def test_the_variants_show_their_own_prompt(path, complete):
    instruct = BigCodeBenchSkill("instruct", path, image="x:1")
    for one, field in ((complete, "complete_prompt"), (instruct, "instruct_prompt")):
        (message,) = one.initial_messages(one.samples("test")[1])
        assert FOLDER[field].strip() in message["content"]
        assert "{problem}" not in message["content"]
    assert (instruct.name, instruct.images) == ("bigcodebench_instruct", ("x:1",))
    assert instruct.samples("optimization") == ()


def test_a_packed_file_holds_the_same_problems(path, tmp_path):
    packed = tmp_path / "BigCodeBench.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert data.read(packed) == data.read(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no problem"),
        ("{", "no file of BigCodeBench's problems"),
        ("[1]\n", "no file of BigCodeBench's problems"),
        (json.dumps(MEANS | {"test": None}), "problem 1 has no text test"),
        (json.dumps({"task_id": "x"}), "complete_prompt, instruct_prompt"),
        (f"{json.dumps(MEANS)}\n{json.dumps(MEANS)}\n", "a problem twice"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, content, said):
    file = tmp_path / "BigCodeBench.jsonl"
    file.write_text(content)
    with pytest.raises(DataUnavailable, match=said):
        data.read(file)


def test_the_hubs_problems_are_kept_and_fetched_once(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "cache_dir", lambda: tmp_path / "cache")
    asked = []

    def hub(name, split):
        asked.append((name, split))
        return [MEANS, FOLDER]

    monkeypatch.setattr("datasets.load_dataset", hub)
    path = data.download()
    assert data.download() == path
    assert asked == [("bigcode/bigcodebench", "v0.1.4")]
    assert [row["task_id"] for row in data.read(path)] == ["BigCodeBench/0", "BigCodeBench/1"]

    monkeypatch.setattr(data, "cache_dir", lambda: tmp_path / "other")
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: 1 / 0)
    with pytest.raises(DataUnavailable, match="the download of bigcode/bigcodebench failed"):
        data.download()

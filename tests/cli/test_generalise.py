import json
import sys

import pytest
from typer.testing import CliRunner

from cycleqd.cli import app, common
from cycleqd.config import RunConfig
from cycleqd.generalisation import playing, subjects
from cycleqd.run.genomes import add_individual
from cycleqd.run.records import IndividualRecord
from cycleqd.run.store import RunStore
from cycleqd.sandbox.images import image_tag
from tests.generalisation.conftest import write_data, write_lines
from tests.generalisation.own_tasks import EXACT, GENERATION, ROLLING, write_group, write_task
from tests.models.causal_lm.chat_server import ChatServer, completion
from tests.skills.benchmarks.bigcodebench.problems import write_problems
from tests.tiny_models import random_vector, save_tied

OURS = ("--engine", "transformers", "--max-model-len", "1024")


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch):
    monkeypatch.setattr(common.out, "width", 200)
    monkeypatch.setattr(common.err, "width", 200)
    monkeypatch.delenv("CYCLEQD_DATA_DIR", raising=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a random model, data, and a run whose experts are random, too."""
    folder = tmp_path_factory.mktemp("generalise")
    write_data(folder / "data")
    save_tied(folder / "model", max_position_embeddings=4096)
    settings = {"run_id": "small", "storage": str(folder / "runs"), "model": {"name": str(folder / "model")}}
    # What served the run need not be up any more.
    settings["engine"] = {"kind": "server", "urls": ["http://localhost:9/v1"], "batching": "throughput"}
    config = RunConfig.model_validate(settings | {"skills": [{"name": "coding"}, {"name": "os"}]})
    store = RunStore(config.storage, "small")
    store.open(config)
    for seed, name in enumerate(("expert-coding", "expert-os", "average")):
        vector = random_vector(folder / "model", seed=seed)
        add_individual(store, vector, IndividualRecord(id=name, genome=""))
    return folder


def call(place, *arguments):
    return CliRunner().invoke(app, ["generalise", *map(str, arguments), "--data", str(place / "data"), *OURS])


def table_in(folder):
    return json.loads((folder / "table3.json").read_text())


needs_harness = pytest.mark.skipif(
    not __import__("importlib.util").util.find_spec("lm_eval"),
    reason="lm-eval is not installed: pip install 'cycleqd[generalise]'",
)


@needs_harness
def test_models_of_a_run_are_scored_once_and_measured_by_their_base(place, tmp_path, monkeypatch):
    command = ("small", "--storage", place / "runs", "--benchmarks", "openbookqa,xwinograd", "--out", tmp_path)
    result = call(place, *command, "--limit", 4)
    assert result.exit_code == 0, result.output
    content = table_in(tmp_path)
    assert list(content["rows"]) == ["base", "coding expert", "os expert", "average"]
    assert content["data"] == {"openbookqa": "fixture", "xwinograd": "fixture"}
    for row in content["rows"].values():
        for cell in row.values():
            assert set(cell) == {"score", "low", "high", "n", "of_base"}
            assert cell["n"] == 4
            assert 0 <= cell["low"] <= cell["score"] <= cell["high"] <= 1
    assert "run small has no final yet" in result.stdout
    assert "OpenBookQA" in result.stdout

    def must_not_start(*_, **__):
        raise AssertionError("an engine was started although everything is scored")

    monkeypatch.setattr(subjects, "start_engine", must_not_start)
    again = call(place, *command, "--limit", 4)
    assert again.exit_code == 0, again.output
    assert table_in(tmp_path) == content


@needs_harness
def test_a_checkpoint_is_scored_beside_its_base(place, tmp_path):
    models = (place / "model", "--base", place / "model")
    result = call(place, *models, "--benchmarks", "openbookqa", "--limit", 3, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    rows = table_in(tmp_path)["rows"]
    assert list(rows) == ["base model", "model"]
    assert rows["model"]["openbookqa"] == rows["base model"]["openbookqa"]
    assert len(list((tmp_path / "scores/openbookqa").iterdir())) == 1  # the same weights: scored once


@needs_harness
def test_an_endpoint_is_scored_on_what_needs_no_log_likelihoods(place, tmp_path):
    def answer(body):
        assert body["messages"][-1]["content"].endswith("A:")
        return 200, completion("It is so. The answer is 2.\n\nQ: next?")

    with ChatServer(answer).running() as server:
        names = ["--benchmarks", "gsm8k", "--benchmarks", "openbookqa"]
        result = call(place, f"{server.url}#tiny", *names, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    content = table_in(tmp_path)
    assert list(content["rows"]["tiny"]) == ["gsm8k"]
    assert content["rows"]["tiny"]["gsm8k"]["score"] == pytest.approx(1 / 3)  # 1 + 1, and not 0 + 1 or 2 + 1
    assert "tiny only chats: what needs log-likelihoods is left out." in (tmp_path / "table3.md").read_text()


@needs_harness
def test_a_users_own_tasks_are_scored_beside_the_tables_and_kept(place, tmp_path, monkeypatch):
    write_task(tmp_path / "tasks", "choose")
    says = write_task(tmp_path / "files", "says", **GENERATION, **EXACT)
    write_task(tmp_path / "tasks", "rolls", **ROLLING)
    write_group(tmp_path / "tasks", "both", ["choose", "rolls"], aggregate_metric_list=None)
    names = ["--benchmarks", f"openbookqa,choose,both,{says}", "--include-path", tmp_path / "tasks"]
    command = (place / "model", "--base", place / "model", *names, "--limit", 4, "--out", tmp_path / "out")
    result = call(place, *command)
    assert result.exit_code == 0, result.output
    content = table_in(tmp_path / "out")
    row = content["rows"]["model"]
    assert list(row) == ["openbookqa", "choose", "rolls", "says"]
    assert content["data"] == {"openbookqa": "fixture", "choose": "part", "rolls": "part", "says": "part"}
    assert "metric" not in row["openbookqa"]
    assert row["choose"]["metric"] == "acc_norm"
    assert list(row["choose"]["metrics"]) == ["acc_norm", "acc"]
    assert row["choose"]["score"] == row["choose"]["metrics"]["acc_norm"]["score"]
    assert row["rolls"]["score"] > 1
    assert row["rolls"]["of_base"] is None  # less is better
    text = (tmp_path / "out/table3.md").read_text()
    assert "| choose, acc_norm | 2 | part | 4 |" in text
    assert "| · choose: acc |" in text
    monkeypatch.setattr(subjects, "start_engine", lambda *_, **__: pytest.fail("everything is scored"))
    assert call(place, *command).exit_code == 0
    assert table_in(tmp_path / "out") == content


@needs_harness
def test_an_endpoint_replies_to_a_users_own_task(place, tmp_path):
    says = write_task(tmp_path, "says", **GENERATION, **EXACT)
    with ChatServer(lambda _: (200, completion("yes\nQ: next"))).running() as server:
        result = call(place, f"{server.url}#tiny", "--benchmarks", says, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert table_in(tmp_path / "out")["rows"]["tiny"]["says"]["score"] == 0.5


@needs_harness
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--benchmarks", "arc_esy"], "no benchmark 'arc_esy'; did you mean arc_easy"),
        (["--benchmarks", "gsm8k", "--shots", "1"], "--shots is for other tasks of the harness"),
        (["--benchmarks", "gone.yaml"], "no benchmark 'gone.yaml': there is no such file"),
        (["--benchmarks", "x", "--include-path", "gone"], "--include-path gone: there is no such file or folder"),
    ],
)
def test_names_that_there_are_not_are_refused_in_one_line(place, tmp_path, options, said):
    result = call(place, place / "model", *options, "--out", tmp_path)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
    assert len(result.stderr.strip().splitlines()) == 1


@needs_harness
def test_data_that_cannot_be_had_end_the_command_before_a_model_is_loaded(place, tmp_path, monkeypatch):
    monkeypatch.setattr(subjects, "start_engine", lambda *_, **__: pytest.fail("a model was loaded"))
    bad = write_task(tmp_path, "bad", dataset_kwargs={"data_files": {"test": "gone.jsonl"}})
    result = call(place, place / "model", "--benchmarks", bad, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "Not scored: bad: its data (json) cannot be had" in " ".join(result.stderr.split())
    assert "gone.jsonl" in result.stderr


def test_on_a_cpu_vllm_writes_and_transformers_gives_log_likelihoods(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(subjects, "has_vllm", lambda: True)
    kinds = subjects.engines("auto")
    assert kinds == {"transformers": {"likelihood"}, "vllm": {"generation", "code"}}
    assert subjects.engines("transformers") == {"transformers": {"likelihood", "generation", "code"}}
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert subjects.engines("vllm") == {"vllm": {"likelihood", "generation", "code"}}


@needs_harness
def test_a_stopped_command_keeps_what_was_finished_and_goes_on_from_there(place, tmp_path, monkeypatch):
    score = playing.score
    scored = []

    def interrupted(prepared, model):
        if len(scored) == 1:
            raise KeyboardInterrupt
        scored.append(prepared.benchmark.name)
        return score(prepared, model)

    command = (place / "model", "--benchmarks", "openbookqa,xwinograd", "--limit", 2, "--out", tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(playing, "score", interrupted)
        stopped = call(place, *command)
    assert stopped.exit_code == common.INTERRUPTED
    assert "goes on from there" in " ".join(stopped.stderr.split())
    assert scored == ["openbookqa"]
    monkeypatch.setattr(playing, "score", lambda *given: scored.append(given[0].benchmark.name) or score(*given))
    assert call(place, *command).exit_code == 0
    assert scored == ["openbookqa", "xwinograd"]


@needs_harness
def test_a_benchmark_that_cannot_be_had_is_named_and_the_others_are_scored(place, tmp_path, monkeypatch):
    def no_hub(*_, **__):
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr("datasets.load_dataset", no_hub)
    data = tmp_path / "data"
    data.mkdir()
    (data / "openbookqa.json").symlink_to(place / "data/openbookqa.json")
    command = ["generalise", str(place / "model"), "--benchmarks", "openbookqa,triviaqa", "--data", str(data)]
    result = CliRunner().invoke(app, [*command, "--limit", "2", "--out", str(tmp_path / "out"), *OURS])
    assert result.exit_code == 0, result.output
    assert "TriviaQA: no local copy" in " ".join(result.stderr.split())
    assert "no route to the hub" in (tmp_path / "out/table3.md").read_text()
    assert list(table_in(tmp_path / "out")["data"]) == ["openbookqa"]


@pytest.mark.docker
def test_generated_programs_are_graded_in_the_sandbox(place, tmp_path):
    task = {
        "task_id": "HumanEval/0",
        "prompt": 'def add(a, b):\n    """Adds."""\n',
        "entry_point": "add",
        "canonical_solution": "    return a + b\n",
        "base_input": [[1, 2]],
        "plus_input": [[-1, 1], [2, 2]],
        "atol": 0,
    }
    tasks = [task, task | {"task_id": "HumanEval/1", "plus_input": [[3, 3]]}, task | {"task_id": "HumanEval/2"}]
    data = tmp_path / "code"
    data.mkdir()
    write_lines(data / "HumanEvalPlus.jsonl", tasks)

    def answer(body):
        assert "def add(a, b):" in body["messages"][-1]["content"]
        return 200, completion("```python\ndef add(a, b):\n    return a + b if a < 3 else 3\n```")

    with ChatServer(answer).running() as server:
        command = ["generalise", f"{server.url}#tiny", "--benchmarks", "humaneval_plus", "--data", str(data)]
        result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert table_in(tmp_path / "out")["data"] == {"humaneval_plus": "fixture"}
    assert "| HumanEval+ | 0 | fixture | 3 |" in (tmp_path / "out/table3.md").read_text()
    cell = table_in(tmp_path / "out")["rows"]["tiny"]["humaneval_plus"]
    assert (cell["n"], cell["score"]) == (3, pytest.approx(2 / 3))  # one passes the base tests alone


def test_without_the_harness_one_line_says_how_it_is_installed(place, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    result = call(place, place / "model", "--benchmarks", "gsm8k", "--out", tmp_path)
    assert result.exit_code == 2
    assert "pip install 'cycleqd[generalise]'" in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.docker
def test_programs_that_call_libraries_are_graded_in_the_image_that_is_named(place, tmp_path):
    write_problems(tmp_path / "BigCodeBench.jsonl")

    def answer(body):
        asked = body["messages"][-1]["content"]
        name, body = ("text", "eval(text)") if "CSV" in asked else ("name", "os.makedirs(name) or os.listdir(name)")
        return 200, completion(f"```python\ndef task_func({name}):\n    return {body}\n```")

    with ChatServer(answer).running() as server:
        command = ["generalise", f"{server.url}#tiny", "--benchmarks", "bigcodebench_complete,bigcodebench_instruct"]
        options = ["--data", str(tmp_path), "--image", image_tag("evalplus"), "--out", str(tmp_path / "out")]
        result = CliRunner().invoke(app, [*command, *options])
    assert result.exit_code == 0, result.output
    content = table_in(tmp_path / "out")
    row = content["rows"]["tiny"]
    assert content["data"] == {"bigcodebench_complete": "fixture", "bigcodebench_instruct": "fixture"}
    assert {name: (cell["n"], cell["score"]) for name, cell in row.items()} == {
        "bigcodebench_complete": (2, 0.5),
        "bigcodebench_instruct": (2, 0.5),
    }


@pytest.mark.docker
def test_without_their_image_programs_are_not_graded_and_the_reason_is_told(place, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    write_problems(data / "BigCodeBench.jsonl")
    command = ["generalise", str(place / "model"), "--benchmarks", "bigcodebench_complete", "--data", str(data)]
    options = ["--image", "localhost:9/no-such-image:1", "--out", str(tmp_path / "out"), *OURS]
    result = CliRunner().invoke(app, [*command, *options])
    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    assert "BigCodeBench Complete: its programs want their image (--image names another)" in said
    assert "localhost:9/no-such-image:1 cannot be had" in said


@pytest.mark.parametrize(
    ("model", "said"),
    [("no-such-run", "no run 'no-such-run'"), ("http://localhost:1/v1", "which model?"), ("http://#x", "endpoint")],
)
def test_models_that_there_are_not_are_refused_in_one_line(place, tmp_path, model, said):
    result = call(place, model, "--storage", place / "runs", "--benchmarks", "humaneval_plus", "--out", tmp_path)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())

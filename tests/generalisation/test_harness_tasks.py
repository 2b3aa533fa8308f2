"""Any task of lm-evaluation-harness: what is asked, and what is refused before a model is loaded."""

import pytest
import yaml

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'cycleqd[generalise]'")

from cycleqd.generalisation.catalogue import chosen, harness_folder
from cycleqd.generalisation.harness_tasks import prepare_tasks
from cycleqd.skills.benchmarks.benchmark import DataUnavailable
from tests.generalisation.conftest import write_lines
from tests.generalisation.own_tasks import EXACT, GENERATION, LAST_WORD, UTILS, write_group, write_task


def prepared(folder, name, **options):
    (task,) = chosen([name], [folder])
    return prepare_tasks(task, **options)


@pytest.fixture
def folder(tmp_path):
    write_task(tmp_path, "one")
    write_task(tmp_path, "two", num_fewshot=0)
    write_task(tmp_path, "says", **GENERATION, **EXACT)
    return tmp_path


def test_a_task_is_asked_as_its_yaml_says(folder):
    (one,) = prepared(folder, "one")
    assert (one.benchmark.kind, one.benchmark.shots, one.benchmark.metric) == ("likelihood", 2, "acc_norm")
    assert (one.problems, one.state, one.source) == (24, "full", "one-train.jsonl, one-test.jsonl")
    (says,) = prepared(folder, "says")
    assert says.benchmark.kind == "generation"


def test_a_limit_takes_a_part_and_few_problems_are_a_fixture(folder):
    (part,) = prepared(folder, "one", limit=4)
    assert (part.state, part.chosen) == ("part", {"one": [0, 6, 12, 18]})
    (folder / "two-test.jsonl").write_text((folder / "two-test.jsonl").read_text().split("\n")[0] + "\n")
    assert prepared(folder, "two")[0].state == "fixture"


def test_shots_are_the_tasks_unless_told_otherwise_and_none_stays_none(folder):
    assert prepared(folder, "one", shots=4)[0].benchmark.shots == 4
    assert prepared(folder, "two", shots=4)[0].benchmark.shots == 0


def test_a_group_with_a_score_is_one_row_and_others_are_a_row_a_task(folder):
    write_group(folder, "both", ["one", "two"])
    write_group(folder, "loose", ["one", "says"], aggregate_metric_list=None)
    write_group(folder, "nested", ["both", {"group": "inner", "task": ["says"]}], aggregate_metric_list=None)
    (both,) = prepared(folder, "both", limit=5)
    assert (both.benchmark.name, {name: len(numbers) for name, numbers in both.chosen.items()}) == (
        "both",
        {"one": 3, "two": 2},
    )
    assert [one.benchmark.name for one in prepared(folder, "loose")] == ["one", "says"]
    assert [one.benchmark.name for one in prepared(folder, "nested")] == ["one", "two", "says"]


def test_members_may_have_settings_of_their_own_or_be_written_whole(folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    whole = yaml.safe_load((folder / "one.yaml").read_text()) | {"task": "inside", "num_fewshot": 1}
    write_group(folder, "mine", [{"task": "one", "num_fewshot": 3}, whole, {"group": "inner", "task": ["two"]}])
    (mine,) = prepared(folder, "mine")
    assert {name: task.get_config("num_fewshot") for name, task in mine.tasks.items()} == {
        "one": 3,
        "mine::inside": 1,
        "two": 0,
    }
    write_group(folder, "theirs", [{"task": "arc_easy", "num_fewshot": 3}])
    with pytest.raises(DataUnavailable, match="ai2_arc"):  # it was found, and the hub cannot be reached
        prepared(folder, "theirs")


def test_a_task_of_the_harness_is_asked_on_a_users_own_data(folder):
    shipped = harness_folder() / "gsm8k/gsm8k.yaml"
    write_lines(folder / "sums.jsonl", [{"question": f"{n} + 1?", "answer": f"#### {n + 1}"} for n in range(25)])
    data = {"test": str(folder / "sums.jsonl"), "train": str(folder / "sums.jsonl")}
    settings = {"include": str(shipped), "task": "sums", "dataset_path": "json", "dataset_name": None}
    (folder / "sums.yaml").write_text(yaml.safe_dump(settings | {"dataset_kwargs": {"data_files": data}}))
    (sums,) = prepared(folder, "sums")
    assert (sums.benchmark.kind, sums.benchmark.shots, sums.problems) == ("generation", 5, 25)


def test_a_tag_is_its_tasks(folder):
    for name in ("red", "blue"):
        write_task(folder, name, tag=["colours"])
    assert [one.benchmark.name for one in prepared(folder, "colours")] == ["blue", "red"]


def test_what_is_kept_is_found_again_and_not_after_a_change_of_all_that_counts(folder):
    (folder / "utils.py").write_text(UTILS)
    own = {**GENERATION, "process_results": "!function utils.judge", "metric_list": [{"metric": "right"}]}
    own["metric_list"][0] |= {"aggregation": "mean", "higher_is_better": True}
    write_task(folder, "judged", **own)
    first = prepared(folder, "judged")[0].identity
    assert prepared(folder, "judged")[0].identity == first
    assert prepared(folder, "judged", limit=3)[0].identity != first
    assert prepared(folder, "judged", shots=1)[0].identity != first
    for path, old, new in (
        ("judged.yaml", "max_gen_toks: 12", "max_gen_toks: 11"),
        ("judged-train.jsonl", "Is 1 even", "Is 1 odd"),
        ("judged-test.jsonl", "Is 7 even", "Is 7 odd"),
        ("utils.py", "strip()", "strip('.')"),
    ):
        before, text = prepared(folder, "judged")[0].identity, (folder / path).read_text()
        assert old in text
        (folder / path).write_text(text.replace(old, new))
        assert prepared(folder, "judged")[0].identity != before, path


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dataset_kwargs": {"data_files": {"test": "gone.jsonl"}}}, r"its data \(json\) cannot be had .*gone.jsonl"),
        ({"dataset_path": "no/such-data", "dataset_kwargs": None}, r"its data \(no/such-data\) cannot be had"),
        ({"test_split": "validation"}, "cannot be had"),
        ({"doc_to_text": "{{nothing"}, "cannot be"),
        ({"doc_to_choice": "{{gone}}"}, "cannot be"),
        ({"output_type": "poetry"}, "cannot be had .*poetry"),
        ({"metric_list": [{"metric": "no_such_metric"}]}, "cannot be had"),
        ({"num_fewshot": 20}, "its problems cannot be put"),
        ({"unsafe_code": True}, "runs the model's programs on this machine"),
        ({**GENERATION, **EXACT, "generation_kwargs": {"do_sample": True, "temperature": 0.7}}, "decode greedily"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line_before_a_model_is_loaded(folder, monkeypatch, settings, said):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    write_task(folder, "bad", **settings)
    with pytest.raises(DataUnavailable, match=said) as caught:
        prepared(folder, "bad")
    assert str(caught.value).startswith("bad: ")
    assert "\n" not in str(caught.value)


def test_a_group_may_name_the_harness_own_and_nothing_that_is_not_there(folder, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    write_group(folder, "mixed", ["one", "arc_easy"])
    with pytest.raises(DataUnavailable, match="ai2_arc"):  # it was found, and the hub cannot be reached
        prepared(folder, "mixed")
    write_group(folder, "wrong", ["one", "tow"])
    with pytest.raises(DataUnavailable, match=r"wrong names 'tow', which is no task or group; did you mean .*two"):
        prepared(folder, "wrong")


def test_a_task_of_likelihoods_and_text_wants_an_engine_with_both(folder):
    write_task(folder, "last", **LAST_WORD)
    write_group(folder, "mixed", ["last", "says"])
    assert prepared(folder, "mixed")[0].benchmark.kind == "likelihood"

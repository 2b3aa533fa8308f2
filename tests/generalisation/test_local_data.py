import json

import pytest

from cycleqd.generalisation import local_data
from cycleqd.generalisation.catalogue import UnknownBenchmark, chosen
from cycleqd.generalisation.definitions import benchmarks
from cycleqd.skills.benchmarks.benchmark import DataUnavailable


def read(folder, name):
    return local_data.read(name, local_data.find(name, benchmarks()[name].local, str(folder)))


def test_the_papers_table_has_eleven_benchmarks():
    assert [benchmark.title for benchmark in chosen([])] == [
        *("HumanEval+", "BigCodeBench Complete", "BigCodeBench Instruct", "MMLU", "BBH", "GSM8K", "SQuAD2"),
        *("TriviaQA", "HellaSwag", "OpenBookQA", "XWinograd (en)"),
    ]
    assert [benchmarks()[name].shots for name in ("mmlu", "bbh", "gsm8k", "squad2", "triviaqa")] == [5, 3, 4, 4, 4]


def test_benchmarks_are_chosen_by_name_in_the_tables_order():
    assert [benchmark.name for benchmark in chosen(["gsm8k", "mmlu"])] == ["mmlu", "gsm8k"]
    with pytest.raises(UnknownBenchmark, match="did you mean gsm8k"):
        chosen(["gsm8"])


@pytest.mark.parametrize(("problems", "state"), [(1319, "full"), (660, "part"), (20, "part"), (19, "fixture")])
def test_how_many_problems_are_at_hand_decides_what_the_data_are(problems, state):
    assert benchmarks()["gsm8k"].state(problems) == state


def test_local_files_are_found_in_the_folder_or_its_generalisation_part(data_folder, tmp_path, monkeypatch):
    assert [path.name for path in local_data.find("gsm8k", ["gsm8k*.jsonl"], str(data_folder))] == ["gsm8k-test.jsonl"]
    (tmp_path / "all").mkdir()
    data_folder.rename(tmp_path / "all/generalisation")
    monkeypatch.setenv("CYCLEQD_DATA_DIR", str(tmp_path / "all"))
    assert [path.name for path in local_data.find("gsm8k", ["gsm8k*.jsonl"], None)] == ["gsm8k-test.jsonl"]
    assert local_data.find("gsm8k", ["nothing*"], None) == []
    with pytest.raises(DataUnavailable, match="neither a file nor a folder"):
        local_data.find("gsm8k", ["gsm8k*"], str(tmp_path / "gone"))


def test_questions_in_words_become_the_hubs_fields(data_folder):
    first = read(data_folder, "openbookqa")["openbookqa"]["test"][1]
    assert first["question_stem"] == "Sun 1 is"
    assert first["choices"]["text"] == ["hot", "not so cold", "blue: yes", "far"]
    assert first["choices"]["label"].index(first["answerKey"]) == 1


def test_winograd_sentences_get_a_gap_at_the_pronoun_that_is_meant(data_folder):
    row = read(data_folder, "xwinograd")["xwinograd_en"]["test"][3]
    assert row == {
        "sentence": "They saw the dogs when _ came at 3.",
        "option1": "people",
        "option2": "the dogs",
        "answer": "2",
    }


def test_articles_become_questions_with_their_passages(data_folder):
    answered, open_ = read(data_folder, "squad2")["cycleqd_squad2"]["validation"][:2]
    assert answered["answers"]["text"] == ["Rome"]
    assert open_["answers"]["text"] == []
    assert answered["context"] == "Ann lives in Rome."


HUB_ROWS = {
    "triviaqa": {"question": "Who?", "answer": {"aliases": ["He"]}},
    "openbookqa": {"question_stem": "Sun is", "choices": {"text": ["hot"], "label": ["A"]}, "answerKey": "A"},
    "xwinograd-en": {"sentence": "a _ b", "option1": "c", "option2": "d", "answer": "1"},
}


@pytest.mark.parametrize("stem", HUB_ROWS)
def test_rows_as_the_hub_has_them_are_taken_as_they_are(stem, tmp_path):
    (tmp_path / f"{stem}.jsonl").write_text(json.dumps(HUB_ROWS[stem]) + "\n")
    [splits] = read(tmp_path, stem.removesuffix("-en")).values()
    assert [row for rows in splits.values() for row in rows] == [HUB_ROWS[stem]]


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"data": 3}', "no json", '[{"question": 1}]'])
@pytest.mark.parametrize("name", ["bbh", "triviaqa", "squad2", "hellaswag", "openbookqa"])
def test_a_file_of_another_form_is_refused_by_name(name, content, tmp_path):
    path = tmp_path / f"{name}.json"
    path.write_text(content)
    with pytest.raises(DataUnavailable, match=rf"{name}: .*{name}\.json"):
        local_data.read(name, [path])

"""Names of benchmarks: the table's, the harness' and a user's own."""

import sys

import pytest

from cycleqd.generalisation.catalogue import TaskName, UnknownBenchmark, chosen, harness_names
from cycleqd.generalisation.definitions import benchmarks
from tests.generalisation.own_tasks import write_group, write_task

needs_harness = pytest.mark.skipif(
    not __import__("importlib.util").util.find_spec("lm_eval"),
    reason="lm-eval is not installed: pip install 'cycleqd[generalise]'",
)


def names(found):
    return [one.name for one in found]


def test_without_names_all_of_the_table_are_meant():
    assert names(chosen([])) == list(benchmarks())


@needs_harness
@pytest.mark.parametrize("name", ["arc_easy", "ai2_arc", "lambada_openai", "wikitext", "afrixnli", "mmlu_anatomy"])
def test_tasks_groups_and_tags_of_the_harness_are_found_by_name(name):
    assert chosen([name]) == [TaskName(name, name)]


@needs_harness
def test_the_tables_own_go_before_the_harness_unless_a_prefix_says_otherwise():
    assert chosen(["gsm8k"]) == [benchmarks()["gsm8k"]]
    assert chosen(["lm_eval:gsm8k"]) == [TaskName("lm_eval:gsm8k", "gsm8k")]
    assert names(chosen(["arc_easy", "hellaswag", "mmlu"])) == ["mmlu", "hellaswag", "arc_easy"]


def test_a_users_own_go_before_the_tables(tmp_path):
    write_task(tmp_path, "gsm8k")
    write_group(tmp_path, "mine", ["gsm8k", "mmlu"])
    assert chosen(["gsm8k", "mine", "mmlu"], [tmp_path]) == [
        benchmarks()["mmlu"],  # the group names it, and does not define it
        TaskName("gsm8k", "gsm8k", (tmp_path,)),
        TaskName("mine", "mine", (tmp_path,)),
    ]


def test_a_file_is_named_by_its_path_or_included(tmp_path):
    path = write_task(tmp_path, "own", tag="mine")
    assert chosen([str(path)]) == chosen(["own"], [path]) == [TaskName("own", str(path))]
    group = write_group(tmp_path, "both", ["own"])
    assert chosen([str(group)]) == [TaskName("both", "both", (tmp_path,))]
    assert chosen(["mine"], [tmp_path]) == [TaskName("mine", "mine", (tmp_path,))]


@needs_harness
@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("arc_esy", "arc_easy"),
        ("gms8k", "gsm8k"),
        ("GSM8K", "gsm8k"),
        ("humanevalplus", "humaneval_plus"),
        ("my_tsk", "my_task"),
    ],
)
def test_an_unknown_name_is_refused_with_near_ones(tmp_path, given, near):
    write_task(tmp_path, "my_task")
    with pytest.raises(UnknownBenchmark, match=f"no benchmark '{given}'; did you mean .*{near}") as caught:
        chosen([given], [tmp_path])
    assert "\n" not in str(caught.value)


@needs_harness
@pytest.mark.parametrize("word", ["generate_until", "dataset_path", "-", "none", "zzzzzz"])
def test_words_of_yaml_files_that_are_no_names_are_refused(word):
    with pytest.raises(UnknownBenchmark):
        chosen([word])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("task: [unclosed", "cannot be read as YAML"),
        ("- a list", "has settings"),
        ("dataset_path: json", "give it a name"),
        ("task: {}", "give it a name"),
        ("\udcff", "cannot be read as YAML"),
    ],
)
def test_a_file_that_is_no_task_is_refused_in_one_line(tmp_path, content, said):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UnknownBenchmark, match=said) as caught:
        chosen([str(path)])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_without_tasks_and_paths_that_are_not_there_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(UnknownBenchmark, match="--include-path"):
            chosen(["x"], [path])
    with pytest.raises(UnknownBenchmark, match="no such file"):
        chosen([str(tmp_path / "gone.yaml")])
    write_task(tmp_path, "own")
    with pytest.raises(UnknownBenchmark, match=r"which tasks of --include-path.* there are own"):
        chosen([], [tmp_path])


def test_a_broken_file_in_a_folder_is_named_to_who_looks_for_a_name_in_vain(tmp_path):
    write_task(tmp_path, "own")
    (tmp_path / "bad.yaml").write_text("task: [unclosed")
    (tmp_path / "list.yaml").write_text("- no task")
    assert names(chosen(["own"], [tmp_path])) == ["own"]
    with pytest.raises(UnknownBenchmark, match=r"no benchmark 'bad'.*bad\.yaml cannot be read as YAML"):
        chosen(["bad"], [tmp_path])


def test_a_name_may_stand_in_an_included_file(tmp_path):
    write_task(tmp_path, "own")
    child = tmp_path / "child.yml"
    child.write_text("include: own.yaml\nnum_fewshot: 0\n")
    assert chosen([str(child)]) == [TaskName("own", str(child))]
    child.write_text("include: gone.yaml\ntask: x\n")
    with pytest.raises(UnknownBenchmark, match=r"includes gone\.yaml, which is not there"):
        chosen([str(child)])
    child.write_text("include: child.yml\ntask: x\n")
    with pytest.raises(UnknownBenchmark, match="includes itself"):
        chosen([str(child)])


def test_two_files_of_one_name_are_refused(tmp_path):
    write_task(tmp_path / "a", "own")
    write_task(tmp_path / "b", "own")
    with pytest.raises(UnknownBenchmark, match="both define 'own': rename one"):
        chosen(["own"], [tmp_path])
    assert names(chosen(["own"], [tmp_path / "a", tmp_path / "b"])) == ["own"]  # the later folder's


def test_without_the_harness_an_unknown_name_says_how_it_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    harness_names.cache_clear()
    try:
        with pytest.raises(UnknownBenchmark, match=r"pip install 'cycleqd\[generalise\]'"):
            chosen(["arc_easy"])
    finally:
        harness_names.cache_clear()

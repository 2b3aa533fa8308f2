import pytest

from cycleqd.config import ConfigError
from cycleqd.experiment.plan import SHIPPED, load_experiment, merged, planned_runs, samples_of_a_child


def write(tmp_path, text):
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    return str(path)


PLAN = """
name: mine
seeds: [4, 5]
children: 6
methods:
  cycleqd: {}
  ours: {search: {kind: surrogate, block: 8}}
"""


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_experiment_gives_all_methods_the_same_number_of_episodes(name):
    experiment = load_experiment(name)
    budgets = {config.generations * samples_of_a_child(config) for _, _, config in planned_runs(experiment)}
    assert len(budgets) == 1
    assert not set(experiment.seeds) & set(experiment.tuned_on)


def test_a_method_with_smaller_blocks_gets_more_generations(tmp_path):
    runs = list(planned_runs(load_experiment(write(tmp_path, PLAN))))
    assert [(run.method, run.seed) for run in runs] == [("cycleqd", 4), ("ours", 4), ("cycleqd", 5), ("ours", 5)]
    assert [run.config.generations for run in runs] == [6, 12, 6, 12]  # the demo's children meet 16 samples a skill
    assert [run.config.run_id for run in runs] == ["mine-cycleqd-4", "mine-ours-4", "mine-cycleqd-5", "mine-ours-5"]
    assert {run.config.seed for run in runs} == {4, 5}


def test_seeds_on_which_somebody_tuned_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"settings were chosen on seeds \[5\]"):
        load_experiment(write(tmp_path, PLAN + "tuned_on: [5, 6]\n"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("ours: nobody\n", "there is no method 'nobody'"),
        ("colour: red\n", "colour"),
        ("settings: {grid: {bins: 0}}\n", "grid.bins"),
        ("settings: {generations: 9}\n", "settings: .*generations follows from the experiment's children"),
        ("  late: {seed: 3}\n", "methods.late: .*seed follows from the experiment's seeds"),
        ("  late: {run_id: other}\n", "methods.late: .*run_id follows from the experiment's name"),
        ("  late: {storage: other}\n", "methods.late: .*storage follows from the experiment's storage"),
        ("settings: {search: {block: 9}, skills: [{name: os, optimization: 24}]}\n", "does not divide the budget"),
    ],
)
def test_faults_are_told_before_anything_is_played(tmp_path, change, told):
    with pytest.raises(ConfigError, match=told):
        load_experiment(write(tmp_path, PLAN + change))


def test_a_name_that_is_no_experiment_is_told_with_those_that_there_are():
    with pytest.raises(ConfigError, match="no such file; the shipped experiments are table1, table2, table5, beyond"):
        load_experiment("nope")


def test_sections_are_merged_and_everything_else_is_replaced():
    base = {"search": {"kind": "cycleqd", "block": 4}, "skills": [1, 2], "seed": 0}
    assert merged(base, {"search": {"kind": "qd"}, "skills": [3]}) == {
        "search": {"kind": "qd", "block": 4},
        "skills": [3],
        "seed": 0,
    }


def test_the_subject_is_the_last_method_unless_named(tmp_path):
    assert load_experiment(write(tmp_path, PLAN)).subject == "ours"
    named = write(tmp_path, PLAN + "ours: cycleqd\n")
    assert load_experiment(named).subject == "cycleqd"
    assert load_experiment(named, methods=["ours"]).subject == "ours"
    assert list(load_experiment(named, methods=["ours"]).methods) == ["ours"]
    assert load_experiment(named, methods=["ours"]).others == ("cycleqd",)

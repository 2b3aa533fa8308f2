"""Results over synthetic runs, whose test scores are known."""

import json

import pytest

from cycleqd.experiment.plan import ExperimentConfig, planned_runs
from cycleqd.experiment.results import OtherPlan, collect, measure, pooled, read_lines, table_of
from cycleqd.experiment.tables import to_figure, to_json, to_lines, to_markdown
from cycleqd.report import summarise
from cycleqd.run.store import RunStore
from tests.report.synthetic import evaluate, synthetic_run

METHODS = ("cycleqd", "ours")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Two methods on two seeds; ours is better."""
    storage = str(tmp_path_factory.mktemp("runs"))
    plan = ExperimentConfig(
        name="mine", storage=storage, seeds=(7, 8), children=6, methods={name: {} for name in METHODS}
    )
    for method, _, config in planned_runs(plan):
        store = synthetic_run(storage, run_id=config.run_id)
        final = store.individual("aggregate").genome
        for skill in config.skill_names:
            store.remove(f"evaluations/{final}/{skill}-test.json")
            evaluate(store, final, {skill: 0.8 if method == "ours" else 0.3}, skill, "test")
        # Of the report only the summary, which is all that is collected: figures take five seconds each time.
        store.write_json("report/summary.json", summarise(store).model_dump(mode="json"))
    return plan


def test_rows_are_means_over_seeds_skills_and_samples(experiment):
    results = collect(experiment)
    assert results.seeds == [7, 8]
    assert results.unfinished == []
    for method in METHODS:
        means = [
            summarise(RunStore(experiment.storage, f"mine-{method}-{seed}")).mean("test", "cycleqd") for seed in (7, 8)
        ]
        row = results.rows[method]
        assert row.mean == pytest.approx(sum(means) / 2)
        assert list(row.seeds.values()) == means
        assert row.low < row.mean < row.high
        assert row.mean == pytest.approx(sum(row.skills.values()) / len(row.skills))
    assert {"base", "average", "expert:os"} <= results.rows.keys()


def test_differences_are_ours_minus_each_other_with_an_interval(experiment):
    results = collect(experiment)
    gap = results.differences["ours-cycleqd"]
    assert gap.mean == pytest.approx(results.rows["ours"].mean - results.rows["cycleqd"].mean)
    assert 0 < gap.low < gap.mean < gap.high
    assert "ours-ours" not in results.differences


def copies(lines, seeds, **changes):
    return [line.model_copy(update={"seed": seed, **changes}) for seed in seeds for line in lines if line.seed == 7]


def widths(results):
    return [one.high - one.low for one in (*results.rows.values(), *results.differences.values())]


def test_further_seeds_on_the_same_samples_add_no_samples(experiment):
    lines = measure(experiment)
    one, three = (table_of(experiment.model_copy(update={"seeds": s}), copies(lines, s)) for s in ((7,), (7, 8, 9)))
    assert widths(three) == pytest.approx(widths(one))


def test_further_seeds_on_samples_of_their_own_narrow_the_intervals(experiment):
    seeds = (7, 8, 9)
    lines = measure(experiment)
    own = [line for seed in seeds for line in copies(lines, (seed,), data=dict.fromkeys(lines[0].scores, str(seed)))]
    plan = experiment.model_copy(update={"seeds": seeds})
    shared = widths(table_of(plan, copies(lines, seeds)))
    assert all(narrow < 0.8 * wide for narrow, wide in zip(widths(table_of(plan, own)), shared, strict=True))


def test_lines_of_older_versions_share_samples_where_those_of_all_skills_are_the_same(experiment):
    seeds = (7, 8, 9)
    lines, plan = measure(experiment), experiment.model_copy(update={"seeds": seeds})
    assert table_of(plan, copies(lines, seeds, data={})) == table_of(plan, copies(lines, seeds))
    mixed = copies(lines, (7,), data={}) + copies(lines, (8, 9))
    assert table_of(plan, mixed) == table_of(plan, copies(lines, seeds))


def test_a_seed_counts_only_when_every_method_is_finished(experiment):
    more = experiment.model_copy(update={"seeds": (7, 8, 9)})
    results = collect(more)
    assert results.seeds == [7, 8]
    assert results.unfinished == ["mine-cycleqd-9", "mine-ours-9"]
    assert "Unfinished runs: mine-cycleqd-9" in to_markdown(results)


def test_without_a_finished_seed_nothing_is_claimed(experiment):
    results = collect(experiment.model_copy(update={"seeds": (9,)}))
    assert results.rows == results.differences == {}
    assert "No seed is finished" in to_markdown(results)
    with pytest.raises(ValueError, match="no seed is finished"):
        to_figure(results)


def test_the_table_is_written_for_people_and_programs(experiment):
    results = collect(experiment)
    text = to_markdown(results)
    assert f"| ours | {100 * results.rows['ours'].mean:.1f} |" in text
    lines = [json.loads(line) for line in to_lines(measure(experiment)).splitlines()]
    assert {(line["method"], line["seed"]) for line in lines} >= {("ours", 7), ("cycleqd", 8)}
    assert all(line["mean"] == results.rows[line["method"]].seeds[line["seed"]] for line in lines)
    row = json.loads(to_json(results))["rows"]["ours"]
    assert {name: row[name] for name in row["skills"]} == row["skills"]
    assert {"mean", "low", "high"} < row.keys()
    assert to_figure(results).startswith(b"\x89PNG")
    assert type(results).model_validate_json(results.model_dump_json()) == results


def test_seeds_of_another_machine_give_the_table_that_one_machine_would_give(experiment, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(to_lines(line for line in measure(experiment) if line.seed == 8))
    here = experiment.model_copy(update={"seeds": (7,)})
    results = collect(here, read_lines(path, here))
    assert results == collect(experiment)
    assert results.seeds == [7, 8]


def test_a_seed_is_taken_whole_from_the_machine_that_has_all_methods(experiment, tmp_path):
    own = measure(experiment)
    theirs = [line.model_copy(update={"mean": 0.0}) for line in own]
    half = [line for line in own if (line.seed, line.method) != (8, "ours")]
    counted = pooled(experiment, half, theirs)
    assert [line for line in counted if line.seed == 7] == [line for line in own if line.seed == 7]
    assert [line for line in counted if line.seed == 8] == [line for line in theirs if line.seed == 8]


@pytest.mark.parametrize(
    "change", [{"children": 12}, {"methods": {"cycleqd": {}, "ours": {"mutation": {"kind": "none"}}}}]
)
def test_what_was_measured_with_other_settings_is_not_pooled(experiment, tmp_path, change):
    path = tmp_path / "mine.jsonl"
    path.write_text(to_lines(measure(experiment)))
    values = experiment.model_dump() | change
    with pytest.raises(OtherPlan, match="other settings or another budget"):
        read_lines(path, ExperimentConfig.model_validate(values))


@pytest.mark.parametrize("text", ["no json", '{"experiment": "mine"}', "\udcff"])
def test_a_file_that_holds_no_results_is_refused_by_name(experiment, tmp_path, text):
    path = tmp_path / "wrong.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(OtherPlan, match=r"wrong\.jsonl holds no results"):
        read_lines(path, experiment)
    with pytest.raises(OtherPlan, match=r"missing\.jsonl"):
        read_lines(tmp_path / "missing.jsonl", experiment)


def test_models_that_met_other_samples_are_not_compared(experiment):
    lines = [
        line.model_copy(update={"seed": 9, "samples": "others" if line.method == "ours" else line.samples})
        for line in measure(experiment)
        if line.seed == 8
    ]
    with pytest.raises(OtherPlan, match="met other samples with seed 9"):
        collect(experiment, lines)

"""Baselines on small real task vectors; everything is real but the engine, whose scores are drawn by ids."""

import json
import math
from types import SimpleNamespace

import pytest

from cycleqd import steps
from cycleqd.baselines import candidates, choices
from cycleqd.config import ArchiveConfig, BaselineConfig, RunConfig, SearchConfig
from cycleqd.report import replay, summarise, write_report
from cycleqd.report.tables import baseline_table, headline, row_name, score_table
from cycleqd.report.write import read_summary
from cycleqd.run.genomes import task_vector
from cycleqd.run.names import AGGREGATE, AVERAGE, BASE, expert_id
from cycleqd.run.records import IndividualRecord, Score, means
from cycleqd.run.replay import search_after_all, search_begun
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep.commits import DamagedRun, check_commits
from cycleqd.seams.operators import SCALED_MERGES
from cycleqd.search.archive import Archives, grids_from_experts
from cycleqd.search.operators.merging import merge_method
from cycleqd.steps.workspace import Workspace
from tests.figures import without_figures
from tests.report import synthetic
from tests.report.synthetic import evaluate, genome, synthetic_run
from tests.run.upkeep import toy_run
from tests.run.upkeep.toy_run import begin, evolve, score
from tests.toy_experts import SKILLS

DEFAULT = RunConfig().baselines
IDS = [candidate.id for candidate in candidates(DEFAULT)]


def with_baselines(store, baselines):
    """The run as a later start leaves it that asks for these."""
    store.adopt(store.config().model_copy(update={"baselines": tuple(baselines)}))
    return Workspace(store)


def scored_baselines(store, until=None):
    """Derives all baselines of a toy run and scores them, or some of them."""
    ws = Workspace(store)
    records = steps.derive_baselines(ws)
    for record in records[:until]:
        score(store, record)
    return ws, records


def seed_with_baselines(ws):
    """Seeds a toy run whose baselines are scored."""
    for record in steps.derive_baselines(ws):
        score(ws.store, record)
    return steps.seed_archives(ws)


def test_ids_say_method_and_scale_and_no_more_unless_a_setting_is_unusual():
    assert IDS == [
        "task-arithmetic-0.4", "task-arithmetic-0.6", "task-arithmetic-0.8", "tsv-0.7", "tsv-0.85", "tsv-1",
        "iso-c-0.6", "iso-c-0.8", "iso-c-1",
    ]  # fmt: skip
    usual = BaselineConfig(method="iso_c", flattening=0.5, scales=(0.8,))
    unusual = BaselineConfig(method="iso_c", flattening=0.25, scales=(0.8,))
    assert [one.id for one in candidates([usual, unusual])] == ["iso-c-0.8", "iso-c-flattening-0.25-0.8"]


def test_every_scaled_merge_method_is_a_baseline_by_its_name():
    for method in SCALED_MERGES:
        baseline = BaselineConfig(method=method)
        for candidate in candidates([baseline]):
            merge_method(candidate.method, **candidate.settings)


def test_each_candidate_is_its_recipe_carried_out(tmp_path):
    store = begin(str(tmp_path))
    _, records = scored_baselines(store)
    assert [record.id for record in records] == IDS
    experts = [task_vector(store, expert_id(skill)) for skill in SKILLS]
    for record in records:
        settings = dict(record.merge)
        method = merge_method(str(settings.pop("method")), **settings)
        again = method.merge(experts, record.coefficients)
        assert again.hash() == record.genome == store.individual(record.id).genome
        assert task_vector(store, record.id).hash() == record.genome
        assert record.parents == [expert_id(skill) for skill in SKILLS]


def test_deriving_again_does_nothing(tmp_path):
    store = begin(str(tmp_path))
    steps.derive_baselines(Workspace(store))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "toy" / "individuals").rglob("*")}
    steps.derive_baselines(Workspace(store))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "toy" / "individuals").rglob("*")} == before


def test_the_best_scale_on_the_optimization_split_is_chosen(tmp_path):
    store = begin(str(tmp_path))
    _, records = scored_baselines(store)
    means = {
        record.id: math.fsum(store.evaluation(record.genome, s, "optimization").score.score for s in SKILLS) / 3
        for record in records
    }
    chosen = choices(store)
    assert [choice.candidate.label for choice in chosen] == ["task-arithmetic", "tsv", "iso-c"]
    for choice in chosen:
        rivals = {name: mean for name, mean in means.items() if name.startswith(choice.candidate.label)}
        assert choice.mean == pytest.approx(max(rivals.values()))
        assert rivals[choice.candidate.id] == max(rivals.values())
        assert choice.evaluations == 3


def test_of_equal_scales_the_first_is_chosen(tmp_path):
    store = begin(str(tmp_path))
    for record in steps.derive_baselines(Workspace(store)):
        for skill in SKILLS:
            evaluate(store, record.genome, dict.fromkeys(SKILLS, 2.0), skill, "optimization")
    assert [choice.candidate.id for choice in choices(store)] == ["task-arithmetic-0.4", "tsv-0.7", "iso-c-0.6"]


def test_nothing_is_chosen_before_all_scales_are_scored(tmp_path):
    store = begin(str(tmp_path))
    scored_baselines(store, until=5)
    assert [choice.candidate.label for choice in choices(store)] == ["task-arithmetic"]
    assert "baseline:tsv" not in summarise(store).rows


def test_the_chosen_ones_and_no_others_meet_the_test_split(tmp_path):
    store = begin(str(tmp_path))
    scored_baselines(store)
    ws = evolve(store, 3)
    steps.aggregate(ws)
    names = steps.compared(ws)
    chosen = [choice.candidate.id for choice in choices(store)]
    assert names[:5] == [BASE, AVERAGE, *chosen]
    assert names[-1] == AGGREGATE
    assert not set(IDS) - set(chosen) & set(names)
    assert set(summarise(store).individuals.values()) | {BASE, AVERAGE} == set(names)


def test_the_search_is_the_same_with_baselines_and_without(tmp_path):
    plain, beside = begin(str(tmp_path / "plain")), begin(str(tmp_path / "beside"))
    scored_baselines(beside)
    for store in (plain, beside):
        steps.aggregate(evolve(store, 8))
    for key in plain.keys("archives"):
        assert plain.read_bytes(key) == beside.read_bytes(key)
    for record in plain.individuals():
        key = f"individuals/{record.id}/individual.json"
        assert plain.read_bytes(key) == beside.read_bytes(key)


@pytest.mark.parametrize(("merge", "points"), [("linear", IDS[:3]), ("tsv", IDS[3:6])])
def test_a_search_over_coefficients_is_told_of_its_points_and_rebuilt_with_them(tmp_path, monkeypatch, merge, points):
    search = SearchConfig(kind="surrogate", merge=merge, low=0.2, high=1.2)
    real = synthetic.configuration
    monkeypatch.setattr(
        toy_run, "configuration", lambda *args, **kwargs: real(*args, **kwargs).model_copy(update={"search": search})
    )
    monkeypatch.setattr(toy_run, "steps", SimpleNamespace(**{**vars(steps), "seed_archives": seed_with_baselines}))
    store = begin(str(tmp_path))
    seed = store.seed()
    assert seed.known == points
    assert seed.offered == seed.experts
    ws = evolve(store, 6)
    assert steps.rebuild_search(Workspace(store)).archives.to_json() == ws.search.archives.to_json()
    check_commits(store)
    untold = seed.model_copy(update={"known": [], "scores": {one: seed.scores[one] for one in seed.experts}})
    assert search_after_all(store, untold).answer() != search_after_all(store, seed).answer()


def test_recipes_of_weighted_sums_are_written_as_they_always_were():
    record = IndividualRecord(id="g0000", genome="x", generation=0, archive="os", parents=["a", "b"])
    assert list(json.loads(record.model_dump_json())) == [
        "id", "genome", "generation", "archive", "parents", "coefficients", "mutation",
    ]  # fmt: skip
    merged = record.model_copy(update={"merge": {"method": "tsv", "scale": 1}})
    assert IndividualRecord.model_validate_json(merged.model_dump_json()) == merged


def test_other_baselines_may_be_asked_for_when_a_run_goes_on(tmp_path):
    store = begin(str(tmp_path))
    scored_baselines(store)
    changed = store.config().model_copy(update={"baselines": (BaselineConfig(method="ties", scales=(1.0,)),)})
    store.open(changed)  # not refused
    ws = with_baselines(store, changed.baselines)
    (record,) = steps.derive_baselines(ws)
    score(store, record)
    assert [choice.candidate.id for choice in choices(store)] == ["ties-1"]


def test_the_archives_do_not_know_them(tmp_path):
    store = begin(str(tmp_path))
    scored_baselines(store)
    ws = evolve(store, 4)
    known = {one.id for skill in SKILLS for one in ws.search.archives[skill].occupants()}
    assert not known & set(IDS)


@pytest.fixture
def seeded_with_baselines(tmp_path, monkeypatch):
    """A toy run whose archives begin with experts and baselines."""
    real = synthetic.configuration

    def configuration(*args, **kwargs):
        return real(*args, **kwargs).model_copy(update={"archive": ArchiveConfig(seeds="experts+baselines")})

    monkeypatch.setattr(toy_run, "configuration", configuration)
    monkeypatch.setattr(toy_run, "steps", SimpleNamespace(**{**vars(steps), "seed_archives": seed_with_baselines}))
    return begin(str(tmp_path))


def test_baselines_may_be_seeds_and_the_grids_stay_the_experts(seeded_with_baselines):
    store = seeded_with_baselines
    seed = store.seed()
    assert seed.baselines == [choice.candidate.id for choice in choices(store)]
    assert seed.offered == [*seed.experts, *seed.baselines]
    archives = search_begun(store, seed).archives
    experts = {one: means(seed.scores[one]) for one in seed.experts}
    assert archives.grids == grids_from_experts(list(experts.values()), bins=15, lower=0.85, upper=1.15)
    expected = Archives.seeded(SKILLS, archives.grids, {one: means(seed.scores[one]) for one in seed.offered})
    assert archives.to_json() == expected.to_json()
    held = {one.id for skill in SKILLS for one in archives[skill].occupants()}
    assert held & set(seed.baselines)


def test_a_search_from_baselines_is_rebuilt_reported_and_verified(seeded_with_baselines):
    store = seeded_with_baselines
    ws = evolve(store, 12)
    assert {parent for record in store.generations() for parent in record.parents} & set(store.seed().baselines)
    assert steps.rebuild_search(Workspace(store)).archives.to_json() == ws.search.archives.to_json()
    check_commits(store)
    elites = replay(store).elites
    assert elites == {skill: ws.search.archives[skill].elite().id for skill in SKILLS}
    steps.aggregate(ws)
    assert summarise(store).individuals["cycleqd"] == "aggregate"
    (remove_key := store.local(f"individuals/{store.seed().baselines[0]}/individual.json")).unlink()
    assert not remove_key.exists()
    with pytest.raises(DamagedRun, match="seeding is damaged"):
        check_commits(store)


def test_the_seeding_of_experts_alone_is_written_as_it_always_was(tmp_path):
    store = begin(str(tmp_path))
    assert set(store.read_json("generations/seed.json")) == {"experts", "genomes", "scores"}
    assert store.seed().offered == store.seed().experts


# The report


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A finished run with baselines, of records alone."""
    store = synthetic_run(str(tmp_path_factory.mktemp("runs")))
    experts = [f"expert-{skill}" for skill in SKILLS]
    for number, candidate in enumerate(candidates(DEFAULT)):
        store.write_individual(
            IndividualRecord(
                id=candidate.id, genome=genome(candidate.id), parents=experts, coefficients=[1.0] * 3,
                merge={"method": candidate.method, **candidate.settings},
            )
        )  # fmt: skip
        ability = dict.fromkeys(SKILLS, (0.3, 0.5, 0.4)[number % 3] + 0.02 * number)
        for skill in SKILLS:
            evaluate(store, genome(candidate.id), ability, skill, "optimization")
    for choice in choices(store):
        for skill in SKILLS:
            ability = dict.fromkeys(SKILLS, 0.6 if choice.candidate.label == "tsv" else 0.5)
            evaluate(store, genome(choice.candidate.id), ability, skill, "test")
    with without_figures():
        write_report(store)
    return store


def test_every_baseline_is_a_row_with_what_it_cost(compared):
    summary = summarise(compared)
    assert summary.rows[:8] == [
        "base", "expert:coding", "expert:os", "expert:db", "average", "baseline:task-arithmetic", "baseline:tsv",
        "baseline:iso-c",
    ]  # fmt: skip
    assert {row: summary.evaluations.get(row) for row in ("base", "average", "baseline:tsv", "cycleqd")} == {
        "base": None, "average": 1, "baseline:tsv": 3, "cycleqd": 6,
    }  # fmt: skip
    names = [row_name(row, summary) for row in summary.rows]
    assert "TSV-Merge × 0.85" in names
    grid = score_table(summary, "test")
    assert grid.header[-1] == "evaluations"
    assert {row[0]: row[-1] for row in grid.rows}["TSV-Merge × 0.85"] == "3"


def test_the_comparison_with_the_best_baseline_stands_first(compared):
    summary = read_summary(compared)
    means = {row: summary.mean("test", row) for row in summary.rows if row == "average" or "baseline" in row}
    assert summary.best_baseline == max(means, key=means.get)
    first = summary.comparisons[0]
    assert (first.split, first.row, first.against, first.skill) == ("test", "cycleqd", summary.best_baseline, "mean")
    assert summary.final_against_best_baseline[0] == first
    assert first.difference == pytest.approx(summary.mean("test", "cycleqd") - means[summary.best_baseline])
    assert len({(c.split, c.row, c.against, c.skill) for c in summary.comparisons}) == len(summary.comparisons)
    grid = baseline_table(summary)
    assert row_name(summary.best_baseline, summary) in grid.rows[0][0]
    page = compared.read_bytes("report/index.html").decode()
    assert page.index(grid.title) < page.index("Scores on the test split")
    assert compared.read_bytes("report/report.md").decode().index(grid.title) < 1000
    assert f"against the best merge without a search, {row_name(summary.best_baseline, summary)}" in headline(summary)
    keys = list(compared.read_json("report/summary.json"))
    assert keys.index("best_baseline") < keys.index("splits")


def test_every_row_has_an_interval_that_holds_its_score(compared):
    summary = summarise(compared)
    for split, rows in summary.splits.items():
        for row, scores in rows.items():
            for column, value in scores.items():
                low, high = summary.intervals[split][row][column]
                mean = value.score if isinstance(value, Score) else value
                assert 0 <= low <= mean <= high <= 1
                assert low < high


def test_a_run_without_baselines_is_reported_as_before(tmp_path, no_figures):
    store = synthetic_run(str(tmp_path))
    summary = write_report(store)
    assert not [row for row in summary.rows if row.startswith("baseline:")]
    assert summary.best_baseline == "average"
    (line,) = baseline_table(summary).rows
    assert line[0] == "CycleQD − average of experts"


def test_a_configuration_from_before_there_were_baselines_is_read(tmp_path):
    store = synthetic_run(str(tmp_path))
    values = store.read_json("config.json")
    del values["baselines"], values["archive"], values["crossover"]["kind"], values["crossover"]["scale"]
    store.write_json("config.json", values, replace=True)
    fresh = RunStore(str(tmp_path), store.run_id)
    assert "cycleqd" in summarise(fresh).rows
    fresh.open(fresh.config())


@pytest.mark.parametrize(
    ("entry", "words"),
    [({"method": "tsv", "flattening": 0.5}, "tsv has no flattening"), ({"method": "dare", "density": 1}, "no density"),
     ({"method": "tsv", "scales": [1.0, 1.0]}, "must differ"), ({"method": "tsv", "scales": []}, "at least 1"),
     ({"method": "tsv", "scales": [0]}, "greater than 0"), ({"method": "best"}, "task_arithmetic")],
)  # fmt: skip
def test_what_is_no_baseline_is_refused(entry, words):
    with pytest.raises(ValueError, match=words):
        RunConfig.model_validate({"baselines": [entry]})


def test_a_baseline_stands_once():
    with pytest.raises(ValueError, match="tsv is listed twice"):
        RunConfig.model_validate({"baselines": [{"method": "tsv"}, {"method": "tsv", "scales": [0.5]}]})

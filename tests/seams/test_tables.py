"""What every table of the search keeps to, and every row in it."""

import pytest

from cycleqd.config import (
    AggregationConfig,
    BaselineConfig,
    CrossoverConfig,
    MutationConfig,
    RunConfig,
    SamplingConfig,
    SearchConfig,
)
from cycleqd.randomness import rng
from cycleqd.seams import AGGREGATIONS, BASELINES, CROSSOVERS, MUTATIONS, SAMPLERS, SEARCHES, Row, SeamTable
from cycleqd.seams.operators import SCALED_MERGES
from cycleqd.search.archive import Grid
from cycleqd.search.build import build_crossover, build_mutation, build_sampler

TABLES = {"sampling": SAMPLERS, "crossover": CROSSOVERS, "mutation": MUTATIONS, "aggregation": AGGREGATIONS,
          "search": SEARCHES, "baselines": BASELINES}  # fmt: skip
ROWS = [(section, name) for section, table in TABLES.items() for name in table]
METHODS = {
    "sampling": ("probabilities", "sample"), "crossover": ("draw",), "mutation": ("draw", "apply"),
    "aggregation": ("weights",), "search": ("ask", "tell", "answer"), "baselines": ("merge", "exact_on_cores"),
}  # fmt: skip


@pytest.mark.parametrize(("section", "name"), ROWS)
def test_every_row_has_a_source_and_a_class_that_does_what_its_seam_asks_for(section, name):
    row, kind = TABLES[section][name], TABLES[section].load(name)
    assert row.source
    assert kind.__doc__
    assert [one for one in METHODS[section] if not hasattr(kind, one)] == []
    assert set(row.usual) <= set(TABLES[section].settings(name))


@pytest.mark.parametrize(("section", "name"), [row for row in ROWS if row[0] not in ("search", "baselines")])
def test_every_row_can_be_chosen_in_the_configuration_by_its_name_alone(section, name):
    config = RunConfig.model_validate({section: {"kind": name}})
    table = TABLES[section]
    chosen = getattr(config, section)
    assert chosen.kind == name
    build = {"sampling": build_sampler, "crossover": build_crossover, "mutation": build_mutation}.get(section)
    made = build(chosen) if build else table.make(name, **chosen.settings)
    assert isinstance(made, table.load(name))


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_calls_itself_as_its_row_does_and_draws_no_other_than_the_generator_says(name):
    mutation = MUTATIONS.make(name)
    assert mutation.kind == name
    assert mutation.draw(rng(1, 2, "x")) == mutation.draw(rng(1, 2, "x"))


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_an_aggregation_weighs_each_elite_and_does_not_favour_the_worse(name):
    weights = AGGREGATIONS.make(name).weights([0.1, 0.5, 0.3])
    assert len(weights) == 3
    assert sum(weights) == pytest.approx(1)
    assert weights[1] >= weights[2] >= weights[0]


@pytest.mark.parametrize("name", CROSSOVERS)
def test_a_crossover_draws_coefficients_that_sum_to_one_and_names_what_merges(name):
    crossover = build_crossover(CrossoverConfig(kind=name))
    drawn = crossover.draw(rng(1, 2, "x"))
    assert drawn == crossover.draw(rng(1, 2, "x"))
    assert sum(drawn.coefficients) == pytest.approx(1)
    assert drawn.merge.get("method", "linear") == name


def test_the_usual_settings_are_those_that_runs_always_had():
    assert {name: dict(BASELINES[name].usual) for name in SCALED_MERGES} == {
        "task_arithmetic": {}, "slerp": {}, "ties": {"density": 0.2}, "dare": {"drop": 0.5}, "tsv": {},
        "iso_c": {"flattening": 0.5}, "knots": {"density": 0.2},
    }  # fmt: skip


def test_a_name_that_there_is_not_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"no mutation is called 'svd2'; there are svd, gaussian, none$"):
        MUTATIONS.check("svd2")
    with pytest.raises(ValueError, match="no mutation is called"):  # only where others may add rows
        MUTATIONS.check("cycleqd.search.operators.mutation:NoMutation")


def test_a_class_that_can_be_imported_is_a_search():
    assert SEARCHES.load("cycleqd.search.cycleqd:CycleQD") is SEARCHES.load("cycleqd")
    for name in ("no_such_module:Search", "cycleqd.search.cycleqd:Absent"):
        with pytest.raises(ValueError, match="can't be imported"):
            SEARCHES.check(name)
    with pytest.raises(ValueError, match=r"'os:getcwd' is no class: os:getcwd is a builtin_function_or_method"):
        SEARCHES.check("os:getcwd")
    with pytest.raises(ValueError, match=r"is no search: cycleqd.search.archive:Grid has no ask, tell, answer"):
        SEARCHES.check("cycleqd.search.archive:Grid")
    with pytest.raises(ValueError, match=r"no search is called 'hill'.*module:Class.*cycleqd\.searches"):
        SEARCHES.check("hill")


def test_an_object_gets_what_its_constructor_names_and_nothing_else():
    table = SeamTable("toy", {"grid": Row("cycleqd.search.archive:Grid", "here")})
    assert table.make("grid", 0.0, upper=1.0, bins=3, colour="red") == Grid(0.0, 1.0, 3)
    with pytest.raises(ValueError, match="the toy 'grid' needs bins"):
        table.make("grid", 0.0, upper=1.0)


def test_settings_that_only_the_class_knows_need_no_field():
    config = CrossoverConfig.model_validate({"kind": "knots", "alignment": "left", "scale": 0.8})
    assert config.merge == {"density": 0.2, "alignment": "left", "scale": 0.8}
    assert CrossoverConfig.model_validate(config.model_dump()) == config
    baseline = BaselineConfig.model_validate({"method": "knots", "alignment": "left"})
    assert baseline.settings == {"density": 0.2, "alignment": "left"}
    assert baseline.label == "knots-alignment-left"


@pytest.mark.parametrize(
    ("section", "given", "fault"),
    [
        (MutationConfig, {"kind": "svd", "strength": 1}, "Extra inputs are not permitted"),
        (SamplingConfig, {"kind": "random", "alpha": 1}, "Extra inputs are not permitted"),
        (AggregationConfig, {"hotness": 1}, "Extra inputs are not permitted"),
        (SearchConfig, {"kind": "random", "sampler": "elite"}, "Extra inputs are not permitted"),
        (CrossoverConfig, {"kind": "dare", "seed": 3}, "Extra inputs are not permitted"),
        (CrossoverConfig, {"kind": "knots", "alignment": "right"}, "alignment must be"),
        (BaselineConfig, {"method": "knots", "alignment": "right"}, "alignment must be"),
        (BaselineConfig, {"method": "linear"}, "no baseline is called 'linear'"),
    ],
)
def test_settings_that_the_class_lacks_or_refuses_are_faults_of_the_configuration(section, given, fault):
    with pytest.raises(ValueError, match=fault):
        section.model_validate(given)


def test_a_new_operator_is_a_class_and_a_row(monkeypatch, tmp_path):
    (tmp_path / "shrinking.py").write_text(
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Shrink:\n"
        "    kind: ClassVar[str] = 'shrink'\n"
        "    factor: float = 0.9\n\n"
        "    def __post_init__(self):\n"
        "        if not 0 < self.factor < 1:\n"
        "            raise ValueError(f'factor must be between 0 and 1, got {self.factor}')\n\n"
        "    def draw(self, rng):\n"
        "        return None\n\n"
        "    def apply(self, child, expert, seed):\n"
        "        return child.combine(self.factor, [])\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(MUTATIONS._rows, "shrink", Row("shrinking:Shrink", "this test"))
    config = RunConfig.model_validate({"mutation": {"kind": "shrink", "factor": 0.5}})
    assert RunConfig.model_validate(config.model_dump(mode="json")) == config
    mutation = build_mutation(config.mutation)
    assert mutation.kind == "shrink"
    assert mutation.factor == 0.5
    with pytest.raises(ValueError, match="factor must be between 0 and 1"):
        RunConfig.model_validate({"mutation": {"kind": "shrink", "factor": 2.0}})
    with pytest.raises(ValueError, match=r"mutation\.strength"):
        RunConfig.model_validate({"mutation": {"kind": "shrink", "strength": 2.0}})


def test_forms_offer_the_names():
    schema = RunConfig.model_json_schema()
    fields = schema["properties"]
    assert fields["mutation"]["properties"]["kind"]["enum"] == list(MUTATIONS)
    methods = schema["$defs"]["BaselineConfig"]["properties"]["method"]["enum"]
    assert methods == list(BASELINES) == [*SCALED_MERGES, "regmean"]
    names, other = fields["search"]["properties"]["kind"]["anyOf"]
    assert set(names["enum"]) >= set(SEARCHES)
    assert other["pattern"]


@pytest.mark.parametrize(
    ("name", "packages", "givers"),
    [
        ("random", ["greedy"], "cycleqd itself and by the package greedy 2"),
        ("both", ["greedy", "other"], "the package (greedy|other) 2 and by the package (greedy|other) 2"),
    ],
)
def test_a_name_that_is_given_twice_is_refused(monkeypatch, tmp_path, name, packages, givers):
    for package in packages:
        facts = tmp_path / f"{package}-2.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2\n")
        (facts / "entry_points.txt").write_text(f"[cycleqd.searches]\n{name} = {package}:Search\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for ask in (SEARCHES.check, SEARCHES.load):
        with pytest.raises(ValueError, match=givers):
            ask(name)
    assert SEARCHES.check("cma_es") == "cma_es"

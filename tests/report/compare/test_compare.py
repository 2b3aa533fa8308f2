"""Several runs side by side: as data, as tables, and as a page that needs no network."""

import json
import re
from html.parser import HTMLParser

import pytest

from cycleqd.bootstrap import bootstrap_over_seeds, paired_bootstrap
from cycleqd.report.compare import comparison, group_table, page, read_run, run_table, settings_table
from cycleqd.run.store import RunStore
from tests.report.synthetic import synthetic_run


def changed(store, **changes):
    """The run with other settings than it began with, as if it had begun so."""
    from dataclasses import replace

    run = read_run(store)
    settings = {**run.settings, **{name.replace("__", "."): value for name, value in changes.items()}}
    summary = run.summary.model_copy(update={"seed": int(settings["seed"])})
    return replace(run, settings=settings, summary=summary)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("runs"))
    return [
        synthetic_run(folder, run_id="first", generations=4),
        synthetic_run(folder, run_id="second", generations=6),
        synthetic_run(folder, run_id="going", skills=("os", "db"), generations=2, planned=9, finished=False),
    ]


@pytest.fixture(scope="module")
def runs(stores):
    first, second, going = stores
    return [changed(first), changed(second, seed="8", generations="4"), changed(going, search__kind="qd")]


def test_runs_that_differ_in_their_seed_alone_are_one_group_with_an_interval_over_seeds(runs):
    first, second, _ = runs
    found = comparison(runs)
    assert [group.runs for group in found.groups] == [["first", "second"], ["going"]]
    assert [row.group for row in found.runs] == [0, 0, 1]
    group = found.groups[0]
    assert group.seeds == [7, 8]
    assert group.final.mean == pytest.approx(
        (first.summary.mean("test", "cycleqd") + second.summary.mean("test", "cycleqd")) / 2
    )
    scores = [
        [[sample.score for sample in record.samples] for record in run.final.values()] for run in (first, second)
    ]
    hashes = [[record.data_hash for record in run.final.values()] for run in (first, second)]
    assert (group.final.low, group.final.high) == pytest.approx(tuple(bootstrap_over_seeds(scores, hashes)))
    assert found.groups[1].final is None


def test_seeds_that_met_the_same_samples_have_one_draw_of_them(runs):
    from dataclasses import replace

    first = runs[0]
    again = replace(first, label="again", settings={**first.settings, "seed": "8"})
    scores = [[sample.score for sample in record.samples] for record in first.final.values()]
    group = comparison([first, again]).groups[0]
    assert group.runs == ["first", "again"]
    assert (group.final.low, group.final.high) == pytest.approx(tuple(paired_bootstrap(scores)))
    others = {skill: record.model_copy(update={"data_hash": "other"}) for skill, record in again.final.items()}
    own = comparison([first, replace(again, final=others)]).groups[0].final
    assert own.high - own.low < 0.9 * (group.final.high - group.final.low)


def test_settings_that_differ_are_told_by_path_and_those_that_do_not_are_not(runs):
    found = comparison(runs)
    assert found.settings["seed"] == ["7", "8", "7"]
    assert found.settings["search.kind"] == ["cycleqd", "cycleqd", "qd"]
    assert found.settings["skills.coding.test"] == ["30", "30", "–"]
    assert not {"run_id", "storage", "experts.rank"} & found.settings.keys()
    assert "search.kind qd" in found.groups[1].name


def test_final_scores_are_those_of_the_runs_reports(runs):
    row = comparison(runs).runs[0]
    summary = runs[0].summary
    assert row.final.mean == summary.mean("test", "cycleqd")
    assert (row.final.low, row.final.high) == tuple(summary.intervals["test"]["cycleqd"]["mean"])
    assert row.best_baseline == summary.mean("test", "average")
    assert len(row.best) == summary.generations + 1
    assert row.against_first is None


def test_runs_are_compared_in_pairs_only_where_they_met_the_same_samples(runs, stores):
    first, second, going = runs
    same = comparison([first, second]).runs[1].against_first
    assert same.mean == pytest.approx(second.summary.mean("test", "cycleqd") - first.summary.mean("test", "cycleqd"))
    assert same.low <= same.mean <= same.high
    others = {skill: record.model_copy(update={"data_hash": "other"}) for skill, record in second.final.items()}
    from dataclasses import replace

    assert comparison([first, replace(second, final=others)]).runs[1].against_first is None
    assert comparison([first, going]).runs[1].against_first is None


def test_two_runs_of_one_label_are_refused(runs):
    with pytest.raises(ValueError, match="labels that differ"):
        comparison([runs[0], runs[0]])


def test_tables_say_what_was_found_and_leave_open_what_was_not(runs):
    found = comparison(runs)
    table = run_table(found)
    assert [row[0] for row in table.rows] == ["first", "second", "going"]
    going = dict(zip(table.header, table.rows[2], strict=True))
    assert (going["generations"], going["CycleQD"], going["coding"]) == ("2 of 9", "–", "–")
    assert group_table(found).rows[0][1] == "7, 8"
    assert ("search.kind", "cycleqd", "cycleqd", "qd") in settings_table(found).rows
    assert group_table(comparison([runs[0], runs[2]])).rows == ()


class Parsed(HTMLParser):
    """The tags of a page, balanced or not, with what they refer to."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.outside = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "input", "img", "br", "line", "polyline", "circle", "path", "rect"):
            self.open.append(tag)
        self.outside += [value for name, value in attributes if name in ("src", "href") and "://" in (value or "")]

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag != "polyline":
            assert self.open.pop() == tag


def test_page_is_whole_in_one_file_without_anything_from_outside(runs):
    text = page(runs, comparison(runs))
    parsed = Parsed(text)
    assert parsed.open == []
    assert parsed.outside == []
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest", text)
    assert "prefers-color-scheme: dark" in text


def test_every_run_has_a_line_in_every_chart_that_has_numbers_of_it(runs):
    parsed = Parsed(page(runs, comparison(runs)))
    charts = [json.loads(attributes["data-chart"]) for _, attributes in parsed.tags if "data-chart" in attributes]
    drawn = [[line["name"] for line in chart["series"]] for chart in charts]
    assert drawn == [["first", "second", "going"], ["first", "second"], *[["first", "second", "going"]] * 4]
    best = charts[0]["series"][1]["values"]
    assert best == [round(100 * value, 1) for value in runs[1].curves.best]
    assert charts[0]["last"] == 6
    toggles = [attributes["data-toggle"] for _, attributes in parsed.tags if "data-toggle" in attributes]
    assert toggles == ["0", "1", "2"]


def test_page_sorts_times_by_their_seconds(runs):
    found = comparison(runs)
    table = run_table(found)
    parsed = Parsed(page(runs, found))
    told = [float(attributes["data-value"]) for _, attributes in parsed.tags if "data-value" in attributes]
    assert told == [run.seconds for run in found.runs] == [*table.values[table.header.index("time")]]


def test_what_a_label_holds_is_text(stores):
    run = read_run(stores[0], "<script>alert(1)</script>")
    text = page([run], comparison([run]))
    assert "<script>alert" not in text
    assert Parsed(text).open == []


def test_run_without_a_seeding_is_compared_as_far_as_it_has_got(tmp_path, runs):
    from tests.report.synthetic import configuration

    store = RunStore(str(tmp_path), "begun")
    store.open(configuration(str(tmp_path), ("os",), run_id="begun", generations=3))
    begun = read_run(store)
    found = comparison([runs[0], begun])
    assert found.runs[1].best == []
    assert Parsed(page([runs[0], begun], found)).open == []

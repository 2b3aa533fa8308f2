"""Several runs side by side from the command line."""

import json

import pytest
from typer.testing import CliRunner

from cycleqd.cli import app
from tests.report.synthetic import synthetic_run


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("runs"))
    for name in ("nightly-1", "nightly-2", "other"):
        synthetic_run(folder, run_id=name, generations=2)
    return folder


@pytest.fixture
def compare(storage, tmp_path):
    def call(*arguments):
        return CliRunner().invoke(
            app, ["compare", *arguments, "--storage", storage, "--out", str(tmp_path / "new" / "page.html")]
        )

    return call


def test_named_runs_come_as_tables_and_as_a_page(compare, tmp_path):
    result = compare("other", "nightly-1")
    assert result.exit_code == 0, result.output
    lines = [line.split()[0] for line in result.stdout.splitlines() if line.startswith(("other ", "nightly-1 "))]
    assert lines == ["other", "nightly-1"]
    page = (tmp_path / "new" / "page.html").read_text()
    assert "2 runs compared" in page
    assert str(tmp_path / "new" / "page.html") in result.stdout


def test_pattern_takes_all_runs_that_are_like_it_each_once(compare):
    found = json.loads(compare("nightly-*", "nightly-2", "--json").stdout)
    assert [run["label"] for run in found["runs"]] == ["nightly-1", "nightly-2"]
    assert found["groups"][0]["runs"] == ["nightly-1", "nightly-2"]


def test_json_stands_alone_and_where_the_page_went_is_told_beside_it(compare, tmp_path):
    result = compare("other", "--json")
    json.loads(result.stdout)
    assert str(tmp_path / "new" / "page.html") in result.stderr.replace("\n", "")


def test_run_that_is_not_there_is_one_line_with_close_names(compare):
    for name, said in (("nightly-3", "did you mean nightly-"), ("daily-*", "did you mean nightly-")):
        result = compare(name)
        assert result.exit_code == 2
        assert said in " ".join(result.stderr.split())


def test_runs_of_one_name_in_two_places_are_told_apart_by_their_places(compare, tmp_path):
    synthetic_run(str(tmp_path), run_id="other", generations=2)
    found = json.loads(compare("other", f"{tmp_path}/other", "--json").stdout)
    assert found["runs"][1]["label"] == f"{tmp_path}/other"


def test_run_that_cannot_be_read_is_left_out_of_a_pattern_and_refused_by_its_name(storage, compare, tmp_path):
    folder = tmp_path / "damaged"
    synthetic_run(str(folder), run_id="good", generations=2)
    synthetic_run(str(folder), run_id="odd", generations=2)
    (folder / "odd" / "config.json").write_text("[")
    result = compare(f"{folder}/*", "--json")
    assert [run["label"] for run in json.loads(result.stdout)["runs"]] == ["good"]
    assert "odd is left out" in result.stderr
    assert compare(f"{folder}/odd").exit_code == 2

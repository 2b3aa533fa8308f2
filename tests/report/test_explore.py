"""The page whose archives can be asked."""

import json
import re
from html.parser import HTMLParser

import pytest

from cycleqd.report import replay, summarise, write_report
from cycleqd.report.explore import explore_page
from cycleqd.run.store import RunStore
from tests.report.synthetic import synthetic_run


class Page(HTMLParser):
    """Cells of the archives, rows of the table and the data of a page."""

    def __init__(self, html):
        super().__init__()
        self.cells, self.rows, self.references, self.scripts = [], [], [], []
        self._script = False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if "cell" in (attributes.get("class") or "").split():
            self.cells.append(attributes)
        if tag == "tr" and "data-kind" in attributes:
            self.rows.append(attributes["data-kind"].split())
        self.references += [value for name, value in attrs if name in ("src", "href")]
        self._script = tag == "script"

    def handle_data(self, data):
        if self._script:
            self.scripts.append(data)

    @property
    def data(self):
        return json.loads(self.scripts[0])


def page(store):
    return Page(explore_page(summarise(store), replay(store)))


def test_every_cell_of_every_archive_can_be_chosen_and_is_known(finished: RunStore) -> None:
    history = replay(finished)
    shown = page(finished)
    wanted = [one.id for skill in history.skills for one in history.now.cells[skill].values()]
    assert sorted(cell["data-id"] for cell in shown.cells) == sorted(wanted)
    assert set(wanted) <= shown.data["members"].keys()
    for cell in shown.cells:
        assert cell["role"] == "button"
        assert cell["aria-label"].startswith(f"{cell['data-id']}: ")
    # One stop of the tab key an archive; the arrow keys lead from cell to cell.
    assert [cell["tabindex"] for cell in shown.cells].count("0") == len(history.skills)


def test_what_is_known_of_a_child_is_what_its_records_say(finished: RunStore) -> None:
    record = finished.generations()[2]
    member = page(finished).data["members"]["g0002"]
    assert member["parents"] == list(dict.fromkeys(record.parents))
    assert (member["generation"], member["archive"]) == (2, record.archive)
    score = record.scores["os"]
    low, high = score.interval
    assert member["scores"]["optimization"]["os"] == f"{100 * score.score:.1f} ({100 * low:.0f}–{100 * high:.0f})"
    assert member["won"].keys() == record.cells.keys()


def test_every_individual_is_in_the_table_with_what_the_filter_asks_for(finished: RunStore) -> None:
    shown = page(finished)
    members = shown.data["members"]
    assert set(members) == {record.id for record in finished.individuals()}
    assert len(shown.rows) == len(members)
    held = {one.id for cells in replay(finished).now.cells.values() for one in cells.values()}
    assert sum("held" in kinds for kinds in shown.rows) == len(held)
    assert sum("expert" in kinds for kinds in shown.rows) == 3


def test_page_needs_nothing_from_elsewhere_and_links_transcripts_that_are_there(finished: RunStore) -> None:
    text = finished.read_bytes("report/explore.html").decode()
    shown = Page(text)
    assert shown.references == ["index.html"]
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|@import|fetch\(", text.replace("http://www.w3.org", ""))
    links = [link for member in shown.data["members"].values() for link in member["links"].values()]
    assert links
    assert all(finished.exists(f"report/{link}") for link in links)
    assert 'href="explore.html"' in finished.read_bytes("report/index.html").decode()


def test_archive_in_which_all_score_alike_is_painted_neither_high_nor_low(finished: RunStore) -> None:
    from cycleqd.report.explore import _strength

    assert _strength(0.0, 0.0, 0.0) == _strength(1.0, 1.0, 1.0) == 0.5
    assert _strength(0.2, 0.2, 0.6) < _strength(0.4, 0.2, 0.6) < _strength(0.6, 0.2, 0.6) == 1.0


@pytest.mark.parametrize("skills", [("os",), ("os", "db"), ("coding", "os", "db")])
def test_archives_of_any_number_of_axes_are_drawn(storage: str, skills: tuple[str, ...]) -> None:
    store = synthetic_run(storage, skills=skills, generations=3)
    shown = page(store)
    assert shown.cells
    for cell in shown.cells:
        assert 0 < float(cell["fill-opacity"]) <= 1


def test_run_that_has_only_begun_has_a_page_without_archives(storage: str) -> None:
    from tests.report.synthetic import configuration

    store = RunStore(storage, "begun")
    store.open(configuration(storage, ("os",), run_id="begun", generations=3))
    write_report(store)
    shown = Page(store.read_bytes("report/explore.html").decode())
    assert (shown.cells, shown.rows) == ([], [])


def test_transcripts_can_be_narrowed_to_solved_or_failed_without_a_script(finished: RunStore) -> None:
    text = finished.read_bytes("report/transcripts/cycleqd-os-test.html").decode()
    solved, failed = text.count('<details class="is-solved"'), text.count('<details class="is-failed"')
    assert solved + failed == 30
    assert f"solved ({solved})" in text
    assert f"failed ({failed})" in text
    assert "#failed:checked ~ details.is-solved" in text

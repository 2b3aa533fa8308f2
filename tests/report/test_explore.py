"""The part of the page that can be asked: archives, individuals, episodes, losses."""

import html
import json
import re
from html.parser import HTMLParser

import pytest

from cycleqd.report import replay, summarise, write_report
from cycleqd.report.episode_pages import write_episode_pages
from cycleqd.report.explore import explored
from cycleqd.report.losses import Training, loss_chart
from cycleqd.run.store import RunStore
from tests.report.synthetic import records, synthetic_run


class Page(HTMLParser):
    """Cells of the archives, rows of the table and the data of a page."""

    def __init__(self, text):
        super().__init__()
        self.cells, self.rows, self.references, self.scripts = [], [], [], []
        self._script, self.text = False, ""
        self.feed(text)

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
        else:
            self.text += data

    @property
    def data(self):
        return json.loads(self.scripts[0])


@pytest.fixture(scope="module")
def finished_page(finished):
    return Page(finished.read_bytes("report/index.html").decode())


def page(store):
    write_report(store)
    return Page(store.read_bytes("report/index.html").decode())


def test_every_cell_of_every_archive_can_be_chosen_and_is_known(finished: RunStore, finished_page: Page) -> None:
    history = replay(finished)
    shown = finished_page
    wanted = [one.id for skill in history.skills for one in history.now.cells[skill].values()]
    assert sorted(cell["data-id"] for cell in shown.cells) == sorted(wanted)
    assert set(wanted) <= shown.data["members"].keys()
    for cell in shown.cells:
        assert cell["role"] == "button"
        assert cell["aria-label"].startswith(f"{cell['data-id']}: ")
    # One stop of the tab key an archive; the arrow keys lead from cell to cell.
    assert [cell["tabindex"] for cell in shown.cells].count("0") == len(history.skills)


def test_what_is_said_of_a_cell_are_the_scores_of_its_individual_with_their_intervals(
    finished: RunStore, finished_page: Page
) -> None:
    record = finished.generations()[-1]
    wanted = []
    for skill in ("coding", "os", "db"):
        score = record.scores[skill]
        low, high = score.interval
        wanted.append(f"{skill} {100 * score.score:.1f} ({100 * low:.0f}–{100 * high:.0f}) %")
    told = {cell["data-id"]: cell["aria-label"] for cell in finished_page.cells}
    assert told[record.individual] == f"{record.individual}: {', '.join(wanted)}"
    assert all(text.count("–") == 3 for text in told.values())


def test_what_is_known_of_a_child_is_what_its_records_say(finished: RunStore, finished_page: Page) -> None:
    record = finished.generations()[2]
    member = finished_page.data["members"]["g0002"]
    assert member["parents"] == list(dict.fromkeys(record.parents))
    assert (member["generation"], member["archive"]) == (2, record.archive)
    score = record.scores["os"]
    low, high = score.interval
    assert member["scores"]["optimization"]["os"] == f"{100 * score.score:.1f} ({100 * low:.0f}–{100 * high:.0f})"
    assert member["won"].keys() == record.cells.keys()


def test_every_individual_is_in_the_table_with_what_the_filter_asks_for(
    finished: RunStore, finished_page: Page
) -> None:
    shown = finished_page
    members = shown.data["members"]
    assert set(members) == {record.id for record in finished.individuals()}
    assert len(shown.rows) == len(members)
    held = {one.id for cells in replay(finished).now.cells.values() for one in cells.values()}
    assert sum("held" in kinds for kinds in shown.rows) == len(held)
    assert sum("expert" in kinds for kinds in shown.rows) == 3


def test_whoever_is_in_an_archive_leads_to_its_episodes(finished: RunStore, finished_page: Page) -> None:
    members = finished_page.data["members"]
    held = [name for name, member in members.items() if member["held"]]
    own = [name for name in held if not members[name]["names"]]
    assert own
    for name in held:
        links = members[name]["links"]
        assert {f"{skill}, optimization" for skill in ("coding", "os", "db")} <= links.keys()
        assert all(finished.exists(f"report/{link.partition('#')[0]}") for link in links.values())
    for name in own:
        text = finished.read_bytes(f"report/transcripts/held-{name}.html").decode()
        assert text.count('class="episode is-') == 3 * 24
        places = re.findall(r' id="([^"]*)"', text)
        assert len(places) == len(set(places))
        for link in members[name]["links"].values():
            assert link.partition("#")[2] in places


def test_page_says_how_many_individuals_of_archives_have_no_episodes_beside_it(
    storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = synthetic_run(storage, generations=12)
    monkeypatch.setitem(write_episode_pages.__kwdefaults__, "most", 1)
    text = " ".join(page(store).text.split())
    held = {one.id for cells in replay(store).now.cells.values() for one in cells.values()}
    left = len(held - set(summarise(store).individuals.values())) - 1
    assert left > 0
    assert f"has a page with its episodes, save {left}: the best have one" in text
    assert f"{left} more have no page." in text


def test_page_needs_nothing_from_elsewhere_and_is_one_file_but_for_episodes(
    finished: RunStore, finished_page: Page
) -> None:
    text = finished.read_bytes("report/index.html").decode()
    assert all(one.startswith(("data:image/png;base64,", "#", "transcripts/")) for one in finished_page.references)
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|@import|fetch\(", text.replace("http://www.w3.org", ""))
    assert not finished.exists("report/explore.html")
    places = set(re.findall(r' id="([^"]*)"', text))
    assert {one[1:] for one in finished_page.references if one.startswith("#")} <= places


@pytest.mark.parametrize("skills", [("os",), ("os", "db"), ("coding", "os", "db")])
def test_archives_of_any_number_of_axes_are_drawn(storage: str, skills: tuple[str, ...]) -> None:
    store = synthetic_run(storage, skills=skills, generations=3)
    for picture in explored(records(store)).archives:
        assert picture.views
        for view in picture.views:
            assert view.squares
            assert all(0 < square.strength <= 1 for square in view.squares)


def test_run_that_has_only_begun_has_a_page_without_archives(storage: str) -> None:
    from tests.report.synthetic import configuration

    store = RunStore(storage, "begun")
    store.open(configuration(storage, ("os",), run_id="begun", generations=3))
    write_report(store)
    shown = Page(store.read_bytes("report/index.html").decode())
    assert (shown.cells, shown.rows) == ([], [])


def test_transcripts_can_be_narrowed_to_solved_or_failed_without_a_script(finished: RunStore) -> None:
    text = finished.read_bytes("report/transcripts/cycleqd-os-test.html").decode()
    solved, failed = text.count('class="episode is-solved"'), text.count('class="episode is-failed"')
    assert solved + failed == 30
    assert f"solved ({solved})" in text
    assert f"failed ({failed})" in text
    assert "#failed:checked ~ details.is-solved" in text


def test_losses_of_the_experts_are_drawn_step_by_step_and_a_long_training_in_means(finished: RunStore) -> None:
    text = finished.read_bytes("report/index.html").decode()
    data = _chart(text)
    assert (data["x"], data["first"], data["stride"], data["unit"]) == ("step", 1, 1, "nats")
    assert [line["name"] for line in data["series"]] == ["coding", "os", "db"]
    assert data["series"][1]["values"] == [round(1 / step, 3) for step in range(1, 21)]
    assert "os: 20 steps, 1.000 to 0.050; held out: 0.400 after step 10, 0.300 after step 20" in text
    chart, _ = loss_chart({"os": Training([1.0] * 500 + [0.0] * 500), "db": Training([0.5])})
    assert _chart(chart)["stride"] == 3
    assert len(_chart(chart)["series"][0]["values"]) == 334
    assert "means of 3 steps" in chart
    assert explored(records(finished)).losses == ""


def _chart(text):
    return json.loads(html.unescape(re.search(r'data-chart="([^"]*)"', text)[1]))


def test_every_sample_has_a_row_with_the_verdicts_of_all_models_and_links_that_lead_there(finished: RunStore) -> None:
    text = finished.read_bytes("report/transcripts/samples-os-test.html").decode()
    summary = summarise(finished)
    rows = re.findall(r'<tr id="(s-[0-9a-f]+)" data-kind="(\w+)">(.*?)</tr>', text, re.DOTALL)
    assert len(rows) == len({place for place, *_ in rows}) == 30
    assert {kind for _, kind, _ in rows} <= {"all", "differ", "none"}
    scores = summary.splits["test"]
    for column, row in enumerate(row for row in summary.genomes if "os" in scores[row]):
        shown = [re.findall(r">([\d.]+)</a>", cells)[column] for _, _, cells in rows]
        assert sum(map(float, shown)) / 30 == pytest.approx(scores[row]["os"].score)
    for href in re.findall(r'href="([^"]+)#', text):
        assert finished.exists(f"report/transcripts/{href}")
    episodes, place = finished.read_bytes("report/transcripts/base-os-test.html").decode(), rows[3][0]
    assert f'<details id="{place}"' in episodes
    assert f'href="samples-os-test.html#{place}"' in episodes

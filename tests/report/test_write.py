from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from cycleqd.config import RunConfig
from cycleqd.report import replay, summarise, write_report
from cycleqd.report.tables import comparison_table, headline, score_table
from cycleqd.run.store import RunStore
from tests.report.synthetic import genome, synthetic_run


class Page(HTMLParser):
    """Collects what a page contains and refers to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def page(store: RunStore, name: str = "index.html") -> Page:
    return Page(store.read_bytes(f"report/{name}").decode())


def test_the_page_needs_nothing_from_elsewhere(finished: RunStore) -> None:
    index = page(finished)
    assert index.tags.count("script") == 2  # what can be asked, and the script that asks
    assert "link" not in index.tags
    assert "@import" not in index.text
    for reference in index.references:
        assert reference.startswith(("data:image/png;base64,", "#", "transcripts/"))
    assert index.tags.count("img") == 5


def test_every_transcript_that_is_linked_is_there(finished: RunStore) -> None:
    links = [reference for reference in page(finished).references if reference.startswith("transcripts/")]
    held = {one.id for cells in replay(finished).now.cells.values() for one in cells.values()}  # type: ignore[union-attr]
    own = held - set(summarise(finished).individuals.values())
    # Rows, the pages that compare them, and individuals in archives.
    assert len(links) == len(set(links)) == 9 * 3 * 2 + 3 * 2 + len(own)
    assert all(finished.exists(f"report/{link}") for link in links)


def test_what_a_model_wrote_is_shown_and_never_interpreted(finished: RunStore) -> None:
    transcript = page(finished, "transcripts/cycleqd-os-test.html")
    assert transcript.tags.count("script") == 1
    text = finished.read_bytes("report/transcripts/cycleqd-os-test.html").decode()
    script = text.partition("<script>")[2].partition("</script>")[0]
    allowed = re.search("script-src '([^']*)'", text)
    assert allowed is not None
    assert allowed[1] == f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
    assert "<script>alert('x')</script> \\x1b[31m[bold]red[/bold] {{ 7 * 7 }}" in transcript.text


def test_the_page_tells_provenance(finished: RunStore) -> None:
    text = page(finished).text
    for fact in (
        genome("base"),
        genome("aggregate"),
        genome("os test"),
        "torch",
        "2.13.0",
        "w_max: 0.3",
        "2030-01-02",
    ):
        assert fact in text


def test_tables_agree_with_the_summary(finished: RunStore) -> None:
    summary = summarise(finished)
    score = summary.score("test", "cycleqd", "os")
    assert score is not None
    cell = f"{100 * score.score:.1f} ({100 * score.interval.low:.0f}–{100 * score.interval.high:.0f})"
    assert cell in score_table(summary, "test").rows[-1]
    assert cell in page(finished).text
    assert cell in finished.read_bytes("report/report.md").decode()


def test_markdown_links_the_figures_beside_it(finished: RunStore) -> None:
    links = re.findall(r"!\[.*?\]\((.*?)\)", finished.read_bytes("report/report.md").decode())
    assert len(links) == 8
    assert all(finished.exists(f"report/{link}") for link in links)


def test_markdown_tables_are_rectangular(finished: RunStore) -> None:
    for block in finished.read_bytes("report/report.md").decode().split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_an_unclear_difference_is_called_so(storage: str) -> None:
    store = synthetic_run(storage)
    summary = summarise(store)
    comparisons = [
        item.model_copy(update={"difference": 0.01, "se": 0.02, "clear": False}) for item in summary.comparisons
    ]
    unclear = summary.model_copy(update={"comparisons": comparisons})
    assert {row[-1] for row in comparison_table(unclear, "test").rows} == {"may be chance"}
    assert "May be chance" in headline(unclear)


def test_an_article_stands_once_before_each_model(finished: RunStore) -> None:
    summary = summarise(finished)
    rows = {**dict.fromkeys(summary.beats, True), "merged": True}
    assert "and the search's merge." in headline(summary.model_copy(update={"beats": rows}))


def test_a_report_under_way_says_how_far_it_is(storage: str) -> None:
    store = synthetic_run(storage, generations=2, planned=40, finished=False)
    write_report(store)
    text = page(store).text
    assert "2 of 40 generations are finished" in text
    assert "not measured on the test split yet" in text
    assert not store.exists("report/scores-test.png")


def test_a_report_of_a_run_that_has_only_begun_is_written(storage: str) -> None:
    store = RunStore(storage, "empty")
    store.open(RunConfig(run_id="empty"))
    write_report(store)
    assert "0 of 42 generations" in page(store).text
    assert store.exists("report/report.md")


@pytest.mark.parametrize("skills", [("db",), ("os", "db")])
def test_fewer_skills_give_a_full_report(storage: str, skills: tuple[str, ...]) -> None:
    store = synthetic_run(storage, skills=skills, generations=3)
    summary = write_report(store)
    assert summary.rows == [
        "base",
        *(f"expert:{s}" for s in skills),
        "average",
        *(f"elite:{s}" for s in skills),
        "cycleqd",
    ]
    assert {f"report/archive-{skill}.png" for skill in skills} <= set(store.keys("report"))
    assert page(store).tags.count("img") == 5


def test_a_report_through_a_remote_store_is_the_same(finished: RunStore) -> None:
    remote = RunStore("memory://report-test", "finished")
    for folder in ("", "generations", "sessions", *(f"{kind}/{key}" for kind, key in _folders(finished))):
        for key in finished.keys(folder) if folder else ["config.json", "base.json"]:
            if finished.local(key).is_file():
                remote.write_bytes(key, finished.read_bytes(key))
    write_report(remote)
    assert remote.read_bytes("report/summary.json") == finished.read_bytes("report/summary.json")
    assert remote.read_bytes("report/index.html") == finished.read_bytes("report/index.html")


def _folders(store: RunStore) -> list[tuple[str, str]]:
    return [
        (kind, key.rpartition("/")[2])
        for kind in ("individuals", "evaluations", "experts")
        for key in store.keys(kind)
    ]

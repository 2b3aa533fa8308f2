"""The pages of a report and of a comparison in a real browser: hover, choose, sort, filter, dark, and narrow."""

import re

import pytest
from playwright.sync_api import expect

from cycleqd.report import write_report
from cycleqd.report.compare import comparison, page, read_run
from tests.live_prefect import ROOT
from tests.report.synthetic import synthetic_run

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report of 30 generations, and its comparison with a shorter run."""
    folder = tmp_path_factory.mktemp("runs")
    stores = [synthetic_run(str(folder), run_id=name, generations=n) for name, n in (("long", 30), ("short", 20))]
    write_report(stores[0])
    runs = [read_run(store) for store in stores]
    (folder / "comparison.html").write_text(page(runs, comparison(runs)))
    further = synthetic_run(str(folder), run_id="axes", skills=("coding", "os", "db", "mbpp_plus"), generations=12)
    write_report(further)
    return folder


@pytest.fixture
def visit(chromium, folder):
    """Opens a page; at the end, nothing may have gone wrong in it and nothing have been asked of a network."""
    opened, wrong = [], []

    def visit(name, *, width=1150, scheme="light"):
        shown = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        shown.set_default_timeout(60_000)
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.on("console", lambda message: wrong.append(message.text))
        shown.on("request", lambda request: wrong.append(request.url) if "file:" not in request.url else None)
        shown.goto((folder / name).as_uri())
        opened.append(shown)
        return shown

    yield visit
    for shown in opened:
        shown.close()
    assert wrong == []


def child_cell(shown):
    wanted = shown.locator(".cell[data-id='g0012']")
    return (wanted if wanted.count() else shown.locator(".cell[data-id^='g']")).first


def seen(shown, place):
    """Whether the whole of it is in the window and nothing lies over its middle."""
    return place.evaluate(
        """(element) => {
            const box = element.getBoundingClientRect();
            const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
            return box.top >= 0 && box.left >= 0 && box.bottom <= innerHeight + 0.5 && box.right <= innerWidth + 0.5
                && (element === top || element.contains(top));
        }"""
    )


def test_cell_that_is_chosen_shows_the_individual_and_its_parents_lead_on(visit, request):
    shown = visit("long/report/index.html", width=1280)
    shown.locator("#archives").evaluate("(heading) => heading.scrollIntoView()")
    child = child_cell(shown)
    identifier = child.get_attribute("data-id")
    child.hover()
    child.click()
    chosen = shown.locator("#chosen")
    expect(chosen).to_contain_text(f"Chosen: {identifier}")
    expect(chosen).to_contain_text("Cells won:")
    if request.config.getoption("--screenshots"):
        shown.screenshot(path=ROOT / "docs" / "images" / "explore.png")
    parent = chosen.locator("ul.tree button").nth(1)
    name = parent.inner_text()
    parent.click()
    expect(chosen).to_contain_text(f"Chosen: {name}")
    expect(chosen.locator("h2")).to_be_focused()


@pytest.mark.parametrize("width", [1280, 400])
def test_what_was_chosen_is_seen_where_the_user_looks(visit, width):
    shown = visit("long/report/index.html", width=width)
    chosen = shown.locator("#chosen")
    expect(chosen).to_be_hidden()
    archives = shown.locator(".archive")
    for number in range(archives.count()):
        cell = archives.nth(number).locator(".cell").last
        # At the lower edge of the window, where the panel is going to be.
        cell.evaluate("(cell) => scrollBy(0, cell.getBoundingClientRect().bottom - innerHeight + 2)")
        cell.click()
        heading = chosen.locator("h2")
        expect(heading).to_have_text(f"Chosen: {cell.get_attribute('data-id')}")
        assert seen(shown, heading)
        assert seen(shown, chosen.locator("tbody tr").first)
        assert seen(shown, chosen.get_by_role("button", name="Close"))
        assert seen(shown, cell)
        assert chosen.bounding_box()["height"] < 450
    row = shown.locator("#table button.pick").last
    row.click()
    expect(chosen.locator("h2")).to_have_text(f"Chosen: {row.inner_text()}")
    assert seen(shown, chosen.locator("h2"))
    assert seen(shown, row)
    shown.keyboard.press("Escape")
    expect(chosen).to_be_hidden()
    expect(row).to_be_focused()


def test_last_line_of_the_page_can_be_read_while_something_is_chosen(visit):
    shown = visit("long/report/index.html", width=400)
    child_cell(shown).click()
    shown.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    assert seen(shown, shown.locator("body > details summary").last)


@pytest.mark.parametrize("width", [1280, 400])
def test_scores_with_intervals_are_said_where_the_pointer_or_the_focus_is(visit, width):
    shown = visit("long/report/index.html", width=width)
    cells, hint = shown.locator(".archive").first.locator(".cell"), shown.locator("#hint")
    expect(hint).to_be_hidden()
    for cell in (cells.first, cells.last):
        cell.hover()
        expect(hint).to_be_visible()
        lines = hint.inner_text().splitlines()
        assert lines[0] == cell.get_attribute("data-id")
        assert [line.split()[0] for line in lines[1:4]] == ["coding", "os", "db"]
        assert all(re.fullmatch(r"\w+ [\d.]+ \(\d+–\d+\) %", line) for line in lines[1:4])
        box, whole = hint.bounding_box(), cell.bounding_box()
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width
        gap = max(whole["y"] - box["y"] - box["height"], box["y"] - whole["y"] - whole["height"])
        assert 0 <= gap < 12  # beside the cell, not over it
    shown.mouse.move(0, 0)
    expect(hint).to_be_hidden()
    shown.keyboard.press("Tab")
    cells.first.focus()
    shown.keyboard.press("ArrowRight")
    expect(hint).to_contain_text(cells.nth(1).get_attribute("data-id"))
    expect(hint).to_contain_text("–")
    shown.keyboard.press("Escape")
    expect(hint).to_be_hidden()
    expect(cells.nth(1)).to_be_focused()


def test_cell_leads_to_the_episodes_of_its_individual(visit):
    shown = visit("long/report/index.html")
    held = shown.locator("#table tr[data-kind~='held'] button").all_inner_texts()
    own = next(name for name in held if shown.locator(f"a[href='transcripts/held-{name}.html']").count())
    shown.locator(f".cell[data-id='{own}']").first.click()
    shown.locator("#chosen").get_by_role("link", name="os, optimization").click()
    expect(shown.locator("h1")).to_have_text(f"{own}: optimization")
    expect(shown.locator("h2#os")).to_be_in_viewport()
    every = shown.locator("details:visible").count()
    shown.locator("#failed").check()
    failed = shown.locator("details:visible").count()
    shown.locator("#solved").check()
    assert 0 < failed < every == failed + shown.locator("details:visible").count() == 3 * 24
    shown.get_by_text("Back to the report").click()
    expect(shown.locator("#chosen")).to_be_hidden()


def test_archive_of_more_axes_is_turned_to_another_pair(visit):
    shown = visit("axes/report/index.html")
    archive = shown.locator(".archive").first
    expect(archive.locator("svg:visible")).to_have_count(1)
    archive.locator("select").select_option("os and mbpp_plus")
    expect(archive.locator("svg:visible")).to_have_count(1)
    assert "by os and mbpp_plus" in archive.locator("svg:visible").get_attribute("aria-label")


def test_everything_of_an_archives_picture_is_seen(visit):
    shown = visit("long/report/index.html")
    outside = shown.evaluate(
        """() => [...document.querySelectorAll(".archive svg")].flatMap((picture) => {
            const all = picture.viewBox.baseVal;
            return [...picture.querySelectorAll("text")].filter((text) => {
                if (text.getAttribute("transform")) return false;
                const box = text.getBBox();
                return box.x < 0 || box.y < 0 || box.x + box.width > all.width || box.y + box.height > all.height;
            }).map((text) => text.textContent);
        })"""
    )
    assert outside == []


def test_archive_can_be_walked_with_the_keyboard(visit):
    shown = visit("long/report/index.html")
    cells = shown.locator(".archive").first.locator(".cell")
    cells.first.focus()
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("Enter")
    expect(shown.locator("#chosen")).to_contain_text(f"Chosen: {cells.nth(1).get_attribute('data-id')}")


def test_table_of_individuals_is_sorted_and_filtered(visit):
    shown = visit("long/report/index.html")
    rows = shown.locator("#table tbody tr:visible")
    assert rows.count() == 30 + 3 + 2
    shown.locator("select[name=kind]").select_option("expert")
    expect(rows).to_have_count(3)
    shown.locator("select[name=kind]").select_option("")
    shown.locator("input[name=words]").fill("g0004")
    assert 0 < rows.count() < 35
    shown.locator("input[name=words]").fill("")
    shown.get_by_role("button", name="mean").click()
    means = [float(text) for text in shown.locator("#table tbody td:nth-child(7)").all_inner_texts() if text != "–"]
    assert means == sorted(means, reverse=True)


def test_transcripts_are_searched_and_a_sample_leads_from_model_to_model(visit):
    shown = visit("long/report/transcripts/samples-os-test.html")
    rows = shown.locator("#samples tbody tr:visible")
    assert rows.count() == 30
    shown.locator("select[name=kind]").select_option("differ")
    assert 0 < rows.count() < 30
    sample = rows.nth(2).locator("code").inner_text()
    rows.nth(2).locator("a").first.click()
    opened = shown.locator("details[open]", has_text=sample)
    expect(opened).to_have_count(1)
    shown.locator("input[name=words]").fill(sample)
    expect(shown.locator("details.episode:visible")).to_have_count(1)
    opened.get_by_text("the same sample in all models").click()
    expect(shown.locator("tr:target")).to_contain_text(sample)


def test_losses_of_the_experts_are_said_step_by_step(visit):
    shown = visit("long/report/index.html")
    chart = shown.locator("figure.chart")
    chart.focus()
    shown.keyboard.press("End")
    expect(chart.locator("output")).to_contain_text("step 20: ")
    expect(chart.locator("output")).to_contain_text("os 0.05 nats")


def test_transcripts_show_solved_or_failed_episodes(visit):
    shown = visit("long/report/transcripts/cycleqd-os-test.html")
    every = shown.locator("details:visible").count()
    shown.locator("#failed").check()
    failed = shown.locator("details:visible").count()
    shown.locator("#solved").check()
    assert 0 < failed < every == failed + shown.locator("details:visible").count() == 30


def test_chart_says_its_numbers_where_the_pointer_is_and_where_the_arrow_keys_lead(visit, request):
    shown = visit("comparison.html")
    chart = shown.locator("figure.chart").first
    chart.scroll_into_view_if_needed()
    box = chart.locator("svg").bounding_box()
    shown.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2)
    expect(chart.locator("output")).to_contain_text("generation 1")
    expect(chart.locator("output")).to_contain_text("long")
    if request.config.getoption("--screenshots"):
        shown.screenshot(path=ROOT / "docs" / "images" / "comparison.png")
    shown.mouse.move(0, 0)
    chart.focus()
    shown.keyboard.press("End")
    expect(chart.locator("output")).to_contain_text("generation 30: long")
    assert "short" not in chart.locator("output").inner_text()
    shown.locator("input[data-toggle='0']").uncheck()
    expect(shown.locator("polyline[data-line='0']").first).to_be_hidden()
    expect(shown.locator("polyline[data-line='1']").first).to_be_visible()


def test_times_are_sorted_by_how_long_they_are(visit):
    shown = visit("comparison.html")
    table = shown.locator("table.sortable").first
    column = table.locator("thead th").all_inner_texts().index("time") + 1
    times = {"20 min 43 s": 1243, "3 min 00 s": 180, "1 h 44 min": 6240}
    table.evaluate(
        """(table, [column, times]) => {
            const rows = Object.entries(times).map(([text, seconds]) => {
                const row = table.tBodies[0].rows[0].cloneNode(true), cell = row.cells[column - 1];
                cell.textContent = text; cell.dataset.value = seconds;
                return row;
            });
            table.tBodies[0].replaceChildren(...rows);
        }""",
        [column, times],
    )
    head = table.locator("thead th").nth(column - 1)
    for order, wanted in (
        ("descending", sorted(times, key=times.get, reverse=True)),
        ("ascending", sorted(times, key=times.get)),
    ):
        head.get_by_role("button").click()
        expect(head).to_have_attribute("aria-sort", order)
        assert table.locator(f"tbody td:nth-child({column})").all_inner_texts() == wanted


@pytest.mark.parametrize(
    "name",
    ["comparison.html", "long/report/index.html", "axes/report/index.html",
     "long/report/transcripts/cycleqd-os-test.html", "long/report/transcripts/samples-os-test.html"],
)  # fmt: skip
def test_pages_are_readable_at_400_pixels_and_in_the_dark(visit, name):
    shown = visit(name, width=400, scheme="dark")
    assert shown.evaluate("document.documentElement.scrollWidth") == 400
    paper, ink = (
        [int(part) for part in shown.evaluate(f"getComputedStyle(document.body).{which}")[4:-1].split(",")]
        for which in ("backgroundColor", "color")
    )
    assert max(paper) < 40
    assert min(ink) > 200

"""The pages of a report and of a comparison in a real browser: hover, choose, sort, filter, dark, and narrow."""

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


def test_cell_that_is_chosen_shows_the_individual_and_its_parents_lead_on(visit, request):
    shown = visit("long/report/explore.html")
    child = shown.locator(".cell[data-id='g0012']").first
    if not child.count():
        child = shown.locator(".cell[data-id^='g']").first
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


def test_archive_can_be_walked_with_the_keyboard(visit):
    shown = visit("long/report/explore.html")
    cells = shown.locator(".archive").first.locator(".cell")
    cells.first.focus()
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("Enter")
    expect(shown.locator("#chosen")).to_contain_text(f"Chosen: {cells.nth(1).get_attribute('data-id')}")


def test_table_of_individuals_is_sorted_and_filtered(visit):
    shown = visit("long/report/explore.html")
    rows = shown.locator("#table tbody tr:visible")
    assert rows.count() == 30 + 3 + 2
    shown.locator("select[name=kind]").select_option("expert")
    expect(rows).to_have_count(3)
    shown.locator("select[name=kind]").select_option("")
    shown.locator("input[name=words]").fill("g0004")
    assert 0 < rows.count() < 35
    shown.locator("input[name=words]").fill("")
    shown.get_by_role("button", name="mean").click()
    means = [float(text) for text in shown.locator("#table tbody td:nth-child(8)").all_inner_texts() if text != "–"]
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
    shown = visit("long/report/explore.html")
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
    ["comparison.html", "long/report/index.html", "long/report/explore.html",
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

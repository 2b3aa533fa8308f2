"""A person's way through the Prefect UI, in a real browser: change a field, start a run, read what came out."""

from contextlib import contextmanager
from datetime import timedelta

import pytest
from playwright.sync_api import expect
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterName,
    FlowRunFilterTags,
)
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Scheduled

from cycleqd.config import RunConfig, load_config
from cycleqd.config.form import CHANGED, USUAL
from cycleqd.run.store import RunStore
from tests.live_prefect import ROOT, SMALLEST, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.docker, pytest.mark.slow]

GRAPH = 20_000
"""Milliseconds for the graph of a run, which is drawn after the page and not seen from outside."""

PATIENCE = 300_000
"""Milliseconds for a page to show something, on a machine that has other things to do."""


SHORT = 10_000
"""Pixels that the shipped form may have at this width. It had 16,500 with five sections open."""

FEWER_FRAMES = "const next = requestAnimationFrame; window.requestAnimationFrame = f => setTimeout(() => next(f), 100)"
"""Without a GPU the graph of a run, drawn sixty times a second, takes a core from those who play it."""


@pytest.fixture
def page(chromium):
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.add_init_script(FEWER_FRAMES)
    # Shown when the test fails.
    page.on("console", lambda message: print(f"browser: {message.type}: {message.text}"))
    page.on("requestfailed", lambda request: print(f"browser: {request.method} {request.url}: {request.failure}"))
    yield page
    print(f"browser: last seen at {page.url}:\n{page.locator('body').inner_text()}")
    page.close()


@pytest.fixture
def picture(page, request):
    """Saves a screenshot for the docs when pytest runs with ``--screenshots``."""

    def save(name, milliseconds=1500):
        if request.config.getoption("--screenshots"):
            page.wait_for_timeout(milliseconds)
            folder = ROOT / "docs" / "images"
            folder.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=folder / f"prefect-{name}.png")

    return save


@contextmanager
def defaults(live, **configuration):
    """The form of the deployment `cycleqd` starts with this configuration."""
    with live.client() as client:
        deployment = client.read_deployment_by_name("cycleqd/cycleqd")
        address = f"/deployments/{deployment.id}"
        client.request("PATCH", address, json={"parameters": {"config": configuration}}).raise_for_status()
        yield deployment
        client.request("PATCH", address, json={"parameters": deployment.parameters}).raise_for_status()


def field(page, label):
    """The form's field of that label."""
    return page.locator(
        f"//span[contains(@class, 'schema-form-property__label') and normalize-space() = '{label}']"
        "/ancestor::div[@class='p-label schema-form-property'][1]"
    )


def choice(page, label):
    """The form's folded field of that label."""
    return page.locator(
        f"//span[contains(@class, 'schema-form-property__label') and normalize-space() = '{label}']"
        "/ancestor::div[contains(@class, 'schema-form-property-any-of-input')][1]"
    )


def press(page, name):
    """Presses a button as the keyboard does: a form moves when its faults come and go, and a click beside is lost."""
    page.get_by_role("button", name=name, exact=True).press("Enter")


def tab(page, name):
    page.get_by_role("button", name=name, exact=True).or_(page.get_by_text(name, exact=True)).first.click()


def test_the_form_refuses_a_bad_value_and_starts_a_run(live_prefect, page, picture):
    url = live_prefect.url
    with live_prefect.client() as client:
        deployment = client.read_deployment_by_name("cycleqd/cycleqd")
    form = f"{url}/deployments/deployment/{deployment.id}/run"
    page.goto(form)
    generations = field(page, "Generations (Optional)").locator("input")
    expect(generations).to_have_value("20")
    expect(choice(page, "Profile (Optional)")).to_contain_text("demo")
    picture("form")
    experts = choice(page, "Experts (Optional)")
    expect(experts).to_contain_text(USUAL)
    experts.evaluate("field => field.scrollIntoView()")
    picture("folded")
    assert page.locator("form").first.evaluate("form => form.scrollHeight") < SHORT

    with defaults(live_prefect, **live_prefect.configuration("seen", generations=1)):
        page.goto(form)
        expect(generations).to_have_value("1")
        # Descriptions, defaults of nested sections and enums.
        expect(field(page, "Generations (Optional)")).to_contain_text("Children to evolve.")
        expect(field(page, "Batching (Optional)")).to_contain_text("strict")  # given, so the section is open
        folded = choice(page, "Grid (Optional)")
        expect(folded).to_contain_text(USUAL)
        expect(field(page, "Bins (Optional)")).to_have_count(0)
        folded.get_by_text(CHANGED, exact=True).click()
        expect(field(page, "Bins (Optional)").locator("input")).to_have_value("15")
        field(page, "Bins (Optional)").locator("input").fill("0")
        press(page, "Submit")
        expect(page.get_by_text("config.grid.bins").first).to_be_visible()
        folded.get_by_text(USUAL, exact=True).click()

        samples = choice(page, "Optimization (Optional)").first.locator("input")  # a number, or null
        samples.fill("0")
        press(page, "Submit")
        told = "config.skills[0].optimization'. Failure reason: 0 is less than the minimum of 1"
        expect(page.get_by_text(told).first).to_be_visible()
        samples.fill("2")

        generations.fill("-3")
        press(page, "Submit")
        expect(page.get_by_text("config.generations").first).to_be_visible()
        picture("refused")

        generations.fill("2")
        expect(page.get_by_text("config.generations")).to_have_count(0)  # the form looks again, a second later
        press(page, "Submit")
        page.wait_for_url("**/deployment/*?tab=Runs")

    run = wait_for(lambda: _run(live_prefect, "cycleqd seen"), seconds=120)
    wait_for(lambda: live_prefect.state(run).is_final(), seconds=240)
    assert live_prefect.state(run).is_completed(), live_prefect.logs(run)
    page.goto(f"{url}/deployments")
    page.get_by_role("link", name="cycleqd", exact=True).first.wait_for()
    picture("deployments")


def test_a_quick_run_and_a_schedule_with_overrides_run(live_prefect, page, picture):
    changes = SMALLEST | {"generations": 0, "grid": {"bins": 7, "lower": 0.5, "upper": 2.0}}
    # Of the profile, the rule for elites is left.
    changes |= {"profile": "demo", "search": {"kind": "cycleqd"}, "refinement": {"epochs": 0}}
    with defaults(live_prefect, **live_prefect.configuration("quick", **changes)) as deployment:
        url = f"{live_prefect.url}/deployments/deployment/{deployment.id}"
        page.goto(url)
        page.get_by_role("button", name="Run", exact=True).press("Space")
        page.get_by_text("Quick run", exact=True).click()
        page.get_by_role("button", name="Close").wait_for()
        page.get_by_role("button", name="Run", exact=True).last.click()  # of the dialog, which shows the form
        quick = wait_for(lambda: _run(live_prefect, "cycleqd quick"), seconds=300)

        page.goto(url)
        page.get_by_role("button", name="Schedule", exact=True).first.click()
        page.get_by_role("button", name="Select parameters").press("Space")  # a click opens and closes it again
        page.locator(".p-select-option").get_by_text("config", exact=True).click()
        page.keyboard.press("Escape")
        field(page, "Run Id (Optional)").locator("textarea, input").fill("planned")
        expect(choice(page, "Sampling (Optional)")).to_contain_text(USUAL)
        choice(page, "Grid (Optional)").get_by_text(USUAL, exact=True).click()
        picture("schedule")
        page.get_by_role("button", name="Save").click()

        def stored():
            with live_prefect.client() as client:
                return client.read_deployment(deployment.id).schedules

        (schedule,) = wait_for(stored, seconds=120)
        assert schedule.parameters["config"]["grid"] is None
        planned = wait_for(lambda: _next_of(live_prefect, deployment), seconds=300)
        with live_prefect.client() as client:
            if client.read_flow_run(planned).state.is_scheduled():
                client.set_flow_run_state(planned, Scheduled(), force=True)  # now, and not when the hour is over
        for run in (quick, planned):
            wait_for(lambda run=run: live_prefect.state(run).is_final(), seconds=600)
            assert live_prefect.state(run).is_completed(), live_prefect.logs(run)
        with live_prefect.client() as client:
            client.delete_deployment_schedule(deployment.id, schedule.id)
    runs = live_prefect.folder / "runs"
    made = {name: RunStore(str(runs), name).config() for name in ("quick", "planned")}
    assert made["quick"].grid.bins == 7
    assert made["quick"].aggregation.elites == load_config("demo").aggregation.elites == "balanced"
    assert made["planned"] == made["quick"].model_copy(update={"run_id": "planned", "grid": RunConfig().grid})


def test_schedules_stay_as_a_person_left_them_when_everything_is_registered_again(live_prefect, page):
    with live_prefect.client() as client:
        deployments = {each.name: each for each in client.read_deployments()}
        own = DeploymentScheduleCreate(
            schedule=IntervalSchedule(interval=timedelta(hours=12)), active=True, slug="mine"
        )
        client.create_deployment_schedules(deployments["evolve"].id, [own])
    cards = page.locator(".deployment-schedule-card")

    def shown(name, count):
        """The schedules on a deployment's page, and whether each is on."""
        page.goto(f"{live_prefect.url}/deployments/deployment/{deployments[name].id}")
        expect(cards).to_have_count(count)
        return {
            card.inner_text().strip(): card.get_by_role("switch").get_attribute("aria-checked") for card in cards.all()
        }

    def all_shown():
        return shown("rerun", 2), shown("evolve", 1), shown("resume-unfinished", 1)

    try:
        assert shown("rerun", 1) == {"saturdays": "false"}
        cards.get_by_role("switch").click()
        expect(cards.get_by_role("switch")).to_have_attribute("aria-checked", "true")
        # One without a slug, for which Prefect's own registering would take all away and put back the shipped one.
        page.get_by_role("button", name="Schedule", exact=True).first.click()
        page.get_by_role("button", name="Save").click()
        expect(cards).to_have_count(2)
        left = all_shown()
        assert {*left[0].values()} == {"true"}
        assert left[1:] == ({"mine": "true"}, {"half-hourly": "false"})
        live_prefect.up()
        assert all_shown() == left
    finally:
        with live_prefect.client() as client:
            for deployment in client.read_deployments():
                for schedule in deployment.schedules:
                    if schedule.id in {each.id for each in deployments[deployment.name].schedules}:
                        client.update_deployment_schedule(deployment.id, schedule.id, active=False)
                    else:
                        client.delete_deployment_schedule(deployment.id, schedule.id)


def test_phases_generations_and_one_evaluations_log_and_episodes(live_prefect, page, picture):
    page.goto(f"{live_prefect.url}/runs/flow-run/{_seen(live_prefect)}")
    tab(page, "Subflow Runs")
    for phase in ("train-experts", "score-baselines", "seed-archives", "evolve", "aggregate"):
        expect(page.get_by_role("link", name=f"{phase} seen").first).to_be_visible()
    picture("run", GRAPH)

    page.get_by_role("link", name="evolve seen").first.click()
    tab(page, "Task Runs")
    for generation in (0, 1):
        for what in ("breed", "evaluate coding", "evaluate os", "evaluate db", "commit"):
            name = f"g000{generation} {what}"
            page.get_by_placeholder("Search by run name").last.fill(name)
            expect(page.get_by_role("link", name=name).first).to_be_visible()
    page.get_by_placeholder("Search by run name").last.fill("g0001 evaluate os")
    picture("generations", GRAPH)

    page.get_by_role("link", name="g0001 evaluate os").first.click()
    expect(page.get_by_text("g0001 (parents: expert-").first).to_be_visible()
    expect(page.get_by_text("on os optimization: 0.000 (0.00–0.66) (0 of 2 solved").first).to_be_visible()
    expect(page.get_by_text("g0001 on os: solved: none; failed: os/").first).to_be_visible()
    picture("log")
    tab(page, "Artifacts")
    page.get_by_role("link", name="cycleqd-seen-episodes-os").first.click()
    expect(page.get_by_text("to the model").first).to_be_visible()
    expect(page.get_by_text("verdict").first).to_be_visible()
    picture("episodes")


def test_archives_scores_and_report_are_artifacts_with_pictures(live_prefect, page, picture):
    _seen(live_prefect)
    with live_prefect.client() as client:
        history = client.read_artifacts(limit=200)
    artifacts = {artifact.key: artifact for artifact in sorted(history, key=lambda artifact: artifact.created)}
    for name in ("progress", "archives", "scores", "report", "episodes-coding", "episodes-os", "episodes-db"):
        artifact = artifacts[f"cycleqd-seen-{name}"]
        assert len(str(artifact.data)) < 200_000
    assert artifacts["cycleqd-seen-progress"].data == 100
    for name, title in (("archives", "coding archive"), ("scores", "best score per generation")):
        page.goto(f"{live_prefect.url}/artifacts/artifact/{artifacts[f'cycleqd-seen-{name}'].id}")
        image = page.get_by_role("img", name=title).first
        expect(image).to_be_visible()
        assert image.evaluate("image => image.complete && image.naturalWidth > 50")
        picture(name)
    page.goto(f"{live_prefect.url}/artifacts/artifact/{artifacts['cycleqd-seen-report'].id}")
    expect(page.get_by_text("Scores on the test split").first).to_be_visible()
    picture("report")


def test_a_suspended_run_stops_stays_suspended_and_resumes_where_it_was(live_prefect, page, picture):
    configuration = live_prefect.configuration("rested", **SMALLEST | {"generations": 15})
    run = live_prefect.start("cycleqd/cycleqd", {"config": configuration})
    store = RunStore(str(live_prefect.folder / "runs"), "rested")
    wait_for(lambda: live_prefect.state(run).is_running(), seconds=300)
    page.goto(f"{live_prefect.url}/runs/flow-run/{run}")
    page.get_by_role("button", name="Suspend", exact=True).click()
    wait_for(store.generations, seconds=600)
    page.get_by_role("button", name="Submit", exact=True).click()

    def states():
        with live_prefect.client() as client:
            return {each.name: each.state.name for each in client.read_flow_runs() if each.name.endswith(" rested")}

    wait_for(lambda: states()["evolve rested"] != "Running", seconds=300)
    wait_for(lambda: "exited cleanly" in live_prefect.logs(run), seconds=120)
    assert {name: state for name, state in states().items() if state != "Completed"} == {
        "cycleqd rested": "Suspended",
        "evolve rested": "Paused",
    }
    done = store.generations()
    assert 0 < len(done) < 15
    picture("suspended", GRAPH)
    page.get_by_role("button", name="Resume", exact=True).click()
    page.get_by_role("button", name="Submit", exact=True).click()
    wait_for(lambda: live_prefect.state(run).is_final(), seconds=600)
    assert live_prefect.state(run).is_completed(), live_prefect.logs(run)
    assert set(states().values()) == {"Completed"}
    assert store.generations()[: len(done)] == done
    assert len(store.generations()) == 15


def _seen(live):
    """The run that the first test started; made here when that test was left out."""
    run = _run(live, "cycleqd seen")
    if run is None:
        run = live.start("cycleqd/cycleqd", {"config": live.configuration("seen", generations=2)})
        wait_for(lambda: live.state(run).is_final(), seconds=240)
    return run


def _next_of(live, deployment):
    """The first run that the deployment's schedule made."""
    with live.client() as client:
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]),
                tags=FlowRunFilterTags(all_=["auto-scheduled"]),
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        )
    return found[0].id if found else None


def _run(live, name):
    with live.client() as client:
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name])))
    return found[0].id if found else None

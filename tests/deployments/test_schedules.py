"""Schedules are the user's: registering again, against a real server, leaves all of them as they are."""

import json
from datetime import timedelta

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.settings import PREFECT_API_URL

from cycleqd.config import load_config
from deployments import register
from flows.rerun import rerun

pytestmark = pytest.mark.slow


@pytest.fixture
def server(prefect_harness, monkeypatch):
    """A client of a server that registering reaches, too."""
    monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
    with get_client(sync_client=True) as client:
        yield client


def schedules(server):
    """All of them by deployment and slug or id, as a person sees them."""
    return {
        (deployment.name, schedule.slug or str(schedule.id)): (
            schedule.active, schedule.schedule.model_dump(mode="json"), schedule.parameters
        )
        for deployment in server.read_deployments()
        for schedule in deployment.schedules
    }  # fmt: skip


def form(config):
    """A configuration as the form of a schedule stores it: mappings as JSON texts."""
    experts = config["experts"]
    for name in ("data", "epochs_by_skill"):
        experts = experts | {name: {"__prefect_kind": "json", "value": json.dumps(experts[name])}}
    return {"config": config | {"experts": experts}}


def test_schedules_stay_as_people_set_them_with_slugs_and_without(server):
    before = server.read_flow_runs()
    register.main()
    shipped = schedules(server)
    assert shipped.keys() == {("rerun", "saturdays"), ("resume-unfinished", "half-hourly")}
    assert not any(active for active, _, _ in shipped.values())
    assert server.read_flow_runs() == before

    found = {each.name: each for each in server.read_deployments()}
    nightly = load_config("demo").model_dump(mode="json") | {"run_id": "nightly", "seed": 7}
    for name, more in (("rerun", {}), ("evolve", {"slug": "mine"}), ("audit", {"active": False})):
        given = {"active": True, "schedule": IntervalSchedule(interval=timedelta(hours=12))} | more
        parameters = form(nightly) if name == "rerun" else {}
        own = DeploymentScheduleCreate(parameters=parameters, **given)
        server.create_deployment_schedules(found[name].id, [own])
    (saturdays,) = found["rerun"].schedules
    monday = CronSchedule(cron="0 4 * * 1", timezone="Europe/Berlin")
    server.update_deployment_schedule(found["rerun"].id, saturdays.id, active=True, schedule=monday)
    (half_hourly,) = found["resume-unfinished"].schedules
    server.delete_deployment_schedule(found["resume-unfinished"].id, half_hourly.id)

    mine = schedules(server)
    assert len(mine) == 4
    register.main()
    assert schedules(server) == mine

    # What the form stored is the configuration that was filled in.
    (stored,) = [parameters for _, _, parameters in mine.values() if parameters]
    config = rerun.validate_parameters(stored)["config"]
    assert config == load_config("demo").model_copy(update={"run_id": "nightly", "seed": 7})

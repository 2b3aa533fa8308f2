"""What is declared to servers and to compose, checked without either."""

import importlib
import os
from pathlib import Path

import pytest
import yaml
from prefect.flows import Flow

from cycleqd.config import load_config
from cycleqd.experiment.plan import ExperimentConfig, load_experiment
from deployments import register
from deployments.register import HEARTBEAT_SECONDS, POOLS, SILENCE, vanished_runs
from infra import up

ROOT = Path(__file__).parents[2]
DECLARED = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())
DEPLOYMENTS = {each["name"]: each for each in DECLARED["deployments"]}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_every_entrypoint_is_a_flow_that_takes_the_declared_parameters(name):
    module, _, function = DEPLOYMENTS[name]["entrypoint"].partition(":")
    flow = getattr(importlib.import_module(module), function)
    assert isinstance(flow, Flow)
    assert set(DEPLOYMENTS[name].get("parameters", {})) <= set(flow.parameters.properties)
    assert DEPLOYMENTS[name]["work_pool"]["name"] in POOLS
    assert DEPLOYMENTS[name]["enforce_parameter_schema"]


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        (name, "sam-demo" if name == "pairs" else "demo")
        for name, each in DEPLOYMENTS.items()
        if "config" in each.get("parameters", {})
    ],
)
def test_the_form_starts_with_a_shipped_profile(name, profile):
    module, _, function = DEPLOYMENTS[name]["entrypoint"].partition(":")
    flow = getattr(importlib.import_module(module), function)
    given = DEPLOYMENTS[name]["parameters"]
    assert flow.validate_parameters(given)["config"] == load_config(profile)
    # Sections with values are drawn open: one screen each.
    assert set(given["config"]) == {"profile", "run_id", "seed", "generations", "storage", "skills"}


def test_the_form_of_an_experiment_starts_with_a_shipped_one():
    given = DEPLOYMENTS["experiment"]["parameters"]["experiment"]
    assert ExperimentConfig.model_validate(given) == load_experiment("table2")


def test_the_automation_watches_all_flows_and_no_others():
    modules = [importlib.import_module(f"flows.{path.stem}") for path in (ROOT / "flows").glob("[!_]*.py")]
    flows = {each.name for module in modules for each in vars(module).values() if isinstance(each, Flow)}
    (names,) = [vanished_runs("x", SILENCE).trigger.match_related["prefect.resource.name"]]
    assert set(names) == flows


def test_schedules_are_declared_for_new_deployments_alone_and_are_off_there():
    for known in (set(), {"rerun"}, set(DEPLOYMENTS)):
        told = {each["name"]: each for each in register.without_schedules(DECLARED, known)["deployments"]}
        assert {name for name, each in told.items() if "schedules" in each} == {"rerun", "resume-unfinished"} - known
        for each in told.values():
            assert all(schedule["active"] is False for schedule in each.get("schedules", []))
        # All else is told as it stands in the file.
        assert [{**each, "schedules": None} for each in told.values()] == [
            {**each, "schedules": None} for each in DEPLOYMENTS.values()
        ]


def test_a_schedule_never_says_whether_it_is_on():
    schedules = [schedule for each in DEPLOYMENTS.values() for schedule in each.get("schedules", [])]
    assert len(schedules) == 2
    assert all("active" not in schedule and schedule["slug"] for schedule in schedules)


def test_compose_has_all_services_and_no_password():
    compose = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {"postgres", "objects", "server", "worker", "docker-worker"}
    for service in services.values():
        assert "image" in service or "build" in service
        # Of our own images there is one at a time; those of others change under such a tag.
        assert service["image"].startswith("cycleqd/") or not service["image"].endswith(":latest")
        for other in service.get("depends_on", {}):
            assert other in services
        for name, value in service.get("environment", {}).items():
            if any(word in name for word in ("PASSWORD", "SECRET", "ACCESS_KEY")):
                assert value.startswith("${"), name
    dockerfile = ROOT / "infra" / services["worker"]["build"]["dockerfile"].removeprefix("infra/")
    assert dockerfile.is_file()


def test_containers_of_the_docker_pool_find_what_compose_makes():
    compose = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text())
    job = DEPLOYMENTS["cycleqd-docker"]["work_pool"]["job_variables"]
    assert job["networks"] == [compose["networks"]["default"]["name"]]
    assert job["image"] == compose["services"]["worker"]["image"]
    made = {volume["name"] for volume in compose["volumes"].values() if volume}
    for mount in job["volumes"]:
        source, target, *_ = mount.split(":")
        # A folder of the host is seen by the sandboxes, too, which are the host's: under the same path.
        assert source == target if source.startswith("/") else source in made
    assert f"{job['env']['TMPDIR']}:{job['env']['TMPDIR']}" in job["volumes"]
    # Prefect's database keeps what is declared.
    assert not any("AWS" in name for name in job["env"])


def test_runs_of_both_pools_tell_events_and_give_heartbeats():
    for deployment in DEPLOYMENTS.values():
        env = deployment["work_pool"]["job_variables"]["env"]
        assert env["PREFECT_LOGGING_EXTRA_LOGGERS"] == "cycleqd"
        assert env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == str(HEARTBEAT_SECONDS)


def test_the_server_is_the_version_that_is_pinned():
    pinned = next(
        line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("prefect==")
    ).removeprefix("prefect==")
    assert DECLARED["prefect-version"] == pinned
    compose = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text())
    assert f":{pinned}-" in compose["services"]["server"]["image"]


def test_the_workers_image_takes_everything_from_extras_that_are_pinned():
    # Installed by itself, prefect-docker once brought a Prefect with it that vLLM cannot live with.
    dockerfile = (ROOT / "infra" / "worker" / "Dockerfile").read_text()
    assert "docker-workers" in dockerfile
    assert "pip install" not in dockerfile
    assert "\nprefect-docker==" in (ROOT / "constraints.txt").read_text()


def test_without_postgres_the_server_uses_sqlite_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("infra.postgres.programs", lambda: None)
    assert up._database(tmp_path) is None
    assert "SQLite" in capsys.readouterr().out


def test_registering_reaches_a_server_of_this_machine_past_a_proxy(monkeypatch):
    class Reached(Exception):
        pass

    def client(**options):
        raise Reached(os.environ["NO_PROXY"])

    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "elsewhere.example")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setattr(register, "get_client", client)
    with pytest.raises(Reached, match=r"elsewhere\.example.*127\.0\.0\.1"):
        register.main()


def test_the_object_store_of_compose_decides_conditional_puts_one_after_the_other():
    objects = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text())["services"]["objects"]
    image, _, version = objects["image"].partition(":")
    assert image == "chrislusf/seaweedfs"
    assert tuple(map(int, version.split("."))) >= (4, 18)  # https://github.com/seaweedfs/seaweedfs/pull/8802
    assert objects["ports"] == ["127.0.0.1:8333:8333"]

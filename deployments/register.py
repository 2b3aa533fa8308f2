"""Tells a Prefect server about the flows: work pools, limits, deployments, automations for vanished and failed runs.

    PREFECT_API_URL=http://127.0.0.1:4200/api python -m deployments.register [--notify TYPE/NAME] [--kubernetes]

Run it in the checkout. It may be repeated: what a person changed in the UI since stays as it is. ``--notify`` points
the automation for failed runs at a notification block that somebody made, e.g. ``slack-webhook/mine``.
``--kubernetes`` makes the pool and the deployment of `docs/kubernetes.md`, too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, DoNothing, SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture, ResourceSpecification
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.workers.utilities import get_default_base_job_template_for_infrastructure_type

from cycleqd.machine.loopback import exempt_loopback
from deployments.settings import HEARTBEAT_SECONDS, HOME
from tasks.announcing import FAILED
from tasks.limits import ENGINES, SANDBOXES, engine_limit, ensure_limit, machine, sandbox_limit

DECLARATION = Path("deployments") / "prefect.yaml"

POOLS = {"cycleqd-process": "process", "cycleqd-docker": "docker"}
"""Work pools and their types."""
KUBERNETES = Path("deployments") / "kubernetes"
KUBERNETES_POOL = "cycleqd-kubernetes"

VANISHED = "cycleqd: mark vanished runs as crashed"
FAILURES = "cycleqd: tell of failed runs"
SUBJECT = "CycleQD: a run failed"
BODY = """{% if event.payload.run %}Run {{ event.payload.run }}, {{ event.payload.generations }} generations done.
{{ event.payload.fault }}: {{ event.payload.text }}
{% else %}{{ event.event }}: {{ flow_run.name }}
{% endif %}{{ flow_run|ui_url }}"""
"""What a notification says, as a template of Prefect's."""
SILENCE = timedelta(seconds=4 * HEARTBEAT_SECONDS)
"""A run that was silent for so long has vanished. A starved one may miss a beat or two."""
WATCHED = (
    *(
        "cycleqd",
        "rerun",
        "resume-unfinished",
        "train-experts",
        "score-baselines",
        "take-experts",
        "seed-archives",
        "evolve",
        "aggregate",
    ),
    *("aggregate-and-report", "audit", "experiment", "pairs"),
)
"""Our flows, whose beats are as frequent as that; those of others on the same server may be minutes apart."""


def main(arguments: Sequence[str] = ()) -> None:
    """Registers everything with the server of ``PREFECT_API_URL``; `arguments` are those of the command line."""
    parser = argparse.ArgumentParser(prog="python -m deployments.register", description="Registers the flows.")
    parser.add_argument("--notify", metavar="TYPE/NAME", help="notification block that is told of failed runs")
    parser.add_argument("--kubernetes", action="store_true", help="make the Kubernetes pool and deployment, too")
    asked = parser.parse_args(arguments)
    exempt_loopback()
    with get_client(sync_client=True) as client:
        create_pools(client)
        for name, slots in {engine_limit(): ENGINES, sandbox_limit(): SANDBOXES}.items():
            print(f"concurrency limit {name}: {ensure_limit(name, slots)}")
        deploy(without_schedules(declared(), known(client)))
        if asked.kubernetes:
            template = json.loads((HOME / KUBERNETES / "base-job-template.json").read_text(encoding="utf-8"))
            create_pool(client, KUBERNETES_POOL, "kubernetes", template)
            deploy(declared(KUBERNETES / "prefect.yaml"))
    watch_for_vanished_runs()
    tell_of_failed_runs(asked.notify)


def create_pools(client: SyncPrefectClient) -> None:
    """Makes the work pools that are missing."""
    for name, kind in POOLS.items():
        template = asyncio.run(get_default_base_job_template_for_infrastructure_type(kind))
        create_pool(client, name, kind, template or {})


def create_pool(client: SyncPrefectClient, name: str, kind: str, template: dict[str, Any]) -> None:
    """Makes a work pool unless there is one of that name."""
    try:
        client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))
    except ObjectAlreadyExists:
        return
    print(f"work pool {name} ({kind})")


def declared(file: Path = DECLARATION) -> dict[str, Any]:
    """What a ``prefect.yaml`` of the checkout says."""
    declaration: dict[str, Any] = yaml.safe_load((HOME / file).read_text(encoding="utf-8"))
    return declaration


def known(client: SyncPrefectClient) -> set[str]:
    """Names of our deployments that the server has."""
    names = DeploymentFilterName(any_=[deployment["name"] for deployment in declared()["deployments"]])
    found = client.read_deployments(deployment_filter=DeploymentFilter(name=names), limit=200)
    return {deployment.name for deployment in found}


def without_schedules(declaration: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """The declaration with schedules for deployments only that are new to the server, where they are off.

    Schedules are the user's from then on. Prefect would put back the times that somebody changed, and where one
    schedule has no slug, which those of the UI have not, delete all and turn on the declared ones.

    Args:
        declaration: What ``prefect.yaml`` says.
        known: Names of the deployments that the server has.
    """
    deployments = []
    for deployment in declaration["deployments"]:
        rest = {name: value for name, value in deployment.items() if name != "schedules"}
        schedules = [] if deployment["name"] in known else deployment.get("schedules", [])
        for schedule in schedules:
            print(f"schedule {schedule['slug']} of {deployment['name']}, off until someone turns it on")
        if schedules:
            rest["schedules"] = [schedule | {"active": False} for schedule in schedules]
        deployments.append(rest)
    return declaration | {"deployments": deployments}


def deploy(declaration: dict[str, Any]) -> None:
    """Registers deployments; unchanged ones stay as they are."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump(declaration, sort_keys=False), encoding="utf-8")
        # As a module: the command `prefect` would not look for `flows` in the checkout.
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        done = subprocess.run(  # noqa: S603 - our own command
            command,
            cwd=HOME,
            env={**os.environ, "PYTHONPATH": str(HOME), "CYCLEQD_MACHINE": machine()},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"the deployments were not registered:\n{done.stdout}\n{done.stderr}")


def watch_for_vanished_runs() -> None:
    """Has the server mark a run as crashed whose heartbeats have stopped, e.g. after a power cut."""
    known = _automation(VANISHED)
    if known is not None:
        if getattr(known.trigger, "match_related", None):
            return
        known.delete()  # an earlier version's, which watched the flows of others, too
    vanished_runs(VANISHED, SILENCE).create()
    print(f"automation {VANISHED!r}")


def vanished_runs(name: str, silence: timedelta) -> Automation:
    """Marks a flow run as crashed that gave a heartbeat and then, for so long, neither another one nor its end.

    One that was paused or suspended is silent because it was asked to be.
    """
    states = ("Completed", "Failed", "Cancelled", "Crashed", "Paused", "Suspended", "Scheduled", "Resuming")
    ended = {f"prefect.flow-run.{state}" for state in states}
    return Automation(
        name=name,
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *ended},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": ["flow"], "prefect.resource.name": list(WATCHED)}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=f"no heartbeat for {silence.seconds} s")],
    )


def tell_of_failed_runs(block: str | None) -> None:
    """Has the server tell somebody of runs that fail or crash.

    Unless it is pointed at a notification, here or in the UI, the automation does nothing.

    Args:
        block: A notification block, ``<type>/<name>``; None leaves the automation as it is, if there is one.

    Raises:
        SystemExit: There is no such block.
    """
    known = _automation(FAILURES)
    if known is None:
        known = failed_runs(FAILURES)
        known.create()
        print(f"automation {FAILURES!r}: " + ("" if block else "does nothing until it is pointed at a notification"))
    if block is None:
        return
    kind, _, name = block.partition("/")
    with get_client(sync_client=True) as client:
        try:
            found = client.read_block_document_by_name(name, kind)
        except ObjectNotFound:
            sys.exit(f"there is no block {block}: make one in the UI (Blocks), and name it as TYPE/NAME")
    known.actions = [SendNotification(block_document_id=found.id, subject=SUBJECT, body=BODY)]
    known.update()
    print(f"automation {FAILURES!r} tells {block}")


def failed_runs(name: str) -> Automation:
    """Notices runs that fail, by our event, and flow runs that crash, by Prefect's: a dead process says nothing."""
    return Automation(
        name=name,
        description="Set a notification as its action, here or by python -m deployments.register --notify TYPE/NAME",
        trigger=EventTrigger(
            expect={FAILED, "prefect.flow-run.Crashed"},
            match_related=ResourceSpecification(
                {"prefect.resource.role": ["flow"], "prefect.resource.name": list(WATCHED)}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[DoNothing()],
    )


def _automation(name: str) -> Automation | None:
    try:
        return Automation.read(name=name)
    except ValueError:  # there is none
        return None


if __name__ == "__main__":
    main(sys.argv[1:])

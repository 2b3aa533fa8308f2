"""The Kubernetes work pool's template, rendered by Prefect's own worker; no cluster is asked."""

import asyncio
import importlib.util
import json
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from prefect.client.schemas.objects import FlowRun
from prefect.utilities.templating import find_placeholders

from cycleqd.config import parse_config

FOLDER = Path(__file__).parents[2] / "deployments" / "kubernetes"
TEMPLATE = json.loads((FOLDER / "base-job-template.json").read_text())
(DEPLOYMENT,) = yaml.safe_load((FOLDER / "prefect.yaml").read_text())["deployments"]
GIVEN = DEPLOYMENT["work_pool"]["job_variables"]

of_the_worker = pytest.mark.skipif(
    importlib.util.find_spec("prefect_kubernetes") is None, reason="pip install 'cycleqd[kubernetes]'"
)


def rendered(values):
    """The job that the worker would send to the cluster."""
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    nobody = SimpleNamespace()  # a client: nothing in the template is looked up on a server
    made = KubernetesWorkerJobConfiguration.from_template_and_values(TEMPLATE, values, client=nobody)
    configuration = asyncio.run(made)
    configuration.prepare_for_flow_run(FlowRun(id=uuid.uuid4(), name="a-run", flow_id=uuid.uuid4()))
    return configuration.job_manifest


def pod_of(job):
    return job["spec"]["template"]["spec"]


def test_every_variable_is_referred_to_and_every_reference_is_a_variable():
    # Prefect drops a variable without a word that nothing refers to.
    referred = {placeholder.name for placeholder in find_placeholders(TEMPLATE["job_configuration"])}
    assert referred == set(TEMPLATE["variables"]["properties"])


@of_the_worker
def test_prefects_own_variables_are_all_there():
    from prefect_kubernetes.worker import KubernetesWorker

    own = KubernetesWorker.get_default_base_job_template()
    assert set(own["variables"]["properties"]) < set(TEMPLATE["variables"]["properties"])
    assert set(own["job_configuration"]) == set(TEMPLATE["job_configuration"])


@of_the_worker
@pytest.mark.parametrize("values", [{"image": "x"}, GIVEN], ids=["nothing more", "the deployment's"])
def test_the_job_is_one_that_kubernetes_knows(values):
    """Whatever is no field of a job, or of another type, is lost on its way through Kubernetes' own classes."""
    from kubernetes_asyncio.client import ApiClient, Configuration

    job = rendered(values)
    limits = pod_of(job)["containers"][0]["resources"]["limits"]
    limits |= {name: str(amount) for name, amount in limits.items() if amount is not None}  # a number is one, too
    answer = SimpleNamespace(data=json.dumps(job))

    async def there_and_back():
        async with ApiClient(Configuration()) as client:
            return client.sanitize_for_serialization(client.deserialize(answer, "V1Job"))

    assert asyncio.run(there_and_back()) == without_nothing(job)


def without_nothing(value):
    """As the cluster takes it: a field that is null is one that is absent."""
    if isinstance(value, dict):
        return {name: without_nothing(one) for name, one in value.items() if one is not None}
    return [without_nothing(one) for one in value] if isinstance(value, list) else value


@of_the_worker
def test_the_values_of_the_deployment_are_in_the_job():
    job = rendered(GIVEN)
    pod, (container,) = pod_of(job), pod_of(job)["containers"]
    assert container["image"] == GIVEN["image"]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 1, "memory": "64Gi"}
    assert container["resources"]["requests"] == {"cpu": "8", "memory": "32Gi"}
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert GIVEN["env"].items() <= environment.items()
    assert container["envFrom"] == GIVEN["env_from"]
    assert (pod["volumes"], container["volumeMounts"]) == (GIVEN["volumes"], GIVEN["volume_mounts"])
    assert pod["tolerations"] == GIVEN["tolerations"]
    assert pod["terminationGracePeriodSeconds"] == 60


@of_the_worker
def test_what_nobody_asks_for_is_not_in_the_job():
    pod = pod_of(rendered({"image": "x"}))
    (container,) = pod["containers"]
    assert not {"volumes", "tolerations", "nodeSelector"} & set(pod)
    assert not {"envFrom", "volumeMounts"} & set(container)
    assert "nvidia.com/gpu" not in container["resources"]["limits"]
    assert "{{" not in json.dumps(pod)


@of_the_worker
def test_a_nodes_docker_socket_can_be_mounted():
    example = TEMPLATE["variables"]["properties"]
    values = {name: example[name]["examples"][0] for name in ("volumes", "volume_mounts")}
    pod = pod_of(rendered({"image": "x", **values}))
    mounted = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert mounted["docker"] == "/var/run/docker.sock"
    assert {"name": "docker", "hostPath": {"path": "/var/run/docker.sock", "type": "Socket"}} in pod["volumes"]


def test_the_deployment_is_a_run_of_ours_in_that_pool():
    from deployments.register import KUBERNETES_POOL

    assert DEPLOYMENT["entrypoint"] == "flows.main:cycleqd_run"
    assert DEPLOYMENT["work_pool"]["name"] == KUBERNETES_POOL
    assert set(GIVEN) <= set(TEMPLATE["variables"]["properties"])
    assert parse_config(DEPLOYMENT["parameters"]["config"]).storage.startswith("s3://")

"""What the preflight says of Docker and of images."""

import os
from importlib.util import find_spec

import pytest

from cycleqd.config import RunConfig, load_config
from cycleqd.preflight import checks, containers
from cycleqd.sandbox import SandboxUnavailable, image_tags
from cycleqd.skills.benchmarks.inspect_task.client import PYTHON_VARIABLE


@pytest.fixture
def config(tmp_path):
    return load_config("demo", (f"storage={tmp_path}", "skills.0.train=1", "skills.1.train=1", "skills.2.train=1"))


@pytest.mark.docker
def test_limits_that_the_engine_refuses_name_the_settings(config):
    # More bytes than Docker's 64 bits hold.
    greedy = config.model_copy(update={"sandbox": config.sandbox.model_copy(update={"memory_mb": 2**45})})
    docker = checks._guarded("docker", greedy, containers.docker)
    assert not docker.ok
    assert "sandbox.memory_mb" in docker.remedy


def test_missing_images_name_the_command(config, monkeypatch):
    monkeypatch.setattr("cycleqd.sandbox.missing_images", lambda *skills: ("cycleqd-shell:123",))
    docker = containers.docker(config)
    assert not docker.ok
    assert docker.remedy == "build them with make images"


def test_an_engine_of_docker_that_does_not_answer_is_a_finding(config, monkeypatch):
    def dead(*skills):
        raise SandboxUnavailable("no Docker engine answers")

    monkeypatch.setattr("cycleqd.sandbox.missing_images", dead)
    docker = checks._guarded("docker", config, containers.docker)
    assert not docker.ok
    assert "no Docker engine answers" in docker.detail


@pytest.mark.docker
@pytest.mark.skipif(
    not (find_spec("inspect_ai") or os.environ.get(PYTHON_VARIABLE)), reason="needs pip install 'cycleqd[inspect]'"
)
def test_a_tasks_dockerfile_that_fails_is_a_finding_before_anything_is_trained(tmp_path):
    (tmp_path / "Dockerfile").write_text(f"FROM {image_tags()['shell']}\nRUN echo broken-step; exit 3\n")
    (tmp_path / "task.py").write_text(
        "from inspect_ai import Task, task\nfrom inspect_ai.dataset import MemoryDataset, Sample\n"
        "from inspect_ai.scorer import includes\n\n@task\ndef boxed():\n"
        "    samples = [Sample(input=f'Say {n}.', target=str(n)) for n in range(8)]\n"
        "    return Task(dataset=MemoryDataset(samples), scorer=includes(), sandbox='docker')\n"
    )
    skill = {"name": "inspect:boxed", "data": f"{tmp_path / 'task.py'}@boxed", "optimization": 2, "test": 2}
    config = RunConfig.model_validate({"skills": [skill], "experts": {"source": {"inspect:boxed": str(tmp_path)}}})
    found = containers.docker(config)
    assert not found.ok
    assert "broken-step" in found.detail
    assert "Dockerfile" in found.remedy

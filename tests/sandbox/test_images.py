from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from cycleqd.sandbox import missing_images
from cycleqd.sandbox.images import IMAGE_NAMES, IMAGE_USERS, image_tag, image_tags

ROOT = Path(__file__).resolve().parents[2]


def context(directory: Path) -> Path:
    folder = directory / "box"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM x")
    (folder / "run.sh").write_text("true")
    return folder


def test_every_change_of_the_context_changes_the_tag(tmp_path: Path) -> None:
    folder = context(tmp_path)
    seen = {image_tag("box", tmp_path)}
    assert image_tag("box", tmp_path) in seen
    (folder / "run.sh").write_text("false")
    seen.add(image_tag("box", tmp_path))
    (folder / "run.sh").chmod(0o755)
    seen.add(image_tag("box", tmp_path))
    (folder / "run.sh").rename(folder / "go.sh")
    seen.add(image_tag("box", tmp_path))
    (folder / "Dockerfile").write_text("FROM y")
    seen.add(image_tag("box", tmp_path))
    assert len(seen) == 5


def test_the_tags_are_those_of_the_checkout() -> None:
    assert set(image_tags()) == set(IMAGE_NAMES)
    assert all(tag.startswith(f"cycleqd-{name}:") for name, tag in image_tags().items())


def test_a_missing_context_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run from a checkout"):
        image_tag("shell", tmp_path)


@pytest.mark.docker
def test_building_again_does_nothing_at_once() -> None:
    assert missing_images(*IMAGE_USERS.values()) == ()
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "infra/build_images.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert time.monotonic() - started < 5
    assert done.stdout.count(" is there") == len(IMAGE_NAMES)


@pytest.mark.docker
def test_setting_docker_up_again_does_nothing() -> None:
    done = subprocess.run(["infra/setup_docker.sh"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("docker: the engine answers (version ")


@pytest.mark.docker
def test_an_absent_engine_is_explained() -> None:
    environment = {"DOCKER_HOST": "unix:///nowhere.sock", "PATH": "/usr/local/bin:/usr/bin:/bin"}
    for command in (["infra/setup_docker.sh"], [sys.executable, "infra/build_images.py"]):
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "DOCKER_HOST" in done.stderr or "infra/setup_docker.sh" in done.stderr

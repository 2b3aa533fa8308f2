from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cycleqd.sandbox import missing_images
from cycleqd.sandbox.images import IMAGE_NAMES, OPTIONAL_IMAGES, image_tag, image_tags
from infra import build_images

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
def test_building_again_builds_nothing() -> None:
    assert missing_images(*OPTIONAL_IMAGES) == ()
    done = subprocess.run(
        [sys.executable, "infra/build_images.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.count(" is there") == len(IMAGE_NAMES)


def built(monkeypatch: pytest.MonkeyPatch, broken: str, *arguments: str) -> int:
    """The exit status of a build in which one image fails."""

    def build(name: str, tag: str, base: str) -> None:
        if name == broken:
            raise build_images.BuildError("unmet dependencies")

    monkeypatch.setattr(build_images, "exists", lambda tag: False)
    monkeypatch.setattr(build_images, "base_image", lambda: "base")
    monkeypatch.setattr(build_images, "build", build)
    monkeypatch.setattr(sys, "argv", ["build_images.py", *arguments])
    return build_images.main()


def test_an_image_that_one_skill_needs_may_fail_unless_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert built(monkeypatch, "mysql") == 0
    told = capsys.readouterr().out
    assert "agentbench_db can't be played until 'infra/build_images.py mysql' succeeds" in told
    assert "unmet dependencies" in told
    assert built(monkeypatch, "mysql", "mysql") == 1
    assert built(monkeypatch, "shell") == 1
    assert built(monkeypatch, "shell", "mysql") == 0


def test_the_skills_that_need_an_optional_image_are_named_without_the_package_being_installed() -> None:
    assert build_images.wanted().users == {"mysql": "agentbench_db"}
    code = "from infra import build_images; print(*build_images.wanted().users)"
    # -S: nothing but the standard library.
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["mysql"]


def test_an_unknown_image_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert built(monkeypatch, "", "oracle") == 1
    assert "no image is called oracle" in capsys.readouterr().err


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

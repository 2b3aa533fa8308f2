"""Images that are built from somebody's Dockerfile, and used by sandboxes."""

import subprocess

import docker
import pytest

from cycleqd.sandbox import Sandboxes, SandboxUnavailable, image_tags
from cycleqd.sandbox.own_images import OwnImage


def written(folder, text, **files):
    (folder / "Dockerfile").write_text(text)
    for name, content in files.items():
        (folder / name).write_text(content)
    return OwnImage(folder=folder)


def test_the_tag_is_that_of_what_the_image_is_built_from(tmp_path):
    before = written(tmp_path, "FROM x\nCOPY a /a\n", a="one").tag
    assert OwnImage(folder=tmp_path).tag == before
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "task.pyc").write_bytes(b"1")
    assert OwnImage(folder=tmp_path).tag == before
    assert OwnImage(folder=tmp_path, target="stage").tag != before
    assert OwnImage(folder=tmp_path, arguments=(("A", "1"),)).tag != before
    (tmp_path / "a").chmod(0o755)
    assert OwnImage(folder=tmp_path).tag != before
    (tmp_path / "a").chmod(0o644)
    assert OwnImage(folder=tmp_path).tag == before
    (tmp_path / "a").write_text("two")
    assert OwnImage(folder=tmp_path).tag != before


def test_what_dockerignore_names_says_nothing(tmp_path):
    before = written(tmp_path, "FROM x\n", **{".dockerignore": "# what no image needs\n\ndata\n*.log\n"}).tag
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "large").write_text("x")
    (tmp_path / "run.log").write_text("x")
    assert OwnImage(folder=tmp_path).tag == before


@pytest.mark.parametrize(
    ("name", "tag"),
    [("debian", "debian:latest"), ("a.b:5000/c", "a.b:5000/c:latest"), ("python:3.12", "python:3.12")],
)
def test_a_name_without_a_tag_has_dockers(name, tag):
    assert OwnImage(name=name).tag == tag


def test_a_folder_without_a_dockerfile_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no Dockerfile"):
        OwnImage(folder=tmp_path)


@pytest.fixture
def removed():
    """Removes the images that a test makes."""
    made = []
    yield made
    client = docker.from_env()
    for image in made:
        client.images.remove(image.tag, force=True)
    client.close()


@pytest.mark.docker
def test_an_image_is_built_once_and_its_facts_and_files_are_there(tmp_path, removed):
    (tmp_path / "secret").write_text("from the context")
    image = written(
        tmp_path,
        f"FROM {image_tags()['shell']}\nCOPY secret /root/secret\nENV COLOUR=red\nWORKDIR /srv\nUSER 1000\n"
        'ENTRYPOINT ["/bin/false"]\nHEALTHCHECK CMD false\n',
    )
    removed.append(image)
    image.ensure()
    facts = image.facts()
    assert (facts.directory, facts.environment["COLOUR"], facts.user) == ("/srv", "red", "1000")
    with Sandboxes(run_id="test-own") as sandboxes, sandboxes.shell(image=image.tag) as shell:
        # What is in the image's homes is seen, and the session is root's whoever the image's user is.
        assert shell.run("cat /root/secret; id -u").output == "from the context0\n"
    left = ["docker", "ps", "-aq", "--filter", f"ancestor={image.tag}"]
    assert subprocess.run(left, capture_output=True, check=True).stdout == b""


@pytest.mark.docker
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("RUN exit 3", "cannot be had"),
        ("RUN rm /usr/bin/python3", "lacks python3"),
        ("RUN rm /usr/bin/bash", "there is no /bin/bash"),
    ],
)
def test_an_image_that_no_sandbox_can_use_is_refused_with_what_docker_said(text, reason, tmp_path, removed):
    image = written(tmp_path, f"FROM {image_tags()['shell']}\n{text}\n")
    with pytest.raises(SandboxUnavailable, match=reason) as fault:
        image.ensure()
    assert str(tmp_path / "Dockerfile") in str(fault.value)
    if "cannot" not in reason:
        removed.append(image)

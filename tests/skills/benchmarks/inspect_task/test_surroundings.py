"""How a task's Dockerfile or compose file is read."""

import pytest

from cycleqd.skills.benchmarks.inspect_task.surroundings import NotPlayable, surroundings_of


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM python:3.12\n")
    return tmp_path


def composed(folder, text):
    (folder / "compose.yaml").write_text(text)
    return surroundings_of("compose.yaml", str(folder))


def test_a_task_without_either_has_our_image(tmp_path):
    assert surroundings_of(None, str(tmp_path)) is None


def test_a_dockerfile_is_found_beside_the_task_and_by_its_name(folder):
    found = surroundings_of(None, str(folder))
    assert found.image.folder == folder
    assert found == surroundings_of("Dockerfile", str(folder))
    (folder / "tools.Dockerfile").write_text("FROM python:3.12\n")
    assert surroundings_of("tools.Dockerfile", str(folder)).image.dockerfile == "tools.Dockerfile"


def test_a_compose_file_comes_before_a_dockerfile(folder):
    (folder / "compose.yaml").write_text("services: {default: {image: 'debian'}}")
    assert surroundings_of(None, str(folder)).image.tag == "debian:latest"


def test_a_service_is_read_whole(folder):
    (folder / "box").mkdir()
    (folder / "box" / "Other").write_text("FROM python:3.12 AS tools\n")
    found = composed(
        folder,
        """
        services:
          default:
            x-local: true
            build: {context: box, dockerfile: Other, target: tools, args: [SIZE=3, EMPTY=]}
            working_dir: /srv
            environment: {A: 1, B: }
            user: "1000:50"
            command: tail -f /dev/null
            network_mode: none
            init: true
        """,
    )
    assert (found.image.folder, found.image.dockerfile, found.image.target) == (folder / "box", "Other", "tools")
    assert found.image.arguments == (("EMPTY", ""), ("SIZE", "3"))
    assert (found.directory, found.environment, found.user) == ("/srv", {"A": "1", "B": ""}, "1000:50")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("services: {a: {image: x}, b: {image: y}}", "one service"),
        ("services: {a: {image: x, volumes: ['.:/x']}}", "volumes"),
        ("services: {a: {image: x, privileged: true}}", "privileged"),
        ("services: {a: {image: x, network_mode: host}}", "no network"),
        ("services: {a: {image: '$NAME'}}", "not filled in"),
        ("services: {a: {build: {context: ., ssh: default}}}", "ssh"),
        ("services: {a: {build: 'nowhere'}}", "no Dockerfile"),
        ("services: {a: {command: x}}", "neither an image nor a build"),
        ("volumes: {a: {}}\nservices: {a: {image: x}}", "volumes"),
        ("a: [", "compose.yaml"),
        ("just text", "one service"),
    ],
)
def test_what_our_containers_are_not_is_refused_by_name_in_one_line(folder, text, reason):
    with pytest.raises(NotPlayable, match=reason) as fault:
        composed(folder, text)
    assert "\n" not in str(fault.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(NotPlayable, match=r"gone\.yaml"):
        surroundings_of("gone.yaml", str(tmp_path))

"""What a sample's Docker sandbox is made of: its Dockerfile or compose file, as far as our containers can be that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from cycleqd.sandbox.own_images import OwnImage

COMPOSE_FILES: Final = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
"""Where inspect_ai looks, in this order, before it takes a Dockerfile."""
_DOCKERFILE: Final = "Dockerfile"
_OURS: Final = ("command", "init", "stop_grace_period", "mem_limit", "cpus", "tty", "stdin_open", "container_name")
"""Settings of a service that our containers have in their own way."""
_TAKEN: Final = ("image", "build", "working_dir", "environment", "user", "network_mode")


class Surroundings(NamedTuple):
    """What a sample's commands run in.

    Attributes:
        image: The image.
        directory: Where they run; None is the image's.
        environment: Variables beside the image's.
        user: Who runs them; None is the image's.
    """

    image: OwnImage
    directory: str | None = None
    environment: Mapping[str, str] = {}
    user: str | None = None


class NotPlayable(ValueError):
    """A sandbox is something that our containers are not."""


def surroundings_of(config: str | None, folder: str) -> Surroundings | None:
    """Reads how a Docker sandbox of inspect_ai is configured.

    Args:
        config: A Dockerfile or a compose file; None where the task names none.
        folder: The task's, from where `config` is found, and where inspect_ai looks for either.

    Returns:
        None where there is neither: inspect_ai has a plain Python image then, and we have ours.

    Raises:
        NotPlayable: It wants more than one container, or what ours do not have.
    """
    place = Path(folder)
    if config is None:
        config = next((name for name in (*COMPOSE_FILES, _DOCKERFILE) if (place / name).is_file()), None)
        if config is None:
            return None
    file = (place / config).resolve()
    try:
        if file.stem == _DOCKERFILE or file.suffix == f".{_DOCKERFILE}":
            return Surroundings(OwnImage(folder=file.parent, dockerfile=file.name))
        return _composed(file)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise NotPlayable(f"its Docker sandbox {file.name}: {' '.join(str(error).split())}") from error


def _composed(file: Path) -> Surroundings:
    content = yaml.safe_load(file.read_text("utf-8"))
    services = content.get("services") if isinstance(content, Mapping) else None
    if not isinstance(services, Mapping) or len(services) != 1:
        raise ValueError("only a compose file with one service can be played: a sample has one container")
    _refuse(content, ("services", "version", "name"), "")
    (service,) = services.values()
    if not isinstance(service, Mapping):
        raise ValueError("its service is no mapping")
    _refuse(service, (*_TAKEN, *_OURS), "its service has ")
    if service.get("network_mode", "none") != "none":
        raise ValueError("network_mode is not none: containers have no network")
    if "$" in str({name: service.get(name) for name in _TAKEN}):
        raise ValueError("values with $ are not filled in")
    environment = _pairs(service.get("environment"), "environment")
    user = service.get("user")
    directory = service.get("working_dir")
    return Surroundings(
        _image(service, file.parent),
        None if directory is None else str(directory),
        environment,
        None if user is None else str(user),
    )


def _image(service: Mapping[str, Any], folder: Path) -> OwnImage:
    build = service.get("build")
    if build is None:
        if not isinstance(service.get("image"), str):
            raise ValueError("its service has neither an image nor a build")
        return OwnImage(name=service["image"])
    build = {"context": build} if isinstance(build, str) else build
    if not isinstance(build, Mapping):
        raise ValueError("its build is neither a folder nor a mapping")
    _refuse(build, ("context", "dockerfile", "target", "args"), "its build has ")
    return OwnImage(
        folder=(folder / str(build.get("context", "."))).resolve(),
        dockerfile=str(build.get("dockerfile", _DOCKERFILE)),
        target=str(build.get("target") or ""),
        arguments=tuple(sorted(_pairs(build.get("args"), "args").items())),
    )


def _refuse(given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for name in given:
        if name not in known and not str(name).startswith("x-"):
            raise ValueError(f"{where}{name}, which our containers do not have")


def _pairs(given: Any, name: str) -> dict[str, str]:
    """A mapping, or a list of ``NAME=VALUE``."""
    if given is None:
        return {}
    if isinstance(given, list):
        given = dict(str(one).partition("=")[::2] for one in given)
    if not isinstance(given, Mapping):
        raise ValueError(f"its {name} are neither a mapping nor a list")
    return {str(key): "" if value is None else str(value) for key, value in given.items()}

"""Builds the sandbox images that don't exist yet: ``python infra/build_images.py [--force] [NAME ...]``.

Without names all are built. One that only some skills need may fail, as `mysql` does while Debian's unstable suite is
being rearranged: that is told, and the others are made all the same. Every image starts from Debian 12: the public
image where a registry can be reached, otherwise a root file system made by debootstrap on this machine. Needs the
Docker command line, and nothing of Python but its standard library.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PUBLIC_BASE = "debian:12-slim"
LOCAL_BASE = "cycleqd-base:bookworm"
PULL_SECONDS = 60
REGISTRY = "https://registry-1.docker.io/v2/"
REGISTRY_SECONDS = 4


class BuildError(RuntimeError):
    """A step failed; the text says which and how to mend it."""


def say(text: str) -> None:
    """Prints one line of progress."""
    print(f"images: {text}", flush=True)


def run(*command: str, seconds: float = 900) -> str:
    """Runs a command and returns its output.

    Raises:
        BuildError: It is missing, failed, or took longer than `seconds`; carries the end of its output.
    """
    try:
        done = subprocess.run(  # noqa: S603 -- fixed commands, no shell
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False
        )
    except FileNotFoundError as error:
        raise BuildError(f"'{command[0]}' is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{' '.join(command)} took longer than {seconds:.0f} s") from error
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-25:])
        raise BuildError(f"{' '.join(command)} failed ({done.returncode}):\n{tail}")
    return done.stdout


class Wanted(NamedTuple):
    """What `cycleqd.sandbox.images` and `cycleqd.skills.registry` say.

    Attributes:
        tags: By image name.
        users: The skills that need an image, for those that not every run needs.
    """

    tags: dict[str, str]
    users: dict[str, str]


def wanted() -> Wanted:
    """The tags by image name, and who needs an image that may be missing."""
    images, skills = _module("sandbox/images.py"), _module("skills/registry.py")
    users = {
        image: " and ".join(name for name, row in skills.BUILT_IN.items() if image in row.images)
        for image in images.OPTIONAL_IMAGES
    }
    return Wanted(images.image_tags(), users)


def _module(path: str) -> Any:
    """A module of the package, loaded by its path: images are built before the package's dependencies are there."""
    place = ROOT / "cycleqd" / path
    spec = importlib.util.spec_from_file_location(f"for_images_{place.stem}", place)
    if spec is None or spec.loader is None:
        raise BuildError(f"{place} can't be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def exists(tag: str) -> bool:
    """Whether the engine has an image of that tag."""
    try:
        run("docker", "image", "inspect", "--format", "{{.Id}}", tag, seconds=20)
    except BuildError as error:
        if "No such image" in str(error):
            return False
        raise BuildError(f"the Docker engine does not answer; run infra/setup_docker.sh\n{error}") from error
    return True


def registry_answers() -> bool:
    """Whether the engine can reach the public registry, judged by a pull that is given little time."""
    import urllib.error
    import urllib.request

    try:
        urllib.request.urlopen(REGISTRY, timeout=REGISTRY_SECONDS)
    except urllib.error.HTTPError:
        return True  # it wants a token: it is there
    except OSError:
        return False
    return True


def debootstrap() -> None:
    """Makes `LOCAL_BASE` from Debian's package mirror.

    Raises:
        BuildError: debootstrap is missing and can't be installed, or failed.
    """
    as_root = () if os.geteuid() == 0 else ("sudo", "-n")
    if shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
        say("installing debootstrap")
        try:
            run(*as_root, "apt-get", "update", "-qq")
            run(*as_root, "apt-get", "install", "-y", "-qq", "--no-install-recommends", "debootstrap")
        except BuildError as error:
            raise BuildError(
                f"no registry to pull {PUBLIC_BASE} from, and debootstrap can't be installed. Either make "
                f"'docker pull {PUBLIC_BASE}' work, or run as root: apt-get install debootstrap\n{error}"
            ) from error
    with tempfile.TemporaryDirectory(prefix="cycleqd-base-") as directory:
        root, archive = f"{directory}/root", f"{directory}/root.tar"
        try:
            run(*as_root, "debootstrap", "--variant=minbase", "bookworm", root)
            sources = Path(directory) / "sources.list"
            suites = [
                ("http://deb.debian.org/debian", "bookworm"),
                ("http://deb.debian.org/debian", "bookworm-updates"),
                ("http://deb.debian.org/debian-security", "bookworm-security"),
            ]
            sources.write_text("".join(f"deb {url} {suite} main\n" for url, suite in suites))
            run(*as_root, "cp", str(sources), f"{root}/etc/apt/sources.list")
            run(
                *as_root, "tar", "-C", root, "-cf", archive, "--exclude=./var/cache/apt/archives/*",
                "--exclude=./var/lib/apt/lists/*", "--exclude=./usr/share/doc/*", "--exclude=./usr/share/man/*",
                "--exclude=./usr/share/locale/*", ".",
            )  # fmt: skip
        finally:
            run(*as_root, "rm", "-rf", root)
        run("docker", "import", archive, LOCAL_BASE)
        run(*as_root, "rm", "-f", archive)


def base_image() -> str:
    """A Debian 12 image that the engine has: there already, pulled, or made here."""
    for tag in (PUBLIC_BASE, LOCAL_BASE):
        if exists(tag):
            return tag
    if registry_answers():
        say(f"pulling {PUBLIC_BASE}")
        try:
            run("docker", "pull", PUBLIC_BASE, seconds=PULL_SECONDS)
        except BuildError as error:
            say(f"the pull failed ({str(error).splitlines()[-1]})")
        else:
            return PUBLIC_BASE
    say("no registry answers: making a Debian base with debootstrap (about half a minute)")
    started = time.monotonic()
    debootstrap()
    say(f"base made in {time.monotonic() - started:.0f} s")
    return LOCAL_BASE


def build(name: str, tag: str, base: str) -> None:
    """Builds one image and drops older builds of the same name."""
    say(f"building {tag} from {base}")
    started = time.monotonic()
    run("docker", "build", "-q", "--build-arg", f"BASE={base}", "-t", tag, str(ROOT / "infra" / "images" / name))
    for old in run("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"cycleqd-{name}").split():
        if old != tag:
            try:
                run("docker", "image", "rm", old)
            except BuildError:
                say(f"{old} is still in use; left alone")
    size = int(run("docker", "image", "inspect", "--format", "{{.Size}}", tag)) / 1e6
    say(f"{tag} ready in {time.monotonic() - started:.0f} s, {size:.0f} MB")


def build_unless_optional(name: str, tag: str, base: str, user: str | None) -> None:
    """Builds an image; the failure of one that only `user` needs is told and no more.

    Raises:
        BuildError: An image that every run needs can't be built.
    """
    try:
        build(name, tag, base)
    except BuildError as error:
        if user is None:
            raise
        say(f"{tag} could not be built, so {user} can't be played until 'infra/build_images.py {name}' succeeds:")
        say(str(error))


def main() -> int:
    """Builds what is missing; returns the exit status."""
    parser = argparse.ArgumentParser(description="Build the sandbox images that don't exist yet.")
    parser.add_argument("--force", action="store_true", help="build even those that exist")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these, each of which must succeed")
    options = parser.parse_args()
    try:
        tags, users = wanted()
        if unknown := set(options.names) - tags.keys():
            raise BuildError(f"no image is called {', '.join(sorted(unknown))}; there are {', '.join(tags)}")
        if options.names:
            tags, users = {name: tags[name] for name in options.names}, {}
        missing = {name: tag for name, tag in tags.items() if options.force or not exists(tag)}
        for name in tags.keys() - missing.keys():
            say(f"{tags[name]} is there")
        if missing:
            base = base_image()
            with ThreadPoolExecutor(max_workers=3) as threads:
                done = [threads.submit(build_unless_optional, name, tag, base, users.get(name))
                        for name, tag in missing.items()]  # fmt: skip
            for one in done:
                one.result()
    except BuildError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

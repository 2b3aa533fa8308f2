"""A private PostgreSQL for the Prefect server, from the distribution's package, in a folder of this checkout."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

from infra.services import Service, listens

NAME = "postgres"
DATABASE = "prefect"
UNPRIVILEGED = "postgres"
"""Who runs the cluster when `make up` runs as root, which PostgreSQL refuses. Debian's package makes this user."""


def programs() -> Path | None:
    """Folder of ``initdb`` and ``postgres``, newest version first; None where PostgreSQL is not installed."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    found = shutil.which("initdb")
    folders = [*versions, *([Path(found).resolve().parent] if found else [])]
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def start(state: Path, port: int) -> str:
    """Starts the cluster, made on first use.

    Returns:
        The database's URL for Prefect, password included: it belongs into an environment, never into a log.

    Raises:
        RuntimeError: It did not come up.
        OSError: The folder cannot be given to the unprivileged user.
        subprocess.CalledProcessError: The cluster could not be made.
    """
    bin_folder = programs()
    if bin_folder is None:
        raise RuntimeError("PostgreSQL is not installed (apt-get install postgresql)")
    home, password_file = state / "postgres", state / "postgres.password"
    if not password_file.exists():
        password_file.touch(mode=0o600)
        password_file.write_text(secrets.token_urlsafe(24))
    password = password_file.read_text()
    as_user = _unprivileged_prefix(home)
    if not (home / "PG_VERSION").exists():
        _create(bin_folder, home, password, as_user)
    service = Service(NAME, state)
    service.start(
        [
            *as_user,
            str(bin_folder / "postgres"),
            *("-D", str(home), "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
        ],
        env={},
        folder=home if not as_user else Path("/"),
    )
    service.wait_until(lambda: listens(port), seconds=60)
    return f"postgresql+asyncpg://{UNPRIVILEGED}:{password}@127.0.0.1:{port}/{DATABASE}"


def _create(bin_folder: Path, home: Path, password: str, as_user: list[str]) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".password") as given:
        given.write(password)
        given.flush()
        if as_user:
            shutil.chown(given.name, UNPRIVILEGED)
        command = [*as_user, str(bin_folder / "initdb"), "-D", str(home), "-U", UNPRIVILEGED, "-E", "UTF8"]
        command += ["--auth=scram-sha-256", "--pwfile", given.name]
        subprocess.run(command, check=True, capture_output=True, text=True, cwd="/")  # noqa: S603 - our own
    # In single-user mode: no server has to run yet.
    subprocess.run(  # noqa: S603 - our own
        [*as_user, str(bin_folder / "postgres"), "--single", "-D", str(home), "postgres"],
        input=f"CREATE DATABASE {DATABASE}\n",
        check=True,
        capture_output=True,
        text=True,
        cwd="/",
    )


def _unprivileged_prefix(home: Path) -> list[str]:
    """How to run a command as the cluster's user; makes and hands over its folder."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return []
    pwd.getpwnam(UNPRIVILEGED)
    shutil.chown(home, UNPRIVILEGED, UNPRIVILEGED)
    return ["setpriv", f"--reuid={UNPRIVILEGED}", f"--regid={UNPRIVILEGED}", "--clear-groups"]

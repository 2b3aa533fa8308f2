"""An object store for runs that want one: MinIO where it is installed, else moto's server, which forgets."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from infra.services import Service, listens, refuse_anothers_port

BUCKET = "cycleqd"
NAME = "object-store"


class ObjectStore(NamedTuple):
    """A store that runs.

    Attributes:
        program: ``minio`` or ``moto``.
        settings: File to source in a shell, with the standard AWS variables and so its password.
        environment: The same variables.
        lasting: Whether it keeps its objects when it ends.
    """

    program: str
    settings: Path
    environment: dict[str, str]
    lasting: bool


def start(state: Path, port: int, home: Path) -> ObjectStore:
    """Starts the store unless it runs, and makes the bucket.

    Args:
        state: Folder of its objects, its password and its log.
        port: On this machine only.
        home: A checkout.

    Raises:
        RuntimeError: There is none to start, it did not come up, or its port is another's.
    """
    if find_spec("botocore") is None:
        raise RuntimeError("the extra `s3` is not installed")
    environment = {
        "AWS_ENDPOINT_URL_S3": _address(port),
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "cycleqd",
        "AWS_SECRET_ACCESS_KEY": _password(state),
    }
    if minio := shutil.which("minio"):
        command = [minio, "server", str(state / "objects"), "--address", f"127.0.0.1:{port}"]
    elif find_spec("moto") and find_spec("flask"):
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    else:
        raise RuntimeError("neither `minio` nor the extra `dev` (moto's server) is installed")
    service = Service(NAME, state)
    root = {
        "MINIO_ROOT_USER": environment["AWS_ACCESS_KEY_ID"],
        "MINIO_ROOT_PASSWORD": environment["AWS_SECRET_ACCESS_KEY"],
    }
    refuse_anothers_port(service, port)
    service.start(command, env=root, folder=home)
    service.wait_until(lambda: listens(port), seconds=60)
    _make_bucket(environment)
    settings = state / f"{NAME}.env"
    settings.touch(mode=0o600)
    settings.write_text("".join(f"export {name}={value}\n" for name, value in environment.items()))
    return ObjectStore("minio" if minio else "moto", settings, environment, lasting=bool(minio))


def _password(state: Path) -> str:
    """The store's own, made on first use."""
    file = state / f"{NAME}.password"
    if not file.exists() or not file.read_text():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(24))
    return file.read_text()


def _make_bucket(environment: dict[str, str]) -> None:
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.session import Session

    client = Session().create_client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
        region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
    try:
        if BUCKET not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket=BUCKET)
    except (BotoCoreError, ClientError) as error:
        raise RuntimeError(f"at {environment['AWS_ENDPOINT_URL_S3']} answers something else: {error}") from None
    finally:
        client.close()


def own_account(port: int) -> bool:
    """Whether AWS's clients find an account of this user's, which ours must not hide.

    Args:
        port: Of our store, whose settings a shell may have sourced; they are no account of the user's.
    """
    if os.environ.get("AWS_ENDPOINT_URL_S3") == _address(port):
        return False
    return any(name.startswith("AWS_") for name in os.environ) or (Path.home() / ".aws").exists()


def _address(port: int) -> str:
    return f"http://127.0.0.1:{port}"

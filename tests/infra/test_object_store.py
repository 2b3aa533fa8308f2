import os
import socket
import stat

import pytest

from infra import object_store
from infra.services import Service
from tests.live_prefect import ROOT, free_ports


@pytest.fixture
def running(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")  # so that a MinIO of this machine plays no part
    port = free_ports()
    yield lambda: object_store.start(tmp_path, port, ROOT)
    Service(object_store.NAME, tmp_path).stop()


def test_started_twice_it_is_one_store_that_keeps_its_bucket_and_says_that_it_forgets(running, tmp_path, monkeypatch):
    from cycleqd.storage import open_filesystem

    store = running()
    pid = Service(object_store.NAME, tmp_path).process().pid
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    fs, root = open_filesystem(f"s3://{object_store.BUCKET}/runs")
    fs.pipe_file(f"{root}/mine", b"kept")
    assert running() == store
    assert Service(object_store.NAME, tmp_path).process().pid == pid
    assert fs.cat_file(f"{root}/mine") == b"kept"
    assert (store.program, store.lasting) == ("moto", False)


def test_its_password_is_for_this_user_alone(running, tmp_path):
    store = running()
    assert store.environment["AWS_SECRET_ACCESS_KEY"] in store.settings.read_text()
    for file in (store.settings, tmp_path / "object-store.password"):
        assert stat.S_IMODE(os.stat(file).st_mode) == 0o600


@pytest.mark.parametrize("where", ["variable", "folder"])
def test_an_account_that_is_there_is_the_one_to_use(monkeypatch, tmp_path, where):
    for each in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(each)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not object_store.own_account(4202)
    if where == "variable":
        monkeypatch.setenv("AWS_PROFILE", "mine")
    else:
        (tmp_path / ".aws").mkdir()
    assert object_store.own_account(4202)


def test_our_own_settings_in_the_shell_are_no_account_of_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:4202")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "cycleqd")
    assert not object_store.own_account(4202)
    assert object_store.own_account(4302)


def test_a_port_of_somebody_elses_is_refused(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(RuntimeError, match="something else listens"):
            object_store.start(tmp_path, other.getsockname()[1], ROOT)

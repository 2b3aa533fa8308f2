import os
import urllib.request

import pytest

from cycleqd.machine.loopback import LOOPBACK, exempt_loopback, is_loopback


@pytest.fixture
def proxies(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name in ("NO_PROXY", "no_proxy"):  # so that what the function sets goes away again
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    return monkeypatch


@pytest.mark.parametrize("before", [None, "", "corp.example", "corp.example, 127.0.0.1"])
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_this_machine_is_exempt_and_what_was_exempt_stays_so(name, before, proxies):
    if before is not None:
        proxies.setenv(name, before)
    exempt_loopback()
    exempt_loopback()
    for variable in ("NO_PROXY", "no_proxy"):
        names = os.environ[variable].split(",")
        assert set(LOOPBACK) <= set(names)
        assert len(names) == len(set(names))
        assert ("corp.example" in names) == ("corp" in (before or ""))
    assert all(urllib.request.proxy_bypass(host) for host in LOOPBACK)
    assert not urllib.request.proxy_bypass("elsewhere.example")


def test_who_exempts_everything_keeps_to_it(proxies):
    proxies.setenv("no_proxy", "*")
    exempt_loopback()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "*"


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost", True), ("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("[::1]", True),
     ("a.localhost", True), ("10.0.0.1", False), ("localhost.example", False), ("127.0.0.1.example", False),
     ("", False)],
)  # fmt: skip
def test_which_hosts_are_this_machine(host, here):
    assert is_loopback(host) is here

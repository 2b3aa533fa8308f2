import socket
import urllib.request

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from cycleqd.storage import retrying
from cycleqd.telemetry import metrics


def value(name, **labels):
    found = [
        sample.value
        for family in text_string_to_metric_families(metrics.exposition())
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) == 1, f"{name} {labels}: {found}"
    return found[0]


def test_evaluations_count_episodes_tokens_and_time():
    for _ in range(2):
        metrics.count_evaluation("one", "os", scores=[0.0, 1.0, 0.0, 1.0], tokens=20, seconds=2.5)
    metrics.count_retry("one", "os")
    assert value("cycleqd_episodes_total", run="one", skill="os") == 8
    assert value("cycleqd_episodes_solved_total", run="one", skill="os") == 4
    assert value("cycleqd_tokens_total", run="one", skill="os") == 40
    assert value("cycleqd_evaluation_seconds_sum", run="one", skill="os") == 5
    assert value("cycleqd_retries_total", run="one", skill="os") == 1


def test_generations_give_a_pace_and_where_the_time_went():
    metrics.count_generation("two", 6, seconds=10.0, sandbox=3.0, generate=5.0)
    assert value("cycleqd_children_total", run="two") == 1
    assert value("cycleqd_last_generation", run="two") == 6
    assert value("cycleqd_children_per_hour", run="two") == 360
    assert value("cycleqd_sandbox_seconds_total", run="two") == 3


def test_the_engines_pace_is_shown_once_it_has_generated():
    metrics.set_pace("idle", 0, 0.0)
    metrics.set_pace("busy", 300, 2.0)
    assert value("cycleqd_tokens_per_second", run="busy") == 150
    assert 'run="idle"' not in metrics.exposition()


def test_a_runs_metrics_leave_out_the_other_runs_of_the_process():
    for run in ("first", "second"):
        metrics.count_evaluation(run, "os", scores=[1.0], tokens=20, seconds=2.5)
        metrics.count_split(run, {"transfer": 1.0})
    text = metrics.of_run(metrics.exposition(), "second")
    families = list(text_string_to_metric_families(text))
    assert {sample.labels.get("run") for family in families for sample in family.samples} == {"second", None}
    everything = {family.name for family in text_string_to_metric_families(metrics.exposition())}
    assert {family.name for family in families} == everything


def test_accesses_to_the_store_that_are_repeated_are_counted(monkeypatch):
    monkeypatch.setattr(retrying, "FIRST_WAIT", 0)
    faults = [TimeoutError(), TimeoutError()]
    before = value("cycleqd_storage_retries_total")

    def access():
        if faults:
            raise faults.pop()

    retrying.retrying("reading", access)
    assert value("cycleqd_storage_retries_total") == before + 2


def test_metrics_are_served_where_a_port_is_given(monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setattr(metrics, "_served", False)
    monkeypatch.setenv("CYCLEQD_METRICS_PORT", str(port))
    metrics.serve()
    metrics.serve()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own server
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert answer.read().endswith(b"# EOF\n")


@pytest.mark.parametrize("port", ["none", "70000"])
def test_port_that_cannot_be_had_is_told_and_ends_nothing(monkeypatch, caplog, port):
    monkeypatch.setattr(metrics, "_served", False)
    monkeypatch.setenv("CYCLEQD_METRICS_PORT", port)
    metrics.serve()
    assert "are not served" in caplog.text

"""Which events are sent, and that none costs the run anything."""

import pytest

from cycleqd.report import summarise
from tasks import announcing
from tests.report.synthetic import synthetic_run, trained


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return synthetic_run(str(tmp_path_factory.mktemp("runs")), run_id="told", generations=2)


@pytest.fixture
def sent(monkeypatch):
    found = []
    monkeypatch.setattr(announcing, "has_server", lambda: True)
    monkeypatch.setattr(
        announcing,
        "emit_event",
        lambda name, resource, related, payload: found.append((name, resource, related, payload)),
    )
    return found


def test_events_are_about_the_run_and_name_what_happened_in_it(store, sent):
    record = store.generations()[1]
    announcing.trained(store, "os", trained())
    announcing.committed(store, record, 2)
    announcing.finished(store, summarise(store))
    names = [name for name, *_ in sent]
    assert names == ["cycleqd.expert.trained", "cycleqd.generation.committed", "cycleqd.run.finished"]
    assert {resource["prefect.resource.id"] for _, resource, _, _ in sent} == {"cycleqd.run.told"}
    (related,) = sent[1][2]
    assert related["prefect.resource.id"] == f"cycleqd.run.told.{record.individual}"
    payload = sent[1][3]
    assert (payload["run"], payload["generation"], payload["of"]) == ("told", 1, 2)
    assert payload["scores"] == {skill: score.score for skill, score in record.scores.items()}
    assert "cycleqd" in sent[2][3]["test_means"]


@pytest.mark.parametrize(
    ("fault", "name"), [(ValueError("https://me:secret@host"), "failed"), (KeyboardInterrupt(), "stopped")]
)
def test_a_start_that_fails_or_is_stopped_says_so_and_the_fault_goes_on(store, sent, fault, name):
    with pytest.raises(type(fault)), announcing.announced(store):
        raise fault
    assert [event for event, *_ in sent] == ["cycleqd.run.started", f"cycleqd.run.{name}"]
    assert sent[0][3] == {"run": "told", "generations": 2, "of": 2}
    assert "secret" not in str(sent)


def test_a_server_that_takes_no_events_costs_nothing(store, sent, monkeypatch, caplog):
    def refuse(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(announcing, "emit_event", refuse)
    with announcing.announced(store):
        announcing.committed(store, store.generations()[0], 2)
    assert "cycleqd.generation.committed was not sent: no route" in caplog.text


def test_without_a_server_nothing_is_sent(store, sent, monkeypatch):
    monkeypatch.setattr(announcing, "has_server", lambda: False)
    with announcing.announced(store):
        pass
    assert sent == []

import pytest

from cycleqd.config import ConfigError, parse_config


def parsed(**changes):
    return parse_config({"run_id": "x", **changes}, source="the test")


def test_the_runs_own_process_scores_unless_told_otherwise():
    settings = parsed().evaluators
    assert (settings.kind, settings.count) == ("threads", 1)


@pytest.mark.parametrize(
    ("evaluators", "in_flight", "said"),
    [
        ({"count": 2}, 2, "set evaluators.kind to process, dask or ray"),
        ({"kind": "process", "count": 4}, 2, "set search.in_flight to 4 or more, or evaluators.count to 2"),
        ({"kind": "process", "count": 2, "devices": ["0"]}, 2, "name as many devices, got 1"),
        ({"kind": "process", "address": "tcp://x:1"}, 2, "it is for evaluators.kind dask or ray"),
        ({"kind": "dask", "devices": ["0"]}, 1, "it is for evaluators.kind process"),
        ({"kind": "ray", "devices": ["0"]}, 1, "it is for evaluators.kind process"),
        ({"kind": "threads"}, 2, "evaluators.kind to process, dask or ray"),
    ],
)
def test_what_does_not_go_together_is_refused_with_what_to_set(evaluators, in_flight, said):
    with pytest.raises(ConfigError, match=said):
        parsed(evaluators=evaluators, search={"in_flight": in_flight})


def test_servers_already_score_several_children_for_one_process():
    engine = {"kind": "server", "urls": ["http://localhost:1/v1"], "batching": "throughput"}
    with pytest.raises(ConfigError, match=r"set evaluators\.kind to threads"):
        parsed(engine=engine, evaluators={"kind": "process"})


def test_the_threads_of_an_engine_do_not_follow_the_number_of_engines(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 12)
    for count in (1, 2, 4):
        config = parsed(evaluators={"kind": "process", "count": count}, search={"in_flight": 4})
        assert config.evaluators.threads_each(config.search.in_flight) == 3
    given = parsed(evaluators={"kind": "process", "threads": 2}, search={"in_flight": 64})
    assert given.evaluators.threads_each(64) == 2
    assert parsed(evaluators={"kind": "process"}, search={"in_flight": 64}).evaluators.threads_each(64) == 1

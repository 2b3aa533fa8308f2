import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cycleqd import steps
from cycleqd.config import RunConfig
from cycleqd.report import summarise
from cycleqd.run.lease import Lease, LeaseLost, RunLocked, current_lease
from cycleqd.run.names import METRICS_KEY, RunRef
from cycleqd.run.store import RunStore
from cycleqd.run.upkeep import DamagedRun, verify
from cycleqd.steps.workspace import opened
from cycleqd.telemetry import metrics
from tests.run.test_lease import stranger
from tests.run.upkeep.toy_run import begin, commit, evolve, remove, score


def toy(storage):
    return RunRef(run_id="toy", storage=storage)


@pytest.fixture
def store(tmp_path):
    store = begin(str(tmp_path))
    evolve(store, 3)
    return store


def test_workspace_holds_the_lease_until_its_outermost_user_leaves(store):
    with opened(toy(store.storage)):
        with opened(toy(store.storage)):
            pass
        with pytest.raises(RunLocked):
            Lease.acquire(RunStore(store.storage, "toy"))
    assert current_lease(store) is None


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt])
def test_lease_is_given_back_whatever_ends_the_run(store, fault):
    with pytest.raises(fault), opened(toy(store.storage)):
        raise fault
    assert current_lease(store) is None


def test_run_that_another_process_writes_to_is_refused_and_left_alone(store, tmp_path):
    (tmp_path / "toy" / "base.json.partial").write_bytes(b"the other process is writing this")
    stranger(store)
    with pytest.raises(RunLocked, match="process 7 on far"), opened(toy(store.storage)):
        pass
    assert (tmp_path / "toy" / "base.json.partial").exists()


def test_opening_sweeps_and_checks(store, tmp_path):
    (tmp_path / "toy" / "base.json.partial").write_bytes(b"half")
    with opened(toy(store.storage)):
        assert not (tmp_path / "toy" / "base.json.partial").exists()
    remove(tmp_path / "toy" / "individuals" / "g0001" / "individual.json")
    with pytest.raises(DamagedRun, match="generation 1"), opened(toy(store.storage)):
        pass
    assert current_lease(store) is None


def test_opening_removes_temporary_folders_of_killed_processes(store):
    code = "from cycleqd.machine.owner import temporary_folder; print(temporary_folder())"
    left = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert Path(left).is_dir()
    with opened(toy(store.storage)):
        assert not Path(left).exists()


def test_process_that_lost_the_lease_stops_and_commits_nothing(store):
    with opened(toy(store.storage)) as ws:
        score(store, steps.breed(ws, 3))
        taker = stranger(store)
        ws.lease._renew()
        assert ws.evaluator.stop.is_set()
        with pytest.raises(LeaseLost):
            commit(ws, 3)
        with pytest.raises(LeaseLost):
            ws.save_session()
        with pytest.raises(LeaseLost):
            ws.store.remove("base.json")
        with pytest.raises(LeaseLost), ws.store.writing("experts/os/model") as path:
            path.mkdir()
    assert len(store.generations()) == 3
    assert current_lease(store) == taker


def test_commit_that_fails_to_write_may_be_tried_again(store, tmp_path, monkeypatch):
    evolve(begin(str(tmp_path), run_id="reference"), 4)
    with opened(toy(store.storage)) as ws:
        score(store, steps.breed(ws, 3))

        def unavailable(*_, **__):
            raise ConnectionError

        with monkeypatch.context() as patch:
            patch.setattr(ws.store, "write_generation", unavailable)
            with pytest.raises(ConnectionError):
                commit(ws, 3)
        write_json = ws.store.write_json

        def full(key, *arguments, **options):
            return unavailable() if key.startswith("archives/") else write_json(key, *arguments, **options)

        with monkeypatch.context() as patch:  # the record is written, its archives are not
            patch.setattr(ws.store, "write_json", full)
            with pytest.raises(ConnectionError):
                commit(ws, 3)
        commit(ws, 3)
    for key in ("generations/00003.json", "archives/00003.json"):
        assert store.read_json(key) == RunStore(str(tmp_path), "reference").read_json(key)


def test_generations_that_a_start_asked_for_are_kept_for_the_next(store):
    with opened(toy(store.storage)) as ws:
        ws.adopt(ws.config.model_copy(update={"generations": 77}))
    with opened(toy(store.storage)) as ws:
        assert ws.config.generations == 77
    assert summarise(store).generations_planned == 77


def test_metrics_are_written_over_and_over_with_the_session(store, tmp_path):
    with opened(toy(store.storage)) as ws:
        store.remove(METRICS_KEY)
        ws.save_session()
        metrics.count_retry("toy", "os")
        ws.save_session()
    written = store.read_bytes(METRICS_KEY)
    assert b'cycleqd_retries_total{run="toy",skill="os"}' in written
    assert written.endswith(b"# EOF\n")
    assert [path.name for path in (tmp_path / "toy" / "metrics").iterdir()] == ["run.prom"]


def test_threads_of_one_process_share_the_workspace(store):
    seen = []

    def use():
        with opened(toy(store.storage)) as ws:
            seen.append(ws)

    with opened(toy(store.storage)) as ws:
        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [ws] * 4


def test_retention_of_this_start_prunes_on_the_way_and_the_run_goes_on(tmp_path, monkeypatch):
    store = begin(str(tmp_path), generations=14)
    config = RunConfig.model_validate(
        store.config().model_dump() | {"retention": {"policy": "keep-elites", "episodes": True}}
    )
    monkeypatch.setattr("cycleqd.steps.search.PRUNE_INTERVAL", 4)
    with opened(toy(str(tmp_path))) as ws:
        ws.adopt(config)
        for generation in range(14):
            score(store, steps.breed(ws, generation))
            commit(ws, generation)
            steps.retain(ws, generation)
    reference = begin(str(tmp_path), run_id="reference", generations=14)
    evolve(reference, 14)
    assert [one.scores for one in store.generations()] == [one.scores for one in reference.generations()]
    assert list(tmp_path.glob("toy/individuals/*/pruned.json"))
    assert verify(store).faults == []

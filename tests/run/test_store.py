import threading

import pytest

from cycleqd.config import BaselineConfig, ConfigError, EngineConfig, ModelConfig, RunConfig
from cycleqd.run.records import (
    EpisodeRecord,
    EvaluationRecord,
    GenerationRecord,
    IndividualRecord,
    Phases,
    SampleScore,
    Score,
)
from cycleqd.run.store import RunStore, StoreError, list_runs
from tests.run.upkeep.toy_run import begin

ENGINE = EngineConfig(kind="transformers")
"""Named, as `auto` is written down as what it means."""


@pytest.fixture(params=["file", "memory"])
def store(request, tmp_path):
    """The same contract on a local disk and on a store that has only whole-object writes."""
    root = str(tmp_path / "runs") if request.param == "file" else f"memory://{tmp_path.name}"
    return RunStore(root, "run", cache=tmp_path / "cache")


def generation(number):
    return GenerationRecord(
        generation=number, archive="os", individual=f"g{number:04d}", genome="ab", parents=["x", "y"],
        scores={"os": Score.of([1.0, 0.0])}, cells={}, seconds=Phases(),
    )  # fmt: skip


def test_begun_run_gives_its_configuration_back(store):
    config = RunConfig(run_id="run", seed=7, model=ModelConfig(dtype="float16"), engine=ENGINE)
    store.open(config)
    assert store.config() == config
    assert list_runs(store.storage) == ["run"]


def test_run_can_be_continued_with_more_generations(store):
    store.open(RunConfig(run_id="run", generations=3))
    store.open(RunConfig(run_id="run", generations=30))


def test_settings_that_no_run_can_have_are_not_kept(store):
    begun = RunConfig(run_id="run", generations=3, engine=ENGINE)
    store.open(begun)
    with pytest.raises(ConfigError, match=r"generations: .*greater than or equal to 0 \(got -3\)"):
        store.adopt(begun.model_copy(update={"generations": -3}))
    assert store.config() == store.adopt(begun)
    assert not store.exists("changes.json")


def test_what_was_asked_for_last_holds_for_whoever_continues_without_saying(store):
    begun = RunConfig(
        run_id="run", storage=store.storage, generations=3, model=ModelConfig(dtype="float16"), engine=ENGINE
    )
    store.open(begun)
    store.adopt(begun)
    assert not store.exists("changes.json")
    asked = begun.model_copy(update={"generations": 30, "seed": 9, "storage": "elsewhere"})
    store.adopt(asked)
    assert store.config() == begun.model_copy(update={"generations": 30})
    store.open(begun)  # what may change is no difference
    store.adopt(begun)
    assert store.config() == begun


def test_run_with_other_settings_is_refused_and_every_difference_named(store):
    store.open(RunConfig(run_id="run"))
    with pytest.raises(StoreError, match=r"(?s)mutation\.w_max: was 0\.3, now 0\.1.*seed: was 0, now 1"):
        store.open(RunConfig.model_validate({"run_id": "run", "seed": 1, "mutation": {"w_max": 0.1}}))


def test_servers_may_move_between_two_starts_and_nothing_else_of_an_engine(store):
    engine = EngineConfig(kind="server", batching="throughput", urls=("http://a/v1",))
    begun = RunConfig(run_id="run", storage=store.storage, model=ModelConfig(dtype="float16"), engine=engine)
    store.open(begun)
    moved = engine.model_copy(update={"urls": ("http://b/v1", "http://c/v1"), "adapters": "/shared"})
    later = begun.model_copy(update={"engine": moved})
    store.open(later)
    store.adopt(later)
    assert store.config() == later
    with pytest.raises(StoreError, match=r"engine\.max_batch: was 128, now 4"):
        store.open(later.model_copy(update={"engine": moved.model_copy(update={"max_batch": 4})}))


def test_generations_are_read_up_to_the_first_gap(store):
    for number in (0, 1, 3):
        store.write_generation(generation(number))
    assert [record.generation for record in store.generations()] == [0, 1]


def test_half_written_folder_never_appears(store):
    def write_half():
        with store.writing("experts/os/model") as path:
            path.mkdir()
            (path / "half").write_text("x")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_half()
    assert not store.exists("experts/os/model")
    assert store.keys("experts/os") == []


def test_written_folder_can_be_read_locally(store):
    with store.writing("experts/os/model") as path:
        path.mkdir()
        (path / "weights").write_bytes(b"abc")
    assert (store.local("experts/os/model") / "weights").read_bytes() == b"abc"


def test_individual_exists_only_with_its_recipe(store):
    with store.writing("individuals/g0000/genome.safetensors") as path:
        path.write_bytes(b"tensors")
    assert not store.has_individual("g0000")
    assert store.individuals() == []
    store.write_individual(IndividualRecord(id="g0000", genome="ab"))
    assert store.individuals() == [IndividualRecord(id="g0000", genome="ab")]


def test_evaluation_and_its_episodes_come_back(store):
    sample = SampleScore(id="os/x/1", score=1.0, reason="right", turns=2, tokens=9)
    record = EvaluationRecord(
        genome="ab", skill="os", split="test", score=Score.of([1.0]), samples=[sample], data_hash="d",
        engine="e", batching="strict", tokens=9, seconds=0.1,
    )  # fmt: skip
    episode = EpisodeRecord(
        sample="os/x/1", template="x", score=1.0, reason="right", messages=[{"role": "user", "content": "Grüße\u2028"}]
    )
    assert store.evaluation("ab", "os", "test") is None
    store.write_evaluation(record, [episode])
    assert store.evaluation("ab", "os", "test") == record
    assert store.episodes("ab", "os", "test") == [episode]


def test_missing_object_is_named(store):
    with pytest.raises(StoreError, match=r"config\.json does not exist"):
        store.config()


def test_damaged_json_is_named(store):
    store.write_bytes("config.json", b"{")
    with pytest.raises(StoreError, match=r"config\.json is not JSON"):
        store.config()


def test_readers_never_see_a_half_written_object(tmp_path):
    store = RunStore(str(tmp_path), "run")
    contents = {bytes([n]) * 200_000 for n in (1, 2)}
    store.write_bytes("report/x", min(contents))
    done = threading.Event()

    def write():
        for _ in range(100):
            for content in contents:
                store.write_bytes("report/x", content)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert store.read_bytes("report/x") in contents
    writer.join()
    assert store.keys("report") == ["report/x"]


def test_experts_get_no_shares_of_regmean_afterwards(tmp_path):
    store = begin(str(tmp_path), baselines=())
    wanted = store.config().model_copy(update={"baselines": (BaselineConfig(method="regmean", scales=(1.0,)),)})
    with pytest.raises(StoreError, match="leave regmean out of the baselines"):
        store.open(wanted)
    (other := RunStore(str(tmp_path), "early")).open(store.config().model_copy(update={"run_id": "early"}))
    other.open(wanted.model_copy(update={"run_id": "early"}))  # before there are experts


def test_a_damaged_session_is_left_out_and_told(store, caplog):
    store.write_bytes("sessions/x.json", b"{")
    assert store.sessions() == []
    assert "a session is left out" in caplog.text

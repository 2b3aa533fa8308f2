"""What is told of what was made from what, in Prefect's own words, and that none of it costs the run anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.assets import Asset

from cycleqd.run.names import AGGREGATE, ALL_DATA, REPORT_KEY, expert_key
from cycleqd.run.store import RunStore
from tasks import lineage
from tasks.lineage import asset_key
from tests.report.synthetic import configuration, synthetic_run

MADE = "prefect.asset.materialization.succeeded"


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setenv("CYCLEQD_MACHINE", "here")


@pytest.fixture
def sent(monkeypatch):
    """The events that Prefect's asset context would send, by the key of what was made."""
    found = {}

    def send(event, resource, related, payload=None):
        if event == MADE:
            upstream = [one["prefect.resource.id"] for one in related if one["prefect.resource.role"] == "asset"]
            found[resource["prefect.resource.id"]] = resource, set(upstream), payload

    monkeypatch.setattr(lineage, "has_server", lambda: True)
    monkeypatch.setattr("prefect.events.emit_event", send)
    return found


def begun(folder, **changes):
    config = configuration(str(folder), ("os", "db"), run_id="begun", generations=1)
    config = config.model_validate(config.model_dump(mode="json") | changes)
    store = RunStore(config.storage, config.run_id)
    store.open(config)
    return store


def make(store, skill, record="summary.json"):
    with lineage.expert(store, skill) as facts:
        facts["steps"] = 3
        store.write_json(expert_key(skill, record), {})


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("s3://bucket/runs/demo/experts/os", "s3://bucket/runs/demo/experts/os"),
        ("hf://owner/name@main", "hf://owner/name@main"),
        ("/srv/runs/demo", "file://here/srv/runs/demo"),
        ("s3://me:secret@bucket/x", "s3://***@bucket/x"),
    ],
)
def test_folders_and_urls_are_keys(address, key):
    assert asset_key(address) == Asset(key=key).key


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.booleans())
def test_prefect_takes_every_key(text, is_url):
    Asset(key=asset_key(f"s3://bucket/{text}" if is_url else f"/srv/{text}"))


def test_keys_differ_where_prefect_takes_neither_address():
    addresses = ["s3://bucket/a b", "s3://bucket/a%b", "s3://bucket/a_b", *(f"s3://{'x' * 600}/{n}" for n in range(3))]
    assert len(set(map(asset_key, addresses))) == len(addresses)


def test_an_expert_is_of_base_and_gold_episodes_and_is_told_once(tmp_path, sent):
    store = begun(tmp_path)
    make(store, "os")
    make(store, "os")
    ((key, (resource, upstream, payload)),) = sent.items()
    assert key == asset_key(store.url("experts/os"))
    assert resource["prefect.resource.name"] == "os expert of begun"
    episodes = asset_key(store.url("experts/os/demonstrations.json"))
    assert upstream == {"cycleqd://models/smollm2-135m-instruct", episodes}
    assert payload == {"run": "begun", "steps": 3}
    sent.clear()
    make(store, "os")
    assert sent == {}


def test_an_expert_is_of_the_data_sets_or_of_the_source_that_it_is_from(tmp_path, sent):
    (tmp_path / "own.jsonl").touch()
    sources = [{"recipe": "agent_flan"}, {"recipe": "chat", "path": str(tmp_path / "own.jsonl")}]
    experts = {"data": {"os": {"sources": sources}}, "source": {"db": "owner/adapter@main"}}
    store = begun(tmp_path, experts=experts, model={"name": "owner/base", "revision": "abc"})
    make(store, "os")
    make(store, "db", "source.json")
    trained, taken = (sent[asset_key(store.url(f"experts/{skill}"))][1] for skill in ("os", "db"))
    assert trained == {
        "hf://owner/base@abc", "hf://datasets/internlm/Agent-FLAN", asset_key(str(tmp_path / "own.jsonl"))
    }  # fmt: skip
    assert taken == {"hf://owner/base@abc", "hf://owner/adapter@main"}


def test_experts_that_a_run_shares_are_of_those_of_the_other_run(tmp_path, sent):
    first, second = begun(tmp_path / "first"), begun(tmp_path / "second")
    lineage.shared_experts(first, second)
    assert {key: upstream for key, (_, upstream, _) in sent.items()} == {
        asset_key(second.url(f"experts/{skill}")): {asset_key(first.url(f"experts/{skill}"))} for skill in ("os", "db")
    }


def test_an_expert_that_was_not_made_is_not_told(tmp_path, sent):
    with pytest.raises(RuntimeError, match="diverged"), lineage.expert(begun(tmp_path), "os"):
        raise RuntimeError("diverged")
    assert sent == {}


def test_the_report_leads_back_to_base_and_data(tmp_path, sent):
    store = begun(tmp_path, comparison={"all_data": True}, baselines=[])
    for name in ("os", "db", ALL_DATA):
        make(store, name)
    finished = synthetic_run(str(tmp_path / "finished"), run_id="told", generations=1)
    store.individual = finished.individual
    with lineage.final_model(store, AGGREGATE):
        pass
    lineage.report(store, {"headline": "better"})
    seen, waiting = set(), [asset_key(store.url(REPORT_KEY))]
    while waiting:
        if (key := waiting.pop()) not in seen:
            seen.add(key)
            waiting += sent[key][1] if key in sent else ()
    assert seen >= set(sent)
    assert len(sent) == 6  # three models, archives, final model, report
    assert "cycleqd://models/smollm2-135m-instruct" in seen
    assert asset_key(store.url("experts/db/demonstrations.json")) in seen


@pytest.mark.parametrize("refused", ["prefect.context.AssetContext.emit_events", "tasks.lineage.Asset"])
def test_an_asset_that_is_refused_costs_the_run_nothing(tmp_path, monkeypatch, caplog, refused):
    def refuse(*_, **__):
        raise ValueError("no such key")

    monkeypatch.setattr(lineage, "has_server", lambda: True)
    monkeypatch.setattr(refused, refuse)
    make(begun(tmp_path), "os")
    assert "an asset was not told: no such key" in caplog.text


def test_without_a_server_nothing_is_told(tmp_path, sent, monkeypatch):
    monkeypatch.setattr(lineage, "has_server", lambda: False)
    store = begun(tmp_path)
    make(store, "os")
    lineage.report(store, {})
    assert sent == {}

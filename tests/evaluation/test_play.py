"""Episodes driven through real sandboxes; the engine is a script where its very replies are the subject."""

import threading
from contextlib import contextmanager

import docker
import pytest

from cycleqd.evaluation.play import EvaluationStopped, evaluate, samples_hash
from cycleqd.machine.owner import RUN_LABEL
from cycleqd.models.causal_lm.protocol import Reply
from cycleqd.sandbox import Sandboxes, SandboxUnavailable
from cycleqd.skills.building import build_skill

COUNTS = {"train": 4, "optimization": 6, "test": 4}


class ScriptedEngine:
    """An engine whose replies are known: the gold ones for chosen samples, silence for the others."""

    name = "scripted"
    loaded = "f" * 64

    def __init__(self, skill, split, solves=lambda index: True):
        self._gold = {}
        for index, sample in enumerate(skill.samples(split)):
            replies = skill.gold_replies(sample) if solves(index) else []
            self._gold[skill.initial_messages(sample)[-1]["content"]] = replies
        self.batches = []
        self._lock = threading.RLock()

    def chat(self, requests):
        with self._lock:
            self.batches.append(list(requests))
        return [self._reply(request) for request in requests]

    def _reply(self, request):
        first = next(m["content"] for m in reversed(request.messages) if m["content"] in self._gold)
        asked = sum(m["role"] == "assistant" for m in request.messages)
        shown = next(i for i, m in enumerate(request.messages) if m["content"] == first)
        turn = asked - sum(m["role"] == "assistant" for m in request.messages[:shown])
        replies = self._gold[first]
        text = replies[turn] if turn < len(replies) else ""
        return Reply(text, 1, len(text.split()), "stop")

    @contextmanager
    def exclusive(self):
        with self._lock:
            yield


@pytest.fixture(scope="module")
def sandboxes():
    with Sandboxes(run_id="test-evaluation", max_containers=8) as pool:
        yield pool


def run(skill, engine, sandboxes, **changes):
    settings = {"batching": "strict", "live_episodes": 8, "workers": 2} | changes
    return evaluate(skill, "optimization", engine, sandboxes, **settings)


@pytest.mark.docker
@pytest.mark.parametrize("name", ["coding", "os", "db"])
@pytest.mark.parametrize("batching", ["strict", "throughput"])
def test_only_the_solved_samples_score(name, batching, sandboxes):
    skill = build_skill(name, seed=0, counts=COUNTS)
    engine = ScriptedEngine(skill, "optimization", solves=lambda index: index % 2 == 0)
    record, episodes, _ = run(skill, engine, sandboxes, batching=batching)
    assert [sample.score for sample in record.samples] == [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    assert record.score.score == 0.5
    assert record.score.n == 6
    assert [episode.sample for episode in episodes] == [sample.id for sample in skill.samples("optimization")]
    assert record.data_hash == samples_hash(skill.samples("optimization"))
    assert all(episode.messages[-1]["role"] in {"assistant", "user"} for episode in episodes)


@pytest.mark.docker
def test_strict_rounds_hold_exactly_the_live_episodes_in_sample_order(sandboxes):
    skill = build_skill("os", seed=0, counts=COUNTS)
    engine = ScriptedEngine(skill, "optimization")
    run(skill, engine, sandboxes)
    prompts = [skill.initial_messages(sample)[-1]["content"] for sample in skill.samples("optimization")]
    for batch in engine.batches:
        contents = [{m["content"] for m in request.messages} for request in batch]
        order = [next(i for i, prompt in enumerate(prompts) if prompt in seen) for seen in contents]
        assert order == sorted(order)
    assert len(engine.batches[0]) == 6
    assert len({request.scope for batch in engine.batches for request in batch}) == 1


@pytest.mark.docker
def test_more_samples_than_live_episodes_are_played_in_waves(sandboxes):
    skill = build_skill("os", seed=0, counts=COUNTS)
    engine = ScriptedEngine(skill, "optimization")
    progress = []
    record, *_ = run(skill, engine, sandboxes, live_episodes=4, progress=progress.append)
    assert record.score.score == 1.0
    assert progress == [4, 6]
    assert max(map(len, engine.batches)) == 4


@pytest.mark.docker
def test_a_stopped_evaluation_ends_and_scores_nothing(sandboxes):
    skill = build_skill("db", seed=0, counts=COUNTS)
    stop = threading.Event()
    stop.set()
    with pytest.raises(EvaluationStopped):
        run(skill, ScriptedEngine(skill, "optimization"), sandboxes, stop=stop)


@pytest.mark.docker
@pytest.mark.parametrize("name", ["coding", "os", "db"])
def test_containers_that_are_killed_once_cost_no_score(name):
    skill = build_skill(name, seed=0, counts=COUNTS)
    with Sandboxes(run_id=f"test-evaluation-killed-{name}", max_containers=8) as pool:
        engine = ScriptedEngine(skill, "optimization")
        chat = engine.chat

        def chat_then_kill(requests):
            replies = chat(requests)
            if len(engine.batches) == 1:
                client = docker.from_env()
                for container in client.containers.list(
                    filters={"label": f"{RUN_LABEL}=test-evaluation-killed-{name}"}
                ):
                    container.kill()
                client.close()
            return replies

        engine.chat = chat_then_kill
        record, *_ = run(skill, engine, pool)
    assert [sample.reason for sample in record.samples if sample.score != 1.0] == []


@pytest.mark.docker
def test_a_machine_without_sandboxes_raises_and_is_never_a_wrong_answer():
    skill = build_skill("os", seed=0, counts=COUNTS)
    with Sandboxes(run_id="test-evaluation-dead", max_containers=8) as pool:
        engine = ScriptedEngine(skill, "optimization")
        chat = engine.chat

        def chat_then_kill(requests):
            replies = chat(requests)
            if len(engine.batches) == 1:
                pool.close()
            return replies

        engine.chat = chat_then_kill
        with pytest.raises(SandboxUnavailable):
            run(skill, engine, pool)

"""What every engine must do, run over all engines and tiny models."""

import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from cycleqd.base_model import BaseWeights
from cycleqd.models.causal_lm import ChatRequest, WeightsNotLoaded, open_engine
from cycleqd.models.causal_lm.protocol import Continuation, TextRequest
from cycleqd.models.causal_lm.rendering import render
from cycleqd.task_vector import DenseTaskVector
from tests.tiny_models import random_vector

ENGINES = ["transformers", pytest.param("vllm", marks=[pytest.mark.vllm, pytest.mark.slow])]
MODELS = ["tiny_tied", "tiny_biased"]
MAX_MODEL_LEN = 256
END = 2


@pytest.fixture(scope="module", params=MODELS)
def base(request, tmp_path_factory):
    """A checkpoint with generation settings that no engine may heed: replies would not be greedy any more."""
    copy = shutil.copytree(request.getfixturevalue(request.param), tmp_path_factory.mktemp("base") / request.param)
    settings = {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "min_new_tokens": 9, "do_sample": True}
    (copy / "generation_config.json").write_text(json.dumps({"eos_token_id": END, **settings}))
    return copy


@pytest.fixture(scope="module", params=ENGINES)
def engine(request, base):
    # fp32, so that both engines and the reference choose the same tokens
    opened = open_engine(request.param, base, dtype="float32", max_model_len=MAX_MODEL_LEN, kv_cache_gb=0.1)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def _base_loaded(engine):
    yield
    engine.load("base", None)


def conversation(text):
    return [{"role": "user", "content": text}]


def requests(count, *, seed=0, max_new_tokens=12, scope=""):
    draw = np.random.default_rng(seed)
    texts = [f"{index} " + "ab cd"[: draw.integers(1, 6)] * draw.integers(1, 13) for index in range(count)]
    return [ChatRequest(conversation(text), max_new_tokens, (), scope) for text in texts]


def in_a_batch_of_its_own(engine, batch):
    with engine.exclusive():
        return engine.chat(batch)


def reference_reply(base, vector, request):
    """Plain transformers with plainly added weights, one conversation at a time."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.generation_config = GenerationConfig(eos_token_id=END)
    tokenizer = AutoTokenizer.from_pretrained(base)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if vector is not None:
                parameter += vector.delta(name)
    prompt = tokenizer.apply_chat_template(request.messages, add_generation_prompt=True, return_tensors="pt")
    ids = prompt["input_ids"]
    output = model.generate(ids, do_sample=False, max_new_tokens=request.max_new_tokens)
    return tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)


def disconnect(engine, monkeypatch):
    """Makes weight loading go nowhere, silently."""
    if engine.name == "vllm":
        monkeypatch.setattr(engine._llm, "collective_rpc", lambda method, kwargs: list(kwargs["weights_iterator"]))
    else:
        copies = {name: parameter.detach().clone() for name, parameter in engine._parameters.items()}
        monkeypatch.setattr(engine, "_parameters", copies)


def test_base_is_served_at_the_start(engine):
    assert engine.loaded == "base"


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_replies_are_those_of_plainly_added_weights(engine, base, seed):
    vector = None if seed is None else random_vector(base, seed=seed)
    engine.load("base" if seed is None else f"vector-{seed}", vector)
    batch = requests(4)
    assert [reply.text for reply in engine.chat(batch)] == [
        reference_reply(base, vector, request) for request in batch
    ]


def test_the_genome_is_what_was_loaded(engine, base):
    engine.load("one", random_vector(base, seed=1))
    assert engine.loaded == "one"
    engine.load("base", None)
    assert engine.loaded == "base"


def test_loading_what_is_loaded_costs_nothing(engine, base):
    vector = random_vector(base, seed=1)
    engine.load("one", vector)
    vector.delta = None  # would fail if it were read
    engine.load("one", vector)


def test_same_batch_repeats_bit_for_bit_after_other_work_and_reloads(engine, base):
    batch = requests(6, scope="first")
    before = in_a_batch_of_its_own(engine, batch)
    engine.chat(requests(3, seed=5, scope="other"))
    engine.load("two", random_vector(base, seed=2))
    changed = in_a_batch_of_its_own(engine, batch)
    engine.load("base", None)
    assert in_a_batch_of_its_own(engine, batch) == before
    assert changed != before


def test_base_files_stay_untouched(engine, base):
    before = BaseWeights(base).hash()
    engine.load("three", random_vector(base, seed=3))
    assert BaseWeights(base).hash() == before


def test_zero_task_vector_gives_the_base(engine, base):
    before = in_a_batch_of_its_own(engine, requests(3))
    engine.load("zero", random_vector(base, seed=0, scale=0.0))
    assert in_a_batch_of_its_own(engine, requests(3)) == before


def test_weights_that_do_not_arrive_are_noticed(engine, base, monkeypatch):
    with monkeypatch.context() as patch:
        disconnect(engine, patch)
        with pytest.raises(WeightsNotLoaded, match="base model's"):
            engine.load("lost", random_vector(base, seed=4))


def test_previous_child_still_being_served_is_noticed(engine, base, monkeypatch):
    engine.load("one", random_vector(base, seed=1))
    with monkeypatch.context() as patch:
        disconnect(engine, patch)
        with pytest.raises(WeightsNotLoaded, match="previously loaded"):
            engine.load("lost too", random_vector(base, seed=4))


def test_a_genome_that_comes_back_with_other_weights_is_noticed(engine, base):
    engine.load("twice", random_vector(base, seed=5))
    engine.load("base", None)
    with pytest.raises(WeightsNotLoaded, match="earlier load"):
        engine.load("twice", random_vector(base, seed=6))


def test_failed_load_leaves_an_engine_that_refuses_to_chat_until_the_next_load(engine, base, monkeypatch):
    with monkeypatch.context() as patch:
        disconnect(engine, patch)
        with pytest.raises(WeightsNotLoaded):
            engine.load("lost again", random_vector(base, seed=4))
    assert engine.loaded == ""
    with pytest.raises(RuntimeError, match="last load failed"):
        engine.chat(requests(1))
    engine.load("one", random_vector(base, seed=1))
    assert len(engine.chat(requests(1))) == 1


def test_task_vector_of_another_model_is_refused(engine):
    shape = (3, 3)
    with pytest.raises(ValueError, match="does not have"):
        engine.load("alien", DenseTaskVector({"alien.weight": shape}, lambda name: torch.zeros(shape)))
    assert engine.loaded == "base"


def test_task_vector_of_another_shape_is_refused(engine):
    shape = (3, 3)
    name = "model.layers.0.mlp.down_proj.weight"
    with pytest.raises(ValueError, match="has shape"):
        engine.load("misshapen", DenseTaskVector({name: shape}, lambda name: torch.ones(shape)))


def test_task_vector_cannot_call_itself_base(engine, base):
    engine.load("one", random_vector(base, seed=1))
    with pytest.raises(ValueError, match="hash"):
        engine.load("base", random_vector(base, seed=2))


def test_replies_come_in_the_order_of_the_requests(engine):
    batch = requests(7)
    forward = in_a_batch_of_its_own(engine, batch)
    backward = in_a_batch_of_its_own(engine, batch[::-1])
    assert [reply.prompt_tokens for reply in forward] == [reply.prompt_tokens for reply in backward[::-1]]
    assert len({reply.prompt_tokens for reply in forward}) > 1


def test_each_request_keeps_its_own_token_limit(engine):
    replies = engine.chat([ChatRequest(conversation("hello"), limit) for limit in (1, 5, 9)])
    assert all(reply.tokens <= limit for reply, limit in zip(replies, (1, 5, 9), strict=True))
    assert replies[0] == (replies[0].text, replies[2].prompt_tokens, 1, "length")


def test_stop_string_ends_a_reply_and_is_left_out(engine):
    batch = requests(8, max_new_tokens=24)
    whole, request = max(zip(engine.chat(batch), batch, strict=True), key=lambda pair: len(pair[0].text))
    stop = whole.text[4:7]
    (cut,) = engine.chat([request._replace(stop=(stop, "never said"))])
    assert stop
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish_reason == "stop"
    assert cut.tokens < whole.tokens


def test_conversation_without_room_for_a_reply_gets_an_empty_one(engine):
    long, short = ChatRequest(conversation("x" * MAX_MODEL_LEN), 8), ChatRequest(conversation("y"), 8)
    refused, answered = engine.chat([long, short])
    assert (refused.text, refused.tokens, refused.finish_reason) == ("", 0, "length")
    assert refused.prompt_tokens > MAX_MODEL_LEN
    assert answered.tokens > 0


def test_longest_conversation_that_fits_is_answered(engine):
    (probe,) = engine.chat([ChatRequest(conversation("x"), 8)])
    room = MAX_MODEL_LEN - 8 - probe.prompt_tokens + 1
    fits, too_long = engine.chat([ChatRequest(conversation("x" * (room + extra)), 8) for extra in (0, 1)])
    assert fits.tokens > 0
    assert too_long.tokens == 0


def test_empty_batch_gives_no_replies(engine):
    assert engine.chat([]) == []


def test_concurrent_callers_each_get_their_own_replies(engine):
    texts = ["a" * length for length in range(1, 13)]
    with ThreadPoolExecutor(len(texts)) as pool:
        replies = list(pool.map(lambda text: engine.chat([ChatRequest(conversation(text), 8)])[0], texts))
    lengths = [reply.prompt_tokens for reply in replies]
    assert lengths == list(range(lengths[0], lengths[0] + len(texts)))


def test_exclusive_batches_are_not_disturbed_by_other_callers(engine):
    batch = requests(6, max_new_tokens=24, scope="strict")
    undisturbed = in_a_batch_of_its_own(engine, [request._replace(scope="before") for request in batch])
    stop = threading.Event()

    def disturb(number):
        while not stop.is_set():
            engine.chat(requests(2, seed=number, scope=f"noise {number}"))

    with ThreadPoolExecutor(3) as pool:
        noise = [pool.submit(disturb, number) for number in range(3)]
        try:
            disturbed = in_a_batch_of_its_own(engine, batch)
        finally:
            stop.set()
    assert all(future.result() is None for future in noise)
    assert disturbed == undisturbed


def test_load_waits_for_replies_that_are_being_generated(engine, base):
    batch = requests(4, max_new_tokens=64)
    expected = in_a_batch_of_its_own(engine, batch)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(in_a_batch_of_its_own, engine, batch)
        time.sleep(0.02)
        engine.load("one", random_vector(base, seed=1))
    # Before the load or after it, but never half and half.
    after = in_a_batch_of_its_own(engine, batch)
    assert running.result() in (expected, after)


def test_busy_seconds_count_generation_only(engine):
    started, before = time.perf_counter(), engine.busy_seconds()
    engine.chat(requests(2))
    during = engine.busy_seconds() - before
    assert 0 < during <= time.perf_counter() - started
    time.sleep(0.05)
    assert engine.busy_seconds() - before == during


def ids(engine, text):
    return engine.tokenizer(text, add_special_tokens=False)["input_ids"]


def continuations(engine):
    texts = [("the answer is", " yes"), ("the answer is", " no"), ("a", "bcd"), ("x y z", "A"), ("x y z", "B")]
    return [Continuation(ids(engine, context), ids(engine, text)) for context, text in texts]


def reference_likelihood(base, vector, request):
    """Plain transformers with plainly added weights, one continuation at a time, token by token."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if vector is not None:
                parameter += vector.delta(name)
        sequence, total, greedy = list(request.context), 0.0, True
        for token in request.tokens:
            scores = model(torch.tensor([sequence])).logits[0, -1].log_softmax(-1)
            total += float(scores[token])
            greedy = greedy and int(scores.argmax()) == token
            sequence.append(token)
    return total, greedy


@pytest.mark.parametrize("seed", [None, 3])
def test_log_likelihoods_are_those_of_plainly_added_weights(engine, base, seed):
    vector = None if seed is None else random_vector(base, seed=seed)
    engine.load("base" if seed is None else f"vector-{seed}", vector)
    asked = continuations(engine)
    likely = engine.complete([TextRequest(asked[0].context, 3)])[0].text
    asked.append(Continuation(asked[0].context, ids(engine, likely)))
    for request, found in zip(asked, engine.log_likelihoods(asked), strict=True):
        expected, greedy = reference_likelihood(base, vector, request)
        assert found.log_probability == pytest.approx(expected, abs=1e-4)
        assert found.greedy == greedy
    assert engine.log_likelihoods(asked)[-1].greedy


def test_log_likelihoods_do_not_depend_on_what_is_asked_beside_them(engine):
    asked = continuations(engine)
    together = [found.log_probability for found in engine.log_likelihoods(asked)]
    assert [engine.log_likelihoods([one])[0].log_probability for one in asked] == pytest.approx(together, abs=1e-5)
    assert engine.log_likelihoods([]) == []


@pytest.mark.parametrize(
    "request_", [Continuation([], [5]), Continuation([5], []), Continuation([5] * (MAX_MODEL_LEN - 1), [5])]
)
def test_continuations_that_cannot_be_scored_are_refused(engine, request_):
    with pytest.raises(ValueError, match="continuation"):
        engine.log_likelihoods([request_])


def test_longest_continuation_that_fits_is_scored(engine):
    [found] = engine.log_likelihoods([Continuation([5] * (MAX_MODEL_LEN - 2), [5])])
    assert found.log_probability < 0


def test_completion_of_a_rendered_conversation_is_the_reply_to_it(engine):
    batch = requests(3)
    rendered = [render(engine.tokenizer, request.messages, reply_follows=True) for request in batch]
    completed = engine.complete([TextRequest(prompt, 12) for prompt in rendered])
    assert completed == engine.chat(batch)


def test_failed_load_leaves_no_log_likelihoods_either(engine, base, monkeypatch):
    with monkeypatch.context() as patched:
        disconnect(engine, patched)
        with pytest.raises(WeightsNotLoaded):
            engine.load("lost", random_vector(base, seed=9))
    with pytest.raises(RuntimeError, match="load failed"):
        engine.log_likelihoods([Continuation([5], [6])])


def test_log_likelihoods_after_a_long_common_beginning_are_those_without_it_shared(engine):
    start = ids(engine, "Q: what is it? A: it is this. " * 3)
    asked = [
        Continuation([*start, *ids(engine, question)], ids(engine, answer))
        for question in ("Q: one?", "Q: two, or more?", "R")
        for answer in (" A", " B", " long answer", " long answers")
    ]
    asked += [Continuation(start, start[:3]), Continuation(start[:20], start[20:])]
    together = [found.log_probability for found in engine.log_likelihoods(asked)]
    assert [engine.log_likelihoods([one])[0].log_probability for one in asked] == pytest.approx(together, abs=1e-4)

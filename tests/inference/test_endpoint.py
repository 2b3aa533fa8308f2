import logging
import threading
import time
from contextlib import contextmanager

import pytest

from cycleqd.inference import ChatRequest
from cycleqd.inference.endpoint import KEY_VARIABLE, EndpointEngine, EndpointUnavailable
from tests.inference.chat_server import ChatServer, completion

KEY = "sk-never-to-be-seen"
ASKED = [{"role": "user", "content": "two and two?"}]


@pytest.fixture(autouse=True)
def _no_key(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@contextmanager
def served(answer, **settings):
    with ChatServer(answer).running() as server:
        engine = EndpointEngine(server.url, "tiny", **({"backoff": 0.001, "timeout": 5.0} | settings))
        try:
            yield server, engine
        finally:
            engine.close()


def ask(engine, **settings):
    (reply,) = engine.chat([ChatRequest(ASKED, 5, **settings)])
    return reply


def sequence(*answers):
    """Answers one after the other; the last one for good."""
    left = list(answers)

    def answer(body):
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


def test_request_says_what_the_protocol_says():
    with served(lambda body: (200, completion("four"))) as (server, engine):
        reply = ask(engine, stop=("a", "b", "c", "d", "e"))
    assert server.bodies == [
        {"model": "tiny", "messages": ASKED, "max_tokens": 5, "temperature": 0, "stop": ["a", "b", "c", "d"]}
    ]
    assert reply == ("four", 7, 3, "stop")


def test_replies_come_in_the_order_of_the_requests_and_never_too_many_at_a_time():
    def answer(body):
        time.sleep(0.02 if body["messages"][0]["content"] == "0" else 0.001)
        return 200, completion(body["messages"][0]["content"])

    with served(answer, concurrency=3) as (server, engine):
        batch = [ChatRequest([{"role": "user", "content": str(n)}], 5) for n in range(12)]
        callers = [threading.Thread(target=engine.chat, args=(batch,)) for _ in range(3)]
        for caller in callers:
            caller.start()
        replies = engine.chat(batch)
        for caller in callers:
            caller.join()
        assert [reply.text for reply in replies] == [str(n) for n in range(12)]
        assert server.most_under_way <= 3
        assert 0 < engine.busy_seconds() < 5


def test_reply_is_cut_at_every_stop_string_also_at_those_that_were_not_sent():
    with served(lambda body: (200, completion("one two STOP three"))) as (_, engine):
        reply = ask(engine, stop=("v", "w x", "y", "z", "STOP"))
    assert (reply.text, reply.finish_reason) == ("one two ", "stop")


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (completion("long", reason="length"), ("long", 7, 3, "length")),
        (completion(None, refusal="I will not."), ("I will not.", 7, 3, "stop")),
        (completion(None, reason="content_filter"), ("", 7, 3, "stop")),
        (completion(""), ("", 7, 3, "stop")),
        ({"choices": [{"message": {"content": "x"}}]}, ("x", 0, 0, "stop")),
        ({"choices": [{"message": {"content": "x"}}], "usage": None}, ("x", 0, 0, "stop")),
    ],
)
def test_what_a_model_says_is_a_reply_refusals_too(answer, wanted):
    with served(lambda body: (200, answer)) as (_, engine):
        assert ask(engine) == wanted


@pytest.mark.parametrize(
    "message",
    [
        # vLLM 0.32 and OpenAI
        {"error": {"message": "This model's maximum context length is 512 tokens. However, you requested 600."}},
        {"error": {"message": "Please reduce the length.", "code": "context_length_exceeded"}},
    ],
)
def test_too_long_conversation_gets_an_empty_reply_that_ended_by_length(message):
    with served(lambda body: (400, message)) as (_, engine):
        assert ask(engine) == ("", 0, 0, "length")


def test_prompt_that_the_server_withholds_gets_an_empty_reply():
    with served(lambda body: (400, {"error": {"code": "content_filter", "message": "no"}})) as (_, engine):
        assert ask(engine).text == ""


@pytest.mark.parametrize(
    "fault",
    [
        (429, {"error": "slow down"}),
        (500, b""),
        (502, b"<html>"),
        (503, {}),
        None,  # the connection breaks
        (200, b"not json"),
        (200, b"\xff\xfe"),
        (200, {"choices": []}),
        (200, {"choices": [{"message": None}]}),
        (200, completion(["a", "list"])),
        (200, {"error": "overloaded"}),
        (200, []),
    ],
)
def test_fault_that_may_pass_is_asked_again(fault):
    with served(sequence(fault, fault, (200, completion("four")))) as (server, engine):
        assert ask(engine).text == "four"
        assert len(server.bodies) == 3


def test_fault_that_does_not_pass_ends_after_the_retries():
    with served(lambda body: (503, {}), retries=2) as (server, engine):
        with pytest.raises(EndpointUnavailable, match="status 503, 3 times in a row"):
            ask(engine)
        assert len(server.bodies) == 3


def test_server_says_how_long_to_wait():
    with served(sequence((429, {}, [("retry-after", "0.3")]), (200, completion("four")))) as (_, engine):
        started = time.monotonic()
        assert ask(engine).text == "four"
        assert time.monotonic() - started >= 0.3


def test_slow_reply_runs_out_of_time():
    def answer(body):
        time.sleep(0.5)
        return 200, completion("late")

    with served(answer, timeout=0.05, retries=1) as (_, engine), pytest.raises(EndpointUnavailable, match="Timeout"):
        ask(engine)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 301])
def test_refused_request_is_not_repeated(status):
    with served(lambda body: (status, {"error": {"message": "because\nof that"}})) as (server, engine):
        with pytest.raises(EndpointUnavailable, match=f"status {status}: because of that"):
            ask(engine)
        assert len(server.bodies) == 1


def test_key_comes_from_the_environment_and_shows_nowhere(monkeypatch, caplog):
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    answers = sequence((500, {}), (200, completion("four")), (401, {"error": {"message": "wrong key"}}))
    with caplog.at_level(logging.DEBUG), served(answers) as (server, engine):
        ask(engine)
        with pytest.raises(EndpointUnavailable) as caught:
            ask(engine)
    assert {headers["authorization"] for headers in map(_lower, server.headers)} == {f"Bearer {KEY}"}
    assert KEY not in f"{caught.value!r} {caplog.text} {engine.loaded} {vars(engine)}"


def _lower(headers):
    return {name.lower(): value for name, value in headers.items()}


def test_missing_key_is_named():
    with served(lambda body: (401, {"error": {"message": "no key"}})) as (server, engine):
        with pytest.raises(EndpointUnavailable, match=f"set {KEY_VARIABLE}"):
            ask(engine)
        assert "authorization" not in _lower(server.headers[0])


def test_check_finds_a_dead_endpoint_within_a_second():
    with ChatServer(lambda body: (200, completion(""))).running() as server:
        url = server.url
    engine = EndpointEngine(url, "tiny")
    started = time.monotonic()
    with pytest.raises(EndpointUnavailable, match="nothing answers"):
        engine.check()
    assert time.monotonic() - started < 1.0
    engine.close()


def test_check_finds_a_model_that_is_not_served():
    with served(lambda body: (200, completion(""))) as (server, engine):
        engine.check()
        server.models = ("large", "huge")
        with pytest.raises(EndpointUnavailable, match="no model 'tiny'; there are huge, large"):
            engine.check()


def test_load_is_refused():
    with served(lambda body: (200, completion(""))) as (_, engine):
        engine.load(engine.loaded, None)
        with pytest.raises(RuntimeError, match="serves its own model"):
            engine.load("base", None)
        assert engine.loaded.startswith("tiny@127.0.0.1:")


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://host:8000", "http://host:8000/v1"),
        ("http://host:8000/", "http://host:8000/v1"),
        ("https://host/v1/", "https://host/v1"),
        ("https://host/api/openai", "https://host/api/openai"),
    ],
)
def test_url_without_a_path_gets_the_usual_one(url, base):
    engine = EndpointEngine(url, "tiny")
    assert engine.url == base
    engine.close()


@pytest.mark.parametrize("url", ["host:8000", "ftp://host/v1", "", "http://"])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(ValueError, match="expected a URL"):
        EndpointEngine(url, "tiny")


def test_password_in_the_url_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match=KEY_VARIABLE) as caught:
        EndpointEngine(f"http://me:{KEY}@host/v1", "tiny")
    assert KEY not in str(caught.value)

import base64
import gzip
import itertools
import json
import logging
import threading
import time
from contextlib import contextmanager

import pytest

from cycleqd.models.causal_lm import ChatRequest, bounded_http
from cycleqd.models.causal_lm.endpoint import KEY_VARIABLE, EndpointEngine, EndpointUnavailable
from tests.models.causal_lm.chat_server import ChatServer, completion

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


def test_check_finds_a_dead_endpoint_without_waiting_for_its_retries():
    with ChatServer(lambda body: (200, completion(""))).running() as server:
        url = server.url
    engine = EndpointEngine(url, "tiny")
    started = time.monotonic()
    with pytest.raises(EndpointUnavailable, match="nothing answers"):
        engine.check()
    assert time.monotonic() - started < 10
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


@pytest.mark.parametrize("url", ["host:8000", "ftp://host/v1", "", "http://", "http://[::1", "http://[x]/"])
def test_what_is_no_url_is_refused(url):
    with pytest.raises(ValueError, match="expected a URL"):
        EndpointEngine(url, "tiny")


def test_password_in_the_url_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match=KEY_VARIABLE) as caught:
        EndpointEngine(f"http://me:{KEY}@host/v1", "tiny")
    assert KEY not in str(caught.value)
    with pytest.raises(ValueError, match="expected a URL") as caught:
        EndpointEngine(f"ftp://me:{KEY}@host/v1", "tiny")
    assert KEY not in str(caught.value)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def trickle(*, head):
    """A byte now and then for as long as anybody reads: of the head, or of the body."""

    def write(connection):
        connection.write(b"HTTP/1.1 200 OK\r\nx-slow: " if head else HEAD + b"\r\n[")
        for _ in range(600):
            connection.write(b" ")
            connection.flush()
            time.sleep(0.05)

    return write


@pytest.mark.parametrize("head", [True, False])
def test_reply_that_trickles_ends_with_its_time(head):
    # A read's own time-out would not end it: each byte comes in time.
    with (
        served(lambda body: trickle(head=head), timeout=0.3, retries=0) as (_, engine),
        pytest.raises(EndpointUnavailable, match="no whole answer within"),
    ):
        ask(engine)


def endless(connection):
    connection.write(HEAD + b"\r\n")
    for _ in itertools.count():
        connection.write(b" " * 65_536)


def bomb(connection):
    packed = gzip.compress(b" " * 200_000)
    connection.write(HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed) + packed)


@pytest.mark.parametrize("answer", [endless, bomb])
def test_reply_beyond_all_size_is_not_read_to_its_end(answer, monkeypatch):
    monkeypatch.setattr(bounded_http, "MOST_BYTES", 100_000)
    with served(lambda body: answer, retries=0) as (_, engine), pytest.raises(EndpointUnavailable, match="MiB"):
        ask(engine)


def test_packed_reply_is_unpacked():
    packed = gzip.compress(json.dumps(completion("four")).encode())
    with served(lambda body: (200, packed, [("content-encoding", "gzip")])) as (_, engine):
        assert ask(engine).text == "four"


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_reply_that_nests_too_deeply_is_unreadable(opening):
    for status, fault in ((200, "no completion"), (404, "status 404")):
        with (
            served(lambda body, s=status: (s, opening * 200_000), retries=0) as (_, engine),
            pytest.raises(EndpointUnavailable, match=fault),
        ):
            ask(engine)


@pytest.mark.parametrize(
    "usage", [b'{"prompt_tokens": 1e999}', b'{"completion_tokens": -5}', b'{"prompt_tokens": "x"}']
)
def test_odd_counts_of_tokens_cost_no_reply(usage):
    answer = b'{"choices": [{"message": {"content": "four"}}], "usage": ' + usage + b"}"
    with served(lambda body: (200, answer)) as (_, engine):
        assert ask(engine) == ("four", 0, 0, "stop")


def test_reply_of_more_text_than_its_tokens_can_be_is_cut():
    with served(lambda body: (200, completion("x" * 1_000_000))) as (_, engine):
        reply = ask(engine)
    assert len(reply.text) < 10_000
    assert reply.finish_reason == "length"


@pytest.mark.parametrize("wait", ["1e300", "inf", "3600"])
def test_server_cannot_ask_to_wait_for_longer_than_a_reply_may_take(wait, monkeypatch):
    answers = sequence((429, {}, [("retry-after", wait)]), (200, completion("four")))
    with served(answers, timeout=7.0) as (_, engine):
        waited = []
        monkeypatch.setattr(engine._closing, "wait", waited.append)
        assert ask(engine).text == "four"
    assert waited == [7.0]


@pytest.mark.parametrize("wait", ["nan", "-5", "tomorrow", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_wait_that_is_no_number_is_none(wait):
    answers = sequence((429, {}, [("retry-after", wait)]), (200, completion("four")))
    with served(answers) as (_, engine):
        assert ask(engine).text == "four"


def test_redirect_is_not_followed_so_that_the_key_goes_nowhere_else(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with ChatServer(lambda body: (200, completion("stolen"))).running() as other:
        for status in (301, 302, 307, 308):
            location = [("location", f"{other.url}/v1/chat/completions")]
            with (
                served(lambda body, s=status, at=location: (s, {}, at)) as (_, engine),
                pytest.raises(EndpointUnavailable, match=f"status {status}"),
            ):
                ask(engine)
        assert other.bodies == []


def echoes(key):
    """What servers make of a key in their refusals."""
    return [
        f"Incorrect API key provided: {key}.",
        f"{key[:12]}*****{key[-8:]} is wrong",
        f"{'x' * 280} {key}",
        key.upper(),
        f"header was Authorization: Bearer {key}",
        "Authorization: Bearer something-else",
        f"basic {base64.b64encode(key.encode()).decode()}",
        f"{key[:10]}\u200b{key[10:]}",
    ]


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_refusal_that_quotes_the_key_does_not_show_it(number, status, monkeypatch, caplog):
    key = "sk-proj-Q7vT2mZ9xLw4Kc8R"
    monkeypatch.setenv(KEY_VARIABLE, key)
    said = echoes(key)[number]
    for body in ({"error": {"message": said}}, {"error": said}, {"detail": said}, said.encode(), [said], {"x": said}):
        with (
            caplog.at_level(logging.DEBUG),
            served(lambda _, b=body: (status, b), retries=1) as (_, engine),
            pytest.raises(EndpointUnavailable) as caught,
        ):
            ask(engine)
        shown = f"{caught.value} {caplog.text}".lower()
        for piece in (key[:10], key[-8:], key[5:15], "something-else", base64.b64encode(key.encode()).decode()[:12]):
            assert piece.lower() not in shown


def test_name_of_a_served_model_and_a_header_that_quote_the_key_do_not_show_it(monkeypatch, caplog):
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with (
        caplog.at_level(logging.DEBUG),
        served(lambda _: (200, completion(KEY), [("x-echo", KEY)])) as (server, engine),
    ):
        server.models = (KEY,)
        with pytest.raises(EndpointUnavailable) as caught:
            engine.check()
        assert ask(engine).text == "***"  # a model that was told the key must not bring it into the records
    assert KEY not in f"{caught.value} {caplog.text}"


def test_short_key_that_is_a_word_changes_no_reply(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "EMPTY")
    with served(lambda body: (200, completion("EMPTY"))) as (_, engine):
        assert ask(engine).text == "EMPTY"


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY} "])
def test_blank_space_around_the_key_is_taken_off(key, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, key)
    with served(lambda body: (200, completion("four"))) as (server, engine):
        ask(engine)
    assert _lower(server.headers[0])["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", [f"{KEY}\nx", f"{KEY}\u2026", f"{KEY}\udcff"])
def test_key_that_no_header_can_hold_is_refused_and_not_repeated(key, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, key)
    with pytest.raises(ValueError, match=KEY_VARIABLE) as caught:
        EndpointEngine("http://host", "tiny")
    assert KEY not in f"{caught.value!r}"


def test_half_an_emoji_is_replaced_in_the_reply_and_in_what_is_sent():
    with served(lambda body: (200, completion("four \ud83d"))) as (server, engine):
        (reply,) = engine.chat([ChatRequest([{"role": "user", "content": "two \ude00?"}], 5)])
    assert reply.text == "four \ufffd"
    assert server.bodies[0]["messages"][0]["content"] == "two \ufffd?"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it"),
        (500, "the request exceeds the available context size. try increasing the context size"),
        (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 and 20"),
        (400, "The input (5000 tokens) is longer than the model's context length (4096 tokens)."),
        (400, "prompt is too long: 209000 tokens > 200000 maximum"),
        (400, "The input token count (1200) exceeds the maximum number of tokens allowed (1000)."),
        (400, "The decoder prompt (length 5000) is longer than the maximum model length of 4096."),
        (400, "too many tokens: size limit exceeded by 100 tokens"),
        (400, "Input length (5000 tokens) exceeds the maximum allowed length (4090 tokens). Use a shorter input."),
        (400, "input length and `max_tokens` exceed context limit: 199211 + 20000 > 204648, decrease input length"),
        (400, "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 30720]"),
        (400, "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens."),
        (400, "This model's maximum prompt length is 131072 but the request contains 150000 tokens."),
        (413, "Request Entity Too Large"),
    ],
)
def test_every_servers_words_for_a_conversation_that_is_too_long_are_understood(status, said):
    with served(lambda body: (status, {"error": {"message": said}}), retries=0) as (_, engine):
        assert ask(engine) == ("", 0, 0, "length")


def refusing(*options, message="Unsupported parameter: '{}' is not supported with this model."):
    def answer(body):
        for option in options:
            if option in body:
                return 400, {"error": {"message": message.format(option), "param": option}}
        return 200, completion("four")

    return answer


def test_option_that_a_model_refuses_is_left_out_and_asked_with_only_once():
    with served(refusing("max_tokens", "temperature", "stop")) as (server, engine):
        assert ask(engine, stop=("x",)).text == "four"
        assert ask(engine, stop=("x",)).text == "four"
    assert server.bodies[-1] == {"model": "tiny", "messages": ASKED, "max_completion_tokens": 5}
    assert len(server.bodies) == 5


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("temperature", "`temperature` may only be set to 1 when thinking is enabled."),
        ("temperature", "Temperature can only be 1 for this model"),
        ("stop", "Stop sequences not supported"),
        ("stop", "stop_sequences: Extra inputs are not permitted"),
        ("stop", "Unsupported parameter: stop is not supported with this model."),
    ],
)
def test_every_servers_words_for_an_option_that_it_does_not_take_are_understood(option, said):
    with served(lambda body: (400, {"error": {"message": said}}) if option in body else (200, completion("four"))) as (
        server,
        engine,
    ):
        assert ask(engine, stop=("x",)).text == "four"
    assert len(server.bodies) == 2
    assert {"temperature", "stop"} - server.bodies[-1].keys() == {option}


@pytest.mark.parametrize(
    "said",
    [
        "max_tokens: 5000 > 4096, which is the maximum allowed number of output tokens",
        "max_tokens is too large: 5000. This model supports at most 4096 completion tokens",
        "Range of max_tokens should be [1, 2000]",
    ],
)
def test_a_reply_that_may_not_be_so_long_is_no_conversation_that_is_too_long(said):
    with (
        served(lambda body: (400, {"error": {"message": said}}), retries=0) as (_, engine),
        pytest.raises(EndpointUnavailable, match="max_tokens"),
    ):
        ask(engine)


TALK = [{"role": "system", "content": "Be brief."}, *ASKED]


@pytest.mark.parametrize(
    "said",
    [
        "System role not supported",
        "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "Only user, assistant and tool roles are supported, with the exception of an initial optional system message",
    ],
)
def test_system_message_is_folded_where_the_model_has_no_such_role(said):
    def answer(body):
        if any(message["role"] == "system" for message in body["messages"]):
            return 400, {"error": {"message": said}}
        return 200, completion("four")

    with served(answer) as (server, engine):
        (reply,) = engine.chat([ChatRequest(TALK, 5)])
    assert reply.text == "four"
    assert server.bodies[-1]["messages"] == [{"role": "user", "content": "Be brief.\n\ntwo and two?"}]


def test_refusal_that_nothing_mends_ends():
    talk = [*ASKED, {"role": "system", "content": "late"}, *ASKED]
    with served(lambda body: (400, {"error": "System role not supported"})) as (server, engine):
        for messages, asked in ((TALK, 2), (talk, 1), (ASKED, 1)):
            server.bodies.clear()
            with pytest.raises(EndpointUnavailable, match="System role"):
                engine.chat([ChatRequest(messages, 5)])
            assert len(server.bodies) <= asked


def test_limit_of_tokens_is_never_dropped():
    with served(refusing("max_tokens", "max_completion_tokens")) as (server, engine):
        with pytest.raises(EndpointUnavailable, match="max_completion_tokens"):
            ask(engine)
        assert len(server.bodies) == 2
    with served(refusing("max_tokens", message="{} must be at most 4")) as (server, engine):
        with pytest.raises(EndpointUnavailable, match="at most 4"):
            ask(engine)
        assert len(server.bodies) == 1


def test_endpoint_on_this_machine_is_reached_without_a_proxy(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with served(lambda body: (200, completion("four")), retries=0) as (_, engine):
        engine.check()
        assert ask(engine).text == "four"


def test_engine_that_is_closed_ends_what_is_under_way():
    arrived = threading.Event()

    def answer(body):
        arrived.set()
        return trickle(head=False)

    with served(answer, timeout=30) as (_, engine):
        faults = []

        def call():
            try:
                ask(engine)
            except EndpointUnavailable as fault:
                faults.append(fault)

        caller = threading.Thread(target=call)
        caller.start()
        assert arrived.wait(120)
        engine.close()
        caller.join(120)
    assert len(faults) == 1

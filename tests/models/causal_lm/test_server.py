"""What `ServerEngine` makes of servers that are not as they should be; the real one has tests of its own."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cycleqd.models.causal_lm import ChatRequest, WeightsNotLoaded, open_engine
from cycleqd.models.causal_lm.endpoint import EndpointUnavailable
from cycleqd.models.causal_lm.rendering import load_tokenizer
from tests.models.causal_lm.adapters import factored

ASKED = [{"role": "user", "content": "two and two?"}]


class Played:
    """A server whose faults a test chooses: its replies are the model's name, its log-probabilities follow from it."""

    def __init__(self, base):
        tokenizer = load_tokenizer(base)
        self.tokens = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
        self.models = [{"id": "base", "parent": None, "max_model_len": 512}]
        self.takes_adapters = True
        self.serves = lambda model: model
        self.noise = 0.0
        self.adapters, self.asked = [], []

    def answer(self, path, body):
        if path == "/v1/models":
            return 200, {"data": self.models}
        if path == "/version":
            return 200, {"version": "0.0"}
        if path == "/tokenize":
            return 200, {"tokens": self.tokens(body["prompt"])}
        if path == "/v1/load_lora_adapter":
            if not self.takes_adapters:
                return 404, {"detail": "Not Found"}
            self.adapters.append(body["lora_name"])
            return 200, b"Success"
        if path == "/v1/unload_lora_adapter":
            self.adapters.remove(body["lora_name"])
            return 200, b"Success"
        assert path == "/v1/completions"
        model = self.serves(body["model"])
        if "logprobs" in body:
            value = -float(sum(map(ord, model.rpartition("-")[0] or model))) / 100 + self.noise
            top = {"top_logprobs": [{"a": value, "b": value - 1}]}
            return 200, {"choices": [{"index": n, "logprobs": top} for n in range(len(body["prompt"]))]}
        self.asked.append(body)
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": 1}
        return 200, {"choices": [{"index": 0, "text": model, "finish_reason": "stop"}], "usage": usage}

    @contextmanager
    def running(self):
        played = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._send(*played.answer(self.path, None))

            def do_POST(self):
                self._send(*played.answer(self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))

            def _send(self, status, content):
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments):
                pass

        http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            http.server_close()
            thread.join()


@pytest.fixture
def played(tiny_tied):
    return Played(tiny_tied)


@contextmanager
def engine_on(base, *servers, **settings):
    from contextlib import ExitStack

    with ExitStack() as stack:
        urls = [stack.enter_context(server.running()) for server in servers]
        engine = open_engine("server", base, urls=urls, max_model_len=512, **settings)
        stack.callback(engine.close)
        yield engine


def test_a_conversation_stays_with_one_server_and_all_servers_have_some(tiny_tied):
    servers = [Played(tiny_tied), Played(tiny_tied)]
    with engine_on(tiny_tied, *servers) as engine:
        begun = [[{"role": "user", "content": f"task {n}"}] for n in range(16)]
        later = [[*one, {"role": "assistant", "content": "x"}, {"role": "user", "content": "on"}] for one in begun]
        for turns in (begun, later):
            engine.chat([ChatRequest(messages, 5) for messages in turns])
        shares = [len(server.asked) for server in servers]
        assert sum(shares) == 32
        assert all(share > 0 and share % 2 == 0 for share in shares)
        engine.load("child", factored(tiny_tied, 1))
        assert [len(server.adapters) for server in servers] == [1, 1]
        assert {engine.chat([ChatRequest(one, 5)])[0].text for one in begun} == {servers[0].adapters[0]}
    assert [server.adapters for server in servers] == [[], []]


def test_an_adapter_that_one_server_ignores_is_found_out(tiny_tied):
    servers = [Played(tiny_tied), Played(tiny_tied)]
    servers[1].serves = lambda model: "base"
    with engine_on(tiny_tied, *servers) as engine:
        with pytest.raises(WeightsNotLoaded, match="still gives the base"):
            engine.load("child", factored(tiny_tied, 1))
        with pytest.raises(RuntimeError, match="the last load failed"):
            engine.chat([ChatRequest(ASKED, 5)])


def test_a_base_that_changed_meanwhile_is_found_out_and_rounding_is_not(tiny_tied, played):
    with engine_on(tiny_tied, played) as engine:
        engine.load("child", factored(tiny_tied, 1))
        played.noise = 0.01
        engine.load("base", None)
        engine.load("child", factored(tiny_tied, 1))
        played.noise = 1.0
        with pytest.raises(WeightsNotLoaded, match="not its"):
            engine.load("base", None)


def test_a_server_without_adapters_is_refused_with_how_to_start_it(tiny_tied, played):
    played.takes_adapters = False
    with (
        engine_on(tiny_tied, played) as engine,
        pytest.raises(
            EndpointUnavailable,
            match=r"status 404.*RUNTIME_LORA_UPDATING=True, --enable-lora and --max-lora-rank 8",
        ),
    ):
        engine.load("child", factored(tiny_tied, 1))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"tokens": lambda text: [0]}, "whose tokenizer is not that of model.name"),
        ({"models": [{"id": "base", "max_model_len": 256}]}, "reads 256 tokens: start it with --max-model-len 512"),
        ({"models": []}, "lists no base model"),
        ({"models": [{"id": "child", "parent": "base"}]}, "lists no base model"),
    ],
)
def test_a_server_that_is_not_fit_is_refused_at_the_start(tiny_tied, played, fault, said):
    vars(played).update(fault)
    with pytest.raises(EndpointUnavailable, match=said), engine_on(tiny_tied, played):
        pass


def test_a_server_that_is_down_is_refused_at_the_start(tiny_tied):
    with pytest.raises(EndpointUnavailable, match="nothing answers"):
        open_engine("server", tiny_tied, urls=["http://127.0.0.1:9"])

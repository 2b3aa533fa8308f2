"""A server with adapters in this process, whose faults a test chooses; vLLM's own has tests, too."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cycleqd.models.causal_lm.rendering import load_tokenizer


class Played:
    """A server whose faults a test chooses: its replies are the model's name, its log-probabilities follow from it."""

    def __init__(self, base):
        tokenizer = load_tokenizer(base)
        self.tokens = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]
        self.models = [{"id": "base", "parent": None, "max_model_len": 4096}]
        self.takes_adapters = True
        self.serves = lambda model: model
        self.noise = 0.0
        self.adapters, self.asked = [], []
        self.most_adapters = 0

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
            self.most_adapters = max(self.most_adapters, len(self.adapters))
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
            yield self, f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            http.server_close()
            thread.join()

"""A small OpenAI-like server in this process, whose answers a test writes."""

import json
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(text, *, reason="stop", **message):
    return {
        "choices": [
            {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text, **message}}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }


class ChatServer:
    """`answer(body)` gives (status, body or bytes) or (status, body, headers), or a function that writes to the
    connection itself; every request is kept."""

    def __init__(self, answer, models=("tiny",)):
        self.answer = answer
        self.models = models
        self.bodies = []
        self.headers = []
        self.under_way = self.most_under_way = 0
        self.lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self._send(200, {"data": [{"id": name} for name in server.models]})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with server.lock:
                    server.bodies.append(body)
                    server.headers.append(dict(self.headers))
                    server.under_way += 1
                    server.most_under_way = max(server.most_under_way, server.under_way)
                answer = server.answer(body)
                with server.lock:
                    server.under_way -= 1
                if answer is None:
                    self.close_connection = True
                    return
                if callable(answer):
                    self.close_connection = True
                    with suppress(OSError):  # the client has had enough
                        answer(self.wfile)
                    return
                self._send(*answer)

            def _send(self, status, content, headers=()):
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    @contextmanager
    def running(self):
        thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()

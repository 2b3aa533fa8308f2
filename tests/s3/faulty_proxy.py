"""An HTTP proxy before an S3 server that breaks a share of the exchanges, in every way that networks and stores do."""

import collections
import http.client
import random
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = (
    "500",  # not forwarded
    "slow-down",  # 503 SlowDown, not forwarded
    "reset-before",  # not forwarded, connection reset
    "cut-request",  # half of the body reaches the server
    "reset-after",  # forwarded, the answer is lost
    "cut-response",  # half of the answer, then a reset
    "short-response",  # half of the body under a matching length: a partial read that looks whole
    "slow",  # forwarded, the answer comes after the client's patience
    "stale",  # the answer that this URL gave before
)
_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_INTERNAL = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


class FaultyProxy:
    """Forwards to a port of this machine.

    Args:
        target: The server's port.
        share: Share of the requests that meet a fault.
        seed: Of the draws.
        patience: The client's read timeout in seconds; slow answers take longer.
        faults: Which.
        port: Where it listens; 0 takes any that is free.
    """

    def __init__(self, target, *, share=0.2, seed=0, patience=1.0, faults=FAULTS, port=0):
        self.target, self.share, self.patience, self.faults = target, share, patience, faults
        self.requests = 0
        self.injected = collections.Counter()
        self._rng = random.Random(seed)  # noqa: S311 (repeatable faults)
        self._earlier = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def draw(self, method, url):
        """The fault of the next request, or None; only those that can happen to it count."""
        with self._lock:
            self.requests += 1
            if self._rng.random() >= self.share:
                return None
            possible = [fault for fault in self.faults if self._applies(fault, method, url)]
            if not possible:
                return None
            fault = self._rng.choice(possible)
            self.injected[fault] += 1
            return fault

    def _applies(self, fault, method, url):
        # Listings and HEADs are consistent in S3, and no client can tell otherwise.
        if fault in {"stale", "short-response"}:
            return method == "GET" and "list-type" not in url and (fault != "stale" or url in self._earlier)
        if fault == "cut-response":
            return method == "GET"
        return fault != "cut-request" or method == "PUT"

    def _handler(proxy):  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except (ConnectionError, TimeoutError):
                    self.close_connection = True

            def exchange(self):
                fault = proxy.draw(self.command, self.path)
                if self.headers.get("Expect"):
                    pass  # the base class has answered 100 Continue
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if fault == "500":
                    return self.answer(500, {"Content-Type": "application/xml"}, _INTERNAL)
                if fault == "slow-down":
                    return self.answer(503, {"Content-Type": "application/xml"}, _SLOW_DOWN)
                if fault == "reset-before":
                    return self.reset()
                if fault == "stale":
                    return self.answer(*proxy._earlier[self.path])
                if fault == "cut-request":
                    self.forward_half(body)
                    return self.reset()
                status, headers, content = self.forward(body)
                if fault == "reset-after":
                    return self.reset()
                if fault == "slow":
                    time.sleep(proxy.patience * 1.5)
                    return self.reset()
                if fault == "short-response" and status in (200, 206):
                    return self.answer(status, headers, content[: len(content) // 2])
                if fault == "cut-response":
                    self.answer(status, headers, content[: len(content) // 2], length=len(content) + 1)
                    return self.reset()
                if self.command == "GET" and status == 200:
                    proxy._earlier.setdefault(self.path, (status, headers, content))
                return self.answer(status, headers, content)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = exchange  # noqa: N815

            def forward(self, body):
                connection = http.client.HTTPConnection("127.0.0.1", proxy.target, timeout=60)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
                connection.request(self.command, self.path, body=body, headers=headers)
                response = connection.getresponse()
                content = response.read()
                kept = {n: v for n, v in response.getheaders() if n.lower() not in {"connection", "transfer-encoding"}}
                connection.close()
                return response.status, kept, content

            def forward_half(self, body):
                with socket.create_connection(("127.0.0.1", proxy.target), timeout=60) as upstream:
                    head = f"{self.command} {self.path} HTTP/1.1\r\n"
                    head += "".join(f"{n}: {v}\r\n" for n, v in self.headers.items() if n.lower() != "expect")
                    upstream.sendall(head.encode() + b"\r\n" + body[: len(body) // 2])

            def answer(self, status, headers, content, length=None):
                self.send_response_only(status)
                size = headers.get("Content-Length") if self.command == "HEAD" else (length or len(content))
                for name, value in headers.items():
                    if name.lower() != "content-length":
                        self.send_header(name, value)
                self.send_header("Content-Length", str(size or 0))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def reset(self):
                self.wfile.flush()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                self.connection.close()

        return Handler

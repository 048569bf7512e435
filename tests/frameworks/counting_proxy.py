"""A server that stands before a bucket, and counts what a checkpointer asks of it."""

from __future__ import annotations

import http.client
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

LATENCY = 0.05
"""How long each answer takes at least, in seconds."""


class Proxy(ThreadingHTTPServer):
    """Passes requests on, and counts them. Requests at the same time are one round trip."""

    daemon_threads = True

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.server_host = urlsplit(server).netloc
        self.lock = threading.Lock()
        self.requests: list[str] = []
        self.in_flight = self.rounds = self.written = 0

    @classmethod
    def start(cls) -> Proxy:
        """Starts one before the endpoint in ``AWS_ENDPOINT_URL_S3``, and takes its place there."""
        proxy = cls(os.environ["AWS_ENDPOINT_URL_S3"])
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        os.environ["AWS_ENDPOINT_URL_S3"] = f"http://127.0.0.1:{proxy.server_address[1]}"
        return proxy

    def counted(self) -> tuple[int, int, list[str]]:
        """Returns requests and round trips since the last time, and the requests."""
        with self.lock:
            found = len(self.requests), self.rounds, self.requests
            self.requests, self.rounds = [], 0
        return found


class Handler(BaseHTTPRequestHandler):
    """Passes one request on."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def handle_one_request(self) -> None:
        """Reads a request, and passes it on."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            self.server.requests.append(f"{self.command} {self.path}")
            self.server.written += len(body)
            self.server.rounds += self.server.in_flight == 0
            self.server.in_flight += 1
        time.sleep(LATENCY)
        connection = http.client.HTTPConnection(self.server.server_host)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        with self.server.lock:
            self.server.in_flight -= 1
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(content)

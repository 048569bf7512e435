"""What the Python tests share: an empty folder, a clean environment, and an S3 server on this
machine.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "shared" / "seed"
"""The guide that users were promised, if it is next to the project."""

IS_REAL = "S3Real"
"""Part of the names of tests that need a real bucket."""

collect_ignore = [] if GUIDE.is_dir() else ["python/test_guide.py"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out tests that need a real bucket, unless RUN_S3_TESTS is 1."""
    if os.environ.get("RUN_S3_TESTS") == "1":
        return
    real = [item for item in items if IS_REAL in item.nodeid]
    if real:
        items[:] = [item for item in items if item not in real]
        config.hook.pytest_deselected(items=real)


@pytest.fixture(autouse=True)
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Changes to an empty folder, and removes the settings of the user who runs the tests."""
    if IS_REAL not in request.node.nodeid:
        for name in [name for name in os.environ if name.startswith(("PERSIST_", "AWS_"))]:
            monkeypatch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, os.devnull)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        # Short waits between attempts keep the tests fast.
        monkeypatch.setenv("PERSIST_S3_INITIAL_BACKOFF", "0.01")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """Starts an S3 server and yields its URL."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Buckets:
    """The buckets of a server, seen by another client."""

    def __init__(self, endpoint: str) -> None:
        import boto3

        self.endpoint = endpoint
        self.client = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )

    def create(self, name: str, region: str = "us-east-1") -> None:
        """Creates a bucket."""
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        self.client.create_bucket(Bucket=name, **where)

    def keys(self, name: str) -> list[str]:
        """Returns the keys in a bucket."""
        return [found["Key"] for found in self.client.list_objects_v2(Bucket=name).get("Contents", [])]

    def get(self, name: str, key: str) -> bytes:
        """Returns an object."""
        body: bytes = self.client.get_object(Bucket=name, Key=key)["Body"].read()
        return body

    def unfinished(self, name: str) -> list[str]:
        """Returns the keys of uploads that were neither completed nor aborted."""
        return [found["Key"] for found in self.client.list_multipart_uploads(Bucket=name).get("Uploads", [])]


@pytest.fixture
def s3(moto: str, monkeypatch: pytest.MonkeyPatch) -> Buckets:
    """Returns the server with one empty bucket, ``my-bucket``. Its endpoint and credentials are
    in the environment.
    """
    import urllib.request

    reset = urllib.request.Request(f"{moto}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset).close()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "your-access-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "your-secret-key")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    buckets = Buckets(moto)
    buckets.create("my-bucket")
    return buckets


Answering = Callable[[int, str], "contextlib.AbstractContextManager[str]"]


@pytest.fixture
def answering() -> Answering:
    """Returns a function that starts a server with one answer to every request:
    ``answering(503, "SlowDown")``.
    """

    @contextlib.contextmanager
    def serve(status: int, code: str) -> Iterator[str]:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.send_response(status)
                self.send_header("content-type", "application/xml")
                self.send_header("connection", "close")
                self.send_header("content-length", str(0 if self.command == "HEAD" else len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer  # noqa: N815

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                return None

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    return serve

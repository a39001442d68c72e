"""A small real HTTP server that keeps what is posted to it."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Receiver:
    """What came, and how it is answered."""

    def __init__(self, port: int, status: int) -> None:
        self.posted: list[tuple[str, str, Any]] = []
        self.status = status
        self.answers = threading.Event()  # while it is clear, nobody gets an answer
        self.answers.set()
        self.server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/api/metrics?from=here"

    def values(self) -> dict[str, Any]:
        """Return what was posted last, by name."""
        return {row["name"]: row["value"] for row in self.posted[-1][2]} if self.posted else {}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                kind = self.headers["Content-Type"]
                receiver.posted.append((self.path, kind, json.loads(body)))
                receiver.answers.wait()
                with contextlib.suppress(OSError):  # whoever asked may have left
                    self.send_response(receiver.status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


@contextlib.contextmanager
def receive(port: int = 0, status: int = 200) -> Iterator[Receiver]:
    """Listen until the block ends."""
    receiver = Receiver(port, status)
    thread = threading.Thread(target=receiver.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.answers.set()
        receiver.server.shutdown()
        receiver.server.server_close()
        thread.join()

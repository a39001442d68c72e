"""Closed-loop clients: each posts its next image when it has its answer. One process for all.

``python -m benchmarks.load PORT CLIENTS SECONDS FOLDER`` writes three JSON lines: when measuring
begins (every client has had an answer), when it ends, and the result, after the last answer.
It ends early when its standard input does, so that it never outlives who started it. The folder
has JPEGs, or whole requests in files that end in .http.
"""

import json
import resource
import selectors
import sys
import time
from pathlib import Path

from benchmarks.wire import Line, name_of, request

PATIENCE = 30.0  # seconds for an answer: more than the server's own deadline
FILL_SECONDS = 10.0  # the longest to wait until every client had an answer
RETRY_SECONDS = 0.05


class Client:
    """One of them.

    Args:
        line: its connection, kept alive.
    """

    def __init__(self, line: Line) -> None:
        self.line = line
        self.began = 0.0
        self.busy = False
        self.answers = 0


class Load:
    """All clients, in one loop.

    Args:
        port: the server's.
        clients: how many.
        requests: sent in turn.
    """

    def __init__(self, port: int, clients: int, requests: list[bytes]) -> None:
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin, selectors.EVENT_READ, None)
        self._requests = requests
        self._sent = 0
        self._go_on = True
        self._retries: list[tuple[float, Client]] = []
        self._clients = [Client(Line(port, self._selector)) for _ in range(clients)]
        self._by_line = {client.line: client for client in self._clients}
        # Of each request: when it began and ended (monotonic), and its status or failure.
        self.records: list[tuple[float, float, str]] = []

    def run(self, seconds: float) -> None:
        """Fill the server, measure, and let every client have its last answer."""
        for client in self._clients:
            self._begin(client)
        until = time.monotonic() + FILL_SECONDS
        while not all(client.answers for client in self._clients) and time.monotonic() < until:
            self._turn(0.1)
        began = _say(event="measuring")
        spent = _cpu_seconds()
        while self._go_on and (left := began + seconds - time.monotonic()) > 0:
            self._turn(left)
        spent = _cpu_seconds() - spent
        ended = _say(event="measured")
        self._go_on = False
        until = time.monotonic() + PATIENCE
        while any(client.busy for client in self._clients) and time.monotonic() < until:
            self._turn(1.0)
        _say(began=began, ended=ended, cpu_seconds=spent, records=self.records)

    def _turn(self, timeout: float) -> None:
        """Handle what is ready; returns after half a second even if nothing is."""
        wait = min(timeout, RETRY_SECONDS if self._retries else 0.5)
        for key, _ in self._selector.select(max(0.0, wait)):
            if key.data is None:  # whoever started us is gone, or wants the end
                self._selector.unregister(sys.stdin)
                self._go_on = False
            else:
                self._advance(self._by_line[key.data])
        now = time.monotonic()
        for client in self._clients:
            if client.busy and now - client.began > PATIENCE:
                self._end(client, "timeout")
        due = [client for at, client in self._retries if at <= now]
        self._retries = [(at, client) for at, client in self._retries if at > now]
        for client in due:
            self._begin(client)

    def _begin(self, client: Client) -> None:
        if not self._go_on:
            return
        body = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        client.began, client.busy = time.monotonic(), True
        try:
            client.line.send(body)
        except OSError as error:
            self._end(client, name_of(error))

    def _advance(self, client: Client) -> None:
        try:
            status = client.line.advance()
        except OSError as error:
            self._end(client, name_of(error))
            return
        if status is not None:
            self._end(client, str(status))

    def _end(self, client: Client, outcome: str) -> None:
        now = time.monotonic()
        self.records.append((client.began, now, outcome))
        client.busy = False
        if outcome == "200":
            client.answers += 1
            self._begin(client)
            return
        if not outcome.isdigit():
            client.line.close()
        # A refusal is answered at once: without a pause the clients would only collect refusals.
        self._retries.append((now + RETRY_SECONDS, client))


def _say(**members: object) -> float:
    now = time.monotonic()
    print(json.dumps({"at": now, **members}), flush=True)
    return now


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Run the clients that the command line asks for."""
    port, clients, seconds, folder = sys.argv[1:]
    files = {path: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    requests = [
        content if path.suffix == ".http" else request("POST", "/predict", content)
        for path, content in files.items()
    ]
    Load(int(port), int(clients), requests).run(float(seconds))


if __name__ == "__main__":
    main()

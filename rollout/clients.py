"""Closed-loop clients that never try a request again. One process for all behind one balancer.

``python -m rollout.clients`` takes its orders as one line of JSON on standard input: ``port``,
``clients``, ``pause`` (seconds between an answer and the next request), ``name`` (what every
request id begins with) and ``folder`` (images, each named after its digit). It says ten times a
second how far it is, and everything at the end: when its standard input ends and each client has
its last answer.
"""

import json
import os
import selectors
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.wire import Line

PATIENCE = 60.0  # seconds for an answer; more than the server and the balancers ever take
REPORT_SECONDS = 0.1
BREATH_SECONDS = 0.05  # after a failure: else refusals alone would fill the table


class Client:
    """One of them: one connection, one request at a time.

    Args:
        line: kept alive as long as the other side does.
    """

    def __init__(self, line: Line) -> None:
        self.line = line
        self.busy = False
        self.began = 0.0
        self.request_id = ""
        self.digit = ""
        self.reused = False


class Clients:
    """All of them, in one loop.

    Args:
        orders: see the module.
    """

    def __init__(self, orders: dict[str, Any]) -> None:
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin, selectors.EVENT_READ, None)
        images = sorted(Path(orders["folder"]).iterdir())
        self._images = [(path.stem, path.read_bytes()) for path in images]
        self._name = orders["name"]
        self._pause = orders["pause"]
        self._sent = 0
        self._go_on = True
        lines = [Line(orders["port"], self._selector) for _ in range(orders["clients"])]
        self._clients = {line: Client(line) for line in lines}
        self._due = [(0.0, client) for client in self._clients.values()]
        # Of each answer: when its request began, and when it ended. Monotonic seconds.
        self._answers: list[tuple[float, float]] = []
        self._failures: list[dict[str, Any]] = []
        self._versions: set[str] = set()

    def run(self) -> None:
        """Ask until standard input ends; then wait for the last answers."""
        report_at = 0.0
        while self._go_on or any(client.busy for client in self._clients.values()):
            self._turn()
            if (now := time.monotonic()) >= report_at:
                report_at = now + REPORT_SECONDS
                self._report()
        _say(answers=self._answers, failures=self._failures, versions=sorted(self._versions))

    def _turn(self) -> None:
        now = time.monotonic()
        due = [client for at, client in self._due if at <= now]
        self._due = [(at, client) for at, client in self._due if at > now]
        for client in due:
            self._begin(client)
        wait = min([REPORT_SECONDS, *(at - now for at, _ in self._due)])
        for key, _ in self._selector.select(max(0.0, wait)):
            if key.data is None:  # whoever started us wants the end, or is gone
                self._selector.unregister(sys.stdin)
                self._go_on = False
            else:
                self._advance(self._clients[key.data])
        for client in self._clients.values():
            if client.busy and time.monotonic() - client.began > PATIENCE:
                self._fail(client, "no answer")

    def _report(self) -> None:
        busy = [client.began for client in self._clients.values() if client.busy]
        _say(count=len(self._answers), failed=len(self._failures), oldest=min(busy, default=None))

    def _begin(self, client: Client) -> None:
        if not self._go_on:
            return
        client.digit, image = self._images[self._sent % len(self._images)]
        client.request_id = f"{self._name}-{self._sent}"
        self._sent += 1
        client.began, client.busy, client.reused = time.monotonic(), True, not client.line.fresh
        head = (
            f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            f"X-Request-Id: {client.request_id}\r\nContent-Length: {len(image)}\r\n\r\n"
        )
        try:
            client.line.send(head.encode() + image)
        except OSError as error:
            self._fail(client, _name_of(error))

    def _advance(self, client: Client) -> None:
        try:
            status = client.line.advance()
        except OSError as error:
            if client.busy:
                self._fail(client, _name_of(error))
            else:
                client.line.close()  # it idled, and the balancer closed it: nothing was asked
            return
        if status is None:
            return
        if status != 200:
            self._fail(client, str(status))
        elif not _is_own(client):
            self._fail(client, "another's answer")
        else:
            self._end(client)
            self._answers.append((client.began, time.monotonic()))
            self._versions.add(_version_of(client))

    def _fail(self, client: Client, outcome: str) -> None:
        """Count the request as lost. It is never sent again: what comes next has another id."""
        if not outcome.isdigit():
            client.line.close()
        self._failures.append({
            "id": client.request_id, "outcome": outcome, "reused": client.reused,
            "began": client.began, "ended": time.monotonic(),
        })  # fmt: skip
        self._end(client, BREATH_SECONDS)

    def _end(self, client: Client, pause: float = 0.0) -> None:
        client.busy = False
        self._due.append((time.monotonic() + max(pause, self._pause), client))


def _is_own(client: Client) -> bool:
    """Return whether the answer is to this very request, and right."""
    head, _, body = client.line.answer.partition(b"\r\n\r\n")
    own_id = f"\r\nx-request-id: {client.request_id}".encode() in head.lower() + b"\r\n"
    return own_id and bool(json.loads(body) == {"mnist_result": int(client.digit)})


def _version_of(client: Client) -> str:
    head, _, _ = client.line.answer.lower().partition(b"\r\n\r\n")
    _, _, rest = head.partition(b"\r\nx-model-version: ")
    return rest.partition(b"\r\n")[0].decode()


def _name_of(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    # The line itself raises the second, without a number from the system.
    return "reset" if error.errno is not None else "closed early"


def _say(**members: object) -> None:
    try:
        print(json.dumps(members), flush=True)
    except BrokenPipeError:  # whoever started us is gone
        os._exit(1)  # not sys.exit, which would flush once more


if __name__ == "__main__":
    Clients(json.loads(sys.stdin.readline())).run()

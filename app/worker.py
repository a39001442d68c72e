"""The gunicorn worker that loses nothing: a GeventWorker with its own connections and its own end.

gunicorn's gevent worker drops connections that wait in the listener, stays for the whole
graceful timeout because of idle connections, and keeps a connection alive whose request was
running when the stop came (gunicorn #1236, #2297, #2529, #3227).
"""

import errno
import os
import time
from functools import partial
from typing import Any

import gevent
from gevent import socket
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn import http
from gunicorn.http import wsgi
from gunicorn.workers.ggevent import GeventWorker

from app import listener, logs, stderr
from app.connection import Connection, Writer
from app.engine.client import EngineClient
from app.settings import Settings
from app.turnstile import goes_first, take_turn

TICK_SECONDS = 0.25
ACCEPT_SECONDS = 5.0  # how long to go on accepting where handshakes cannot be refused


class LosslessWorker(GeventWorker):  # type: ignore[misc]
    """Serves until told to stop; then drains in the order of ``_leave``."""

    alive: bool

    def __init__(self, *arguments: Any) -> None:
        # In the arbiter, which needs the directory for each worker and ends without it.
        *_, cfg, _ = arguments
        os.makedirs(cfg.worker_tmp_dir, mode=0o700, exist_ok=True)
        super().__init__(*arguments)

    def run(self) -> None:
        """Serve, then leave. Called once by gunicorn, in the worker process."""
        self.connections: set[Connection] = set()
        self.engine: EngineClient = self.wsgi.extensions["unbroken.engine"]
        self.settings: Settings = self.wsgi.extensions["unbroken.settings"]
        self.stopped_at: float | None = None
        self.pool = Pool(self.worker_connections)
        gevent.spawn(_log_stderr)
        servers = []
        for held in self.sockets:
            held.setblocking(True)
            # The name is taken now: after the close there is none to ask for.
            handle = partial(self.serve, held.getsockname())
            server = StreamServer(held, handle=handle, spawn=self.pool)
            # With more, one worker would hoard connections that its sisters could serve.
            server.max_accept = 1 if self.cfg.workers > 1 else server.max_accept
            server.start()
            servers.append(server)
        while self.alive:
            self.notify()
            self._make_room()
            gevent.sleep(TICK_SECONDS)
        self._leave(servers)

    def notify(self) -> None:
        """Show the arbiter that the loop turns; without an arbiter, leave in order.

        gunicorn's own exits at once when its parent is gone, and drops what is in flight.
        """
        self.tmp.notify()
        if self.ppid != os.getppid():
            self.alive = False

    # ---- the end

    def _leave(self, servers: list[StreamServer]) -> None:
        """Stop accepting without a reset, let what runs finish, close what idles."""
        self.stopped_at = time.monotonic()
        logs.event("worker_stopping", connections=len(self.connections))
        for server in servers:
            self._close_listener(server)
        limit = self.stopped_at + self.cfg.graceful_timeout
        # The pool, not the connections: one that was just accepted is not yet among those.
        while len(self.pool) and time.monotonic() < limit:
            for connection in list(self.connections):
                connection.close_if_idle(self.settings.idle_close_seconds, self.stopped_at)
            self.notify()
            gevent.sleep(0.05)
        if len(self.pool):
            logs.event("graceful_timeout", level=30, connections=len(self.pool))
        self.engine.report.send_last()

    def _close_listener(self, server: StreamServer) -> None:
        gevent.sleep(0)  # what the supervisor has said is read before it is asked
        if not self.engine.draining and self.engine.supervisor_lives():
            server.close()  # recycled: our sisters go on accepting from this socket
            return
        means = listener.refuse_handshakes(server.socket)
        logs.event("handshakes_refused", level=20 if means else 30, means=means or None)
        listener.await_handshakes(server.server_port, gevent.sleep)
        server.stop_accepting()
        until = time.monotonic() + ACCEPT_SECONDS
        while time.monotonic() < until and (accepted := server.do_read()):
            server.do_handle(*accepted)
        server.close()

    # ---- a connection

    def closing(self) -> bool:
        """Return whether a response that is sent now must be its connection's last."""
        return not self.alive or self.engine.draining

    def serve(self, name: Any, client: socket.socket, address: Any) -> None:
        """Serve one connection to its end."""
        client.setblocking(True)
        if self.closing():
            listener.welcome(client)
        connection = Connection(client)
        self._make_room()
        self.connections.add(connection)
        parser = http.get_parser(self.cfg, client, address)
        request = None
        try:
            while connection.await_request(parser, self.cfg.keepalive):
                request = None
                request = connection.read_head(parser, self.settings.request_timeout_seconds)
                if not goes_first(request.method, request.path):
                    take_turn()
                if not self._respond(name, request, client, address, connection):
                    break
        except (StopIteration, http.errors.NoMoreData):
            pass  # the client left
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF):
                logs.event("connection_failed", level=40, error=error)
        except Exception as error:  # noqa: BLE001  gunicorn turns parse errors into answers
            self.handle_error(request, client, address, error)
        finally:
            self.connections.discard(connection)
            connection.close()

    def _make_room(self) -> None:
        """Close the longest idle connection where few more would fit.

        Else silent clients keep everyone out, and the accept queue from being emptied at the end.
        """
        if self.pool.free_count() < self.worker_connections // 10:
            idle = [one for one in self.connections if one.idle_since is not None]
            if idle:
                min(idle, key=lambda one: one.idle_since or 0.0).close_if_idle(0.0, 0.0)

    def _respond(
        self, name: Any, request: Any, client: socket.socket, address: Any, connection: Connection
    ) -> bool:
        """Answer one request; return whether the connection lives on."""
        writer = Writer(client, self.settings.request_timeout_seconds)
        response, environ = wsgi.create(request, writer, address, name, self.cfg)
        environ["wsgi.multithread"] = True
        environ["unbroken.first_byte"] = connection.first_byte
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            logs.event("worker_recycled", requests=self.nr)
            self.alive = False

        def start_response(status: str, headers: list[tuple[str, str]], exc: Any = None) -> Any:
            # Decided now, not when the request came: the drain may have begun meanwhile.
            if self.closing() or connection.has_unread_body(request):
                response.force_close()
            return response.start_response(status, headers, exc)

        body = self.wsgi(environ, start_response)
        try:
            for chunk in body:
                response.write(chunk)
            response.close()
            writer.flush()
        finally:
            if hasattr(body, "close"):
                body.close()
        return not response.should_close()


def _log_stderr() -> None:
    pipe = stderr.redirect("worker")
    while pipe and pipe.read():
        socket.wait_read(pipe.fileno())

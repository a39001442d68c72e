"""An HTTP worker's links to all engines: which there are, and which gets a request. gevent."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent

from app.engine.line import RECONNECT_SECONDS
from app.engine.link import Link
from app.engine.protocol import Frame
from app.engine.record import Request
from app.input_spec import InputSpec
from app.lifecycle import SERVING, EngineView, Stage


class Links:
    """Connects to every engine that the supervisor names.

    Args:
        on_frame: gets every frame but STATE.
        on_end: gets a link whose engine is gone; what is in flight there is the caller's to close.
    """

    def __init__(
        self,
        on_frame: Callable[[Link[Request], Frame], None],
        on_end: Callable[[Link[Request]], None],
    ) -> None:
        self._on_frame = on_frame
        self._on_end = on_end
        self._engines: list[dict[str, Any]] = []
        self._links: dict[str, Link[Request]] = {}
        self._named_at: dict[str, float] = {}  # 0 once a connection to it has ended

    # ---- what the supervisor says

    def follow(self, engines: list[dict[str, Any]]) -> None:
        """Connect to the engines of the directory, and hang up where one is named no more."""
        self._engines = engines
        paths = {engine["path"] for engine in engines}
        self._named_at = {path: at for path, at in self._named_at.items() if path in paths}
        for path, link in self._links.items():
            # A child that the model forked may hold a dead engine's end of the connection open.
            if path not in paths:
                link.hang_up()
        self._connect()

    def _connect(self) -> None:
        """Connect to every engine that serves and has no link; leave those that retire."""
        for engine in self._engines:
            path, stage = engine["path"], Stage(engine["stage"])
            if stage is Stage.RETIRING and path in self._links:
                self._links[path].retire()
            elif stage in SERVING and path not in self._links:
                self._named_at.setdefault(path, time.monotonic())
                link = Link[Request](path, engine["generation"], self._on_frame, self._ended)
                self._links[path] = link
                link.start()

    def _ended(self, link: Link[Request]) -> None:
        self._links.pop(link.path, None)
        self._named_at[link.path] = 0.0
        self._on_end(link)
        # It may have been the connection alone: the engine is in the directory until it is gone.
        gevent.spawn_later(RECONNECT_SECONDS, self._connect)

    # ---- who gets a request

    def serving(self) -> list[Link[Request]]:
        """Return the links that take new requests."""
        return [link for link in self._links.values() if link.takes_work]

    def newest(self) -> Link[Request] | None:
        """Return the link to the newest engine that takes requests."""
        return max(self.serving(), key=lambda link: link.generation, default=None)

    def choose(self, spec: InputSpec) -> Link[Request] | None:
        """Return the link with the least in flight, of those whose model wants such images."""
        fitting = [link for link in self.serving() if link.spec == spec]
        return min(fitting, key=lambda link: (link.degraded, link.outstanding), default=None)

    def cancel(self, request: Request) -> None:
        """Have no engine compute for a request any more."""
        for link in self._links.values():
            link.cancel(request)

    # ---- what is known of them

    def views(self) -> Iterator[EngineView]:
        """Yield what the verdict on health is made from."""
        for engine in self._engines:
            link = self._links.get(engine["path"])
            heard_at = link.heard_at if link else None
            yield EngineView(
                Stage(engine["stage"]), engine["cause"],
                # The supervisor has just heard of it what we are about to hear.
                heard_at or self._named_at.get(engine["path"]) or None,
                link.batch_age if link else 0.0,
            )  # fmt: skip

    def describe(self) -> list[dict[str, Any]]:
        """Return each engine's entry of the directory, and what it last said itself."""
        return [{**engine, **self._state(engine)} for engine in self._engines]

    def _state(self, engine: dict[str, Any]) -> dict[str, Any]:
        link = self._links.get(engine["path"])
        known = link.state if link else {}
        return {name: known.get(name) for name in ("queue", "batch_age", "gpu", "deep_check")}

    @property
    def load_began(self) -> float | None:
        """When the engine that was started last began, in monotonic seconds."""
        began = [engine["started_at"] for engine in self._engines if engine["started_at"]]
        return max(began, default=None)

"""The HTTP worker's side of the engines: admission, submission, replay. One per worker, gevent.

A request's record is kept here until it is answered: pixels, deadline, and whether it was in a
batch when an engine died. That record is what is replayed; nothing else remembers a request.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gevent
from gevent.event import AsyncResult, Event

from app import errors, lifecycle, logs, metrics, state_dir
from app.engine.admission import Admission, Hold
from app.engine.line import Line
from app.engine.link import Link
from app.engine.links import Links
from app.engine.protocol import Frame, Type
from app.engine.record import MAX_VICTIMS, Answer, Image, Request
from app.engine.report import Report
from app.images import Decoded
from app.input_spec import InputSpec
from app.lifecycle import Health, Stage
from app.settings import Settings

INFORM_SECONDS = 1.0


class InputSpecChanged(Exception):
    """The model was exchanged for one that wants its images decoded otherwise."""


class EngineClient:
    """Connects to the supervisor and to every engine that it names.

    Args:
        settings: the container's.
    """

    def __init__(self, settings: Settings) -> None:
        self.draining = False
        self.served = False
        self._settings = settings
        self._line = Line(str(Path(settings.state_dir, state_dir.SUPERVISOR_SOCKET)), self._update)
        self._line.on_loss = self._unmark
        self.report = Report(self._line, self._gauges)
        self._links = Links(self._heard, self._lost)
        self._swap: dict[str, Any] = {}
        self._admission = Admission()
        self._hello: dict[str, Any] = {}
        self._spec = InputSpec()  # of the model in ``_hello``; see ``_follow_model``
        self._greeted = Event()
        self._informed = Event()  # by the supervisor, once
        self._waiting: deque[Request] = deque()

    def start(self) -> None:
        """Begin to follow the supervisor, for the life of the process."""
        self._line.start()
        self.report.start()

    # ---- what the web side asks

    def health(self) -> Health:
        """Judge from what is known; touches neither the GPU nor a queue."""
        if not self._informed.is_set():
            return Health(False, Stage.LOADING, "loading")
        hang_seconds = self._settings.hang_seconds
        return lifecycle.judge(self._links.views(), time.monotonic(), hang_seconds)

    def supervisor_lives(self) -> bool:
        """Return whether the supervisor is there, or has not had the time to be."""
        return self._line.connected or not self._informed.is_set()

    def supervisor_fault(self) -> str:
        """Return why a restart would help, or an empty string."""
        if self._line.silent:
            return f"the engine supervisor has said nothing for {self._line.silence} s"
        return "" if self.supervisor_lives() else "the engine supervisor is gone"

    def describe(self) -> dict[str, Any]:
        """Return what a person would ask, for ``/status``."""
        self._follow_model()
        admission = self._admission
        return {
            "model": self._hello.get("model"), "version": self._hello.get("version"),
            "device": self._hello.get("device"), "max_batch": self._hello.get("max_batch"),
            "options": [asdict(option) for option in self._spec.options],
            "routes": self.routes,
            "draining": self.draining, "swap": self._swap,
            "engines": self._links.describe(),
            "worker": {"images": admission.images, "max_images": admission.max_images,
                       "bytes": admission.bytes, "max_bytes": admission.max_bytes,
                       "waiting_for_an_engine": len(self._waiting)},
        }  # fmt: skip

    @property
    def load_began(self) -> float | None:
        """When the engine that was started last began, in monotonic seconds."""
        return self._links.load_began

    def checkups(self) -> list[dict[str, Any]]:
        """Return the last STATE of each engine that serves: its deep check, its GPU."""
        return [link.state for link in self._links.serving() if link.state]

    def input_spec(self, deadline: float) -> InputSpec:
        """Return how to decode; wait for it where an engine has served and is being replaced.

        Raises:
            app.errors.ModelLoading: the container has not been ready yet.
            app.errors.DeadlineExceeded: no engine came up in time.
        """
        if not self._hello:
            # A worker that was just started must not take "not told yet" for "never ready".
            self._informed.wait(timeout=min(INFORM_SECONDS, max(0.0, deadline - time.monotonic())))
            if not self.served and self.health().stage is Stage.SELF_TEST:
                # Its end may be on its way to us, and a sister may have said so to this client.
                left = max(0.0, deadline - time.monotonic())
                self._greeted.wait(timeout=min(INFORM_SECONDS, left))
            if not self.served:
                health = self.health()
                raise errors.ModelLoading(f"the model is not ready yet: {health.reason}")
            if not self._greeted.wait(timeout=max(0.0, deadline - time.monotonic())):
                raise errors.DeadlineExceeded("no engine was ready in time")
        self._follow_model()
        return self._spec

    @property
    def routes(self) -> tuple[str, ...]:
        """The paths that the model names, as far as is known now."""
        return self._spec.routes

    def note_request(self) -> None:
        """Tell the supervisor, while the container drains, that requests still come."""
        if self.draining and self._settings.drain_quiet_seconds:
            self._line.note_request()

    def ask_reload(self) -> AsyncResult:
        """Ask the supervisor to exchange the model; see ``Line.ask``."""
        return self._line.ask(Type.RELOAD)

    def refuse_reload(self) -> None:
        """Say no at once where the supervisor would.

        Raises:
            app.errors.Draining, app.errors.ReloadInProgress: the directory says so.
        """
        if self.draining:
            raise errors.Draining("the container is leaving")
        if self._swap.get("running"):
            raise errors.ReloadInProgress("another exchange of the model is under way")

    def hold(self) -> Hold:
        """Return what a new request holds: nothing yet."""
        return Hold(self._admission)

    def predict(
        self,
        images: Sequence[Decoded],
        spec: InputSpec,
        options: Mapping[str, Any],
        deadline: float,
    ) -> Answer:
        """Have the images answered by one engine; survive its death.

        Args:
            images: decoded as ``spec`` says.
            spec: from ``input_spec``.
            options: what ``spec`` made of the query string.
            deadline: monotonic seconds.

        Raises:
            InputSpecChanged: the model that serves now wants them decoded otherwise.
            app.errors.ServingError: what the engine said, or DeadlineExceeded.
        """
        asked = [Image(image.pixels, image.size) for image in images]
        request = Request(asked, spec, options, deadline)
        if time.monotonic() < deadline:
            self._dispatch(request)
        try:
            answer: Answer = request.done.get(timeout=max(0.0, deadline - time.monotonic()))
        except gevent.Timeout:
            self._abandon(request)
            raise errors.DeadlineExceeded(
                f"no answer within REQUEST_TIMEOUT_SECONDS "
                f"({self._settings.request_timeout_seconds:g} s)"
            ) from None
        return answer

    # ---- requests and links

    def _follow_model(self) -> None:
        """Take the model from the newest engine that takes work; without one, the last stays."""
        if newest := self._links.newest():
            self._hello, self._spec = newest.hello, newest.spec or InputSpec()

    def _dispatch(self, request: Request) -> None:
        link = self._links.choose(request.spec)
        if link is None:
            if self._links.serving():
                request.done.set_exception(InputSpecChanged())
            else:
                self._waiting.append(request)
            return
        # Registered before a byte is sent, so that no answer can come too early.
        request.numbers = [link.register(request) for _ in request.images]
        for number, image in zip(request.numbers, request.images, strict=True):
            head = {"shape": image.pixels.shape, "dtype": "uint8", "size": image.size,
                    "options": request.options, "deadline": request.deadline,
                    "alone": image.victims > 0}  # fmt: skip
            link.send(Frame(Type.SUBMIT, number, head, image.pixels.data.cast("B")))

    def _abandon(self, request: Request) -> None:
        if request in self._waiting:
            self._waiting.remove(request)
        self._links.cancel(request)

    def _heard(self, link: Link[Request], frame: Frame) -> None:
        if frame.type is Type.HELLO:
            self._follow_model()
            self._greeted.set()
            waiting, self._waiting = self._waiting, deque()
            for request in waiting:
                self._dispatch(request)
        elif frame.type is Type.STARTED:
            for number in frame.head["ids"]:
                if started := link.request_of(number):
                    started.image_of(number).started = True
        elif answered := link.forget(frame.id):
            self._answered(link, answered, frame)

    def _answered(self, link: Link[Request], request: Request, frame: Frame) -> None:
        if frame.type is Type.FAILED:
            link.cancel(request)
            head = frame.head
            error = errors.from_code(head["code"], head["message"], head.get("details"))
            request.done.set_exception(error)
            return
        if request.note(frame.id, bytes(frame.payload), frame.head):
            request.done.set(request.answer(link.hello))

    def _lost(self, link: Link[Request]) -> None:
        """An engine is gone: what it held runs again, whole requests on one generation."""
        orphans = link.close()
        if orphans:
            logs.event("replay", requests=len(orphans), generation=link.generation)
        for request in orphans:
            if request.survive() >= MAX_VICTIMS:
                request.done.set_exception(errors.RequestCrashedEngine(
                    "the engine died twice while it ran this request, the second time alone"
                ))  # fmt: skip
            else:
                self.report.counts.count(metrics.REPLAYS)
                self._dispatch(request)

    # ---- the supervisor

    def _update(self, head: dict[str, Any]) -> None:
        self.draining, self.served = head["draining"], head["served"]
        self._admission.share(head["share"]["images"], head["share"]["bytes"])
        self._swap = head["swap"]
        self._informed.set()
        self._links.follow(head["engines"])

    def _unmark(self) -> None:
        """Have exec probes say no: the mark was the word of a supervisor that says none now."""
        state_dir.mark(self._settings.state_dir, state_dir.READY, present=False)

    def _gauges(self) -> dict[str, int]:
        return {
            "in_progress": self._admission.requests,
            "admitted": self._admission.images, "limit": self._admission.max_images,
            "waiting": sum(len(request.images) for request in self._waiting),
        }  # fmt: skip

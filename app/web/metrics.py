"""What Prometheus reads: ``GET /metrics``; and what an HTTP worker adds to it for each request."""

import contextlib
import importlib
import json
from typing import Any

from flask import Blueprint, Response, current_app, g, request
from gevent.threadpool import ThreadPool
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import Rule

from app import errors, metrics
from app.engine.client import EngineClient
from app.engine.record import Answer
from app.metrics import Counts

blueprint = Blueprint("metrics", __name__)
_LONGEST_FIRST = 4096  # bytes of a result in which its label is looked for
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_DECODER = json.JSONDecoder()
# Its own, of one thread: decoders that are stuck must not hide the metrics that tell it.
_pool: list[ThreadPool] = []


@blueprint.get("/metrics")
def scrape() -> Response:
    """Write the series of all processes, as text or, where asked for, as OpenMetrics."""
    engine: EngineClient = current_app.extensions["unbroken.engine"]
    total = engine.report.total()
    if not _pool:
        _pool.append(ThreadPool(1))
    content, kind = _pool[0].apply(_write, (total, request.headers.get("Accept", "")))
    return Response(content, content_type=kind)


def _write(total: dict[str, metrics.Rows], accept: str) -> tuple[bytes, str]:
    # prometheus_client takes a tenth of a second to import: in a native thread, so that the hub
    # turns meanwhile, and never in a worker that nobody scrapes.
    exposition: Any = importlib.import_module("app.web.exposition")
    written: tuple[bytes, str] = exposition.write(total, accept)
    return written


def count(counts: Counts, status: int, seconds: float) -> None:
    """Count the request that has just been answered.

    Args:
        counts: the worker's.
        status: of the answer.
        seconds: since the first byte.
    """
    rule, method = request.url_rule or _rule_of_other_methods(), request.method
    route = rule.rule if rule else g.get("route", metrics.OTHER)
    method = method if method in _METHODS else metrics.OTHER
    counts.count(metrics.HTTP_REQUESTS, route, method, str(status))
    counts.observe(metrics.HTTP_DURATION, seconds, route)
    if error := g.get("error"):
        counts.count(metrics.ERRORS, error)
        if error == errors.QueueFull.code:
            counts.count(metrics.REQUESTS_SHED)
        elif error == errors.DeadlineExceeded.code:
            counts.count(metrics.REQUESTS_EXPIRED)
    decode_ms: float | None = g.get("decode_ms")
    if decode_ms is not None:
        counts.observe(metrics.DECODE_DURATION, decode_ms / 1000)
    answer: Answer | None = g.get("answer")
    if answer:
        counts.observe(metrics.QUEUE_WAIT, answer.queue_ms / 1000)
        for result in answer.results:
            if (label := label_of(result)) is not None:
                counts.count(metrics.RESULTS, label)


def _rule_of_other_methods() -> Rule | None:
    """Return the route of a path that was asked for by a method that it does not take."""
    refused = request.routing_exception
    if not isinstance(refused, MethodNotAllowed) or not refused.valid_methods:
        return None
    adapter = current_app.url_map.bind_to_environ(request.environ)
    with contextlib.suppress(HTTPException):  # what counts must not cost the answer
        return adapter.match(method=next(iter(refused.valid_methods)), return_rule=True)[0]
    return None


def label_of(result: bytes) -> str | None:
    """Return the label that a model's result comes down to, or None where it has none.

    That is a number or a word, or the member ``label`` of an object, or of the first of a list.

    Args:
        result: its JSON; no more than its first element is read.
    """
    text = result[:_LONGEST_FIRST].decode(errors="replace")
    try:
        value, _ = _DECODER.raw_decode(text, 1 if text.startswith("[{") else 0)
    except ValueError:  # longer than that
        return None
    if isinstance(value, dict):
        value = value.get("label")
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    # Half of a surrogate pair is legal in JSON, and cannot be written as UTF-8.
    return str(value)[: metrics.MAX_LABEL].encode(errors="replace").decode()

"""What the server says of itself. Answers from what is known: no GPU, no queue, no waiting."""

import json
import time
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, current_app, request

from app.engine.client import EngineClient
from app.lifecycle import DEEP_CHECK, GPU_MEMORY, Health
from app.settings import Settings
from app.web import console
from app.web.decoder import Decoder

blueprint = Blueprint("health", __name__)
_STARTED = time.monotonic()


def _engine() -> EngineClient:
    engine: EngineClient = current_app.extensions["unbroken.engine"]
    return engine


def judge() -> Health:
    """Judge this worker: its engines, and its own threads for decoding."""
    decoder: Decoder = current_app.extensions["unbroken.decoder"]
    health = _engine().health()
    if health.can_serve and decoder.stuck(time.monotonic()):
        return Health(False, health.stage, "decoders_stuck")
    return health


def _json(members: dict[str, Any], status: int = 200) -> Response:
    # Spaced as the platforms' pages print it: some probes compare text.
    return Response(json.dumps(members), status, mimetype="application/json")


def _check(name: str, *, healthy: bool, details: str) -> dict[str, str]:
    status = "healthy" if healthy else "unhealthy"
    return {"name": name, "status": status, "details": details}


def _probe(words: tuple[str, str], health: Health, checks: list[dict[str, str]]) -> Response:
    passed = all(check["status"] == "healthy" for check in checks)
    members = {"status": words[not passed], "stage": health.stage, "checks": checks}
    return _json(members, 200 if passed else 503)


@blueprint.get("/health")
def modelarts() -> Response:
    """Say whether the model can answer, in ModelArts' words; draining does not matter."""
    health = judge()
    if health.can_serve:
        return _json({"health": "true"})
    # Never another 2xx or a 3xx: every platform's probe reads those as healthy.
    return _json({"health": "false", "reason": health.reason}, 503)


@blueprint.get("/live")
def live() -> Response:
    """Say whether a restart would help: this loop turns, and the supervisor speaks."""
    engine = _engine()
    fault = engine.supervisor_fault()
    check = _check("supervisor", healthy=not fault, details=fault or "engine supervisor")
    return _probe(("alive", "dead"), engine.health(), [check])


@blueprint.get("/startup")
def startup() -> Response:
    """Say whether the model has been ready once."""
    engine = _engine()
    health = engine.health()
    details = "has been ready" if engine.served else _progress(engine, health)
    check = _check("model", healthy=engine.served, details=details)
    return _probe(("ready", "not_ready"), health, [check])


def _progress(engine: EngineClient, health: Health) -> str:
    settings: Settings = current_app.extensions["unbroken.settings"]
    began = engine.load_began
    if began is None:
        return health.reason
    waited = time.monotonic() - began
    return f"{health.reason}, for {waited:.0f} s of at most {settings.load_seconds:g} s"


@blueprint.get("/ready")
def ready() -> Response:
    """Say whether to route here: the next request can be answered, and we are not leaving."""
    engine = _engine()
    settings: Settings = current_app.extensions["unbroken.settings"]
    health = judge()
    leaving = engine.draining and settings.drain_unready
    checks = [
        _check("model", healthy=health.can_serve, details=health.reason or "can answer"),
        *_checkup(engine, health, settings),
        _check("drain", healthy=not leaving, details="draining" if leaving else "not draining"),
    ]
    return _probe(("ready", "not_ready"), health, checks)


def _checkup(engine: EngineClient, health: Health, settings: Settings) -> Iterator[dict[str, str]]:
    """Say what the engines that serve have found; one that is well is enough."""
    now = time.monotonic()
    states = engine.checkups()
    if findings := [state["deep_check"] for state in states if state["deep_check"]]:
        best = max(findings, key=lambda finding: (finding["healthy"], finding["at"]))
        yield _check(
            "deep_check", healthy=health.reason != DEEP_CHECK,
            details=best["reason"] or f"passed {now - best['at']:.0f} s ago",
        )  # fmt: skip
    if readings := [state["gpu"] for state in states if state["gpu"]]:
        usable = max(gpu["free_mb"] + gpu["reusable_mb"] for gpu in readings)
        yield _check(
            "gpu_memory", healthy=health.reason != GPU_MEMORY,
            details=f"{usable:.0f} MB free or reusable, at least {settings.min_free_gpu_mb}",
        )  # fmt: skip


@blueprint.get("/status")
def status() -> Response:
    """Say everything that a person would ask."""
    health = judge()
    members: dict[str, Any] = {
        "name": "unbroken", "can_serve": health.can_serve, "stage": health.stage,
        "reason": health.reason, "uptime_seconds": round(time.monotonic() - _STARTED, 1),
    }  # fmt: skip
    return _json({**members, **_engine().describe()})


@blueprint.get("/")
def root() -> Response:
    """Say who answers: PAI-EAS probes this path unless told otherwise. A browser gets the page."""
    settings: Settings = current_app.extensions["unbroken.settings"]
    if settings.console and console.wants_page(request):
        return console.page()
    return _json({"name": "unbroken", "model": settings.model, "status": "alive"})

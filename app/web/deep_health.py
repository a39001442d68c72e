"""Does the model still say what it said when it was loaded? ``GET`` and ``POST /deep-health``.

GET says what the engines' own checks have found and waits for nothing. POST runs an image, as any
prediction, and says how that went. Compact JSON: some sidecars look for the text
``"status":"healthy"``.
"""

import json
import time
from typing import Any

from flask import Blueprint, Response, current_app

from app import errors
from app.engine.client import EngineClient
from app.lifecycle import DEEP_CHECK, GPU_MEMORY
from app.web import health, predict

blueprint = Blueprint("deep_health", __name__)


@blueprint.get("/deep-health")
def last() -> Response:
    """Say what the last check of each engine found, the most worrying first."""
    engine: EngineClient = current_app.extensions["unbroken.engine"]
    now = time.monotonic()
    findings = [state["deep_check"] for state in engine.checkups() if state["deep_check"]]
    checks = [
        _check(
            "golden_answer", healthy=finding["healthy"],
            details=finding["reason"] or "the model says what it said when it was loaded",
            age_seconds=round(now - finding["at"], 1),
        )
        for finding in sorted(findings, key=lambda finding: (finding["healthy"], finding["at"]))
    ]  # fmt: skip
    verdict = health.judge()
    silent = not verdict.can_serve and verdict.reason not in (DEEP_CHECK, GPU_MEMORY)
    if silent or not checks:
        # One that has just become ready has recorded its golden answer; its report is on its way.
        details = verdict.reason or "it has just passed its self-test"
        checks.append(_check("engine", healthy=verdict.can_serve, details=details))
    seconds = max((finding["seconds"] for finding in findings), default=0.0)
    return _report(checks, seconds, {})


@blueprint.post("/deep-health")
def now() -> Response:
    """Run the image that was sent, and say what was found.

    A model that fails on it is 503 and unhealthy; what is wrong with the request is the request's.
    """
    began = time.monotonic()
    try:
        answer, many = predict.answer_posted()
    except (errors.ModelError, errors.RequestCrashedEngine, errors.OutOfMemory) as error:
        checks = [_check("inference", healthy=False, details=error.message)]
        return _report(checks, time.monotonic() - began, {})
    results = [json.loads(result) for result in answer.results]
    name = answer.result_key or ("results" if many else "result")
    found = {name: results if many else results[0]}
    found.setdefault("version", answer.version)
    checks = [_check("inference", healthy=True, details="the model answered")]
    return _report(checks, answer.inference_ms / 1000, found)


def _check(name: str, *, healthy: bool, details: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "status": "healthy" if healthy else "unhealthy", "details": details, **more,
    }  # fmt: skip


def _report(checks: list[dict[str, Any]], seconds: float, found: dict[str, Any]) -> Response:
    healthy = all(check["status"] == "healthy" for check in checks)
    members = {
        "status": "healthy" if healthy else "unhealthy", "inference_time": f"{seconds:.3f}s",
        "checks": checks,
    }  # fmt: skip
    # A model may call its results as it likes; the verdict keeps its name, and the first place.
    members |= {name: value for name, value in found.items() if name not in members}
    text = json.dumps(members, separators=(",", ":"))
    return Response(text, 200 if healthy else 503, mimetype="application/json")

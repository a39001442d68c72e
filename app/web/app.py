"""The Flask application: who asks (id, token), what went wrong (one boundary), what was done."""

import hmac
import json
import logging
import re
import time
import uuid
from functools import partial
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WerkzeugMethodNotAllowed
from werkzeug.exceptions import NotFound as WerkzeugNotFound

from app import errors, logs
from app.engine.client import EngineClient
from app.engine.record import Answer
from app.settings import Settings
from app.turnstile import PROBES
from app.web import admin, console, deep_health, health, metrics, predict
from app.web.decoder import Decoder

_REQUEST_ID = re.compile(r"[\w.:/+=-]{1,128}")
_PROBES = PROBES | {"/metrics"}


def create_app(settings: Settings, engine: EngineClient) -> Flask:
    """Return the application of one HTTP worker.

    Args:
        settings: the container's.
        engine: already following the supervisor.
    """
    app = Flask("unbroken", static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False  # it would answer a redirect, in HTML
    app.extensions["unbroken.settings"] = settings
    app.extensions["unbroken.engine"] = engine
    app.extensions["unbroken.decoder"] = Decoder()
    app.register_blueprint(health.blueprint)
    app.register_blueprint(deep_health.blueprint)
    app.register_blueprint(predict.blueprint)
    app.register_blueprint(admin.blueprint)
    app.register_blueprint(metrics.blueprint)
    if settings.console:
        app.register_blueprint(console.blueprint)
    app.before_request(_begin)
    app.before_request(lambda: _authorize(settings))
    app.before_request(predict.model_route)
    app.after_request(partial(_finish, engine))
    app.register_error_handler(Exception, _answer_error)
    app.wsgi_app = partial(_in_http, app.wsgi_app)  # type: ignore[method-assign]
    return app


def _in_http(application: Any, environ: dict[str, Any], start_response: Any) -> Any:
    # RFC 9110, section 7.8: an Upgrade may be ignored. Werkzeug would look for websockets' routes.
    environ.pop("HTTP_UPGRADE", None)
    return application(environ, start_response)


def _begin() -> None:
    wanted = request.headers.get("X-Request-Id", "")
    g.request_id = wanted if _REQUEST_ID.fullmatch(wanted) else uuid.uuid4().hex
    # The worker notes the first byte; without it (tests of the application alone) it is now.
    g.began = request.environ.get("unbroken.first_byte", time.monotonic())


def _authorize(settings: Settings) -> None:
    is_open = _is_probe() or (settings.console and console.is_open(request))
    if settings.auth_token is None or (is_open and request.method in ("GET", "HEAD")):
        return
    # PAI-EAS sends the bare token, everybody else a scheme before it (RFC 6750).
    sent = re.sub(r"(?i)^bearer\s+", "", request.headers.get("Authorization", ""))
    if not hmac.compare_digest(sent.encode(), settings.auth_token.encode()):
        raise errors.Unauthorized("this server needs its token in the Authorization header")


def _is_probe() -> bool:
    return request.path.removesuffix("/") in _PROBES  # a slash at the end makes no difference


def _answer_error(error: Exception) -> Response:
    """Translate every exception; the only place that knows HTTP status from error."""
    known = _known(error)
    if isinstance(known, errors.Internal):
        logs.event(
            "internal_error", level=logging.ERROR, error=error, request_id=g.get("request_id")
        )
    g.error = known.code
    members = {"code": known.code, "message": known.message, **known.details}
    body = json.dumps({"error": {**members, "request_id": g.get("request_id")}})
    response = Response(body, known.status, mimetype="application/json")
    if known.retry_after is not None:
        response.headers["Retry-After"] = str(known.retry_after)
    if isinstance(error, WerkzeugMethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    if isinstance(known, errors.Unauthorized):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _known(error: Exception) -> errors.ServingError:
    if isinstance(error, errors.ServingError):
        return error
    if isinstance(error, WerkzeugNotFound):
        return errors.NotFound(f"there is no {request.path}; POST images to /predict")
    if isinstance(error, WerkzeugMethodNotAllowed):
        return errors.MethodNotAllowed(f"{request.path} does not take {request.method}")
    if isinstance(error, HTTPException) and error.code and error.code < 500:
        return errors.NotFound(f"{request.path}: {error.name}")
    return errors.Internal("the server has a defect; the log has it under this request id")


def _is_routine() -> bool:
    return _is_probe() or request.path.startswith(console.PREFIX)


def _finish(engine: EngineClient, response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    seconds = time.monotonic() - g.began
    metrics.count(engine.report.counts, response.status_code, seconds)
    answer: Answer | None = g.get("answer")
    logs.event(
        "request", level=logging.DEBUG if _is_routine() else logging.INFO,
        request_id=g.request_id, method=request.method, path=request.path,
        status=response.status_code, bytes_in=request.content_length or 0,
        bytes_out=response.content_length,
        milliseconds=round(1000 * seconds, 3), error_code=g.get("error"),
        decode_ms=g.get("decode_ms"), **(answer.timings() if answer else {}),
    )  # fmt: skip
    return response

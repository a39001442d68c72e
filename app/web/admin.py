"""What the owner of the server may ask of it: ``POST /admin/reload``."""

import json

import gevent
from flask import Blueprint, Response, current_app, request

from app import errors
from app.engine.client import EngineClient
from app.input_spec import SHOWN_LENGTH
from app.kinds import FLAG
from app.settings import Settings

blueprint = Blueprint("admin", __name__, url_prefix="/admin")


@blueprint.post("/reload")
def reload() -> Response:
    """Exchange the model for what MODEL_PATH holds now; answer when done, or at once.

    With ``?wait=false`` the answer is 202, and ``/status`` tells how it went.
    """
    settings: Settings = current_app.extensions["unbroken.settings"]
    engine: EngineClient = current_app.extensions["unbroken.engine"]
    if settings.auth_token is None:
        raise errors.Forbidden("set AUTH_TOKEN to use /admin; SIGHUP to run.sh reloads without")
    if not _waits():
        engine.refuse_reload()
        engine.ask_reload()
        return _answer({"status": "reloading"}, 202)
    # Load, then what the old ones hold, then their end.
    longest = settings.load_seconds + settings.request_timeout_seconds + 10
    try:
        outcome = engine.ask_reload().get(timeout=longest)
    except gevent.Timeout:
        raise errors.Internal(f"the reload is not over after {longest:g} s") from None
    if outcome["code"]:
        raise errors.from_code(outcome["code"], outcome["cause"])
    return _answer(
        {"status": "reloaded", "version": outcome["version"], "seconds": outcome["seconds"]}, 200
    )


def _waits() -> bool:
    """Return what ``wait`` says.

    Raises:
        app.errors.InvalidParameter: it is neither true nor false, or something else was asked.
    """
    for name in request.args:
        if name != "wait":
            raise errors.InvalidParameter(
                f"a reload knows no {name[:SHOWN_LENGTH]}; its parameter is: wait",
                parameter=name[:SHOWN_LENGTH],
            )
    text = " and ".join(request.args.getlist("wait") or ["true"])
    try:
        waits: bool = FLAG.parse(text)
    except ValueError:
        raise errors.InvalidParameter(
            f"wait={text[:SHOWN_LENGTH]}: wait is {FLAG.allowed}", parameter="wait"
        ) from None
    return waits


def _answer(members: dict[str, object], status: int) -> Response:
    return Response(json.dumps(members), status, mimetype="application/json")

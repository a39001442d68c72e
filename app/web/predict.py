"""Images in, the model's answers out: ``POST /`` and ``POST /predict``."""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

from flask import Blueprint, Response, current_app, g, request
from gevent import get_hub

from app import errors, images
from app.engine.admission import Hold
from app.engine.client import EngineClient, InputSpecChanged
from app.engine.record import Answer
from app.images import InputSpec, Pixels
from app.settings import Settings
from app.web import body
from app.web.body import Posted

blueprint = Blueprint("predict", __name__)
Result = TypeVar("Result")
LARGE_BODY = 1 << 18  # bytes; above, parsing takes longer than the way to a native thread


@blueprint.post("/")
@blueprint.post("/predict")
def predict() -> Response:
    """Answer one image with its result, many with a list of results in order."""
    settings: Settings = current_app.extensions["unbroken.settings"]
    engine: EngineClient = current_app.extensions["unbroken.engine"]
    deadline: float = g.began + settings.request_timeout_seconds
    engine.note_request()
    engine.input_spec(deadline)  # refuses before the body is read where no model is there yet
    with engine.hold() as hold:
        hold.add_bytes(body.announced(request, settings))
        content = body.read(request, settings, deadline)
        posted = _parse(content, settings)
        hold.add_images(len(posted.files))
        answer = None
        while answer is None:  # again where the model was exchanged for one of another input
            with contextlib.suppress(InputSpecChanged):
                answer = _answer(hold, posted, engine, settings, deadline)
        g.answer = answer
    return _respond(answer, many=posted.many)


def _answer(
    hold: Hold, posted: Posted, engine: EngineClient, settings: Settings, deadline: float
) -> Answer:
    began = time.monotonic()
    spec = engine.input_spec(deadline)
    pixels = [
        _decode(hold, file, spec, settings, index if posted.many else None)
        for index, file in enumerate(posted.files)
    ]
    g.decode_ms = round(1000 * (time.monotonic() - began), 3)
    try:
        return engine.predict(pixels, spec, deadline)
    finally:
        hold.drop_bytes(sum(array.nbytes for array in pixels))


def _parse(content: bytes, settings: Settings) -> Posted:
    boundary = request.mimetype_params.get("boundary", "")
    arguments = (content, request.mimetype, boundary, settings.max_images)
    if len(content) < LARGE_BODY:
        return body.images_of(*arguments)
    return _in_thread(body.images_of, *arguments)


def _decode(
    hold: Hold, file: bytes, spec: InputSpec, settings: Settings, index: int | None
) -> Pixels:
    if len(file) < LARGE_BODY:
        opened = images.open_image(file, settings.max_pixels, index)
    else:  # a header can be megabytes of markers
        opened = _in_thread(images.open_image, file, settings.max_pixels, index)
    footprint = images.footprint(opened)
    hold.add_bytes(footprint)
    # A native thread: Pillow releases the GIL, and the hub goes on turning.
    array = _in_thread(images.to_array, opened, spec, settings.max_pixels, index)
    hold.drop_bytes(footprint - array.nbytes)
    return array


def _in_thread(function: Callable[..., Result], *arguments: object) -> Result:
    """Call a function in gevent's pool of native threads.

    Errors come back as values: the pool would print each with its traceback, as a defect of ours.
    """

    def call() -> tuple[Result | None, errors.ServingError | None]:
        try:
            return function(*arguments), None
        except errors.ServingError as error:
            return None, error

    result, error = get_hub().threadpool.apply(call)
    if error:
        raise error
    return cast("Result", result)


def _respond(answer: Answer, *, many: bool) -> Response:
    results: Sequence[bytes] = answer.results
    value = b"[" + b", ".join(results) + b"]" if many else results[0]
    response = Response(
        b'{"%s": %s}' % (answer.result_key.encode(), value), mimetype="application/json"
    )
    response.headers["X-Model-Version"] = answer.version
    response.headers["Server-Timing"] = (
        f"decode;dur={g.decode_ms}, queue;dur={answer.queue_ms}, "
        f"inference;dur={answer.inference_ms}"
    )
    return response

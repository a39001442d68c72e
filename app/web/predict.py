"""Images in, the model's answers out: ``POST /`` and ``POST /predict``."""

import contextlib
import time
from collections.abc import Sequence

from flask import Blueprint, Response, current_app, g, request
from werkzeug.exceptions import MethodNotAllowed, NotFound

from app import images
from app.engine.admission import Hold
from app.engine.client import EngineClient, InputSpecChanged
from app.engine.record import Answer
from app.images import Decoded
from app.input_spec import InputSpec
from app.settings import Settings
from app.web import body
from app.web.body import Posted
from app.web.decoder import Decoder

blueprint = Blueprint("predict", __name__)
PREDICT = "/predict"
LARGE_BODY = 1 << 18  # bytes; above, parsing takes longer than the way to a native thread


@blueprint.post("/")
@blueprint.post(PREDICT)
def predict() -> Response:
    """Answer one image with its result, many with a list of results in order."""
    answer, many = answer_posted()
    return _respond(answer, many=many)


def model_route() -> Response | None:
    """Answer a path that the model names in its spec; None where it is somebody else's.

    Which ones there are is known only from the engine, so it is asked at each request that no
    route of ours matches.
    """
    if not isinstance(request.routing_exception, NotFound):
        return None
    engine: EngineClient = current_app.extensions["unbroken.engine"]
    settings: Settings = current_app.extensions["unbroken.settings"]
    if request.method == "POST":
        routes = engine.input_spec(g.began + settings.request_timeout_seconds).routes
    else:
        routes = engine.routes
    return _only_post() if request.path.removesuffix("/") in routes else None


def _only_post() -> Response:
    if request.method == "POST":
        g.route = PREDICT  # what counts predictions, the autoscaler too, need not know the model
        return predict()
    methods = ["OPTIONS", "POST"]
    if request.method == "OPTIONS":
        return Response(headers={"Allow": ", ".join(methods)})
    raise MethodNotAllowed(methods)


def answer_posted() -> tuple[Answer, bool]:
    """Have the images of the request answered.

    Returns:
        The answer, and whether a list was asked for.

    Raises:
        app.errors.ServingError: whatever stands in the way.
    """
    settings: Settings = current_app.extensions["unbroken.settings"]
    engine: EngineClient = current_app.extensions["unbroken.engine"]
    deadline: float = g.began + settings.request_timeout_seconds
    engine.note_request()
    engine.input_spec(deadline)  # refuses before the body is read where no model is there yet
    with engine.hold() as hold:
        hold.add_bytes(body.announced(request, settings))
        posted = _parse(body.read(request, settings, deadline), settings, deadline)
        hold.add_images(len(posted.files))
        answer = None
        while answer is None:  # again where the model was exchanged for one of another input
            with contextlib.suppress(InputSpecChanged):
                answer = _answer(hold, posted, engine, settings, deadline)
        g.answer = answer
    return answer, posted.many


def _answer(
    hold: Hold, posted: Posted, engine: EngineClient, settings: Settings, deadline: float
) -> Answer:
    began = time.monotonic()
    spec = engine.input_spec(deadline)
    options = spec.parse(list(request.args.items(multi=True)))
    spec.check_body(posted.others)
    decoded = [
        _decode(hold, file, spec, settings, deadline, index if posted.many else None)
        for index, file in enumerate(posted.files)
    ]
    g.decode_ms = round(1000 * (time.monotonic() - began), 3)
    try:
        return engine.predict(decoded, spec, options, deadline)
    finally:
        hold.drop_bytes(sum(image.pixels.nbytes for image in decoded))


def _decoder() -> Decoder:
    decoder: Decoder = current_app.extensions["unbroken.decoder"]
    return decoder


def _parse(pieces: list[bytes], settings: Settings, deadline: float) -> Posted:
    boundary = request.mimetype_params.get("boundary", "")
    arguments = (pieces, request.mimetype, boundary, settings.max_images)
    if sum(map(len, pieces)) < LARGE_BODY:
        return body.images_of(*arguments)
    return _decoder().call(deadline, body.images_of, *arguments)


def _decode(
    hold: Hold,
    file: bytes,
    spec: InputSpec,
    settings: Settings,
    deadline: float,
    index: int | None,
) -> Decoded:
    decoder = _decoder()
    if len(file) < LARGE_BODY:
        opened = images.open_image(file, settings.max_pixels, index)
    else:  # a header can be megabytes of markers
        opened = decoder.call(deadline, images.open_image, file, settings.max_pixels, index)
    footprint = images.footprint(opened, spec, settings.max_pixels, index)
    hold.add_bytes(footprint)
    decoded = decoder.call(deadline, images.to_input, opened, spec, settings.max_pixels, index)
    hold.drop_bytes(footprint - decoded.pixels.nbytes)
    return decoded


def _respond(answer: Answer, *, many: bool) -> Response:
    response = Response(_body(answer, many=many), mimetype="application/json")
    response.headers["X-Model-Version"] = answer.version
    response.headers["Server-Timing"] = (
        f"decode;dur={g.decode_ms}, queue;dur={answer.queue_ms}, "
        f"inference;dur={answer.inference_ms}"
    )
    return response


def _body(answer: Answer, *, many: bool) -> bytes:
    results: Sequence[bytes] = answer.results
    value = b"[" + b", ".join(results) + b"]" if many else results[0]
    if answer.result_key is None:  # a result is an object and the answer itself
        return b'{"results": %s}' % value if many else value
    return b'{"%s": %s}' % (answer.result_key.encode(), value)

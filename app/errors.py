"""Every error a client can see: one class per code, the HTTP status on the class.

    ServingError
    ├── ClientError                       the request is at fault; sending it again changes nothing
    │   ├── 400  MalformedBody, MalformedJson, MalformedMultipart, MalformedBase64, NoImage,
    │   │        TooManyImages, InvalidParameter
    │   ├── 401  Unauthorized  403  Forbidden  404  NotFound  405  MethodNotAllowed
    │   ├── 408  BodyTimeout              413  BodyTooLarge, ImageTooLarge
    │   ├── 409  ReloadFailed, ReloadInProgress, Draining
    │   └── 415  UnsupportedMediaType     422  ImageUnreadable
    ├── ServerFault                       this request failed here
    │   └── 500  Internal, ModelError, RequestCrashedEngine
    └── TryAgain                          not now; the same request can succeed later
        ├── 503  ModelLoading, QueueFull, OutOfMemory, MetricsUnavailable    with Retry-After
        └── 504  DeadlineExceeded

Codes travel between the processes; only ``app.web`` turns them into HTTP. The table is closed:
``docs/reference/errors.md`` is generated from it and a test compares the two.
"""

from collections.abc import Mapping
from typing import ClassVar


class ServingError(Exception):
    """Base of every error that has an answer for the client.

    Args:
        message: a sentence that helps whoever reads the response.
        details: extra members of the ``error`` object, such as the ``index`` of a bad image.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    meaning: ClassVar[str] = ""
    retry_after: ClassVar[int | None] = None

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class ClientError(ServingError):
    """The request is at fault."""


class ServerFault(ServingError):
    """The server or the model failed this request."""


class TryAgain(ServingError):
    """The same request can succeed later."""


class MalformedJson(ClientError):
    """The body says it is JSON and is not, or has not the documented shape."""

    code, status = "malformed_json", 400
    meaning = "The body is not valid JSON, or not an object with `image` or `images`."


class MalformedBody(ClientError):
    """The body breaks RFC 9112, 7.1."""

    code, status = "malformed_body", 400
    meaning = "The body's chunks are broken, or the connection ended within it."


class MalformedMultipart(ClientError):
    """The multipart body breaks RFC 7578."""

    code, status = "malformed_multipart", 400
    meaning = "The multipart body is broken: no boundary, a bad part header or no end."


class MalformedBase64(ClientError):
    """A JSON image is not base64."""

    code, status = "malformed_base64", 400
    meaning = "An image in the JSON body is not base64 (a `data:` URL is fine)."


class NoImage(ClientError):
    """The request carries no image."""

    code, status = "no_image", 400
    meaning = "The body is empty, or no field is called `images`, `image` or `file`."


class TooManyImages(ClientError):
    """More images than MAX_IMAGES."""

    code, status = "too_many_images", 400
    meaning = "One request carries more images than `MAX_IMAGES`."


class InvalidParameter(ClientError):
    """A query parameter that nobody knows, with a wrong value or in a wrong place."""

    code, status = "invalid_parameter", 400
    meaning = (
        "A query parameter is not known, its value is not allowed, or it came in the body; "
        "`parameter` says which one."
    )


class Unauthorized(ClientError):
    """AUTH_TOKEN is set and the request does not carry it."""

    code, status = "unauthorized", 401
    meaning = "`AUTH_TOKEN` is set, and the `Authorization` header does not carry it."


class Forbidden(ClientError):
    """The route needs AUTH_TOKEN, and none is set."""

    code, status = "forbidden", 403
    meaning = "`/admin` needs `AUTH_TOKEN`, and the server was started without one."


class NotFound(ClientError):
    """No such route."""

    code, status = "not_found", 404
    meaning = "There is no such route."


class MethodNotAllowed(ClientError):
    """The route exists with other methods."""

    code, status = "method_not_allowed", 405
    meaning = "The route does not take this method; `Allow` names those it takes."


class BodyTimeout(ClientError):
    """The body did not arrive before the deadline."""

    code, status = "body_timeout", 408
    meaning = "The body did not arrive whole within `REQUEST_TIMEOUT_SECONDS`."


class ReloadFailed(ClientError):
    """The new model cannot serve."""

    code, status = "reload_failed", 409
    meaning = "The new model could not be loaded or failed its self-test; the old one serves on."


class ReloadInProgress(ClientError):
    """Another exchange of the model is under way."""

    code, status = "reload_in_progress", 409
    meaning = "Another exchange of the model is under way."


class Draining(ClientError):
    """The container is leaving."""

    code, status = "draining", 409
    meaning = "The container is leaving and exchanges its model no more."


class BodyTooLarge(ClientError):
    """The body is larger than MAX_BODY_MB."""

    code, status = "body_too_large", 413
    meaning = "The body is larger than `MAX_BODY_MB`."


class ImageTooLarge(ClientError):
    """The image has more pixels than MAX_PIXELS; found in its header, before decoding."""

    code, status = "image_too_large", 413
    meaning = "An image has more pixels than `MAX_PIXELS`; read from its header, not decoded."


class UnsupportedMediaType(ClientError):
    """The content type is none that carries images."""

    code, status = "unsupported_media_type", 415
    meaning = (
        "The content type is not multipart/form-data, image/*, application/octet-stream "
        "or application/json."
    )


class ImageUnreadable(ClientError):
    """The bytes are no image of a supported format, or a broken one."""

    code, status = "image_unreadable", 422
    meaning = (
        "An image is truncated, damaged, or not JPEG, PNG, WebP, GIF, BMP or TIFF; "
        "`index` says which one."
    )


class Internal(ServerFault):
    """A defect of the server."""

    code, status = "internal", 500
    meaning = "A defect of the server; the log has the traceback under the request id."


class ModelError(ServerFault):
    """The model raised, or returned something that cannot be answered."""

    code, status = "model_error", 500
    meaning = (
        "The model raised an exception over this request's image, or returned what cannot be "
        "answered; the message says which."
    )


class RequestCrashedEngine(ServerFault):
    """The engine died twice while it ran this request."""

    code, status = "request_crashed_engine", 500
    meaning = "The engine died twice while it ran this request, the second time alone."


class ModelLoading(TryAgain):
    """The container has not been ready yet."""

    code, status, retry_after = "model_loading", 503, 5
    meaning = "The model has not been ready yet; `/health` says how far it is."


class QueueFull(TryAgain):
    """MAX_CONCURRENT_REQUESTS or MAX_INFLIGHT_MB is reached."""

    code, status, retry_after = "queue_full", 503, 1
    meaning = "`MAX_CONCURRENT_REQUESTS` or `MAX_INFLIGHT_MB` is reached."


class OutOfMemory(TryAgain):
    """The device had not the memory for even this one image."""

    code, status, retry_after = "out_of_memory", 503, 1
    meaning = "The device ran out of memory, even with this image alone."


class MetricsUnavailable(TryAgain):
    """The supervisor, which has the sum of all processes, does not answer."""

    code, status, retry_after = "metrics_unavailable", 503, 5
    meaning = "`/metrics` got no answer from the engine supervisor in time."


class DeadlineExceeded(TryAgain):
    """No answer within REQUEST_TIMEOUT_SECONDS."""

    code, status = "deadline_exceeded", 504
    meaning = "There was no answer within `REQUEST_TIMEOUT_SECONDS` of the first byte."


ALL: tuple[type[ServingError], ...] = (
    MalformedBody, MalformedJson, MalformedMultipart, MalformedBase64, NoImage, TooManyImages,
    InvalidParameter, Unauthorized, Forbidden, NotFound, MethodNotAllowed, BodyTimeout,
    ReloadFailed, ReloadInProgress, Draining, BodyTooLarge, ImageTooLarge, UnsupportedMediaType,
    ImageUnreadable, Internal, ModelError, RequestCrashedEngine, ModelLoading, QueueFull,
    OutOfMemory, MetricsUnavailable, DeadlineExceeded,
)  # fmt: skip

BY_CODE: dict[str, type[ServingError]] = {error.code: error for error in ALL}


def from_code(code: str, message: str, details: Mapping[str, object] | None = None) -> ServingError:
    """Return the error that a code on the wire stands for; an unknown one is ``internal``."""
    error = BY_CODE.get(code, Internal)(message)
    error.details = dict(details or {})
    return error

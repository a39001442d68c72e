"""From a request's body to the image files in it: raw, multipart or JSON, under limits."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gevent
from flask import Request
from gunicorn.http.errors import ParseException
from multipart import MultipartError, MultipartSegment, PushMultipartParser

from app import errors
from app.input_spec import SHOWN_LENGTH
from app.settings import Settings
from app.turnstile import take_turn
from app.web.gather import gather
from app.web.json_body import JsonBody

FIELDS = ("images", "image", "file")
_CHUNK = 1 << 18
_MAX_FIELDS = 16  # beside the images: forms carry a few words of their own


@dataclass(frozen=True)
class Posted:
    """What a body holds.

    Args:
        files: the images'.
        many: whether the client sent (or may have sent) many.
        others: the names of fields, or JSON's members, that hold no image.
    """

    files: list[bytes]
    many: bool
    others: frozenset[str] = frozenset()


def announced(request: Request, settings: Settings) -> int:
    """Return how large the body says it is; a chunked one may become as large as allowed.

    Raises:
        app.errors.UnsupportedMediaType: it is compressed (RFC 9110, section 8.4).
        app.errors.BodyTooLarge: Content-Length is over the limit.
    """
    encoding = request.headers.get("Content-Encoding", "")
    if any(one.strip().lower() not in ("", "identity") for one in encoding.split(",")):
        raise errors.UnsupportedMediaType(
            f"Content-Encoding {encoding[:SHOWN_LENGTH]} is not taken: send the body without it"
        )
    limit = settings.max_body_mb << 20
    length = request.content_length
    if length is not None and length > limit:
        raise errors.BodyTooLarge(
            f"the body has {length / 2**20:.1f} MB; MAX_BODY_MB={settings.max_body_mb} is allowed"
        )
    return limit if length is None else length


def read(request: Request, settings: Settings, deadline: float) -> list[bytes]:
    """Return the whole body, in the pieces in which it was read.

    Raises:
        app.errors.BodyTooLarge: found while reading.
        app.errors.BodyTimeout: it did not arrive by the deadline.
        app.errors.MalformedBody: it ended early, or its chunks are broken.
    """
    limit = settings.max_body_mb << 20
    expected = request.content_length
    pieces = []
    size = 0
    with gevent.Timeout(max(0.0, deadline - time.monotonic()), False):
        for chunk in _chunks(request.environ["wsgi.input"]):
            pieces.append(chunk)
            size += len(chunk)
            if size > limit:
                raise errors.BodyTooLarge(
                    f"the body is larger than MAX_BODY_MB={settings.max_body_mb}"
                )
        if expected is not None and size < expected:
            raise errors.MalformedBody(f"the body ended after {size} of {expected} bytes")
        return pieces
    raise errors.BodyTimeout(
        f"the body did not arrive within {settings.request_timeout_seconds:g} s"
    )


def _chunks(stream: Any) -> Iterator[bytes]:
    try:
        while chunk := stream.read(_CHUNK):
            yield chunk
            if len(chunk) == _CHUNK:
                take_turn()  # a client that is fast enough would have the loop to itself
    except (OSError, ParseException) as error:  # a chunk that breaks RFC 9112, or the client left
        raise errors.MalformedBody(f"the body broke off: {error}") from error


def images_of(pieces: list[bytes], kind: str, boundary: str, max_images: int) -> Posted:
    """Return the image files of a body. Touches nothing else: a native thread may run it.

    Args:
        pieces: the body's, none of them empty.
        kind: its media type, without parameters.
        boundary: the parameter of multipart, or empty.
        max_images: MAX_IMAGES.

    Raises:
        app.errors.ClientError: each way in which it can be wrong.
    """
    if kind == "multipart/form-data":
        posted = _multipart(pieces, boundary, max_images)
    elif kind == "application/json":
        posted = _json(gather(pieces), max_images)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        posted = Posted([gather(pieces)] if pieces else [], False)
    elif not pieces:
        raise errors.NoImage("the request has no body; send an image")
    else:
        raise errors.UnsupportedMediaType(
            f"content type {kind or 'missing'!r}: send multipart/form-data with a field `images`, "
            "JSON, or the image alone as image/* or application/octet-stream "
            "(curl: -H 'Content-Type: image/jpeg' --data-binary @FILE)"
        )
    if not posted.files:
        raise errors.NoImage("the request carries no image in a field `images`, `image` or `file`")
    _check_count(len(posted.files), max_images)
    return posted


def _check_count(images: int, max_images: int) -> None:
    if images > max_images:
        raise errors.TooManyImages(f"{images} images; MAX_IMAGES allows {max_images}")


def _multipart(pieces: list[bytes], boundary: str, max_images: int) -> Posted:
    if not pieces:
        return Posted([], many=False)
    if not boundary:
        raise errors.MalformedMultipart("the Content-Type names no boundary")
    files: list[bytes] = []
    others = set()
    part: list[bytes] | None = None
    try:
        # One more than allowed is let through, so that the answer can say too_many_images.
        with PushMultipartParser(
            boundary, max_segment_count=max_images + 1 + _MAX_FIELDS
        ) as parser:
            for event in _events(parser, pieces):
                if isinstance(event, MultipartSegment):
                    part = [] if event.name in FIELDS else None
                    if part is None:
                        others.add(event.name)
                elif event and part is not None:
                    part.append(bytes(event))
                elif event is None and part is not None:
                    files.append(gather(part))
                    part = None
    except MultipartError as error:
        what = next(iter(error.args), "")  # a second one would be Python's own error
        raise errors.MalformedMultipart(f"the multipart body is broken: {what}") from error
    return Posted(files, len(files) > 1, frozenset(others))


def _events(parser: PushMultipartParser, pieces: list[bytes]) -> Iterator[Any]:
    for piece in pieces:
        if parser.closed:
            return  # what comes after the end does not count (RFC 2046, 5.1.1)
        yield from parser.parse(piece)


def _json(content: bytes, max_images: int) -> Posted:
    if not content:
        return Posted([], many=False)
    document = JsonBody(content)
    members = document.members
    if not isinstance(members, dict):
        raise errors.MalformedJson('the body must be an object: {"image": "BASE64"}')
    # Typed clients write null for what is not set.
    members = {name: value for name, value in members.items() if value is not None}
    if "image" in members and "images" in members:
        raise errors.MalformedJson("the body has `image` and `images`; send one of them")
    others = frozenset(members) - {"image", "images"}
    if "images" in members:
        listed = members["images"]
        if not isinstance(listed, list):
            raise errors.MalformedJson("`images` must be an array of base64 strings")
        _check_count(len(listed), max_images)  # before any of them is decoded
        files = [_base64(document, value, index) for index, value in enumerate(listed)]
        return Posted(files, True, others)
    found = [_base64(document, members["image"], None)] if "image" in members else []
    return Posted(found, False, others)


def _base64(document: JsonBody, value: object, index: int | None) -> bytes:
    where = {} if index is None else {"index": index}
    if not isinstance(value, str):
        raise errors.MalformedBase64("an image must be a base64 string", **where)
    if value.startswith(("http://", "https://")):
        raise errors.MalformedBase64("an image is a URL; URLs are not fetched", **where)
    try:
        return document.base64(value)
    except ValueError as error:
        raise errors.MalformedBase64(f"an image is not base64: {error}", **where) from error

"""A JSON body with large strings, parsed and decoded without keeping the GIL for long.

``json.loads`` of 15 MB keeps it for 25 ms, and a probe would wait for as long. So long strings are
taken out before the rest is parsed, and decoded by a library that releases it.
"""

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pybase64

from app import errors
from app.web.gather import gather

LONG = 256  # bytes of a string that is taken out
MAX_REST = 2 << 20  # bytes of what is left
_PIECE = 1 << 18
_MAX_URL_START = 4096  # bytes of data:image/png;base64,
_ESCAPE = 6  # bytes of the longest one, such as .NET's \u002B for +


class JsonBody:
    """A document whose long strings lie where they came.

    Args:
        content: the body, in UTF-8, UTF-16 or UTF-32.

    Attributes:
        members: what ``json.loads`` returns, but for the long strings: ``base64`` takes those.

    Raises:
        app.errors.MalformedJson: it is not JSON, or too long beside its long strings.
    """

    def __init__(self, content: bytes) -> None:
        self._long: dict[str, tuple[int, int]] = {}
        try:
            encoding = json.detect_encoding(content)
            if not encoding.startswith("utf-8"):
                content = content.decode(encoding).encode()
            self._content = content
            self.members: Any = json.loads(self._without_long_strings())
        except (ValueError, RecursionError) as error:
            words = _words(error, exact=not self._long)
            raise errors.MalformedJson(f"the body is not JSON: {words}") from error

    def base64(self, value: str) -> bytes:
        """Return what a base64 string among the members stands for.

        Line breaks in it, as mail has them, are fine; so is a ``data:`` URL.

        Raises:
            ValueError: it is not base64.
        """
        text = self._text(*self._long[value]) if value in self._long else _packed(value)
        start = bytes(text[:_MAX_URL_START])
        if start.startswith(b"data:"):
            text = text[start.find(b",") + 1 :]
        try:
            # The standard library's takes thirty times as long, and keeps the GIL.
            return pybase64.b64decode(text, validate=True)
        except ValueError as error:
            if len(text) % 4:
                raise ValueError("its length is no multiple of 4") from error
            raise ValueError("it has other characters, or padding before its end") from error

    def _without_long_strings(self) -> bytes:
        mark = secrets.token_hex(8)  # no string of the client's is like it
        rest = bytearray()
        done = 0
        for start, end in _long_strings(self._content):
            name = f"{mark}{len(self._long)}"
            self._long[name] = start, end
            rest += self._content[done:start] + name.encode()
            done = end
        _check_rest(len(rest) + len(self._content) - done)
        return bytes(rest + self._content[done:])

    def _text(self, start: int, end: int) -> bytes | memoryview:
        """Return a long string, unescaped and without line breaks.

        Raises:
            ValueError: a wrong escape, or one for a character that base64 has not.
        """
        if self._content.find(b"\\", start, end) < 0:
            return memoryview(self._content)[start:end]
        return gather(list(self._unescaped(start, end)))

    def _unescaped(self, start: int, end: int) -> Iterator[bytes]:
        while start < end:
            stop = min(end, start + _PIECE)
            if stop < end:  # an escape must not be cut in two
                escape = self._content.rfind(b"\\", stop - _ESCAPE + 1, stop)
                stop = escape if escape > start else stop
            yield _packed(_unescape(self._content[start:stop]))
            start = stop


def _unescape(piece: bytes) -> str:
    try:
        text: str = json.loads(f'"{piece.decode("ascii")}"')
    except UnicodeDecodeError:
        raise ValueError("it has other characters") from None
    except json.JSONDecodeError:
        raise ValueError("it has a wrong escape or a control character") from None
    return text


def _words(error: Exception, *, exact: bool) -> str:
    """Say what is wrong with a document in the client's words.

    Args:
        error: what Python says.
        exact: whether its position is the client's; without the long strings it is another.
    """
    if isinstance(error, json.JSONDecodeError):
        return str(error) if exact else error.msg
    if isinstance(error, UnicodeError):
        return "its text is not in UTF-8, UTF-16 or UTF-32"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return "a number has too many digits"  # the only other thing that json.loads refuses


def _packed(text: str) -> bytes:
    try:
        return b"".join(text.encode("ascii").split())
    except UnicodeEncodeError:
        raise ValueError("it has other characters") from None


def _check_rest(size: int) -> None:
    if size > MAX_REST:
        raise errors.MalformedJson(f"the JSON has over {MAX_REST >> 20} MB beside its images")


def _long_strings(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each long string starts and ends; a hostile document has not many turns here."""
    position = kept = 0
    while start := content.find(b'"', position) + 1:
        end = first = content.find(b'"', start)
        while end > 0 and _is_escaped(content, end):
            _check_rest(kept + end - start)
            end = content.find(b'"', end + 1)
        if end < 0:
            return  # json.loads says what is missing
        is_long = end - start > LONG and end == first  # base64 has no quotes
        kept += (start if is_long else end + 1) - position
        _check_rest(kept)
        if is_long:
            yield start, end
        position = end + 1


def _is_escaped(content: bytes, quote: int) -> bool:
    first = quote
    while content[first - 1] == ord("\\"):
        first -= 1
    return (quote - first) % 2 == 1

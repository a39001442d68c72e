"""How a variable's text becomes a value: parsers with their bounds in words."""

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

# Python reads more than anybody writes: 1_0, the digits of every script, spaces around.
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Kind:
    """How a variable's text becomes a value.

    Args:
        parse: raises ValueError on what is not allowed.
        allowed: the same in words.
    """

    parse: Callable[[str], Any]
    allowed: str


def _bounded(
    form: re.Pattern[str], convert: Callable[[str], float], low: float, high: float
) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not form.fullmatch(text):
            raise ValueError(text)
        value = convert(text)
        if not low <= value <= high:
            raise ValueError(text)
        return value

    return parse


def _range(low: float, high: float) -> str:
    return f"of at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:.12g}"


def integer(low: int, high: float = math.inf) -> Kind:
    """Whole numbers."""
    return Kind(_bounded(_INTEGER, int, low, high), f"a whole number {_range(low, high)}")


def number(low: float, high: float = math.inf) -> Kind:
    """Numbers, fractions included."""
    return Kind(_bounded(_NUMBER, float, low, high), f"a number {_range(low, high)}")


def choice(*options: str) -> Kind:
    """One of a few words, in either case."""
    words = {option.lower(): option for option in options}

    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(text)
        return words[text.lower()]

    return Kind(parse, "one of " + ", ".join(options))


def matching(pattern: str, allowed: str) -> Kind:
    """Text of one form."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(text)
        return text

    return Kind(parse, allowed)


_TRUTHS = dict.fromkeys(("true", "1", "yes", "on"), True)
_TRUTHS |= dict.fromkeys(("false", "0", "no", "off"), False)


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTHS:
        raise ValueError(text)
    return _TRUTHS[text.lower()]


def _url(text: str) -> str:
    parts = urlsplit(text)
    parts.port  # noqa: B018  raises ValueError
    if parts.scheme not in ("http", "https") or not parts.hostname or not text.isprintable():
        raise ValueError(text)
    if " " in text or "@" in parts.netloc or not text.isascii():
        raise ValueError(text)
    parts.hostname.encode("idna")  # as the resolver will: a UnicodeError is a ValueError
    return text


def _sockets_path(text: str) -> str:
    # A Unix socket's path ends at 107 bytes; its name in the directory takes some.
    if not os.path.isabs(text) or "\0" in text or len(os.fsencode(text)) > 80:
        raise ValueError(text)
    return text


FLAG = Kind(_truth, "true or false")
TEXT = matching(r".+", "one line of text")
SOCKETS_PATH = Kind(_sockets_path, "an absolute path of at most 80 bytes")
URL = Kind(_url, "a URL that begins with http:// or https://, without a user")

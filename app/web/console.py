"""The page for people: ``GET /`` in a browser, and the files that the page loads.

The files hold nothing of this server, so they need no token; what the page shows it asks for over
the same HTTP API as every other client. All of it is read once, at the import.
"""

import hashlib
from pathlib import Path

from flask import Blueprint, Request, Response, request
from werkzeug.exceptions import NotFound

blueprint = Blueprint("console", __name__)

PREFIX = "/console/"
_PAGE = "index.html"
_KINDS = {
    ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml",
}  # fmt: skip
_FILES = {
    path.name: path.read_bytes()
    for path in Path(__file__).with_suffix("").iterdir()
    if path.suffix in _KINDS
}
_TAGS = {name: hashlib.sha256(content).hexdigest()[:32] for name, content in _FILES.items()}
_HEADERS = {
    # Asked for again each time and mostly answered with 304: behind a balancer, in an upgrade,
    # names with a version in them would be unknown to half of the servers.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' blob:",
            "connect-src 'self'", "base-uri 'none'", "form-action 'none'",
            "frame-ancestors 'none'", "require-trusted-types-for 'script'",
        )
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}  # fmt: skip


def wants_page(asked: Request) -> bool:
    """Return whether a browser asks for the page, and not a client or a probe for JSON.

    A browser names HTML before everything else, and XHTML beside it. Java's own client names HTML
    too, among images, and curl takes whatever comes: they get JSON.
    """
    quality = {kind.lower(): weight for kind, weight in asked.accept_mimetypes if weight > 0}
    html = quality.get("text/html", 0)
    browser = "application/xhtml+xml" in quality or set(quality) == {"text/html"}
    return bool(browser and html > quality.get("application/json", 0))


def is_open(asked: Request) -> bool:
    """Return whether a GET asks for what reveals nothing: the page, or one of its files."""
    return asked.path.startswith(PREFIX) or (asked.path == "/" and wants_page(asked))


def page() -> Response:
    """Return the page."""
    return _respond(_PAGE)


@blueprint.get(f"{PREFIX}<name>")
def file(name: str) -> Response:
    """Return one of the files that the page loads."""
    if name not in _FILES or name == _PAGE:
        raise NotFound
    return _respond(name)


def _respond(name: str) -> Response:
    response = Response(_FILES[name], mimetype=_KINDS[Path(name).suffix], headers=_HEADERS)
    response.set_etag(_TAGS[name])
    response.make_conditional(request)
    return response

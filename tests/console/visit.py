"""Chromium, driven by playwright, on the page of a server; and what it complained of."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.server import PATIENCE, Client

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--force-device-scale-factor=1",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip


class BrowserMissingError(Exception):
    """A sentence that says what to install."""


def chromium() -> str:
    """Return the path of the browser."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    raise BrowserMissingError(
        "The tests of the page need Chromium, which is not installed here: "
        "`apt-get install --no-install-recommends chromium` brings it."
    )


@contextlib.contextmanager
def browse() -> Iterator["Browser"]:
    """Start Chromium, and end it."""
    program = chromium()
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        raise BrowserMissingError(
            "The tests of the page need playwright: run them by `make test-console`."
        ) from None
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work for root.
        browser = playwright.chromium.launch(
            executable_path=program, args=OPTIONS, chromium_sandbox=os.geteuid() != 0
        )
        yield browser
        browser.close()


class Visit:
    """One page of a server in a browser that remembers nothing of others.

    Attributes:
        page: playwright's.
        complaints: errors on the browser's console, and exceptions that nobody caught.
        asked: every address that was asked for.
        expected: a pattern of complaints that the test provokes.
    """

    def __init__(self, browser: "Browser", server: Client, **context: Any) -> None:
        context = {"locale": "en-GB", "viewport": {"width": 1180, "height": 820}, **context}
        self.origin = f"http://127.0.0.1:{server.port}"
        self.context = browser.new_context(base_url=self.origin, **context)
        self.context.set_default_timeout(1000 * PATIENCE)
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.expected = "never"
        self.page: Page = self.context.new_page()
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._said)

    def _said(self, message: Any) -> None:
        # The tests read pixels back, and for that Chromium has advice.
        if message.type in ("error", "warning") and "willReadFrequently" not in message.text:
            self.complaints.append(message.text)

    def open(self) -> "Visit":
        """Go to the page, and wait for its first news of the server."""
        self.page.goto("/")
        self.page.locator("#state:not(:empty)").wait_for()
        return self

    def choose(self, *files: Path | dict[str, Any]) -> None:
        """Choose files, and wait until each has its answer, or why there is none."""
        cards = self.page.locator("#results > li:has(canvas), #results > li.failed")
        before = cards.count()
        self.page.set_input_files("#files", list(files))
        cards.nth(before + len(files) - 1).wait_for()

    def pixel(self, x: float, y: float) -> tuple[int, ...]:
        """Return the colour at a place of the newest picture, in its own pixels of the screen."""
        return tuple(self.page.evaluate(
            "([x, y]) => [...document.querySelector('canvas').getContext('2d')"
            ".getImageData(x, y, 1, 1).data.slice(0, 3)]",
            [x, y],
        ))  # fmt: skip

    def close(self) -> None:
        """Leave, and see that nothing went wrong and nobody else was asked."""
        self.context.close()
        elsewhere = [url for url in self.asked if not url.startswith((f"{self.origin}/", "blob:"))]
        assert elsewhere == [], "the page works without any other host"
        surprises = [text for text in self.complaints if not re.search(self.expected, text)]
        assert surprises == []

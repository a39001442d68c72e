"""Fixtures that open the page in Chromium."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.console.visit import Visit, browse
from tests.server import Client

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Open = Callable[..., Visit]


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """One Chromium for all tests."""
    with browse() as browser:
        yield browser


@pytest.fixture
def visit(browser: "Browser") -> Iterator[Open]:
    """Open the page of a server; at the end nothing may have been complained of."""
    with ExitStack() as stack:

        def begin(server: Client, **context: Any) -> Visit:
            visit = Visit(browser, server, **context)
            stack.callback(visit.close)
            return visit.open()

        yield begin

"""Fixtures that start the real server and leave nothing of it behind."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.server import Server, serve

Start = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers by their environment; each has a folder of its own."""
    with ExitStack() as stack:

        def begin(**env: object) -> Server:
            folder = tmp_path / f"server-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            return stack.enter_context(serve(folder, **env))

        yield begin


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server as it comes, shared by the tests of a module that do it no harm."""
    with serve(tmp_path_factory.mktemp("mnist")) as server:
        yield server.wait_ready()

"""torchvision's weights are downloaded by torchvision: from a real HTTP server, on this machine."""

import contextlib
import fcntl
import functools
import hashlib
import http.server
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Start
from tests.server import wait_for

MODEL = "tests.stubs.downloaded:SqueezeNet"


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and writes no log."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The address of a weights file, named by its hash as torchvision's are."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    script = (
        "import torch\nfrom torchvision.models import get_model\n"
        f"torch.save(get_model('squeezenet1_1').state_dict(), {str(folder / 'new')!r})"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    digest = hashlib.sha256((folder / "new").read_bytes()).hexdigest()
    name = f"squeezenet1_1-{digest[:8]}.pth"
    (folder / "new").rename(folder / name)
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/{name}"
        finally:
            server.shutdown()


@contextlib.contextmanager
def terminal(columns: int = 80) -> Iterator[tuple[int, bytearray]]:
    """Open a terminal: what a process opens as its own, and what has been shown on it so far."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    shown = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # nobody has it open any more
            while chunk := os.read(ours, 65536):
                shown.extend(chunk)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield theirs, shown
    finally:
        os.close(theirs)


def test_a_download_shows_its_progress_bar_on_a_terminal_and_lands_in_the_cache(
    start: Start, url: str, tmp_path: Path
) -> None:
    with terminal() as (screen, shown):
        server = start(output=screen, LOG_FORMAT="text", MODEL=MODEL, DOWNLOAD_URL=url,
                       TORCH_HOME=tmp_path / "torch")  # fmt: skip
        server.wait_ready()
        bar = rb"\r *100%\|.{10,}\| 4\.7\dM/4\.7\dM \["
        wait_for(lambda: re.search(bar, shown), "a whole bar on the terminal")
        name = url.rpartition("/")[2]
        assert (tmp_path / "torch/hub/checkpoints" / name).exists()
        version = server.get("/status").json()["version"]
        assert name == f"squeezenet1_1-{version[:8]}.pth"


def test_a_download_writes_nothing_but_log_lines_into_a_log(
    start: Start, url: str, tmp_path: Path
) -> None:
    server = start(MODEL=MODEL, DOWNLOAD_URL=url, TORCH_HOME=tmp_path / "torch").wait_ready()
    assert (tmp_path / "torch/hub/checkpoints" / url.rpartition("/")[2]).exists()
    assert "%|" not in server.log.read_text()
    assert server.events("ready"), "every line is JSON"

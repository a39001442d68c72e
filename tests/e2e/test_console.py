"""Who gets the page at `/` and who does not, and what guards it. In a browser: tests/console."""

import re
from collections.abc import Iterator

import pytest

from app.web.console import PREFIX
from tests.conftest import Start
from tests.server import ROOT, Reply, Server, serve

ALIVE = b'{"name": "unbroken", "model": "mnist", "status": "alive"}'
CHROME = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;"
    "q=0.8,application/signed-exchange;v=b3;q=0.7"
)
BROWSERS = [
    CHROME,
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",  # Firefox, Safari
    "text/html",
]
CLIENTS = [
    None,  # PAI-EAS, Go
    "*/*",  # curl, kube-probe
    "application/json",
    "application/json, text/plain, */*",
    "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",  # Java
    "application/json, text/html;q=0.5, application/xhtml+xml;q=0.5",
    "text/html, application/xhtml+xml, application/json",  # one as good as the other
    "text/html;q=0",
    "nonsense;q=x,,",
    "",
]
FILES = sorted(path.name for path in (ROOT / "app/web/console").iterdir())


@pytest.fixture(scope="module")
def off(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without the page."""
    with serve(tmp_path_factory.mktemp("off"), CONSOLE="off") as server:
        yield server.wait_ready()


def get(server: Server, accept: str | None, path: str = "/", **headers: str) -> Reply:
    """GET with that Accept, or with none."""
    return server.get(path, **({} if accept is None else {"Accept": accept}), **headers)


@pytest.mark.parametrize("accept", BROWSERS)
def test_a_browser_gets_the_page(mnist: Server, accept: str) -> None:
    reply = get(mnist, accept)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert reply.body == (ROOT / "app/web/console/index.html").read_bytes()


@pytest.mark.parametrize("accept", CLIENTS)
def test_a_client_and_a_platform_get_the_very_same_json_as_without_a_page(
    mnist: Server, off: Server, accept: str | None
) -> None:
    for server in (mnist, off):
        reply = get(server, accept)
        assert (reply.status, reply.body) == (200, ALIVE)
        assert set(reply.headers) == {
            "Server", "Date", "Connection", "Content-Type", "Content-Length", "X-Request-Id",
        }  # fmt: skip
        assert reply.headers["Content-Type"] == "application/json"


def test_console_off_removes_the_page_and_its_files(off: Server) -> None:
    assert get(off, CHROME).body == ALIVE
    for name in FILES:
        assert off.get(PREFIX + name).json()["error"]["code"] == "not_found"


def test_no_script_from_elsewhere_can_run_and_nobody_can_frame_it(mnist: Server) -> None:
    files = [mnist.get(PREFIX + name) for name in FILES if name != "index.html"]
    for reply in (get(mnist, CHROME), *files):
        policy = dict(
            part.split(" ", 1) for part in reply.headers["Content-Security-Policy"].split("; ")
        )
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        assert {policy[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
        assert "unsafe" not in reply.headers["Content-Security-Policy"]
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["X-Frame-Options"] == "DENY"
        assert reply.headers["Referrer-Policy"] == "no-referrer"


def test_every_file_is_served_with_its_type_and_names_nothing_outside(mnist: Server) -> None:
    types = {
        "js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8",
        "svg": "image/svg+xml",
    }  # fmt: skip
    for name in FILES:
        content = (ROOT / "app/web/console" / name).read_bytes()
        links = set(re.findall(rb"https?://[\w./]+", content))
        assert links <= {b"http://www.w3.org/2000/svg"}, "it must work offline"
        if name != "index.html":
            reply = mnist.get(PREFIX + name)
            assert (reply.status, reply.body) == (200, content)
            assert reply.headers["Content-Type"].startswith(types[name.rpartition(".")[2]])


@pytest.mark.parametrize("path", ["/", f"{PREFIX}main.js"])
def test_what_a_browser_has_is_not_sent_again(mnist: Server, path: str) -> None:
    first = get(mnist, CHROME, path)
    assert first.headers["Cache-Control"] == "no-cache"
    assert first.headers["Vary"] == "Accept"
    again = get(mnist, CHROME, path, If_None_Match=first.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    changed = get(mnist, CHROME, path, If_None_Match='"another"')
    assert (changed.status, changed.body) == (200, first.body)


@pytest.mark.parametrize(
    "name", ["index.html", "", "nothing.js", "../console.py", "..%2fconsole.py", "__init__.py"]
)
def test_nothing_else_can_be_read_there(mnist: Server, name: str) -> None:
    assert mnist.get(PREFIX + name).json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("path", ["/", f"{PREFIX}main.js"])
def test_the_page_can_be_asked_for_by_head_and_its_files_take_nothing_else(
    mnist: Server, path: str
) -> None:
    reply = mnist.request("HEAD", path, Accept=CHROME)
    assert (reply.status, reply.body) == (200, b"")
    assert int(reply.headers["Content-Length"]) > 0
    for method in ("POST", "PUT", "DELETE"):
        refused = mnist.request(method, f"{PREFIX}main.js", b"")
        assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


def test_with_a_token_the_page_is_open_and_what_it_asks_for_is_not(start: Start) -> None:
    server = start(AUTH_TOKEN="hush", MODEL="tests.stubs.models:Echo").wait_ready()
    page = get(server, CHROME)
    assert page.body == (ROOT / "app/web/console/index.html").read_bytes(), "it knows no secret"
    assert server.get(f"{PREFIX}main.js").status == 200
    for path, accept in (("/", "*/*"), ("/", None), ("/status", CHROME)):
        assert get(server, accept, path).status == 401
    assert server.request("POST", "/", b"x", Accept=CHROME).status == 401
    assert server.request("POST", f"{PREFIX}main.js", b"").status == 401


def test_the_files_are_logged_as_quietly_as_probes(mnist: Server) -> None:
    mnist.get(f"{PREFIX}main.js")
    mnist.get("/status", X_Request_Id="after")
    logged = [line["path"] for line in mnist.events("request")]
    assert "/status" in logged
    assert not any(path.startswith(PREFIX) for path in logged)

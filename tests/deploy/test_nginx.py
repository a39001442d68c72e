"""deploy/nginx/unbroken.conf fits the server; real nginx reads it in the proof (make rollout)."""

import re

import pytest

from app.settings import Settings
from rollout.nginx import SHIPPED, fill
from tests.deploy.manifests import routes

TEXT = SHIPPED.read_text()
SETTINGS = Settings.read({})


def value(directive: str) -> str:
    """Return what a directive, which stands there once, says."""
    [found] = re.findall(rf"^\s*{directive} ([^;]+);", TEXT, re.MULTILINE)
    return str(found)


def seconds(directive: str) -> int:
    """Return a time in seconds."""
    match = re.fullmatch(r"(\d+)s", value(directive))
    assert match, directive
    return int(match[1])


def test_nginx_is_the_first_to_close_an_idle_connection() -> None:
    assert int(value("keepalive")) > 0
    assert seconds("keepalive_timeout") < SETTINGS.keepalive_seconds
    assert value("proxy_http_version") == "1.1"
    assert value("proxy_set_header Connection") == '""'


def test_nginx_takes_as_much_and_waits_longer_than_the_server() -> None:
    assert value("client_max_body_size") == f"{SETTINGS.max_body_mb}m"
    assert seconds("proxy_read_timeout") > SETTINGS.request_timeout_seconds
    assert seconds("proxy_connect_timeout") > 1  # after which a closing port refuses


def test_no_request_that_was_sent_goes_out_twice() -> None:
    assert value("proxy_next_upstream") == "error timeout"  # without non_idempotent


def test_the_queue_is_what_the_instances_admit() -> None:
    instances = len(re.findall(r"^    server \S+ max_fails=0;", TEXT, re.MULTILINE))

    assert instances == 2
    assert value("limit_conn") == f"unbroken_queue {instances * SETTINGS.max_concurrent_requests}"


HIDDEN = ["/admin/reload", "/status", "/metrics", "/deep-health"]


@pytest.mark.parametrize("path", HIDDEN)
def test_what_is_not_for_the_world_is_kept_from_it(path: str) -> None:
    [(expression, answer)] = re.findall(r"location ~ (\S+) \{ (.*) \}", TEXT)
    assert path in {rule for rule, _ in routes()}
    assert answer == "return 404;"
    for spelt in (path, f"{path}/"):  # the server takes both
        assert re.search(expression, spelt)


def test_every_other_route_is_passed_on() -> None:
    [expression] = re.findall(r"location ~ (\S+)", TEXT)
    hidden = {rule for rule, _ in routes() if re.search(expression, rule)}
    assert hidden == set(HIDDEN)


def test_the_proof_runs_with_the_shipped_file() -> None:
    lines = fill(TEXT, 9000, [9001, 9002, 9003]).splitlines()
    shipped = TEXT.splitlines()

    assert set(shipped) - set(lines) == {
        "    server 127.0.0.1:8080 max_fails=0;", "    server 127.0.0.1:8081 max_fails=0;",
        "    listen 80;", "        proxy_next_upstream error timeout;",
    }  # fmt: skip
    assert set(lines) - set(shipped) == {
        *(f"    server 127.0.0.1:{port} max_fails=0;" for port in (9001, 9002, 9003)),
        "    listen 127.0.0.1:9000 backlog=1024;", "        proxy_next_upstream off;",
    }  # fmt: skip


@pytest.mark.parametrize(
    "line", ["listen 80;", "proxy_next_upstream error timeout;", " max_fails=0;"]
)
def test_the_proof_refuses_a_file_that_it_cannot_fill(line: str) -> None:
    with pytest.raises(AssertionError, match="the proof needs it once"):
        fill(TEXT.replace(line, ""), 9000, [9001])

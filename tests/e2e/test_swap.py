"""The model is exchanged while requests flow: nothing is lost, and no answer comes from two."""

import base64
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Start
from tests.server import Load, Reply, Server, png, wait_for
from tests.stubs.models import MARK

TOKEN = {"Authorization": "Bearer secret"}
VERSIONED: dict[str, Any] = {"MODEL": "tests.stubs.models:Versioned"}
Serve = Callable[..., Server]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    path.write_text("v0")
    return path


@pytest.fixture
def versioned(start: Start, weights: Path) -> Serve:
    """Start a server whose model answers with what its weights file says."""

    def begin(**env: object) -> Server:
        server = start(MODEL_PATH=weights, AUTH_TOKEN="secret", **{**VERSIONED, **env})
        return server.wait_ready()

    return begin


def reload(server: Server, query: str = "") -> Reply:
    """Ask for the exchange, as its owner."""
    return server.request("POST", f"/admin/reload{query}", **TOKEN)


def ask(server: Server) -> Reply:
    """Post an image, as the owner."""
    return server.request("POST", "/predict", png(), Content_Type="image/png", **TOKEN)


def ask_many(server: Server, count: int) -> Reply:
    """Post many images in one request."""
    body = json.dumps({"images": [base64.b64encode(png()).decode()] * count}).encode()
    return server.request("POST", "/predict", body, Content_Type="application/json", **TOKEN)


def last_swap(server: Server) -> dict[str, Any]:
    """Return what /status tells of the last exchange, once none is running."""
    swap = server.request("GET", "/status", **TOKEN).json()["swap"]
    return {"version": ""} if swap["running"] or not swap["last"] else swap["last"]


def code_of(reply: Reply) -> tuple[int, str]:
    """Return status and error code."""
    return reply.status, reply.json()["error"]["code"]


@pytest.mark.parametrize("how", ["beside", "replace"])
def test_swaps_under_load_lose_nothing_and_mix_nothing(
    versioned: Serve, weights: Path, how: str
) -> None:
    server = versioned(SWAP=how, ENGINES=2, MAX_BATCH=4)
    seen: list[Reply] = []
    go_on = True

    def many() -> None:
        while go_on:
            seen.append(ask_many(server, 6))

    threads = [threading.Thread(target=many) for _ in range(2)]
    for thread in threads:
        thread.start()
    with Load(server, clients=4, headers=TOKEN) as load:
        for number in range(1, 6):
            load.wait_answers(10)
            weights.write_text(f"v{number}{' large' if number % 2 else ''}")
            reply = reload(server)
            assert (reply.status, reply.json()["version"]) == (200, weights.read_text())
            assert ask(server).json() == {"version": weights.read_text()}
            wait_for(lambda: last_swap(server)["version"] == weights.read_text(), "the end of it")
        load.wait_answers(10)
    go_on = False
    for thread in threads:
        thread.join()
    assert load.failures == []
    for reply in seen:
        assert reply.status == 200, reply.body
        assert set(reply.json()["version"]) == {reply.headers["X-Model-Version"]}
    versions = {reply.headers["X-Model-Version"] for reply in load.answers}
    assert versions == {"v0", "v1 large", "v2", "v3 large", "v4", "v5 large"}


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("bad", "made of cheese"),
        ("exits", "exit code 4"),
        ("fails", "the model raised RuntimeError"),
        (None, "No such file"),
    ],
)
@pytest.mark.parametrize("how", ["beside", "replace"])
def test_where_the_new_model_cannot_serve_the_old_one_serves_on(
    versioned: Serve, weights: Path, content: str | None, cause: str, how: str
) -> None:
    server = versioned(SWAP=how)
    # As a careful deployment does it: another file under the same name.
    weights.unlink()
    if content:
        weights.write_text(content)
    with Load(server, clients=4, headers=TOKEN) as load:
        load.wait_answers(8)
        reply = reload(server)
        load.wait_answers(8)
    assert code_of(reply) == (409, "reload_failed")
    assert cause in reply.json()["error"]["message"]
    assert load.failures == []
    assert {reply.headers["X-Model-Version"] for reply in load.answers} == {"v0"}
    status = server.request("GET", "/status", **TOKEN).json()
    assert cause in status["swap"]["last"]["cause"]
    assert server.healthy()


def test_one_at_a_time_and_none_while_draining(versioned: Serve, weights: Path) -> None:
    server = versioned(DRAIN_SECONDS=60)
    weights.write_text("v1 slow")
    replies: list[Reply] = []
    first = threading.Thread(target=lambda: replies.append(reload(server)))
    first.start()
    wait_for(lambda: server.events("swap_started"), "the exchange to begin")
    assert code_of(reload(server)) == (409, "reload_in_progress")
    assert code_of(reload(server, "?wait=false")) == (409, "reload_in_progress")
    assert code_of(reload(server, "?wait=maybe")) == (400, "invalid_parameter")
    assert code_of(reload(server, "?watt=false")) == (400, "invalid_parameter")
    assert code_of(reload(server, "?wait=false&wait=true")) == (400, "invalid_parameter")
    server.signal(signal.SIGTERM)
    first.join()
    assert code_of(replies[0]) == (409, "draining")
    assert code_of(reload(server)) == (409, "draining")
    assert ask(server).json() == {"version": "v0"}
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    wait_for(lambda: not server.processes(), "every process of ours to be gone")


def test_it_need_not_be_waited_for(versioned: Serve, weights: Path) -> None:
    server = versioned()
    for version in ("v1", "v2"):
        weights.write_text(version)
        assert reload(server, "?wait=false").status == 202
        wait_for(lambda: last_swap(server)["version"] == version, "the exchange")  # noqa: B023
        assert ask(server).json() == {"version": version}


def test_sighup_exchanges_the_model_as_well(versioned: Serve, weights: Path) -> None:
    server = versioned()
    weights.write_text("v1")
    server.signal(signal.SIGHUP)
    wait_for(lambda: ask(server).json() == {"version": "v1"}, "the new model")


def test_a_model_that_was_never_ready_is_mended_by_a_reload(start: Start, weights: Path) -> None:
    weights.write_text("bad")
    server = start(MODEL_PATH=weights, AUTH_TOKEN="secret", **VERSIONED)
    wait_for(lambda: server.events("engine_gone"), "a load that fails")
    weights.write_text("v1")
    wait_for(server.healthy, "the mended file to be found without a restart")
    assert ask(server).json() == {"version": "v1"}


def test_only_the_owner_may(start: Start, versioned: Serve) -> None:
    assert versioned().request("POST", "/admin/reload").status == 401
    without = start(**VERSIONED, MODEL_PATH=__file__.replace(".py", ".pth"))
    wait_for(lambda: without.events("load_failed"), "the server")
    assert code_of(wait_for(lambda: _try(without), "an answer")) == (403, "forbidden")


def _try(server: Server) -> Reply | None:
    try:
        return server.request("POST", "/admin/reload")
    except OSError:
        return None


def test_an_engine_killed_in_an_exchange_costs_nothing(versioned: Serve, weights: Path) -> None:
    server = versioned()
    old = server.request("GET", "/status", **TOKEN).json()["engines"][0]["pid"]
    weights.unlink()
    weights.write_text("v1 slow large")
    with Load(server, clients=4, headers=TOKEN) as load:
        thread = threading.Thread(target=reload, args=(server,))
        thread.start()
        wait_for(lambda: server.events("swap_started"), "the exchange to begin")
        os.kill(old, signal.SIGKILL)
        thread.join()
        load.wait_answers(20)
    assert load.failures == []
    assert load.answers[-1].json() == {"version": "v1 slow large"}
    assert server.request("GET", "/status", **TOKEN).json()["version"] == "v1 slow large"


def test_sigterm_in_an_exchange_is_orderly(versioned: Serve, weights: Path) -> None:
    server = versioned(DRAIN_SECONDS=0)
    weights.write_text("v1 slow")
    with Load(server, clients=4, headers=TOKEN) as load:
        load.wait_answers(4)
        reload(server, "?wait=false")
        wait_for(lambda: server.events("swap_started"), "the exchange to begin")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert load.failures == []
    wait_for(lambda: not server.processes(), "every process of ours to be gone")


@pytest.mark.parametrize("how", ["beside", "replace"])
def test_an_engine_that_has_grown_too_large_is_exchanged_without_loss(
    start: Start, how: str
) -> None:
    server = start(MODEL="tests.stubs.models:Grows", MAX_ENGINE_MEMORY_MB=50, SWAP=how).wait_ready()
    before = server.engines()
    wait_for(lambda: server.get("/status").json()["engines"][0]["memory_mb"] > 50, "its size")
    with Load(server, clients=4) as load:
        load.wait_answers(8)
        assert server.events("engine_too_large") == [], "being large is no reason"
        assert server.post(png(MARK)).status == 200
        wait_for(lambda: server.events("swap_done"), "the exchange")
        load.wait_answers(8)
    assert load.failures == []
    assert server.engines() != before
    assert server.events("swap_done")[0]["seconds"] < 15, "nobody was waited for in vain"


@pytest.mark.parametrize("model", ["OnlyOne", "OnlyOneRuns"])
def test_where_memory_holds_one_model_the_old_one_makes_room(
    start: Start, tmp_path: Path, model: str
) -> None:
    server = start(
        MODEL=f"tests.stubs.models:{model}", GATE=tmp_path / "device", AUTH_TOKEN="secret"
    ).wait_ready()
    with Load(server, clients=4, headers=TOKEN) as load:
        load.wait_answers(8)
        assert reload(server).status == 200
        load.wait_answers(8)
    assert load.failures == []
    assert len(server.events("swap_in_place")) == 1


def test_health_stays_true_through_an_exchange(versioned: Serve, weights: Path) -> None:
    server = versioned()
    verdicts: list[bool] = []
    go_on = True

    def watch() -> None:
        while go_on:
            verdicts.append(server.healthy())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(1, 6):
        weights.write_text(f"v{number}")
        assert reload(server).status == 200
    go_on = False
    watcher.join()
    assert len(verdicts) > 50
    assert all(verdicts)


def test_a_stop_while_the_only_engine_is_the_new_one_loses_nothing(
    versioned: Serve, weights: Path
) -> None:
    server = versioned(SWAP="replace", DRAIN_SECONDS=6)
    weights.write_text("v1 slow")
    with Load(server, clients=4, headers=TOKEN) as load:
        load.wait_answers(4)
        reload(server, "?wait=false")
        wait_for(lambda: server.events("engine_gone"), "the old one to leave")
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert load.failures == []
    assert load.answers[-1].json() == {"version": "v1 slow"}

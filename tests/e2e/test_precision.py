"""Half precision is tried once for the weights that serve, not by every engine that loads them."""

import os
import signal

from tests.conftest import Start
from tests.metrics import Scrape
from tests.server import Server, wait_for

TOKEN = {"Authorization": "Bearer secret"}


def trials(server: Server) -> list[str]:
    """Return what the trials have come to."""
    return [line["chosen"] for line in server.events("precision")]


def test_a_successor_takes_over_what_was_chosen_and_only_a_reload_chooses_anew(
    start: Start,
) -> None:
    server = start(MODEL="tests.stubs.halved:Halved", AUTH_TOKEN="secret").wait_ready()
    assert trials(server) == ["bfloat16"]
    status = server.get("/status", **TOKEN).json()
    [first] = [engine["pid"] for engine in status["engines"]]
    os.kill(first, signal.SIGKILL)
    wait_for(
        lambda: [1 for line in server.events("stage") if line["stage"] == "ready"][1:],
        "the successor",
    )
    wait_for(lambda: Scrape(server)("model_info", precision="bfloat16") == 1, "what it computes in")
    assert trials(server) == ["bfloat16"]
    assert server.request("POST", "/admin/reload", **TOKEN).status == 200
    assert trials(server) == ["bfloat16"] * 2

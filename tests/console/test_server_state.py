"""What the page tells of the server: its health, its end, its token."""

import os
import signal

import pytest

from tests.conftest import Start
from tests.console.conftest import Open
from tests.server import ROOT, Server, wait_for

pytestmark = pytest.mark.console

SEVEN = ROOT / "docs/images/seven.jpg"


def test_the_panel_tells_health_work_batches_and_memory(mnist: Server, visit: Open) -> None:
    opened = visit(mnist)
    panel = opened.page.locator("aside")
    assert panel.locator("#state").inner_text() == "Ready"
    assert "healthy: model, can answer" in panel.locator("#checks li").all_inner_texts()
    assert panel.locator(".engines dd").inner_text() == "1 ready"
    assert panel.locator(".admitted dd").inner_text() == "0 of 256"
    assert "GiB of the host’s memory" in panel.locator("#memory").inner_text()
    opened.choose(SEVEN, SEVEN)
    panel.locator("#batches .bar").first.wait_for()


def test_an_engine_that_is_gone_is_told_and_so_is_its_replacement(
    start: Start, visit: Open
) -> None:
    server = start(MODEL="tests.stubs.models:Echo").wait_ready()
    opened = visit(server)
    [engine] = server.engines()
    os.kill(engine, signal.SIGKILL)
    opened.page.locator("#errors li", has_text="engine replaced (signal): 1, last at").wait_for()
    opened.page.locator("#state.good").wait_for()


def test_the_banner_comes_with_the_drain_and_changes_with_the_end(
    start: Start, visit: Open
) -> None:
    server = start(MODEL="tests.stubs.models:Echo", DRAIN_SECONDS=60).wait_ready()
    opened = visit(server)
    opened.expected = "503|ERR_"
    banner = opened.page.get_by_role("alert").first
    assert banner.inner_text() == ""
    server.signal(signal.SIGTERM)
    opened.page.locator("#banner", has_text="shutting down").wait_for()
    assert opened.page.locator("#state").inner_text() == "Leaving"
    opened.choose(SEVEN)  # it serves on
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    opened.page.locator("#banner", has_text="does not answer").wait_for()
    assert opened.page.locator("#state").inner_text() == "No answer"
    opened.choose(SEVEN)
    assert opened.page.locator(".failed .reason").inner_text() == "The server cannot be reached."


def test_a_pause_stops_the_questions(mnist: Server, visit: Open) -> None:
    opened = visit(mnist)

    def scrapes() -> int:
        opened.page.evaluate("0")  # lets the browser tell what it has asked
        return sum(url.endswith("/metrics") for url in opened.asked)

    def pass_time() -> None:
        opened.page.clock.run_for(3000)
        opened.page.evaluate("fetch('metrics?mine')")  # as long as a look of the page's own takes

    opened.page.clock.install()
    opened.page.reload()
    wait_for(lambda: pass_time() or scrapes() > 3, "looks")
    pause = opened.page.get_by_role("button", name="Pause")
    pause.click()
    asked = scrapes()
    for _ in range(10):
        pass_time()
    assert scrapes() <= asked + 1, "what was on its way"
    pause.click()
    wait_for(lambda: pass_time() or scrapes() > asked + 1, "the next look")


def test_the_token_is_asked_for_when_needed_and_kept_in_memory_only(
    start: Start, visit: Open
) -> None:
    server = start(AUTH_TOKEN="hush", MODEL="tests.stubs.models:Echo").wait_ready()
    opened = visit(server)
    opened.expected = "401"
    page = opened.page
    assert page.locator("#state").inner_text() == "Ready", "health needs no token"
    dialog = page.get_by_role("dialog", name="This server asks for its token")
    page.set_input_files("#files", [SEVEN])
    dialog.wait_for()
    page.keyboard.press("Escape")
    page.locator(".failed").wait_for()
    assert page.locator(".failed .reason").inner_text() == "The token is missing or wrong."

    page.set_input_files("#files", [SEVEN, SEVEN])
    for wrong in ("loud", "лишний"):
        dialog.get_by_label("Token").fill(wrong)
        page.keyboard.press("Enter")
        dialog.get_by_text("The server did not accept that token.").wait_for()
    dialog.get_by_label("Token").fill("hush")
    page.keyboard.press("Enter")
    page.locator("canvas").nth(1).wait_for()
    assert not dialog.is_visible()
    page.set_input_files("#files", [SEVEN])
    page.locator("canvas").nth(2).wait_for()

    kept = page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
    assert "hush" not in " ".join([kept, page.content(), page.url, *opened.asked])
    page.reload()
    page.set_input_files("#files", [SEVEN])
    dialog.wait_for()
    assert dialog.get_by_label("Token").input_value() == ""

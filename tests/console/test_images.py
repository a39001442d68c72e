"""Images in, answers drawn and told."""

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.console.conftest import Open
from tests.server import ROOT, Server, png

pytestmark = pytest.mark.console

SEVEN = ROOT / "docs/images/seven.jpg"
THREE = ROOT / "docs/images/three-photo.jpg"
BADGE = (11, 87, 208)


def test_a_chosen_image_gets_its_digit_drawn_and_told_with_timings_and_version(
    mnist: Server, visit: Open
) -> None:
    opened = visit(mnist)
    opened.choose(SEVEN)
    page = opened.page
    assert page.locator(".summary").inner_text() == "the digit 7"
    assert opened.pixel(3, 3) == BADGE
    white = sum(opened.pixel(x, y) == (255, 255, 255) for x in range(0, 60, 2) for y in (20, 35))
    assert white > 0, "the digit on its patch"
    for hop in ("decode", "queue", "inference", "whole"):
        milliseconds, unit = page.locator(f"dd.{hop}").inner_text().split()
        assert (float(milliseconds) >= 0, unit) == (True, "ms")
    version = mnist.get("/status").json()["version"]
    assert page.locator("dd.version").inner_text() == version
    assert page.locator("#model").inner_text() == f"mnist · {version} · cpu"
    request_id = page.locator("dd.request").inner_text()
    assert request_id in {line["request_id"] for line in mnist.events("request")}
    page.get_by_text("The answer as JSON").click()
    assert page.locator("pre").inner_text() == '{\n "mnist_result": 7\n}'


def test_many_images_each_get_their_answer_the_newest_first(mnist: Server, visit: Open) -> None:
    opened = visit(mnist)
    opened.choose(SEVEN, THREE, SEVEN)
    opened.choose(THREE)
    digits = opened.page.locator(".summary").all_inner_texts()
    assert digits == [f"the digit {digit}" for digit in (3, 7, 3, 7)]


def _files(*paths: Path) -> list[list[str]]:
    return [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in paths]


def test_images_dropped_anywhere_on_the_page_are_answered(mnist: Server, visit: Open) -> None:
    opened = visit(mnist)
    transfer = opened.page.evaluate_handle(
        """files => {
            const transfer = new DataTransfer();
            for (const [name, content] of files) {
                const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
                transfer.items.add(new File([bytes], name));
            }
            return transfer;
        }""",
        _files(SEVEN, THREE),
    )
    opened.page.dispatch_event("aside", "drop", {"dataTransfer": transfer})
    opened.page.locator("canvas").nth(1).wait_for()
    assert sorted(opened.page.locator("h3:visible", has_text=".jpg").all_inner_texts()) == [
        "seven.jpg", "three-photo.jpg",
    ]  # fmt: skip


def test_a_drop_without_a_file_is_told_and_does_not_leave_the_page(
    mnist: Server, visit: Open
) -> None:
    opened = visit(mnist)
    for event in ("dragover", "drop"):
        went_on = opened.page.evaluate(
            """event => document.querySelector("main").dispatchEvent(new DragEvent(event, {
                bubbles: true, cancelable: true, dataTransfer: new DataTransfer(),
            }))""",
            event,
        )
        assert not went_on, "or the browser would open what was dropped"
    opened.page.locator("#said", has_text="There was no image file in that.").wait_for(
        state="attached"
    )


def test_an_image_pasted_from_the_clipboard_is_answered(mnist: Server, visit: Open) -> None:
    opened = visit(mnist, permissions=["clipboard-read", "clipboard-write"])
    content = base64.b64encode(_as_png(SEVEN)).decode()
    opened.page.evaluate(
        """content => {
            const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
            const blob = new Blob([bytes], { type: "image/png" });
            return navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
        }""",
        content,
    )
    opened.page.keyboard.press("Control+V")
    opened.page.locator("canvas").wait_for()
    assert opened.page.locator(".summary").inner_text() == "the digit 7"


def _as_png(path: Path) -> bytes:
    buffer = io.BytesIO()
    Image.open(path).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_photo_is_drawn_upright_as_the_model_sees_it(mnist: Server, visit: Open) -> None:
    picture = Image.new("RGB", (400, 300), (0, 0, 255))
    picture.paste((255, 0, 0), (0, 0, 400, 150))  # red above blue
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned clockwise: red comes to the right
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", exif=exif)
    opened = visit(mnist)
    opened.choose(_file("turned.png", buffer.getvalue()))
    assert opened.page.locator("canvas").evaluate("c => [c.width, c.height]") == [300, 400]
    assert (opened.pixel(290, 200), opened.pixel(10, 200)) == ((255, 0, 0), (0, 0, 255))


def test_what_the_browser_cannot_show_is_answered_all_the_same(mnist: Server, visit: Open) -> None:
    buffer = io.BytesIO()
    Image.open(SEVEN).save(buffer, "TIFF")
    opened = visit(mnist)
    opened.choose(_file("seven.tiff", buffer.getvalue()))
    assert opened.page.locator(".summary").inner_text() == "the digit 7"
    assert "cannot show this format" in opened.page.locator("figcaption").inner_text()


def test_a_file_that_is_no_image_is_told_as_the_server_tells_it(mnist: Server, visit: Open) -> None:
    opened = visit(mnist)
    opened.expected = "422"
    opened.choose(ROOT / "run.sh", SEVEN)
    card = opened.page.locator(".failed")
    assert "no image that the server can read" in card.locator(".reason").inner_text()
    assert card.locator(".quiet").inner_text().startswith("image_unreadable · The bytes are no")
    assert opened.page.locator(".summary").inner_text() == "the digit 7", "the other is answered"
    opened.page.locator("#errors li", has_text="image_unreadable: 1, last at").wait_for()


def test_a_name_is_text_and_nothing_else(mnist: Server, visit: Open) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    opened = visit(mnist)
    opened.choose(_file(name, png()))
    assert opened.page.locator(".card h3").inner_text() == name
    assert opened.page.locator("img").count() == 0


def _file(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}

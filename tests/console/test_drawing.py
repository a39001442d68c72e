"""Every form of answer, drawn where it belongs. The models are tests/stubs/answers.py."""

import io
import json
from typing import Any

import pytest
from PIL import Image

from tests.conftest import Start
from tests.console.conftest import Open
from tests.console.visit import Visit
from tests.server import Server
from tests.stubs.answers import SIZE

pytestmark = pytest.mark.console

GREY = (100, 100, 100)


def picture(size: tuple[int, int] = SIZE) -> dict[str, Any]:
    """Return a grey picture of the size that the stubs answer for."""
    buffer = io.BytesIO()
    Image.new("RGB", size, GREY).save(buffer, "PNG")
    return {"name": "grey.png", "mimeType": "image/png", "buffer": buffer.getvalue()}


def serve(start: Start, name: str) -> Server:
    """Start a server with one of the stubs."""
    return start(MODEL=f"tests.stubs.answers:{name}").wait_ready()


def colour(opened: Visit, class_id: int) -> tuple[int, ...]:
    """Return the colour that the page gives a class."""
    module = "import('/console/colours.js')"
    return tuple(opened.page.evaluate(f"id => {module}.then((m) => m.colourOf(id))", class_id))


def test_the_likeliest_classes_are_told_with_bars(start: Start, visit: Open) -> None:
    opened = visit(serve(start, "Predictions"))
    opened.choose(picture())
    assert opened.page.locator(".summary").inner_text() == "tiger cat, 40.0 %"
    rows = opened.page.locator(".rows li")
    assert [text.split("\n")[0] for text in rows.all_inner_texts()] == [
        "tiger cat", "Egyptian cat", "tabby", "lynx", "plastic bag",
    ]  # fmt: skip
    bars = rows.locator(".filled").evaluate_all("bars => bars.map((bar) => bar.style.inlineSize)")
    assert bars == ["40%", "36%", "17%", "2%", "1%"]


def test_boxes_masks_keypoints_and_polygons_lie_where_the_model_says(
    start: Start, visit: Open
) -> None:
    opened = visit(serve(start, "Regions"))
    opened.choose(picture())
    cat, person, title = (colour(opened, class_id) for class_id in (1, 2, 3))
    assert opened.pixel(40, 200) == cat, "the box's edge"
    inside, outside = opened.pixel(100, 150), opened.pixel(45, 230)
    assert inside != GREY, "the mask"
    assert outside == GREY, "in the box, beside the mask"
    assert opened.pixel(240, 60) == (255, 255, 255), "a keypoint"
    assert opened.pixel(240, 110) == person, "the line from shoulder to shoulder"
    assert opened.pixel(240, 200) == GREY
    assert opened.pixel(320, 50) == title, "the polygon's edge"
    assert opened.pixel(321, 24) == title, "its name on its colour"


def test_regions_are_told_in_reading_order_where_there_is_one(start: Start, visit: Open) -> None:
    opened = visit(serve(start, "Regions"))
    opened.choose(picture())
    assert opened.page.locator(".summary").inner_text() == "4 regions"
    rows = [row.replace("\n", " ") for row in opened.page.locator(".rows li").all_inner_texts()]
    assert rows == [
        "cat 91.0 % from 40, 60 to 160, 240",
        "person 88.0 % from 200, 20 to 280, 280 3 keypoints",
        "No. 1 title 70.0 % from 320, 20 to 390, 60",
        "No. 2 text 80.0 % from 300, 160 to 390, 200",
    ]


def test_a_large_photo_is_drawn_smaller_and_what_is_on_it_too(start: Start, visit: Open) -> None:
    opened = visit(serve(start, "Regions"))
    opened.choose(picture((2560, 1920)))
    assert opened.page.locator("canvas").evaluate("c => [c.width, c.height]") == [1280, 960]
    assert opened.pixel(20, 110) == colour(opened, 1), "the box's edge at half its place"


def test_masks_are_asked_for_where_the_model_has_them_and_done_without_where_not(
    start: Start, visit: Open
) -> None:
    server = serve(start, "Regions")
    opened = visit(server)
    opened.choose(picture())
    assert opened.asked[-1] != f"{opened.origin}/predict?masks=png"

    opened = visit(serve(start, "Masks"))
    opened.choose(picture())
    assert f"{opened.origin}/predict?masks=png" in opened.asked

    opened.expected = "400"
    refusal = {"error": {"code": "invalid_parameter", "message": "too many pixels"}}
    opened.page.route("**/predict?masks=png", lambda route: route.fulfill(status=400, json=refusal))
    opened.choose(picture())
    assert opened.page.locator(".summary").count() == 2, "without masks, where they are refused"


def test_a_class_map_is_laid_over_the_picture_in_its_own_colours(start: Start, visit: Open) -> None:
    opened = visit(serve(start, "Segmentation"))
    opened.choose(picture())
    mixed = zip(GREY, (64, 0, 128), strict=True)
    veiled = tuple(round(0.45 * below + 0.55 * above) for below, above in mixed)
    drawn = opened.pixel(200, 150)
    assert max(abs(a - b) for a, b in zip(drawn, veiled, strict=True)) <= 2
    assert opened.pixel(50, 150) == GREY, "the background stays as it is"
    assert opened.page.locator(".summary").inner_text() == "2 classes"
    rows = [row.replace("\n", " ") for row in opened.page.locator(".rows li").all_inner_texts()]
    assert rows == ["__background__ 66.3 % of the picture", "dog 33.7 % of the picture"]
    swatch = opened.page.locator(".swatch").nth(1).evaluate("s => s.style.backgroundColor")
    assert swatch == "rgb(64, 0, 128)"


def test_an_answer_in_a_form_of_its_own_is_shown_as_json(start: Start, visit: Open) -> None:
    opened = visit(start(MODEL="tests.stubs.models:Echo").wait_ready())
    opened.choose(picture())
    assert opened.page.locator(".summary").inner_text() == "an answer in a form of its own"
    assert json.loads(opened.page.locator("pre").inner_text()) == {"pixel": list(GREY)}


UNLIKE_OURS = (
    {"predictions": [81.2, 90.1]},
    {"predictions": [None]},
    {"predictions": [[1, 2], [3, 4]]},
    {"predictions": [{"label": "cat"}]},
    {"predictions": "cat"},
    {"regions": [{"label": "cat"}]},
    {"regions": [{"label": "cat", "box": [1, 2, 3, None]}]},
    {"segmentation": {"png": 7}},
    {"segmentation": {"png": "", "classes": [None]}},
    [1],
    None,
)


def test_members_of_ours_with_other_contents_are_shown_as_json(start: Start, visit: Open) -> None:
    opened = visit(serve(start, "Predictions"))
    answers = iter(UNLIKE_OURS)
    opened.page.route("**/predict", lambda route: route.fulfill(body=json.dumps(next(answers))))
    for answer in UNLIKE_OURS:
        opened.choose(picture())
        card = opened.page.locator(".card").first
        assert card.locator(".summary").inner_text() == "an answer in a form of its own"
        assert json.loads(card.locator("pre").inner_text()) == answer


def test_an_answer_that_cannot_be_drawn_is_told_on_its_card_and_the_others_go_on(
    start: Start, visit: Open
) -> None:
    opened = visit(serve(start, "Segmentation"))
    answers = iter(["not base64", "not base64", None, None, None])

    def reply(route: Any) -> None:
        if png := next(answers):
            route.fulfill(json={"segmentation": {"png": png, "classes": []}})
        else:
            route.continue_()

    opened.page.route("**/predict", reply)
    opened.choose(*[picture()] * 5)
    failed = opened.page.locator("li.failed .reason")
    assert failed.all_inner_texts() == ["This page cannot show the answer."] * 2
    assert opened.page.locator("canvas").count() == 3

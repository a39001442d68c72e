"""Everybody can use it: by keyboard, by ear, in either language, by day and by night."""

from typing import Any

import pytest

from tests.console.conftest import Open
from tests.server import ROOT, Server, wait_for

pytestmark = pytest.mark.console

SEVEN = ROOT / "docs/images/seven.jpg"


def test_all_can_be_done_from_the_keyboard(mnist: Server, visit: Open) -> None:
    opened = visit(mnist)
    page = opened.page
    choosers: list[Any] = []

    def remember(chooser: Any) -> None:
        choosers.append(chooser)

    page.on("filechooser", remember)  # early: the browser is told in its own time

    def focused() -> str:
        return str(page.evaluate(
            "document.activeElement.id || document.activeElement.textContent"
        ))  # fmt: skip

    order = []
    for _ in range(4):
        page.keyboard.press("Tab")
        order.append(focused())
    assert order == ["English", "中文", "files", "pause"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    wait_for(lambda: page.evaluate("0") or choosers, "the browser's dialog for files")
    choosers[0].set_files([SEVEN])
    page.locator("canvas").wait_for()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("details").get_attribute("open") is not None
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.localName") == "pre", "a long answer scrolls"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.locator("#pause").get_attribute("aria-pressed") == "true"


def test_where_the_focus_is_can_be_seen(mnist: Server, visit: Open) -> None:
    opened = visit(mnist)
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("Tab")
    outline = "getComputedStyle(document.querySelector('label[for=files]')).outlineStyle"
    assert opened.page.evaluate(outline) == "solid"


def test_a_screen_reader_gets_names_for_everything_and_the_answer_when_it_comes(
    mnist: Server, visit: Open
) -> None:
    opened = visit(mnist)
    page = opened.page
    assert page.get_by_role("button", name="Choose images").count() == 1
    opened.choose(SEVEN)
    name = "seven.jpg, with the answer drawn on it: the digit 7"
    assert page.get_by_role("img", name=name).count() == 1
    said = page.get_by_role("status").filter(has_text="seven.jpg: the digit 7")
    assert said.count() == 1
    for role in ("banner", "main", "complementary"):
        assert page.get_by_role(role).count() == 1
    headings = page.get_by_role("heading").all_inner_texts()
    assert headings[:3] == ["Unbroken", "Try the model", "seven.jpg"]
    nameless = page.locator("button, input, dialog, [role=group]").evaluate_all(
        "all => all.filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length))"
        ".map((e) => e.outerHTML)"
    )
    assert nameless == []


def test_it_speaks_the_browsers_language_and_the_other_at_a_click(
    mnist: Server, visit: Open
) -> None:
    opened = visit(mnist, locale="zh-CN")
    page = opened.page
    assert page.locator("#state").inner_text() == "就绪"
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    opened.choose(SEVEN)
    assert page.locator(".summary").inner_text() == "数字 7"
    page.get_by_role("button", name="English").click()
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.locator("#state").inner_text() == "Ready"
    assert page.locator(".summary").inner_text() == "the digit 7", "what is there is said anew"
    canvas = page.get_by_role("img", name="with the answer drawn on it")
    assert canvas.count() == 1
    page.reload()
    page.locator("#state", has_text="Ready").wait_for()
    page.get_by_role("button", name="中文").click()
    assert page.get_by_role("button", name="中文").get_attribute("aria-pressed") == "true"
    assert page.locator("#state").inner_text() == "就绪"


def test_both_languages_have_every_word_and_the_same_places_in_it(
    mnist: Server, visit: Open
) -> None:
    words = visit(mnist).page.evaluate("import('/console/words.js').then((m) => m.WORDS)")
    places = {
        language: {
            key: sorted(part.partition("}")[0] for part in text.split("{")[1:])
            for key, text in entries.items()
        }
        for language, entries in words.items()
    }
    assert places["en"] == places["zh"]
    assert all(text for entries in words.values() for text in entries.values())


CONTRAST = """() => {
    const style = getComputedStyle(document.documentElement);
    const sheet = document.createElement("canvas").getContext("2d");
    const light = (name) => {
        sheet.fillStyle = style.getPropertyValue(name);
        sheet.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...sheet.getImageData(0, 0, 1, 1).data].map((value) => {
            const part = value / 255;
            return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ratio = (one, other) => {
        const [a, b] = [light(one), light(other)].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
    };
    const inks = ["--ink", "--quiet", "--good", "--bad", "--warning"];
    const pairs = inks.flatMap((ink) => [[ink, "--ground"], [ink, "--sheet"]]);
    pairs.push(["--on-accent", "--accent"], ["--ink", "--banner"]);
    return Object.fromEntries(pairs.map(([a, b]) => [`${a} on ${b}`, ratio(a, b)]));
}"""


def test_it_can_be_read_in_light_and_in_dark(mnist: Server, visit: Open) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        page = visit(mnist, color_scheme=scheme).page
        ratios = page.evaluate(CONTRAST)
        assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}
        grounds.append(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
    assert grounds[0] != grounds[1]


@pytest.mark.parametrize("locale", ["en-GB", "zh-CN"])
def test_nothing_sticks_out_on_a_small_screen(mnist: Server, visit: Open, locale: str) -> None:
    opened = visit(mnist, locale=locale, viewport={"width": 320, "height": 600})
    opened.choose(SEVEN)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 320

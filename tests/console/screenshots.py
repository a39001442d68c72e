"""The pictures of docs/console.md, taken anew: ``python -m tests.console.screenshots``.

The second one needs a font with Chinese characters: Debian's fonts-wqy-microhei has them.
"""

import io
import tempfile
from pathlib import Path

from PIL import Image

from tests.console.visit import Visit, browse
from tests.server import ROOT, serve

IMAGES = ROOT / "docs/images"
DIGITS = [IMAGES / "seven.jpg", IMAGES / "three-photo.jpg"]


def main() -> None:
    """Write both."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(Path(folder)) as server,
        browse() as browser,
    ):
        server.wait_ready()
        light = Visit(browser, server, locale="en-GB", color_scheme="light").open()
        light.choose(*DIGITS)
        light.page.locator("#batches .bar").first.wait_for()
        keep(light, "console-light-en.png")
        dark = Visit(browser, server, locale="zh-CN", color_scheme="dark").open()
        dark.choose(IMAGES / "three-photo.jpg")
        dark.choose(ROOT / "run.sh")  # no image: what an error looks like
        dark.page.locator("#errors li[data-say=lastSeen]").wait_for()
        keep(dark, "console-dark-zh.png")


def keep(visit: Visit, name: str) -> None:
    """Write what is to be seen, with 256 colours: half of the bytes."""
    content = visit.page.screenshot()
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    few = picture.quantize(method=Image.Quantize.MAXCOVERAGE)  # keeps the few green letters green
    few.save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    main()

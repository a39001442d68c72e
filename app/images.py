"""Bytes of an image file in, a uint8 array out. Runs in the HTTP workers' decoder threads.

The array is what torchvision's own transform would see after its resize and crop, before the
conversion to float: those last steps run on the device, for the whole batch. Several threads
decode at once: nothing here keeps state, and Pillow drops the GIL while it works.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, WebPImagePlugin  # noqa: F401

from app.errors import ClientError, ImageTooLarge, ImageUnreadable
from app.input_spec import InputSpec
from app.modes import Pixels, UnknownRange, converted
from app.resize import crop_box, resized_size, working_bytes

# MPO, the cameras' JPEG with several pictures, is opened by Pillow's JPEG plugin.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# A progressive JPEG has about ten scans; each costs a pass over all pixels for a few bytes.
MAX_JPEG_SCANS = 100
# The start of a scan: marker, length and number of components, which must agree.
_SCAN_STARTS = tuple(b"\xff\xda\x00" + bytes((6 + 2 * n, n)) for n in (1, 2, 3, 4))
# EXIF 2.32, tag 0x0112: how to turn the stored picture upright.
_UPRIGHT = dict(enumerate((
    Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
), start=2))  # fmt: skip
_STRIP = 1 << 20  # bytes
_TILE_WIDTH, _TILE_LENGTH = 322, 323  # TIFF 6.0, section 15

# The other plugins: now, rather than in the first requests' threads.
Image.preinit()
# MAX_PIXELS is the only limit: Pillow's own would refuse what the operator allowed.
Image.MAX_IMAGE_PIXELS = None
# Clients' files must not write to our log; catch_warnings would not be safe between threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True)
class Decoded:
    """An image as the model gets it.

    Args:
        pixels: C-contiguous, writable uint8 of shape (H, W, 3), or (H, W, 1) for mode ``L``.
        size: (width, height) of the image as posted, upright.
    """

    pixels: Pixels
    size: tuple[int, int]


def decode(content: bytes, spec: InputSpec, max_pixels: int, index: int | None = None) -> Pixels:
    """Return the pixels of an image, for callers that need no look at the header."""
    return to_input(open_image(content, max_pixels, index), spec, max_pixels, index).pixels


def open_image(content: bytes, max_pixels: int, index: int | None = None) -> Image.Image:
    """Read an image file's header; no pixel is decoded.

    Args:
        content: the file. Its name and content type play no part: the bytes decide.
        max_pixels: the largest width * height that is let in.
        index: position in the request, from 0; goes into the error's details.

    Returns:
        The first frame, not loaded, its size as stored (before the EXIF orientation).

    Raises:
        ImageUnreadable: empty, not one of FORMATS, or a broken header.
        ImageTooLarge: more than ``max_pixels``.
    """
    if not content:
        raise ImageUnreadable("The image is empty: it has 0 bytes.", **_details(index))
    # Pillow's WebP plugin allocates the whole canvas when it opens a file: look before it does.
    _check_pixels(_webp_size(content), max_pixels, index)
    with _unreadable(
        "The bytes are no JPEG, PNG, WebP, GIF, BMP or TIFF image, or a truncated one"
        f"{_guess(content)}.", index,
    ):  # fmt: skip
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        _check_pixels(image.size, max_pixels, index)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            # libtiff decodes whole tiles, and a tile may be far larger than the image.
            tags = image.tag_v2
            tile = int(tags.get(_TILE_WIDTH, 0)), int(tags.get(_TILE_LENGTH, 0))
            _check_pixels(tile, max_pixels, index)
    if image.info.get("progressive") and sum(map(content.count, _SCAN_STARTS)) > MAX_JPEG_SCANS:
        raise ImageUnreadable("The JPEG has far too many scans.", **_details(index))
    return image


def footprint(
    image: Image.Image, spec: InputSpec, max_pixels: int, index: int | None = None
) -> int:
    """Return the bytes that ``to_input`` holds of an opened image, for admission.

    Pillow keeps RGB in four bytes, and no mode in more. While one that is not upright RGB is
    converted or turned, its source and its result are held together: twice as much for a moment.

    Raises:
        ImageTooLarge: as ``to_input``, which would hold nothing.
    """
    _check_form(image, spec, max_pixels, index)
    # Whether it has to be turned is known only when it is loaded.
    working = max(working_bytes(size, spec) for size in (image.size, image.size[::-1]))
    return 4 * image.width * image.height + working


def to_input(
    image: Image.Image, spec: InputSpec, max_pixels: int, index: int | None = None
) -> Decoded:
    """Decode an opened image, turn it upright, convert, resize and crop it.

    Bit-identical to torchvision.transforms.functional's ``resize``, ``center_crop`` and
    ``pil_to_tensor`` on the converted image.

    Args:
        image: what ``open_image`` returned; use it once.
        spec: the model's input.
        max_pixels: also bounds the resized image, which a very long one would exceed.
        index: as for ``open_image``.

    Raises:
        ImageUnreadable: truncated or damaged, or its values have no known range.
        ImageTooLarge: too long and thin for the model, or to be resized.
    """
    _check_form(image, spec, max_pixels, index)
    with _unreadable("The image is truncated or damaged.", index):
        image.load()
        turn = _UPRIGHT.get(_orientation(image))
        image = converted(image, spec.mode)
        if turn is not None:
            image = image.transpose(turn)
        size = image.size
        if spec.resize is not None:
            method = Image.Resampling[spec.interpolation.upper()]
            image = image.resize(resized_size(image.size, spec.resize), method)
        if spec.crop is not None:
            image = image.crop(crop_box(image.size, spec.crop))
        pixels = _to_array(image)
    return Decoded(pixels, size)


def _to_array(image: Image.Image) -> Pixels:
    """Copy an image's pixels, strip by strip: a large one at once would keep the GIL."""
    pixels = np.empty((image.height, image.width, len(image.getbands())), np.uint8)
    rows = max(1, _STRIP // (image.width * pixels.shape[2]))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        pixels[top : top + rows] = np.asarray(strip).reshape(strip.height, image.width, -1)
    return pixels


def _details(index: int | None) -> dict[str, object]:
    return {} if index is None else {"index": index}


def _guess(content: bytes) -> str:
    if content[4:8] == b"ftyp":  # ISO/IEC 14496-12, section 4.3
        return "; they begin as HEIC, AVIF or a film does"
    if content.startswith((b"/9j/", b"iVBORw0", b"data:")):
        return "; they look like base64, which belongs into JSON"
    return ""


@contextmanager
def _unreadable(sentence: str, index: int | None) -> Iterator[None]:
    """Turn whatever Pillow raises into ImageUnreadable with this sentence.

    Hostile files make it raise nearly anything: OSError, SyntaxError, struct.error, even
    MemoryError. Its texts can hold addresses, so they are only chained.
    """
    try:
        yield
    except UnknownRange as error:
        raise ImageUnreadable(str(error), **_details(index)) from error
    except ClientError:
        raise
    except Exception as error:
        raise ImageUnreadable(sentence, **_details(index)) from error


def _check_pixels(size: tuple[int, int], limit: int, index: int | None, what: str = "") -> None:
    width, height = size
    if width * height > limit:
        raise ImageTooLarge(
            f"The {what}image has {width} x {height} pixels, more than the limit of {limit}.",
            **_details(index),
        )


def _check_form(image: Image.Image, spec: InputSpec, max_pixels: int, index: int | None) -> None:
    _check_aspect(image.size, spec.max_aspect, index)
    if isinstance(spec.resize, int):
        # A small limit must not refuse what the model itself enlarges.
        limit = max(max_pixels, 4 * spec.resize**2)
        _check_pixels(resized_size(image.size, spec.resize), limit, index, "resized ")


def _check_aspect(size: tuple[int, int], limit: float | None, index: int | None) -> None:
    width, height = size
    if limit is not None and max(size) > limit * min(size):
        raise ImageTooLarge(
            f"The image has {width} x {height} pixels; of this model's images the longer side is "
            f"at most {limit:g} times the shorter one.",
            **_details(index),
        )


def _webp_size(content: bytes) -> tuple[int, int]:
    """Return (width, height) of a WebP's canvas, or (0, 0) for anything else (RFC 9649)."""
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP" or len(content) < 30:
        return 0, 0
    # Where the two sizes start, the bits from one to the next, their own bits, what to add.
    layouts = {b"VP8X": (24, 24, 24, 1), b"VP8L": (21, 14, 14, 1), b"VP8 ": (26, 16, 14, 0)}
    start, step, width, more = layouts.get(content[12:16], (30, 0, 0, 0))
    bits, mask = int.from_bytes(content[start:30], "little"), (1 << width) - 1
    return (bits & mask) + more, (bits >> step & mask) + more


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001
        # Broken metadata must not cost us a picture that decodes.
        return 1

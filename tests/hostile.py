"""Files that a public endpoint gets sooner or later, and what it owes each of them.

``hostile_images`` is used by the decoder's tests and by the tests over HTTP; ``good_jpeg`` by
those under load.
"""

import io
import random
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image

UNREADABLE = {"image_unreadable"}
TOO_LARGE = {"image_too_large"}


def good_jpeg(width: int = 500, height: int = 375, seed: int = 0) -> bytes:
    """Return a JPEG with the look and the size (some 60 KB at 500 x 375) of a photograph."""
    return _saved(_photo(width, height, seed), "JPEG", quality=90)


def hostile_images() -> dict[str, tuple[bytes, set[str]]]:
    """Return name -> (file, the error codes that are right); ``ok`` means that it may decode.

    The limits meant are those of the defaults: 50 million pixels.
    """
    return {
        "empty": (b"", {"image_unreadable", "no_image"}),
        **_truncated(),
        **_damaged(),
        **_huge(),
        **_not_images(),
    }


def _truncated() -> dict[str, tuple[bytes, set[str]]]:
    photo = _photo(120, 90)
    files = {
        "jpeg": good_jpeg(120, 90),
        "progressive_jpeg": _saved(photo, "JPEG", progressive=True),
        "png": _saved(photo, "PNG"),
        "webp": _saved(photo, "WEBP"),
        "lossless_webp": _saved(photo, "WEBP", lossless=True),
        "gif": _saved(photo, "GIF"),
        "bmp": _saved(photo, "BMP"),
        "tiff": _saved(photo, "TIFF"),
        "deflated_tiff": _saved(photo, "TIFF", compression="tiff_adobe_deflate"),
    }
    cut = {f"half_a_{name}": (data[: len(data) // 2], UNREADABLE) for name, data in files.items()}
    heads = {f"first_20_bytes_of_{name}": (data[:20], UNREADABLE) for name, data in files.items()}
    return cut | heads


def _damaged() -> dict[str, tuple[bytes, set[str]]]:
    photo = _photo(64, 48)
    png, jpeg, tiff = _saved(photo, "PNG"), _saved(photo, "JPEG"), _saved(photo, "TIFF")
    noise = random.Random(3).randbytes(2000)
    start = jpeg.index(b"\xff\xda") + 14
    floats = np.full((8, 8), np.nan, np.float32)
    floats[2, 3], floats[4, 4] = np.inf, 3e38
    return {
        "png_bad_header_crc": (png[:29] + b"\0\0\0\0" + png[33:], UNREADABLE),
        "png_bad_data_crc": (_png(64, 48, zlib.compress(bytes(9264)), crc=7), UNREADABLE | {"ok"}),
        "png_broken_data": (_png(64, 48, b"this is not zlib"), UNREADABLE),
        "png_short_data": (_png(64, 48, zlib.compress(bytes(100))), UNREADABLE),
        "png_no_data": (_png(64, 48, None), UNREADABLE),
        "png_text_bomb": (_png_text_bomb(), UNREADABLE | {"ok"}),
        "png_size_zero": (_png(0, 48, zlib.compress(b"")), UNREADABLE),
        "jpeg_garbage_after_start": (b"\xff\xd8" + noise, UNREADABLE),
        "jpeg_garbage_in_scan": (jpeg[:start] + noise + b"\xff\xd9", UNREADABLE | {"ok"}),
        "jpeg_many_scans": (_many_scans(), UNREADABLE),
        "jpeg_bad_exif": (_saved(photo, "JPEG", exif=b"Exif\0\0" + noise), {"ok"}),
        "jpeg_bad_mpf": (_bad_mpf(jpeg), UNREADABLE | {"ok"}),
        "gif_size_zero": (b"GIF89a" + bytes(4) + b"\x80" + bytes(8) + b"," + bytes(9), UNREADABLE),
        "gif_no_frame": (b"GIF89a\x10\0\x10\0\x80\0\0" + bytes(6) + b";", UNREADABLE),
        "tiff_looping_directory": (_looping(tiff), UNREADABLE | {"ok"}),
        "tiff_directory_outside": (b"II*\0\xff\xff\xff\x7f", UNREADABLE),
        "tiff_not_numbers": (_saved(Image.fromarray(floats), "TIFF"), UNREADABLE),
        "webp_empty_riff": (b"RIFF\x0e\0\0\0WEBPVP8X\x02\0\0\0\0\0", UNREADABLE),
    }


def _huge() -> dict[str, tuple[bytes, set[str]]]:
    """Small files that say, or are, far more pixels than the limit."""
    row = bytes(1 + 30000 // 8)
    packer = zlib.compressobj(9)
    bomb = b"".join(packer.compress(row) for _ in range(30000)) + packer.flush()
    gif = b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6)
    small_gif = b"GIF89a\x10\0\x10\0\x80\0\0" + bytes(6)
    frame = b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\0;"
    webp = struct.pack("<4sI4s4sI", b"RIFF", 22, b"WEBP", b"VP8X", 10) + bytes(4)
    lossless = struct.pack("<4sI4s4sI", b"RIFF", 22, b"WEBP", b"VP8L", 10) + b"\x2f"
    lossy = struct.pack("<4sI4s4sI", b"RIFF", 22, b"WEBP", b"VP8 ", 10) + b"\x10\0\0\x9d\x01\x2a"
    bmp = b"BM" + struct.pack("<IHHI", 60, 0, 0, 54)
    bmp += struct.pack("<IiiHHIIiiII", 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(6)
    jpeg = bytearray(good_jpeg(64, 48))
    frame_at = jpeg.index(b"\xff\xc0")
    jpeg[frame_at + 5 : frame_at + 9] = b"\xff\xdc\xff\xdc"
    return {
        "png_bomb": (_png(30000, 30000, bomb, depth=1, colour=0), TOO_LARGE),
        "png_header": (_png(2**31 - 1, 2**31 - 1, b""), TOO_LARGE),
        "png_one_row": (_png(60_000_000, 1, b""), TOO_LARGE),
        "gif_header": (gif + b",\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0;", TOO_LARGE),
        "gif_frame_larger_than_screen": (small_gif + frame, TOO_LARGE),
        "bmp_header": (bmp, TOO_LARGE),
        "tiff_header": (_tiff(60000, 60000), TOO_LARGE),
        "tiff_tile": (_tiff(16, 16, {322: 40000, 323: 40000, 324: 8, 325: 8}), TOO_LARGE),
        "webp_header": (webp + b"\xff\xff\xff" * 2, TOO_LARGE),
        "webp_lossless_header": (lossless + b"\xff\xff\xff\x0f" + bytes(5), TOO_LARGE),
        "webp_lossy_header": (lossy + b"\xff\x3f\xff\x3f", TOO_LARGE),
        "jpeg_header": (bytes(jpeg), TOO_LARGE),
        "png_thread": (_png(1, 49_000_000, b""), TOO_LARGE | UNREADABLE),
    }


def _not_images() -> dict[str, tuple[bytes, set[str]]]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as package:
        package.writestr("cat.jpg", good_jpeg(32, 32))
    photo = _photo(32, 32)
    script = b"GIF89a/*" + b" " * 100 + b"*/=1;alert('hello');//"
    return {
        "random_bytes": (random.Random(1).randbytes(4000), UNREADABLE),
        "one_byte": (b"\xff", UNREADABLE),
        "zeros": (bytes(10_000), UNREADABLE),
        "text": (b"I am no cat.jpg\n" * 20, UNREADABLE),
        "html": (b"<!doctype html><title>404</title><p>Not found", UNREADABLE),
        "json": (b'{"image": "aGVsbG8="}', UNREADABLE),
        "polyglot_gif_script": (script, UNREADABLE | TOO_LARGE),
        "svg": (b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', UNREADABLE),
        "pdf": (b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n", UNREADABLE),
        # Pillow would start Ghostscript for these: a program run by a stranger's file.
        "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n", UNREADABLE),
        "postscript": (b"%!PS\n(hello) show showpage\n", UNREADABLE),
        "psd": (b"8BPS\0\x01" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3), UNREADABLE),
        "ico": (_saved(photo, "ICO"), UNREADABLE),
        "ppm": (_saved(photo, "PPM"), UNREADABLE),
        "tga": (_saved(photo, "TGA"), UNREADABLE),
        "zip": (archive.getvalue(), UNREADABLE),
        "riff_that_is_sound": (b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), UNREADABLE),
    }


def _photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return smooth colours with finer and weaker detail upon them."""
    noise = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3), np.float32)
    for cell, weight in ((96, 1.0), (24, 0.5), (6, 0.3), (2, 0.3)):
        shape = (height // cell + 2, width // cell + 2, 3)
        layer = Image.fromarray(noise.integers(0, 256, shape, np.uint8))
        scaled = layer.resize((width, height), Image.Resampling.BICUBIC)
        pixels += weight * np.asarray(scaled, np.float32)
    return Image.fromarray((pixels / 2.1).astype(np.uint8))


def _saved(image: Image.Image, format: str, **options: object) -> bytes:  # noqa: A002
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def _chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def _png(
    width: int,
    height: int,
    data: bytes | None,
    depth: int = 8,
    colour: int = 2,
    crc: int | None = None,
) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = b"" if data is None else _chunk(b"IDAT", data, crc)
    return b"\x89PNG\r\n\x1a\n" + header + body + _chunk(b"IEND", b"")


def _png_text_bomb() -> bytes:
    """A comment of 100 MB in 100 KB, before the pixels."""
    packer = zlib.compressobj(9)
    text = b"".join(packer.compress(bytes(1_000_000)) for _ in range(100)) + packer.flush()
    png = _png(8, 8, zlib.compress(bytes(8 * 25)))
    return png[:33] + _chunk(b"zTXt", b"Comment\0\0" + text) + png[33:]


def _tiff(width: int, height: int, more: dict[int, int] | None = None) -> bytes:
    """A little-endian grey TIFF of one directory whose pixels are its own first bytes."""
    strips = {273: 8, 278: height, 279: 8}
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1, **(more or strips)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def _looping(tiff: bytes) -> bytes:
    """Make the directory its own successor."""
    at = struct.unpack("<I", tiff[4:8])[0]
    (count,) = struct.unpack("<H", tiff[at : at + 2])
    end = at + 2 + 12 * count
    return tiff[:end] + struct.pack("<I", at) + tiff[end + 4 :]


def _many_scans() -> bytes:
    """A progressive JPEG whose last scan comes a thousand times: each is work for all pixels."""
    jpeg = _saved(_photo(64, 48), "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:last] + jpeg[last:-2] * 1000 + b"\xff\xd9"


def _bad_mpf(jpeg: bytes) -> bytes:
    """Say that this is a camera's JPEG of several pictures, and point nowhere."""
    directory = b"MPF\0II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0xB001, 4, 1, 99) + b"\xff" * 4
    return jpeg[:2] + b"\xff\xe2" + struct.pack(">H", len(directory) + 2) + directory + jpeg[2:]

"""What the decoder promises, on real files made here with Pillow."""

import base64
import io
import struct
import subprocess
import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFile
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from app.errors import ImageTooLarge, ImageUnreadable, ServingError
from app.images import decode, footprint, open_image, to_input
from app.input_spec import InputSpec
from tests.hostile import good_jpeg, hostile_images

MAX = 50_000_000
AS_IS = InputSpec()
GREY = InputSpec(mode="L")
IMAGENET = InputSpec(resize=256, crop=(224, 224))
HOSTILE = hostile_images()
# pytest turns warnings into errors anew for each test, over the filter of app.images; that the
# filter works is tested in a process of its own.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def saved(image, format, **options):  # noqa: A002
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def photo(width=90, height=60):
    return Image.open(io.BytesIO(good_jpeg(width, height))).convert("RGB")


def corners():
    """Red, green, blue and white quarters: every orientation looks different."""
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:16, :24, 0] = pixels[:16, 24:, 1] = pixels[16:, :24, 2] = 255
    pixels[16:, 24:] = 255
    return Image.fromarray(pixels)


def stored_as(image, orientation):
    """Turn the pixels so that EXIF's ``orientation`` turns them back."""
    turns = Image.Transpose
    undo = (
        None, turns.FLIP_LEFT_RIGHT, turns.ROTATE_180, turns.FLIP_TOP_BOTTOM, turns.TRANSPOSE,
        turns.ROTATE_90, turns.TRANSVERSE, turns.ROTATE_270,
    )[orientation - 1]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    return (image if undo is None else image.transpose(undo)), exif


def same(array, image, tolerance=0):
    wanted = np.asarray(image).astype(int).reshape(array.shape)
    return bool(np.abs(array.astype(int) - wanted).max() <= tolerance)


# --- shapes and colours -----------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "channels"), [(AS_IS, 3), (GREY, 1)])
def test_array_is_uint8_contiguous_writable_height_width_channels(spec, channels):
    array = decode(saved(photo(), "PNG"), spec, MAX)
    assert (array.shape, array.dtype) == ((60, 90, channels), np.uint8)
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.flags.owndata or array.base.flags.owndata


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "CMYK"])
def test_jpeg_png_and_tiff_of_every_plain_mode_look_like_their_rgb(mode):
    image = photo().convert(mode)
    format = "TIFF" if mode in ("CMYK", "1") else "PNG"  # noqa: A001
    assert same(decode(saved(image, format), AS_IS, MAX), image.convert("RGB"))
    if mode != "1":
        assert same(decode(saved(image, "JPEG", quality=95), AS_IS, MAX), image.convert("RGB"), 40)


@pytest.mark.parametrize("mode", ["YCbCr", "LAB"])
def test_tiff_of_another_colour_space_looks_like_the_photo(mode):
    array = decode(saved(photo().convert(mode), "TIFF"), AS_IS, MAX)
    assert np.abs(array - np.asarray(photo()).astype(float)).mean() < 2


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO"])
def test_every_format_decodes_to_about_the_same_picture(format):  # noqa: A002
    wanted = np.asarray(photo()).astype(float)
    more = {"save_all": True, "append_images": [corners()]} if format == "MPO" else {}
    array = decode(saved(photo(), format, **more), AS_IS, MAX)
    assert np.abs(array - wanted).mean() < 12


def test_cmyk_jpeg_as_adobe_stores_it_is_not_a_negative():
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    assert same(decode(saved(cyan, "JPEG"), AS_IS, MAX), Image.new("RGB", (16, 16), "#00ffff"), 3)


def test_grey_of_a_colour_photo_is_the_luma_that_pillow_computes():
    assert same(decode(saved(photo(), "PNG"), GREY, MAX), photo().convert("L"))


def test_palette_is_looked_up():
    image = photo().quantize(60)
    for format in ("PNG", "GIF", "BMP"):  # noqa: A001
        assert same(decode(saved(image, format), AS_IS, MAX), image.convert("RGB"))


def test_transparency_becomes_white_in_every_way_a_file_can_have_it():
    half = Image.new("RGBA", (2, 1), (200, 0, 0, 255))
    half.putpixel((1, 0), (0, 0, 0, 0))
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 0, 0, 0, 0, 0])
    palette.putpixel((1, 0), 1)
    grey = Image.new("L", (2, 1), 10)
    grey.putpixel((1, 0), 7)
    files = {
        "RGBA PNG": saved(half, "PNG"),
        "RGBA WebP": saved(half, "WEBP", lossless=True),
        "LA PNG": saved(half.convert("LA"), "PNG"),
        "palette PNG, one colour": saved(palette, "PNG", transparency=1),
        "palette PNG, alphas": saved(palette, "PNG", transparency=b"\xff\x00"),
        "palette GIF": saved(palette, "GIF", transparency=1),
        "colour key": saved(half.convert("RGB"), "PNG", transparency=(0, 0, 0)),
        "grey key": saved(grey, "PNG", transparency=7),
        "RGBA TIFF": saved(half, "TIFF"),
    }
    for name, file in files.items():
        array = decode(file, AS_IS, MAX)
        assert array[0, 1].tolist() == [255, 255, 255], name
        assert array[0, 0, 0] < 250, name
        assert decode(file, GREY, MAX)[0, 1, 0] == 255, name


def test_half_transparent_colour_is_mixed_with_white():
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    assert same(decode(saved(image, "PNG"), AS_IS, MAX), Image.new("RGB", (4, 4), "#ff7f7f"), 1)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_premultiplied_tiff_is_mixed_with_white(mode):
    straight = saved(Image.new("RGBA", (4, 4), (100, 100, 100, 128)).convert(mode), "TIFF")
    # ExtraSamples (338) says 1, associated alpha, rather than 2: 100 * 255 / 128 is the grey meant.
    extra = struct.pack("<HHI", 338, 3, 1)
    file = straight.replace(extra + b"\2", extra + b"\1")
    assert open_image(file, MAX).mode == ("La" if mode == "LA" else "RGBA")
    assert same(decode(file, AS_IS, MAX), Image.new("RGB", (4, 4), (227, 227, 227)), 2)


@pytest.mark.parametrize(("dtype", "format"), [("<u2", "PNG"), ("<u2", "TIFF"), (">u2", "TIFF")])
def test_16_bit_grey_loses_its_low_byte_and_is_not_clipped(dtype, format):  # noqa: A002
    deep = np.arange(0, 65536, 64).reshape(32, 32).astype(dtype)
    array = decode(saved(Image.fromarray(deep), format), GREY, MAX)
    assert np.array_equal(array[..., 0], deep >> 8)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([0, 0.25, 1], [0, 64, 255]),
        ([0.5, 0.5, 0.5], [128] * 3),
        ([1e-45, 1, 0], [0, 255, 0]),
        ([-1e-4, 0.5, 1.0001], [0, 128, 255]),  # as a bicubic resize leaves them
    ],
)
@pytest.mark.filterwarnings("error")
def test_float_tiff_from_0_to_1_is_scaled(values, wanted):
    file = saved(Image.fromarray(np.array([values], np.float32)), "TIFF")
    assert same(decode(file, GREY, MAX), wanted, 0)


@pytest.mark.parametrize("values", [[0, 256, 65535], [25700, 25700, 25700]])
def test_32_bit_tiff_is_read_as_16_bits(values):
    file = saved(Image.fromarray(np.array([values], np.int32)), "TIFF")
    assert same(decode(file, GREY, MAX), [value >> 8 for value in values], 0)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([-0.01, 0, 1], np.float32),
        ([0, 0.5, 1.01], np.float32),
        ([0, 128, 255], np.float32),
        ([np.nan, 0.5, 1], np.float32),
        ([0, 0.5, np.inf], np.float32),
        ([-100, 0, 100], np.int32),
        ([0, 1, 65536], np.int32),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_tiff_whose_black_and_white_are_not_known_is_refused(values, kind):
    file = saved(Image.fromarray(np.array([values], kind)), "TIFF")
    with pytest.raises(ImageUnreadable, match="black and white are not known") as caught:
        decode(file, GREY, MAX, 3)
    assert caught.value.details == {"index": 3}


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(64), "HEIC"),
        (base64.b64encode(saved(Image.new("RGB", (8, 8)), "JPEG")), "base64"),
        (base64.b64encode(saved(Image.new("RGB", (8, 8)), "PNG")), "base64"),
        (b"data:image/png;base64,iVBO", "base64"),
    ],
)
def test_what_is_often_sent_by_mistake_gets_a_hint(content, hint):
    with pytest.raises(ImageUnreadable, match=hint):
        open_image(content, MAX)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "MPO"])
def test_first_frame_counts(format):  # noqa: A002
    first, second = Image.new("RGB", (24, 16), "#ff0000"), Image.new("RGB", (24, 16), "#0000ff")
    file = saved(first, format, save_all=True, append_images=[second, second])
    assert same(decode(file, AS_IS, MAX), first, 4)


# --- orientation ------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "WEBP", "TIFF", "PNG"])
def test_exif_orientation_turns_the_picture_upright(format, orientation):  # noqa: A002
    image, exif = stored_as(corners(), orientation)
    options = {"WEBP": {"lossless": True}, "JPEG": {"subsampling": 0}}
    file = saved(image, format, exif=exif, **options.get(format, {}))
    tolerance = 8 if format == "JPEG" else 0
    assert same(decode(file, AS_IS, MAX), corners(), tolerance)
    assert same(decode(file, GREY, MAX), corners().convert("L"), tolerance)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_exif_orientation_turns_a_16_bit_tiff(compression):
    deep = np.arange(0, 65536, 128).reshape(16, 32).astype(np.uint16)
    image, exif = stored_as(Image.fromarray(deep), 6)
    array = decode(saved(image, "TIFF", exif=exif, compression=compression), GREY, MAX)
    assert np.array_equal(array[..., 0], deep >> 8)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientation_that_does_not_exist_is_ignored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(corners(), "PNG", exif=exif)
    assert same(decode(file, AS_IS, MAX), corners())


# --- torchvision ------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(("resize", "crop"), [(256, (224, 224)), (64, (64, 64)), (232, (225, 99)),
    (20, (31, 40)), ((37, 53), None), ((37, 53), (50, 20)), (None, (33, 200)), (31, None),
])  # fmt: skip
def test_resize_and_crop_equal_torchvision_bit_for_bit(resize, crop, interpolation):
    for width, height in ((500, 375), (375, 500), (97, 31), (31, 97), (20, 21), (5, 40), (1, 1)):
        image = photo(width, height)
        for mode in ("RGB", "L"):
            wanted = image.convert(mode)
            if resize is not None:
                size = resize if isinstance(resize, int) else list(resize)
                wanted = tv.resize(wanted, size, InterpolationMode(interpolation))
            if crop is not None:
                wanted = tv.center_crop(wanted, list(crop))
            tensor = tv.pil_to_tensor(wanted).permute(1, 2, 0)
            array = decode(saved(image, "PNG"), InputSpec(mode, resize, crop, interpolation), MAX)
            assert np.array_equal(array, tensor.numpy()), (width, height, mode)


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_the_size_is_the_upright_images_whatever_the_model_gets(orientation):
    image, exif = stored_as(corners(), orientation)
    file = saved(image, "PNG", exif=exif)
    for spec in (AS_IS, IMAGENET, InputSpec(resize=20)):
        decoded = to_input(open_image(file, MAX), spec, MAX)
        assert decoded.size == (48, 32)
    assert decoded.pixels.shape == (20, 30, 3), "the shorter side, and no crop"


# --- limits -----------------------------------------------------------------------------------


def test_pixel_limit_is_inclusive_and_counts_pixels_only():
    file = saved(photo(90, 60), "PNG")
    assert open_image(file, 5400).size == (90, 60)
    with pytest.raises(ImageTooLarge, match="90 x 60"):
        open_image(file, 5399)


def test_limit_above_pillows_own_is_obeyed():
    file, codes = HOSTILE["png_bomb"]
    assert codes == {"image_too_large"}
    assert open_image(file, 10**9).size == (30000, 30000)


def test_header_is_enough_to_open(monkeypatch):
    def refuse(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    assert open_image(good_jpeg(500, 375), MAX).size == (500, 375)


def test_too_large_is_found_without_time_or_memory():
    tracemalloc.start()
    started = time.process_time()
    for file, codes in HOSTILE.values():
        if codes == {"image_too_large"}:
            with pytest.raises(ImageTooLarge):
                open_image(file, MAX)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - started < 1
    assert peak < 2_000_000


def test_long_thin_image_is_refused_before_its_resize_fills_the_memory():
    file = saved(Image.new("L", (1, 50_000)), "PNG")
    with pytest.raises(ImageTooLarge, match="resized"):
        decode(file, InputSpec(resize=1024), MAX)
    assert decode(file, InputSpec(crop=(8, 8)), MAX).shape == (8, 8, 3)


@pytest.mark.parametrize("size", [(31, 10), (10, 31)])
def test_an_image_that_is_too_long_and_thin_for_the_model_is_refused(size):
    file = saved(Image.new("L", size), "PNG")
    with pytest.raises(ImageTooLarge, match=r"31.* at most 3 times"):
        decode(file, InputSpec(max_aspect=3), MAX)
    assert decode(file, InputSpec(max_aspect=3.1), MAX).shape == (*size[::-1], 3)


def test_small_limit_lets_in_small_images_that_the_model_enlarges():
    assert decode(saved(photo(90, 60), "PNG"), IMAGENET, 5400).shape == (224, 224, 3)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA"])
def test_footprint_is_known_from_the_header(mode):
    image = open_image(saved(photo(90, 60).convert(mode), "PNG"), MAX)
    assert footprint(image, AS_IS, MAX) >= 90 * 60 * (4 + 3)
    assert to_input(image, IMAGENET, MAX).pixels.shape == (224, 224, 3)


HOLDS = """
import sys
from app import images
from app.input_spec import InputSpec
def most():
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))
def decode(file, spec):
    opened = images.open_image(file, 50_000_000)
    before, told = most(), images.footprint(opened, spec, 50_000_000)
    images.to_input(opened, spec, 50_000_000)
    return most() - before, told
for line in sys.stdin:
    held, told = decode(*eval(line))
print(held, told)
"""


@pytest.mark.parametrize(
    ("size", "spec"),
    [
        ((1, 700), IMAGENET),
        ((700, 1), IMAGENET),
        ((1, 180), InputSpec(resize=500, crop=(224, 224), interpolation="lanczos")),
        ((1, 400_000), InputSpec(resize=(8, 8))),
        ((9, 7), InputSpec(resize=(4000, 4000))),
        ((6, 4), InputSpec(crop=(4000, 4000))),
        ((3000, 2000), IMAGENET),
        ((3000, 2000), AS_IS),
    ],
)
def test_admission_is_told_of_all_that_decoding_holds(size, spec):
    first = saved(photo(40, 30), "PNG"), replace(IMAGENET, interpolation=spec.interpolation)
    measured = saved(Image.new("RGB", size, "red"), "PNG"), spec
    done = subprocess.run(
        [sys.executable, "-c", HOLDS], input=f"{first}\n{measured}",
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    held, told = map(int, done.stdout.split())
    assert held <= told + 4_000_000, "the interpreter's own"
    assert told / 2 <= held + 4_000_000, "nor of far more"


def test_what_is_refused_anyhow_is_no_matter_of_admission():
    image = open_image(saved(Image.new("L", (1, 50_000)), "PNG"), MAX)
    with pytest.raises(ImageTooLarge, match="resized"):
        footprint(image, InputSpec(resize=1024), MAX)


# --- hostile files ----------------------------------------------------------------------------


def outcome(file, spec=IMAGENET, index=None):
    try:
        decode(file, spec, MAX, index)
    except ServingError as error:
        return error.code, error.details
    return "ok", {}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_gets_its_error_with_its_position(name):
    file, allowed = HOSTILE[name]
    code, details = outcome(file, index=2)
    assert code in allowed
    assert details == ({} if code == "ok" else {"index": 2})
    assert outcome(file)[1] == {}


@pytest.mark.parametrize("name", [name for name in HOSTILE if "ok" not in HOSTILE[name][1]])
def test_message_is_a_sentence_and_gives_no_address_away(name):
    with pytest.raises(ServingError, match=r"^[A-Z].*\.$") as caught:
        decode(HOSTILE[name][0], IMAGENET, MAX)
    assert "0x" not in caught.value.message
    if name.startswith("half_a"):
        assert "truncated" in caught.value.message


def test_empty_file_is_called_empty():
    with pytest.raises(ImageUnreadable, match="empty"):
        open_image(b"", MAX)


def test_hostile_files_cause_no_python_warning():
    program = (
        "from app.images import *; from app.errors import *; from tests.hostile import *\n"
        "for file, _ in hostile_images().values():\n"
        "    try: decode(file, InputSpec(resize=64), 50_000_000)\n"
        "    except ServingError: pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", program], capture_output=True, text=True, check=True
    )
    assert "Warning" not in done.stderr


def test_threads_decode_the_same_bits():
    files = [good_jpeg(200 + 10 * n, 150, n) for n in range(8)]
    files += [saved(corners(), "GIF"), saved(corners(), "TIFF", compression="tiff_lzw")]
    files += [file for name, (file, _) in HOSTILE.items() if name.startswith("half_a")]

    def result(file):
        code, _ = outcome(file)
        return code, b"" if code != "ok" else decode(file, IMAGENET, MAX).tobytes()

    wanted = [result(file) for file in files] * 5
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(result, files * 5)) == wanted


def test_good_jpeg_is_the_same_each_time_and_about_60_kb():
    assert good_jpeg() == good_jpeg()
    assert good_jpeg(seed=1) != good_jpeg()
    assert 50_000 < len(good_jpeg()) < 70_000

"""JSON bodies: the same answers as json.loads and b64decode would give, whatever lies where."""

import base64
import json
import random

import pytest

from app.errors import MalformedJson
from app.web import json_body
from app.web.json_body import JsonBody

CONTENT = random.Random(7).randbytes(3 * json_body._PIECE)
TEXT = base64.b64encode(CONTENT).decode()


def decoded(document: bytes) -> bytes:
    body = JsonBody(document)
    return body.base64(body.members["image"])


@pytest.mark.parametrize("size", [0, 1, 2, 3, 190, 191, 192, 193, 194, 100_000, len(CONTENT)])
def test_an_image_of_any_size_comes_out_as_it_went_in(size: int) -> None:
    text = base64.b64encode(CONTENT[:size]).decode()
    assert decoded(json.dumps({"image": text}).encode()) == CONTENT[:size]


@pytest.mark.parametrize(
    "write",
    [
        lambda text: text.replace("/", r"\/"),  # PHP
        lambda text: text.replace("+", r"\u002B"),  # .NET
        lambda text: "".join(rf"\u{ord(letter):04x}" for letter in text),
        lambda text: r"\r\n".join(text[i : i + 76] for i in range(0, len(text), 76)),  # mail
        lambda text: "data:image/png;base64," + text,
        lambda text: r"data:image\/png;base64," + text,
        lambda text: f"data:image/png;name={'%E5%9B%BE' * 40};base64," + text,
    ],
    ids=["slashes", "plus", "everything", "lines", "url", "url_with_slashes", "url_with_a_name"],
)
def test_what_other_languages_escape_is_understood_wherever_a_piece_ends(write) -> None:
    for cut in range(8):
        text = write(TEXT[4 * cut :])
        assert decoded(b'{"image": "%s"}' % text.encode()) == CONTENT[3 * cut :]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_document_may_have_any_of_jsons_encodings(encoding: str) -> None:
    assert decoded(json.dumps({"image": TEXT, "é": "ü"}).encode(encoding)) == CONTENT


@pytest.mark.parametrize(
    "text",
    [
        TEXT[:-1], TEXT[:-5] + "!" + TEXT[-4:], TEXT[:400_000] + "QQ==" + TEXT[400_000:],
        "QQ==" * 1000, TEXT + "=", TEXT + "\\n!", TEXT[:-1] + "é", "QUJ" * 999 + "=", "A",
        TEXT + r"\ud800", "data:" + TEXT,
    ],
)  # fmt: skip
def test_what_is_not_base64_is_refused(text: str) -> None:
    body = JsonBody(b'{"image": "%s"}' % text.encode())
    with pytest.raises(ValueError, match=r"\w"):
        body.base64(body.members["image"])


@pytest.mark.parametrize(
    "document",
    [
        '{"image": "' + TEXT,
        '{"image": "' + TEXT + '\\"}',
        '{"image": "' + TEXT + '"',
        '{"image" "' + TEXT + '"}',
        "[" * 100_000,
        TEXT,
    ],
)
def test_what_is_not_json_is_refused(document: str) -> None:
    with pytest.raises(MalformedJson, match="not JSON"):
        JsonBody(document.encode())


def test_a_position_is_told_only_where_it_is_right() -> None:
    with pytest.raises(MalformedJson, match=r"line 1 column 2 \(char 1\)"):
        JsonBody(b"{7}")
    with pytest.raises(MalformedJson, match=r"not JSON: Expecting ',' delimiter$"):
        JsonBody(b'{"image": "%s" 7}' % TEXT.encode())


def test_other_members_are_left_alone_and_every_string_stays_in_its_place() -> None:
    notes = {"quoted": '\\"' * 500, "words": "long and \\" * 100, "": "", "a" * 500: 1}
    images = [TEXT[: 4 * length] for length in (1, 70, 4000, 2, 90)]
    body = JsonBody(json.dumps({"notes": notes, "images": images}).encode())
    assert [body.base64(text) for text in body.members["images"]] == [
        base64.b64decode(image) for image in images
    ]
    assert set(body.members) == {"notes", "images"}


def test_a_client_cannot_name_a_string_of_ours() -> None:
    body = JsonBody(json.dumps({"image": TEXT, "other": "0"}).encode())
    with pytest.raises(ValueError, match="multiple of 4"):
        body.base64(body.members["other"])


@pytest.mark.parametrize("text", ['""', r'"\""', '"' + r"\"" * 1000 + '"', "1"])
def test_a_document_that_is_long_beside_its_images_is_refused(text: str) -> None:
    many = ",".join([text] * (15_000_000 // len(text)))
    with pytest.raises(MalformedJson, match="beside its images"):
        JsonBody(b'{"image": [%s]}' % many.encode())

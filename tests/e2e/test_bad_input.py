"""Bad input gets a clear 4xx in JSON, and nothing else in flight is touched."""

import base64
import gzip
import http.client
import json
import socket

import pytest

from tests.conftest import Start
from tests.hostile import good_jpeg, hostile_images
from tests.server import Load, Reply, Server, children, png

MULTIPART = "multipart/form-data; boundary=x"
JSON = "application/json"
PART = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
TEXT = b'--x\r\nContent-Disposition: form-data; name="words"\r\n\r\nhello\r\n--x--\r\n'
IMAGE = base64.b64encode(png()).decode()
PYTHONS = ("sys.", "codec", "recursion", "Exception", "Error", "start byte", "(char")


def error_of(reply: Reply) -> tuple[int, str]:
    """Return status and code, after checking the shape that every error has."""
    error = reply.json()["error"]
    assert len(error["message"]) > 10
    assert error["request_id"] == reply.headers["X-Request-Id"]
    return reply.status, error["code"]


def parts(server: Server) -> tuple[list[int], list[int], int]:
    """Return engines, HTTP workers and supervisor; run.sh's sleepers come and go."""
    [supervisor] = {line["pid"] for line in server.events("started")}
    return server.engines(), sorted(children(server.arbiter())), supervisor


def test_hostile_images_get_their_4xx_while_good_requests_are_all_answered(mnist: Server) -> None:
    before = parts(mnist)
    with Load(mnist, clients=4, image=lambda number: good_jpeg(seed=number)) as load:
        load.wait_answers(4)
        for name, (content, codes) in hostile_images().items():
            reply = mnist.post(content, "/", "application/octet-stream")
            code = "ok" if reply.status == 200 else error_of(reply)[1]
            assert code in codes, f"{name}: {reply.body!r}"
            assert reply.status < 500
        load.wait_answers(4)
    assert load.failures == []
    assert parts(mnist) == before, "no process was restarted"
    assert mnist.events(), "every line of the log is JSON, whatever libtiff wrote"
    blamed = [line for line in mnist.events("stderr") if "Traceback" in line["message"]]
    assert blamed == [], "a client's mistake is no defect of ours"


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("image/png", b"", (400, "no_image")),
        (MULTIPART, b"", (400, "no_image")),
        (MULTIPART, TEXT, (400, "no_image")),
        (JSON, b"", (400, "no_image")),
        (JSON, b"{}", (400, "no_image")),
        (JSON, b'{"images": []}', (400, "no_image")),
        ("multipart/form-data", PART, (400, "malformed_multipart")),
        (MULTIPART, PART + b"data", (400, "malformed_multipart")),
        (MULTIPART, b"--x\r\nnonsense\r\n\r\n--x--\r\n", (400, "malformed_multipart")),
        (MULTIPART, b"no parts at all", (400, "malformed_multipart")),
        (MULTIPART, PART + b"\r\n--x--\r\n", (422, "image_unreadable")),
        (JSON, b"{", (400, "malformed_json")),
        (JSON, b"[1]", (400, "malformed_json")),
        (JSON, b"[" * 100_000, (400, "malformed_json")),
        (JSON, b"\xff\xfe\x00", (400, "malformed_json")),
        (JSON, b'{"images": "x"}', (400, "malformed_json")),
        (JSON, json.dumps({"images": [IMAGE], "image": IMAGE}).encode(), (400, "malformed_json")),
        (JSON, b'{"image": "", "n": %s}' % (b"7" * 5000), (400, "malformed_json")),
        (JSON, b'{"image": "http://localhost/a.jpg"}', (400, "malformed_base64")),
        (JSON, b'{"image": "\\ud800"}', (400, "malformed_base64")),
        (JSON, b'{"image": 7}', (400, "malformed_base64")),
        (JSON, b'{"image": "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"}', (400, "malformed_base64")),
        (JSON, b'{"image": "abc"}', (400, "malformed_base64")),
        (JSON, b'{"image": ""}', (422, "image_unreadable")),
        (JSON, b'{"image": "aGVsbG8="}', (422, "image_unreadable")),
        (JSON, json.dumps({"images": [IMAGE] * 33}).encode(), (400, "too_many_images")),
        (MULTIPART, (PART + png() + b"\r\n") * 33 + b"--x--\r\n", (400, "too_many_images")),
        ("text/plain", b"hello", (415, "unsupported_media_type")),
        ("", b"hello", (415, "unsupported_media_type")),
        ("image/png", png()[:45], (422, "image_unreadable")),
        ("image/jpeg", b"not a jpeg", (422, "image_unreadable")),
    ],
)
def test_each_way_to_be_wrong_has_its_code(
    mnist: Server, kind: str, body: bytes, expected: tuple[int, str]
) -> None:
    assert error_of(mnist.post(body, "/predict", kind)) == expected


def test_a_refusal_speaks_of_the_request_and_not_of_python(mnist: Server) -> None:
    for body, words in [
        (b'{"image": "", "n": %s}' % (b"7" * 5000), "too many digits"),
        (b"[" * 100_000, "too deep"),
        (b'{"image": "\xff"}', "UTF-8"),
        (b'{"image": "\\ud800"}', "other characters"),
        (b'{"image": "http://localhost/a.jpg"}', "not fetched"),
        (json.dumps({"images": [IMAGE], "image": IMAGE}).encode(), "one of them"),
        (b'{"image": "\\/%s"}' % (b"\xff" * 300), "other characters"),
        (b'{"image": "%s\\/"}' % (b"\0" * 300), "control character"),
        (b'{"image": "%s\\/"}' % (b"A\0" * 300), "control character"),
        (b'{"image": "%s\\x"}' % (b"A" * 300), "wrong escape"),
    ]:
        message = mnist.post(body, "/predict", JSON).json()["error"]["message"]
        assert words in message
        assert not any(word in message for word in PYTHONS), message
    part = PART.replace(b'name="images"', b'name="\xff\xfe"')
    message = mnist.post(part + b"\r\n--x--\r\n", "/", MULTIPART).json()["error"]["message"]
    assert not any(word in message for word in PYTHONS), message


def test_a_member_that_is_null_is_absent(mnist: Server) -> None:
    for members in ({"image": None, "images": [IMAGE]}, {"images": None, "image": IMAGE}):
        assert mnist.post(json.dumps(members).encode(), "/", JSON).status == 200
    nothing = json.dumps({"image": None}).encode()
    assert error_of(mnist.post(nothing, "/", JSON)) == (400, "no_image")


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, identity"])
def test_a_compressed_body_is_refused_as_that(mnist: Server, encoding: str) -> None:
    packed = gzip.compress(png())
    reply = mnist.request("POST", "/", packed, Content_Type="image/png", Content_Encoding=encoding)
    assert error_of(reply) == (415, "unsupported_media_type")
    assert encoding in reply.json()["error"]["message"]
    same = mnist.request("POST", "/", png(), Content_Type="image/png", Content_Encoding="identity")
    assert same.status == 200


def test_of_several_images_the_bad_one_is_named(mnist: Server) -> None:
    body = json.dumps({"images": [IMAGE, "aGVsbG8=", IMAGE]}).encode()
    reply = mnist.post(body, "/", JSON)
    assert error_of(reply) == (422, "image_unreadable")
    assert reply.json()["error"]["index"] == 1
    body = json.dumps({"images": [IMAGE, IMAGE, "?"]}).encode()
    assert mnist.post(body, "/", JSON).json()["error"]["index"] == 2


def test_an_unknown_route_and_a_wrong_method(mnist: Server) -> None:
    assert error_of(mnist.get("/nowhere")) == (404, "not_found")
    reply = mnist.request("DELETE", "/predict")
    assert error_of(reply) == (405, "method_not_allowed")
    assert "POST" in reply.headers["Allow"]
    assert error_of(mnist.post(png(), "/predict//")) == (404, "not_found")
    assert error_of(mnist.get("/health//")) == (404, "not_found")


def test_who_asks_for_a_websocket_is_answered_in_http(mnist: Server) -> None:
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert error_of(mnist.request("GET", "/predict", **upgrade)) == (405, "method_not_allowed")
    assert error_of(mnist.request("DELETE", "/", **upgrade)) == (405, "method_not_allowed")
    assert mnist.request("GET", "/health", **upgrade).status == 200
    reply = mnist.request("POST", "/", png(), Content_Type="image/png", **upgrade)
    assert reply.status == 200


def test_an_image_of_too_many_pixels_is_refused_by_its_header(mnist: Server) -> None:
    bomb, _ = hostile_images()["png_bomb"]
    assert error_of(mnist.post(bomb)) == (413, "image_too_large")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused_and_the_answer_arrives(
    mnist: Server, chunked: bool
) -> None:
    body = b"x" * (17 << 20)
    connection = http.client.HTTPConnection("127.0.0.1", mnist.port, timeout=60)
    content = iter([body[start : start + 65536] for start in range(0, len(body), 65536)])
    headers = {"Content-Type": "image/png"}
    connection.request("POST", "/", content if chunked else body, headers, encode_chunked=chunked)
    response = connection.getresponse()
    reply = Reply(response.status, dict(response.headers), response.read())
    connection.close()
    assert error_of(reply) == (413, "body_too_large")
    assert reply.headers["Connection"] == "close", "the rest of the body is not read"


def test_a_body_that_does_not_arrive_gets_408(start: Start) -> None:
    server = start(REQUEST_TIMEOUT_SECONDS=2, HANG_SECONDS=1).wait_ready()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
                     b"Content-Length: 100\r\n\r\nhalf")  # fmt: skip
        answer = sock.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"body_timeout" in answer
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHo")
        assert sock.makefile("rb").read().startswith(b"HTTP/1.1 408 ")


def test_a_body_that_ends_early_gets_400(mnist: Server) -> None:
    with socket.create_connection(("127.0.0.1", mnist.port), timeout=60) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
                     b"Content-Length: 100\r\n\r\nhalf")  # fmt: skip
        sock.shutdown(socket.SHUT_WR)
        answer = sock.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("chunks", [b"zz\r\nabc\r\n0\r\n\r\n", b"ff\r\nabc"])
def test_chunks_that_break_the_rules_get_400(mnist: Server, chunks: bytes) -> None:
    with socket.create_connection(("127.0.0.1", mnist.port), timeout=60) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n" + chunks)  # fmt: skip
        sock.shutdown(socket.SHUT_WR)
        answer = sock.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"malformed_body" in answer
    assert mnist.events("internal_error") == []


def test_a_full_queue_sheds_with_503_and_fails_no_probe(start: Start) -> None:
    server = start(
        MODEL="tests.stubs.models:Slow", MAX_CONCURRENT_REQUESTS=2, WORKERS=1, MAX_BATCH=1
    ).wait_ready()
    with Load(server, clients=8) as load:
        load.wait_answers(8)
        assert server.get("/health").status == 200
        assert server.get("/ready").status == 200
    shed = [reply for reply in load.answers if reply.status != 200]
    assert shed
    assert {error_of(reply) for reply in shed} == {(503, "queue_full")}
    assert all(int(reply.headers["Retry-After"]) > 0 for reply in shed)
    assert server.post(png()).status == 200

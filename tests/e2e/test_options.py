"""What a model declares beside its pixels, on the real server: parameters, routes, sizes."""

import base64
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from tests.conftest import Start
from tests.e2e.test_bad_input import error_of
from tests.e2e.test_serving import multipart
from tests.metrics import Scrape
from tests.server import Load, Server, png, serve
from tests.stubs.models import MARK

DEFAULTS = {"count": 5, "threshold": 0.5, "form": None}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("varied")
    with serve(folder, MODEL="tests.stubs.models:Varied", WORKERS=1) as server:
        yield server.wait_ready()


def test_a_result_without_a_key_is_the_answer_and_knows_the_posted_size(server: Server) -> None:
    answer = server.post(png((1, 2, 3), size=30)).json()
    assert (answer["width"], answer["height"], answer["shape"]) == (30, 30, [3, 30, 30])
    assert (answer["pixel"], answer["options"]) == ([1, 2, 3], DEFAULTS)


def test_many_images_of_several_sizes_are_results_in_order(server: Server) -> None:
    body, kind = multipart(*(png(size=size) for size in (30, 7, 300)))
    results = server.post(body, "/", kind).json()
    assert list(results) == ["results"]
    assert [result["width"] for result in results["results"]] == [30, 7, 300]
    body, kind = multipart(png(size=30))
    assert server.post(body, "/", kind).json()["width"] == 30


def test_requests_with_other_options_and_other_sizes_share_a_batch(server: Server) -> None:
    def ask(count: int) -> dict[str, object]:
        answer: dict[str, object] = server.post(png(size=count), f"/?count={count}").json()
        return answer

    with ThreadPoolExecutor(9) as pool:
        answers = list(pool.map(ask, [*range(1, 10)] * 3))
    assert [answer["options"] for answer in answers] == [
        {**DEFAULTS, "count": count} for count in [*range(1, 10)] * 3
    ]
    assert max(answer["batch"] for answer in answers) > 1  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("count=10", "from 1 to 9"),
        ("threshold=much", "a number from 0 to 1"),
        ("form=round", "one of long, short"),
        ("colour=red", "count, threshold, form"),
        ("count=1&count=2", "once"),
        ("%FF=%00", "count, threshold, form"),
    ],
)
def test_a_wrong_parameter_is_a_400_that_says_what_is_allowed(
    server: Server, query: str, words: str
) -> None:
    reply = server.post(png(), f"/predict?{query}")
    assert error_of(reply) == (400, "invalid_parameter")
    assert words in reply.json()["error"]["message"]


def test_a_parameter_in_the_body_is_a_400_that_says_where_it_goes(server: Server) -> None:
    file, kind = multipart(png())
    field = b'--x\r\nContent-Disposition: form-data; name="count"\r\n\r\n2\r\n'
    document = json.dumps({"image": base64.b64encode(png()).decode(), "count": 2}).encode()
    for body, sent_as in [(field + file, kind), (document, "application/json")]:
        reply = server.post(body, "/predict", sent_as)
        assert error_of(reply) == (400, "invalid_parameter")
        assert "?count=VALUE" in reply.json()["error"]["message"]
    for body, sent_as in [
        (field.replace(b"count", b"comment") + file, kind),
        (document.replace(b"count", b"comment"), "application/json"),
    ]:
        assert server.post(body, "/predict", sent_as).json()["options"] == DEFAULTS


def test_a_route_that_the_model_names_is_answered_and_no_other(server: Server) -> None:
    assert server.post(png(), "/analyze?count=3").json()["options"]["count"] == 3
    assert server.post(png(), "/analyze/").status == 200
    assert error_of(server.post(png(), "/analyse")) == (404, "not_found")
    refused = server.get("/analyze")
    assert error_of(refused) == (405, "method_not_allowed")
    assert refused.headers["Allow"] == "OPTIONS, POST"
    assert server.request("OPTIONS", "/analyze").headers["Allow"] == "OPTIONS, POST"
    assert error_of(server.get("/nowhere")) == (404, "not_found")


def test_a_route_that_the_model_names_counts_as_a_prediction(server: Server) -> None:
    def counted() -> float:
        scrape = Scrape(server)
        assert scrape("http_requests_total", route="/analyze") is None
        return scrape("http_requests_total", route="/predict", status=200) or 0

    before = counted()
    assert server.post(png(), "/analyze").status == 200
    assert counted() == before + 1


def test_the_deep_check_takes_the_same_images_and_parameters(server: Server) -> None:
    found = server.post(png(size=30), "/deep-health?count=2").json()
    assert (found["status"], found["result"]["options"]["count"]) == ("healthy", 2)


def test_status_tells_a_page_what_can_be_asked(server: Server) -> None:
    status = server.get("/status").json()
    assert status["routes"] == ["/analyze"]
    assert [option["name"] for option in status["options"]] == ["count", "threshold", "form"]


def test_an_image_too_long_for_the_model_is_a_413(server: Server, mnist: Server) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (101, 10)).save(stream, "PNG")
    assert error_of(server.post(stream.getvalue())) == (413, "image_too_large")
    assert mnist.wait_ready().post(stream.getvalue()).status == 200


def test_what_only_the_model_can_refuse_is_a_400_that_names_the_parameter(start: Start) -> None:
    server = start(MODEL="tests.stubs.models:Refuses").wait_ready()
    with Load(server, clients=4) as load:
        load.wait_answers(4)
        reply = server.post(png(MARK))
    assert error_of(reply) == (400, "invalid_parameter")
    assert reply.json()["error"]["parameter"] == "colour"
    assert load.failures == []
    assert server.events("batch_failed") == []

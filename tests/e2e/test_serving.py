"""The main job, on the real server with the real model."""

import base64
import http.client
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from tests.conftest import Start
from tests.server import ROOT, Server, wait_for

SEVEN = (ROOT / "docs/images/seven.jpg").read_bytes()
THREE = (ROOT / "docs/images/three-photo.jpg").read_bytes()


def multipart(*files: bytes, field: str = "images") -> tuple[bytes, str]:
    """Return a body and its content type, as curl would send it."""
    parts = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n%s\r\n" % (field.encode(), file)
        for file in files
    )
    return parts + b"--x--\r\n", "multipart/form-data; boundary=x"


def test_curl_with_a_handwritten_seven_gets_exactly_the_documented_body(mnist: Server) -> None:
    command = ["curl", "-sS", "-X", "POST", f"http://localhost:{mnist.port}/",
               "-F", "images=@docs/images/seven.jpg"]  # fmt: skip
    assert subprocess.check_output(command, cwd=ROOT) == b'{"mnist_result": 7}'


@pytest.mark.parametrize("path", ["/", "/predict"])
@pytest.mark.parametrize("field", ["images", "image", "file"])
def test_multipart_under_each_documented_name(mnist: Server, path: str, field: str) -> None:
    body, kind = multipart(THREE, field=field)
    assert mnist.post(body, path, kind).body == b'{"mnist_result": 3}'


@pytest.mark.parametrize("kind", ["image/jpeg", "application/octet-stream"])
def test_a_raw_body(mnist: Server, kind: str) -> None:
    assert mnist.post(SEVEN, "/", kind).json() == {"mnist_result": 7}


def test_a_chunked_body(mnist: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", mnist.port)
    connection.request("POST", "/", iter([SEVEN[:1000], SEVEN[1000:]]),
                       {"Content-Type": "image/jpeg"}, encode_chunked=True)  # fmt: skip
    assert connection.getresponse().read() == b'{"mnist_result": 7}'
    connection.request("GET", "/health")
    assert connection.getresponse().status == 200
    connection.close()


def test_ipv6(start: Start) -> None:
    server = start(HOST="::1")
    wait_for(lambda: "ready" in {line["event"] for line in server.events()}, "the model")
    url = f"http://[::1]:{server.port}/"
    command = ["curl", "-sS", "-F", "images=@docs/images/seven.jpg", url]
    assert subprocess.check_output(command, cwd=ROOT) == b'{"mnist_result": 7}'


def test_many_images_get_a_list_in_order(mnist: Server) -> None:
    body, kind = multipart(SEVEN, THREE, SEVEN)
    assert mnist.post(body, "/", kind).body == b'{"mnist_result": [7, 3, 7]}'


def test_json_with_one_image_a_data_url_and_a_list(mnist: Server) -> None:
    seven, three = (base64.b64encode(image).decode() for image in (SEVEN, THREE))
    answers = [
        mnist.post(json.dumps(members).encode(), "/predict", "application/json").json()
        for members in (
            {"image": seven},
            {"image": f"data:image/jpeg;base64,{three}"},
            {"images": [seven]},
            {"images": [seven, three]},
        )
    ]
    results = [answer["mnist_result"] for answer in answers]
    assert results == [7, 3, [7], [7, 3]]


def test_every_answer_says_which_weights_and_how_long(mnist: Server) -> None:
    reply = mnist.request("POST", "/", SEVEN, Content_Type="image/jpeg", X_Request_Id="mine-1")
    assert reply.headers["X-Request-Id"] == "mine-1"
    assert len(reply.headers["X-Model-Version"]) == 12
    timing = reply.headers["Server-Timing"]
    assert all(f"{hop};dur=" in timing for hop in ("decode", "queue", "inference"))


def test_a_request_id_that_could_break_a_log_line_is_replaced(mnist: Server) -> None:
    assert mnist.get("/health", X_Request_Id='"}{').headers["X-Request-Id"] != '"}{'


def test_the_torch_free_processes_are_free_of_torch(mnist: Server) -> None:
    with_torch = [
        pid for pid in mnist.processes() if "libtorch" in Path(f"/proc/{pid}/maps").read_text()
    ]
    assert len(with_torch) == 2, "the nursery and the engine"
    code = "import sys, app.wsgi, app.engine.supervisor; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env={
        **os.environ, "STATE_DIR": str(mnist.state_dir)})  # fmt: skip


def test_what_config_json_promises_modelarts_is_what_is_answered(mnist: Server) -> None:
    config = json.loads((ROOT / "config.json").read_text())
    [api] = config["apis"]
    [field] = api["request"]["data"]["properties"]
    schema = api["response"]["data"]
    for files in ((SEVEN,), (SEVEN, THREE)):
        body, kind = multipart(*files, field=field)
        reply = mnist.request(api["method"].upper(), api["url"], body, Content_Type=kind)
        assert reply.headers["Content-Type"] == api["response"]["Content-type"]
        jsonschema.validate(reply.json(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"mnist_result": "seven"}, schema)
    for probe in ("health", "readiness_health", "startup_health"):
        assert mnist.get(config[probe]["url"]).json() == {"health": "true"}


def test_torchvision_answers_the_five_likeliest_classes_as_torchvision_would(
    start: Start, tmp_path: Path
) -> None:
    server: Server = start(MODEL="torchvision/resnet18", WEIGHTS="random")
    server.wait_ready()
    body, kind = multipart(SEVEN, THREE)
    reply = server.post(body, "/", kind)
    first, second = reply.json()["predictions"]
    assert len(first) == len(second) == 5
    assert set(first[0]) == {"class_id", "label", "score"}
    assert reply.headers["X-Model-Version"] == "random-0"
    script = (
        "import sys, torch, json\n"
        "from PIL import Image\n"
        "from torchvision.models import get_model, get_model_weights\n"
        "torch.manual_seed(0)\n"
        "net = get_model('resnet18').eval()\n"
        "entry = get_model_weights('resnet18').DEFAULT\n"
        "x = entry.transforms()(Image.open('docs/images/seven.jpg').convert('RGB'))[None]\n"
        "with torch.inference_mode():\n"
        "    s, c = net(x).softmax(1).topk(5)\n"
        "names = entry.meta['categories']\n"
        "print(json.dumps([[i, names[i], p] for i, p in zip(c[0].tolist(), s[0].tolist())]))\n"
    )
    expected = json.loads(subprocess.check_output([sys.executable, "-c", script], cwd=ROOT))
    assert [(p["class_id"], p["label"]) for p in first] == [(c, name) for c, name, _ in expected]
    for prediction, (_, _, score) in zip(first, expected, strict=True):
        assert prediction["score"] == pytest.approx(score, abs=1e-4)


def test_weights_from_a_file_are_served_under_their_own_hash(start: Start, tmp_path: Path) -> None:
    script = (
        "import torch\nfrom torchvision.models import get_model\n"
        f"torch.save(get_model('resnet18').state_dict(), {str(tmp_path / 'mine.pth')!r})"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    digest = subprocess.check_output(["sha256sum", str(tmp_path / "mine.pth")]).decode()
    server: Server = start(MODEL="torchvision/resnet18", MODEL_PATH=tmp_path / "mine.pth")
    reply = server.wait_ready().post(SEVEN, "/", "image/jpeg")
    assert reply.headers["X-Model-Version"] == digest[:12]


def test_torchvisions_own_weights_come_from_its_cache(start: Start, tmp_path: Path) -> None:
    cached = tmp_path / "torch/hub/checkpoints/resnet18-f37072fd.pth"
    cached.parent.mkdir(parents=True)
    script = (
        "import torch\nfrom torchvision.models import get_model\n"
        f"torch.save(get_model('resnet18').state_dict(), {str(cached)!r})"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    digest = subprocess.check_output(["sha256sum", str(cached)]).decode()
    server = start(MODEL="torchvision/resnet18", TORCH_HOME=tmp_path / "torch").wait_ready()
    reply = server.post(SEVEN, "/", "image/jpeg")
    assert len(reply.json()["predictions"]) == 5
    assert reply.headers["X-Model-Version"] == digest[:12]


def test_a_token_guards_everything_but_the_probes(start: Start) -> None:
    server: Server = start(AUTH_TOKEN="hush")
    server.wait_ready()
    refused = server.post(SEVEN, "/", "image/jpeg")
    assert (refused.status, refused.json()["error"]["code"]) == (401, "unauthorized")
    assert server.get("/status").status == 401
    for value in ("hush", "Bearer hush"):
        reply = server.request("POST", "/", SEVEN, Content_Type="image/jpeg", Authorization=value)
        assert reply.json() == {"mnist_result": 7}
    assert "hush" not in server.log.read_text()

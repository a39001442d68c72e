"""What the recipe in plain.sh serves: the same route, no model at all, gunicorn's own worker."""

from flask import Flask, Response, request

application = Flask("plain", static_folder=None)


@application.get("/health")
def health() -> dict[str, str]:
    """Say yes."""
    return {"health": "true"}


@application.post("/predict")
def predict() -> Response:
    """Read the image and answer; every image is a seven."""
    request.get_data()
    response = application.json.response({"mnist_result": 7})
    response.headers["X-Request-Id"] = request.headers["X-Request-Id"]
    return response

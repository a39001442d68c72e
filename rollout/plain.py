"""What the recipe in plain.sh serves: the same route, no model at all, gunicorn's own worker."""

from flask import Flask, request

application = Flask("plain", static_folder=None)


@application.get("/health")
def health() -> dict[str, str]:
    """Say yes."""
    return {"health": "true"}


@application.post("/predict")
def predict() -> tuple[dict[str, int], dict[str, str]]:
    """Read the image and answer; every image is a seven."""
    request.get_data()
    return {"mnist_result": 7}, {"X-Request-Id": request.headers["X-Request-Id"]}

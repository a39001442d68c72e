"""A misspelt setting is found; what only looks a little like one is left alone."""

import pytest

from app.spelling import misspelt


@pytest.mark.parametrize(
    ("given", "meant"),
    [("MAX_BODY_BM", "MAX_BODY_MB"), ("WORKER", "WORKERS"), ("max_batch", "MAX_BATCH"),
     ("MODELPATH", "MODEL_PATH"), ("DRAIN_SECOND", "DRAIN_SECONDS"),
     ("REQUEST_TIMEOUT", "REQUEST_TIMEOUT_SECONDS"), ("GRACEFUL_TIMEOUT", "GRACEFUL_SECONDS"),
     ("MAX_BODY", "MAX_BODY_MB"), ("drain_timeout", "DRAIN_SECONDS")],
)  # fmt: skip
def test_a_misspelt_setting_is_found(given: str, meant: str) -> None:
    assert list(misspelt({given: "1", "PORT": "8080"})) == [(given, meant)]


def test_other_variables_are_left_alone() -> None:
    usual = ["HOSTNAME", "HOME", "PATH", "PYTHONPATH", "LANG", "TERM", "KUBERNETES_SERVICE_HOST",
             "KUBERNETES_PORT", "UNBROKEN_PORT_8080_TCP", "CUDA_VISIBLE_DEVICES", "VIRTUAL_ENV",
             "LOAD", "DRAIN", "LOGNAME", "SHELL", "OMP_NUM_THREADS", "NVIDIA_VISIBLE_DEVICES",
             "PORT0", "PORT1"]  # fmt: skip
    assert not list(misspelt(dict.fromkeys(usual, "1")))

"""gunicorn's settings, derived from ours: ``gunicorn -c python:app.gunicorn_conf``."""

import logging
import os
from typing import Any

from app import logs, spelling
from app.settings import Settings

_settings = Settings.read()
logs.configure(_settings.log_level, _settings.log_format, "arbiter")

wsgi_app = "app.wsgi:application"
worker_class = "app.worker.LosslessWorker"
bind = (
    f"[{_settings.host}]:{_settings.port}"
    if ":" in _settings.host
    else (f"{_settings.host}:{_settings.port}")
)
workers = _settings.workers
keepalive = _settings.keepalive_seconds
graceful_timeout = _settings.graceful_seconds
timeout = 30  # a worker whose loop is stuck for so long is killed and replaced
backlog = 2048
worker_tmp_dir = _settings.state_dir
control_socket_disable = True  # it would lie in the home directory, which may not be writable
logconfig_dict = logs.dict_config(_settings.log_level, _settings.log_format)
errorlog = "-"
accesslog = None  # app.web logs requests, with what only it knows


def on_starting(_server: Any) -> None:
    """Tell what would be ignored without a word; the arbiter starts once, whoever is respawned."""
    for given, meant in spelling.misspelt(os.environ):
        sentence = f"{given} is no setting; {meant} is one"
        logs.event("setting_unknown", level=logging.WARNING, message=sentence)


def post_fork(_server: Any, _worker: Any) -> None:
    """Name the worker's log lines."""
    logs.configure(_settings.log_level, _settings.log_format, "worker")

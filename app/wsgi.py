"""The composition root of an HTTP worker: gunicorn imports it in each worker process."""

from app.engine.client import EngineClient
from app.settings import Settings
from app.web.app import create_app

_settings = Settings.read()
_engine = EngineClient(_settings)
_engine.start()
application = create_app(_settings, _engine)

"""The composition root of an HTTP worker: gunicorn imports it in each worker process."""

import sys

from gevent import get_hub

from app import limits
from app.engine.client import EngineClient
from app.settings import Settings
from app.web.app import create_app

_settings = Settings.read()
# A loop that waits for the GIL while decoders have it gets it in a tenth of Python's usual time.
sys.setswitchinterval(0.0005)
# Decoders: more than there are cores would only take turns, one alone could be held up.
get_hub().threadpool.maxsize = max(2, limits.cores())
_engine = EngineClient(_settings)
_engine.start()
application = create_app(_settings, _engine)

"""Posts what PAI-EAS' autoscaler goes by: there, metrics are pushed, not scraped.

In the supervisor, in a thread of its own: a receiver that hangs holds up nothing.
"""

import http.client
import json
import logging
import threading
import time
from urllib.parse import urlsplit

from app import logs

PERIOD_SECONDS = 5.0
TIMEOUT_SECONDS = 3.0
_LONGEST_ANSWER = 4096  # bytes; what it says is of no interest


class Push:
    """The thread, and what it says next.

    Args:
        url: EAS_METRICS_URL.
        period: seconds between posts.
    """

    def __init__(self, url: str, period: float = PERIOD_SECONDS) -> None:
        self._url = urlsplit(url)
        self._period = period
        self._values = {"queue_length": 0, "inflight": 0}
        self._failing = False

    def start(self) -> None:
        """Begin to post, for the life of the process."""
        threading.Thread(target=self._go_on, name="push", daemon=True).start()

    def note(self, queue_length: int, inflight: int) -> None:
        """Say what is true now."""
        self._values = {"queue_length": queue_length, "inflight": inflight}

    def _go_on(self) -> None:
        while True:
            try:
                self._post([{"name": name, "value": v} for name, v in self._values.items()])
            except (OSError, http.client.HTTPException) as error:
                if not self._failing:  # said once: a sidecar can be away for hours
                    logs.event("eas_push_failed", level=logging.WARNING, message=str(error))
                self._failing = True
            else:
                if self._failing:
                    logs.event("eas_push_works")
                self._failing = False
            time.sleep(self._period)

    def _post(self, rows: list[dict[str, object]]) -> None:
        secure = self._url.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self._url.hostname or "", self._url.port, timeout=TIMEOUT_SECONDS)
        target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        try:
            connection.request(
                "POST", target, json.dumps(rows), {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            response.read(_LONGEST_ANSWER)
        finally:
            connection.close()
        if not 200 <= response.status < 300:
            raise http.client.HTTPException(f"the answer was {response.status} {response.reason}")

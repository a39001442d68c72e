"""``python -m app probe NAME``: asks the server on this machine; the image needs no curl."""

import http.client

from app.settings import Settings

NAMES = ("live", "ready", "health", "startup")
TIMEOUT_SECONDS = 4.0  # below the 5 s after which Docker kills a health check


def probe(name: str, settings: Settings) -> tuple[int, str]:
    """Return the exit code and what the server said.

    The code is 0 or 1, never another one: Docker reserves 2.
    """
    if name not in NAMES:
        return 1, f"there is no probe {name!r}; there are {', '.join(NAMES)}"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    connection = http.client.HTTPConnection(host, settings.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", f"/{name}", headers={"User-Agent": "unbroken-probe"})
        response = connection.getresponse()
        text = response.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return 1, f"no answer on port {settings.port}: {error}"
    finally:
        connection.close()
    return (0 if response.status == 200 else 1), text

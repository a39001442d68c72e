"""One line an event on standard output, from every process; JSON, or text for a terminal."""

import json
import logging
import logging.config
import sys
import time
from typing import Any

_LOGGER = logging.getLogger("unbroken")
_process = "unbroken"


def name_process(name: str) -> None:
    """Say which process this is; a fork calls it anew."""
    global _process  # noqa: PLW0603  the name belongs to the process, like its pid
    _process = name


def event(
    name: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: object
) -> None:
    """Log one event.

    Args:
        name: snake_case, always the same for the same happening.
        level: of ``logging``.
        error: its traceback goes into the line, never to a client.
        fields: JSON values; None is left out.
    """
    _LOGGER.log(level, name, extra={"fields": fields}, exc_info=error)


def _members(record: logging.LogRecord) -> dict[str, Any]:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    members: dict[str, Any] = {
        "time": f"{seconds}.{int(record.msecs):03d}Z",
        "level": record.levelname.lower(),
        "process": _process,
        "pid": record.process,
    }
    if record.name == _LOGGER.name:
        fields: dict[str, object] = getattr(record, "fields", {})
        members["event"] = record.getMessage()
        members |= {key: value for key, value in fields.items() if value is not None}
    else:  # a library's record: its words are the message
        members |= {"event": "log", "logger": record.name, "message": record.getMessage()}
    if record.exc_info and record.exc_info[1]:
        members["traceback"] = logging.Formatter().formatException(record.exc_info)
    return members


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        return json.dumps(_members(record), default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """``12:00:01 info  worker  ready  model=mnist``, for a person at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback follows on lines of its own."""
        members = _members(record)
        head = f"{members.pop('time')[11:19]} {members.pop('level'):<8}{members.pop('process'):<11}"
        members.pop("pid")
        traceback = members.pop("traceback", "")
        words = [str(members.pop("event")), *(f"{k}={v}" for k, v in members.items())]
        return head + "  ".join(words) + (f"\n{traceback}" if traceback else "")


def dict_config(level: str, form: str) -> dict[str, Any]:
    """Return the ``logging.config`` that every process uses, gunicorn's included.

    Args:
        level: LOG_LEVEL.
        form: LOG_FORMAT, ``json`` or ``text``.
    """
    formatter = JsonFormatter if form == "json" else TextFormatter
    quiet: dict[str, Any] = {"handlers": [], "propagate": True, "level": "NOTSET"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {
            "out": {"class": "logging.StreamHandler", "stream": sys.stdout, "formatter": "line"}
        },
        "root": {"level": level, "handlers": ["out"]},
        "loggers": {
            # Pillow's plugins trace every chunk of a file at DEBUG.
            "PIL": {**quiet, "level": "WARNING"},
            "gunicorn.error": quiet,
            "gunicorn.access": quiet,
        },
    }


def configure(level: str, form: str, process: str) -> None:
    """Set this process up to log, its uncaught exceptions and warnings included."""
    logging.config.dictConfig(dict_config(level, form))
    logging.captureWarnings(capture=True)
    logging.raiseExceptions = False  # a broken log pipe would be logged, for ever
    name_process(process)
    sys.excepthook = lambda kind, error, _: event(
        "uncaught_exception", level=logging.CRITICAL, error=error, type=kind.__name__
    )

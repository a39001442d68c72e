"""The declarations as tables: for a terminal, and for the generated pages of docs/reference/."""

from app import errors, metrics
from app.settings import Settings, declarations


def _shown(settings: Settings, name: str, *, secret: bool) -> str:
    value = getattr(settings, name)
    if value is None:
        return "-"
    return "(set)" if secret else str(value)


def settings_in_force(settings: Settings) -> str:
    """Return each variable with its value and where that came from."""
    rows = [("name", "value", "from", "allowed")]
    for declared in declarations():
        meta = declared.metadata
        value = _shown(settings, declared.name, secret=meta["secret"])
        rows.append(
            (declared.name.upper(), value, settings.origin[declared.name], meta["kind"].allowed)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True)).rstrip()
        for row in rows
    )


_SETTINGS_PAGE = """\
# Settings

Environment variables, read once at the start. A wrong value stops the start with a sentence that
names the variable, the value and what is allowed. An empty value counts as unset; where a row has
several names, the first that is set counts. A variable whose name is nearly one of these is told in
the log (`setting_unknown`). `python -m app settings` shows the values in force and where each came
from. Written by `make docs` from `app/settings.py`.

"""

_ERRORS_PAGE = """\
# Errors

Every error is JSON, with a stable `code` and a `message` for people:

    {"error": {"code": "image_unreadable", "message": "…", "index": 1, "request_id": "…"}}

`index` says which of several images it is about. Written by `make docs` from `app/errors.py`.

"""


_METRICS_PAGE = f"""\
# Metrics

`GET /metrics` answers in Prometheus' text format, or in OpenMetrics where `Accept` asks for it. It
needs no token. Any HTTP worker answers for all: the engine supervisor adds up what workers and
engines have counted, so the sums outlive the processes. What workers counted is up to date at each
scrape, what engines counted is at most half a second old. A process that is killed takes with it
its gauges, and what it had not told yet: a second's counts at most.

Not counted is a request whose head was broken or came too slowly. What comes after the first
{metrics.MAX_SERIES:,} series of a metric is added up under `{metrics.OTHER}`.

Written by `make docs` from `app/metrics.py`.

"""


def metrics_markdown() -> str:
    """Return docs/reference/metrics.md."""
    rows = ["| name | type | labels | meaning |", "|---|---|---|---|"]
    histograms = []
    for metric in metrics.ALL:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        if metric.values and metric is not metrics.ERRORS:
            labels += ": " + ", ".join(metric.values)
        rows.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |")
        if metric.buckets:
            bounds = ", ".join(f"{bound:g}" for bound in metric.buckets)
            histograms.append(f"| `{metric.name}` | {bounds} |")
    buckets = ["", "| histogram | buckets up to |", "|---|---|", *histograms]
    return _METRICS_PAGE + "\n".join([*rows, *buckets]) + "\n"


def errors_markdown() -> str:
    """Return docs/reference/errors.md."""
    rows = ["| status | `code` | meaning | `Retry-After` |", "|---|---|---|---|"]
    for error in sorted(errors.ALL, key=lambda e: e.status):
        retry = f"{error.retry_after} s" if error.retry_after else ""
        rows.append(f"| {error.status} | `{error.code}` | {error.meaning} | {retry} |")
    return _ERRORS_PAGE + "\n".join(rows) + "\n"


def settings_markdown() -> str:
    """Return docs/reference/settings.md."""
    rows = ["| name | default | allowed | meaning |", "|---|---|---|---|"]
    for declared in declarations():
        meta = declared.metadata
        names = ", ".join(f"`{name}`" for name in (*meta["first"], declared.name.upper()))
        default = meta["shown"] or str(meta["default"]).lower()
        if isinstance(meta["default"], str):
            default = f"`{meta['default']}`"
        rows.append(f"| {names} | {default} | {meta['kind'].allowed} | {meta['meaning']} |")
    return _SETTINGS_PAGE + "\n".join(rows) + "\n"

"""From results to Markdown: tables first, then each criterion with its figure."""

import math
from collections.abc import Iterable, Sequence
from statistics import median

from benchmarks.house import Memory
from benchmarks.results import Probes, Results, percentile

NOISE_CORES = 0.1
_PROBE_COLUMNS = ("probes", "p50 ms", "p99 ms", "max ms", "not 200", "own clock late, p99 ms")
VARIANTS = {
    "plain": "plain: eager NCHW, decode then forward",
    "strong": "strong: channels_last, the engine's malloc settings",
    "pooled": "pooled: strong, and decodes a batch's images in parallel",
}


def markdown(measured: Results) -> str:
    """Return the whole report."""
    parts = [
        "# Benchmarks",
        "Written by `python -m benchmarks.serving --write`; how to read it is in "
        "[benchmarks/README.md](../benchmarks/README.md).",
        *measured.machine, _options(measured), _noise(measured),
        "## Against what was wanted", _criteria(measured),
        "## Bare loops", _bare(measured),
        "## The server under closed-loop clients", _served(measured),
        "## /health under load, asked every 50 ms", _probes(measured),
        "## /health under loads of every kind, asked every 50 ms", pressed(measured),
        "## Start-up", _starts(measured),
        "## Memory", _memory(measured),
        "## The server's own cost: mnist, 16 clients, a 4 KB JPEG", _cost(measured),
        "## What metrics cost", counting(measured),
        "## SIGKILL of the engine under 16 clients", _recovery(measured),
    ]  # fmt: skip
    return "\n\n".join(parts)


def _options(measured: Results) -> str:
    options = measured.options
    return (
        f"`{options['model']}` (weights {options['weights']}), {options['engines']} engine, "
        f"{options['rounds']} rounds, "
        f"windows of {options['seconds']:g} s, JPEGs of 500 × 375 pixels and about 60 KB."
    )


def _noise(measured: Results) -> str:
    others = [turn.others for turn in measured.rounds]
    shown = ", ".join(f"{cores:.2f}" for cores in others)
    verdict = (
        "**A noisy machine: take these figures as indications.**"
        if max(others) > NOISE_CORES
        else "A quiet machine."
    )
    return f"Cores that others used during each round: {shown}. {verdict}"


def _criteria(measured: Results) -> str:
    rows = []
    start = max((s.worker_ms for s in measured.starts), default=math.nan)
    rows.append(
        ("A worker answers `/live` after its start", "< 1000 ms", f"{start:.0f} ms", start < 1000)
    )
    workers = [m for m in measured.at_rest + measured.after_load if m.role == "worker"]
    largest = max((m.rss for m in workers), default=math.nan)
    rows.append(
        ("Resident memory of an HTTP worker", "< 120 MB", f"{largest:.1f} MB", largest < 120)
    )
    torch = any(m.torch for m in workers)
    rows.append(("libtorch in an HTTP worker", "no", "yes" if torch else "no", not torch))
    for line in ("new", "kept"):
        times = _pooled(measured, 16, line)
        p99 = percentile(times, 0.99)
        what = f"`/health` p99 under 16 clients, {line} connections"
        rows.append((what, "< 50 ms", f"{p99:.1f} ms of {len(times)} probes", p99 < 50))
    for variant in VARIANTS:
        ratios = measured.ratios(variant, 16)
        middle = median(ratios) if ratios else math.nan
        what = f"Throughput of 16 clients over the bare loop, {variant}"
        rows.append((what, "≥ 0.90", _spread(ratios, 2), middle >= 0.9))
    return _table(
        ("criterion", "wanted", "measured", "reached"),
        [(what, wanted, got, "yes" if met else "no") for what, wanted, got, met in rows],
    )


def _bare(measured: Results) -> str:
    batches = sorted({bare.batch for turn in measured.rounds for bare in turn.bare})
    rows = []
    for variant, words in VARIANTS.items():
        best = measured.best_batch(variant)
        cells = []
        for batch in batches:
            found = [
                bare for turn in measured.rounds for bare in turn.bare
                if (bare.variant, bare.batch) == (variant, batch)
            ]  # fmt: skip
            cell = _spread([bare.rate for bare in found], 1)
            cells.append(f"**{cell}**" if batch == best else cell)
        rows.append((words, *cells))
    head = ("images/s by batch size", *map(str, batches))
    return _table(head, rows) + "\n\nBold: the best median of its row, which is the reference."


def _served(measured: Results) -> str:
    rows = []
    for clients in sorted({t.clients for turn in measured.rounds for t in turn.served}):
        windows = [t for turn in measured.rounds for t in turn.served if t.clients == clients]
        ratios = [_spread(measured.ratios(variant, clients), 2) for variant in VARIANTS]
        times = [ms for window in windows for ms in window.latencies_ms]
        rows.append((
            clients, _spread([w.rate for w in windows], 1), *ratios, f"{median(times):.0f}",
            f"{percentile(times, 0.99):.0f}", _failures(w.failures for w in windows),
            *(f"{median(w.cores.get(name, 0.0) for w in windows):.2f}"
              for name in ("worker", "engine", "clients")),
        ))  # fmt: skip
    head = ("clients", "images/s", *(f"/ {variant}" for variant in VARIANTS), "p50 ms", "p99 ms",
            "failed", "cores: workers", "engine", "clients' own")  # fmt: skip
    return _table(head, rows)


def _probes(measured: Results) -> str:
    rows = []
    for clients, line in sorted({(p.clients, p.line) for p in _all_probes(measured)}):
        probes = [p for p in _all_probes(measured) if (p.clients, p.line) == (clients, line)]
        times = _pooled(measured, clients, line)
        late = [ms for p in probes for ms in p.late_ms]
        rows.append((
            clients, line, len(times), *_three(times), _failures(p.failures for p in probes),
            f"{percentile(late, 0.99):.1f}",
        ))  # fmt: skip
    return _table(("clients", "connection", *_PROBE_COLUMNS), rows)


def pressed(measured: Results) -> str:
    """Return the table of probes under loads of every kind."""
    rows = [
        (under.load, under.probes.line, len(under.probes.times_ms),
         *_three(under.probes.times_ms), _failures([under.probes.failures]),
         f"{percentile(under.probes.late_ms, 0.99):.1f}",
         f"{100 * under.within / under.answered:.1f} % of {under.answered}")
        for under in measured.pressed
    ]  # fmt: skip
    return _table(("load", "connection", *_PROBE_COLUMNS, "made within 10 ms"), rows)


def _starts(measured: Results) -> str:
    starts = measured.starts
    rows = [
        ("run.sh to the first 200 of `/live`", _spread([s.live_ms for s in starts], 0)),
        ("run.sh to the first 200 of `/health`", _spread([s.health_ms for s in starts], 0)),
        ("worker's first log line to `/live`", _spread([s.worker_ms for s in starts], 0)),
    ]
    return _table(("", "ms"), rows)


def _memory(measured: Results) -> str:
    rows = []
    for when, found in (("at rest", measured.at_rest), ("after load", measured.after_load)):
        rows += [(when, *_memory_row(role, found)) for role in sorted({m.role for m in found})]
        if found:
            rows.append((when, "all", "", "", f"{sum(m.pss for m in found):.1f}"))
    return _table(("", "process", "count", "RSS MB, largest", "PSS MB, sum"), rows)


def _memory_row(role: str, found: Sequence[Memory]) -> tuple[object, ...]:
    these = [m for m in found if m.role == role]
    return role, len(these), f"{max(m.rss for m in these):.1f}", f"{sum(m.pss for m in these):.1f}"


def _cost(measured: Results) -> str:
    windows = measured.cost
    times = [ms for window in windows for ms in window.latencies_ms]
    names = ("worker", "engine", "supervisor", "clients")
    row = (
        _spread([w.rate for w in windows], 0), f"{median(times):.1f}" if times else "",
        f"{percentile(times, 0.99):.1f}", _failures(w.failures for w in windows),
        *(_spread([w.micros.get(name, 0.0) for w in windows], 0) for name in names),
    )  # fmt: skip
    head = ("requests/s", "p50 ms", "p99 ms", "failed", "CPU µs a request: workers", "engine",
            "supervisor", "clients' own")  # fmt: skip
    return _table(head, [row])


def counting(measured: Results) -> str:
    """Return the table of what metrics cost."""
    rows = [(name, _spread(values, 1)) for name, values in measured.counting.items()]
    return _table(("step", "CPU µs"), rows) + (
        "\n\nEach step alone, many times over in one process: its caches are warm."
    )


def _recovery(measured: Results) -> str:
    found = measured.recoveries
    silence = [r.silence_ms for r in found if not math.isnan(r.silence_ms)]
    sent = [r.sent_after_ms for r in found if not math.isnan(r.sent_after_ms)]
    rows = [
        (what, f"{median(times):.0f}", f"{max(times):.0f}")
        for what, times in (
            ("end of the silence", silence),
            ("first answer to a request sent after the kill", sent),
        )
        if times
    ]
    text = _table((f"ms after the kill, {len(found)} kills", "median", "worst"), rows)
    return text + f"\n\nFailed requests: {_failures([measured.recovery_failures])}."


def _all_probes(measured: Results) -> list[Probes]:
    return [p for turn in measured.rounds for p in turn.probes]


def _pooled(measured: Results, clients: int, line: str) -> list[float]:
    probes = [p for p in _all_probes(measured) if (p.clients, p.line) == (clients, line)]
    return [ms for p in probes for ms in p.times_ms]


def _three(times: Sequence[float]) -> tuple[str, ...]:
    return tuple(f"{percentile(times, share):.1f}" for share in (0.5, 0.99, 1.0))


def _failures(counts: Iterable[dict[str, int]]) -> str:
    total: dict[str, int] = {}
    for count in counts:
        for name, number in count.items():
            total[name] = total.get(name, 0) + number
    return ", ".join(f"{number} × {name}" for name, number in sorted(total.items())) or "0"


def _spread(values: Sequence[float], digits: int) -> str:
    """Return ``median (min–max)``."""
    if not values:
        return "not measured"
    middle, low, high = (f"{v:.{digits}f}" for v in (median(values), min(values), max(values)))
    return f"{middle} ({low}–{high})" if len(values) > 1 else middle


def _table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)

"""From rows to the table, and into docs/lossless.md."""

from collections.abc import Sequence
from pathlib import Path

from rollout.stage import Row

BEGIN, END = "<!-- rollout: begin -->", "<!-- rollout: end -->"
_HEAD = (
    "case", "balancer", "requests", "lost", "lost by the balancer itself",
    "failed in the balancer's log", "details",
)  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown."""
    lines = [_HEAD, ["---"] * len(_HEAD), *(_cells(row) for row in rows)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def write(page: Path, text: str) -> None:
    """Put the text between the page's markers."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def _cells(row: Row) -> list[object]:
    lost = str(row.lost)
    if not row.holds:
        lost = f"**{lost}**"
    elif row.lost and row.allowed:
        lost += f" (of {row.allowed} at most)"
    details = [row.details, f"clients saw {row.kinds}" if row.kinds else "", *row.faults]
    return [
        row.case, row.balancer, f"{row.requests:,}", lost, row.own, row.log,
        "; ".join(filter(None, details)),
    ]  # fmt: skip

"""The proof's own judgement: whose loss a failure is, and when a promise was broken."""

from pathlib import Path

import pytest

from rollout import report
from rollout.balancer import Log
from rollout.stage import Row, is_own


def row(**members: object) -> Row:
    """Return a row in which nothing was lost."""
    base = {"case": "upgrade", "balancer": "nginx", "requests": 2000, "lost": 0, "own": 0,
            "kinds": "", "log": "0 of 2,000"}  # fmt: skip
    return Row(**{**base, **members})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("balancer", "outcome", "reused", "logged", "own"),
    [
        ("nginx", "reset", True, False, True),
        ("nginx", "closed early", True, False, True),
        ("nginx", "closed early", True, True, False),  # it knew the request and gave no answer
        ("nginx", "reset", False, False, False),  # a reload closes no new connection
        ("nginx", "502", True, True, False),
        ("nginx", "refused", False, False, False),
        ("HAProxy", "closed early", True, False, False),  # it closes silently when a server did
    ],
)
def test_only_a_kept_connection_that_a_reload_cut_is_the_balancers_own_loss(
    balancer: str, outcome: str, reused: bool, logged: bool, own: bool
) -> None:
    failure = {"id": "s1-7", "outcome": outcome, "reused": reused}
    log = Log(statuses={"s1-7": 499} if logged else {})

    assert is_own(balancer, failure, log) is own


def test_one_lost_request_or_one_fault_breaks_a_promise() -> None:
    assert row().holds
    assert not row(lost=1).holds
    assert not row(faults=("exit code 1",)).holds


def test_what_is_not_ours_to_promise_breaks_nothing() -> None:
    assert row(lost=37, allowed=None).holds
    assert row(lost=3, allowed=3).holds
    assert not row(lost=4, allowed=3).holds


def test_the_page_keeps_what_stands_around_the_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")

    report.write(page, "new")

    assert page.read_text() == f"before\n{report.BEGIN}\nnew\n{report.END}\nafter\n"

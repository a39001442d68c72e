"""One case's stage: both balancers, new for each case, before the same instances; and the verdict.

Both stand before the same instances, so that each event is seen through both at once.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rollout.balancer import Balancer, Log
from rollout.haproxy import Haproxy
from rollout.nginx import Nginx
from rollout.traffic import Plan, Seen, Traffic
from tests.server import Server


@dataclass
class Row:
    """One line of the table.

    Args:
        case: what happened.
        balancer: through which one it was seen.
        requests: how many there were.
        lost: those that the instances lost, by the clients' count or by the balancer's.
        own: those that the balancer lost by itself: it reset an idle connection of a client, and
            its log knows nothing of the request.
        kinds: what the clients saw instead of an answer, all of them.
        log: what the balancer's own log has, bare.
        details: figures of the case.
        allowed: how many may be lost; None where it is not ours to promise.
        faults: what else was not in order.
    """

    case: str
    balancer: str
    requests: int
    lost: int
    own: int
    kinds: str
    log: str
    details: str = ""
    allowed: int | None = 0
    faults: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether the promise was kept."""
        return not self.faults and (self.allowed is None or self.lost <= self.allowed)


class Stage:
    """Balancers and clients around some instances, from the enter to the end of a case.

    Args:
        folder: empty.
        servers: behind the balancers at first; all ready.
        plan: of the clients of each balancer.
    """

    def __init__(self, folder: Path, servers: Sequence[Server], plan: Plan) -> None:
        self._folder = folder
        self._servers = list(servers)
        self._plan = plan
        self._balancers: list[Balancer] = []
        self.traffics: list[Traffic] = []
        self.seen: list[Seen] = []

    def __enter__(self) -> Self:
        try:
            for kind in (Nginx, Haproxy):
                self._enter(kind)
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave()

    # ---- while it goes on

    def replace(self, old: Server, new: Server | None) -> None:
        """Tell both balancers: the new one instead of the old one."""
        self._servers = [server for server in self._servers if server is not old]
        if new is not None:
            self._servers.append(new)
        self.reload()

    def reload(self) -> None:
        """Tell both balancers, even if there is nothing new."""
        for balancer in self._balancers:
            balancer.route(self._ports())

    def wait_total(self, count: int) -> None:
        """Wait until the clients of each balancer have so many answers in all."""
        for traffic in self.traffics:
            traffic.wait_count(count)

    def wait_more(self, count: int) -> None:
        """Wait until the clients of each balancer have so many more answers."""
        for traffic, wanted in [(each, each.count + count) for each in self.traffics]:
            traffic.wait_count(wanted)

    def wait_younger(self, moment: float) -> None:
        """Wait until everything that was sent before the moment is answered, behind both."""
        for traffic in self.traffics:
            traffic.wait_younger(moment)

    # ---- the end

    def finish(self, case: str, details: str = "", **more: Any) -> list[Row]:
        """Let the clients finish, stop the balancers, and judge."""
        self.seen = [traffic.finish() for traffic in self.traffics]
        logs = [balancer.stop() for balancer in self._balancers]
        rows = []
        for balancer, seen, log in zip(self._balancers, self.seen, logs, strict=True):
            own = [failure for failure in seen.failures if is_own(balancer.name, failure, log)]
            kinds = Counter(
                failure["outcome"] + (" of a kept connection" if failure["reused"] else "")
                for failure in seen.failures
            )
            rows.append(Row(
                case=case, balancer=balancer.name, requests=seen.requests,
                lost=max(len(seen.failures) - len(own), log.failed), own=len(own),
                kinds=", ".join(f"{count} × {kind}" for kind, count in sorted(kinds.items())),
                log=_tell(log), details=details, **more,
            ))  # fmt: skip
        return rows

    def moments(self) -> list[tuple[float, float]]:
        """Return when each answered request began and ended, behind either balancer."""
        return [moments for seen in self.seen for moments in seen.answers]

    def _enter(self, kind: type[Nginx] | type[Haproxy]) -> None:
        place = self._folder / kind.name
        place.mkdir()
        balancer = kind(place, self._ports())
        self._balancers.append(balancer)
        self.traffics.append(Traffic(self._folder.name, balancer.port, self._plan))

    def _leave(self) -> None:
        for traffic in self.traffics:
            traffic.destroy()
        for balancer in self._balancers:
            balancer.destroy()

    def _ports(self) -> list[int]:
        return [server.port for server in self._servers]


def is_own(balancer: str, failure: dict[str, Any], log: Log) -> bool:
    """Return whether the balancer lost the request before it was one.

    nginx closes its clients' idle connections when it reloads; a request that is on its way then
    meets a reset, and nginx never knows of it. HAProxy's runtime socket closes nothing, so with
    HAProxy everything counts as ours.
    """
    cut = failure["outcome"] in ("reset", "closed early") and failure["reused"]
    return balancer == "nginx" and cut and failure["id"] not in log.statuses


def _tell(log: Log) -> str:
    text = f"{log.failed} of {len(log.statuses):,}"
    return text + (f", {len(log.complaints)} complaints" if log.complaints else "")

"""nginx: told by a new upstream file and SIGHUP, as ingress controllers and scripts do."""

import grp
import os
import pwd
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rollout import balancer
from rollout.ports import free_port
from tests.server import ROOT

# What users are given. Here it gets the instances and a port of ours, and nothing is tried again.
SHIPPED = ROOT / "deploy" / "nginx" / "unbroken.conf"

_CONFIG = """\
daemon off;
{user}worker_processes 1;
pid nginx.pid;
error_log error.log notice;
events {{ worker_connections 1024; }}
http {{
    log_format rollout '$http_x_request_id $status $upstream_status';
    access_log access.log rollout;
    keepalive_requests 1000000;
{temporary}
    include unbroken.conf;
}}
"""


class Nginx:
    """One that runs in a folder of its own, on a free port, as whoever runs us.

    Args:
        folder: empty.
        ports: of the instances.
    """

    name = "nginx"

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        program = balancer.program("nginx", "nginx-light")
        self.port = free_port()
        self._folder = folder
        self._write(ports)
        config = _CONFIG.format(user=_user(), temporary=_temporary(program))
        (folder / "nginx.conf").write_text(config)
        self._process = balancer.launch(
            [program, "-p", f"{folder}/", "-c", "nginx.conf", "-e", "error.log"], folder
        )
        balancer.wait_open(self._process, self.port, folder)

    def route(self, ports: Sequence[int]) -> None:
        """Rewrite the upstream's servers and reload."""
        self._write(ports)
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> balancer.Log:
        """Quit; read both logs."""
        balancer.end(self._process, signal.SIGQUIT)
        log = balancer.Log()
        for line in (self._folder / "access.log").read_text().splitlines():
            request_id, status, upstream = line.split(maxsplit=2)
            log.statuses[request_id] = int(status)
            log.failed += status != "200" or upstream != "200"
        for line in (self._folder / "error.log").read_text().splitlines():
            if any(f"[{level}]" in line for level in ("warn", "error", "crit", "alert", "emerg")):
                log.complaints.append(line)
        return log

    def destroy(self) -> None:
        """End, however."""
        balancer.kill(self._process)

    def _write(self, ports: Sequence[int]) -> None:
        new = self._folder / "unbroken.conf.new"
        new.write_text(fill(SHIPPED.read_text(), self.port, ports))
        new.rename(self._folder / "unbroken.conf")


def fill(shipped: str, port: int, instances: Sequence[int]) -> str:
    """Return the shipped file with this port, these instances, and no second try."""
    servers = "".join(f"    server 127.0.0.1:{instance} max_fails=0;\n" for instance in instances)
    text = shipped
    for theirs, ours in (
        (r"(?:    server 127\.0\.0\.1:\d+ max_fails=0;\n)+", servers),
        (r"listen 80;", f"listen 127.0.0.1:{port} backlog=1024;"),
        (r"proxy_next_upstream error timeout;", "proxy_next_upstream off;"),
    ):
        text, found = re.subn(theirs, ours, text)
        if found != 1:
            raise AssertionError(f"{SHIPPED} has {theirs!r} {found} times; the proof needs it once")
    return text


def _user() -> str:
    """Return the directive that keeps root's workers from becoming somebody without our folder."""
    if os.geteuid() != 0:
        return ""
    return f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(0).gr_name};\n"


def _temporary(program: str) -> str:
    """Return the directives that bring nginx's temporary folders here, for what was built in."""
    built = subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stderr
    parts = ["client_body", "proxy"]
    parts += [part for part in ("fastcgi", "uwsgi", "scgi") if f"without-http_{part}" not in built]
    return "\n".join(f"    {part}_temp_path temporary-{part};" for part in parts)

"""Prometheus and its promtool, as Debian packages them, run with the files of deploy/prometheus."""

import contextlib
import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rollout import balancer
from rollout.ports import free_port
from tests.server import wait_for

_PACKAGE = "prometheus"


def promtool(*arguments: str | Path) -> str:
    """Run promtool; return what it says.

    Raises:
        AssertionError: with what it says, if it finds anything wrong.
    """
    command = [balancer.program("promtool", _PACKAGE), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


@dataclass(frozen=True)
class Sample:
    """One series at one moment."""

    labels: dict[str, str]
    value: float


class Prometheus:
    """One that runs in a folder of its own, on a free port.

    Args:
        folder: empty; gets the configuration, the rules and the data.
        config: as in prometheus.yaml, the rules left out.
        rules: the text of a file of rules.
    """

    def __init__(self, folder: Path, config: dict[str, Any], rules: str) -> None:
        program = balancer.program("prometheus", _PACKAGE)
        self._folder = folder
        self.port = free_port()
        (folder / "rules.yaml").write_text(rules)
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self._process = balancer.launch(
            [program, "--config.file=prometheus.yaml", "--storage.tsdb.path=data",
             f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"], folder,
        )  # fmt: skip
        balancer.wait_open(self._process, self.port, folder)
        wait_for(self._is_ready, "Prometheus to have read its folder")

    def query(self, expression: str) -> list[Sample]:
        """Return the value of each series of an expression now.

        Raises:
            AssertionError: with Prometheus' own words, if it is none.
        """
        query = urllib.parse.urlencode({"query": expression})
        try:
            answer = self._get(f"/api/v1/query?{query}")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from error
        result = answer["data"]["result"]
        if answer["data"]["resultType"] == "scalar":
            return [Sample({}, float(result[1]))]
        return [Sample(each["metric"], float(each["value"][1])) for each in result]

    def rules(self) -> list[dict[str, Any]]:
        """Return each rule with its state, as Prometheus last saw it."""
        groups = self._get("/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def destroy(self) -> None:
        """End, however."""
        balancer.kill(self._process)

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(self._url("/-/ready"), timeout=5):
            return True
        return False

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self._url(path), timeout=30) as response:
            return json.load(response)

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

"""Our own processes: the bare loops, the clients, the probe."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parent.parent


class Child:
    """A ``python -m MODULE`` that speaks JSON lines and ends when its standard input does.

    Args:
        module: to run.
        arguments: its command line.
        environ: added to our own environment; an empty value takes a variable away.
    """

    def __init__(
        self, module: str, *arguments: object, environ: Mapping[str, str] | None = None
    ) -> None:
        merged = {**os.environ, **(environ or {})}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            env={name: value for name, value in merged.items() if value},
            start_new_session=True,  # Ctrl-C is ours to handle: a child would die half way
        )  # fmt: skip

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def say(self, **members: object) -> None:
        """Send one line."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(members) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Return the next line.

        Raises:
            RuntimeError: the process ended instead.
        """
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended with {self._process.wait()}")
        members: dict[str, Any] = json.loads(line)
        return members

    def finish(self) -> None:
        """End its standard input: it stops as soon as it may, and says what it has."""
        assert self._process.stdin
        self._process.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe and not pipe.closed:
                pipe.close()

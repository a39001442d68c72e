"""Lines that libraries write to descriptor 2 from C become log lines like all others.

libtiff reports broken files there, CUDA its failed assertions. A terminal is left alone: it shows
torchvision's progress bar.
"""

import logging
import os

from app import logs


class StderrPipe:
    """The reading end of a process's standard error.

    Args:
        descriptor: of the pipe; becomes non-blocking.
        source: whose it is, for the log line.
    """

    def __init__(self, descriptor: int, source: str) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._source = source
        self._rest = b""

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._descriptor

    def read(self) -> bool:
        """Log the lines that are there; return False at the end of the file."""
        try:
            chunk = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return True
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if text := line.decode(errors="replace").strip():
                logs.event("stderr", level=logging.WARNING, source=self._source, message=text)
        return bool(chunk)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


def redirect(source: str) -> StderrPipe | None:
    """Turn this process's descriptor 2 into a pipe; None where it is a terminal."""
    if os.isatty(2):
        return None
    reading, writing = os.pipe()
    # Whoever reads the pipe may be the one who writes: better a lost line than a full pipe.
    os.set_blocking(writing, False)
    os.dup2(writing, 2)
    os.close(writing)
    return StderrPipe(reading, source)

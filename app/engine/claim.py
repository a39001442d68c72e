"""The supervisor's claim on STATE_DIR: its lock and its marks, made anew where they were removed.

A cleaner of /tmp may remove the directory of a server that runs for weeks. What is connected stays
so; whoever starts later would find nothing.
"""

import logging
import os
from collections.abc import Callable

from app import logs, state_dir

AGAIN_SECONDS = 1.0  # a cleaner may still be at work
MARK_AGAIN_SECONDS = 5.0  # the disk may be full


class Claim:
    """One server's hold on its directory.

    Args:
        path: STATE_DIR.

    Raises:
        app.state_dir.StateDirError: it cannot be ours.
    """

    def __init__(self, path: str) -> None:
        self.trouble = ""  # why no socket can be made in the directory since it was removed
        self._gone = False
        self._path = path
        self._lock = state_dir.claim(path)
        self._again_at = self._mark_at = 0.0

    @property
    def stands(self) -> bool:
        """Whether the directory at that path is still ours."""
        return state_dir.holds(self._path, self._lock)

    def keep(self, now: float, *, reachable: bool, listen_again: Callable[[], str]) -> None:
        """Be found by who starts later, where the directory or our socket was removed.

        Args:
            now: monotonic seconds.
            reachable: whether our socket is there.
            listen_again: makes it anew; returns why it cannot, or an empty string.
        """
        if self.stands and reachable:
            self._settle("")
            return
        if now < self._again_at:
            return
        self._again_at = now + AGAIN_SECONDS
        if not self._gone:
            self._gone = True
            sentence = f"STATE_DIR={self._path}, or what this server has there, was removed"
            logs.event("state_dir_gone", level=logging.ERROR, message=sentence)
        self._settle(("" if self.stands else self._claim_anew()) or listen_again())

    def _settle(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            logs.event("state_dir_refused", level=logging.ERROR, message=trouble)
        elif self._gone and not trouble:
            self._gone, self._mark_at = False, 0.0
            logs.event("state_dir_claimed")
        self.trouble = trouble

    def _claim_anew(self) -> str:
        try:
            lock = state_dir.claim(self._path)
        except state_dir.StateDirError as error:
            return str(error)
        os.close(self._lock)
        self._lock = lock
        return ""

    def mark(self, now: float, *, ready: bool, draining: bool) -> None:
        """Have the marks on the disk say what is true, whoever has removed or made them."""
        if now < self._mark_at or not self.stands:
            return
        for name, present in ((state_dir.READY, ready), (state_dir.DRAINING, draining)):
            if os.path.lexists(os.path.join(self._path, name)) == present:
                continue
            if not state_dir.mark(self._path, name, present=present):
                self._mark_at = now + MARK_AGAIN_SECONDS

    def clear(self) -> None:
        """Remove our sockets and marks, and nobody else's."""
        if self.stands:
            state_dir.clear(self._path)

    def release(self) -> None:
        """Let another server have the directory."""
        os.close(self._lock)

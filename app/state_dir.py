"""STATE_DIR: sockets and marks of one running server, and the lock that makes it one."""

import fcntl
import logging
import os
from pathlib import Path

from app import logs

SUPERVISOR_SOCKET = "supervisor.sock"
READY, DRAINING = "ready", "draining"
_LOCK = "lock"


class StateDirError(Exception):
    """The directory cannot be ours; the sentence says why."""


def claim(path: str) -> int:
    """Create the directory 0700, take its lock and empty it of an earlier life.

    Returns:
        The lock's descriptor; the lock ends when it is closed, also by a SIGKILL.

    Raises:
        StateDirError: somebody else owns it, another server holds it, or the disk refuses.
    """
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        owner = os.lstat(path)
        if owner.st_uid != os.geteuid() or os.path.islink(path):
            raise StateDirError(f"STATE_DIR={path} belongs to another user (uid {owner.st_uid}).")
        os.chmod(path, 0o700)
        lock = os.open(os.path.join(path, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateDirError(f"STATE_DIR={path} cannot be used: {error.strerror}.") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StateDirError(
            f"STATE_DIR={path} is held by another running server: "
            "give this one its own PORT, or STATE_DIR."
        ) from error
    try:
        clear(path)
    except OSError as error:
        os.close(lock)
        raise StateDirError(
            f"STATE_DIR={path} cannot be emptied: {error.filename}: {error.strerror}."
        ) from error
    return lock


def holds(path: str, lock: int) -> bool:
    """Return whether the directory's lock is the one that was taken; not one made since."""
    try:
        return os.path.samestat(os.stat(os.path.join(path, _LOCK)), os.fstat(lock))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # a disk that hiccups has removed nothing
        return True


def clear(path: str) -> None:
    """Remove the sockets and marks of a life; the lock file stays."""
    for stale in (*Path(path).glob("*.sock"), Path(path, READY), Path(path, DRAINING)):
        stale.unlink(missing_ok=True)


def mark(path: str, name: str, *, present: bool) -> bool:
    """Make a mark exist or not; people and exec probes read it, the server never does.

    Returns:
        Whether it is right now. A disk that is full makes the mark wrong, and nothing else.
    """
    file = Path(path, name)
    try:
        if present:
            file.touch()
        else:
            file.unlink(missing_ok=True)
    except OSError as error:
        logs.event("mark_failed", level=logging.ERROR, mark=name, message=error.strerror)
        return False
    return True

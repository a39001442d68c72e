"""STATE_DIR is claimed anew where it was removed, and never taken from another server."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import state_dir
from app.engine.claim import AGAIN_SECONDS, MARK_AGAIN_SECONDS, Claim


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def claim(path: Path) -> Iterator[Claim]:
    claim = Claim(str(path))
    yield claim
    claim.release()


def marks(path: Path) -> set[str]:
    return {one.name for one in path.iterdir()} - {"lock"}


def keep(claim: Claim, now: float, *, reachable: bool = False, trouble: str = "") -> None:
    claim.keep(now, reachable=reachable, listen_again=lambda: trouble)


def test_a_directory_that_was_removed_is_claimed_anew_and_marked(claim: Claim, path: Path) -> None:
    claim.mark(0, ready=True, draining=True)
    assert marks(path) == {"ready", "draining"}
    shutil.rmtree(path)
    assert not claim.stands
    claim.mark(1, ready=True, draining=True)  # nowhere, and without a word
    keep(claim, 1)
    assert claim.stands
    assert claim.trouble == ""
    assert path.stat().st_mode & 0o777 == 0o700
    claim.mark(1, ready=True, draining=True)
    assert marks(path) == {"ready", "draining"}
    with pytest.raises(state_dir.StateDirError, match="another running server"):
        state_dir.claim(str(path))


def test_a_lock_that_is_still_ours_is_not_taken_for_anothers(claim: Claim, path: Path) -> None:
    keep(claim, 0)
    assert claim.trouble == "", "our socket alone was removed"


def test_what_another_server_holds_is_left_alone_until_it_has_gone(
    claim: Claim, path: Path
) -> None:
    shutil.rmtree(path)
    other = Claim(str(path))
    other.mark(0, ready=True, draining=False)
    keep(claim, 10)
    assert "held by another running server" in claim.trouble
    claim.mark(10, ready=False, draining=True)
    claim.clear()
    assert marks(path) == {"ready"}
    other.release()
    keep(claim, 10 + AGAIN_SECONDS / 2)
    assert claim.trouble, "not all the time"
    keep(claim, 10 + AGAIN_SECONDS)
    assert claim.trouble == ""
    assert marks(path) == set()


def test_a_directory_that_was_hidden_for_a_moment_is_ours_as_before(
    claim: Claim, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    aside = path.rename(path.with_name("aside"))
    path.touch()
    for now in (10, 10.25, 20):
        keep(claim, now)
        assert "cannot be used" in claim.trouble
    path.unlink()
    aside.rename(path)
    keep(claim, 20.25, reachable=True)
    assert claim.trouble == ""
    told = [line.message for line in caplog.records]
    assert told == ["state_dir_gone", "state_dir_refused", "state_dir_claimed"]


def test_a_socket_that_cannot_be_made_is_told_once_until_it_can(
    claim: Claim, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for now in (10, 20, 30):
        keep(claim, now, trouble="it takes no socket")
        assert claim.trouble == "it takes no socket"
    keep(claim, 40)
    assert claim.trouble == ""
    told = [line.message for line in caplog.records]
    assert told == ["state_dir_gone", "state_dir_refused", "state_dir_claimed"]


def test_what_cannot_be_removed_is_a_refusal_and_no_end(claim: Claim, path: Path) -> None:
    (path / "lock").unlink()
    (path / "supervisor.sock").mkdir()
    keep(claim, 10)
    assert "cannot be emptied" in claim.trouble


def test_the_marks_are_what_is_true_whoever_made_or_removed_them(claim: Claim, path: Path) -> None:
    claim.mark(0, ready=True, draining=False)
    (path / "ready").unlink()
    (path / "draining").touch()
    claim.mark(0, ready=True, draining=False)
    assert marks(path) == {"ready"}


def test_a_mark_that_cannot_be_made_is_tried_again_later(claim: Claim, path: Path) -> None:
    (path / "ready").mkdir()  # no file can be removed there
    claim.mark(0, ready=False, draining=False)
    (path / "ready").rmdir()
    claim.mark(MARK_AGAIN_SECONDS / 2, ready=True, draining=False)
    assert marks(path) == set()
    claim.mark(MARK_AGAIN_SECONDS, ready=True, draining=False)
    assert marks(path) == {"ready"}


def test_the_lock_goes_with_its_holder(path: Path) -> None:
    Claim(str(path)).release()
    os.close(state_dir.claim(str(path)))

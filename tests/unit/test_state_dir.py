"""STATE_DIR: one server at a time, and nothing of an earlier life is believed."""

import os
from pathlib import Path

import pytest

from app import state_dir
from app.state_dir import StateDirError


def test_it_is_made_for_us_alone(tmp_path: Path) -> None:
    os.close(state_dir.claim(str(tmp_path / "state")))
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_second_server_is_refused_until_the_first_has_gone(tmp_path: Path) -> None:
    lock = state_dir.claim(str(tmp_path))
    with pytest.raises(StateDirError, match="another running server"):
        state_dir.claim(str(tmp_path))
    os.close(lock)
    os.close(state_dir.claim(str(tmp_path)))


def test_marks_and_sockets_of_an_earlier_life_are_removed(tmp_path: Path) -> None:
    for name in ("ready", "draining", "engine-cpu-3.sock", "supervisor.sock"):
        (tmp_path / name).touch()
    os.close(state_dir.claim(str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(StateDirError):
        state_dir.claim(str(tmp_path / "link"))


def test_a_path_that_cannot_be_made_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateDirError, match="Not a directory"):
        state_dir.claim(str(tmp_path / "file" / "state"))


def test_a_mark_comes_and_goes(tmp_path: Path) -> None:
    state_dir.mark(str(tmp_path), state_dir.READY, present=True)
    assert (tmp_path / "ready").exists()
    state_dir.mark(str(tmp_path), state_dir.READY, present=False)
    state_dir.mark(str(tmp_path), state_dir.READY, present=False)
    assert not (tmp_path / "ready").exists()


def test_a_mark_that_cannot_be_made_ends_nothing(tmp_path: Path) -> None:
    state_dir.mark(str(tmp_path / "gone"), state_dir.READY, present=True)
    assert not (tmp_path / "gone").exists()


def test_what_belongs_to_somebody_else_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, 12345, 12345)
    foreign = str(tmp_path) if os.geteuid() == 0 else "/usr"
    with pytest.raises(state_dir.StateDirError, match="belongs to another user"):
        state_dir.claim(foreign)

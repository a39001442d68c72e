"""What the workers are told, over real sockets; the supervisor is played."""

import selectors
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from app.engine.channel import Channel
from app.engine.directory import Directory
from app.engine.order import Order
from app.engine.protocol import Decoder, Frame, Type
from app.engine.slot import Engine, Slot
from app.lifecycle import Stage
from app.settings import Settings


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    settings = Settings.read({"STATE_DIR": str(tmp_path)})
    directory = Directory(settings, tmp_path / "supervisor.sock", selectors.DefaultSelector())
    yield directory
    directory.close()


def test_a_worker_that_is_behind_with_a_large_answer_hears_what_comes_next(
    directory: Directory, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as worker:
        worker.connect(str(tmp_path / "supervisor.sock"))
        worker.settimeout(10)
        directory.accept()
        [channel] = directory.workers
        directory.reply(channel, Frame(Type.METRICS, 1, {"much": "x" * 1_000_000}))
        assert channel.has_backlog
        directory.tell([], {"running": False}, draining=True, served=True)
        decoder = Decoder()
        frames: list[Frame] = []
        while len(frames) < 3:
            directory.flush()
            chunk = worker.recv(1 << 18)
            assert chunk, "it was dropped"
            frames += decoder.feed(chunk)
    assert [frame.type for frame in frames] == [Type.ENGINES, Type.METRICS, Type.ENGINES]
    assert frames[-1].head["draining"]


def test_a_socket_that_was_removed_is_made_anew_and_nobody_is_dropped(
    directory: Directory, tmp_path: Path
) -> None:
    path = tmp_path / "supervisor.sock"
    with socket.socket(socket.AF_UNIX) as old, socket.socket(socket.AF_UNIX) as new:
        old.connect(str(path))
        directory.accept()
        assert directory.reachable
        path.unlink()
        assert not directory.reachable
        directory.listen_again()
        assert directory.reachable
        new.connect(str(path))
        directory.accept()
        assert len(directory.workers) == 2
        assert all(worker.recv(1 << 16) for worker in (old, new))


def test_a_socket_that_is_not_ours_is_no_way_to_us(directory: Directory, tmp_path: Path) -> None:
    (tmp_path / "supervisor.sock").unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "supervisor.sock"))
        assert not directory.reachable
        directory.listen_again()
        assert directory.reachable, "the directory is locked by us, and so is the name"


def test_where_the_directory_is_gone_it_tries_again(directory: Directory, tmp_path: Path) -> None:
    (tmp_path / "supervisor.sock").unlink()
    tmp_path.rename(tmp_path.with_name(tmp_path.name + "-elsewhere"))
    assert "takes no socket: No such file or directory" in directory.listen_again()
    assert not directory.reachable
    tmp_path.mkdir()
    assert directory.listen_again() == ""
    assert directory.reachable


def test_a_place_that_an_exchange_has_emptied_says_how_far_the_next_engine_is(
    directory: Directory, tmp_path: Path
) -> None:
    slot = Slot("cpu", successor=Engine(Order("cpu", 2, ""), cast("Channel", None), 0.0, 0.0))
    assert slot.successor

    def told() -> str:
        with socket.socket(socket.AF_UNIX) as worker:
            worker.connect(str(tmp_path / "supervisor.sock"))
            directory.tell([slot], {"running": True}, draining=False, served=True)
            directory.accept()
            [frame] = Decoder().feed(worker.recv(1 << 18))
            return str(frame.head["engines"][0]["stage"])

    assert told() == Stage.LOADING
    slot.successor.enter(Stage.WARMING)
    assert told() == Stage.WARMING
    slot.successor.enter(Stage.SELF_TEST)
    slot.successor.enter(Stage.READY)
    assert told() == Stage.GONE, "until it takes over"

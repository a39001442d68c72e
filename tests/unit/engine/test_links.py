"""Which engine gets a request, with real engine sockets that a test plays."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.engine.link import Link
from app.engine.links import Links
from app.engine.record import Request
from app.input_spec import InputSpec
from app.lifecycle import Stage
from tests.loop import until
from tests.unit.engine.peer import SPEC, Peer, greet, named


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[list[Peer]]:
    peers = [Peer(tmp_path / f"e{number}.sock") for number in range(3)]
    yield peers
    for peer in peers:
        peer.close()


@pytest.fixture
def ended() -> list[str]:
    return []


@pytest.fixture
def links(ended: list[str]) -> Links:
    def note_end(link: Link[Request]) -> None:
        ended.append(link.path)
        link.close()

    return Links(lambda _link, _frame: None, note_end)


def request() -> Request:
    return Request([], SPEC, {}, 0.0)


def follow(links: Links, engines: list[Peer], *stages: str) -> None:
    """Name the engines, with what the supervisor says of each, and greet."""
    links.follow([named(engine, number) for number, engine in enumerate(engines)])
    for engine, stage in zip(engines, stages or ["ready"] * len(engines), strict=True):
        greet(engine, stage=stage)
    until(lambda: all(state["queue"] is not None for state in links.describe()))


def test_the_engine_with_the_least_in_flight_gets_the_next(
    links: Links, engines: list[Peer]
) -> None:
    follow(links, engines)
    chosen = []
    for _ in range(9):
        link = links.choose(SPEC)
        assert link
        link.register(request())
        chosen.append(link.generation)
    assert sorted(chosen) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    busy = links.newest()
    assert busy
    busy.forget(1)
    assert links.choose(SPEC) is busy, "the only one that has answered"


def test_what_is_cancelled_is_in_flight_nowhere(links: Links, engines: list[Peer]) -> None:
    follow(links, engines)
    held = request()
    for link in links.serving():
        link.register(held)
        link.register(request())
    links.cancel(held)
    assert [link.outstanding for link in links.serving()] == [1, 1, 1]


def test_a_degraded_engine_gets_what_no_other_can_take(links: Links, engines: list[Peer]) -> None:
    follow(links, engines[:2], "degraded", "ready")
    degraded, well = links.serving()
    for _ in range(5):
        well.register(request())
    assert links.choose(SPEC) is well
    engines[1].hang_up()
    links.follow([named(engines[0], 0)])
    until(lambda: links.choose(SPEC) is degraded)


def test_images_go_to_no_engine_that_wants_others(links: Links, engines: list[Peer]) -> None:
    follow(links, engines)
    assert links.choose(InputSpec(mode="L", resize=(2, 2))) is None
    assert links.serving()


def test_an_engine_that_retires_is_chosen_no_more(links: Links, engines: list[Peer]) -> None:
    follow(links, engines)
    links.follow([named(engines[0], 0), named(engines[1], 1), named(engines[2], 2, "retiring")])
    assert [link.generation for link in links.serving()] == [0, 1]
    newest = links.newest()
    assert newest
    assert newest.generation == 1
    assert engines[2].is_left()


def test_one_that_is_named_no_more_is_left_and_one_that_broke_is_connected_again(
    links: Links, engines: list[Peer], ended: list[str]
) -> None:
    follow(links, engines[:2])
    links.follow([named(engines[1], 1)])
    until(lambda: ended == [str(engines[0].path)])
    assert [link.generation for link in links.serving()] == [1]
    engines[1].hang_up()
    until(lambda: len(ended) == 2)
    assert not links.serving()
    assert next(links.views()).heard_at is None, "no news of it: it may be gone"
    engines[1].accept()
    assert next(links.views()).heard_at is None, "a connection alone is no news"
    engines[1].hang_up()
    greet(engines[1])
    until(lambda: len(links.serving()) == 1)


def test_an_engine_counts_as_heard_from_its_naming_on(links: Links, engines: list[Peer]) -> None:
    links.follow([named(engines[0], 0), named(engines[1], 1, "loading")])
    named_now, loading = links.views()
    assert named_now.heard_at
    assert (loading.stage, loading.heard_at) == (Stage.LOADING, None)
